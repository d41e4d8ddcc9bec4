# SPDX-License-Identifier: Apache-2.0
"""What the rig reads from others: apt's sources, package lists, a guest's last words, GoogleTest's files."""

import io
import json
import unittest

import archive
import guest
import initramfs
import matrix
import standin
import table

DEB822 = """
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/x.gpg

Types: deb
# snapshot
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://old.example/debian
Suites: bookworm
Enabled: no
"""
CLASSIC = """
#deb http://commented.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib
deb http://mirror.example/debian bookworm-updates main
"""


def stanza(package: str, version: str) -> str:
    return f"Package: {package}\nSource: linux\nVersion: {version}\nDepends: linux-image-9.9.9-amd64"


class ArchiveTest(unittest.TestCase):
    def test_deb822_sources(self):
        main, security = archive.archive_of(archive.parse_sources(DEB822), "bookworm")
        self.assertEqual(main, archive.Source("http://mirror.example/debian", "bookworm", "/usr/share/keyrings/x.gpg"))
        self.assertEqual(security.uri, "http://mirror.example/debian-security")

    def test_classic_sources(self):
        main, security = archive.archive_of(archive.parse_sources(CLASSIC), "bookworm")
        self.assertEqual(main, archive.Source("http://mirror.example/debian", "bookworm", "/k.gpg"))
        self.assertEqual(security.uri, "http://mirror.example/debian-security")  # guessed: beside the main archive

    def test_no_debian_source(self):
        with self.assertRaisesRegex(archive.Failure, "no apt source of Debian bookworm"):
            archive.archive_of(archive.parse_sources("deb http://other.example/x nodistro main\n"), "bookworm")

    def test_the_newest_plain_kernel_is_picked(self):
        listing = "\n\n".join([
            stanza("linux-image-6.1.0-9-amd64", "6.1.27-1"),
            stanza("linux-image-6.1.0-56-amd64", "6.1.192-2"),
            stanza("linux-image-6.1.0-57-cloud-amd64", "6.1.193-1"),
            stanza("linux-image-6.1.0-57-rt-amd64", "6.1.193-1"),
            stanza("linux-image-6.1.0-57-amd64-dbg", "6.1.193-1"),
            stanza("linux-image-6.12.1+bpo-amd64", "6.12.1-1"),
        ])  # fmt: skip
        found = archive.pick_kernel(listing, archive.KERNELS["6.1"].release)
        self.assertEqual(found, ("6.1.0-56-amd64", "6.1.192-2", ["linux-image-6.1.0-56-amd64"]))
        self.assertIsNone(archive.pick_kernel(listing, archive.KERNELS["5.10"].release))

    def test_split_packages(self):
        listing = stanza("linux-image-7.3.4+deb13-amd64", "7.3.4-1") + "\n\n" + stanza("linux-binary-7.3.4+deb13-amd64", "7.3.4-1")
        packages = [f"linux-{part}-7.3.4+deb13-amd64" for part in ("binary", "modules", "base")]
        found = archive.pick_kernel(listing, archive.KERNELS["newest"].release)
        self.assertEqual(found, ("7.3.4+deb13-amd64", "7.3.4-1", packages))


    def test_headers_of_a_kernel(self):
        listing = stanza("linux-headers-7.3.4+deb13-amd64", "7.3.4-1") + "\n\n" + stanza("linux-headers-6.1.0-56-amd64", "6.1.192-2")
        depends = "gcc-14, linux-headers-7.3.4+deb13-common (= 7.3.4-1), linux-kbuild-7.3.4+deb13, linux-base"
        listing = listing.replace("Depends: linux-image-9.9.9-amd64", "Depends: " + depends, 1)
        wanted = ["linux-headers-7.3.4+deb13-amd64", "linux-headers-7.3.4+deb13-common", "linux-kbuild-7.3.4+deb13"]
        self.assertEqual(archive.pick_headers(listing, "7.3.4+deb13-amd64"), wanted)
        self.assertEqual(archive.pick_headers(listing, "6.18.15+deb13-amd64"), [])

    def test_the_libc_that_a_program_wants(self):
        self.assertEqual(standin.newest_libc(b"\x7fELF..\0GLIBC_2.2.5\0GLIBC_2.38\0GLIBC_2.4\0"), 38)
        self.assertEqual(standin.newest_libc(b"#!/bin/sh\nGLIBC_2.38\0"), 0)


