"""The button works when the engine, the disk or another program does not (B6)."""

from nas.installation import (Monitor, account_state, admin_line, configure, expect_admin_in, others, past_the_grace, presses,
                              recovery_status)
from nas.machine import Skipped, expect

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
ENGINE = "/var/lib/twostep/engine"


def it_works_while_the_engine_dies_again_and_again(bed):
    """B6: the engine is killed every tenth of a second, the press works all the same."""
    m = bed.machine()
    killer = m.start("while :; do pkill -9 -u twostep && echo killed; sleep 0.1; done")
    killer.line()
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)
    killer.kill()
    m.until("pgrep -u twostep")
    expect(m.sh("systemctl show -P NRestarts twostepd") == "0", "the supervisor itself never died")


def it_works_while_a_password_check_hangs(bed):
    """B6: a PAM module that never answers holds up a password check, not the button."""
    m = bed.machine()
    m.sh("printf 'auth required pam_exec.so quiet /bin/sleep 1000\\naccount required pam_permit.so\\n' > /etc/pam.d/twostep")
    check = m.start("""perl -MIO::Socket::UNIX -e '
        $s = IO::Socket::UNIX->new(Peer => "/run/twostep/twostep.sock") or die "no socket";
        print $s "{\\"method\\":\\"io.twostep.Account.BeginSetup\\",\\"parameters\\":{\\"user\\":\\"alice\\",\\"password\\":\\"x\\"}}\\0"; $s->flush;
        $/ = "\\0"; print scalar(<$s>), "\\n"'""")
    m.until("pgrep -x sleep || ! pgrep -x perl")
    if m.status("pgrep -x sleep") != 0:
        raise Skipped("no password check is to be had from the engine yet: " + str(check.line()))
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)


def it_works_with_noise_for_a_database(bed):
    """B6: the engine's database is overwritten with noise while it runs and before its start; the press works."""
    m = bed.machine()
    m.sh(f"for file in {ENGINE}/*.db*; do [ -f $file ] || continue; size=$(stat -c %s $file); "
         "dd if=/dev/urandom of=$file bs=4096 count=$((size / 4096 + 4)) conv=notrunc 2> /dev/null; done; "
         f"head -c 65536 /dev/urandom > {ENGINE}/twostep.db; chown twostep: {ENGINE}/twostep.db")
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)
    m.sh("twostep recovery disable; systemctl restart twostepd")
    past_the_grace(m)
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)


def _fill(m, user):
    """Fills the disk as this user; returns what is left for them, in bytes."""
    m.sh(f"install -d -o {user} /var/fill; runuser -u {user} -- sh -c 'dd if=/dev/zero of=/var/fill/big bs=1M; "
         "dd if=/dev/zero of=/var/fill/small bs=4k; for i in $(seq 200); do echo > /var/fill/$i || break; done' 2> /dev/null", check=False)
    expect(m.status(f"runuser -u {user} -- dd if=/dev/zero of=/var/fill/more bs=4k count=1 2> /dev/null") != 0, "the disk is full")


def it_works_when_people_have_filled_the_disk(bed):
    """B6: the disk is full for everybody but root, the press works."""
    m = bed.machine()
    before = others(m)
    _fill(m, "alice")
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)
    expect(others(m) == before, "nobody else's account changed")


def a_disk_without_a_single_block_is_survived(bed):
    """B6, B9: not even root can write: done, or refused with the reason and nothing changed; with room again it works."""
    m = bed.machine()
    before, line = others(m), admin_line(m)
    _fill(m, "root")
    m.sh("press-gpio 4000")
    m.until("journalctl -q -u twostepd | grep -qiE 'no space left|recovered|brought back'")
    done = account_state(m) == "recovered"
    expect(others(m) == before, "nobody else's account changed")
    if done:
        expect_admin_in(m)
    else:
        expect(admin_line(m) == line, "refused: admin's line is as it was")
        expect("space" in str(recovery_status(m).get("last")), f"the status tells why: {recovery_status(m)}")
    bed.note("done all the same" if done else "refused with the reason")
    m.sh("rm -r /var/fill; sleep 5; press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)


LOCK = """perl -MFcntl -e 'open $f, ">>", "/etc/.pwd.lock" or die; $l = pack("s s x4 l! l! i x4", F_WRLCK, 0, 0, 0, 0); fcntl($f, F_SETLKW, $l) or die;
          $| = 1; print "locked\\n"; sleep'"""


def it_waits_for_another_tool(bed):
    """C2, Q30: another tool holds the account files' lock at the press: it is done as soon as the lock is free."""
    m = bed.machine()
    # As long as it may ever be: on a busy host it takes its time until the lock is given back.
    configure(m, "[recovery]\nlock_wait = \"60s\"\n")
    lock = m.start(LOCK)
    lock.line_like("locked")
    monitor = Monitor(m)
    m.sh("press-gpio 4000")
    monitor.until("fired")
    expect(m.status("grep -q '^admin:!' /etc/shadow") == 0, "not while the lock is held")
    lock.kill()
    m.until(RECOVERED)
    expect_admin_in(m)


def it_gives_up_on_a_lock_that_is_never_freed(bed):
    """C2, B9: a lock held for too long: refused, with the reason in the status, and no file touched."""
    m = bed.machine()
    configure(m, "[recovery]\nlock_wait = \"2s\"\n")
    before = m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow")
    lock = m.start(LOCK)
    lock.line_like("locked")
    m.sh("press-gpio 4000")
    m.until("twostep --json recovery status | grep -qi lock")
    expect(m.sh("sha256sum /etc/passwd /etc/shadow /etc/group /etc/gshadow") == before, "no account file changed")
    lock.kill()
    m.sh("sleep 5; press-gpio 4000")
    m.until(RECOVERED)


def a_read_only_etc_is_refused(bed):
    """C2, B9: /etc read-only: refused, with the reason in status and log."""
    m = bed.machine()
    m.sh("mount --bind /etc /etc; mount -o remount,bind,ro /etc; systemctl restart twostepd")
    past_the_grace(m)
    m.sh("press-gpio 4000")
    m.until("twostep --json recovery status | grep -qi 'read-only'")
    m.until("journalctl -q -u twostepd | grep -qi 'read-only'")
    expect(account_state(m) == "disabled" and m.running, "nothing changed")


def the_supervisor_comes_back(bed):
    """C4, B6: killed, the supervisor is started again by systemd, and the press works."""
    m = bed.machine()
    m.sh("kill -9 $(systemctl show -P MainPID twostepd)")
    m.until("test $(systemctl show -P NRestarts twostepd) -eq 1 && systemctl is-active twostepd")
    past_the_grace(m)
    fired = presses(m)
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect(presses(m) == fired + 1, "one press")
    expect_admin_in(m)
