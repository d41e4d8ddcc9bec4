#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a GoogleTest program as root in a guest of each kernel, several guests at a time, and tells what came of it by kernel."""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ElementTree

from archive import KERNELS, Failure, Unreachable, Vanished
from cache import Cache, Image, say
from guest import Options, boot, stop_all
from vm import kernel_name

TABLE = pathlib.Path(__file__).resolve().with_name("table.py")
# sleep, true and sh are what the tests execute: their own programs, as on a host, not busybox by another name.
FILES = [("/bin/true", "/bin/true"), ("/bin/sleep", "/bin/sleep"), ("/bin/dash", "/bin/dash")]
MODULES = ["xfs", "overlay", "loop", "vsock", "vsock_loopback", "sctp", "af_packet"]
TRIES = 2  # more, of a test that failed while the kernel skipped runs of moat's programs: it has shown nothing
GUESTS = 4  # a guest that hangs or panics is followed by another for the tests not yet run, up to so many
# Silence is longer than either limit that the guest keeps by itself.
CHUNK, CHUNK_SECONDS, TEST_SECONDS, SILENCE_SECONDS = 45, 600, 120, 700
# Many tests are a process and share a probe where they can, for to start one takes 2 to 10 s here. A process that crashes or hangs
# writes no results, and its tests are then run one by one. A line of the list is a filter: A.One:A.Two.
LOOP = """cd /tmp
{doctor}
export MOAT_SHARE_PROBES=1 MOAT_CLONES=/mnt/clones MOAT_BLIND_SPOTS=/dev/ttyS3 MOAT_VERIFIER=/dev/ttyS3
run() {{
  echo "start $1" >/dev/ttyS3
  rm -f /tmp/tests.xml
  timeout -s KILL $2 /moat/tests --gtest_filter="$1" --gtest_output=xml:/tmp/tests.xml
  code=$?
  [ ! -e /tmp/tests.xml ] || cat /tmp/tests.xml >/dev/ttyS3
  echo "end $code" >/dev/ttyS3
}}
while read -r tests; do
  case $tests in
    *:*)
      run "$tests" {chunk_seconds}
      [ -e /tmp/tests.xml ] || for one in $(echo "$tests" | tr : ' '); do run "$one" {test_seconds}; done ;;
    *) run "$tests" {test_seconds} ;;
  esac
done <<'LIST'
{filters}
LIST"""


# The agent itself, watching the whole guest, and what it says of its hooks. On a file system that reads through the page cache: it reads
# its own executable to see those hooks run.
DOCTOR = """mkdir -p /etc/moat /run/moat
echo 'scope: host' >/etc/moat/moatd.yaml
cp /moat/moatd /var/tmp/moatd
/var/tmp/moatd >/tmp/moatd.log 2>&1 &
for i in $(seq 240); do [ -S /run/moat/moat.sock ] && break; usleep 250000; done
/moat/moatctl doctor -o json >/dev/ttyS3 || cat /tmp/moatd.log
kill $! && wait $!
rm /var/tmp/moatd"""
DOCTOR_TEST = "Doctor.NamesTheBackendOfEachEvent"


@dataclasses.dataclass
class Result:
    verdict: str  # "passed", "FAILED", "skipped"
    reason: str = ""
    missed: int = 0  # runs of moat's programs that the kernel skipped meanwhile, and that may have been why it failed


def why_failed(message: str) -> str:
    """GoogleTest's failure message in one line: its first line is a path, which is cut to FILE:LINE and put last."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    where = re.fullmatch(r"(?:.*/)?([\w.-]+:\d+)", lines[0]) if lines else None
    text = " ".join(lines[1:] if where else lines)
    text = re.sub(r"^Value of: (.*?) Actual: (false|true)(?: \(.*?\))? Expected: (?:false|true) ?", r"\1 is \2: ", text)
    return (text if len(text) <= 300 else text[:300] + "...") + (f" ({where.group(1)})" if where else "")


def read_xml(xml: str) -> dict[str, Result]:
    """GoogleTest's XML and not its JSON: that of 1.12 does not say why a test was skipped."""
    results = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        properties = {one.get("name"): one.get("value", "") for one in case.iter("property")}
        missed = 0 if "whatever_is_missed" in properties else int(properties.get("runs_missed", "0"))
        if (failure := case.find("failure")) is not None:
            results[name] = Result("FAILED", why_failed(failure.get("message", "")), missed)
        elif case.get("result") == "skipped" or case.get("status") == "notrun":
            skipped = case.find("skipped")
            results[name] = Result("skipped", why_failed(skipped.get("message", "")) if skipped is not None else "disabled")
        else:
            results[name] = Result("passed")
    return results


