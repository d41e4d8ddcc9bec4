#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A day on a GPU node, in one run. In a guest (tests/vm) Debian's containerd runs the built image as a pod, as the DaemonSet of the overlay mtls asks
for it; a serving pod reads weights and serves; a second pod copies them, tries to send the copy out, attaches a debugger to another process on
the stand-in GPU, and touches a canary. Its sends and its calls must be denied, the rest of the node must go on, and what moat finds must be at a
real syslog-ng outside of the guest, over TLS, within two seconds: each time is from before the act (of the copy: from its end) to the record's
arrival, by the clock of this machine.

usage: day.py PROGRAMS [KERNEL]   (build/bin, and a kernel of tests/vm/vm.py; default 6.12)
Real: kernel, containerd, runc, image, capabilities, mounts, seccomp profile, moatd, policies, TLS, syslog-ng. Not: a kubelet, whose part is played
by node.py, and the GPU, a module that takes every call. "outside" for the thief is an address of the guest itself, which would answer."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
for folder in ("tests/vm", "tests/e2e/node", "tests/e2e/containerd"):
    sys.path.insert(0, str(ROOT / folder))
sys.dont_write_bytecode = True

WITHIN = 2.0  # seconds
POD = "research/notebook-0"
NODE = "node-7"  # the pod's own host name is another
# What must be found: step of the thief's, kind, and words that the record must have as an asset, device or peer, and as a technique.
EXPECTED = [
    ("copy", "weight-collection", ["models"], "AML.T0035"),
    ("send", "policy-denial", ["models", "203.0.113.9"], "AML.T0025"),
    ("gpu", "policy-denial", ["/dev/nvidiactl"], "T1496"),
    ("canary", "canary-touched", ["bait"], "AML.T0007"),
]
SYSLOG_NG = """@version: 3.38
options {{ stats-freq(0); keep-hostname(yes); }};
source s {{ syslog(ip("127.0.0.1") port({port}) transport("tls")
  tls(key-file("{tls}/siem.key") cert-file("{tls}/siem.crt") ca-file("{tls}/ca.crt") peer-verify(required-trusted)
      ssl-options(no-sslv2,no-sslv3,no-tlsv1,no-tlsv11))); }};
destination d {{ file("{out}" template("${{MESSAGE}}\\n")); }};
log {{ source(s); destination(d); flags(flow-control); }};
"""
CERTIFICATES = {
    "node": "subjectAltName=DNS:node.example,IP:127.0.0.1",
    "siem": "subjectAltName=DNS:siem.example",
    "viewer": "subjectAltName=URI:spiffe://cluster.local/ns/moat/sa/viewer",
}
BEGAN = time.monotonic()


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(77)


def say(text: str):
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", flush=True)


def make_certificates(folder: pathlib.Path):
    def make(name: str, extension: str, ca: bool):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt", "-addext", extension]
        if not ca:
            command += ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-addext", "basicConstraints=critical,CA:false"]
        subprocess.run(command, check=True, capture_output=True)

    make("ca", "keyUsage=critical,keyCertSign,cRLSign", True)
    for name, extension in CERTIFICATES.items():
        make(name, extension, False)


