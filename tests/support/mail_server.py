"""A mail server (aiosmtpd) on loopback that takes mail over STARTTLS from one user alone; without arguments, unencrypted from anybody.

    mail_server.py [CERTIFICATE KEY USER PASSWORD]

Prints its port, then for each mail one JSON object: who logged in, sender, recipients, text; and one for each login that it refused. It ends with its
standard input."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:] or [None] * 4


def say(**what):
    print(json.dumps(what), flush=True)


def authenticate(server, session, envelope, mechanism, data):
    user, password = data.login.decode(), data.password.decode()
    if (user, password) == (USER, PASSWORD):
        return AuthResult(success=True, auth_data=user)
    say(refused=user)
    return AuthResult(success=False, handled=False)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        say(user=session.auth_data, encrypted=session.ssl is not None, sender=envelope.mail_from, to=envelope.rcpt_tos, text=envelope.content.decode())
        return "250 taken"


async def main():
    options = {"hostname": "localhost"}
    if CERTIFICATE:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(CERTIFICATE, KEY)
        options |= {"tls_context": tls, "require_starttls": True, "auth_required": True, "authenticator": authenticate}
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Handler(), **options), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Held by whoever has started this, however that ends.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
