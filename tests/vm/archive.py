# SPDX-License-Identifier: Apache-2.0
"""What the rig takes from the Debian archive: which packages, from which suite, and how they get into a folder.

Nothing is installed: apt works with a configuration, lists and cache of the rig's own. The archive's host is the one that this
machine's own sources name; a word of it stands nowhere in the project.
"""

import dataclasses
import pathlib
import re
import subprocess
import time
from typing import Callable


class Failure(Exception):
    """The text says what failed and what to do about it."""


class Vanished(Failure):
    """The archive no longer has it: nothing to be mended here."""


class Unreachable(Failure):
    """The archive does not answer."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    name: str
    suite: str
    release: str  # pattern of the release, as uname -r has it without the flavour


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("5.10", "bullseye-security", r"5\.10\.\d.*"),
        Kernel("6.1", "bookworm-security", r"6\.1\.\d.*"),
        Kernel("6.12", "trixie-security", r"6\.12\.\d.*"),
        Kernel("6.18", "trixie-backports", r"6\.18\.\d.*"),
        Kernel("newest", "trixie-backports", r"([7-9]|\d\d+)\.\d.*"),
    )
}
# qemu's data packages are named although it depends on them: where qemu is installed apt would leave them out.
TOOLS = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "busybox-static", "zstd", "e2fsprogs", "xfsprogs", "make"]
# The tools that build modules for a kernel are programs of its own release, and want that release's C library.
BUILD_LIBRARIES_SUITE = "trixie"
BUILD_LIBRARIES = ["libc6", "libelf1t64", "zlib1g", "libzstd1", "libxxhash0", "libssl3t64"]


@dataclasses.dataclass(frozen=True)
class Source:
    uri: str
    suite: str
    signed_by: str  # may be empty


def parse_sources(text: str) -> list[Source]:
    """Both formats of apt: stanzas (`URIs: ...`, deb822) and lines (`deb [options] URI SUITE COMPONENT...`)."""
    text = re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE)
    found = []
    for line in text.splitlines():
        if match := re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)", line):
            signed = re.search(r"signed-by=(\S+)", match.group(1) or "")
            found.append(Source(match.group(2).rstrip("/"), match.group(3), signed.group(1) if signed else ""))
    for stanza in re.split(r"\n\s*\n", text):
        fields = {key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)}
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        signed = fields.get("signed-by", [])
        for uri in fields.get("uris", []):
            # A key that is spelt out in place of a path is many words.
            found += [Source(uri.rstrip("/"), suite, signed[0] if len(signed) == 1 else "") for suite in fields.get("suites", [])]
    return found


def archive_of(sources: list[Source], codename: str) -> tuple[Source, Source]:
    """The main archive and the security archive that this machine uses. Without the second: it stands beside the first."""
    main = [source for source in sources if source.suite == codename]
    security = [source for source in sources if source.suite == codename + "-security"]
    if not main:
        raise Failure(f"no apt source of Debian {codename} under /etc/apt: the rig takes the archive's address from there")
    return main[0], (security or [dataclasses.replace(main[0], uri=main[0].uri + "-security")])[0]


def pick_kernel(listing: str, pattern: str) -> tuple[str, str, list[str]] | None:
    """(release, version, packages) of the newest kernel in the text of a Packages file; None when there is none.

    From 7.x an image is three packages: linux-binary-*, linux-modules-* and, with modules.builtin, linux-base-*. Only the plain
    amd64 flavour, with no -cloud or -rt.
    """
    offers = []
    for stanza in listing.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version): (.*)$", stanza, re.MULTILINE))
        match = re.fullmatch(r"linux-(image|binary)-(" + pattern + r")-amd64", fields.get("Package", ""))
        if match and not re.search(r"-(cloud|rt)$", match.group(2)):
            split = match.group(1) == "binary"
            packages = [fields["Package"]] + ([f"linux-{part}-{match.group(2)}-amd64" for part in ("modules", "base")] if split else [])
            # Numbers compare as numbers: 6.1.0-9 is older than 6.1.0-56.
            key = ([int(number) for number in re.findall(r"\d+", fields["Version"])], split)
            offers.append((key, match.group(2) + "-amd64", fields["Version"], packages))
    return max(offers)[1:] if offers else None


def pick_headers(listing: str, release: str) -> list[str]:
    """The packages to build a module for a kernel of the same listing; none when the archive has dropped them, as it does before
    it drops the kernel."""
    for stanza in listing.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Depends): (.*)$", stanza, re.MULTILINE))
        if fields.get("Package") == "linux-headers-" + release:
            wanted = re.findall(r"(?:^|, )(linux-headers-[^ ,]+-common|linux-kbuild-[^ ,]+)", fields.get("Depends", ""))
            return [fields["Package"], *wanted]
    return []


class Apt:
    """apt with everything of its own below one folder. Knows the suites of the matrix and the machine's own."""

    def __init__(self, folder: pathlib.Path, say: Callable[[str], None]):
        self.folder, self.say = folder, say
        release = pathlib.Path("/etc/os-release").read_text(encoding="utf-8")
        codename = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
        self.codename = codename.group(1) if codename else "unknown"
        self.updated, self.trouble = False, ""

    def configure(self) -> None:
        etc = pathlib.Path("/etc/apt")
        files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list")), *sorted((etc / "sources.list.d").glob("*.sources"))]
        own = [source for file in files if file.is_file() for source in parse_sources(file.read_text(encoding="utf-8") + "\n")]
        main, security = archive_of(own, self.codename)
        suites = sorted({self.codename, self.codename + "-security", BUILD_LIBRARIES_SUITE, *(kernel.suite for kernel in KERNELS.values())})
        lines = []
        for suite in suites:
            source = security if suite.endswith("-security") else main
            # The key of one suite does not sign the others: this file of Debian's holds all.
            lines.append(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {source.uri} {suite} main\n")
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text("".join(lines), encoding="utf-8")
        # Sandbox::User: apt would drop to _apt, who cannot write here. Valid-Until: old suites are no longer signed anew.
        (self.folder / "apt.conf").write_text(
            f'Dir::Etc::SourceList "{self.folder}/sources.list"; Dir::Etc::SourceParts "/dev/null";\n'
            f'Dir::State::Lists "{self.folder}/lists"; Dir::Cache "{self.folder}/cache";\n'
            f'APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false"; Acquire::Retries "3";\n'
            f'APT::Default-Release "{self.codename}"; APT::Architecture "amd64";\n',
            encoding="utf-8",
        )

    def run(self, *command: str, tries: int = 1, cwd: pathlib.Path | None = None) -> str:
        """Standard output. Downloads fail now and then ("Handler silently failed") and succeed when asked again."""
        for attempt in range(1, tries + 1):
            environment = {"APT_CONFIG": str(self.folder / "apt.conf"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
            done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode == 0:
                return done.stdout
            if attempt < tries:
                self.say(f"{' '.join(command[:2])} failed, attempt {attempt} of {tries}: {(done.stderr.splitlines() or ['?'])[-1]}")
                time.sleep(3 * attempt)
        complaint = "\n".join(done.stderr.splitlines()[-5:])
        failure = Unreachable if tries > 1 else Failure
        raise failure(f"{' '.join(command)[:120]}: {complaint}" + ("\nIs the network up?" if tries > 1 else ""))

    def update(self) -> None:
        """Once. One suite that is gone is no reason to do without the others: what it has is found missing when it is looked for."""
        if not self.updated:
            self.configure()
            self.say("fetching the package lists")
            try:
                self.run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any", tries=4)
            except Unreachable as failure:
                self.trouble = str(failure)
                self.say(self.trouble)
            self.updated = True

    def listing(self, suite: str) -> str:
        """The text of a suite's Packages file."""
        targets = self.run("apt-get", "indextargets", "--format", "$(SUITE) $(CODENAME) $(FILENAME)", "Created-By: Packages")
        files = [line.split()[2] for line in targets.splitlines() if suite in line.split()[:2]]
        if not files:
            raise Unreachable(f"no package list of {suite}: {self.trouble or 'the archive gave none'}")
        return "\n\n".join(self.run("/usr/lib/apt/apt-helper", "cat-file", file) for file in files)

    def needed(self, packages: list[str]) -> list[str]:
        """The packages themselves, and what they depend on that this machine lacks."""
        plan = self.run("apt-get", "install", "-s", "-q", "--no-install-recommends", *packages)
        return sorted({*packages, *re.findall(r"^Inst (\S+)", plan, re.MULTILINE)})

    def unpack(self, packages: list[str], into: pathlib.Path) -> None:
        """Downloads NAME, NAME=VERSION or NAME/SUITE and unpacks below a folder. No maintainer script runs."""
        debs = self.folder / "debs"
        for old in debs.glob("*.deb"):
            old.unlink()
        debs.mkdir(exist_ok=True)
        self.run("apt-get", "download", "-q", *packages, tries=4, cwd=debs)
        found = sorted(debs.glob("*.deb"))
        if len(found) != len(packages):
            raise Failure(f"asked for {len(packages)} packages, got {len(found)}: {', '.join(packages)}")
        for deb in found:
            self.run("dpkg-deb", "-x", str(deb), str(into))
            deb.unlink()
