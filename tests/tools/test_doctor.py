"""`cairn doctor` with planted faults: each is found, told with what to do, and makes the exit code 1; a note does not."""
import glob
import json
import os
import resource
import shutil
import subprocess
import tempfile
import unittest

from place import CAIRN, SANITIZED, Place, run

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}


def limit(what, n):
    return lambda: resource.setrlimit(what, (n, n))


class Doctor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.whole = Place()
        cls.whole.cairn("activate", "acme/docs", "2", "--reason", "a-reason-to-look-for")

    @classmethod
    def tearDownClass(cls):
        cls.whole.close()

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-doctor-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = os.path.join(self.dir, "data")
        shutil.copytree(self.whole.path, self.data)

    def doctor(self, *args, env=None, before=None, data=None, command="doctor"):
        p = subprocess.run([CAIRN, *(("--data", data or self.data) if data != "" else ()), command, "-o", "json", *args], capture_output=True, text=True,
                           env={**CLEAN, **(env or {})}, preexec_fn=before)
        self.assertEqual(p.stderr, "")
        r = json.loads(p.stdout)
        self.assertEqual(r["bad"], sum(f["grade"] == "BAD" for f in r["findings"]))
        self.assertEqual(p.returncode, 1 if r["bad"] else 0)
        return r["findings"]

    def finds(self, grade, what, words, **how):
        found = self.doctor(**how)
        hits = [f for f in found if f["grade"] == grade and what in f["what"] and all(w in f["detail"] for w in words)]
        self.assertTrue(hits, found)
        self.assertEqual({f["grade"] for f in found} - {"ok", "note"}, {"BAD"} if grade == "BAD" else set(), found)

    def file(self, pattern):
        return sorted(glob.glob(os.path.join(self.data, pattern)))[0]

    def edit(self, path, old, new):
        with open(path, "rb") as f:
            raw = f.read()
        self.assertTrue(old in raw, path)
        with open(path, "wb") as f:
            f.write(raw.replace(old, new))

    def test_nothing_wrong(self):
        found = self.doctor()
        self.assertEqual({f["grade"] for f in found if f["what"] not in ("open files", "pdftotext", "file system")}, {"ok"}, found)
        names = [f["what"] for f in found]
        for w in ("versions", "kernels", "pdftotext", "open files", "memory map", "data directory", "file system", "model tiny", "acme/docs", "tenant acme"):
            self.assertIn(w, names)
        said = {f["what"]: f["detail"] for f in found}
        for w in ("cairn ", "lmdb ", "libuv ", "OpenSSL "):
            self.assertIn(w, said["versions"])
        self.assertRegex(said["kernels"], r"^(scalar|avx2|avx512) on \d+ processors$")
        self.assertEqual(said["acme/docs"], "version 2, 3 documents, 5 chunks")
        p = run("doctor", data=self.data)
        self.assertEqual(len(p.stdout.splitlines()), len(found))
        self.assertTrue(all(line[:5] in ("ok   ", "note ") for line in p.stdout.splitlines()), p.stdout)
        tsv = run("doctor", "-o", "tsv", data=self.data).stdout.splitlines()
        self.assertEqual((tsv[0], len(tsv)), ("grade\twhat\tdetail", len(found) + 1))

    def test_the_host(self):
        self.finds("BAD", "kernels", ["abacus", "scalar, avx2 or avx512", "unset CAIRN_ISA"], env={"CAIRN_ISA": "abacus"})
        self.finds("BAD", "open files", ["100", "ulimit -n 65536"], before=limit(resource.RLIMIT_NOFILE, 100))
        self.finds("note", "open files", ["1000", "ulimit -n 65536"], before=limit(resource.RLIMIT_NOFILE, 1000))
        self.finds("note", "pdftotext", ["not found", "poppler-utils"], env={"PATH": self.dir})

    @unittest.skipIf(SANITIZED, "a sanitizer maps more than any limit here")
    def test_address_space(self):
        self.finds("BAD", "memory map", ["ulimit -v unlimited", "CAIRN_MAPSIZE_MIB"], before=limit(resource.RLIMIT_AS, 4 << 30))
        self.assertFalse(any(f["grade"] == "BAD" for f in self.doctor(env={"CAIRN_MAPSIZE_MIB": "64"}, before=limit(resource.RLIMIT_AS, 4 << 30))))

    def test_the_place(self):
        self.finds("BAD", "data directory", ["no data directory", "init"], data=self.dir + "/none")
        self.finds("BAD", "data directory", ["not a data directory of cairn", "cairn init"], data=self.dir)
        self.finds("note", "data directory", ["--data DIR", "CAIRN_DATA"], data="")
        os.chmod(self.data, 0o755)
        self.finds("BAD", "its mode", ["755", "chmod 700 " + self.data])
        os.chmod(self.data, 0o700)
        self.edit(self.file("cairn.mdb"), b"format2", b"format8")
        self.finds("BAD", "data directory", ["format 8", "use a newer cairn"])

    @unittest.skipUnless(os.geteuid() == 0, "needs a file system of its own")
    def test_a_file_system_that_is_full(self):
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "none", small], capture_output=True).returncode:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        run("init", data=small)
        self.finds("BAD", "file system", ["MiB free", "cairn gc"], data=small)

    def test_models(self):
        weights = self.file("models/tiny/*.safetensors")
        with open(weights, "r+b") as f:
            f.seek(-8, os.SEEK_END)
            f.write(b"\xff" * 8)
        self.finds("BAD", "model tiny", ["cairn model add"])
        shutil.rmtree(os.path.join(self.data, "models/tiny"))
        self.finds("BAD", "acme/docs", ["version 2: no question can be embedded", "cairn model add"])

    def test_models_of_kept_versions(self):
        """What counts is what each kept version was made with, not what the index was made for."""
        other = os.path.join(self.dir, "other")
        shutil.copytree(self.whole.model, other)
        self.edit(os.path.join(other, "vocab.txt"), b"hello", b"howdy")
        run("model", "add", "other", other, data=self.data)
        run("rebuild", "acme/docs", "--embedder", "other", "--activate", data=self.data)
        self.finds("ok", "acme/docs", ["version 3, 3 documents"])
        shutil.move(os.path.join(self.data, "models/tiny"), self.dir)
        self.finds("BAD", "acme/docs", ["version 1: no question can be embedded", "cairn model add"])
        shutil.copytree(os.path.join(self.data, "models/other"), os.path.join(self.data, "models/tiny"))
        self.finds("BAD", "acme/docs", ["version 2: no question can be embedded", 'embedded with "tiny" of digest', "`cairn model remove tiny`"])
        for version in ("1", "2"):
            run("drop", "acme/docs", version, data=self.data)
        run("model", "remove", "tiny", data=self.data)
        self.finds("ok", "acme/docs", ["version 3, 3 documents"])

    def test_versions(self):
        for name in glob.glob(os.path.join(self.data, "tenants/acme/segments/*.mdb")):
            os.truncate(name, 4096)
        self.finds("BAD", "acme/docs", ["version 2", "cairn rollback acme/docs"])

    def test_a_lost_tenant(self):
        os.remove(self.file("tenants/acme/control.mdb"))
        self.finds("BAD", "tenant acme", ["control.mdb", "backup"])

    def test_the_audit_chain(self):
        self.edit(self.file("tenants/acme/control.mdb"), b"a-reason-to-look-for", b"A-reason-to-look-for")
        self.finds("BAD", "tenant acme", ["audit", "backup"])

    def test_what_to_attend_to(self):
        run("rollback", "acme/docs", "--reason", "wrong", data=self.data)
        self.finds("note", "acme/docs", ["held", "`cairn release acme/docs` ends it"])
        run("index", "create", "acme/new", "--embedder", "none", data=self.data)
        self.finds("note", "acme/new", ["no version is active", "cairn ingest acme/new PATH --activate"])

    def test_scrub(self):
        self.assertEqual({f["grade"] for f in self.doctor(command="scrub")}, {"ok"})
        held = [p for p in glob.glob(os.path.join(self.data, "tenants/acme/segments/*.mdb")) if b"committee" in open(p, "rb").read()]
        self.edit(held[0], b"committee", b"Committee")
        found = self.doctor(command="scrub")
        self.assertTrue(any(f["grade"] == "BAD" and f["what"].startswith("acme/docs/") for f in found), found)


if __name__ == "__main__":
    unittest.main()
