# SPDX-License-Identifier: Apache-2.0
"""One guest: built, started under qemu without KVM (kernels of Debian do not start under this project's nested machines), and
judged by what it left."""

import dataclasses
import os
import pathlib
import re
import selectors
import subprocess
import tarfile
import tempfile
import time
from typing import Callable

import standin
from archive import Failure
from cache import STOPPING, Cache, Image
from initramfs import Initramfs, Modules

HERE = pathlib.Path(__file__).resolve().parent
HANG, DIED = 124, 125
DISK_MIB = 512
# Of what mkfs.xfs makes by default, kernel 5.10 knows all but these.
MAKE_CLONES = ["sbin/mkfs.xfs", "-q", "-f", "-m", "reflink=1,bigtime=0,inobtcount=0"]
ALWAYS = ["virtio_pci", "virtio_blk", "ext4"]
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


@dataclasses.dataclass
class Options:
    command: str
    files: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (here, there)
    modules: list[str] = dataclasses.field(default_factory=list)  # by name; absent ones are told
    append: list[str] = dataclasses.field(default_factory=list)
    lsm: str | None = None  # None: the distribution's own list
    smp: int = 1
    mem: int = 1024
    timeout: float = 120
    quiet: bool = False  # the timeout is of silence: it begins anew with each word that the guest prints
    icount: bool = False
    gpu: bool = False  # the stand-in GPU of tests/vm/gpu, and a PCI display and network card
    clones: bool = False  # a file system whose files can share extents (xfs), at /mnt/clones; wants the module xfs
    # (port of the guest's 10.0.2.100, port of this machine's 127.0.0.1): the guest's only way out, by a network card (virtio_net)
    outside: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    out: pathlib.Path | None = None  # folder for what the guest left in /out
    console: pathlib.Path | None = None  # keeps the kernel's console here


@dataclasses.dataclass(frozen=True)
class Outcome:
    how: str  # "ended", "hang", "panic", "died"
    code: int  # the command's own when it ended, else 124 or 125
    text: str
    seconds: float = 0
    told: str = ""  # what the command wrote to /dev/ttyS3


def classify(control: str, console: str, timed_out: bool, complaint: str = "") -> Outcome:
    """control: what init.sh wrote to ttyS2; complaint: what qemu wrote to its standard error."""
    ended = re.findall(r"^exit (\d+)\s*$", control, re.MULTILINE)
    if ended:
        return Outcome("ended", int(ended[-1]), f"the command ended with {ended[-1]}")
    panic = re.search(r"Kernel panic - not syncing.*", console)
    if panic:
        bug = re.search(r"(BUG: .*|Oops: .*|general protection fault.*)", console)  # says more than the panic that it ends in
        return Outcome("panic", DIED, (bug or panic).group(0).strip())
    up = re.search(r"^up\s*$", control, re.MULTILINE)
    if timed_out:
        return Outcome("hang", HANG, "no end of the command in time" if up else "the guest did not come up in time")
    why = (complaint.strip().splitlines() or ["no word of why"])[0]
    return Outcome("died", DIED, f"the machine stopped {'during the command' if up else 'before it was up'}: {why}")


def build(cache: Cache, image: Image, options: Options, at: pathlib.Path, say: Callable[[str], None]) -> None:
    gpu_module, gpu_program = standin.make(cache, image) if options.gpu else (None, None)
    more = (["cuse"] if gpu_program else []) + (["virtio_net"] if options.outside else [])
    contents, absent = Modules(image).load_order(ALWAYS + options.modules + more)
    for name in absent:
        say(f"{image.name}: this kernel has no module {name}")
    if gpu_module:
        contents["moat_gpu"] = gpu_module.read_bytes()
    with open(at, "wb") as file:
        root = Initramfs(file)
        root.add(pathlib.Path(cache.tool("bin/busybox")), "bin/busybox")
        root.write("init", (HERE / "init.sh").read_bytes(), 0o755)
        root.write("vm/command", options.command.encode() + b"\n")
        root.write("vm/modules/order", "".join(name + "\n" for name in contents).encode())
        for name, content in contents.items():
            root.write(f"vm/modules/{name}.ko", content)
        if gpu_program:
            root.add(gpu_program, "vm/cuse_gpu")
        for source, destination in options.files:
            root.add(pathlib.Path(source), destination)
        for path, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", "127.0.0.1 localhost\n::1 localhost\n")):
            root.write("etc/" + path, text.encode())
        root.write("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")
        root.close()


