"""The virtual NAS with twostep on it: board profile, configuration, and the questions scenarios ask it."""

import json
import pathlib

from .machine import Failure, PATIENCE

BOARD = """\
name = "virtual NAS"
origin = "tests/vm"

[[button]]
kind = "gpio"
name = "reset"
chip = "button-panel"
line = "reset-button"
active_low = true

[[button]]
kind = "input"
name = "front"
device = "gpio-keys"
key = "KEY_RESTART"

[[button]]
kind = "input"
name = "shared"
device = "nas-keys"
key = "KEY_RESTART"
"""

CONFIG = """\
[log]
level = "debug"
"""

HOOK = """\
#!/bin/sh
echo run >> /var/log/hook-runs
"""

RECIPE = pathlib.Path(__file__).read_text(encoding="utf-8")


def prepare(machine):
    """Configures the freshly installed package and waits until it is ready."""
    machine.push(BOARD, "/etc/twostep/board.toml")
    configure(machine, restart=False)
    machine.push(HOOK, "/etc/twostep/recovery.d/10-count", mode="755")
    machine.sh("systemctl restart twostepd && systemctl try-restart systemd-logind")
    # The start-up grace: presses that early are ignored, and scenarios resume from here.
    machine.until("test $(systemctl show -P ActiveEnterTimestampMonotonic twostepd) -lt $(( $(cut -d. -f1 /proc/uptime) * 1000000 - 4000000 ))")
    status = recovery_status(machine)
    if not status["armed"]:
        raise Failure(f"installed, but the button is not armed: {status}")


def configure(machine, more="", restart=True):
    """Writes twostepd.toml: ours and `more`; restarts the daemon past its start-up grace."""
    machine.push(CONFIG + more, "/etc/twostep/twostepd.toml")
    if restart:
        machine.sh("systemctl restart twostepd")


def recovery_status(machine):
    """What `twostep recovery status` says."""
    return machine.json("twostep --json recovery status")


class Monitor:
    """`twostep recovery monitor`, each event with the time (CLOCK_MONOTONIC, ns) at which it reached a client."""

    def __init__(self, machine):
        self._command = machine.start("stdbuf -oL twostep --json recovery monitor | /usr/local/lib/vm/button stamp")
        self.events = []
        self._machine = machine

    def until(self, event, timeout=PATIENCE):
        """The next event of this kind, as (time, object)."""
        while True:
            line = self._command.line(timeout)
            if line is None:
                raise Failure(f"the monitor ended, no {event}: {self.events} {self._command.err.decode(errors='replace')}")
            at, _, text = line.partition(" ")
            self.events.append((int(at), json.loads(text)))
            if self.events[-1][1]["event"] == event:
                return self.events[-1]

    def so_far(self):
        """The kinds of all events seen by `until`."""
        return [event["event"] for _, event in self.events]


def others(machine):
    """Every account line that is not admin's, to compare: nothing else may ever change."""
    return machine.sh("for f in passwd shadow group gshadow; do echo == $f; grep -vE '^(admin|sudo|twostep)[:]' /etc/$f; done; "
                      "stat -c '%n %a %U %G' /etc/passwd /etc/shadow /etc/group /etc/gshadow")


def admin_hash(machine):
    """The password field of admin's line in /etc/shadow."""
    return machine.sh("awk -F: '$1 == \"admin\" { print $2 }' /etc/shadow")
