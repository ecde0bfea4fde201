"""The button brings admin back: what a press is, and what is none."""

import json

from nas.installation import (Monitor, Watched, account_state, admin_line, expect_admin_in, expect_admin_out, others, past_the_grace, presses,
                              recovery_status)
from nas.machine import Failure, MAC_PASSWORD, expect

NEEDS_PACKAGE = True


def _brings_back(m, but=("admin",)):
    """A press of 4 s on the GPIO line, with everything that must be true before and after it."""
    before = others(m, but)
    expect_admin_out(m)
    monitor = Monitor(m)
    m.sh("press-gpio 4000")
    monitor.until("fired")
    m.until("twostep --json recovery status | grep -q '\"state\":\"recovered\"'")
    expect_admin_in(m)
    expect(others(m, but) == before, "nobody else's account changed")
    code, said = m.ssh("alice", "wonderland")
    expect((code, said) == (0, "alice"), f"alice still logs in: {said}")


def a_press_brings_back_a_disabled_admin(bed):
    """C2, Q26, Q27, Q30: 4 s on the GPIO line and admin, disabled before, logs in over ssh with the adapter's address."""
    m = bed.machine()
    expect(account_state(m) == "disabled", "admin is disabled at first")
    _brings_back(m)
    status = recovery_status(m)
    expect(status["last"]["source"] == "reset" and status["account"]["until"], f"status tells the press: {status}")
    expect(MAC_PASSWORD not in json.dumps(status), "the status does not tell the password")
    expect(m.status(f"journalctl -u twostepd | grep -qi {MAC_PASSWORD}") != 0, "the log does not tell the password")
    expect(m.sh("twostep recovery show-password").find(MAC_PASSWORD) >= 0, "root is told the password")


def a_press_brings_back_a_locked_admin(bed):
    """C2, Q26: admin locked by passwd -l and by failed logins (pam_faillock) logs in again."""
    m = bed.machine()
    m.sh("echo admin:forgotten | chpasswd; usermod --expiredate '' admin; passwd -l admin")
    m.push("auth required pam_faillock.so preauth deny=3\n"
           "auth [success=1 default=ignore] pam_unix.so\n"
           "auth [default=die] pam_faillock.so authfail deny=3\n"
           "auth required pam_permit.so\n", "/etc/pam.d/common-auth")
    m.sh("mkdir -p /run/faillock")
    for _ in range(3):
        m.ssh("admin", "guess")
    expect("V" in m.sh("faillock --user admin"), "there is a tally to clear")
    _brings_back(m)


def a_press_makes_a_missing_admin(bed):
    """C2, Q26: an admin deleted with userdel is made anew, as an administrator, and logs in."""
    m = bed.machine()
    m.sh("userdel -r admin")
    expect(account_state(m) == "missing", "admin is missing at first")
    _brings_back(m, but=("admin", "sudo"))
    expect(m.sh("pwck -r; grpck -r; true").count("admin") == 0, "the account files are consistent: " + m.sh("pwck -r; grpck -r", check=False))


def a_press_revives_an_expired_admin_without_shell(bed):
    """C2, Q26: an expired account with nologin as its shell logs in again."""
    m = bed.machine()
    m.sh("echo admin:forgotten | chpasswd; usermod --expiredate 2020-01-01 --shell /usr/sbin/nologin admin; chage -d 2019-01-01 -M 30 admin")
    _brings_back(m)


def logind_does_not_reboot(bed):
    """B11, C2: on an input device the same press works and logind, watching the same key, neither reboots nor powers off."""
    m = bed.machine()
    boot = m.sh("cat /proc/sys/kernel/random/boot_id")
    for device, source, hold in (("gpio-keys", "front", 4000), ("nas-keys", "shared", 6500)):
        monitor = Monitor(m)
        fired = presses(m)
        m.sh(f"press-input {device} KEY_RESTART {hold}")
        monitor.until("fired", source=source)
        m.until(f"test $(cat /var/lib/twostep/pressed) -gt {fired}")
        expect(m.status("journalctl -q -u systemd-logind -n 20 | grep -qi 'reboot key pressed'") == 0, "logind saw the key too")
        m.sh("sleep 5")  # the cool-down
    expect(m.running and m.sh("cat /proc/sys/kernel/random/boot_id") == boot, "the machine is up")
    expect(m.status("systemctl list-jobs | grep -qE 'reboot|poweroff'") != 0, "and is not going down")
    expect_admin_in(m)


def other_keys_keep_their_meaning(bed):
    """B11: the power key on the same input device is still logind's."""
    m = bed.machine()
    m.start("press-input nas-keys KEY_POWER 200")
    m.ended()


