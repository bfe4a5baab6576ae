"""Rows that a job makes anew, since this machine computes a model's vectors otherwise than the one before did, are those of the head of
then: another source's, and what lists in force left of them. No version is made of them when the head or the lists are others by now."""
import json
import os
import signal
import subprocess
import tempfile
import time
import shutil
import unittest

from serving import CAIRN, run

MAKE_MODEL = os.environ["MAKE_MODEL"]
OTHERWISE = {"CAIRN_ISA": "scalar", "OPENBLAS_CORETYPE": "Nehalem"}


class OtherMachine(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-other-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data, folder = os.path.join(self.dir, "data"), os.path.join(self.dir, "folder")
        os.mkdir(folder)
        subprocess.run([MAKE_MODEL, folder], check=True)
        for args in (["init"], ["tenant", "add", "acme"], ["model", "add", "tiny", folder], ["index", "create", "acme/a", "--embedder", "tiny"]):
            self.cairn(*args)

    # ---------- helpers ----------
    def env(self, other):
        return {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data, **(OTHERWISE if other else {})}

    def cairn(self, *args, code=0, other=False):
        p = subprocess.run([CAIRN, *args], env=self.env(other), capture_output=True, text=True, timeout=120)
        self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def map(self, *args, **how):
        return json.loads(self.cairn(*args, "-o", "json", **how).stdout)

    def rows(self, name, rows):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.writelines(json.dumps({"id": id, "text": text, "labels": labels}) + "\n" for id, text, *labels in rows)
        return path

    def ingest(self, source, rows, *options, other=False):
        return self.map("ingest", "acme/a", self.rows(source + ".jsonl", rows), "--source", source, "--activate", *options, other=other)

    def started(self, *args):
        """A job of the other machine, once it is known to run."""
        p = subprocess.Popen([CAIRN, "ingest", "acme/a", "--source", "b", "--activate", "-o", "json", *args], env=self.env(True), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        end = time.time() + 20
        while time.time() < end and p.poll() is None:
            for job in self.map("jobs", "list", "acme")["jobs"]:
                if job["pid"] == p.pid:
                    return p, job["job"]
            time.sleep(.01)
        return p, None

    def ended(self, p, text, code):
        out, err = p.communicate(text, timeout=60)
        self.assertEqual(p.returncode, code, out + err)
        return json.loads(out) if code == 0 else err

    def documents(self, who):
        return {d["doc"] for d in self.map("documents", "list", "acme/a", "--as", who)["documents"]}

    def text_of(self, id):
        hits = self.map("query", "acme/a", "alpha beta gamma delta", "--as", "public,group:a,group:b", "-k", "100", "--mode", "lexical")["hits"]
        return [h["text"] for h in hits if h["doc"] == id]

    B = json.dumps({"id": "b1", "text": "Delta of b.", "labels": ["public"]}) + "\n"

    # ---------- another source's job came between ----------
    def test_standard_input_is_asked_for_again(self):
        self.ingest("a", [("a1", "Alpha of old.", "public"), ("a2", "Beta.", "public")])
        p, _ = self.started("-", "--format", "jsonl")
        self.ingest("a", [("a1", "Gamma of now.", "group:a"), ("a2", "Beta.", "public")], other=True)
        self.assertIn("run it again", self.ended(p, self.B, 5))
        self.assertEqual((self.text_of("a1"), self.documents("public")), (["Gamma of now."], {"a2"}))
        p, _ = self.started("-", "--format", "jsonl")
        self.assertEqual(self.ended(p, self.B, 0)["counts"]["documents"], 3)
        self.assertEqual((self.text_of("a1"), self.documents("public")), (["Gamma of now."], {"a2", "b1"}))

    def test_files_are_read_again(self):
        for n in (4000, 16000, 64000):
            shutil.rmtree(self.data)
            for args in (["init"], ["tenant", "add", "acme"], ["model", "add", "tiny", os.path.join(self.dir, "folder")], ["index", "create", "acme/a", "--embedder", "tiny"]):
                self.cairn(*args)
            self.ingest("a", [("a1", "Alpha of old.", "public"), ("a2", "Beta.", "public")])
            many = self.rows("b.jsonl", [(f"b{i}", f"Delta {i}.", "public") for i in range(n)])
            p, job = self.started(many, "--threads", "1")
            if job:
                p.send_signal(signal.SIGSTOP)
                sealed = len(self.map("versions", "acme/a")["versions"]) > 1
                if not sealed:
                    self.ingest("a", [("a1", "Gamma of now.", "group:a"), ("a2", "Beta.", "public")], other=True)
                p.send_signal(signal.SIGCONT)
                if not sealed:
                    break
            self.ended(p, None, 0)
        self.assertFalse(sealed, "the job was always faster")
        r = self.ended(p, None, 0)
        self.assertEqual({k: r["counts"][k] for k in ("read", "added", "documents")}, {"read": n, "added": n, "documents": n + 2})
        self.assertEqual(self.text_of("a1"), ["Gamma of now."])
        self.assertEqual(len(self.documents("public")), n + 1)
        self.assertTrue(all(v["job"] for v in self.map("versions", "acme/a")["versions"]))

    # ---------- a list came in force between ----------
    def narrowed(self):
        """Version 2 took group:a from a1, and was made the active one and left again, which a person took back then."""
        self.ingest("a", [("a1", "Alpha.", "group:a", "group:b")])
        self.ingest("a", [("a1", "Alpha.", "group:b")])
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.cairn("release", "acme/a")
        self.cairn("reinstate", "acme/a", "2", "--reason", "a test")
        self.assertEqual(self.documents("group:a"), {"a1"})

    def narrow(self):
        self.cairn("activate", "acme/a", "2", "--reason", "a test")
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.cairn("release", "acme/a")
        self.assertEqual(self.documents("group:a"), set())

    def test_what_was_revoked_meanwhile_stays_so(self):
        self.narrowed()
        p, _ = self.started("-", "--format", "jsonl")
        self.narrow()
        self.assertIn("run it again", self.ended(p, self.B, 5))
        p, _ = self.started("-", "--format", "jsonl")
        self.assertEqual(self.ended(p, self.B, 0)["version"], 3)
        self.assertEqual((self.documents("group:a"), self.documents("public,group:b")), (set(), {"a1", "b1"}))

    def test_what_was_revoked_while_it_was_stopped_stays_so(self):
        self.narrowed()
        p, job = self.started(self.rows("b.jsonl", [(f"b{i}", f"Delta {i}.", "public") for i in range(3000)]), "--threads", "1")
        p.kill()
        p.wait()
        self.narrow()
        r = self.map("ingest", "acme/a", "--resume", job, other=True)
        self.assertEqual((r["counts"]["documents"], self.documents("group:a")), (3001, set()))


if __name__ == "__main__":
    unittest.main()
