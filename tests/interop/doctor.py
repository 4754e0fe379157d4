#!/usr/bin/env python3
"""What millrace-doctor says of set-ups that are broken in earnest, each in namespaces of its own;
and programs that run without root, and in a container without huge pages.

Needs root. Usage: doctor.py BUILD_DIR [unittest arguments].
"""
import json
import os
import re
import shutil
import sys
import tempfile
import time
import unittest

from host import run

BUILD = os.path.abspath(sys.argv.pop(1))
WORK = tempfile.mkdtemp(prefix="millrace-doctor-")
NOBODY = 65534
# With a runtime directory of that user's own: /tmp/dpdk may belong to another.
AS_NOBODY = ("env XDG_RUNTIME_DIR=/run/user "
             f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups")

# Mounts and interfaces of its own: files of nobody else, no huge pages, a veth pair of which the kernel
# answers at one end. $@ is what runs there then.
PLACE = f"""set -e
mount -t tmpfs -o mode=755 none /run
mkdir -m 700 /run/user
chown {NOBODY} /run/user
mount -t sysfs none /sys
mount -t tmpfs none /sys/kernel/mm/hugepages
ip link set lo up
ip link add va type veth peer name vb
ethtool -K vb tx off > /dev/null 2>&1 || true
sysctl -qw net.ipv6.conf.va.disable_ipv6=1 || true
ip link set va up
ip link set vb up
ip addr add 10.81.0.2/24 dev vb
"""
VETH = "net_af_packet0,iface=va"
CORE = '[[core]]\nidle = "yield"\n'


def install_programs():
    """Where another user may start them."""
    os.chmod(WORK, 0o755)
    for name in ("millrace-doctor", "millrace-echo", "millrace-httpd"):
        shutil.copy(os.path.join(BUILD, "apps", name), WORK)
        os.chmod(os.path.join(WORK, name), 0o755)


def program(name):
    return os.path.join(WORK, name)


def port(device=VETH, addresses='"10.81.0.1/24"', more=""):
    return f'[[port]]\ndevice = "{device}"\naddresses = [{addresses}]\n{more}'


def written(toml):
    path = os.path.join(WORK, f"{time.monotonic_ns()}.toml")
    with open(path, "w") as file:
        file.write(toml)
    return path


class Doctor(unittest.TestCase):
    def examine(self, toml, before="", through="", arguments=()):
        """What it says in a place of its own, after the commands `before`, started `through` a
        command: exit status and findings."""
        script = f'{PLACE}{before}\n{through} "$@" && status=0 || status=$?\n'
        script += "for job in $jobs; do kill $job; done\nexit $status\n"
        done = run("unshare", "-m", "-n", "sh", "-c", script, "sh", program("millrace-doctor"),
                   "-c", written(toml), "--json", *arguments, check=False, timeout=90)
        try:
            said = json.loads(done.stdout)
        except json.JSONDecodeError:
            self.fail(f"status {done.returncode}: {done.stdout}{done.stderr}")
        return done.returncode, said["findings"]

    def broken(self, toml, topic, what, cause, remedy, severity="failure", **how):
        """Exactly one thing is wrong, and that is it."""
        status, findings = self.examine(toml, **how)
        bad = [f for f in findings if f["severity"] in ("warning", "failure")]
        self.assertEqual([(f["severity"], f["topic"]) for f in bad], [(severity, topic)], bad)
        for key, pattern in (("what", what), ("cause", cause), ("remedy", remedy)):
            self.assertRegex(bad[0][key], pattern)
        self.assertEqual(status, 2 if severity == "failure" else 0)

    def healthy(self, toml, heard, **how):
        status, findings = self.examine(toml, **how)
        bad = [f for f in findings if f["severity"] in ("warning", "failure")]
        self.assertEqual((bad, status), ([], 0))
        frames = [f["what"] for f in findings if f["topic"] == "frames"]
        self.assertRegex("\n".join(frames), heard)

    # --- in order

    def test_a_port_on_a_veth_pair(self):
        self.healthy(port() + CORE, r"[1-9]\d* frames out, [1-9]\d* in; an answer of 10.81.0.2",
                     arguments=("--strict",))

    def test_a_port_on_tap(self):
        # Nobody has an address on the new interface: what comes is the kernel's own.
        self.healthy(port("net_tap0,iface=mr0", '"10.82.0.1/24"') + CORE,
                     r"[1-9]\d* frames out, [1-9]\d* in", arguments=("--patience", "5"))

    def test_a_link_within_the_process(self):
        self.healthy(port("ring:a:0", '"10.82.0.1/24", "fd82::1/64"') + CORE,
                     r"an answer of 10.82.0.2, fd82::1?2?$", arguments=("--strict",))

    def test_both_ends_of_a_link_and_a_null_device(self):
        status, findings = self.examine(
            port("ring:a:0") + port("ring:a:1", '"10.82.0.1/24"') +
            port("net_null0", '"10.83.0.1/24"') + CORE)
        self.assertEqual(status, 0, findings)
        self.assertEqual(len([f for f in findings if f["topic"] == "frames"]), 3)

    def test_without_a_configuration(self):
        done = run(program("millrace-doctor"))
        self.assertRegex(done.stdout, r"(?m)^ok +cores +\d+ CPUs online")
        self.assertRegex(done.stdout, r"\n\d+ failures?, \d+ warnings?, \d+ notes?\n$")

    def test_the_machine_is_as_before(self):
        listing = "{ ip -o link | cut -d: -f2 | sort; find /run/dpdk -mindepth 1 || true; }"
        script = f'{PLACE}{listing} > $0.before; "$@" > /dev/null; {listing} > $0.after'
        seen = os.path.join(WORK, "seen")
        run("unshare", "-m", "-n", "sh", "-c", script, seen, program("millrace-doctor"), "-c",
            written(port("net_tap0,iface=mr0", '"10.82.0.1/24"') + port() + CORE))
        with open(seen + ".before") as before, open(seen + ".after") as after:
            text = before.read()
            self.assertIn("va@vb", text)
            self.assertEqual(text, after.read())

    # --- privileges

    def test_no_permission_for_tap(self):
        self.broken(port("net_tap0,iface=mr0"), "privileges", "wants CAP_NET_ADMIN",
                    "TAP interface is made with it", "ambient-caps",
                    through="setpriv --bounding-set=-net_admin")

    def test_no_permission_for_raw_sockets(self):
        self.broken(port(), "privileges", "wants CAP_NET_RAW", "raw socket", "ambient-caps",
                    through="setpriv --bounding-set=-net_raw")

    def test_no_permission_for_an_interfaces_flags(self):
        caps = "--inh-caps +net_raw --ambient-caps +net_raw"
        self.broken(port(), "privileges", f"wants CAP_NET_ADMIN, which user {NOBODY}", "flags",
                    "ambient-caps", through=f"{AS_NOBODY} {caps}")

    def test_no_permission_for_af_xdp(self):
        self.broken(port("net_af_xdp0,iface=va"), "privileges", "wants CAP_SYS_ADMIN",
                    "XDP program", "ambient-caps", through="setpriv --bounding-set=-sys_admin")

    def test_too_little_locked_memory(self):
        self.broken(port("net_af_xdp0,iface=va"), "limits", "RLIMIT_MEMLOCK is 64 KiB",
                    "locked in memory", "LimitMEMLOCK",
                    through="prlimit --memlock=65536 setpriv --bounding-set=-ipc_lock")

    def test_no_tun_device(self):
        self.broken(port("net_tap0,iface=mr0"), "tap", "/dev/net/tun, which is not there",
                    "module is not loaded", "modprobe tun", before="mount -t tmpfs none /dev/net")

    def test_a_tun_device_of_somebody_else(self):
        node = "mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200"
        caps = "--inh-caps +net_admin --ambient-caps +net_admin"
        self.broken(port("net_tap0,iface=mr0"), "tap", "cannot be opened: Permission denied",
                    f"user {NOBODY} may not", "chmod 666", before=node,
                    through=f"{AS_NOBODY} {caps}")

    def test_a_runtime_directory_that_cannot_be_written(self):
        self.broken(port("ring:a:0") + CORE, "runtime files", "/run/dpdk cannot be written",
                    "EAL makes a folder", "XDG_RUNTIME_DIR",
                    through=f"{AS_NOBODY} env XDG_RUNTIME_DIR=/run")

    # --- memory

    def test_no_huge_pages_where_they_are_needed(self):
        self.broken(port("ring:a:0") + '[eal]\narguments = ["--single-file-segments"]',
                    "huge pages", "none are free", "--single-file-segments, which needs huge",
                    "nr_hugepages")

    def test_a_numa_node_that_there_is_not(self):
        nodes = run("sh", "-c", "ls -d /sys/devices/system/node/node*").stdout.split()
        amounts = ",".join(["0"] * len(nodes) + ["512"])
        self.broken(port("ring:a:0") + f'[eal]\narguments = ["--socket-mem={amounts}"]', "numa",
                    f"--socket-mem={amounts}", f"no NUMA node {len(nodes)}", "numactl")

    def test_a_card_on_another_numa_node(self):
        root = tempfile.mkdtemp(dir=WORK)
        for path, text in (
                ("proc/self/status", "Uid: 0 0 0 0\nCapEff: ffffffffffffffff\n"
                                     "Cpus_allowed_list: 0-1\n"),
                ("proc/meminfo", "MemAvailable: 9000000 kB\n"),
                ("sys/devices/system/cpu/online", "0-1\n"),
                ("sys/devices/system/node/online", "0-1\n"),
                ("sys/devices/system/node/node0/cpulist", "0\n"),
                ("sys/devices/system/node/node1/cpulist", "1\n"),
                ("sys/class/net/ens1/flags", "0x1003\n"),
                ("sys/class/net/ens1/carrier", "1\n"),
                ("sys/class/net/ens1/device/numa_node", "1\n"),
                ("var/run/none", "")):
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w") as file:
                file.write(text)
        self.broken(port("net_af_packet0,iface=ens1") + "[[core]]\ncpu = 0\n", "numa",
                    "is on NUMA node 1, core\\[0\\] polls it from CPU 0 on node 0",
                    "every frame crosses", "CPU of node 1", severity="warning",
                    arguments=("--root", root))

    def test_pools_larger_than_memory(self):
        self.broken(port("ring:a:0") + "[pools]\nreceive = 16777216\npayload = 16777216\n"
                    "header = 16777216\nattach = 16777216\n" + CORE * 8, "memory",
                    r"takes \d+ MiB, \d+ MiB are available", "larger than the memory",
                    r"lower \[pools\]")

    # --- cores

    def test_a_cpu_that_is_not_online(self):
        self.broken(port("ring:a:0") + "[[core]]\ncpu = 1000\n", "cores", r"core\[0\].cpu is 1000",
                    "not online", "nproc")

    @unittest.skipIf(os.cpu_count() < 2, "there is no second CPU")
    def test_a_cpu_outside_the_set(self):
        self.broken(port("ring:a:0") + "[[core]]\ncpu = 1\n", "cores", r"core\[0\].cpu is 1$",
                    "outside this process' set of CPUs \\(0\\)", "taskset", through="taskset -c 0")

    def test_two_loops_on_a_cpu(self):
        self.broken(port("ring:a:0,queues=2") + 2 * (CORE + "cpu = 0\n"), "cores",
                    "are both on CPU 0", "wait for each other", "a CPU of its own",
                    severity="warning")

    # --- ways out

    def test_an_interface_that_there_is_not(self):
        self.broken(port("net_af_packet0,iface=nope0"), "interface", "no interface nope0",
                    "missing, or in another network namespace", "ip link")

    def test_an_interface_that_is_down(self):
        self.broken(port() + CORE, "interface", "va is down", "nobody has brought it up",
                    "ip link set va up", before="ip link set va down")

    def test_a_link_that_is_down(self):
        status, findings = self.examine(port() + CORE, before="ip link set vb down",
                                        arguments=("--strict", "--no-frames"))
        bad = [f for f in findings if f["severity"] != "ok" and f["topic"] == "interface"]
        self.assertEqual((status, len(bad)), (1, 1), findings)
        self.assertRegex(bad[0]["what"], "va has no link")

    def test_an_interface_of_that_name_that_is_no_tap(self):
        self.broken(port("net_tap0,iface=va"), "interface", "va exists and is no TAP", "net_tap",
                    "another iface=")

    def test_more_cores_than_queues(self):
        # The library's own words: it asks the driver.
        self.broken(port() + CORE * 2, "start", "does not start",
                    "1 transmit queues, but 2 cores use it: name fewer in port.cores", "cause")

    def test_more_queues_than_there_are(self):
        self.broken(port("net_af_xdp0,iface=va,queue_count=8"), "queues",
                    "takes the queues 0 to 7, va has 1", ".", "ethtool -L va combined 8")

    def test_a_driver_that_there_is_not(self):
        self.broken(port("net_nonsense0"), "driver", "no driver", "plug-ins", "net_memif")

    def test_a_card_that_there_is_not(self):
        self.broken(port("0000:7f:1f.7") + '[eal]\narguments = ["-a", "0000:7f:1f.7"]', "nic",
                    "no network card 0000:7f:1f.7", "nothing lies at", "dpdk-devbind.py")

    def memif(self, path, role="server"):
        return port(f"net_memif0,role={role},socket={path},socket-abstract=no") + CORE

    def test_a_memif_folder_that_there_is_not(self):
        self.broken(self.memif("/run/nope/m.sock"), "memif", "no folder /run/nope", "socket",
                    "mkdir -p /run/nope")

    def test_a_memif_folder_of_somebody_else(self):
        self.broken(self.memif("/run/x/m.sock"), "memif", f"user {NOBODY} may not write /run/x",
                    "makes the socket", "give the folder", before="mkdir /run/x",
                    through=AS_NOBODY)

    def test_a_memif_socket_that_another_serves(self):
        serve = ("import socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
                 "s.bind('/run/m.sock'); s.listen(); time.sleep(60)")
        self.broken(self.memif("/run/m.sock"), "memif", "/run/m.sock is in use", "another process",
                    "role=client", before=f'python3 -c "{serve}" & jobs=$!\n'
                    "while ! [ -S /run/m.sock ]; do sleep 0.05; done; sleep 0.2")

    def test_a_memif_socket_of_a_program_that_was_killed(self):
        """Told, and no trouble: it starts, and finds nobody at the other end."""
        leave = "import socket; socket.socket(socket.AF_UNIX, 5).bind('/run/m.sock')"
        status, findings = self.examine(self.memif("/run/m.sock"), before=f'python3 -c "{leave}"')
        bad = [f["topic"] for f in findings if f["severity"] in ("warning", "failure")]
        self.assertEqual((status, bad), (0, ["frames"]), findings)
        notes = [f for f in findings if (f["severity"], f["topic"]) == ("note", "memif")]
        self.assertEqual(len(notes), 1, findings)
        self.assertRegex(notes[0]["what"], "/run/m.sock is left behind")
        self.assertRegex(notes[0]["cause"], "killed")

    def test_a_file_in_the_place_of_a_memif_socket(self):
        self.broken(self.memif("/run/m.sock"), "memif", "/run/m.sock is no socket", "its socket",
                    "rm /run/m.sock", before="touch /run/m.sock")

    def test_a_memif_link_without_a_peer(self):
        self.broken(self.memif("/run/m.sock"), "frames", "0 frames out, 0 in", "nobody is at the",
                    "start the other end", severity="warning")

    # --- addresses

    def test_an_address_twice(self):
        self.broken(port() + port("net_null0", '"10.81.0.1/16"'), "address",
                    r"port\[1\]: 10.81.0.1 is port\[0\]'s, too", "names the address twice",
                    "an address of its own")

    def test_an_address_of_the_kernel(self):
        self.broken(port(addresses='"10.81.0.2/24"'), "address", "address of the kernel's vb",
                    "resets connections", "ip addr del 10.81.0.2/24 dev vb")

    def test_a_peer_that_does_not_answer(self):
        self.broken(port() + CORE, "frames", "no answer of 10.81.0.77", "peer is down", "tcpdump",
                    arguments=("--peer", "10.81.0.77"))

    # --- files

    def test_files_of_a_program_that_was_killed(self):
        config = written(port("ring:a:0") + CORE)
        kill = (f"{program('millrace-echo')} -c {config} > /run/log & pid=$!\n"
                "while ! grep -q listening /run/log; do kill -0 $pid; sleep 0.1; done\n"
                "kill -9 $pid; wait $pid || true")
        self.broken(port() + CORE, "runtime files", "one folder was left behind",
                    "killed", r"rm -r /var/run/dpdk/millrace\d+", severity="warning", before=kill)

    @unittest.skipIf(shutil.which("dpdk-testpmd") is None, "dpdk-testpmd is not there")
    def test_another_primary_process(self):
        other = ("mkfifo /run/in; stdbuf -oL dpdk-testpmd --no-huge -m 64 --no-pci --no-telemetry "
                 "--file-prefix=shared --lcores 0@0,1@0 --vdev net_null0 -- "
                 "--total-num-mbufs=2048 < /run/in > /run/log 2>&1 & jobs=$!\nexec 9> /run/in\n"
                 "for i in $(seq 200); do grep -q 'Press enter' /run/log && break; sleep 0.1; "
                 "done; grep -q 'Press enter' /run/log")
        self.broken(port() + CORE + '[eal]\narguments = ["--file-prefix=shared"]',
                    "primary process", r'has the prefix "shared" \(process \d+\)',
                    "share their files", "--file-prefix", before=other)

    # --- the configuration

    def test_a_key_that_there_is_not(self):
        self.broken(port() + "adresses = []\n", "configuration", "cannot be used",
                    r":4: port\[0\].adresses: unknown key", "config/")

    def test_a_gateway_that_cannot_be_reached(self):
        self.broken(port(more='routes = ["default via 10.99.0.1"]\n'), "configuration",
                    "cannot be used", "gateway 10.99.0.1 is in no subnet", "correct it")

    def test_an_argument_that_eal_does_not_know(self):
        self.broken(port() + CORE + '[eal]\narguments = ["--nonsense"]', "start", "does not start",
                    "EAL did not start", "-v")

    def test_a_command_line_that_is_wrong(self):
        self.assertGreater(run(program("millrace-doctor"), "--nonsense", check=False).returncode,
                           100)
        self.assertEqual(run(program("millrace-doctor"), "--peer", "x", check=False).returncode, 1)


# A server, and curl as its client in the same namespace; $1 is how the server is started.
SERVE = """
$1 > /run/log 2>&1 & server=$!
for i in $(seq 100); do grep -q listening /run/log && break; kill -0 $server; sleep 0.1; done
DEVICE
answer=$(curl -sS --max-time 20 --retry 5 --retry-connrefused http://10.81.0.1/body | wc -c)
user=$(sed -n 's/^Uid:[[:space:]]*\\([0-9]*\\).*/\\1/p' /proc/$server/status)
caps=$(sed -n 's/^CapEff:[[:space:]]*0*/0x/p' /proc/$server/status)
kill -INT $server
wait $server && status=0 || status=$?
cat /run/log
echo "answer $answer user $user caps $caps status $status"
"""
TAP_UP = "ip addr add 10.81.0.2/24 dev mr0; ip link set mr0 up"


class Unprivileged(unittest.TestCase):
    """Another user's programs, with no more than the README lists for their ports."""

    def serve(self, device, capabilities, prepare="ip addr del 10.81.0.2/24 dev vb",
              link=TAP_UP, unshare=("-m", "-n"), place=PLACE, server="millrace-httpd"):
        config = written(port(device) + CORE)
        names = ",".join(f"+{name}" for name in capabilities)
        given = f"--inh-caps {names} --ambient-caps {names} --no-new-privs" if names else ""
        start = f"{AS_NOBODY} {given} {program(server)} -c {config} -b 100000 -q"
        script = f"{place}{prepare}\n" + SERVE.replace("DEVICE", link)
        done = run("unshare", *unshare, "sh", "-c", script, "sh", start, check=False, timeout=90)
        # The shell does not split what stands in quotes, and there is nothing in quotes.
        match = re.search(r"answer (\d+) user (\d+) caps (\w+) status (\d+)", done.stdout)
        self.assertIsNotNone(match, done.stdout + done.stderr)
        self.assertEqual(match.groups()[:2] + match.groups()[3:], ("100000", str(NOBODY), "0"),
                         done.stdout)
        return int(match[3] if match[3] != "0x" else "0", 16)

    def test_tap_with_one_capability(self):
        self.assertEqual(self.serve("net_tap0,iface=mr0", ["net_admin"]), 1 << 12)

    @unittest.skipIf(shutil.which("setcap") is None, "setcap is not there")
    def test_capabilities_of_the_file(self):
        """As in a pod, where there are no ambient ones."""
        shutil.copy(program("millrace-httpd"), program("capable-httpd"))
        run("setcap", "cap_net_admin,cap_net_raw+ep", program("capable-httpd"))
        caps = self.serve(VETH, [], prepare="", link=":", server="capable-httpd")
        self.assertEqual(caps, 1 << 12 | 1 << 13)

    def test_af_packet_with_two(self):
        self.assertEqual(self.serve(VETH, ["net_admin", "net_raw"], prepare="", link=":"),
                         1 << 12 | 1 << 13)

    def test_af_xdp_with_four(self):
        caps = self.serve("net_af_xdp0,iface=va", ["net_admin", "net_raw", "sys_admin", "ipc_lock"],
                          prepare="", link=":")
        self.assertEqual(caps, 1 << 12 | 1 << 13 | 1 << 14 | 1 << 21)

    def test_memif_between_two_users_with_none(self):
        """millrace-echo at one end; the doctor at the other hears it. Both are nobody's."""
        socket = "/run/user/m.sock"
        server = written(port(f"net_memif0,role=server,socket={socket},socket-abstract=no") + CORE)
        client = written(port(f"net_memif0,role=client,socket={socket},socket-abstract=no",
                              '"10.81.0.9/24"') + CORE)
        script = (f"{PLACE}ip addr del 10.81.0.2/24 dev vb\n"
                  f"{AS_NOBODY} {program('millrace-echo')} -c {server} > /run/log & server=$!\n"
                  "while ! grep -q listening /run/log; do kill -0 $server; sleep 0.1; done\n"
                  f"{AS_NOBODY} {program('millrace-doctor')} -c {client} --peer 10.81.0.1 --patience 5 "
                  "&& status=0 || status=$?\n"
                  "kill -INT $server; wait $server; exit $status\n")
        done = run("unshare", "-m", "-n", "sh", "-c", script)
        self.assertRegex(done.stdout, "an answer of 10.81.0.1")
        self.assertRegex(done.stdout, "no capability that matters")

    def test_a_container_without_huge_pages(self):
        """Namespaces of processes, mounts and interfaces of its own, as a container has: it sees
        neither the host's processes nor huge pages, and is process 1 there."""
        hide = ("mount -t proc none /proc\nls /sys/kernel/mm/hugepages | grep -c . "
                "> /run/pages || true\ngrep -qx 0 /run/pages\n[ $$ = 1 ]\n")
        caps = self.serve("net_tap0,iface=mr0", ["net_admin"], place=PLACE + hide,
                          unshare=("--mount", "--pid", "--fork", "--net", "--ipc", "--uts"))
        self.assertEqual(caps, 1 << 12)


class Units(unittest.TestCase):
    """What stands in config/ to start from."""
    FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../config")

    @unittest.skipIf(shutil.which("systemd-analyze") is None, "systemd-analyze is not there")
    def test_the_systemd_unit(self):
        with open(os.path.join(self.FOLDER, "millrace-httpd.service")) as file:
            text = file.read()
        # It names where the program is installed; here it lies elsewhere.
        text = re.sub(r"/usr/local/bin/(millrace-\w+)", lambda m: program(m[1]), text)
        folder = tempfile.mkdtemp(dir=WORK)
        path = os.path.join(folder, "millrace-httpd.service")
        with open(path, "w") as file:
            file.write(text)
        done = run("systemd-analyze", "verify", "--man=no", path, check=False)
        ours = [l for l in (done.stdout + done.stderr).splitlines() if "millrace" in l]
        self.assertEqual((ours, done.returncode), ([], 0))
        self.assertRegex(text, r"(?m)^AmbientCapabilities=.*CAP_NET_ADMIN")

    def test_the_kubernetes_example(self):
        path = os.path.join(self.FOLDER, "kubernetes.yaml")
        with open(path) as file:
            text = file.read()
        config = re.search(r"(?m)^  httpd\.toml: \|\n((?:    .*\n|\n)+)", text)
        toml = re.sub(r"(?m)^    ", "", config[1])
        # The configuration in it is one that is read and judged, but for the device it names.
        done = run(program("millrace-doctor"), "-c", written(toml), "--no-frames", "--json",
                   check=False)
        topics = {f["topic"]: f["severity"] for f in json.loads(done.stdout)["findings"]}
        self.assertEqual(topics["configuration"], "ok")
        for wanted in ("hugepages-2Mi:", "NET_ADMIN", "NET_RAW", "/dev/net/tun", "drop:"):
            self.assertIn(wanted, text)


if __name__ == "__main__":
    install_programs()
    try:
        unittest.main(verbosity=2)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
