# SPDX-License-Identifier: Apache-2.0
"""What a guest starts from: an initramfs with busybox, init.sh, kernel modules, and files of this machine with their libraries."""

import lzma
import os
import pathlib
import re
import stat
import subprocess
from typing import BinaryIO

from archive import Failure
from cache import Image

# What a module asks the kernel's crypto for by name is no dependency in its file, and no modprobe is there to be called.
SOFT = {"ext4": ["crc32c_generic"], "sctp": ["crc32c_generic"]}


class Modules:
    """A kernel's modules: which there are, which are built in, what each needs before it. Needs no depmod: a module names its
    dependencies in its .modinfo section."""

    def __init__(self, image: Image):
        self.files = {self.canonical(path.name): path for path in image.modules.glob("**/*.ko*")}
        builtin = image.modules / "modules.builtin"
        self.builtin = {self.canonical(os.path.basename(line)) for line in builtin.read_text(encoding="utf-8").splitlines()}

    @staticmethod
    def canonical(name: str) -> str:
        return name.split(".ko")[0].replace("-", "_")

    def content(self, name: str) -> bytes:
        data = self.files[name].read_bytes()
        return lzma.decompress(data) if self.files[name].suffix == ".xz" else data

    def load_order(self, names: list[str]) -> tuple[dict[str, bytes], list[str]]:
        """({module: content} in the order to load, names that this kernel has neither built in nor as a module)."""
        order: dict[str, bytes] = {}
        absent = []

        def add(name: str) -> bool:
            if name in order or name in self.builtin:
                return True
            if name not in self.files:
                return False
            content = self.content(name)
            needed = re.search(rb"\0depends=([^\0]*)\0", content)
            for other in (needed.group(1).decode().split(",") if needed else []) + SOFT.get(name, []):
                if other:
                    add(self.canonical(other))
            order[name] = content
            return True

        for name in names:
            if not add(self.canonical(name)):
                absent.append(name)
        return order, absent


def libraries(program: pathlib.Path) -> list[str]:
    """The shared libraries and the loader of a program of this machine; none for a script or a static program."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    if "not found" in told.stdout:
        raise Failure(f"{program}: a library is missing here: {re.search(r'.*not found', told.stdout).group(0).strip()}")
    return re.findall(r"(?:=> |^\t)(/\S+)", told.stdout, re.MULTILINE) if told.returncode == 0 else []


class Initramfs:
    """A cpio archive (newc), written as it grows. /bin, /sbin, /lib and /lib64 are links into /usr, as on Debian."""

    MERGED = ("bin", "sbin", "lib", "lib64")

    def __init__(self, file: BinaryIO):
        self.out = file
        self.known: set[str] = set()
        for name in self.MERGED:
            self.folder("usr/" + name)
        for name in self.MERGED:
            self.entry(name, stat.S_IFLNK | 0o777, f"usr/{name}".encode())

    def place(self, path: str) -> str:
        path = os.path.normpath(path).lstrip("/")
        return "usr/" + path if path.split("/")[0] in self.MERGED else path

    def entry(self, name: str, mode: int, content: bytes = b"") -> None:
        self.known.add(name)
        number, links = len(self.known), 2 if stat.S_ISDIR(mode) else 1
        fields = [number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        self.out.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))

    def folder(self, path: str) -> None:
        if path and path not in self.known:
            self.folder(os.path.dirname(path))
            self.entry(path, stat.S_IFDIR | 0o755)

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        path = self.place(path)
        if path not in self.known:
            self.folder(os.path.dirname(path))
            self.entry(path, stat.S_IFREG | mode, content)

    def add(self, source: pathlib.Path, path: str) -> None:
        """A file or a folder of this machine; programs bring their libraries."""
        if source.is_dir():
            for below in sorted(source.iterdir()):
                self.add(below, f"{path}/{below.name}")
            return
        try:
            content = source.read_bytes()
        except OSError as error:
            raise Failure(f"--file {source}: {error.strerror}") from error
        self.write(path, content, stat.S_IMODE(source.stat().st_mode))
        if content.startswith(b"\x7fELF"):
            for library in libraries(source):
                self.write(library, pathlib.Path(library).read_bytes(), 0o755)

    def close(self) -> None:
        self.entry("TRAILER!!!", 0)
