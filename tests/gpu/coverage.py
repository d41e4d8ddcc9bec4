#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much of the calls in events of moatctl watch -o json is known: coverage.py FILE"""

import collections
import json
import sys


def main(path):
    kinds, unknown, categories, partial, refused = (collections.Counter() for _ in range(5))
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            call = event.get("gpu_ioctl")
            if call is None:
                kinds[event["kind"]] += 1
                continue
            what = f"{call['device_class']} {call['number']:#x}" + (f" {call['detail']:#x}" if call["detail"] else "")
            # A control or class that no table has keeps the name of the call that carries it.
            known = call["verb"] != "" and not (call["detail"] and call["name"] in ("NV_ESC_RM_CONTROL", "NV_ESC_RM_ALLOC"))
            kinds["known" if known else "unknown"] += 1
            if not known:
                unknown[what] += 1
            elif call["completeness"] != "full":
                partial[f"{what} {call['name']}"] += 1
            for category in call["categories"]:
                categories[f"{category}: {call['name']}"] += 1
            if call["result"] < 0 or (call["status_known"] and call["status"]):
                refused[f"{call['name'] or what}: " + (str(call["result"]) if call["result"] else f"status {call['status']:#x}")] += 1
    total = kinds["known"] + kinds["unknown"]
    print(f"{total} calls in events, {kinds['known']} known, {kinds['unknown']} unknown; {kinds['gpu_open']} opens")
    for title, counter in (("unknown", unknown), ("in part", partial), ("with a category", categories), ("refused", refused)):
        for what, count in counter.most_common(40):
            print(f"  {title}: {what} x{count}")


if __name__ == "__main__":
    main(sys.argv[1])
