"""The time in which admin is on, and its end."""

import subprocess

from nas.installation import account_state, admin_line, configure, expect_admin_in, expect_admin_out, others, past_the_grace
from nas.machine import MAC_PASSWORD, expect

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
DISABLED = "twostep --json recovery status | grep -q '\"state\":\"disabled\"'"


def _key(m):
    """Gives admin a key to log in with; its path on the host."""
    key = m.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    m.push((m.folder / "key.pub").read_text(), "/root/key.pub")
    m.sh("home=$(getent passwd admin | cut -d: -f6); install -d -m 700 -o admin -g admin $home/.ssh; install -m 600 -o admin -g admin /root/key.pub $home/.ssh/authorized_keys")
    return key


def _session(m, key):
    """An open session of admin's."""
    session = subprocess.Popen(
        ["ssh", "-F", "none", "-p", str(m.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
         "-i", str(key), "-o", "IdentitiesOnly=yes", "admin@127.0.0.1", "echo in; exec sleep 10000"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    expect(session.stdout.readline() == b"in\n", "the session is open")
    return session


def _everything_is_off(m, key, session):
    m.until(DISABLED)
    expect(session.wait(60) != 0, "the open session was ended")
    m.until("! pgrep -u admin")
    expect(m.ssh("admin", None, key=key)[0] != 0, "the key no longer opens")
    expect_admin_out(m)
    fields = admin_line(m).split(":")
    expect(fields[1][:1] in ("!", "*") and fields[7] not in ("", "-1"), f"the hash is locked, the account expired: {fields[2:]}")


def the_window_ends_and_admin_is_off_again(bed):
    """Q29: at the end of the window the default password, admin's ssh key and its open session are gone; nobody else's line changed."""
    m = bed.machine()
    before = others(m)
    configure(m, "[recovery]\nwindow = \"60s\"\n")
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    key = _key(m)
    session = _session(m, key)
    _everything_is_off(m, key, session)
    expect(others(m) == before, "nobody else's account changed")


def one_command_turns_admin_off(bed):
    """Q29: `twostep recovery disable` does the same at once."""
    m = bed.machine()
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    key = _key(m)
    session = _session(m, key)
    m.sh("twostep recovery disable")
    _everything_is_off(m, key, session)


def admin_with_a_password_of_its_own_stays(bed):
    """Q29: who has changed the password has taken the account over: it stays after the window."""
    m = bed.machine()
    configure(m, "[recovery]\nwindow = \"1m\"\n")
    # Seen from the clock that the next boot reads, the press was ten minutes ago.
    m.sh("date -s '10 minutes ago' && press-gpio 4000")
    m.until(RECOVERED)
    m.sh("echo admin:my-own-words | chpasswd")
    m.until("! " + RECOVERED)
    expect(account_state(m) == "active", "it stays")
    code, said = m.ssh("admin", "my-own-words")
    expect((code, said) == (0, "admin"), f"the own password opens: {said}")
    m.until("journalctl -q -u twostepd | grep -qiE 'taken over|password of its own'")


def the_window_is_an_hour(bed):
    """Q29: by default the window is one hour: on after 59 minutes, off after 61."""
    m = bed.machine(virtual_time=True)
    said = m.sh(f"""
        press-gpio 3200 > /dev/null
        sleep 3; login-as admin {MAC_PASSWORD}; echo "at once: $?"
        sleep 3480; login-as admin {MAC_PASSWORD}; echo "after 58 minutes: $?"
        sleep 120; login-as admin {MAC_PASSWORD} 2> /dev/null; echo "after an hour: $?"
        twostep --json recovery status""").splitlines()
    expect(said[:4] == ["admin", "at once: 0", "admin", "after 58 minutes: 0"], f"on within the hour: {said}")
    expect(said[4].startswith("after an hour: ") and not said[4].endswith(" 0") and '"disabled"' in said[-1], f"off after it: {said}")


def the_window_outlives_a_power_cut(bed):
    """Q29, Q26: power is cut in the window: admin is on again after the boot, and off at the window's end."""
    m = bed.machine()
    configure(m, "[recovery]\nwindow = \"2m\"\n")
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    expect(account_state(m) == "recovered", "still on")
    expect_admin_in(m)
    m.until(DISABLED, timeout=400)
    expect_admin_out(m)


def a_window_that_ended_in_the_dark_is_over(bed):
    """Q29: the NAS is off when the window ends: admin is off after the next boot."""
    m = bed.machine()
    configure(m, "[recovery]\nwindow = \"1m\"\n")
    # Seen from the clock that the next boot reads, the press was ten minutes ago.
    m.sh("date -s '10 minutes ago' && press-gpio 4000")
    m.until(RECOVERED)
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    m.until(DISABLED)
    expect_admin_out(m)
