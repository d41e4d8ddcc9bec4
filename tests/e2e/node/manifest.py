# SPDX-License-Identifier: Apache-2.0
"""What a kubelet makes of the DaemonSet: the container as it is asked of the runtime (CRI, as JSON of cri_run.proto)."""

# As a kubelet has them for procMount Default.
MASKED = [f"/proc/{name}" for name in ("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")]
READONLY = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")]
PROPAGATION = {None: "PROPAGATION_PRIVATE", "HostToContainer": "PROPAGATION_HOST_TO_CONTAINER"}


def pod_spec(objects: list[dict]) -> dict:
    """Of the one DaemonSet."""
    (daemonset,) = [thing for thing in objects if thing["kind"] == "DaemonSet"]
    return daemonset["spec"]["template"]["spec"]


def config_maps(objects: list[dict]) -> dict[str, dict[str, str]]:
    return {thing["metadata"]["name"]: thing["data"] for thing in objects if thing["kind"] == "ConfigMap"}


def container(objects: list[dict], image: str, places: dict[str, object], node: str = "node-7") -> dict:
    """places: where on the node a volume is, by its name; one that is not named is a hostPath, and there. node: its name."""
    spec = pod_spec(objects)
    (only,) = spec["containers"]
    context = only["securityContext"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = []
    for mount in only["volumeMounts"]:
        source = places.get(mount["name"]) or volumes[mount["name"]]["hostPath"]["path"]
        mounts.append({"container_path": mount["mountPath"], "host_path": str(source), "readonly": mount.get("readOnly", False),
                       "propagation": PROPAGATION[mount.get("mountPropagation")]})  # fmt: skip
    fields = {"spec.nodeName": node}
    envs = [{"key": env["name"], "value": env.get("value") or fields[env["valueFrom"]["fieldRef"]["fieldPath"]]} for env in only.get("env", [])]
    security = {
        "capabilities": {"add_capabilities": context["capabilities"]["add"], "drop_capabilities": context["capabilities"]["drop"]},
        "namespace_options": {"network": "NODE", "pid": "NODE" if spec["hostPID"] else "CONTAINER"},
        "readonly_rootfs": context["readOnlyRootFilesystem"],
        "no_new_privs": not context["allowPrivilegeEscalation"],
        "seccomp": {"profile_type": context["seccompProfile"]["type"]},
        "masked_paths": [*MASKED, "/sys/firmware"],
        "readonly_paths": READONLY,
    }
    return {"image": {"image": image}, "args": only["args"], "envs": envs, "mounts": mounts, "linux": {"security_context": security}}
