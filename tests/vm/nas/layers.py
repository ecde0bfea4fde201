"""Snapshots to start from: the booted machine, and on top of it the machine with the package installed.

A layer is a disk, a memory file and a state file, all read only once made: a machine maps the memory copy-on-write and
puts an overlay on the disk, so any number of machines start from one layer at the same time.
"""

import dataclasses
import fcntl
import hashlib
import inspect
import os
import pathlib
import shutil
import subprocess
import time

from .machine import BOOT, COMMAND_LINE, MAC, MEMORY, OUT, Machine, accelerated


@dataclasses.dataclass(frozen=True)
class Layer:
    """What a machine starts from. Without memory and state it can only be booted."""

    disk: pathlib.Path
    disk_format: str
    memory: pathlib.Path | None = None
    state: pathlib.Path | None = None


def bare():
    """The root disk as built."""
    return Layer((OUT / "disk" / "disk.raw").resolve(), "raw")


def booted():
    """Booted, idle, nothing of ours installed."""
    below = bare()
    return _made("booted", [below.disk.parent.name], below, lambda machine: _settle(machine))


def installed(package, prepare, recipe):
    """The package installed and `prepare(machine)` done; `recipe` is whatever else its content depends on."""
    below = booted()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()

    def make(machine):
        machine.push(package, "/root/twostep.deb")
        machine.sh("dpkg -i /root/twostep.deb && rm /root/twostep.deb")
        prepare(machine)
        _settle(machine)

    return _made("installed", [below.disk.parent.name, digest, recipe], below, make)


def on_top(kind, recipe, below, make):
    """One more: `below` and `make(machine)` done; `recipe` is whatever its content depends on."""

    def settled(machine):
        make(machine)
        _settle(machine)

    return _made(kind, [below.disk.parent.name, recipe], below, settled)


def _settle(machine):
    """What is to be remembered is on disk, and nothing is under way."""
    machine.sh("systemctl is-system-running --wait > /dev/null", check=False, timeout=BOOT)
    machine.until("! systemctl list-jobs --no-legend | grep -q .")
    machine.sh("journalctl --flush; sync; echo 3 > /proc/sys/vm/drop_caches; sync")


def _made(kind, inputs, below, make):
    """The layer of this kind and these inputs, made if it is not there. Older ones of the kind are removed."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    hardware = [COMMAND_LINE, MAC, inspect.getsource(Machine._start), inspect.getsource(_settle), inspect.getsource(_make)]
    text = "\n".join([*inputs, version, accelerated(), *hardware])
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = OUT / f"{kind}-{key}"
    layer = Layer(folder / "disk.qcow2", "qcow2", folder / "memory", folder / "state")
    (OUT / "run").mkdir(parents=True, exist_ok=True)
    with open(OUT / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            began = time.monotonic()
            _make(folder, below, make)
            for old in OUT.glob(f"{kind}-*"):
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
            print(f"vm: {kind}: made in {time.monotonic() - began:.0f} s", flush=True)
    return layer


def _make(folder, below, make):
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if below.memory is None:
        with open(part / "memory", "wb") as memory:
            os.truncate(memory.fileno(), MEMORY)
    else:
        subprocess.run(["cp", "--sparse=always", below.memory, part / "memory"], check=True)
    with Machine(folder.name.split("-")[0], below) as machine:
        machine.boot_for_snapshot(part / "memory")
        make(machine)
        machine.snapshot(part / "state")
        shutil.move(machine.disk, part / "disk.qcow2")
    part.rename(folder)