def read_told(told: str) -> tuple[dict[str, Result], list[str]]:
    """What the guest's loop told: the results of those tests that ended, and the tests of a process that did not."""
    results: dict[str, Result] = {}
    running: list[str] = []
    for part in re.split(r"^start ", told, flags=re.MULTILINE)[1:]:
        tests, _, rest = part.partition("\n")
        running = tests.strip().split(":")
        end = re.search(r"^end (\d+)\s*$", rest, re.MULTILINE)
        if not end:
            break
        code = int(end.group(1))
        if "<?xml" in rest:
            results.update(read_xml(rest[rest.index("<?xml") : end.start()]))
        elif len(running) == 1:  # of several each is run again
            how = f"ended with {code} and no result" if code < 128 else f"crash: ended by signal {code - 128}"
            results[running[0]] = Result("FAILED", f"hang: killed after {TEST_SECONDS} s" if code == 128 + 9 else how)
        running = []
    return results, running


def proof_of(hook: dict) -> str:
    ran = hook.get("proof") == "it has run" or hook.get("why", "").startswith("seen by the program of")
    return "run" if ran else "not tried"


def read_doctor(told: str, release: str) -> tuple[Result, list[str]]:
    """Whether each event has a hook that is attached, or is an exposure; and a line for tests/vm/table.py of each."""
    try:
        line = next(line for line in told.splitlines() if line.startswith('{"host":'))
        hooks = [hook for domain in json.loads(line)["agent"]["domains"] for hook in domain["hooks"]]
    except (StopIteration, ValueError, KeyError, TypeError):
        return Result("FAILED", "moatctl doctor got no answer of an agent; see the guest's log"), []
    lines = []
    for hook in hooks:
        backend = hook.get("backend", "") if hook.get("attached") else "-"
        lines.append("\t".join([release, hook["event"], backend, proof_of(hook)]))
    failed = [f"{hook['event']}: {hook.get('why')}" for hook in hooks if not hook.get("attached") and not hook.get("exposure")]
    if failed or not hooks:
        return Result("FAILED", "; ".join(failed) or "no hooks"), lines
    return Result("passed"), lines


# Lines that tests write beside their results, by their number of fields: of blind spots (tests/vm/table.py), of the verifier's cost.
TSV = {9: "blind", 3: "verifier"}


def read_tsv(told: str) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {kind: [] for kind in TSV.values()}
    for line in told.splitlines():
        if re.match(r"\d+\.\d+\.\d\S*\t", line) and (kind := TSV.get(line.count("\t") + 1)):
            lines[kind].append(line)
    return lines


def verifier_table(paths: list[pathlib.Path]) -> list[str]:
    """Instructions that the verifier processed, program by kernel."""
    cost: dict[str, dict[str, str]] = collections.defaultdict(dict)
    kernels = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            kernel, program, processed = line.split("\t")
            cost[program][kernel] = processed
            if kernel not in kernels:
                kernels.append(kernel)
    if not cost:
        return []
    heads = [re.match(r"[\d.]*\d", kernel).group() for kernel in kernels]
    lines = ["   verifier: instructions processed " + " ".join(f"{head:>8}" for head in heads)]
    for program, by in sorted(cost.items()):
        lines.append(f"   {program:<33}" + " ".join(f"{by.get(kernel, '-'):>8}" for kernel in kernels))
    return lines


def check_tables(logs: pathlib.Path, kernels: list[str]) -> tuple[str, str]:
    """Whether what was seen is what tests/README.md says of these kernels."""
    files = [str(path) for name in kernels for kind in ("blind", "backends") if (path := logs / f"vm-{name}.{kind}.tsv").exists()]
    if not files:
        return "skipped", "   skipped tests/README.md's tables: no kernel was run"
    told = subprocess.run([sys.executable, str(TABLE), "--check", *files], capture_output=True, text=True, check=False)
    if told.returncode == 0:
        notes = "".join(f"   {line}\n" for line in told.stdout.splitlines())
        return "passed", notes + "   what tests/README.md says of these kernels is what was seen"
    lines = (told.stdout + told.stderr).splitlines()
    text = "\n".join("   " + line for line in lines[:40])
    return "FAILED", f"   FAILED  tests/README.md has other tables ({len(lines)} lines); {TABLE.name} {logs}/vm-*.b*.tsv writes them\n{text}"


