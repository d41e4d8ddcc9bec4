#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes moatd on loopback, and its sums are the ledger's. usage: prometheus_test.py PROGRAMS   (build/bin)"""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from agent import CAPABILITIES, Agent, Place, need_root, skip

CONFIG = """global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: moat
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
POLICY = """apiVersion: moat/v1
kind: Policy
metadata: {{name: closed}}
spec: {{mode: enforce, subjects: [{{cgroup: {scope}}}], egress: {{default: deny}}}}
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Prometheus:
    def __init__(self, work: pathlib.Path, target: int):
        self.url = f"http://127.0.0.1:{free_port()}"
        (work / "prometheus.yml").write_text(CONFIG.format(port=target), encoding="utf-8")
        subprocess.run(["promtool", "check", "config", work / "prometheus.yml"], check=True, capture_output=True)
        self.log = work / "prometheus.log"
        with open(self.log, "wb") as log:
            command = ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb"]
            self.process = subprocess.Popen([*command, f"--web.listen-address={self.url.removeprefix('http://')}"], stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def query(self, text: str) -> dict[str, float]:
        """By labels, as "name=value name=value"; empty while there is nothing."""
        try:
            said = json.loads(get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': text})}"))
        except (urllib.error.URLError, ConnectionError):
            return {}
        rows = said["data"]["result"]
        return {" ".join(f"{k}={v}" for k, v in sorted(row["metric"].items())): float(row["value"][1]) for row in rows}

    def wait(self, text: str, wanted, seconds: float = 30) -> dict[str, float]:
        until = time.monotonic() + seconds
        while not wanted(rows := self.query(text)):
            if time.monotonic() > until:
                raise TimeoutError(f"{text}: {rows}\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        return rows


class PrometheusTest(unittest.TestCase):
    programs = pathlib.Path()

    def setUp(self):
        self.place = Place()
        self.addCleanup(self.place.close)
        folder = self.place.folder
        (folder / "policies").mkdir()
        (folder / "policies" / "closed.yaml").write_text(POLICY.format(scope=self.place.scope), encoding="utf-8")
        self.settings = f"""policies: {{files: [{folder}/policies], pins: ""}}
runtimes: {{cri: "", docker: "", slurm: ""}}
metrics: {{address: 127.0.0.1:0}}
sinks: [{{name: local, type: file, path: {folder}/findings.json, spool: {{path: {folder}/spool}}}}]
"""

    def test_it_scrapes_what_the_ledger_says(self):
        with Agent(self.programs, self.place, self.settings, set(CAPABILITIES)) as agent:
            self.assertTrue(agent.ready, agent.text())
            with Prometheus(self.place.folder, agent.port()) as prometheus:
                prometheus.wait("up", lambda rows: list(rows.values()) == [1])
                denied = 'moat_policy_decisions_total{policy="closed",mode="enforce",decision="denied"}'
                before = prometheus.wait(denied, lambda rows: len(rows) == 1)
                code = "import socket\nfor _ in range(5):\n  socket.socket().connect_ex(('127.0.0.1', 1))"
                self.assertEqual(self.place.run_inside(sys.executable, "-c", code).wait(30), 0)
                after = {key: value + 5 for key, value in before.items()}
                prometheus.wait(denied, lambda rows: rows == after)
                execs = prometheus.wait('moat_events_delivered_total{kind="exec"}', lambda rows: sum(rows.values()) >= 1)
                balance = "sum by (kind) (moat_events_attempted_total) - sum by (kind) (moat_events_delivered_total) - sum by (kind) (moat_events_lost_total)"
                rows = prometheus.wait(balance, lambda rows: rows and not any(rows.values()))
                print(f"{sum(execs.values()):.0f} execs; attempted = delivered + lost for {len(rows)} kinds")
                found = prometheus.wait('moat_findings_total{kind="policy-denial"}', lambda rows: sum(rows.values()) >= 1)
                # The start of the agent and what was found of the denials.
                sent = prometheus.wait('moat_sink_delivered_total{sink="local"}', lambda rows: sum(rows.values()) >= 2)
                self.assertEqual(set(prometheus.query("moat_sink_spool_messages").values()), {0})
                agent.status()
                calls = prometheus.wait('moat_api_calls_total{method="moat.v1.Status/Get",code="OK"}', lambda rows: sum(rows.values()) >= 1)
                print(f"{len(found)} kinds found, {sum(sent.values()):.0f} messages sent, {sum(calls.values()):.0f} calls of the API")
                self.assertEqual(set(prometheus.query("moat_domain_loaded").values()), {1})
                self.assertGreater(sum(prometheus.query("process_resident_memory_bytes").values()), 1 << 20)
            text = get(f"http://127.0.0.1:{agent.port()}/metrics")
        run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))
        self.assertLess(len(text.splitlines()), 1000)

    def test_nobody_listens_unless_asked(self):
        with Agent(self.programs, self.place, 'runtimes: {cri: "", docker: "", slurm: ""}\n', set(CAPABILITIES)) as agent:
            self.assertTrue(agent.ready, agent.text())
            self.assertNotIn("metrics at port", agent.text())

    def test_a_port_in_use_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            with Agent(self.programs, self.place, f"metrics: {{address: '{address}'}}\n", set(CAPABILITIES)) as agent:
                self.assertFalse(agent.ready)
                self.assertIn(f"cannot listen on {address} (metrics.address)", agent.text())
                self.assertEqual(agent.process.wait(20), 1)


if __name__ == "__main__":
    need_root()
    for tool in ("prometheus", "promtool"):
        if not shutil.which(tool):
            skip(f"no {tool} here (Debian package prometheus)")
    PrometheusTest.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
