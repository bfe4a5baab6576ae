"""The http embedder against a real HTTP server that misbehaves in every way we could think of."""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving import CAIRN, Failed, Rpc, Server, run

DIM = 8
KEY = "sk-not-to-be-seen-0123456789"


def vector(text, dim=DIM):
    raw = hashlib.sha256(text.encode()).digest()
    return [1.0 + b / 256 for b in raw[:dim]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, body, **headers):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(raw)

    def good(self, asked):
        texts = asked["input"]
        return {"object": "list", "data": [{"index": i, "embedding": vector(t)} for i, t in enumerate(texts)],
                "usage": {"prompt_tokens": 7 * len(texts), "total_tokens": 7 * len(texts)}}

    def do_POST(self):
        s = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with s.lock:
            s.seen.append((self.path, self.headers.get("Authorization"), asked, time.monotonic()))
            how = s.script.pop(0) if s.script else s.always
        try:
            getattr(self, "do_" + how)(asked)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def do_good(self, asked):
        self.say(200, self.good(asked))

    def do_slow(self, asked):
        time.sleep(0.6)
        self.do_good(asked)

    def do_busy(self, asked):
        self.say(429, {"error": {"message": "slow down"}}, Retry_After="1")

    def do_busy_long(self, asked):
        self.say(429, {"error": {"message": "slow down"}}, Retry_After="3600")

    def do_broken(self, asked):
        self.say(500, b"oops")

    def do_hang(self, asked):
        self.server.released.wait(20)
        self.close_connection = True

    def do_midway(self, asked):
        raw = json.dumps(self.good(asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[:len(raw) // 2])
        self.close_connection = True

    def changed(self, asked, change):
        answer = self.good(asked)
        change(answer)
        self.say(200, answer)

    def do_dimension(self, asked):
        self.changed(asked, lambda a: a["data"][0]["embedding"].pop())

    def do_count(self, asked):
        self.changed(asked, lambda a: a["data"].pop())

    def do_twice(self, asked):
        self.changed(asked, lambda a: a["data"][-1].update(index=0))

    def do_no_index(self, asked):
        self.changed(asked, lambda a: a["data"][0].pop("index"))

    def do_shuffled(self, asked):
        self.changed(asked, lambda a: a["data"].reverse())

    def do_zero(self, asked):
        self.changed(asked, lambda a: a["data"][0].update(embedding=[0.0] * DIM))

    def do_null(self, asked):
        self.changed(asked, lambda a: a["data"][0].update(embedding=[None] * DIM))

    def do_nan(self, asked):
        self.changed(asked, lambda a: a["data"][0].update(embedding=[float("nan")] * DIM))

    def do_infinite(self, asked):
        self.changed(asked, lambda a: a["data"][0].update(embedding=[1e300] * DIM))

    def do_text(self, asked):
        self.say(200, b"<html>welcome</html>")

    def do_huge(self, asked):
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b" " * 65536)
        self.close_connection = True

    def do_redirect(self, asked):
        self.say(302, b"", Location=f"http://127.0.0.1:{self.server.server_port}/stolen")

    def do_unauthorized(self, asked):
        self.say(401, {"error": {"message": f"no such key: {self.headers.get('Authorization')}"}})

    def do_long(self, asked):
        self.say(400, {"error": {"message": f"a text is too long, {KEY}"}})

    def do_silent(self, asked):
        self.say(200, {"data": self.good(asked)["data"]})


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.seen, self.script, self.always = threading.Lock(), [], [], "good"
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, address):
        pass

    def close(self):
        self.released.set()
        self.shutdown()
        self.server_close()


class HttpEmbedder(unittest.TestCase):
    def setUp(self):
        self.service = Service()
        self.addCleanup(self.service.close)
        self.dir = tempfile.mkdtemp(prefix="cairn-http-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "data")
        self.key_file = self.write("key", KEY + "\n")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")

    # ---------- helpers ----------
    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def cairn(self, *args, code=0, text=None, env=None):
        p = run(*args, data=self.path, check=False, text=text, env=env)
        self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        self.assertNotIn(KEY, p.stdout + p.stderr)
        return p

    def map(self, *args, **kw):
        return json.loads(self.cairn(*args, "-o", "json", **kw).stdout)

    def add(self, *options, name="far", code=0, dim=DIM):
        said = ("--dimensions", str(dim)) if dim else ()
        return self.cairn("model", "add", name, "--http", self.service.url, "--model", "m-1", "--api-key-file", self.key_file, *said, *options, code=code)

    def embed(self, texts="one\ntwo\nthree\n", **kw):
        p = self.cairn("embed", "far", text=texts, **kw)
        return [json.loads(line) for line in p.stdout.splitlines()]

    def rows(self, n, first=0):
        return self.write("rows.jsonl", "".join(json.dumps({"id": f"d{i}", "text": f"Row {i} says so.", "labels": ["public"]}) + "\n" for i in range(first, first + n)))

    def asked(self):
        return [a[2] for a in self.service.seen]

    def near(self, got, texts):
        self.assertEqual(len(got), len(texts))
        for row, text in zip(got, texts):
            want = [struct.unpack("f", struct.pack("f", x))[0] for x in vector(text)]
            for a, b in zip(row, want, strict=True):
                self.assertAlmostEqual(a, b, places=6)

    # ---------- adding ----------
    def test_add_list_and_change(self):
        self.add()
        self.assertEqual(self.service.seen, [])  # the dimensions are said: nobody is asked
        (one,) = self.map("model", "list")["models"]
        self.assertEqual((one["kind"], one["dim"], one["max_tokens"]), ("http", DIM, 512))
        with open(os.path.join(self.path, "models/far/http.json")) as f:
            kept = f.read()
        self.assertNotIn(KEY, kept)
        self.assertEqual(json.loads(kept)["url"], self.service.url + "/embeddings")
        self.add("--max-batch", "2", "--max-tokens", "300")  # the same service: its settings change
        (again,) = self.map("model", "list")["models"]
        self.assertEqual((again["digest"], again["max_tokens"]), (one["digest"], 300))
        self.embed()
        self.assertEqual([len(a["input"]) for a in self.asked()], [2, 1])
        self.assertIn("another model is already named", self.add(dim=4, code=5).stderr)
        self.add(name="other", dim=4)
        self.assertEqual(len({m["digest"] for m in self.map("model", "list")["models"]}), 2)
        self.cairn("doctor")

    def test_dimensions_are_learnt(self):
        self.add(dim=None)
        self.assertEqual(self.map("model", "list")["models"][0]["dim"], DIM)
        self.embed()
        self.assertNotIn("dimensions", self.asked()[-1])
        self.service.always = "unauthorized"
        self.assertIn("does not take this key", self.add(dim=None, name="no", code=1).stderr)

    def test_addresses_and_numbers_are_checked(self):
        bad = lambda url, *more: self.cairn("model", "add", "bad", "--http", url, "--model", "m", "--dimensions", "8", *more, code=2).stderr
        self.assertIn("begins with https", bad("ftp://a/v1"))
        self.assertIn("https", bad("file:///etc/passwd"))
        self.assertIn("a key goes into a file", bad("https://me:secret@a/v1"))
        self.assertIn("a key goes into a file", bad("https://a/v1?key=x"))
        self.assertIn("in the clear", bad("http://a.example/v1"))
        self.assertIn("in the clear", bad("http://127.evil.example/v1"))
        self.assertIn("no URL", bad("https://"))
        self.assertIn("--max-batch", bad("https://a", "--max-batch", "0"))
        self.assertIn("not in both", bad("https://a", "--api-key-env", "X", "--api-key-file", self.key_file))
        self.assertIn("goes with --http", self.cairn("model", "add", "bad", self.dir, "--max-batch", "2", code=2).stderr)
        self.assertIn("FOLDER is missing", self.cairn("model", "add", "bad", code=2).stderr)
        self.assertIn("needs the name", self.cairn("model", "add", "bad", "--http", "https://a", code=2).stderr)
        self.cairn("model", "add", "fine", "--http", "http://10.0.0.1:80/v1/", "--model", "m", "--dimensions", "8", "--insecure")
        self.assertEqual(self.service.seen, [])

    def test_no_tenant_hears_what_another_asked(self):
        """A vector is kept for the tenant that asked: nobody else is answered sooner for it."""
        self.add()
        keys = []
        for tenant in ("acme", "other"):
            if tenant == "other":
                self.cairn("tenant", "add", tenant)
            self.cairn("index", "create", tenant + "/texts", "--embedder", "far")
            self.cairn("ingest", tenant + "/texts", self.rows(2), "--activate")
            keys.append(self.map("key", "add", tenant, "--scope", "query", "--labels", "public")["key"])
        server = Server(type("Place", (), {"dir": self.dir, "path": self.path}))
        self.addCleanup(server.stop)
        asked = []
        for key in (keys[0], keys[0], keys[1], keys[1], keys[0]):
            before = len(self.service.seen)
            rpc = Rpc(server, key)
            rpc.call("query", index="texts", text="who says so?", mode="dense")
            rpc.close()
            asked.append(len(self.service.seen) - before)
        self.assertEqual(asked, [1, 0, 1, 0, 0])

    def test_a_description_that_was_changed(self):
        self.add()
        path = os.path.join(self.path, "models/far/http.json")
        with open(path) as f:
            kept = json.load(f)
        for change, said in (({"timeout_ms": 7000}, None), ({"model": "m-2"}, "another url, model or dimensions"), ({"nonsense": 1}, "nonsense"), ({"url": "x"}, "begins with")):
            with open(path, "w") as f:
                json.dump({**kept, **change}, f)
            p = self.cairn("embed", "far", text="a\n", code=1 if said else 0)
            self.assertIn(said or "", p.stderr)

    # ---------- what is sent ----------
    def test_requests_and_the_key(self):
        self.add()
        self.near(self.embed(), ["one", "two", "three"])
        path, key, asked, _ = self.service.seen[0]
        self.assertEqual((path, key), ("/v1/embeddings", "Bearer " + KEY))
        self.assertEqual(asked, {"model": "m-1", "dimensions": DIM, "input": ["one", "two", "three"]})
        self.write("key", "another\n")  # read anew
        self.embed()
        self.assertEqual(self.service.seen[-1][1], "Bearer another")
        os.unlink(self.key_file)
        self.assertIn(self.key_file, self.cairn("embed", "far", text="a\n", code=1).stderr)
        self.write("key", "two\nlines\n")
        self.assertIn("is no key", self.cairn("embed", "far", text="a\n", code=1).stderr)
        self.assertEqual(len(self.service.seen), 2)

    def test_the_key_from_the_environment(self):
        self.cairn("model", "add", "far", "--http", self.service.url, "--model", "m", "--dimensions", str(DIM), "--api-key-env", "EMBED_KEY")
        self.embed(env={"EMBED_KEY": KEY})
        self.assertEqual(self.service.seen[0][1], "Bearer " + KEY)
        self.assertIn("EMBED_KEY", self.cairn("embed", "far", text="a\n", code=1).stderr)

    # ---------- what passes ----------
    def test_busy_is_asked_again_when_it_says(self):
        self.add()
        self.service.script = ["busy"]
        self.near(self.embed(), ["one", "two", "three"])
        self.assertEqual(len(self.service.seen), 2)
        self.assertGreaterEqual(self.service.seen[1][3] - self.service.seen[0][3], 1)

    def test_an_error_a_hang_and_half_an_answer_pass(self):
        self.add("--timeout", "700")
        for how in ("broken", "hang", "midway"):
            self.service.script = [how]
            self.near(self.embed(), ["one", "two", "three"])
        self.assertEqual(len(self.service.seen), 6)

    def test_an_order_of_its_own(self):
        self.add()
        self.service.always = "shuffled"
        self.near(self.embed(), ["one", "two", "three"])

    # ---------- what does not ----------
    def test_what_cannot_be_used_is_refused_at_once(self):
        self.add()
        for how, said in (("dimension", "have 7 dimensions"), ("count", "2 vectors to 3 texts"), ("twice", '"index"'), ("no_index", '"index"'), ("zero", "all zero"),
                          ("null", "no finite number"), ("nan", "no JSON"), ("infinite", "no finite number"), ("text", "no JSON"), ("huge", "over "),
                          ("redirect", "redirect (302)"), ("unauthorized", "401, it does not take this key"), ("long", "a text is too long, ****")):
            with self.subTest(how):
                self.service.seen.clear()
                self.service.always = how
                p = self.cairn("embed", "far", text="one\ntwo\nthree\n", code=1)
                self.assertIn("cairn: UNAVAILABLE: embedder \"far\" at http://127.0.0.1", p.stderr)
                self.assertIn(said, p.stderr)
                self.assertEqual(p.stdout, "")
                self.assertEqual([s[0] for s in self.service.seen], ["/v1/embeddings"])

    def test_tries_are_bounded(self):
        self.add("--tries", "3", "--timeout", "300")
        self.service.always = "broken"
        self.assertIn("it answers 500 (the last of 3 tries)", self.cairn("embed", "far", text="a\n", code=1).stderr)
        self.assertEqual(len(self.service.seen), 3)
        self.service.seen.clear()
        self.service.always = "busy_long"
        began = time.monotonic()
        self.assertIn("only in 3600 s", self.cairn("embed", "far", text="a\n", code=1).stderr)
        self.assertEqual(len(self.service.seen), 1)
        self.add("--tries", "50", "--retry-for", "1500", "--breaker", "100")
        self.service.always = "broken"
        self.cairn("embed", "far", text="a\n", code=1)
        self.assertLess(time.monotonic() - began, 10)
        self.service.close()
        self.assertIn("connect", self.cairn("embed", "far", text="a\n", code=1).stderr)
        self.service = Service()
        self.addCleanup(self.service.close)

    # ---------- jobs ----------
    def test_a_job_counts_what_it_used_and_costs(self):
        self.add("--price", "20")
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        dry = self.map("ingest", "acme/docs", self.rows(100), "--dry-run")["estimate"]
        self.assertEqual((dry["chunks"], len(self.service.seen)), (100, 1))
        self.assertAlmostEqual(dry["tokens"], 700, delta=70)
        self.assertAlmostEqual(dry["price"], dry["tokens"] * 20e-6, places=9)
        r = self.map("ingest", "acme/docs", self.rows(100), "--activate")
        self.assertEqual((r["chunks_embedded"], r["tokens"]), (100, 700))
        self.assertAlmostEqual(r["price"], 700 * 20e-6, places=9)
        self.assertLessEqual(max(len(a["input"]) for a in self.asked()), 64)
        hits = self.map("query", "acme/docs", "Row 42 says so.", "-k", "1")
        self.assertEqual(hits["hits"][0]["doc"], "d42")
        self.assertEqual(hits["made_by"]["embedder"], "far")
        self.service.always = "silent"  # no usage: a guess
        r = self.map("ingest", "acme/docs", self.rows(10, 200), "--source", "more")
        self.assertGreater(r["tokens"], 0)

    def test_a_job_whose_embedder_goes_down_is_resumed(self):
        self.add("--tries", "2", "--retry-for", "3000")
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        rows = self.rows(3000)
        self.service.script = ["good"] * 30
        self.service.always = "broken"
        said = self.cairn("ingest", "acme/docs", rows, "--activate", code=1).stderr
        (job,) = self.map("jobs", "list", "acme")["jobs"]
        self.assertEqual(job["state"], "failed")
        self.assertIn("UNAVAILABLE: embedder \"far\" at", said)
        self.assertIn("it answers 500", said)
        self.assertEqual((said.count("--resume"), said.count(f"`cairn ingest acme/docs --resume {job['job']}`")), (1, 1), said)
        self.assertIn("it answers 500", job["why"])
        self.assertEqual(self.map("versions", "acme/docs")["versions"], [])
        self.service.always = "good"
        r = self.map("ingest", "acme/docs", "--resume", job["job"])
        self.assertEqual((r["job"], r["counts"]["documents"]), (job["job"], 3000))
        self.assertLess(r["chunks_embedded"], 3000)
        self.assertEqual(self.map("query", "acme/docs", "Row 7 says so.", "-k", "1")["hits"][0]["doc"], "d7")

    def test_a_job_that_waits_is_cancelled(self):
        self.add("--timeout", "60000")
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        self.service.always = "busy"
        env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        p = subprocess.Popen([CAIRN, "ingest", "acme/docs", self.rows(10)], env={**env, "CAIRN_DATA": self.path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not self.service.seen:
            time.sleep(0.02)
        (job,) = self.map("jobs", "list", "acme")["jobs"]
        self.cairn("jobs", "cancel", "acme", job["job"])
        _, err = p.communicate(timeout=20)
        self.assertEqual(p.returncode, 5, err)

    # ---------- an index that forbids it ----------
    def test_an_index_that_keeps_its_texts(self):
        self.add()
        self.assertIn("local_only", self.cairn("index", "create", "acme/docs", "--embedder", "far", "--local-only", code=5).stderr)
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        self.cairn("ingest", "acme/docs", self.rows(10), "--activate")
        self.assertFalse(self.map("index", "show", "acme/docs")["local_only"])
        self.assertTrue(self.map("index", "set", "acme/docs", "--local-only")["local_only"])
        asked = len(self.service.seen)
        for words in (("query", "acme/docs", "what"), ("ingest", "acme/docs", self.rows(5, 50), "--source", "more"), ("rebuild", "acme/docs", "--chunker", "document")):
            self.assertIn("local_only", self.cairn(*words, code=5).stderr)
        self.assertEqual(len(self.service.seen), asked)
        self.cairn("index", "set", "acme/docs", "--no-local-only")
        self.cairn("query", "acme/docs", "what")
        self.cairn("index", "create", "acme/own", "--embedder", "none", "--local-only")
        self.cairn("ingest", "acme/own", self.write("own.jsonl", json.dumps({"id": "a", "text": "b", "vector": [1, 2]}) + "\n"))
        self.assertIn("local_only", self.cairn("rebuild", "acme/own", "--embedder", "far", code=5).stderr)

    def test_a_precision_is_not_ours_to_choose(self):
        self.add()
        self.assertIn("precision", self.cairn("index", "create", "acme/docs", "--embedder", "far", "--precision", "int8", code=1).stderr)

    # ---------- the command ----------
    def test_a_benchmark_of_the_model_asks_before_it_costs(self):
        self.add("--max-batch", "8")
        self.assertIn("--yes", self.cairn("model", "bench", "far", code=5).stderr)
        self.assertEqual(self.service.seen, [])
        r = self.map("model", "bench", "far", "--yes")
        self.assertGreater(r["chunks_per_s"], 0)
        texts = {t for a in self.asked() for t in a["input"]}
        self.assertGreater(len(texts), 10)
        self.assertGreater(len({len(t) // 100 for t in texts}), 2)

    def test_a_benchmark_tells_what_fell_back(self):
        """The first question is answered as asked, and then the service goes down."""
        self.add("--breaker", "2", "--query-timeout", "1000")
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        self.cairn("ingest", "acme/docs", self.rows(20), "--activate")
        questions = self.write("q.txt", "".join(f"Row {i} says so?\n" for i in range(5)))
        for batch, fell in (((), 4), (("--batch", "5"), 5)):
            self.service.script, self.service.always = ["good"], "broken"
            p = self.cairn("bench", "acme/docs", "--queries", questions, "--mode", "dense", *batch, "-o", "json")
            r = json.loads(p.stdout)
            self.assertEqual((r["queries"], r["fallbacks"]), (5, fell))
            self.assertIn(f"{fell} of 5 answers were of mode lexical", p.stderr)
        self.service.always = "good"
        p = self.cairn("bench", "acme/docs", "--queries", questions, "--mode", "dense", "-o", "json")
        self.assertEqual((json.loads(p.stdout)["fallbacks"], p.stderr), (0, ""))

    # ---------- the server ----------
    def serve(self):
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        self.cairn("ingest", "acme/docs", self.rows(20), "--activate")
        key = json.loads(self.cairn("key", "add", "acme", "--scope", "query", "--labels", "public", "-o", "json").stdout)["key"]
        server = Server(type("Place", (), {"dir": self.dir, "path": self.path}))
        self.addCleanup(server.stop)
        rpc = Rpc(server, key)
        self.addCleanup(rpc.close)
        return rpc

    def test_one_in_a_hurry_does_not_take_the_others_their_time(self):
        self.add("--query-timeout", "15000")
        rpc = self.serve()
        self.service.always = "slow"
        hurried, patient = rpc.call("query_batch", index="docs", k=1, mode="dense", queries=[{"text": "Row 3 says so.", "deadline_ms": 200}, {"text": "Row 4 says so."}])["results"]
        self.assertIn("DEADLINE", hurried.get("error", str(hurried)))
        self.assertEqual((patient["hits"][0]["doc"], patient["made_by"]["mode"], patient["made_by"]["degraded"]), ("d4", "dense", []))

    def test_those_in_a_hurry_do_not_take_it_for_down(self):
        """Questions with less time than the service needs are late by themselves; nobody else is answered worse for them."""
        self.add("--query-timeout", "15000", "--breaker", "3")
        rpc = self.serve()
        self.service.always = "slow"
        for i in range(5):
            with self.assertRaisesRegex(Failed, "^DEADLINE"):
                rpc.call("query", index="docs", text=f"Row {i} in haste.", k=1, mode="dense", deadline_ms=50)
        patient = rpc.call("query", index="docs", text="Row 4 says so.", k=1, mode="dense")
        self.assertEqual((patient["hits"][0]["doc"], patient["made_by"]["degraded"]), ("d4", []))

    def test_a_description_that_is_replaced_while_it_is_used(self):
        self.add()
        rpc = self.serve()
        ask = lambda text: rpc.call("query", index="docs", text=text, k=1, mode="dense", on_degraded="error")["hits"][0]["doc"]
        self.assertEqual(ask("Row 3 says so."), "d3")
        self.assertEqual(self.service.seen[-1][1], "Bearer " + KEY)
        self.cairn("model", "add", "far", "--http", self.service.url, "--model", "m-1", "--api-key-file", self.write("other", "another\n"), "--dimensions", str(DIM))
        self.assertEqual(ask("Row 4 says so."), "d4")
        self.assertEqual(self.service.seen[-1][1], "Bearer another")

    def test_questions_while_it_is_down(self):
        self.add("--query-timeout", "1500", "--breaker", "4", "--breaker-pause", "1200")
        self.cairn("index", "create", "acme/docs", "--embedder", "far")
        self.cairn("ingest", "acme/docs", self.rows(20), "--activate")
        key = json.loads(self.cairn("key", "add", "acme", "--scope", "query", "--labels", "public", "-o", "json").stdout)["key"]
        place = type("Place", (), {"dir": self.dir, "path": self.path})
        server = Server(place)
        self.addCleanup(server.stop)
        rpc = Rpc(server, key)
        self.addCleanup(rpc.close)
        ask = lambda text, **more: rpc.call("query", index="docs", text=text, k=1, **{"on_degraded": "error", **more})
        self.assertEqual(ask("Row 3 says so.")["hits"][0]["doc"], "d3")
        self.service.always = "broken"
        self.service.seen.clear()
        for i in range(2):  # each is tried twice
            with self.assertRaisesRegex(Failed, "^UNAVAILABLE: embedder .far. at .* it answers 500"):
                ask(f"question {i}")
        self.assertEqual(len(self.service.seen), 4)
        began = time.monotonic()
        with self.assertRaisesRegex(Failed, "^UNAVAILABLE: .*failed 4 times in a row and is not asked for another .*it answers 500.*retry_after_ms="):
            ask("one more")
        self.assertLess(time.monotonic() - began, 0.5)
        self.assertEqual(len(self.service.seen), 4)
        for mode in ("dense", "hybrid"):
            by_words = ask("what does row 4 say?", on_degraded="answer", mode=mode)
            self.assertEqual((by_words["made_by"]["mode"], by_words["made_by"]["degraded"], by_words["hits"][0]["doc"]), ("lexical", ["embedder_unavailable"], "d4"))
        self.assertEqual(len(self.service.seen), 4)
        self.assertEqual(ask("Row 3 says so.")["hits"][0]["doc"], "d3")  # known already
        self.service.always = "good"
        time.sleep(1.3)
        self.assertEqual(ask("Row 5 says so.")["hits"][0]["doc"], "d5")  # the probe
        self.service.always = "hang"
        began = time.monotonic()
        with self.assertRaisesRegex(Failed, "^UNAVAILABLE: .*no answer within"):
            ask("a hang")
        self.assertLess(time.monotonic() - began, 4)
        began = time.monotonic()
        with self.assertRaisesRegex(Failed, "^DEADLINE"):
            ask("another hang", deadline_ms=300)
        self.assertLess(time.monotonic() - began, 1)
        with open(server.log_path) as f:
            self.assertNotIn(KEY, f.read())


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