def list_tests(binary: pathlib.Path, only: str, without: str) -> list[str]:
    command = [str(binary), "--gtest_list_tests", f"--gtest_filter=*{only}*" + (f"-*{without}*" if without else "")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, suite = [], ""
    for line in told.splitlines():
        if match := re.match(r"( *)([\w/]+\.?)", line):
            if match.group(1):
                names.append(suite + match.group(2))
            elif match.group(2).endswith("."):
                suite = match.group(2)
    if only in DOCTOR_TEST and not (without and without in DOCTOR_TEST):
        names.append(DOCTOR_TEST)
    return names


def shares(kernels: list[str], names: list[str], jobs: int) -> list[tuple[str, list[str]]]:
    """A kernel and its tests, for one guest after another. Kernels that would leave cores idle at the end are shared out by chunks."""
    whole = len(kernels) - len(kernels) % jobs
    work = [(kernel, names) for kernel in kernels[:whole]]
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    for kernel in kernels[whole:]:
        parts = [sum(chunks[i::jobs], []) for i in range(jobs)]
        work += [(kernel, part) for part in parts if part]
    return work


def run_kernel(
    cache: Cache, image: Image, options: argparse.Namespace, names: list[str], stem: str
) -> tuple[dict[str, Result], dict[str, list[str]]]:
    """The results, and the lines for tables, by kind."""
    results: dict[str, Result] = {}
    log_path = options.logs / f"{stem}.log"
    with open(log_path, "wb") as log:

        def sink(data: bytes) -> None:
            log.write(data)
            log.flush()

        written: dict[str, list[str]] = {kind: [] for kind in (*TSV.values(), "backends")}
        last: dict[str, Result] = {}
        tries: collections.Counter[str] = collections.Counter()
        alone: set[str] = set()  # a process of theirs took the guest down: which of them it was is still to be found
        for _ in range(GUESTS):
            left = [name for name in names if name not in results]
            if not left:
                break
            tests = [name for name in left if name != DOCTOR_TEST]
            together = [name for name in tests if name not in alone]
            filters = [":".join(together[i : i + CHUNK]) for i in range(0, len(together), CHUNK)] + [name for name in tests if name in alone]
            doctor = DOCTOR if DOCTOR_TEST in left else ""
            command = LOOP.format(doctor=doctor, chunk_seconds=CHUNK_SECONDS, test_seconds=TEST_SECONDS, filters="\n".join(filters))
            programs = [(options.binary, "/moat/tests")]
            for name in ("moat-gpu-workload", "moatd", "moatctl") if doctor else ("moat-gpu-workload",):
                programs.append((str(pathlib.Path(options.binary).with_name(name)), f"/moat/{name}"))
            wanted = Options(command, FILES + programs, MODULES, smp=2, mem=1536, timeout=SILENCE_SECONDS, quiet=True)
            wanted.gpu = wanted.clones = True
            wanted.console = options.logs / f"{stem}.console"
            outcome = boot(cache, image, wanted, sink, say)
            ended, running = read_told(outcome.told)
            for kind, lines in read_tsv(outcome.told).items():
                written[kind] += lines
            results.update(ended)
            for name, result in ended.items():
                if result.verdict == "FAILED" and result.missed and tries[name] < TRIES:
                    say(f"{image.name}: {name} failed, but {result.missed} runs of programs were skipped by the kernel: again")
                    tries[name] += 1
                    last[name] = result
                    del results[name]
                    alone.add(name)
            if doctor:
                results[DOCTOR_TEST], written["backends"] = read_doctor(outcome.told, image.release)
            if len(running) == 1:
                results[running[0]] = Result("FAILED", f"{outcome.how}: {outcome.text}")
            elif outcome.how != "ended" and not running:
                say(f"{image.name}: {outcome.text}, between tests or before the first; see {log_path}")
                break
            alone.update(running)
    for name in names:
        results.setdefault(name, last.get(name, Result("FAILED", f"not run; see {log_path}")))
    return results, written


def report(name: str, results: dict[str, Result]) -> list[str]:
    """One line for each reason, however many tests have it. Numbers differ from test to test and do not make another reason."""
    groups = collections.defaultdict(list)
    for test, result in results.items():
        if result.verdict != "passed":
            groups[result.verdict, re.sub(r"\d+", "N", result.reason)].append((test, result.reason))
    lines = []
    for (verdict, _), tests in sorted(groups.items(), key=lambda item: (item[0][0] != "FAILED", item[1][0])):
        lines.append(f"   {verdict:<7} {name} {tests[0][0] if len(tests) == 1 else f'{len(tests)} tests'}: {tests[0][1]}")
        if len(tests) > 1:
            lines += textwrap.wrap(", ".join(test for test, _ in tests), 132, initial_indent=" " * 11, subsequent_indent=" " * 11)
    return lines


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="matrix.py", description=__doc__, epilog="Exit status: 0 none failed, 1 some failed, 2 wrong usage.")
    parser.add_argument("kernel", nargs="*", type=kernel_name, help=f"default: {' '.join(KERNELS)}")
    parser.add_argument("--binary", required=True, help="the test program, as built here; moatd, moatctl and moat-gpu-workload lie beside it")
    parser.add_argument("--logs", required=True, type=pathlib.Path, metavar="DIR", help="for vm-KERNEL.log, .console, and .blind, .backends and .verifier.tsv")
    parser.add_argument("--only", default="", metavar="NAME", help="only tests with NAME in their name")
    parser.add_argument("--without", default="", metavar="NAME", help="no test with NAME in its name")
    parser.add_argument("--counts", type=pathlib.Path, metavar="FILE", help="write 'PASSED FAILED SKIPPED' here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="guests at a time (default: one for each core)")
    options = parser.parse_args()
    options.logs = options.logs.absolute()
    return options


def main() -> int:
    options = parse()
    kernels = list(dict.fromkeys(options.kernel or KERNELS))
    names = list_tests(pathlib.Path(options.binary), options.only, options.without)
    if not names:
        what = f"'{options.only}' in its name" + (f" and not '{options.without}'" if options.without else "")
        print(f"matrix.py: no test of {options.binary} has {what}; --gtest_list_tests lists them", file=sys.stderr)
        return 2
    options.logs.mkdir(parents=True, exist_ok=True)
    total = collections.Counter()
    cache = Cache()
    try:
        missing = cache.fetch(kernels)
    except Unreachable as failure:
        missing = {name: failure for name in kernels}
    for name, why in missing.items():
        verdict = "skipped" if isinstance(why, (Vanished, Unreachable)) else "FAILED"
        total[verdict] += 1
        print(f"   {verdict:<7} {name}: {why}", flush=True)

    began: dict[str, float] = {}

    def run(name: str, tests: list[str], stem: str) -> tuple[str, dict[str, Result], dict[str, list[str]]]:
        began.setdefault(name, time.monotonic())
        try:
            return name, *run_kernel(cache, cache.image(name), options, tests, stem)
        except Failure as failure:
            return name, {test: Result("FAILED", f"not run: {failure}") for test in tests}, {}

    jobs = max(1, options.jobs)
    work = shares([name for name in kernels if name not in missing], names, jobs)
    left = collections.Counter(name for name, _ in work)
    parts: collections.Counter[str] = collections.Counter()
    logs_of: dict[str, str] = collections.defaultdict(str)
    for name in kernels:  # of an earlier run, which may have been shared out otherwise
        for stale in options.logs.glob(f"vm-{name}.*"):
            stale.unlink()
    of: dict[str, dict[str, Result]] = collections.defaultdict(dict)
    written: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
        runs = []
        for name, tests in work:
            parts[name] += 1
            stem = f"vm-{name}" + (f".part{parts[name]}" if left[name] > 1 else "")
            logs_of[name] += (", " if logs_of[name] else "") + f"{options.logs}/{stem}.log"
            runs.append(pool.submit(run, name, tests, stem))
        for done in concurrent.futures.as_completed(runs):
            name, ended, lines_of = done.result()
            of[name].update(ended)
            for kind, lines in lines_of.items():
                written[name][kind] += lines
            left[name] -= 1
            if left[name] > 0:
                continue
            for kind, lines in written[name].items():
                (options.logs / f"vm-{name}.{kind}.tsv").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            results, seconds = of[name], time.monotonic() - began[name]
            counts = collections.Counter(result.verdict for result in results.values())
            total.update(counts)
            print("\n".join(report(name, results) + [""]), end="")
            told = ", ".join(f"{counts[verdict]} {verdict.lower()}" for verdict in ("passed", "FAILED", "skipped"))
            print(f"   {name:<7} {cache.image(name).release}: {told} in {seconds:.0f} s; {logs_of[name]}", flush=True)
    if not options.only and not options.without:
        verdict, text = check_tables(options.logs, [name for name in kernels if name not in missing])
        total[verdict] += 1
        print(text)
    print("\n".join(verifier_table([path for name in kernels if (path := options.logs / f"vm-{name}.verifier.tsv").exists()])))
    if options.counts:
        options.counts.write_text(f"{total['passed']} {total['FAILED']} {total['skipped']}\n", encoding="utf-8")
    return 1 if total["FAILED"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_all)
    signal.signal(signal.SIGINT, stop_all)
    try:
        sys.exit(main())
    except Failure as failure:
        say(str(failure))
        sys.exit(1)
