# SPDX-License-Identifier: Apache-2.0
"""As much of kustomize as deploy/k8s uses, so that its manifests can be read where there is no kubectl (Debian 12's is too old for them).
manifests_test.py holds it to the real one where that is to be had. What it does not know is an error."""

import copy
import pathlib

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "configMapGenerator", "patches", "components"}
ORDER = ["Namespace", "ResourceQuota", "ServiceAccount", "ConfigMap", "Service", "DaemonSet", "NetworkPolicy"]
MERGE_KEYS = ("mountPath", "containerPort", "name")  # of lists of maps, as the schema's x-kubernetes-patch-merge-key has them
CLUSTER_WIDE = {"Namespace"}


def documents(path: pathlib.Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def merged(base, patch):
    """Strategic merge: maps by key, lists of maps by their merge key, all else replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list) and patch and isinstance(patch[0], dict):
        key = next(key for key in MERGE_KEYS if all(key in item for item in base + patch))
        old = {item[key]: item for item in base}
        new = [merged(old.pop(item[key], None), item) for item in patch]
        by_key = {item[key]: item for item in new}
        kept = [by_key.pop(item[key], item) for item in base]
        return list(by_key.values()) + kept
    return copy.deepcopy(patch)


def find(objects: list[dict], kind: str, name: str) -> dict:
    found = [thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} objects {kind} {name}")
    return found[0]


def generate(folder: pathlib.Path, generator: dict, objects: list[dict]):
    unknown = set(generator) - {"name", "behavior", "files", "options"}
    if unknown or set(generator.get("options", {})) - {"disableNameSuffixHash"}:
        raise ValueError(f"{folder}: unknown in a generator: {unknown or generator['options']}")
    data = {pathlib.Path(name).name: (folder / name).read_text(encoding="utf-8") for name in generator["files"]}
    behavior = generator.get("behavior", "create")
    if behavior == "create":
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
        return
    there = find(objects, "ConfigMap", generator["name"])
    there["data"] = {**there["data"], **data} if behavior == "merge" else data


def change(thing: dict, patch: str):
    """A JSON patch, of which only this is known: something more at the end of a list."""
    for step in yaml.safe_load(patch):
        *keys, end = step["path"].strip("/").split("/")
        if (step["op"], end) != ("add", "-"):
            raise ValueError(f"this does not know {step}")
        for key in keys:
            thing = thing[int(key) if isinstance(thing, list) else key]
        thing.append(step["value"])


def patch_all(folder: pathlib.Path, top: dict, objects: list[dict]):
    for patch in top.get("patches", []):
        if "path" not in patch:
            change(find(objects, patch["target"]["kind"], patch["target"]["name"]), patch["patch"])
            continue
        for document in documents(folder / patch["path"]):
            there = find(objects, document["kind"], document["metadata"]["name"])
            there.update(merged(there, document))


def label(thing: dict, pairs: dict):
    metadata = [thing["metadata"]]
    spec = thing.get("spec", {})
    if thing["kind"] == "DaemonSet":
        spec.setdefault("selector", {}).setdefault("matchLabels", {}).update(pairs)
        metadata.append(spec["template"].setdefault("metadata", {}))
    elif thing["kind"] == "Service":
        spec.setdefault("selector", {}).update(pairs)
    for place in metadata:
        place.setdefault("labels", {}).update(pairs)


def render(folder: pathlib.Path) -> list[dict]:
    """The objects, without the suffixes that kustomize gives to the names of ConfigMaps."""
    (top,) = documents(folder / "kustomization.yaml")
    if set(top) - KNOWN:
        raise ValueError(f"{folder}: this does not know {set(top) - KNOWN}")
    objects = []
    for name in top.get("resources", []):
        objects += render(folder / name) if (folder / name).is_dir() else documents(folder / name)
    for generator in top.get("configMapGenerator", []):
        generate(folder, generator, objects)
    for name in top.get("components", []):
        (component,) = documents(folder / name / "kustomization.yaml")
        if set(component) - {"apiVersion", "kind", "patches"}:
            raise ValueError(f"{folder / name}: this does not know {set(component)}")
        patch_all(folder / name, component, objects)
    patch_all(folder, top, objects)
    for thing in objects:
        if "namespace" in top and thing["kind"] not in CLUSTER_WIDE:
            thing["metadata"]["namespace"] = top["namespace"]
        for labels in top.get("labels", []):
            label(thing, labels["pairs"])
    return sorted(objects, key=lambda thing: ORDER.index(thing["kind"]))


def container(objects: list[dict]) -> dict:
    """The one container of the one DaemonSet."""
    (daemonset,) = [thing for thing in objects if thing["kind"] == "DaemonSet"]
    (only,) = daemonset["spec"]["template"]["spec"]["containers"]
    return only
