#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of blind spots in tests/README.md from what the bpf tests wrote on each kernel (MOAT_BLIND_SPOTS).

A row is a case, a column a kernel. A cell says which hook saw all of it and by what (file.open:lsm), or that it was not seen, and
under which id the agent says so. After "tp:" what the tracepoints alone give, where that is another verdict.

--check compares the columns of those kernels that are in the README too: the archive may have newer packages meanwhile.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- blind spots: written by tests/vm/table.py -->", "<!-- end of blind spots -->"
GROUPS = ("file", "label", "net", "gpu")


class Run(NamedTuple):
    kernel: str
    mode: str
    group: str
    case: str
    verdict: str
    hook: str
    wanted: str
    got: str
    exposure: str


def read(paths: list[Path]) -> list[Run]:
    """Every run of every file; of the same case, kernel and mode the last one counts."""
    runs = {}
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = line.split("\t")
            if len(fields) != len(Run._fields) or fields[1] not in ("best", "tracepoint"):
                sys.exit(f"{path}:{number}: no line of MOAT_BLIND_SPOTS: {line!r}")
            run = Run(*fields)
            runs[run.kernel, run.mode, run.case] = run
    return list(runs.values())


def age(kernel: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", kernel)[:3])


def column(kernel: str) -> str:
    """'6.1.0-56' of '6.1.0-56-amd64'."""
    return kernel.removesuffix("-amd64")


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


def table(runs: list[Run]) -> str:
    by = {(run.kernel, run.mode, run.case): run for run in runs}
    kernels = sorted({run.kernel for run in runs}, key=lambda kernel: (age(kernel), kernel))
    cases = list(dict.fromkeys((run.group, run.case) for run in runs))  # as the tests have them
    cases.sort(key=lambda case: GROUPS.index(case[0]))
    lines = ["| case | " + " | ".join(column(kernel) for kernel in kernels) + " |", "|---" * (len(kernels) + 1) + "|"]
    for group, case in cases:
        cells = [cell(by.get((kernel, "best", case)), by.get((kernel, "tracepoint", case))) for kernel in kernels]
        lines.append(f"| {group}: {case} | " + " | ".join(cells) + " |")
    counts = []
    for kernel in kernels:
        of = [short(run) for run in runs if run.kernel == kernel and run.mode == "best"]
        counts.append(f"{of.count('seen')} of {len(of) - of.count('n/a')}")
    lines.append("| **seen** | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def cells(lines: str) -> dict[tuple[str, str], str]:
    """(case, kernel): text."""
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines.strip().splitlines()]
    if not rows:
        return {}
    return {(row[0], kernel): field for row in rows[2:] for kernel, field in zip(rows[0][1:], row[1:])}


def check(committed: str, fresh: str) -> int:
    before, after = cells(committed), cells(fresh)
    kernels = {kernel for _, kernel in before} & {kernel for _, kernel in after}
    for kernel in sorted({kernel for _, kernel in after} - kernels, key=age):
        print(f"note: the README's table has no column {kernel}")
    wrong = [(case, kernel) for case, kernel in sorted({*before, *after}) if kernel in kernels]
    wrong = [at for at in wrong if before.get(at) != after.get(at)]
    for case, kernel in wrong:
        print(f"{kernel}: {case}: {before.get((case, kernel), 'no row')} in the README, {after.get((case, kernel), 'no row')} now")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when the README's table differs")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("tsv", type=Path, nargs="+", help="files that MOAT_BLIND_SPOTS named, of as many kernels as there are")
    arguments = parser.parse_args()
    before = arguments.readme.read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1:
        sys.exit(f"{arguments.readme}: the table stands between the lines {BEGIN} and {END}, each once")
    head, rest = before.split(BEGIN)
    tail = rest.split(END)[1]
    fresh = table(read(arguments.tsv))
    if arguments.check:
        return check(rest.split(END)[0], fresh)
    arguments.readme.write_text(f"{head}{BEGIN}\n{fresh}\n{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
