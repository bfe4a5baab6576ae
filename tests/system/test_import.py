"""What a client may have the server read (import roots), and what it sends itself (documents.put)."""
import json
import os
import subprocess
import sys
import time
import unittest

from serving import CAIRN, Data, Failed, Rpc, Server


def put(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    return path


def row(doc, text="Some words."):
    return json.dumps({"id": doc, "text": text, "labels": ["public"]}) + "\n"


class Import(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Data(4)
        cls.data.cairn("index", "create", "acme/in", "--embedder", "none")
        cls.root = os.path.join(cls.data.dir, "root")
        cls.outside = put(cls.data.dir, "outside/secret.jsonl", row("secret"))
        os.mkdir(cls.root)
        cls.server = Server(cls.data, "--import-root", f"acme={cls.root}", "--slow-query", "1ms")
        cls.rpc = Rpc(cls.server, cls.data.make_key("--scope", "ingest,query,activate", "--labels", "public"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.data.close()

    def start(self, *paths, index="in", **more):
        return self.rpc.call("ingest.start", index=index, paths=list(paths), wait=True, **more)

    def refused(self, code, *paths, **more):
        with self.assertRaises(Failed) as e:
            self.start(*paths, **more)
        self.assertTrue(str(e.exception).startswith(code), str(e.exception))
        return str(e.exception)

    def ids(self):
        return [d["doc"] for d in self.rpc.call("documents.list", index="in")["documents"]] if self.rpc.call("admin.index_show", index="in")["active"] else []

    def test_below_a_root(self):
        put(self.root, "a/one.jsonl", row("one"))
        put(self.root, "a/two.jsonl", row("two"))
        self.assertEqual(self.start(self.root + "/a/one.jsonl")["counts"]["read"], 1)
        self.assertEqual(self.start(self.root + "/a", activate=True)["counts"]["documents"], 2)
        self.assertEqual(self.start(self.root + "/a/*.jsonl")["counts"]["unchanged"], 2)
        self.assertEqual(self.start(self.root + "//a/./one.jsonl")["counts"]["unchanged"], 1)

    def test_a_dry_run_answers_what_it_found(self):
        path = put(self.root, "dry.jsonl", row("dry") + row("dry2"))
        jobs = self.rpc.call("ingest.list")
        for more in ({}, {"wait": False}, {"wait": True}):
            r = self.rpc.call("ingest.start", index="in", source="dry", paths=[path], dry_run=True, **more)
            self.assertEqual((r["state"], r["job"], r["counts"]["added"]), ("done", "", 2), r)
            self.assertIn("estimate", r)
        self.assertEqual(self.rpc.call("ingest.list"), jobs)

    def test_a_dry_run_ends_when_whoever_asked_is_gone(self):
        path = put(self.data.dir, "root/long/rows.jsonl", "".join(row(f"d{i}", "words " * 40) for i in range(100000)))
        self.addCleanup(os.unlink, path)
        going = Rpc(self.server, self.data.make_key("--scope", "ingest", "--labels", "public"))
        going.send("ingest.start", index="in", source="long", paths=[path], dry_run=True)
        time.sleep(0.05)
        going.s.close()
        self.server.wait_log("request.slow", method="ingest.start", outcome="UNAVAILABLE")

    def test_an_id_that_was_given_is_there(self):
        """Who is answered with the id of a job can show and list it at once."""
        path = put(self.root, "given.jsonl", row("given"))
        self.data.cairn("index", "create", "acme/given", "--embedder", "none")
        for i in range(12):
            for method, more in (("ingest.start", {"index": "given", "paths": [path], "source": f"given{i}"}), ("ingest.rebuild", {"index": "docs", "chunker": f"fixed tokens={30 + i}"})):
                job = self.rpc.call(method, **more)["job"]
                shown = self.rpc.call("ingest.show", job=job)
                self.assertEqual((shown["job"], shown["index"]), (job, more["index"]))
                self.assertIn(job, [j["job"] for j in self.rpc.call("ingest.list")["jobs"]])
                while self.rpc.call("ingest.show", job=job)["state"] == "running":
                    time.sleep(0.01)

    def test_what_cannot_begin_is_said_at_once(self):
        path = put(self.root, "begin.jsonl", row("begin"))
        jobs = self.rpc.call("ingest.list")
        for method, more in (("ingest.start", {"paths": [path]}), ("ingest.rebuild", {"chunker": "fixed"})):
            for wait in (False, True):
                with self.assertRaisesRegex(Failed, '^NOT_FOUND: there is no index "nowhere"'):
                    self.rpc.call(method, index="nowhere", wait=wait, **more)
        self.assertEqual(self.rpc.call("ingest.list"), jobs)

    def test_nothing_else(self):
        put(self.root, "b.jsonl", row("b"))
        for path in (self.outside, self.root + "x", self.root + "/../outside/secret.jsonl", self.data.path, "/", "/proc/self/environ"):
            self.refused("DENIED", path)
        self.refused("INVALID", "relative.jsonl")
        self.refused("DENIED", self.root + "/b.jsonl", rows=self.outside)
        there = put(self.data.dir, "outside/there[1].jsonl", row("there"))
        told = [self.refused("DENIED", path) for path in (there, there.replace("there[", "gone["))] # nothing outside the roots is looked for
        self.assertEqual(*told)
        self.refused("INVALID", "-")
        self.refused("NOT_FOUND", self.root + "/none")

    def test_no_link_leads_out(self):
        os.symlink(self.outside, self.root + "/link.jsonl")
        os.symlink(os.path.dirname(self.outside), self.root + "/folder")
        self.refused("DENIED", self.root + "/link.jsonl")
        self.refused("DENIED", self.root + "/folder")
        self.refused("DENIED", self.root + "/folder/secret.jsonl")
        self.refused("DENIED", self.root + "/folder/*.jsonl")
        beir = os.path.join(self.root, "beir")
        put(beir, "queries.jsonl", "")
        os.symlink(self.outside, beir + "/corpus.jsonl")
        self.assertIn("is a link", self.refused("INVALID", beir))
        os.unlink(beir + "/corpus.jsonl")
        put(beir, "corpus.jsonl", row("corpus"))
        self.assertEqual(self.start(beir)["counts"]["read"], 1)
        self.assertNotIn("secret", self.ids())

    def test_what_is_no_file_is_not_waited_for(self):
        os.mkfifo(self.root + "/pipe.jsonl")
        self.assertIn("neither a file nor a folder", self.refused("INVALID", self.root + "/pipe.jsonl"))
        beir = os.path.join(self.root, "beir2")
        put(beir, "queries.jsonl", "")
        os.mkfifo(beir + "/corpus.jsonl")
        self.assertIn("no file", self.refused("INVALID", beir))

    def test_whoever_resumes_reads_what_he_may(self):
        broken = put(self.data.dir, "outside/broken.csv", "id,text\na,\"b\n")  # a quote that never ends fails the job
        self.data.cairn("ingest", "acme/in", broken, check=False)
        job = json.loads(self.data.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"][0]
        self.assertEqual(job["state"], "failed")
        for wait in (True, False):
            with self.assertRaisesRegex(Failed, "^DENIED") as e:
                self.rpc.call("ingest.start", index="in", resume=job["job"], wait=wait)
            self.assertNotIn("outside", str(e.exception))
        self.assertEqual(json.loads(self.data.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"][0], job)  # left as it was

    def test_an_operators_interrupted_job_stays_as_it_was(self):
        self.data.cairn("index", "create", "acme/killed", "--embedder", "none")
        rows = put(self.data.dir, "outside/many.jsonl", "".join(row(f"many{i}", "words " * 40) for i in range(20000)))
        p = subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/killed", rows, "--source", "many"], stdout=subprocess.DEVNULL)
        while not (jobs := [j for j in self.rpc.call("ingest.list")["jobs"] if j["source"] == "many"]):
            self.assertIsNone(p.poll())
            time.sleep(0.01)
        p.kill()
        p.wait()
        show = lambda: json.loads(self.data.cairn("jobs", "show", "acme", jobs[0]["job"], "-o", "json").stdout)
        before = show()
        self.assertEqual(before["state"], "interrupted")
        with self.assertRaisesRegex(Failed, "^DENIED") as e:
            self.rpc.call("ingest.start", index="killed", resume=jobs[0]["job"], wait=True)
        self.assertNotIn("outside", str(e.exception))
        self.assertEqual(show(), before)
        self.assertEqual(json.loads(self.data.cairn("ingest", "acme/killed", "--resume", jobs[0]["job"], "-o", "json").stdout)["counts"]["read"], 20000)

    def test_whoever_resumes_activates_what_he_may(self):
        self.data.cairn("index", "create", "acme/resumed", "--embedder", "none")
        path, may_not = self.root + "/resumed.csv", Rpc(self.server, self.data.make_key("--scope", "ingest", "--labels", "public"))

        def failed_job(doc):
            put(self.root, "resumed.csv", f'id,text\n{doc},"b\n')
            with self.assertRaises(Failed):
                self.start(path, index="resumed", labels=["public"], activate=True)
            put(self.root, "resumed.csv", f'id,text\n{doc},"b"\n')
            return self.rpc.call("ingest.list")["jobs"][0]["job"]

        job = failed_job("a")
        with self.assertRaises(Failed) as e:
            may_not.call("ingest.start", index="resumed", resume=job, activate=True, wait=True)
        self.assertTrue(str(e.exception).startswith("INVALID"), str(e.exception))
        r = may_not.call("ingest.start", index="resumed", resume=job, wait=True)
        self.assertEqual((r["state"], r["activated"], r["version"]), ("done", False, 1))
        self.assertIn("does not have the scope activate", r["why"])
        self.assertIn("does not have the scope activate", self.rpc.call("ingest.show", job=job)["why"])
        r = self.rpc.call("ingest.start", index="resumed", resume=failed_job("c"), wait=True)
        self.assertEqual((r["activated"], r["version"], r["why"]), (True, 2, ""))

    def test_what_is_said_of_names_is_text(self):
        """Whatever the bytes of a name: a client that takes only UTF-8 reads the answers."""
        latin, long = os.path.join(self.root, "latin"), "xy" + ("/" + "\u00e9" * 100) * 3
        put(latin, long + "/none.bin", "\0\1")
        for name in (b"caf\xe9.txt", b"\xff.csv"):
            with open(os.path.join(latin.encode(), name), "w") as f:
                f.write("id,text\n,none\n")
        job = self.start(latin, labels=["public"])["job"]
        rejected = self.rpc.call("ingest.show", job=job, rejected=True)["rejected"]
        self.assertEqual({(r["doc"], r["where"]) for r in rejected}, {("caf?.txt", "caf?.txt"), ("", "?.csv:2"), (long.encode()[:511].decode(), long + "/none.bin")})
        for slashes in ("/", "//"):  # one of them has its reason cut inside a character
            self.refused("NOT_FOUND", latin + slashes + long + "/gone*.csv", source="latin")
            why = self.rpc.call("ingest.list")["jobs"][0]["why"]
            self.assertTrue(why.startswith("no file fits "), why)

    def test_where_files_lie_is_the_operators_business(self):
        folder = os.path.join(self.data.dir, "the operator's own")
        array = put(folder, "v.fvecs", "\x02\0\0\0" + "\0\0\0?" * 2)
        lines = put(folder, "lines/rows.jsonl", "no json\n")
        job = json.loads(self.data.cairn("ingest", "acme/in", array, "--rows", lines, "--source", "own", "-o", "json").stdout)["job"]
        gone = self.data.cairn("ingest", "acme/in", folder + "/gone*.csv", "--source", "own", check=False)
        self.assertIn(folder, gone.stderr)
        own = [json.loads(self.data.cairn("jobs", "show", "acme", job, "--rejected", "-o", "json").stdout),
               *json.loads(self.data.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"][:1]]
        seen = [self.rpc.call("ingest.show", job=job, rejected=True), *self.rpc.call("ingest.list")["jobs"][:1]]
        for mine, other in zip(own, seen):
            self.assertIn(folder, repr(mine))
            self.assertIn("pid", mine)
            self.assertNotIn(self.data.dir, repr(other))
            self.assertNotIn("operator", repr(other))
            self.assertNotIn("pid", other)
        self.assertIn("./rows.jsonl:1", seen[0]["rejected"][0]["why"])
        self.assertRegex(seen[1]["why"], r"\./+gone\*\.csv")

    def test_a_client_is_told_where_files_lie_below_its_root(self):
        folder = os.path.join(self.data.dir, "operators")
        broken = put(folder, "broken.csv", "id,text\na,\"b\n")
        self.data.cairn("ingest", "acme/in", broken, "--source", "own", check=False)
        with self.assertRaises(Failed) as e:
            self.rpc.call("ingest.start", index="in", resume=self.rpc.call("ingest.list")["jobs"][0]["job"], wait=True)
        self.assertNotIn(folder, str(e.exception))
        put(self.root, "mine/rows.csv", "id,text\n")
        self.assertIn(self.root + "/mine/", self.refused("NOT_FOUND", self.root + "/mine/gone*.csv", source="mine"))
        self.assertIn("no file fits ./mine/", self.rpc.call("ingest.list")["jobs"][0]["why"])

    # ---------- documents.put ----------
    def test_words_that_no_row_may_have(self):
        bad = {"id": [b"\xff", "a\x07", "", "x" * 5000], "title": [b"\xff\xfe", "t" * 5000], "uri": ["a\x00b", b"\xc0\xaf"], "text": [b"caf\xe9"]}
        for field, values in bad.items():
            for value in values:
                with self.assertRaises(Failed) as e:
                    self.rpc.call("documents.put", index="in", documents=[{"id": "x", "text": "words", "labels": ["public"], field: value}])
                self.assertTrue(str(e.exception).startswith("INVALID"), (field, value, str(e.exception)))

    def test_a_document_without_text_says_its_labels_or_is_refused(self):
        self.data.cairn("index", "create", "acme/bylabels", "--embedder", "none")
        put = lambda **doc: self.rpc.call("documents.put", index="bylabels", activate=True, documents=[{"id": "d", **doc}])
        seen = lambda: [(d["doc"], d["title"], d["uri"]) for d in self.rpc.call("documents.list", index="bylabels")["documents"]]
        put(text="Words.", title="Old", uri="http://x/", labels=["public"])
        for doc in ({}, {"title": "New"}, {"uri": "http://y/"}, {"meta": {"a": 1}}, {"modified": "2026-01-31T12:00:00Z"}, {"labels": None, "deny": None}):
            with self.assertRaisesRegex(Failed, 'INVALID: document 1: it has no field "text"'):
                put(**doc)
        for doc in ({"title": "New"}, {"uri": "http://y/"}):
            job = put(labels=["public", "group:hr"], **doc)
            self.assertEqual((job["state"], job["rejected"]), ("unchanged", 1))
            self.assertIn("send its text too", self.rpc.call("ingest.show", job=job["job"], rejected=True)["rejected"][0]["why"])
        self.assertEqual(seen(), [("d", "Old", "http://x/")])
        self.assertEqual(put(labels=["public", "group:hr"], title=" Old", uri="http://x/")["counts"]["relabelled"], 1)
        self.assertEqual(put(deny=["group:x"], labels=["public"])["counts"]["relabelled"], 1)
        self.assertEqual(seen(), [("d", "Old", "http://x/")])
        self.assertEqual(put(labels=[])["counts"]["relabelled"], 1)
        self.assertEqual(seen(), [])

    def test_the_same_document_by_rows_has_the_same_root(self):
        for name in ("byrow", "byput"):
            self.data.cairn("index", "create", f"acme/{name}", "--embedder", "none")
        doc = {"id": "d", "title": "  A\n title\t of  cafe\u0301 ", "text": "Some cafe\u0301.\r\n", "uri": "http://x/", "labels": ["public"]}
        path = put(self.root, "same.jsonl", json.dumps(doc) + "\n")
        a = self.start(path, index="byrow")
        b = self.rpc.call("documents.put", index="byput", documents=[doc])
        self.assertEqual(a["root"], b["root"])


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
