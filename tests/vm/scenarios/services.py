"""Every service that speaks PAM, an address at the first login, and what is left where nothing can be written or decided."""

import base64
import re

from nas.installation import expect_admin_in, past_the_grace
from nas.machine import MAC_PASSWORD, TOP, expect
from nas.mail import MailServer
from nas.secondstep import App, Callers, answer, call, start
from nas.terminal import Terminal

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
ENGINE = "/var/lib/twostep/engine"
PASSWORDS = {"admin": MAC_PASSWORD, "alice": "wonderland", "bob": "builder"}
APP = "authenticator app shows"


def _shipped(service, kind):
    """The lines of this kind that the package ships for a service."""
    text = (TOP / "systemd" / "pam" / service).read_text(encoding="utf-8")
    return "".join(line + "\n" for line in text.splitlines() if line.startswith(kind + " "))


def _protect(m, service, auth="@include common-auth", account="@include common-account"):
    """Puts the shipped lines where they say that they belong."""
    before = m.sh(f"cat /etc/pam.d/{service}") + "\n"
    after = before.replace(f"{auth}\n", f"{auth}\n{_shipped(service, 'auth')}", 1).replace(f"{account}\n", f"{_shipped(service, 'account')}{account}\n", 1)
    expect(after.count("pam_twostep.so") == len(re.findall("pam_twostep", _shipped(service, "auth") + _shipped(service, "account"))), f"{service}: {after}")
    m.push(after, f"/etc/pam.d/{service}")


def _import(m, *users):
    """Second steps of these accounts; their apps."""
    apps = [App(user) for user in users]
    replies = Callers(m).round(*[(app.user, 1, call("Admin.Import", user=app.user, text=app.uri)) for app in apps])
    expect(all(reply.error is None for reply in replies), f"imported: {replies}")
    return apps


def _step(m, app):
    """The time step that the app is in."""
    return int(m.sh("date +%s")) // app.period


def _code(m, app):
    """What the app shows now."""
    return app.code(_step(m, app))


def _next_code(m, app):
    """A code is good once: the guest's clock goes on to the next one."""
    m.sh(f"date -s '+{app.period} seconds' > /dev/null")
    return _code(m, app)


def _ssh(m, user, command=None):
    """`ssh user@nas` at a terminal, with the password typed."""
    terminal = Terminal([*m.ssh_client("-t", "-o", "PreferredAuthentications=keyboard-interactive"), f"{user}@127.0.0.1", *([command] if command else [])])
    terminal.answers(("assword: ", PASSWORDS[user]))
    return terminal


def _press(m):
    m.sh("press-gpio 4000")
    m.until(RECOVERED)


def _check(m):
    """What `twostep pam check` says: its exit code, and the state of each service."""
    status, said = m.status("twostep pam check > /run/checked"), m.sh("cat /run/checked")
    return status, dict(re.findall(r"(?m)^(\S+) {2,}(\S.*)$", said)), said


def all_services_ask_after_pam_auth_update(bed):
    """Q15, Q16: `pam-auth-update --enable twostep`, and ssh, sudo and login ask for the second step, each once; `twostep pam check` says what is in force."""
    m = bed.machine()
    before = m.sh("cat /etc/pam.d/common-auth")
    expect(_check(m)[0] == 0 and "in force" not in _check(m)[2], f"nothing is asked yet: {_check(m)[2]}")
    m.sh("DEBIAN_FRONTEND=noninteractive pam-auth-update --enable twostep")
    status, states, said = _check(m)
    expect(status != 0 and states["sshd"] == "BY-PASSABLE" and "A key passes" in said, f"keys are not covered by it: {said}")
    m.push(m.sh("cat /etc/pam.d/sshd").replace("@include common-account", _shipped("sshd", "account") + "@include common-account") + "\n", "/etc/pam.d/sshd")
    status, states, said = _check(m)
    expect(status == 0 and [states[name] for name in ("sshd", "sudo", "login", "su")] == ["in force"] * 4, said)

    alice, bob = _import(m, "alice", "bob")
    with _ssh(m, "bob") as shell:
        shell.answers((APP, _code(m, bob)), ("$ ", "sudo login alice"))
        shell.answers(("password for bob: ", PASSWORDS["bob"]), (APP, _next_code(m, bob)))
        shell.answers(("Password: ", PASSWORDS["alice"]), (APP, alice.wrong(_step(m, alice))))
        shell.answers(("Wrong code.", _code(m, alice)), ("$ ", "echo I am $(id -un)"))
        shell.until("I am alice")
    # Who breaks off is not let in, by sudo neither.
    with _ssh(m, "bob", "sudo -k; sudo id -un") as shell:
        shell.answers((APP, _next_code(m, bob)), ("password for bob: ", PASSWORDS["bob"]))
        shell.until(APP)
        # sudo forgets a Ctrl-C that comes between its question and its reading: a person would press again.
        m.sh("until grep -q wait_woken /proc/$(pgrep -x sudo)/wchan; do sleep 0.1; done")
        shell.interrupt()
        status, said = shell.end()
        expect(status != 0 and "root" not in said, f"sudo without a code: {status} {said}")
    m.sh("DEBIAN_FRONTEND=noninteractive pam-auth-update --remove twostep")
    expect(m.sh("cat /etc/pam.d/common-auth") == before, "what was written is taken back")