class GuestTest(unittest.TestCase):
    def test_what_became_of_a_guest(self):
        panic = "[    6.5] Kernel panic - not syncing: Fatal exception\n"
        for control, console, timed_out, complaint, wanted in [
            ("up\nexit 0\n", "", False, "", ("ended", 0, "the command ended with 0")),
            ("up\nmodule x no\nexit 124\n", "", False, "", ("ended", 124, "the command ended with 124")),
            ("up\n", "", True, "", ("hang", 124, "no end of the command in time")),
            ("", "", True, "", ("hang", 124, "the guest did not come up in time")),
            ("up\n", panic, True, "", ("panic", 125, "Kernel panic - not syncing: Fatal exception")),
            ("up\n", "[    6.4] BUG: bad thing\n" + panic, False, "", ("panic", 125, "BUG: bad thing")),
            ("up\n", "", False, "", ("died", 125, "the machine stopped during the command: no word of why")),
            ("", "", False, "qemu: no memory\nx", ("died", 125, "the machine stopped before it was up: qemu: no memory")),
        ]:
            with self.subTest(control=control, console=console):
                found = guest.classify(control, console, timed_out, complaint)
                self.assertEqual((found.how, found.code, found.text), wanted)

    def test_initramfs(self):
        out = io.BytesIO()
        root = initramfs.Initramfs(out)
        root.write("bin/x", b"abc", 0o755)
        root.write("/usr/bin/x", b"not again")
        root.close()
        self.assertEqual(len(out.getvalue()) % 4, 0)
        self.assertEqual(out.getvalue().count(b"usr/bin/x\0"), 1)
        self.assertIn(b"bin\0usr/bin", out.getvalue().replace(b"\0\0\0", b"\0"))


class MatrixTest(unittest.TestCase):
    def test_googletest_xml(self):
        xml = """<testsuites><testsuite name="A">
          <testcase name="Ok" status="run" result="completed" classname="A" />
          <testcase name="Off" status="notrun" result="suppressed" classname="A" />
          <testcase name="Skip" status="run" result="skipped" classname="A"><skipped message="/a/b.cc:9&#x0A;needs x&#x0A;" /></testcase>
          <testcase name="Bad" status="run" result="completed" classname="A">
            <failure message="/a/b.cc:7&#x0A;Expected: 1&#x0A;Actual: 2" type="" /><failure message="/a/b.cc:8&#x0A;later" /></testcase>
          </testsuite></testsuites>"""
        wanted = {
            "A.Ok": matrix.Result("passed"),
            "A.Off": matrix.Result("skipped", "disabled"),
            "A.Skip": matrix.Result("skipped", "needs x (b.cc:9)"),
            "A.Bad": matrix.Result("FAILED", "Expected: 1 Actual: 2 (b.cc:7)"),
        }
        self.assertEqual(matrix.read_xml(xml), wanted)

    def test_runs_that_the_kernel_skipped(self):
        xml = """<testsuites><testcase name="Bad" classname="A"><failure message="/a/b.cc:7&#x0A;no" />
          <properties><property name="runs_missed" value="12"/></properties></testcase></testsuites>"""
        self.assertEqual(matrix.read_xml(xml), {"A.Bad": matrix.Result("FAILED", "no (b.cc:7)", 12)})

    def test_what_an_agent_says_of_its_hooks(self):
        ran = {"event": "a", "attached": True, "backend": "lsm", "proof": "it has run"}
        with_it = {"event": "b", "attached": True, "backend": "lsm", "why": "seen by the program of a"}
        not_tried = {"event": "c", "attached": True, "backend": "iter", "proof": "not yet seen to run (x)"}
        exposed = {"event": "d", "exposure": True, "why": "no such thing"}
        told = "\n" + json.dumps({"host": [], "agent": {"domains": [{"hooks": [ran, with_it]}, {"hooks": [not_tried, exposed]}]}}) + "\nend"
        told = told.replace('{"host": ', '{"host":')
        lines = ["6.1.0\ta\tlsm\trun", "6.1.0\tb\tlsm\trun", "6.1.0\tc\titer\tnot tried", "6.1.0\td\t-\tnot tried"]
        self.assertEqual(matrix.read_doctor(told, "6.1.0"), (matrix.Result("passed"), lines))
        failed, _ = matrix.read_doctor(told.replace('"exposure": true', '"exposure": false'), "6.1.0")
        self.assertEqual(failed, matrix.Result("FAILED", "d: no such thing"))
        self.assertEqual(matrix.read_doctor('{"host":[],"agent":null}', "6.1.0")[0].verdict, "FAILED")
        self.assertEqual(matrix.read_doctor("", "6.1.0")[0].verdict, "FAILED")

    def test_lines_beside_the_results(self):
        blind = "6.1.0-56-amd64\tbest\tfile\topenat\tseen\tfile.open:lsm\topens=23\topens=23\t-"
        told = f"start A.One\n{blind}\n6.1.0-56-amd64\tmoat_x\t12\n<?xml a\tb\tc?>\nend 0\n"
        self.assertEqual(matrix.read_tsv(told), {"blind": [blind], "verifier": ["6.1.0-56-amd64\tmoat_x\t12"]})

    def test_why_it_failed(self):
        self.assertEqual(matrix.why_failed("/a/b.cc:7\nValue of: x\n  Actual: false\nExpected: true\nno y"), "x is false: no y (b.cc:7)")
        self.assertEqual(matrix.why_failed("no line"), "no line")

    def test_what_the_loop_tells(self):
        xml = '<?xml version="1.0"?>\n<testsuites><testcase name="One" classname="A" /><testcase name="Two" classname="A" /></testsuites>\n'
        told = f"start A.One:A.Two\n{xml}end 0\nstart B.One:B.Two\nend 139\nstart B.One\nend 139\nstart B.Two\nend 137\n"
        wanted = {"A.One": matrix.Result("passed"), "A.Two": matrix.Result("passed")}
        wanted["B.One"] = matrix.Result("FAILED", "crash: ended by signal 11")
        wanted["B.Two"] = matrix.Result("FAILED", "hang: killed after 120 s")
        self.assertEqual(matrix.read_told(told), (wanted, []))
        self.assertEqual(matrix.read_told(told + f"start C/0.One/1:C/0.Two\n{xml[:30]}"), (wanted, ["C/0.One/1", "C/0.Two"]))
        self.assertEqual(matrix.read_told(""), ({}, []))

    def test_no_core_idles_behind_the_last_kernel(self):
        names = [f"A.{i}" for i in range(matrix.CHUNK * 3)]
        work = matrix.shares(["1", "2", "3"], names, 2)
        self.assertEqual([kernel for kernel, _ in work], ["1", "2", "3", "3"])
        self.assertEqual(work[0][1], names)
        self.assertEqual(sorted(work[2][1] + work[3][1]), sorted(names))
        self.assertEqual(work[3][1], names[matrix.CHUNK : 2 * matrix.CHUNK])
        self.assertEqual(matrix.shares(["1", "2"], names, 2), [("1", names), ("2", names)])
        self.assertEqual(matrix.shares(["1"], ["A.1"], 4), [("1", ["A.1"])])

    def test_same_reasons_are_one_line(self):
        results = {
            "A.One": matrix.Result("FAILED", "pid 17 is gone"),
            "A.Two": matrix.Result("FAILED", "pid 18 is gone"),
            "A.Three": matrix.Result("skipped", "no x"),
            "A.Four": matrix.Result("passed"),
        }
        wanted = ["   FAILED  6.1 2 tests: pid 17 is gone", "           A.One, A.Two", "   skipped 6.1 A.Three: no x"]
        self.assertEqual(matrix.report("6.1", results), wanted)


