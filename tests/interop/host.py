"""What the tests against the host's kernel share: commands, and programs with their logs."""
import ctypes
import os
import platform
import signal
import struct
import subprocess
import time


def run(*command, check=True, timeout=120, said=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, input=said)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} answered {done.returncode}:\n"
                             f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done


def take_short_turns():
    """For a program that mostly waits: Linux 6.12 and later run it soon after it wakes where its
    slice is short (0.1 ms), at no larger share of the processor. Elsewhere: nothing."""
    if platform.machine() != "x86_64":
        return
    sched_setattr = 314
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, nice, 0, 100_000, 0, 0)
    ctypes.CDLL(None).syscall(sched_setattr, 0, attributes, 0)


class Programs:
    """Programs that run beside a test, each with a log in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []

    def launch(self, *command):
        log = open(os.path.join(self.folder, f"{os.path.basename(command[0])}."
                                             f"{time.monotonic_ns()}.log"), "w")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT,
                                   preexec_fn=take_short_turns)
        self.processes.append(process)
        process.log = log
        return process

    def wait(self, ready, process, seconds=60):
        end = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"did not start: {self.output(process)}")
            time.sleep(0.05)

    @staticmethod
    def output(process):
        process.log.flush()
        with open(process.log.name) as file:
            return file.read()

    def finish(self, process):
        """Ends one by a signal; answers what it printed."""
        process.send_signal(signal.SIGINT)
        return self.finished(process, 20)

    def finished(self, process, seconds, status=0):
        """What one that ends by itself has printed."""
        answered = process.wait(timeout=seconds)
        self.processes.remove(process)
        output = self.output(process)
        process.log.close()
        if answered != status:
            raise AssertionError(f"ended with {answered}: {output}")
        return output

    def end_all(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.log.close()
        self.processes.clear()


def nginx_config(folder, root, identity=None, log=True, http="", server=""):
    """Writes a configuration for an nginx of one process in `folder`, which writes the status of
    each answer to `statuses` there, if it is to; answers its path. A master that is killed would
    leave its worker behind. With an identity (a certificate and its key) it serves HTTPS, too.
    `http` and `server` are further directives there."""
    tls = ""
    if identity:
        tls = (f" listen 443 ssl; listen [::]:443 ssl; ssl_certificate {identity[0]};"
               f" ssl_certificate_key {identity[1]};")
    written = (f"log_format status $status; access_log {folder}/statuses status buffer=64k"
               " flush=100ms;" if log else "access_log off;")
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/err;"
                   f"events {{ worker_connections 4096; }}\nhttp {{ {written} sendfile on;"
                   " keepalive_requests 1000000000;"
                   f" client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
                   f" fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;"
                   f" scgi_temp_path {folder}/s;{http} server {{ listen 80 backlog=4096;"
                   f" listen [::]:80;{tls} root {root};{server} }} }}")
    return path
