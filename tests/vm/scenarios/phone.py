"""The phone: README's "Pair a phone", followed word for word, with the package's own units; and what is left while it can't be reached."""

import re
import time

from nas import camera
from nas.installation import past_the_grace
from nas.machine import PATIENCE, TOP, expect
from nas.phone import Phone, expect_browser
from nas.readme import PASSWORDS, PairAPhone, ProtectSsh, as_on_a_fresh_debian, expect_in, ssh
from nas.secondstep import App, Callers, start

NEEDS_PACKAGE = True

WEB = "twostep-web.service"
FILE = "/etc/twostep/twostepd.toml"


def _as_shipped(m):
    """The configuration as the package brings it: the other scenarios have one of their own."""
    shipped = TOP / "systemd" / "twostepd.toml"
    m.push(shipped, FILE)
    noted = m.sh("dpkg-query -W -f '${Conffiles}\\n' twostep")
    expect(f"{FILE} {m.sh(f'md5sum < {FILE}').split()[0]}" in noted, f"the package brings another one: {noted}")
    m.sh("systemctl restart twostepd")
    past_the_grace(m)


def _the_unit_is_confined(m):
    """systemd has started it as its own user, within its sandbox."""
    expect(m.sh(f"systemctl is-enabled {WEB}; systemctl is-active {WEB}") == "enabled\nactive", m.sh(f"systemctl status {WEB}", check=False))
    process = "/proc/$(systemctl show -P MainPID twostep-web)"
    status = dict(line.split(":\t", 1) for line in m.sh(f"cat {process}/status").splitlines())
    user, group = m.sh("id -u twostep-web; id -g twostep-web").splitlines()
    expect(status["Uid"].split() == [user] * 4 and status["Gid"].split() == [group] * 4 and user != "0", f"its user: {status}")
    held = {name: status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    expect(held == {"CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}, f"its sandbox: {held}")
    inside = m.sh("nsenter -m -t $(systemctl show -P MainPID twostep-web) ls -A /home /var/lib/twostep")
    expect(inside == "/home:\n\n/var/lib/twostep:", f"from there neither homes nor others' secrets are to be seen: {inside}")


def _pair(m, readme, phone):
    """alice runs README's `twostep setup …`, with the phone in the other hand; her app, too."""
    with ssh(m, "alice", readme.setup) as shell:
        shell.answers(("Password: ", PASSWORDS["alice"]))
        shell.until("Scan the QR code with the phone, or open there:\n")
        uri = shell.until("\n")
        expect(uri.startswith(readme.address + "/pair#1."), f"the phone is sent to {uri}")
        phone.scan(camera.drawn(shell))
        phone.until("document.body.innerText.includes('compare its SHA-256 fingerprint')")
        phone.write("name", "Alice's phone")
        phone.tap("pair")
        shell.until("The number is ")
        number = shell.until(":")
        expect(phone.text("number") == number, f"the phone shows {phone.text('number')}, the terminal {number}")
        phone.tap("approve")
        shell.until("paired: Alice's phone\n")
        phone.tap("done")
        app = _app_too(m, shell)
        shell.answers(("Password, once more: ", PASSWORDS["alice"]))
        status, said = shell.end()
        expect(status == 0 and re.search("2-step verification is on: .*Login Approval", said), f"setup: {status} {said}")
    phone.until_connected()
    return app


def _app_too(m, shell):
    """README: "and go on to the Security Code, for when the phone is out of reach"."""
    shell.until("or type in: ")
    app = App("alice", shell.until("\n").strip(), 30)
    shell.until("Code that the app shows: ")
    app.used = int(m.sh("date +%s")) // app.period
    shell.type(app.code(app.used))
    return app


def _asked(m, phone):
    """alice logs in by ssh, and sees the number that the phone shows with it."""
    login = ssh(m, "alice", "id -un")
    login.until("Approve this login on your phone: the number is ")
    number = login.until(" (then press Enter, ? for other ways): ")
    expect(re.fullmatch(r"\d\d", number), f"two digits: {number}")
    told = (phone.text("number"), phone.text("account"), phone.text("service"), phone.text("remote"))
    expect(told == (number, "alice", "sshd", "10.0.2.2"), f"ssh shows {number}, the phone {told}")
    return login


def _approves(m, phone):
    """README: "password; the phone shows the same number: Approve, then Enter"."""
    with _asked(m, phone) as login:
        phone.tap("approve")
        _closes(phone)
        login.type("")
        expect_in(login, "alice")


def _closes(phone):
    phone.see("outcome")
    phone.tap("close")


def _denies(m, phone):
    """She is refused, although she pressed Enter."""
    with _asked(m, phone) as login:
        login.type("")
        phone.tap("deny")
        status, said = login.end()
        expect(status != 0 and "The login was denied on the phone" in said and "\nalice\n" not in said, f"denied: {status} {said}")
    _closes(phone)


def _until_offered(m, phone):
    """Waits until a login of alice's offers what needs the phone, or no longer does; the code it offers always."""
    callers, deadline = Callers(m), time.monotonic() + PATIENCE
    while True:
        methods = callers.round(("alice", 1, start("alice")))[0]["methods"]
        expect("security_code" in methods, f"the code is offered: {methods}")
        if ("login_approval" in methods) == phone:
            return
        expect(time.monotonic() < deadline, f"offered with{'' if phone else 'out'} the phone: {methods}")


def _paired(m, readme):
    """Both sections of README, to the page that the administrator's part leads to."""
    as_on_a_fresh_debian(m)
    _as_shipped(m)
    ProtectSsh().follow(m)
    expect(m.sh(f"systemctl is-active {WEB}", check=False) == "inactive", "without an address there are no pages")
    fingerprint = readme.follow(m)
    past_the_grace(m)
    _the_unit_is_confined(m)
    return fingerprint


def a_phone_is_paired_and_approves_a_login(bed):
    """Q4, Q12, Q15, Q25a: README's "Pair a phone" word for word; the browser of a phone is paired, what it approves is let in, what it denies is not, and without it the code does."""
    expect_browser()
    m = bed.machine()
    readme = PairAPhone()
    fingerprint = _paired(m, readme)
    with Phone(m, readme.place) as phone:
        phone.open_unsigned(readme.address, fingerprint)
        app = _pair(m, readme, phone)
        _approves(m, phone)
        _denies(m, phone)
        # The page finds a daemon that was restarted again by itself.
        m.sh("systemctl restart twostepd")
        past_the_grace(m)
        _until_offered(m, True)
        _approves(m, phone)
        _the_pages_are_stopped(m, phone, app)


def _the_pages_are_stopped(m, phone, app):
    """What needs the phone is not offered, the code is; and the page finds its NAS again."""
    m.sh("systemctl stop twostep-web")
    phone.until_connected(False)
    _until_offered(m, False)
    m.until(f"test $(($(date +%s) / {app.period})) -gt {app.used}")  # a code is good once
    with ssh(m, "alice", "id -un") as login:
        login.until("Enter the code that your authenticator app shows (? for other ways): ")
        login.type(app.code(int(m.sh("date +%s")) // app.period))
        expect_in(login, "alice")
    m.sh("systemctl start twostep-web")
    phone.until_connected()
    _until_offered(m, True)
    _approves(m, phone)
