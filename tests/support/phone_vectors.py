"""The phone's test vectors, by a library that nobody here wrote: checks those in the document, then signs a text of its own."""

import base64
import hashlib
import hmac
import json
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main():
    document = open(sys.argv[1], encoding="utf-8").read()
    vectors = json.loads(document.split("```json\n", 1)[1].split("```", 1)[0])
    key = ec.derive_private_key(int.from_bytes(decode(vectors["private_key"]), "big"), ec.SECP256R1())
    public = key.public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert encode(spki) == vectors["public_key"]
    secret = decode(vectors["secret"])
    mac = hmac.new(secret, f"{vectors['public_key']}\n{vectors['name']}".encode(), hashlib.sha256).digest()
    assert encode(mac) == vectors["mac"]
    number = hmac.new(secret, f"twostep/1 number\n{vectors['public_key']}".encode(), hashlib.sha256).digest()
    assert f"{int.from_bytes(number[:8], 'big') % 10000:04}" == vectors["number"]
    for signed in vectors["signed"]:
        proof = decode(signed["proof"])
        assert len(proof) == 64
        signature = encode_dss_signature(int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big"))
        # It raises where the signature is none.
        public.verify(signature, signed["text"].encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(key.sign(sys.argv[2].encode(), ec.ECDSA(hashes.SHA256())))
    print(encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")))


main()
