# SPDX-License-Identifier: Apache-2.0
"""The checks on text and layout; the include table is in includes.py."""

import re
import shutil
import subprocess
import tempfile

from tree import Finding, Skip, Tree

CODE = (".h", ".cc", ".c", ".proto", ".py", ".sh", ".mjs", ".yaml", ".yml")
MAX_LINES = 500


def tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if not path:
        raise Skip(f"no {name} here (Debian package {package})")
    return path


def is_kernel_side(path: str) -> bool:
    return path.startswith("bpf/") or path.endswith((".bpf.c", ".bpf.h")) or path == "tests/vm/gpu/moat_gpu.c"


def abi_padding(tree: Tree) -> list[Finding]:
    """Every struct of bpf/abi is laid out alike by clang for BPF and by the host's C++, with no hole that the text does not show."""
    clang = tool("clang-19", "clang-19")
    findings = []
    system = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=False).stdout.strip()
    for path in tree.named(".h", under=("bpf/abi/",)):
        text = tree.text(path) or ""
        for number, line in enumerate(text.splitlines(), 1):
            if "packed" in line and "attribute" in line:
                findings.append(Finding(path, number, "never packed: 34 instructions to fill one event aligned, 214 packed"))
            if re.match(r"\s+(unsigned|signed|int|short|long|size_t|bool|_Bool|enum)\s[^(]*;", line):
                findings.append(Finding(path, number, "only fixed-width fields (__u8 to __u64, __s8 to __s64, char[])"))
        # A layout is computed, and warned about, only for a struct that something asks the size of.
        structs = re.findall(r"^struct (\w+) \{", text, re.MULTILINE)
        uses = "".join(f"int use_{n}[sizeof(struct {s})];\n" for n, s in enumerate(structs))
        for language, target in (("c", "bpf"), ("c++", None)):
            with tempfile.NamedTemporaryFile("w", suffix=".c", encoding="utf-8") as unit:
                unit.write(f'#include "{tree.root / path}"\n{uses}')
                unit.flush()
                command = [clang, "-x", language, "-fsyntax-only", "-Wall", "-Wextra", "-Wpadded", "-Werror", "-fno-caret-diagnostics"]
                command += ["-target", target, f"-I/usr/include/{system}"] if target else ["-std=c++20"]
                run = subprocess.run([*command, unit.name], capture_output=True, text=True, check=False)
            if run.returncode:
                told = [line for line in run.stderr.splitlines() if ": error:" in line] or run.stderr.splitlines()
                findings += [Finding(path, 0, f"[{language}] {line.split(': error: ')[-1]}") for line in told]
    return findings


def clang_format(tree: Tree, *arguments: str) -> str:
    """Runs it once for each style, over all files of the style; BPF programs are kernel style wherever they are."""
    command = [tool("clang-format-19", "clang-format-19"), *arguments]
    paths = tree.named(".h", ".cc", ".c", under=("agent/", "bpf/", "tests/"))
    told = ""
    for style, kernel_side in ((".clang-format", False), ("bpf/.clang-format", True)):
        some = [path for path in paths if is_kernel_side(path) == kernel_side]
        if some:
            style_at = f"--style=file:{tree.root / style}"
            run = subprocess.run([*command, style_at, *some], cwd=tree.root, capture_output=True, text=True, check=False)
            if run.returncode and ": error:" not in run.stderr:
                raise RuntimeError(f"clang-format ended with {run.returncode}: {run.stderr}")
            told += run.stderr
    return told


def format(tree: Tree) -> list[Finding]:  # pylint: disable=redefined-builtin
    first = {}  # line of the first complaint about each file
    for path, line in re.findall(r"^([^:\n]+):(\d+):\d+: error:", clang_format(tree, "--dry-run", "-Werror"), re.MULTILINE):
        first.setdefault(path, int(line))
    return [Finding(path, line, "not formatted: tests/lint/lint.py --fix format") for path, line in first.items()]


def fix_format(tree: Tree) -> None:
    clang_format(tree, "-i")