def qemu_command(cache: Cache, image: Image, options: Options, folder: pathlib.Path) -> list[str]:
    # oops=panic, panic=-1 and -no-reboot: a kernel that has gone wrong ends qemu at once. random.trust_cpu: no wait for entropy.
    words = ["console=ttyS0", "loglevel=4", "oops=panic", "panic=-1", "nowatchdog", "tsc=reliable", "no_timer_check"]
    # init_on_alloc=0: Debian has each page cleared, which is a fifth of the time that loading a program takes here.
    words += ["random.trust_cpu=on", "mitigations=off", "init_on_alloc=0", "audit=0", "rdinit=/init", *options.append]
    words += [f"lsm={options.lsm}"] if options.lsm is not None else []
    command = ["setpriv", "--pdeathsig", "KILL"]  # qemu ends with the rig even when nobody can end it
    command += [cache.tool("usr/bin/qemu-system-x86_64"), "-L", cache.tool("usr/share/qemu"), "-L", cache.tool("usr/share/seabios")]
    command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "pc", "-cpu", "max,la57=off"]
    # One thread for all of the guest's processors. With a thread each, one of them was seen to run into an int3 of the kernel's
    # self-patching that was gone already (7.3, "Oops: int3" in __schedule), and a test took half again as much time of this machine.
    command += ["-accel", "tcg,thread=single"]
    # The guest's clock counts its instructions, one to a nanosecond.
    command += ["-icount", "shift=0"] if options.icount else []
    command += ["-smp", str(options.smp), "-m", str(options.mem), "-kernel", str(image.vmlinux), "-initrd", str(folder / "initramfs")]
    command += ["-append", " ".join(words)]
    command += ["-chardev", f"file,id=console,path={folder}/console", "-serial", "chardev:console"]
    command += ["-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"]
    for file in ("control", "told"):
        command += ["-chardev", f"file,id={file},path={folder}/{file}", "-serial", f"chardev:{file}"]
    if options.gpu:  # PCI devices whose registers can be mapped: a display, and one that is none. No driver takes them.
        command += ["-device", "bochs-display,romfile=", "-device", "e1000,romfile="]
    if options.outside:  # a process for each connection: qemu's own way has one for all
        ways = [f"guestfwd=tcp:10.0.2.100:{there}-cmd:{cache.tool('bin/busybox')} nc 127.0.0.1 {here}" for there, here in options.outside]
        command += ["-netdev", ",".join(["user,id=net,restrict=on", *ways]), "-device", "virtio-net-pci,netdev=net,romfile="]
    for disk in ("disk", "out", *(["clones"] if options.clones else [])):
        command += ["-drive", f"file={folder}/{disk},format=raw,if=virtio,cache=unsafe"]
    return command


RUNNING: set[subprocess.Popen] = set()


def stop_all(signal_number: int, _frame: object) -> None:
    """For SIGTERM and SIGINT: no guest and no folder of one stays behind, and no other guest is begun."""
    STOPPING.set()
    for qemu in list(RUNNING):
        qemu.kill()
    raise SystemExit(128 + signal_number)


def stream(command: list[str], environment: dict[str, str], complaints: pathlib.Path, options: Options, sink: Callable[[bytes], None]) -> bool:
    """Runs qemu, hands its standard output on as it comes. True: it had to be killed, its time was over."""
    end = time.monotonic() + options.timeout
    if STOPPING.is_set():
        raise Failure("stopped by a signal")
    with open(complaints, "wb") as stderr:
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    RUNNING.add(qemu)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(qemu.stdout, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if selector.select(left):
                    data = os.read(qemu.stdout.fileno(), 65536)
                    if not data:
                        return False
                    sink(data)
                    if options.quiet:
                        end = time.monotonic() + options.timeout
        return True
    finally:
        RUNNING.discard(qemu)
        qemu.kill()
        qemu.wait()
        qemu.stdout.close()


def make_disks(cache: Cache, folder: pathlib.Path, options: Options) -> None:
    makers = {"disk": ["sbin/mke2fs", "-q", "-F", "-t", "ext4"], "out": None}
    if options.clones:
        makers["clones"] = MAKE_CLONES
    for disk, maker in makers.items():
        with open(folder / disk, "wb") as file:
            file.truncate(DISK_MIB << 20)  # sparse
        if maker:
            command = [cache.tool(maker[0]), *maker[1:], str(folder / disk)]
            made = subprocess.run(command, env=cache.environment(), capture_output=True, text=True, check=False)
            if made.returncode:
                raise Failure(f"{pathlib.Path(maker[0]).name}: {made.stderr.strip()}")


def boot(cache: Cache, image: Image, options: Options, sink: Callable[[bytes], None], say: Callable[[str], None]) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="moat-vm-") as name:
        folder = pathlib.Path(name)
        build(cache, image, options, folder / "initramfs", say)
        make_disks(cache, folder, options)
        texts = ("console", "control", "told", "complaints")
        for file in texts:
            (folder / file).touch()
        command = qemu_command(cache, image, options, folder)
        timed_out = stream(command, cache.environment(), folder / "complaints", options, sink)
        console, control, told, complaint = ((folder / file).read_text(encoding="utf-8", errors="replace") for file in texts)
        outcome = classify(control, console, timed_out, complaint)
        for module, why in re.findall(r"^module (\S+) (.*?)\s*$", control, re.MULTILINE):
            say(f"{image.name}: module {module} was not loaded: {why}")
        if options.console:
            options.console.write_text(console, encoding="utf-8")
        if outcome.how != "ended":
            say(f"{image.name}: {outcome.how}: {outcome.text}; the end of its console:")
            say("\n".join("  | " + line for line in console.splitlines()[-25:] or ["(it is empty)"]))
        elif options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            with tarfile.open(folder / "out") as tar:
                tar.extractall(options.out, filter="data")
    return dataclasses.replace(outcome, seconds=time.monotonic() - began, told=told)
