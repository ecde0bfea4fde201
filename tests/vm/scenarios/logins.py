"""A power cut while people log in: no code lets in twice, no answer that was given is forgotten, no wrong one forgiven (B1, B2)."""

import random
import sqlite3
import time

from nas import writelog
from nas.installation import past_the_grace
from nas.layers import Layer
from nas.machine import expect
from nas.secondstep import PERIOD, Callers, Engine, answer, start
from nas.story import ALICE, GUESSED, RACERS, Story

NEEDS_PACKAGE = True

STATE = "/var/lib/twostep"
DATABASE = {"store.db": f"{STATE}/engine/store.db", "store.db-wal": f"{STATE}/engine/store.db-wal", "key": f"{STATE}/key"}
DAEMON = "/usr/sbin/twostepd"
PEOPLE = {"passwd": "/etc/passwd", "group": "/etc/group"}
FREE = 5  # wrong answers before a wait


def _database(image):
    """The database's files and the key on a disk."""
    files = writelog.files(image, DATABASE.values())
    return {name: files[path] for name, path in DATABASE.items()}


def _all(late, chance):
    """Every moment for a cut, and those at which it tears the last write."""
    yield from writelog.moments(late)
    for safe, loose, until in writelog.epochs(late):
        if loose:
            yield f"before flush, {len(safe)} safe, {len(loose)} others, the last one torn", safe + writelog.torn(loose, chance), until


