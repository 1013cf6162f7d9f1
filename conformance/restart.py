#!/usr/bin/python3
"""Restarts of larder's memcached server with -e: what stays, and what does not.

    conformance/restart.py PROGRAM

PROGRAM is the server. Ends with 1 if items are lost where they should stay, or stay where they should not.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAM = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
FOLDER = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


class Server:
    def __init__(self, *options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [PROGRAM, "-p", str(port), "-m", "64", "-e", FOLDER, "-v", "-A", "-u", "root", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.start = self.process.stderr.readline().strip()
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), 10)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        self.replies = self.socket.makefile("rb")

    def ask(self, request):
        self.socket.sendall(request)
        return self.replies.readline().strip()

    def has(self):
        """How many of the items are there, whole."""
        found = 0
        for i in range(1000):
            if self.ask(b"get k%d\r\n" % i) != b"END":
                found += self.replies.readline().strip() == b"%d" % i * 50
                self.replies.readline()
        return found

    def end(self, how):
        if how == "shutdown":
            self.socket.sendall(b"shutdown\r\n")
        else:
            self.process.send_signal(how)
        return self.process.wait(20)


def expect(what, is_so):
    print(f"{'passed' if is_so else 'FAILED'}: {what}")
    return is_so


server = Server()
good = expect("a new folder is a cold start: " + server.start, "cold" in server.start)
good &= all(server.ask(b"set k%d 0 0 %d\r\n%s\r\n" % (i, len(b"%d" % i * 50), b"%d" % i * 50)) == b"STORED" for i in range(1000))
for how in [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, "shutdown"]:
    code, name = server.end(how), getattr(how, "name", how)
    server = Server()
    good &= expect(f"after {name} (code {code}) all are there: {server.start}", code == 0 and server.has() == 1000)
server.end(signal.SIGKILL)
server = Server()
good &= expect("after a kill none are: " + server.start, "cold" in server.start and server.has() == 0)
server.end(signal.SIGTERM)
server = Server("-n", "96")
good &= expect("with other chunks none are: " + server.start, "cold" in server.start)
server.end(signal.SIGTERM)
for name in os.listdir(FOLDER):
    os.remove(os.path.join(FOLDER, name))
os.rmdir(FOLDER)
sys.exit(0 if good else 1)
