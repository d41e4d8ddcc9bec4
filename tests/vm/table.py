#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the two tables of kernels in tests/README.md from what tests/vm/matrix.py left (vm-KERNEL.blind.tsv, vm-KERNEL.backends.tsv).

Backends: a row is an event, a column a kernel; a cell says which backend the agent took, "-" if the kernel has none for it.
Blind spots: a row is a case. A cell says which hook saw all of it and by what (file.open:lsm), or that it was not seen, and under which
id the agent says so. After "tp:" what the tracepoints alone give, where that is another verdict.

--check compares columns by version and patch level (6.1), for the archive may have a newer package of the same kernel meanwhile; a
kernel that the README does not have is told and not compared.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"
NOT_TRIED = " (not tried)"
GROUPS = ("file", "label", "net", "gpu")


class Run(NamedTuple):
    """A line of MOAT_BLIND_SPOTS."""

    kernel: str
    mode: str
    group: str
    case: str
    verdict: str
    hook: str
    wanted: str
    got: str
    exposure: str


class Hook(NamedTuple):
    """What an agent says of an event."""

    kernel: str
    event: str
    backend: str
    proof: str


def read(paths: list[Path]) -> tuple[list[Run], list[Hook]]:
    """Every line of every file; of the same case, kernel and mode the last one counts."""
    runs, hooks = {}, {}
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = line.split("\t")
            if len(fields) == len(Run._fields) and fields[1] in ("best", "tracepoint"):
                run = Run(*fields)
                runs[run.kernel, run.mode, run.case] = run
            elif len(fields) == len(Hook._fields):
                hook = Hook(*fields)
                hooks[hook.kernel, hook.event] = hook
            else:
                sys.exit(f"{path}:{number}: neither a blind spot nor a backend: {line!r}")
    return list(runs.values()), list(hooks.values())


def age(kernel: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", kernel)[:3])


def by_age(kernels: set[str]) -> list[str]:
    return sorted(kernels, key=lambda kernel: (age(kernel), kernel))


def column(kernel: str) -> str:
    """'6.1.0-56' of '6.1.0-56-amd64'."""
    return kernel.removesuffix("-amd64")


def head(what: str, kernels: list[str]) -> list[str]:
    return [f"| {what} | " + " | ".join(column(kernel) for kernel in kernels) + " |", "|---" * (len(kernels) + 1) + "|"]


def short(run: Run) -> str:
    """'seen', 'no', 'partly' or 'n/a'."""
    return {"seen": "seen", "partly": "partly", "not seen": "no"}.get(run.verdict, "n/a")


def full(run: Run) -> str:
    if run.verdict == "seen":
        return f"`{run.hook}`"
    if run.hook.endswith(":none"):
        return f"{run.verdict} (no hook)"
    return f"{run.verdict} ({run.exposure})" if short(run) != "n/a" else "n/a"


def cell(best: Run | None, contrast: Run | None) -> str:
    if best is None:
        return f"tp: {short(contrast)}" if contrast else ""
    differs = contrast is not None and short(contrast) != short(best)
    return full(best) + (f"; tp: {short(contrast)}" if contrast and differs else "")


def blind_table(runs: list[Run]) -> str:
    by = {(run.kernel, run.mode, run.case): run for run in runs}
    kernels = by_age({run.kernel for run in runs})
    cases = list(dict.fromkeys((run.group, run.case) for run in runs))  # as the tests have them
    cases.sort(key=lambda case: GROUPS.index(case[0]))
    lines = head("case", kernels)
    for group, case in cases:
        cells = [cell(by.get((kernel, "best", case)), by.get((kernel, "tracepoint", case))) for kernel in kernels]
        lines.append(f"| {group}: {case} | " + " | ".join(cells) + " |")
    for mode, name in (("best", "seen"), ("tracepoint", "seen by tracepoints")):
        counts = []
        for kernel in kernels:
            of = [short(run) for run in runs if run.kernel == kernel and run.mode == mode]
            counts.append(f"{of.count('seen')} of {len(of) - of.count('n/a')}")
        lines.append(f"| **{name}** | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def backend_table(hooks: list[Hook]) -> str:
    by = {(hook.kernel, hook.event): hook for hook in hooks}
    kernels = by_age({hook.kernel for hook in hooks})
    lines = head("event", kernels)
    for event in dict.fromkeys(hook.event for hook in hooks):
        found = [by.get((kernel, event)) for kernel in kernels]
        texts = ["" if hook is None else hook.backend + ("" if hook.proof == "run" or hook.backend == "-" else NOT_TRIED) for hook in found]
        lines.append(f"| {event} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by tests/vm/table.py -->", f"<!-- end of {name} -->"


def split(text: str, name: str, path: Path) -> tuple[str, str, str]:
    """What stands before, between and after the marks of a table."""
    begin, end = marks(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{path}: the table stands between the lines {begin} and {end}, each once")
    before, rest = text.split(begin)
    between, after = rest.split(end)
    return before, between, after


def cells(lines: str) -> dict[tuple[str, str], str]:
    """(row, kernel): text."""
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines.strip().splitlines()]
    return {(row[0], kernel): field for row in rows[2:] for kernel, field in zip(rows[0][1:], row[1:])}


def series(kernel: str) -> str:
    """'6.1' of '6.1.0-56'."""
    return ".".join(kernel.split(".")[:2])


def check(committed: str, fresh: str) -> list[str]:
    """What differs, of the kernels that both have."""
    before, after = ({(row, series(kernel)): text for (row, kernel), text in cells(table).items() if kernel} for table in (committed, fresh))
    kernels = {kernel for _, kernel in before} & {kernel for _, kernel in after}
    for kernel in by_age({kernel for _, kernel in after} - kernels):
        print(f"note: tests/README.md has no column {kernel}: not compared")
    rows = [at for at in sorted({*before, *after}) if at[1] in kernels and before.get(at) != after.get(at)]
    for at in [at for at in rows if before.get(at, "").removesuffix(NOT_TRIED) == after.get(at, "").removesuffix(NOT_TRIED)]:
        print(f"note: {at[1]}: {at[0]}: '{before.get(at)}' in the README, '{after.get(at)}' now: what is seen to run in time differs by chance")
        rows.remove(at)
    return [f"{kernel}: {row}: '{before.get((row, kernel), '')}' in the README, '{after.get((row, kernel), '')}' now" for row, kernel in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when a table of the README differs")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("tsv", type=Path, nargs="+", help="files of both kinds, of as many kernels as there are")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    runs, hooks = read(arguments.tsv)
    differs = []
    for name, fresh in (("backends", backend_table(hooks)), ("blind spots", blind_table(runs))):
        before, between, after = split(text, name, arguments.readme)
        differs += check(between, fresh)
        begin, end = marks(name)
        text = f"{before}{begin}\n{fresh}\n{end}{after}"
    if arguments.check:
        print("\n".join(differs), end="\n" if differs else "")
        return 1 if differs else 0
    arguments.readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
