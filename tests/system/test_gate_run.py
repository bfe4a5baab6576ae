"""gate run: a version that loses documents fails, one as good passes, a wider label is caught; frozen sets by their digest; who
may freeze, run and know; on files and through a server."""
import json
import os
import signal
import subprocess
import time
import unittest

from serving import Data, Failed, Rpc, Server

ALL = "query,ingest,activate,versions,operate,audit,admin,policy"
N = 40


def vector(i):
    return [1.0, float(i % 7), float(i % 5), float(i)]


class GateRun(unittest.TestCase):
    """docs holds d0..d39, even ones public, odd ones group:hr; version 1 is active."""

    def setUp(self):
        self.data = Data(1)
        self.addCleanup(self.data.close)
        self.data.cairn("index", "create", "acme/qa", "--embedder", "none", "--metric", "l2")
        self.sealed = 0
        self.version()
        self.data.cairn("activate", "acme/qa", "1")
        self.server = None

    def version(self, lost=(), wide=(), change=(), twice=()):
        """A new version with all documents but the lost, some of them for all."""
        rows = os.path.join(self.data.dir, "rows.jsonl")
        with open(rows, "w") as f:
            for i in range(N):
                if i in lost:
                    continue
                labels = ["public"] if i % 2 == 0 else ["group:hr"]
                row = {"id": f"d{i}", "text": f"text {i}{' again' if i in change else ''}", "labels": labels + (["public"] if i in wide else []), "vector": vector(i)}
                f.write(json.dumps(row) + "\n")
                if i in twice:
                    f.write(json.dumps({**row, "id": f"copy{i}"}) + "\n")
        r = json.loads(self.data.cairn("ingest", "acme/qa", rows, "--sync", "--max-deleted", "100", "-o", "json").stdout)
        self.sealed = r["version"]
        return self.sealed

    def cairn(self, *args, code=0):
        p = self.data.cairn(*args, check=False)
        self.assertEqual(p.returncode, code, f"{args}\n{p.stdout}{p.stderr}")
        return p

    def rows(self, *rows):
        path = os.path.join(self.data.dir, "some.jsonl")
        with open(path, "w") as f:
            for r in rows:
                f.write(json.dumps(r) + "\n")
        return path

    def map(self, *args, code=0):
        return json.loads(self.cairn(*args, "-o", "json", code=code).stdout)

    def cases(self, *cases):
        path = os.path.join(self.data.dir, "cases.jsonl")
        with open(path, "w") as f:
            for c in cases:
                f.write(json.dumps(c) + "\n")
        return path

    def core(self):
        """Each public document's own vector: it is the first, one beside it is good."""
        return [{"_id": f"q{i}", "vector": vector(i), "relevant": {f"d{i}": 2, f"d{abs(i - 2)}": 1}, "must_find": [f"d{i}"]} for i in range(0, N, 2)]

    def freeze(self, name, *cases, options=(), code=0):
        return self.map("gate", "freeze", "acme/qa", name, "--cases", self.cases(*cases), *options, code=code)

    def results(self, r):
        return {x["name"]: x["value"] for x in r["results"]}

    def serve(self, *options):
        self.server = Server(self.data, *options)
        self.addCleanup(self.server.stop)
        return self.keyed(ALL)

    def keyed(self, scopes, *more):
        return Rpc(self.server, self.data.make_key("--scope", scopes, "--labels", "public", *more))

    # --- what it measures ---
    def test_a_version_that_loses_documents_fails(self):
        self.freeze("core", *self.core())
        self.cairn("gate", "set", "acme/qa", "core/R@10:delta>=-0.01", "core/missed<=0", "documents:change>=-0.05", "core/errors<=0")
        good = self.version(change=[3])
        bad = self.version(lost=[0, 2, 4, 6, 8])
        self.cairn("activate", "acme/qa", str(good), code=5)
        r = self.map("gate", "run", "acme/qa", str(good))
        self.assertEqual((r["gate"], r["unmet"], r["against"], r["failed"]), ("met", [], 1, []))
        got = self.results(r)
        self.assertEqual((got["core/R@10"], got["core/R@10:delta"], got["core/missed"], got["core/errors"], got["core/questions"]), (1, 0, 0, 0, 20))
        self.assertEqual((got["documents"], got["documents:change"], got["documents:changed"], got["documents:deleted"]), (40, 0, 1, 0))
        self.assertGreater(got["core/p95_ms"], 0)
        r = self.map("gate", "run", "acme/qa", str(bad), code=5)
        got = self.results(r)
        self.assertEqual((r["gate"], set(r["unmet"])), ("unmet", {"core/R@10:delta>=-0.01", "core/missed<=0", "documents:change>=-0.05"}))
        self.assertEqual((got["core/missed"], got["documents:change"], got["documents:deleted"]), (5, -0.125, 5))
        self.assertLess(got["core/R@10:delta"], -0.1)
        self.assertEqual({(f["set"], f["what"], f["doc"]) for f in r["failed"]}, {("core", "missed", f"d{i}") for i in (0, 2, 4, 6, 8)})
        p = self.cairn("activate", "acme/qa", str(bad), code=5)
        self.assertIn("core/missed<=0 (it is 5)", p.stderr)
        self.cairn("activate", "acme/qa", str(good))

    def test_a_wider_label_is_caught(self):
        ask = {"id": "salaries", "vector": vector(3), "must_not_see": ["d3", "d5"]}
        self.freeze("leaks", ask, {**ask, "id": "hr", "labels": ["group:hr"], "must_not_see": ["d4"]})
        self.cairn("gate", "set", "acme/qa", "leaks/leaked<=0", "labels:widened<=0")
        same, wide = self.version(change=[7]), self.version(wide=[5])
        self.assertEqual(self.map("gate", "run", "acme/qa", str(same))["gate"], "met")
        r = self.map("gate", "run", "acme/qa", code=5)  # the newest
        self.assertEqual((r["version"], set(r["unmet"])), (wide, {"leaks/leaked<=0", "labels:widened<=0"}))
        self.assertEqual([(f["query"], f["what"], f["doc"]) for f in r["failed"]], [("salaries", "seen", "d5")])
        self.assertEqual((self.results(r)["labels:widened"], self.results(r)["labels:narrowed"]), (1, 0))
        said = self.cairn("activate", "acme/qa", str(wide), code=5).stderr
        self.assertIn(f"`cairn gate run acme/qa {wide}`", said)
        self.assertNotIn("gate submit", said)  # which would be refused, as these are a run's

    def test_a_grant_of_the_policy_is_a_leak_too(self):
        """And a case is asked as its principal: its groups count as they are now."""
        self.cairn("member", "add", "acme", "user:ana", "group:sales")
        self.freeze("leaks", {"id": "a", "vector": vector(3), "as": "user:ana", "must_not_see": ["d3"]})
        self.version(change=[1])
        self.assertEqual(self.results(self.map("gate", "run", "acme/qa"))["leaks/leaked"], 0)
        self.cairn("policy", "allow", "acme", "d3", "--labels", "group:sales")
        self.assertEqual(self.results(self.map("gate", "run", "acme/qa"))["leaks/leaked"], 1)
        self.cairn("policy", "clear", "acme", "d3")
        self.cairn("member", "add", "acme", "user:ana", "group:hr")
        self.assertEqual(self.results(self.map("gate", "run", "acme/qa"))["leaks/leaked"], 1)

    def test_measured_before_the_policy_was_widened(self):
        self.freeze("leaks", {"id": "a", "vector": vector(3), "labels": ["public"], "must_not_see": ["d2"]})
        self.cairn("gate", "set", "acme/qa", "leaks/leaked<=0")
        new = self.version(change=[1])
        self.cairn("policy", "hide", "acme", "d2")
        self.assertEqual(self.map("gate", "run", "acme/qa")["gate"], "met")
        self.cairn("policy", "deny", "acme", "d4", "--labels", "group:x")
        self.assertEqual(self.map("gate", "show", "acme/qa", str(new))["versions"][0]["gate"], "met")
        self.cairn("policy", "unhide", "acme", "d2")
        self.assertIn("before the policy was widened; run the gate again", self.cairn("activate", "acme/qa", str(new), code=5).stderr)
        self.assertEqual(self.map("gate", "run", "acme/qa", code=5)["unmet"], ["leaks/leaked<=0"])
        self.cairn("policy", "hide", "acme", "d2")
        self.assertEqual(self.map("gate", "run", "acme/qa")["gate"], "met")
        self.cairn("activate", "acme/qa", str(new))

    def test_duplicates_and_bytes(self):
        self.version(twice=[2, 4], lost=[1])
        got = self.results(self.map("gate", "run", "acme/qa"))
        self.assertEqual((got["duplicates"], got["duplicates:delta"], got["documents:added"], got["documents:deleted"], got["unlabelled"]), (2, 2, 2, 1, 0))
        self.assertGreater(got["bytes"], 0)
        self.assertAlmostEqual(got["documents:change"], 1 / 40)

    def test_a_question_that_fails_is_an_error_and_finds_nothing(self):
        self.cairn("index", "create", "acme/late", "--embedder", "none")
        self.cairn("gate", "freeze", "acme/late", "core", "--cases",  # of vectors that are still to come nothing is known
                   self.cases({"id": "a", "vector": [1, 2, 3], "relevant": {"d0": 1}, "must_find": ["d0"]}, {"id": "b", "vector": [1, 2], "must_not_see": ["d3"]}))
        self.cairn("ingest", "acme/late", self.rows({"id": "d0", "text": "x", "labels": ["public"], "vector": vector(0)}, {"id": "d3", "text": "y", "labels": ["group:hr"], "vector": vector(3)}))
        r = self.map("gate", "run", "acme/late")
        got = self.results(r)
        self.assertEqual((got["core/errors"], got["core/missed"], got["core/leaked"], got["core/R@10"]), (2, 1, 0, 0))
        self.assertTrue(all(f["why"] for f in r["failed"] if f["what"] == "error"))

    def test_an_index_without_a_model_is_asked_by_words(self):
        self.freeze("core", {"id": "a", "text": "text 4", "relevant": {"d4": 1}, "must_find": ["d4"]})
        self.version(change=[1])
        got = self.results(self.map("gate", "run", "acme/qa"))
        self.assertEqual((got["core/errors"], got["core/missed"], got["core/RR@10"], got["core/RR@10:delta"]), (0, 0, 1, 0))

    def test_an_active_version_that_cannot_answer(self):
        """Its model is gone. What it does not say makes the other one no better: an error, and no difference, not even the one of before."""
        model, rows = os.path.join(self.data.dir, "model"), os.path.join(self.data.dir, "texts.jsonl")
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        with open(rows, "w") as f:
            for i, text in enumerate(("alpha beta", "gamma delta", "so it says")):
                f.write(json.dumps({"id": f"t{i}", "text": text, "labels": ["public"]}) + "\n")
        self.cairn("model", "add", "tiny", model)
        self.cairn("model", "distill", "fast", "--from", "tiny")
        self.cairn("index", "create", "acme/texts", "--embedder", "tiny")
        self.cairn("ingest", "acme/texts", rows, "--activate")
        self.cairn("rebuild", "acme/texts", "--embedder", "fast")
        asks = self.cases({"id": "a", "text": "alpha", "relevant": {"t0": 1}}, {"id": "b", "text": "gamma", "relevant": {"t1": 1}})
        self.cairn("gate", "freeze", "acme/texts", "core", "--cases", asks)
        self.cairn("gate", "set", "acme/texts", "core/R@10:delta>=-1", "core/errors<=0")
        r = self.map("gate", "run", "acme/texts", "2")
        self.assertEqual((r["gate"], self.results(r)["core/R@10:delta"]), ("met", 0))
        os.rename(os.path.join(self.data.path, "models/tiny"), os.path.join(self.data.dir, "away"))
        r = self.map("gate", "run", "acme/texts", "2", code=5)
        got = self.results(r)
        self.assertEqual((r["against"], got["core/errors"], got["core/questions"], got["core/R@10"]), (1, 2, 2, 1))
        self.assertEqual([n for n in got if n.startswith("core/") and n.endswith(":delta")], [])
        self.assertEqual(set(r["unmet"]), {"core/R@10:delta>=-1", "core/errors<=0"})
        self.assertIn("of the active version: ", [f["why"] for f in r["failed"] if f["what"] == "error"][0])

    def test_an_answer_in_another_mode_is_an_error(self):
        self.freeze("core", *self.core())
        self.version(change=[1])
        self.cairn("mode", "acme/qa", "exact", "--reason", "test")
        got = self.results(self.map("gate", "run", "acme/qa"))
        self.assertEqual((got["core/errors"], got["core/missed"], got["core/R@10"]), (20, 20, 0))
        self.assertNotIn("core/R@10:delta", got)
        self.cairn("mode", "acme/qa", "normal", "--reason", "test")
        got = self.results(self.map("gate", "run", "acme/qa"))
        self.assertEqual((got["core/errors"], got["core/missed"], got["core/R@10:delta"]), (0, 0, 0))

    # --- how long ---
    def many(self):
        return [{"id": f"q{i}", "vector": vector(i), "relevant": {f"d{i % N}": 1}} for i in range(10000)]

    def test_its_time(self):
        self.freeze("many", *self.many())
        self.version(change=[1])
        conn = self.serve("--gate-timeout", "100ms")
        with self.assertRaisesRegex(Failed, "DEADLINE.*gate_timeout"):
            conn.call("gate.run", index="qa")
        self.assertEqual(self.results(conn.call("gate.show", index="qa")["versions"][0]), {})

    def test_the_time_of_other_requests_is_not_its_own(self):
        """Over a second of questions, where a request may take a tenth of one."""
        for i in range(4):
            self.freeze(f"many{i}", *self.many())
        self.version(change=[1])
        conn = self.serve("--request-timeout", "100ms", "--slow-query", "100ms")
        r = conn.call("gate.run", index="qa")
        self.assertEqual(self.results(r)["many3/questions"], 10000)
        self.server.wait_log("request.slow", method="gate.run", outcome="OK")

    def test_a_client_that_goes(self):
        """Nobody waits for it any more, so it ends, and stores nothing; nor does one begin that still waited for a thread."""
        for i in range(4):
            self.freeze(f"many{i}", *self.many())
        self.version(change=[1])
        conn = self.serve("--slow-query", "1ms")
        for tcp in (False, True):
            going = Rpc(self.server, self.data.make_key("--scope", ALL, "--labels", "public"), tcp=tcp)
            for _ in range(3):
                going.send("gate.run", index="qa")
            time.sleep(0.05)
            going.s.close()
            end = time.time() + 20
            while time.time() < end and self.ended() < (6 if tcp else 3):
                time.sleep(0.05)
            self.assertEqual(self.ended(), 6 if tcp else 3)
        self.assertEqual(self.results(conn.call("gate.show", index="qa")["versions"][0]), {})
        outcomes = [a["outcome"] for a in conn.call("audit.list")["records"] if a["action"] == "gate.run"]
        self.assertEqual(outcomes, [])
        self.assertEqual(conn.call("gate.run", index="qa", sets=["many1"])["gate"], "none")  # the threads are free again

    def ended(self):
        return sum(e["event"] == "request.slow" and e.get("method") == "gate.run" and e.get("outcome") == "UNAVAILABLE" for e in self.server.log())

    def test_two_of_one_tenant_leave_room_for_another(self):
        """Runs of one tenant hold no last thread for long work, however many they are."""
        for i in range(4):
            self.freeze(f"many{i}", *self.many())
        self.version(change=[1])
        self.data.cairn("tenant", "add", "other")
        self.data.cairn("index", "create", "other/docs", "--embedder", "none")
        conn = self.serve()
        other = Rpc(self.server, json.loads(self.data.cairn("key", "add", "other", "--scope", ALL, "--labels", "public", "-o", "json").stdout)["key"])
        ids = [conn.send("gate.run", index="qa") for _ in range(6)]
        time.sleep(0.05)
        self.assertEqual(other.call("versions.gc", index="docs")["versions"], 0)
        before = conn.call("gate.show", index="qa")
        self.assertEqual(self.results(before["versions"][0]), {})  # no run had come to its end
        for msgid in ids[:1]:
            self.assertEqual(conn.answer(msgid)["gate"], "none")

    def test_a_server_that_stops(self):
        """It does not wait for the rest of the questions."""
        self.freeze("many", *self.many())
        self.version(change=[1])
        conn = self.serve()
        msgid = conn.send("gate.run", index="qa")
        time.sleep(0.02)
        self.server.p.send_signal(signal.SIGTERM)
        with self.assertRaisesRegex(Failed, "UNAVAILABLE.*stopping"):
            conn.answer(msgid)
        self.assertEqual(self.results(self.map("gate", "show", "acme/qa")["versions"][0]), {})

    # --- sets ---
    def test_documents_of_sources(self):
        """The same id from two sources: which is meant is said, or any, and for what must not be seen every one."""
        self.cairn("index", "create", "acme/two", "--embedder", "none", "--metric", "l2")
        for source, labels, v in (("wiki", ["public"], 0), ("hr", ["group:hr"], 9)):
            self.cairn("ingest", "acme/two", self.rows({"id": "a", "text": f"of {source}", "labels": labels, "vector": vector(v)}), "--source", source)
        self.cairn("activate", "acme/two", "2")
        ask = {"vector": vector(0)}
        def measure(*cases, options=()):
            self.cairn("gate", "freeze", "acme/two", "s", "--cases", self.cases(*[{"id": f"q{i}", **ask, **c} for i, c in enumerate(cases)]), *options)
            r = self.map("gate", "run", "acme/two")
            return self.results(r), [(f["query"], f["what"], f["doc"], f["source"]) for f in r["failed"]]
        got, failed = measure({"must_not_see": ["a"]}, {"must_not_see": [{"doc": "a", "source": "hr"}]}, {"must_not_see": ["a"], "source": "hr"}, {"must_not_see": ["a"], "source": "wiki"})
        self.assertEqual((got["s/leaked"], failed), (2, [("q0", "seen", "a", None), ("q3", "seen", "a", "wiki")]))
        got, failed = measure({"must_find": ["a"]}, {"must_find": [{"doc": "a", "source": "wiki"}]}, {"must_find": ["a"], "source": "hr"})
        self.assertEqual((got["s/missed"], failed), (1, [("q2", "missed", "a", "hr")]))
        got, failed = measure({"must_not_see": ["a"]}, options=("--source", "hr"))
        self.assertEqual((got["s/leaked"], failed), (0, []))
        # grades too
        got, _ = measure({"relevant": {"a": 1}})
        self.assertEqual(got["s/RR@10"], 1)
        got, _ = measure({"relevant": {"a": 1}, "source": "hr"})
        self.assertEqual(got["s/RR@10"], 0)
        got, _ = measure({"relevant": {"a": 1}, "source": "hr", "labels": ["public", "group:hr"]})
        self.assertEqual(got["s/RR@10"], 0.5)  # behind the one of the wiki
        # and a grant that opens one source alone is a leak of `every source`
        self.freeze("leaks", {"id": "q", "vector": vector(3), "must_not_see": ["d3"]})
        self.assertEqual(self.results(self.map("gate", "run", "acme/qa", "--sets", "leaks"))["leaks/leaked"], 0)
        self.cairn("ingest", "acme/qa", self.rows({"id": "d3", "text": "elsewhere", "labels": ["public"], "vector": vector(3)}), "--source", "elsewhere")
        self.assertEqual(self.results(self.map("gate", "run", "acme/qa", "--sets", "leaks"))["leaks/leaked"], 1)

    def test_what_is_handed_in_takes_no_place_of_a_run(self):
        self.freeze("core", *self.core())
        self.version(change=[1])
        self.cairn("gate", "submit", "acme/qa", "2", *[f"hand{i}=1" for i in range(100)])
        p = self.cairn("gate", "submit", "acme/qa", "2", "more=1", code=1)
        self.assertIn("cairn gate forget", p.stderr)
        self.assertIn("core/R@10", self.results(self.map("gate", "run", "acme/qa")))
        p = self.cairn("gate", "submit", "acme/qa", "2", "documents:change=0", code=5)
        self.assertIn("cairn gate run", p.stderr)
        self.cairn("gate", "forget", "acme/qa", "2", "hand7", "nothing", code=3)
        left = self.results(self.map("gate", "forget", "acme/qa", "2", "hand7", "hand8", "--reason", "old"))
        self.assertEqual(len([n for n in left if n.startswith("hand")]), 98)
        self.cairn("gate", "submit", "acme/qa", "2", "more=1")
        last = json.loads(self.cairn("audit", "show", "acme", "-o", "json").stdout)["records"][1]
        self.assertEqual((last["action"], last["target"], last["reason"], last["detail"]), ("gate.forget", "qa/2", "old", {"results": ["hand7", "hand8"]}))
        self.cairn("audit", "verify", "acme")

    def test_the_questions_lie_in_work_mdb(self):
        """And what is not there, or not the same, measures nothing."""
        size = lambda name: os.path.getsize(os.path.join(self.data.path, "tenants/acme", name))
        small = size("control.mdb")
        first = self.freeze("many", *self.many())
        self.assertLess(size("control.mdb") - small, 100000)
        self.assertGreater(size("work.mdb"), 300000)
        self.assertEqual(self.map("gate", "sets", "acme/qa")["sets"][0]["digest"], first["digest"])
        os.remove(os.path.join(self.data.path, "tenants/acme/work.mdb"))
        for words in (("gate", "run", "acme/qa"), ("gate", "sets", "acme/qa"), ("scrub",)):
            p = self.cairn(*words, code=1)
            self.assertIn("is not what was frozen", p.stdout + p.stderr)
        self.freeze("many", *self.many())
        self.cairn("gate", "run", "acme/qa")
        self.cairn("scrub")

    def test_a_set_is_its_digest(self):
        first = self.freeze("core", *self.core(), options=("--reason", "agreed"))
        self.assertEqual((first["questions"], first["graded"], first["must_find"], first["k"], first["asks_as"]), (20, 20, 20, 100, ["public"]))
        self.assertEqual(self.freeze("other", *self.core())["digest"], first["digest"])
        shuffled = [{k: c[k] for k in reversed(c)} for c in self.core()]
        self.assertEqual(self.freeze("third", *shuffled)["digest"], first["digest"])
        listed = self.map("gate", "sets", "acme/qa")["sets"]
        self.assertEqual([(s["set"], s["digest"]) for s in listed], [(n, first["digest"]) for n in ("core", "other", "third")])
        r = self.map("gate", "run", "acme/qa", "1")
        self.assertEqual({(s["set"], s["digest"]) for s in r["sets"]}, {(n, first["digest"]) for n in ("core", "other", "third")})
        self.assertIn("third/R@10", self.results(r))
        run = json.loads(self.cairn("audit", "show", "acme", "-o", "json").stdout)["records"][0]
        self.assertEqual((run["action"], run["target"], run["detail"]["sets"]["core"], run["detail"]["results"]["core/R@10"]), ("gate.run", "qa/1", first["digest"], 1))
        # the same again keeps results; others of that name take them along
        self.freeze("core", *self.core())
        self.assertIn("core/R@10", self.results(self.map("gate", "show", "acme/qa", "1")["versions"][0]))
        self.assertNotEqual(self.freeze("core", *self.core()[1:])["digest"], first["digest"])
        self.cairn("gate", "unfreeze", "acme/qa", "third")
        left = self.results(self.map("gate", "show", "acme/qa", "1")["versions"][0])
        self.assertEqual({n.split("/")[0] for n in left if "/" in n}, {"other"})
        self.assertIn("documents", left)
        self.cairn("gate", "unfreeze", "acme/qa", "third", code=3)
        self.assertEqual({n.split("/")[0] for n in self.results(self.map("gate", "run", "acme/qa", "1", "--sets", "core")) if "/" in n}, {"core", "other"})
        self.cairn("gate", "run", "acme/qa", "--sets", "third", code=3)
        self.cairn("audit", "verify", "acme")

    def test_a_beir_folder(self):
        folder = os.path.join(self.data.dir, "beir")
        os.makedirs(os.path.join(folder, "qrels"))
        with open(os.path.join(folder, "queries.jsonl"), "w") as f:
            f.write('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "nobody judged it"}\n{"_id": "c", "text": "three"}\n')
        with open(os.path.join(folder, "qrels", "test.tsv"), "w") as f:
            f.write("query-id\tcorpus-id\tscore\na\td2\t1\nc\td4\t2\na\td6\t1\n")
        with open(os.path.join(folder, "qrels", "none.tsv"), "w") as f:
            f.write("query-id\tcorpus-id\tscore\na\td2\t1\nc\td4\t0\n")
        self.assertRegex(self.cairn("gate", "freeze", "acme/qa", "beir", "--beir", folder, "--split", "none", code=1).stderr, r'question 2 "c" \(.*queries\.jsonl:3\): .*graded over 0')
        r = self.map("gate", "freeze", "acme/qa", "beir", "--beir", folder, "--cases", self.cases({"id": "x", "vector": [1, 1, 1, 1], "must_not_see": ["d1"]}))
        self.assertEqual((r["questions"], r["graded"], r["must_not_see"]), (3, 2, 1))

    def test_measures_are_those_of_eval(self):
        """Texts, embedded with the version's own model; the same questions through `cairn eval run`."""
        model, folder = os.path.join(self.data.dir, "model"), os.path.join(self.data.dir, "beir")
        os.makedirs(model)
        os.makedirs(os.path.join(folder, "qrels"))
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        self.data.cairn("model", "add", "tiny", model)
        self.data.cairn("index", "create", "acme/texts", "--embedder", "tiny")
        words = ["alpha", "beta", "gamma", "delta", "says", "so", "row", "words"]
        rows = os.path.join(self.data.dir, "texts.jsonl")
        with open(rows, "w") as f:
            for i in range(60):
                f.write(json.dumps({"id": f"t{i}", "text": " ".join(words[(i * k) % 8] for k in range(1, 7)), "labels": ["public" if i % 3 else "group:hr"]}) + "\n")
        self.data.cairn("ingest", "acme/texts", rows, "--activate")
        with open(os.path.join(folder, "queries.jsonl"), "w") as f, open(os.path.join(folder, "qrels", "test.tsv"), "w") as g:
            for i in range(8):
                f.write(json.dumps({"_id": f"q{i}", "text": f"{words[i]} {words[i - 3]}"}) + "\n")
                g.write("".join(f"q{i}\tt{(7 * i + 11 * j) % 60}\t{1 + j % 2}\n" for j in range(5)))
        for who in ("public", "group:hr,public"):
            self.map("gate", "freeze", "acme/texts", "core", "--beir", folder, "--as", who)
            got = self.results(self.map("gate", "run", "acme/texts"))
            want = self.map("eval", "run", "acme/texts", "--beir", folder, "--as", who)["metrics"]
            self.assertGreater(want["nDCG@10"], 0)
            for name, value in want.items():
                self.assertAlmostEqual(got["core/" + name], value, 12, name)

    def test_what_is_no_set(self):
        ask = {"id": "a", "vector": [1, 2, 3, 4], "must_find": ["d0"]}
        for case, part in (({**ask, "id": ""}, '"id"'), ({**ask, "text": "both"}, "not both"), ({"id": "a", "must_find": ["d0"]}, "vector"), ({"id": "a", "text": "x"}, "nothing that could be measured"),
                           ({**ask, "vector": [1, 2, 3]}, "has 3 numbers; this index has vectors of 4"), ({"id": "a", "text": "x" * 65537, "must_find": ["d0"]}, "at most 65536"),
                           ({"id": "a", "text": " \n", "must_find": ["d0"]}, "is empty"), ({"id": "a", "text": "?!", "must_find": ["d0"]}, "no word that could be looked up"),
                           ({**ask, "relevant": {"d0": 0}}, "graded over 0"), ({**ask, "must_find": ["d0", "d1", "d0"]}, "stands twice"),
                           ({**ask, "must_not_see": ["d0"]}, "must not be seen"), ({**ask, "must_find": [f"d{i}" for i in range(11)]}, "among the first 10"),
                           ({**ask, "must_find": [{"doc": "d0", "from": "x"}]}, "from"), ({**ask, "source": "No"}, "the name of source"),
                           ({**ask, "relevant": {"d0": "high"}}, "whole grades"), ({**ask, "relevant": ["d0"]}, "must be a map"), ({**ask, "must_find": "d0"}, "must be a list"),
                           ({**ask, "must_find": [""]}, "1 to 4096"), ({**ask, "as": "user:ana", "labels": ["public"]}, "not both"), ({**ask, "labels": []}, "1 to"),
                           ({**ask, "labels": ["no label"]}, "label"), ({**ask, "expected": ["d0"]}, "expected"), ({**ask, "vector": ["x"]}, "no number")):
            p = self.cairn("gate", "freeze", "acme/qa", "s", "--cases", self.cases(case), code=1)
            self.assertIn(part, p.stderr, case)
            self.assertIn("question 1", p.stderr)
            self.assertIn("cases.jsonl:1)", p.stderr)
        self.assertRegex(self.cairn("gate", "freeze", "acme/qa", "s", "--cases", self.cases(ask, ask), code=1).stderr, r"cases\.jsonl:2\): two questions .* question 1 too")
        for name in ("a/b", "a:b", "", "x" * 25, "a b"):
            self.assertIn("names no set", self.cairn("gate", "freeze", "acme/qa", name, "--cases", self.cases(ask), code=1).stderr, name)
        self.assertIn("which questions", self.cairn("gate", "freeze", "acme/qa", "s", code=1).stderr)
        self.assertIn("cases.jsonl:1", self.cairn("gate", "freeze", "acme/qa", "s", "--cases", self.cases("text"), code=1).stderr)
        for i in range(8):
            self.freeze(f"s{i}", ask)
        self.assertIn("at most 8", self.cairn("gate", "freeze", "acme/qa", "s8", "--cases", self.cases(ask), code=1).stderr)
        self.assertEqual(len(self.map("gate", "run", "acme/qa")["sets"]), 8)
        self.cairn("gate", "unfreeze", "acme/qa", "s3")
        self.freeze("s9", ask)
        self.cairn("gate", "freeze", "acme/nowhere", "s", "--cases", self.cases(ask), code=3)

    # --- what a comparison is worth ---
    def test_a_comparison_counts_while_its_version_is_active(self):
        self.cairn("gate", "set", "acme/qa", "documents:change>=-0.05", "documents>=30")
        second, third = self.version(lost=[0]), self.version(lost=[0, 1, 2])
        for v in (second, third):
            self.map("gate", "run", "acme/qa", str(v), code=0 if v == second else 5)
        self.cairn("activate", "acme/qa", str(second))
        shown = self.map("gate", "show", "acme/qa", str(third))["versions"][0]
        self.assertEqual([(x["against"], x["stale"]) for x in shown["results"] if x["name"] == "documents:change"], [(1, True)])
        self.assertEqual([(x["against"], x["stale"]) for x in shown["results"] if x["name"] == "documents"], [(None, False)])
        self.assertIn("which has changed", self.cairn("activate", "acme/qa", str(third), code=5).stderr)
        fourth = self.version(lost=[0, 1])
        self.map("gate", "run", "acme/qa", str(fourth))
        self.cairn("activate", "acme/qa", str(fourth))
        self.assertEqual([v["gate"] for v in self.map("versions", "acme/qa")["versions"] if v["version"] == fourth], ["met"])

    def test_the_first_version_has_nothing_beside_it(self):
        self.cairn("index", "create", "acme/new", "--embedder", "none")
        rows = os.path.join(self.data.dir, "rows.jsonl")
        for i in (1, 2):
            with open(rows, "w") as f:
                f.write(json.dumps({"id": f"x{i}", "text": "x", "labels": ["public"], "vector": [1, 2, 3, i]}) + "\n")
            self.cairn("ingest", "acme/new", rows)
        self.cairn("gate", "set", "acme/new", "documents:change>=0")
        for v in ("1", "2"):
            self.assertEqual(self.map("gate", "run", "acme/new", v)["against"], None)
        self.cairn("activate", "acme/new", "1")
        self.assertIn("no active version", self.cairn("activate", "acme/new", "2", code=5).stderr)
        self.map("gate", "run", "acme/new", "2")
        self.cairn("activate", "acme/new", "2")

    # --- who may ---
    def test_through_a_server_the_same(self):
        conn = self.serve()
        queries = [{("id" if k == "_id" else k): v for k, v in c.items()} for c in self.core()]
        frozen = conn.call("gate.freeze", index="qa", set="core", queries=queries, reason="agreed")
        self.assertEqual(frozen["digest"], self.freeze("twin", *self.core())["digest"])
        self.version(lost=[0])
        args = ["gate", "run", "acme/qa", "-o", "json"]
        mine = self.results(json.loads(self.data.cairn(*args).stdout))
        over = self.results(conn.call("gate.run", index="qa"))
        timed = lambda r: {k: v for k, v in r.items() if not k.endswith("p95_ms")}
        self.assertEqual(timed(mine), timed(over))
        key = os.path.join(self.data.dir, "key")
        with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write(self.data.make_key("--scope", ALL, "--labels", "public"))
        conn.call("gate.set", index="qa", requirements=["core/missed<=0"])
        p = subprocess.run([os.environ["CAIRN_BIN"], "--server", f"unix:{self.server.sock}", "--key-file", key, "gate", "run", "acme/qa"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 5, p.stderr)
        self.assertIn("core/missed", p.stdout)

    def test_who_may(self):
        conn = self.serve()
        ask = {"id": "a", "vector": vector(3), "must_not_see": ["d3"]}
        put = lambda c, **more: c.call("gate.freeze", index="qa", set="s", queries=[{**ask, **more}])
        for scopes, method in (("query,ingest,activate,versions,operate,audit", "gate.freeze"), ("query,operate,versions", "gate.unfreeze")):
            with self.assertRaisesRegex(Failed, "DENIED.*scope admin"):
                self.keyed(scopes).call(method, index="qa", set="s", **({"queries": [ask]} if method == "gate.freeze" else {}))
        with self.assertRaisesRegex(Failed, "DENIED.*scope operate"):
            self.keyed("query,versions,admin").call("gate.run", index="qa")
        with self.assertRaisesRegex(Failed, "DENIED.*scope versions"):
            self.keyed("query,operate,admin").call("gate.sets", index="qa")
        # a set hands on no right that its maker does not have
        admin = self.keyed("admin")
        with self.assertRaisesRegex(Failed, "DENIED.*group:hr"):
            put(admin, labels=["group:hr"])
        with self.assertRaisesRegex(Failed, "DENIED.*act-as"):
            put(admin, **{"as": "user:ana"})
        acting = Rpc(self.server, self.data.make_key("--scope", "admin,query,act-as", "--principals", "user:a*"))
        put(acting, **{"as": "user:ana"})
        with self.assertRaisesRegex(Failed, "DENIED.*user:bo"):
            put(acting, **{"as": "user:bo"})
        nothing = Rpc(self.server, self.data.make_key("--scope", "admin"))
        with self.assertRaisesRegex(Failed, "DENIED.*public"):
            put(nothing)
        put(admin)
        # who runs it learns numbers, and not which documents others may read
        self.version(wide=[3])
        self.assertEqual(self.results(conn.call("gate.run", index="qa"))["s/leaked"], 1)
        r = self.keyed("operate").call("gate.run", index="qa")
        self.assertEqual((self.results(r)["s/leaked"], "failed" in r, '"d3"' in json.dumps(r)), (1, False, False))
        self.assertEqual(conn.call("trace.exposed", doc="d3")["records"], [])  # nothing was given to anybody
        other = self.keyed(ALL, "--index", "docs")
        for method, params in (("gate.run", {}), ("gate.sets", {}), ("gate.freeze", {"set": "s", "queries": [ask]})):
            with self.assertRaisesRegex(Failed, "NOT_FOUND"):
                other.call(method, index="qa", **params)

    def test_versions_that_may_not_be_looked_at(self):
        conn = self.serve()
        v = self.version(lost=[1])
        self.cairn("quarantine", "acme/qa", str(v))
        with self.assertRaisesRegex(Failed, "REFUSED.*quarantined"):
            conn.call("gate.run", index="qa", version=v)
        with self.assertRaisesRegex(Failed, "NOT_FOUND"):
            conn.call("gate.run", index="qa", version=99)
        self.assertEqual(self.results(self.map("gate", "show", "acme/qa")["versions"][0]), {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
