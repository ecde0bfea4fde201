#!/usr/bin/env python3
"""Asks twostep for a second step: verify.py USER CODE [SOCKET]. Exit code 0 lets in."""
import json, socket, sys

sock = socket.socket(socket.AF_UNIX)
sock.connect((sys.argv + ["/run/twostep/twostep.sock"])[3])
def call(name, **parameters):
    sock.sendall(json.dumps({"method": "io.twostep.Login." + name, "parameters": parameters}).encode() + b"\0")
    return json.loads(b"".join(iter(lambda: sock.recv(1), b"\0")))["parameters"]
started = call("Start", user=sys.argv[1], service="example")
if started["decision"] == "verify":
    started = {"decision": call("Answer", login=started["login"], method="security_code", code=sys.argv[2])["outcome"]}
sys.exit(0 if started["decision"] in ("not_required", "trusted", "verified") else started["decision"])
