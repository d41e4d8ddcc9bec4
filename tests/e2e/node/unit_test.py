#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/systemd/moatd.service: systemd takes it, it is as closed as it says, and moatd makes no call that it forbids.
usage: unit_test.py PROGRAMS   (build/bin)"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from agent import CAPABILITIES, Agent, Place, need_root, skip

UNIT = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "systemd" / "moatd.service"
EXPOSURE = 4.1  # of 10; systemd-analyze security
# What moatd tries for the proof of hooks only (agent/probe/canary.cc): refused, they work, and "proof" says that nobody looked.
FOR_PROOF = {"ptrace", "fsopen", "chroot", "open_tree", "move_mount"}


def settings(text: str) -> dict[str, list[str]]:
    found = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def syscalls(words: str) -> set[str]:
    """Of a SystemCallFilter, sets of systemd's expanded."""
    names = set()
    for word in words.split():
        if word.startswith("@"):
            run = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
            lines = [line.strip() for line in run.stdout.splitlines()[1:]]
            names |= syscalls(" ".join(line for line in lines if line and not line.startswith("#")))
        else:
            names.add(word)
    return names


class UnitTest(unittest.TestCase):
    programs = pathlib.Path()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="moat-unit-")
        self.addCleanup(folder.cleanup)
        self.unit = pathlib.Path(folder.name) / UNIT.name
        self.text = UNIT.read_text(encoding="utf-8")
        self.put(self.text)

    def put(self, text: str):
        """As it would be, had moatd been installed."""
        self.unit.write_text(text.replace("/usr/bin/moatd", str(self.programs / "moatd")), encoding="utf-8")

    def analyze(self, *words) -> tuple[int, str]:
        run = subprocess.run(["systemd-analyze", *words, self.unit], capture_output=True, text=True, check=False)
        return run.returncode, run.stderr + run.stdout

    def test_systemd_takes_it(self):
        self.assertEqual(self.analyze("verify"), (0, ""))
        self.put(self.text.replace("NoNewPrivileges=", "NoNewPrivilege="))
        self.assertIn("NoNewPrivilege", self.analyze("verify")[1])

    def test_it_is_closed(self):
        threshold = f"--threshold={EXPOSURE * 10:.0f}"
        code, said = self.analyze("security", "--offline=true", "--no-pager", threshold)
        print(said.splitlines()[-1])
        self.assertEqual(code, 0, said)
        self.put(re.sub(r"^(CapabilityBoundingSet|SystemCallFilter|NoNewPrivileges)=.*$", "", self.text, flags=re.MULTILINE))
        self.assertNotEqual(self.analyze("security", "--offline=true", "--no-pager", threshold)[0], 0)

    def test_moatd_makes_no_call_that_is_forbidden(self):
        if not shutil.which("strace"):
            self.skipTest("no strace here")
        said = settings(self.text)
        allowed = set()
        for words in said["SystemCallFilter"]:
            allowed = allowed - syscalls(words[1:]) if words.startswith("~") else allowed | syscalls(words)
        capabilities = {name.removeprefix("CAP_") for name in said["CapabilityBoundingSet"][0].split()}
        self.assertLessEqual(capabilities, set(CAPABILITIES))
        with Place() as place:
            (place.folder / "policies").mkdir()
            policy = f"apiVersion: moat/v1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{subjects: [{{cgroup: {place.scope}}}], egress: {{default: deny}}}}\n"
            (place.folder / "policies" / "p.yaml").write_text(policy, encoding="utf-8")
            traced = place.folder / "traced"
            traced.mkdir()
            wrapper = traced / "moatd"
            moatd = self.programs / "moatd"
            # SYS_PTRACE and SYS_ADMIN are strace's; SIGTERM must reach moatd.
            wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -qq -o {traced}/calls -s 0 {moatd} "$@"\n', encoding="ascii")
            wrapper.chmod(0o755)
            (traced / "moatctl").symlink_to(self.programs / "moatctl")
            text = f"policies: {{files: [{place.folder}/policies], pins: {place.bpf}/moat}}\nmetrics: {{address: 127.0.0.1:0}}\n"
            with Agent(traced, place, text, capabilities) as agent:
                self.assertTrue(agent.ready, agent.text())
                agent.status()
                subprocess.run([sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{agent.port()}/metrics').read()"], check=True)
            subprocess.run([moatd, "--unload", "--config", place.folder / "moatd.yaml"], check=True, capture_output=True)
            calls = (traced / "calls").read_text(encoding="utf-8", errors="replace")
        made = set(re.findall(r"^\d+ +(\w+)\(", calls, re.MULTILINE))
        print(f"{len(made)} different calls: {' '.join(sorted(made))}")
        self.assertGreater(len(made), 40)
        self.assertIn("bpf", made)
        self.assertEqual(made - allowed - FOR_PROOF, set())
        families = set(re.findall(r"\bsocket\((\w+),", calls))
        self.assertLessEqual(families, set(said["RestrictAddressFamilies"][0].split()))
        # MemoryDenyWriteExecute
        self.assertEqual(re.findall(r"^.*mmap\(.*PROT_WRITE\|PROT_EXEC.*$|^.*mprotect\(.*PROT_EXEC.*$", calls, re.MULTILINE), [])

    def test_what_moatd_writes_is_where_it_may_write(self):
        said = settings(self.text)
        self.assertEqual([said[f"{name}Directory"] for name in ("Configuration", "Runtime", "State", "Logs")], [["moat"]] * 4)
        defaults = (UNIT.parents[1] / "config" / "moatd.yaml").read_text(encoding="utf-8")
        self.assertIn("socket: /run/moat/", defaults)
        self.assertEqual(said["ReadWritePaths"], ["/etc/moat"])


if __name__ == "__main__":
    need_root()
    if not shutil.which("systemd-analyze"):
        skip("no systemd-analyze here (Debian package systemd)")
    UnitTest.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    os.environ["SYSTEMD_COLORS"] = "0"
    unittest.main(verbosity=2)
