"""Modes lexical and hybrid through a real server: BM25 against its formula in plain Python, what may be read and what its counts
tell, indexes without an embedder, an embedder that fails, the incident mode, and files that are damaged, missing or forbidden."""
import json
import math
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

from serving import CAIRN, Failed, Rpc, Server, count, run, seed

VOCABULARY = ["cairn", "stone", "moor", "path", "wind", "north", "peak", "trail", "valley", "river", "bridge", "fox", "owl", "elk", "hut", "map"]
K1, B = 1.5, .75
MAKE_MODEL = os.environ["MAKE_MODEL"]


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def fused(dense, lexical):
    """The score of each document among the first 100 of a half: both in deviations from their means, weighed. The dense half
    has all that may be read, or 100 of it, and what the other lacks of those counts 0."""
    halves, least = [], []
    for hits in dense, lexical:
        scores = [h["score"] for h in hits] + [0] * (len(dense) - len(hits))
        mean = sum(x / len(scores) for x in scores)
        deviation = math.sqrt(sum((x - mean) * (x - mean) for x in scores) / len(scores))
        halves.append({h["doc"]: (h["score"] - mean) / deviation if deviation else 0 for h in hits})
        least.append((scores[-1] - mean) / deviation if deviation else 0)
    a, b = halves
    return {doc: f32(.6 * a.get(doc, least[0]) + (1 - .6) * b.get(doc, least[1])) for doc in a.keys() | b.keys()}


def by_ranks(dense, lexical):
    """The same by reciprocal ranks."""
    score = {}
    for hits in dense, lexical:
        for rank, h in enumerate(hits, 1):
            score[h["doc"]] = score.get(h["doc"], 0) + 1 / (60 + rank)
    return {doc: f32(x) for doc, x in score.items()}


