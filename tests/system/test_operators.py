"""Questions with operators (phrases, prefixes) and highlights through a real server, beside plain Python: what is found, by whom,
with which scores; what stays as it was; where words stand in what is given; what is refused."""
import json
import math
import os
import pty
import random
import re
import subprocess
import unittest

from serving import CAIRN, Failed, Rpc, Server, count, seed
from test_lexical import B, K1, VOCABULARY, Place, make_rows

PREFIXES = ["pe", "st", "b", "pa", "tra", "no", "xy", "cairn"]
ALL = ("public", "group:hr", "group:ops", "user:ana")


def stands(words, phrase):
    return any(words[i:i + len(phrase)] == phrase for i in range(len(words) - len(phrase) + 1))


def found(rows, readable, words, phrases, prefixes, matches):
    """Ids and scores of the rows that hold all phrases; a prefix is one word, as rare as the most frequent that it stands for."""
    may = [(row, row["text"].split()) for row in rows if readable(row)]
    mean = sum(len(t) for _, t in may) / len(may) if may else 0
    weight = lambda n, times: math.log(1 + (len(may) - n + .5) / (n + .5)) * times * (K1 + 1)
    holders = lambda w: sum(w in t for _, t in may)
    asked = words + [w for p in phrases for w in p]
    hits = []
    for row, text in may:
        part = lambda w, tf: w * tf / (tf + K1 * (1 - B + B * len(text) / mean)) if tf else 0
        score = sum(part(weight(holders(w), asked.count(w)), text.count(w)) for w in dict.fromkeys(asked))
        for p in dict.fromkeys(prefixes):
            begun = [w for w in VOCABULARY if w.startswith(p)] if len(p) > 1 else []
            if any(holders(w) for w in begun):
                score += part(weight(max(holders(w) for w in begun), prefixes.count(p)), sum(text.count(w) for w in begun))
        if score and all(stands(text, p) for p in phrases) and matches(row):
            hits.append((row["id"], score))
    return sorted(hits, key=lambda x: (-x[1], x[0]))


