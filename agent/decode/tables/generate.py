#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of this folder as sorted constexpr arrays: generate.py OUTPUT. A row that cannot be is an error with its file and line."""

import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).parent
CATEGORIES = ("debug", "profile", "foreign-memory", "export", "reconfigure", "internal", "raw-access")
WHEN = ("always", "client", "nested-client", "debugger", "half", "nested-half", "word", "other-owner", "fd-owner",
        "nested-fd-workload", "other-pid")
RM_CONTROL = 42


class Bad(Exception):
    pass


def rows(name):
    """Each row as a dictionary; its "at" is where it stands."""
    lines = (FOLDER / name).read_text(encoding="ascii").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    head = numbered[0][1].split(",")
    for number, line in numbered[1:]:
        cells = line.split(",")
        if len(cells) != len(head):
            raise Bad(f"{name}:{number}: {len(cells)} cells, and the head has {len(head)}")
        yield dict(zip(head, cells), at=f"{name}:{number}")


def text(cell):
    if not re.fullmatch(r"[ -!#-\[\]-~]*", cell):
        raise Bad(f"not for a string: {cell!r}")
    return f'"{cell}"'


def number(cell, none=0):
    return str(int(cell, 0)) if cell else str(none)


def version(cell):
    """550.54.14, 1.17: comparable numbers; no version is 0."""
    parts = [int(part) for part in cell.split(".")] if cell else []
    parts += [0] * (3 - len(parts))
    return str((parts[0] * 1000 + parts[1]) * 1000 + parts[2])


def use(cell):
    names = ("compute", "graphics", "video", "profiling", "fabric")
    return str(sum(1 << names.index(name) for name in cell.split("+"))) if cell else "0"


def category(cell):
    """As a bit; 0: none."""
    if cell and cell not in CATEGORIES:
        raise Bad(f"no such category: {cell}")
    return str(1 << CATEGORIES.index(cell)) if cell else "0"


# Name of the array: (type, file, how each cell becomes a member).
ARRAYS = {
    "kDevices": ("Device", "devices.csv", (("name", text), ("major", number), ("class", text))),
    "kEscapes": ("Escape", "nvidia_escapes.csv", (("number", number), ("name", text), ("verb", text), ("structure", text))),
    "kClasses": ("Class", "nvidia_classes.csv",
                 (("class", number), ("name", text), ("kind", text), ("structure", text), ("who", text))),
    "kControls": ("Control", "nvidia_controls.csv",
                  (("command", number), ("name", text), ("kind", text), ("who", text), ("bytes", number), ("use", use))),
    "kLegacy": ("Legacy", "nvidia_legacy.csv",
                (("commands", lambda cell: number(cell.replace("**", "00"))), ("name", text), ("kind", text))),
    "kUvm": ("UvmCall", "nvidia_uvm.csv",
             (("number", number), ("name", text), ("node", lambda cell: "true" if cell == "tools" else "false"),
              ("first", version), ("last", version))),
    "kKfd": ("KfdCall", "kfd.csv", (("number", number), ("name", text), ("structure", text))),
    "kCapabilities": ("Capability", "capabilities.csv", (("name", text), ("category", category))),
    "kDrm": ("DriverCall", "drm.csv", (("driver", text), ("number", number), ("driver", lambda cell: "0"), ("name", text))),
    "kOthers": ("DriverCall", "others.csv", (("driver", text), ("number", number), ("size", number), ("name", text))),
    "kFields": ("Field", "fields.csv",
                (("structure", text), ("field", text), ("offset", number), ("bytes", number),
                 ("size", lambda cell: number(cell if cell.isdigit() else "")), ("first", version), ("last", version))),
}


def when(cell, at):
    match = re.fullmatch(r"([a-z-]+)(?:@(\d+))?(?:=(\d+))?", cell or "always")
    if not match or match[1] not in WHEN:
        raise Bad(f"{at}: when is none of {', '.join(WHEN)}: {cell}")
    return f"When::k{''.join(word.capitalize() for word in match[1].split('-'))}, {match[2] or 0}, {match[3] or 0}"


def meanings():
    """What each call means: (device, call, detail, pattern, when, category)."""
    controls = list(rows("nvidia_controls.csv"))
    for row in rows("categories.csv"):
        if row["category"] not in CATEGORIES:
            raise Bad(f"{row['at']}: no such category: {row['category']}")
        condition, category = when(row["when"], row["at"]), CATEGORIES.index(row["category"])
        detail = row["detail"]
        if detail.startswith("kind:"):
            found = [c["command"] for c in controls if c["kind"] == detail[5:] and not c["use"]]
            if not found:
                raise Bad(f"{row['at']}: there is no control of that kind")
            details = [(int(command, 16), 0) for command in found]
        elif detail.endswith("**"):
            details = [(int(detail[:-2] + "00", 16), 1)]
        else:
            details = [(int(detail or "0", 16), 0)]
        for value, pattern in details:
            yield row["device"], int(row["call"]), value, pattern, condition, category


def main(output):
    out = ["// Generated by agent/decode/tables/generate.py from the tables beside it."]
    for name, (type_, file, cells) in ARRAYS.items():
        made = []
        for row in rows(file):
            try:
                made.append([convert(row[cell]) for cell, convert in cells])
            except (ValueError, Bad) as error:
                raise Bad(f"{row['at']}: {error}") from None
        key = (lambda m: (m[0], m[1])) if type_ == "Field" else (lambda m: (m[0], int(m[1]), int(m[2]))) \
            if type_ == "DriverCall" else (lambda m: int(m[0])) if type_ not in ("Device", "Capability") else (lambda m: m[0])
        made.sort(key=key)
        out.append(f"constexpr {type_} {name}[] = {{")
        out += ["    {" + ", ".join(members) + "}," for members in made]
        out.append("};")
    out.append("constexpr Meaning kMeanings[] = {")
    seen = {}
    for device, call, detail, pattern, condition, category in sorted(meanings()):
        if seen.setdefault((device, call, detail, pattern), category) != category:
            raise Bad(f"categories.csv: {device} call {call} detail {detail:#x} has two categories")
        out.append(f'    {{"{device}", {call}, {detail}, {"true" if pattern else "false"}, {condition}, {category}}},')
    out.append("};")
    pathlib.Path(output).write_text("\n".join(out) + "\n", encoding="ascii")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except Bad as error:
        sys.exit(str(error))