class Place:
    """Tenant acme; `notes` without an embedder, `docs` by a tiny model; both hold the same rows."""

    def __init__(self, rows, *options):
        self.dir = tempfile.mkdtemp(prefix="cairn-lexical-")
        self.path = os.path.join(self.dir, "data")
        self.rows = rows
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        model = os.path.join(self.dir, "model")
        os.mkdir(model)
        subprocess.run([MAKE_MODEL, model], check=True)
        self.cairn("model", "add", "tiny", model)
        self.cairn("index", "create", "acme/notes", "--chunker", "document", *options)
        self.cairn("index", "create", "acme/docs", "--embedder", "tiny", "--chunker", "document", *options)
        self.ingest("notes", rows)
        self.ingest("docs", rows)

    def ingest(self, index, rows, *options):
        path = os.path.join(self.dir, "rows.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows)
        self.cairn("ingest", "acme/" + index, path, "--activate", *options)

    def cairn(self, *args, **kw):
        return run(*args, data=self.path, **kw)

    def key(self, *args):
        return json.loads(self.cairn("key", "add", "acme", *args, "-o", "json").stdout)["key"]

    def segments(self, end):
        folder = os.path.join(self.path, "tenants/acme/segments")
        return [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(end)]

    def close(self):
        shutil.rmtree(self.dir)


def make_rows(n, r):
    rows = []
    for i in range(n):
        words = [VOCABULARY[min(r.randrange(16), r.randrange(16))] for _ in range(r.randint(1, 30))]
        labels = r.sample(["public", "group:hr", "group:ops", "user:ana"], r.randint(1, 2))
        rows.append({"id": f"d{i:04}", "text": " ".join(words), "labels": labels, "meta": {"lang": r.choice(["en", "de"]), "half": i % 2}})
    return rows


def bm25(rows, readable, text, matches=lambda row: True):
    """Ids and scores, best first: counts over what may be read, hits over what also matches."""
    may = [row for row in rows if readable(row)]
    mean = sum(len(row["text"].split()) for row in may) / len(may) if may else 0
    asked = text.split()
    found = []
    for row in may:
        words, score = row["text"].split(), 0
        for w in dict.fromkeys(asked):
            n, tf = sum(w in x["text"].split() for x in may), words.count(w)
            if tf:
                score += math.log(1 + (len(may) - n + .5) / (n + .5)) * asked.count(w) * (K1 + 1) * tf / (tf + K1 * (1 - B + B * len(words) / mean))
        if score and matches(row):
            found.append((row["id"], score))
    return sorted(found, key=lambda x: (-x[1], x[0]))


class Lexical(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.random = random.Random(seed(3))
        cls.place = Place(make_rows(400, cls.random))
        cls.addClassCleanup(cls.place.close)
        cls.server = Server(cls.place)
        cls.addClassCleanup(cls.server.stop)
        cls.readers = {labels: Rpc(cls.server, cls.place.key("--scope", "query", "--labels", ",".join(labels)))
                       for labels in (("public",), ("group:hr",), ("group:hr", "user:ana"), ("public", "group:hr", "group:ops", "user:ana"), ("group:none",))}
        cls.admin = Rpc(cls.server, cls.place.key("--scope", "query,audit,operate,versions,ingest,activate,policy,admin", "--labels", "public"))

    def ask(self, text, labels=("public",), index="notes", **kw):
        return self.readers[labels].call("query", index=index, text=text, **kw)

    def question(self):
        return " ".join(self.random.choices(VOCABULARY + ["nowhere"], k=self.random.randint(1, 4)))

    def same(self, hits, want, what=None):
        self.assertEqual(len(hits), len(want), (what, [(h["doc"], h["score"]) for h in hits[:3]], want[:3]))
        for hit, (doc, score) in zip(hits, want):
            self.assertAlmostEqual(hit["score"], score, delta=2e-5 * max(1, score))
        close = [(round(s, 3), d) for d, s in want]  # what is nearly equal may stand in either order
        got = [(round(h["score"], 3), h["doc"]) for h in hits]
        self.assertEqual(sorted(got[:-1]) if len(got) < 2 else [x[0] for x in got], sorted(close[:-1]) if len(close) < 2 else [x[0] for x in close])

    def test_scores_are_those_of_what_may_be_read(self):
        for _ in range(count(60, 2000)):
            labels, text = self.random.choice(list(self.readers)), self.question()
            half = self.random.choice([None, 0, 1])
            kw = {} if half is None else {"filter": {"field": "half", "eq": half}}
            want = bm25(self.place.rows, lambda row: set(labels) & set(row["labels"]), text, lambda row: half is None or row["meta"]["half"] == half)
            a = self.ask(text, labels, mode="lexical", k=400, **kw)
            self.same(a["hits"], want, (labels, text, kw))
            self.assertEqual({h["doc"] for h in a["hits"]}, {d for d, _ in want})
            self.assertEqual((a["made_by"]["mode"], a["made_by"]["search"], a["made_by"]["degraded"]), ("lexical", "exact", []))

    def test_what_nobody_may_read_changes_no_score(self):
        """Rows are added that this reader may not see: not a bit of its answers changes, whatever they hold."""
        text = "cairn moor fox"
        mine = [{**row, "labels": ["group:mine"]} for row in self.place.rows[:60]]
        others = [{"id": f"x{i}", "text": "fox " * (i % 9 + 1) + "cairn " * (i % 2), "labels": ["group:theirs"]} for i in range(300)]
        answers = []
        for name, rows in (("alone", mine), ("among", mine + others), ("later", mine)):
            self.place.cairn("index", "create", "acme/" + name, "--chunker", "document")
            self.place.ingest(name, rows)
            if name == "later":
                self.place.ingest(name, others, "--source", "theirs")
            c = Rpc(self.server, self.place.key("--scope", "query", "--labels", "group:mine"))
            answers.append([c.call("query", index=name, text=t, k=100)["hits"] for t in (text, "fox", "fox nowhere", "the of")])
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0], answers[2])
        self.assertGreater(len(answers[0][0]), 10)

    def test_a_document_hidden_or_labelled_anew_leaves_the_counts(self):
        c = self.readers[("public",)]
        self.admin.call("policy.hide", docs=["d0001", "d0002", "d0005"], reason="a test")
        self.admin.call("policy.deny", docs=["d0003", "d0004"], labels=["public"], reason="a test")
        gone = {"d0001", "d0002", "d0005"}
        try:
            for text in ("cairn", "owl map", "stone stone fox"):
                want = bm25(self.place.rows, lambda row: "public" in row["labels"] and row["id"] not in gone | {"d0003", "d0004"}, text)
                self.same(c.call("query", index="notes", text=text, k=400)["hits"], want)
        finally:
            self.admin.call("policy.unhide", docs=sorted(gone), reason="a test")
            self.admin.call("policy.clear", docs=["d0003", "d0004"], labels=["public"], reason="a test")

    def test_hybrid_is_both_halves_fused(self):
        for labels in (("public",), ("group:hr", "user:ana")):
            for text in (self.question() for _ in range(10)):
                halves = [self.ask(text, labels, "docs", mode=m, k=100)["hits"] for m in ("exact", "lexical")]
                for fuse, how in (fused, {}), (fused, {"fusion": "scores"}), (by_ranks, {"fusion": "rrf"}):
                    want = sorted(fuse(*halves).items(), key=lambda x: (-x[1], x[0]))[:20]
                    a = self.ask(text, labels, "docs", mode="hybrid", k=20, recall=1, **how)
                    self.assertEqual([(h["doc"], h["score"]) for h in a["hits"]], want)
                    self.assertEqual((a["made_by"]["mode"], a["made_by"]["degraded"]), ("hybrid", []))

    def test_fusion_by_default(self):
        ask = lambda **kw: self.admin.call("query", index="docs", text="cairn fox", mode="hybrid", explain=True, **kw)
        scores, ranks = (ask(fusion=f)["hits"] for f in ("scores", "rrf"))
        self.assertNotEqual([h["score"] for h in scores], [h["score"] for h in ranks])
        for setting, want in ("rrf", ranks), ("scores", scores):
            self.place.cairn("index", "set", "acme/docs", "--fusion", setting)
            self.assertEqual(json.loads(self.place.cairn("index", "show", "acme/docs", "-o", "json").stdout)["fusion"], setting)
            a = ask()
            self.assertEqual((a["hits"], a["plan"]["fusion"]), (want, setting))
        self.assertEqual(self.admin.call("incident.why_not", index="docs", text="cairn fox", mode="hybrid", fusion="rrf", doc=ranks[0]["doc"])["score"], ranks[0]["score"])
        self.assertNotIn("fusion", self.admin.call("query", index="docs", text="cairn fox", mode="dense", fusion="rrf", explain=True)["plan"])
        with self.assertRaisesRegex(Failed, '^INVALID: there is no fusion "ranks"; it is scores or rrf'):
            ask(fusion="ranks")
        self.assertIn("it is scores or rrf", self.place.cairn("index", "set", "acme/docs", "--fusion", "ranks", check=False).stderr)

    def test_a_word_of_one_passage(self):
        """An error code that one passage holds brings that first, whatever stands near by its vectors."""
        rows = [{"id": "code", "text": "map hut ERR-4711 valley", "labels": ["public"]}] + [{"id": f"n{i:03}", "text": "cairn stone moor " + " ".join(VOCABULARY[i % 16:]), "labels": ["public"]} for i in range(200)]
        self.place.cairn("index", "create", "acme/codes", "--embedder", "tiny", "--chunker", "document")
        self.place.ingest("codes", [{**r, "text": r["text"][:60]} for r in rows])
        self.assertEqual(self.ask("what does 4711 mean", index="codes", mode="hybrid")["hits"][0]["doc"], "code")

    def test_hybrid_explained(self):
        a = self.admin.call("query", index="docs", text="cairn fox", mode="hybrid", k=10, explain=True)
        self.assertEqual((a["plan"]["terms"], a["plan"]["terms_known"]), (2, 2))
        dense, lexical = (self.admin.call("query", index="docs", text="cairn fox", mode=m, k=100)["hits"] for m in ("exact", "lexical"))
        want = fused(dense, lexical)
        for h in a["hits"]:
            self.assertAlmostEqual(h["score"], want[h["doc"]], places=5)
        by_doc = {h["doc"]: (i, h["score"]) for i, h in enumerate(dense, 1)}
        for h in a["hits"]:
            if h["halves"]["dense"]:
                self.assertEqual((h["halves"]["dense"]["rank"], h["halves"]["dense"]["score"]), by_doc[h["doc"]])
        plain = self.ask("cairn fox", index="docs", mode="hybrid")
        self.assertNotIn("halves", plain["hits"][0])
        self.assertNotIn("plan", plain)

    def test_one_half_says_which(self):
        c = self.readers[("public",)]
        a = c.call("query", index="notes", text="cairn", mode="hybrid")
        self.assertEqual((a["made_by"]["mode"], a["made_by"]["degraded"]), ("lexical", ["no_embedder"]))
        self.assertEqual(a["hits"], c.call("query", index="notes", text="cairn", mode="lexical")["hits"])
        with self.assertRaisesRegex(Failed, "^INVALID: this index has no embedder"):
            c.call("query", index="notes", text="cairn", mode="hybrid", on_degraded="error")
        dim = json.loads(self.place.cairn("index", "show", "acme/docs", "-o", "json").stdout)["dim"]
        a = c.call("query", index="docs", vector=[1.0] * dim, mode="hybrid")
        self.assertEqual((a["made_by"]["mode"], a["made_by"]["degraded"]), ("dense", ["no_text"]))
        with self.assertRaisesRegex(Failed, "^INVALID: mode lexical looks up words"):
            c.call("query", index="docs", vector=[1.0] * dim, mode="lexical")

    def test_modes_by_default(self):
        c = self.readers[("public",)]
        self.assertEqual(c.call("query", index="notes", text="cairn")["made_by"]["mode"], "lexical")  # it can be nothing else
        self.assertEqual(c.call("query", index="docs", text="cairn")["made_by"]["mode"], "dense")
        with self.assertRaisesRegex(Failed, "^INVALID: this index has no embedder"):
            c.call("query", index="notes", text="cairn", mode="dense")
        self.place.cairn("index", "set", "acme/docs", "--mode", "hybrid")
        try:
            self.assertEqual(c.call("query", index="docs", text="cairn")["made_by"]["mode"], "hybrid")
        finally:
            self.place.cairn("index", "set", "acme/docs", "--mode", "dense")
        self.assertIn("must be", self.place.cairn("index", "set", "acme/docs", "--mode", "sparse", check=False).stderr)

    def test_words_nobody_uses(self):
        a = self.ask("nowhere unheard")
        self.assertEqual((a["hits"], a["evidence"]), ([], "none"))
        self.assertEqual(self.ask("cairn", ("group:none",))["hits"], [])
        self.assertEqual(self.ask("?!")["hits"], [])

    def test_relevance_and_evidence(self):
        a = self.ask("cairn", k=5)
        self.assertTrue(all(0 < h["relevance"] < 1 for h in a["hits"]))
        self.assertEqual(sorted((h["relevance"] for h in a["hits"]), reverse=True), [h["relevance"] for h in a["hits"]])
        cut = a["hits"][2]["relevance"]
        b = self.ask("cairn", k=5, min_relevance=cut)
        self.assertEqual([h["doc"] for h in b["hits"]], [h["doc"] for h in a["hits"] if h["relevance"] >= cut])
        unknown = self.ask("cairn unheard nowhere zzz", k=5)  # most of what is asked stands nowhere
        self.assertLess(unknown["hits"][0]["relevance"], a["hits"][0]["relevance"])
        for mode in ("lexical", "dense", "exact"):  # a filter leaves it as it is
            all_of, some = (self.ask("cairn fox", index="docs", mode=mode, k=400, **f)["hits"] for f in ({}, {"filter": {"field": "lang", "eq": "en"}}))
            known = {h["doc"]: h["relevance"] for h in all_of}
            self.assertTrue(0 < len(some) < len(all_of))
            self.assertEqual({h["doc"]: h["relevance"] for h in some}, {h["doc"]: known[h["doc"]] for h in some})
        h = self.ask("cairn", index="docs", mode="hybrid", k=50, min_relevance=.3)
        self.assertTrue(all(x["relevance"] >= .3 for x in h["hits"]))

    def test_per_doc_and_batches(self):
        one = [self.ask(t, index="docs", mode=m, k=7)["hits"] for t in ("cairn", "fox map") for m in ("lexical", "hybrid")]
        batch = self.readers[("public",)].call("query_batch", index="docs", k=7, queries=[{"text": t, "mode": m} for t in ("cairn", "fox map") for m in ("lexical", "hybrid")])
        self.assertEqual([r["hits"] for r in batch["results"]], one)
        a = self.ask("cairn", index="docs", mode="hybrid", k=7, per_doc=1)
        self.assertEqual(len({h["doc"] for h in a["hits"]}), 7)

    def test_why_not(self):
        call = lambda doc, **kw: self.admin.call("incident.why_not", index="notes", text="cairn", doc=doc, k=1, **kw)
        hits = self.admin.call("query", index="notes", text="cairn", k=400)["hits"]
        self.assertEqual(call(hits[0]["doc"])["verdict"], "answered")
        self.assertEqual((call(hits[5]["doc"])["verdict"], call(hits[5]["doc"])["rank"]), ("ranked_lower", 6))
        without = next(r["id"] for r in self.place.rows if "public" in r["labels"] and "cairn" not in r["text"])
        self.assertRegex(call(without)["why"], "none of the question's words")

    def test_why_not_hybrid(self):
        """So few rows have no codes that could miss one: what stands higher with longer lists is told as that."""
        rows = [{**row, "text": " ".join(row["text"].split()[:4]), "labels": ["public"]} for row in make_rows(300, random.Random(7))]  # short enough for the model
        self.place.cairn("index", "create", "acme/many", "--embedder", "tiny", "--chunker", "document")
        self.place.ingest("many", rows)
        asked, deeper = {"index": "many", "text": "cairn stone moor", "mode": "hybrid", "k": 250}, 0
        given = {h["doc"] for h in self.admin.call("query", **asked)["hits"]}
        for row in rows:
            r = self.admin.call("incident.why_not", doc=row["id"], **asked)
            self.assertEqual(r["verdict"], "answered" if row["id"] in given else "ranked_lower")
            deeper += "further down" in r["why"]
        self.assertGreater(deeper, 0)

    def test_incident_mode(self):
        self.admin.call("modes.set", index="docs", mode="lexical", reason="the embedder answers nonsense")
        try:
            c = self.readers[("public",)]
            for mode in ("dense", "hybrid", "exact", None):
                a = c.call("query", index="docs", text="cairn fox", **({"mode": mode} if mode else {}))
                self.assertEqual((a["made_by"]["mode"], a["made_by"]["degraded"]), ("lexical", ["lexical_only"]))
                with self.assertRaisesRegex(Failed, "^UNAVAILABLE: this index is in mode lexical"):
                    c.call("query", index="docs", text="cairn", on_degraded="error", **({"mode": mode} if mode else {}))
            self.assertEqual(c.call("query", index="docs", text="cairn", mode="lexical", on_degraded="error")["made_by"]["degraded"], [])
            with self.assertRaisesRegex(Failed, "^UNAVAILABLE: .*give `text`"):
                c.call("query", index="docs", vector=[1.0] * 8)
            self.assertEqual(self.admin.call("admin.index_show", index="docs")["incident_mode"], "lexical")
        finally:
            self.admin.call("modes.set", index="docs", mode="normal")
        self.assertEqual(self.readers[("public",)].call("query", index="docs", text="cairn")["made_by"]["degraded"], [])

    def test_the_command(self):
        out = json.loads(self.place.cairn("query", "acme/docs", "cairn fox", "--mode", "hybrid", "-k", "3", "-o", "json").stdout)
        self.assertEqual((out["made_by"]["mode"], len(out["hits"])), ("hybrid", 3))
        text = self.place.cairn("query", "acme/notes", "cairn fox", "-k", "3").stdout
        self.assertIn("mode lexical", text)
        questions = os.path.join(self.place.dir, "questions.txt")
        with open(questions, "w") as f:
            f.write("cairn\nfox map\n")
        p = json.loads(self.place.cairn("bench", "acme/docs", "--queries", questions, "--mode", "lexical", "-k", "5", "-o", "json").stdout)
        self.assertEqual(p["queries"], 2)