def spdx(tree: Tree) -> list[Finding]:
    """bpf/ is GPL-2.0-only, the tests' BPF programs and kernel module too (the kernel asks it of them); all else is Apache-2.0."""
    findings = []
    for path in tree.files:
        if not path.endswith(CODE) and path not in tree.shell_scripts():
            continue
        wanted = "GPL-2.0-only" if is_kernel_side(path) else "Apache-2.0"
        found = re.search(r"SPDX-License-Identifier: (\S+)", "\n".join(tree.lines(path)[:5]))
        if not found:
            findings.append(Finding(path, 1, f"no SPDX-License-Identifier in the first five lines; {wanted} here"))
        elif found.group(1) != wanted:
            findings.append(Finding(path, 1, f"licence {found.group(1)}; {wanted} here"))
    return findings


def size(tree: Tree) -> list[Finding]:
    findings = []
    for path in tree.files:
        count = len(tree.lines(path))
        if count > MAX_LINES and not path.endswith(("LICENSE", ".csv")):
            findings.append(Finding(path, 0, f"{count} lines; {MAX_LINES} is the wall: does it hold one idea?"))
    return findings


# Written in pieces, so that this file does not find itself.
FORBIDDEN = [
    (re.compile(r"(?<![\w.$}])/" + r"(work|home|root)/[\w.-]"), "a path of the machine that it was written on"),
    (re.compile(r"/tmp/" + r"b-\w"), "a path of the machine that it was written on"),
    (
        re.compile(r"\b(registry\." + r"npmjs|deb\." + r"debian|deb\." + r"nodesource|(files\.)?py" + r"pi|proxy\." + r"golang)\.org\b"),
        "the host name of a package registry: the machine's own configuration names it",
    ),
]


def paths(tree: Tree) -> list[Finding]:
    """Nothing of the machine it was written on: neither its folders nor its package mirrors."""
    findings = []
    for path in tree.files:
        for number, line in enumerate(tree.lines(path), 1):
            findings += [Finding(path, number, f"{why}: {pattern.search(line).group(0)}") for pattern, why in FORBIDDEN if pattern.search(line)]
    return findings


def shell(tree: Tree) -> list[Finding]:
    """shellcheck on every bash script."""
    command = [tool("shellcheck", "shellcheck"), "--format=gcc", "--external-sources", "--source-path=SCRIPTDIR"]
    findings = []
    for path in tree.shell_scripts():
        run = subprocess.run([*command, path], cwd=tree.root, capture_output=True, text=True, check=False)
        for line in run.stdout.splitlines():
            file, number, _, message = line.split(":", 3)
            findings.append(Finding(file, int(number), message.strip()))
    return findings


def docs(tree: Tree) -> list[Finding]:
    """What the READMEs name exists: links, files of the project, and the programs, tiers and flags in fenced commands."""
    findings = []
    for path in tree.named(".md"):
        folder = (tree.root / path).parent
        fenced, inside = False, False  # in a block of commands, in any block
        for number, line in enumerate(tree.lines(path), 1):
            if line.startswith("```"):
                inside = not inside
                fenced = inside and line.strip() in ("```", "```sh", "```bash")
                continue
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", line):
                if "://" not in link and not (folder / link).exists():
                    findings.append(Finding(path, number, f"links to {link}, which is not there"))
            command = line.removeprefix("$ ").split("#")[0].split()
            if fenced and command:
                findings += [Finding(path, number, text) for text in command_problems(tree, command)]
    return findings


def command_problems(tree: Tree, command: list[str]) -> list[str]:
    """A command line of a README: [sudo] PROGRAM ARGS, PROGRAM a script of this project or build/bin/NAME."""
    if command[0] == "sudo":
        command = command[1:]
    program, words = command[0], command[1:]
    if program.startswith("build/bin/"):
        name = program.removeprefix("build/bin/")
        cmake = "\n".join(tree.text(p) or "" for p in tree.named("CMakeLists.txt"))
        return [] if re.search(rf"add_executable\({re.escape(name)}\b", cmake) else [f"{program}: no CMakeLists.txt makes it"]
    if not program.startswith(("deploy/", "tests/", ".ci/")):
        return []
    script = tree.root / program
    if not script.is_file() or not script.stat().st_mode & 0o100:
        return [f"{program} is not there, or is no program"]
    usage = subprocess.run([script, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    known = set(re.findall(r"[\w-]+", usage.stdout))
    if usage.returncode:
        return [f"{program} --help exits {usage.returncode}"]
    return [f"{program} --help does not know '{word}'" for word in words if not is_value(word) and word.strip("[].") not in known]


def is_value(word: str) -> bool:
    """As FILE, or moat.tar."""
    return word.isupper() or re.fullmatch(r"[\w-]+\.[a-z]+", word) is not None