class TableTest(unittest.TestCase):
    RUN = table.Run("6.1.0-1-amd64", "best", "file", "read", "seen", "file.read:fentry", "n=1", "n=1", "-")
    CONTRAST = RUN._replace(mode="tracepoint", verdict="not seen", hook="file.read:sys_exit", exposure="aio")

    def test_a_case_and_its_contrast(self):
        lines = table.blind_table([self.RUN, self.CONTRAST]).splitlines()
        self.assertEqual(lines[0], "| case | 6.1.0-1 |")
        self.assertEqual(lines[2:], ["| file: read | `file.read:fentry`; tp: no |", "| **seen** | 1 of 1 |", "| **seen by tracepoints** | 0 of 1 |"])
        self.assertIn("| file: read | not seen (aio) |", table.blind_table([self.CONTRAST._replace(mode="best")]))

    def test_backends(self):
        hooks = [table.Hook("7.3", "a", "lsm", "run"), table.Hook("6.1", "a", "-", "not tried"), table.Hook("7.3", "b", "iter", "not tried")]
        self.assertEqual(table.backend_table(hooks).splitlines()[2:], ["| a | - | lsm |", "| b |  | iter (not tried) |"])

    def test_what_differs_is_told_and_other_kernels_are_not_compared(self):
        committed = table.blind_table([self.RUN, self.CONTRAST])
        self.assertEqual(table.check(committed, committed), [])
        worse = table.check(committed, table.blind_table([self.CONTRAST._replace(mode="best"), self.CONTRAST]))
        self.assertEqual(worse[1], "6.1: file: read: '`file.read:fentry`; tp: no' in the README, 'not seen (aio)' now")
        hook = table.Hook("7.3", "a", "lsm", "run")
        self.assertEqual(table.check(table.backend_table([hook]), table.backend_table([hook._replace(proof="not tried")])), [])
        self.assertEqual(len(table.check(table.backend_table([hook]), table.backend_table([hook._replace(backend="fentry")]))), 1)
        self.assertEqual(table.check(committed, table.blind_table([self.RUN._replace(kernel="6.1.0-2-amd64"), self.CONTRAST._replace(kernel="6.1.0-2-amd64")])), [])
        self.assertEqual(table.check(committed, table.blind_table([self.CONTRAST._replace(kernel="6.2.0", mode="best")])), [])


if __name__ == "__main__":
    unittest.main()
