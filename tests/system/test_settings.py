"""Settings that change answers (mode, fusion, analyser) are a version's: `index set` seals one on the newest that shares its files,
activates it as a job would, and a rollback brings those before back. Others are the index's and hold at once."""
import json
import os
import threading
import unittest

from serving import Data, Failed, Rpc, Server, count

VECTOR = [1.0, 2.0, 0.0, 1.0]
SCOPES = "query,ingest,activate,versions,operate,audit,admin"


class Settings(unittest.TestCase):
    def setUp(self):
        self.data = Data(6)
        self.addCleanup(self.data.close)
        self.server = Server(self.data)
        self.addCleanup(self.server.stop)
        self.conn = self.with_scopes(SCOPES)

    def with_scopes(self, scopes):
        return Rpc(self.server, self.data.make_key("--scope", scopes, "--labels", "public"))

    def cairn(self, *args, code=0):
        p = self.data.cairn(*args, check=False)
        self.assertEqual(p.returncode, code, f"{args}\n{p.stdout}{p.stderr}")
        return p

    def set(self, *args, code=0):
        return json.loads(self.cairn("index", "set", "acme/docs", *args, "-o", "json", code=code).stdout)

    def mode(self, **fields):
        """What a question that names no mode is answered in, on files and through the server."""
        mode = self.conn.call("query", index="docs", vector=VECTOR, **fields)["made_by"]["mode"]
        version = ["--version", str(fields["version"])] if fields else []
        told = json.loads(self.cairn("query", "acme/docs", "text number", *version, "-o", "json").stdout)["made_by"]
        self.assertEqual(told["mode"], "lexical")  # a text, without a model
        self.assertEqual(told["degraded"], ["no_embedder"] if self.settings(told["version"])[0] == "hybrid" else [])
        return mode

    def found(self, text, **fields):
        return len(self.conn.call("query", index="docs", text=text, **fields)["hits"])

    def versions(self):
        return self.conn.call("versions.list", index="docs")

    def settings(self, version):
        v = self.versions()["versions"][version - 1]
        return v["mode"], v["fusion"], v["analyser"]

    def put(self, name, conn=None):
        return (conn or self.conn).call("documents.put", index="docs", activate=True, documents=[{"id": name, "text": f"{name} number", "labels": ["public"], "vector": VECTOR}])

    def files(self):
        folder = os.path.join(self.data.path, "tenants/acme/segments")
        return {n for n in os.listdir(folder) if n.endswith(".mdb")}

    def test_a_version_of_its_own_and_the_way_back(self):
        self.assertEqual((self.mode(), self.settings(1)), ("dense", ("dense", "scores", "english")))
        before = self.files()
        r = self.set("--mode", "exact", "--keep-versions", "7", "--reason", "exact from now on")
        self.assertEqual((r["version"], r["activated"], r["why"], r["mode"], r["keep_versions"]), (2, True, None, "exact", 7))
        self.assertEqual(len(self.files() - before), 1)  # its own file, without rows
        old, new = self.versions()["versions"]
        self.assertEqual((new["base"], new["documents"], new["chunks"]), (1, old["documents"], old["chunks"]))
        self.assertNotEqual(old["root"], new["root"])
        self.assertEqual((self.mode(), self.mode(version=1)), ("exact", "dense"))
        self.assertEqual(self.conn.call("versions.diff", index="docs", **{"from": 1, "to": 2})["settings"], [{"setting": "mode", "before": "dense", "after": "exact"}])
        self.assertIn("exact", self.cairn("diff", "acme/docs", "1", "2").stdout)
        self.put("a")
        self.assertEqual((self.mode(), self.settings(3)[0]), ("exact", "exact"))  # jobs go on with them
        self.cairn("rollback", "acme/docs", "--to", "1")
        self.assertEqual(self.mode(), "dense")
        self.assertEqual(self.conn.call("admin.index_show", index="docs")["mode"], "exact")  # version 3 is the newest good one
        self.cairn("quarantine", "acme/docs", "2")
        self.cairn("quarantine", "acme/docs", "3")
        r = self.conn.call("admin.index_show", index="docs")
        self.assertEqual((r["mode"], r["keep_versions"]), ("dense", 7))
        self.cairn("release", "acme/docs")
        self.put("b")
        self.assertEqual((self.settings(4)[0], self.mode()), ("dense", "dense"))  # what a rollback left does not come back by itself
        done = [a for a in self.conn.call("audit.list", limit=100)["records"] if a["outcome"] == "done" and a["reason"] == "exact from now on"]
        self.assertEqual({a["action"] for a in done}, {"index.set", "version.seal", "version.activate"})
        self.cairn("audit", "verify", "acme")
        self.cairn("doctor")

    def test_what_is_no_change_makes_no_version(self):
        for args in (["--keep-days", "3"], ["--mode", "dense"], ["--fusion", "scores", "--analyser", "english title=2"], ["--kind", "cells"], ["--local-only"]):
            r = self.set(*args)
            self.assertEqual((r["version"], r["activated"], r["why"], r["newest"]), (None, False, None, 1), args)
        self.assertIn("must be", self.cairn("index", "set", "acme/docs", "--mode", "sparse", code=1).stderr)
        self.assertIn("no analyser", self.cairn("index", "set", "acme/docs", "--analyser", "klingon", code=1).stderr)
        self.assertEqual(self.versions()["versions"][-1]["version"], 1)

    def test_an_index_without_versions_keeps_them_for_its_first(self):
        self.cairn("index", "create", "acme/new")
        r = json.loads(self.cairn("index", "set", "acme/new", "--mode", "hybrid", "--fusion", "rrf", "-o", "json").stdout)
        self.assertEqual((r["mode"], r["fusion"], r["version"], r["newest"]), ("hybrid", "rrf", None, 0))
        self.conn.call("documents.put", index="new", activate=True, documents=[{"id": "a", "text": "a", "labels": ["public"]}])
        v = self.conn.call("versions.list", index="new")["versions"][0]
        self.assertEqual((v["mode"], v["fusion"]), ("hybrid", "rrf"))

    def test_sealed_only_and_settings_together(self):
        r = self.set("--fusion", "rrf", "--mode", "hybrid", "--seal-only")
        self.assertEqual((r["version"], r["activated"], r["why"], r["active"]), (2, False, None, 1))
        self.assertEqual((self.mode(), self.settings(2)[:2]), ("dense", ("hybrid", "rrf")))
        self.cairn("activate", "acme/docs", "2")
        self.assertEqual(self.conn.call("query", index="docs", text="number")["made_by"]["degraded"], ["no_embedder"])

    def held(self, reason, *args):
        before = self.versions()
        r = self.set(*args, code=5)
        self.assertEqual((r["version"], r["activated"], r["active"]), (before["versions"][-1]["version"] + 1, False, before["active"]))
        self.assertRegex(r["why"], f"^version {r['version']} has the new settings and is not active: .*{reason}.*`cairn activate acme/docs {r['version']}`")
        return r["version"]

    def test_a_hold_stops_it_as_a_job(self):
        self.put("a")
        self.cairn("rollback", "acme/docs")
        made = self.held("held since a rollback", "--mode", "exact")
        self.assertEqual(self.mode(), "dense")
        self.cairn("activate", "acme/docs", str(made))
        self.assertEqual(self.mode(), "exact")

    def test_a_gate_stops_it_until_its_results_are_there(self):
        self.cairn("gate", "set", "acme/docs", "recall@10>=0.95")
        made = self.held(r"recall@10>=0\.95 \(none is stored\)", "--mode", "exact")
        self.cairn("activate", "acme/docs", str(made), code=5)
        self.cairn("gate", "submit", "acme/docs", str(made), "recall@10=0.97")
        self.cairn("activate", "acme/docs", str(made))
        self.assertEqual(self.mode(), "exact")

    def test_documents_that_do_not_answer_yet_are_not_made_to(self):
        self.conn.call("documents.put", index="docs", activate=False, documents=[{"id": "late", "text": "late", "labels": ["public"], "vector": VECTOR}])
        self.held("documents of version 2, the newest, and that is not active", "--mode", "exact")
        self.assertEqual((self.mode(), self.found("late")), ("dense", 0))

    def test_a_key_without_activate_seals(self):
        r = self.with_scopes("admin,query").call("admin.index_set", index="docs", mode="exact")
        self.assertEqual((r["version"], r["activated"]), (2, False))
        self.assertIn("lacks the scope activate", r["why"])
        self.assertEqual(self.mode(), "dense")

    def test_frozen_and_drained(self):
        for mode in ("freeze", "drain"):
            self.conn.call("modes.set", index="docs", mode=mode)
            self.assertIn(f"mode {mode}", self.cairn("index", "set", "acme/docs", "--mode", "exact", "--keep-versions", "9", code=5).stderr)
            self.assertEqual(self.set("--keep-days", "9")["keep_days"], 9)  # no version, and no document goes by it
            self.conn.call("modes.set", index="docs", mode="normal")
        r = self.set("--keep-versions", "4")
        self.assertEqual((r["newest"], r["keep_versions"], r["mode"]), (1, 4, "dense"))

    def test_another_analyser(self):
        """Of rows that have no file of words, and of rows that do."""
        rows = "".join(json.dumps({"id": f"w{i}", "text": "houses by the sea", "labels": ["public"], "vector": VECTOR}) + "\n" for i in range(300))
        self.data.cairn("ingest", "acme/docs", "-", "--source", "w", "--activate", text=rows)
        ask = lambda **v: (self.found("house", k=1000, **v), self.found("houses", k=1000, **v))
        self.assertEqual(ask(), (300, 300))
        r = self.set("--analyser", "none")
        self.assertEqual((r["version"], r["activated"], r["analyser"]), (3, True, "none"))
        self.assertEqual((ask(), ask(version=2)), ((0, 300), (300, 300)))
        self.put("houses")
        self.assertEqual((self.settings(4)[2], ask()), ("none", (0, 301)))
        self.assertEqual(self.found("number", version=1), 3)
        self.cairn("rollback", "acme/docs", "--to", "2")
        self.assertEqual(ask(), (300, 300))
        self.assertEqual([len(json.loads(self.cairn("query", "acme/docs", word, "-k", "1000", "-o", "json").stdout)["hits"]) for word in ("house", "houses")], [300, 300])
        self.cairn("compact", "acme/docs")
        self.assertEqual((ask(), ask(version=3)), ((300, 300), (0, 300)))

    def test_a_rebuild_takes_those_of_its_documents(self):
        self.set("--mode", "exact")
        self.cairn("rebuild", "acme/docs", "--chunker", "document")
        self.assertEqual(self.settings(3)[0], "exact")
        self.set("--mode", "hybrid")
        self.assertIn("--catch-up 3", self.cairn("activate", "acme/docs", "3", code=5).stderr)
        self.cairn("rebuild", "acme/docs", "--catch-up", "3", "--activate")
        v = self.versions()
        self.assertEqual((v["active"], self.settings(v["active"])[0]), (5, "hybrid"))

    def test_what_could_be_asked_is_that_of_the_newest(self):
        path = os.path.join(self.data.dir, "asked.jsonl")
        with open(path, "w") as f:
            f.write(json.dumps({"id": "q", "vector": VECTOR, "must_find": ["d0"]}) + "\n")
        self.set("--mode", "lexical")
        freeze = lambda code: self.cairn("gate", "freeze", "acme/docs", "small", "--cases", path, code=code)
        self.assertIn("mode lexical", freeze(1).stderr)
        self.cairn("rollback", "acme/docs")
        freeze(0)

    def test_an_index_set_to_words_is_left_out_of_a_question_by_vector(self):
        """Asked with others; alone it refuses, and says what to do. A mode that is named is obeyed as ever."""
        self.cairn("index", "create", "acme/more", "--embedder", "none")
        self.conn.call("documents.put", index="more", activate=True, documents=[{"id": "m", "text": "more", "labels": ["public"], "vector": VECTOR}])
        self.cairn("index", "set", "acme/more", "--mode", "lexical")
        both = {"index": "docs", "also": ["more"], "vector": VECTOR}
        got = self.conn.call("query", **both)
        self.assertEqual((got["made_by"]["degraded"], {h["index"] for h in got["hits"]}), (["index_unavailable"], {"docs"}))
        self.assertIn("set to mode lexical", got["also_made_by"][0]["error"])
        self.assertEqual({h["index"] for h in self.conn.call("query", mode="dense", **both)["hits"]}, {"docs", "more"})
        with self.assertRaisesRegex(Failed, '^REFUSED: index "more": .*give `text`'):
            self.conn.call("query", on_degraded="error", **both)
        with self.assertRaisesRegex(Failed, "^REFUSED: .*give `text` instead of `vector`, or another `mode`"):
            self.conn.call("query", index="more", vector=VECTOR)
        with self.assertRaisesRegex(Failed, "^INVALID: mode lexical"):
            self.conn.call("query", mode="lexical", **both)

    def test_beside_jobs(self):
        """Each version has the settings of the one before it, or those that somebody set with it."""
        n, failed, made = count(6, 60), [], {}

        def work(what):
            conn = self.with_scopes(SCOPES)
            try:
                for i in range(n):
                    what(conn, i)
            except Failed as e:
                failed.append(e)

        def put(conn, i):
            self.put(f"p{i}", conn)

        def change(conn, i):
            mode = ("exact", "dense", "hybrid")[i % 3]
            r = conn.call("admin.index_set", index="docs", mode=mode)
            made[r["version"]] = mode

        threads = [threading.Thread(target=work, args=(f,)) for f in (put, change)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        versions = self.versions()["versions"]
        self.assertEqual(len(made), n)
        for v in versions[1:]:
            self.assertEqual(v["mode"], made.get(v["version"], versions[v["base"] - 1]["mode"]), v)
        self.assertEqual(versions[-1]["documents"], 6 + n)


if __name__ == "__main__":
    unittest.main()
