"""A phone is lost: from README's "Protect ssh", followed word for word, to the button and back."""

import contextlib
import re
import subprocess

from nas.installation import account_state, expect_admin_in, expect_admin_out, past_the_grace
from nas.machine import MAC_PASSWORD, TOP, expect
from nas.mail import MailServer
from nas.secondstep import App
from nas.terminal import Terminal

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
ENGINE = "/var/lib/twostep/engine"
PASSWORDS = {"admin": MAC_PASSWORD, "alice": "wonderland", "bob": "builder"}


class _Readme:
    """The section as people read it."""

    def __init__(self):
        section = (TOP / "README.md").read_text(encoding="utf-8").split("\n## Protect ssh\n")[1].split("\n## ")[0]
        self.auth, self.account, commands = re.findall(r"```\n(.*?)```", section, re.S)
        settings, by_key = re.search(r"In `/etc/ssh/sshd_config`:(.*?); for keys too(.*?)Then:", section, re.S).groups()
        self.settings, self.by_key = re.findall(r"`([^`]+)`", settings), re.findall(r"`([^`]+)`", by_key)
        self.check, self.reload, self.setup, login = (line.partition("#")[0].strip() for line in commands.strip().splitlines())
        expect(login == "ssh alice@nas", f"the last command is what _client does: {login}")


def _client(m, user, command, *options):
    """`ssh user@nas` at a terminal."""
    return Terminal([*m.ssh_client("-t", *options), f"{user}@127.0.0.1", *([command] if command else [])])


def _ssh(m, user, command=None, key=None):
    """The same, with the password typed."""
    terminal = _client(m, user, command, *(["-o", "PubkeyAuthentication=no"] if key is None else ["-i", str(key)]))
    terminal.answers(("assword: ", PASSWORDS[user]))
    return terminal


def _by_key_alone(m, key):
    """How a login of alice's ends that shows a key and types nothing; what she is told."""
    with _client(m, "alice", "id -un", "-i", str(key), "-o", "PreferredAuthentications=publickey") as login:
        return login.end()


def _as_bob(m, command, says=""):
    """bob is an administrator: he runs what README says with his own password for sudo."""
    with _ssh(m, "bob", command) as shell:
        shell.answers(("password for bob: ", PASSWORDS["bob"]))
        status, said = shell.end()
        expect(status == 0 and re.search(says, said), f"{command}: {status} {said}")


def _as_on_a_fresh_debian(m):
    """The bed's own settings of sshd would be found before those of sshd_config."""
    with _reloaded(m):
        m.sh("rm /etc/ssh/sshd_config.d/vm.conf && sshd -t && systemctl reload ssh")


@contextlib.contextmanager
def _reloaded(m):
    """sshd is told to reload in here; it listens anew afterwards, a moment later than the command ends."""
    listening = "journalctl -q -u ssh | grep -c 'Server listening on ::'"
    before = m.sh(listening)
    yield
    m.until(f"test $({listening}) -gt {before}")


def _edit(m, path, change):
    """Edits a file, which must differ then."""
    before = m.sh(f"cat {path}") + "\n"
    after = change(before)
    expect(after != before, f"README has nothing to change in {path}: {before}")
    m.push(after, path)


def _set(text, settings):
    """sshd_config with each setting in the place where it stood, commented out or not."""
    for setting in settings:
        text, count = re.subn(rf"(?m)^#?{setting.split()[0]}\s.*$", setting, text)
        text += "" if count else f"{setting}\n"
    return text


def _protect_ssh(m, readme):
    """README's steps of an administrator."""
    _edit(m, "/etc/pam.d/sshd", lambda text: text.replace("@include common-auth\n", "@include common-auth\n" + readme.auth))
    _edit(m, "/etc/pam.d/sshd", lambda text: text.replace("@include common-account\n", readme.account + "@include common-account\n"))
    _edit(m, "/etc/ssh/sshd_config", lambda text: _set(text, readme.settings))
    _as_bob(m, readme.check, r"(?m)^sshd +in force$")
    with _reloaded(m):
        _as_bob(m, readme.reload)
    effective = m.sh("sshd -T").splitlines()
    expect(all(setting.lower() in effective for setting in readme.settings), f"{readme.settings} are in force: {effective}")


def _step(m, app):
    """The time step that alice's phone is in."""
    return int(m.sh("date +%s")) // app.period


def _enrol(m, readme, mail=None):
    """alice runs `twostep setup` in a login of hers, with an address where there is mail; her phone."""
    with _ssh(m, "alice", readme.setup + (" --email alice@nas.test" if mail else "")) as shell:
        shell.answers(("Password: ", PASSWORDS["alice"]))
        if mail:
            shell.until("Code from the e-mail")
            shell.type(mail.code())
        shell.until("Code that the app shows: ")
        secret = re.search(r"otpauth://totp/\S*[?&]secret=([A-Z2-7]+)", shell.shown)[1]
        app = App("alice", secret, 30)
        used = _step(m, app)
        shell.type(app.code(used))
        shell.answers(("Password, once more: ", PASSWORDS["alice"]))
        status, said = shell.end()
        expect(status == 0 and "2-step verification is on" in said, f"setup: {status} {said}")
    m.until(f"test $(($(date +%s) / {app.period})) -gt {used}")  # a code is good once
    return app


