"""Faults while serving: killed servers, several servers and commands on one data directory, damaged and lost files, a network file system."""
import glob
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from serving import CAIRN, CAIRND, PRELOADING, Data, Failed, Rpc, Server

VECTOR = [1.0, 2.0, 0.0, 1.0]


class Faults(unittest.TestCase):
    def setUp(self):
        self.data = Data()
        self.addCleanup(self.data.close)
        self.writer = self.data.make_key("--scope", "query,ingest,activate,versions", "--labels", "public")

    def serve(self, **kw):
        server = Server(self.data, **kw)
        self.addCleanup(lambda: server.p.poll() is None and server.stop(signal.SIGKILL))
        return server

    def put(self, conn, name):
        answer = conn.call("documents.put", index="docs", activate=True, documents=[{"id": name, "text": name, "labels": ["public"], "vector": VECTOR}])
        self.assertTrue(answer["activated"], answer)

    def ids(self, conn):
        return {d["doc"] for d in conn.call("documents.list", index="docs", limit=1000)["documents"]}

    def sound(self):
        self.data.cairn("scrub")
        self.data.cairn("audit", "verify", "acme")
        self.data.cairn("doctor")

    # --- killed and stopped ---
    def puts_until(self, end, rounds):
        """Documents put, and the one that was under way when the server ended."""
        server = self.serve()
        conn = Rpc(server, self.writer)
        done, sent = set(), None
        timer = threading.Timer(random.Random(rounds).uniform(0.02, 0.3), lambda: server.p.send_signal(end))
        timer.start()
        try:
            for n in range(100000):
                sent = f"r{rounds}-{n}"
                self.put(conn, sent)
                done.add(sent)
        except (Failed, OSError, AttributeError, TypeError):
            pass
        timer.join()
        server.p.wait(30)
        server.log_file.close()
        return done, sent

    def test_what_was_acknowledged_is_there_after_a_kill(self):
        acknowledged, doubtful = set(), set()
        for rounds in range(6):
            done, sent = self.puts_until(signal.SIGKILL if rounds % 2 == 0 else signal.SIGTERM, rounds)
            acknowledged |= done
            doubtful |= {sent} - done
            server = self.serve()  # needs no hand
            seen = {i for i in self.ids(Rpc(server, self.writer)) if i.startswith("r")}
            self.assertLessEqual(acknowledged, seen)
            self.assertLessEqual(seen, acknowledged | doubtful)
            self.assertEqual(server.stop(), 0)
        self.assertGreater(len(acknowledged), 5)
        self.sound()

    # --- several at once ---
    def test_two_servers_and_commands_on_one_directory(self):
        """Each of both servers answers from whole versions, whoever made or activated them."""
        one = self.serve()
        other_dir = os.path.join(self.data.dir, "other")
        os.mkdir(other_dir)
        two = Server(type("Other", (), {"path": self.data.path, "dir": other_dir})())
        self.addCleanup(lambda: two.p.poll() is None and two.stop(signal.SIGKILL))
        wrong, stop = [], threading.Event()

        def ask(server):
            conn = Rpc(server, self.writer)
            while not stop.is_set():
                hits = conn.call("query", index="docs", vector=VECTOR, k=1000)["hits"]
                batches = {h["text"].split()[0] for h in hits if h["doc"].startswith("b")}
                if len(batches) > 1:
                    wrong.append(batches)

        def work(source):
            for n in range(6):
                rows = "".join(json.dumps({"id": f"{source}{i}", "text": f"round{n} text", "labels": ["public"], "vector": VECTOR}) + "\n" for i in range(50))
                p = self.data.cairn("ingest", "acme/docs", "-", "--source", source, "--activate", check=False, text=rows)
                if p.returncode not in (0, 5):  # 5: another job's version was rolled back under it
                    wrong.append(p.stderr)

        def flip():
            for _ in range(6):
                self.data.cairn("rollback", "acme/docs", check=False)
                self.data.cairn("release", "acme/docs", check=False)
                self.data.cairn("policy", "deny", "acme", "d0", "--labels", "group:x")

        askers = [threading.Thread(target=ask, args=(s,)) for s in (one, two)]
        workers = [threading.Thread(target=work, args=("b",)), threading.Thread(target=work, args=("c",)), threading.Thread(target=flip)]
        for t in askers + workers:
            t.start()
        for t in workers:
            t.join()
        stop.set()
        for t in askers:
            t.join()
        self.assertEqual(wrong, [])
        conns = [Rpc(s, self.writer) for s in (one, two)]
        self.assertEqual(*(self.ids(c) for c in conns))
        self.put(conns[0], "by the first")
        self.assertIn("by the first", self.ids(conns[1]))
        self.data.cairn("policy", "hide", "acme", "by the first")
        self.assertNotIn("by the first", self.ids(conns[0]) | self.ids(conns[1]))
        self.assertEqual((one.stop(), two.stop()), (0, 0))
        self.sound()

    # --- damage ---
    def segments(self):
        return sorted(glob.glob(os.path.join(self.data.path, "tenants/acme/segments/*.mdb")))

    def second_index(self):
        before = self.segments()
        self.data.cairn("index", "create", "acme/hurt", "--embedder", "none")
        rows = "".join(json.dumps({"id": f"h{i}", "text": f"kept {i} " * 300, "labels": ["public"], "vector": [1, i, 0, 1]}) + "\n" for i in range(200))
        self.data.cairn("ingest", "acme/hurt", "-", "--activate", text=rows)
        return sorted(set(self.segments()) - set(before), key=os.path.getsize)[-1]

    def reads_or_refuses(self, conn):
        """Every text of the index: right, or refused as damaged. How many of each."""
        right = refused = 0
        for i in range(200):
            try:
                got = conn.call("fetch", index="hurt", doc=f"h{i}")
                self.assertEqual(got["text"].strip(), (f"kept {i} " * 300).strip())
                right += 1
            except Failed as e:
                self.assertTrue(str(e).startswith("DAMAGED"), e)
                refused += 1
        return right, refused

    def test_bytes_changed_and_cut_off_while_serving(self):
        path = self.second_index()
        server = self.serve()
        conn = Rpc(server, self.writer)
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            whole = f.read()
        at = whole.index(b"kept 100 kept 100")
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(b"lies")
        right, refused = self.reads_or_refuses(conn)
        self.assertGreater(refused, 0)
        self.assertEqual(conn.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        p = self.data.cairn("scrub", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn(os.path.basename(path), p.stdout + p.stderr)
        os.truncate(path, size // 2)
        self.reads_or_refuses(conn)
        os.truncate(path, 8192)
        self.assertEqual(self.reads_or_refuses(conn), (0, 200))
        for method, params in (("query", {"vector": VECTOR}), ("documents.list", {}), ("documents.get", {"doc": "h3"}), ("documents.get", {"doc": "never was"})):
            with self.assertRaises(Failed, msg=method) as e:
                conn.call(method, index="hurt", **params)
            self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
        self.assertEqual(conn.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        p = self.data.cairn("doctor", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("acme/hurt", p.stdout)
        self.assertEqual(server.stop(), 0)

    def test_a_damaged_job_table_says_the_way_out(self):
        """Trying again does not help; what is said to do does, and documents are answered all the time."""
        path = os.path.join(self.data.path, "tenants", "acme", "work.mdb")
        with open(path, "r+b") as f:
            f.write(b"\x5a" * 8192)
        server = self.serve()
        conn = Rpc(server, self.writer)
        with self.assertRaisesRegex(Failed, "^DAMAGED: .*work.mdb.*move the file away"):
            conn.call("ingest.list")
        for args in (("jobs", "list", "acme"), ("recall", "acme/docs")):
            self.assertIn("move the file away", self.data.cairn(*args, check=False).stderr)
        self.assertTrue(conn.call("query", index="docs", vector=VECTOR, k=1)["hits"])
        self.assertEqual(server.stop(), 0)
        os.rename(path, path + ".away")
        self.assertEqual(json.loads(self.data.cairn("jobs", "list", "acme", "-o", "json").stdout), {"jobs": []})
        self.put(Rpc(self.serve(), self.writer), "after it")

    def test_a_lost_list_of_revocations_concerns_its_index(self):
        def ids(conn, **kw):
            return {h["doc"] for h in conn.call("query", k=100, vector=VECTOR, **kw)["hits"]}

        def damaged(**kw):
            with self.assertRaises(Failed) as e:
                ids(conn, **kw)
            self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
            return str(e.exception)
        self.second_index()
        before = self.segments()
        self.data.cairn("ingest", "acme/docs", "-", "--source", "default", "--activate", text=json.dumps({"id": "d0", "labels": ["group:hr"]}) + "\n")
        kept = {}
        for path in set(self.segments()) - set(before):
            with open(path, "rb") as f:
                kept[path] = f.read()
            os.truncate(path, 4096)
        reader = self.data.make_key("--scope", "query,versions,audit,activate", "--labels", "public")
        conn = Rpc(self.serve(), reader)
        self.assertIn("index docs, version 2", damaged(index="docs"))
        remedy = damaged(index="docs", version=1)
        self.assertRegex(remedy, r"index docs: the revocations of version 2 cannot be read.* segments/[0-9a-f]{32}\.mdb .*`cairn policy reinstate acme/docs 2 ")
        self.assertNotIn(self.data.dir, remedy)
        self.assertIn("h1", ids(conn, index="hurt"))
        self.data.cairn("policy", "hide", "acme", "h1")
        self.assertNotIn("h1", ids(conn, index="hurt"))
        self.data.cairn("rollback", "acme/docs", "--reason", "its file is damaged")
        self.assertEqual(damaged(index="docs"), remedy)
        for method, params in (("fetch", {"doc": "d0"}), ("documents.list", {})):
            with self.assertRaises(Failed, msg=method):
                conn.call(method, index="docs", **params)
        p = self.data.cairn("documents", "list", "acme/docs", check=False)
        self.assertIn("cairn policy reinstate acme/docs 2", p.stderr)
        found = json.loads(self.data.cairn("find", "acme/docs", "number 2 text", "-o", "json").stdout)  # says nothing that a list could change
        self.assertEqual([(d["doc"], d["state"]) for d in found["documents"]], [("d2", "live")])
        for path, whole in kept.items():  # brought back: as before, without a restart
            with open(path + ".new", "wb") as f:
                f.write(whole)
            os.replace(path + ".new", path)
        for _ in range(200):
            try:
                self.assertNotIn("d0", ids(conn, index="docs"))
                break
            except Failed:
                time.sleep(0.1)
        self.assertIn("d2", ids(conn, index="docs"))

    def test_revocations_that_cannot_be_read_can_be_withdrawn(self):
        before = self.segments()
        self.data.cairn("ingest", "acme/docs", "-", "--activate", text=json.dumps({"id": "d0", "labels": ["group:hr"]}) + "\n")
        for path in set(self.segments()) - set(before):
            os.remove(path)
        conn = Rpc(self.serve(), self.writer)
        self.data.cairn("rollback", "acme/docs", "--reason", "lost")
        with self.assertRaises(Failed):
            conn.call("query", index="docs", vector=VECTOR, k=100)
        self.data.cairn("policy", "reinstate", "acme/docs", "2", "--reason", "the file is lost")
        self.assertIn("d0", {h["doc"] for h in conn.call("query", index="docs", vector=VECTOR, k=100)["hits"]})

    def test_a_lost_file(self):
        os.remove(self.second_index())
        conn = Rpc(self.serve(), self.writer)
        with self.assertRaises(Failed) as e:
            conn.call("query", index="hurt", vector=VECTOR)
        self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
        self.assertIn("is gone; bring it back from a backup, or activate another version", str(e.exception))
        self.assertEqual(conn.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")

    def test_a_tenants_catalog_cut_short_while_serving(self):
        for keep in (0, 8192, 20000):
            name = f"other{keep}"
            self.data.cairn("tenant", "add", name)
            self.data.cairn("index", "create", f"{name}/x", "--embedder", "none")
            self.data.cairn("ingest", f"{name}/x", "-", "--activate", text=json.dumps({"id": "h", "text": "kept", "labels": ["public"], "vector": [1, 2, 0, 1]}) + "\n")
        server = self.serve()
        conn = Rpc(server, self.writer)
        for keep in (0, 8192, 20000):
            name = f"other{keep}"
            key = json.loads(self.data.cairn("key", "add", name, "--scope", "query,policy,audit", "--labels", "public", "-o", "json").stdout)["key"]
            hurt = Rpc(server, key)
            self.assertEqual(len(hurt.call("query", index="x", vector=VECTOR, k=1)["hits"]), 1)
            os.truncate(os.path.join(self.data.path, "tenants", name, "control.mdb"), keep)
            time.sleep(.05)  # until then a query may still be answered by what was read before: rightly
            for method, params in (("query", {"index": "x", "vector": VECTOR}), ("policy.hide", {"docs": ["h"]}), ("audit.list", {}), ("documents.list", {"index": "x"})):
                with self.assertRaises(Failed, msg=method) as e:
                    hurt.call(method, **params)
                self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
            self.assertEqual(conn.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        self.assertEqual(server.stop(), 0)

    def test_the_host_catalog_cut_short_while_serving(self):
        server = self.serve()
        conn = Rpc(server, self.writer)
        os.truncate(os.path.join(self.data.path, "cairn.mdb"), 0)
        with self.assertRaises(Failed) as e:
            conn.call("query", index="docs", vector=VECTOR, k=1)
        self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
        self.assertEqual(server.stop(), 0)

    # --- where it must not run ---
    def test_a_network_file_system(self):
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "LD_PRELOAD": os.environ["ON_NFS"], "CAIRN_DATA": self.data.path, **PRELOADING}
        for args in ([CAIRN, "versions", "acme/docs"], [CAIRN, "doctor"], [CAIRND, "--data", self.data.path, "--listen", f"unix:{self.data.dir}/nfs.sock"]):
            p = subprocess.run(args, env=env, capture_output=True, text=True, timeout=30)
            self.assertNotEqual(p.returncode, 0, args)
            self.assertIn("is on a network file system (NFS), where locks and maps cannot be relied on; use a local disk", p.stdout + p.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
