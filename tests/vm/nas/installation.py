"""The virtual NAS with twostep on it: board profile, configuration, and the questions scenarios ask it."""

import inspect
import json

from .machine import Failure, MAC_PASSWORD, PATIENCE, expect

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

# Somebody is connected to the supervisor's own socket (state 03).
CONNECTED = "grep -q ' 03 [ 0-9]*/run/twostep/recovery[.]' /proc/net/unix"


def prepare(machine):
    """Configures the freshly installed package and waits until a press would fire."""
    machine.push(BOARD, "/etc/twostep/board.toml")
    machine.push(HOOK, "/etc/twostep/recovery.d/10-count", mode="755")
    machine.sh("systemctl try-restart systemd-logind")
    configure(machine)
    status = recovery_status(machine)
    expect(status["armed"], f"installed, but the button is not armed: {status}")


def configure(machine, more=""):
    """Writes twostepd.toml, ours and `more`, and starts the daemon anew."""
    machine.push(CONFIG + more, "/etc/twostep/twostepd.toml")
    machine.sh("systemctl restart twostepd")
    past_the_grace(machine)


def past_the_grace(machine):
    """Waits until the start-up grace (2 s) is over and the daemon answers."""
    machine.until("began=$(systemctl show -P ActiveEnterTimestampMonotonic twostepd); "
                  "test $began -gt 0 -a $((began + 3000000)) -lt $(($(/usr/local/lib/vm/button now) / 1000))")
    machine.until("twostep recovery status")


def recovery_status(machine):
    """What `twostep recovery status` says."""
    return machine.json("twostep --json recovery status")


def account_state(machine):
    """missing, disabled, active or recovered."""
    return recovery_status(machine)["account"]["state"]


class Monitor:
    """`twostep recovery monitor`, each event with the time (CLOCK_MONOTONIC, ns) at which it reached a client."""

    def __init__(self, machine):
        self.events = []
        self._command = machine.start("twostep --json recovery monitor | /usr/local/lib/vm/button stamp")
        # It has been accepted once its connection is there.
        machine.until(CONNECTED)

    def until(self, event, timeout=PATIENCE, source=None):
        """The next event of this kind, as (time, object)."""
        while True:
            line = self._command.line(timeout)
            if line is None:
                raise Failure(f"the monitor ended, no {event}: {self.events} {self._command.err.decode(errors='replace')}")
            self.events.append(_event(line))
            if self.events[-1][1]["event"] == event and source in (None, self.events[-1][1]["source"]):
                return self.events[-1]


def _event(line):
    at, _, text = line.partition(" ")
    return int(at), json.loads(text)


class Watched:
    """What came of a script of presses: the steps, the monitor's events and the changes to the state folder, each with its time."""

    def __init__(self, machine, script):
        text = machine.sh(f"""
            cd /run
            twostep --json recovery monitor | /usr/local/lib/vm/button stamp > monitored &
            /usr/local/lib/vm/button watch /var/lib/twostep > changed &
            until {CONNECTED} && grep -q ready changed; do sleep 0.05; done
            {{ {script}
            }} > pressed
            kill -- $(jobs -p) 2> /dev/null
            for file in pressed monitored changed; do echo "== $file"; cat $file; done""")
        parts = dict(zip(("pressed", "monitored", "changed"), (part.split("\n", 1)[1].strip().splitlines() for part in text.split("== ")[1:])))
        self.steps = [(line.split()[0], int(line.split()[1]), int(line.split()[2])) for line in parts["pressed"]]
        self.events = [_event(line) for line in parts["monitored"]]
        self.changes = [(int(line.split()[0]), line.split(maxsplit=1)[1]) for line in parts["changed"] if line != "ready"]

    def times(self, event):
        """When the monitor said this."""
        return [at for at, what in self.events if what["event"] == event]

    def __str__(self):
        begin = self.steps[0][1] if self.steps else 0
        ms = lambda at: f"{(at - begin) / 1e6:9.2f} ms"  # noqa: E731
        return "\n".join([f"{ms(a)} {s}" for s, a, _ in self.steps] + [f"{ms(at)} {json.dumps(what)}" for at, what in self.events] +
                         [f"{ms(at)} {what}" for at, what in self.changes])


def _processes(unit):
    return f"$(cat /sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs)"


def memory(machine, unit):
    """What all processes of a unit hold, in KiB (PSS)."""
    return int(machine.sh(f"for p in {_processes(unit)}; do awk '/^Pss:/ {{ print $2 }}' /proc/$p/smaps_rollup; done | awk '{{ s += $1 }} END {{ print s }}'"))


def woken(machine, *units):
    """How often something woke the processes of each unit in ten idle minutes. For a machine in virtual time."""
    # A thread that sleeps and wakes has switched away from its CPU once.
    each = "; ".join(f"for p in {_processes(unit)}; do cat /proc/$p/task/*/status; done | awk '/^voluntary_ctxt/ {{ s += $2 }} END {{ print s }}'" for unit in units)
    said = [int(count) for count in machine.sh(f"sleep 20; {each}; sleep 600; {each}").split()]
    return [after - before for before, after in zip(said[:len(units)], said[len(units):])]


def others(machine, but=("admin",)):
    """Every line of the account files but these accounts', and the files' modes, to compare: nobody else's may ever change."""
    pattern = "|".join(but)
    return machine.sh(f"for f in passwd shadow group gshadow; do echo == $f; grep -vE '^({pattern}):' /etc/$f; done; "
                      "stat -c '%n %a %U %G' /etc/passwd /etc/shadow /etc/group /etc/gshadow")


def admin_line(machine, file="shadow"):
    """admin's line in an account file; empty where it is missing."""
    return machine.sh(f"grep '^admin:' /etc/{file}", check=False)


def expect_admin_in(machine):
    """admin logs in over ssh with the sticker's address, and is an administrator."""
    code, said = machine.ssh("admin", MAC_PASSWORD, "id -un; id -Gn")
    expect(code == 0 and said.splitlines()[0] == "admin" and "sudo" in said.splitlines()[1].split(), f"admin's login: {code} {said}")


def expect_admin_out(machine):
    """admin does not log in with the sticker's address."""
    code, said = machine.ssh("admin", MAC_PASSWORD)
    expect(code != 0, f"admin was let in: {said}")


def presses(machine):
    """The number in the stamp; 0 where nothing ever fired."""
    return int(machine.sh("cat /var/lib/twostep/pressed 2> /dev/null || echo 0").strip() or 0)


# What a snapshot with the package depends on beside the package.
RECIPE = "\n".join([BOARD, CONFIG, HOOK, inspect.getsource(prepare), inspect.getsource(configure)])
