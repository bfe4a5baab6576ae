"""An index of kind cells, large enough for them: what comes back with a recall, through the server and on files, is permitted, near what exact
gives, and whole under every filter; the file of the cells may be gone or damaged, and the kind is changed."""
import json
import os
import random
import struct
import unittest

from serving import Data, Rpc, Server

ROWS, DIM, TOPICS = 36000, 24, 300
FEW = 7  # rows that the label group:few sees


def labels(i):
    return (["public"] if i % 2 == 0 else ["group:hr"]) + (["group:few"] if i < FEW else [])


class Large(Data):
    """The rows of a random mixture, as .fvecs with labels beside it."""

    def __init__(self):
        super().__init__(n=2)
        r = random.Random(7)
        self.topics = [[r.gauss(0, 1) for _ in range(DIM)] for _ in range(TOPICS)]
        all_rows = [self.vector(r, i % TOPICS) for i in range(ROWS)]
        self.rows = self.write("all", all_rows, range(ROWS))
        self.public_rows = self.write("public", all_rows, range(0, ROWS, 2))
        self.cairn("index", "create", "acme/large", "--embedder", "none", "--kind", "cells")
        self.cairn("ingest", "acme/large", *self.rows, "--activate")
        self.made = self.files()
        self.questions = [self.vector(r, i * 37 % TOPICS) for i in range(40)]

    def write(self, name, vectors, which):
        """The files of these rows, as `ingest` takes them."""
        path, rows = os.path.join(self.dir, f"{name}.fvecs"), os.path.join(self.dir, f"{name}.jsonl")
        with open(path, "wb") as v, open(rows, "w") as f:
            for i in which:
                v.write(struct.pack(f"<i{DIM}f", DIM, *vectors[i]))
                f.write(json.dumps({"id": f"r{i}", "labels": labels(i), "metadata": {"topic": i % TOPICS}}) + "\n")
        return path, "--rows", rows

    def vector(self, r, topic):
        return [x + r.gauss(0, .6) for x in self.topics[topic]]

    def files(self, kind=".cells.mdb"):
        folder = os.path.join(self.path, "tenants/acme/segments")
        return [os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(kind)]


