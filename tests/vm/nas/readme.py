"""README's sections as people read them, and an administrator who does what they say."""

import contextlib
import re

from .machine import MAC_PASSWORD, TOP, expect
from .terminal import Terminal

PASSWORDS = {"admin": MAC_PASSWORD, "alice": "wonderland", "bob": "builder"}


def _section(title):
    return (TOP / "README.md").read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def _commands(block):
    """The commands of a block, without what is said behind them."""
    return [line.partition("#")[0].strip() for line in block.strip().splitlines()]


class ProtectSsh:
    """"Protect ssh"."""

    def __init__(self):
        section = _section("Protect ssh")
        self.auth, self.account, commands = re.findall(r"```\n(.*?)```", section, re.S)
        settings, by_key = re.search(r"In `/etc/ssh/sshd_config`:(.*?); for keys too(.*?)Then:", section, re.S).groups()
        self.settings, self.by_key = re.findall(r"`([^`]+)`", settings), re.findall(r"`([^`]+)`", by_key)
        self.check, self.reload, self.setup, login = _commands(commands)
        expect(login == "ssh alice@nas", f"the last command is what client() does: {login}")

    def follow(self, m):
        """The steps of an administrator."""
        edit(m, "/etc/pam.d/sshd", lambda text: text.replace("@include common-auth\n", "@include common-auth\n" + self.auth))
        edit(m, "/etc/pam.d/sshd", lambda text: text.replace("@include common-account\n", self.account + "@include common-account\n"))
        edit(m, "/etc/ssh/sshd_config", lambda text: _set(text, self.settings))
        as_bob(m, self.check, r"(?m)^sshd +in force$")
        with reloaded(m):
            as_bob(m, self.reload)
        effective = m.sh("sshd -T").splitlines()
        expect(all(setting.lower() in effective for setting in self.settings), f"{self.settings} are in force: {effective}")


class PairAPhone:
    """"Pair a phone"."""

    def __init__(self):
        section = _section("Pair a phone")
        self.setting, commands = re.findall(r"```\n(.*?)```", section, re.S)
        self.file, self.table = re.search(r"In `(/\S+)`, under `(\[\w+\])`, write what phones open:", section).groups()
        self.address = re.fullmatch(r'address = "(https://\S+)"\n', self.setting)[1]
        self.restart, self.fingerprint, self.setup, login = _commands(commands)
        expect(login == "ssh alice@nas", f"the last command is what client() does: {login}")

    @property
    def place(self):
        """The NAS's name and port, as phones open it."""
        return self.address.removeprefix("https://")

    def follow(self, m):
        """The steps of an administrator; the certificate's fingerprint."""
        edit(m, self.file, lambda text: text.replace(f"\n{self.table}\n", f"\n{self.table}\n{self.setting}"))
        as_bob(m, self.restart)
        return as_bob(m, self.fingerprint, r"(?m)^((?:[0-9A-F]{2}:){31}[0-9A-F]{2})$")[1]


def client(m, user, command, *options):
    """`ssh user@nas` at a terminal."""
    return Terminal([*m.ssh_client("-t", *options), f"{user}@127.0.0.1", *([command] if command else [])])


def ssh(m, user, command=None, key=None):
    """The same, with the password typed."""
    terminal = client(m, user, command, *(["-o", "PubkeyAuthentication=no"] if key is None else ["-i", str(key)]))
    terminal.answers(("assword: ", PASSWORDS[user]))
    return terminal


def as_bob(m, command, says=""):
    """bob is an administrator: he runs what README says with his own password for sudo. The match of what it must say."""
    with ssh(m, "bob", command) as shell:
        shell.answers(("password for bob: ", PASSWORDS["bob"]))
        status, said = shell.end()
        found = re.search(says, said)
        expect(status == 0 and found, f"{command}: {status} {said}")
        return found


def as_on_a_fresh_debian(m):
    """The bed's own settings of sshd would be found before those of sshd_config."""
    with reloaded(m):
        m.sh("rm /etc/ssh/sshd_config.d/vm.conf && sshd -t && systemctl reload ssh")


@contextlib.contextmanager
def reloaded(m):
    """sshd is told to reload in here; it listens anew afterwards, a moment later than the command ends."""
    listening = "journalctl -q -u ssh | grep -c 'Server listening on ::'"
    before = m.sh(listening)
    yield
    m.until(f"test $({listening}) -gt {before}")


def edit(m, path, change):
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


def expect_in(login, user):
    """What `id -un` says at the end of a login."""
    status, said = login.end()
    expect(status == 0 and f"\n{user}\n" in said, f"{user}'s login: {status} {said}")
