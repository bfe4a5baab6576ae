"""A rebuild while the index lives: jobs write, people erase and roll back, programs are killed, and nothing is lost of it.

The new model is a service that answers when the test says so, so that a rebuild lasts as long as is wanted."""
import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving import CAIRN, Failed, Rpc, Server, count, run

DIM = 8


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", 1 << 16  # one packet an answer

    def log_message(self, *args):
        pass

    def do_POST(self):
        s, asked = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts, model = asked["input"], asked["model"]
        if any("held up" in t for t in texts) and model != s.slow:
            s.held.set()
            s.later.wait(60)
        if model == s.slow:
            if len(s.texts) >= s.free:
                s.asked.set()
                s.go.wait(60)
            time.sleep(s.question if "what of" in texts[0] else s.delay * len(texts))
            s.texts += texts
        digests = [hashlib.sha256((model + t).encode()).digest() for t in texts]
        bad = any("too much for it" in t for t in texts) and model == s.slow
        raw = json.dumps({"data": [{"index": i, "embedding": [1.0 + b / 256 for b in d[:DIM]]} for i, d in enumerate(digests)], "usage": {"total_tokens": len(texts)}}).encode()
        gone = model == s.slow and sum("held up" in t for t in s.texts) > s.most
        self.send_response(404 if gone else 400 if bad else 200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        try:
            self.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass


class Service(ThreadingHTTPServer):
    """Model m-1 waits for `later` where a text is held up. Model m-2 is slow: after `free` texts it waits for `go`, and takes `delay` seconds a text, `question` for a question of a set; after `most` texts that were held up it is gone. `texts` are those it was asked for."""
    daemon_threads = True
    slow = "m-2"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.go, self.asked, self.free, self.delay, self.texts = threading.Event(), threading.Event(), 0, 0, []
        self.question = 0
        self.held, self.later, self.most = threading.Event(), threading.Event(), 1 << 30
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, address):
        pass

    def close(self):
        self.go.set()
        self.later.set()
        self.shutdown()
        self.server_close()


def document(i, say="says so", *labels):
    return {"id": f"d{i}", "text": f"Row {i} {say}. " * 3, "labels": list(labels) or ["public"]}


