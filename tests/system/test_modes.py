"""Incident modes through a server and on files: each holds from the next request on, in every process, whoever set it."""
import json
import os
import signal
import subprocess
import time
import unittest

from serving import CAIRN, Data, Failed, Rpc, Server, stop_between

VECTOR = [1.0, 2.0, 0.0, 1.0]


class Modes(unittest.TestCase):
    def setUp(self):
        self.data = Data()
        self.addCleanup(self.data.close)
        self.server = Server(self.data)
        self.addCleanup(lambda: self.server.p.poll() is None and self.server.stop())
        key = self.data.make_key("--scope", "query,ingest,activate,versions,policy,operate,audit", "--labels", "public")
        self.conn, self.reader = Rpc(self.server, key), Rpc(self.server, self.data.key)

    def cairn(self, *args, code=0):
        p = self.data.cairn(*args, check=False)
        self.assertEqual(p.returncode, code, f"{args}\n{p.stdout}{p.stderr}")
        return p

    def refused(self, part, call, *args, **params):
        with self.assertRaises(Failed) as e:
            call(*args, **params)
        self.assertRegex(str(e.exception), "^REFUSED: .*" + part)

    def query(self, **kw):
        return self.reader.call("query", index="docs", vector=VECTOR, k=3, **kw)

    def put(self, name="new"):
        return self.conn.call("documents.put", index="docs", activate=True, documents=[{"id": name, "text": name, "labels": ["public"], "vector": VECTOR}])

    def rows(self, n=3):
        path = os.path.join(self.data.dir, f"more{n}.jsonl")
        with open(path, "w") as f:
            for i in range(n):
                f.write(json.dumps({"id": f"m{i}", "text": "more " * 400, "labels": ["public"], "vector": VECTOR}) + "\n")
        return path

    def responder_can_act(self):
        """Hiding, erasure, the ways back and the trail, on files and through the server; leaves things as they were."""
        self.conn.call("policy.hide", docs=["d0"], reason="a test")
        self.cairn("policy", "unhide", "acme", "d0")
        self.conn.call("policy.erase", docs=["no such"], reason="a test")
        versions = self.conn.call("versions.list", index="docs")
        if versions["active"] > 1:
            self.cairn("rollback", "acme/docs", "--reason", "a test")
            self.conn.call("versions.release", index="docs")
            self.cairn("activate", "acme/docs", str(versions["active"]), "--reason", "a test")
        self.conn.call("audit.verify")
        self.conn.call("incident.find", index="docs", text="text number 4")

    def test_freeze(self):
        self.put()
        self.cairn("mode", "acme/docs", "freeze", "--reason", "labels are looked into")
        self.assertEqual(len(self.query()["hits"]), 3)
        self.refused("mode freeze", self.put)
        self.refused("mode freeze", self.conn.call, "documents.delete", index="docs", docs=["d2"])
        self.refused("mode freeze", self.conn.call, "ingest.rebuild", index="docs", chunker="fixed tokens=64", wait=True)
        self.refused("mode freeze", self.conn.call, "versions.gc", index="docs")
        self.refused("mode freeze", self.conn.call, "versions.compact", index="docs")
        p = self.cairn("ingest", "acme/docs", self.rows(), "--activate", code=5)
        self.assertIn("mode freeze", p.stderr)
        self.cairn("ingest", "acme/docs", self.rows(), "--dry-run")
        self.responder_can_act()
        self.assertEqual(self.conn.call("admin.index_show", index="docs")["incident_mode"], "freeze")
        self.assertEqual(self.conn.call("versions.list", index="docs")["incident_mode"], "freeze")
        self.assertEqual(self.conn.call("stats")["modes"], [{"host": False, "index": "docs", "mode": "freeze"}])
        shown = self.conn.call("modes.show")["modes"]
        self.assertEqual([(m["index"], m["mode"], m["reason"]) for m in shown], [("docs", "freeze", "labels are looked into")])
        self.assertIn("mode freeze", self.cairn("doctor").stdout)
        self.conn.call("modes.set", index="docs", mode="normal")
        self.assertTrue(self.put("later")["activated"])
        self.assertEqual(self.conn.call("stats")["modes"], [])
        chain = [(r["action"], r["outcome"].split(":")[0]) for r in self.conn.call("audit.list")["records"]]
        self.assertEqual([c for c in chain if c[0] == "index.ingest"], [("index.ingest", "refused")] * 4)  # put, delete, rebuild, ingest: each once
        self.assertEqual(chain.count(("mode.set", "done")), 2)

    def test_what_is_refused_names_the_way_out(self):
        for target in ("acme/docs", "acme", "--host"):
            self.cairn("mode", target, "freeze")
            p = self.cairn("compact", "acme/docs", code=5)
            self.assertIn(f"`cairn mode {target} thaw` ends it", p.stderr)
            self.refused(f"`cairn mode {target} thaw`", self.put)
            self.cairn("mode", target, "thaw")
            self.cairn("compact", "acme/docs")

    def test_exact(self):
        self.cairn("mode", "acme", "exact")
        made = self.query()["made_by"]
        self.assertEqual((made["mode"], made["search"], made["degraded"]), ("dense", "exact", ["exact_only"]))
        self.assertEqual(self.query(mode="exact")["made_by"]["degraded"], [])
        with self.assertRaisesRegex(Failed, "UNAVAILABLE: .*mode exact"):
            self.query(on_degraded="error")
        record = self.conn.call("trace.get", trace_id=made["trace_id"])["records"][0]
        self.assertEqual(record["degraded"], ["exact_only"])
        self.assertTrue(self.put()["activated"])
        self.responder_can_act()
        self.conn.call("modes.set", mode="normal")
        self.assertEqual(self.query()["made_by"]["degraded"], [])

    def test_refuse(self):
        text = "The documents are being checked; ask again at noon."
        self.conn.call("modes.set", index="docs", mode="refuse", text=text)
        self.refused(text + "$", self.query)
        for method, params in (("fetch", {"doc": "d0"}), ("documents.list", {}), ("documents.get", {"doc": "d0"})):
            self.refused(text + "$", self.reader.call, method, index="docs", **params)
        answers = self.reader.call("query_batch", index="docs", queries=[{"vector": VECTOR}])["results"]
        self.assertEqual(answers, [{"error": "REFUSED: " + text}])
        lines = os.path.join(self.data.dir, "q")
        with open(lines, "w") as f:
            f.write(json.dumps({"vector": VECTOR}) + "\n")
        self.assertIn(text, self.cairn("query", "acme/docs", "--batch", lines, code=1).stderr)
        self.assertTrue(self.put()["activated"])
        self.responder_can_act()
        self.cairn("mode", "acme/docs", "normal")
        self.assertEqual(len(self.query()["hits"]), 3)

    def test_frozen_and_refused(self):
        """As tools/README.md walks a responder: both hold, and each is ended alone."""
        text = "ask again at noon"
        self.cairn("mode", "acme/docs", "freeze")
        self.assertIn("freeze+refuse", self.cairn("mode", "acme/docs", "refuse", text).stdout)
        self.refused("mode freeze", self.put)
        self.refused(text + "$", self.query)
        self.responder_can_act()
        self.assertEqual(self.conn.call("stats")["modes"], [{"host": False, "index": "docs", "mode": "freeze+refuse"}])
        self.cairn("mode", "acme/docs", "answer")
        self.assertEqual(len(self.query()["hits"]), 3)
        self.refused("mode freeze.*thaw", self.put)
        self.cairn("mode", "acme/docs", "thaw")
        self.assertTrue(self.put()["activated"])
        self.assertEqual(self.conn.call("modes.show")["modes"], [])

    def test_drain(self):
        """A job that was under way when the mode was set ends as if nothing had been; no other begins."""
        p = subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/docs", self.rows(20000), "--activate"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not any(j["state"] == "running" for j in self.conn.call("ingest.list")["jobs"]):
            self.assertIsNone(p.poll(), "the job ended before it could be drained")
            time.sleep(0.01)
        stop_between(p.pid, os.path.join(self.data.path, "tenants/acme"))
        self.conn.call("modes.set", index="docs", mode="drain")
        self.refused("mode drain", self.put)
        self.assertIn("mode drain", self.cairn("ingest", "acme/docs", self.rows(), "--source", "other", code=5).stderr)
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate()
        self.assertEqual(p.returncode, 0, err)
        self.assertEqual(self.conn.call("versions.list", index="docs")["active"], 2)
        self.assertEqual(len(self.query()["hits"]), 3)
        self.responder_can_act()

    def test_a_job_met_by_a_freeze_goes_on_afterwards(self):
        p = subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/docs", self.rows(20000), "--activate"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not any(j["state"] == "running" for j in self.conn.call("ingest.list")["jobs"]):
            self.assertIsNone(p.poll(), "the job ended before it could be frozen")
            time.sleep(0.01)
        stop_between(p.pid, os.path.join(self.data.path, "tenants/acme"))
        self.conn.call("modes.set", mode="freeze")
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate()
        self.assertEqual(p.returncode, 5, err)
        job = self.conn.call("ingest.list")["jobs"][0]
        self.assertEqual((job["state"], len(self.conn.call("versions.list", index="docs")["versions"])), ("failed", 1))
        self.assertIn("mode freeze", self.cairn("ingest", "acme/docs", "--resume", job["job"], code=5).stderr)
        self.conn.call("modes.set", mode="normal")
        r = json.loads(self.cairn("ingest", "acme/docs", "--resume", job["job"], "-o", "json").stdout)
        self.assertEqual((r["version"], r["activated"], r["counts"]["added"]), (2, True, 20000))

    def test_every_process_sees_it_at_once(self):
        root = Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "operate", "-o", "json").stdout)["key"])
        other_dir = os.path.join(self.data.dir, "other")
        os.mkdir(other_dir)
        two = Server(type("Other", (), {"path": self.data.path, "dir": other_dir})())
        try:
            asking = Rpc(two, self.data.key)
            for _ in range(10):
                self.assertEqual(len(asking.call("query", index="docs", vector=VECTOR, k=3)["hits"]), 3)
                self.conn.call("modes.set", index="docs", mode="refuse", text="not now")
                self.refused("not now", asking.call, "query", index="docs", vector=VECTOR, k=3)
                self.refused("not now", self.query)
                self.cairn("mode", "acme/docs", "normal")
                root.call("modes.set_host", mode="refuse", text="not anywhere")
                self.refused("not anywhere", asking.call, "query", index="docs", vector=VECTOR, k=3)
                self.cairn("mode", "--host", "normal")
                self.assertEqual(len(self.query()["hits"]), 3)
        finally:
            two.stop()

    def test_of_a_key_limited_to_some_indexes(self):
        self.data.cairn("index", "create", "acme/secret", "--embedder", "none")
        limited = Rpc(self.server, self.data.make_key("--scope", "operate", "--index", "docs"))
        self.conn.call("modes.set", index="secret", mode="freeze", reason="of no concern to others")
        limited.call("modes.set", index="docs", mode="exact")
        self.assertEqual([m["index"] for m in limited.call("modes.show")["modes"]], ["docs"])
        self.assertEqual([m["index"] for m in limited.call("stats")["modes"]], ["docs"])
        said = []
        for index in ("secret", "nowhere"):
            for method in ("modes.set", "modes.show"):
                with self.assertRaises(Failed) as e:
                    limited.call(method, index=index, **({"mode": "normal"} if method == "modes.set" else {}))
                said.append(str(e.exception).replace(index, "X"))
        self.assertEqual(said[:2], said[2:])
        with self.assertRaisesRegex(Failed, "^DENIED"):
            limited.call("modes.set", mode="freeze")

    def test_the_host(self):
        """Of every tenant, those made later too, over RPC and on files; an index's own mode and the host's stand beside each other."""
        root = Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "operate", "-o", "json").stdout)["key"])
        host = lambda: json.loads(self.cairn("mode", "--host", "-o", "json").stdout)["modes"]
        self.cairn("mode", "acme/docs", "exact")
        self.cairn("mode", "--host", "freeze", "--reason", "the disk is to be changed")
        self.cairn("tenant", "add", "later")
        self.cairn("index", "create", "later/docs", "--embedder", "none")
        self.assertIn("the host is in mode freeze", self.cairn("ingest", "later/docs", self.rows(), code=5).stderr)
        self.refused("the host is in mode freeze, .*`cairn mode --host thaw`", self.put)
        self.assertEqual(self.query()["made_by"]["degraded"], ["exact_only"])
        self.responder_can_act()
        self.assertEqual(self.conn.call("admin.index_show", index="docs")["incident_mode"], "host freeze, exact")
        self.assertEqual([(m["host"], m["index"], m["mode"], m["reason"]) for m in self.conn.call("modes.show")["modes"]],
                         [(True, None, "freeze", "the disk is to be changed"), (False, "docs", "exact", "")])
        self.assertEqual(root.call("stats")["modes"], [{"host": True, "index": None, "mode": "freeze"}])
        self.assertIn("all tenants are in mode freeze; `cairn mode --host normal` ends it", self.cairn("doctor").stdout)
        self.conn.call("modes.set", mode="normal")  # of the tenant's own: the host's stays
        self.refused("mode freeze", self.put)
        self.assertEqual(root.call("modes.set_host", mode="refuse", text="at noon")["modes"], root.call("modes.show_host")["modes"])
        self.refused("at noon$", self.query)
        self.assertEqual([(m["mode"], m["text"]) for m in host()], [("freeze+refuse", "at noon")])
        self.cairn("mode", "--host", "normal")
        self.assertEqual((host(), root.call("modes.show_host")["modes"]), ([], []))
        self.cairn("mode", "acme/docs", "normal")
        self.assertTrue(self.put()["activated"])
        chain = [(r["action"], r["outcome"].split(":")[0]) for r in self.conn.call("audit.list")["records"]]
        self.assertEqual(chain.count(("mode.host", "done")), 3)
        later = json.loads(self.cairn("audit", "show", "later", "-o", "json").stdout)["records"]
        self.assertEqual([r["detail"]["mode"] for r in later if r["action"] == "mode.host"], ["normal", "freeze+refuse"])  # made when it was frozen

    def test_the_host_is_not_a_tenants(self):
        """Whatever a tenant's key holds, it may see the host's mode and not set it; what it tried is in its chain."""
        for key in (self.conn, Rpc(self.server, self.data.make_key("--scope", "operate,admin,audit")), Rpc(self.server, self.data.make_key("--scope", "operate", "--index", "docs"))):
            for fields in ({}, {"tenant": "acme"}):
                with self.assertRaisesRegex(Failed, "^DENIED: .*keys of the host"):
                    key.call("modes.set_host", mode="freeze", **fields)
                with self.assertRaisesRegex(Failed, "^DENIED"):
                    key.call("modes.show_host", **fields)
        self.assertEqual([r["outcome"].split(":")[0] for r in self.conn.call("audit.list")["records"] if r["action"] == "mode.host"], ["refused"] * 6)
        root = Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "operate,query", "-o", "json").stdout)["key"])
        with self.assertRaisesRegex(Failed, "^INVALID: .*leave out `tenant`"):  # who names a tenant does not mean all of them
            root.call("modes.set_host", tenant="acme", mode="freeze")
        with self.assertRaisesRegex(Failed, "^DENIED"):
            Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "query,admin", "-o", "json").stdout)["key"]).call("modes.set_host", mode="freeze")
        self.assertEqual(root.call("modes.show_host")["modes"], [])
        for args, part in ((("acme", "freeze"), "no mode"), (("freeze", "two", "three"), "too many"), (("refuse",), "text")):
            self.assertIn(part, self.cairn("mode", "--host", *args, code=2 if part == "too many" else 1).stderr)

    def test_words(self):
        for args, part in ((("frozen",), "no mode"), (("refuse",), "text"), (("refuse", "  "), "blank"), (("drain", "text"), "text")):
            p = self.cairn("mode", "acme/docs", *args, code=1)
            self.assertIn(part, p.stderr)
        self.assertEqual(json.loads(self.cairn("mode", "acme/docs", "-o", "json").stdout), {"modes": []})
        self.cairn("mode", "acme/nowhere", code=3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
