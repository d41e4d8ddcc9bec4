#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built image as a pod of a real containerd, with the manifest's arguments, mounts, capabilities, read-only root and seccomp profile: it
sees what moatd sees on the host with these capabilities, knows pods, and a policy holds while the pod is replaced.
usage: pod_test.py PROGRAMS   (build/bin)"""

import errno
import json
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "containerd"))

from agent import Agent, Place, need_root, run_tests, skip  # pylint: disable=wrong-import-position
from kubelet import Kubelet  # pylint: disable=wrong-import-position
from pods import PodsTest, need  # pylint: disable=wrong-import-position

ROOT = HERE.parents[2]
POLICY = """apiVersion: moat/v1
kind: Policy
metadata: {name: closed}
spec:
  mode: enforce
  subjects: [{pod: {namespace: serving}}]
  egress: {default: deny}
"""


def manifests() -> list[dict]:
    try:
        import kustomize
    except ImportError as missing:
        skip(f"{missing} (Debian package python3-yaml, for {sys.executable})")
    return kustomize.render(ROOT / "deploy" / "k8s" / "overlays" / "enforce")


class MoatPodTest(PodsTest):
    def setUp(self):
        self.place = Place()  # before containerd, whose mount namespace is a copy
        self.addCleanup(self.place.close)
        super().setUp()
        self.objects = manifests()
        self.image = self._image()
        self.kubelet = Kubelet(self.programs, self.containerd, self.place, self.work)
        self.node = self.kubelet.node

    def _image(self) -> str:
        name, archive = "localhost/moat:test", self.work / "moat.tar"
        command = [ROOT / "deploy" / "image.sh", "--programs", self.programs, "--output", self.work / "oci", "--name", name, "--archive", archive]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if "could not fetch" in run.stderr or "apt-get update" in run.stderr:
            self.skipTest(f"no Debian archive is to be had: {run.stderr.strip().splitlines()[-1]}")
        self.assertEqual(run.returncode, 0, run.stderr)
        print(run.stdout.splitlines()[-1])
        subprocess.run(["ctr", "-a", self.containerd.socket, "-n", "k8s.io", "images", "import", archive], check=True, capture_output=True)
        return name

    def _files(self):
        """As the ConfigMaps are, and a policy more."""
        for name, policy in {**self.kubelet.config_maps(self.objects), "closed.yaml": POLICY}.items():
            self.kubelet.policy(name, policy.replace("namespace: serving}}]\n  assets", "namespace: other}}]\n  assets"))

    def _moat(self, name: str):
        pod = self.kubelet.start(self.objects, self.image, name)
        self.addCleanup(pod.program.end)
        self.kubelet.await_ready(pod)
        return pod

    def _ctl(self, *words) -> dict:
        command = [self.programs / "moatctl", "--address", f"unix://{self.kubelet.socket}", *words, "-o", "json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)

    def test_it_sees_and_enforces_as_on_the_host_and_through_a_rolling_update(self):
        self._files()
        first = self._moat("moat-1")
        status = self._ctl("status")
        attached = {hook["event"]: hook["backend"] for domain in status["domains"] for hook in domain["hooks"] if hook["attached"]}
        capabilities = set(json.loads((self.work / "container.json").read_text())["linux"]["security_context"]["capabilities"]["add_capabilities"])
        self.assertEqual(attached, self._on_the_host(capabilities))
        print(f"{len(attached)} hooks attached in the pod, as on the host")
        self.assertEqual([(asset["name"], asset["bytes"]) for asset in status["assets"]], [("models", "4096")])
        log = (first.logs / "moatd.log").read_text(encoding="utf-8")
        self.assertNotIn("shows a part of the cgroups", log)

        # A pod that the policy is on connects all the time: never again once it was denied.
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            serving = self.run_pod("serving", "vllm-0", "server", {"app": "vllm"}, str(server.getsockname()[1]))
            serving.start()
            serving.wait(lambda said: len(said) > 1 and said[-1][1] == errno.EPERM)
            self.assertEqual(first.program.end(), 0)
            time.sleep(1)  # nobody is there
            second = self._moat("moat-2")
            time.sleep(1)
            said = [line[1] for line in serving.said()[1:]]
            self.assertEqual(said[-1], errno.EPERM)
            self.assertEqual(len(said), 1 if said[0] == errno.EPERM else 2, f"denied without a gap: {serving.said()}")
            workloads = json.dumps(self._ctl("workloads"))
            self.assertIn('"vllm-0"', workloads)
            self.assertEqual(serving.program.end(), 0)
        self.assertEqual(second.program.end(), 0)
        self.assertEqual(sorted(path.name for path in (self.node / "state").iterdir()), [])
        subprocess.run([self.programs / "moatd", "--unload", "--config", self._unload()], check=True, capture_output=True)

    def _unload(self) -> pathlib.Path:
        path = self.work / "unload.yaml"
        path.write_text(f"policies: {{pins: {self.place.bpf}/moat}}\n", encoding="utf-8")
        return path

    def _on_the_host(self, capabilities: set[str]) -> dict[str, str]:
        with Place() as place:
            (place.folder / "policies").mkdir()
            for file in (self.node / "policies").iterdir():
                shutil.copy(file, place.folder / "policies")
            text = f"policies: {{files: [{place.folder}/policies], pins: {place.bpf}/moat}}\nruntimes: {{cri: {self.containerd.socket}, docker: '', slurm: ''}}\n"
            with Agent(self.programs, place, text, capabilities) as agent:
                self.assertTrue(agent.ready, agent.text())
                status = agent.status()
            subprocess.run([self.programs / "moatd", "--unload", "--config", place.folder / "moatd.yaml"], check=True, capture_output=True)
        return {hook["event"]: hook["backend"] for domain in status["domains"] for hook in domain["hooks"] if hook["attached"]}


if __name__ == "__main__":
    need_root()
    for tool in ("mmdebstrap", "umoci"):
        if not shutil.which(tool):
            skip(f"no {tool} here (deploy/packages.sh image)")
    PodsTest.programs = need(sys.argv.pop(1))
    run_tests()
