"""The package: installed, started with the machine, removed."""

from nas.installation import account_state, configure, expect_admin_in, memory, past_the_grace, recovery_status, woken
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
    m.sh("press-input gpio-keys KEY_RESTART 4000")
    m.until(RECOVERED)
    expect_admin_in(m)


def it_can_be_upgraded_and_removed(bed):
    """C4: reinstalled it keeps its state and runs; removed it stops; purged it leaves nothing but the account it brought back."""
    m = bed.machine()
    m.sh("press-gpio 4000")
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


def its_sandboxes_are_tight(bed):
    """B6, C4: `systemd-analyze security` gives each unit that runs for long at most 2.7."""
    m = bed.machine()
    for unit in ("twostepd", "twostep-web"):
        line = m.sh(f"systemd-analyze security --no-pager {unit}.service | tail -n1")
        score = float(line.split(": ")[1].split()[0])
        expect(score <= 2.7, line)
        bed.note(line.strip("→ "))


# Each watchdog period (WatchdogSec=30, so one each 15 s at most) the supervisor looks at the engine and tells systemd: a few switches.
WATCHDOG = 600 / 15 * 6


def it_is_small_and_quiet(bed):
    """B6: all processes together stay within 8 MiB of memory, and in ten idle minutes nothing wakes them but the watchdog."""
    m = bed.machine(virtual_time=True)
    expect(account_state(m) == "disabled", "it answers")
    pss = memory(m, "twostepd")
    times, = woken(m, "twostepd")
    bed.note(f"{pss} KiB (PSS) in all its processes; woken {times} times in 600 idle seconds")
    expect(pss <= 8192, f"{pss} KiB")
    expect(times <= WATCHDOG, f"woken {times} times in 600 s")


def its_pages_are_small_and_quiet(bed):
    """B6, Q25a: where no phone is paired twostep-web stays within 12 MiB of memory, in ten idle minutes nothing wakes it, nor the daemon but the watchdog."""
    m = bed.machine(virtual_time=True)
    configure(m, '\n[phone]\naddress = "https://nas.example.org:8443"\n')
    m.sh("systemctl restart twostep-web")
    pss = memory(m, "twostep-web")
    pages, daemon = woken(m, "twostep-web", "twostepd")
    bed.note(f"{pss} KiB (PSS); woken {pages} times in 600 idle seconds, the daemon {daemon} times")
    expect(pss <= 12 * 1024, f"{pss} KiB")
    expect(pages == 0, f"woken {pages} times in 600 s")
    expect(daemon <= WATCHDOG, f"the daemon is woken {daemon} times in 600 s")
