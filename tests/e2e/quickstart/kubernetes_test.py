#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Types what README.md says of Kubernetes, and sees that it comes true. Printed is every command, what it said, and what stood in.

Real: deploy/*.sh with its image, ctr and the containerd that it imports into, the pod that runs that image with all that the manifest says.
Stand-in: kubectl, since there is no cluster. "apply -k" renders the overlay (node/kustomize.py, which e2e.manifests holds to kubectl's own),
refuses what Kubernetes 1.36 would not take, and does a kubelet's work (node/kubelet.py); "rollout status" waits until moatd is ready, without
the probes; "exec" is one of containerd. Not as written: moatd's scope, /kubepods instead of the host, and where it listens.
usage: kubernetes_test.py PROGRAMS   (build/bin)"""

import multiprocessing.connection
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
for folder in ("node", "containerd"):
    sys.path.insert(0, str(HERE.parent / folder))

import fenced  # pylint: disable=wrong-import-position
from agent import Place, need_root, run_tests, skip  # pylint: disable=wrong-import-position
from kubelet import Kubelet  # pylint: disable=wrong-import-position
from pods import PodsTest, need  # pylint: disable=wrong-import-position

try:
    import kustomize  # pylint: disable=wrong-import-position
    from manifests_test import Schema  # pylint: disable=wrong-import-position
except ImportError as missing:
    skip(f"{missing} (Debian packages python3-yaml and python3-jsonschema, for {sys.executable})")

SOURCES = HERE.parents[2]
KUBECTL = f"""#!{sys.executable}
import multiprocessing.connection, sys
with multiprocessing.connection.Client("ADDRESS", "AF_UNIX") as cluster:
    cluster.send(sys.argv[1:])
    status, said = cluster.recv()
print(said)
sys.exit(status)
"""


class Cluster:
    """Of one node, with kubectl's words."""

    def __init__(self, kubelet: Kubelet, address: str):
        self.kubelet, self.schema = kubelet, Schema()
        self.objects, self.pod = {}, None
        self.listener = multiprocessing.connection.Listener(address, "AF_UNIX")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            with self.listener.accept() as client:
                try:
                    client.send(self.kubectl(client.recv()))
                except Exception as problem:  # pylint: disable=broad-exception-caught
                    client.send((1, f"{type(problem).__name__}: {problem}"))

    def kubectl(self, words: list[str]) -> tuple[int, str]:
        match words:
            case ["apply", "-k", folder]:
                return self._apply(kustomize.render(SOURCES / folder))
            case ["-n", "moat", "rollout", "status", "daemonset/moat"]:
                self.kubelet.await_ready(self.pod)
                return 0, 'daemon set "moat" successfully rolled out'
            case ["-n", "moat", "exec", "daemonset/moat", "--", *command]:
                container = self.pod.cgroup.rsplit("/", 1)[1]
                run = ["ctr", "-a", self.kubelet.containerd.socket, "-n", "k8s.io", "tasks", "exec"]
                run += ["--fifo-dir", self.kubelet.work, "--exec-id", "walk", container, *command]
                done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=30)
                return done.returncode, done.stdout.rstrip()
        return 1, f"this stand-in for kubectl does not know: {' '.join(words)}"

    def _apply(self, objects: list[dict]) -> tuple[int, str]:
        said = []
        for thing in objects:
            if problems := self.schema.problems(thing):
                return 1, "\n".join(problems)
            key = (thing["kind"].lower(), thing["metadata"]["name"])
            before = self.objects.get(key)
            said.append(f"{'/'.join(key)} {'created' if before is None else 'unchanged' if before == thing else 'configured'}")
            self.objects[key] = thing
        self.kubelet.config_maps(objects)
        if self.pod is None:
            image = kustomize.container(objects)["image"]
            self.pod = self.kubelet.start(objects, image, "moat-1")
        return 0, "\n".join(said)


class KubernetesTest(PodsTest):
    def setUp(self):
        self.place = Place()  # before containerd, whose mount namespace is a copy
        self.addCleanup(self.place.close)
        super().setUp()
        kubelet = Kubelet(self.programs, self.containerd, self.place, self.work)
        self.cluster = Cluster(kubelet, str(self.work / "cluster.sock"))
        self.addCleanup(self._end)
        (self.work / "bin").mkdir()
        kubectl = self.work / "bin" / "kubectl"
        kubectl.write_text(KUBECTL.replace("ADDRESS", str(self.work / "cluster.sock")), encoding="utf-8")
        kubectl.chmod(0o755)

    def _end(self):
        self.cluster.listener.close()
        if self.cluster.pod:
            self.cluster.pod.program.end()
        config = self.work / "unload.yaml"
        config.write_text(f"policies: {{pins: {self.place.bpf}/moat}}\n", encoding="utf-8")
        subprocess.run([self.programs / "moatd", "--unload", "--config", config], check=True, capture_output=True)

    def _type(self, text: str) -> str:
        """In the folder of the sources, under an overlay that is forgotten."""
        over = self.work / "over"
        over.mkdir()
        mount = f"mount -t tmpfs tmpfs {over} && mkdir {over}/u {over}/w && mount -t overlay overlay -o lowerdir={SOURCES},upperdir={over}/u,workdir={over}/w {SOURCES}"
        (self.work / "typed.sh").write_text(text, encoding="utf-8")
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mount} && cd {SOURCES} && exec bash {self.work}/typed.sh"]
        environment = {**os.environ, "PATH": f"{self.work}/bin:{os.environ['PATH']}", "CONTAINERD_ADDRESS": str(self.containerd.socket)}
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=200, env=environment
        )
        return run.stdout

    def test_readme(self):
        typed = [command for block in fenced.blocks(fenced.section(SOURCES / "README.md", "Install on Kubernetes"), "sh") for command in fenced.commands(block)]
        output = self._type(fenced.script(typed, "@@ status", 0.1))
        if "could not fetch" in output or "apt-get update" in output:
            self.skipTest("no Debian archive is to be had")
        problems = fenced.read_back(typed, "@@ status", output)
        if problems and self.cluster.pod:
            print(self.cluster.kubelet.log(self.cluster.pod))
        self.assertEqual(problems, [])
        said = {command.text.split("#")[0].strip(): command.said for command in typed}
        self.assertIn("daemonset/moat created", said["kubectl apply -k deploy/k8s/overlays/observe"])
        self.assertIn("configmap/moat-policies configured", said["kubectl apply -k deploy/k8s/overlays/enforce"])
        self.assertIn("daemonset/moat unchanged", said["kubectl apply -k deploy/k8s/overlays/enforce"])
        for _ in range(100):  # a kubelet and moatd take some seconds for it
            _, listed = self.cluster.kubectl(["-n", "moat", "exec", "daemonset/moat", "--", "moatctl", "policy", "list"])
            if " enforce " in listed:
                break
            time.sleep(0.1)
        self.assertRegex(listed, r"serving +enforce ")
        self.assertIn("scope /kubepods", said["kubectl -n moat exec daemonset/moat -- moatctl status"])


if __name__ == "__main__":
    need_root()
    for tool in ("mmdebstrap", "umoci"):
        if not shutil.which(tool):
            skip(f"no {tool} here (deploy/packages.sh image)")
    PodsTest.programs = need(sys.argv.pop(1))
    run_tests()
