# SPDX-License-Identifier: Apache-2.0
"""The files that lint looks at, and how a finding is told."""

import dataclasses
import functools
import pathlib
import subprocess

SKIPPED_FOLDERS = {".git", "build", "node_modules", "__pycache__"}


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int  # 0: the whole file
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


class Skip(Exception):
    """The check cannot run on this machine; the text says why."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: the caches below are of one look at the files
class Tree:
    root: pathlib.Path

    @functools.cached_property
    def files(self) -> list[str]:
        """Paths below the root: what git tracks or would track; without git, everything but build output."""
        git = subprocess.run(
            ["git", "-c", f"safe.directory={self.root}", "-C", str(self.root), "ls-files", "-z", "-co", "--exclude-standard"],
            capture_output=True,
            check=False,
        )
        if git.returncode == 0 and (self.root / ".git").exists():
            paths = [path.decode() for path in git.stdout.split(b"\0") if path]
        else:
            paths = [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]
        return sorted(p for p in set(paths) if not SKIPPED_FOLDERS & set(p.split("/")) and (self.root / p).is_file())

    def named(self, *suffixes: str, under: tuple[str, ...] = ("",)) -> list[str]:
        return [path for path in self.files if path.endswith(suffixes) and path.startswith(under)]

    @functools.cache
    def text(self, path: str) -> str | None:
        """None: not a text file."""
        data = (self.root / path).read_bytes()
        return None if b"\0" in data else data.decode("utf-8", errors="replace")

    def lines(self, path: str) -> list[str]:
        return (self.text(path) or "").splitlines()

    def shell_scripts(self) -> list[str]:
        return [path for path in self.files if self.lines(path)[:1] and "bash" in self.lines(path)[0] and self.lines(path)[0].startswith("#!")]
