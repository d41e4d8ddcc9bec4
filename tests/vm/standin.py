# SPDX-License-Identifier: Apache-2.0
"""The stand-in GPU, tests/vm/gpu, made for a kernel: its module where the kernel's headers are to be had, else its CUSE program.

In the guest either is the same to a test: /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm, and counters in /run/moat-gpu. What is
built is cached by the kernel's release and the source.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from archive import Failure
from cache import Cache, Image, say

SOURCE = pathlib.Path(__file__).resolve().parent / "gpu"


def digest(*files: pathlib.Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def newest_libc(program: bytes) -> int:
    """The N of the newest GLIBC_2.N that it wants; 0: none, it is no program or a static one."""
    return max((int(n) for n in re.findall(rb"GLIBC_2\.(\d+)\0", program)), default=0) if program.startswith(b"\x7fELF") else 0


def relocate(headers: pathlib.Path) -> None:
    """Debian's headers name each other below /usr/src: here they are elsewhere. Programs among them that want a newer C library
    than this machine's are run by the loader that the cache has."""
    for makefile in headers.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(re.sub(r"/\S*(?=/linux-headers-)", str(headers / "usr/src"), text), encoding="utf-8")
    here = int(os.confstr("CS_GNU_LIBC_VERSION").rpartition(".")[2])
    for file in headers.glob("usr/lib/linux-kbuild-*/**/*"):
        if file.suffix != ".program" and file.is_file() and os.access(file, os.X_OK) and newest_libc(file.read_bytes()) > here:
            file.rename(file.with_name(file.name + ".program"))
            loader = '"$MOAT_BUILD_LIBRARIES/ld-linux-x86-64.so.2" --library-path "$MOAT_BUILD_LIBRARIES"'
            file.write_text(f'#!/bin/sh\nexec {loader} "$0.program" "$@"\n', encoding="utf-8")
            file.chmod(0o755)


def build_module(cache: Cache, image: Image, out: pathlib.Path) -> None:
    relocate(image.folder / "headers")
    with tempfile.TemporaryDirectory(prefix="moat-gpu-") as folder:
        for name in ("moat_gpu.c", "Kbuild"):
            shutil.copy(SOURCE / name, folder)
        # The compiler is this machine's and not the kernel's own: gcc 12 has no -fmin-function-alignment, which kernels from 6.9 are
        # built with and a module does not need. BTF_MODULES: no pahole here.
        command = [cache.tool("usr/bin/make"), "-s", "-C", str(image.folder / "headers/usr/src" / f"linux-headers-{image.release}"), f"M={folder}"]
        command += ["CC=gcc", "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
        libraries = {"MOAT_BUILD_LIBRARIES": cache.tool("build-libraries/usr/lib/x86_64-linux-gnu")}
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "KBUILD", "CFLAGS"))}
        done = subprocess.run(command, env={**environment, **libraries}, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not (pathlib.Path(folder) / "moat_gpu.ko").exists():
            complaint = "\n".join(line for line in done.stderr.splitlines() if "rror" in line) or done.stderr[-500:]
            raise Failure(f"tests/vm/gpu does not build for {image.release}: {complaint}")
        # Renamed into its place, so that no one finds half of it; strip: nine tenths are debug information.
        subprocess.run(["strip", "--strip-debug", f"{folder}/moat_gpu.ko"], check=True)
        shutil.copy(f"{folder}/moat_gpu.ko", out.with_suffix(".partial"))
        out.with_suffix(".partial").rename(out)


def build_cuse(out: pathlib.Path) -> None:
    partial = out.with_suffix(".partial")
    command = ["g++", "-std=c++20", "-O2", "-static", "-o", str(partial), str(SOURCE / "cuse_gpu.cc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"tests/vm/gpu/cuse_gpu.cc does not build: {done.stderr[:500]}")
    partial.rename(out)


def make(cache: Cache, image: Image) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """(module, None) or (None, CUSE program)."""
    folder = cache.folder / "gpu"
    with cache.locked():
        folder.mkdir(exist_ok=True)
        if image.headers:
            module = folder / f"{image.release}-{digest(SOURCE / 'moat_gpu.c', SOURCE / 'Kbuild')}.ko"
            if not module.exists():
                say(f"building the stand-in GPU for {image.release}")
                build_module(cache, image, module)
            return module, None
        program = folder / f"cuse-{digest(SOURCE / 'cuse_gpu.cc')}"
        if not program.exists():
            say("building the stand-in GPU as a CUSE program")
            build_cuse(program)
        return None, program
