#!/usr/bin/python3
"""Random dialogues with larder's memcached server and with memcached itself: both must answer the same.

    conformance/beside.py PROGRAM MEMCACHED [SECONDS [SEED]]

PROGRAM is larder's server, MEMCACHED memcached's (docs/conformance.md says of which version). Text, meta and binary
requests, right and wrong ones, are sent to both in one piece for SECONDS (10) each. Tokens are compared by whether they
are there; what else may differ is not asked, or is known (see `known`). Prints each kind of difference with its shortest
dialogue; ends with 1 if there is any.
"""
import random
import re
import socket
import subprocess
import sys
import time

if len(sys.argv) not in (3, 4, 5):
    sys.exit(__doc__)
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 10
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1
KEYS = [b"a", b"b", b"c", b"n"]
NUMBERS = [
    b"0", b"1", b"2", b"5", b"10", b"100", b"-1", b"+1", b"007", b"x", b"1x", b"1.5", b"-5", b"3000000000",
    b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"9223372036854775807", b"18446744073709551615",
    b"18446744073709551616",
]
# Commands that end a line and mean nothing to the items, or are wrong.
LINES = """verbosity|verbosity 1|verbosity x|verbosity 1 noreply|verbosity 1 2 3|flush_all|flush_all 0|flush_all noreply
flush_all x|flush_all -1|flush_all 0 noreply|foo|foo bar baz||  |a|ge|get|getx a|gets|gat|gat 0|set|set a
set a 0 0|incr|incr a|decr a|delete|touch|touch a|stats foo|stats detail|stats detail on|stats detail foo
stats cachedump|stats cachedump 1|stats cachedump 1 x|slabs|slabs reassign|slabs reassign 1|slabs reassign x y
slabs reassign 1 1|slabs automove|slabs automove x|slabs automove 1|slabs automove 0|slabs automove 5|slabs foo
lru|lru foo|lru mode|lru mode x|lru mode flat|lru mode segmented|lru tune|lru tune 1 2 3 4|lru tune 50 50 .2 2
lru tune 10 25 0.1 2|lru temp_ttl|lru temp_ttl 5|lru temp_ttl -1|lru_crawler|lru_crawler foo|lru_crawler crawl x
lru_crawler sleep|lru_crawler sleep 100|lru_crawler sleep x|lru_crawler sleep 10000000|lru_crawler tocrawl
lru_crawler tocrawl x|lru_crawler tocrawl 10|cache_memlimit|cache_memlimit x|cache_memlimit 1|cache_memlimit 64
cache_memlimit 64 noreply|shutdown|shutdown graceful|misbehave|debugtime 1|me|me a|me zz|quitx|config|GET a
Set a 0 0 1|mg|ms|md|ma|ms a|ms a x|ms a 1x"""
LINES = [line.encode() for line in LINES.replace("\n", "|").split("|")]
FLAGS = [b"c", b"f", b"h", b"k", b"s", b"t", b"u", b"v", b"q", b"x", b"I", b"b"]
OPCODES = [*range(7), 9, 0x0a, *range(0x0c, 0x10), *range(0x11, 0x17), 0x18, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x23, 0x24]
ODD = [b"z", b"L", b"P1", b"L5", b"cc", b"vx", b"S10", b"!", b"\xff"]


def start(program):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = ["-p", str(port), "-U", "0", "-l", "127.0.0.1", "-m", "64", "-t", "1", "-u", "root"]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{program} does not listen")