class Cells(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Large()
        cls.addClassCleanup(cls.data.close)
        cls.keys = {who: cls.data.make_key("--scope", "query,audit", "--labels", who) for who in ("public", "group:hr", "public,group:hr", "group:few")}

    def serve(self):
        server = Server(self.data)
        self.addCleanup(lambda: server.p.poll() is None and server.stop())
        return server

    def ask(self, conn, vector, index="large", **more):
        return conn.call("query", index=index, vector=vector, explain=True, **more)

    def compare(self, conn, may, **more):
        """The share of exact hits that come back; by how many questions cells were read."""
        right, wanted, by_cells = 0, 0, 0
        for q in self.data.questions:
            got, want = self.ask(conn, q, **more), self.ask(conn, q, **{**more, "recall": 1})
            self.assertEqual((want["made_by"]["search"], want["plan"]["by_cells"]), ("exact", 0))
            self.assertEqual(len(got["hits"]), len(want["hits"]))
            self.assertTrue(all(may(int(h["doc"][1:])) for h in got["hits"]), got)
            scores = {h["doc"]: h["score"] for h in want["hits"]}
            self.assertTrue(all(scores.get(h["doc"], h["score"]) == h["score"] for h in got["hits"]))
            right += sum(h["doc"] in scores for h in got["hits"])
            wanted += len(want["hits"])
            by_cells += got["plan"]["by_cells"]
        return right / wanted, by_cells

    def test_recall_and_permissions(self):
        server = self.serve()
        self.assertEqual(len(self.data.made), 1)
        for who, may in (("public", lambda i: i % 2 == 0), ("group:hr", lambda i: i % 2 == 1), ("public,group:hr", lambda i: True)):
            conn = Rpc(server, self.keys[who])
            for more in ({}, {"recall": .9}, {"recall": .99, "k": 50}):
                share, by_cells = self.compare(conn, may, **more)
                self.assertGreaterEqual(share, more.get("recall", .95) - .03, (who, more))
                self.assertEqual(by_cells, len(self.data.questions), (who, more))
        plan = self.ask(conn, self.data.questions[0])["plan"]
        self.assertTrue(0 < plan["cells_read"] and 0 < plan["scored"] < ROWS and 0 < plan["rows_expected"] < ROWS, plan)

    def test_filters_cost_no_hits(self):
        server = self.serve()
        conn = Rpc(server, self.keys["public"])
        share, _ = self.compare(conn, lambda i: i % TOPICS == 4 and i % 2 == 0, filter={"field": "topic", "eq": 4})
        self.assertEqual(share, 1)
        few = Rpc(server, self.keys["group:few"])
        for k in (3, FEW, 100):
            self.assertEqual(len(self.ask(few, self.data.questions[1], k=k)["hits"]), min(k, FEW))
        self.assertEqual(len(self.ask(conn, self.data.questions[1], k=500)["hits"]), 500)

    def test_a_tenant_without_the_rows_that_may_not_be_read(self):
        """It gives the same hits, wherever no recall below 1 lets cells leave rows unread (there, which of the best are missed may differ)."""
        self.data.cairn("tenant", "add", "bare")
        self.data.cairn("index", "create", "bare/large", "--embedder", "none", "--kind", "cells")
        self.data.cairn("ingest", "bare/large", *self.data.public_rows, "--activate")
        bare = json.loads(self.data.cairn("key", "add", "bare", "--scope", "query", "--labels", "public", "-o", "json").stdout)["key"]
        server = self.serve()
        pair = [Rpc(server, k) for k in (bare, self.data.make_key("--scope", "query", "--labels", "public"))]
        of = lambda answer: (answer["hits"], answer["evidence"], answer["made_by"]["search"], answer["made_by"]["degraded"])
        for n, q in enumerate(self.data.questions):
            for more in ({"recall": 1}, {"mode": "exact", "k": 100}, {"k": 500}, {"recall": .9, "filter": {"field": "topic", "eq": n}}, {"recall": 1, "k": 20, "per_doc": 1}):
                a, b = (of(c.call("query", index="large", vector=q, **more)) for c in pair)
                self.assertEqual(a, b, more)
        few = [len(c.call("query", index="large", vector=self.data.questions[0], recall=.9, k=100)["hits"]) for c in pair]
        self.assertEqual(few, [100, 100])

    def on_files(self, **fields):
        path = os.path.join(self.data.dir, "questions.jsonl")
        with open(path, "w") as f:
            f.write("".join(json.dumps({"vector": q, **fields}) + "\n" for q in self.data.questions))
        out = self.data.cairn("query", "acme/large", "--batch", path, "--as", "public", "-o", "json").stdout
        return [[h["doc"] for h in json.loads(line)["hits"]] for line in out.splitlines()]

    def test_on_files(self):
        """The same answers as through the server."""
        conn = Rpc(self.serve(), self.keys["public"])
        for recall in (.9, .95, 1):
            want = [[h["doc"] for h in self.ask(conn, q, recall=recall)["hits"]] for q in self.data.questions]
            self.assertEqual(self.on_files(recall=recall), want)

    def test_bench_tells_of_them(self):
        path = os.path.join(self.data.dir, "questions.fvecs")
        with open(path, "wb") as f:
            f.write(b"".join(struct.pack(f"<i{DIM}f", DIM, *q) for q in self.data.questions))
        for more, plan in ((["--recall", ".9"], "cells"), (["--recall", ".999"], "coded_approximate"), (["-k", "500"], "coded_approximate"), (["--mode", "exact"], "coded_exact")):
            told = json.loads(self.data.cairn("bench", "acme/large", "--queries", path, "--as", "public", "-o", "json", *more).stdout)
            self.assertEqual({k: v for k, v in told["plans"].items() if v}, {plan: len(self.data.questions)}, more)

    def plan(self, conn, index="large", **more):
        return self.ask(conn, self.data.questions[0], index, **more)["plan"]

    def test_made_anew(self):
        """Gone, damaged or of something else: the scan answers, and a compaction makes the same bytes again."""
        conn, path = Rpc(self.serve(), self.keys["public"]), self.data.made[0]
        want, scan = self.on_files(), self.on_files(recall=.999)
        with open(path, "rb") as f:
            good = f.read()
        for harm in ("gone", "flipped", "cut", "other"):
            if harm == "gone":
                os.unlink(path)
            elif harm == "other":
                with open(path.replace(".cells.", ".flat."), "rb") as f:
                    other = f.read()
                with open(path, "wb") as f:
                    f.write(other)
            else:
                with open(path, "r+b") as f:
                    f.seek(len(good) // 2)
                    f.write(b"\xff" * 64)
                    if harm == "cut":
                        f.truncate(len(good) // 2)
            self.assertEqual(self.on_files(), scan, harm)
            self.data.cairn("compact", "acme/large")
            self.assertEqual(self.on_files(), want, harm)
            with open(path, "rb") as f:
                self.assertEqual(len(f.read()), len(good), harm)
        self.assertEqual((self.plan(conn)["by_cells"], self.plan(conn)["without_cells"]), (1, 0))

    def test_kind(self):
        """Flat unless it is said; a question makes no cells; a compaction does, for a server that runs; back again nothing reads them."""
        conn = Rpc(self.serve(), self.keys["public"])
        show = json.loads(self.data.cairn("index", "create", "acme/plain", "-o", "json").stdout)
        self.assertEqual(show["kind"], "flat")
        count = len(self.data.files())
        self.data.cairn("ingest", "acme/plain", *self.data.rows, "--activate")
        self.assertEqual(len(self.data.files()), count)
        scan = [self.ask(conn, q, index="plain")["hits"] for q in self.data.questions]
        plan = self.plan(conn, "plain")
        self.assertEqual((plan["by_cells"], plan["without_cells"], plan["scored"]), (0, 0, plan["permitted"]))
        self.assertEqual(json.loads(self.data.cairn("index", "set", "acme/plain", "--kind", "cells", "-o", "json").stdout)["kind"], "cells")
        self.assertEqual([self.ask(conn, q, index="plain")["hits"] for q in self.data.questions], scan)
        plan = self.plan(conn, "plain")
        self.assertEqual((plan["by_cells"], plan["without_cells"], len(self.data.files())), (0, 1, count))
        self.data.cairn("compact", "acme/plain", "--dry-run")
        self.assertEqual(len(self.data.files()), count)
        self.data.cairn("compact", "acme/plain")
        plan = self.plan(conn, "plain")
        self.assertEqual((plan["by_cells"], plan["without_cells"], len(self.data.files())), (1, 0, count + 1))
        self.assertEqual(self.plan(conn, "plain", recall=.999)["by_cells"], 0)
        self.data.cairn("index", "set", "acme/plain", "--kind", "flat")
        self.assertEqual([self.ask(conn, q, index="plain")["hits"] for q in self.data.questions], scan)
        self.assertEqual(self.plan(conn, "plain")["by_cells"], 0)
        wrong = self.data.cairn("index", "set", "acme/plain", "--kind", "graph", check=False)
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("flat or cells", wrong.stderr)


if __name__ == "__main__":
    unittest.main()
