"""What of a query's hits is given: per_doc, distinct, expand, section, max_tokens, several indexes. Each answer against a model
made of the plain answer and of `documents.get`; each citation against `fetch`; and against a tenant in which what may not be read
is not there at all. Through a server, and by the command on files."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest

from serving import Failed, Rpc, Server, count, run, seed

WORDS = ["cairn", "stone", "moor", "path", "wind", "north", "peak", "trail", "valley", "river", "bridge", "fox", "owl", "elk", "hut", "map"]
FOLDERS = {"public": ["public"], "hr": ["group:hr"], "both": ["public", "group:hr"], "ops": ["group:ops"]}
RULES = [x for f, labels in FOLDERS.items() for x in ("--label-rule", f"{f}/**={','.join(labels)}")]
READERS = [("public",), ("group:hr",), ("public", "group:ops"), ("group:none",), ("public", "group:hr", "group:ops")]
MODES = ["lexical", "dense", "exact", "hybrid"]


def page(r, sentences):
    """A Markdown page of a few sections; its sentences come from a small common stock, so that passages repeat."""
    lines = []
    for s in range(r.randint(1, 4)):
        if r.random() < .9:
            lines.append("#" * r.randint(1, 3) + f" Part {r.randint(1, 3)}")
        for _ in range(r.randint(1, 5)):
            lines.append(" ".join(r.sample(sentences, r.randint(1, 2))))
    return "\n\n".join(lines) + "\n"


class Place:
    """Tenant acme with indexes docs and wiki (embedded) and notes (words alone); `acme` holds all, `bare` what `public` may read."""

    def __init__(self, number):
        r = random.Random(number)
        self.dir = tempfile.mkdtemp(prefix="cairn-shape-")
        self.path = os.path.join(self.dir, "data")
        self.cairn("init")
        model = os.path.join(self.dir, "model")
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        self.cairn("model", "add", "tiny", model)
        sentences = [" ".join(r.choices(WORDS, k=r.randint(4, 9))).capitalize() + "." for _ in range(14)]
        for tenant in ("acme", "bare"):
            self.cairn("tenant", "add", tenant)
        for index, embedder in (("docs", "tiny"), ("wiki", "tiny"), ("notes", "none")):
            folder = os.path.join(self.dir, index)
            for f in FOLDERS:
                os.makedirs(os.path.join(folder, f))
                for i in range(12):
                    with open(os.path.join(folder, f, f"{i}.md"), "w") as out:
                        out.write(page(r, sentences))
            for tenant in ("acme", "bare"):
                if tenant == "bare":
                    shutil.rmtree(os.path.join(folder, "hr")), shutil.rmtree(os.path.join(folder, "ops"))
                self.cairn("index", "create", f"{tenant}/{index}", "--embedder", embedder, "--chunker", "structure tokens=16 overlap=0")
                self.cairn("ingest", f"{tenant}/{index}", folder, *RULES, "--activate")

    def cairn(self, *args, **kw):
        return run(*args, data=self.path, **kw)

    def key(self, tenant, *args):
        return json.loads(self.cairn("key", "add", tenant, *args, "-o", "json").stdout)["key"]

    def close(self):
        shutil.rmtree(self.dir)


def steady(hits, index=None):
    return [{k: v for k, v in h.items() if k != "modified"} | ({"index": index} if index else {}) for h in hits]


class Shape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.r = random.Random(seed(5))
        cls.place = Place(seed(5))
        cls.addClassCleanup(cls.place.close)
        cls.server = Server(cls.place)
        cls.addClassCleanup(cls.server.stop)
        cls.readers = {labels: Rpc(cls.server, cls.place.key("acme", "--scope", "query", "--labels", ",".join(labels))) for labels in READERS}
        cls.bare = Rpc(cls.server, cls.place.key("bare", "--scope", "query", "--labels", "public"))
        cls.admin = Rpc(cls.server, cls.place.key("acme", "--scope", "query,audit,operate,policy,versions", "--labels", "public"))
        cls.docs = {}

    def document(self, index, h):
        """Text and passages, as whoever may read it all sees them."""
        key = index, h["doc"]
        if key not in self.docs:
            self.docs[key] = self.readers[READERS[-1]].call("documents.get", index=index, doc=h["doc"])
        return self.docs[key]

    def question(self):
        return {"text": " ".join(self.r.choices(WORDS, k=self.r.randint(1, 4))), "k": self.r.choice([1, 5, 20, 1000])}

    # --- the model ---
    def left(self, hits, per_doc, distinct, k):
        """Of a whole ranking what per_doc and distinct leave."""
        out = []
        for h in hits:
            if per_doc and sum(x["doc"] == h["doc"] for x in out) >= per_doc:
                continue
            if distinct and any(x["text"] == h["text"] for x in out):
                continue
            out.append(h)
        return out[:k]

    def widened(self, index, h, expand, section, given):
        passages = self.document(index, h)["passages"]
        first = last = h["chunk"]
        at = lambda i: passages[i]["headings"] == passages[h["chunk"]]["headings"] or not section
        far = expand or len(passages)
        free = lambda i: not any(a <= i <= b for a, b in given)
        while last + 1 < len(passages) and last - h["chunk"] < far and free(last + 1) and at(last + 1):
            last += 1
        while first > 0 and h["chunk"] - first < far and free(first - 1) and at(first - 1):
            first -= 1
        return first, last

    def grouped(self, index, hits, expand, section):
        """[(hit, first, last, passages within)]"""
        out = []
        for h in hits:
            mine = [g for g in out if g[0]["doc"] == h["doc"]]
            if any(a <= h["chunk"] <= b for _, a, b, _ in mine):
                continue
            a, b = self.widened(index, h, expand, section, [(x, y) for _, x, y, _ in mine])
            out.append((h, a, b, [x["chunk"] for x in hits if x["doc"] == h["doc"] and a <= x["chunk"] <= b
                                  and not any(u <= x["chunk"] <= v for _, u, v, _ in mine)]))
        return out

    def whole(self, c, index, q, mode):
        """The plain ranking, to its end; that of hybrid as far down as the same k takes its halves."""
        return c.call("query", index=index, **{**q, "mode": mode, "k": 10000})["hits"]

    def cited(self, c, index, h):
        f = c.call("fetch", index=index, doc=h["doc"], source=h["source"], bytes=h["bytes"], digest=h["digest"])
        self.assertEqual((f["matches"], f["text"], f["bytes"]), (True, h["text"], h["bytes"]))

    def may_read(self, labels, h):
        return bool(set(FOLDERS[h["doc"].split("/")[0]]) & set(labels))

    # --- one index ---
    def test_each_answer_is_the_models(self):
        seen = {"distinct": 0, "per_doc": 0, "joined": 0, "widened": 0, "hits": 0}
        for _ in range(count(300, 6000)):
            labels, index, q = self.r.choice(READERS), self.r.choice(["docs", "wiki", "notes"]), self.question()
            mode = "lexical" if index == "notes" else self.r.choice(["lexical", "exact"])
            c = self.readers[labels]
            shape = {"per_doc": self.r.choice([0, 0, 1, 2]), "distinct": self.r.random() < .5, "expand": self.r.choice([0, 0, 1, 2, 100]), "section": self.r.random() < .4}
            got = c.call("query", index=index, mode=mode, **q, **shape)
            plain = self.whole(c, index, q, mode)
            left = self.left(plain, shape["per_doc"], shape["distinct"], q["k"])
            seen["distinct"] += shape["distinct"] and len(self.left(plain, 0, True, 10000)) < len(plain)
            seen["per_doc"] += shape["per_doc"] > 0 and len(left) < min(len(plain), q["k"])
            self.assertTrue(all(self.may_read(labels, h) for h in got["hits"]))
            if not shape["expand"] and not shape["section"]:
                self.assertEqual(steady(got["hits"]), steady(left), (q, mode, shape))
            else:
                want = self.grouped(index, left, shape["expand"], shape["section"])
                self.assertEqual([(h["doc"], h["chunk"], [p["chunk"] for p in h["passages"]]) for h in got["hits"]],
                                 [(h["doc"], h["chunk"], inside) for h, _, _, inside in want])
                for h, (_, a, b, inside) in zip(got["hits"], want):
                    d = self.document(index, h)
                    self.assertEqual(h["bytes"], [d["passages"][a]["bytes"][0], d["passages"][b]["bytes"][1]])
                    self.assertEqual(h["passages"][0]["bytes"], d["passages"][h["chunk"]]["bytes"])
                    seen["joined"] += len(inside) > 1
                    seen["widened"] += b > a
            for h in got["hits"][:2]:
                self.assertEqual(h["text"].encode(), self.document(index, h)["text"].encode()[h["bytes"][0]:h["bytes"][1]])
                self.cited(c, index, h)
            seen["hits"] += len(got["hits"])
        self.assertTrue(all(n > 20 for n in seen.values()), seen)

    def test_what_may_not_be_read_changes_nothing(self):
        """A tenant without the documents that `public` may not read gives the same hits, in each mode, however they are shaped."""
        for _ in range(count(150, 3000)):
            index, q = self.r.choice(["docs", "wiki", "notes"]), self.question()
            shape = {"per_doc": self.r.choice([0, 1]), "distinct": self.r.random() < .7, "expand": self.r.choice([0, 1]), "section": self.r.random() < .3,
                     "mode": "lexical" if index == "notes" else self.r.choice(["lexical", "exact", "hybrid"])}
            if self.r.random() < .4:
                shape["max_tokens"] = self.r.randint(5, 200)
            if index == "docs" and self.r.random() < .5:
                shape.update(also=["wiki"], merge=self.r.choice(["rank", "relevance"]))
            a, b = (c.call("query", index=index, **q, **shape) for c in (self.readers[("public",)], self.bare))
            self.assertEqual((steady(a["hits"]), a["evidence"], a.get("tokens")), (steady(b["hits"]), b["evidence"], b.get("tokens")))

    def test_tokens(self):
        c, cut, wide = self.readers[("public", "group:hr", "group:ops")], 0, 0
        for _ in range(count(150, 3000)):
            index, q, most = self.r.choice(["docs", "notes"]), self.question(), self.r.randint(1, 300)
            shape = {"expand": self.r.choice([0, 0, 2]), "section": self.r.random() < .3, "mode": "lexical"}
            got, plain = c.call("query", index=index, max_tokens=most, **q, **shape), c.call("query", index=index, mode="lexical", **q)["hits"]
            t = got["tokens"]
            self.assertEqual((t["max"], t["counted_by"]), (most, "tiny" if index == "docs" else "estimate"))
            self.assertEqual(t["given"], sum(h["tokens"] for h in got["hits"]))
            self.assertLessEqual(t["given"], most)
            inside = sum(len(h["passages"]) for h in got["hits"]) if shape["expand"] or shape["section"] else len(got["hits"])
            self.assertEqual(inside + t["left_out"], len(plain))
            self.assertEqual([(h["doc"], h["chunk"]) for h in got["hits"]][:1], [(h["doc"], h["chunk"]) for h in plain[:bool(got["hits"])]])
            if t["left_out"] and not shape["expand"] and not shape["section"]:  # the next one would not have fitted
                one = c.call("query", index=index, max_tokens=100000, mode="lexical", **{**q, "k": inside + 1})["hits"][-1]["tokens"]
                self.assertGreater(t["given"] + one, most)
            cut += t["left_out"] > 0
            wide += any(h["bytes"] != h["passages"][0]["bytes"] for h in got["hits"] if "passages" in h)
            for h in got["hits"][:1]:
                self.cited(c, index, h)
        self.assertTrue(cut > 20 and wide > 10, (cut, wide))
        none = c.call("query", index="docs", text="cairn", max_tokens=1)
        self.assertEqual((none["hits"], none["tokens"]["given"], none["tokens"]["left_out"]), ([], 0, 10))

    # --- several indexes ---
    def test_several_indexes(self):
        for _ in range(count(150, 3000)):
            labels, q, merge = self.r.choice(READERS), self.question(), self.r.choice(["rank", "relevance"])
            names = self.r.sample(["docs", "wiki", "notes"], self.r.randint(2, 3))
            shape = {"mode": "lexical", "per_doc": self.r.choice([0, 1]), "distinct": self.r.random() < .5}
            c = self.readers[labels]
            got = c.call("query", index=names[0], also=names[1:], merge=merge, **q, **shape)
            lists = {n: [{**h, "index": n} for h in c.call("query", index=n, **q, **shape)["hits"]] for n in names}
            at, want = {n: 0 for n in names}, []
            while len(want) < q["k"] and any(at[n] < len(lists[n]) for n in names):
                heads = [n for n in names if at[n] < len(lists[n])]
                n = min(heads, key=lambda n: at[n] if merge == "rank" else -lists[n][at[n]]["relevance"])
                h = lists[n][at[n]]
                at[n] += 1
                if shape["per_doc"] and any(x["doc"] == h["doc"] for x in want) or shape["distinct"] and any(x["text"] == h["text"] for x in want):
                    continue
                want.append(h)
            self.assertEqual(steady(got["hits"]), steady(want))
            self.assertEqual([m["index"] for m in [got["made_by"], *got["also_made_by"]]], names)
            self.assertEqual(len({m["trace_id"] for m in [got["made_by"], *got["also_made_by"]]}), 1)
            for h in got["hits"][:2]:
                self.cited(c, h["index"], h)

    def test_each_index_has_its_record(self):
        got = self.admin.call("query", index="docs", also=["wiki"], text="cairn moor", k=20, expand=1, merge="rank")
        records = self.admin.call("trace.get", trace_id=got["made_by"]["trace_id"])["records"]
        self.assertEqual([r["index"] for r in records], ["docs", "wiki"])
        for r in records:
            want = [(h["doc"], h["chunk"], h["bytes"], h["digest"]) for h in got["hits"] if h["index"] == r["index"]]
            self.assertEqual([(h["doc"], h["chunk"], [h["from"], h["to"]] if "from" in h else h["bytes"], h["digest"]) for h in r["hits"]], want)

    def test_one_that_cannot_be_asked(self):
        c = self.readers[("public",)]
        for mode, words in (("refuse", "REFUSED: not now"), ("lexical", None)):
            self.admin.call("modes.set", index="wiki", mode=mode, reason="a test", **({"text": "not now"} if mode == "refuse" else {}))
            try:
                got = c.call("query", index="docs", also=["wiki", "notes"], text="cairn moor")
                self.assertEqual(got["made_by"]["degraded"], ["index_unavailable"] if words else [])
                if not words:
                    self.assertEqual(got["also_made_by"][0]["degraded"], ["lexical_only"])
                    continue
                self.assertEqual({h["index"] for h in got["hits"]} - {"docs", "notes"}, set())
                self.assertEqual((got["also_made_by"][0]["index"], sorted(got["also_made_by"][0])), ("wiki", ["error", "index"]))
                self.assertIn(words, got["also_made_by"][0]["error"])
                with self.assertRaisesRegex(Failed, '^REFUSED: index "wiki": not now'):
                    c.call("query", index="docs", also=["wiki"], text="cairn", on_degraded="error")
                with self.assertRaisesRegex(Failed, "^REFUSED: not now"):
                    c.call("query", index="wiki", also=["docs"], text="cairn")
            finally:
                self.admin.call("modes.set", index="wiki", mode="normal")

    def test_a_key_of_one_index_asks_no_other(self):
        c = Rpc(self.server, self.place.key("acme", "--scope", "query", "--labels", "public,group:hr", "--index", "docs"))
        said = []
        for other in ("wiki", "absent"):
            with self.assertRaises(Failed) as e:
                c.call("query", index="docs", also=[other], text="cairn")
            said.append(str(e.exception).replace(other, "X"))
        self.assertEqual(said[0], said[1])
        self.assertRegex(said[0], '^NOT_FOUND: there is no index "X"')
        r = c.call("query_batch", index="docs", also=["wiki"], queries=[{"text": "cairn"}, {"text": "cairn", "also": []}])["results"]
        self.assertTrue(r[0]["error"].startswith("NOT_FOUND: ") and r[1]["hits"])

    # --- what is refused, and the command ---
    def test_what_is_refused(self):
        c = self.readers[("public",)]
        for fields, why in (({"also": ["docs"]}, "again"), ({"also": ["wiki", "wiki"]}, "again"), ({"also": [f"i{n}" for n in range(16)]}, "at most 15"),
                            ({"also": ["wiki"], "min_version": 1}, "min_version"), ({"also": ["wiki"], "merge": "best"}, "relevance or rank"), ({"also": [7]}, "list of strings"),
                            ({"expand": 101}, '"expand"'), ({"expand": 1, "k": 1001}, "1000"), ({"max_tokens": 0}, '"max_tokens"'), ({"section": 1}, '"section"'),
                            ({"also": ["absent"]}, "no index")):
            with self.assertRaisesRegex(Failed, why, msg=fields):
                c.call("query", index="docs", text="cairn", **fields)
        for n in (1, 5):
            batch = c.call("query_batch", index="docs", queries=[{"text": "cairn", "expand": 1, "k": n}, {"text": "moor", "also": ["wiki"], "k": n}, {"text": "x", "expand": 101}])["results"]
            one = [c.call("query", index="docs", text="cairn", expand=1, k=n), c.call("query", index="docs", text="moor", also=["wiki"], k=n)]
            self.assertEqual([b["hits"] for b in batch[:2]], [x["hits"] for x in one])
            self.assertIn("expand", batch[2]["error"])

    def test_the_command(self):
        words = ("query", "acme/docs", "cairn moor", "-k", "5", "--mode", "hybrid", "--distinct", "--section", "--max-tokens", "120", "--also", "wiki,notes")
        out = json.loads(self.place.cairn(*words, "-o", "json").stdout)
        got = self.readers[("public",)].call("query", index="docs", text="cairn moor", k=5, mode="hybrid", distinct=True, section=True, max_tokens=120, also=["wiki", "notes"])
        short = lambda hits: [(h["index"], h["doc"], h["bytes"], h["digest"], h["text"], h["tokens"], [p["digest"] for p in h["passages"]]) for h in hits]
        self.assertEqual((short(out["hits"]), out["tokens"], out["evidence"]), (short(got["hits"]), got["tokens"], got["evidence"]))
        text = self.place.cairn(*words).stdout
        self.assertIn("\nalso wiki: version 1, ", text)
        self.assertRegex(text, r"1\. (docs|wiki|notes): ")
        self.assertIn("\ntokens: ", text)
        self.assertEqual(self.place.cairn(*words, "-o", "tsv").stdout.split("\t")[0], "index")
        for option in ("--distinct", "--expand N", "--section", "--max-tokens N", "--also INDEX", "--merge"):
            self.assertIn(option, self.place.cairn("query", "--help").stdout)


class Evidence(unittest.TestCase):
    """With a real model, where one is at hand: what the sources answer, and what they do not, in each mode. How often that is right
    is measured by benchmarks/search/evidence.py."""
    PASSAGES = ["Refunds are paid within ten days after the returned parcel has reached the warehouse in Leeds.",
                "The office is closed on public holidays; the alarm is switched off by the caretaker at seven in the morning.",
                "Bicycles may be kept in the yard behind the canteen, where a pump and a box of tools hang on the wall.",
                "New colleagues get a laptop on their first day and a key card after the safety course.",
                "Travel is booked by the assistant of the department; first class needs the signature of a director.",
                "The canteen serves a vegetarian dish every day, and fish on Fridays."]
    ANSWERED = ["When are refunds paid for a returned parcel?", "Where may bicycles be kept?", "Who switches off the alarm in the morning?"]
    NOT = ["At which temperature does liquid nitrogen boil?", "Who became chess champion of the world in 1972?", "How is a list sorted in Python?"]

    def test_each_mode(self):
        folder = os.environ.get("CAIRN_TEST_MODEL", "")
        if not os.path.isdir(folder):
            self.skipTest("CAIRN_TEST_MODEL is not set")
        with tempfile.TemporaryDirectory() as tmp:
            cairn = lambda *words, **kw: run(*words, data=tmp + "/data", **kw)
            cairn("init"), cairn("tenant", "add", "acme"), cairn("model", "add", "real", folder), cairn("index", "create", "acme/kb", "--embedder", "real")
            with open(tmp + "/rows.jsonl", "w") as f:
                f.writelines(json.dumps({"id": str(i), "text": t, "labels": ["public"]}) + "\n" for i, t in enumerate(self.PASSAGES))
            cairn("ingest", "acme/kb", tmp + "/rows.jsonl", "--activate")
            asked = [(mode, q) for mode in ("lexical", "dense", "hybrid") for q in (self.ANSWERED if mode != "lexical" else []) + self.NOT]
            out = cairn("query", "acme/kb", "--batch", "-", "-o", "json", text="".join(json.dumps({"text": q, "mode": mode}) + "\n" for mode, q in asked)).stdout
            for (mode, q), line in zip(asked, out.splitlines(), strict=True):
                answer = json.loads(line)
                self.assertEqual(answer["evidence"] == "ok", q in self.ANSWERED, (mode, q, [h["relevance"] for h in answer["hits"][:2]]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
