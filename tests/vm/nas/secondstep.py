"""The second step as the harness sees it: an authenticator app, many clients at once in the guest, and an engine of its own on a folder."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

from .machine import TOP, Failure, PATIENCE

CALLERS = TOP / "tests" / "vm" / "guest" / "callers.pl"
PERIOD = 120  # the longest that an import may have: a code is good for minutes, also after a boot
SOCKET = "/run/twostep/twostep.sock"


class App:
    """One account's authenticator app."""

    def __init__(self, user, secret=None, period=PERIOD):
        self.user, self.period = user, period
        self.secret = hashlib.sha1(user.encode()).digest() if secret is None else base64.b32decode(secret + "=" * (-len(secret) % 8))

    @property
    def uri(self):
        """What is imported."""
        return f"otpauth://totp/NAS:{self.user}?secret={base64.b32encode(self.secret).decode()}&issuer=NAS&period={self.period}"

    def code(self, step):
        """The code of a time step (RFC 6238)."""
        digest = hmac.new(self.secret, struct.pack(">Q", step), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"

    def wrong(self, step):
        """Six digits that are no code of this time or near it."""
        near = {self.code(step + n) for n in range(-800, 800)}
        return next(code for code in (f"{n:06}" for n in range(10000)) if code not in near)


def call(method, /, **parameters):
    """A call as JSON; `method` without `io.twostep.`."""
    return json.dumps({"method": "io.twostep." + method, "parameters": parameters})


def start(user, **more):
    """The beginning of a login."""
    return call("Login.Start", user=user, service="test", **more)


def answer(method, code):
    """An answer to the login that the client has begun."""
    return call("Login.Answer", login="@LOGIN@", method=method, code=code)


class Reply:
    """One reply that came out of the guest; `heard`: what the harness's own measure said when it came."""

    def __init__(self, line, heard):
        tag, number, text = line.split("\t", 2)
        self.tag, self.number, self.heard = tag, int(number), heard
        self.said = None if text == "gone" else json.loads(text)

    @property
    def error(self):
        """The error's last name, or None."""
        return (self.said or {}).get("error", "").rpartition(".")[2] or None

    def __getitem__(self, key):
        return ((self.said or {}).get("parameters") or {}).get(key)

    def __repr__(self):
        return f"{self.tag}: {self.said}"


class Callers:
    """Clients in the guest, in rounds; see guest/callers.pl. `measure()` is taken whenever something comes out of the guest."""

    def __init__(self, machine, measure=lambda: 0):
        machine.push(CALLERS, "/run/callers.pl")
        self._measure, self._rest, self._lines = measure, b"", []
        self._command = machine.start("exec perl /run/callers.pl")
        self._command.heard = self._hear
        self.on_reply = None

    def _hear(self, payload):
        """Called in the receiving thread."""
        heard = self._measure()
        *lines, self._rest = (self._rest + payload).split(b"\n")
        for line in lines:
            self._lines.append((line.decode(), heard))
            if self.on_reply is not None and line != b"done":
                self.on_reply(Reply(line.decode(), heard))

    def send(self, *clients):
        """Begins a round: (tag, how many, call, call, …) each."""
        lines = ["\t".join([tag, str(count), *calls]) for tag, count, *calls in clients]
        self._begun = len(self._lines)
        self._command.send(("\n".join([*lines, "go"]) + "\n").encode())

    def round(self, *clients):
        """A whole round; its replies in the order in which they came."""
        self.send(*clients)
        while (line := self._command.line(PATIENCE)) != "done":
            if line is None:
                raise Failure(f"the callers ended: {self._command.err.decode(errors='replace')}")
        return self.replies()

    def replies(self):
        """What has come of the last round so far."""
        return [Reply(line, heard) for line, heard in self._lines[self._begun:] if line != "done"]


class Engine:
    """The engine alone, on the host, with us as its supervisor, on the files of a state folder. Use as a context manager."""

    def __init__(self, program, folder, files, people):
        self.folder = pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        paths = {"accounts": "etc", "config": "config", "state": "state", "run": "", "boards": "boards", "faillock": "faillock", "root": "root"}
        paths = {name: str(self.folder / part) if part else str(self.folder) for name, part in paths.items()}
        (self.folder / "state" / "engine").mkdir(parents=True, mode=0o700)
        (self.folder / "etc").mkdir()
        for name, content in people.items():
            (self.folder / "etc" / name).write_bytes(content)
        for name, content in files.items():
            if content is not None and name != "key":
                (self.folder / "state" / "engine" / name).write_bytes(content)
        listener = socket.socket(socket.AF_UNIX)
        # By the working folder: the whole path may be too long for a socket.
        here = os.open(self.folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/twostep.sock")
        listener.listen(16)
        self._here = here
        self._channel, theirs = socket.socketpair()
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen([str(program), "engine"], stdin=theirs, stdout=listener, stderr=log, cwd="/", env={})
        theirs.close()
        listener.close()
        handover = {"config": {"log": {"target": "stderr"}}, "paths": paths, "owner": os.getuid()}
        order = {"start": {"handover": handover, "key": files["key"].decode().strip(), "mail_password": None, "recovered": None}}
        self._channel.sendall(json.dumps(order).encode() + b"\0")
        self._channel.settimeout(PATIENCE)
        if b"ready" not in self._channel.recv(4096):
            raise Failure("the engine does not start: " + self.log())

    def log(self):
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def calls(self, *calls):
        """Calls on one connection; the last reply."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(f"/proc/self/fd/{self._here}/twostep.sock")
        login, reply = "", None
        with connection, connection.makefile("rb") as stream:
            for one in calls:
                connection.sendall(one.replace("@LOGIN@", login).encode() + b"\0")
                text = bytearray()
                while (byte := stream.read(1)) != b"\0":
                    if not byte:
                        raise Failure("the engine hung up: " + self.log())
                    text += byte
                reply = Reply("engine\t0\t" + text.decode(), time.time())
                login = reply["login"] or login
        return reply

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._channel.close()
        os.close(self._here)
        shutil.rmtree(self.folder, ignore_errors=True)
