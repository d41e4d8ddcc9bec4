# SPDX-License-Identifier: Apache-2.0
"""Who may include whom. A folder not named here may be included by nobody, so a new folder needs a row."""

import posixpath
import re

from tree import Finding, Tree

# Folder -> folders it may include, beside itself. "proto/x" is generated from proto/x, "skeleton" from bpf/.
TABLE = {
    "agent/base": [],
    "agent/event": ["agent/base"],
    "agent/config": ["agent/base"],
    "agent/decode": ["agent/base", "agent/event", "bpf/abi"],
    "agent/policy": ["agent/base", "agent/event", "agent/config", "bpf/abi"],
    "agent/probe": ["agent/base", "agent/config", "bpf/abi", "skeleton", "agent/policy/image.h", "agent/decode/tables/tables.h"],
    "agent/enrich": ["agent/base", "agent/event", "agent/config", "proto/cri"],
    "agent/detect": ["agent/base", "agent/event", "agent/config"],
    "agent/store": ["agent/base", "agent/event", "agent/config"],
    "agent/report": ["agent/base", "agent/event", "agent/store"],
    "agent/sink": ["agent/base", "agent/event", "agent/config", "proto/otlp"],
    "agent/metrics": ["agent/base", "agent/event", "agent/config"],
    "agent/api": ["agent/base", "agent/event", "agent/config", "agent/store", "agent/report", "agent/policy", "proto"],
    "agent/app": ["agent/"],
    "agent/cli": ["agent/base", "proto"],
    "bpf/abi": [],
    "bpf/kernel": ["bpf/abi"],
    "bpf/lib": ["bpf/kernel", "bpf/abi"],
    "bpf/": ["bpf/lib", "bpf/kernel", "bpf/abi"],  # a domain
    "tests/": ["agent/", "bpf/", "tests/", "proto", "skeleton"],
}

# Headers of others that only some folders may see: libbpf stays in probe, protobuf at the edge, slow ones in few files.
THIRD_PARTY = {
    "bpf/": ["agent/probe", "bpf/", "tests/"],
    "grpcpp/": ["agent/api", "agent/cli", "agent/enrich", "agent/sink", "tests/"],
    "grpc/": ["agent/api", "agent/cli", "agent/enrich", "agent/sink", "tests/"],
    "google/protobuf/": ["agent/api", "agent/cli", "agent/enrich", "tests/"],
    "yaml-cpp/": ["agent/config", "agent/policy", "tests/"],
    "CLI/": ["agent/app", "agent/cli", "tests/"],
    "nlohmann/": ["agent/cli", "agent/enrich", "agent/sink", "agent/report", "tests/"],
    "openssl/": ["agent/api", "agent/cli", "agent/detect", "agent/sink", "tests/"],  # TLS with certificates of one's own; digests
    "httplib.h": ["agent/enrich", "agent/sink", "tests/"],
    "prometheus/": ["agent/metrics", "tests/"],
    "sqlite3.h": ["agent/store", "tests/"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def row_of(folder: str) -> str | None:
    """The row for a folder: its own, or the one that ends in "/" and contains it."""
    parts = folder.split("/")
    for key in ("/".join(parts[:2]), parts[0] + "/"):
        if key in TABLE:
            return key
    return None


def target_of(tree: Tree, path: str, name: str) -> str | None:
    """What an include means, as a path below the root, "proto/..." or "skeleton"; None: a system header."""
    if name.endswith(".skel.h"):
        return "skeleton"
    if name.endswith((".pb.h", ".grpc.pb.h")):
        return "proto/" + name
    for candidate in (posixpath.normpath(posixpath.join(posixpath.dirname(path), name)), posixpath.normpath(name)):
        if (tree.root / candidate).is_file():
            return candidate
    return None


def allowed(row: str, path: str, target: str) -> bool:
    own = "/".join(path.split("/")[:2])
    if target.startswith(own + "/"):
        return True
    return any(target == to or target.startswith(to if to.endswith("/") else to + "/") for to in TABLE[row])


def check(tree: Tree) -> list[Finding]:
    findings = []
    for path in tree.named(".h", ".cc", ".c", under=("agent/", "bpf/", "tests/")):
        row = row_of(posixpath.dirname(path))
        if row is None:
            findings.append(Finding(path, 0, "this folder has no row in tests/lint/includes.py"))
            continue
        for number, line in enumerate(tree.lines(path), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            quoted, name = found.group(1) == '"', found.group(2)
            target = target_of(tree, path, name)
            if target is not None:
                if not allowed(row, path, target):
                    findings.append(Finding(path, number, f'{row} may not include "{name}" (DESIGN 3; tests/lint/includes.py)'))
                continue
            if quoted and not path.startswith("tests/"):
                findings.append(Finding(path, number, f'"{name}" is no file of this project: system headers go in <>'))
            if row == "bpf/abi" and name != "linux/types.h":
                findings.append(Finding(path, number, f"bpf/abi may include <linux/types.h> only, not <{name}>"))
            elif path.startswith("bpf/") and not name.startswith(("linux/", "bpf/", "asm/")):
                findings.append(Finding(path, number, f"bpf/ may include the kernel's and libbpf's headers only, not <{name}>"))
            for prefix, users in THIRD_PARTY.items():
                if name.startswith(prefix) and not any((path + "/").startswith(u if u.endswith("/") else u + "/") for u in users):
                    findings.append(Finding(path, number, f"<{name}> belongs to {', '.join(users)}"))
    return findings