def the_recovered_admin_works_with_sudo(bed):
    """Q18, Q28, B6: with the module in sudo too, the admin that the button brought back gives the address's password alone, also where nothing can be decided."""
    m = bed.machine()
    _protect(m, "sshd")
    _protect(m, "sudo")
    admin, bob = _import(m, "admin", "bob")
    with _ssh(m, "bob", "sudo id -un") as shell:
        shell.answers((APP, _code(m, bob)), ("password for bob: ", PASSWORDS["bob"]), (APP, _next_code(m, bob)))
        status, said = shell.end()
        expect(status == 0 and "\nroot\n" in said, f"sudo of bob's: {status} {said}")
    _press(m)
    _admin_works(m)
    _ruin(m)
    _admin_works(m)
    with _ssh(m, "bob", "id -un") as shell:
        status, said = shell.end()
        expect(status != 0 and "can't be checked now" in said, f"bob: {status} {said}")


def _admin_works(m):
    """admin's login, and sudo in it, by the password alone: no other question comes."""
    with _ssh(m, "admin", "sudo -k; sudo id -un") as shell:
        shell.answers(("password for admin: ", MAC_PASSWORD))
        status, said = shell.end()
        expect(status == 0 and "\nroot\n" in said and APP not in shell.shown, f"admin's sudo: {status} {shell.shown}")


def _ruin(m):
    """Noise for a database."""
    m.sh(f"for file in {ENGINE}/store.db*; do head -c $(($(stat -c %s $file) + 16384)) /dev/urandom > $file; done; systemctl restart twostepd")
    past_the_grace(m)


def _fill(m, user):
    """Fills the disk as this user, and nothing is left for them."""
    m.sh(f"install -d -o {user} /var/fill; runuser -u {user} -- sh -c 'dd if=/dev/zero of=/var/fill/big bs=1M; "
         "dd if=/dev/zero of=/var/fill/small bs=4k; for i in $(seq 200); do echo > /var/fill/$i || break; done' 2> /dev/null", check=False)
    expect(m.status(f"runuser -u {user} -- dd if=/dev/zero of=/var/fill/more bs=4k count=1 2> /dev/null") != 0, "the disk is full")


def _use_up(m, app):
    """What room the database still has is used up by wrong answers, until not even a commit of its own fits in."""
    callers = Callers(m)
    for _ in range(100):
        callers.round(("wrong", 32, start(app.user), answer("security_code", app.wrong(_step(m, app)))))
        # While an account is locked, nothing is counted.
        said = callers.round(("unlock", 1, call("Admin.Unlock", user=app.user)))
        if said[-1].error == "StorageFailed":
            return
    raise AssertionError(f"the disk is full, and answers are still counted: {said[-1]}")


