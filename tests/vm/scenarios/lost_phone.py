"""A phone is lost: from README's "Protect ssh", followed word for word, to the button and back."""

import re
import subprocess

from nas.installation import account_state, expect_admin_in, expect_admin_out, past_the_grace
from nas.machine import MAC_PASSWORD, expect
from nas.mail import MailServer
from nas.readme import PASSWORDS, ProtectSsh, as_bob, as_on_a_fresh_debian, client, edit, expect_in, reloaded, ssh
from nas.secondstep import App

NEEDS_PACKAGE = True

RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"
ENGINE = "/var/lib/twostep/engine"


def _by_key_alone(m, key):
    """How a login of alice's ends that shows a key and types nothing; what she is told."""
    with client(m, "alice", "id -un", "-i", str(key), "-o", "PreferredAuthentications=publickey") as login:
        return login.end()


def _step(m, app):
    """The time step that alice's phone is in."""
    return int(m.sh("date +%s")) // app.period


def _enrol(m, readme, mail=None):
    """alice runs `twostep setup` in a login of hers, with an address where there is mail; her phone."""
    with ssh(m, "alice", readme.setup + (" --email alice@nas.test" if mail else "")) as shell:
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


def _with_the_phone(m, app):
    """README: password, then the code."""
    with ssh(m, "alice", "id -un") as login:
        login.until("authenticator app shows (? for other ways): ")
        login.type(app.code(_step(m, app)))
        expect_in(login, "alice")


def _without_the_phone(m, app):
    """Neither guesses nor Enter let alice in, and no mail goes out any more."""
    accepted = "journalctl -q -u ssh | grep -c 'Accepted .* for alice'"
    before = m.sh(accepted)
    with ssh(m, "alice", "id -un") as login:
        for _ in range(3):
            login.answers(("authenticator app shows", app.wrong(_step(m, app))))
        status, said = login.end()
        expect(status != 0 and "Too many wrong codes." in said and "\nalice\n" not in said, f"alice by guessing: {status} {said}")
    m.sh("sleep 30")  # so long after one mail no other is sent
    with ssh(m, "alice", "id -un") as login:
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
    m.sh("press-gpio 4000")
    m.until(RECOVERED)


def a_lost_phone_is_got_over_with_the_button(bed):
    """Q15, Q18, Q28, C2: README's "Protect ssh" word for word; alice's phone is lost and the mail dead, the button brings admin back, admin helps her, and is off again."""
    m = bed.machine()
    readme = ProtectSsh()
    as_on_a_fresh_debian(m)
    readme.follow(m)
    mail = MailServer(m)
    app = _enrol(m, readme, mail)
    _with_the_phone(m, app)
    mail.end()
    _without_the_phone(m, app)
    expect_admin_out(m)

    _press(m)
    with ssh(m, "admin") as shell:
        shell.answers(("$ ", "twostep disable-for alice; echo status $?"))
        shell.until("\nstatus 0\n")
        with ssh(m, "alice", "id -un") as login:
            expect_in(login, "alice")
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
    readme = ProtectSsh()
    as_on_a_fresh_debian(m)
    key = _key_of_alice(m)
    expect(_by_key_alone(m, key)[0] == 0, "alice's key is a way in")
    readme.follow(m)
    app = _enrol(m, readme)
    status, said = _by_key_alone(m, key)
    expect(status != 0 and "PubkeyAuthentication=no" in said, f"a key alone: {status} {said}")

    edit(m, "/etc/ssh/sshd_config", lambda text: text + "\n".join(readme.by_key) + "\n")
    with reloaded(m):
        as_bob(m, readme.reload)  # his last login by a password alone
    status, said = _by_key_alone(m, key)
    expect(status != 0 and "Permission denied (keyboard-interactive)" in said, f"the key is not enough: {status} {said}")
    with ssh(m, "alice", "id -un", key) as login:
        login.answers(("authenticator app shows", app.code(_step(m, app))))
        expect_in(login, "alice")
    _press(m)
    expect_admin_in(m)


def admin_is_let_in_where_nothing_can_be_decided(bed):
    """Q18, B6: with noise for a database ssh refuses alice with the reason and the way out, and lets in the admin that the button brought back."""
    m = bed.machine()
    readme = ProtectSsh()
    as_on_a_fresh_debian(m)
    readme.follow(m)
    expect(m.ssh("alice", PASSWORDS["alice"]) == (0, "alice"), "alice has no second step yet")
    m.sh(f"for file in {ENGINE}/store.db*; do head -c $(($(stat -c %s $file) + 16384)) /dev/urandom > $file; done; systemctl restart twostepd")
    past_the_grace(m)
    with ssh(m, "alice", "id -un") as login:
        status, said = login.end()
        expect(status != 0 and "can't be checked now" in said and "the reset button helps" in said, f"alice: {status} {said}")
    expect_admin_out(m)
    _press(m)
    expect_admin_in(m)
    expect(m.ssh("alice", PASSWORDS["alice"])[0] != 0, "alice is still refused")
    m.sh("twostep recovery disable")
    expect_admin_out(m)
