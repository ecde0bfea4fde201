"""Drives io.twostep.Recovery on the socket named by the first argument with the PyPI package `varlink`; says OK at the end."""

import sys

import varlink

ADDRESS = "unix:" + sys.argv[1]
NAME = "io.twostep.Recovery"


def refused(call, error):
    """The parameters of the error that `call` is refused with, which must be `error`."""
    try:
        call()
    except varlink.VarlinkError as e:
        assert e.error() == error, (e.error(), error)
        return e.parameters()
    raise AssertionError(f"not refused with {error}")


with varlink.Client(ADDRESS) as client:
    with client.open("org.varlink.service") as service:
        info = service.GetInfo()
        assert info["product"] == "twostep", info
        assert info["interfaces"] == ["org.varlink.service", NAME], info
        for interface in info["interfaces"]:
            description = service.GetInterfaceDescription(interface)["description"]
            assert f"interface {interface}" in description, description
        # It is parsed here, by the package's own reader.
        parsed = client.get_interface(NAME)
        assert {"Status", "Monitor", "Press"} <= set(parsed.members), parsed.members

        nothing = refused(lambda: service.GetInterfaceDescription("io.twostep.Nothing"), "org.varlink.service.InterfaceNotFound")
        assert nothing == {"interface": "io.twostep.Nothing"}, nothing

    with client.open(NAME) as recovery, client.open(NAME) as watcher:
        status = recovery.Status()
        assert status["account"] == {"name": "admin", "state": "disabled"}, status
        assert "last" not in status, status

        events = watcher.Monitor(_more=True)
        assert next(events)["event"] == "ready"
        recovery.Press(hold_ms=3200)
        seen = [next(events)["event"] for _ in range(3)]
        assert seen == ["pressed", "fired", "released"], seen

        assert recovery.Status()["account"]["state"] == "recovered"
        assert recovery.ShowDefaultPassword()["password"] == "00089BF0CAFE"
        assert recovery.DisableAccount() == {}

        recovery.Press(hold_ms=4000, _oneway=True)
        assert recovery.Status()["account"]["state"] == "recovered"

        assert refused(lambda: recovery.Press(hold_ms=0), "org.varlink.service.InvalidParameter") == {"parameter": "hold_ms"}
        reason = refused(lambda: recovery.Press(hold_ms=1), NAME + ".AccountsFailed")
        assert reason == {"reason": "no space left"}, reason
        refused(recovery.Monitor, "org.varlink.service.ExpectedMore")

print("OK")