def admin_is_let_in_while_the_disk_is_full(bed):
    """Q18, Q28, B6: the disk is full for all but root: ssh refuses alice's code with the reason, and lets in the admin that the button brought back, who had a second step."""
    m = bed.machine()
    _protect(m, "sshd")
    alice, bob, _ = _import(m, "alice", "bob", "admin")
    _fill(m, "alice")
    _use_up(m, bob)
    with _ssh(m, "alice", "id -un") as login:
        login.answers((APP, _code(m, alice)))
        status, said = login.end()
        expect(status != 0 and "can't be checked now" in said and "the reset button helps" in said, f"alice: {status} {said}")
    _press(m)
    m.until("journalctl -q -u twostepd | grep -q 'its second step is not off yet'")
    expect_admin_in(m)
    m.sh("systemctl restart twostepd")
    past_the_grace(m)
    expect_admin_in(m)
    m.sh("rm -r /var/fill; systemctl restart twostepd")  # it would try again by itself, later and later
    past_the_grace(m)
    m.until("twostep --json audit --user admin | grep -q '\"recovered\"'")
    expect_admin_in(m)
    with _ssh(m, "alice", "id -un") as login:
        login.answers((APP, _next_code(m, alice)))
        expect(login.end()[0] == 0, "alice is let in again")


def an_address_is_given_at_the_first_login(bed):
    """Q7, Q9, Q21: an enforced user's first login by ssh asks for a recovery address, mails a code, and sets up the app; the next one takes a mailed code."""
    m = bed.machine()
    _protect(m, "sshd")
    mail = MailServer(m)
    m.sh("twostep enforce --user alice")
    with _ssh(m, "alice", "id -un") as login:
        login.answers(("Recovery e-mail address", "alice@nas.test"))
        login.until("A code was mailed to alice@nas.test")
        login.type(mail.code())
        login.until("give it the key: ")
        app = App("alice", login.until("\n").strip(), 30)
        login.answers(("the code that the app shows: ", _code(m, app)), ("Press Enter", ""))
        status, said = login.end()
        expect(status == 0 and "\nalice\n" in said, f"the first login: {status} {said}")
    m.sh("sleep 30")  # so long after one mail no other is sent
    with _ssh(m, "alice", "id -un") as login:
        login.answers((APP, "?"), ("e-mail code\n", "e-mail"))
        login.until("a***@nas.test")
        login.type(mail.code())
        status, said = login.end()
        expect(status == 0 and "\nalice\n" in said, f"by the mailed code: {status} {said}")


def _cockpit(m, authorization):
    """One request of Cockpit's log-in page: the status line, and the next question with the name of the conversation."""
    said = m.sh("exec 3<>/dev/tcp/127.0.0.1/9090; printf 'GET /cockpit/login HTTP/1.1\\r\\nHost: 127.0.0.1:9090\\r\\n"
                f"Authorization: {authorization}\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3")
    asked = re.search(r"(?i)WWW-Authenticate: X-Conversation (\S+) (\S+)", said)
    return said.splitlines()[0], asked[1] if asked else None, base64.b64decode(asked[2]).decode() if asked else said


def _encoded(text):
    return base64.b64encode(text.encode()).decode()


def cockpit_asks_at_its_login_page(bed):
    """Q15, Q16: the lines shipped for Cockpit: its log-in page asks for the code after the password, a wrong one is told, and the right one opens the session."""
    m = bed.machine()
    _protect(m, "cockpit", "auth       substack     common-auth", "account    include      common-account")
    status, states, said = _check(m)
    expect(status == 0 and states["cockpit"] == "in force", said)
    alice, = _import(m, "alice")
    m.start("exec /usr/lib/cockpit/cockpit-ws --no-tls --address=127.0.0.1 --port=9090")
    m.until(": < /dev/tcp/127.0.0.1/9090")
    basic = f"Basic {_encoded('bob:' + PASSWORDS['bob'])}"
    expect(" 200 " in _cockpit(m, basic)[0], "bob has no second step")
    basic = f"Basic {_encoded('alice:' + PASSWORDS['alice'])}"
    line, name, asked = _cockpit(m, basic)
    expect(" 401 " in line and APP in asked, f"alice is asked: {line} {asked}")
    line, name, asked = _cockpit(m, f"X-Conversation {name} {_encoded(alice.wrong(_step(m, alice)))}")
    expect(" 401 " in line and "Wrong code." in asked and APP in asked, f"a wrong code: {line} {asked}")
    line, _, said = _cockpit(m, f"X-Conversation {name} {_encoded(_code(m, alice))}")
    expect(" 200 " in line, f"the right code: {line} {said}")
    m.until("pgrep -u alice cockpit-bridge")
