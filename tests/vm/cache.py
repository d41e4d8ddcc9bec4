# SPDX-License-Identifier: Apache-2.0
"""The cache that all checkouts share: tools/ (qemu, busybox, mke2fs) and kernels/NAME/ (vmlinux, modules, headers, kernel.json).

A folder of the cache is complete or absent: it is filled beside its place and renamed. Whoever fills it holds the lock.
"""

import contextlib
import dataclasses
import fcntl
import json
import lzma
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from typing import Callable, Iterator, TextIO

from archive import BUILD_LIBRARIES, BUILD_LIBRARIES_SUITE, KERNELS, TOOLS, Apt, Failure, Vanished, pick_headers, pick_kernel

# Modules for hardware that no guest has; they are four fifths of a kernel package.
DROPPED = ("sound", "drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless", "drivers/infiniband", "drivers/scsi")
DROPPED += ("drivers/staging", "drivers/usb", "drivers/iio", "drivers/hwmon", "drivers/input", "drivers/mtd", "drivers/platform")
STOPPING = threading.Event()  # nothing new is begun, guest.stop_all has been called


def default_folder() -> pathlib.Path:
    named = os.environ.get("MOAT_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(named or base + "/moat-vm").absolute()


def say(text: str) -> None:
    print(f"vm: {text}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Image:
    """A kernel in the cache."""

    name: str
    release: str  # uname -r
    version: str  # of the Debian package
    folder: pathlib.Path
    headers: list[str]  # packages unpacked in headers/; none: the archive had none

    @property
    def vmlinux(self) -> pathlib.Path:
        return self.folder / "vmlinux"

    @property
    def modules(self) -> pathlib.Path:
        return self.folder / "modules"


class Cache:
    def __init__(self, folder: pathlib.Path | None = None):
        self.folder = folder or default_folder()
        self.tools = self.folder / "tools"

    def environment(self) -> dict[str, str]:
        """For the tools: the libraries that this machine lacks lie beside them. Not for programs of this machine."""
        libraries = [str(self.tools / folder) for folder in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}

    def tool(self, path: str) -> str:
        return str(self.tools / path)

    def image(self, name: str) -> Image | None:
        folder = self.folder / "kernels" / name
        try:
            told = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if "headers" not in told:
            return None  # of an older rig
        return Image(name, told["release"], told["version"], folder, told["headers"])

    def has_tools(self) -> bool:
        try:
            return (self.tools / "packages").read_text(encoding="utf-8").split() == TOOLS
        except FileNotFoundError:
            return False

    def unpack_tools(self, apt: Apt, folder: pathlib.Path) -> None:
        apt.unpack(apt.needed(TOOLS), folder)
        apt.unpack([f"{name}/{BUILD_LIBRARIES_SUITE}" for name in BUILD_LIBRARIES], folder / "build-libraries")
        (folder / "packages").write_text("\n".join(TOOLS) + "\n", encoding="utf-8")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run that holds {self.folder}/lock")
                self.wait_for(file)
            yield

    @staticmethod
    def wait_for(lock: TextIO) -> None:
        """Asks again and again: a thread that sleeps in flock would outlive a signal to stop."""
        while not STOPPING.wait(0.5):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise Failure("stopped by a signal")

    def fetch(self, names: list[str], update: bool = False) -> dict[str, Failure]:
        """Brings the tools and the kernels into the cache. What the cache has is not looked up again, unless to update. The
        answer: the kernels that could not be had. Tools that cannot be had are a failure of all."""
        if not update and self.has_tools() and all(self.image(name) for name in names):
            return {}
        missing = {}
        with self.locked():
            for left in self.folder.glob("**/*.partial"):  # of a run that was broken off; the lock says it is nobody's
                if left.is_dir() and not left.is_relative_to(self.folder / "apt"):
                    shutil.rmtree(left, ignore_errors=True)
            apt = Apt(self.folder / "apt", say)
            if not self.has_tools():
                apt.update()
                say(f"fetching {', '.join(TOOLS)} and their libraries")
                self.fill(self.tools, lambda folder: self.unpack_tools(apt, folder))
            for name in names:
                had = self.image(name)
                if had and not update:
                    continue
                try:
                    self.fetch_kernel(apt, name, had)
                except Failure as failure:
                    if had:
                        say(f"kernel {name}: {failure}; the cached {had.release} serves")
                    else:
                        missing[name] = failure
        return missing

    def fetch_kernel(self, apt: Apt, name: str, had: Image | None) -> None:
        kernel = KERNELS[name]
        apt.update()
        listing = apt.listing(kernel.suite)
        offer = pick_kernel(listing, kernel.release)
        if not offer:
            raise Vanished(f"{kernel.suite} has no linux-image {name} any more, and no copy is in {self.folder}")
        release, version, packages = offer
        if had and had.version == version:
            return
        say(f"fetching kernel {name}: {release} ({version}, {kernel.suite})")
        headers = pick_headers(listing, release)
        if not headers:
            say(f"kernel {name}: the archive has no headers for it any more: no module can be built")

        def work(folder: pathlib.Path) -> None:
            self.unpack_kernel(apt, folder, release, version, packages)
            if headers:
                apt.unpack([f"{package}={version}" for package in headers], folder / "headers")
            told = {"release": release, "version": version, "packages": packages, "headers": headers}
            (folder / "kernel.json").write_text(json.dumps(told) + "\n", encoding="utf-8")

        self.fill(self.folder / "kernels" / name, work)

    def unpack_kernel(self, apt: Apt, folder: pathlib.Path, release: str, version: str, packages: list[str]) -> None:
        package = folder / "package"
        apt.unpack([f"{name}={version}" for name in packages], package)
        # From 6.12 modules are under usr/lib; the split packages of 7.x have vmlinuz there too.
        images = [*package.glob("boot/vmlinuz-*"), *package.glob("usr/lib/modules/*/vmlinuz"), *package.glob("lib/modules/*/vmlinuz")]
        modules = [*package.glob("lib/modules/" + release), *package.glob("usr/lib/modules/" + release)]
        if not images or not modules:
            raise Failure(f"{', '.join(packages)} {version}: no vmlinuz or no modules in it; has Debian's layout changed?")
        (folder / "vmlinux").write_bytes(self.extract_vmlinux(images[0].read_bytes()))
        for part in DROPPED:
            shutil.rmtree(modules[0] / "kernel" / part, ignore_errors=True)
        modules[0].rename(folder / "modules")
        shutil.rmtree(package)

    def extract_vmlinux(self, image: bytes) -> bytes:
        """The ELF inside a bzImage: qemu starts it through its PVH entry in half the time that the decompressor takes. The setup
        header says where it is (boot protocol 2.08: payload_offset 0x248, payload_length 0x24c; sectors of setup code 0x1f1)."""
        offset, length = struct.unpack_from("<II", image, 0x248)
        start = ((image[0x1F1] or 4) + 1) * 512 + offset
        payload = image[start : start + length]
        if payload.startswith(b"\x1f\x8b"):
            elf = zlib.decompressobj(31).decompress(payload)
        elif payload.startswith(b"\xfd7zXZ\0"):
            elf = lzma.LZMADecompressor().decompress(payload)
        else:  # zstd, whose last four bytes here are the length, not zstd's
            command = [self.tool("usr/bin/zstd"), "-dcq"]
            elf = subprocess.run(command, input=payload[:-4], env=self.environment(), capture_output=True, check=False).stdout
        if not elf.startswith(b"\x7fELF"):
            raise Failure(f"no ELF in this vmlinuz, its payload begins with {payload[:6].hex()}; a compression that cache.py does not know?")
        return elf

    def fill(self, place: pathlib.Path, work: Callable[[pathlib.Path], None]) -> None:
        partial = place.with_name(place.name + ".partial")
        partial.mkdir(parents=True)
        try:
            work(partial)
            if place.exists():
                shutil.rmtree(place)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