def _expect_alice_in(login):
    """What `id -un` says at the end of a login."""
    status, said = login.end()
    expect(status == 0 and "\nalice\n" in said, f"alice's login: {status} {said}")


def _with_the_phone(m, app):
    """README: password, then the code."""
    with _ssh(m, "alice", "id -un") as login:
        login.until("authenticator app shows (? for other ways): ")
        login.type(app.code(_step(m, app)))
        _expect_alice_in(login)


def _without_the_phone(m, app):
    """Neither guesses nor Enter let alice in, and no mail goes out any more."""
    accepted = "journalctl -q -u ssh | grep -c 'Accepted .* for alice'"
    before = m.sh(accepted)
    with _ssh(m, "alice", "id -un") as login:
        for _ in range(3):
            login.answers(("authenticator app shows", app.wrong(_step(m, app))))
        status, said = login.end()
        expect(status != 0 and "Too many wrong codes." in said and "\nalice\n" not in said, f"alice by guessing: {status} {said}")
    m.sh("sleep 30")  # so long after one mail no other is sent
    with _ssh(m, "alice", "id -un") as login:
        login.answers(("authenticator app shows", ""), ("e-mail code\n", "e-mail"))
        login.until("the mail server can't be reached")
        login.until("Which one")
    expect(m.sh(accepted) == before, "sshd let her in")


def _key_of_alice(m):
    """A key of alice's, on the host; the NAS knows it."""
    key = m.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    m.push(key.with_suffix(".pub"), "/home/alice/.ssh/authorized_keys", mode="600")
    m.sh("chown -R alice: /home/alice/.ssh && chmod 700 /home/alice/.ssh")
    return key


def _press(m):
    """Three seconds on the button."""
    m.sh("press-gpio 3200")
    m.until(RECOVERED)


def a_lost_phone_is_got_over_with_the_button(bed):
    """Q15, Q18, Q28, C2: README's "Protect ssh" word for word; alice's phone is lost and the mail dead, the button brings admin back, admin helps her, and is off again."""
    m = bed.machine()
    readme = _Readme()
    _as_on_a_fresh_debian(m)
    _protect_ssh(m, readme)
    mail = MailServer(m)
    app = _enrol(m, readme, mail)
    _with_the_phone(m, app)
    mail.end()
    _without_the_phone(m, app)
    expect_admin_out(m)

    _press(m)
    with _ssh(m, "admin") as shell:
        shell.answers(("$ ", "twostep disable-for alice; echo status $?"))
        shell.until("\nstatus 0\n")
        with _ssh(m, "alice", "id -un") as login:
            _expect_alice_in(login)
        shell.answers(("$ ", "sudo twostep recovery disable"), ("password for admin: ", MAC_PASSWORD))
        status, said = shell.end()
        expect(status != 0, f"admin's session goes on: {said}")
    m.until("! pgrep -u admin")
    expect(account_state(m) == "disabled", "admin is off again")
    expect_admin_out(m)
    expect("disabled_for" in m.sh("twostep audit --user alice"), "the audit tells of admin's help")


def the_button_helps_where_ssh_wants_keys_too(bed):
    """Q15, Q18, C2: README's "for keys too": a key alone never passes, key and code do, and admin, who has no key, is let in after a press."""
    m = bed.machine()
    readme = _Readme()
    _as_on_a_fresh_debian(m)
    key = _key_of_alice(m)
    expect(_by_key_alone(m, key)[0] == 0, "alice's key is a way in")
    _protect_ssh(m, readme)
    app = _enrol(m, readme)
    status, said = _by_key_alone(m, key)
    expect(status != 0 and "PubkeyAuthentication=no" in said, f"a key alone: {status} {said}")

    _edit(m, "/etc/ssh/sshd_config", lambda text: text + "\n".join(readme.by_key) + "\n")
    with _reloaded(m):
        _as_bob(m, readme.reload)  # his last login by a password alone
    status, said = _by_key_alone(m, key)
    expect(status != 0 and "Permission denied (keyboard-interactive)" in said, f"the key is not enough: {status} {said}")
    with _ssh(m, "alice", "id -un", key) as login:
        login.answers(("authenticator app shows", app.code(_step(m, app))))
        _expect_alice_in(login)
    _press(m)
    expect_admin_in(m)


def admin_is_let_in_where_nothing_can_be_decided(bed):
    """Q18, B6: with noise for a database ssh refuses alice with the reason and the way out, and lets in the admin that the button brought back."""
    m = bed.machine()
    readme = _Readme()
    _as_on_a_fresh_debian(m)
    _protect_ssh(m, readme)
    expect(m.ssh("alice", PASSWORDS["alice"]) == (0, "alice"), "alice has no second step yet")
    m.sh(f"for file in {ENGINE}/store.db*; do head -c $(($(stat -c %s $file) + 16384)) /dev/urandom > $file; done; systemctl restart twostepd")
    past_the_grace(m)
    with _ssh(m, "alice", "id -un") as login:
        status, said = login.end()
        expect(status != 0 and "can't be checked now" in said and "the reset button helps" in said, f"alice: {status} {said}")
    expect_admin_out(m)
    _press(m)
    expect_admin_in(m)
    expect(m.ssh("alice", PASSWORDS["alice"])[0] != 0, "alice is still refused")
    m.sh("twostep recovery disable")
    expect_admin_out(m)
