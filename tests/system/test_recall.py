"""Recall measured while a server answers: questions of several people are searched again exactly, over what each may read; it is told
by hour and plan, to who may operate, and survives a restart; an index that was made worse is found out, searched with more effort
until its answers are right again, barred by its gate, and searched as before once its cells are well; a flood is dropped, and counted."""
import json
import os
import subprocess
import time
import unittest

from serving import Failed, Rpc, Server
from test_cells import Large

DEGRADE = os.environ["DEGRADE"]
ALL = ("--recall-sample", "1000", "--recall-cpu", "100")
QUEUE = 16  # of one tenant that may wait


class Recall(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Large()
        cls.addClassCleanup(cls.data.close)
        cls.keys = {who: cls.data.make_key("--scope", "query,audit", "--labels", who) for who in ("public", "group:hr", "group:few", "public,group:hr")}
        cls.operator = cls.data.make_key("--scope", "operate,query,admin,versions,activate", "--labels", "public,group:hr")

    def serve(self, *options):
        server = Server(self.data, *options)
        self.addCleanup(lambda: server.p.poll() is None and server.stop())
        server.root = Rpc(server, self.operator)
        return server

    def host(self, server):
        key = json.loads(self.data.cairn("key", "add", "--host", "--scope", "admin", "-o", "json").stdout)["key"] if not hasattr(self.data, "host") else self.data.host
        self.data.host = key
        return Rpc(server, key)

    def measured(self, host, seconds=60):
        """What was drawn, once all of it is done: nothing more comes for a moment."""
        end, before = time.time() + seconds, None
        while time.time() < end:
            now = host.call("stats")["recall"]
            if now == before:
                return now
            before = now
            time.sleep(.3)
        raise Failed("questions are still being searched again")

    def ask(self, conn, n, **more):
        """Questions, few enough at a time for the queue; the last answer."""
        for i in range(n):
            got = conn.call("query", index="large", vector=self.data.questions[i % len(self.data.questions)], **more)
            if i % (QUEUE // 2) == QUEUE // 2 - 1:
                self.measured(self.hosting)
        return got

    def show(self, server, **more):
        return server.root.call("recall.show", index="large", **more)

    def test_1_told(self):
        server = self.serve(*ALL)
        self.hosting = self.host(server)
        conns = {who: Rpc(server, key) for who, key in self.keys.items()}
        self.assertEqual(self.show(server), {"index": "large", "versions": [], "hours": []})
        for who, conn in conns.items():
            self.ask(conn, 24)
        self.ask(conns["public"], 8, filter={"field": "topic", "eq": 4})
        self.ask(conns["public"], 8, recall=.99, k=5)
        self.ask(conns["public"], 8, mode="exact")  # nothing to measure
        self.ask(conns["public"], 8, recall=1)
        self.assertEqual(self.measured(self.hosting), {"searched": 112, "dropped": 0, "failed": 0, "versions_raised": 0})
        told = self.show(server)
        version = told["versions"][0]
        self.assertEqual((version["version"], version["state"], version["questions"], version["dropped"], version["effort"]), (1, "active", 112, 0, []))
        self.assertTrue(.9 < version["low"] <= version["recall"] <= version["high"] <= 1, version)
        plans = {(p["plan"], p["may_read"], p["asked"]): p["questions"] for p in version["plans"]}
        self.assertEqual(sum(plans.values()), 112)
        self.assertEqual({k[1] for k in plans}, {"all", ">=10%", "less"})
        self.assertEqual(sum(n for k, n in plans.items() if k[2] == .99), 8)
        self.assertEqual(sum(n for k, n in plans.items() if k[1] == "less"), 32)  # group:few, and the topic
        self.assertTrue(any(k[0] == "cells" for k in plans))
        for p in version["plans"]:  # who reads seven rows is measured by these: over any other set the scan would not be whole
            if p["plan"] == "scan":
                self.assertEqual(p["recall"], 1, p)
        self.assertEqual(sum(h["questions"] for h in told["hours"]), 112)

        for scope in ("query", "audit", "versions"):
            with self.assertRaises(Failed) as e:
                Rpc(server, self.data.make_key("--scope", scope, "--labels", "public")).call("recall.show", index="large")
            self.assertIn("DENIED", str(e.exception))
        with self.assertRaises(Failed) as e:
            Rpc(server, self.data.make_key("--scope", "operate", "--index", "docs", "--labels", "public")).call("recall.show", index="large")
        self.assertIn("NOT_FOUND", str(e.exception))
        server.stop()

        server = self.serve("--recall-sample", "0")  # from the records, and none is drawn
        self.assertEqual(self.show(server), told)
        Rpc(server, self.keys["public"]).call("query", index="large", vector=self.data.questions[0])
        self.assertEqual(self.measured(self.host(server))["searched"], 0)
        server.stop()
        table = self.data.cairn("recall", "acme/large").stdout
        self.assertIn("112", table)
        self.assertEqual(json.loads(self.data.cairn("recall", "acme/large", "--version", "1", "-o", "json").stdout), told)
        self.assertNotEqual(self.data.cairn("recall", "acme/large", "--version", "9", check=False).returncode, 0)

    def flood(self, sample):
        """What was made of 8,000 questions, and the memory after them."""
        server = self.serve("--recall-sample", sample, "--recall-cpu", "1")
        host, conn = self.host(server), Rpc(server, self.keys["public"])
        for _ in range(4):
            conn.call("query_batch", index="large", queries=[{"vector": q} for q in self.data.questions * 50])
        stats = host.call("stats")
        server.stop()
        return stats["recall"], stats["rss_bytes"]

    def test_2_a_flood(self):
        (got, kept), (none, usual) = self.flood("1000"), self.flood("0")
        self.assertEqual((none["searched"], none["dropped"]), (0, 0))
        self.assertTrue(8000 - 2 * QUEUE - got["searched"] <= got["dropped"] <= 8000, got)
        self.assertLess(kept - usual, 16 << 20)

    def test_3_made_worse(self):
        subprocess.run([DEGRADE, self.data.path, "acme", "large"], check=True)
        server = self.serve(*ALL)
        self.hosting = self.host(server)
        conn = Rpc(server, self.keys["public,group:hr"])
        aims = [.95]
        while aims[-1] < .999 and len(aims) < 5:
            self.ask(conn, 32)
            got = conn.call("query", index="large", vector=self.data.questions[0], explain=True)["plan"]
            self.assertEqual(got["recall_asked"], .95)
            self.assertGreater(got["recall_aimed_at"], aims[-1])
            aims.append(got["recall_aimed_at"])
            self.measured(self.hosting)
        self.assertEqual(aims, [.95, .98, .99, .999])
        raised = [e for e in server.log() if e["event"] == "recall.raised"]
        self.assertEqual([(e["index"], e["asked"], float(e["aims_at"])) for e in raised], [("large", "0.95", a) for a in aims[1:]])
        for q in self.data.questions:  # the answers are right again
            got, want = (conn.call("query", index="large", vector=q, **more)["hits"] for more in ({}, {"recall": 1}))
            self.assertEqual([h["doc"] for h in got], [h["doc"] for h in want])
        version = self.show(server)["versions"][0]
        self.assertEqual(version["effort"], [{"asked": .95, "aims_at": .999}])
        self.assertEqual(self.measured(self.hosting)["versions_raised"], 1)
        self.bars(server)
        server.stop()

        server = self.serve(*ALL)  # known after a restart, from the first question drawn on
        self.hosting = self.host(server)
        conn = Rpc(server, self.keys["public,group:hr"])
        self.ask(conn, QUEUE // 2, version=None)
        self.assertEqual(self.ask(conn, 1, explain=True)["plan"]["recall_aimed_at"], .999)
        server.stop()

    def bars(self, server):
        """Its gate knows, so that nobody goes back to it unawares."""
        server.root.call("gate.set", index="large", requirements=["recall_live@0.95>=0.95"])
        rows = os.path.join(self.data.dir, "more.jsonl")
        with open(rows, "w") as f:
            f.write(json.dumps({"id": "more", "labels": ["public"], "text": "one more", "vector": self.data.questions[0]}) + "\n")
        self.data.cairn("ingest", "acme/large", rows, "--activate")
        with self.assertRaises(Failed) as e:
            server.root.call("versions.activate", index="large", version=1)
        self.assertIn("recall_live@0.95>=0.95 (it is 0.", str(e.exception))
        server.root.call("gate.set", index="large", requirements=[])
        server.root.call("versions.activate", index="large", version=1)

    def test_4_well_again(self):
        for path in self.data.files():
            os.unlink(path)  # all are scanned
        server = self.serve(*ALL)
        self.hosting = self.host(server)
        self.ask(Rpc(server, self.keys["public,group:hr"]), 272)
        server.wait_log("recall.recovered", index="large", asked="0.95")
        self.assertEqual(self.show(server, version=1)["versions"][0]["effort"], [])
        self.assertEqual(self.measured(self.hosting)["versions_raised"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
