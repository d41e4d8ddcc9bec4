# SPDX-License-Identifier: Apache-2.0
"""A moatd on a cgroup of the test's own, with no more capabilities than it is given. Everything goes with the context."""

import contextlib
import ctypes
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PR_CAPBSET_DROP = 24
CAPABILITIES = {  # by number in <linux/capability.h>
    name: number
    for number, name in enumerate(
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
        "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
        "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split()
    )
}
libc = ctypes.CDLL(None, use_errno=True)


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(77)


def run_tests(argv: list[str] | None = None):
    """unittest.main for what may skip itself: that is 77 to ctest, too."""
    result = unittest.main("__main__", argv=argv, verbosity=2, exit=False).result
    if result.skipped and result.wasSuccessful():
        skip(result.skipped[0][1])
    sys.exit(not result.wasSuccessful())


def keep_only(names: set[str]):
    """What exec then hands to root. Between fork and exec."""
    for name, number in CAPABILITIES.items():
        if name not in names and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
            os._exit(96)


def cgroup2_mount() -> pathlib.Path:
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            if " - cgroup2 " in line and line.split()[3] == "/":
                return pathlib.Path(line.split()[4])
    return skip("no cgroup2 file system that shows the whole tree is mounted here")


def need_root():
    if os.geteuid() != 0:
        skip("needs root")
    if not pathlib.Path("/sys/kernel/btf/vmlinux").exists():
        skip("this kernel has no BTF (/sys/kernel/btf/vmlinux)")


class Place(contextlib.ExitStack):
    """A directory with a bpffs in it, and a cgroup."""

    def __init__(self):
        super().__init__()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="moat-node-"))
        self.callback(shutil.rmtree, self.folder)
        self.scope = "/" + self.folder.name
        self.cgroup = cgroup2_mount() / self.folder.name
        self.cgroup.mkdir()
        self.callback(self._remove_cgroup)
        self.bpf = self.folder / "bpf"
        self.bpf.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", self.bpf], check=True)
        self.callback(subprocess.run, ["umount", self.bpf], check=True)

    def _remove_cgroup(self):
        for _ in range(500):  # a reaped process leaves its cgroup a moment later
            with contextlib.suppress(OSError):
                self.cgroup.rmdir()
                return
            time.sleep(0.01)
        self.cgroup.rmdir()

    def run_inside(self, *command, user: int = 0) -> subprocess.Popen:
        """A process in the cgroup; it ends with the place."""

        def enter():
            (self.cgroup / "cgroup.procs").write_text("0", encoding="ascii")
            os.setuid(user)

        process = subprocess.Popen([str(word) for word in command], preexec_fn=enter)
        self.callback(process.wait)
        self.callback(process.kill)
        return process


class Agent:
    def __init__(self, programs: pathlib.Path, place: Place, settings: str, capabilities: set[str], prepare=lambda: None):
        """prepare: runs between fork and exec."""

        def enter():
            prepare()
            keep_only(capabilities)

        self.programs, self.socket, self.log = programs, place.folder / "moat.sock", place.folder / "log"
        config = place.folder / "moatd.yaml"
        config.write_text(f"scope: {place.scope}\napi: {{socket: {self.socket}}}\n{settings}", encoding="utf-8")
        with open(self.log, "wb") as log:
            command = [programs / "moatd", "--config", config]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=enter)
        self.ready = self._wait_ready()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_ready(self) -> bool:
        for _ in range(1000):
            if " ready\n" in self.text():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        raise TimeoutError(self.text())

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def port(self) -> int:
        return int(re.search(r"metrics at port (\d+)", self.text()).group(1))

    def ctl(self, *words) -> str:
        """What moatctl prints, whatever it exits with."""
        command = [self.programs / "moatctl", "--address", f"unix://{self.socket}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout

    def status(self) -> dict:
        return json.loads(self.ctl("status", "-o", "json"))
