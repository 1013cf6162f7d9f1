#!/usr/bin/python3
"""larder's memcached server with TLS: openssl s_client, Python's ssl, clients that mean ill, memory of idle connections.

    conformance/tls.py PROGRAM [--connections N]

PROGRAM is the server, built with --features memcached,example-tls. Needs `openssl`, for a certificate. Prints figures; ends
with 1 if anything was answered wrongly.
"""
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

args = sys.argv[1:]
CONNECTIONS = 1_000
if "--connections" in args:
    at = args.index("--connections")
    CONNECTIONS = int(args[at + 1])
    del args[at : at + 2]
PROGRAM = args[0] if len(args) == 1 else sys.exit(__doc__)
if not shutil.which("openssl"):
    print("left out: TLS, openssl is not installed")
    sys.exit(0)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CONNECTIONS + 500), hard))

FOLDER = tempfile.mkdtemp()
CERTIFICATE, KEY = os.path.join(FOLDER, "certificate.pem"), os.path.join(FOLDER, "key.pem")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", KEY, "-out", CERTIFICATE],
    check=True,
    capture_output=True,
)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]
SERVER = subprocess.Popen(
    [PROGRAM, "-l", "127.0.0.1", "-p", str(PORT), "-t", "2", "-m", "64", "-u", "root", "-c", str(CONNECTIONS + 200), "-b", "4096"]
    + ["-Z", "-o", f"ssl_chain_cert={CERTIFICATE},ssl_key={KEY}"]
)
CONTEXT = ssl.create_default_context(cafile=CERTIFICATE)


def plain():
    return socket.create_connection(("127.0.0.1", PORT), 10)


def connect(context=CONTEXT):
    return context.wrap_socket(plain(), server_hostname="localhost")


def resident():
    with open(f"/proc/{SERVER.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def check(what, ok):
    print(f"{'ok' if ok else 'FAILED':7}{what}", flush=True)
    if not ok:
        raise SystemExit(1)


def until(s, end):
    got = b""
    while not got.endswith(end):
        more = s.recv(1 << 16)
        if not more:
            break
        got += more
    return got


def ask(s, request, end):
    s.sendall(request)
    return until(s, end)


def s_client():
    run = subprocess.run(
        ["openssl", "s_client", "-quiet", "-CAfile", CERTIFICATE, "-verify_return_error", "-connect", f"127.0.0.1:{PORT}"],
        input=b"set k 0 0 5\r\nhello\r\nget k\r\nquit\r\n",
        capture_output=True,
        timeout=20,
    )
    check("openssl s_client: set, get, quit", run.stdout == b"STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n")


def versions():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=CERTIFICATE)
        context.minimum_version = context.maximum_version = version
        with connect(context) as s:
            told = s.version()
            check(f"{told}: a request", ask(s, b"version\r\n", b"\r\n").startswith(b"VERSION "))


def large_values():
    with connect() as s:
        value = os.urandom(1_000_000)
        check("1,000,000 bytes stored", ask(s, b"set big 0 0 1000000\r\n" + value + b"\r\n", b"\r\n") == b"STORED\r\n")
        for _ in range(3):
            check("and read", ask(s, b"get big\r\n", b"END\r\n") == b"VALUE big 0 1000000\r\n" + value + b"\r\nEND\r\n")
        # More than the socket takes: the client reads late.
        s.sendall(b"get big\r\n" * 40)
        time.sleep(0.5)
        got = bytearray()
        while len(got) < 40 * len(value):
            more = s.recv(1 << 20)
            if not more:
                break
            got += more
        got += until(s, b"END\r\n") if not got.endswith(b"END\r\n") else b""
        check("40 of them, read late", got == (b"VALUE big 0 1000000\r\n" + value + b"\r\nEND\r\n") * 40)


def pipelined():
    with connect() as s:
        threading.Thread(target=lambda: s.sendall(b"mn\r\n" * 200_000)).start()
        got = 0
        while got < 800_000:
            got += len(s.recv(1 << 16))
        check("200,000 requests at once", got == 800_000)


def strangers():
    s = plain()
    s.sendall(b"get k\r\n" * 10)
    s.settimeout(5)
    got = b""
    try:
        while more := s.recv(4096):
            got += more
    except OSError:
        pass
    check("one who speaks no TLS is sent away", b"END" not in got and len(got) < 100)
    silent = [plain() for _ in range(50)]
    half = connect()
    half.sendall(b"get ")
    gone = connect()
    gone.detach()
    with connect() as s:
        check("others are served beside silent ones", ask(s, b"get k\r\n", b"END\r\n") == b"VALUE k 0 5\r\nhello\r\nEND\r\n")
    check("a request in two pieces", ask(half, b"k\r\n", b"END\r\n") == b"VALUE k 0 5\r\nhello\r\nEND\r\n")
    for s in silent:
        s.close()


def idle():
    before = resident()
    all_of_them = [connect() for _ in range(CONNECTIONS)]
    for s in all_of_them:
        ask(s, b"version\r\n", b"\r\n")
    each = (resident() - before) / CONNECTIONS
    rows = dict(line.split()[1:3] for line in ask(all_of_them[0], b"stats\r\n", b"END\r\n").split(b"\r\n") if line.startswith(b"STAT "))
    check(f"{CONNECTIONS} idle connections: {each:.0f} bytes each", each < 64 << 10)
    check("all are counted", int(rows[b"curr_connections"]) >= CONNECTIONS)
    check("and still served", all(ask(s, b"mn\r\n", b"\r\n") == b"MN\r\n" for s in all_of_them[:: CONNECTIONS // 50 or 1]))
    for s in all_of_them:
        s.close()


try:
    for _ in range(100):
        try:
            plain().close()
            break
        except OSError:
            time.sleep(0.05)
    for part in (s_client, versions, large_values, pipelined, strangers, idle):
        part()
finally:
    SERVER.send_signal(signal.SIGTERM)
    ended = SERVER.wait(10)
    shutil.rmtree(FOLDER)
check(f"ended with {ended}", ended == 0)
