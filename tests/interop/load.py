#!/usr/bin/env python3
"""The load generator, each mode over an embedded link, and what it says of itself.
Usage: load.py BUILD_DIR [unittest arguments]"""
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import jsonschema

BUILD = os.path.abspath(sys.argv.pop(1))
LOAD = os.path.join(BUILD, "apps", "millrace-load")
SCENARIOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "config", "load")
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "apps", "load")
with open(os.path.join(SOURCES, "report.schema.json")) as schema:
    SCHEMA = json.load(schema)
FOLDER = tempfile.TemporaryDirectory(prefix="millrace-load-")


def path(name):
    return os.path.join(FOLDER.name, name)


def call(*arguments):
    return subprocess.run([LOAD, *map(str, arguments)], capture_output=True, text=True, timeout=120)


class Load(unittest.TestCase):
    def run_both(self, *arguments, seconds=3, status=0):
        """A run of server and generator in one process; its report. Its invariants hold."""
        done = call("--role", "both", "-d", seconds, "--json", path("report.json"), *arguments)
        self.output = done.stdout + done.stderr
        self.assertEqual(done.returncode, status, self.output)
        with open(path("report.json")) as file:
            report = json.load(file)
        jsonschema.validate(report, SCHEMA)
        for invariant in report["health"]["invariants"]:
            self.assertTrue(invariant["holds"], (invariant, self.output))
        return report

    def assert_agrees(self, report):
        """What the server has counted is what the generator has."""
        whole, server = report["whole"], report["server"]
        self.assertEqual(whole["bytes_out"], server["bytes_in"])
        self.assertEqual(whole["bytes_in"], server["bytes_out"])
        self.assertEqual(sum(whole["errors"].values()), 0)

    # What machines that are shared do to a schedule is not what is tested here.
    PATIENT = ("--lag-limit", "1000000")

    # --- each mode

    def test_closed(self):
        report = self.run_both("-m", "closed")
        self.assert_agrees(report)
        self.assertEqual(report["whole"]["established"], 64)
        self.assertGreater(report["counted"]["completed"], 3000)
        self.assertEqual(report["server"]["requests"], report["whole"]["asked"])
        self.assertEqual(report["whole"]["statuses"], {"200": report["whole"]["completed"]})

    def test_closed_over_ipv6_with_think_time(self):
        report = self.run_both("-m", "closed", "-6", "--think", "20", "-n", "100")
        self.assert_agrees(report)
        self.assertEqual(report["options"]["target"], ["[fd77::1]:80"])
        self.assertGreater(report["counted"]["completed"], 3000)
        self.assertLess(report["counted"]["completed"], 15000)

    def test_rps(self):
        report = self.run_both("-m", "rps", "--rate", "2000", "--warm-up", "0.5", *self.PATIENT)
        self.assert_agrees(report)
        self.assertEqual(report["whole"]["asked"] + report["whole"]["skipped"], 7000)
        self.assertLess(report["whole"]["skipped"], 700)
        self.assertAlmostEqual(report["rates"]["requests"], 2000, delta=200)
        self.assertEqual({i["phase"] for i in report["series"]} - {"open"},
                         {"warm", "load", "drain"})

    def test_rps_in_steps_of_independent_arrivals(self):
        report = self.run_both("-m", "rps", "--steps", "500:1,3000:1,100:1", "--arrivals",
                               "poisson", *self.PATIENT)
        self.assert_agrees(report)
        # 3600 by the plan; of independent arrivals, 60 is the standard deviation.
        self.assertAlmostEqual(report["whole"]["asked"], 3600, delta=400)
        rates = [i["completed"] for i in report["series"] if i["phase"] == "load"]
        self.assertGreater(rates[1], 3 * rates[0], rates)
        self.assertGreater(rates[1], 3 * rates[2], rates)

    def test_cps_closed_by_each_side(self):
        for closer in ("server", "client", "reset"):
            report = self.run_both("-m", "cps", "--protocol", "raw", "--rate", "500",
                                   "--close-by", closer, *self.PATIENT)
            whole = report["whole"]
            self.assertEqual(whole["established"] + whole["skipped"], 1500, closer)
            self.assertEqual(whole["completed"], whole["established"], closer)
            self.assertEqual(report["server"]["requests"], whole["established"], closer)
            self.assertGreater(whole["established"], 1300)

    def test_concurrent(self):
        report = self.run_both("-m", "concurrent", "-n", "3000", "--rate", "3000", "--trickle",
                               "300", *self.PATIENT)
        self.assert_agrees(report)
        self.assertEqual(report["whole"]["established"], 3000)
        self.assertTrue(all(i["open"] == 3000 for i in report["series"] if i["phase"] == "load"))
        self.assertAlmostEqual(report["counted"]["completed"], 900, delta=60)

    def test_throughput(self):
        for direction in ("up", "down", "both"):
            report = self.run_both("-m", "throughput", "--protocol", "raw", "-n", "4",
                                   "--direction", direction)
            self.assert_agrees(report)
            for way, flows in (("in", direction != "up"), ("out", direction != "down")):
                moved = report["counted"]["bytes_" + way]
                self.assertGreater(moved, 50_000_000 if flows else -1)
                self.assertLess(moved, 1e12 if flows else 10_000)

    def test_https(self):
        for mode in (("-m", "closed", "-n", "16"), ("-m", "cps", "--rate", "200", *self.PATIENT)):
            report = self.run_both("--protocol", "https", *mode)
            self.assert_agrees(report)
            whole = report["whole"]
            self.assertEqual(whole["handshakes"], whole["established"])
            self.assertGreater(whole["completed"], 300)

    def test_handshakes_with_and_without_resumption(self):
        for resume in ("true", "false"):
            whole = self.run_both("-m", "handshakes", "--protocol", "https", "-n", "8", "--resume",
                                  resume)["whole"]
            self.assertGreater(whole["handshakes"], 200)
            self.assertEqual(whole["completed"], whole["handshakes"])
            if resume == "true":
                self.assertGreater(whole["resumed"], whole["handshakes"] / 2)
            else:
                self.assertEqual(whole["resumed"], 0)

    def test_rr_and_crr(self):
        for mode, connections in (("rr", 1), ("crr", None)):
            report = self.run_both("-m", mode, "--protocol", "raw", "-s", "64")
            self.assert_agrees(report)
            whole = report["whole"]
            if connections is None:
                self.assertGreaterEqual(whole["attempted"], whole["completed"])
                self.assertGreater(whole["completed"], 500)
            else:
                self.assertEqual(whole["attempted"], connections)
            self.assertGreater(report["latency"]["request"]["p50_us"], 0.5)
            self.assertLess(report["latency"]["request"]["p50_us"], 5000)

    def test_echo_of_all_sizes_is_byte_exact(self):
        report = self.run_both("--protocol", "echo", "-s", "1,1460,100000", "--pipeline", "3", "-n",
                               "8")
        self.assert_agrees(report)
        self.assertGreater(report["counted"]["completed"], 100)

    def test_udp(self):
        report = self.run_both("-m", "rps", "--protocol", "udp", "--rate", "1000", "-s",
                               "uniform:8:4000", *self.PATIENT, "--assert", "lost<30")
        whole = report["whole"]
        self.assertEqual(whole["asked"] + whole["skipped"], 3000)
        self.assertEqual(whole["completed"] + whole["errors"]["lost"], whole["asked"])
        self.assertGreater(whole["asked"], 2700)

    def test_floods(self):
        for kind in ("syn", "ack", "udp"):
            done = call("--role", "both", "-m", "flood", "--flood", kind, "--rate", "5000",
                        "--honest", "100", "-d", "3", "--flood-sources", "10.77.128.0/17",
                        "--protocol", "udp" if kind == "udp" else "http")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            segments, attempts, established = map(int, re.search(
                r"^(\d+) segments; (\d+) honest attempts: (\d+) established", done.stdout,
                re.M).groups())
            self.assertAlmostEqual(segments, 15000, delta=1500)
            self.assertEqual(established, attempts, kind)

    # --- what makes a run fail

    def test_a_generator_that_is_asked_for_too_much_says_so(self):
        report = self.run_both("-m", "rps", "--rate", "1000000000", "-n", "16", "--lag-limit",
                               "5000", status=1, seconds=1)
        self.assertFalse(report["health"]["valid"])
        self.assertIn("the generator could not keep up", " ".join(report["health"]["invalid"]))
        self.assertIn("INVALID: ", self.output)

    def test_a_request_without_an_answer_is_caught(self):
        arguments = ("-m", "rps", "--protocol", "raw", "--rate", "2000", "--drop-every", "1000",
                     "--timeout", "0.3", *self.PATIENT)
        report = self.run_both(*arguments, "--assert", "errors==0", status=1)
        self.assertEqual(report["whole"]["errors"]["timed-out"], 6)
        self.assertIn("FAILED: errors==0 (is 6)", self.output)
        report = self.run_both(*arguments, "--assert", "error_rate<=0.1%", "--assert",
                               "timed-out==6", status=0)
        self.assertEqual([a["holds"] for a in report["health"]["assertions"]], [True, True])

    def test_bad_calls_are_refused_by_name(self):
        for arguments, word in ((("-m", "rps"), "--rate"),
                                (("--assert", "p99"), "no comparison"),
                                (("-s", "0", "--protocol", "echo"), "--request-size"),
                                (("-s", "100"), "--protocol raw"),
                                (("-m", "rr", "--pipeline", "4"), "--pipeline"),
                                (("--ramp", "4"), "--ramp"),
                                (("-6", "-t", "10.77.0.1:80"), "--ipv6"),
                                (("-m", "flood", "--assert", "errors==0"), "--assert"),
                                (("--mode", "warp"), "warp"),
                                (("--steps", "5"), "--steps"),
                                (("--target", "nobody"), "--target"),
                                (("--sources", "10.99.0.1"), "10.99.0.1"),
                                (("--nosuch", "1"), "nosuch"),
                                (("-m", "cps", "--rate", "100000", "--close-by", "client", "-d",
                                  "10"), "tuples"),
                                (("-n", "70000"), "tuples"),
                                (("-m", "handshakes"), "https"),
                                (("-m", "crr", "-r", "3"), "--requests"),
                                (("-o", "/tmp/x", "-n", "3"), "--output"),
                                (("-m", "handshakes", "--protocol", "https", "-p", "/x"), "--path"),
                                (("--resume", "false"), "--resume"),
                                (("--protocol", "https", "--tls", "1.1"), "--tls"),
                                (("--protocol", "https", "--certificate", __file__), "--key"),
                                (("--protocol", "https", "--certificate", __file__, "--key",
                                  __file__), "load.py"),
                                (("--protocol", "https", "--authority", __file__), "load.py"),
                                (("--protocol", "https", "-H", "Host: a b"), "Host"),
                                (("--hdr", "/nowhere/x"), "/nowhere/x"),
                                (("--json", "/nowhere/x", "-d", "0"), "/nowhere/x"),
                                (("--csv", "/nowhere/x", "-d", "0"), "/nowhere/x")):
            done = call("--role", "both", *arguments)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn(word, done.stdout + done.stderr, arguments)
        done = call("-m", "closed")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--config", done.stderr)
        done = call("-m", "flood", "--protocol", "udp")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--protocol", done.stderr)

    def test_nobody_who_listens_fails_at_once(self):
        config = path("alone.toml")
        with open(config, "w") as file:
            file.write('[[port]]\ndevice = "ring:alone:0"\naddresses = ["10.9.0.1/24"]\n'
                       '[[core]]\nidle = "yield"\n')
        # Its own address: refused without a wire.
        done = call("-c", config, "-t", "10.9.0.1:81", "-d", "30")
        self.assertEqual(done.returncode, 1)
        self.assertIn("refused:", done.stdout)
        self.assertIn("no connection could be opened", done.stdout)

    # --- what it writes

    def test_files_tell_what_the_report_does(self):
        report = self.run_both("-m", "closed", "--csv", path("run.csv"), "--hdr", path("run.hdr"))
        with open(path("run.csv")) as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), len(report["series"]))
        self.assertEqual(sum(int(row["completed"]) for row in rows), report["whole"]["completed"])
        with open(path("run.hdr")) as file:
            lines = file.read().splitlines()
        tagged = [line for line in lines if line.startswith("Tag=request,")]
        counting = [row for row in rows if row["phase"] == "load" and int(row["completed"]) > 0]
        self.assertEqual(len(tagged), len(counting))
        self.assertEqual(report["program"].keys(), {"version", "commit", "dpdk"})
        self.assertEqual(report["options"]["mode"], ["closed"])
        percentiles = report["latency"]["request"]["percentiles"]
        self.assertEqual(percentiles, sorted(percentiles))
        self.assertLessEqual(max(len(line) for line in self.output.splitlines()
                                 if re.match(r" +\d+ +-", line)), 80)

    def test_runs_are_drawn(self):
        plot = os.path.join(SOURCES, "plot")
        self.run_both("-m", "rps", "--rate", "1000", *self.PATIENT, seconds=2)
        os.rename(path("report.json"), path("one.json"))
        self.run_both("-m", "closed", seconds=2)
        for name in ("both.svg", "both.png"):
            subprocess.run([plot, "-o", path(name), path("one.json"),
                            "as fast as it goes=" + path("report.json")], check=True, timeout=60)
        with open(path("both.svg")) as file:
            text = file.read()
        for word in ("Rate over time", "Latency by percentile", "as fast as it goes", "one p99",
                     "99.99"):
            self.assertIn(word, text)
        self.assertGreater(text.count("<path"), 20)
        with open(path("both.png"), "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")
        for arguments in ((path("both.svg"), path("nosuch.json")), (path("x.pdf"), path("one.json")),
                          (path("x.svg"), path("both.svg"))):
            done = subprocess.run([plot, "-o", *arguments], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("plot: ", done.stderr)

    def test_a_plan_is_printed_and_read_again(self):
        done = call("--role", "both", "-m", "rps", "--rate", "1234", "--close", "--protocol", "raw",
                    "-s", "12,20", "--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path("plan.toml"), "w") as file:
            file.write(done.stdout)
        again = call("--scenario", path("plan.toml"), "--dry-run")
        self.assertEqual(again.stdout, done.stdout, again.stderr)
        self.assertIn('mode = "rps"\n', done.stdout)
        # What the command line says counts more.
        other = call("--scenario", path("plan.toml"), "--rate", "99", "--dry-run")
        self.assertIn("rate = 99\n", other.stdout)
        with open(path("plan.toml"), "a") as file:
            file.write("warp = 9\n")
        refused = call("--scenario", path("plan.toml"), "--dry-run")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("warp", refused.stdout + refused.stderr)

    def test_every_scenario_is_a_plan(self):
        names = sorted(os.listdir(SCENARIOS))
        self.assertGreaterEqual(len(names), 8)
        for name in names:
            done = call("--scenario", os.path.join(SCENARIOS, name), "--dry-run")
            self.assertEqual(done.returncode, 0, (name, done.stdout, done.stderr))

    # --- a server of another process

    def memif(self, role, host):
        with open(path(role + ".toml"), "w") as file:
            file.write(f'[[port]]\ndevice = "net_memif0,role={role},id=0,'
                       f'socket={FOLDER.name}/sock,socket-abstract=no,rsize=10"\n'
                       f'addresses = ["10.80.0.{host}/24"]\n[[core]]\nidle = "spin"\n')
        return path(role + ".toml")

    def start_server(self, program, *arguments):
        log = open(path("server.log"), "w")
        self.addCleanup(log.close)
        server = subprocess.Popen([os.path.join(BUILD, "apps", program), "-c",
                                   self.memif("server", 1), *arguments], stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        time.sleep(1.5)
        return server

    def test_our_server_of_another_process_counts_the_same(self):
        server = self.start_server("millrace-httpd", "-q")
        done = call("-c", self.memif("client", 2), "-t", "10.80.0.1:80", "-d", "3", "--json",
                    path("report.json"), "-n", "100", "-r", "7")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(path("report.json")) as file:
            whole = json.load(file)["whole"]
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        with open(path("server.log")) as file:
            counted = re.findall(r"^connections (\d+) requests (\d+) bytes \d+ status (.*)$",
                                 file.read(), re.M)[-1]
        self.assertEqual(counted, (str(whole["established"]), str(whole["asked"]),
                                   f"200:{whole['completed']}"))
        self.assertGreater(whole["established"], 500)

    def test_a_stopped_server_shows_in_the_corrected_latency_alone(self):
        server = self.start_server("millrace-load", "--role", "server", "-t", "0.0.0.0:80")
        target = ("-c", self.memif("client", 2), "-t", "10.80.0.1:80", "--json", path("co.json"))
        # What it can do, with the same few connections.
        done = call(*target, "-m", "closed", "-n", "8", "-d", "2")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(path("co.json")) as file:
            capacity = json.load(file)["rates"]["requests"]
        rate = min(int(capacity / 2), 20000)
        client = subprocess.Popen([LOAD, *target, "-m", "rps", "-n", "8", "--rate", str(rate), "-d",
                                   "10", "--lag-limit", "1000000"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        time.sleep(5)
        server.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        server.send_signal(signal.SIGCONT)
        output = client.communicate(timeout=60)[0]
        self.assertEqual(client.returncode, 0, output)
        with open(path("co.json")) as file:
            latency = json.load(file)["latency"]
        self.assertGreater(latency["request"]["p99_us"], 200_000, output)
        self.assertGreater(latency["request"]["max_us"], 450_000, output)
        self.assertLess(latency["uncorrected"]["p99_us"], 100_000, output)
        self.assertGreater(latency["uncorrected"]["max_us"], 450_000, "of those under way")


if __name__ == "__main__":
    unittest.main(verbosity=2)
