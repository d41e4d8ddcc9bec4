# SPDX-License-Identifier: Apache-2.0
"""moatd on a cgroup of its own, and what `moatctl watch -o json` sees. Everything made here goes with the context."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time


def cgroup2_mount() -> pathlib.Path:
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            if " - cgroup2 " in line:
                return pathlib.Path(line.split()[4])
    raise RuntimeError("no cgroup2 file system is mounted")


class Listener:
    """Reads and forgets what comes to a loopback port. Outside the scope: this process."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                peer, _ = self.socket.accept()
                with peer:
                    while peer.recv(65536):
                        pass


class Agent:
    def __init__(self, programs: pathlib.Path, asset: str, paths: list[pathlib.Path], work: pathlib.Path):
        self.programs, self.work = programs, work
        self.cgroup = pathlib.Path(tempfile.mkdtemp(prefix=f"moat-e2e-{os.getpid()}-", dir=cgroup2_mount()))
        self.socket = work / "moat.sock"
        self.log = work / "moatd.log"
        config = work / "moatd.yaml"
        places = ", ".join(str(path) for path in paths)
        config.write_text(
            f"scope: /{self.cgroup.name}\napi:\n  socket: {self.socket}\n"
            f"assets:\n  inline:\n    - {{name: {asset}, class: weights, paths: [{places}]}}\n",
            encoding="utf-8",
        )
        self.running = []
        self.moatd = self._start("moatd", "--config", str(config), output=self.log)
        self._await(lambda: self.ctl("status").returncode == 0, "moatd to answer")
        self.seen = work / "seen.json"
        self._start("moatctl", "watch", "--since", "oldest", "-o", "json", output=self.seen)

    def _environment(self):
        return {**os.environ, "MOAT_ADDRESS": f"unix://{self.socket}"}

    def _start(self, program: str, *arguments: str, output: pathlib.Path) -> subprocess.Popen:
        with open(output, "wb") as file:
            process = subprocess.Popen(
                [self.programs / program, *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self._environment()
            )
        self.running.append(process)
        return process

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.programs / "moatctl", *arguments], env=self._environment(), capture_output=True, text=True, timeout=20, check=False
        )

    def _await(self, condition, what: str, seconds: float = 10):
        until = time.monotonic() + seconds
        while not condition():
            if self.moatd.poll() is not None:
                raise RuntimeError(f"moatd ended with {self.moatd.returncode}:\n{self.log.read_text()}")
            if time.monotonic() > until:
                raise TimeoutError(f"waited {seconds} s for {what}; moatd's log:\n{self.log.read_text()}")
            time.sleep(0.05)

    def events(self) -> list[dict]:
        text = self.seen.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def await_events(self, condition, what: str) -> list[dict]:
        """All events, once condition(events) holds; TimeoutError after 10 s."""
        self._await(lambda: condition(self.events()), what)
        return self.events()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        problems = []
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                problems.append(f"{process.args[0]} did not end within 5 s of SIGTERM")
        for _ in range(50):
            with contextlib.suppress(OSError):
                self.cgroup.rmdir()
                break
            time.sleep(0.1)
        else:
            problems.append(f"{self.cgroup} is still in use")
        if self.moatd.returncode != 0:
            problems.append(f"moatd ended with {self.moatd.returncode}:\n{self.log.read_text()}")
        if problems:
            raise RuntimeError("; ".join(problems))
