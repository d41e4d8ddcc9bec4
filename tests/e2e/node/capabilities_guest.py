#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the manifest's capabilities give on kernels other than this machine's: in a guest of each, moatd --doctor as root, with them, with
SYS_ADMIN too, and without each of them (--each; minutes more). Fails when root sees more than they do with SYS_ADMIN, or than they do alone
where kernel.perf_event_paranoid is 2, but for what is seen by fanotify.
usage: capabilities_guest.py PROGRAMS [--each] KERNEL...   (as tests/vm/vm.py has them)"""

import json
import pathlib
import subprocess
import sys
import tempfile

import kustomize

PARANOID_2 = "manifest, kernel.perf_event_paranoid at 2"
ROOT = pathlib.Path(__file__).resolve().parents[3]
POLICY = """apiVersion: moat/v1
kind: Policy
metadata: {name: p}
spec: {mode: enforce, onUnsupported: observe, subjects: [{cgroup: /}], gpu: {deny: [debug]}, egress: {default: allow}}
"""


def run_guest(programs: pathlib.Path, kernel: str, sets: dict[str, set[str]]) -> dict[str, dict[str, str]]:
    """Of each set the backends by event."""
    with tempfile.TemporaryDirectory(prefix="moat-guest-") as folder:
        work = pathlib.Path(folder)
        (work / "policies").mkdir()
        (work / "policies" / "p.yaml").write_text(POLICY, encoding="utf-8")
        (work / "moatd.yaml").write_text("policies: {files: [/etc/moat/policies]}\n", encoding="utf-8")
        lines = ["mkdir -p /out; ulimit -l unlimited"]  # which kernels before 5.11 count maps against
        for name, capabilities in sets.items():
            if name == PARANOID_2:
                lines.append("cat /proc/sys/kernel/perf_event_paranoid >/out/paranoid; echo 2 >/proc/sys/kernel/perf_event_paranoid")
            bounding = ",".join(["-all", *(f"+{capability.lower()}" for capability in sorted(capabilities))]) if capabilities else "+all"
            lines.append(f"./setpriv --bounding-set={bounding} ./moatd --doctor --config moatd.yaml >'/out/{name}'")
        command = [ROOT / "tests" / "vm" / "vm.py", "boot", kernel, "--gpu", "--smp", "2", "--mem", "1536", "--timeout", "600", "--out", work / "out"]
        for file in (programs / "moatd", "/usr/bin/setpriv", f"{work}/policies:/etc/moat/policies", work / "moatd.yaml"):
            command += ["--file", file]
        subprocess.run([*command, "--run", "; ".join([*lines, "true"])], check=True, stdin=subprocess.DEVNULL)
        print(f"kernel {kernel}: kernel.perf_event_paranoid is {(work / 'out' / 'paranoid').read_text(encoding='ascii').strip()}")
        found = {}
        for name in sets:
            text = (work / "out" / name).read_text(encoding="utf-8")
            status = json.loads(text) if text else {"domains": []}
            hooks = [hook for domain in status["domains"] for hook in domain.get("hooks", [])]
            found[name] = {hook["event"]: hook["backend"] for hook in hooks if hook.get("attached")}
        return found


def main() -> int:
    programs, kernels = pathlib.Path(sys.argv[1]).resolve(), [word for word in sys.argv[2:] if word != "--each"]
    context = kustomize.container(kustomize.render(ROOT / "deploy" / "k8s" / "base"))["securityContext"]
    manifest = set(context["capabilities"]["add"])
    sets = {"root": set(), "manifest": manifest, "with SYS_ADMIN": manifest | {"SYS_ADMIN"}}
    if "--each" in sys.argv:
        sets |= {f"without {name}": manifest - {name} for name in sorted(manifest)}
    sets[PARANOID_2] = manifest
    failed = 0
    for kernel in kernels:
        found = run_guest(programs, kernel, sets)
        for name, hooks in found.items():
            less = sorted(f"{event} ({backend})" for event, backend in found["root"].items() if event not in hooks)
            other = sorted(f"{event} ({found['root'][event]}, here {hooks[event]})" for event in hooks if found["root"].get(event) != hooks[event])
            print(f"  {name}: {len(hooks)} hooks; missing: {', '.join(less) or 'none'}; other backends: {', '.join(other) or 'none'}")
            complete = not other and not [word for word in less if name != PARANOID_2 or not word.endswith("(fanotify)")]
            failed += name in ("with SYS_ADMIN", PARANOID_2) and not complete
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    sys.exit(main())
