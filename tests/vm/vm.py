#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kernels of Debian, and guests that run a command on them. tests/run.sh vm runs the bpf tier this way on all of them."""

import argparse
import pathlib
import signal
import sys

from archive import KERNELS, Failure, Vanished
from cache import Cache, say
from guest import Options, boot, stop_all

EXAMPLES = """
examples:
  tests/vm/vm.py fetch                                  all kernels, into the cache (1.4 GB); what is there stays as it is
  tests/vm/vm.py fetch --update                         newer packages of the kernels that the cache has
  tests/vm/vm.py boot 6.1 --run 'uname -a'              busybox's shell and programs
  tests/vm/vm.py boot 5.10 --file build/bin/moatd --run './moatd --doctor'
  tests/vm/vm.py boot newest --smp 2 --module sctp --lsm capability,bpf --run 'cat /sys/kernel/security/lsm'

Exit status of boot: the command's own; 124 it hangs, 125 the kernel panicked or the machine stopped; standard error says which.
Of all: 1 something failed, 2 wrong usage, 77 the archive has no such kernel any more and the cache holds none.
A guest has cgroup2, bpf, tracefs, debugfs, securityfs, an ext4 of 512 MiB on /dev/vda at /var/tmp, and brings back /out.
The cache: $MOAT_VM_CACHE, else $XDG_CACHE_HOME/moat-vm, else ~/.cache/moat-vm. Nothing is installed on this machine.
"""


def kernel_name(text: str) -> str:
    if text not in KERNELS:
        raise argparse.ArgumentTypeError(f"no kernel '{text}'; there are: {' '.join(KERNELS)}")
    return text


def file_pair(text: str) -> tuple[str, str]:
    source, _, destination = text.partition(":")
    return source, destination or "/root/" + pathlib.Path(source).name


def port_pair(text: str) -> tuple[int, int]:
    there, _, here = text.partition(":")
    return int(there), int(here)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vm.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True, metavar="fetch|boot|kernels")
    fetch = commands.add_parser("fetch", help="bring kernels and qemu into the cache")
    fetch.add_argument("kernel", nargs="*", type=kernel_name, help=f"default: {' '.join(KERNELS)}")
    fetch.add_argument("--update", action="store_true", help="look for newer packages of the kernels that the cache has")
    commands.add_parser("kernels", help="names, and the exact versions that the cache has")
    guest = commands.add_parser("boot", help="run a command in a guest", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    guest.add_argument("kernel", type=kernel_name, help=f"one of: {' '.join(KERNELS)}")
    guest.add_argument("--run", required=True, metavar="COMMAND", help="for the guest's /bin/sh, as root in /root")
    guest.add_argument("--file", action="append", default=[], type=file_pair, metavar="SRC[:DEST]",
                       help="a file or folder for the guest (default: into /root); programs bring their libraries")  # fmt: skip
    guest.add_argument("--out", type=pathlib.Path, metavar="DIR", help="what the command leaves in /out goes here")
    guest.add_argument("--module", action="append", default=[], metavar="NAME", help="load it, and what it needs, before the command")
    guest.add_argument("--gpu", action="store_true", help="/dev/nvidia0, nvidiactl and nvidia-uvm with nothing behind, counters in /run/moat-gpu; a PCI display and network card")
    guest.add_argument("--outside", action="append", default=[], type=port_pair, metavar="PORT:HERE",
                       help="a network card (10.0.2.15) from which 10.0.2.100:PORT is 127.0.0.1:HERE of this machine, and no more")  # fmt: skip
    guest.add_argument("--lsm", metavar="LIST", help="lsm= of the kernel's command line (default: none, the distribution's list)")
    guest.add_argument("--append", action="append", default=[], metavar="WORD", help="one more word for the kernel's command line")
    guest.add_argument("--smp", type=int, default=1, metavar="N", help="processors (default 1)")
    guest.add_argument("--mem", type=int, default=1024, metavar="MIB", help="memory (default 1024)")
    guest.add_argument("--timeout", type=float, default=120, metavar="S", help="seconds until the guest is said to hang (default 120)")
    guest.add_argument("--icount", action="store_true", help="the guest's clock counts instructions, one to a nanosecond (needs --smp 1)")
    guest.add_argument("--console", type=pathlib.Path, metavar="FILE", help="keep what the kernel said")
    options = parser.parse_args(arguments)
    if options.what == "boot" and options.icount and options.smp != 1:
        parser.error("--icount counts on one processor: leave --smp out")
    return options


def fetch_all(cache: Cache, names: list[str], update: bool) -> int:
    status = 0
    for name, why in cache.fetch(names, update).items():
        vanished = isinstance(why, Vanished)
        say(f"{'skipped: ' if vanished else ''}kernel {name}: {why}")
        status = (status or 77) if vanished else 1
    return status


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    cache = Cache()
    if options.what == "kernels":
        for name, kernel in KERNELS.items():
            image = cache.image(name)
            print(f"{name:<8}{f'{image.release} ({image.version})' if image else f'not in the cache; newest of {kernel.suite}'}")
        return 0
    if options.what == "fetch":
        return fetch_all(cache, options.kernel or list(KERNELS), options.update)
    status = fetch_all(cache, [options.kernel], update=False)
    if status:
        return status
    wanted = Options(options.run, options.file, options.module, options.append, options.lsm, options.smp, options.mem, options.timeout)
    wanted.icount, wanted.gpu, wanted.out, wanted.console = options.icount, options.gpu, options.out, options.console
    wanted.outside = options.outside

    def sink(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    outcome = boot(cache, cache.image(options.kernel), wanted, sink, say)
    say(f"{options.kernel}: {outcome.how}: {outcome.text}, after {outcome.seconds:.1f} s")
    return outcome.code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_all)
    signal.signal(signal.SIGINT, stop_all)
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        say(str(failure))
        sys.exit(1)
