# SPDX-License-Identifier: Apache-2.0
"""A kubelet's work on the DaemonSet of deploy/k8s, on a containerd and in folders of the test's own."""

import json
import pathlib
import time

import manifest
from agent import Place, cgroup2_mount
from pods import Pod
from runtime import KUBE, Containerd


class Kubelet:
    def __init__(self, programs: pathlib.Path, containerd: Containerd, place: Place, work: pathlib.Path):
        self.programs, self.containerd, self.place, self.work = programs, containerd, place, work
        self.node = work / "node"  # paths of the node
        for folder in ("config", "policies", "run", "state", "models"):
            (self.node / folder).mkdir(parents=True)
        (self.node / "models" / "model.bin").write_bytes(b"w" * 4096)
        self.socket = self.node / "run" / "moat.sock"

    def config_maps(self, objects: list[dict]) -> dict[str, str]:
        """The files of both; of moatd.yaml the scope, and where it listens and asks, are the test's. Returns the policies."""
        data = manifest.config_maps(objects)
        text = data["moat-config"]["moatd.yaml"]
        for old, new in {"scope: host": f"scope: /{KUBE}", "containerd.sock": "cri.sock", "0.0.0.0": "127.0.0.1", ":7444": ":0", ":9464": ":0"}.items():
            if old not in text:
                raise ValueError(f"no '{old}' in moatd.yaml")
            text = text.replace(old, new)
        (self.node / "config" / "moatd.yaml").write_text(text, encoding="utf-8")
        for name, policy in data["moat-policies"].items():
            self.policy(name, policy)
        return data["moat-policies"]

    def policy(self, name: str, text: str):
        (self.node / "policies" / name).write_text(text, encoding="utf-8")

    def container(self, objects: list[dict], image: str) -> pathlib.Path:
        """For moat_cri_pod."""
        own = {name: self.node / name for name in ("config", "policies", "run", "state", "models")}
        own |= {"bpffs": self.place.bpf, "cgroup": cgroup2_mount(), "containerd": self.work}
        path = self.work / "container.json"
        path.write_text(json.dumps(manifest.container(objects, image, own)), encoding="utf-8")
        return path

    def start(self, objects: list[dict], image: str, name: str) -> Pod:
        pod = Pod(self.programs, self.containerd, "moat", name, "moatd", {"app": "moat"}, f"@{self.container(objects, image)}")
        pod.start()
        return pod

    @staticmethod
    def log(pod: Pod) -> str:
        log = pod.logs / "moatd.log"
        return log.read_text(encoding="utf-8") if log.exists() else ""

    def await_ready(self, pod: Pod):
        for _ in range(500):
            if " ready\n" in self.log(pod):
                return
            time.sleep(0.05)
        raise TimeoutError(self.log(pod) or "no log")
