"""The test bed itself: what the other scenarios build on works. Needs no package."""

from nas import writelog
from nas.machine import MAC_PASSWORD, MAC, expect

NEEDS_PACKAGE = False


def gpio_line_reports_presses(bed):
    """Bed: a press of the GPIO line is two edges, as far apart as it lasted."""
    m = bed.machine()
    edges = m.start("/usr/local/lib/vm/button edges $(readlink /run/button-panel/chip) 4")
    edges.line_like("ready")
    press = [line.split() for line in m.sh("press-gpio 1200").splitlines()]
    down, up = edges.line().split(), edges.line().split()
    expect([down[0], up[0]] == ["falling", "rising"], f"pressed is low: {down} {up}")
    held = (int(up[1]) - int(down[1])) / 1e6
    # On a busy host it is longer, by what lies between the two switches. The edges are stamped by another clock than the one that the press waits by.
    longest = (int(press[1][2]) - int(press[0][1])) / 1e6
    expect(1195 <= held <= longest + 5, f"a press of 1200 ms, which took {longest:.1f} ms, lasted {held:.1f} ms")
    expect(int(press[0][1]) <= int(down[1]) <= int(press[0][2]) + 5_000_000, f"the edge is when the press was: {press} {down}")


def bouncing_line_reports_every_edge(bed):
    """Bed: the bounce generator makes real edges of milliseconds."""
    m = bed.machine()
    edges = m.start("/usr/local/lib/vm/button edges $(readlink /run/button-panel/chip) 4")
    edges.line_like("ready")
    m.sh("/usr/local/lib/vm/button gpio P4 R4 P4 R4 P100 R0")
    kinds = [edges.line().split()[0] for _ in range(6)]
    expect(kinds == ["falling", "rising"] * 3, f"edges: {kinds}")


def logind_competes_for_the_input_key(bed):
    """Bed: without twostep, logind reboots the machine on a short press of KEY_RESTART."""
    m = bed.machine()
    m.until("journalctl -q -u systemd-logind | grep -q 'Watching system buttons.*gpio-keys'")
    m.until("journalctl -q -u systemd-logind | grep -q 'Watching system buttons.*nas-keys'")
    m.start("press-input gpio-keys KEY_RESTART 300")
    m.ended()


def logind_sees_the_long_press(bed):
    """Bed: told to do nothing, logind logs the long press, so it really watches the key."""
    m = bed.machine()
    m.sh("mkdir -p /run/systemd/logind.conf.d; printf '[Login]\\nHandleRebootKey=ignore\\nHandleRebootKeyLongPress=ignore\\n' > /run/systemd/logind.conf.d/t.conf; "
         "systemctl restart systemd-logind")
    m.until("journalctl -q -u systemd-logind | grep -c 'Watching system buttons.*keys' | grep -q '[4-9]'")
    m.sh("press-input nas-keys KEY_RESTART 6000")
    m.until("journalctl -q -u systemd-logind | grep -qi 'Reboot key pressed'")
    expect(m.running, "the machine stays up")


def input_devices_vanish_and_come_back(bed):
    """Bed: a button's device can be unplugged and plugged in again."""
    m = bed.machine()
    count = "grep -c 'Name=\"gpio-keys\"' /proc/bus/input/devices || true"
    expect(m.sh(count) == "1", "gpio-keys is there")
    press = m.start("/usr/local/lib/vm/button input gpio-keys KEY_RESTART G500 B0")
    m.until("! grep -q 'Name=\"gpio-keys\"' /proc/bus/input/devices")
    press.wait()
    m.until("grep -q 'Name=\"gpio-keys\"' /proc/bus/input/devices")


def passwords_log_in_over_ssh(bed):
    """Bed: sshd asks PAM: the right password enters, a wrong one and a disabled account do not."""
    m = bed.machine()
    code, said = m.ssh("alice", "wonderland")
    expect((code, said) == (0, "alice"), f"alice: {code} {said}")
    code, said = m.ssh("alice", "looking-glass")
    expect(code != 0, f"a wrong password was let in: {said}")
    code, said = m.ssh("admin", MAC_PASSWORD)
    expect(code != 0, f"a disabled account was let in: {said}")


def the_adapter_has_the_sticker_address(bed):
    """Bed: the only adapter's permanent address is the one the scenarios know."""
    m = bed.machine()
    link = m.sh("ip -d link show dev $(basename $(dirname /sys/class/net/*/device | head -n1))")
    expect(MAC.lower() in link, link)
    expect(m.sh("cat /sys/class/net/e*/addr_assign_type") == "0", "the address is permanent")


def power_cut_keeps_what_was_synced(bed):
    """Bed: after a power cut and a cold boot, what was synced is there, what was not is lost, and the button works."""
    m = bed.machine()
    m.sh("echo kept > /root/synced; sync /root/synced /root; echo lost > /root/unsynced")
    m.power_cut()
    m.cold_boot()
    expect(m.sh("cat /root/synced") == "kept", "synced data survived")
    expect(m.status("test -s /root/unsynced") != 0, "unsynced data was lost")
    edges = m.start("/usr/local/lib/vm/button edges $(readlink /run/button-panel/chip) 4")
    edges.line_like("ready")
    m.sh("press-gpio 50")
    expect(edges.line().startswith("falling"), "the button works after a cold boot")


def virtual_time_is_exact(bed):
    """Bed: in virtual time a press is exact to 2 ms however busy the host is."""
    m = bed.machine(virtual_time=True)
    steps = [line.split() for line in m.sh("press-gpio 3000").splitlines()]
    held = (int(steps[1][1]) - int(steps[0][2])) / 1e6
    expect(2998 <= held <= 3002, f"held {held:.3f} ms")


def every_power_cut_can_be_looked_at(bed):
    """Bed: the disk after each possible cut is made from the log of writes; an atomic replacement is never seen half done."""
    m = bed.machine(started=False)
    m.log_writes = m.folder / "writes"
    m.resume()
    m.sh("head -c 20000 /dev/zero | tr '\\0' o > /root/file; sync")
    start = writelog.count(m.log_writes)
    m.sh("head -c 30000 /dev/zero | tr '\\0' n > /root/new; sync /root/new; mv /root/new /root/file; sync /root")
    m.power_cut()
    disk = writelog.Disk(m.layer.disk, m.layer.disk_format, m.folder)
    early, writes = writelog.read(m.log_writes)[:start], writelog.read(m.log_writes, start)
    seen = []
    for number, (name, kept) in enumerate(writelog.cuts(writes)):
        image = disk.after(early + kept, f"cut-{number}.raw")
        content = writelog.files(image, ["/root/file"])["/root/file"]
        expect(content in (b"o" * 20000, b"n" * 30000), f"cut {name}: {len(content or b'')} bytes")
        seen.append(content[:1].decode())
        image.unlink()
    expect("".join(seen).startswith("o") and seen[-1] == "n", f"old first, new at last: {seen}")
    bed.note(f"{len(writes)} writes, {len(seen)} cuts: {''.join(seen)}")
