#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The capabilities that deploy/k8s gives moatd: with them it sees and enforces what it does as root, and each of them is needed: taken away,
something breaks, and it is said what. usage: capabilities_test.py PROGRAMS   (build/bin)"""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import unittest

from agent import CAPABILITIES, Agent, Place, cgroup2_mount, keep_only, libc, need_root, skip

ROOT = pathlib.Path(__file__).resolve().parents[3]
NOBODY = 65534
CLONE_NEWCGROUP = 0x02000000
POLICY = """apiVersion: moat/v1
kind: Policy
metadata: {{name: closed}}
spec:
  mode: enforce
  subjects: [{{cgroup: {scope}}}]
  egress: {{default: deny}}
"""


def of_manifest() -> set[str]:
    try:
        import kustomize
    except ImportError as missing:
        skip(f"{missing} (Debian package python3-yaml, for {sys.executable})")
    capabilities = kustomize.container(kustomize.render(ROOT / "deploy" / "k8s" / "base"))["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"], capabilities
    return set(capabilities["add"])


def of_unit() -> set[str]:
    text = (ROOT / "deploy" / "systemd" / "moatd.service").read_text(encoding="utf-8")
    return set(re.search(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE).group(1).replace("CAP_", "").split())


def facts(programs: pathlib.Path, capabilities: set[str], prepare=lambda: None) -> dict[str, bool]:
    """What moatd has and can with these capabilities, as words that are true or not. prepare: see Agent."""
    with Place() as place:
        # Weights that belong to somebody else, and that only he may look at.
        weights = place.folder / "weights"
        weights.mkdir(mode=0o700)
        (weights / "model.bin").write_bytes(b"w" * 4096)
        os.chown(weights / "model.bin", NOBODY, NOBODY)
        os.chown(weights, NOBODY, NOBODY)
        (place.folder / "policies").mkdir()
        (place.folder / "policies" / "closed.yaml").write_text(POLICY.format(scope=place.scope), encoding="utf-8")
        before = place.run_inside("sleep", "100", user=NOBODY)
        settings = f"""policies: {{files: [{place.folder}/policies], pins: {place.bpf}/moat}}
assets: {{inline: [{{name: secret, paths: [{weights}]}}]}}
runtimes: {{cri: "", docker: "", slurm: ""}}
"""
        known = {}
        shown = subprocess.run(["head", "-n", "1", "/proc/kallsyms"], capture_output=True, text=True, check=True, preexec_fn=lambda: keep_only(capabilities))
        known["addresses of kernel functions (/proc/kallsyms)"] = int(shown.stdout.split()[0], 16) != 0
        with Agent(programs, place, settings, capabilities, prepare) as agent:
            known["moatd starts"] = agent.ready
            if agent.ready:
                status = agent.status()
                for domain in status["domains"]:
                    for hook in domain["hooks"]:
                        known[f"hook {hook['event']} by {hook['backend']}"] = hook["attached"]
                known["weights that belong to another user are known"] = [a["bytes"] for a in status["assets"]] == ["4096"]
                told = agent.ctl("policy", "explain", "--pid", str(before.pid), "--to", "127.0.0.1:1", "--json")
                subject = json.loads(told or "{}").get("subject", {})
                known["a process's cgroup (policy explain)"] = subject.get("cgroup") == place.scope
                known["the program of another user's process (policy explain)"] = subject.get("executable", "").endswith("/sleep")
                known["a policy denies a connection"] = connect_inside(place) == "PermissionError"
            known["enforcement is pinned"] = any((place.bpf / "moat").rglob("link_*"))
        subprocess.run([programs / "moatd", "--unload", "--config", place.folder / "moatd.yaml"], check=True, capture_output=True)
        return known


def connect_inside(place: Place) -> str:
    """What a process in the cgroup gets when it connects to a port that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\ntry:\n  socket.create_connection(('127.0.0.1', {port}), 5); print('ok')\nexcept OSError as e:\n  print(type(e).__name__)"
        shell = f"echo $$ >{place.cgroup}/cgroup.procs && exec {sys.executable} -c \"$1\""
        return subprocess.run(["sh", "-c", shell, "sh", code], capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def lost(more: dict[str, bool], less: dict[str, bool]) -> list[str]:
    return sorted(fact for fact, true in more.items() if true and not less.get(fact, False))


class CapabilitiesTest(unittest.TestCase):
    programs = pathlib.Path()

    @classmethod
    def setUpClass(cls):
        cls.manifest = of_manifest()
        cls.with_manifest = facts(cls.programs, cls.manifest)

    def test_they_are_capabilities(self):
        self.assertEqual(self.manifest - set(CAPABILITIES), set())

    def test_root_sees_no_more(self):
        """But for what takes SYS_ADMIN whatever else one has: fanotify (fanotify_init), where the kernel has nothing better, and on most kernels
        uprobes (perf_uprobe_event_init), by which logins are seen."""
        everything = facts(self.programs, set(CAPABILITIES))
        self.assertTrue(self.with_manifest["moatd starts"])
        missing = lost(everything, self.with_manifest)
        print("without SYS_ADMIN: " + ("nothing is missing" if not missing else ", ".join(missing)))
        self.assertEqual([fact for fact in missing if not fact.endswith((" by fanotify", " by uprobe"))], [])
        with_admin = facts(self.programs, self.manifest | {"SYS_ADMIN"})
        self.assertEqual(lost(everything, with_admin), [])

    def test_each_is_needed(self):
        for capability in sorted(self.manifest):
            with self.subTest(capability=capability):
                breaks = lost(self.with_manifest, facts(self.programs, self.manifest - {capability}))
                print(f"without {capability}: {len(breaks)} break: {', '.join(breaks[:6])}{', ...' if len(breaks) > 6 else ''}")
                if capability == "SYSLOG" and not breaks:
                    print("  (kernel.kptr_restrict and kernel.perf_event_paranoid show addresses to everybody here)")
                    continue
                self.assertNotEqual(breaks, [], f"{capability} is not needed")

    def test_in_a_cgroup_namespace(self):
        """As runtimes give one to each container on cgroup2: moatd is to see the whole tree all the same."""
        own = cgroup2_mount() / f"moat-node-ns-{os.getpid()}" / "container"
        own.mkdir(parents=True)

        def enter():
            (own / "cgroup.procs").write_text("0", encoding="ascii")
            if libc.unshare(CLONE_NEWCGROUP) != 0:
                os._exit(95)

        try:
            self.assertEqual(lost(self.with_manifest, facts(self.programs, self.manifest, enter)), [])
        finally:
            for _ in range(100):  # a reaped process leaves its cgroup a moment later
                with contextlib.suppress(OSError):
                    own.rmdir()
                    break
                time.sleep(0.02)
            own.parent.rmdir()

    def test_one_that_is_not_needed_would_be_found(self):
        breaks = lost(facts(self.programs, self.manifest | {"NET_RAW"}), self.with_manifest)
        self.assertEqual(breaks, [])

    def test_the_unit_has_the_same(self):
        self.assertEqual(of_unit(), self.manifest)


if __name__ == "__main__":
    need_root()
    CapabilitiesTest.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
