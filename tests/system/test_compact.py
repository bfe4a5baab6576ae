"""Compaction as its users see it: answers stay, versions keep their roots, erased documents leave every file. On files and
through a server, one beside the other."""
import json
import os
import signal
import struct
import subprocess
import unittest

from serving import CAIRN, Data, Rpc, Server

SECRET = ["The heliotrope ledger lies under the orangery", "Zyzzyva minutes", "quixotic-cartouche", "palimpsest-of-gules"]


class Compacting(unittest.TestCase):
    def setUp(self):
        self.data = Data(20)
        self.addCleanup(self.data.close)

    def map(self, *args):
        return json.loads(self.data.cairn(*args, "-o", "json").stdout)

    def ingest(self, index, rows, *args):
        path = os.path.join(self.data.dir, "more.jsonl")
        with open(path, "w") as f:
            for r in rows:
                f.write(json.dumps(r) + "\n")
        return self.map("ingest", "acme/" + index, path, *args)

    def files_with(self, text):
        found = []
        for folder, _, names in os.walk(self.data.path):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    if text in f.read():
                        found.append(name)
        return found

    def row(self, i, text, *labels, **more):
        return {"id": f"d{i}", "text": text, "labels": list(labels), "vector": [1, i, 0, 1], **more}

    def history(self):
        """Eight versions: documents changed, narrowed, widened, deleted; denied, hidden, erased, restored; marks of every kind."""
        secret = self.row(100, SECRET[0] + ". " + SECRET[0], "public", title=SECRET[1], meta={"kind": SECRET[2]}, uri="file:///" + SECRET[3])
        secret["vector"] = [0.123456789, -7.7654321, 3.14159274, 2.71828175]
        self.ingest("docs", [secret, self.row(1, "now for all", "public")], "--activate")
        self.ingest("docs", [self.row(2, "narrower", "group:hr"), self.row(3, "other", "public", "group:hr")], "--activate")
        self.ingest("docs", [{**secret, "text": SECRET[0] + " again"}], "--activate")
        self.ingest("docs", [self.row(4, "wide open", "public"), {"id": "d6", "op": "delete"}], "--activate")
        self.data.cairn("rollback", "acme/docs", "--reason", "wrong")
        self.data.cairn("release", "acme/docs")
        self.ingest("docs", [self.row(7, "after", "public", deny=["group:x"]), self.row(8, "needs two", "public", require=["group:hr"])], "--activate")
        self.ingest("docs", [self.row(9, "gone", "public"), self.row(10, "kept", "public")], "--activate")
        self.data.cairn("pin", "acme/docs", "2")
        self.data.cairn("quarantine", "acme/docs", "3")
        self.data.cairn("policy", "deny", "acme", "d10", "--labels", "group:x")
        self.data.cairn("policy", "allow", "acme", "d11", "--labels", "user:ana")
        self.data.cairn("policy", "hide", "acme", "--glob", "d1?")
        self.data.cairn("policy", "erase", "acme", "d9", "--reason", "test")
        self.data.cairn("policy", "restore", "acme", "d9", "--reason", "test")
        self.ingest("docs", [self.row(9, "written anew", "public")], "--activate")
        self.data.cairn("policy", "erase", "acme", "d100", "d12", "--reason", "request 4711")

    def answers(self):
        """What everyone gets of every version: hits with scores, texts and digests, in order; documents; fetched texts."""
        lines = os.path.join(self.data.dir, "questions")
        with open(lines, "w") as f:
            for v in ([1, 2, 3, 1], [1, 9, 0, 0], [0, -1, 0.5, 2]):
                f.write(json.dumps({"vector": v, "k": 50, "mode": "exact"}) + "\n")
        all_of = {}
        for version in range(1, 9):
            for labels in ("public", "public,group:hr", "public,group:x", "user:ana", "group:hr"):
                p = self.data.cairn("query", "acme/docs", "--batch", lines, "--version", str(version), "--as", labels, "-o", "json", check=False)
                out = []
                for line in p.stdout.splitlines():
                    answer = json.loads(line)
                    for made in ("trace_id", "policy_epoch"):
                        answer.get("made_by", {}).pop(made, None)
                    out.append(answer)
                all_of[version, labels] = (p.returncode, out)
        return all_of

    def roots(self):
        return [(v["version"], v["root"], v["state"], v["marks"], v["counts"]) for v in self.map("versions", "acme/docs")["versions"]]

    def differences(self):
        return [self.map("diff", "acme/docs", str(m), str(n)) for m, n in ((1, 8), (5, 8), (7, 8), (4, 5))]

    def test_answers_stay_and_bytes_go(self):
        self.history()
        before, roots = self.answers(), self.roots()
        self.assertTrue(any(out for _, out in before.values()))
        for text in SECRET:
            self.assertTrue(self.files_with(text.encode()), text)
        plan = self.map("compact", "acme/docs", "--dry-run")
        self.assertGreater(plan["segments_before"], plan["segments_after"])
        self.assertEqual((self.answers(), self.roots()), (before, roots))
        server = Server(self.data)
        self.addCleanup(server.stop)
        key = self.data.make_key("--scope", "query,operate,versions,audit", "--labels", "public")
        rpc = Rpc(server)
        rpc.call("auth", key=key)
        asked = dict(index="docs", vector=[1, 2, 3, 1], k=50, mode="exact")
        hits = rpc.call("query", **asked)["hits"]
        r = rpc.call("versions.compact", index="docs", reason="request 4711")
        self.assertEqual((r["erased"], r["versions"], r["gone"]), (3, 8, False))
        self.assertEqual((r["segments_before"], r["segments_after"]), (plan["segments_before"], plan["segments_after"]))
        self.assertEqual(rpc.call("query", **asked)["hits"], hits)
        self.assertEqual((self.answers(), self.roots()), (before, roots))
        stands = rpc.call("incident.which_versions", index="docs", doc="d100")["versions"]
        self.assertTrue(stands and all(s["erased"] and s["content"] == "" for s in stands), stands)
        self.assertTrue(all(s["labels"]["allow"] == [] for s in stands))
        again = self.ingest("docs", [self.row(100, "back again?", "public")])
        self.assertEqual((again["counts"]["rejected"], again.get("version", 0)), (1, 0))
        last = self.map("compact", "acme/docs", "--wait")
        self.assertEqual((last["gone"], last["pending"], last["rewritten"]), (True, 0, 0))
        self.assertGreater(last["files"], 0)
        for text in SECRET:
            self.assertEqual(self.files_with(text.encode()), [], text)
        self.assertEqual(self.files_with(struct.pack("<4f", 0.123456789, -7.7654321, 3.14159274, 2.71828175)), [])
        self.assertEqual((self.answers(), self.roots()), (before, roots))
        self.assertEqual(rpc.call("query", **asked)["hits"], hits)
        chain = self.map("audit", "show", "acme")["records"]
        told = [a for a in chain if a["action"] == "version.compact"]
        self.assertEqual((len(told), told[0]["detail"]["erased"], told[0]["reason"]), (1, 3, "request 4711"))
        self.assertEqual({d["doc"] for d in told[0]["detail"]["documents"]}, {"d9", "d12", "d100"})
        gone = [a for a in chain if a["action"] == "version.erased"]
        self.assertTrue(gone and all(a["detail"]["compacted"] == told[0]["seq"] for a in gone), gone)
        self.assertEqual(self.data.cairn("audit", "verify", "acme").returncode, 0)
        self.assertEqual(self.data.cairn("doctor", check=False).returncode, 0)

    def test_jobs_see_stubs_as_documents_that_can_go(self):
        """The same counts and roots as where nothing was compacted."""
        first = [self.row(i, f"text {i}", "public") for i in range(6)]
        ends = []
        for name in ("one", "two"):
            self.data.cairn("index", "create", "acme/" + name, "--embedder", "none")
            self.ingest(name, first, "--activate")
        self.data.cairn("policy", "erase", "acme", "d2", "d3", "--reason", "test")
        self.assertEqual(self.map("compact", "acme/one")["erased"], 2)
        self.data.cairn("policy", "restore", "acme", "d3", "--reason", "test")
        for name in ("one", "two"):
            steps = [self.ingest(name, first + [self.row(7, "new", "public")]),
                     self.ingest(name, [r for r in first if r["id"] != "d2"], "--sync", "--max-deleted", "10"),
                     self.ingest(name, first[:2], "--sync", "--max-deleted", "10")]
            ends.append([(s["counts"], s["root"]) for s in steps])
        self.assertEqual(ends[0], ends[1])
        self.assertEqual(ends[0][0][0]["rejected"], 1)
        self.assertEqual(ends[0][0][0]["changed"], 1)

    def test_why_a_row_was_rejected_quotes_nothing_of_it(self):
        r = self.ingest("docs", [self.row(50, "fine", "public", modified=SECRET[0]), self.row(51, "fine", "public", op=SECRET[1])])
        self.assertEqual(r["counts"]["rejected"], 2)
        listed = self.map("jobs", "show", "acme", r["job"], "--rejected")
        self.assertIn("not a time", json.dumps(listed))
        for text in SECRET[:2]:
            self.assertEqual(self.files_with(text.encode()), [])

    def killed_job(self, rows, written):
        """A job that was killed when it had written so many bytes, what its first row says among them."""
        path = os.path.join(self.data.dir, "long.jsonl")
        folder = os.path.join(self.data.path, "tenants", "acme", "segments")
        with open(path, "w") as f:
            for r in rows:
                f.write(json.dumps(r) + "\n")
        p = subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/docs", path, "--source", "long"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)) < written or not self.files_with(SECRET[0].encode()):
            self.assertIsNone(p.poll(), "it ended too soon")
        p.send_signal(signal.SIGKILL)
        p.wait()
        job = self.map("jobs", "list", "acme")["jobs"][0]
        self.assertEqual(job["state"], "interrupted")
        return job["job"]

    def erase_beside(self, rows, written):
        """When compact says that it is gone, it is gone, also from the file that the job would be resumed with."""
        job = self.killed_job(rows, written)
        self.data.cairn("policy", "erase", "acme", "d1000", "--source", "long", "--reason", "request 4711")
        self.assertTrue(self.files_with(SECRET[0].encode()))
        self.assertTrue([f for f in self.map("doctor")["findings"] if "erased documents" in f["detail"]])
        self.assertTrue(self.map("compact", "acme/docs", "--wait")["gone"])
        self.assertEqual(self.files_with(SECRET[0].encode()), [])
        r = self.data.cairn("ingest", "acme/docs", "--resume", job, "-o", "json", check=False)
        counts = json.loads(r.stdout)["counts"]
        self.assertEqual((counts["read"], counts["rejected"], counts["added"]), (len(rows), 1, len(rows) - 1))
        self.assertEqual(self.files_with(SECRET[0].encode()), [])

    def test_an_erasure_reaches_what_a_killed_job_had_written(self):
        rows = [self.row(1000, SECRET[0] + " words" * 300, "public")] + [self.row(1001 + i, f"other {i} " + "words " * 300, "public") for i in range(30000)]
        self.erase_beside(rows, 30 << 20)
        chain = self.map("audit", "show", "acme")["records"]
        left, gone = [[a for a in chain if a["action"] == "version." + what] for what in ("leftover", "erased")]
        self.assertTrue(len(left) == 1 and gone and gone[0]["detail"]["compacted"] == left[0]["seq"], chain)

    def test_an_erasure_reaches_what_a_killed_job_was_writing(self):
        """Before its first commit, as a rule."""
        self.erase_beside([self.row(1000, SECRET[0] + " words" * 150, "public")] + [self.row(1001 + i, f"other {i} " + "words " * 150, "public") for i in range(30000)], 0)

    def test_the_file_of_a_cancelled_job_goes_at_once(self):
        """Killed, then cancelled: nobody will go on with it."""
        folder = os.path.join(self.data.path, "tenants", "acme", "segments")
        p = subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/docs", "-", "--format", "jsonl"], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        for i in range(30000):
            p.stdin.write(json.dumps(self.row(1000 + i, SECRET[0] + f" {i} " + "words " * 150, "public")) + "\n")
        p.stdin.flush()
        while not self.files_with(SECRET[0].encode()):
            pass
        p.send_signal(signal.SIGKILL)
        p.wait()
        p.stdin = None
        job = self.map("jobs", "list", "acme")["jobs"][0]
        self.assertEqual(job["state"], "interrupted")
        before = len(os.listdir(folder))
        self.data.cairn("jobs", "cancel", "acme", job["job"])
        self.assertLess(len(os.listdir(folder)), before)
        self.assertEqual(self.files_with(SECRET[0].encode()), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
