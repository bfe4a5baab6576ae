"""Peers that mean harm, or know no better, beside one who just asks: that one is answered, rightly, all the time; what the
server holds for the others is bounded; and when they are gone so is what it held.

A kind of peer is a row of PEERS: how many of it, what each does, and how much the server may hold for each."""
import os
import random
import re
import select
import socket
import struct
import sys
import threading
import time
import unittest

import msgpack
from serving import SANITIZED, Data, Rpc, Server, count, seed

VECTOR = [1.0, 2.0, 0.0, 1.0]
MANY = count(2000, 10000)
KIB, MIB = 1024, 1 << 20
SPARE = (2048 if SANITIZED else 48) * MIB  # what the server takes for itself: threads, caches, the allocator's own


def request(n, method, **params):
    return msgpack.packb([0, n, method, [params]])


class Peer:
    """One socket, never blocking. step() does a little harm; False: it is over."""
    answered = False  # whether each of this kind must get an answer

    def __init__(self, test, r):
        self.test, self.r, self.sent, self.got = test, r, 0, 0
        self.s = socket.socket(socket.AF_UNIX) if r.random() < .5 else socket.socket()
        self.s.connect(test.server.sock if self.s.family == socket.AF_UNIX else test.tcp)
        self.s.setblocking(False)
        self.begin()

    def begin(self):
        pass

    def send(self, data):
        """How much of it went; None: the server has closed the connection."""
        try:
            n = self.s.send(data)
        except BlockingIOError:
            n = 0
        except OSError:
            return None
        self.sent += n
        return n

    def read(self, n):
        try:
            data = self.s.recv(n)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        self.got += len(data)
        return data or None

    def ask(self, k=1000):
        return request(1, "query", key=self.test.data.key, index="docs", vector=VECTOR, k=k)

    def step(self):
        return True

    def close(self):
        self.s.close()


class Idle(Peer):
    pass


class SlowWriter(Peer):
    """A byte now and then of a request that never ends."""

    def step(self):
        return self.send(self.ask()[self.sent % 40:][:1]) is not None if self.sent < 40 else True


class ByteByByte(Peer):
    """A whole request, a byte a time; then the whole answer, which must be right."""
    answered = True

    def begin(self):
        self.left, self.answer = self.ask(3), msgpack.Unpacker(raw=False)

    def step(self):
        if self.left:
            self.left = self.left[self.send(self.left[:1]) or 0:]
            return True
        self.answer.feed(self.read(1) or b"")
        for message in self.answer:
            self.test.assertEqual([h["doc"] for h in message[3]["hits"]][:1], ["d2"])
            self.test.answered += 1
            self.begin()
        return True


class NeverReads(Peer):
    """Asks for large answers and takes none."""

    def begin(self):
        self.left = b""

    def step(self):
        self.left = self.left or self.ask() * 16
        n = self.send(self.left)
        if n is None:
            return False
        self.left = self.left[n:]
        return True


class SlowReader(NeverReads):
    """Asks like that, and takes some bytes now and then."""

    def step(self):
        return super().step() and self.read(100) is not None


class HalfClosed(Peer):
    """Asks, and closes its side: it is still answered, and then the connection ends."""
    answered = True

    def begin(self):
        self.answer = msgpack.Unpacker(raw=False)
        self.s.setblocking(True)
        self.s.sendall(self.ask(3))
        self.s.setblocking(False)
        self.s.shutdown(socket.SHUT_WR)
        self.answers = 0

    def step(self):
        data = self.read(65536)
        if data is None:
            self.test.assertEqual(self.answers, 1)
            self.test.answered += 1
            return False
        self.answer.feed(data)
        self.answers += sum(1 for m in self.answer if m[3]["hits"][0]["doc"] == "d2")
        return True


class Promises(Peer):
    """The head of a large request, and a part of it."""

    def begin(self):
        self.left = b"\x94\x00\x01\xa5query\x91\x81\xa1x\xc6" + struct.pack(">I", 50_000_000) + b"x" * 65536

    def step(self):
        n = self.send(self.left)
        if n is None:
            return False
        self.left = self.left[n:]
        return True


class Breaks(Peer):
    """Half a request, and then a reset."""

    def step(self):
        self.send(self.ask()[:self.r.randint(1, 60)])
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


class Garbage(Peer):
    def step(self):
        return self.send(self.r.randbytes(200)) is not None and self.read(65536) is not None


