"""A domain: its users and groups beside the local ones, and what is left when its controller is away."""

import json
import re
import time

from nas import domain
from nas.domain import PASSWORDS, full
from nas.installation import past_the_grace
from nas.machine import PATIENCE, TOP, Failure, expect
from nas.secondstep import App, Callers, answer, call, start
from nas.terminal import Terminal

NEEDS_PACKAGE = True

APP = "authenticator app shows"
ALICE = "wonderland"


def _joined(bed):
    """A NAS in the domain, with the shipped lines in sshd's stack."""
    m = bed.machine(layer=domain.joined(bed.layer))
    text = (TOP / "systemd" / "pam" / "sshd").read_text(encoding="utf-8")
    auth, account = ("".join(line + "\n" for line in text.splitlines() if line.startswith(kind + " ")) for kind in ("auth", "account"))
    before = m.sh("cat /etc/pam.d/sshd") + "\n"
    after = before.replace("@include common-auth\n", "@include common-auth\n" + auth).replace("@include common-account\n", account + "@include common-account\n")
    expect(after.count("pam_twostep.so") == 2, after)
    m.push(after, "/etc/pam.d/sshd")
    # Emulated on a busy host, the first look-ups take longer than the engine waits for one; what was asked for is kept.
    m.sh(f"id {full('dora')} && id DORA@Corp.Example && id {full('dave')} && getent group {full('staff')} STAFF@corp.example")
    return m


def _ssh(m, user, password, command=None):
    """`ssh user@nas` at a terminal, with the password typed."""
    terminal = Terminal([*m.ssh_client("-t", "-o", "PreferredAuthentications=keyboard-interactive"), f"{user}@127.0.0.1", *([command] if command else [])])
    terminal.answers(("assword: ", password))
    return terminal


def _step(m, app):
    """The time step that the app is in."""
    return int(m.sh("date +%s")) // app.period


def _next_code(m, app):
    """A code is good once: the guest's clock goes on to the next one."""
    m.sh(f"date -s '+{app.period} seconds' > /dev/null")
    return app.code(_step(m, app))


def _import(callers, *users):
    """Second steps of these accounts; their apps."""
    apps = [App(user) for user in users]
    for app in apps:
        deadline = time.monotonic() + PATIENCE
        while (said := callers.round((app.user, 1, call("Admin.Import", user=app.user, text=app.uri)))[0]).error:
            expect(said.error == "StorageFailed" and time.monotonic() < deadline, f"imported: {said}")
    return apps


def _enforce(m, group):
    """Enforces a group as soon as all its members are known; what is said."""
    m.until(f"twostep enforce --group {group} > /run/enforced")
    return m.sh("cat /run/enforced")


def _listed(m, kind):
    """What `twostep list` says: the status by name."""
    found = [json.loads(line) for line in m.sh(f"twostep --json list {kind}").splitlines()]
    return {subject["name"]: subject.get("status") for subject in found}


def _decided(callers, *users):
    """The decision about each one's login, or the error's name, and how long all took, in seconds."""
    began = time.monotonic()
    replies = callers.round(*[(user, 1, start(user)) for user in users])
    return {reply.tag: reply["decision"] or reply.error for reply in replies}, time.monotonic() - began


def _setup(shell, m, password):
    """`twostep setup` has been typed: the app of whoever goes through it."""
    shell.answers(("Password: ", password))
    shell.until("Code that the app shows: ")
    app = App("", re.search(r"otpauth://totp/\S*[?&]secret=([A-Z2-7]+)", shell.shown)[1], 30)
    shell.type(app.code(_step(m, app)))
    shell.answers(("Password, once more: ", password))
    return app


