"""`cairn bench`, small: figures that add up, recall against a truth computed here, row numbers written, bad files told."""
import json
import os
import random
import struct
import unittest

from place import Place

N, DIM, ASKED, K = 300, 8, 20, 5


def write_vecs(path, rows, kind):
    with open(path, "wb") as f:
        for r in rows:
            f.write(struct.pack(f"<i{len(r)}{kind}", len(r), *r))


def read_ivecs(path):
    with open(path, "rb") as f:
        raw = f.read()
    rows, at = [], 0
    while at < len(raw):
        (k,) = struct.unpack_from("<i", raw, at)
        rows.append(list(struct.unpack_from(f"<{k}i", raw, at + 4)))
        at += 4 * (k + 1)
    return rows


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.file = staticmethod(lambda name: os.path.join(cls.place.dir, name))
        rnd = random.Random(7)
        rows, asked = ([[rnd.gauss(0, 1) for _ in range(DIM)] for _ in range(n)] for n in (N, ASKED))
        write_vecs(cls.file("rows.fvecs"), rows, "f")
        write_vecs(cls.file("q.fvecs"), asked, "f")
        cls.truth = [sorted(range(N), key=lambda i: sum((a - b) ** 2 for a, b in zip(q, rows[i])))[:K] for q in asked]
        write_vecs(cls.file("truth.ivecs"), cls.truth, "i")
        write_vecs(cls.file("wrong.ivecs"), [[t[0]] + [N + i for i in range(K - 1)] for t in cls.truth], "i")
        cls.place.cairn("index", "create", "acme/rows", "--embedder", "none", "--metric", "l2")
        cls.place.cairn("ingest", "acme/rows", cls.file("rows.fvecs"), "--label", "public", "--activate")
        with open(cls.file("q.txt"), "w") as f:
            f.write("who decides\n\nwhat is removed\r\nthe committee")
        cls.place.serve()

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def bench(self, *args, remote=False, **kw):
        words = ("bench", *args, "-o", "json")
        p = self.place.remote(*words, **kw) if remote else self.place.cairn(*words, check=False)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        r = json.loads(p.stdout)
        self.assertGreater(r["qps"], 0)
        self.assertLessEqual(r["p50_us"], r["p99_us"])
        return r

    def test_recall_and_row_numbers(self):
        for remote in (False, True):
            for extra in ((), ("--threads", "3"), ("--batch", "7"), ("--batch", "7", "--threads", "2"), ("--mode", "exact")):
                with self.subTest((remote, extra)):
                    out = self.file("out.ivecs")
                    r = self.bench("acme/rows", "--queries", self.file("q.fvecs"), "--truth", self.file("truth.ivecs"), "-k", str(K), "--out", out, *extra, remote=remote)
                    self.assertEqual(set(r), {"queries", "fallbacks", "recall", "qps", "p50_us", "p99_us", "plans"})
                    self.assertEqual((r["queries"], r["recall"], sum(r["plans"].values())), (ASKED, 1.0, ASKED))
                    self.assertLessEqual(set(r["plans"]), {"exact", "approximate", "coded_exact", "coded_approximate"})
                    self.assertEqual(read_ivecs(out), self.truth)
        r = self.bench("acme/rows", "--queries", self.file("q.fvecs"), "--truth", self.file("wrong.ivecs"), "-k", str(K))
        self.assertAlmostEqual(r["recall"], 1 / K)

    def test_texts(self):
        r = self.bench("acme/docs", "--queries", self.file("q.txt"))
        self.assertEqual(set(r), {"queries", "fallbacks", "qps", "p50_us", "p99_us", "plans"})
        self.assertEqual(r["queries"], 3)

    def test_fewer_hits_than_asked(self):
        self.bench("acme/rows", "--queries", self.file("q.fvecs"), "--as", "group:none", "-k", "3", "--out", self.file("none.ivecs"))
        self.assertEqual(read_ivecs(self.file("none.ivecs")), [[-1] * 3] * ASKED)

    def test_plans_are_for_who_may_see_them(self):
        key = self.place.key("--scope", "query", "--labels", "public")
        self.assertEqual(self.bench("acme/rows", "--queries", self.file("q.fvecs"), remote=True, key=key)["plans"], {})

    def test_bad_input(self):
        q, odd, short = self.file("q.fvecs"), self.file("odd.ivecs"), self.file("short.ivecs")
        with open(odd, "wb") as f:
            f.write(b"\5\0\0\0\1\0")
        write_vecs(short, self.truth[:3], "i")
        write_vecs(self.file("wide.fvecs"), [[1.0] * (DIM + 1)], "f")
        open(self.file("empty.txt"), "w").close()
        for args, code, words in (
                (("acme/rows",), 2, ["--queries is missing"]),
                (("acme/rows", "--queries", q, "--threads", "0"), 2, ["--threads", "1 to 256"]),
                (("acme/rows", "--queries", q, "-k", "0"), 2, ["k", "1 to 10000"]),
                (("acme/rows", "--queries", self.file("none")), 3, ["cannot open", "none"]),
                (("acme/rows", "--queries", self.file("empty.txt")), 1, ["holds no question"]),
                (("acme/rows", "--queries", q, "--truth", odd, "-k", "5"), 1, ["odd.ivecs", "no .ivecs file"]),
                (("acme/rows", "--queries", q, "--truth", short, "-k", "5"), 1, ["3 rows of 5", "20 questions"]),
                (("acme/rows", "--queries", q, "--truth", self.file("truth.ivecs")), 1, ["-k 10"]),
                (("acme/rows", "--queries", self.file("wide.fvecs")), 1, ["9 numbers", "vectors of 8"]),
                (("acme/rows", "--queries", self.file("wide.fvecs"), "--batch", "2"), 1, ["question 1", "9 numbers"]),
                (("acme/none", "--queries", q), 3, ['index "none"']),
                (("acme/docs", "--queries", self.file("q.txt"), "--out", self.file("o")), 1, ["no row number"])):
            with self.subTest(args):
                p = self.place.cairn("bench", *args, check=False)
                self.assertEqual((p.returncode, p.stdout), (code, ""), p.stderr)
                for w in words:
                    self.assertIn(w, p.stderr)


if __name__ == "__main__":
    unittest.main()
