"""Rows that a job makes anew, since this machine computes a model's vectors otherwise than the one before did, are those of the head of
then: another source's, and what lists in force left of them. No version is made of them when the head or the lists are others by now."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from serving import CAIRN, stop_between

MAKE_MODEL = os.environ["MAKE_MODEL"]
OTHERWISE = {"CAIRN_ISA": "scalar", "OPENBLAS_CORETYPE": "Nehalem"}


class OtherMachine(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-other-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data, folder = os.path.join(self.dir, "data"), os.path.join(self.dir, "folder")
        os.mkdir(folder)
        subprocess.run([MAKE_MODEL, folder], check=True)
        for args in (["init"], ["tenant", "add", "acme"], ["model", "add", "tiny", folder], ["index", "create", "acme/a", "--embedder", "tiny", "--precision", "fp32"]):
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
        """A job of the other machine, once it reads its input, or has rows of it; None: it was faster."""
        segments = os.path.join(self.data, "tenants/acme/segments")
        before = len(os.listdir(segments))
        p = subprocess.Popen([CAIRN, "ingest", "acme/a", "--source", "b", "--activate", "-o", "json", *args], env=self.env(True), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        end = time.time() + 20
        while time.time() < end and p.poll() is None:
            for job in self.map("jobs", "list", "acme")["jobs"]:
                if job["pid"] == p.pid and (job["step"] == "reading" or len(os.listdir(segments)) > before):
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
        self.ingest("a", [("a1", "Alpha of old.", "public"), ("a2", "Beta.", "public")])
        n = 20000
        p, job = self.started(self.rows("b.jsonl", [(f"b{i}", f"Delta {i}.", "public") for i in range(n)]), "--threads", "1")
        stop_between(p.pid, os.path.join(self.data, "tenants/acme"))
        self.assertEqual((job is None, len(self.map("versions", "acme/a")["versions"])), (False, 1))
        self.ingest("a", [("a1", "Gamma of now.", "group:a"), ("a2", "Beta.", "public")], other=True)
        p.send_signal(signal.SIGCONT)
        r = self.ended(p, None, 0)
        self.assertEqual({k: r["counts"][k] for k in ("read", "added", "documents")}, {"read": n, "added": n, "documents": n + 2})
        self.assertEqual(self.text_of("a1"), ["Gamma of now."])
        self.assertEqual((self.documents("group:a"), "a1" in self.documents("public")), ({"a1"}, False))

    def test_what_a_job_deletes_is_not_made_anew(self):
        """Its machine made the head, and another one the next: rows and the rest are made again, without what it deletes."""
        delete = json.dumps({"id": "b1", "op": "delete"}) + "\n"
        for options, text, left in ((["--format", "jsonl"], delete, {"b2"}), (["--format", "jsonl"], delete + json.dumps({"id": "b3", "text": "Delta.", "labels": ["public"]}) + "\n", {"b2", "b3"}),
                                    (["--format", "jsonl", "--sync"], self.B.replace("b1", "b4"), {"b4"})):
            with self.subTest(left=left):
                self.ingest("a", [("a1", "Alpha of old.", "public"), ("a2", "Beta.", "public")], other=True)
                self.ingest("b", [("b1", "Alpha.", "public"), ("b2", "Beta.", "public")], "--sync", other=True)
                p, _ = self.started("-", *options)
                self.ingest("a", [("a1", "Gamma of now.", "public"), ("a2", "Beta.", "public")])
                r = self.ended(p, text, 0)
                self.assertEqual((self.documents("public"), r["counts"]["documents"], r["counts"]["deleted"]), ({"a1", "a2"} | left, 2 + len(left), 2 - len(left & {"b1", "b2"})))

    def test_the_rest_is_not_of_the_source(self):
        """A source that holds no document deletes none without being asked, though rows of others are made anew."""
        self.ingest("a", [("a1", "Alpha of old.", "public")])
        self.ingest("b", [("b1", "Beta.", "public")])
        path = self.rows("b.jsonl", [])
        with open(path, "w") as f:
            f.write(json.dumps({"id": "b1", "op": "delete"}) + "\n")
        r = json.loads(self.cairn("ingest", "acme/a", path, "--source", "b", "--sync", "--activate", "-o", "json", other=True, code=5).stdout)
        self.assertEqual((r["state"], r["counts"]["deleted"], self.documents("public")), ("guarded", 1, {"a1", "b1"}))

    def test_no_head_is_left(self):
        """What is read once more would be a version of this source alone."""
        self.cairn("ingest", "acme/a", self.rows("a.jsonl", [("a1", "Alpha of old.", "public")]), "--source", "a", "--no-activate")
        p, job = self.started(self.rows("b.jsonl", [(f"b{i}", f"Delta {i}.", "public") for i in range(20000)]), "--threads", "1")
        stop_between(p.pid, os.path.join(self.data, "tenants/acme"))
        self.assertIsNotNone(job)
        self.cairn("quarantine", "acme/a", "1")
        p.send_signal(signal.SIGCONT)
        self.assertIn("set aside", self.ended(p, None, 5))

    # ---------- a list came in force between ----------
    def narrowed(self, *more):
        """Version 2's list takes group:b from a1 of version 1; version 3 would take group:a, and is set aside."""
        for labels in (("group:a", "group:b", "group:c"), ("group:a", "group:c")):
            self.ingest("a", [("a1", "Alpha.", *labels), *more])
        self.roll_back()
        self.cairn("ingest", "acme/a", self.rows("a.jsonl", [("a1", "Alpha.", "group:b", "group:c"), *more]), "--source", "a", "--no-activate")
        self.cairn("quarantine", "acme/a", "3", "--reason", "a test")
        self.assertEqual((self.documents("group:a"), self.documents("group:b")), ({"a1"}, set()))

    def roll_back(self):
        self.cairn("rollback", "acme/a", "--reason", "a test")
        self.cairn("release", "acme/a")

    def narrow(self):
        self.cairn("unquarantine", "acme/a", "3")
        self.cairn("activate", "acme/a", "3")
        self.roll_back()
        self.assertEqual(self.documents("group:a,group:b"), set())

    def test_what_was_revoked_meanwhile_stays_so(self):
        self.narrowed()
        p, _ = self.started("-", "--format", "jsonl")
        self.narrow()
        self.assertIn("run this again", self.ended(p, self.B, 5))
        p, _ = self.started("-", "--format", "jsonl")
        self.assertEqual(self.ended(p, self.B, 0)["version"], 4)
        self.assertEqual((self.documents("group:a,group:b"), self.documents("public,group:c")), (set(), {"a1", "b1"}))

    def test_lists_put_into_other_files_are_the_same(self):
        self.narrowed(("a2", "Beta.", "public"))
        self.cairn("policy", "erase", "acme", "a2", "--source", "a", "--reason", "so that there is a file to make anew")
        p, _ = self.started("-", "--format", "jsonl")
        self.assertGreater(self.map("compact", "acme/a")["made"], 0)
        self.assertEqual(self.ended(p, self.B, 0)["version"], 4)
        self.assertEqual((self.documents("group:b"), self.documents("group:a")), (set(), {"a1"}))

    def test_what_was_revoked_while_it_was_stopped_stays_so(self):
        self.narrowed(*((f"a{i}", f"Beta {i}.", "public") for i in range(2, 30000)))
        p, job = self.started(self.rows("b.jsonl", [("b1", "Delta of b.", "public")]), "--threads", "1")
        stop_between(p.pid, os.path.join(self.data, "tenants/acme"))
        time.sleep(2.2)  # rows are committed every two seconds
        segments = os.path.join(self.data, "tenants/acme/segments")
        path = max((os.path.join(segments, n) for n in os.listdir(segments)), key=os.path.getctime)
        before = os.path.getsize(path)
        p.send_signal(signal.SIGCONT)
        while os.path.getsize(path) == before:
            time.sleep(.002)
        p.kill()
        p.wait()
        self.assertEqual(self.map("jobs", "show", "acme", job)["state"], "interrupted")
        self.narrow()
        r = self.map("ingest", "acme/a", "--resume", job, other=True)
        self.assertEqual((r["version"], r["counts"]["documents"], self.documents("group:a,group:b")), (4, 30000, set()))


if __name__ == "__main__":
    unittest.main()
