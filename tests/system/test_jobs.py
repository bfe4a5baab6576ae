"""Jobs by the command: what each says, what it leaves behind, and with which exit code it ends."""
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from serving import CAIRN, SANITIZED, Data, Rpc, Server, hold_writer, run

MAKE_MODEL = os.environ["MAKE_MODEL"]
WORDS = "time person year way day thing man world life hand part child eye woman place work week case point government company number group problem fact".split()


def clean_env(data):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": data}


def prose(seed, sentences):
    r = random.Random(seed)
    return " ".join(" ".join(r.choice(WORDS) for _ in range(r.randint(4, 14))).capitalize() + "." for _ in range(sentences))


class Jobs(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-jobs-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = os.path.join(self.dir, "data")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")

    # ---------- helpers ----------
    def cairn(self, *args, code=0, text=None):
        p = run(*args, data=self.data, check=False, text=text)
        self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def map(self, *args, code=0, text=None):
        return json.loads(self.cairn(*args, "-o", "json", code=code, text=text).stdout)

    def index(self, name, *options):
        self.cairn("index", "create", "acme/" + name, *options)

    def model(self):
        folder = os.path.join(self.dir, "folder")
        os.mkdir(folder)
        subprocess.run([MAKE_MODEL, folder], check=True)
        self.cairn("model", "add", "tiny", folder)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        return path

    def rows(self, name, ids, say="says", labels=("public",), vector=None, **more):
        lines = [{"id": f"d{i}", "text": f"Row {i} {say} so.", "labels": list(labels), **more} for i in ids]
        for i, line in zip(ids, lines):
            if vector:
                line["vector"] = [1 + i % 7, 2, i % 5, 1][:vector]
        return self.write(name, "".join(json.dumps(x) + "\n" for x in lines))

    def ingest(self, index, *args, code=0, text=None):
        return self.map("ingest", "acme/" + index, *args, code=code, text=text)

    def active(self, index):
        return self.map("index", "show", "acme/" + index).get("active", 0)

    def versions(self, index):
        return self.map("versions", "acme/" + index)["versions"]

    def counts(self, result, **want):
        got = {k: result["counts"].get(k) for k in want}
        self.assertEqual(got, want, result)

    def rejected(self, job):
        return self.map("jobs", "show", "acme", job, "--rejected")["rejected"]

    def pipe(self, index, *options):
        """A job that reads standard input, so that it lives as long as the test wants."""
        p = subprocess.Popen([CAIRN, "ingest", "acme/" + index, "-", "--format", "jsonl", "-o", "json", *options], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env(self.data))
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait(), p.stdout.close(), p.stderr.close(), p.stdin.closed or self.hush(p.stdin)))
        end = time.time() + 20
        while time.time() < end:
            running = [j for j in self.map("jobs", "list", "acme")["jobs"] if j["pid"] == p.pid]
            if running:
                return p, running[0]["job"]
            time.sleep(0.05)
        self.fail("the job did not begin")

    @staticmethod
    def hush(f):
        try:
            f.close()
        except BrokenPipeError:
            pass

    # ---------- what changes ----------
    def test_rows_that_say_only_labels_deletes_and_ids_that_come_twice(self):
        self.index("a", "--embedder", "none")
        first = self.ingest("a", self.rows("r.jsonl", range(10), vector=4), "--activate")
        self.counts(first, read=10, added=10, documents=10, rejected=0)
        lines = [{"id": "d1", "labels": ["group:hr"]}, {"id": "d2", "labels": ["public"]}, {"id": "d99", "labels": ["public"]},
                 {"id": "d3", "op": "delete"}, {"id": "d98", "op": "delete"}, {"id": "d1", "op": "delete"}, {"id": "d4", "labels": ["group:hr"], "title": "Other"}]
        r = self.ingest("a", self.write("s.jsonl", "".join(json.dumps(x) + "\n" for x in lines)), "--activate")
        self.counts(r, read=6, relabelled=1, unchanged=2, rejected=3, deleted=1, documents=9)
        why = {x["doc"]: x["why"] for x in self.rejected(r["job"])}
        self.assertIn("not in this index", why["d99"])
        self.assertIn("before in this job", why["d1"])
        self.assertIn("send its text too", why["d4"])
        again = self.ingest("a", self.write("s.jsonl", json.dumps({"id": "d1", "labels": ["public"]}) + "\n" + json.dumps(
            {"id": "d3", "text": "Row 3 says so.", "labels": ["public"], "vector": [4, 2, 3, 1]}) + "\n"), "--activate")
        self.assertEqual(again["root"], first["root"])

    def test_vectors_in_rows_must_fit_their_index(self):
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("r.jsonl", range(5), vector=4))
        lines = [{"id": "x", "text": "x", "vector": [1, 2, 3]}, {"id": "y", "text": "y"}, {"id": "z", "text": "z", "vector": [0, 0, 0, 0]},
                 {"id": "u", "text": "u", "vector": [1, 2, 3, "4"]}, {"id": "v", "text": "v", "vector": [1e39, 2, 3, 4]}, {"id": "w", "vector": [1, 2, 3, 4]}]
        r = self.ingest("a", self.write("s.jsonl", "".join(json.dumps({**x, "labels": ["public"]}) + "\n" for x in lines)))
        self.counts(r, read=6, added=1, rejected=5, documents=6)
        self.index("n", "--embedder", "none")  # one without vectors: what is refused says so of each
        r = self.ingest("n", self.write("s.jsonl", "".join(json.dumps({"id": x["id"], "labels": ["public"], **x}) + "\n" for x in (
            {"id": "t", "text": "t"}, {"id": "v3", "text": "x", "vector": [1, 2, 3]}, {"id": "v2", "text": "x", "vector": [1, 2]}, {"id": "l", "text": "x", "labels": ["no kind"]}))))
        why = {x["doc"]: x["why"] for x in self.rejected(r["job"])}
        self.assertEqual((set(why), why["v3"]), ({"v3", "v2", "l"}, why["v2"]))
        self.assertIn("the documents before it have none", why["v2"])
        table = self.cairn("jobs", "show", "acme", r["job"], "--rejected").stdout.split("\n")
        self.assertEqual([line.split()[0] for line in table if "s.jsonl:" in line], ["v3", "v2", "l"])
        self.model()
        self.index("m", "--embedder", "tiny")
        r = self.ingest("m", self.rows("t.jsonl", range(3), vector=4))
        self.counts(r, rejected=3, added=0)
        self.assertIn("belongs to its model", self.rejected(r["job"])[0]["why"])

    def test_sync_deletes_within_its_source_only(self):
        self.index("a", "--embedder", "none")
        for source in ("one", "two"):
            self.ingest("a", self.rows("r.jsonl", range(10)), "--source", source)
        r = self.ingest("a", self.rows("r.jsonl", range(4)), "--source", "one", "--sync", "--activate", "--dry-run")
        self.counts(r, unchanged=4, deleted=6, documents=14)
        r = self.ingest("a", self.rows("r.jsonl", range(4)), "--source", "one", "--sync", "--activate")
        self.counts(r, unchanged=4, deleted=6, documents=14)
        os.makedirs(os.path.join(self.dir, "unmounted"), exist_ok=True)
        r = self.ingest("a", os.path.join(self.dir, "unmounted"), "--source", "one", "--sync", "--activate", code=5)
        self.counts(r, read=0, deleted=4)
        self.assertIn("4 of 14 documents would be deleted; the limit is 0", r["why"])
        self.cairn("drop", "acme/a", str(r["version"]))
        r = self.ingest("a", self.rows("r.jsonl", range(4)), "--source", "one")
        self.assertEqual(r["state"], "unchanged")
        self.assertNotIn("version", r)

    def test_erased_ids_are_rejected_and_never_rebuilt(self):
        self.index("a", "--embedder", "none")
        rows = self.rows("r.jsonl", range(6), vector=4)
        self.ingest("a", rows, "--activate")
        self.cairn("policy", "erase", "acme", "d2", "--reason", "asked to be forgotten")
        r = self.ingest("a", rows, "--activate")
        self.counts(r, read=6, rejected=1, unchanged=5)
        self.assertIn("erased", self.rejected(r["job"])[0]["why"])
        r = self.ingest("a", self.write("s.jsonl", json.dumps({"id": "d2", "labels": ["public"]}) + "\n"))
        self.counts(r, rejected=1)
        self.cairn("policy", "restore", "acme", "d2", "--reason", "asked to be back")
        self.counts(self.ingest("a", self.write("s.jsonl", json.dumps({"id": "d2", "labels": ["group:x"]}) + "\n")), rejected=1)
        r = self.ingest("a", rows, "--activate")
        self.counts(r, rejected=0, read=6, changed=1, unchanged=5)
        self.assertIn("version", r)
        self.assertIn("d2", [d["doc"] for d in self.map("documents", "list", "acme/a", "--as", "public")["documents"]])

    # ---------- versions ----------
    def test_a_hold_seals_but_does_not_flip(self):
        self.index("a", "--embedder", "none")
        for i in (1, 2):
            self.ingest("a", self.rows("r.jsonl", range(5), say=f"in {i}"), "--activate")
        self.cairn("rollback", "acme/a", "--reason", "wrong figures")
        r = self.ingest("a", self.rows("r.jsonl", range(5), say="in 3"), "--activate", code=5)
        self.assertEqual((r["state"], r["activated"], r["version"]), ("held", False, 3))
        self.assertIn("hold", r["why"])
        self.assertEqual(self.active("a"), 1)
        self.cairn("release", "acme/a", "--reason", "mended")
        r = self.ingest("a", self.rows("r.jsonl", range(5), say="in 3"), "--activate")
        self.assertEqual((r["state"], self.active("a")), ("unchanged", 3))

    def test_strict_input_seals_but_does_not_flip(self):
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("r.jsonl", range(5)), "--activate")
        bad = self.write("s.jsonl", '{"id": "x", "text": "fine", "labels": ["public"]}\nnot json\n')
        r = self.ingest("a", bad, "--activate", "--strict-input", code=6)
        self.assertEqual((r["version"], r["activated"], r["rejected"]), (2, False, 1))
        self.assertEqual(self.active("a"), 1)
        self.assertTrue(self.rejected(r["job"])[0]["where"].endswith("s.jsonl:2"))
        self.ingest("a", self.write("s.jsonl", '{"id": "y", "text": "fine", "labels": ["public"]}\n'), "--activate", "--strict-input")
        self.assertEqual(self.active("a"), 3)

    def test_guards_of_deleting_relabelling_and_rejecting(self):
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("r.jsonl", range(1200)), "--activate")
        relabel = self.rows("s.jsonl", range(1200), labels=("group:x",))
        r = self.ingest("a", relabel, "--activate", code=5)
        self.assertEqual((r["state"], r["activated"]), ("guarded", False))
        self.assertIn("--max-relabelled 1200", r["why"])
        r = self.ingest("a", relabel, "--activate", "--max-relabelled", "1200")
        self.assertEqual(self.active("a"), 2)
        r = self.ingest("a", self.rows("s.jsonl", range(10), labels=("group:x",)), "--sync", "--activate", code=5)
        self.assertIn("--max-deleted 1190", r["why"])
        r = self.ingest("a", self.write("t.jsonl", "nonsense\n" * 1001 + '{"id": "q", "text": "q"}\n'), "--activate", "--max-deleted", "1190", code=5)
        self.assertIn("--max-rejected 1001", r["why"])
        r = self.ingest("a", self.write("t.jsonl", '{"id": "q2", "text": "q"}\n' + "nonsense\n"), "--max-rejected", "0", "--activate", "--max-deleted", "1190", code=5)
        self.assertEqual(self.active("a"), 2)

    def test_a_source_of_rows_that_delete_holds_no_document(self):
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("r.jsonl", range(4)), "--activate")
        for n, id in enumerate(["d0", "unknown"], 2):
            r = self.ingest("a", self.write("s.jsonl", json.dumps({"id": id, "op": "delete"}) + "\n"), "--sync", "--activate", code=5)
            self.assertEqual((r["state"], r["activated"], r["counts"]["deleted"]), ("guarded", False, 4))
            self.assertIn("the limit is 0", r["why"])
            self.cairn("drop", "acme/a", str(n))

    def test_guards_count_rejections_of_the_job_alone(self):
        self.index("a", "--embedder", "none")
        night = lambda n: self.write("n.jsonl", "".join(json.dumps({"id": f"e{i}", "text": "", "labels": ["public"]}) + "\n" for i in range(400))
                                     + json.dumps({"id": f"new{n}", "text": "x", "labels": ["public"]}) + "\n")
        self.ingest("a", self.rows("r.jsonl", range(3000)), "--activate")
        for n in range(4):
            r = self.ingest("a", night(n))  # held back: nobody asked to activate it
            self.counts(r, rejected=400, added=1)
            self.assertEqual((r["state"], r["activated"]), ("done", False), r)
        r = self.ingest("a", night(4), "--activate")
        self.assertEqual((r["state"], r["activated"]), ("done", True), r)

    def test_guards_count_against_the_active_version(self):
        self.index("a", "--embedder", "none")
        row = lambda labels, content: self.rows("r.jsonl", range(1200), labels=labels, say=content)
        self.ingest("a", row(["public"], "says"), "--activate")
        r = self.ingest("a", row(["group:x"], "says"), "--activate", code=5)
        self.assertIn("1200 of 1200 documents would be relabelled", r["why"])
        r = self.ingest("a", self.rows("s.jsonl", range(1200, 1210)), "--activate", code=5)
        self.assertIn("1200 of 1200 documents would be relabelled", r["why"])
        self.assertIn("versions 2 to 3", r["why"])
        r = self.ingest("a", row(["public"], "says"), "--activate")  # as the active version has them
        self.counts(r, relabelled=1200)
        self.assertEqual((r["state"], r["activated"]), ("done", True), r)

    def test_a_dry_run_tells_the_cost_and_writes_nothing(self):
        self.model()
        self.index("m", "--embedder", "tiny")
        for i in range(20):
            self.write(f"docs/{i}.txt", prose(i, 30))
        before = self.tree()
        r = self.ingest("m", os.path.join(self.dir, "docs"), "--label", "public", "--dry-run")
        self.assertEqual(self.tree(), before)
        self.counts(r, read=20, added=20)
        self.assertEqual(self.versions("m"), [])
        self.assertEqual(self.map("jobs", "list", "acme")["jobs"], [])
        real = self.ingest("m", os.path.join(self.dir, "docs"), "--label", "public")
        self.assertEqual(r["estimate"]["chunks"], real["counts"]["chunks"])
        self.assertGreater(r["estimate"]["ms"], 0)

    def test_a_dry_run_counts_and_estimates_as_the_job_does(self):
        self.model()
        self.index("m", "--embedder", "tiny")
        row = lambda i, text, **more: json.dumps({"id": i, "text": text, "labels": ["public"], **more}) + "\n"
        self.ingest("m", self.write("first.jsonl", row("old", prose(1, 9)) + row("gone", "Goes.") + row("same", "Stays.")))
        lines = [row("a", prose(2, 9)), row("a", prose(3, 200)), row("a", prose(2, 9)), row("old", prose(4, 9)), row("old", prose(5, 200)), row("same", "Stays."), row("same", "Stays."),
                 json.dumps({"id": "gone", "op": "delete"}) + "\n", json.dumps({"id": "a", "op": "delete"}) + "\n", json.dumps({"id": "none", "op": "delete"}) + "\n",
                 row("bad", ""), row("bad", "Good now."), "nonsense\n", row("word", "a" * (4 << 20))]
        rows = self.write("rows.jsonl", "".join(lines))
        for more in ((), ("--reparse",)):
            dry, real = (self.ingest("m", rows, *more, *last) for last in (("--dry-run",), ()))
            names = ("read", "added", "unchanged", "changed", "relabelled", "rejected", "deleted", "documents", "unlabelled", "skipped")
            self.assertEqual({n: dry["counts"][n] for n in names}, {n: real["counts"][n] for n in names})
            self.assertGreaterEqual(real["counts"]["rejected"], 6)
            kept = {d["doc"]: d["chunks"] for d in self.map("documents", "list", "acme/m", "--version", "2")["documents"]}
            self.assertEqual(dry["estimate"]["chunks"], sum(n for d, n in kept.items() if more or d != "same"))
            self.assertLess(dry["estimate"]["ms"], 10000)  # a word of 4 MiB is one token

    def tree(self):
        """Files below the data directory with their sizes; lock files aside, which readers make too."""
        return sorted((os.path.join(d, f), os.path.getsize(os.path.join(d, f))) for d, _, files in os.walk(self.data) for f in files
                      if f.endswith(".mdb") and "segments" in d or f == "control.mdb")

    # ---------- what is embedded ----------
    def test_a_changed_document_keeps_the_vectors_of_its_unchanged_passages(self):
        self.model()
        chunker = ("--chunker", "structure tokens=24 overlap=0")
        parts = [f"## Part {i}\n\n{prose(i, 12)}\n\n" for i in range(10)]
        self.index("a", "--embedder", "tiny", *chunker)
        path = self.write("docs/x.md", "".join(parts))
        first = self.ingest("a", path, "--label", "public")
        self.assertEqual(first["chunks_embedded"], first["counts"]["chunks"])
        self.assertGreater(first["tokens"], 2 * first["chunks_embedded"])
        parts[4] = f"## Part 4\n\n{prose(77, 12)}\n\n"
        self.write("docs/x.md", "".join(parts))
        r = self.ingest("a", path, "--label", "public")
        self.counts(r, changed=1)
        self.assertLess(r["chunks_embedded"], first["chunks_embedded"] / 3)
        self.assertGreater(r["chunks_embedded"], 0)
        self.index("b", "--embedder", "tiny", *chunker)
        self.assertEqual(self.ingest("b", path, "--label", "public")["root"], r["root"])
        again = self.ingest("a", path, "--label", "public", "--reparse")
        self.assertEqual((again["state"], again["chunks_embedded"]), ("unchanged", r["counts"]["chunks"]))
        relabelled = self.ingest("a", path, "--label", "group:x")
        self.assertEqual((relabelled["counts"]["relabelled"], relabelled["chunks_embedded"]), (1, 0))

    # ---------- rebuild ----------
    def test_rebuild_equals_a_fresh_ingest(self):
        self.model()
        docs = os.path.join(self.dir, "docs")
        for i in range(12):
            self.write(f"docs/{i}.md", f"# Part {i}\n\n{prose(i, 12)}\n\n## More\n\n{prose(i + 100, 9)}\n")
            self.write(f"docs/{i}.html", f"<html><title>T{i}</title><body><h1>About</h1><p>{prose(i + 200, 15)}</p><ul><li>one<li>two</ul></body></html>")
        small, large = "structure tokens=24 overlap=4", "fixed tokens=30 overlap=0"
        for name, embedder, chunker in (("old", "none", small), ("a", "tiny", small), ("b", "tiny", large)):
            self.index(name, "--embedder", embedder, "--chunker", chunker)
            r = self.ingest(name, docs, "--label", "public", "--activate")
            self.counts(r, added=24, rejected=0)
        want = {v: self.versions(v)[0]["root"] for v in ("old", "a", "b")}
        self.assertEqual(len(set(want.values())), 3)
        r = self.map("rebuild", "acme/old", "--embedder", "tiny", "--activate")
        self.assertEqual((r["root"], r["version"], r["activated"]), (want["a"], 2, True))
        r = self.map("rebuild", "acme/old", "--chunker", large, "--activate")
        self.assertEqual(r["root"], want["b"])
        listed = next(i for i in self.map("index", "list", "acme")["indexes"] if i["index"] == "old")
        for told in (self.map("index", "show", "acme/old"), listed):  # what the next job goes on with, not what the index was made with
            self.assertEqual((told["embedder"], told["precision"], told["chunker"]), ("tiny", "int8", large))
            self.assertGreater(told["dim"], 0)
        r = self.map("rebuild", "acme/old", "--chunker", small, "--activate")
        self.assertEqual(r["root"], want["a"])
        r = self.map("rebuild", "acme/old", "--chunker", small)
        self.assertEqual(r["state"], "unchanged")
        r = self.ingest("old", docs, "--label", "public")
        self.assertEqual(r["state"], "unchanged")

    def test_a_row_s_title_stands_above_its_passages(self):
        self.model()
        rows = self.write("rows.jsonl", "".join(json.dumps({"id": str(i), "title": f"Part {i}", "text": prose(i + 50, 8)}) + "\n" for i in range(5)))
        small, large = "structure tokens=24 overlap=4", "fixed tokens=30 overlap=0"
        for name, chunker in (("old", large), ("a", small)):
            self.index(name, "--embedder", "tiny", "--chunker", chunker)
            self.counts(self.ingest(name, rows, "--label", "public", "--activate"), added=5, rejected=0)
        hits = self.map("query", "acme/a", prose(53, 6))["hits"]
        self.assertTrue(all(h["headings"] == [h["title"]] for h in hits), hits)
        self.assertEqual(self.map("rebuild", "acme/old", "--chunker", small)["root"], self.versions("a")[0]["root"])

    def test_rebuild_leaves_erased_documents_out(self):
        self.model()
        chunker = ("--chunker", "structure tokens=24 overlap=4")
        self.index("a", "--embedder", "none", *chunker)
        self.ingest("a", self.rows("r.jsonl", range(8)), "--activate")
        self.index("b", "--embedder", "tiny", *chunker)
        self.ingest("b", self.rows("r.jsonl", [i for i in range(8) if i != 5]), "--activate")
        self.cairn("policy", "erase", "acme", "d5", "--reason", "asked to be forgotten")
        r = self.map("rebuild", "acme/a", "--embedder", "tiny", "--activate")
        self.counts(r, deleted=1, documents=7)
        self.assertEqual(r["root"], self.versions("b")[0]["root"])

    # ---------- one root ----------
    def test_one_root_however_it_is_made(self):
        self.model()
        docs = os.path.join(self.dir, "docs")
        kinds = {"txt": lambda t: t, "md": lambda t: f"# Head\n\n{t}\n\n> quoted\n", "html": lambda t: f"<title>x</title><h2>Head</h2><p>{t}</p>"}
        for i in range(30):
            ending = list(kinds)[i % 3]
            self.write(f"docs/{i:02}.{ending}", kinds[ending](prose(i, 25)))
        names = sorted(os.listdir(docs))

        def make(name, *jobs):
            self.index(name, "--embedder", "tiny", "--chunker", "structure tokens=30 overlap=6")
            for options in jobs:
                r = self.ingest(name, *options, "--label", "public")
            return r["root"]

        roots = {make("t1", [docs, "--threads", "1"]), make("t2", [docs, "--threads", "2"]), make("t3", [docs, "--threads", "3"])}
        parts = [[os.path.join(docs, n) for n in names[k::10]] for k in range(10)]
        roots.add(make("ten", *parts))
        roots.add(make("back", *reversed(parts)))
        shuffled = [os.path.join(docs, n) for n in names]
        random.Random(4).shuffle(shuffled)
        roots.add(make("order", shuffled))
        wrong = self.write("docs/00.txt", "Another text altogether.")
        self.index("mended", "--embedder", "tiny", "--chunker", "structure tokens=30 overlap=6")
        self.ingest("mended", docs, "--label", "group:x")
        with open(wrong, "w") as f:
            f.write(prose(0, 25))
        roots.add(self.ingest("mended", docs, "--label", "public")["root"])
        self.assertEqual(len(roots), 1, roots)

    # ---------- several jobs ----------
    def test_one_job_at_a_time_for_a_source(self):
        self.index("a", "--embedder", "none")
        p, job = self.pipe("a", "--source", "feed")
        other = self.rows("r.jsonl", range(3))
        refused = self.cairn("ingest", "acme/a", other, "--source", "feed", code=5).stderr
        self.assertIn(job, refused)
        self.assertIn(str(p.pid), refused)
        r = self.ingest("a", other, "--source", "files", "--activate")
        self.assertEqual((r["state"], r["version"]), ("done", 1))
        out, err = p.communicate(json.dumps({"id": "d0", "text": "the feed's own", "labels": ["public"]}) + "\n", timeout=30)
        self.assertEqual(p.returncode, 0, err)
        r = json.loads(out)
        self.counts(r, added=1, documents=4)
        self.ingest("a", other, "--source", "feed", "--activate")

    def test_the_head_is_set_aside_under_a_job(self):
        """It says so, and what to do, also where no version is left to build on."""
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("a.jsonl", range(3)), "--source", "s")
        row = '{"id": "e1", "text": "More.", "labels": ["public"]}\n'
        say = lambda p: (p.communicate(row)[1], p.returncode)
        p, _ = self.pipe("a", "--source", "t")
        self.cairn("quarantine", "acme/a", "1")
        err, code = say(p)
        self.assertEqual(code, 5)
        self.assertIn("version 1, on which this work was based, was set aside, and no other is good; run it again", err)
        p, _ = self.pipe("a", "--source", "t")
        self.cairn("unquarantine", "acme/a", "1")
        err, code = say(p)
        self.assertEqual(code, 5)
        self.assertIn("version 1 is one by now; run it again", err)

    def test_cancel_ends_a_living_job(self):
        self.index("a", "--embedder", "none")
        self.ingest("a", self.rows("r.jsonl", range(3)), "--activate")
        before = self.segments()
        p, job = self.pipe("a", "--activate")
        p.stdin.write(json.dumps({"id": "x", "text": "never seen", "labels": ["public"]}) + "\n")
        p.stdin.flush()
        self.cairn("jobs", "cancel", "acme", job)
        out, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 5, out + err)
        self.assertIn("was cancelled: asked to stop by", err)
        shown = self.map("jobs", "show", "acme", job)
        self.assertEqual((shown["state"], shown.get("version")), ("cancelled", None))
        self.assertEqual(len(self.versions("a")), 1)
        self.assertIn("only a job that was interrupted or failed", self.cairn("ingest", "acme/a", "--resume", job, code=1).stderr)
        self.assertIn("cancelled already", self.cairn("jobs", "cancel", "acme", job, code=1).stderr)
        self.assertEqual(self.segments(), before)
        self.ingest("a", self.rows("r.jsonl", range(4)), "--activate")

    def test_cancel_does_not_wait_for_the_end_of_the_input(self):
        self.index("a", "--embedder", "none")
        p, job = self.pipe("a")
        self.cairn("jobs", "cancel", "acme", job)
        end = time.time() + 30
        while p.poll() is None and time.time() < end:
            try:
                p.stdin.write(json.dumps({"id": f"x{time.time()}", "text": "never seen", "labels": ["public"]}) + "\n")
                p.stdin.flush()
            except BrokenPipeError:
                pass
            time.sleep(0.1)
        self.assertEqual(p.poll(), 5, "it reads on though it was cancelled")
        self.assertEqual(self.map("jobs", "show", "acme", job)["state"], "cancelled")

    def test_of_a_superseded_job_there_is_nothing_to_cancel(self):
        self.index("a", "--embedder", "none")
        p, job = self.pipe("a")
        p.kill()
        p.wait()
        self.ingest("a", self.rows("r.jsonl", range(2)))
        shown = self.map("jobs", "show", "acme", job)
        self.assertEqual(shown["state"], "interrupted")
        self.assertIn("superseded", shown["why"])
        self.assertIn(f"job {job} was interrupted, and nothing of it is left to give up", self.cairn("jobs", "cancel", "acme", job, code=1).stderr)

    def test_what_was_revoked_stays_so_in_versions_made_after_a_rollback(self):
        self.index("a", "--embedder", "none")
        row = lambda *labels, **more: self.write("r.jsonl", json.dumps({"id": "secret", "text": "A secret.", "labels": labels, "vector": [1, 2, 3, 4], **more}) + "\n")
        seen = lambda who: "secret" in [d["doc"] for d in self.map("documents", "list", "acme/a", "--as", who)["documents"]]
        first = self.ingest("a", row("group:a", "group:b"), "--activate")
        self.ingest("a", row("group:b", deny=["user:x"]), "--activate")
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.assertEqual((seen("group:a"), seen("group:b"), seen("group:b,user:x")), (False, True, False))
        self.cairn("release", "acme/a")
        other = self.write("o.jsonl", json.dumps({"id": "other", "text": "x", "labels": ["public"], "vector": [4, 3, 2, 1]}) + "\n")
        self.ingest("a", other, "--source", "other", "--activate")
        self.assertEqual((seen("group:a"), seen("group:b"), seen("group:b,user:x")), (False, True, False), "another source's job")
        self.cairn("rebuild", "acme/a", "--chunker", "fixed tokens=128", "--activate")
        self.assertEqual((seen("group:a"), seen("group:b"), seen("group:b,user:x")), (False, True, False), "a rebuild")
        again = self.ingest("a", row("group:a", "group:b"), "--activate")  # its source grants it again
        self.counts(again, relabelled=1)
        self.assertEqual((seen("group:a"), seen("group:b,user:x")), (True, True))
        self.assertNotEqual(again["root"], first["root"])
        self.counts(self.ingest("a", row("group:a", "group:b")), unchanged=1)

    def test_what_was_revoked_comes_back_when_its_source_says_it_again(self):
        other = {"id": "other", "text": "More.", "labels": ["public"]}
        for index, of, *options in (("whole", []), ("labels", []), ("reparse", [], "--reparse"), ("also", [other]), ("rebuild", [])):
            self.index(index, "--embedder", "none", "--mode", "lexical")
            row = lambda label, *more: self.write("r.jsonl", "".join(json.dumps(x) + "\n" for x in ({"id": "d", "text": "A secret.", "labels": [label]}, *more)))
            seen = lambda who: "d" in [d["doc"] for d in self.map("documents", "list", "acme/" + index, "--as", who)["documents"]]
            for label in ("group:b", "group:c"):
                self.ingest(index, row(label), "--activate")
            self.cairn("rollback", "acme/" + index, "--reason", "a test")
            self.cairn("release", "acme/" + index)
            if index == "rebuild":
                self.cairn("rebuild", "acme/rebuild", "--chunker", "fixed tokens=128", "--activate")
            self.assertEqual((seen("group:b"), seen("group:c")), (False, False), index)
            before = self.active(index)
            again = row("group:b", *of) if index != "labels" else self.write("r.jsonl", json.dumps({"id": "d", "labels": ["group:b"]}) + "\n")
            r = self.ingest(index, again, "--activate", *options)
            self.counts(r, **({"changed": 1, "relabelled": 0} if options else {"relabelled": 1, "changed": 0}), unchanged=0, added=len(of))
            self.assertGreater(r["version"], before, index)
            self.assertEqual((seen("group:b"), seen("group:c")), (True, False), index)
            self.counts(self.ingest(index, row("group:b")), unchanged=1)  # once is enough

    def test_what_was_revoked_comes_back_by_a_put(self):
        data = Data()
        self.addCleanup(data.close)
        server = Server(data)
        self.addCleanup(server.stop)
        root, reader = Rpc(server, data.make_key("--scope", "query,ingest,activate,versions", "--labels", "public")), Rpc(server, data.key)
        put = lambda label: root.call("documents.put", index="docs", activate=True, documents=[{"id": "back", "text": "A secret.", "labels": [label], "vector": [1, 2, 3, 4]}])
        seen = lambda: "back" in [h["doc"] for h in reader.call("query", index="docs", vector=[1, 2, 3, 4], k=1000)["hits"]]
        put("public"), put("group:c")
        root.call("versions.rollback", index="docs", reason="a test")
        root.call("versions.release", index="docs")
        self.assertFalse(seen())
        r = put("public")
        self.assertEqual((r["counts"]["relabelled"], r["counts"]["unchanged"], seen()), (1, 0, True), r)

    def test_a_rebuild_after_a_rollback_brings_nothing_back(self):
        self.index("a", "--embedder", "none")
        for labels in (["group:a", "group:b"], ["group:b"]):
            self.ingest("a", self.write("r.jsonl", json.dumps({"id": "secret", "text": "A secret.", "labels": labels, "vector": [1, 2, 3, 4]}) + "\n"), "--activate")
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.cairn("release", "acme/a")
        self.cairn("rebuild", "acme/a", "--chunker", "fixed tokens=128", "--activate")
        self.assertEqual(self.map("documents", "list", "acme/a", "--as", "group:a")["documents"], [])
        self.assertEqual(len(self.map("documents", "list", "acme/a", "--as", "group:b")["documents"]), 1)

    def segments(self):
        return sorted(os.listdir(os.path.join(self.data, "tenants", "acme", "segments")))

    def test_a_killed_job_resumes_with_what_it_was_told(self):
        self.index("a", "--embedder", "none")
        rows = self.rows("r.jsonl", range(20000), vector=4)
        p = subprocess.Popen([CAIRN, "ingest", "acme/a", rows, "--source", "s", "--activate"], env=clean_env(self.data), stdout=subprocess.DEVNULL)
        while not (running := self.map("jobs", "list", "acme")["jobs"]):
            time.sleep(0.01)
        p.kill()
        p.wait()
        job = running[0]["job"]
        state = self.map("jobs", "show", "acme", job)["state"]
        if state == "interrupted":
            r = self.ingest("a", "--resume", job)
            self.assertEqual(r["job"], job)
            self.counts(r, documents=20000)
        self.assertEqual(self.active("a"), 1)
        for option in (["--activate"], ["--sync"], ["--threads", "1"], [rows]):
            self.assertIn('does not go with "resume"', self.cairn("ingest", "acme/a", "--resume", job, *option, code=1).stderr)
        self.assertIn("no job", self.cairn("ingest", "acme/a", "--resume", "20200101T000000-0000000000000000", code=3).stderr)

    def test_a_killed_job_knows_its_input_again(self):
        """Whatever was erased since: of standard input that cannot be told from another one, and files would be read in vain."""
        self.index("a", "--embedder", "none")
        self.ingest("a", "-", "--format", "jsonl", text="".join(json.dumps({"id": f"d{i}", "text": f"Row {i}.", "labels": ["public"]}) + "\n" for i in range(3)))
        rows = [{"id": "d0", "labels": ["group:x"]}, {"id": "d1", "text": "Another.", "labels": ["public"]}, {"id": "d3", "text": "New.", "labels": ["public"]}]
        text = "".join(json.dumps(x) + "\n" for x in rows + [{"id": f"none{i}", "op": "delete"} for i in range(3000)])
        p, job = self.pipe("a")
        p.stdin.write(text)
        p.stdin.flush()
        end = time.time() + 20
        while self.map("jobs", "show", "acme", job)["counts"]["read"] < 1000 and time.time() < end:
            time.sleep(.05)
        p.kill()
        p.wait()
        self.cairn("policy", "erase", "acme", "d0", "d1", "d3")
        r = self.ingest("a", "--resume", job, text=text)
        self.counts(r, read=3003, relabelled=1, changed=1, added=1, rejected=0)

    # ---------- what is not known is not deleted ----------
    def test_sync_deletes_nothing_while_rejected_rows_are_nobodys(self):
        self.index("a", "--embedder", "none")
        csv = lambda b: self.write("f.csv", f"labels,text,id\npublic,one,a\n{b}\n")
        self.ingest("a", csv("public,two,b"), "--sync", "--activate")
        r = self.ingest("a", csv("grp x,two,b"), "--sync", "--activate")  # the label is wrong, and stands before the id
        self.counts(r, read=2, rejected=1, deleted=0, documents=2)
        self.assertIn("nothing was deleted: 1 rejected", r["why"])
        named = self.write("n.csv", "id,text,labels\na,one,public\nb,two,grp x\n")
        r = self.ingest("a", named, "--sync", "--activate")
        self.counts(r, rejected=1, deleted=0, documents=2)
        self.assertEqual(r["why"], "")  # b is there, if badly: it stays, and what else is unseen may go
        r = self.ingest("a", self.write("g.csv", "id,text,labels\nb,two,grp x\nc,three,public\n"), "--sync", "--activate")
        self.counts(r, rejected=1, added=1, deleted=1, documents=2)  # a is gone from the source, b is not

    def test_sync_deletes_nothing_behind_a_place_where_a_file_broke_off(self):
        self.index("a", "--embedder", "none")
        folder = os.path.join(self.dir, "rows")
        lines = "".join(json.dumps({"id": f"d{i}", "text": f"Text {i}.", "labels": ["public"]}) + "\n" for i in range(1000)).encode()
        whole = gzip.compress(lines)

        def put(data):
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "r.jsonl.gz"), "wb") as f:
                f.write(data)
        put(whole)
        self.counts(self.ingest("a", folder, "--sync", "--activate"), added=1000, documents=1000)
        for broken, said in ((whole[:-8], "ends too early"), (whole[:len(whole) // 2], "ends too early"), (whole[:-6] + b"\0" + whole[-5:], "checksum does not hold")):
            put(broken)
            r = self.ingest("a", folder, "--sync", "--activate")
            self.counts(r, rejected=1, deleted=0, documents=1000)
            self.assertIn("nothing was deleted", r["why"])
            self.assertIn(said, self.rejected(r["job"])[0]["why"])

    def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_read(self):
        self.index("a", "--embedder", "none")
        top = os.path.join(self.dir, "top")
        inner = os.path.join(top, "b", *["d"] * 98)
        os.makedirs(inner)
        for path in (os.path.join(top, "a.txt"), os.path.join(inner, "x.txt"), os.path.join(top, "c.txt")):
            with open(path, "w") as f:
                f.write("words\n")
        self.counts(self.ingest("a", top, "--label", "public", "--activate"), added=3, documents=3)
        os.makedirs(os.path.join(inner, "deeper", "still"))
        os.unlink(os.path.join(top, "c.txt"))
        r = self.ingest("a", top, "--label", "public", "--sync", "--activate")
        self.counts(r, rejected=1, unchanged=2, deleted=0, documents=3)
        self.assertIn("nothing was deleted", r["why"])
        (told,) = self.rejected(r["job"])
        self.assertEqual(told["doc"], "b/" + "d/" * 98 + "deeper/")
        self.assertIn("over 100 folders deep", told["why"])

    def test_bytes_that_the_checksum_of_a_gz_does_not_fit(self):
        self.index("a", "--embedder", "none")
        packed = bytearray(gzip.compress(b"The pay is 1000 EUR.", compresslevel=0))
        packed[packed.index(b"1000")] = ord("9")
        path = os.path.join(self.dir, "pay.txt.gz")
        with open(path, "wb") as f:
            f.write(packed)
        r = self.ingest("a", path, "--label", "public")
        self.counts(r, rejected=1, added=0)
        self.assertIn("checksum does not hold", self.rejected(r["job"])[0]["why"])

    def test_a_little_that_unpacks_to_much(self):
        self.index("a", "--embedder", "none")
        bomb = gzip.compress(b'{"id":"b","labels":["public"],"text":"' + b"word " * (8 << 20) + b'"}\n')
        alike = gzip.compress(b"".join(b'{"id":"%d","labels":["public"],"text":"the same words again and again and again"}\n' % i for i in range(20000)) + b"\n" * (20 << 20))
        for name, data, count in (("bomb.jsonl.gz", bomb, 0), ("bomb.txt.gz", gzip.compress(b"word " * (8 << 20)), 0), ("alike.jsonl.gz", alike, 20000)):
            path = os.path.join(self.dir, "in", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data)
            r = self.ingest("a", os.path.dirname(path), "--label", "public", "--source", name.split(".")[0])
            self.counts(r, added=count, rejected=0 if count else 1)
            if not count:
                self.assertIn("over 100 times its size", self.rejected(r["job"])[0]["why"])
            os.remove(path)

    def test_put_and_delete_of_a_new_id_in_one_job(self):
        self.index("a", "--embedder", "none")
        r = self.ingest("a", self.write("t.jsonl", '{"id": "g", "text": "secret", "labels": ["public"]}\n{"id": "g", "op": "delete"}\n'), "--strict-input", "--activate", code=6)
        self.counts(r, read=2, added=1, rejected=1)
        self.assertIn("came before", self.rejected(r["job"])[0]["why"])

    def test_a_model_whose_files_have_changed_is_not_used(self):
        self.model()
        self.index("a", "--embedder", "tiny")
        self.ingest("a", self.rows("r.jsonl", range(3)), "--activate")
        weights = os.path.join(self.data, "models", "tiny", "model.safetensors")
        with open(weights, "r+b") as f:
            f.seek(-40, os.SEEK_END)
            f.write(b"\0" * 8)
        p = json.loads(self.cairn("query", "acme/a", "what", "-o", "json").stdout)  # it is not asked: the words are looked up
        self.assertEqual((p["made_by"]["mode"], p["made_by"]["degraded"]), ("lexical", ["embedder_unavailable"]))
        for args in (["query", "acme/a", "what", "--on-degraded", "error"], ["ingest", "acme/a", self.rows("s.jsonl", range(9))]):
            self.assertIn("are not those of the model that was added", self.cairn(*args, code=1).stderr)
        self.assertEqual(self.active("a"), 1)

    @unittest.skipUnless(os.geteuid() == 0, "only root can give a directory away")
    def test_root_works_in_nobody_elses_directory(self):
        os.chown(self.data, 65534, 65534)
        self.addCleanup(os.chown, self.data, 0, 0)
        self.assertIn("runuser -u", self.cairn("tenant", "list", code=1).stderr)

    def test_a_limit_on_the_size_of_files_is_an_error(self):
        self.index("a", "--embedder", "none")
        rows = self.rows("r.jsonl", range(20000), vector=4)
        p = subprocess.run(["bash", "-c", f"ulimit -f 1024; exec {CAIRN} ingest acme/a {rows}"], env=clean_env(self.data), capture_output=True, text=True, timeout=120)
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertRegex(p.stderr, r"^cairn: [A-Z]+: .*segments/")
        self.counts(self.ingest("a", rows), added=20000)

    @unittest.skipIf(SANITIZED, "a sanitizer maps more than any limit here")
    def test_too_little_memory_says_how_much_and_what_to_do(self):
        self.index("a", "--embedder", "none")
        rows = self.write("r.jsonl", "".join(json.dumps({"id": f"d{i}", "text": "word " * (6 << 20), "labels": ["public"]}) + "\n" for i in range(3)))
        env, said = {**clean_env(self.data), "CAIRN_MAPSIZE_MIB": "256"}, []
        for mib in range(400, 2400, 100):  # each finds less room at another place
            p = subprocess.run(["bash", "-c", f"ulimit -v {mib << 10}; exec {CAIRN} ingest acme/a {rows} --threads 4"], env=env, capture_output=True, text=True, timeout=120)
            if p.returncode:
                self.assertIn(f"this process may have {mib} MiB (ulimit -v): raise that", p.stderr)
                said.append(p.stderr)
        self.assertTrue(any("CAIRN_MAPSIZE_MIB" in s for s in said), said)
        self.assertTrue(any("fewer --threads than 4" in s for s in said), said)
        self.assertLess(len(said), 20)

    def test_a_stopped_job_keeps_what_it_has_embedded(self):
        self.model()
        self.index("a", "--embedder", "tiny")
        p, job = self.pipe("a", "--activate")
        say = lambda ids: "".join(json.dumps({"id": f"d{i}", "text": f"Row {i} says so.", "labels": ["public"]}) + "\n" for i in ids)
        p.stdin.write(say(range(3000)))
        p.stdin.flush()
        while self.map("jobs", "show", "acme", job)["counts"]["read"] < 2000:
            time.sleep(0.1)
        time.sleep(2.5)
        p.stdin.write(say(range(3000, 6000)))  # the next rows find that it is time to keep what is there
        p.stdin.flush()
        while self.map("jobs", "show", "acme", job)["counts"]["read"] < 5000:
            time.sleep(0.1)
        p.kill()
        p.wait()
        self.assertIn("standard input", self.cairn("ingest", "acme/a", "--resume", job, code=1, text="").stderr)  # was not what it is now
        files = os.path.join(self.data, "tenants", "acme", "segments")
        self.assertGreater(max(os.path.getsize(os.path.join(files, f)) for f in self.segments()), 200000)

    def test_a_job_that_could_not_commit_embeds_nothing_again(self):
        self.model()
        self.index("a", "--embedder", "tiny")
        rows = self.rows("r.jsonl", range(200))
        fd = hold_writer(os.path.join(self.data, "tenants", "acme"))  # as a stopped command would hold it
        try:
            said = self.cairn("ingest", "acme/a", rows, "--activate", code=1).stderr
        finally:
            os.close(fd)
        self.assertIn("held for writing", said)
        job = self.map("jobs", "list", "acme")["jobs"][0]
        self.assertEqual([job["state"], len(self.segments())], ["failed", 1])
        r = self.ingest("a", "--resume", job["job"])
        self.counts(r, read=200, added=200, documents=200)
        self.assertEqual([r["chunks_embedded"], self.active("a")], [0, 1])

    def test_what_is_taken_over_narrowed_is_not_the_jobs_own(self):
        self.index("a", "--embedder", "none")
        both = {"labels": ["group:a", "group:b"], "vector": 4}
        self.ingest("a", self.rows("one.jsonl", range(4), **both), "--source", "one", "--activate")
        self.ingest("a", self.rows("two.jsonl", range(4), labels=("group:a",), vector=4), "--source", "one", "--activate")
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.cairn("release", "acme/a")
        files = self.segments()
        self.ingest("a", self.rows("other.jsonl", range(10, 14), **both), "--source", "other", "--activate")
        rows = [f for f in self.segments() if f not in files and f.count(".") == 1]
        self.assertEqual(len(rows), 3)  # the job's, what was taken over, the version's own
        self.assertEqual(len(self.map("documents", "list", "acme/a", "--as", "group:b")["documents"]), 4)
        self.assertEqual(len(self.map("documents", "list", "acme/a", "--as", "group:a")["documents"]), 8)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
