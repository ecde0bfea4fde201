"""A program at a terminal of its own, driven as a person would: read what it asks, type."""

import os
import pty
import select
import subprocess
import time

from .machine import PATIENCE, Failure


class Terminal:
    """Use as a context manager: whatever still runs at the end is hung up on."""

    def __init__(self, command):
        self._screen, slave = pty.openpty()
        # setsid makes it the program's controlling terminal: ssh and sudo ask at /dev/tty.
        self._program = subprocess.Popen(["setsid", "--ctty", "--wait", *command], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._raw, self._seen = b"", 0

    @property
    def shown(self):
        """Everything that it has shown."""
        return self._raw.decode(errors="replace").replace("\r", "")

    def _read(self, deadline):
        if not select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Failure(f"nothing more within {PATIENCE:.0f} s:\n{self.shown}")
        try:
            more = os.read(self._screen, 4096)
        except OSError:  # what a terminal gives whose program has ended
            more = b""
        self._raw += more
        return more != b""

    def until(self, text):
        """Reads on until `text` is shown; what came before it since the last time."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise Failure(f"it ended without {text!r}:\n{self.shown}")
        before, self._seen = self.shown[self._seen:at], at + len(text)
        return before

    def type(self, line):
        """Types a line."""
        os.write(self._screen, line.encode() + b"\n")

    def interrupt(self):
        """As Ctrl-C, and nothing behind it: a line that is there already would be read first."""
        os.write(self._screen, b"\x03")

    def answers(self, *pairs):
        """Waits for each question and types its answer."""
        for question, line in pairs:
            self.until(question)
            self.type(line)

    def end(self):
        """Reads to the end; the exit status, and what came since the last time."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._program.wait(PATIENCE), self.shown[self._seen:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._screen)
        self._program.kill()
        self._program.wait()
