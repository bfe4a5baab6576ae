"""A server reads its files in the background: a flipped byte is found, told, refused and forgotten again once it is mended."""
import json
import os
import signal
import subprocess
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

    def test_what_a_request_meets(self):
        """Without any scrub: from the request on that met it, over a new start, until a scrub finds it well; and only to those
        whom it concerns."""
        self.serve("--scrub-rate", "0")
        self.conn.call("documents.put", index="docs", activate=True, documents=[{"id": "marked", "text": MARK.decode(), "labels": ["public"], "vector": VECTOR}])
        self.data.cairn("tenant", "add", "beta")
        beta = Rpc(self.server, json.loads(self.data.cairn("key", "add", "beta", "--scope", "query,admin", "--labels", "public", "-o", "json").stdout)["key"])
        nobody = Rpc(self.server)
        health = lambda: [c.call("health") for c in (self.conn, self.root, beta, nobody)]
        self.assertEqual([(h["status"], h["damaged"]) for h in health()], [("ok", [])] * 4)
        name, path, at = self.file_with(MARK)
        self.flip(path, at)
        with self.assertRaisesRegex(Failed, "^DAMAGED"):
            self.query()
        own, root, other, none = health()
        self.assertEqual([h["status"] for h in (own, root, other, none)], ["damaged", "damaged", "ok", "ok"])
        self.assertEqual([(d["index"], d["file"], "tenant" in d) for d in own["damaged"]], [("docs", name, False)])
        self.assertEqual([(d["tenant"], d["index"], d["file"]) for d in root["damaged"]], [("acme", "docs", name)])
        self.assertEqual((other["damaged"], none["damaged"]), ([], []))
        self.assertEqual((beta.call("stats")["damaged"], [d["file"] for d in self.conn.call("stats")["damaged"]]), ([], [name]))
        self.assertEqual(len([e for e in self.server.log() if e["event"] == "damage.met"]), 1)
        self.until(lambda: self.told_by_doctor(), "it was not noted")
        self.assertRegex(self.told_by_doctor()[0]["detail"], f"acme.*docs.*{name}")
        self.assertEqual(self.server.stop(), 0)
        self.serve("--scrub-rate", "0")
        self.assertEqual([d["file"] for d in self.conn.call("health")["damaged"]], [name])
        self.flip(path, at)
        self.assertIn("marked", [h["doc"] for h in self.query()])
        self.assertEqual(self.conn.call("health")["status"], "damaged")  # one answer proves nothing
        self.data.cairn("scrub")
        self.assertEqual(self.told_by_doctor(), [])
        self.until(lambda: self.conn.call("health")["status"] == "ok", "the server did not hear of it")

    def told_by_doctor(self):
        return [f for f in json.loads(self.data.cairn("doctor", "-o", "json", check=False).stdout)["findings"] if f["what"] == "damaged" and f["grade"] == "BAD"]

    def test_a_damaged_catalog(self):
        """Cut under the server: a request meets it, and so does a round, which goes on with the other tenants."""
        self.serve("--scrub-every", "1s", "--scrub-rate", "1GiB")
        self.data.cairn("tenant", "add", "beta")
        control = os.path.join(self.data.path, "tenants/acme/control.mdb")
        self.assertGreater(len(self.query()), 0)
        os.truncate(control, 8192)
        with self.assertRaisesRegex(Failed, "^DAMAGED"):
            self.conn.call("versions.list", index="docs") # a question may still find all that it needs in memory
        self.assertEqual([(d["index"], d["version"], d["file"]) for d in self.conn.call("health")["damaged"]], [(None, None, "control.mdb")])
        self.assertEqual([(d["tenant"], d["file"]) for d in self.root.call("health")["damaged"]], [("acme", "control.mdb")])
        self.until(self.events, "no round found it")
        self.rounds(1)
        self.assertEqual([d["file"] for d in self.root.call("health")["damaged"]], ["control.mdb"])
        self.assertRegex(self.told_by_doctor()[0]["detail"], "acme.*control.mdb")

    def test_a_batch(self):
        """Each of its questions has an error of its own, and the batch has none."""
        self.serve("--scrub-rate", "0")
        self.conn.call("documents.put", index="docs", activate=True, documents=[{"id": "marked", "text": MARK.decode(), "labels": ["public"], "vector": VECTOR}])
        name, path, at = self.file_with(MARK)
        self.flip(path, at)
        answer = self.conn.call("query_batch", index="docs", queries=[{"vector": VECTOR, "k": 20}])
        self.assertTrue(answer["results"][0]["error"].startswith("DAMAGED"), answer)
        self.assertEqual([d["file"] for d in self.conn.call("health")["damaged"]], [name])

    def test_a_model_cut_and_changed(self):
        """Under the server it matters to no question. The next one that opens it answers by words alone, and says so."""
        model, text = os.path.join(self.data.dir, "model"), "cairn fox moor"
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        self.data.cairn("model", "add", "tiny", model)
        self.data.cairn("index", "create", "acme/texts", "--embedder", "tiny")
        rows = "".join(json.dumps({"id": f"t{i}", "text": f"cairn fox moor {i}", "labels": ["public"]}) + "\n" for i in range(8))
        self.data.cairn("ingest", "acme/texts", "-", "--activate", text=rows)
        self.serve("--scrub-every", "1s", "--scrub-rate", "1GiB")
        ask = lambda text: self.conn.call("query", index="texts", text=text, mode="dense", k=8)
        self.assertEqual(ask(text)["made_by"]["degraded"], [])
        weights = os.path.join(self.data.path, "models/tiny/model.safetensors")
        with open(weights, "rb") as f:
            good = f.read()
        want = [(h["doc"], h["score"]) for h in ask("fox 3 moor")["hits"]]
        with open(weights, "r+b") as f:
            f.write(b"A" * len(good))
        self.assertEqual([(h["doc"], h["score"]) for h in ask("fox 3 moor")["hits"]], want)
        os.truncate(weights, 0)
        for i in range(20):  # none that is known already
            self.assertEqual(ask(f"moor {i} cairn")["made_by"]["degraded"], [])
        self.assertEqual(self.server.stop(), 0)
        self.serve("--scrub-every", "1s", "--scrub-rate", "1GiB")
        made = ask(text)["made_by"]
        self.assertEqual((made["mode"], made["degraded"]), ("lexical", ["embedder_unavailable"]))
        self.assertEqual([(d["tenant"], d["file"]) for d in self.root.call("health")["damaged"]], [(None, "models/tiny")])
        self.assertEqual((self.conn.call("health")["status"], self.conn.call("health")["damaged"]), ("damaged", []))
        self.rounds(1)
        self.assertEqual([d["file"] for d in self.root.call("health")["damaged"]], ["models/tiny"])
        with open(weights, "wb") as f:
            f.write(good)
        self.assertEqual(ask(text)["made_by"]["degraded"], [])
        self.rounds(1)
        self.assertEqual(self.root.call("health")["status"], "ok")

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