def domain_users_log_in_in_any_spelling(bed):
    """Q15, Q19, B1: a domain user sets up with the domain password and logs in by ssh with password and code; in another spelling it is the same account: a used code stays used, wrong ones add up."""
    m = _joined(bed)
    with _ssh(m, full("dora"), PASSWORDS["dora"], "twostep setup") as shell:
        app = _setup(shell, m, PASSWORDS["dora"])
        status, said = shell.end()
        expect(status == 0 and "2-step verification is on" in said, f"setup: {status} {said}")
    code = _next_code(m, app)
    with _ssh(m, full("dora"), PASSWORDS["dora"], "id -un") as login:
        login.answers((APP, code))
        status, said = login.end()
        expect(status == 0 and f"\n{full('dora')}\n" in said, f"by password and code: {status} {said}")
    with _ssh(m, "DORA@Corp.Example", PASSWORDS["dora"], "id -un") as login:
        login.answers((APP, code), ("lready used", ""))
    callers = Callers(m)
    wrong = answer("security_code", app.wrong(_step(m, app)))
    left = [callers.round(("wrong", 1, start(user), wrong))[1]["attempts_left"] for user in (full("dora"), "Dora@CORP.EXAMPLE", "DORA@corp.example")]
    expect(left == [4, 3, 2], f"wrong answers count together: {left}")
    users, domain_users = _listed(m, "users"), _listed(m, "domain-users")
    expect(domain_users == {full("dora"): "enabled"}, f"of the domain those that are stored are listed: {domain_users}")
    expect({"alice", "bob"} <= set(users) and full("dora") not in users, f"local users: {users}")


def a_domain_group_is_enforced(bed):
    """Q19, Q20, Q21: enforced on a domain group, its members are Incomplete and set up at the next login by ssh, others are not asked; all are listed beside local ones."""
    m = _joined(bed)
    said = _enforce(m, "STAFF@corp.example")
    expect(f"{full('dora')}: disabled is now incomplete" in said.lower() and full("dave") in said and full("erin") not in said, said)
    expect(_listed(m, "domain-groups") == {full("staff"): "incomplete"} and full("staff") not in _listed(m, "groups"), "the group is listed")
    with _ssh(m, "Dave@corp.example", PASSWORDS["dave"], "id -un") as login:
        login.until("give it the key: ")
        app = App(full("dave"), login.until("\n").strip(), 30)
        login.answers(("the code that the app shows: ", app.code(_step(m, app))), ("Press Enter", ""))
        status, said = login.end()
        expect(status == 0 and f"\n{full('dave')}\n" in said, f"the first login: {status} {said}")
    with _ssh(m, full("dave"), PASSWORDS["dave"], "id -un") as login:
        login.answers((APP, _next_code(m, app)))
        expect(login.end()[0] == 0, "the next one asks for the code")
    with _ssh(m, full("erin"), PASSWORDS["erin"], "id -un") as login:
        status, said = login.end()
        expect(status == 0 and full("erin") in said, f"erin is in another group: {status} {said}")
    expect(_listed(m, "domain-groups") == {full("staff"): "incomplete"}, "dora has not set up yet")

    # The domain lets everybody be listed, and sssd starts anew beside the running daemon.
    m.sh("printf 'enumerate = true\\n[nss]\\nenum_cache_timeout = 1\\n' >> /etc/sssd/sssd.conf && systemctl restart sssd")
    _import(Callers(m), full("dora"))
    m.until(f"getent group | grep {full('guests')} && getent passwd | grep {full('erin')}")
    expect(_listed(m, "domain-users") == {full("dave"): "enabled", full("dora"): "enabled", full("erin"): "disabled"}, f"{_listed(m, 'domain-users')}")
    groups = _listed(m, "domain-groups")
    expect(groups[full("staff")] == "enabled" and groups[full("guests")] == "disabled", f"{groups}")
    expect(not {"alice", "sudo"} & {*groups, *_listed(m, "domain-users")}, "local ones are not listed with them")


