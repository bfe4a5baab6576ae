"""Indexes of kind faiss, large enough for it: what comes back with a recall, on files and through the server, is permitted, near what exact
gives, and whole under every filter; the file may be gone or damaged, the kind is changed; strings that are none are refused."""
import json
import os
import random
import struct
import sys
import unittest

from serving import Data, Rpc, Server

ROWS, DIM, TOPICS = 34000, 16, 300
FEW = 7  # rows that the label group:few sees
KINDS = ("faiss:IVF128,Flat", "faiss:IVF64,PQ8", "faiss:HNSW8")


class Large(Data):
    """The rows of a random mixture, as .fvecs with labels beside it."""

    def __init__(self):
        super().__init__(n=2)
        r = random.Random(7)
        self.topics = [[r.gauss(0, 1) for _ in range(DIM)] for _ in range(TOPICS)]
        self.rows, labels = os.path.join(self.dir, "all.fvecs"), os.path.join(self.dir, "all.jsonl")
        with open(self.rows, "wb") as v, open(labels, "w") as f:
            for i in range(ROWS):
                v.write(struct.pack(f"<i{DIM}f", DIM, *self.vector(r, i % TOPICS)))
                see = (["public"] if i % 2 == 0 else ["group:hr"]) + (["group:few"] if i < FEW else [])
                f.write(json.dumps({"id": f"r{i}", "labels": see, "metadata": {"topic": i % TOPICS}}) + "\n")
        self.rows = (self.rows, "--rows", labels)
        self.questions = [self.vector(r, i * 37 % TOPICS) for i in range(20)]

    def vector(self, r, topic):
        return [x + r.gauss(0, .6) for x in self.topics[topic]]

    def files(self):
        folder = os.path.join(self.path, "tenants/acme/segments")
        return [os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".faiss.mdb")]