class Rebuild(unittest.TestCase):
    def setUp(self):
        self.service = Service()
        self.addCleanup(self.service.close)
        self.dir = tempfile.mkdtemp(prefix="cairn-rebuild-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "data")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        for n in (1, 2):
            self.cairn("model", "add", f"model{n}", "--http", self.service.url, "--model", f"m-{n}", "--dimensions", str(DIM), "--max-batch", "4")
        self.cairn("index", "create", "acme/docs", "--embedder", "model1", "--activate")
        self.server = Server(self)
        self.addCleanup(self.server.stop)
        self.rpc = Rpc(self.server, json.loads(self.cairn("key", "add", "acme", "--scope", "query,ingest,activate,versions,policy", "--labels", "public", "-o", "json").stdout)["key"])
        self.docs = {f"d{i}": document(i) for i in range(40)}
        self.put(*self.docs.values())

    # ---------- helpers ----------
    def cairn(self, *args, code=0, text=None):
        p = run(*args, data=self.path, check=False, text=text)
        self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def map(self, *args, **kw):
        return json.loads(self.cairn(*args, "-o", "json", **kw).stdout)

    def row(self, job):
        return self.map("jobs", "show", "acme", job)

    def put(self, *docs, index="docs", **kw):
        for d in docs:
            self.docs[d["id"]] = d
        return self.rpc.call("documents.put", index=index, documents=list(docs), **kw)

    def delete(self, *ids):
        for i in ids:
            del self.docs[i]
        return self.rpc.call("documents.delete", index="docs", docs=list(ids))

    def start(self, *args):
        self.service.asked.clear()
        p = subprocess.Popen([CAIRN, "rebuild", "acme/docs", *args, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait(), p.stdout.close(), p.stderr.close()))
        self.assertTrue(self.service.asked.wait(30), "the model was not asked")
        return p

    def kill(self, p):
        p.kill()
        p.wait()
        return self.job()

    def job(self):
        return next(j["job"] for j in self.map("jobs", "list", "acme")["jobs"] if j["kind"] == "rebuild")

    def end(self, p, code=0):
        out, err = p.communicate(timeout=120)
        self.assertEqual(p.returncode, code, out + err)
        return json.loads(out) if out else err

    def versions(self):
        return self.map("versions", "acme/docs")["versions"]

    def version(self, n):
        return next(v for v in self.versions() if v["version"] == n)

    def active(self):
        return self.map("index", "show", "acme/docs")["active"]

    def fresh(self, model="model2", chunker=()):
        """The root of these documents, had they been read by this model in the first place."""
        self.service.go.set()
        self.made = getattr(self, "made", 0) + 1
        self.cairn("index", "create", f"acme/fresh{self.made}", "--embedder", model, *chunker)
        return self.rpc.call("documents.put", index=f"fresh{self.made}", documents=list(self.docs.values()))["root"]

    def trials(self):
        return [v["version"] for v in self.versions() if "trial" in v["marks"] and v["state"] != "dropped"]

    def much_happens(self):
        self.put(document(100, "is new"), document(3, "is another now"))
        self.put(document(5, "says so", "group:hr"))
        self.put({"id": "d6", "labels": ["group:hr", "public"]})
        self.docs["d6"] = document(6, "says so", "group:hr", "public")
        self.delete("d7", "d8")
        self.put(document(8, "came back"))
        self.cairn("policy", "erase", "acme", "d9", "--reason", "asked to be forgotten")
        del self.docs["d9"]

    # ---------- what comes meanwhile ----------
    def test_it_catches_up_with_what_came_meanwhile(self):
        p = self.start("--embedder", "model2")
        self.much_happens()
        self.cairn("compact", "acme/docs")
        before = self.active()
        self.service.go.set()
        r = self.end(p)
        self.assertEqual((r["state"], r["activated"], self.active()), ("done", False, before))
        self.assertEqual((r["counts"]["documents"], r["counts"]["rejected"]), (len(self.docs), 0))
        self.assertEqual(r["root"], self.fresh())
        self.assertEqual(self.trials(), [r["version"]])  # what was passed on the way is gone
        self.assertEqual(self.version(r["version"])["base"], before)

    def test_only_what_came_is_made_again(self):
        p = self.start("--embedder", "model2")
        self.put(document(100, "is new"))
        self.service.texts.clear()
        self.service.go.set()
        self.end(p)
        self.assertLessEqual(len(self.service.texts), 40 + 1)

    def test_nothing_builds_on_it_and_nobody_flips_to_it(self):
        """The index activates what jobs seal; a rebuild is not among them, nor does a later job take its model."""
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--embedder", "model2")
        self.assertEqual((r["activated"], self.active()), (False, 1))
        self.assertEqual(self.version(2)["marks"], ["trial"])
        put = self.put(document(100, "is new"))
        self.assertEqual((put["activated"], put["version"], self.version(3)["embedder"], self.version(3)["base"]), (True, 3, "model1", 1))
        err = self.cairn("activate", "acme/docs", "2", code=5).stderr
        self.assertIn("--catch-up 2", err)
        self.assertEqual(self.active(), 3)
        r = self.map("rebuild", "acme/docs", "--catch-up", "2")
        self.assertEqual((r["version"], r["root"], r["activated"]), (4, self.fresh(), False))
        self.cairn("activate", "acme/docs", "4")
        self.assertEqual((self.version(4)["marks"], self.version(4)["state"]), ([], "active"))
        put = self.put(document(101, "is newer"))
        self.assertEqual((put["activated"], self.version(5)["embedder"], put["root"]), (True, "model2", self.fresh()))
        self.assertIn("no rebuild that waits", self.cairn("rebuild", "acme/docs", "--catch-up", "4", code=1).stderr)
        self.assertIn("no way back", self.cairn("rollback", "acme/docs", "--to", "2", "--reason", "a test", code=5).stderr)

    def puts(self):
        """Puts a document each 50 ms. Returns what ends that, those put, and what failed."""
        over, said, failed = threading.Event(), [], []
        writer = Rpc(self.server, json.loads(self.cairn("key", "add", "acme", "--scope", "ingest", "--labels", "public", "-o", "json").stdout)["key"])

        def write():
            while not over.wait(0.05):
                d = document(200 + len(said), "is one of many")
                try:
                    writer.call("documents.put", index="docs", documents=[d])
                    said.append(d)
                except Failed as e:
                    failed.append(e)

        t = threading.Thread(target=write)
        t.start()
        end = lambda: (over.set(), t.join())
        self.addCleanup(end)
        return end, said, failed

    def test_puts_all_the_time(self):
        """Each 50 ms one, none of which fails, until the rebuilt version answers, and on."""
        end, said, failed = self.puts()
        self.service.delay = 0.05
        p = self.start("--embedder", "model2", "--activate")
        self.service.go.set()
        r = self.end(p)
        time.sleep(0.5)
        end()
        self.assertEqual(failed, [])
        self.assertGreater(len(said), 5)
        self.assertTrue(r["activated"], r)
        for d in said:
            self.docs[d["id"]] = d
        self.service.delay = 0
        self.assertEqual((self.version(self.active())["root"], self.version(self.active())["embedder"]), (self.fresh(), "model2"))

    def test_a_rollback_meanwhile(self):
        self.put(document(1, "was better before"))
        p = self.start("--embedder", "model2")
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.docs["d1"] = document(1)
        self.service.go.set()
        r = self.end(p)
        self.assertEqual((r["root"], self.version(r["version"])["base"]), (self.fresh(), 1))

    def test_another_one_activated_meanwhile(self):
        """Two are tried side by side: the second one goes on, with the documents of whatever answers then."""
        self.service.go.set()
        one = self.map("rebuild", "acme/docs", "--chunker", "fixed tokens=8 overlap=0")
        two = self.map("rebuild", "acme/docs", "--embedder", "model2")
        self.cairn("activate", "acme/docs", str(one["version"]))
        self.put(document(100, "is new"))
        r = self.map("rebuild", "acme/docs", "--catch-up", str(two["version"]), "--activate")
        self.assertEqual((r["activated"], r["root"]), (True, self.fresh()))

    def test_what_was_narrowed_meanwhile_stays_so_after_a_rollback(self):
        """By a version that never answered itself: what the rebuilt one denies is denied in those before it."""
        seen = lambda *more: sorted(d["doc"] for d in self.map("documents", "list", "acme/docs", "--as", "public", "--limit", "100", *more)["documents"])
        p = self.start("--embedder", "model2")
        self.put(document(5, "says so", "group:hr"), activate=False)
        self.service.go.set()
        r = self.end(p)
        self.put(document(6, "says so", "group:hr"), activate=False)
        self.assertEqual(self.active(), 1)
        self.assertIn("d5", seen())
        r = self.map("rebuild", "acme/docs", "--catch-up", str(r["version"]), "--activate")
        self.assertTrue(r["activated"], r)
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.assertEqual((self.active(), "d4" in seen(), "d5" in seen(), "d6" in seen()), (1, True, False, False))
        self.cairn("release", "acme/docs")
        self.put(document(7, "says more"))  # what is built on the version gone back to denies it too
        self.assertEqual(("d5" in seen(), "d6" in seen(), "d7" in seen()), (False, False, True))

    def shown(self, *more):
        return {d["doc"] for d in self.map("documents", "list", "acme/docs", "--as", "public", "--limit", "1000", *more)["documents"]}

    def test_what_a_version_revoked_while_it_was_killed_stays_so(self):
        """Its rows were made before that, and the version has its number before the trial has one."""
        self.long_documents()
        before = self.active()
        self.service.free = 150
        p = self.start("--embedder", "model2")
        time.sleep(0.5)
        job = self.kill(p)
        made, self.service.texts = self.service.texts, []
        self.put(document(5, "says so", "group:hr"))
        self.assertNotIn("d5", self.shown())
        self.cairn("rollback", "acme/docs", "--to", str(before), "--reason", "a test")
        self.cairn("release", "acme/docs")
        self.assertEqual((self.active(), "d5" in self.shown(), "d6" in self.shown()), (before, False, True))
        self.service.free = 0
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertTrue(any("Row 5 " in t for t in made) and not any("Row 5 " in t for t in self.service.texts))  # the row is the one of before
        self.cairn("activate", "acme/docs", str(r["version"]))
        self.assertEqual(("d5" in self.shown(), "d6" in self.shown()), (False, True))

    def trial_killed(self, p):
        """Its job ends with the first version sealed, and what came meanwhile not caught up with."""
        self.hold_again(len(self.docs))
        job = self.kill(p)
        self.service.go.set()
        (trial,) = self.trials()
        return trial, job

    def test_what_a_version_revoked_before_it_has_a_number_stays_so(self):
        """Before the trial is caught up with, or where it never is."""
        p = self.start("--embedder", "model2", "--activate")
        self.put(document(5, "says so", "group:hr"))
        trial, _ = self.trial_killed(p)
        seen = self.shown("--version", str(trial))
        self.assertEqual((trial, "d5" in seen, "d6" in seen), (3, False, True))
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.cairn("release", "acme/docs")
        self.cairn("activate", "acme/docs", str(trial))
        self.assertEqual((self.active(), "d5" in self.shown(), "d6" in self.shown()), (trial, False, True))
        for n in (1, 2):
            self.cairn("drop", "acme/docs", str(n))
        self.assertNotIn("d5", self.shown())
        self.put(document(7, "says more"))
        self.assertEqual(("d5" in self.shown(), "d7" in self.shown()), (False, True))
        self.put(document(5))
        self.assertIn("d5", self.shown())

    def test_its_base_is_gone_before_it_has_a_number(self):
        """And with it the lists that counted for it: it answers nobody, and the next one does."""
        p = self.start("--embedder", "model2", "--activate")
        self.put(document(5, "says so", "group:hr"))
        self.cairn("drop", "acme/docs", "1")
        trial, job = self.trial_killed(p)
        self.assertEqual(self.version(trial)["marks"], ["quarantined", "trial"])
        self.assertIn("quarantined", self.cairn("documents", "list", "acme/docs", "--version", str(trial), code=5).stderr)
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertEqual((r["activated"], r["root"], "d5" in self.shown(), "d6" in self.shown()), (True, self.fresh(), False, True))

    def test_what_a_source_said_again(self):
        """A document has in a trial what its source granted last, whatever was revoked when its row was made."""
        self.put(document(5, "says so", "group:hr"), document(6, "says so", "group:hr"))
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.cairn("release", "acme/docs")
        self.service.go.set()
        trial = self.map("rebuild", "acme/docs", "--embedder", "model2")["version"]
        self.assertEqual((self.shown("--version", str(trial)), self.shown()), (set(self.docs) - {"d5", "d6"},) * 2)
        self.put(document(5))
        r = self.map("rebuild", "acme/docs", "--catch-up", str(trial), "--activate")
        self.assertEqual((r["activated"], self.shown()), (True, set(self.docs) - {"d6"}))

    def test_what_is_reinstated(self):
        """It is in a trial of before, as it is in its base."""
        self.put(document(5, "says so", "group:hr"))
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.cairn("release", "acme/docs")
        self.docs["d5"] = document(5)
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate")
        self.assertEqual((r["activated"], r["root"], "d5" in self.shown(), "d6" in self.shown()), (True, self.fresh(), False, True))
        self.cairn("policy", "reinstate", "acme/docs", "2", "--reason", "a test")
        self.assertIn("d5", self.shown())

    def test_what_one_set_aside_revoked_meanwhile_stays_so(self):
        """It had its number before the rebuild began, and answered for a moment while that was made."""
        self.put(document(5, "says so", "group:hr"), activate=False)
        self.cairn("quarantine", "acme/docs", "2")
        p = self.start("--embedder", "model2")
        self.cairn("unquarantine", "acme/docs", "2")
        self.cairn("activate", "acme/docs", "2")
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.cairn("release", "acme/docs")
        self.assertEqual((self.active(), "d5" in self.shown(), "d6" in self.shown()), (1, False, True))
        self.service.go.set()
        r = self.end(p)
        self.cairn("activate", "acme/docs", str(r["version"]))
        self.assertEqual(("d5" in self.shown(), "d6" in self.shown()), (False, True))

    def test_what_one_set_aside_revoked_since_the_rebuild_stays_so(self):
        """It is caught up with, though no document has changed since."""
        self.put(document(5, "says so", "group:hr"), activate=False)
        self.cairn("quarantine", "acme/docs", "2")
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--embedder", "model2")
        self.cairn("unquarantine", "acme/docs", "2")
        self.cairn("activate", "acme/docs", "2")
        self.cairn("rollback", "acme/docs", "--reason", "a test")
        self.cairn("release", "acme/docs")
        r = self.map("rebuild", "acme/docs", "--catch-up", str(r["version"]), "--activate")
        self.assertEqual((r["activated"], "d5" in self.shown(), "d6" in self.shown()), (True, False, True))

    def test_its_base_is_gone(self):
        """Nothing tells any more what has changed since: all is made anew, and nothing old stays."""
        self.service.go.set()
        self.map("rebuild", "acme/docs", "--embedder", "model2")
        self.much_happens()
        self.cairn("drop", "acme/docs", "1")
        r = self.map("rebuild", "acme/docs", "--catch-up", "2")
        self.assertEqual(r["root"], self.fresh())

    def test_its_index_is_another_of_that_name(self):
        p = self.start("--embedder", "model2")
        self.cairn("index", "drop", "acme/docs", "--reason", "a test")
        self.cairn("index", "create", "acme/docs", "--embedder", "model1", "--activate")
        self.put(*(document(i, "says another thing") for i in range(40)))
        self.service.go.set()
        self.assertIn("was dropped and made anew", self.end(p, code=5))
        self.assertEqual(self.trials(), [])

    def test_gc_keeps_a_trial_and_its_base(self):
        self.service.go.set()
        self.cairn("index", "set", "acme/docs", "--keep-versions", "0", "--keep-days", "0")
        for i in range(3):
            self.put(document(100 + i, "is new"))
        self.map("rebuild", "acme/docs", "--embedder", "model2")
        for i in range(3):
            self.put(document(110 + i, "is newer"))
        self.cairn("gc", "acme/docs")
        self.assertEqual([v["version"] for v in self.versions() if v["state"] != "dropped"], [4, 5, 7, 8])  # 7: where a rollback goes
        self.service.texts.clear()
        self.assertEqual(self.map("rebuild", "acme/docs", "--catch-up", "5")["version"], 9)
        self.assertEqual(len(self.service.texts), 3)

    def test_another_analyser_asks_no_model(self):
        self.service.go.set()
        self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate")
        self.service.texts.clear()
        p = self.map("rebuild", "acme/docs", "--analyser", "german")
        self.put(document(100, "is new"))
        r = self.map("rebuild", "acme/docs", "--catch-up", str(p["version"]), "--activate")
        self.assertEqual((r["activated"], r["counts"]["documents"], len(self.service.texts)), (True, 41, 1))
        self.cairn("index", "create", "acme/german", "--embedder", "model2", "--analyser", "german")
        self.assertEqual(r["root"], self.rpc.call("documents.put", index="german", documents=list(self.docs.values()))["root"])

    def test_what_it_would_cost_and_what_makes_no_sense(self):
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--embedder", "model2", "--dry-run")
        self.assertEqual((r["counts"]["changed"], r["counts"]["documents"], r["estimate"]["chunks"]), (40, 40, 40))
        self.assertEqual(len(self.versions()), 1)
        self.cairn("index", "create", "acme/plain", "--embedder", "none")
        self.rpc.call("documents.put", index="plain", documents=[document(1)])
        self.assertIn("has none", self.cairn("rebuild", "acme/plain", "--precision", "int8", code=1).stderr)
        self.assertIn("whole rebuild", self.cairn("rebuild", "acme/docs", "--catch-up", "1", "--dry-run", code=1).stderr)
        self.assertIn("version 77", self.cairn("rebuild", "acme/docs", "--catch-up", "77", "--activate", code=3).stderr)
        self.put(document(100, "is new"))
        self.assertIn("version 77", self.cairn("rebuild", "acme/docs", "--catch-up", "77", "--activate", code=3).stderr)
        self.assertEqual(len(self.versions()), 2)
        self.assertIn("name no other", self.cairn("rebuild", "acme/docs", "--catch-up", "1", "--embedder", "model2", code=1).stderr)

    def test_a_user_s_source_of_that_name(self):
        """A source called rebuild is not the rebuild's own place."""
        p = self.start("--embedder", "model2")
        self.put(document(100, "is new"), source="rebuild")
        self.service.go.set()
        self.assertEqual(self.end(p)["state"], "done")

    # ---------- erased and restored meanwhile ----------
    def restored(self, *ids):
        for word in ("erase", "restore"):
            self.cairn("policy", word, "acme", *ids, "--reason", "a test")

    def listed(self):
        return {d["doc"] for d in self.map("documents", "list", "acme/docs", "--limit", "1000")["documents"]}

    def test_documents_erased_and_restored_meanwhile(self):
        """The rows made of them are of before, and the rebuild goes on: one that was sent again is made again, the other is nowhere."""
        p = self.start("--embedder", "model2", "--activate")
        self.restored("d9", "d10", "d11")
        self.put(document(10), document(11, "says it anew"))
        del self.docs["d9"]
        self.service.go.set()
        r = self.end(p)
        self.assertEqual((r["state"], r["activated"], r["root"]), ("done", True, self.fresh()), r)
        self.assertEqual(self.listed(), set(self.docs))
        self.put(document(9, "came back"))
        self.assertEqual(self.listed(), set(self.docs))
        self.cairn("compact", "acme/docs")
        self.assertEqual(self.listed(), set(self.docs))

    def test_killed_and_documents_restored_meanwhile(self):
        """What was made of the others is not made again."""
        self.long_documents()
        self.service.free = 150
        p = self.start("--embedder", "model2")
        time.sleep(0.5)
        job = self.kill(p)
        made, self.service.texts = self.service.texts, []
        self.restored(*(f"d{i}" for i in range(9, 12)))
        self.put(document(10), document(11, "says it anew"))
        del self.docs["d9"]
        self.service.free = 0
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertGreater(len(set(made) - set(self.service.texts)), 10)
        self.assertEqual(r["root"], self.fresh())
        self.cairn("activate", "acme/docs", str(r["version"]))
        self.assertEqual(self.listed(), set(self.docs))

    def test_sent_again_as_it_was(self):
        """To the letter, but the row of before stays erased in the trial too: it is made again."""
        self.service.go.set()
        one = self.map("rebuild", "acme/docs", "--embedder", "model2")
        self.restored("d4", "d5")
        self.put(document(4))
        r = self.map("rebuild", "acme/docs", "--catch-up", str(one["version"]))
        self.put(document(5))
        r = self.map("rebuild", "acme/docs", "--catch-up", str(r["version"]), "--activate")
        self.assertEqual((r["activated"], r["root"]), (True, self.fresh()))
        self.assertEqual(self.listed(), set(self.docs))

    # ---------- the last round ----------
    def hold_again(self, free):
        """Lets the model answer what it was asked, and wait when it has been asked for so many texts."""
        self.service.asked.clear()
        self.service.free = free
        self.service.go.set()
        self.service.go.clear()
        self.assertTrue(self.service.asked.wait(60))

    def test_the_last_round_is_short(self):
        """What comes at the last moment is much: nobody waits for it, and another round is the last."""
        many = [document(1000 + i, "is one of many") for i in range(700)]
        self.put(*many)
        n = len(self.docs)
        p = self.start("--embedder", "model2", "--activate")
        self.put(document(100, "is new"))
        self.hold_again(n)
        self.put(*({"id": d["id"], "labels": ["group:hr", "public"]} for d in many))  # while one round is made that takes no second
        self.hold_again(n + 1)
        self.docs.update({d["id"]: {**d, "labels": ["group:hr", "public"]} for d in many})
        begun = time.monotonic()
        self.put(document(101, "came while it was made"))
        self.assertLess(time.monotonic() - begun, 20)
        self.service.go.set()
        r = self.end(p)
        self.assertEqual((r["activated"], r["root"]), (True, self.fresh()))

    def test_the_last_round_is_slow(self):
        """The model takes long for what came at the last moment: nobody waits for all of it, and what comes meanwhile is in it."""
        many = [document(1000 + i, "is one of many") for i in range(240)]
        self.put(*many)
        n = len(self.docs)
        p = self.start("--embedder", "model2", "--activate", "--threads", "2")
        self.put(document(100, "is new"))
        self.hold_again(n)
        self.put(*({"id": d["id"], "labels": ["group:hr", "public"]} for d in many))  # while one round is made that takes no second
        self.hold_again(n + 1)
        self.docs.update({d["id"]: {**d, "labels": ["group:hr", "public"]} for d in many})
        self.service.delay = 0.12
        self.service.go.set()
        begun = time.monotonic()
        self.put(document(101, "came while it was made"))
        self.assertLess(time.monotonic() - begun, 23)
        r = self.end(p)
        self.service.delay = 0
        self.assertEqual((r["activated"], r["root"]), (True, self.fresh()))

    def test_a_version_that_got_its_number_between_and_a_stop(self):
        """It is quarantined, so that the trial holds the head's documents; but the trial's list does not speak of it."""
        p = self.start("--embedder", "model2")
        self.put(document(5, "says so", "group:hr"), activate=False)
        self.hold_again(40)
        job = self.kill(p)
        self.service.go.set()
        (trial,) = self.trials()
        self.cairn("quarantine", "acme/docs", "2")
        self.docs["d5"] = document(5)
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertGreater(r["version"], trial)
        self.assertEqual((r["root"], self.trials()), (self.fresh(), [r["version"]]))

    # ---------- with a gate ----------
    def test_a_gate_while_jobs_write(self):
        """It measures what it made, and once more what it activates: nobody has to know which version that is."""
        self.cairn("gate", "set", "acme/docs", "documents>=40", "documents:deleted<=0")
        end, _, failed = self.puts()
        self.service.delay = 0.03
        p = self.start("--embedder", "model2", "--activate")
        self.service.go.set()
        r = self.end(p)
        end()
        self.assertEqual(failed, [])
        self.assertEqual((r["state"], r["activated"], self.active()), ("done", True, r["version"]), r)
        shown = {x["name"]: x["value"] for x in self.map("gate", "show", "acme/docs", str(r["version"]))["versions"][0]["results"]}
        self.assertEqual(shown["documents"], r["counts"]["documents"])

    def test_a_gate_that_asks_for_what_others_measure(self):
        """It says which version, and what to do; results of one trial are none of the next."""
        self.service.go.set()
        self.cairn("gate", "set", "acme/docs", "nDCG@10>=0.4", "documents>=1")
        r = self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate", code=5)
        self.assertEqual((r["state"], r["activated"], r["version"]), ("held", False, 2))
        self.assertIn("nDCG@10>=0.4 (none is stored)", r["why"])
        self.assertIn("`cairn gate submit acme/docs 2 NAME=VALUE`", r["why"])
        self.assertIn("`cairn rebuild acme/docs --catch-up 2 --activate`", r["why"])
        self.cairn("gate", "submit", "acme/docs", "2", "nDCG@10=0.45")
        self.put(document(100, "is new"), activate=False)
        self.assertIn("`cairn rebuild acme/docs --catch-up 2 --activate`", self.cairn("activate", "acme/docs", "2", code=5).stderr)
        r = self.map("rebuild", "acme/docs", "--catch-up", "2", "--activate", code=5)
        self.assertEqual((r["state"], r["version"]), ("held", 4))
        self.assertIn("gate submit acme/docs 4", r["why"])
        self.cairn("gate", "submit", "acme/docs", "4", "nDCG@10=0.45")
        r = self.map("rebuild", "acme/docs", "--catch-up", "4", "--activate")
        self.assertEqual((r["activated"], self.active(), r["root"]), (True, 4, self.fresh()))

    def test_a_gate_that_cannot_be_measured(self):
        """The rows are made and sealed all the same, and it says why it is not active."""
        self.service.go.set()
        self.cairn("gate", "set", "acme/docs", "documents>=1")
        self.cairn("mode", "acme/docs", "refuse", "being looked at")
        r = self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate", code=5)
        self.assertEqual((r["state"], r["activated"]), ("held", False))
        self.assertRegex(r["why"], "version 2 .*being looked at.*`cairn rebuild acme/docs --catch-up 2 --activate`")
        self.cairn("mode", "acme/docs", "normal")
        self.assertTrue(self.map("rebuild", "acme/docs", "--catch-up", "2", "--activate")["activated"])

    def frozen(self, n, missed=0):
        """A gate by a set of so many questions, each of which the new model is asked for."""
        path = os.path.join(self.dir, "queries.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps({"id": f"q{i}", "text": f"what of {i}", "must_find": [f"d{i}"]}) + "\n" for i in range(n))
        self.cairn("gate", "freeze", "acme/docs", "core", "--cases", path)
        self.cairn("gate", "set", "acme/docs", f"core/missed<={missed}")

    def measuring(self):
        end = time.time() + 60
        while self.row(self.job())["step"] != "measuring":
            self.assertLess(time.time(), end)
            time.sleep(.05)

    def test_cancelled_while_it_is_measured(self):
        """Also where each question takes long."""
        self.frozen(30)
        p = self.start("--embedder", "model2", "--activate")
        self.service.question = 3
        self.service.go.set()
        self.measuring()
        begun = time.monotonic()
        self.cairn("jobs", "cancel", "acme", self.job())
        self.end(p, code=5)
        self.assertLess(time.monotonic() - begun, 45)  # 90 of them all
        self.assertEqual((self.trials(), self.active()), ([], 1))

    def test_others_wait_for_the_last_round_and_its_measuring_together(self):
        """The round is held up, and what is measured then takes a minute."""
        self.frozen(1, 1)
        n = len(self.docs)
        p = self.start("--embedder", "model2", "--activate")
        self.hold_again(n)  # at the question
        self.put(document(100, "is new"))
        self.hold_again(n + 1)
        self.put(document(101, "is newer"))  # while one round is made that takes no second
        self.hold_again(n + 2)
        self.frozen(20, 20)
        self.service.question = 3
        put = threading.Thread(target=lambda: done.append(self.put(document(102, "came while it was made"))))
        done = []
        put.start()
        time.sleep(7)
        self.service.go.set()
        put.join()
        r = self.end(p, code=5)
        self.assertEqual((len(done), r["state"], r["activated"]), (1, "held", False))
        self.assertIn("not done within 25 s", r["why"])

    # ---------- jobs across a flip ----------
    def across(self, text, *args, meanwhile=lambda: None, trial=None, code=0):
        """An ingest that began before a rebuild was sealed and activated, and ends after it."""
        self.service.go.set()
        self.service.held.clear()
        self.service.later.clear()
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", *args, "-o", "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait(), p.stdout.close(), p.stderr.close()))
        p.stdin.write(text)
        p.stdin.close()
        p.stdin = None
        self.assertTrue(self.service.held.wait(30))
        meanwhile()
        if trial:
            self.cairn("activate", "acme/docs", str(trial))
        else:
            self.assertTrue(self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate")["activated"])
        self.service.later.set()
        return self.end(p, code)

    def test_an_ingest_across_a_flip(self):
        """Nothing is read twice and nothing is lost: its rows are made again by the model that answers now."""
        lines = [document(i, "is held up") for i in range(30, 50)] + [{"id": "d1", "labels": ["group:hr"]}, document(2), {"id": "d3", "op": "delete"}]
        text = "".join(json.dumps(x) + "\n" for x in lines)
        r = self.across(text, "-", "--format", "jsonl")
        self.docs.update({d["id"]: d for d in lines[:20]})
        self.docs["d1"] = document(1, "says so", "group:hr")
        del self.docs["d3"]
        self.assertEqual((r["state"], r["activated"], self.version(r["version"])["embedder"]), ("done", True, "model2"), r)
        want = {"read": 22, "added": 10, "changed": 10, "relabelled": 1, "unchanged": 1, "rejected": 0, "deleted": 1, "documents": len(self.docs)}
        self.assertEqual({k: r["counts"][k] for k in want}, want)
        self.assertEqual(r["root"], self.fresh())

    def test_an_ingest_across_a_flip_to_a_trial_of_before(self):
        """One that is set aside when the job begins, but has the documents of the version that it began with."""
        self.service.go.set()
        trial = self.map("rebuild", "acme/docs", "--embedder", "model2")["version"]
        lines = [document(i, "is held up") for i in range(38, 43)]
        r = self.across("".join(json.dumps(x) + "\n" for x in lines), "-", "--format", "jsonl", trial=trial)
        self.docs.update({d["id"]: d for d in lines})
        self.assertEqual((r["state"], self.version(r["version"])["embedder"], r["root"]), ("done", "model2", self.fresh()), r)

    def test_an_ingest_across_a_flip_and_a_restore(self):
        """What it had read of a document before that was erased and restored does not come back by rows made again."""
        def meanwhile():
            self.cairn("policy", "erase", "acme", "d31", "--reason", "asked to be forgotten")
            self.cairn("policy", "restore", "acme", "d31", "--reason", "may be sent again")
        text = "".join(json.dumps(document(i, "is held up")) + "\n" for i in range(30, 35))
        self.across(text, "-", "--format", "jsonl", meanwhile=meanwhile, code=5)
        listed = {d["doc"] for d in self.map("documents", "list", "acme/docs", "--limit", "100")["documents"]}
        self.assertEqual(listed, set(self.docs) - {"d31"})

    def test_an_ingest_across_a_rollback_to_another_model(self):
        """What it found unchanged is not in the version gone back to: nothing is sealed there as if it were."""
        self.service.go.set()
        self.assertTrue(self.map("rebuild", "acme/docs", "--embedder", "model2", "--activate")["activated"])
        self.put(document(50))
        self.service.free = len(self.service.texts)
        self.service.go.clear()
        self.service.asked.clear()
        rows = os.path.join(self.dir, "rows.jsonl")
        with open(rows, "w") as f:
            f.write("".join(json.dumps(document(i)) + "\n" for i in (50, 60)))
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", rows, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait(), p.stdout.close(), p.stderr.close()))
        self.assertTrue(self.service.asked.wait(30))
        self.cairn("rollback", "acme/docs", "--to", "1", "--reason", "wrong")
        self.cairn("quarantine", "acme/docs", "2", "--reason", "wrong")
        self.service.go.set()
        self.assertIn("is no longer under the newest good one; run it again", self.end(p, code=5))
        self.assertEqual([v["version"] for v in self.versions()], [1, 2, 3])

    def test_an_ingest_across_a_flip_whose_new_model_fails(self):
        """Rows half made again are none that a resume goes on with; the job's own are, and it needs no input for that."""
        docs = [document(i, "is held up " + "and goes on " * 400) for i in range(30, 60)]
        text = "".join(json.dumps(d) + "\n" for d in docs)
        self.service.most = 60
        self.across(text, "-", "--format", "jsonl", "--threads", "1", meanwhile=lambda: self.docs.update({d["id"]: d for d in docs}), code=1)
        (job,) = [j["job"] for j in self.map("jobs", "list", "acme")["jobs"] if j["kind"] == "ingest"]
        self.assertEqual(self.row(job)["state"], "failed")
        self.assertIn(f"What is done is kept: go on with `cairn ingest acme/docs --resume {job}`", self.row(job)["why"])
        self.service.most = 1 << 30
        r = self.map("ingest", "acme/docs", "--resume", job, text="")
        self.assertEqual((r["state"], r["root"], r["counts"]["read"], r["counts"]["changed"], r["counts"]["added"]), ("done", self.fresh(), 30, 10, 20), r)

    def test_an_ingest_made_again_and_then_frozen(self):
        """A resume has all rows that it made again."""
        self.service.go.set()
        trial = self.map("rebuild", "acme/docs", "--embedder", "model2")["version"]
        docs = [document(i, "is held up") for i in range(38, 43)]

        def freeze():
            self.service.asked.wait(30)
            self.cairn("mode", "acme/docs", "freeze", "--reason", "a test")
            self.service.go.set()

        def meanwhile():
            self.service.free = len(self.service.texts)
            self.service.go.clear()
            self.service.asked.clear()
            threading.Thread(target=freeze).start()

        self.across("".join(json.dumps(x) + "\n" for x in docs), "-", "--format", "jsonl", trial=trial, meanwhile=meanwhile, code=5)
        self.cairn("mode", "acme/docs", "normal", "--reason", "a test")
        (job,) = [j["job"] for j in self.map("jobs", "list", "acme")["jobs"] if j["kind"] == "ingest"]
        r = self.map("ingest", "acme/docs", "--resume", job, text="")
        self.docs.update({d["id"]: d for d in docs})
        self.assertEqual((r["state"], r["root"], r["counts"]["read"], r["counts"]["changed"], r["counts"]["added"]), ("done", self.fresh(), 5, 2, 3), r)

    def test_a_resume_onto_a_version_that_had_been_set_aside(self):
        """What the job found unchanged, that version changed: its rows alone do not make it the source's, so the source is read again."""
        said = self.docs["d2"]
        self.put(document(2, "says something else"), activate=False)
        self.docs["d2"] = said
        self.cairn("quarantine", "acme/docs", "2")
        docs = [document(i, "is held up " + "and goes on " * 400) for i in range(30, 60)]
        rows = os.path.join(self.dir, "rows.jsonl")
        with open(rows, "w") as f:
            f.write("".join(json.dumps(d) + "\n" for d in [*docs, said]))
        self.service.most = 60
        self.across("", rows, "--threads", "1", code=1)
        self.docs.update({d["id"]: d for d in docs})
        (job,) = [j["job"] for j in self.map("jobs", "list", "acme")["jobs"] if j["kind"] == "ingest"]
        self.service.most = 1 << 30
        self.cairn("rollback", "acme/docs", "--to", "1", "--reason", "wrong")
        self.cairn("unquarantine", "acme/docs", "2")
        r = self.map("ingest", "acme/docs", "--resume", job, code=5)
        self.assertEqual((r["state"], r["root"], r["counts"]["changed"]), ("held", self.fresh("model1"), 11), r)  # a rollback holds the index

    def test_an_ingest_that_deletes_across_a_flip_whose_new_model_fails(self):
        """What it deletes stands in no row: it says that it reads its input again."""
        docs = [document(i, "is held up " + "and goes on " * 400) for i in range(30, 60)]
        text = "".join(json.dumps(d) + "\n" for d in [*docs, {"id": "d3", "op": "delete"}])
        self.service.most = 60
        self.across(text, "-", "--format", "jsonl", "--threads", "1", meanwhile=lambda: self.docs.update({d["id"]: d for d in docs}), code=1)
        (job,) = [j["job"] for j in self.map("jobs", "list", "acme")["jobs"] if j["kind"] == "ingest"]
        self.assertIn("Its input is read again: go on with", self.row(job)["why"])
        self.service.most = 1 << 30
        del self.docs["d3"]
        r = self.map("ingest", "acme/docs", "--resume", job, text=text)
        self.assertEqual((r["state"], r["root"]), ("done", self.fresh()), r)

    def test_an_ingest_into_an_index_that_is_another_by_then(self):
        text = "".join(json.dumps(document(i, "is held up")) + "\n" for i in range(30, 35))
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", "-", "--format", "jsonl", "-o", "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait(), p.stdout.close(), p.stderr.close()))
        p.stdin.write(text)
        p.stdin.close()
        p.stdin = None
        self.assertTrue(self.service.held.wait(30))
        self.cairn("index", "drop", "acme/docs", "--reason", "a test")
        self.cairn("index", "create", "acme/docs", "--embedder", "model1", "--activate")
        self.put(*self.docs.values(), source="other")
        self.service.later.set()
        self.assertIn("was dropped and made anew", self.end(p, code=5))
        self.assertEqual(self.listed(), set(self.docs))

    def test_an_ingest_that_a_rebuild_ends_beside(self):
        """What is only a trial is nothing to it."""
        self.service.go.set()
        rows = os.path.join(self.dir, "rows.jsonl")
        with open(rows, "w") as f:
            f.write("".join(json.dumps(document(i, "is held up")) + "\n" for i in range(30, 50)))
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", rows, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.stdout.close(), p.stderr.close()))
        self.assertTrue(self.service.held.wait(30))
        self.assertEqual(self.map("rebuild", "acme/docs", "--embedder", "model2")["version"], 2)
        self.service.later.set()
        r = self.end(p)
        self.docs.update({f"d{i}": document(i, "is held up") for i in range(30, 50)})
        self.assertEqual((r["state"], r["activated"], self.version(r["version"])["embedder"]), ("done", True, "model1"))
        self.assertEqual(r["root"], self.fresh("model1"))

    # ---------- looked at before it answers ----------
    def test_side_by_side(self):
        questions = os.path.join(self.dir, "asked.txt")
        with open(questions, "w") as f:
            f.write("".join(f"Row {i} says so.\n" for i in range(6)))
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--embedder", "model2", "--queries", questions, "-k", "3")
        got = r["compared"]
        self.assertEqual((r["version"], r["activated"], self.active()), (2, False, 1))
        self.assertEqual((got["from"], got["to"], got["queries"]), (1, 2, 6))
        self.assertEqual(got["same"] + got["reordered"] + got["changed"], 6)
        self.assertGreater(got["changed"], 0)  # another model's vectors are others
        self.assertEqual(got, self.map("diff", "acme/docs", "1", "2", "--queries", questions, "-k", "3"))
        table = self.cairn("rebuild", "acme/docs", "--catch-up", "2", "--queries", questions).stdout
        self.assertIn("of version 1 beside those of version 2", table)
        self.assertIn("leave --activate out", self.cairn("rebuild", "acme/docs", "--embedder", "model2", "--queries", questions, "--activate", code=2).stderr)
        self.assertIn("--queries FILE", self.cairn("rebuild", "acme/docs", "--embedder", "model2", "-k", "3", code=2).stderr)
        asked = len(self.service.texts)
        self.cairn("rebuild", "acme/docs", "--embedder", "model2", "--queries", questions + "x", code=3)
        self.assertEqual(len(self.service.texts), asked)  # said before anything is made

    # ---------- killed ----------
    def long_documents(self):
        self.put(*(document(300 + i, f"says {i} " + "and goes on " * 400) for i in range(60)))

    def test_killed_while_its_documents_are_made(self):
        self.long_documents()
        self.service.free = 150
        p = self.start("--embedder", "model2")
        time.sleep(0.5)
        job = self.kill(p)
        made, self.service.texts = self.service.texts, []
        self.service.free = 0
        self.much_happens()
        self.service.go.set()
        self.assertIn("`cairn rebuild` with --resume", self.cairn("ingest", "acme/docs", "--resume", job, code=1).stderr)
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertEqual(r["job"], job)
        self.assertGreater(len(set(made) - set(self.service.texts)), 10)  # what was kept is not asked for again
        self.assertEqual(r["root"], self.fresh())
        self.assertEqual(self.trials(), [r["version"]])

    def test_killed_while_it_catches_up(self):
        p = self.start("--embedder", "model2", "--activate")
        self.put(document(100, "came meanwhile"))
        self.service.asked.clear()
        self.service.free = 40
        self.service.go.set()
        self.service.go.clear()
        self.assertTrue(self.service.asked.wait(30))
        job = self.kill(p)
        self.assertEqual(len(self.trials()), 1)  # the long part is done for good
        self.much_happens()
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertEqual((r["root"], r["activated"], self.trials()), (self.fresh(), True, []))
        self.assertLess(len(self.service.texts), 40 + 10 + len(self.docs))

    def test_killed_and_its_first_version_dropped(self):
        """What later versions go on from is no file of the job any more, even where its own version is gone."""
        p = self.start("--embedder", "model2")
        self.put(document(100, "came meanwhile"), activate=False)
        self.service.asked.clear()
        self.service.free = 40
        self.service.go.set()
        self.service.go.clear()
        self.assertTrue(self.service.asked.wait(30))
        job = self.kill(p)
        self.service.go.set()
        (trial,) = self.trials()
        self.cairn("drop", "acme/docs", "2")
        self.cairn("activate", "acme/docs", str(trial))
        self.put(document(100, "came meanwhile"))
        for n in (1, trial):
            self.cairn("drop", "acme/docs", str(n))
        self.server.stop()
        self.map("rebuild", "acme/docs", "--resume", job)
        listed = self.map("documents", "list", "acme/docs", "--limit", "100")["documents"]
        self.assertEqual({d["doc"] for d in listed}, set(self.docs))

    def test_killed_at_any_moment(self):
        self.service.go.set()
        self.service.delay = 0.002
        quietly = {"env": {**os.environ, "CAIRN_DATA": self.path}, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        p = subprocess.Popen([CAIRN, "rebuild", "acme/docs", "--embedder", "model2", "--activate"], **quietly)
        while not any(j["kind"] == "rebuild" for j in self.map("jobs", "list", "acme")["jobs"]):
            time.sleep(0.01)
        for i in range(count(12, 60)):
            time.sleep(0.013 * i)
            job = self.kill(p)
            state = self.map("jobs", "show", "acme", job)["state"]
            if state == "done":
                break
            self.put(document(400 + i, "came between"))
            p = subprocess.Popen([CAIRN, "rebuild", "acme/docs", "--resume", job], **quietly)
        else:
            p.wait(60)
        self.assertEqual(self.map("jobs", "show", "acme", job)["state"], "done")
        self.service.delay = 0
        self.assertEqual((self.version(self.active())["root"], self.version(self.active())["embedder"], self.trials()), (self.fresh(), "model2", []))

    def test_a_server_that_stops(self):
        job = self.rpc.call("ingest.rebuild", index="docs", embedder="model2")["job"]
        self.assertTrue(self.service.asked.wait(30))
        self.server.stop()
        told = self.map("jobs", "show", "acme", job)
        self.assertEqual(told["state"], "interrupted")
        self.assertIn(f"`cairn rebuild acme/docs --resume {job}`", told["why"])
        self.service.go.set()
        r = self.map("rebuild", "acme/docs", "--resume", job)
        self.assertEqual((r["job"], r["counts"]["documents"], self.trials()), (job, 40, [2]))

    def test_cancelled(self):
        p = self.start("--embedder", "model2")
        job = self.job()
        self.cairn("jobs", "cancel", "acme", job)
        self.service.go.set()
        self.end(p, code=5)
        self.assertEqual((self.trials(), self.active()), ([], 1))

    # ---------- progress ----------
    def watch(self, *args, until=None):
        """[(seconds, share, seconds left)] of the line on a terminal, and how long it took; until(share): killed there."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        p = subprocess.Popen([CAIRN, *args], env={**os.environ, "CAIRN_DATA": self.path, "TERM": "xterm"}, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        seen, begun = [], time.monotonic()
        while True:
            try:
                text = os.read(master, 65536).decode()
            except OSError:
                break
            for share, left in re.findall(r" (\d+)% .*?, (\d+) s left", text):
                seen.append((time.monotonic() - begun, int(share) / 100, int(left)))
            if until and seen and seen[-1][1] >= until:
                p.kill()
                break
        p.wait()
        os.close(master)
        return seen, time.monotonic() - begun

    def check_left(self, seen, took):
        off = [abs(left - (took - at)) / (took - at) for at, share, left in seen if share < 0.8 and at > took / 4]
        self.assertGreater(len(off), 3, seen)
        self.assertLess(sorted(off)[len(off) // 2], 0.2, (took, seen))

    def test_the_time_that_is_left(self):
        """Told of what this run has done: what one before it had done costs no time any more."""
        self.service.go.set()
        self.put(*(document(500 + i, "goes on and on " * 15) for i in range(600)))
        self.service.texts, self.service.delay = [], 0.03
        self.check_left(*self.watch("rebuild", "acme/docs", "--embedder", "model2"))
        self.watch("rebuild", "acme/docs", "--embedder", "model2", "--chunker", "document", until=0.4)
        self.check_left(*self.watch("rebuild", "acme/docs", "--resume", self.job()))

    def test_the_share_through_a_server(self):
        """From nothing to all, never less than before; of standard input nobody knows."""
        self.service.go.set()
        self.put(*(document(500 + i, "goes on and on " * 15) for i in range(1000)))
        self.service.texts, self.service.delay = [], 0.01
        seen, job = [], self.rpc.call("ingest.rebuild", index="docs", embedder="model2")["job"]
        begun = time.monotonic()
        while not seen or seen[-1][3] == "running":
            row = next((j for j in self.rpc.call("ingest.list")["jobs"] if j["job"] == job), None)
            if not row:
                continue  # it is about to begin
            seen.append((time.monotonic() - begun, row["share"], row["seconds_left"], row["state"]))
            time.sleep(0.1)
        shares = [share for _, share, _, _ in seen if share is not None]
        self.assertEqual((shares, shares[-1], seen[-1][2], seen[-1][3]), (sorted(shares), 1, None, "done"))
        self.assertTrue(any(0 < share < 0.5 for share in shares) and any(0.5 < share < 1 for share in shares), shares)
        took = seen[-1][0]
        off = [abs(left - (took - at)) / took for at, share, left, state in seen if state == "running" and share and left is not None and at > took / 4]
        self.assertGreater(len(off), 3, seen)
        self.assertLess(sorted(off)[len(off) // 2], 0.2, (took, seen))
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", "-", "--format", "jsonl"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "CAIRN_DATA": self.path})
        self.addCleanup(lambda: (p.kill() if p.poll() is None else None, p.wait()))
        p.stdin.write(json.dumps(document(30, "is held up")) + "\n")
        p.stdin.close()
        self.assertTrue(self.service.held.wait(30))
        time.sleep(1.5)
        (row,) = [j for j in self.rpc.call("ingest.list")["jobs"] if j["state"] == "running"]
        self.assertEqual((row["share"], row["seconds_left"]), (None, None))
        self.service.later.set()

    # ---------- one bad document ----------
    def test_a_document_that_the_model_makes_nothing_of(self):
        """It costs that document, and is said; the rebuild of all others is not lost. Changed, it comes in."""
        vectors = os.path.join(self.dir, "v.jsonl")
        with open(vectors, "w") as f:
            for i in range(5):
                f.write(json.dumps({"id": f"v{i}", "labels": ["public"], "vector": [1, i, 2, 1], **({"text": f"Row {i}."} if i != 3 else {})}) + "\n")
        self.cairn("index", "create", "acme/given", "--embedder", "none")
        self.cairn("ingest", "acme/given", vectors, "--activate")
        self.service.go.set()
        r = self.map("rebuild", "acme/given", "--embedder", "model2", "--activate")
        self.assertEqual((r["state"], r["activated"]), ("done", True), r)
        self.assertEqual({k: r["counts"][k] for k in ("read", "changed", "rejected", "deleted", "documents")}, {"read": 5, "changed": 4, "rejected": 1, "deleted": 1, "documents": 4})
        (said,) = self.map("jobs", "show", "acme", r["job"], "--rejected")["rejected"]
        self.assertEqual(said["doc"], "v3")
        self.assertIn("nothing to embed", said["why"])


if __name__ == "__main__":
    unittest.main()
