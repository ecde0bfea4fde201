"""What a power cut can leave on the disk, from the log of every write (the emulator's blklogwrites, the format of Linux's dm-log-writes).

A cut keeps everything up to the last flush and any part of what was written after it. For each flush this makes the disk
with just that, with all that followed up to the next flush, and with a part of that, lets the file system recover as a
boot would, and reads the files. All without any hook in what is tested, and the same on every run of the same log.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile

from .machine import Failure

MAGIC = 0x6A736677736872
BLOCK = 4096  # of the root disk's file system
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclasses.dataclass
class Write:
    """One entry of the log: `data` to `offset` (bytes); `flush`: all before it is safe; `safe`: it is so itself; `end`: the log's size with it."""

    offset: int
    data: bytes
    flush: bool
    safe: bool
    end: int


def read(path, start=0):
    """The log's writes from the entry numbered `start` on. A torn last entry is left out."""
    with open(path, "rb") as log:
        head = log.read(28)
        if len(head) < 28:
            return []  # nothing was written yet
        magic, version, _, sector = struct.unpack("<QQQI", head)
        if (magic, version) != (MAGIC, 1):
            raise Failure(f"{path} is no log of writes")
        position, number, writes = sector, 0, []
        size = os.fstat(log.fileno()).st_size
        while position + sector <= size:
            log.seek(position)
            at, count, flags, _ = struct.unpack("<QQQQ", log.read(32))
            length = 0 if flags & DISCARD else count * sector
            if position + sector + length > size or not (count or flags):
                break
            if number >= start and not flags & (DISCARD | MARK):
                log.seek(position + sector)
                writes.append(Write(at * sector, log.read(length), bool(flags & FLUSH), bool(flags & FUA), position + sector + length))
            position += sector + length
            number += 1
    return writes


def count(path):
    """How many entries the log has now."""
    return len(read(path)) if path.exists() else 0


NEVER = 1 << 62


def epochs(writes):
    """Yields (safe writes, those that a cut may lose, the log's size at which the next flush was done), in time's order."""
    safe, loose = [], []
    for write in [*writes, Write(0, b"", True, False, NEVER)]:
        if write.flush:
            yield list(safe), list(loose), write.end
            safe, loose = safe + loose, []
        if write.data:
            (safe if write.safe and not loose else loose).append(write)


def cuts(writes, seed=1):
    """Yields (name, writes that a cut kept), in time's order."""
    return ((name, kept) for name, kept, _ in moments(writes, seed))


def moments(writes, seed=1):
    """The same, each with the log's size that it never had yet at the latest moment for this cut."""
    chance = random.Random(seed)
    for safe, loose, until in epochs(writes):
        yield f"after flush, {len(safe)} safe", safe, until
        if loose:
            part = [w for w in loose if chance.random() < 0.5]
            yield f"before flush, {len(safe)} safe, {len(part)} of {len(loose)} others", safe + part, until
            yield f"before flush, {len(safe)} safe, all {len(loose)} others", safe + loose, until


def torn(kept, chance):
    """The same writes, the last of them cut off at a sector."""
    last = kept[-1]
    sectors = len(last.data) // 512
    return [*kept[:-1], dataclasses.replace(last, data=last.data[:512 * chance.randrange(sectors)])] if sectors > 1 else kept[:-1]


class Disk:
    """The disk before the log began, and what it becomes after a cut."""

    def __init__(self, before, disk_format, folder):
        self.folder = folder
        self.base = folder / "before.raw"
        subprocess.run(["qemu-img", "convert", "-f", disk_format, "-O", "raw", str(before), str(self.base)], check=True)

    def after(self, kept, name):
        """A raw image with these writes, its file system recovered."""
        return _recovered(self.written(kept, name), "-fp")

    def written(self, kept, name):
        """The same, its journal left as it is: later writes fit onto it."""
        return _written(self.base, kept, self.folder / name)


def _written(base, kept, image):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", base, image], check=True)
    with open(image, "r+b") as disk:
        for write in kept:
            disk.seek(write.offset)
            disk.write(write.data)
    return image


def _recovered(image, how):
    """Lets the file system recover as a boot would."""
    check = subprocess.run(["e2fsck", how, str(image)], capture_output=True, text=True, check=False)
    if check.returncode > 1:
        raise Failure(f"the file system does not recover: {check.stdout}")
    return image


@contextlib.contextmanager
def in_memory():
    """A folder in memory where there is one: hundreds of file systems are synced in it, and none need outlive the block."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 512 << 20 else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield pathlib.Path(folder)


# In the guest: everything is in its place on the disk, and the journal is empty.
SETTLE = "sync; fsfreeze -f / && fsfreeze -u /"


class Skeleton:
    """A disk of which only the file system itself and some files are there, so that hundreds of cuts can be looked at in seconds.

    `image` is one whose journal is written back (SETTLE) and not replayed.
    """

    def __init__(self, image, paths, folder):
        self.folder = folder
        self.base = folder / "skeleton.raw"
        self.base.unlink(missing_ok=True)
        subprocess.run(["e2image", "-r", str(image), str(self.base)], check=True, capture_output=True)
        with open(image, "rb") as whole, open(self.base, "r+b") as skeleton:
            for path in paths:
                found = subprocess.run(["debugfs", "-R", f"blocks {path}", str(image)], check=True, capture_output=True, text=True).stdout
                for block in map(int, found.split()):
                    whole.seek(block * BLOCK)
                    skeleton.seek(block * BLOCK)
                    skeleton.write(whole.read(BLOCK))

    def after(self, kept, thorough):
        """The image with these writes, its journal replayed; `thorough`: the whole file system is checked."""
        return _recovered(_written(self.base, kept, self.folder / "cut.raw"), "-fp" if thorough else "-p")


def files(image, paths):
    """The content of files in a raw image; None where there is none."""
    out = image.parent / "files"
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    names = {path: out / hashlib.sha256(path.encode()).hexdigest()[:16] for path in paths}
    commands = "".join(f"dump {path} {name}\n" for path, name in names.items())
    subprocess.run(["debugfs", "-f", "-", str(image)], input=commands, text=True, capture_output=True, check=True)
    return {path: pathlib.Path(name).read_bytes() if name.exists() else None for path, name in names.items()}