class Author:
    """Makes up requests."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def one(self, *choices):
        return self.random.choice(choices)

    def key(self):
        if self.chance(0.95):
            return self.random.choice(KEYS)
        return self.one(b"k" * 250, b"k" * 251, b"AAAA", b"noreply", b"\xc3\xa9", b"a\tb")

    def number(self):
        return self.random.choice(NUMBERS)

    def time(self):
        return b"0" if self.chance(0.7) else self.one(b"100", b"1000", b"-1", b"2000000000", b"2592000", b"x")

    def value(self):
        long = b"x" * self.one(5, 100, 1000, 4096, 20_000)
        return self.one(b"", b"1", b"99", b"abc", b"a b", b"18446744073709551615", long)

    def addition(self):
        """What is appended or prepended: not so much that a counter gets more than 20 digits."""
        return self.one(b"", b"1", b"abc", b"x" * 100)

    def length(self, value):
        if self.chance(0.97) or len(value) > 1000:
            return str(len(value)).encode()
        return self.one(b"x", b"-1", b"", b"1.5", b"4294967296")

    def line(self, *words):
        line = b" ".join(words)
        if self.chance(0.03):
            line = line.replace(b" ", b"  ", 1)
        return line + (b" " if self.chance(0.02) else b"") + (b"\r\n" if self.chance(0.97) else b"\n")

    def text(self):
        what, noreply = self.random.random(), [b"noreply"] if self.chance(0.1) else []
        if what < 0.35:
            name = self.one(b"set", b"set", b"add", b"replace", b"append", b"prepend", b"cas")
            value = self.addition() if name[-3:] == b"end" else self.value()
            token = [self.one(b"0", b"1", b"2")] if name == b"cas" else []
            flags = self.one(b"0", b"5", b"4294967295", b"x", b"-1", b"1x", b"007")
            words = [name, self.key(), flags, self.time(), self.length(value), *token, *noreply]
            return self.line(*words) + value + b"\r\n"
        if what < 0.6:
            name = self.one(b"get", b"gets", b"get", b"gat", b"gats")
            words = [name] + ([self.time()] if name[:3] == b"gat" else [])
            return self.line(*words, *(self.random.choice(KEYS) for _ in range(self.one(1, 1, 1, 2, 3, 20))))
        if what < 0.72:
            return self.line(self.one(b"incr", b"decr"), self.one(b"n", b"n", b"a"), self.number(), *noreply)
        if what < 0.8:
            return self.line(b"delete", self.key(), *self.one([], [], [b"0"], [b"noreply"], [b"0", b"noreply"]))
        if what < 0.86:
            return self.line(b"touch", self.key(), self.time(), *noreply)
        return self.line(self.random.choice(LINES))

    def flags(self):
        flags = []
        for _ in range(self.one(0, 1, 2, 3, 4, 6)):
            letter = self.one(*FLAGS, b"N", b"R", b"T", b"C", b"E", b"F", b"J", b"D", b"M", b"O", b"odd")
            if letter == b"odd":
                letter = self.random.choice(ODD) if self.chance(0.2) else b"v"
            elif letter == b"M":
                letter += self.one(b"S", b"E", b"A", b"P", b"R", b"I", b"D", b"+", b"-", b"Z", b"")
            elif letter == b"O":
                letter += self.one(b"abc", b"1", b"", b"x" * 31)
            elif letter in (b"N", b"R", b"T"):
                letter += self.time()
            elif letter == b"E":
                letter += self.one(b"1", b"2", b"5")
            elif letter not in FLAGS:
                letter += self.number() if self.chance(0.3) else self.one(b"1", b"2", b"0", b"5")
            flags.append(letter)
        return flags

    def meta(self):
        what = self.random.random()
        if what < 0.3:
            return self.line(b"mg", self.key(), *self.flags())
        if what < 0.65:
            value = self.value()
            return self.line(b"ms", self.random.choice(KEYS), self.length(value), *self.flags()) + value + b"\r\n"
        if what < 0.78:
            return self.line(b"md", self.key(), *self.flags())
        if what < 0.92:
            return self.line(b"ma", self.one(b"n", b"n", b"a", b"zz"), *self.flags())
        return self.text()

    def binary(self):
        opcode = self.random.choice(OPCODES)
        key, extras, value = self.random.choice(KEYS), b"", b""
        plain = opcode - 0x10 if 0x11 <= opcode <= 0x16 else opcode
        if plain in (1, 2, 3):
            extras, value = self.word(0, 5, 2**32 - 1) + self.word(0, 100, 1000, 2**32 - 1), self.value()
        elif plain in (5, 6):
            extras = self.word(0, 1, 5, 2**64 - 1, size=8) + self.word(0, 7, size=8) + self.word(0, 100, 2**32 - 1)
        elif plain in (0x0e, 0x0f, 0x19, 0x1a):
            value = self.addition()
        elif plain in (0x1c, 0x1d, 0x1e, 0x23, 0x24):
            extras = self.word(0, 100, 2**32 - 1)
        elif plain in (8, 0x18):
            key, extras = b"", self.one(b"", bytes(4))
        elif plain == 0x0a:
            key = b""
        # A counter with a wrong token may be told of as no number or as changed: not both at once.
        token = 0 if plain in (5, 6) else self.one(0, 0, 0, 0, 1, 2**64 - 1)
        return request(opcode, key, extras, value, token=token)

    def word(self, *numbers, size=4):
        return self.random.choice(numbers).to_bytes(size, "big")


def request(opcode, key=b"", extras=b"", value=b"", opaque=b"opaq", token=0):
    lengths = len(key).to_bytes(2, "big") + bytes([len(extras), 0, 0, 0])
    body = len(extras) + len(key) + len(value)
    header = bytes([0x80, opcode]) + lengths + body.to_bytes(4, "big") + opaque + token.to_bytes(8, "big")
    return header + extras + key + value


def replies(answer):
    """Binary replies, with whether they have a token in place of it; what is left over as it is. Spaces at the end of a
    value are left out: memcached fills up a counter that becomes shorter, unless somebody reads it just then."""
    found, at = [], 0
    while at + 24 <= len(answer):
        end = at + 24 + int.from_bytes(answer[at + 8:at + 12], "big")
        token, value = any(answer[at + 16:at + 24]), answer[at + 24:end].rstrip(b" ")
        found.append((answer[at:at + 8], answer[at + 12:at + 16], token, value))
        at = end
    return found + ([answer[at:]] if answer[at:] else [])


def lines(answer):
    """Lines without tokens; values as in `replies`, without their lengths."""
    answer = re.sub(rb"(VALUE \S+ \d+|VA) \d+([^\r\n]*)\r\n(\d+) *\r\n", rb"\1 LENGTH\2\r\n\3\r\n", answer)
    answer = re.sub(rb"(HD[^\r\n]* s)\d+", rb"\1LENGTH", answer)
    # Far ends, counted by whole seconds that begin at different moments.
    answer = re.sub(rb" t\d{7,}", b" tFAR", answer)
    answer = re.sub(rb"(VALUE \S+ \d+ \S+) \d+\r\n", rb"\1 TOKEN\r\n", answer)
    meta = re.compile(rb"^(?:HD|VA|EN|NF|NS|EX)\b[^\r\n]*", re.M)
    answer = meta.sub(lambda found: re.sub(rb" c\d+", b" cTOKEN", found.group()), answer)
    return re.sub(rb"ME (\S+) exp=(\S+) .* fetch=(\S+) .*", rb"ME \1 \2 \3", answer).split(b"\r\n")


def talk(port, dialogue, done):
    answer = b""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(1)
        try:
            s.sendall(dialogue)
            while not answer.endswith(done):
                came = s.recv(1 << 16)
                if not came:
                    return answer + b"<closed>"
                answer += came
        except (socket.timeout, ConnectionError) as error:
            return answer + f"<{type(error).__name__}>".encode()
    return answer


def known(dialogue, theirs, ours):
    """What differs, and is told in docs/memcached.md; what memcached does wrong."""
    return (
        # A value is awaited for ever: memcached keeps earlier replies back meanwhile.
        theirs[-1:] == [b"<TimeoutError>"]
        # The connection ended, for a line that is too long, and what was said before got lost.
        or theirs == [b"<ConnectionResetError>"]
        # memcached looks at the length of a line only while its end has not come.
        or ours[-1:] == [b"<closed>"] and re.search(rb"[^\r\n]{2047}", dialogue)
        # Replies that come before the one to a key that is too long get lost.
        or b"k" * 251 in dialogue
        # `me` of a key that is no base64 finds nothing there.
        or re.search(rb"^me \S+ b", dialogue, re.M)
        # The value after an `ms` whose flags are no letters is taken for requests.
        or re.search(rb"^ms [^\r\n]* [!\xff]", dialogue, re.M)
        # Whether a token that was made up is older than the item's depends on how many were given.
        or re.search(rb"^ms (?=[^\r\n]* I\b)[^\r\n]* C", dialogue, re.M)
        # An item that is given out after its end has thousands of millions of seconds left.
        or re.search(rb" [NT]-", dialogue) and any(b" tFAR" in line for line in theirs)
        # The key of an item that `mg ... N` has made is shown as the bytes that it is, though it came in base64.
        or re.search(rb"^mg AAAA(?=[^\r\n]* N)[^\r\n]* b", dialogue, re.M)
        # A counter that becomes longer forgets that it was read.
        or re.search(rb"^(ma|incr) ", dialogue, re.M) and any(b" h0" in line for line in theirs)
        # An item that `mg ... N` has made counts as read.
        or re.search(rb"^mg [^\r\n]* N", dialogue, re.M) and any(b" h1" in line or b" yes" in line for line in theirs)
    )


def main():
    (memcached, their_port), (larder, our_port) = start(sys.argv[2]), start(sys.argv[1])
    author, wrong = Author(SEED), 0
    kinds = [
        ("text", author.text, b"flush_all\r\n", b"mn\r\n", b"\nMN\r\n", lines),
        ("meta", author.meta, b"flush_all\r\n", b"mn\r\n", b"\nMN\r\n", lines),
        ("binary", author.binary, request(8), request(0x0a, opaque=b"DONE"), b"DONE" + bytes(8), replies),
    ]
    try:
        for name, write, first, last, done, read in kinds:
            end, count, differences = time.time() + SECONDS, 0, {}
            while time.time() < end:
                count += 1
                dialogue = first + b"".join(write() for _ in range(author.one(1, 2, 4, 7))) + last
                theirs, ours = read(talk(their_port, dialogue, done)), read(talk(our_port, dialogue, done))
                if theirs == ours or known(dialogue, theirs, ours):
                    continue
                differs = (i for i, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1])
                at = next(differs, min(len(theirs), len(ours)))
                kind = re.sub(r"\d+", "#", str((theirs[at:at + 1], ours[at:at + 1])))[:200]
                if kind not in differences or len(dialogue) < len(differences[kind][0]):
                    differences[kind] = (dialogue, theirs, ours)
            result = "FAILED" if differences else "ok"
            print(f"{result:7}{name}: {count} dialogues, {len(differences)} kinds of difference")
            wrong += len(differences)
            for dialogue, theirs, ours in differences.values():
                print(f"  asked     {dialogue[:600]}\n  memcached {str(theirs)[:600]}\n  larder    {str(ours)[:600]}")
    finally:
        for server in (memcached, larder):
            server.kill()
            server.wait()
    return 1 if wrong else 0


sys.exit(main())
