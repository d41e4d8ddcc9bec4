# SPDX-License-Identifier: Apache-2.0
"""The day as it goes on the node, run in the guest by day.py: node.py PLAN. A line "@ STEP" says that a step of the thief's comes now, "! ..." that
something is not as it must be; the others are the story."""

import errno
import json
import pathlib
import subprocess
import sys
import time

from pods import Pod
from runtime import KUBE, Containerd, cgroup2_mount

ROOT = pathlib.Path(__file__).resolve().parent
CLUSTER, OUTSIDE = "10.66.7.7", "203.0.113.9"
MIB = 1 << 20


def say(text: str):
    print(text, flush=True)


def check(ok: bool, text: str):
    say(f"{'' if ok else '! '}{text}")
    if not ok:
        sys.exit(1)


def error(number: int) -> str:
    return errno.errorcode.get(number, str(number)) if number else "ok"


class Actor:
    """A pod that does what it is told, a line at a time."""

    def __init__(self, containerd: Containerd, work: pathlib.Path, space: str, name: str, labels: dict, devices: list[str]):
        self.todo = work / name / "todo"
        self.todo.parent.mkdir()
        self.todo.touch()
        mounts = [{"container_path": "/todo", "host_path": str(self.todo.parent), "readonly": True}, {"container_path": "/models", "host_path": "/models", "readonly": True}]
        given = [{"container_path": path, "host_path": path, "permissions": "rw"} for path in devices]
        more = work / f"{name}.json"
        more.write_text(json.dumps({"mounts": mounts, "devices": given}), encoding="utf-8")
        self.name, self.lines = f"{space}/{name}", 0
        self.pod = Pod(ROOT, containerd, space, name, "main", labels, "/todo/todo", f"@{more}")
        self.pod.start()
        self.pod.wait(lambda said: len(said) == 1)

    def do(self, line: str) -> tuple[int, int]:
        with open(self.todo, "a", encoding="ascii") as file:
            file.write(line + "\n")
        self.lines += 1
        return tuple(self.pod.wait(lambda said: len(said) > self.lines, 60)[-1][1:])

    def must(self, line: str, wanted: int, text: str):
        got, figure = self.do(line)
        check(got == wanted, f"{self.name} {text}: {error(got)}, {figure}")


def lay_out(plan: dict):
    """What a kubelet and an administrator put on the node."""
    for name, text in plan["files"].items():
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in plan["folders"]:
        pathlib.Path(name).mkdir(parents=True, exist_ok=True)
    on_disk = pathlib.Path("/var/tmp/models")
    for name, size in (("llama/model.safetensors", 16 * MIB), ("secret/model.safetensors", MIB)):
        (on_disk / name).parent.mkdir(parents=True)
        (on_disk / name).write_bytes(b"w" * size)
    subprocess.run(["mount", "--bind", on_disk, "/models"], check=True)
    for address in (CLUSTER, OUTSIDE):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)


def start_moat(plan: dict, containerd: Containerd) -> Pod:
    more = ROOT / "container.json"
    more.write_text(json.dumps(plan["container"]), encoding="utf-8")
    pod = Pod(ROOT, containerd, "moat", "moat-n7xkp", "moatd", {"app.kubernetes.io/name": "moat"}, f"@{more}")
    pod.start()
    log = pod.logs / "moatd.log"
    until = time.monotonic() + 120
    while not log.exists() or " ready\n" not in log.read_text(encoding="utf-8"):
        if time.monotonic() > until:
            check(False, f"moatd is not ready: {log.read_text(encoding='utf-8') if log.exists() else 'no log'}")
        time.sleep(0.05)
    return pod


def capabilities(pod: Pod) -> int:
    (pid,) = [int(line) for line in (cgroup2_mount() / pod.cgroup.lstrip("/") / "cgroup.procs").read_text(encoding="ascii").split()]
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)


def ctl(plan: dict, *words: str) -> str:
    command = [ROOT / "moatctl", *plan["client"], *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if run.returncode:
        check(False, f"moatctl {' '.join(words)}: {run.stderr.strip()}")
    return run.stdout


def day(plan: dict):
    work = pathlib.Path("/var/tmp/node")
    work.mkdir()
    pathlib.Path("/run/containerd").mkdir()
    lay_out(plan)
    (cgroup2_mount() / KUBE).mkdir()
    containerd = Containerd(work, ROOT / "moat_day_app", pathlib.Path("/run/containerd/containerd.sock"))
    subprocess.run(["ctr", "-a", containerd.socket, "-n", "k8s.io", "images", "import", ROOT / "moat.tar"], check=True, capture_output=True)
    say(f"containerd {subprocess.run(['ctr', '-v'], capture_output=True, text=True, check=True).stdout.split()[-1]} has the image {plan['container']['image']['image']}")
    moat = start_moat(plan, containerd)
    has = capabilities(moat)
    check(has == plan["capabilities"], f"moat/moat-n7xkp is ready, with {plan['capability_names']} and no more (CapEff {has:x})")

    serving = Actor(containerd, work, "serving", "vllm-0", {"app": "vllm"}, [])
    serving.must("read /models/llama/model.safetensors", 0, "reads /models/llama/model.safetensors")
    serving.must("serve 8000", 0, "serves at port 8000")
    serving.must(f"send {CLUSTER} 8000 65536", 0, "calls a neighbour in the cluster")
    thief = Actor(containerd, work, "research", "notebook-0", {"app": "notebook"}, ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm"])
    thief.must(f"send {CLUSTER} 8000 65536", 0, "calls it too, as it may")
    thief.must("gpu debugger-benign", 0, "debugs its own work on the GPU, as everybody does")

    thief.must("copy /models/llama/model.safetensors /loot", 0, "copies the weights")
    say("@ copy")  # only now the whole is read
    say("@ send")
    thief.must(f"send {OUTSIDE} 8000 16777216", errno.EPERM, f"sends them to {OUTSIDE}")
    say("@ gpu")
    thief.must("gpu debugger", errno.EPERM, "attaches a debugger to another process on the GPU")
    say("@ canary")
    thief.must("open /models/secret/model.safetensors", 0, "looks into /models/secret")
    say("@ end")
    time.sleep(3)  # whatever else is found belongs to the day, too
    serving.must(f"send {CLUSTER} 8000 65536", 0, "goes on serving")
    say("$ moatctl --address NODE:7443 --tls-ca ca.crt --tls-cert viewer.crt --tls-key viewer.key findings")
    for line in ctl(plan, "findings").splitlines():
        say("  " + line)


if __name__ == "__main__":
    day(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")))