# name: (how many, what, bytes the server may hold for each)
PEERS = {
    "idle": (MANY, Idle, 8 * KIB), "slow writers": (count(200, 2000), SlowWriter, 80 * KIB), "byte by byte": (20, ByteByByte, 128 * KIB),
    "never read": (count(20, 60), NeverReads, 5 * MIB), "slow readers": (count(20, 60), SlowReader, 5 * MIB), "half closed": (count(100, 1000), HalfClosed, 128 * KIB),
    "promise much": (count(50, 200), Promises, 256 * KIB), "break off": (count(200, 2000), Breaks, 128 * KIB), "garbage": (count(100, 1000), Garbage, 128 * KIB),
}


class Peers(unittest.TestCase):
    def setUp(self):
        self.data = Data(40)
        self.addCleanup(self.data.close)
        self.server = Server(self.data, "--max-connections", "100000", "--write-timeout", "3s", "--frame-timeout", "3s")
        self.addCleanup(lambda: self.server.p.poll() is None and self.server.p.kill())
        host, port = self.server.tcp[6:].rsplit(":", 1)
        self.tcp = (host, int(port))
        self.good = Rpc(self.server, self.data.key)
        self.r = random.Random(seed(1))
        self.answered = self.asked = 0

    def held(self):
        with open(f"/proc/{self.server.p.pid}/status") as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1]) * KIB

    def sockets(self):
        n, folder = 0, f"/proc/{self.server.p.pid}/fd"
        for fd in os.listdir(folder):
            try:
                n += os.readlink(f"{folder}/{fd}").startswith("socket:")
            except OSError:  # closed meanwhile
                pass
        return n

    def just_ask(self):
        hits = self.good.call("query", index="docs", vector=VECTOR, k=100)["hits"]
        self.assertEqual([len(hits), hits[0]["doc"]], [20, "d2"])
        self.asked += 1

    def harm(self, peers, rounds):
        """The server's largest size while they go on."""
        most = 0
        for _ in range(rounds):
            peers[:] = [p for p in peers if p.step() or p.close()]
            self.just_ask()
            most = max(most, self.held())
        return most

    def gone(self, sockets):
        """Their connections are closed, here and there."""
        end = time.time() + 20
        while self.sockets() > sockets and time.time() < end:
            self.just_ask()
            time.sleep(0.02)
        self.assertLessEqual(self.sockets(), sockets)

    def test_each_kind(self):
        sockets = self.sockets()
        for name, (n, kind, each) in PEERS.items():
            before = self.held()
            peers = [kind(self, self.r) for _ in range(n)]
            self.answered, end = 0, time.time() + 30
            most = self.harm(peers, 30) - before
            while kind.answered and self.answered < n and time.time() < end:
                self.harm(peers, 1)
            self.assertGreaterEqual(self.answered, n if kind.answered else 0, name)
            self.assertLess(most, SPARE + n * each, name)
            for p in peers:
                p.close()
            self.gone(sockets)
            print(f"{name}: {n}, at most {most // KIB} KiB more, {self.held() // KIB} KiB after", file=sys.stderr)

    def test_all_at_once(self):
        sockets, before = self.sockets(), self.held()
        peers = [kind(self, self.r) for n, kind, _ in PEERS.values() for _ in range(n // 4)]
        self.r.shuffle(peers)
        most = self.harm(peers, 60) - before
        self.assertLess(most, SPARE + sum(n // 4 * each for n, _, each in PEERS.values()))
        for p in peers:
            p.close()
        self.gone(sockets)
        print(f"all at once: at most {most // KIB} KiB more, {self.asked} questions beside them", file=sys.stderr)

    def test_a_burst_is_answered_whole(self):
        """A tenant's share of a turn is long used up, and its end is there before the last request is looked at."""
        n, auth = 5000, msgpack.packb([0, 0, "auth", [{"key": self.data.key}]])
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.server.sock)
            burst = auth + b"".join(request(i, "query", index="docs", vector=VECTOR, k=1) for i in range(1, n + 1))
            sender = threading.Thread(target=lambda: (s.sendall(burst), s.shutdown(socket.SHUT_WR)))
            sender.start()
            got, unpacker = [], msgpack.Unpacker(raw=False)
            while data := s.recv(1 << 16):
                unpacker.feed(data)
                got += unpacker
                if len(got) % 50 == 0:
                    self.just_ask()
            sender.join()
        self.assertEqual(sorted(m[1] for m in got), list(range(n + 1)))
        for _, _, error, result in got[1:]:
            self.assertTrue(result["hits"][0]["doc"] == "d2" if result else error[1].startswith("OVERLOADED"), (error, result))

    def test_a_client_that_takes_no_answer_is_left(self):
        peer = NeverReads(self, self.r)
        end = time.time() + 30
        while peer.step() and time.time() < end:
            self.just_ask()
            select.select([], [], [], 0.05)
        self.assertLess(time.time(), end)

    def tearDown(self):
        self.just_ask()
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
