"""What strangers can make the server hold: large requests, and answers that nobody reads."""
import json
import os
import socket
import sys
import time
import unittest

import msgpack

from serving import SANITIZED, Data, Failed, Rpc, Server

VECTOR = b"\x00\x00\x80\x3f" * 4
MOST = 64 << 20
SPARE = (96 + 256 * SANITIZED) << 20  # a sanitizer keeps what was freed for a while


class Memory(unittest.TestCase):
    def setUp(self):
        self.data = Data(4)
        self.addCleanup(self.data.close)
        path = os.path.join(self.data.dir, "many.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps({"id": f"m{i}", "text": "some words " * 100, "vector": [1, i, 1, 1], "labels": ["public"]}) + "\n" for i in range(3000))
        self.data.cairn("ingest", "acme/docs", path, "--source", "many", "--activate")
        self.server = Server(self.data, "--anonymous", "acme", "--max-buffered", str(MOST))
        self.addCleanup(self.server.stop)
        self.good = Rpc(self.server, self.data.key)
        self.good.call("query", index="docs", vector=VECTOR, k=3000)
        self.before = self.rss()

    def rss(self):
        """Anonymous memory of the server, in bytes: not the pages of its files."""
        return next(int(line.split()[1]) * 1024 for line in open(f"/proc/{self.server.p.pid}/status") if line.startswith("RssAnon"))

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.server.sock)
        self.addCleanup(s.close)
        s.setblocking(False)
        return s

    def pour(self, sockets, data, seconds):
        """Sends each socket its data as far as it is taken; the most memory seen."""
        left, most, end = [memoryview(data)] * len(sockets), 0, time.time() + seconds
        while time.time() < end:
            for i, s in enumerate(sockets):
                try:
                    left[i] = left[i][s.send(left[i][:1 << 20]):] if left[i] else left[i]
                except BlockingIOError:
                    pass
                except OSError:
                    left[i] = left[i][:0]
            most = max(most, self.rss())
            self.assertEqual(len(self.ask(end + 20)["hits"]), 3)
        return most - self.before

    def ask(self, end):
        """A query of one who reads its answers; told to come again while others of its tenant fill the queue, it does."""
        while True:
            try:
                return self.good.call("query", index="docs", vector=VECTOR, k=3)
            except Failed as e:
                if not str(e).startswith("OVERLOADED") or time.time() > end:
                    raise
                time.sleep(0.05)

    def test_answers_that_nobody_reads(self):
        request = msgpack.packb([0, 1, "query", [{"tenant": "acme", "index": "docs", "vector": VECTOR, "k": 3000}]])  # 4 MB of answer
        grown = self.pour([self.connect() for _ in range(60)], request * 30, 6)
        self.assertLess(grown, MOST + SPARE, f"{grown >> 20} MiB more")

    def test_large_requests(self):
        key = msgpack.packb([0, 1, "auth", [{"key": self.data.key}]])
        body = msgpack.packb([0, 1, "query", [{"tenant": "acme", "index": "docs", "vector": b"\0" * (4 << 20)}]])
        grown = self.pour([self.connect() for _ in range(8)], key + body * 40, 4)
        self.assertLess(grown, MOST + SPARE, f"{grown >> 20} MiB more")


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
