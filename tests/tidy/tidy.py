#!/usr/bin/env python3
"""The house rules that a machine can check. Usage: tidy.py TOP"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(sys.argv.pop(1))

# DESIGN: a room includes only rooms on floors below it; two rooms on one floor do not see each
# other. congestion lies below tcp.
FLOORS = {"base": 0, "wire": 1, "buf": 1, "time": 1, "observe": 1, "config": 1, "congestion": 1.5,
          "ip": 2, "tcp": 2.5, "udp": 2.5, "stack": 3, "port": 3, "runtime": 4, "sim": 4, "api": 5}
# Values that every room may speak in; the rest of the public headers is the API's.
VOCABULARY = {"address.h", "buffer.h", "config.h", "datagram.h", "error.h", "impairments.h",
              "inspect.h", "story.h", "time.h"}
# Only these name packet buffers and ethdev as DPDK knows them.
MBUF_ROOMS = {"buf", "port", "runtime"}
# RFC 9293's Appendix B numbers each kind from 1 without a gap: 119 in all. The U's are ours, for
# what is normative without an ID.
REQUIREMENTS = {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1, "U": 8}
# By level, where Linux's socket options stand and how they begin; and what there looks like one and
# is a value.
OPTION_HEADERS = {"SOL_SOCKET": (("sys/socket.h",), "SO_"),
                  "IPPROTO_TCP": (("linux/tcp.h",), "TCP_[A-Z]"),
                  "IPPROTO_UDP": (("linux/udp.h",), "UDP_"),
                  "IPPROTO_IP": (("linux/in.h",), "(IP|MCAST)_"),
                  "IPPROTO_IPV6": (("linux/in.h", "linux/in6.h"), "(IPV6|MCAST)_")}
NO_OPTIONS = (r"TCP_REPAIR_O|UDP_ENCAP_|TCP_MD5SIG_MAX|IP_DEFAULT_|MCAST_(IN|EX)CLUDE|IP(V6)?_PMTUDISC_|"
              r"IPV6_(FL|TLV)_")
LINES_MAX = 600
COLUMNS_MAX = 100
FUNCTION_MAX = 70


def sources(*folders, suffixes=(".cpp", ".h")):
    files = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard", *folders],
                           capture_output=True, text=True, check=True).stdout.split()
    return [f for f in files if f.endswith(suffixes) and os.path.exists(os.path.join(TOP, f))]


def lines(path):
    with open(os.path.join(TOP, path)) as file:
        return file.read().split("\n")


def includes(path):
    return [m[1] for l in lines(path) if (m := re.match(r'#include ["<]([^">]+)[">]', l))]


def macros(headers):
    """What the headers define as a number, or as another name of one."""
    text = "".join(f"#include <{name}>\n" for name in headers)
    said = subprocess.run(["gcc", "-D_GNU_SOURCE", "-E", "-dM", "-x", "c", "-"], input=text,
                          capture_output=True, text=True, check=True).stdout
    defined = dict(re.findall(r"^#define (\w+) (\w+)$", said, re.M))
    numbers = {}
    for name, value in defined.items():
        for _ in range(3):
            value = defined.get(value, value)
        if value.isdigit():
            numbers[name] = int(value)
    return numbers


def broken_floors(room, names):
    """Which includes of a file in `room` look up or sideways."""
    bad = []
    for name in names:
        first = name.split("/")[0]
        if first in FLOORS and first != room and FLOORS[first] >= FLOORS[room]:
            bad.append(name)
        if name.startswith("millrace/") and room != "api" and name.split("/")[1] not in VOCABULARY:
            bad.append(name)
    return bad


def requirement_rows(text):
    """The ID and the proof of each row of the requirement table."""
    return re.findall(r"^\| ([A-Z]+-\d+) \|[^|]*\| (.*) \|$", text, re.M)


def wrong_rows(rows, tests):
    """What is wrong with the requirement table, where `tests` is what there is."""
    wanted = [f"{kind}-{i}" for kind, last in REQUIREMENTS.items() for i in range(1, last + 1)]
    ids = [name for name, _ in rows]
    bad = [f"{i} stands {ids.count(i)} times" for i in wanted if ids.count(i) != 1]
    bad += [f"{i} is no requirement" for i in ids if i not in wanted]
    for name, proof in rows:
        named = re.findall(r"`(\w+\.\w+)`", proof)
        bad += [f"{name}: there is no {test}" for test in named if test not in tests]
        if not named and not proof.startswith("reason: "):
            bad.append(f"{name} has neither test nor reason")
    return bad


def tests_in(text):
    return {f"{m[0]}.{m[1]}" for m in
            re.findall(r"^TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\s*\)", text, re.M)}


class Tidy(unittest.TestCase):
    def test_rooms_include_only_floors_below(self):
        bad = [(f, b) for f in sources("lib") for b in broken_floors(f.split("/")[1], includes(f))]
        self.assertEqual(bad, [])

    def test_a_broken_floor_is_found(self):
        self.assertEqual(broken_floors("tcp", ["stack/stack.h", "ip/routes.h", "tcp/env.h"]),
                         ["stack/stack.h"])
        self.assertEqual(broken_floors("stack", ["port/port.h"]), ["port/port.h"])
        self.assertEqual(broken_floors("wire", ["buf/frame.h", "millrace/stack.h"]),
                         ["buf/frame.h", "millrace/stack.h"])

    def test_programs_see_the_public_headers_alone(self):
        bad = [(f, n) for f in sources("apps") for n in includes(f) if n.split("/")[0] in FLOORS]
        self.assertEqual(bad, [])

    def test_public_headers_include_no_room_and_no_dpdk(self):
        bad = [(f, n) for f in sources("include") for n in includes(f)
               if n.split("/")[0] in FLOORS or n.startswith("rte_")]
        self.assertEqual(bad, [])

    def test_only_three_rooms_name_mbufs(self):
        bad = [f for f in sources("lib") if f.split("/")[1] not in MBUF_ROOMS and
               any(re.search(r"\brte_(mbuf|eth|pktmbuf)", l) for l in lines(f))]
        self.assertEqual(bad, [])

    def test_protocols_compute_in_integers(self):
        # So that a run is the same on every machine, to the last bit.
        rooms = ("base", "wire", "time", "congestion", "ip", "tcp", "stack")
        bad = [f"{f}:{i}" for f in sources(*(f"lib/{room}" for room in rooms))
               for i, l in enumerate(lines(f), 1)
               if re.search(r"\b(float|double)\b|\bseconds\(\)", l.split("//")[0])]
        self.assertEqual(bad, [])

    def test_every_source_is_built(self):
        built = "\n".join("\n".join(lines(f)) for f in sources(".", suffixes=("meson.build",)))
        bad = [f for f in sources("lib", "apps", "tests", "bench", suffixes=(".cpp",))
               if "/".join(f.split("/")[1:]) not in built]
        self.assertEqual(bad, [])

    def test_every_header_is_included_somewhere(self):
        named = {n.split("/")[-1] for f in sources(".", suffixes=(".c", ".cpp", ".h"))
                 for n in includes(f)}
        self.assertEqual([f for f in sources("lib", "apps", "tests") if f.endswith(".h") and
                          os.path.basename(f) not in named], [])

    def test_headers_are_guarded_and_introduced(self):
        bad = [f for f in sources("lib", "include", "apps", "tests") if f.endswith(".h") and
               not (lines(f)[0].startswith("// ") and "#pragma once" in lines(f)[:60])]
        self.assertEqual(bad, [])

    def test_every_drop_reason_is_counted_and_provoked(self):
        reasons = re.findall(r"^ +X\((\w+), \"", "\n".join(lines("lib/observe/drop_reasons.h")), re.M)
        self.assertGreater(len(reasons), 40)
        counted = "\n".join("\n".join(lines(f)) for f in sources("lib"))
        # Who only looks at names, or expects none of them, provokes nothing.
        tests = "\n".join(l for f in sources("tests", suffixes=(".cpp", ".h"))
                          if not f.startswith(("tests/fuzz", "tests/unit/observe"))
                          for l in lines(f) if not re.search(r"_EQ\(.*, 0U?\)", l))
        bad = [r for r in reasons if not re.search(rf"Drop::{r}\b", counted) or
               not re.search(rf"Drop::{r}\b|\"{r}\"", tests)]
        self.assertEqual(bad, [])

    def test_no_leftovers(self):
        words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\()|#if 0")
        code = re.compile(r"^\s*//\s*(\w+(\.|->)?\w*\(.*\);|(if|for|while) \(.*\) ?\{|return .*;)\s*$")
        bad = [f"{f}:{i}" for f in sources("lib", "include", "apps", "tests", "bench")
               for i, l in enumerate(lines(f), 1)
               # What is indented by five spaces is an example in a header's introduction.
               if words.search(l) or (code.match(l) and not l.startswith("//     "))]
        self.assertEqual(bad, [])

    def test_lines_and_files_keep_their_measure(self):
        bad = [f"{f}:{i} has {len(l)} columns" for f in sources("lib", "include", "apps")
               for i, l in enumerate(lines(f), 1) if len(l) > COLUMNS_MAX]
        bad += [f"{f} has {len(lines(f))} lines" for f in sources("lib", "include", "apps")
                if len(lines(f)) > LINES_MAX]
        self.assertEqual(bad, [])

    def test_functions_are_short_or_say_why(self):
        """From a line that opens a body at column 0 to its closing brace at column 0."""
        bad = []
        for f in sources("lib", "apps", suffixes=(".cpp",)):
            start = None  # the last line at column 0 that may begin a function
            text = lines(f)
            for i, l in enumerate(text):
                if l == "}" and start is not None:
                    before = text[max(0, start - 4):start]
                    if i - start > FUNCTION_MAX and not any("Long because" in b for b in before):
                        bad.append(f"{f}:{start + 1} has {i - start} lines")
                elif re.match(r"[A-Za-z]", l) and not l.endswith(";"):
                    start = i
        self.assertEqual(bad, [])

    def test_the_readme_shows_the_package_list(self):
        with open(os.path.join(TOP, "README.md")) as file:
            readme = file.read()
        packages = [l for l in lines(".ci/packages.txt") if l and not l.startswith("#")]
        self.assertEqual([p for p in packages if not re.search(rf"\b{re.escape(p)}(?![\w-])", readme)], [])

    def test_the_readme_shows_how_a_server_is_ported(self):
        said = subprocess.run(["diff", "-U0", "epoll_echo.c", "epoll_echo_millrace.c"],
                              cwd=os.path.join(TOP, "apps/examples"), capture_output=True,
                              text=True).stdout
        difference = re.sub(r"^(---|\+\+\+) .*\n", "", said, flags=re.M)
        self.assertGreater(difference.count("\n"), 20)
        self.assertIn("```diff\n" + difference + "```", "\n".join(lines("README.md")))

    def test_the_readme_shows_how_a_test_is_written(self):
        example = "\n".join(lines("apps/examples/syn_times.c"))
        self.assertIn("```c\n" + example + "```", "\n".join(lines("README.md")))

    def test_every_socket_option_of_linux_is_in_the_table(self):
        sections = "\n".join(lines("include/millrace/README.md")).split("\n## ")
        for level, (headers, pattern) in OPTION_HEADERS.items():
            table = next(s for s in sections if s.startswith(level + " "))
            listed = {(name, int(number))
                      for names, number in re.findall(r"^\| (`.*?`) \| (\d+) \|", table, re.M)
                      for name in re.findall(r"`(\w+)`", names)}
            named = {(name, number) for name, number in macros(headers).items()
                     if re.match(pattern, name) and not re.match(NO_OPTIONS, name)}
            self.assertGreater(len(named), 5 if level == "IPPROTO_UDP" else 30)
            self.assertEqual(named - listed, set())

    def test_everything_in_the_public_headers_is_documented(self):
        options = {"INPUT": os.path.join(TOP, "include/millrace"), "FILE_PATTERNS": "*.h",
                   "OUTPUT_DIRECTORY": tempfile.mkdtemp(), "GENERATE_LATEX": "NO", "QUIET": "YES",
                   "JAVADOC_AUTOBRIEF": "YES", "EXTRACT_ALL": "NO", "HAVE_DOT": "NO",
                   "MACRO_EXPANSION": "YES", "PREDEFINED": "__cplusplus",
                   "EXCLUDE_SYMBOLS": "millrace::api::* millrace::tcp::* millrace::detail::* "
                                      "millrace::coro::detail::*"}
        self.addCleanup(shutil.rmtree, options["OUTPUT_DIRECTORY"])
        said = subprocess.run(["doxygen", "-"], capture_output=True, text=True,
                              input="".join(f"{k} = {v}\n" for k, v in options.items()))
        self.assertEqual((said.returncode, said.stderr), (0, ""))

    def test_every_requirement_of_rfc_9293_has_a_test_or_a_reason(self):
        self.assertEqual(sum(n for kind, n in REQUIREMENTS.items() if kind != "U"), 119)
        rows = requirement_rows("\n".join(lines("tests/wire/README.md")))
        tests = set().union(*(tests_in("\n".join(lines(f))) for f in sources("tests")))
        self.assertEqual(wrong_rows(rows, tests), [])

    def test_a_wrong_requirement_table_is_found(self):
        every = [(f"{kind}-{i}", "reason: none") for kind, n in REQUIREMENTS.items()
                 for i in range(1, n + 1)]
        tests = tests_in("TEST(MUST_1, a) {\nTEST_P(\n    MUST_2, b) {")
        self.assertEqual(tests, {"MUST_1.a", "MUST_2.b"})
        self.assertEqual(wrong_rows(every, tests), [])
        self.assertEqual(wrong_rows(every[1:], tests), ["MUST-1 stands 0 times"])
        self.assertEqual(wrong_rows(every + [("MAY-1", "`MUST_1.a`")], tests),
                         ["MAY-1 stands 2 times"])
        self.assertEqual(wrong_rows(every + [("MAY-19", "reason: none")], tests),
                         ["MAY-19 is no requirement"])
        self.assertEqual(wrong_rows([("MUST-1", "`MUST_1.b`")] + every[1:], tests),
                         ["MUST-1: there is no MUST_1.b"])
        self.assertEqual(wrong_rows([("MUST-1", "not yet")] + every[1:], tests),
                         ["MUST-1 has neither test nor reason"])

    def test_every_planted_bug_finds_its_place(self):
        sys.path.insert(0, os.path.join(TOP, "tests", "sim"))
        from planted import BUGS
        self.assertEqual([bug.name for bug in BUGS
                          if "\n".join(lines(bug.file)).count(bug.old.rstrip("\n")) != 1], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
