#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose a cgroup is, by a real containerd: three pods in two namespaces, run through the CRI as a kubelet does.

usage: containerd_test.py PROGRAMS   (build/bin)
"""

import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest
import uuid

from runtime import Containerd, Lines, Watch, in_use, root_is_initramfs

PODS = [  # namespace, pod, container, labels
    ("prod", "vllm-0", "server", {"app": "vllm", "tier": "serving"}),
    ("prod", "vllm-1", "server", {"app": "vllm", "pod-index": "1", "example.com/owner": "ml=infra"}),
    ("research", "trainer", "worker", {"app": "trainer"}),
]
IMAGE = "localhost/moat-app:1"
SECOND = 1_000_000_000


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(77)


class Pod:
    """A pod of which the sandbox runs and the container is made, and not started."""

    def __init__(self, containerd: Containerd, space: str, name: str, container: str, labels: dict):
        self.uid = str(uuid.uuid4())
        self.parent = containerd.parent(self.uid)
        self.logs = containerd.work / f"logs-{name}"
        self.logs.mkdir(exist_ok=True)
        self.container = container
        words = [space, name, self.uid, self.parent, self.logs, container, IMAGE]
        self.program = Lines(PROGRAMS / "moat_cri_pod", containerd.socket, *words, *[f"{k}={v}" for k, v in labels.items()])
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

    def began(self) -> int:
        """When the container's program ran its first lines: "TIME stdout F NS" in its log, soon."""
        log, until = self.logs / f"{self.container}.log", time.monotonic() + 20
        while time.monotonic() < until:
            words = log.read_text(encoding="ascii").split() if log.exists() else []
            if len(words) == 4:
                return int(words[3])
            time.sleep(0.01)
        raise TimeoutError(f"nothing in {log}")


class ContainerdTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="moat-cri-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.containerd = Containerd(pathlib.Path(folder.name), PROGRAMS / "moat_cri_app")
        self.addCleanup(self.close)
        self.watch = Watch(PROGRAMS, self.containerd)
        self.addCleanup(self.watch.program.end)
        self.pods = []

    def run_pod(self, *what) -> Pod:
        self.pods.append(Pod(self.containerd, *what))
        self.addCleanup(self.pods[-1].program.end)
        return self.pods[-1]

    def close(self):
        self.containerd.close()
        self.assertEqual(self.containerd.left(), [])

    def test_three_pods_are_known_within_a_second(self):
        for number, what in enumerate(PODS):
            pod = self.run_pod(*what)
            asked = pod.start()
            known = self.watch.wait("known", pod.cgroup)
            self.assertEqual(known["is"], pod.whole)
            seen = self.watch.wait("seen", pod.cgroup)
            # An emulated machine takes up to a second to make a container: there it counts from when the container's program ran.
            self.assertLess(known["ns"] - (pod.began() if root_is_initramfs() else asked), SECOND)
            self.assertEqual(self.watch.wait("known", pod.sandbox_cgroup)["is"], pod.pause)
            self.assertEqual({k: self.watch.wait("known", pod.parent)["is"][k] for k in pod.pod}, pod.pod)
            before = (pod.began() - known["ns"]) / 1e6
            print(
                f"pod {number}: known {(known['ns'] - seen['ns']) / 1e6:.1f} ms after its cgroup was seen, "
                f"{(known['ns'] - asked) / 1e6:.1f} ms after its start was asked for, "
                f"{abs(before):.1f} ms {'before' if before > 0 else 'after'} its program ran"
            )
        kept = self.watch.said[-1]["kept"]
        self.assertEqual(kept, 3 * len(PODS), "a container, a sandbox and the pod itself of each")
        for pod in self.pods:
            self.assertEqual(pod.program.end(), 0)
            for cgroup in (pod.cgroup, pod.sandbox_cgroup):
                gone = self.watch.wait("gone", cgroup)
        self.assertLessEqual(gone["kept"], len(PODS), "what is left are the pods' own cgroups, which a kubelet would remove")

    def test_known_before_it_is_started_and_unknown_when_nobody_made_it(self):
        pod = self.run_pod(*PODS[0])
        said = self.watch.ask(f"resolve {pod.cgroup}", "resolved")
        self.assertEqual((said["known"], said["is"]), (True, pod.whole))
        made_up = f"{pod.parent}/{'0' * 64}"
        self.assertFalse(self.watch.ask(f"resolve {made_up}", "resolved")["known"])
        # Another pod's container is not taken for that pod's.
        other = f"/kubepods/burstable/pod{uuid.uuid4()}/{pod.cgroup.rsplit('/', 1)[1]}"
        said = self.watch.ask(f"resolve {other}", "resolved")
        self.assertEqual((said["known"], said["is"]["pod"]), (False, ""))

    def test_a_runtime_that_is_away_is_told(self):
        source = self.watch.ask("check", "source")
        self.assertEqual((source["reachable"], source["version"].split()[0]), (True, "containerd"), source)
        print(f"runtime: {source['version']}")
        pod = self.run_pod(*PODS[2])
        self.assertEqual(pod.program.end(), 0)
        self.containerd.stop()
        source = self.watch.ask("check", "source")
        self.assertFalse(source["reachable"])
        self.assertNotEqual(source["error"], "")
        self.assertFalse(self.watch.ask(f"resolve {pod.cgroup}", "resolved")["known"])


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve()
    if os.geteuid() != 0:
        skip("needs root: containerd makes cgroups and mounts")
    for tool in ("containerd", "ctr", "runc", "unshare"):
        if not shutil.which(tool):
            skip(f"no {tool} here (deploy/packages.sh containerd)")
    if in_use():
        skip("pods run on this host: the test would have to make cgroups among them")
    unittest.main(verbosity=2)
