#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Types what README.md and deploy/guides say, and sees that it comes true. Printed is every command, what it said, and what stood in.

At a machine of machine.sh. Real: deploy/*.sh, systemd and its units, moatd, moatctl, openssl, syslog-ng, rsyslog, the kernel. Not as written:
moatd's scope, which is this test's cgroup instead of the host, and apt-get, which unpacks rsyslog's packages: they
conflict with syslog-ng's.
usage: walkthrough_test.py PROGRAMS (build/bin) systemd|policy|siem"""

import json
import pathlib
import shutil
import subprocess
import sys
import unittest

import fenced
from machine import SOURCES, Machine, why_not

sys.path.insert(0, str(SOURCES / "tests" / "e2e" / "node"))
from agent import run_tests, skip  # pylint: disable=wrong-import-position

README = SOURCES / "README.md"
SIEM = SOURCES / "deploy" / "guides" / "siem.md"


def note(text: str):
    print(f"-- {text}")


class WalkThrough(unittest.TestCase):
    programs = pathlib.Path()

    def setUp(self):
        self.machine = Machine()
        self.addCleanup(self.machine.close)
        note(f"in deploy/systemd/moatd.yaml, 'scope: host' is 'scope: {self.machine.scope}'")
        self.prepare(f"sed -i 's|^scope: host$|scope: {self.machine.scope}|' deploy/systemd/moatd.yaml && grep -q walk deploy/systemd/moatd.yaml")

    def prepare(self, command: str):
        status, said = self.machine.type(command)
        self.assertEqual(status, 0, f"{command}\n{said}")

    def follow(self, page: pathlib.Path, heading: str) -> list[fenced.Command]:
        """Every command of the section, each ending as it should."""
        typed = [command for block in fenced.blocks(fenced.section(page, heading), "sh") for command in fenced.commands(block)]
        self.assertTrue(typed)
        note(f"{page.relative_to(SOURCES)}, {heading}: {len(typed)} commands")
        mark = "@@ status"
        _, output = self.machine.type(fenced.script(typed, mark, 0.15), 120)
        problems = fenced.read_back(typed, mark, output)
        if problems:
            print(self.machine.type("journalctl --no-pager -n 60")[1])
        self.assertEqual(problems, [])
        return typed

    def said(self, typed: list[fenced.Command], beginning: str) -> list[str]:
        found = [command.said for command in typed if command.text.startswith(beginning)]
        self.assertTrue(found, beginning)
        return found

    def install(self) -> list[fenced.Command]:
        return self.follow(README, "Install with systemd")

    def test_systemd(self):
        typed = self.install()
        self.assertIn("scope " + self.machine.scope, self.said(typed, "moatctl status")[0])
        self.assertEqual(self.machine.type("systemctl is-active moatd; systemctl is-enabled moatd"), (0, "active\nenabled\n"))
        # As on a node that unpacks it.
        status, listed = self.machine.type("mkdir -p unpacked && tar -C unpacked -xzf moat-node.tar.gz && find unpacked -type f | sort && unpacked/usr/bin/moatd --version")
        self.assertEqual(status, 0, listed)
        for name in ("usr/bin/moatd", "usr/bin/moatctl", "usr/lib/systemd/system/moatd.service"):
            self.assertIn(f"unpacked/{name}\n", listed)
        self.assertNotIn("/etc/moat/moatd.yaml", listed)  # or it would take the place of a node's own
        # Again: what is configured stays, and moatd can be replaced while it runs.
        self.prepare("echo '# mine' >>/etc/moat/moatd.yaml && deploy/install.sh && grep -q '# mine' /etc/moat/moatd.yaml && systemctl restart moatd")
        self.prepare("systemctl stop moatd && moatd --unload")

    def test_policy(self):
        self.install()
        typed = self.follow(README, "First policy in ten minutes")
        before, counted, denied = self.said(typed, "systemd-run")
        for said in (before, counted):
            self.assertIn("Connection refused", said)  # by nobody's listening
        self.assertIn("Operation not permitted", denied)  # by moat
        self.assertIn("/bash", self.said(typed, "moatctl assets")[0])
        self.assertIn("policy-would-deny", self.said(typed, "moatctl findings --kind policy-would-deny")[0])
        self.assertIn("policy-denial", self.said(typed, "moatctl findings --kind policy-denial")[0])
        lists = self.said(typed, "moatctl policy list")
        self.assertRegex(lists[0], r"first +dry-run +2 +0 +0 +1 ")
        self.assertRegex(lists[1], r"first +dry-run +2 +0 +0 +0 ")
        self.assertIn(" deny connect tcp 127.0.0.1:8080", self.said(typed, "moatctl watch")[0])
        self.prepare("moatctl policy list | grep -q '0 policies' && moatd --unload")

    def _arrived(self, path: str) -> list[str]:
        status, said = self.machine.type(f"grep canary-touched {path}")
        self.assertEqual(status, 0, said)
        return said.splitlines()

    def test_siem(self):
        if not shutil.which("syslog-ng", path="/usr/sbin"):
            self.skipTest("there is no syslog-ng (deploy/packages.sh test)")
        self.install()
        self.follow(README, "Connect a SIEM")
        finding = json.loads(self._arrived("/var/log/moat-findings.json")[0])
        self.assertEqual((finding["class_uid"], finding["metadata"]["event_code"]), (2004, "canary-touched"))
        self._rsyslog()
        note("OTLP: moatd takes the excerpts; the collector's is not run, Debian has none")
        for block in fenced.blocks(fenced.section(SIEM, "OTLP"), "yaml")[:2]:
            self.prepare(f"cat >otlp.yaml <<'YAML'\n{block}YAML\necho secret >/etc/moat/token; moatd --check --config otlp.yaml")

    def _rsyslog(self):
        folder = self.programs.parent / "rsyslog"
        run = subprocess.run([SOURCES / "tests" / "unpack.sh", "rsyslog", folder], capture_output=True, text=True, check=False)
        if run.returncode:
            note(f"rsyslog is not looked at: {run.stderr.strip()}")
            return
        note("syslog-ng is stopped, which has rsyslog's port; apt-get stands in: it unpacks Debian's rsyslog from the build folder")
        self.prepare("systemctl stop syslog-ng")
        unpack = f"tar -C {folder}/files -c . | tar -C / -x --keep-directory-symlink && systemctl daemon-reload"
        self.prepare(f"printf '#!/bin/sh\\n%s\\n' '{unpack}' >/usr/bin/apt-get")
        self.follow(SIEM, "rsyslog")
        # What syslog-ng had got comes once more, in OCSF: its connection had broken.
        arrived = self._arrived("/var/log/moat-findings.cef")
        self.assertTrue([line for line in arrived if line.strip().startswith("CEF:0|")], arrived)
        json.loads(self._arrived("/var/log/moat/findings.json")[0])


if __name__ == "__main__":
    WalkThrough.programs = pathlib.Path(sys.argv[1]).resolve()
    if WalkThrough.programs != SOURCES / "build" / "bin":
        skip(f"the commands take build/bin, and this build's programs are in {WalkThrough.programs}")
    if why := why_not():
        skip(why)
    run_tests([sys.argv[0], f"WalkThrough.test_{sys.argv[2]}"])
