# SPDX-License-Identifier: Apache-2.0
"""Each rule shown both ways: a small tree that breaks it, with the finding, and one that keeps it, with none."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import checks
import includes
from tree import Tree

CPP = "// SPDX-License-Identifier: Apache-2.0\n"
BPF = "/* SPDX-License-Identifier: GPL-2.0-only */\n"
STYLE = pathlib.Path(__file__).resolve().parents[2]


class LintTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="moat-lint-")
        self.addCleanup(self.folder.cleanup)

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        file = pathlib.Path(self.folder.name) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def found(self, check) -> list[str]:
        return [str(finding) for finding in check(Tree(pathlib.Path(self.folder.name)))]

    def assert_one(self, check, *parts: str) -> None:
        found = self.found(check)
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def assert_include(self, path: str, line: str, ok: bool) -> None:
        """One file with one include line: refused, with its line, or accepted."""
        self.put(path, CPP + line + "\n")
        found = self.found(includes.check)
        (pathlib.Path(self.folder.name) / path).unlink()
        self.assertEqual([text.split(": ")[0] for text in found], [] if ok else [f"{path}:2"], found)

    def test_includes(self):
        headers = ["agent/base/fd.h", "agent/event/event.h", "agent/policy/image.h", "agent/policy/parse.h", "agent/probe/probe.h"]
        headers += ["bpf/abi/net.h", "bpf/lib/maps.bpf.h", "bpf/net/flow.bpf.h", "bpf/file/io.bpf.h", "tests/bpf/fixture.h"]
        for header in headers:
            self.put(header, CPP)
        for path, line, ok in [
            ("agent/decode/net.cc", '#include "agent/event/event.h"', True),
            ("agent/decode/net.cc", '#include "bpf/abi/net.h"', True),
            ("agent/decode/net.cc", '#include "agent/probe/probe.h"', False),
            ("agent/decode/net.cc", '#include "bpf/lib/maps.bpf.h"', False),
            ("agent/decode/net.cc", '#include "../probe/probe.h"', False),
            ("agent/decode/net.cc", "#include <agent/probe/probe.h>", False),
            ("agent/decode/net.cc", '# include "agent/nothing.h"', False),
            ("agent/decode/net.cc", "#include <vector>", True),
            ("agent/base/fd.cc", '#include "agent/event/event.h"', False),
            ("agent/base/fd.cc", '#include "fd.h"', True),
            ("agent/probe/ring.cc", '#include "agent/policy/image.h"', True),
            ("agent/probe/ring.cc", '#include "agent/policy/parse.h"', False),
            ("agent/probe/ring.cc", '#include "agent/event/event.h"', False),
            ("agent/probe/ring.cc", "#include <bpf/libbpf.h>", True),
            ("agent/probe/ring.cc", "#include <net.skel.h>", True),
            ("agent/app/main.cc", "#include <bpf/libbpf.h>", False),
            ("agent/app/main.cc", "#include <net.skel.h>", False),
            ("agent/app/main.cc", '#include "agent/probe/probe.h"', True),
            ("agent/app/main.cc", '#include "tests/bpf/fixture.h"', False),
            ("agent/cli/watch.cc", '#include "moat/v1/event.pb.h"', True),
            ("agent/cli/watch.cc", '#include "agent/event/event.h"', False),
            ("agent/event/event.cc", '#include "moat/v1/event.pb.h"', False),
            ("agent/enrich/cri_client.cc", '#include "cri/runtime/v1/api.grpc.pb.h"', True),
            ("agent/enrich/cri_client.cc", '#include "moat/v1/event.pb.h"', False),
            ("agent/api/server.cc", "#include <grpcpp/grpcpp.h>", True),
            ("agent/enrich/cri_client.cc", "#include <grpcpp/grpcpp.h>", True),
            ("agent/decode/net.cc", "#include <grpcpp/grpcpp.h>", False),
            ("agent/event/event.cc", "#include <google/protobuf/message.h>", False),
            ("bpf/abi/new.h", "#include <linux/types.h>", True),
            ("bpf/abi/new.h", "#include <linux/bpf.h>", False),
            ("bpf/abi/new.h", '#include "net.h"', True),
            ("bpf/abi/new.h", '#include "../lib/maps.bpf.h"', False),
            ("bpf/lib/x.bpf.h", '#include "../net/flow.bpf.h"', False),
            ("bpf/net/x.bpf.c", '#include "../lib/maps.bpf.h"', True),
            ("bpf/net/x.bpf.c", '#include "flow.bpf.h"', True),
            ("bpf/net/x.bpf.c", '#include "../file/io.bpf.h"', False),
            ("bpf/net/x.bpf.c", '#include "bpf/file/io.bpf.h"', False),
            ("bpf/net/x.bpf.c", "#include <vmlinux.h>", False),
            ("bpf/net/x.bpf.c", '#include "../../agent/base/fd.h"', False),
            ("tests/unit/x.cc", '#include "agent/policy/parse.h"', True),
        ]:
            with self.subTest(path=path, line=line):
                self.assert_include(path, line, ok)

        self.put("agent/novel/thing.cc", CPP)
        self.assert_one(includes.check, "agent/novel/thing.cc: this folder has no row")

    def test_abi_padding(self):
        header = BPF + "#include <linux/types.h>\nstruct moat_x {\n\t__u32 a;\n%s\t__u64 b;\n};\n"
        self.put("bpf/abi/x.h", header % "\t__u32 pad;\n")
        self.assertEqual(self.found(checks.abi_padding), [])
        self.put("bpf/abi/x.h", header % "")  # a hole that nobody sees, on both sides of the border
        self.assertEqual(len(self.found(checks.abi_padding)), 2)
        self.assertIn("padding struct 'struct moat_x' with 4 bytes", self.found(checks.abi_padding)[0])
        self.put("bpf/abi/x.h", header % "\tunsigned int pad;\n")
        self.assert_one(checks.abi_padding, "bpf/abi/x.h:5:", "fixed-width")
        self.put("bpf/abi/x.h", (header % "\t__u32 pad;\n").replace("};", "} __attribute__((packed));"))
        self.assertTrue(any("never packed" in found for found in self.found(checks.abi_padding)))

    def test_format(self):
        for name in (".clang-format", "bpf/.clang-format"):
            self.put(name, (STYLE / name).read_text(encoding="utf-8"))
        self.put("agent/base/a.cc", CPP + "int F(int x) { return x; }\n")
        self.put("bpf/net/a.bpf.c", BPF + 'SEC("tp_btf/x")\nint moat_a(void *ctx)\n{\n\treturn 0;\n}\n')
        self.assertEqual(self.found(checks.format), [])
        self.put("agent/base/a.cc", CPP + "int F( int x ) { return x; }\n")
        self.assert_one(checks.format, "agent/base/a.cc:2: ")
        checks.fix_format(Tree(pathlib.Path(self.folder.name)))
        self.assertEqual(self.found(checks.format), [])
        self.put("bpf/net/a.bpf.c", BPF + "int moat_a(void *ctx)\n{\n  return 0;\n}\n")
        self.assert_one(checks.format, "bpf/net/a.bpf.c:3: ")

    def test_spdx(self):
        self.put("agent/base/a.h", CPP)
        self.put("bpf/lib/a.bpf.h", BPF)
        self.put("tests/bench/x.bpf.c", BPF)
        self.put("deploy/go", "#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\n")
        self.put("notes.txt", "no code\n")
        self.assertEqual(self.found(checks.spdx), [])
        self.put("bpf/lib/b.bpf.h", CPP)
        self.assert_one(checks.spdx, "bpf/lib/b.bpf.h:1: ", "GPL-2.0-only here")
        self.put("bpf/lib/b.bpf.h", BPF)
        self.put("deploy/go", "#!/usr/bin/env bash\ntrue\n")
        self.assert_one(checks.spdx, "deploy/go:1: no SPDX")

    def test_size(self):
        self.put("agent/base/a.cc", "\n" * 500)
        self.put("LICENSE", "\n" * 900)
        self.assertEqual(self.found(checks.size), [])
        self.put("agent/base/a.cc", "\n" * 501)
        self.assert_one(checks.size, "agent/base/a.cc", "501 lines")

    def test_paths(self):
        self.put("a.md", "build/work/x, $HOME/home/x, ${dir}/work/x, https://www.apache.org/licenses, /tmp/moat, ./root/x\n")
        self.assertEqual(self.found(checks.paths), [])
        for text in ("see /" + "work/main", "in '/" + "home/me/x'", "cd /tmp/" + "b-H", "https://registry." + "npmjs.org/x"):
            with self.subTest(text=text):
                self.put("a.md", "\n" + text + "\n")
                self.assert_one(checks.paths, "a.md:2: ")

    def test_shell(self):
        self.put("deploy/go", '#!/usr/bin/env bash\nrm -r "$1"\n')
        self.assertEqual(self.found(checks.shell), [])
        self.put("deploy/go", "#!/usr/bin/env bash\nrm -r $1\n")
        self.assert_one(checks.shell, "deploy/go:2: ", "SC2086")

    def test_docs(self):
        self.put("deploy/go.sh", "#!/usr/bin/env bash\necho 'usage: go.sh [--keep]'\n", 0o755)
        self.put("agent/CMakeLists.txt", "add_executable(moatd app/main.cc)\n")
        self.put("README.md", "[code](agent)\n```sh\ndeploy/go.sh --keep   # a comment\n$ sudo build/bin/moatd --config x\n```\nsudo deploy/no.sh\n")
        self.assertEqual(self.found(checks.docs), [])
        for text in ("[gone](agent/gone.md)", "```\ndeploy/gone.sh\n```", "```sh\ndeploy/go.sh --kepp\n```", "```\nbuild/bin/moatx\n```"):
            with self.subTest(text=text):
                self.put("README.md", text + "\n")
                self.assert_one(checks.docs, "README.md:")

    def test_git_tree(self):
        """In a clone, what git ignores is not looked at, and what is not yet added is."""
        self.put(".gitignore", "/out/\n")
        self.put("out/a.h", "")
        self.put("agent/base/a.h", "")
        subprocess.run(["git", "-C", self.folder.name, "init", "-q"], check=True)
        self.assertEqual(self.found(checks.spdx), ["agent/base/a.h:1: no SPDX-License-Identifier in the first five lines; Apache-2.0 here"])

    def test_exit_status(self):
        """What ctest sees: 1 with a finding, 0 without."""
        command = [sys.executable, "-B", str(pathlib.Path(__file__).with_name("lint.py")), "--root", self.folder.name, "size"]
        self.put("a.cc", "\n")
        self.assertEqual(subprocess.run(command, check=False).returncode, 0)
        self.put("a.cc", "\n" * 501)
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        self.assertEqual((run.returncode, "501 lines" in run.stdout), (1, True))


if __name__ == "__main__":
    unittest.main()
