"""The engine under its unit: the clock it may not ask the kernel about, the key that systemd opens, the names it looks up for mail."""

import time

from nas.installation import account_state, configure, expect_admin_in, past_the_grace
from nas.machine import expect
from nas.secondstep import PERIOD, App, Callers, answer, call, start

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
STATE = "/var/lib/twostep"
MARKER = "/run/systemd/timesync/synchronized"

# adjtimex(2) with ADJ_MAXERROR and ADJ_STATUS: what chrony tells the kernel once the clock is right.
KERNEL_SYNCHRONISED = "perl -e '$t = pack(q(Lx4q4lx4), 0x14, (0) x 5) . qq(\\0) x 200; exit(syscall(159, $t) < 0)'"

# A name server that knows one name, and a mail server that only notes who comes.
SERVERS = r"""
use strict; use IO::Socket::INET; use IO::Select;
my $names = IO::Socket::INET->new(LocalAddr => "127.0.0.1:53", Proto => "udp") or die "$!";
my $mail = IO::Socket::INET->new(LocalAddr => "127.0.0.1:2525", Listen => 8, ReuseAddr => 1) or die "$!";
syswrite STDOUT, "ready\n";
my $all = IO::Select->new($names, $mail);
while (1) {
    for my $socket ($all->can_read) {
        if ($socket == $mail) { $mail->accept; syswrite STDOUT, "connected\n"; next }
        my $from = recv($names, my $query, 512, 0) // next;
        my ($id) = unpack "n", $query;
        my $question = substr $query, 12, index($query, "\0", 12) + 5 - 12;
        my $type = unpack "n", substr $question, -4, 2;
        my $known = $question =~ /^\x04mail\x03nas\x04test\0/i;
        my $answer = $known && $type == 1 ? pack("n n n N n C4", 0xc00c, 1, 1, 60, 4, 127, 0, 0, 1) : "";
        send $names, pack("n6", $id, $known ? 0x8580 : 0x8583, 1, $answer ? 1 : 0, 0, 0) . $question . $answer, 0, $from;
        syswrite STDOUT, "asked $type\n" if $known;
    }
}
"""


def _login(callers, app, machine):
    """One login with the code of the machine's own time; the reply to the code."""
    step = int(machine.sh("date +%s")) // PERIOD
    return callers.round(("login", 1, start(app.user), answer("security_code", app.code(step))))[1]


def _in_drawer(machine, callers, app):
    """Two years later: the code is refused, with the reason."""
    machine.sh("date -s '+800 days' > /dev/null")
    said = callers.round(("challenge", 1, start(app.user), call("Login.Challenge", login="@LOGIN@", method="security_code")))[1]
    expect(said.error == "MethodUnavailable" and "not synchronised" in said["reason"], f"a clock 800 days ahead that nobody vouches for: {said}")
    expect(_login(callers, app, machine).error == "MethodUnavailable", "nor is a code looked at")


def _until_let_in(machine, callers, app):
    """What was found out about the clock holds for some seconds; then it is looked for again."""
    deadline = time.monotonic() + 60
    while (said := _login(callers, app, machine)).error == "MethodUnavailable" and time.monotonic() < deadline:
        time.sleep(0.2)
    expect(said["outcome"] == "verified", f"the clock is synchronised: {said}")


def years_in_a_drawer(bed):
    """B5: a NAS that was off for years lets in once its clock is known to be right, by timesyncd's word or the kernel's, and says why until then."""
    m = bed.machine()
    callers = Callers(m)
    app = App("alice")
    callers.round(("import", 1, call("Admin.Import", user=app.user, text=app.uri)))
    expect(_login(callers, app, m)["outcome"] == "verified", "a login of every day")
    _in_drawer(m, callers, app)
    m.sh(f"mkdir -p $(dirname {MARKER}); touch {MARKER}")
    _until_let_in(m, callers, app)
    m.sh(f"rm {MARKER}; systemctl restart twostepd")  # anew: what was found out would hold for some seconds
    past_the_grace(m)
    _in_drawer(m, callers, app)
    expect(m.sh("timedatectl show -p NTPSynchronized --value") == "no", "nobody has synchronised the clock yet")
    m.sh(KERNEL_SYNCHRONISED)
    expect(m.sh("timedatectl show -p NTPSynchronized --value") == "yes", "the kernel says that it is synchronised")
    _until_let_in(m, callers, app)


def the_key_in_a_credential(bed):
    """B6, B8: the key comes out of a credential that systemd-creds opens; a broken one costs the engine its answers, and never the button."""
    m = bed.machine()
    callers = Callers(m)
    app = App("alice")
    callers.round(("import", 1, call("Admin.Import", user=app.user, text=app.uri)))
    m.sh(f"systemd-creds encrypt --with-key=host --name=twostep-key {STATE}/key {STATE}/key.cred && rm {STATE}/key && systemctl restart twostepd")
    past_the_grace(m)
    expect(_login(callers, app, m)["outcome"] == "verified", "what was sealed with the key is opened with the one from the credential")
    expect(m.status(f"test -e {STATE}/key") != 0, "no other key was made")

    m.sh(f"head -c 300 /dev/urandom | base64 > {STATE}/key.cred && systemctl restart twostepd")
    past_the_grace(m)
    said = callers.round(("start", 1, start(app.user)))[0]
    expect(said.error == "StorageFailed", f"without its key the engine decides nothing: {said}")
    m.until("journalctl -q -u twostepd | grep -q 'systemd-creds does not open it'")
    expect(account_state(m) == "disabled", "nothing was pressed yet")
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)


def names_are_looked_up_for_mail(bed):
    """Q7: in its sandbox the engine finds the mail server by a name server, and by /etc/hosts."""
    m = bed.machine()
    callers = Callers(m)
    m.push(SERVERS, "/run/servers.pl")
    servers = m.start("exec perl /run/servers.pl")
    servers.line_like("ready")
    m.sh("echo nameserver 127.0.0.1 > /etc/resolv.conf; printf 'hosts: files dns\\n' >> /etc/nsswitch.conf; echo '127.0.0.1 letters.nas.test' >> /etc/hosts")
    for name, by_dns in (("mail.nas.test", True), ("letters.nas.test", False)):
        configure(m, f'\n[mail]\nhost = "{name}"\nport = 2525\nfrom = "nas@example.org"\n')
        setup = call("Account.BeginSetup", user="alice", password="wonderland", recovery_email="alice@example.org")
        callers.send((name, 1, setup))
        if by_dns:
            servers.line_like("asked 1$")
        servers.line_like("connected")
