"""One virtual machine: its emulator, its disk, and root's commands in it.

Root's commands go through the agent on a virtio serial port (guest/agent.c), so they work whatever a scenario does to
the network, to ssh or to PAM. The disk is written through to the host whenever the guest asks for it (fsync) and at the
guest's leisure otherwise, so killing the emulator is a power cut: what was not synced is lost.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[3]
OUT = pathlib.Path(os.environ.get("TWOSTEP_VM_DIR", TOP / "target" / "vm"))

# The first adapter's address: universally administered, unicast, so the daemon may take it for the sticker's.
MAC = "24:5E:BE:12:34:5A"
MAC_PASSWORD = MAC.replace(":", "")

MEMORY = 512 * 1024 * 1024
COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check systemd.show_status=0"
# How long one awaited thing may take, and a boot from power off to the end of systemd's own work, in seconds: without KVM, on a host that is busy
# with something else. What takes longer is taken to hang; nothing is shown by being quicker.
PATIENCE = 600.0
BOOT = 1200.0


class Failure(AssertionError):
    """Something in the machine is not as a scenario demands."""


class Skipped(Exception):
    """A scenario that cannot be shown here, and why."""


def expect(condition, what):
    """Fails the scenario unless the condition holds."""
    if not condition:
        raise Failure(what)


class Command:
    """One of root's commands in the guest, running or ended."""

    def __init__(self, machine, number, text):
        self.machine, self.number, self.text = machine, number, text
        self.status = None
        self.out, self.err = bytearray(), bytearray()
        self.heard = None  # called with each piece of output the moment it comes
        self._changed = machine._changed

    def _await(self, ready, timeout, what):
        deadline = time.monotonic() + timeout
        with self._changed:
            while not ready():
                left = deadline - time.monotonic()
                if self.machine.gone:
                    raise Failure(f"the machine ended while waiting for {what}: {self.text}")
                if left <= 0:
                    raise Failure(f"no {what} after {timeout:.0f} s: {self.text}\n{self.err.decode(errors='replace')}")
                self._changed.wait(min(left, 1))

    def wait(self, timeout=PATIENCE):
        """Waits for the end; the exit status."""
        self._await(lambda: self.status is not None, timeout, "end of the command")
        return self.status

    def line(self, timeout=PATIENCE):
        """The next line of output, without its end; None at the end of the output."""
        self._await(lambda: b"\n" in self.out or self.status is not None, timeout, "line of output")
        with self._changed:
            if b"\n" not in self.out:
                return None
            line, _, rest = bytes(self.out).partition(b"\n")
            self.out[:] = rest
            return line.decode(errors="replace")

    def line_like(self, pattern, timeout=PATIENCE):
        """The next line that matches; those before it are dropped."""
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            line = self.line(max(0.0, deadline - time.monotonic()))
            if line is None:
                raise Failure(f"{self.text} ended without a line like {pattern!r}: {seen[-8:]} {self.err.decode(errors='replace')}")
            if re.search(pattern, line):
                return line
            seen.append(line)

    def send(self, data):
        """Writes to the command's input."""
        for start in range(0, len(data), 1 << 16):
            self.machine._frame(b"I", self.number, data[start:start + (1 << 16)])

    def end_input(self):
        """Ends the command's input."""
        self.machine._frame(b"E", self.number, b"")

    def kill(self, number=signal.SIGTERM):
        """Signals the command and its children."""
        self.machine._frame(b"K", self.number, str(int(number)).encode())