class Faiss(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Large()
        cls.addClassCleanup(cls.data.close)
        cls.keys = {who: cls.data.make_key("--scope", "query,audit", "--labels", who) for who in ("public", "group:few", "public,group:hr")}

    def ask(self, conn, vector, index, **more):
        return conn.call("query", index=index, vector=vector, explain=True, **more)

    def compare(self, conn, index, may, **more):
        """The share of exact hits that come back; by how many questions FAISS was asked."""
        right, wanted, by_faiss = 0, 0, 0
        for q in self.data.questions:
            got, want = self.ask(conn, q, index, **more), self.ask(conn, q, index, **{**more, "recall": 1})
            self.assertEqual((want["made_by"]["search"], want["plan"]["by_faiss"]), ("exact", 0))
            self.assertEqual(len(got["hits"]), len(want["hits"]))
            self.assertTrue(all(may(int(h["doc"][1:])) for h in got["hits"]), got)
            scores = {h["doc"]: h["score"] for h in want["hits"]}
            self.assertTrue(all(scores.get(h["doc"], h["score"]) == h["score"] for h in got["hits"]))
            right += sum(h["doc"] in scores for h in got["hits"])
            wanted += len(want["hits"])
            by_faiss += got["plan"]["by_faiss"] - got["plan"]["abandoned"]
        return right / wanted, by_faiss

    def test_kinds(self):
        for n, kind in enumerate(KINDS):
            index = f"i{n}"
            made = json.loads(self.data.cairn("index", "create", f"acme/{index}", "--embedder", "none", "--kind", kind, "--metric", ("cosine", "ip", "l2")[n], "-o", "json").stdout)
            self.assertEqual(made["kind"], kind)
            self.data.cairn("ingest", f"acme/{index}", *self.data.rows, "--activate")
            self.assertEqual(len(self.data.files()), n + 1, kind)
            self.assertEqual(json.loads(self.data.cairn("index", "show", f"acme/{index}", "-o", "json").stdout)["kind"], kind)
        server = Server(self.data)
        self.addCleanup(server.stop)
        for n, kind in enumerate(KINDS):
            for who, may in (("public", lambda i: i % 2 == 0), ("public,group:hr", lambda i: True)):
                share, by_faiss = self.compare(Rpc(server, self.keys[who]), f"i{n}", may, recall=.9)
                self.assertGreaterEqual(share, .85, (kind, who))
                self.assertGreater(by_faiss, len(self.data.questions) // 2, (kind, who))
            share, _ = self.compare(Rpc(server, self.keys["public"]), f"i{n}", lambda i: i % TOPICS == 4, filter={"field": "topic", "eq": 4})
            self.assertEqual(share, 1, kind)
            for k in (3, FEW, 100):
                self.assertEqual(len(self.ask(Rpc(server, self.keys["group:few"]), self.data.questions[1], f"i{n}", k=k)["hits"]), min(k, FEW))
        self.bench("i0")
        self.made_anew("i0")
        self.change_kind("i2")

    def plan(self, index):
        path = os.path.join(self.data.dir, "questions.jsonl")
        with open(path, "w") as f:
            f.write("".join(json.dumps({"vector": q, "explain": True}) + "\n" for q in self.data.questions))
        answers = [json.loads(line) for line in self.data.cairn("query", f"acme/{index}", "--batch", path, "--as", "public", "-o", "json").stdout.splitlines()]
        return [a["plan"] for a in answers]

    def bench(self, index):
        path = os.path.join(self.data.dir, "questions.fvecs")
        with open(path, "wb") as f:
            f.write(b"".join(struct.pack(f"<i{DIM}f", DIM, *q) for q in self.data.questions))
        told = json.loads(self.data.cairn("bench", f"acme/{index}", "--queries", path, "--as", "public", "--recall", ".9", "-o", "json").stdout)
        self.assertEqual({k: v for k, v in told["plans"].items() if v}, {"faiss": len(self.data.questions)})

    def made_anew(self, index):
        """Gone or damaged: the scan answers, and a compaction makes it again."""
        for path in self.data.files():
            with open(path, "r+b") as f:
                f.seek(os.path.getsize(path) // 2)
                f.write(b"\xff" * 64)
        self.assertTrue(all((p["by_faiss"], p["without_faiss"]) == (0, 1) for p in self.plan(index)))
        for harm in (lambda: None, lambda: [os.unlink(p) for p in self.data.files()]):
            harm()
            self.data.cairn("compact", f"acme/{index}")
            self.assertTrue(all((p["by_faiss"], p["without_faiss"]) == (1, 0) for p in self.plan(index)))

    def change_kind(self, index):
        self.data.cairn("index", "set", f"acme/{index}", "--kind", "faiss:IVF32,SQ8")
        self.assertTrue(all(p["without_faiss"] == 1 for p in self.plan(index)))
        self.data.cairn("compact", f"acme/{index}")
        self.assertTrue(all(p["by_faiss"] == 1 for p in self.plan(index)))
        self.data.cairn("index", "set", f"acme/{index}", "--kind", "flat")
        self.assertTrue(all((p["by_faiss"], p["without_faiss"]) == (0, 0) for p in self.plan(index)))

    def test_refused(self):
        for kind, say in (("faiss:", "none that is taken here"), ("faiss:LSH", "none that is taken here"), ("faiss:IVF99999,Flat", "none that is taken here"), ("hnsw", "flat or cells, or faiss:")):
            wrong = self.data.cairn("index", "create", "acme/wrong", "--embedder", "none", "--kind", kind, check=False)
            self.assertNotEqual(wrong.returncode, 0)
            self.assertIn(say, wrong.stderr)
        self.data.cairn("index", "create", "acme/odd", "--embedder", "none", "--kind", "faiss:IVF16,PQ7")
        wrong = self.data.cairn("ingest", "acme/odd", *self.data.rows, "--activate", check=False)
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn(f"does not fit vectors of {DIM} dimensions", wrong.stderr)


def has_faiss():
    data = Data(n=2)
    tried = data.cairn("index", "create", "acme/x", "--embedder", "none", "--kind", "faiss:Flat", check=False)
    data.close()
    return "has no FAISS" not in tried.stderr


if __name__ == "__main__":
    if not has_faiss():
        print("skipped: this build has no FAISS")
        sys.exit(77)
    unittest.main()
