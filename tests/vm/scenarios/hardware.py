"""The tests of tests/buttons, which the machine that builds them can run in part only: it has no button."""

from nas.machine import Skipped, expect

NEEDS_PACKAGE = False

def buttons_are_met_as_the_kernel_has_them(bed):
    """C2, B11: The tests of tests/buttons pass with real GPIO lines, input devices and lights."""
    if bed.buttons is None:
        raise Skipped("needs --buttons PROGRAM, the test program of tests/buttons")
    m = bed.machine()
    m.push(bed.buttons, "/root/buttons", mode="755")
    # It would answer the keys of the tests by a reboot.
    m.sh("systemctl stop systemd-logind")
    tests = m.start("/root/buttons --test-threads=1 --nocapture 2>&1")
    tests.end_input()
    said = []
    while (line := tests.line(120)) is not None:
        said.append(line)
    expect(tests.wait() == 0, "all pass:\n" + "\n".join(said))
    # The machine has no PC speaker.
    missing = [line for line in said if "SKIPPED" in line and "no input device" not in line]
    expect(missing == [], f"nothing else is missing: {missing}")
    bed.note(next(line for line in reversed(said) if line.startswith("test result:")))