class Machine:
    """A virtual NAS. Use as a context manager: its emulator never outlives the block."""

    def __init__(self, name, layer, virtual_time=False):
        self.name, self.layer, self.virtual_time = name, layer, virtual_time
        self.log_writes = None  # a file for each write to the disk, see writelog.py
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=OUT / "run"))
        self._mine = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._mine, fcntl.LOCK_EX)  # says that the folder is in use, see sweep()
        self.disk = self.folder / "disk.qcow2"
        self.gone = True
        self.port = None
        self._qemu = self._agent = self._qmp = None
        self._changed = threading.Condition()
        self._commands, self._last = {}, 0
        self._writing = threading.Lock()
        self._boots = 0
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", layer.disk_format, "-b", str(layer.disk), str(self.disk)], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.power_cut()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._mine)

    # ---- on and off ----

    def resume(self):
        """Continues from the layer's snapshot: the machine has booted already. Sets its clock."""
        self._start(["-incoming", "defer"], self.layer.memory, share=False)
        self._continue()
        self.sh(f"date -s @{time.time():.3f} > /dev/null")
        return self

    def cold_boot(self):
        """Starts from power off, on the disk as it is; returns once systemd has finished."""
        self._start([], None, share=False)
        self._hello(ping=False)
        self.sh("systemctl is-system-running --wait > /dev/null", check=False, timeout=BOOT)
        return self

    def boot_for_snapshot(self, memory):
        """As cold_boot or resume, with the memory kept in a file of its own."""
        if self.layer.state is None:
            self._start([], memory, share=True)
            self._hello(ping=False)
        else:
            self._start(["-incoming", "defer"], memory, share=True)
            self._continue()
        return self

    def snapshot(self, state):
        """Writes the machine's state (its memory is in the file already) and ends the emulator in good order."""
        self._qmp_call("stop")
        self._memory_stays_in_its_file()
        self._qmp_call("migrate", uri=f"exec:cat > {state}")
        deadline = time.monotonic() + PATIENCE
        while (status := self._qmp_call("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise Failure(f"the snapshot could not be written: {status}")
            time.sleep(0.02)
        self._qmp_call("quit")
        self._qemu.wait(PATIENCE)
        self._stopped()

    def power_cut(self):
        """Kills the emulator. The disk keeps what the guest had synced."""
        if self._qemu is not None and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()
        self._stopped()

    def cut_now(self):
        """Kills the emulator and does nothing else; `ended` follows. For whoever is called by what it says."""
        self._qemu.kill()

    def ended(self, timeout=PATIENCE):
        """Waits until the guest has powered off or reset by itself (the emulator ends at both)."""
        self._qemu.wait(timeout)
        self._stopped()

    @property
    def running(self):
        """Whether the emulator lives: a guest that reboots or powers off ends it."""
        return self._qemu is not None and self._qemu.poll() is None

    def _start(self, more, memory, share):
        assert not self.running
        self._boots += 1
        accelerator = ["-accel", accelerated(), "-cpu", "host" if accelerated() == "kvm" else "max"]
        if self.virtual_time and accelerated() == "tcg":
            # The guest's clock counts instructions and leaps over idleness: what the host's other work takes away is not
            # seen in the guest, and an hour of waiting takes no time. Nothing outside the guest can keep pace with it, so
            # such a scenario is one script in the guest.
            accelerator += ["-icount", "shift=2,sleep=off"]
        ram = f"memory-backend-ram,id=ram,size={MEMORY}"
        if memory is not None:
            ram = f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share={'on' if share else 'off'}"
        disk = f"driver=qcow2,node-name=disk,cache.no-flush=on,file.driver=file,file.filename={self.disk},file.cache.no-flush=on"
        if self.log_writes:
            self.log_writes.touch()
            disk = (f"driver=blklogwrites,node-name=disk,log.driver=file,log.filename={self.log_writes},log.cache.no-flush=on"
                    f",file.driver=qcow2,file.cache.no-flush=on,file.file.driver=file,file.file.filename={self.disk},file.file.cache.no-flush=on")
        for name in ("agent", "qmp"):
            (self.folder / name).unlink(missing_ok=True)
        command = [
            "qemu-system-x86_64", "-M", "q35,hpet=off,memory-backend=ram", "-m", "size=512M", "-object", ram, *accelerator, "-smp", "1",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(OUT / "kernel" / "vmlinuz"), "-initrd", str(OUT / "initramfs" / "initramfs"), "-append", COMMAND_LINE,
            "-chardev", f"file,id=serial,path={self.folder}/serial,append=on", "-serial", "chardev:serial",
            "-blockdev", disk, "-device", "virtio-blk-pci,drive=disk",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent",
            "-netdev", "user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:0-:22", "-device", f"virtio-net-pci,netdev=lan,mac={MAC}",
            "-device", "virtio-rng-pci",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off", *more,
        ]
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(self.folder / "emulator", "ab"),
                                      stderr=subprocess.STDOUT, start_new_session=True)
        self._qmp = self._dial("qmp").makefile("rw")
        self._qmp_call("qmp_capabilities")
        self.gone = False
        self._agent = self._dial("agent")
        threading.Thread(target=self._receive, args=(self._agent,), daemon=True).start()
        self.port = int(re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", self._monitor("info usernet")).group(1))

    def _dial(self, name):
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.folder / name))
                return connection
            except OSError:
                connection.close()
                if self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise Failure("the emulator does not start: " + (self.folder / "emulator").read_text()) from None
                time.sleep(0.01)

    def _stopped(self):
        with self._changed:
            self.gone = True
            self._changed.notify_all()
        for connection in (self._agent, self._qmp):
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.close()
        self._agent = self._qmp = None

    def _continue(self):
        """Loads the layer's state over its memory and lets the machine run on."""
        self._memory_stays_in_its_file()
        self._qmp_call("migrate-incoming", uri=f"exec:cat {self.layer.state}")
        deadline = time.monotonic() + PATIENCE
        while (status := self._qmp_call("query-status")["status"]) != "paused":
            if time.monotonic() > deadline:
                raise Failure(f"the snapshot does not load: {status}")
            time.sleep(0.01)
        self._qmp_call("cont")
        self._hello(ping=True)

    def _memory_stays_in_its_file(self):
        self._qmp_call("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    # ---- the emulator's monitor ----

    def _qmp_call(self, command, **arguments):
        with contextlib.suppress(ConnectionError):
            self._qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self._qmp.flush()
            while line := self._qmp.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise Failure(f"{command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        raise Failure(f"the emulator ended at {command}: " + (self.folder / "emulator").read_text())

    def _monitor(self, command):
        return self._qmp_call("human-monitor-command", **{"command-line": command})

    # ---- root's commands ----

    def _frame(self, kind, number, payload):
        with self._writing:
            if self._agent is None:
                raise Failure("the machine is off")
            self._agent.sendall(struct.pack("<cII", kind, number, len(payload)) + payload)

    def _receive(self, agent):
        try:
            with agent.makefile("rb") as stream:
                while len(head := stream.read(9)) == 9:
                    kind, number, length = struct.unpack("<cII", head)
                    self._dispatch(kind, number, stream.read(length))
        except (OSError, ValueError):
            pass
        with self._changed:
            if agent is self._agent:
                self.gone = True
            self._changed.notify_all()

    def _dispatch(self, kind, number, payload):
        with self._changed:
            command = self._commands.get(number)
            if kind == b"H":
                self._commands[0] = True
            elif command is None:
                return
            elif kind == b"O":
                command.out += payload
                if command.heard is not None:
                    command.heard(payload)
            elif kind == b"X":
                command.err += payload
            elif kind == b"S":
                command.status = struct.unpack("<I", payload)[0]
            self._changed.notify_all()

    def _hello(self, ping):
        self._commands = {}
        if ping:
            self._frame(b"P", 0, b"")
        began, limit = time.monotonic(), PATIENCE if ping else BOOT
        with self._changed:
            while 0 not in self._commands:
                waited = time.monotonic() - began
                if self.gone or waited > limit:
                    why = "its emulator ended" if self.gone else f"its emulator had the processor for {self._spent():.0f} s of them"
                    raise Failure(f"the machine does not come up after {waited:.0f} s, {why}:\n{self.serial()}")
                self._changed.wait(1)

    def _spent(self):
        """For how many seconds the emulator has computed: a host that was too busy for it is told from a guest that hangs."""
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def start(self, text):
        """Starts a bash command as root."""
        with self._changed:
            self._last += 1
            command = self._commands[self._last] = Command(self, self._last, text)
        self._frame(b"R", command.number, text.encode())
        return command

    def sh(self, text, check=True, timeout=PATIENCE):
        """Runs a bash command as root; its output without the last line end."""
        command = self.start(text)
        command.end_input()
        status = command.wait(timeout)
        out = command.out.decode(errors="replace").rstrip("\n")
        if check and status != 0:
            raise Failure(f"`{text}` ended with {status}: {command.err.decode(errors='replace')}{out}")
        return out

    def status(self, text, timeout=PATIENCE):
        """Runs a bash command as root; its exit status."""
        command = self.start(text)
        command.end_input()
        return command.wait(timeout)

    def json(self, text):
        """Runs a command that prints one JSON object."""
        return json.loads(self.sh(text))

    def push(self, data, path, mode="644"):
        """Writes bytes, text or a host's file to a path in the guest."""
        if isinstance(data, pathlib.Path):
            data = data.read_bytes()
        command = self.start(f"mkdir -p \"$(dirname '{path}')\" && cat > '{path}' && chmod {mode} '{path}'")
        command.send(data if isinstance(data, bytes) else data.encode())
        command.end_input()
        if command.wait() != 0:
            raise Failure(f"{path} was not written: {command.err.decode(errors='replace')}")

    def until(self, text, timeout=PATIENCE):
        """Waits in the guest until a condition (a bash command) holds."""
        status = self.status(f"deadline=$((SECONDS + {int(timeout)})); until {{ {text}\n}} > /dev/null 2>&1; do "
                             "[ $SECONDS -lt $deadline ] || exit 99; sleep 0.05; done", timeout + PATIENCE)
        if status != 0:
            raise Failure(f"never came true within {timeout:.0f} s: {text}")

    def serial(self):
        """The end of what the machine wrote to its serial console."""
        path = self.folder / "serial"
        return "\n".join(path.read_text(errors="replace").splitlines()[-25:]) if path.exists() else ""

    # ---- logins over the network ----

    def forward(self, port):
        """A port of the host's loopback that leads to this one of the guest."""
        before = set(self._forwards())
        said = self._monitor(f"hostfwd_add lan tcp:127.0.0.1:0-:{port}")
        added = set(self._forwards()) - before
        expect(len(added) == 1, f"nothing leads to port {port}: {said}")
        return added.pop()

    def _forwards(self):
        return [int(port) for port in re.findall(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", self._monitor("info usernet"))]

    def ssh_client(self, *options):
        """OpenSSH's client for this machine, as the beginning of a command."""
        return ["ssh", "-F", "none", "-p", str(self.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "NumberOfPasswordPrompts=1", "-o", "IdentityAgent=none", *options]

    def ssh(self, user, password, command="id -un", timeout=PATIENCE, key=None):
        """Logs in with OpenSSH's client. Returns (exit status, output); 255 or 5 mean that the login was refused."""
        options = ["-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={int(timeout)}"]
        if key is None:
            options += ["-o", "PreferredAuthentications=password,keyboard-interactive", "-o", "PubkeyAuthentication=no"]
            front = ["sshpass", "-p", password]
        else:
            options += ["-o", "PreferredAuthentications=publickey", "-o", "IdentitiesOnly=yes", "-i", str(key)]
            front = []
        done = subprocess.run([*front, *self.ssh_client(*options), f"{user}@127.0.0.1", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip()


def sweep():
    """Removes the folders of machines whose harness was killed."""
    for folder in (OUT / "run").glob("*"):
        mine = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        os.close(mine)


_ACCELERATOR = []


def accelerated():
    """`kvm` where it can run our kernel, else `tcg` (pure emulation). Tried once and kept with the built files."""
    if not _ACCELERATOR:
        kept = OUT / "accelerator"
        if not kept.exists():
            kept.write_text("kvm" if _kvm_works() else "tcg")
        _ACCELERATOR.append(kept.read_text().strip())
    return _ACCELERATOR[0]


def _kvm_works():
    """Boots our initramfs under KVM without a disk: it must get as far as missing it. Some nested hosts offer KVM and hang."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "q35", "-m", "256", "-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none", "-no-reboot",
         "-kernel", str(OUT / "kernel" / "vmlinuz"), "-initrd", str(OUT / "initramfs" / "initramfs"),
         "-append", "console=ttyS0 panic=-1", "-serial", "stdio"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watchdog = threading.Timer(20, qemu.kill)
    watchdog.start()
    try:
        return b"root disk" in qemu.stdout.read()
    finally:
        watchdog.cancel()
        qemu.kill()
        qemu.wait()