def a_short_press_does_nothing(bed):
    """C2: 2.8 s changes nothing, on the GPIO line, on an input device and with a repeating key."""
    m = bed.machine(virtual_time=True)
    before = m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow")
    seen = Watched(m, "for how in 'gpio P2800' 'input gpio-keys KEY_RESTART P2800' 'input nas-keys KEY_RESTART H2800'; do "
                      "/usr/local/lib/vm/button $how R1000; done; sleep 5")
    expect(len(seen.times("pressed")) == 3 and not seen.times("fired"), f"three presses, none fired:\n{seen}")
    expect(m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow") == before, "no account file changed")
    expect(account_state(m) == "disabled" and presses(m) == 0, "admin stays disabled")


def it_fires_three_seconds_after_the_press(bed):
    """C2: it fires while the button is still held, not before 3.000 s of real hold and within 30 ms after it."""
    m = bed.machine(virtual_time=True)
    for name, how in (("gpio", "gpio"), ("input", "input gpio-keys KEY_RESTART")):
        seen = Watched(m, f"/usr/local/lib/vm/button {how} P3500 R7000")
        expect(len(seen.times("fired")) == 1, f"fired once:\n{seen}")
        begin, end = seen.steps[0][1], seen.steps[1][1]
        first = min(seen.times("fired") + [at for at, what in seen.changes if at > begin])
        told = seen.times("fired")[0]
        expect(begin + 3_000_000_000 <= first, f"no sign of it before 3.000 s:\n{seen}")
        expect(told <= begin + 3_030_000_000, f"known to a client within 30 ms:\n{seen}")
        expect(told < end, "still held")
        bed.note(f"{name}: first sign {(first - begin) / 1e6:.2f} ms, a client knows {(told - begin) / 1e6:.2f} ms after the press began")


def a_bouncing_press_fires_once(bed):
    """C2: contact bounce at both ends of a press neither fires twice nor resets the hold."""
    m = bed.machine(virtual_time=True)
    seen = Watched(m, "/usr/local/lib/vm/button gpio P1 R1 P2 R2 P1 R3 P3200 R2 P1 R1 P2 R6000")
    expect(len(seen.times("fired")) == 1, f"fired once:\n{seen}")
    expect(presses(m) == 1, "one press counted")


def two_half_presses_do_not_add_up(bed):
    """C2: 2 s, a release, 2 s do not make a press."""
    m = bed.machine(virtual_time=True)
    seen = Watched(m, "/usr/local/lib/vm/button gpio P2000 R100 P2000 R2000")
    expect(not seen.times("fired"), f"did not fire:\n{seen}")


def a_button_held_at_boot_is_not_pressed(bed):
    """C2, B11: a button that is down when the NAS starts does nothing until it was let go; then it works."""
    m = bed.machine()
    m.sh("touch /etc/vm-held-at-boot; sync")
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    monitor = Monitor(m)
    m.sh("sleep 4")
    expect(account_state(m) == "disabled" and presses(m) == 0, "a held button did nothing")
    m.sh("/usr/local/lib/vm/button gpio R500 P4000 R0")
    monitor.until("fired")
    m.until("twostep --json recovery status | grep -q '\"state\":\"recovered\"'")
    expect_admin_in(m)


def a_stuck_button_is_left_alone(bed):
    """C2: held for 40 s it fires once, is reported as stuck after 30 s, and works again after its release."""
    m = bed.machine(virtual_time=True)
    seen = Watched(m, "/usr/local/lib/vm/button gpio P40000 R1000 P3200 R1000")
    fired, stuck = seen.times("fired"), seen.times("stuck")
    expect(len(fired) == 2 and len(stuck) == 1, f"fired twice, stuck once:\n{seen}")
    expect(fired[0] < stuck[0] < fired[1], f"in this order:\n{seen}")
    expect(29e9 <= stuck[0] - seen.steps[0][1] <= 31e9, f"stuck after 30 s:\n{seen}")


def two_presses_are_two_presses(bed):
    """C2: within the cool-down a second press is ignored, later it counts."""
    m = bed.machine(virtual_time=True)
    seen = Watched(m, "/usr/local/lib/vm/button gpio P3200 R500 P3200 R6000")
    expect(len(seen.times("fired")) == 1 and seen.times("ignored"), f"the second was ignored:\n{seen}")
    expect(presses(m) == 1, "one press counted")
    seen = Watched(m, "/usr/local/lib/vm/button gpio P3200 R6000 P3200 R6000")
    expect(len(seen.times("fired")) == 2 and presses(m) == 3, f"two more:\n{seen}")


def a_button_that_vanishes_is_not_pressed(bed):
    """C2, B11: unplugged while held it does not fire; plugged in again it works."""
    m = bed.machine()
    monitor = Monitor(m)
    m.sh("/usr/local/lib/vm/button input gpio-keys KEY_RESTART P500 G3000 B0")
    monitor.until("missing", source="front")
    monitor.until("ready", source="front")
    expect(presses(m) == 0, "it did not fire")
    m.sh("press-input gpio-keys KEY_RESTART 4000")
    monitor.until("fired", source="front")
    m.until("test $(cat /var/lib/twostep/pressed) -eq 1")


def the_hooks_run_once_per_press(bed):
    """C2, Q26: the integrator's hooks run once after each press, outside the sandbox, and not at the next boot."""
    m = bed.machine()
    runs = "test $(wc -l < /var/log/hook-runs) -eq"
    m.sh("press-gpio 4000")
    m.until(f"{runs} 1")
    m.sh("sleep 5; press-gpio 4000")
    m.until(f"{runs} 2")
    m.sh("systemctl restart twostepd; sync")
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    m.until("systemctl is-active twostep-recovered.path")
    m.until("! systemctl is-active -q twostep-recovered.service")
    expect(m.status(f"{runs} 2") == 0, "no hook ran at boot: " + m.sh("cat /var/log/hook-runs"))
    m.sh("press-gpio 4000")
    m.until(f"{runs} 3")


def the_button_can_be_switched_off(bed):
    """C2: with button.enabled = false a press does nothing."""
    m = bed.machine()
    m.sh("printf '[button]\\nenabled = false\\n' >> /etc/twostep/twostepd.toml; systemctl restart twostepd")
    past_the_grace(m)
    expect(not recovery_status(m)["armed"], "not armed")
    m.sh("press-gpio 4000; sleep 1")
    expect(presses(m) == 0 and account_state(m) == "disabled", "nothing happened")


def admin_stays_what_others_made_it(bed):
    """Q30: without a press nothing is written at all, whatever the daemon's restarts."""
    m = bed.machine()
    before = m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow")
    for _ in range(3):
        m.sh("systemctl restart twostepd")
    expect(m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow") == before, "no account file changed")
    if admin_line(m) == "":
        raise Failure("admin's line is gone")
