# SPDX-License-Identifier: Apache-2.0
"""Pods of a containerd of the test's own, run through the CRI as a kubelet does."""

import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest
import uuid

from runtime import Containerd, Lines, in_use

IMAGE = "localhost/moat-app:1"


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(77)


def need(programs: str) -> pathlib.Path:
    """Ends the test where it cannot run; else where the programs are."""
    if os.geteuid() != 0:
        skip("needs root: containerd makes cgroups and mounts")
    for tool in ("containerd", "ctr", "runc", "unshare"):
        if not shutil.which(tool):
            skip(f"no {tool} here (deploy/packages.sh containerd)")
    if in_use():
        skip("pods run on this host: the test would have to make cgroups among them")
    return pathlib.Path(programs).resolve()


class Pod:
    """A pod of which the sandbox runs and the container is made, and not started."""

    def __init__(self, programs: pathlib.Path, containerd: Containerd, space: str, name: str, container: str, labels: dict, *args):
        self.uid = str(uuid.uuid4())
        self.parent = containerd.parent(self.uid)
        self.logs = containerd.work / f"logs-{self.uid}"
        self.logs.mkdir()
        self.container = container
        words = [space, name, self.uid, self.parent, self.logs, container, IMAGE, *[f"{k}={v}" for k, v in labels.items()], *args]
        self.program = Lines(programs / "moat_cri_pod", containerd.socket, *words)
        self.sandbox_cgroup = f"{self.parent}/{self._next('sandbox')}"
        self.cgroup = f"{self.parent}/{self._next('container')}"
        digest = containerd.digests[IMAGE]
        self.pod = {"namespace": space, "pod": name, "uid": self.uid, "labels": labels}
        self.pause = {**self.pod, "container": "", "container_labels": {}, "image": "", "digest": ""}
        own = {"io.kubernetes.container.name": container}
        self.whole = {**self.pod, "container": container, "container_labels": own, "image": IMAGE, "digest": digest}

    def _next(self, what: str) -> str:
        word, value = self.program.next().split()
        assert word == what, word
        return value

    def start(self) -> int:
        """Returns when it was asked for."""
        self.program.say("start")
        return int(self._next("started"))

    def said(self) -> list[list[int]]:
        """The whole lines of the container's program so far: "TIME stdout F NUMBER..." in its log."""
        log = self.logs / f"{self.container}.log"
        text = log.read_text(encoding="ascii") if log.exists() else ""
        return [[int(word) for word in line.split()[3:]] for line in text.split("\n")[:-1]]

    def wait(self, done, seconds: float = 20) -> list[list[int]]:
        """What it said, when done says so of it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            said = self.said()
            if said and done(said):
                return said
            time.sleep(0.01)
        raise TimeoutError(f"{self.cgroup}: {self.said()}")

    def began(self) -> int:
        """When the container's program ran its first lines."""
        return self.wait(lambda said: True)[0][0]


class PodsTest(unittest.TestCase):
    programs = pathlib.Path()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="moat-cri-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        self.containerd = Containerd(self.work, self.programs / "moat_cri_app")
        self.addCleanup(self._close)
        self.pods = []

    def run_pod(self, *what) -> Pod:
        self.pods.append(Pod(self.programs, self.containerd, *what))
        self.addCleanup(self.pods[-1].program.end)
        return self.pods[-1]

    def _close(self):
        self.containerd.close()
        self.assertEqual(self.containerd.left(), [])
