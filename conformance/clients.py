#!/usr/bin/python3
"""Clients that people use, and a proxy, against larder's memcached server.

    conformance/clients.py PROGRAM

PROGRAM is the server. pymemcache speaks the text protocol; pylibmc (libmemcached) text and binary, and ketama consistent
hashing over several servers; twemproxy (nutcracker) stands in front of three. What is not installed is left out and said so.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAM = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
RUNNING = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


def serve(*options):
    port = free_port()
    RUNNING.append(subprocess.Popen([PROGRAM, "-l", "127.0.0.1", "-p", str(port), "-t", "1", *options]))
    wait_for(port)
    return port


def check(what, ok):
    print(f"{'ok' if ok else 'FAILED':7}{what}")
    if not ok:
        raise SystemExit(1)


def pymemcache_client(port):
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheClientError

    c = Client(("127.0.0.1", port), timeout=5, connect_timeout=5)
    c.flush_all()
    check("pymemcache: set, get", c.set("k", b"v", noreply=False) and c.get("k") == b"v")
    check("pymemcache: add, replace", not c.add("k", b"x", noreply=False) and c.replace("k", b"y", noreply=False))
    c.append("k", b"!", noreply=False)
    c.prepend("k", b"?", noreply=False)
    check("pymemcache: append, prepend", c.get("k") == b"?y!")
    value, token = c.gets("k")
    check("pymemcache: cas", c.cas("k", b"z", token, noreply=False) and c.cas("k", b"w", token, noreply=False) is False)
    c.set("n", b"10", noreply=False)
    check("pymemcache: incr, decr", c.incr("n", 5) == 15 and c.decr("n", 20) == 0 and c.incr("absent", 1) is None)
    c.set_many({f"m{i}": str(i).encode() for i in range(500)}, noreply=False)
    check("pymemcache: many", len(c.get_many([f"m{i}" for i in range(510)])) == 500)
    c.set("t", b"1", expire=1, noreply=False)
    check("pymemcache: touch", c.touch("t", 100, noreply=False))
    check("pymemcache: delete", c.delete("k", noreply=False) and not c.delete("k", noreply=False))
    big = os.urandom(900_000)
    check("pymemcache: 900,000 bytes", c.set("big", big, noreply=False) and c.get("big") == big)
    try:
        c.set("too big", b"x")
        check("pymemcache: a key with a blank is refused", False)
    except MemcacheClientError:
        pass
    check("pymemcache: stats, version", b"pid" in c.stats() and c.version())
    c.close()


def pylibmc_client(port):
    import pylibmc

    for binary in (False, True):
        name = f"pylibmc, {'binary' if binary else 'text'}"
        c = pylibmc.Client([f"127.0.0.1:{port}"], binary=binary, behaviors={"tcp_nodelay": True, "cas": True})
        c.flush_all()
        check(f"{name}: set, get", c.set("k", "v") and c.get("k") == "v" and c.get("absent") is None)
        check(f"{name}: add, replace", not c.add("k", 1) and c.replace("k", 2) and c.get("k") == 2)
        c.set("n", 41)
        check(f"{name}: incr, decr", c.incr("n") == 42 and c.decr("n", 2) == 40)
        check(f"{name}: many", not c.set_multi({f"m{i}": i for i in range(300)}))
        check(f"{name}: many back", c.get_multi([f"m{i}" for i in range(310)]) == {f"m{i}": i for i in range(300)})
        c.set("s", "b")
        c.append("s", "c")
        c.prepend("s", "a")
        check(f"{name}: append, prepend", c.get("s") == "abc")
        check(f"{name}: delete", c.delete("s") and not c.delete("s"))
        big = os.urandom(700_000)
        check(f"{name}: 700,000 bytes", c.set("big", big) and c.get("big") == big)
        check(f"{name}: stats", c.get_stats()[0][1])


def ketama():
    import pylibmc

    ports = [serve("-m", "16") for _ in range(4)]
    keys = [f"user:{i}" for i in range(20_000)]

    def client(n):
        servers = [f"127.0.0.1:{port}" for port in ports[:n]]
        return pylibmc.Client(servers, behaviors={"ketama": True, "tcp_nodelay": True})

    three = client(3)
    check("ketama over three: stored", not three.set_multi({key: 1 for key in keys}))
    shares = []
    for port in ports[:3]:
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"stats\r\n")
            text = b""
            while not text.endswith(b"END\r\n"):
                text += s.recv(65536)
        shares.append(int(next(line.split()[2] for line in text.split(b"\r\n") if b" curr_items " in line)))
    check(f"ketama over three: each has its share {shares}", sum(shares) == 20_000 and min(shares) > 4_000)
    moved = len(keys) - len(client(4).get_multi(keys))
    check(f"ketama, a fourth one added: {moved / len(keys):.1%} of the keys moved", 0.15 < moved / len(keys) < 0.35)


def twemproxy():
    ports, port = [serve("-m", "16") for _ in range(3)], free_port()
    folder = tempfile.mkdtemp()
    config = os.path.join(folder, "nutcracker.yml")
    with open(config, "w") as f:
        f.write(f"alpha:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  timeout: 2000\n")
        f.write("  servers:\n" + "".join(f"   - 127.0.0.1:{p}:1\n" for p in ports))
    command = ["nutcracker", "-c", config, "-s", str(free_port()), "-o", os.path.join(folder, "log")]
    RUNNING.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    wait_for(port)
    from pymemcache.client.base import Client

    c = Client(("127.0.0.1", port), timeout=5)
    for i in range(2_000):
        c.set(f"k{i}", f"v{i}".encode(), noreply=False)
    found = c.get_many([f"k{i}" for i in range(2_000)])
    check("twemproxy over three: 2,000 keys", found == {f"k{i}": f"v{i}".encode() for i in range(2_000)})
    check("twemproxy: counting, deleting", c.set("n", b"1", noreply=False) and c.incr("n", 2) == 3 and c.delete("n", noreply=False))
    shutil.rmtree(folder)


def installed(name, module=None, command=None):
    try:
        if module:
            __import__(module)
        ok = not command or shutil.which(command)
    except ImportError:
        ok = False
    if not ok:
        print(f"left out: {name} is not installed")
    return ok


os.environ["PATH"] += ":/usr/sbin"
try:
    if installed("pymemcache", module="pymemcache"):
        pymemcache_client(serve())
    if installed("pylibmc", module="pylibmc"):
        pylibmc_client(serve())
        ketama()
    if installed("twemproxy", module="pymemcache", command="nutcracker"):
        twemproxy()
    if installed("memccapable", command="memccapable"):
        port = serve()
        run = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(port)], capture_output=True, text=True)
        passed = sum(line.rstrip().endswith("[pass]") for line in run.stdout.splitlines())
        if run.returncode:
            print(run.stdout, run.stderr)
        check(f"memccapable: {passed} tests, text and binary", run.returncode == 0 and passed > 50)
finally:
    for process in RUNNING:
        process.send_signal(signal.SIGTERM)
    for process in RUNNING:
        process.wait(10)
