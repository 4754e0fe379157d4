#!/usr/bin/env python3
"""What is installed works for a stranger: headers, both libraries, pkg-config, programs; and the
tree compiles with the second compiler. Usage: install.py BUILD_DIR"""
import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(sys.argv.pop(1))
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PROGRAM = r"""
#include <millrace/millrace.h>
struct Echo final : millrace::ConnectionHandler, millrace::ListenHandler {
    void on_acceptable(millrace::Listener l) override { while (l.accept(*this)) {} }
};
int main() {
    millrace::Config config;
    config.ports.push_back({.device = "ring:outside:0", .addresses = {*millrace::Prefix::parse("10.0.0.1/24")}});
    config.eal.huge_pages = false;
    auto runtime = millrace::Runtime::create(config);
    if (!runtime) return 1;
    Echo echo;
    millrace::Stack& stack = (*runtime)->core(0);
    stack.poll_once();
    return stack.listen({millrace::Address(), 7}, echo) ? 0 : 2;
}
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command} answered {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


class Install(unittest.TestCase):
    def test_outside_programs_build_against_the_installed_prefix(self):
        with tempfile.TemporaryDirectory() as prefix:
            run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", prefix)
            root = os.path.join(prefix, "usr/local")
            library = os.path.join(root, "lib/x86_64-linux-gnu")
            if not os.path.isdir(library):
                library = os.path.join(root, "lib")
            for name in ("libmillrace.a", "libmillrace.so"):
                self.assertTrue(os.path.exists(os.path.join(library, name)), name)
            for name in ("millrace-httpd", "millrace-load", "millrace-echo", "millrace-doctor",
                         "millrace-ss", "millrace-nstat", "millrace-dump"):
                self.assertTrue(os.path.exists(os.path.join(root, "bin", name)), name)
            source = os.path.join(prefix, "outside.cpp")
            with open(source, "w") as file:
                file.write(PROGRAM)
            # Staged, not in place: the file names the prefix that it was made for.
            pkgconfig = os.path.join(library, "pkgconfig")
            with open(os.path.join(pkgconfig, "millrace.pc")) as file:
                text = file.read()
            with open(os.path.join(pkgconfig, "millrace.pc"), "w") as file:
                file.write(text.replace("prefix=/usr/local", "prefix=" + root, 1))
            environment = dict(os.environ, PKG_CONFIG_PATH=pkgconfig)
            flags = run("pkg-config", "--cflags", "--libs", "millrace", env=environment).split()
            program = os.path.join(prefix, "outside")
            run("g++", "-Wall", "-Werror", source, "-o", program, *flags)
            run(program, env=dict(os.environ, LD_LIBRARY_PATH=library))
            # One in C, which knows nothing of C++, and needs neither a network nor time.
            source = os.path.join(TOP, "tests/install/testing.c")
            in_c = [flag for flag in flags if not flag.startswith("-std=")]
            run("gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror", source, "-o", program, *in_c)
            run(program, env=dict(os.environ, LD_LIBRARY_PATH=library))

    def test_clang_19_compiles_every_source(self):
        with tempfile.TemporaryDirectory() as build:
            run("meson", "setup", build, TOP, "-Dwerror=true", "--buildtype=debug",
                "-Doptimization=0", "-Ddefault_library=static", "-Dbench=false",
                env=dict(os.environ, CC="clang-19", CXX="clang++-19"))
            run("ninja", "-C", build, "apps/millrace-httpd", "apps/millrace-load",
                "apps/millrace-echo")


if __name__ == "__main__":
    unittest.main(verbosity=2)
