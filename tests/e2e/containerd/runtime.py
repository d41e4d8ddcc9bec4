# SPDX-License-Identifier: Apache-2.0
"""A containerd of the test's own: folders, socket, configuration and mounts are its, and all of it goes with the context."""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

import image

SHIM_SOCKETS = pathlib.Path("/run/containerd")  # where shims listen, whatever the configuration says
KUBE = "kubepods"  # where a kubelet keeps its pods, below each cgroup mount

CONFIG = """version = 2
root = "{work}/root"
state = "{work}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{work}/ttrpc.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{work}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/moat-pause:1"
  disable_tcp_service = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{work}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{work}/runc"
        SystemdCgroup = false
        NoPivotRoot = {no_pivot}
"""


def cgroup_mounts() -> list[pathlib.Path]:
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return [pathlib.Path(line.split()[4]) for line in mounts if " - cgroup" in line]


def cgroup2_mount() -> pathlib.Path:
    """The one that shows the whole tree."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return next(pathlib.Path(line.split()[4]) for line in mounts if " - cgroup2 " in line and line.split()[3] == "/")


def root_is_initramfs() -> bool:
    """As in a guest of tests/vm: the kernel lets nobody pivot away from it."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return not any(line.split()[4] == "/" and " - rootfs " not in line for line in mounts)


def in_use() -> bool:
    """Do pods run here that are not of this test?"""
    for mount in cgroup_mounts():
        for procs in (mount / KUBE).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                if procs.read_text(encoding="ascii").strip():
                    return True
    return False


class Lines:
    """A program, and what it says, line by line."""

    def __init__(self, *command):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(word) for word in command], stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def say(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def next(self, seconds: float = 30) -> str:
        line = self.lines.get(timeout=seconds)
        if line is None:
            raise RuntimeError(f"{self.process.args[0]} has ended")
        return line

    def end(self) -> int:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        return self.process.returncode


class Containerd:
    def __init__(self, work: pathlib.Path, app: pathlib.Path, socket: pathlib.Path | None = None):
        self.work, self.socket = work, socket or work / "cri.sock"
        self.had_shim_sockets = SHIM_SOCKETS.exists()
        self.cgroups = []  # names of pods' cgroups below KUBE
        self.before = {mount for mount in cgroup_mounts() if (mount / KUBE).exists()}
        (work / "config.toml").write_text(CONFIG.format(work=work, socket=self.socket, no_pivot=str(root_is_initramfs()).lower()), encoding="utf-8")
        self.log = work / "containerd.log"
        with open(self.log, "wb") as log:
            # A mount namespace of its own: whatever it leaves mounted goes with it. Shared in itself, as mounts with HostToContainer want it.
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --make-rshared / && exec containerd "$@"']
            command += ["containerd", "-c", str(work / "config.toml"), "-l", "warn"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._await_socket()
            self.digests = {name: self._import(name, app) for name in ("localhost/moat-pause:1", "localhost/moat-app:1")}
        except BaseException:
            self.close()
            raise

    def _await_socket(self):
        until = time.monotonic() + 60
        while subprocess.run(["ctr", "-a", self.socket, "version"], capture_output=True, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"containerd does not answer:\n{self.log.read_text()}")
            time.sleep(0.05)

    def _import(self, name: str, app: pathlib.Path) -> str:
        archive = self.work / "image.tar"
        digest = image.write(archive, name, app)
        pulled = f"{name.rsplit(':', 1)[0]}@{digest}"  # what an image that was pulled is called, too: by this the runtime tells its digest
        for command in (["import", archive], ["tag", name, pulled]):
            subprocess.run(["ctr", "-a", self.socket, "-n", "k8s.io", "images", *command], check=True, capture_output=True, timeout=60)
        return digest

    def parent(self, uid: str) -> str:
        """The cgroup of a pod, below the cgroup mounts."""
        self.cgroups.append(f"burstable/pod{uid}")
        return f"/{KUBE}/burstable/pod{uid}"

    def stop(self):
        """The runtime goes; its containers stay."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def close(self):
        self.stop()
        self._end_leftovers()
        for mount in cgroup_mounts():
            below = [mount / KUBE / name for name in self.cgroups]
            below += [mount / KUBE / "burstable", mount / KUBE] if mount not in self.before else []
            for folder in below:
                for child in [*sorted(folder.rglob("*/"), reverse=True), folder]:
                    with contextlib.suppress(OSError):
                        child.rmdir()
        if not self.had_shim_sockets:
            for folder in (SHIM_SOCKETS / "s", SHIM_SOCKETS):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def left(self) -> list[str]:
        """What is still there of it after close()."""
        cgroups = [mount / KUBE / name for mount in cgroup_mounts() for name in self.cgroups]
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            mounted = [line.split()[4] for line in mounts if str(self.work) in line]
        return [str(path) for path in cgroups if path.exists()] + mounted + [f"process {pid}" for pid in self._leftovers()]

    def _leftovers(self) -> list[int]:
        """Shims name the socket of their containerd; what runs in the pods is in their cgroups."""
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"{self.work}/".encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    pids.append(int(entry.name))
        for mount in cgroup_mounts():
            for name in self.cgroups:
                for procs in (mount / KUBE / name).rglob("cgroup.procs"):
                    with contextlib.suppress(OSError):
                        pids += [int(pid) for pid in procs.read_text(encoding="ascii").split() if int(pid) > 0]
        return sorted(set(pids))

    def _end_leftovers(self):
        for _ in range(50):
            pids = self._leftovers()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


class Watch:
    """moat_cri_watch: what it said, by cgroup."""

    def __init__(self, programs: pathlib.Path, containerd: Containerd):
        self.program = Lines(programs / "moat_cri_watch", containerd.socket, f"/{KUBE}")
        self.said = []

    def wait(self, what: str, cgroup: str | None = None, seconds: float = 20) -> dict:
        """The line that says so of that cgroup, come already or to come."""
        until = time.monotonic() + seconds
        while True:
            for line in self.said:
                if line["said"] == what and (cgroup is None or line.get("cgroup") == cgroup):
                    return line
            left = until - time.monotonic()
            try:
                self.said.append(json.loads(self.program.next(max(left, 0.01))))
            except queue.Empty:
                raise TimeoutError(f"not {what} within {seconds} s: {cgroup}; last: {self.said[-3:]}") from None

    def ask(self, line: str, what: str) -> dict:
        self.said = [said for said in self.said if said["said"] != what]
        self.program.say(line)
        return self.wait(what)
