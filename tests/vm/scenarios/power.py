"""A power cut at each step of recovery, then a boot and a look."""

import json

from nas import writelog
from nas.installation import Monitor, account_state, expect_admin_in, expect_admin_out, past_the_grace, presses
from nas.layers import Layer
from nas.machine import expect

NEEDS_PACKAGE = True

ACCOUNTS = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"]
RECORD, STAMP = "/var/lib/twostep/recovery.json", "/var/lib/twostep/pressed"
RECOVERED = "twostep --json recovery status | grep -q '\"state\":\"recovered\"'"


def _lines(content, but=b"admin"):
    return [line for line in (content or b"").split(b"\n") if not line.startswith(but + b":")]


def _pressed_with_a_log(bed, prepare):
    """Presses on a machine whose writes are logged. The disk, the writes before and during the press, and the files before and after."""
    m = bed.machine(started=False)
    m.log_writes = m.folder / "writes"
    m.resume()
    m.sh(f"{prepare}; {writelog.SETTLE}")
    start = writelog.count(m.log_writes)
    m.sh("press-gpio 4000")
    m.until(RECOVERED)
    m.until("test -s /var/log/hook-runs && ! systemctl is-active -q twostep-recovered.service")
    m.sh("sync")
    m.power_cut()
    disk = writelog.Disk(m.layer.disk, m.layer.disk_format, m.folder)
    early, late = writelog.read(m.log_writes)[:start], writelog.read(m.log_writes, start)
    return disk, early, late


def _states(disk, early, late, groups_may_change):
    """Every state of the files that a cut can leave, each with the writes that lead to it; checks what can be checked without a boot."""
    with writelog.in_memory() as folder:
        paths = [*ACCOUNTS, RECORD, STAMP]
        skeleton = writelog.Skeleton(disk.written(early, "early.raw"), paths, folder)
        return _checked(lambda kept: writelog.files(skeleton.after(kept, thorough=True), paths), late, groups_may_change)


def _checked(after, late, groups_may_change):
    old, new = after([]), after(late)
    states = {}
    for number, (name, kept) in enumerate(writelog.cuts(late)):
        files = after(kept)
        for path in ACCOUNTS:
            if groups_may_change and "group" in path or "gshadow" in path and groups_may_change:
                expect(files[path] in (old[path], new[path]), f"{name}: {path} is neither the old nor the new one: {files[path]!r}")
            expect(files[path] and _lines(files[path], b"sudo") and files[path].endswith(b"\n"), f"{name}: {path} is damaged: {files[path]!r}")
        expect(_lines(files["/etc/shadow"]) == _lines(old["/etc/shadow"]), f"{name}: somebody else's line in shadow changed")
        expect(_lines(files["/etc/passwd"]) == _lines(old["/etc/passwd"]), f"{name}: somebody else's line in passwd changed")
        intended = files[RECORD] is not None and files[RECORD] != old[RECORD]
        if files[RECORD] is not None:
            json.loads(files[RECORD])
        expect(intended or all(files[p] == old[p] for p in ACCOUNTS), f"{name}: accounts changed before the intent was written")
        expect(intended or files[STAMP] == old[STAMP], f"{name}: the stamp was renewed before the intent was written")
        states.setdefault(tuple(files.values()), (name, kept, intended))
    return list(states.values()), number + 1


def _boots(bed, disk, early, states, missing):
    """Boots each state: what was intended is done, what was not has not begun; and the button works."""
    for name, kept, intended in states:
        image = disk.after(early + kept, "boot.raw")
        m = bed.machine(started=False, layer=Layer(image, "raw"))
        m.cold_boot()
        past_the_grace(m)
        if intended:
            m.until(RECOVERED)
        else:
            expect(account_state(m) == ("missing" if missing else "disabled"), f"{name}: nothing has begun")
            expect_admin_out(m)
            m.sh("press-gpio 4000")
            m.until(RECOVERED)
        expect_admin_in(m)
        expect(presses(m) == 1, f"{name}: one press: {presses(m)}")
        m.until("! systemctl is-active -q twostep-recovered.service")
        expect(int(m.sh("cat /var/log/hook-runs 2> /dev/null | wc -l")) <= 1, f"{name}: the hooks ran once at most")
        m.power_cut()
        image.unlink()


def a_power_cut_at_each_step_of_recovery(bed):
    """C2, Q26, Q30: whatever a power cut leaves of a press, the next boot completes it or it has not begun, and the files are whole."""
    disk, early, late = _pressed_with_a_log(bed, "true")
    states, cuts = _states(disk, early, late, groups_may_change=False)
    bed.note(f"{len(late)} writes, {cuts} cuts, {len(states)} different states, each booted")
    _boots(bed, disk, early, states, missing=False)


def a_power_cut_at_each_step_of_making_admin(bed):
    """C2, Q26, Q30: the same where admin was missing and is made anew, over four files."""
    disk, early, late = _pressed_with_a_log(bed, "userdel -r admin")
    states, cuts = _states(disk, early, late, groups_may_change=True)
    bed.note(f"{len(late)} writes, {cuts} cuts, {len(states)} different states, each booted")
    _boots(bed, disk, early, states, missing=True)


def a_power_cut_as_it_fires(bed):
    """C2, Q26: the emulator is killed the moment the press fires; after the boot it is done, or a new press does it."""
    m = bed.machine()
    monitor = Monitor(m)
    m.start("press-gpio 4000")
    monitor.until("fired")
    m.power_cut()
    m.cold_boot()
    past_the_grace(m)
    if m.status("test -e /var/lib/twostep/recovery.json") == 0:
        bed.note("the boot completed it")
    else:
        bed.note("it had not begun")
        m.sh("press-gpio 4000")
    m.until(RECOVERED)
    expect_admin_in(m)
