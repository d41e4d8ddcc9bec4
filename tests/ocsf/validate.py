#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds OCSF records, a JSON object a line, to the schema beside this file (OCSF 1.8.0 as its own compiler writes it, Apache-2.0).

Prints "LINE: CLASS: what is wrong" for each mistake, last how many records of each class were read; exit 1 when there was a mistake or no
record. Checked: required and unknown attributes (those of a profile count when metadata.profiles names it), types, ranges, regular
expressions, enumerations, the captions that go with them, at_least_one and just_one, class, category, activity and type numbers."""

import argparse
import collections
import functools
import json
import lzma
import pathlib
import re
import sys

SCHEMA = pathlib.Path(__file__).resolve().parent / "schema-1.8.0.json.xz"
LIMITS = {"integer_t": 2**31, "long_t": 2**63}


@functools.cache
def schema() -> dict:
    with lzma.open(SCHEMA, "rt", encoding="utf-8") as file:
        return json.load(file)


@functools.cache
def classes() -> dict:
    return {found["uid"]: found for found in schema()["classes"].values()}


def profiles_of(attribute: dict) -> list:
    found = attribute.get("profiles") or attribute.get("profile") or []
    return found if isinstance(found, list) else [found]


class Record:
    """One record and what is wrong with it."""

    def __init__(self, event: object) -> None:
        self.wrong: list[str] = []
        self.profiles: list = []
        if not isinstance(event, dict) or event.get("class_uid") not in classes():
            self.name = "?"
            self.wrong.append("no object, or of no class that OCSF has")
            return
        self.event = event
        self.of = classes()[event["class_uid"]]
        self.name = str(event["class_uid"])
        metadata = event.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        self.profiles = metadata.get("profiles", [])
        self.object(event, self.of, "")
        self.whole(metadata)

    def whole(self, metadata: dict) -> None:
        """What no attribute tells alone."""
        event = self.event
        if event.get("type_uid") != event["class_uid"] * 100 + event.get("activity_id", -1):
            self.wrong.append("type_uid: not class_uid * 100 + activity_id")
        if metadata.get("version") != schema()["version"]:
            self.wrong.append(f"metadata.version: not {schema()['version']}")
        for profile in self.profiles:
            if profile not in (self.of.get("profiles") or []):
                self.wrong.append(f"metadata.profiles: class {self.name} has no profile {profile}")
        if event.get("class_name") not in (None, self.of["caption"]):
            self.wrong.append(f"class_name: not {self.of['caption']}")

    def object(self, value: dict, kind: dict, path: str) -> None:
        attributes = kind["attributes"]
        for name, attribute in attributes.items():
            needs = profiles_of(attribute)
            if attribute.get("requirement") == "required" and name not in value and (not needs or set(needs) & set(self.profiles)):
                self.wrong.append(f"{path}{name}: is missing")
        for name, one in value.items():
            attribute = attributes.get(name)
            if attribute is None:
                self.wrong.append(f"{path}{name}: there is no such attribute")
                continue
            needs = profiles_of(attribute)
            if needs and not set(needs) & set(self.profiles):
                self.wrong.append(f"{path}{name}: is of profile {', '.join(needs)}, which metadata.profiles does not name")
            self.attribute(one, attribute, path + name)
            self.caption(value, name, attribute, path)
        constraints = kind.get("constraints") or {}
        if "at_least_one" in constraints and not any(name in value for name in constraints["at_least_one"]):
            self.wrong.append(f"{path or '.'}: has none of {', '.join(constraints['at_least_one'])}")
        if "just_one" in constraints and sum(name in value for name in constraints["just_one"]) != 1:
            self.wrong.append(f"{path or '.'}: has not just one of {', '.join(constraints['just_one'])}")

    def caption(self, value: dict, name: str, attribute: dict, path: str) -> None:
        """activity_name goes with activity_id; "Other" (99) has words of its own."""
        sibling, enum = attribute.get("sibling"), attribute.get("enum")
        key = str(value[name])
        if sibling in value and enum and key in enum and key != "99" and name != "type_uid" and value[sibling] != enum[key]["caption"]:
            self.wrong.append(f"{path}{sibling}: is {value[sibling]!r}, and {name} {key} is {enum[key]['caption']!r}")

    def attribute(self, value: object, attribute: dict, path: str) -> None:
        if attribute.get("is_array"):
            if not isinstance(value, list):
                self.wrong.append(f"{path}: no list")
                return
            for index, one in enumerate(value):
                self.attribute(one, {**attribute, "is_array": False}, f"{path}[{index}]")
            return
        if attribute.get("object_type"):
            if not isinstance(value, dict):
                self.wrong.append(f"{path}: no object")
            elif attribute["object_type"] != "object":  # "object" is anything
                self.object(value, schema()["objects"][attribute["object_type"]], path + ".")
            return
        self.scalar(value, attribute.get("type"), path)
        if "enum" in attribute and str(value) not in attribute["enum"]:
            self.wrong.append(f"{path}: {value!r} is not among its values")

    def scalar(self, value: object, name: str, path: str) -> None:
        kind = schema()["dictionary"]["types"]["attributes"].get(name, {})
        base = kind.get("type", name)
        if base in LIMITS:
            limit = LIMITS[base]
            if not isinstance(value, int) or isinstance(value, bool):
                self.wrong.append(f"{path}: no integer")
                return
            low, high = kind.get("range", (-limit, limit - 1))
            if not low <= value <= high:
                self.wrong.append(f"{path}: {value} is not from {low} to {high}")
        elif base == "boolean_t" and not isinstance(value, bool):
            self.wrong.append(f"{path}: neither true nor false")
        elif base == "float_t" and not isinstance(value, (int, float)):
            self.wrong.append(f"{path}: no number")
        elif base == "string_t":
            if not isinstance(value, str):
                self.wrong.append(f"{path}: no text")
                return
            if len(value) > kind.get("max_len", len(value)):
                self.wrong.append(f"{path}: longer than {kind['max_len']}")
            if "regex" in kind and not re.search(kind["regex"], value):
                self.wrong.append(f"{path}: {value!r} is no {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, help="- for standard input")
    arguments = parser.parse_args()
    data = sys.stdin.buffer.read() if str(arguments.file) == "-" else arguments.file.read_bytes()
    seen: collections.Counter = collections.Counter()
    mistakes = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line:
            continue
        try:
            record = Record(json.loads(line.decode("utf-8")))
        except ValueError as error:
            print(f"{number}: ?: no JSON: {error}")
            mistakes += 1
            continue
        seen[record.name] += 1
        mistakes += len(record.wrong)
        for wrong in record.wrong:
            print(f"{number}: {record.name}: {wrong}")
    print(", ".join(f"{name}: {count}" for name, count in sorted(seen.items())) or "no record")
    return 1 if mistakes or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
