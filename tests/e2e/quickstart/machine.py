# SPDX-License-Identifier: Apache-2.0
"""machine.sh as a context: a machine with systemd, at which commands are typed. All of it goes with the context."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parents[2]


def hierarchies() -> list[pathlib.Path]:
    """Where systemd keeps its cgroups: cgroup2, and on a hybrid machine its own one of the first version."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return [pathlib.Path(line.split()[4]) for line in mounts if " - cgroup2 " in line or "name=systemd" in line]


def why_not() -> str:
    """Nothing: a machine can be had."""
    if os.geteuid() != 0:
        return "needs root: it makes namespaces, mounts and cgroups"
    for program in ("/lib/systemd/systemd", "/usr/bin/dbus-daemon"):
        if not os.path.exists(program):
            return f"no {program} here (deploy/packages.sh test)"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel has no BTF (/sys/kernel/btf/vmlinux)"
    if not any((mount / "cgroup.controllers").exists() and os.access(mount, os.W_OK) for mount in hierarchies()):
        return "no cgroup2 file system that can be written to is mounted here"
    try_it = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    run = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", try_it], capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else f"no overlay over the root file system here: {run.stderr.strip().splitlines()[0]}"


class Machine(contextlib.ExitStack):
    def __init__(self):
        super().__init__()
        self.name = f"moat-walk-{os.getpid()}"
        self.scope = f"/{self.name}"
        folder = tempfile.mkdtemp(prefix="moat-walk-")
        self.callback(shutil.rmtree, folder)
        self.callback(self._remove_cgroups)
        self.log = tempfile.TemporaryFile("w+")  # pylint: disable=consider-using-with
        self.callback(self.log.close)
        command = ["unshare", "--mount", "--net", "--uts", "--ipc", HERE / "machine.sh", folder, self.name, SOURCES]
        self.init = 0
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.callback(self._stop)
        try:
            self.init = self._first_process()
            self._await_boot()
        except BaseException:
            self.close()
            raise

    def _said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def _first_process(self) -> int:
        for _ in range(500):
            if self.process.poll() is not None:
                raise RuntimeError(self._said())
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()[0])
                if pathlib.Path(f"/proc/{pid}/comm").read_text("ascii").strip() == "systemd":
                    return pid
            time.sleep(0.02)
        raise TimeoutError(self._said())

    def _await_boot(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError(self._said())
            _, said = self.type("systemctl is-system-running")
            if said.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise TimeoutError(said + self._said())

    def type(self, command: str, seconds: float = 60) -> tuple[int, str]:
        """What root's shell makes of it, in the folder of the sources: its status, and all that it says."""
        shell = f"echo $$ > {self._cgroup() / 'cgroup.procs'}; exec nsenter -t {self.init} -m -u -i -n -p -r -w bash -c \"cd '{SOURCES}'; $1\""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
        words = ["bash", "-c", shell, "bash", command]
        run = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds, env=environment
        )
        return run.returncode, run.stdout

    def _cgroup(self) -> pathlib.Path:
        """Of who types: a leaf, since systemd gives controllers to what is below its own."""
        folder = [mount for mount in hierarchies() if (mount / "cgroup.controllers").exists()][0] / self.name / "shell"
        folder.mkdir(exist_ok=True)
        return folder

    def _stop(self):
        if self.init and self.process.poll() is None:  # systemd's signal to halt; the namespace's processes go with it
            os.kill(self.init, signal.SIGRTMIN + 3)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
            return
        self.process.kill()
        self.process.wait()

    def _remove_cgroups(self):
        for mount in hierarchies():
            for _ in range(300):
                folders = [pathlib.Path(path) for path, _, _ in os.walk(mount / self.name, topdown=False)]
                for folder in folders:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                if not folders:
                    break
                time.sleep(0.02)
