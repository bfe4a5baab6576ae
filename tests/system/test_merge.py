"""A server merges the small files of an index in the background: they stay few, and no answer and no root changes by it."""
import json
import os
import threading
import time
import unittest

from serving import Data, Rpc, Server, count

PUTS = count(240, 20000)
VECTOR = [1.0, 2.0, 0.0, 1.0]


class Merging(unittest.TestCase):
    def setUp(self):
        self.data = Data(6)
        self.addCleanup(self.data.close)
        self.key = self.data.make_key("--scope", "query,ingest,activate,versions", "--labels", "public")
        self.docs = {}

    def map(self, *args):
        return json.loads(self.data.cairn(*args, "-o", "json").stdout)

    def serve(self, *options):
        server = Server(self.data, *options)
        self.addCleanup(server.stop)
        return server

    def row(self, i, n):
        return {"id": f"p{i}", "text": f"put {n}", "labels": ["public"], "vector": [1.0, float(i % 17), float(n), 0.5]}

    def put(self, conn, i, n):
        conn.call("documents.put", index="docs", activate=True, documents=[self.row(i, n)])
        self.docs[f"p{i}"] = f"put {n}"

    def files(self):
        return self.map("compact", "acme/docs", "--dry-run")["segments_before"]

    def merged(self, server):
        return [e for e in server.log() if e["event"] == "merge.done"]

    def wait_few(self, most, seconds=120):
        end = time.time() + seconds
        while self.files() > most and time.time() < end:
            time.sleep(.1)
        self.assertLessEqual(self.files(), most)

    def answers(self, conn):
        hits = conn.call("query", index="docs", vector=VECTOR, k=10000, mode="dense", recall=1.0)["hits"]
        return {h["doc"]: h["text"] for h in hits if h["doc"].startswith("p")}

    def test_puts_stay_few_files(self):
        """Half of them change a document of before. One reads all the while."""
        server = self.serve()
        conn, wrong, ended = Rpc(server, self.key), [], threading.Event()

        def read():
            reader = Rpc(server, self.key)
            while not ended.is_set():
                before = dict(self.docs)
                got = self.answers(reader)
                wrong.extend(d for d in before if d not in got)

        thread = threading.Thread(target=read)
        thread.start()
        for n in range(PUTS):
            self.put(conn, n if n % 2 else n // 3, n)
        ended.set()
        thread.join()
        self.assertEqual(wrong, [])
        self.wait_few(PUTS // 4)  # rows of one document, which retained versions hold, are in a file each
        self.assertTrue(self.merged(server))
        self.assertEqual(self.answers(conn), self.docs)
        self.assertEqual(server.stop(), 0)
        versions = self.map("versions", "acme/docs")
        active = next(v for v in versions["versions"] if v["version"] == versions["active"])
        self.data.cairn("index", "create", "acme/once", "--embedder", "none")
        rows = os.path.join(self.data.dir, "once.jsonl")
        with open(os.path.join(self.data.dir, "rows.jsonl")) as old, open(rows, "w") as f:
            f.write(old.read())
            f.writelines(json.dumps({**self.row(int(d[1:]), int(text[4:]))}) + "\n" for d, text in self.docs.items())
        self.assertEqual(self.map("ingest", "acme/once", rows)["root"], active["root"])
        for args in (["scrub"], ["audit", "verify", "acme"], ["doctor"]):
            self.data.cairn(*args)
        records = [r for r in self.map("audit", "show", "acme", "--limit", "10000")["records"] if r["action"] == "version.compact"]
        self.assertEqual({(r["who"], r["reason"]) for r in records}, {("cairnd", "small files (merge_rate)")})

    def test_rate_0_merges_nothing_and_the_next_server_does(self):
        server = self.serve("--merge-rate", "0")
        conn = Rpc(server, self.key)
        for n in range(12):
            self.put(conn, n, n)
        self.assertEqual((self.files(), server.stop()), (13, 0))
        self.assertEqual(self.merged(server), [])
        server = self.serve()
        server.wait_log("merge.done")
        self.wait_few(2)
        self.assertEqual(self.answers(Rpc(server, self.key)), self.docs)

    def test_a_compaction_by_hand_goes_first(self):
        """At this rate the merge takes a fifth of a second for each document."""
        server = self.serve("--merge-rate", "0")
        conn = Rpc(server, self.key)
        for n in range(50):
            conn.call("documents.put", index="docs", activate=True, documents=[{**self.row(n, n), "text": f"put {n} " * 2000}])
        self.assertEqual(server.stop(), 0)
        server = self.serve("--merge-rate", "1KiB")
        path = os.path.join(self.data.path, "tenants/acme/merge.lock")
        while not os.path.exists(path):
            time.sleep(.01)
        self.assertEqual(self.map("compact", "acme/docs")["segments_after"], 1)
        self.assertEqual(self.merged(server), [])


if __name__ == "__main__":
    unittest.main()
