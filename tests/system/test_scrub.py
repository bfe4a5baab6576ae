"""A server reads its files in the background: a flipped byte is found, told, refused and forgotten again once it is mended."""
import json
import os
import signal
import time
import unittest

from serving import Data, Failed, Load, Rpc, Server

VECTOR = [1.0, 2.0, 0.0, 1.0]
MARK = b"a passage whose bytes are found in the file"


class Scrub(unittest.TestCase):
    def setUp(self):
        self.data = Data()
        self.addCleanup(self.data.close)
        self.server = None
        self.addCleanup(lambda: self.server and self.server.p.poll() is None and self.server.stop())

    def serve(self, *options):
        self.server = Server(self.data, *options)
        self.conn = Rpc(self.server, self.data.make_key("--scope", "query,ingest,activate,versions,operate,audit", "--labels", "public"))
        self.root = Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "query", "-o", "json").stdout)["key"])

    def until(self, what, why, seconds=90):
        end = time.time() + seconds
        while time.time() < end:
            if what():
                return
            time.sleep(0.1)
        self.fail(why)

    def rounds(self, more):
        """So many whole rounds that began after now."""
        last = self.root.call("stats")["scrub"]["rounds"] + more + 1
        self.until(lambda: self.root.call("stats")["scrub"]["rounds"] >= last, "no round ended")

    def flip(self, path, at):
        with open(path, "r+b") as f:
            f.seek(at)
            c = f.read(1)[0]
            f.seek(at)
            f.write(bytes([c ^ 1]))

    def file_with(self, mark):
        folder = os.path.join(self.data.path, "tenants/acme/segments")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as f:
                at = f.read().find(mark)
            if at >= 0:
                return name, os.path.join(folder, name), at
        self.fail("no file holds the text")

    def query(self):
        return self.conn.call("query", index="docs", vector=VECTOR, k=20)["hits"]

    def events(self):
        return [e for e in self.server.log() if e["event"] == "scrub.damaged"]

    def test_a_flipped_byte(self):
        self.serve("--scrub-every", "1s", "--scrub-rate", "1GiB")
        self.conn.call("documents.put", index="docs", activate=True, documents=[{"id": "marked", "text": MARK.decode(), "labels": ["public"], "vector": VECTOR}])
        self.data.cairn("index", "create", "acme/other", "--embedder", "none")
        self.rounds(1)
        self.assertIn("marked", [h["doc"] for h in self.query()])
        self.assertEqual((self.conn.call("health")["status"], self.conn.call("stats")["damaged"], self.events()), ("ok", [], []))
        name, path, at = self.file_with(MARK)
        self.flip(path, at)
        self.until(lambda: self.conn.call("health")["status"] == "damaged", "it was not found")
        e = self.events()[0]
        self.assertEqual((e["level"].lower(), e["tenant"], e["index"], str(e["version"]), e["active"], e["file"]), ("error", "acme", "docs", "2", "yes", name))
        self.assertIn("cairn rollback", str(e))
        damaged = self.conn.call("stats")["damaged"]
        self.assertEqual([(d["index"], d["version"], d["file"]) for d in damaged], [("docs", 2, name)])
        self.assertEqual([d["tenant"] for d in self.root.call("stats")["damaged"]], ["acme"])
        for index, seen in (("docs", 1), ("other", 0)):
            limited = Rpc(self.server, self.data.make_key("--scope", "query", "--labels", "public", "--index", index))
            self.assertEqual(len(limited.call("stats")["damaged"]), seen)
        some = json.loads(self.data.cairn("key", "add", "--host", "--scope", "query", "--index", "docs", "-o", "json").stdout)["key"]
        self.assertEqual(Rpc(self.server, some).call("stats")["damaged"], [])  # who the tenants are is not for it
        with self.assertRaisesRegex(Failed, "^DAMAGED"):
            self.query()
        self.conn.call("versions.rollback", index="docs", reason="a test")
        self.assertGreater(len(self.query()), 0)
        self.flip(path, at)
        self.rounds(1)
        self.assertEqual((self.conn.call("health")["status"], self.conn.call("stats")["damaged"]), ("ok", []))

    def test_what_is_derived(self):
        path = os.path.join(self.data.dir, "rows.jsonl")
        with open(path, "w") as f:
            for i in range(5000):
                f.write(json.dumps({"id": f"r{i}", "text": "row", "labels": ["public"], "vector": [i % 7 - 3, i % 5, 1, i % 3]}) + "\n")
        self.data.cairn("ingest", "acme/docs", path, "--source", "rows", "--activate")
        folder = os.path.join(self.data.path, "tenants/acme/segments")
        name = next(n for n in os.listdir(folder) if n.endswith(".flat.mdb"))
        size = os.path.getsize(os.path.join(folder, name))
        self.flip(os.path.join(folder, name), size // 2 + 100)
        self.serve("--scrub-every", "1s", "--scrub-rate", "1GiB")
        self.until(self.events, "it was not found")
        self.assertEqual(self.events()[0]["file"], name)
        self.assertIn("made again from the rows", str(self.events()[0]))

    def test_it_ends_at_once(self):
        """At this rate a round takes hours."""
        path = os.path.join(self.data.dir, "rows.jsonl")
        with open(path, "w") as f:
            for i in range(2000):
                f.write(json.dumps({"id": f"r{i}", "text": f"row {i} " * 200, "labels": ["public"], "vector": VECTOR}) + "\n")
        self.data.cairn("ingest", "acme/docs", path, "--source", "rows", "--activate")
        self.serve("--scrub-every", "1s", "--scrub-rate", "64")
        self.until(lambda: self.root.call("stats")["scrub"]["bytes"] > 0, "it has not begun")
        self.assertEqual(self.root.call("stats")["scrub"]["rounds"], 0)
        self.assertEqual(len(self.query()), 20)
        self.server.p.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.p.wait(60), 0)

    def test_it_waits_while_requests_wait(self):
        """Not a block in three seconds of load, where a hundred are read in each without."""
        path = os.path.join(self.data.dir, "rows.jsonl")
        with open(path, "w") as f:
            for i in range(8000):
                f.write(json.dumps({"id": f"r{i}", "text": f"row {i} " * 200, "labels": ["public"], "vector": [1, i, 1, i % 7]}) + "\n")
        self.data.cairn("ingest", "acme/docs", path, "--source", "rows", "--activate")
        self.serve("--scrub-every", "1s", "--scrub-rate", "32KiB", "--workers", "1")
        scrub = lambda: self.root.call("stats")["scrub"]
        self.until(lambda: scrub()["bytes"] > 0, "it has not begun")
        with Load(self.server, self.data.key) as load:
            time.sleep(1)
            before = scrub()
            time.sleep(5)
            after = scrub()
            self.assertEqual(load.errors, [])
        self.assertEqual(after["bytes"], before["bytes"])
        self.assertGreater(after["waited_ms"], before["waited_ms"] + 1000)
        self.until(lambda: scrub()["bytes"] > after["bytes"], "it did not go on")

    def test_it_can_be_turned_off_and_on(self):
        config = os.path.join(self.data.dir, "cairnd.ini")
        with open(config, "w") as f:
            f.write("scrub_rate = 0\nscrub_every = 1s\n")
        self.serve("--config", config)
        time.sleep(2)
        self.assertEqual(self.root.call("stats")["scrub"], {"rounds": 0, "bytes": 0, "waited_ms": 0, "at": None})
        with open(config, "w") as f:
            f.write("scrub_rate = 1GiB\nscrub_every = 1s\n")
        self.server.p.send_signal(signal.SIGHUP)
        self.until(lambda: self.root.call("stats")["scrub"]["rounds"] > 0, "it was not turned on")
        self.assertIsNotNone(self.root.call("stats")["scrub"]["at"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
