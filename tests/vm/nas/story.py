"""A story of logins: what people do, round by round, what they are told, and what must therefore be stored."""

from .machine import expect
from .secondstep import App, answer, call, start

RACERS = [f"racer{n}" for n in range(4)]
GUESSED = ["guessed0", "guessed1"]
FORGETFUL = "forgetful"
ALICE = "alice"  # has a password: for recovery codes


class Told:
    """One account: what was answered about it, and what the disk must therefore say of it.

    `states[n]` is what is stored once n of the changes are; `heard[n]` is the log's size when the first word of change n came out of the guest,
    which is never earlier than it left the engine.
    """

    def __init__(self, first):
        self.states, self.heard = [first], []

    def change(self, heard, **changed):
        """One more change that was told of."""
        self.states.append({**self.states[-1], **changed})
        self.heard.append(heard)

    @property
    def now(self):
        """What was told last."""
        return self.states[-1]

    def before(self, until):
        """How many of the changes had been told when the log was smaller than `until`."""
        return sum(heard < until for heard in self.heard)


class Story:
    """What people did, and what they were told."""

    def __init__(self, step):
        self.step = step
        self.apps = {user: App(user) for user in [*RACERS, *GUESSED, FORGETFUL, ALICE]}
        self.told, self.codes, self.tokens = {}, [], []

    def prepare(self, machine, callers):
        """Makes the accounts and their second steps; alice's recovery codes need her password and a login."""
        people = [user for user in self.apps if user != ALICE]
        machine.sh("".join(f"echo {user}:x:{2000 + n}:2000::/:/bin/sh >> /etc/passwd\n" for n, user in enumerate(people)) + "echo people:x:2000: >> /etc/group; sync")
        for user, app in self.apps.items():
            done = callers.round((user, 1, call("Admin.Import", user=user, text=app.uri)))
            expect(done[0].error is None, f"{user}: {done}")
        renewal = call("Account.RegenerateRecoveryCodes", user=ALICE, password="wonderland", login="@LOGIN@")
        said = callers.round((ALICE, 1, start(ALICE), answer("security_code", self.apps[ALICE].code(self.step)), renewal))
        expect(len(said[2]["recovery_codes"] or []) == 10, f"recovery codes: {said}")
        self.codes = said[2]["recovery_codes"]

    def remember(self, stored):
        """What is stored before anything is told."""
        self.told = {user: Told(first) for user, first in stored.items()}

    # ---- what people do; each gives the clients of a round, and judge() what they were told ----

    def race(self, user, ahead, count=16):
        """Many type one code at once."""
        return f"race {user} {self.step + ahead}", count, start(user), answer("security_code", self.apps[user].code(self.step + ahead))

    def guess(self, user):
        """One types a wrong code."""
        return f"guess {user}", 1, start(user), answer("security_code", self.apps[user].wrong(self.step))

    def recover(self, number, count=6):
        """Many type one recovery code."""
        return f"recover {ALICE} {number}", count, start(ALICE), answer("recovery_code", self.codes[number])

    def trust(self, user, ahead):
        """One logs in and has the device trusted."""
        code = answer("security_code", self.apps[user].code(self.step + ahead))
        return f"trust {user} {self.step + ahead}", 1, start(user), code, call("Login.TrustDevice", login="@LOGIN@", label="laptop")

    def distrust(self, user):
        """The trusted device is trusted no longer."""
        return f"distrust {user}", 1, call("Account.Status", user=user), call("Account.RemoveTrustedDevice", user=user, id="@DEVICE@")

    def judge(self, replies):
        """Checks what a round was told, and keeps what follows from it."""
        by = {}
        for reply in replies:
            by.setdefault(reply.tag, []).append(reply)
        for tag, said in by.items():
            kind, user, *what = tag.split()
            told, last = self.told[user], [reply for reply in said if reply.number > 0]
            outcomes = [reply["outcome"] for reply in last if reply.number == 1]
            if kind in ("race", "recover"):
                expect(outcomes.count("verified") == 1 and outcomes.count("already_used") == len(outcomes) - 1, f"{tag}: {outcomes}")
            # Whoever hears `already_used` was told that the other one is in.
            heard = min(reply.heard for reply in last)
            if kind == "race":
                told.change(heard, used=told.now["used"] | {int(what[0])}, failures=0)
            elif kind == "recover":
                told.change(heard, spent=told.now["spent"] + 1, failures=0)
            elif kind == "guess":
                expect(outcomes == ["wrong"], f"{tag}: {said}")
                told.change(heard, failures=told.now["failures"] + 1)
            elif kind == "trust":
                expect(outcomes == ["verified"] and last[1]["trusted_device"], f"{tag}: {said}")
                told.change(last[0].heard, used=told.now["used"] | {int(what[0])}, failures=0)
                told.change(last[1].heard, devices=told.now["devices"] + 1)
                self.tokens.append((user, last[1]["trusted_device"], len(told.heard)))
            elif kind == "distrust":
                expect(last[0].said and last[0].error is None, f"{tag}: {said}")
                told.change(heard, devices=told.now["devices"] - 1)

    def rounds(self):
        """One after the other, while each touches several accounts at once."""
        yield self.race(RACERS[0], 0), self.guess(GUESSED[0]), self.recover(0)
        yield self.guess(GUESSED[1]), self.guess(FORGETFUL)
        yield self.race(RACERS[1], 0, 64), self.guess(GUESSED[1]), self.guess(FORGETFUL)
        yield self.trust(RACERS[2], 0), self.recover(1), self.guess(GUESSED[0])
        yield self.race(FORGETFUL, 0), self.race(RACERS[0], 1)
        yield self.guess(GUESSED[0]), self.distrust(RACERS[2]), self.guess(FORGETFUL)
        yield self.trust(RACERS[3], 1), self.race(RACERS[2], 1), self.guess(GUESSED[1])
        yield self.recover(2), self.race(RACERS[1], 1)
        yield self.guess(GUESSED[0]), self.guess(GUESSED[1]), self.recover(3)