class Failing(unittest.TestCase):
    """What goes wrong underneath: each answer is an honest one, or an error."""

    def setUp(self):
        self.place = Place([{"id": f"d{i}", "text": f"cairn number {i} on the moor", "labels": ["public"]} for i in range(300)])
        self.addCleanup(self.place.close)
        self.key = self.place.key("--scope", "query", "--labels", "public")

    def serve(self):
        server = Server(self.place)
        self.addCleanup(server.stop)
        return Rpc(server, self.key), server

    def test_a_model_that_is_gone(self):
        before = run("query", "acme/docs", "number 7 moor", "--mode", "lexical", "-o", "json", data=self.place.path)
        shutil.rmtree(os.path.join(self.place.path, "models/tiny"))
        c, server = self.serve()
        for mode in ("dense", "exact", "hybrid"):
            a = c.call("query", index="docs", text="number 7 moor", mode=mode)
            self.assertEqual((a["made_by"]["mode"], a["made_by"]["degraded"]), ("lexical", ["embedder_unavailable"]))
            self.assertEqual([h["doc"] for h in a["hits"]], [h["doc"] for h in json.loads(before.stdout)["hits"]])
            with self.assertRaisesRegex(Failed, "^UNAVAILABLE: the model"):
                c.call("query", index="docs", text="number 7 moor", mode=mode, on_degraded="error")
        batch = c.call("query_batch", index="docs", queries=[{"text": "number 7"}, {"text": "moor", "mode": "lexical"}, {"text": "moor", "on_degraded": "error"}])["results"]
        self.assertEqual([r.get("made_by", {}).get("degraded") for r in batch], [["embedder_unavailable"], [], None])
        self.assertRegex(batch[2]["error"], "^UNAVAILABLE: the model")
        server.wait_log("query.embedder_unavailable")
        auditor = Rpc(server, self.place.key("--scope", "audit"))
        self.assertEqual(auditor.call("trace.get", trace_id=a["made_by"]["trace_id"])["records"][0]["degraded"], ["embedder_unavailable"])

    def test_postings_are_made_again(self):
        """Removed as in a file of before, cut short, or overwritten: the next question makes them anew."""
        want = json.loads(self.place.cairn("query", "acme/notes", "number 7 moor", "-o", "json").stdout)["hits"]
        files = self.place.segments(".postings.mdb")
        self.assertEqual(len(files), 2)  # one of each index
        for spoil in (os.unlink, lambda p: os.truncate(p, 5000), lambda p: open(p, "wb").write(b"x" * 9000), lambda p: os.truncate(p, 0)):
            spoil(files[0]), spoil(files[1])
            self.assertEqual(json.loads(self.place.cairn("query", "acme/notes", "number 7 moor", "-o", "json").stdout)["hits"], want)
            self.place.cairn("query", "acme/docs", "moor", "--mode", "lexical")
        os.unlink(files[0]), os.unlink(files[1])
        self.assertEqual(json.loads(self.place.cairn("query", "acme/docs", "number 7 moor", "--mode", "lexical", "-o", "json").stdout)["hits"], want)
        self.assertEqual(len(self.place.segments(".postings.mdb")), 1)

    def test_scrub_finds_damage(self):
        path = self.place.segments(".postings.mdb")[0]
        with open(path, "r+b") as f:
            f.seek(f.read().index(b"cairn"))  # among its terms
            f.write(b"C")
        server = Server(self.place, "--scrub-every", "1s", "--scrub-rate", "1GiB")
        self.addCleanup(server.stop)
        event = server.wait_log("scrub.damaged")
        self.assertEqual(event["file"], os.path.basename(path))
        self.assertIn("made again from the rows", str(event))

    def test_files_go_with_their_segment(self):
        self.place.cairn("index", "drop", "acme/notes", "--reason", "a test")
        self.place.cairn("policy", "erase", "acme", "d7", "--reason", "a test")
        self.place.cairn("compact", "acme/docs", "--wait")
        names = {os.path.basename(p).split(".")[0] for p in self.place.segments(".mdb") if p.count(".") == 1}
        self.assertEqual({os.path.basename(p).split(".")[0] for p in self.place.segments(".postings.mdb")} - names, set())
        a = json.loads(self.place.cairn("query", "acme/docs", "number 7", "--mode", "lexical", "-o", "json").stdout)
        self.assertNotIn("d7", [h["doc"] for h in a["hits"]])

    def test_analysers(self):
        show = json.loads(self.place.cairn("index", "show", "acme/notes", "-o", "json").stdout)
        self.assertEqual(show["analyser"], "english")
        p = self.place.cairn("index", "create", "acme/bad", "--analyser", "klingon", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, "there is no analyser.*german")
        rows = [{"id": "a", "text": "Die H\u00e4user", "labels": ["public"]}, {"id": "b", "text": "running dogs", "labels": ["public"]}]
        for name, found in (("german", {"haus": "a"}), ("none", {"h\u00e4user": "a", "running": "b"}), ("english", {"run": "b", "dog": "b"})):
            self.place.cairn("index", "create", "acme/" + name, "--analyser", name)
            self.place.ingest(name, rows)
            for text, doc in found.items():
                hits = json.loads(self.place.cairn("query", "acme/" + name, text, "-o", "json").stdout)["hits"]
                self.assertEqual([h["doc"] for h in hits], [doc], (name, text))
        roots = {json.loads(self.place.cairn("versions", "acme/" + name, "-o", "json").stdout)["versions"][0]["root"] for name in ("german", "none", "english")}
        self.assertEqual(len(roots), 3)  # an analyser is part of what a version says

    def test_another_analyser(self):
        """By a rebuild: the version of before keeps its words, and jobs go on with the new ones once they answer."""
        index = lambda *args: self.place.cairn(*args, "-o", "json")
        found = lambda text, *more: [h["doc"] for h in json.loads(index("query", "acme/words", text, *more).stdout)["hits"]]
        self.place.cairn("index", "create", "acme/words")
        self.place.ingest("words", [{"id": f"r{i}", "text": f"running dogs {i}", "labels": ["public"]} for i in range(3)])
        self.place.ingest("words", [{"id": "a", "text": "Die H\u00e4user", "labels": ["public"]}])
        active = json.loads(index("index", "show", "acme/words").stdout)["active"]
        self.assertEqual(found("haus"), [])
        r = json.loads(index("rebuild", "acme/words", "--analyser", "german title=3").stdout)
        self.assertEqual((r["state"], r["activated"], r["counts"]["documents"]), ("done", False, 4))
        self.place.cairn("activate", "acme/words", str(r["version"]))
        self.assertEqual((found("haus"), found("haus", "--version", str(active)), len(found("dog", "--version", str(active)))), (["a"], [], 3))
        self.place.ingest("words", [{"id": "c", "text": "Die M\u00e4user", "labels": ["public"]}])
        self.assertEqual((found("maus"), found("haus")), (["c"], ["a"]))
        self.assertEqual(json.loads(index("index", "show", "acme/words").stdout)["analyser"], "german title=3")
        p = self.place.cairn("rebuild", "acme/words", "--analyser", "klingon", check=False)
        self.assertRegex(p.stderr, "there is no analyser.*german")
        again = json.loads(index("rebuild", "acme/words", "--analyser", "german title=3").stdout)
        self.assertEqual(again["state"], "unchanged")
        self.assertTrue(json.loads(index("index", "set", "acme/words", "--analyser", "english").stdout)["activated"])
        self.assertEqual((found("haus"), len(found("dog"))), ([], 3))


class Quality(unittest.TestCase):
    """On the Cranfield collection, where it is at hand: what bm25s reaches there, at least."""

    def test_cranfield(self):
        folder = os.environ.get("CAIRN_TEST_CRANFIELD", "")
        if not os.path.isdir(folder):
            self.skipTest("CAIRN_TEST_CRANFIELD is not set")
        place = Place([{"id": "x", "text": "x", "labels": ["public"]}])
        self.addCleanup(place.close)
        place.cairn("index", "create", "acme/cranfield")
        place.cairn("ingest", "acme/cranfield", folder, "--format", "beir", "--label", "public", "--activate")
        m = json.loads(place.cairn("eval", "run", "acme/cranfield", "--beir", folder, "-o", "json").stdout)["metrics"]
        self.assertGreaterEqual(m["nDCG@10"], .385)
        self.assertGreaterEqual(m["R@100"], .735)


if __name__ == "__main__":
    unittest.main(verbosity=2)
