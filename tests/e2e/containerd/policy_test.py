#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A policy that selects a pod, by moatd and a real containerd: of three pods that one may not connect, and the others may.

usage: policy_test.py PROGRAMS   (build/bin)
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import uuid

from pods import PodsTest, need
from runtime import KUBE, cgroup2_mount

SECOND = 1_000_000_000
SELECTED = ("prod", "vllm-0", "server", {"app": "vllm", "tier": "serving"})
OTHERS = [("research", "vllm-0", "server", {"app": "vllm", "tier": "serving"}), ("prod", "web-0", "server", {"app": "web"})]
POLICY = """apiVersion: moat/v1
kind: Policy
metadata: {{name: closed}}
spec:
  mode: enforce
  unknown: {unknown}
  subjects: [{{pod: {{namespace: prod, labels: {{app: vllm}}}}}}]
  egress: {{default: deny}}
"""
CONFIG = """scope: /{kube}
api: {{socket: {work}/moat.sock}}
domains: {{process: false, file: false, gpu: false, net: false}}
policies: {{files: [{work}/policy.yaml], pins: ""}}
runtimes: {{cri: {cri}, docker: "", slurm: ""}}
log: {{level: debug}}
"""


class Moatd:
    def __init__(self, test: PodsTest, unknown: str, cri: str):
        self.log = test.work / "moatd.log"
        (test.work / "policy.yaml").write_text(POLICY.format(unknown=unknown), encoding="ascii")
        (test.work / "moatd.yaml").write_text(CONFIG.format(kube=KUBE, work=test.work, cri=cri), encoding="ascii")
        with open(self.log, "wb") as log:
            command = [test.programs / "moatd", "--config", test.work / "moatd.yaml"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        test.addCleanup(self.end)

    def wait(self, text: str, seconds: float = 60):
        until = time.monotonic() + seconds
        while text not in self.text():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"moatd does not say {text!r}:\n{self.text()}")
            time.sleep(0.01)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def results(said: list[list[int]]) -> list[int]:
    """What its connects came to, one after another, as they changed."""
    return [line[1] for line in said if len(line) == 2]


class PolicyTest(PodsTest):
    def setUp(self):
        super().setUp()
        self.top = cgroup2_mount() / KUBE
        self.top.mkdir(exist_ok=True)
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = str(listener.getsockname()[1])
        taker = threading.Thread(target=self._take, args=(listener,))
        taker.start()
        self.addCleanup(taker.join)
        self.addCleanup(listener.close)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    @staticmethod
    def _take(listener: socket.socket):
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    def moatd(self, unknown: str = "allow") -> Moatd:
        moatd = Moatd(self, unknown, self.containerd.socket)
        moatd.wait(" ready\n")
        return moatd

    def pod(self, what):
        return self.run_pod(*what, self.port)

    def accept_others(self, others):
        """They connect, and go on to: a denial would be a line more."""
        for pod in others:
            self.assertEqual(results(pod.said())[-1], 0, pod.pod)

    def test_the_selected_pod_is_denied_within_a_second_of_its_start(self):
        moatd = self.moatd()
        pods = [self.pod(what) for what in (SELECTED, *OTHERS)]
        for pod in pods:
            pod.start()
        said = pods[0].wait(lambda said: errno.EPERM in results(said))
        denied = next(line[0] for line in said if len(line) == 2 and line[1] == errno.EPERM)
        took = denied - pods[0].began()
        print(f"denied {took / 1e6:.1f} ms after its program began; before that {results(said).count(0)} spell of connects")
        self.assertLess(took, SECOND)
        for pod in pods[1:]:
            pod.wait(lambda said: results(said) != [])
        time.sleep(1)
        self.assertEqual(results(pods[0].said())[-1], errno.EPERM)
        self.assertNotIn(errno.EPERM, [result for pod in pods[1:] for result in results(pod.said())])
        self.accept_others(pods[1:])
        for pod in pods:  # whose it took each to be
            moatd.wait(f"{pod.cgroup}: pod {pod.pod['namespace']}/{pod.pod['pod']}, container {pod.container}, labels "
                       + ",".join(f"{k}={v}" for k, v in sorted(pod.pod["labels"].items())))
        self.assertEqual(moatd.end(), 0, moatd.text()[-3000:])
        pods[0].wait(lambda said: results(said)[-1] == 0)  # without pins it ends with moatd

    def test_where_unknown_is_denied_the_selected_pod_never_connects(self):
        self.moatd(unknown="deny")
        pods = [self.pod(what) for what in (SELECTED, *OTHERS)]
        for pod in pods:
            pod.start()
        for pod in pods[1:]:
            said = pod.wait(lambda said: 0 in results(said))
            allowed = next(line[0] for line in said if len(line) == 2 and line[1] == 0)
            print(f"allowed {(allowed - pod.began()) / 1e6:.1f} ms after its program began, results {results(said)}")
            self.assertLess(allowed - pod.began(), SECOND)
        time.sleep(1)
        self.assertEqual(results(pods[0].said()), [errno.EPERM])
        self.accept_others(pods[1:])

    def test_what_ran_before_is_known_when_moatd_is_ready(self):
        pods = [self.pod(what) for what in (SELECTED, *OTHERS)]
        for pod in pods:
            pod.start()
            pod.wait(lambda said: results(said) == [0])
        self.moatd()
        ready = time.monotonic_ns()
        denied = pods[0].wait(lambda said: errno.EPERM in results(said))[-1][0]
        self.assertLess(denied - ready, SECOND // 10)
        self.accept_others(pods[1:])

    def test_a_runtime_that_hangs_holds_nothing_up(self):
        moatd = self.moatd()
        moatd.wait(f"{self.containerd.socket} answers")
        os.kill(self.containerd.process.pid, signal.SIGSTOP)
        try:
            nobody = self.top / "burstable" / f"pod{uuid.uuid4()}"
            self.containerd.cgroups.append(f"burstable/{nobody.name}")
            nobody.mkdir(parents=True)
            moatd.wait(f"{self.containerd.socket} does not answer")
            began = time.monotonic()
            self.assertEqual(moatd.end(), 0, moatd.text()[-3000:])
            self.assertLess(time.monotonic() - began, 4)
        finally:
            os.kill(self.containerd.process.pid, signal.SIGCONT)

    def test_a_policy_by_pod_is_refused_where_nobody_can_be_asked(self):
        moatd = Moatd(self, "allow", '""')
        self.assertEqual(moatd.process.wait(60), 1)
        self.assertIn("policy.yaml:1:1: policy closed: subjects by pod cannot be enforced on this host (no Kubernetes", moatd.text())


if __name__ == "__main__":
    PodsTest.programs = need(sys.argv.pop(1))
    unittest.main(verbosity=2)
