"""The gate through a server and on files: jobs and persons are stopped, results open it, force needs its scope, rollback is free."""
import json
import os
import unittest

from serving import Data, Failed, Rpc, Server

VECTOR = [1.0, 2.0, 0.0, 1.0]


class Gate(unittest.TestCase):
    def setUp(self):
        self.data = Data()
        self.addCleanup(self.data.close)
        self.server = Server(self.data)
        self.addCleanup(self.server.stop)
        self.conn = self.with_scopes("query,ingest,activate,versions,operate,audit,admin")
        self.pipeline = self.with_scopes("query,ingest,activate")
        self.cairn("gate", "set", "acme/docs", "recall@10>=0.95", "p95_ms < 20", "--reason", "agreed on Monday")

    def with_scopes(self, scopes):
        return Rpc(self.server, self.data.make_key("--scope", scopes, "--labels", "public"))

    def cairn(self, *args, code=0):
        p = self.data.cairn(*args, check=False)
        self.assertEqual(p.returncode, code, f"{args}\n{p.stdout}{p.stderr}")
        return p

    def put(self, name):
        return self.pipeline.call("documents.put", index="docs", activate=True, documents=[{"id": name, "text": name, "labels": ["public"], "vector": VECTOR}])

    def active(self):
        return self.conn.call("versions.list", index="docs")["active"]

    def refused(self, code, part, method, **params):
        with self.assertRaises(Failed) as e:
            (params.pop("conn", self.conn)).call(method, index="docs", **params)
        self.assertRegex(str(e.exception), f"^{code}: .*{part}")

    def ingest(self, code, *args):
        path = os.path.join(self.data.dir, "more.jsonl")
        with open(path, "w") as f:
            f.write(json.dumps({"id": "m", "text": "more", "labels": ["public"], "vector": VECTOR}) + "\n")
        return self.cairn("ingest", "acme/docs", path, "--source", "other", "--activate", *args, code=code)

    def test_a_job_seals_and_the_results_let_it_answer(self):
        p = self.ingest(5)
        self.assertRegex(p.stdout + p.stderr, r"recall@10>=0\.95 \(none is stored\)")
        self.assertEqual(self.active(), 1)
        shown = self.conn.call("gate.show", index="docs", version=2)
        self.assertEqual((shown["requirements"], shown["reason"]), (["recall@10>=0.95", "p95_ms<20"], "agreed on Monday"))
        self.assertEqual([(v["version"], v["gate"], v["unmet"], v["results"]) for v in shown["versions"]], [(2, "unmet", shown["requirements"], [])])
        self.refused("REFUSED", "cairn gate submit acme/docs 2 NAME=VALUE", "versions.activate", version=2)
        self.cairn("activate", "acme/docs", "2", code=5)
        self.cairn("gate", "submit", "acme/docs", "2", "recall@10=0.97", "p95_ms=25")
        self.refused("REFUSED", r"p95_ms<20 \(it is 25\)", "versions.activate", version=2)
        r = self.conn.call("gate.submit", index="docs", version=2, results={"p95_ms": 11})
        self.assertEqual((r["gate"], r["unmet"], {x["name"]: x["value"] for x in r["results"]}), ("met", [], {"recall@10": 0.97, "p95_ms": 11.0}))
        self.assertTrue(all(x["by"] and x["at"] for x in r["results"]))
        self.assertEqual([v["gate"] for v in self.conn.call("versions.list", index="docs")["versions"]], ["unmet", "met"])
        self.assertNotIn("gate", self.pipeline.call("versions.list", index="docs")["versions"][0])
        self.pipeline.call("versions.activate", index="docs", version=2)
        self.assertEqual(self.active(), 2)
        done = [(a["action"], a["target"], a["outcome"].split(":")[0]) for a in self.conn.call("audit.list")["records"] if a["action"].startswith("gate.")]
        self.assertEqual(done, [("gate.submit", "docs/2", "done"), ("gate.submit", "docs/2", "done"), ("gate.set", "docs", "done")])
        self.assertEqual(sum(a["outcome"].startswith("refused: the gate of index") for a in self.conn.call("audit.list")["records"]), 4)
        self.cairn("audit", "verify", "acme")

    def test_a_put_and_a_rollback(self):
        r = self.put("new")
        self.assertFalse(r["activated"])
        self.assertIn("recall@10", r["why"])
        self.conn.call("gate.submit", index="docs", version=2, results={"recall@10": 1, "p95_ms": 1.5})
        self.cairn("activate", "acme/docs", "2")
        self.conn.call("versions.rollback", index="docs", reason="a test")
        self.assertEqual(self.active(), 1)  # which was never measured

    def test_force(self):
        self.put("new")
        for conn in (self.conn, self.pipeline):
            self.refused("DENIED", "scope force", "versions.activate", version=2, force=True, reason="in a hurry", conn=conn)
        forcing = self.with_scopes("activate,force")
        for blank in ({}, {"reason": ""}, {"reason": " \t\n "}):
            self.refused("REFUSED", "needs a reason", "versions.activate", version=2, force=True, conn=forcing, **blank)
        self.assertEqual(self.active(), 1)
        forcing.call("versions.activate", index="docs", version=2, force=True, reason="in a hurry")
        self.assertEqual(self.active(), 2)
        last = self.conn.call("audit.list", limit=1)["records"][0]
        self.assertEqual((last["action"], last["reason"]), ("version.activate", "in a hurry"))
        self.assertEqual(last["detail"]["forced"], "recall@10>=0.95 (none is stored), p95_ms<20 (none is stored)")
        self.put("newer")
        self.cairn("activate", "acme/docs", "3", "--force", "--reason", "on files", code=0)
        self.assertEqual(self.active(), 3)

    def test_a_rollback_to_what_was_never_active(self):
        self.put("new")
        self.put("newer")
        forcing = self.with_scopes("activate,force")
        forcing.call("versions.activate", index="docs", version=3, force=True, reason="in a hurry")
        self.refused("REFUSED", "asks of version 2", "versions.rollback", to=2, reason="a test", conn=self.pipeline)
        self.refused("DENIED", "scope force", "versions.rollback", to=2, force=True, reason="a test", conn=self.pipeline)
        self.refused("REFUSED", "needs a reason", "versions.rollback", to=2, force=True, conn=forcing)
        self.refused("INVALID", 'goes with field "to"', "versions.rollback", force=True, reason="a test", conn=forcing)
        self.cairn("rollback", "acme/docs", "--to", "2", "--reason", "a test", code=5)
        self.assertEqual(self.active(), 3)
        self.cairn("rollback", "acme/docs", "--to", "2", "--force", "--reason", "a test")
        self.assertEqual(self.active(), 2)
        last = self.conn.call("audit.list", limit=1)["records"][0]
        self.assertEqual((last["action"], last["detail"]["forced"]), ("version.rollback", "recall@10>=0.95 (none is stored), p95_ms<20 (none is stored)"))
        self.pipeline.call("versions.rollback", index="docs", to=1)  # it was active
        self.assertEqual(self.active(), 1)

    def test_a_rollback_to_what_meets_the_gate(self):
        self.put("new")
        self.conn.call("gate.submit", index="docs", version=2, results={"recall@10": 1, "p95_ms": 1.5})
        self.put("newer")
        self.cairn("activate", "acme/docs", "3", "--force", "--reason", "in a hurry")
        self.pipeline.call("versions.rollback", index="docs", to=2)
        self.assertEqual(self.active(), 2)

    def test_who_may(self):
        for method, scope, params in (("gate.set", "admin", {"requirements": ["none"]}), ("gate.submit", "operate", {"version": 1, "results": {"x": 1}}), ("gate.show", "versions", {})):
            self.refused("DENIED", scope, method, conn=self.pipeline, **params)
        self.assertEqual(len(self.conn.call("gate.show", index="docs")["requirements"]), 2)

    def test_taken_away(self):
        self.cairn("gate", "set", "acme/docs", "none")
        self.assertTrue(self.put("new")["activated"])
        shown = self.conn.call("gate.show", index="docs")
        self.assertEqual((shown["requirements"], shown["at"], {v["gate"] for v in shown["versions"]}), ([], None, {"none"}))

    def test_words(self):
        for words, part in ((("set", "acme/docs", "recall"), "no requirement"), (("submit", "acme/docs", "1", "x"), "NAME=VALUE"), (("submit", "acme/docs", "1", "x=high"), "takes a number"),
                            (("submit", "acme/docs", "1", "=1"), "NAME=VALUE"), (("set", "acme/docs"), "REQUIREMENT is missing")):
            self.assertIn(part, self.data.cairn("gate", *words, check=False).stderr)
        self.refused("INVALID", "no number", "gate.submit", version=1, results={"x": "1"})
        self.refused("INVALID", "no result is given", "gate.submit", version=1, results={})
        self.refused("NOT_FOUND", "version 9", "gate.show", version=9)
        self.cairn("gate", "submit", "acme/docs", "9", "x=1", code=3)
        self.assertIn("recall@10>=0.95", self.cairn("gate", "show", "acme/docs").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
