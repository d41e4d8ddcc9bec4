#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/k8s: every overlay is what Kubernetes 1.36 takes, to the field; what is in its ConfigMaps is what moatd takes; and what must hold
between the parts holds. usage: manifests_test.py PROGRAMS   (build/bin)"""

import copy
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
K8S = HERE.parents[2] / "deploy" / "k8s"
OVERLAYS = ["observe", "enforce", "mtls"]

try:
    import jsonschema
    import yaml

    import kustomize
except ImportError as missing:
    print(f"skipped: {missing} (Debian packages python3-yaml and python3-jsonschema, for {sys.executable})")
    sys.exit(77)


def real_kustomize() -> str:
    """Why kubectl cannot render these here; nothing: it can."""
    if not shutil.which("kubectl"):
        return "no kubectl here"
    run = subprocess.run(["kubectl", "kustomize", K8S / "base"], capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else f"this kubectl cannot: {run.stderr.strip()[:200]}"


class Schema:
    """Of Kubernetes 1.36, as its API server publishes it (only what is used here, without descriptions)."""

    def __init__(self):
        self.definitions = json.loads(lzma.decompress((HERE / "k8s-1.36.json.xz").read_bytes()))["definitions"]
        self.kinds = {}
        for name, definition in self.definitions.items():
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)
            if definition.get("format") == "int-or-string":
                definition["type"] = ["string", "integer"]
            if name.endswith("Quantity"):
                definition["type"] = ["string", "number"]
            for kind in definition.get("x-kubernetes-group-version-kind", []):
                version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
                self.kinds[version, kind["kind"]] = name

    def problems(self, thing: dict) -> list[str]:
        name = self.kinds.get((thing["apiVersion"], thing["kind"]))
        if name is None:
            return [f"no kind {thing['apiVersion']} {thing['kind']}"]
        validator = jsonschema.Draft4Validator({"$ref": f"#/definitions/{name}", "definitions": self.definitions})
        return [".".join(map(str, error.path)) + ": " + error.message for error in validator.iter_errors(thing)]


class ManifestsTest(unittest.TestCase):
    programs = pathlib.Path()

    @classmethod
    def setUpClass(cls):
        cls.schema = Schema()
        cls.rendered = {overlay: kustomize.render(K8S / "overlays" / overlay) for overlay in OVERLAYS}

    def test_every_field_is_kubernetes_own(self):
        for objects in self.rendered.values():
            for thing in objects:
                self.assertEqual(self.schema.problems(thing), [], thing["kind"])

    def test_the_schema_is_strict(self):
        daemonset = kustomize.find(self.rendered["observe"], "DaemonSet", "moat")
        for change in (
            lambda spec: spec.update(hostPid=True),
            lambda spec: spec.update(hostPID="yes"),
            lambda spec: spec["containers"][0]["securityContext"].update(capabilites={}),
            lambda spec: spec["containers"][0].pop("name"),
            lambda spec: spec["volumes"][0].pop("name"),
        ):
            broken = copy.deepcopy(daemonset)
            change(broken["spec"]["template"]["spec"])
            self.assertEqual(len(self.schema.problems(broken)), 1)
        self.assertEqual(self.schema.problems({"apiVersion": "apps/v2", "kind": "DaemonSet"}), ["no kind apps/v2 DaemonSet"])

    def test_kustomize_makes_the_same_of_them(self):
        if why := real_kustomize():
            self.skipTest(why)
        for overlay, objects in self.rendered.items():
            run = subprocess.run(["kubectl", "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True, check=True)
            self.assertEqual(run.stderr, "")
            text = re.sub(r"\bmoat-config-[0-9a-z]{10}\b", "moat-config", run.stdout)
            real = [thing for thing in yaml.safe_load_all(text) if thing]
            key = lambda thing: (kustomize.ORDER.index(thing["kind"]), thing["metadata"]["name"])
            self.assertEqual(sorted(real, key=key), sorted(objects, key=key))

    def test_the_component_adds_one_capability(self):
        with tempfile.TemporaryDirectory(prefix="moat-k8s-") as folder:
            where = lambda name: os.path.relpath(K8S / name, pathlib.Path(folder).resolve())
            text = yaml.safe_dump({"resources": [where("overlays/observe")], "components": [where("components/sys-admin")]})
            (pathlib.Path(folder) / "kustomization.yaml").write_text(text, encoding="utf-8")
            rendered = kustomize.render(pathlib.Path(folder))
            if not real_kustomize():
                subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True)
        wanted = copy.deepcopy(self.rendered["observe"])
        kustomize.container(wanted)["securityContext"]["capabilities"]["add"].append("SYS_ADMIN")
        self.assertEqual(rendered, wanted)

    def test_the_pod_is_no_more_than_it_says(self):
        for objects in self.rendered.values():
            pod = kustomize.find(objects, "DaemonSet", "moat")["spec"]["template"]["spec"]
            self.assertTrue(pod["hostPID"])
            self.assertFalse({"hostNetwork", "hostIPC"} & set(pod))
            self.assertFalse(pod["automountServiceAccountToken"])
            self.assertFalse(kustomize.find(objects, "ServiceAccount", "moat")["automountServiceAccountToken"])
            self.assertFalse([thing for thing in objects if "Role" in thing["kind"]], "no right in the API")
            context = kustomize.container(objects)["securityContext"]
            self.assertEqual((context["privileged"], context["allowPrivilegeEscalation"]), (False, False))
            self.assertTrue(context["readOnlyRootFilesystem"])
            self.assertEqual(context["capabilities"]["drop"], ["ALL"])
            self.assertNotIn("SYS_ADMIN", context["capabilities"]["add"])

    def test_no_taint_and_no_quota_keeps_it_away(self):
        for objects in self.rendered.values():
            pod = kustomize.find(objects, "DaemonSet", "moat")["spec"]["template"]["spec"]
            for effect in ("NoSchedule", "NoExecute"):
                self.assertIn({"operator": "Exists", "effect": effect}, pod["tolerations"])
            (scope,) = kustomize.find(objects, "ResourceQuota", "moat")["spec"]["scopeSelector"]["matchExpressions"]
            self.assertEqual((scope["scopeName"], scope["values"]), ("PriorityClass", [pod["priorityClassName"]]))

    def test_mounts_and_volumes_agree(self):
        writable = {"/run/moat", "/var/lib/moat", "/sys/fs/bpf"}
        for objects in self.rendered.values():
            pod = kustomize.find(objects, "DaemonSet", "moat")["spec"]["template"]["spec"]
            mounts = kustomize.container(objects)["volumeMounts"]
            self.assertEqual(sorted(mount["name"] for mount in mounts), sorted(volume["name"] for volume in pod["volumes"]))
            self.assertEqual({mount["mountPath"] for mount in mounts if not mount.get("readOnly")}, writable)
            # An API server refuses it for a container that is not privileged, and no schema says so.
            self.assertFalse([mount for mount in mounts if mount.get("mountPropagation") == "Bidirectional"])
            paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
            for mount in mounts:  # what moatd tells of a path is true on the node, too
                self.assertEqual(paths.get(mount["name"], mount["mountPath"]), mount["mountPath"])
            maps = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "ConfigMap"}
            self.assertEqual({volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}, maps)

    def test_moatd_takes_what_is_in_the_config_maps(self):
        for overlay, objects in self.rendered.items():
            with tempfile.TemporaryDirectory(prefix="moat-k8s-") as folder:
                work = pathlib.Path(folder)
                for name in ("moat-config", "moat-policies"):
                    (work / name).mkdir()
                    for file, text in kustomize.find(objects, "ConfigMap", name)["data"].items():
                        (work / name / file).write_text(text, encoding="utf-8")
                for words in (["--check-policy", work / "moat-policies"], ["--check", "--config", work / "moat-config" / "moatd.yaml"]):
                    run = subprocess.run([self.programs / "moatd", *words], capture_output=True, text=True, check=False)
                    self.assertEqual((run.returncode, run.stderr), (0, ""), overlay)

    def test_ports_and_paths_of_moatd_and_its_pod_agree(self):
        for overlay, objects in self.rendered.items():
            said = yaml.safe_load(kustomize.find(objects, "ConfigMap", "moat-config")["data"]["moatd.yaml"])
            container = kustomize.container(objects)
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            port_of = lambda address: int(address.rsplit(":", 1)[1])
            self.assertEqual(ports["metrics"], port_of(said["metrics"]["address"]))
            self.assertEqual(ports["health"], port_of(said["api"]["health"]))
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertEqual(container[probe]["grpc"]["port"], ports["health"])
            self.assertEqual("grpc" in ports, overlay == "mtls")
            if "grpc" in ports:
                self.assertEqual(ports["grpc"], port_of(said["api"]["tcp"]["address"]))
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            tcp = said["api"].get("tcp", {})
            needed = [*said["policies"]["files"], said["policies"]["pins"], said["api"]["socket"], said["runtimes"]["cri"], container["args"][1]]
            needed += [tcp[name] for name in ("certificate", "key", "client_ca") if name in tcp]
            for path in needed:
                self.assertTrue(any(path == mount or path.startswith(mount + "/") for mount in mounts), path)
            allowed = {port["port"] for thing in objects if thing["kind"] == "NetworkPolicy" for rule in thing["spec"]["ingress"] for port in rule["ports"]}
            self.assertEqual(allowed, set(ports.values()) - {ports["health"]})

    def test_observe_and_enforce_differ_in_one_word(self):
        policies = [kustomize.find(self.rendered[overlay], "ConfigMap", "moat-policies")["data"] for overlay in ("observe", "enforce")]
        self.assertEqual(policies[0]["serving.yaml"].replace("mode: dry-run", "mode: enforce"), policies[1]["serving.yaml"])
        self.assertNotEqual(policies[0], policies[1])
        kustomize.find(self.rendered["mtls"], "ConfigMap", "moat-config")  # once, under the name that is mounted
        self.assertEqual(kustomize.find(self.rendered["mtls"], "ConfigMap", "moat-policies")["data"], policies[1])


if __name__ == "__main__":
    ManifestsTest.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
