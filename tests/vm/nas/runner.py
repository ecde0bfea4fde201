"""Finds scenarios, runs them on machines of their own, two at a time, and says what came of it."""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import pathlib
import pkgutil
import re
import signal
import sys
import threading
import time
import traceback

from . import installation, layers
from .machine import Machine, Skipped, accelerated, sweep

SCENARIOS = pathlib.Path(__file__).resolve().parent.parent / "scenarios"


@dataclasses.dataclass
class Scenario:
    """One function of scenarios/*.py; its docstring begins with the requirements it shows."""

    name: str
    function: object
    needs_package: bool

    @property
    def requirements(self):
        """The numbers before the colon of the docstring."""
        return " ".join((self.function.__doc__ or "").split()).partition(":")[0]

    @property
    def claim(self):
        """The docstring's first sentence, behind the numbers."""
        text = " ".join((self.function.__doc__ or "").split()).partition(":")[2].strip()
        return re.split(r"(?<=\.)\s", text)[0]


class Bed:
    """Hands machines to one scenario and takes them back, whatever happened."""

    def __init__(self, name, layer, buttons=None):
        self.name, self.layer, self.buttons = name, layer, buttons
        self._stack = contextlib.ExitStack()
        self.machines, self.notes = [], []

    def machine(self, virtual_time=False, started=True, layer=None):
        """A machine of its own, resumed from the snapshot. In virtual time it outruns everything outside it."""
        machine = self._stack.enter_context(Machine(self.name, layer or self.layer, virtual_time))
        self.machines.append(machine)
        if started:
            machine.resume()
        return machine

    def note(self, text):
        """Something measured, to be printed behind the scenario's name."""
        self.notes.append(text)

    def close(self):
        """Ends all its machines."""
        self._stack.close()


def found():
    """Every scenario, in the order of the files and of the functions in them."""
    scenarios = []
    for module in sorted(pkgutil.iter_modules([str(SCENARIOS)]), key=lambda m: m.name):
        module = importlib.import_module(f"scenarios.{module.name}")
        functions = [f for f in vars(module).values() if callable(f) and getattr(f, "__module__", "") == module.__name__ and not f.__name__.startswith("_")]
        for function in sorted(functions, key=lambda f: f.__code__.co_firstlineno):
            if function.__doc__ is None or not re.match(r"[CQB]\d", function.__doc__) and module.NEEDS_PACKAGE:
                raise SystemExit(f"{function.__name__}: its docstring must begin with the requirements it shows")
            scenarios.append(Scenario(function.__name__, function, module.NEEDS_PACKAGE))
    return scenarios


def run(args):
    """Runs the chosen scenarios; the exit code."""
    chosen = [s for s in found() if not args.names or any(n in s.name for n in args.names)]
    if args.list:
        for scenario in chosen:
            print(f"{scenario.name:44} {scenario.requirements:20} {scenario.claim}")
        return 0
    skipped = [s for s in chosen if s.needs_package and args.deb is None]
    chosen = [s for s in chosen if s not in skipped]
    if not chosen:
        print("vm: no scenario of that name" if not skipped else "vm: these scenarios need --deb FILE.deb", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sweep()
    began = time.monotonic()
    base = {False: layers.booted()}
    if any(s.needs_package for s in chosen):
        base[True] = layers.installed(args.deb.resolve(), installation.prepare, installation.RECIPE)
    print(f"vm: {len(chosen)} scenarios, {args.jobs} at a time, {accelerated()}", flush=True)
    failed, unshown = _run_all(chosen, base, args)
    unshown += [s.name for s in skipped]
    note = f", {len(unshown)} skipped" if unshown else ""
    passed = len(chosen) + len(skipped) - len(failed) - len(unshown)
    print(f"vm: all scenarios took {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {len(failed)} failed{note}", flush=True)
    return 1 if failed else 0


def _run_all(chosen, base, args):
    """Runs them; the names of those that failed and of those that could not be shown."""
    failed, skipped = [], []
    stop = threading.Event()
    beds = set()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tasks = [pool.submit(_run_one, s, Bed(s.name, base[s.needs_package], args.buttons), beds, stop) for s in chosen]
        try:
            for task in concurrent.futures.as_completed(tasks):
                scenario, seconds, word, text = task.result()
                print(f"{word:7} {scenario.name:44} {seconds:5.1f} s  {scenario.requirements}: {scenario.claim}", flush=True)
                if text:
                    print("\n".join("        " + line for line in text.splitlines()), flush=True)
                if word == "FAILED":
                    failed.append(scenario.name)
                    if not args.keep_going:
                        stop.set()
                elif word == "skipped":
                    skipped.append(scenario.name)
        except BaseException:
            # Emulators are sessions of their own, so our terminal's signals do not reach them.
            stop.set()
            for machine in [m for bed in list(beds) for m in bed.machines]:
                machine.power_cut()
            raise
    return failed, skipped


def _run_one(scenario, bed, beds, stop):
    """Runs one; (scenario, seconds, the word for what came of it, more about it)."""
    began = time.monotonic()
    word, text = "skipped", "the run was stopped"
    beds.add(bed)
    try:
        if not stop.is_set():
            scenario.function(bed)
            word, text = "ok", "\n".join(bed.notes)
    except Skipped as reason:
        word, text = "skipped", str(reason)
    except Exception:  # noqa: BLE001: whatever it was, it is reported and the next scenario runs
        if not stop.is_set():
            word, text = "FAILED", _report(bed)
    finally:
        beds.discard(bed)
        bed.close()
    return scenario, time.monotonic() - began, word, text


def _report(bed):
    """The failure, the daemon's journal and the end of the serial console of each machine."""
    lines = [traceback.format_exc()]
    for number, machine in enumerate(bed.machines, 1):
        journal = "(off)"
        if machine.running:
            try:
                journal = machine.sh("journalctl -q --no-pager -o short-monotonic -n 60 -u twostepd -u twostep-web -u twostep-recovered -u ssh -u systemd-logind", check=False, timeout=30)
            except Exception as error:  # noqa: BLE001
                journal = f"(no journal: {error})"
        lines += [f"--- machine {number}: journal ---", journal, f"--- machine {number}: serial console ---", machine.serial()]
    return "\n".join(lines)

