#!/usr/bin/env python3
"""`cairn model distill` by the small random model: what comes out is a model like any other, and a kill leaves none."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

CAIRN = os.environ["CAIRN_BIN"]
MAKE_MODEL = os.environ["MAKE_MODEL"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Distilled(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data, self.docs = os.path.join(self.dir, "data"), os.path.join(self.dir, "docs")
        folder = os.path.join(self.dir, "tiny")
        os.mkdir(folder)
        os.mkdir(self.docs)
        subprocess.run([MAKE_MODEL, folder], check=True)
        for i in range(40):
            with open(os.path.join(self.docs, f"{i}.txt"), "w") as f:
                f.write("hello " + " ".join(LETTERS[(i * k + i // 26) % 26] for k in range(1, 20)) + ".\n")
        self.cairn("init")
        self.cairn("model", "add", "tiny", folder)

    def env(self):
        return {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data}

    def cairn(self, *args, code=0, text=b""):
        p = subprocess.run([CAIRN, *args], capture_output=True, env=self.env(), input=text, timeout=200)
        self.out, self.err = p.stdout.decode(), p.stderr.decode()
        self.assertEqual(p.returncode, code, self.out + self.err)
        return self.out

    def distill(self, name, *args, **kw):
        return json.loads(self.cairn("model", "distill", name, "--from", "tiny", "-o", "json", *args, **kw))

    def models(self):
        return {m["model"]: m for m in json.loads(self.cairn("model", "list", "-o", "json"))["models"]}

    def test_it_is_a_model_like_any_other(self):
        got = self.distill("fast", "--texts", self.docs, "--dim", "16")
        self.assertEqual((got["dim"], got["documents"], got["rejected"], got["words"]), (16, 40, 0, 80))
        self.assertEqual(got["passages"], got["passages_found"])
        self.assertGreater(got["words_in_passages"], 20)
        one = self.models()["fast"]
        self.assertEqual((one["kind"], one["dim"], one["max_tokens"]), ("static", 16, 4096))
        texts = "hello world\nsee the world\n\nhello world\n".encode()
        a = self.cairn("embed", "fast", "--threads", "1", text=texts).splitlines()
        self.assertEqual(a, self.cairn("embed", "fast", "--threads", "4", text=texts).splitlines())
        self.assertEqual(a[0], a[3])
        self.assertNotEqual(a[0], a[1])
        for line in a:
            self.assertAlmostEqual(sum(x * x for x in json.loads(line)), 1, places=5)
        speed = json.loads(self.cairn("model", "bench", "fast", "--tokens", "64", "-o", "json"))
        self.assertGreater(speed["chunks_per_s"], 0)
        self.cairn("doctor")
        self.assertIn("fast", self.out)

    def test_an_index_by_it_is_searched_by_it(self):
        self.distill("fast", "--texts", self.docs)
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs", "--embedder", "fast")
        self.cairn("ingest", "acme/docs", self.docs, "--label", "public", "--activate")
        with open(os.path.join(self.docs, "7.txt")) as f:
            text = f.read()
        got = json.loads(self.cairn("query", "acme/docs", text, "-k", "3", "-o", "json"))
        self.assertEqual(got["hits"][0]["doc"], "7.txt")
        self.assertEqual(got["made_by"]["embedder"], "fast")
        # and rebuilt from stored text it is the same
        self.cairn("model", "distill", "again", "--from", "tiny", "--texts", self.docs)
        self.assertEqual(self.models()["again"]["digest"], self.models()["fast"]["digest"])

    def test_the_texts_of_an_index(self):
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs")
        self.cairn("ingest", "acme/docs", self.docs, "--label", "group:hr", "--activate")
        os.unlink(os.path.join(self.docs, "0.txt"))
        self.cairn("ingest", "acme/docs", self.docs, "--label", "group:hr", "--activate", "--sync")
        got = self.distill("stored", "--index", "acme/docs")
        self.assertEqual(got["documents"], 39)  # the one that was deleted is not read
        self.distill("files", "--texts", self.docs)
        models = self.models()
        self.assertEqual(models["stored"]["digest"], models["files"]["digest"])
        self.cairn("model", "distill", "no", "--from", "tiny", "--index", "acme/none", code=3)
        self.cairn("model", "distill", "no", "--from", "tiny", "--index", "none/docs", code=3)
        self.cairn("index", "create", "acme/empty")
        self.cairn("model", "distill", "no", "--from", "tiny", "--index", "acme/empty", code=3)
        self.assertNotIn("no", self.models())

    def test_what_is_erased_or_hidden_has_no_part(self):
        """Not compacted yet, its bytes are still there; and a policy that cannot be read says nothing of them."""
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs")
        self.cairn("ingest", "acme/docs", self.docs, "--label", "public", "--activate")
        self.assertEqual(self.distill("all", "--index", "acme/docs")["documents"], 40)
        self.cairn("policy", "erase", "acme", "0.txt", "--reason", "test")
        self.cairn("policy", "hide", "acme", "1.txt", "--reason", "test")
        self.cairn("policy", "hide", "acme", "--glob", "3*.txt", "--reason", "test")  # 3 and 30 to 39
        self.assertEqual(self.distill("stored", "--index", "acme/docs")["documents"], 27)
        for name in os.listdir(self.docs):
            if name in ("0.txt", "1.txt") or name.startswith("3"):
                os.unlink(os.path.join(self.docs, name))
        self.distill("files", "--texts", self.docs)
        models = self.models()
        self.assertEqual(models["stored"]["digest"], models["files"]["digest"])
        self.cairn("policy", "restore", "acme", "0.txt", "--reason", "test")  # its row of before stays erased
        self.assertEqual(self.distill("restored", "--index", "acme/docs")["documents"], 27)
        path = os.path.join(self.data, "tenants/acme/control.mdb")
        with open(path, "rb") as f:
            whole = f.read()
        self.assertIn(b"3*.txt", whole)
        with open(path, "wb") as f:
            f.write(whole.replace(b"3*.txt", b"4*.txt"))
        self.cairn("model", "distill", "no", "--from", "tiny", "--index", "acme/docs", code=1)
        self.assertIn("policy", self.err)
        self.assertNotIn("no", self.models())

    def test_the_vocabulary_alone(self):
        got = self.distill("words")
        self.assertEqual((got["passages"], got["documents"]), (0, 0))
        self.assertNotIn("likeness", got)
        self.assertIn("--texts or --index", self.err)

    def test_wrong_words(self):
        self.cairn("model", "distill", "x", code=2)
        self.assertIn("--from is missing", self.err)
        for bad in (("--dim", "0"), ("--dim", "x"), ("--passages", "0"), ("--threads", "0"), ("--index", "acme")):
            self.cairn("model", "distill", "x", "--from", "tiny", *bad, code=2)
        for bad, code, why in ((("--dim", "25"), 1, "8 to 24"), (("--texts", os.path.join(self.dir, "nowhere")), 3, "nowhere")):
            self.cairn("model", "distill", "x", "--from", "tiny", *bad, code=code)
            self.assertIn(why, self.err)
        self.cairn("model", "distill", "x", "--from", "none-such", code=3)
        self.cairn("model", "distill", "tiny", "--from", "tiny", code=5)
        self.assertIn("another name", self.err)
        self.cairn("model", "distill", "a/b", "--from", "tiny", code=1)
        self.assertEqual(list(self.models()), ["tiny"])

    def test_a_table_is_not_distilled_and_has_one_precision(self):
        self.distill("fast")
        self.cairn("model", "distill", "x", "--from", "fast", code=1)
        self.assertIn("static itself", self.err)
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/x", "--embedder", "fast", "--precision", "int8", code=1)
        self.assertIn("leave out the precision", self.err)

    def test_a_damaged_table_is_told(self):
        self.distill("fast")
        path = os.path.join(self.data, "models/fast/table")
        with open(path, "r+b") as f:
            f.seek(-1, 2)
            last = f.read(1)
            f.seek(-1, 2)
            f.write(bytes([last[0] ^ 1]))
        self.cairn("embed", "fast", text=b"hello\n", code=1)
        self.assertIn("models/fast", self.err)
        self.cairn("doctor", code=1)
        self.assertIn("fast", self.out)

    def test_a_kill_leaves_no_model(self):
        many = os.path.join(self.dir, "many")
        os.mkdir(many)
        with open(os.path.join(many, "rows.jsonl"), "w") as f:
            for i in range(200000):
                f.write('{"_id": "%d", "text": "%s %d"}\n' % (i, " ".join(LETTERS[(i * k) % 26] for k in range(1, 9)), i))
        for wait in (0.05, 0.3, 0.8):
            p = subprocess.Popen([CAIRN, "model", "distill", "gone", "--from", "tiny", "--texts", many, "--passages", "200000"], env=self.env(),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(wait)
            p.send_signal(signal.SIGKILL)
            self.assertEqual(p.wait(), -signal.SIGKILL)
            self.assertEqual(list(self.models()), ["tiny"])
        self.distill("gone", "--texts", self.docs)


if __name__ == "__main__":
    unittest.main()