class Siem:
    """syslog-ng, and each record with the time when it was in its file."""

    def __init__(self, work: pathlib.Path, tls: pathlib.Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.out, self.came, self.other, self.stop = work / "siem.log", [], [], threading.Event()
        (work / "syslog-ng.conf").write_text(SYSLOG_NG.format(port=self.port, tls=tls, out=self.out), encoding="ascii")
        command = ["syslog-ng", "-F", "-e", "--no-caps", "-f", work / "syslog-ng.conf", "-R", work / "persist", "-p", work / "pid", "-c", work / "ctl"]
        with open(work / "syslog-ng.err", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        until = time.monotonic() + 20
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > until:
                self.end()
                raise RuntimeError((work / "syslog-ng.err").read_text(encoding="utf-8"))
            time.sleep(0.05)

    def _listens(self) -> bool:
        with open("/proc/net/tcp", encoding="ascii") as lines:
            return any(f" 0100007F:{self.port:04X} 00000000:0000 0A" in line for line in lines)

    def _read(self):
        rest, at = b"", 0
        while not self.stop.wait(0.01):
            if not self.out.exists() or self.out.stat().st_size == at:
                continue
            with open(self.out, "rb") as file:
                file.seek(at)
                rest += file.read()
                at = file.tell()
            now = time.monotonic()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                record = json.loads(line.decode().removeprefix("\ufeff"))
                (self.came if record["class_uid"] == 2004 else self.other).append((now, record))

    def end(self):
        self.stop.set()
        self.reader.join()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


def names(record: dict) -> dict:
    """Of a record: whose pod, what it is about, and techniques."""
    pods = [f"{one.get('namespace')}/{one['name']}" for one in record.get("resources", []) if one["type"] == "pod"]
    about = [one["name"] for one in record.get("resources", []) if one["type"] != "pod"]
    about += [one["dst_endpoint"].get("ip", "") for one in record.get("evidences", []) if "dst_endpoint" in one]
    techniques = [(attack.get("sub_technique") or attack["technique"])["uid"] for attack in record["finding_info"].get("attacks", [])]
    return {"kind": record["metadata"]["event_code"], "pods": pods, "about": about, "techniques": techniques}


def plan_of(objects: list[dict], image: str, tls: pathlib.Path) -> dict:
    import manifest
    from agent import CAPABILITIES

    pods = "/var/lib/kubelet/pods/moat/volumes"
    places = {name: f"{pods}/{name}" for name in ("config", "policies", "run", "tls")}
    maps = manifest.config_maps(objects)
    files = {f"{pods}/config/moatd.yaml": maps["moat-config"]["moatd.yaml"] + (HERE / "sinks.yaml").read_text(encoding="utf-8")}
    policies = maps["moat-policies"] | {path.name: path.read_text(encoding="utf-8") for path in (HERE / "policies").iterdir()}
    files |= {f"{pods}/policies/{name}": text for name, text in policies.items()}
    files |= {f"{pods}/tls/{there}": (tls / here).read_text(encoding="ascii") for there, here in (("tls.crt", "node.crt"), ("tls.key", "node.key"), ("ca.crt", "ca.crt"))}
    files |= {f"/opt/day/{name}": (tls / name).read_text(encoding="ascii") for name in ("ca.crt", "viewer.crt", "viewer.key")}
    container = manifest.container(objects, image, places, NODE)
    added = container["linux"]["security_context"]["capabilities"]["add_capabilities"]
    mask = sum(1 << CAPABILITIES[name] for name in added)
    folders = [mount["host_path"] for mount in container["mounts"] if not mount["host_path"].startswith("/sys/")]
    client = ["--address", "127.0.0.1:7443", "--tls-ca", "/opt/day/ca.crt", "--tls-cert", "/opt/day/viewer.crt", "--tls-key", "/opt/day/viewer.key"]
    return {"container": container, "files": files, "folders": folders, "capabilities": mask, "capability_names": ", ".join(added), "client": client}


class Day:
    def __init__(self):
        self.steps, self.wrong, self.rest = {}, [], b""

    def hear(self, data: bytes):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in (raw.decode(errors="replace").rstrip() for raw in lines):
            if line.startswith("@ "):
                self.steps[line[2:]] = time.monotonic()
                continue
            if line.startswith("! "):
                self.wrong.append(line[2:])
            say(line)


def judge(day: Day, siem: Siem) -> int:
    failed = len(day.wrong)
    print(f"\n{'':<8}{'at the SIEM':>12}  finding")
    for step, kind, about, technique in EXPECTED:
        began = day.steps.get(step)
        found = None
        for at, record in siem.came:
            named = names(record)
            whole = named["kind"] == kind and POD in named["pods"] and technique in named["techniques"]
            if began and whole and all(word in named["about"] for word in about):
                found = (max(0.0, at - began), record)
                break
        good = found is not None and found[0] < WITHIN
        failed += not good
        if found is None:
            print(f"{step:<8}{'never':>12}  {kind} of {POD} about {', '.join(about)}, {technique}")
            continue
        print(f"{step:<8}{found[0]:>10.2f} s  {found[1]['severity'].lower()} {kind}: {found[1]['message']}")
        print(f"{'':<22}{', '.join(names(found[1])['techniques'])}{'' if good else f'   LATE: more than {WITHIN} s'}")
    if not any(record["class_uid"] == 6002 for _, record in siem.other):
        failed += 1
        print("the SIEM was not told of the agent's start")
    hosts = {record["device"]["hostname"] for _, record in siem.came + siem.other}
    if hosts != {NODE}:
        failed += 1
        print(f"records name {', '.join(sorted(hosts))} as their host, which is {NODE}")
    others = sorted({(names(record)["kind"], record["message"]) for _, record in siem.came if names(record)["pods"] != [POD]})
    failed += len(others)
    for kind, message in others:
        print(f"of nobody's doing: {kind}: {message}")
    print(f"{len(siem.came)} records at syslog-ng, {len(others)} about others than {POD}; {failed} wrong")
    return 1 if failed else 0


def main(programs: pathlib.Path, kernel: str) -> int:
    for tool in ("syslog-ng", "openssl", "mmdebstrap", "umoci", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "unshare"):
        if not shutil.which(tool):
            skip(f"no {tool} here (deploy/packages.sh test image containerd)")
    if os.geteuid() != 0:
        skip("needs root: it makes an image")
    try:
        import kustomize
    except ImportError as missing:
        skip(f"{missing} (Debian package python3-yaml, for {sys.executable})")
    from archive import Vanished
    from cache import Cache
    from cache import say as told
    from guest import Options, boot, stop_all

    signal.signal(signal.SIGTERM, stop_all)
    signal.signal(signal.SIGINT, stop_all)
    cache = Cache()
    for why in cache.fetch([kernel]).values():
        if isinstance(why, Vanished):
            skip(str(why))
        raise why
    with tempfile.TemporaryDirectory(prefix="moat-day-") as name:
        work = pathlib.Path(name)
        image = "localhost/moat:0.1.0"
        command = [ROOT / "deploy" / "image.sh", "--programs", programs, "--output", work / "oci", "--name", image, "--archive", work / "moat.tar"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            print(made.stderr, file=sys.stderr)
            return 1
        say(f"deploy/image.sh made {image}, {(work / 'moat.tar').stat().st_size >> 20} MiB")
        tls = work / "tls"
        tls.mkdir()
        make_certificates(tls)
        siem = Siem(work, tls)
        try:
            plan = plan_of(kustomize.render(ROOT / "deploy" / "k8s" / "overlays" / "mtls"), image, tls)
            (work / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
            python = pathlib.Path("/usr/bin/python3").resolve()
            library = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"], capture_output=True, text=True, check=True).stdout.strip()
            files = [(str(python), "/usr/local/bin/python3"), (library, library), (str(work / "plan.json"), "/opt/day/plan.json"), (str(work / "moat.tar"), "/opt/day/moat.tar")]
            files += [(shutil.which(tool), f"/usr/local/bin/{tool}") for tool in ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "unshare")]
            files += [(str(programs / program), f"/opt/day/{program}") for program in ("moatctl", "moat_cri_pod", "moat_day_app")]
            files += [(str(path), f"/opt/day/{path.name}") for path in (HERE / "node.py", *(ROOT / "tests/e2e/containerd" / f"{name}.py" for name in ("pods", "runtime", "image")))]
            # containerd gives each pod the host's resolv.conf, and a guest has none.
            run = ": >/etc/resolv.conf; export TMPDIR=/var/tmp PYTHONHOME=/usr; cd /opt/day && exec python3 -B -W ignore node.py plan.json"
            options = Options(run, files, smp=2, mem=3072, timeout=400, gpu=True, outside=[(6514, siem.port)])
            say(f"a guest with kernel {cache.image(kernel).release} starts; syslog-ng listens outside of it, for clients with a certificate")
            day = Day()
            outcome = boot(cache, cache.image(kernel), options, day.hear, told)
            if outcome.code:
                day.wrong.append(f"{kernel}: {outcome.how}: {outcome.text}")
                say(day.wrong[-1])
            return judge(day, siem)
        finally:
            siem.end()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) == 3 else "6.12"))
