#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads ctest's JUnit file: first line "PASSED FAILED SKIPPED", then one line per test that failed or was skipped, with why."""

import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(output: str) -> str:
    """GoogleTest prints the reason on the line after "...: Skipped"; our scripts print "skipped: reason"."""
    found = re.search(r": Skipped\n(.+)", output) or re.search(r"skipped: (.+)", output, re.IGNORECASE)
    return found.group(1).strip() if found else "no reason was printed"


def failure(how: str, output: str) -> str:
    """How it ended, when that says more than "failed", and the first line that looks like the complaint."""
    return f"{how}: {complaint(output)}" if how not in ("", "Failed") else complaint(output)


def complaint(output: str) -> str:
    for line in output.splitlines():
        if re.search(r"Failure$|ERROR: \w+Sanitizer|runtime error|[Ee]rror:|FAIL|falls short", line):
            return line.strip()
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def main() -> int:
    passed = failed = skipped = 0
    told = []
    for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
        name, output = case.get("name"), case.findtext("system-out") or ""
        if case.find("skipped") is not None:
            # A test whose program is not there is "skipped" to JUnit, and a failure to us.
            if case.find("skipped").get("message", "").startswith(("SKIP_", "Disabled")):
                skipped += 1
                told.append(f"   skipped {name}: {skip_reason(output)}")
                continue
            failed += 1
            told.append(f"   FAILED  {name}: not run: {case.find('skipped').get('message')}")
        elif case.find("failure") is not None or case.get("status") == "fail":
            failed += 1
            how = case.find("failure").get("message", "") if case.find("failure") is not None else ""
            told.append(f"   FAILED  {name}: {failure(how, output)}")
        else:
            passed += 1
    print(passed, failed, skipped)
    for line in told:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
