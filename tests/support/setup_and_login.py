"""Walks through a whole setup and login of alice on the socket named by the second argument, with her password as the first, by the PyPI package
`varlink` and the standard library alone. Prints what alice keeps: the secret, and the recovery codes that are still good."""

import base64
import hashlib
import hmac
import json
import struct
import sys
import time
from urllib.parse import parse_qs, urlparse

import varlink

PASSWORD, ADDRESS = sys.argv[1], "unix:" + sys.argv[2]


def code(secret, ahead=0):
    """The Security Code (RFC 6238) so many seconds from now."""
    key = base64.b32decode(secret)
    digest = hmac.new(key, struct.pack(">Q", (int(time.time()) + ahead) // 30), hashlib.sha1).digest()
    at = digest[-1] & 15
    return "%06d" % ((struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFFFFFF) % 1000000)


def refused(error, call, **parameters):
    """The parameters of the error that `call` is refused with, which must be `error`."""
    try:
        reply = call(**parameters)
    except varlink.VarlinkError as e:
        assert e.error() == "io.twostep." + error, (e.error(), error)
        return e.parameters()
    raise AssertionError(f"{reply} in place of {error}")


def set_up(account):
    refused("Account.WrongPassword", account.BeginSetup, user="alice", password="not " + PASSWORD)
    begun = account.BeginSetup(user="alice", password=PASSWORD)
    setup = begun["setup"]
    assert begun["available"] == ["security_code"] and begun["expires_in"] > 0, begun
    refused("Account.SecurityCodeMissing", account.FinishSetup, setup=setup, password=PASSWORD)

    offered = account.OfferSecurityCode(setup=setup)
    uri = urlparse(offered["uri"])
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp") and uri.path.endswith(":alice"), offered
    secret = parse_qs(uri.query)["secret"][0]
    assert secret == offered["secret"], offered
    assert account.ConfirmSecurityCode(setup=setup, code="123")["outcome"] == "wrong"
    used = code(secret)
    assert account.ConfirmSecurityCode(setup=setup, code=used)["outcome"] == "confirmed"
    progress = account.SetupStatus(setup=setup)
    assert (progress["ready"], progress["missing"]) == (["security_code"], []), progress
    assert account.Status(user="alice")["status"] == "disabled", "before the last step"

    refused("Account.WrongPassword", account.FinishSetup, setup=setup, password="not " + PASSWORD)
    finished = account.FinishSetup(setup=setup, password=PASSWORD)
    assert finished["methods"] == ["security_code", "recovery_code"], finished
    assert finished["preferred"] == "security_code" and len(finished["recovery_codes"]) == 10, finished
    status = account.Status(user="alice")
    assert (status["status"], status["recovery_codes_left"]) == ("enabled", 10), status
    refused("Account.AlreadyEnabled", account.BeginSetup, user="alice", password=PASSWORD)
    return secret, used, finished["recovery_codes"]


def log_in(login, secret, used, codes):
    started = login.Start(user="alice", service="example", remote="192.0.2.7")
    assert started["decision"] == "verify" and started["preferred"] == "security_code", started
    name = started["login"]
    assert "code" in login.Challenge(login=name, method="security_code")["prompt"]
    assert login.Answer(login=name, method="security_code", code=used)["outcome"] == "already_used", "the setup's own"
    wrong = login.Answer(login=name, method="security_code", code="123")
    assert wrong["outcome"] == "wrong" and wrong["attempts_left"] > 0, wrong
    fresh = code(secret, 30)
    assert login.Answer(login=name, method="security_code", code=fresh[:3] + " " + fresh[3:])["outcome"] == "verified"
    trusted = login.TrustDevice(login=name, label="laptop")["trusted_device"]
    assert login.Start(user="alice", service="example", trusted_device=trusted)["decision"] == "trusted"

    name = login.Start(user="alice", service="example")["login"]
    again = login.Answer(login=name, method="security_code", code=fresh)
    assert again["outcome"] == "already_used" and again["hint"], again
    assert login.Answer(login=name, method="recovery_code", code=codes[0].lower())["outcome"] == "verified"
    name = login.Start(user="alice", service="example")["login"]
    assert login.Answer(login=name, method="recovery_code", code=codes[0])["outcome"] == "already_used"
    assert login.Cancel(login=name) == {}
    refused("Login.NoSuchLogin", login.Answer, login=name, method="recovery_code", code=codes[1])


with varlink.Client(ADDRESS) as client:
    with client.open("io.twostep.Account") as account, client.open("io.twostep.Login") as login:
        kept, used, codes = set_up(account)
        log_in(login, kept, used, codes)
print(json.dumps({"secret": kept, "recovery_codes": codes[1:]}))
