#!/usr/bin/python3
"""Clients that mean ill, or do not know better, against larder's memcached server; prints figures.

    conformance/abuse.py PROGRAM [--connections N]

PROGRAM is the server. While each abuse goes on, another client stores and reads and its longest wait is taken; the server's
resident memory is taken before, at its highest and after. Ends with 1 if that client was ever answered wrongly, refused or
evicted, or waited longer than 2 seconds, if the server ended, or if an abuse took more memory than it may.
"""
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

args = sys.argv[1:]
CONNECTIONS = 10_000
if "--connections" in args:
    at = args.index("--connections")
    CONNECTIONS = int(args[at + 1])
    del args[at : at + 2]
PROGRAM = args[0] if len(args) == 1 else sys.exit(__doc__)
MIB = 1 << 20

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CONNECTIONS + 500), hard))
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]
SERVER = subprocess.Popen(
    [PROGRAM, "-l", "127.0.0.1", "-p", str(PORT), "-t", "2", "-m", "64", "-c", str(CONNECTIONS + 200), "-b", "4096", "-u", "root"]
)


def connect():
    return socket.create_connection(("127.0.0.1", PORT), 10)


def resident():
    with open(f"/proc/{SERVER.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


class Other(threading.Thread):
    """Somebody who behaves, and is to be served all the while."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ends, self.worst, self.wrong, self.count, self.most = False, 0.0, 0, 0, 0

    def run(self):
        s = connect()
        number = 0
        while not self.ends:
            number += 1
            begun = time.monotonic()
            try:
                s.sendall(b"set other 0 0 10\r\n%010d\r\nget other\r\n" % number)
                reply = b""
                while not reply.endswith(b"END\r\n"):
                    more = s.recv(4096)
                    if not more:
                        raise OSError("closed")
                    reply += more
                if reply != b"STORED\r\nVALUE other 0 10\r\n%010d\r\nEND\r\n" % number:
                    self.wrong += 1
            except OSError:
                self.wrong += 1
                return
            self.worst = max(self.worst, time.monotonic() - begun)
            self.count += 1
            self.most = max(self.most, resident())
            time.sleep(0.002)


BAD = []


def abuse(name, most_bytes):
    """Runs a scenario, which returns what is to be told of it."""

    def decorate(scenario):
        before, other = resident(), Other()
        other.start()
        begun = time.monotonic()
        told = scenario()
        seconds = time.monotonic() - begun
        time.sleep(0.2)
        other.ends = True
        other.join(10)
        grown = max(other.most, resident()) - before
        fine = not other.wrong and other.worst < 2 and SERVER.poll() is None and grown <= most_bytes and other.count
        if not fine:
            BAD.append(name)
        print(
            f"{'ok' if fine else 'BAD':4}{name:34}{seconds:7.1f} s  memory +{grown / MIB:6.1f} MiB  "
            f"another client: {other.count} requests, longest wait {other.worst * 1e3:.0f} ms  {told}",
            flush=True,
        )

    return decorate


def drain(s, timeout=5.0):
    """Reads to the end of the connection, or until nothing comes."""
    s.settimeout(timeout)
    got = b""
    try:
        while more := s.recv(65536):
            got += more
            if len(got) > 64 * MIB:
                break
        return got, True
    except TimeoutError:
        return got, False
    except OSError:
        return got, True


def send(s, data):
    """Sends as long as the server takes it; says whether it took all."""
    try:
        s.settimeout(5)
        s.sendall(data)
        return True
    except OSError:
        return False


def count_replies(s):
    s.settimeout(10)
    got = 0
    while got < 4_000_000:
        more = s.recv(1 << 16)
        if not more:
            break
        got += len(more)
    return got


for _ in range(100):
    try:
        connect().close()
        break
    except OSError:
        time.sleep(0.05)


@abuse(f"{CONNECTIONS} idle connections", 64 * MIB)
def idle():
    before = resident()
    all_of_them = []
    for _ in range(CONNECTIONS):
        s = connect()
        s.sendall(b"version\r\n")
        s.recv(100)
        all_of_them.append(s)
    each = (resident() - before) / CONNECTIONS
    if each > 2048:
        BAD.append("bytes an idle connection")
    for s in all_of_them:
        s.close()
    return f"{each:.0f} bytes each"


@abuse("a byte at a time", 4 * MIB)
def slow():
    text = b"set slow%d 0 0 5\r\nhello\r\nget slow%d\r\n"
    lines = [(connect(), text % (i, i), i) for i in range(200)]
    for at in range(max(len(line) for _, line, _ in lines)):
        for s, line, _ in lines:
            if at < len(line):
                s.sendall(line[at : at + 1])
        time.sleep(0.02)
    right = 0
    for s, _, i in lines:
        want = b"STORED\r\nVALUE slow%d 0 5\r\nhello\r\nEND\r\n" % i
        s.settimeout(5)
        got = b""
        while len(got) < len(want) and (more := s.recv(4096)):
            got += more
        right += got == want
    if right != len(lines):
        BAD.append("slow senders")
    return f"{right} of {len(lines)} were answered"


@abuse("lines without end", 16 * MIB)
def endless():
    cut = 0
    for begin in (b"", b"get ", b"set ", b"mg ", b"gets k "):
        for _ in range(4):
            s = connect()
            taken = send(s, begin + b"a" * (16 * MIB))
            cut += not taken or drain(s, 1)[1]
            s.close()
    return f"{cut} of 20 were cut off"


@abuse("lengths beyond all bounds", 8 * MIB)
def lengths():
    refused = 0
    numbers = ["9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "-2147483648", "99" * 40, "2147483647"]
    for number in numbers:
        for line in (f"set k 0 0 {number}", f"append k 0 0 {number}", f"cas k 0 0 {number} 1", f"ms k {number}", f"ms k S{number}"):
            s = connect()
            s.sendall(line.encode() + b"\r\n")
            s.settimeout(5)
            reply = s.recv(1000)
            refused += b"ERROR" in reply or reply == b""
            s.close()
    if refused != len(numbers) * 5:
        BAD.append("lengths")
    return f"{refused} of {len(numbers) * 5} were refused"


@abuse("never reads", 24 * MIB)
def deaf():
    s = connect()
    value = b"x" * 500_000
    s.sendall(b"set big 0 0 500000\r\n" + value + b"\r\n")
    s.recv(100)
    deaf_ones = []
    for _ in range(20):
        d = connect()
        d.setblocking(False)
        try:
            while True:
                d.send(b"get big\r\n" * 1000)
        except BlockingIOError:
            pass
        except OSError:
            pass
        deaf_ones.append(d)
    time.sleep(2)
    for d in deaf_ones:
        d.close()
    return "20 clients asked for 500,000 bytes without end"


@abuse("watchers that never read", 24 * MIB)
def deaf_watchers():
    ones = [connect() for _ in range(150)]
    for one in ones:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"watch fetchers\r\n")
    time.sleep(0.3)
    s, lines = connect(), 0
    for _ in range(300):
        s.sendall(b"".join(b"get %d%s\r\n" % (i, b"k" * 200) for i in range(100)))
        got = b""
        while got.count(b"END\r\n") < 100:
            got += s.recv(65536)
        lines += 100
    time.sleep(1)
    for one in ones:
        one.close()
    return f"{len(ones)} were told {lines} lines"


@abuse("a request without an end", 24 * MIB)
def everything():
    s = connect()
    s.sendall(b"set big 0 0 500000\r\n" + b"x" * 500_000 + b"\r\n")
    s.recv(100)
    # Two threads serve, and whoever else is there may be with either of them.
    greedy = [connect() for _ in range(4)]
    ends, got = time.monotonic() + 4, [0] * len(greedy)

    def take(i):
        space = bytearray(MIB)
        send(greedy[i], b"get" + b" big" * 250_000 + b"\r\n")
        while time.monotonic() < ends and (n := greedy[i].recv_into(space)):
            got[i] += n

    takers = [threading.Thread(target=take, args=(i,)) for i in range(len(greedy))]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(20)
    for s in greedy:
        s.close()
    return f"4 clients took {sum(got) / MIB:.0f} MiB of what they asked for in one line each"


@abuse("a million quits", 16 * MIB)
def quits():
    s = connect()
    send(s, b"quit\r\n" * 1_000_000)
    got, ended = drain(s)
    if got or not ended:
        BAD.append("quits")
    return "closed without a word" if ended and not got else f"got {len(got)} bytes"


@abuse("a million requests at once", 24 * MIB)
def many():
    s = connect()
    reader = threading.Thread(target=lambda: counts.append(count_replies(s)))
    counts = []
    reader.start()
    send(s, b"mn\r\n" * 1_000_000)
    reader.join(60)
    if counts != [4_000_000]:
        BAD.append("requests at once")
    return f"{counts[0] // 4 if counts else 0} were answered"


@abuse("garbage", 24 * MIB)
def garbage():
    chance = random.Random(7)
    for i in range(300):
        s = connect()
        first = [b"", b"\x80", b"\x80\x01", b"set ", b"ms "][i % 5]
        send(s, first + chance.randbytes(chance.randrange(1, 200_000)))
        s.close()
    return "300 clients"


@abuse("values that never come", 32 * MIB)
def half():
    halves, large = [], b"x" * 1_000_000
    for i in range(1000):
        s = connect()
        s.sendall(b"%s half%d 0 0 1000000\r\n" % ([b"set", b"append"][i % 2], i) + b"x" * 1000)
        halves.append(s)
    time.sleep(1)
    honest = connect()
    stored = 0
    for i in range(20):
        honest.sendall(b"set large 0 0 1000000\r\n" + large + b"\r\n")
        stored += honest.recv(100) == b"STORED\r\n"
    # The oldest was refused. It is told so as soon as it sends more, and what it announced is not taken for requests.
    halves[0].sendall(b"x" * 999_000 + b"\r\nmn\r\n")
    told = b""
    while not told.endswith(b"MN\r\n") and (more := halves[0].recv(100)):
        told += more
    for s in halves:
        s.close()
    if stored != 20 or told != b"SERVER_ERROR out of memory storing object\r\nMN\r\n":
        BAD.append("values that never come: somebody was answered wrongly")
    return f"1,000 clients announced 1,000,000 bytes each; {stored} of 20 such values of one who sends them were stored"


time.sleep(0.5)
print(f"resident at the end: {resident() / MIB:.1f} MiB (limit of the cache 64 MiB)")
SERVER.send_signal(signal.SIGTERM)
print(f"ended with {SERVER.wait(10)}")
sys.exit(f"bad: {', '.join(BAD)}" if BAD else 0)
