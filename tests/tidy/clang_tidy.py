#!/usr/bin/env python3
"""clang-tidy finds nothing in lib/, apps/ and include/ by the checks of .clang-tidy.
Usage: clang_tidy.py BUILD_DIR

Needs a configured build directory, not a built one. A source that passed is not analysed again
while nothing of what the compiler reads for it has changed; what it takes to know that is kept in
BUILD_DIR/clang-tidy, which may be removed at any time."""
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(sys.argv.pop(1))
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIDY = "clang-tidy-19"
CLANG = "clang++-19"
CONFIG = os.path.join(TOP, ".clang-tidy")
PASSED = os.path.join(BUILD, "clang-tidy")


def run(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")


def inside(path):
    return os.path.relpath(os.path.realpath(path), os.path.realpath(TOP))


def sources():
    """Every source of the library and the programs: what git knows, not what the build knows."""
    files = run(["git", "ls-files", "-co", "--exclude-standard", "apps", "lib"], TOP).stdout.split()
    return [f for f in files if f.endswith(".cpp") and os.path.exists(os.path.join(TOP, f))]


def folder_of(file):
    """lib/tcp, apps/httpd, include: what one test case answers for."""
    parts = file.split("/")
    return parts[0] if parts[0] == "include" else "/".join(parts[:2])


def compiled_files(entry):
    """What an entry compiles: its file, or those that Meson has put together into it."""
    path = os.path.join(entry["directory"], entry["file"])
    if not re.search(r"-unity\d+\.cpp$", path):
        return [entry["file"]]
    with open(path) as file:
        return re.findall(r"^#include ?[<\"](.+\.cpp)[>\"]$", file.read(), re.MULTILINE)


def commands():
    """From each source to the directory and the arguments it is compiled with, as if alone; and a
    folder from which clang-tidy learns the same."""
    path = os.path.join(BUILD, "compile_commands.json")
    if not os.path.exists(path):
        sys.exit(f"{path} is not there: meson setup {BUILD} makes it")
    with open(path) as file:
        entries = json.load(file)
    single, known = [], {}
    for entry in entries:
        arguments = shlex.split(entry["command"])
        for file in compiled_files(entry):
            alone = [file if a == entry["file"] else a for a in arguments]
            single.append({"directory": entry["directory"], "file": file, "arguments": alone})
            known[inside(os.path.join(entry["directory"], file))] = (entry["directory"], alone)
    with open(os.path.join(PASSED, "compile_commands.json"), "w") as file:
        json.dump(single, file, indent=1)
    return known


def fingerprint(directory, arguments, fixed):
    """Of all that an analysis depends on. The text after the preprocessor holds every header;
    comments stay in it for NOLINT, macros for the checks that look at them."""
    kept, words = [], iter(arguments[arguments.index("c++") + 1 if "c++" in arguments else 1:])
    for word in words:
        if word in ("-o", "-MF", "-MQ"):
            next(words)
        elif word not in ("-c", "-MD"):
            kept.append(word)
    text = run([CLANG, "-E", "-CC", "-dD", "-w", *kept], directory)
    if text.returncode != 0:
        return None  # clang-tidy says what is wrong with it
    return hashlib.sha256("\0".join([fixed, *kept, text.stdout]).encode()).hexdigest()


def findings_in(output, directory, source):
    """Each as "file:line: message". One that lies outside the tree is the source's."""
    found = set()
    for line in output.split("\n"):
        if match := re.match(r"(.+?):(\d+):\d+: (?:error|warning): (.*)", line):
            file = inside(os.path.join(directory, match[1]))
            prefix = f"{source}: " if file.startswith("..") else ""
            found.add(f"{prefix}{file}:{match[2]}: {match[3].replace(',-warnings-as-errors', '')}")
    return found


def analyse(source, command, fixed):
    """What is to be said against a source and the headers it sees; and whether it was looked at."""
    if command is None:
        return {f"{source}:1: no meson.build names it"}, False
    directory, arguments = command
    stamp = os.path.join(PASSED, source.replace("/", "-"))
    key = fingerprint(directory, arguments, fixed)
    if key is not None and os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == key:
                return set(), False
    done = run([TIDY, "--quiet", "-p", PASSED, f"--config-file={CONFIG}",
                os.path.join(TOP, source)], directory)
    found = findings_in(done.stdout + done.stderr, directory, source)
    if done.returncode != 0 and not found:
        found = {f"{source}:1: {TIDY} ended with {done.returncode}: {done.stderr[-1000:]}"}
    if not found and key is not None:
        with open(stamp, "w") as file:
            file.write(key)
    return found, True


def analyse_all():
    """Over all processors at once; every finding once, however many sources see its header."""
    for program in (TIDY, CLANG):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there: install the packages of .ci/packages.txt")
    os.makedirs(PASSED, exist_ok=True)
    with open(CONFIG) as file:
        fixed = file.read() + run([TIDY, "--version"], TOP).stdout
    known, found, looked = commands(), set(), 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(analyse, s, known.get(s), fixed) for s in sources()]
        for job in jobs:
            one, fresh = job.result()
            found |= one
            looked += fresh
    print(f"{looked} of {len(jobs)} sources analysed, the rest is as it was when it passed",
          file=sys.stderr)
    return found


class ClangTidy(unittest.TestCase):
    def test_a_planted_bug_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "planted.cpp")
            with open(source, "w") as file:
                file.write("#include <string>\n#include <utility>\n"
                           "std::size_t planted(std::string a) {\n"
                           "    const std::string b = std::move(a);\n"
                           "    return a.size() + b.size();\n}\n")
            done = run([TIDY, "--quiet", f"--config-file={CONFIG}", source, "--", "-std=c++23"],
                       folder)
            self.assertIn("planted.cpp:5:", done.stdout)
            self.assertIn("bugprone-use-after-move", done.stdout)
            self.assertNotEqual(done.returncode, 0)


def add_case(folder, found):
    def case(self):
        if found:
            self.fail("\n" + "\n".join(found))
    setattr(ClangTidy, "test_" + re.sub(r"\W", "_", folder), case)


if __name__ == "__main__":
    everything = sorted(analyse_all())
    for name in sorted({folder_of(f) for f in sources()} | {"include"}):
        add_case(name, [f for f in everything if folder_of(f.split(":")[0]) == name])
    unittest.main(verbosity=2)
