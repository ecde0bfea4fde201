"""The package: installed, started with the machine, removed."""

from nas.installation import account_state, expect_admin_in, past_the_grace, recovery_status
from nas.machine import expect

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"


def it_starts_with_the_machine(bed):
    """C4, B11: after a cold boot every button is found and armed, logind leaves the key alone, and a press works."""
    m = bed.machine()
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    status = recovery_status(m)
    expect(status["armed"] and {s["state"] for s in status["sources"]} == {"ready"} and len(status["sources"]) == 3, f"armed: {status}")
    expect(m.sh("systemctl --failed --no-legend") == "", "no unit failed: " + m.sh("systemctl --failed --no-legend"))
    m.sh("press-input gpio-keys KEY_RESTART 3200")
    m.until(RECOVERED)
    expect_admin_in(m)


def it_can_be_upgraded_and_removed(bed):
    """C4: reinstalled it keeps its state and runs; removed it stops; purged it leaves nothing but the account it brought back."""
    m = bed.machine()
    m.sh("press-gpio 3200")
    m.until(RECOVERED)
    m.sh("cd /root && mkdir r && dpkg-query -W -f '${Version}' twostep > version; dpkg-query -L twostep > listed")
    m.sh("systemctl is-active twostepd")
    m.sh("dpkg -r twostep")
    expect(m.status("systemctl is-active -q twostepd") != 0, "stopped")
    expect(m.status("test -e /run/twostep/twostep.sock -o -x /usr/sbin/twostepd") != 0, "gone")
    m.sh("dpkg -P twostep")
    left = m.sh("while read -r path; do [ -f \"$path\" ] && echo \"$path\"; done < /root/listed; true")
    expect(left == "", f"files left: {left}")
    expect(m.status("test -e /var/lib/twostep/recovery.json -o -e /run/twostep") != 0, "no state left")
    m.sh("systemctl daemon-reload; systemctl try-restart systemd-logind; test -z \"$(systemctl --failed --no-legend)\"")


def its_sandbox_is_tight(bed):
    """B6, C4: `systemd-analyze security` gives the unit at most 2.7."""
    m = bed.machine()
    line = m.sh("systemd-analyze security --no-pager twostepd.service | tail -n1")
    score = float(line.split(": ")[1].split()[0])
    expect(score <= 2.7, line)
    bed.note(line.strip("→ "))


def it_is_small_and_quiet(bed):
    """B6: all processes together stay within 8 MiB of memory, and in ten idle minutes nothing wakes them but the watchdog."""
    m = bed.machine(virtual_time=True)
    expect(account_state(m) == "disabled", "it answers")
    processes = "cat /sys/fs/cgroup/system.slice/twostepd.service/cgroup.procs"
    pss = int(m.sh(f"for p in $({processes}); do awk '/^Pss:/ {{ print $2 }}' /proc/$p/smaps_rollup; done | awk '{{ s += $1 }} END {{ print s }}'"))
    # A thread that sleeps and wakes has switched away from its CPU once.
    wakes = f"for p in $({processes}); do cat /proc/$p/task/*/status; done | awk '/^voluntary_ctxt/ {{ s += $2 }} END {{ print s }}'"
    before, after = m.sh(f"sleep 20; {wakes}; sleep 600; {wakes}").split()
    woken = int(after) - int(before)
    bed.note(f"{pss} KiB (PSS) in all its processes; woken {woken} times in 600 idle seconds")
    expect(pss <= 8192, f"{pss} KiB")
    # Each watchdog period (WatchdogSec=30, so one each 15 s at most) the supervisor looks at the engine and tells systemd: a few switches.
    expect(woken <= 600 / 15 * 6, f"woken {woken} times in 600 s")