def _stored(folder, files):
    """What a database says of each account; with its log, as SQLite recovers it."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    db = sqlite3.connect(folder / "store.db")
    try:
        expect(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the database is damaged")
        stored = {name: {"failures": failures, "used": set(), "spent": 0, "devices": 0, "uid": uid}
                  for uid, name, failures in db.execute("SELECT uid, name, failures FROM accounts")}
        names = {state.pop("uid"): name for name, state in stored.items()}
        for uid, step in db.execute("SELECT uid, step FROM used_steps WHERE burnt = 0"):
            stored[names[uid]]["used"].add(step)
        for table, key in (("recovery_codes WHERE used_at IS NOT NULL", "spent"), ("trusted_devices WHERE 1", "devices")):
            for uid, count in db.execute(f"SELECT uid, count(*) FROM {table} GROUP BY uid"):
                stored[names[uid]][key] = count
        return stored
    finally:
        db.close()


def _holds(story, stored, until, name):
    """The disk after a cut says of each account what was true at some moment, and not before what had been told of it."""
    for user, told in story.told.items():
        due = told.before(until)
        expect(stored[user] in told.states[due:], f"{name}: {user} was told {told.states[due]}, and stored is {stored[user]}")


def _engine_holds(story, engine, until, name):
    """The engine itself, started on that disk, remembers what had been told."""
    step = time.time() / PERIOD
    for user, told in story.told.items():
        for used in told.states[told.before(until)]["used"]:
            if step - 1 < used < step + 0.8:
                said = engine.calls(start(user), answer("security_code", story.apps[user].code(used)))
                expect(said["outcome"] == "already_used", f"{name}: the code of {user} serves again: {said}")
    for number in range(story.told[ALICE].states[story.told[ALICE].before(until)]["spent"]):
        said = engine.calls(start(ALICE), answer("recovery_code", story.codes[number]))
        expect(said["outcome"] == "already_used", f"{name}: recovery code {number} serves again: {said}")
    for user, token, change in story.tokens:
        told = story.told[user]
        due = [state["devices"] for state in told.states[told.before(until):]]
        said = engine.calls(start(user, trusted_device=token))
        decision = {(0,): "verify", (1,): "trusted"}.get(tuple(sorted(set(due))))
        expect(change > told.before(until) or decision in (None, said["decision"]), f"{name}: the device of {user}: {said}")


def _in_the_guest(story, machine, until, name):
    """The same after a boot on that disk; and what is asked further counts on from there."""
    machine.sh(f"date -s @{(story.step + 1) * PERIOD + 1} > /dev/null")
    callers = Callers(machine)
    for user, told in story.told.items():
        due = told.states[told.before(until)]
        for used in due["used"]:
            said = callers.round(("again", 8, start(user), answer("security_code", story.apps[user].code(used))))
            outcomes = {reply["outcome"] for reply in said if reply.number}
            expect(outcomes == {"already_used"}, f"{name}: the code of {user} serves again: {said}")
        if user in GUESSED:
            said = callers.round(("wrong", 1, *story.guess(user)[2:]))
            left = said[1]["attempts_left"] or 0
            expect(left <= max(FREE - due["failures"] - 1, 1), f"{name}: {user} was told of {due['failures']} wrong answers: {said}")
        if user in RACERS:
            said = callers.round(("fresh", 8, start(user), answer("security_code", story.apps[user].code(story.step + 2))))
            outcomes = sorted(reply["outcome"] for reply in said if reply.number)
            expect(outcomes == ["already_used"] * 7 + ["verified"], f"{name}: a fresh code of {user}: {outcomes}")
    for number in range(story.told[ALICE].states[story.told[ALICE].before(until)]["spent"]):
        said = callers.round(("again", 1, *story.recover(number)[2:]))
        expect(said[1]["outcome"] == "already_used", f"{name}: recovery code {number} serves again: {said}")


def _logged(bed):
    """Lets the story happen on a machine whose writes are logged. The story, the disk, and the writes before and during it."""
    m = bed.machine(started=False)
    m.log_writes = m.folder / "writes"
    m.resume()
    story = Story(int(time.time()) // PERIOD)
    callers = Callers(m, lambda: m.log_writes.stat().st_size)
    story.prepare(m, callers)
    m.sh(writelog.SETTLE)
    begin = writelog.read(m.log_writes)[-1].end
    rounds = story.rounds()
    told = [callers.round(*clients) for clients in rounds]
    m.power_cut()
    writes = writelog.read(m.log_writes)
    disk = writelog.Disk(m.layer.disk, m.layer.disk_format, m.folder)
    return story, told, disk, [w for w in writes if w.end <= begin], [w for w in writes if w.end > begin]


def a_power_cut_at_each_write_of_logins(bed):
    """B1, B2: whatever a power cut leaves, no answered `verified` is forgotten, no code, device or recovery code serves again, no count falls."""
    story, told, disk, early, late = _logged(bed)
    with writelog.in_memory() as folder:
        _cuts(bed, story, told, (disk, early, late), folder)
    _boot(bed, story, disk, early, late)


def _cuts(bed, story, told, found, folder):
    """Looks at the disk after each cut."""
    disk, early, late = found
    before = disk.written(early, "early.raw")
    story.remember(_stored(folder / "db", _database(before)))
    for replies in told:
        story.judge(replies)
    people = {name: writelog.files(before, [path])[path] for name, path in PEOPLE.items()}
    program = folder / "twostepd"
    program.write_bytes(writelog.files(before, [DAEMON])[DAEMON])
    program.chmod(0o755)
    skeleton = writelog.Skeleton(before, DATABASE.values(), folder)
    chance, seen, number = random.Random(1), {}, 0
    for name, kept, until in _all(late, chance):
        number += 1
        files = _database(skeleton.after(kept, thorough=number % 16 == 1))
        key = (files["store.db"], files["store.db-wal"])
        if key not in seen:
            seen[key] = _stored(folder / "db", files)
            with Engine(program, folder / "e", files, people) as engine:
                _engine_holds(story, engine, until, name)
        _holds(story, seen[key], until, name)
    bed.note(f"{len(late)} writes, {number} cuts, {len(seen)} different databases, each opened by the engine")


def _boot(bed, story, disk, early, late):
    """Boots the disk of one cut in the second half, another one each time."""
    moments = list(writelog.moments(late))
    name, kept, until = moments[len(moments) // 2 + story.step % (len(moments) // 2)]
    m = bed.machine(started=False, layer=Layer(disk.after(early + kept, "boot.raw"), "raw"))
    m.cold_boot()
    past_the_grace(m)
    _in_the_guest(story, m, until, name)


def a_power_cut_while_codes_race(bed):
    """B1, B2: the emulator is killed while 64 type one code and others guess; after the boot the code serves nobody twice, the count has not fallen."""
    m = bed.machine()
    story = Story(int(time.time()) // PERIOD)
    callers = Callers(m)
    story.prepare(m, callers)
    story.remember({user: {"failures": 0, "used": set(), "spent": 0, "devices": 0} for user in story.apps})
    story.judge(callers.round(*[story.guess(user) for user in GUESSED]))
    answered = _killed(story, m, callers)
    verified = [one.tag for one in answered if one["outcome"] == "verified"]
    expect(len(verified) == len(set(verified)), f"let in more than once: {verified}")
    _keep(story, answered)
    bed.note(f"killed when {len(answered)} were told, {len(verified)} of them that they are in")
    m.cold_boot()
    past_the_grace(m)
    _in_the_guest(story, m, 1, "after the kill")


def _killed(story, machine, callers):
    """A round that the machine does not outlive: what was told of the answers. It dies at another one each time, others being under way."""
    clients = [story.race(user, 0, 64 if user == RACERS[0] else 8) for user in RACERS] + [story.guess(user) for user in GUESSED] + [story.recover(0)]
    last = sum(count for _, count, *_ in clients) + 1 + random.Random(story.step).randrange(10)
    told = []

    def reply(one):
        told.append(one)
        if len(told) == last:
            machine.cut_now()

    callers.on_reply = reply
    callers.send(*clients)
    machine.ended()
    return [one for one in told if one.number == 1]


def _keep(story, answered):
    """What follows from an unfinished round."""
    for tag in {one.tag for one in answered}:
        said = [one for one in answered if one.tag == tag]
        kind, user, *what = tag.split()
        outcomes = {one["outcome"] for one in said}
        told = story.told[user]
        if kind == "race":
            expect(outcomes <= {"verified", "already_used"}, f"{tag}: {said}")
            told.change(0, used=told.now["used"] | {int(what[0])}, failures=0)
        elif kind == "recover":
            told.change(0, spent=told.now["spent"] + 1, failures=0)
        else:
            told.change(0, failures=told.now["failures"] + 1)
