#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose a cgroup is, by a real containerd: three pods in two namespaces, run through the CRI as a kubelet does.

usage: containerd_test.py PROGRAMS   (build/bin)
"""

import sys
import unittest
import uuid

from pods import PodsTest, need
from runtime import Watch, root_is_initramfs

PODS = [  # namespace, pod, container, labels
    ("prod", "vllm-0", "server", {"app": "vllm", "tier": "serving"}),
    ("prod", "vllm-1", "server", {"app": "vllm", "pod-index": "1", "example.com/owner": "ml=infra"}),
    ("research", "trainer", "worker", {"app": "trainer"}),
]
SECOND = 1_000_000_000


class ContainerdTest(PodsTest):
    def setUp(self):
        super().setUp()
        self.watch = Watch(PodsTest.programs, self.containerd)
        self.addCleanup(self.watch.program.end)

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
    PodsTest.programs = need(sys.argv.pop(1))
    unittest.main(verbosity=2)