class Operators(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.r = random.Random(seed(5))
        cls.place = Place(make_rows(400, cls.r))
        cls.addClassCleanup(cls.place.close)
        cls.server = Server(cls.place)
        cls.addClassCleanup(cls.server.stop)
        cls.readers = {labels: Rpc(cls.server, cls.place.key("--scope", "query", "--labels", ",".join(labels))) for labels in (("public",), ("group:hr", "user:ana"), ALL)}
        cls.admin = Rpc(cls.server, cls.place.key("--scope", "query,audit,operate,versions,policy", "--labels", ",".join(ALL)))

    def ask(self, text, labels=ALL, index="notes", **kw):
        return self.readers[labels].call("query", **{"index": index, "text": text, "operators": True, "mode": "lexical", **kw})

    def test_what_is_found(self):
        seen = {"phrase": 0, "prefix": 0, "hits": 0}
        for _ in range(count(80, 3000)):
            labels, half = self.r.choice(list(self.readers)), self.r.choice([None, 0, 1])
            words = self.r.choices(VOCABULARY + ["nowhere"], k=self.r.randint(0, 2))
            phrases = [[VOCABULARY[min(self.r.randrange(16), self.r.randrange(8))] for _ in range(self.r.choice([1, 2, 2, 3]))] for _ in range(self.r.choice([0, 1, 1, 2]))]
            prefixes = self.r.sample(PREFIXES, self.r.choice([0, 1, 1, 2]))
            pieces = words + ['"' + " ".join(p) + '"' for p in phrases] + [p + "*" for p in prefixes]
            self.r.shuffle(pieces)
            kw = {} if half is None else {"filter": {"field": "half", "eq": half}}
            want = found(self.place.rows, lambda row: set(labels) & set(row["labels"]), words, phrases, prefixes, lambda row: half is None or row["meta"]["half"] == half)
            a = self.ask(" ".join(pieces), labels, k=400, **kw)
            self.assertEqual({h["doc"] for h in a["hits"]}, {d for d, _ in want}, pieces)
            scores = dict(want)
            for h in a["hits"]:
                self.assertAlmostEqual(h["score"], scores[h["doc"]], delta=3e-5 * max(1, scores[h["doc"]]), msg=str(pieces))
            top = self.ask(" ".join(pieces), labels, k=5, **kw)["hits"]
            self.assertEqual(top, a["hits"][:5])
            seen["phrase"] += bool(phrases and want)
            seen["prefix"] += bool(prefixes and want)
            seen["hits"] += len(want)
        self.assertTrue(min(seen.values()) > 10, seen)

    def test_other_texts_are_read_as_ever(self):
        for text in ("cairn fox", 'a 5" cairn', "cairn * fox 5 * 3", "C* fox", "cairn** fox*map", '"" fox', "what is a fox?"):
            plain = self.readers[ALL].call("query", index="notes", text=text, mode="lexical", k=50)
            self.assertEqual(self.ask(text, k=50)["hits"], plain["hits"], text)
        quoted, bare = (self.readers[ALL].call("query", index="notes", text=t, mode="lexical", k=400)["hits"] for t in ('"fox moor" sto*', "fox moor sto"))
        self.assertEqual(quoted, bare)  # without the word signs are signs
        self.assertEqual(self.ask("\u201ccairn stone\u201d", k=9)["hits"], self.ask('"cairn stone"', k=9)["hits"])

    def test_hybrid(self):
        text = '"cairn stone" moor'
        plain = self.ask(text, index="docs", k=400)["hits"]
        a = self.admin.call("query", index="docs", text=text, operators=True, mode="hybrid", k=400, explain=True)
        by_words = [h for h in a["hits"] if h["halves"]["lexical"]]
        self.assertEqual({h["doc"]: h["halves"]["lexical"]["rank"] for h in by_words}, {h["doc"]: i for i, h in enumerate(plain, 1)})
        self.assertTrue(0 < len(by_words) < len(a["hits"]))  # vectors find others too
        self.assertEqual({k: a["plan"][k] for k in ("terms", "terms_known", "phrases", "prefixes")}, {"terms": 3, "terms_known": 3, "phrases": 1, "prefixes": 0})
        self.assertGreaterEqual(a["plan"]["phrase_texts"], len(plain))
        a = self.admin.call("query", index="notes", text="tra* pe*", operators=True, explain=True)
        self.assertEqual({k: a["plan"][k] for k in ("terms", "phrases", "phrase_texts", "prefixes", "prefix_terms")}, {"terms": 2, "phrases": 0, "phrase_texts": 0, "prefixes": 2, "prefix_terms": 2})
        self.assertNotIn("phrases", self.admin.call("query", index="notes", text="fox", explain=True)["plan"])

    def test_titles_and_headings(self):
        rows = [{"id": "title", "title": "The Lone Fox", "text": "of the moor", "labels": ["public"]}, {"id": "split", "title": "lone", "text": "fox", "labels": ["public"]}]
        self.place.cairn("index", "create", "acme/titles")
        self.place.ingest("titles", rows)
        page = os.path.join(self.place.dir, "page.md")
        with open(page, "w") as f:
            f.write("# A lone fox\n\nstones\n\n## Another lone\n\nfoxes there\n\n## Lone foxes\n\nmoss\n")
        self.place.cairn("ingest", "acme/titles", page, "--label", "public", "--source", "pages", "--activate")
        hits = self.ask('"lone fox"', ("public",), "titles", k=10)["hits"]
        self.assertEqual({h["doc"] for h in hits}, {"title", "page.md"})
        self.assertEqual([h["doc"] for h in self.ask('"fox of"', ("public",), "titles")["hits"]], [])
        self.place.cairn("index", "create", "acme/texts", "--analyser", "english title=0 headings=0")
        self.place.cairn("ingest", "acme/texts", page, "--label", "public", "--activate")
        self.assertEqual([len(self.ask(t, ("public",), "texts")["hits"]) for t in ('"lone fox"', "lone", '"foxes there"', "stone")], [0, 0, 1, 1])
        self.assertIn(self.admin.call("incident.why_not", index="titles", text='"lone fox"', doc="split", operators=True)["verdict"], ("ranked_lower",))
        self.assertRegex(self.admin.call("incident.why_not", index="titles", text='"lone fox"', doc="split", operators=True)["why"], "lacks one of its phrases")
        self.assertEqual(self.admin.call("incident.why_not", index="titles", text='"lone fox"', doc="split")["verdict"], "answered")

    def test_highlights(self):
        for mode, index in (("lexical", "notes"), ("dense", "docs"), ("exact", "docs"), ("hybrid", "docs")):
            for text, pattern in (("fox the moor", r"\b(?:fox|moor)\b"), ('"cairn stone" pe*', r"\b(?:cairn stone|pe\w*)\b"), ("nowhere", "nowhere")):
                for h in self.ask(text, index=index, mode=mode, k=30, highlight=True)["hits"]:
                    self.assertEqual(h["highlights"], [list(m.span()) for m in re.finditer(pattern, h["text"])], (mode, text, h["text"]))
        self.assertNotIn("highlights", self.ask("fox")["hits"][0])
        dim = json.loads(self.place.cairn("index", "show", "acme/docs", "-o", "json").stdout)["dim"]
        self.assertEqual({len(h["highlights"]) for h in self.admin.call("query", index="docs", vector=[1.0] * dim, highlight=True)["hits"]}, {0})
        batch = self.admin.call("query_batch", index="notes", highlight=True, queries=[{"text": "fox"}, {"text": "fox", "highlight": False}])["results"]
        self.assertEqual(["highlights" in r["hits"][0] for r in batch], [True, False])

    def test_highlights_are_bytes_of_what_is_given(self):
        text = "Größe der Häuser. " * 30 + "Die HÄUSER über dem Moor."
        self.place.cairn("index", "create", "acme/haus", "--analyser", "german", "--chunker", "fixed tokens=40")
        self.place.ingest("haus", [{"id": "f", "text": text, "labels": ["public"]}])
        self.place.cairn("index", "create", "acme/plain", "--analyser", "none")
        self.place.ingest("plain", [{"id": "p", "text": "haus, häuser", "labels": ["public"]}])
        for shape in ({}, {"expand": 1}, {"section": True}, {"also": ["plain"]}):
            hits = self.ask("der haus", ("public",), "haus", highlight=True, **shape)["hits"]
            self.assertTrue(hits)
            for h in hits:
                marked = [h["text"].encode()[a:b].decode() for a, b in h["highlights"]]
                words = r"(?i)\bhaus\b" if h["doc"] == "p" else r"(?i)\bhäuser\b"
                self.assertEqual(marked, re.findall(words, h["text"]), shape)
            self.assertEqual({h["doc"] for h in hits}, {"f", "p"} if "also" in shape else {"f"})

    def test_what_nobody_may_read_changes_nothing(self):
        """Words that begin as a prefix says, frequent and many, in rows of others: not a bit of these answers changes."""
        mine = [{"id": f"m{i}", "text": f"stone{i % 9} stone cairn" if i % 2 else "cairn stonework", "labels": ["group:mine"]} for i in range(40)]
        theirs = [{"id": f"t{i}", "text": f"stone cairn stonex{i % 90} stonex{i % 90}", "labels": ["group:theirs"]} for i in range(300)]
        c, answers = Rpc(self.server, self.place.key("--scope", "query", "--labels", "group:mine")), []
        for name, rows in (("mine", mine), ("both", mine + theirs)):
            self.place.cairn("index", "create", "acme/" + name, "--chunker", "document")
            self.place.ingest(name, rows)
            a = [c.call("query", index=name, text=t, operators=True, highlight=True, k=100) for t in ("stone*", '"stone cairn" stone*', "cai* st*")]
            answers.append([(x["hits"], x["evidence"], x["made_by"]["degraded"]) for x in a])
        self.assertEqual(answers[0], answers[1])
        self.assertTrue(all(hits for hits, _, _ in answers[0]))
        c = Rpc(self.server, self.place.key("--scope", "query", "--labels", "group:theirs"))
        self.assertEqual(c.call("query", index="both", text="stone*", operators=True)["made_by"]["degraded"], ["prefix_cut"])
        with self.assertRaisesRegex(Failed, "^INVALID: a prefix of the text begins more words"):
            c.call("query", index="both", text="stone*", operators=True, on_degraded="error")

    def test_fields_count_as_the_analyser_says(self):
        rows = [{"id": "t", "title": "fox", "text": "stones of a moor", "labels": ["public"]}, {"id": "x", "title": "moor", "text": "the fox of stones", "labels": ["public"]},
                {"id": "none", "text": "moor", "labels": ["public"]}]
        for name, title in (("", 2), (" title=0", 0), (" title=9 headings=3", 9), (" title=1", 1)):
            index = f"fields{title}"
            self.place.cairn("index", "create", "acme/" + index, "--analyser", "none" + name)
            self.place.ingest(index, rows)
            a = self.ask("fox", ("public",), index)
            lengths = [title + 4, title + 4, 1]
            part = lambda tf, n: math.log(1 + (3 - n + .5) / (n + .5)) * (K1 + 1) * tf / (tf + K1 * (1 - B + B * (title + 4) / (sum(lengths) / 3)))
            holders = 1 + (title > 0)
            want = {"x": part(1, holders), **({"t": part(title, holders)} if title else {})}
            self.assertEqual({h["doc"] for h in a["hits"]}, set(want))
            for h in a["hits"]:
                self.assertAlmostEqual(h["score"], want[h["doc"]], places=5)
            self.assertEqual([h["doc"] for h in a["hits"]], ["x"] if not title else ["t", "x"])
            self.assertEqual({h["doc"] for h in self.ask('"fox"', ("public",), index)["hits"]}, set(want))
            self.assertEqual(a["made_by"]["analyser"], "words/2 language=none" + ("" if title == 2 else name))
        self.assertIn("title=N and headings=N", self.place.cairn("index", "create", "acme/bad", "--analyser", "english body=2", check=False).stderr)

    def test_limits(self):
        with self.assertRaisesRegex(Failed, "^INVALID: .*64 words in quotes"):
            self.ask('"' + "fox " * 65 + '"')
        with self.assertRaisesRegex(Failed, "^INVALID: .*8 prefixes"):
            self.ask(" ".join(f"w{i}*" for i in range(9)))
        self.assertEqual(self.ask('"' + "fox " * 64 + '"')["hits"], [])

    def test_the_command(self):
        words = ("query", "acme/notes", '"cairn stone" pe*', "--as", ",".join(ALL), "--operators", "--highlight")
        out = json.loads(self.place.cairn(*words, "-o", "json").stdout)
        there = self.ask('"cairn stone" pe*', highlight=True)["hits"]
        self.assertEqual([(h["doc"], h["highlights"]) for h in out["hits"]], [(h["doc"], h["highlights"]) for h in there])
        self.assertNotIn("\033", self.place.cairn(*words).stdout)
        ours, its = pty.openpty()
        subprocess.run([CAIRN, "--data", self.place.path, *words, "-k", "1"], stdout=its, env={**os.environ, "TERM": "xterm"}, check=True)
        os.close(its)
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        self.assertIn("\033[1mcairn stone\033[0m", shown)


if __name__ == "__main__":
    unittest.main(verbosity=2)
