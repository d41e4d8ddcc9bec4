#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that no compiler checks. Prints path:line: message; exit 1 when there is any, 77 when a check cannot run here."""

import argparse
import pathlib
import sys

import checks
import includes
from tree import Skip, Tree

CHECKS = {
    "includes": includes.check,
    "abi_padding": checks.abi_padding,
    "format": checks.format,
    "spdx": checks.spdx,
    "size": checks.size,
    "paths": checks.paths,
    "shell": checks.shell,
    "docs": checks.docs,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("check", nargs="*", choices=[[], *CHECKS], help=f"default: all of {', '.join(CHECKS)}")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--fix", action="store_true", help="mend what can be mended: format")
    arguments = parser.parse_args()
    tree = Tree(arguments.root.resolve())
    names = arguments.check or list(CHECKS)
    if arguments.fix and "format" in names:
        checks.fix_format(tree)
    status = 0
    for name in names:
        try:
            findings = CHECKS[name](tree)
        except Skip as skip:
            print(f"{name}: skipped: {skip}")
            status = status or 77
            continue
        for finding in findings:
            print(f"{finding} [{name}]")
        if findings:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