def nobody_local_waits_for_a_hung_domain(bed):
    """Q18, B6: the controller hangs: dora's login waits for it, alice's after it does not, nor the button; gone, dora is refused; back, she is let in without a restart."""
    m = _joined(bed)
    callers = Callers(m)
    dora, alice = _import(callers, full("dora"), "alice")
    m.sh("systemctl kill -s STOP slapd")
    with _ssh(m, full("dora"), PASSWORDS["dora"], "id -un") as hung:
        m.until("pgrep -f '[s]shd: dora'")
        with _ssh(m, "alice", ALICE, "id -un") as login:
            login.answers((APP, alice.code(_step(m, alice))))
            status, said = login.end()
            expect(status == 0 and "\nalice\n" in said, f"alice: {status} {said}")
        m.sh("press-gpio 4000")
        m.until("twostep --json recovery status | grep -q '\"state\":\"recovered\"'")
        expect(APP not in hung.shown and m.status("pgrep -f '[s]shd: dora'") == 0, f"dora still waits: {hung.shown}")
        m.sh("systemctl kill -s KILL slapd")
        status, said = hung.end()
        expect(status != 0 and APP not in said and f"\n{full('dora')}\n" not in said, f"dora without the domain: {status} {said}")
    started = m.sh("systemctl show -P ActiveEnterTimestampMonotonic twostepd sssd")
    m.sh("systemctl start slapd")
    _let_in_again(m, dora)
    expect(m.sh("systemctl show -P ActiveEnterTimestampMonotonic twostepd sssd") == started, "nothing was started anew")


def _let_in_again(m, app):
    """Sooner or later sssd has noticed that the controller is back; before that it refuses dora's password."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with _ssh(m, full("dora"), PASSWORDS["dora"], "id -un") as login:
                login.answers((APP, _next_code(m, app)))
                status, said = login.end()
        except Failure:
            if time.monotonic() > deadline:
                raise
            continue
        return expect(status == 0 and f"\n{full('dora')}\n" in said, f"dora: {status} {said}")


def nothing_is_decided_while_sssd_is_away(bed):
    """Q18, Q20, B6: sssd hangs, is stopped, or starts after the daemon: nobody of an enforced domain group is let in without a second step, alice is answered, bob is in no group of the domain and not held; sssd is back, and all is known again."""
    m = _joined(bed)
    callers = Callers(m)
    _enforce(m, full("staff"))
    _import(callers, "alice")
    known = {full("dora"): "setup_required", "alice": "verify"}
    _known_again(callers, known)

    m.sh("sleep 10; pkill -STOP -x sssd_nss")  # so long an answer counts
    said, _ = _decided(callers, full("erin"), "alice", "bob")
    expect(said == {full("erin"): "StorageFailed", "alice": "verify", "bob": "not_required"}, f"sssd hangs, and nobody has asked for erin before: {said}")
    said, took = _decided(callers, "alice")
    expect(said == {"alice": "verify"}, f"alice while it hangs: {said}")
    bed.note(f"alice is answered after {took:.1f} s while sssd hangs")
    m.sh("pkill -CONT -x sssd_nss")
    _known_again(callers, {**known, full("erin"): "not_required"})

    # sssd leaves behind what it was asked for since its start: who dora is, and not in which groups.
    m.sh("systemctl restart sssd")
    _known_again(callers, {full("erin"): "not_required"})
    m.sh(f"getent passwd {full('dora')} && getent group 70000 && sleep 10 && systemctl stop sssd")  # so long an answer counts
    said, _ = _decided(callers, *known, "bob")
    expect(said == {full("dora"): "StorageFailed", "alice": "verify", "bob": "not_required"}, f"sssd is stopped: {said}")
    m.sh("systemctl restart twostepd")
    past_the_grace(m)
    said, _ = _decided(callers, *known)
    expect(said == {full("dora"): "StorageFailed", "alice": "verify"}, f"sssd is not started yet: {said}")
    m.sh("systemctl start sssd")
    _known_again(callers, known)


def _known_again(callers, known):
    """Sooner or later all are decided on as before."""
    deadline = time.monotonic() + PATIENCE
    while (said := _decided(callers, *known)[0]) != known:
        expect(time.monotonic() < deadline, f"the domain is back: {said}")
