"""`cairn ingest` killed with SIGKILL at random moments and resumed: the root is that of a job nobody disturbed. `cairn compact`
killed likewise: answers and roots stay, what is left behind is swept, and the next one ends.

CAIRN_KILLS sets the jobs of each kind (4, or 20 with CAIRN_TEST_LONG=1); the seed is printed, and CAIRN_SEED repeats it."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from serving import CAIRN, count, run, seed

JOBS = int(os.environ.get("CAIRN_KILLS") or count(4, 20))
KILLS = 5  # of one job, at most: then it may end
SEED = seed(random.randrange(1 << 30))


class Killed(unittest.TestCase):
    def setUp(self):
        print("seed", SEED, file=sys.stderr)
        self.random = random.Random(SEED)
        self.dir = tempfile.mkdtemp(prefix="cairn-crash-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = os.path.join(self.dir, "data")
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data}
        self.cairn("init")
        self.cairn("tenant", "add", "acme")

    def cairn(self, *args):
        return run(*args, data=self.data)

    def map(self, *args):
        return json.loads(self.cairn(*args, "-o", "json").stdout)

    def newest(self, index):
        jobs = [j for j in self.map("jobs", "list", "acme")["jobs"] if j["index"] == index]
        return jobs[0] if jobs else None

    def kill_once(self, index, args, longest):
        """Starts or resumes the job and kills it after a random time. Its last state; "none": it had not entered itself."""
        job = before = self.newest(index)
        how = ["--resume", job["job"]] if job and job["state"] == "interrupted" else args
        p = subprocess.Popen([CAIRN, "ingest", "acme/" + index, *how], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            p.wait(self.random.uniform(0, longest))
        except subprocess.TimeoutExpired:
            p.kill()
        err = p.communicate()[1]
        self.assertIn(p.returncode, (0, -9), err)
        job = self.newest(index)
        return job["state"] if job and (job != before or how[0] == "--resume") else "none"

    def finish(self, index, args):
        job = self.newest(index)
        if job and job["state"] == "interrupted":
            return self.map("ingest", "acme/" + index, "--resume", job["job"])
        return self.map("ingest", "acme/" + index, *args)

    def check(self, options, args, before=None):
        def make(name):
            self.cairn("index", "create", "acme/" + name, *options)
            if before:
                self.cairn("ingest", "acme/" + name, *before, "--activate")

        make("whole")
        start = time.time()
        whole = self.map("ingest", "acme/whole", *args)
        longest = (time.time() - start) * 1.1
        self.assertEqual(whole["rejected"], 0, self.map("jobs", "show", "acme", whole["job"], "--rejected"))
        kills = 0
        for i in range(JOBS):
            name = f"k{i}"
            make(name)
            old = self.map("versions", "acme/" + name)["versions"]
            for _ in range(KILLS):
                state = self.kill_once(name, args, longest)
                kills += state == "interrupted"
                if state in ("done", "unchanged"):
                    break
                self.assertEqual(self.map("versions", "acme/" + name).get("active", 0), len(old))
            self.finish(name, args)
            versions = self.map("versions", "acme/" + name)["versions"]
            self.assertEqual(len(versions), len(old) + 1)
            last = max(versions, key=lambda v: v["version"])
            self.assertEqual((last["root"], last["documents"]), (whole["root"], whole["counts"]["documents"]))
        self.cairn("gc", "acme/whole")
        print(f"{kills} jobs were killed while they ran", file=sys.stderr)

    def rows(self, name, ids, say):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            for i in ids:
                f.write(json.dumps({"id": f"d{i}", "text": f"Row {i} {say}. " * 5, "labels": [f"group:g{i % 7}"], "vector": [i % 11 + 1, i % 13, 1, 0.5]}) + "\n")
        return path

    def answers(self, index, versions):
        lines = os.path.join(self.dir, "q")
        with open(lines, "w") as f:
            f.write(json.dumps({"vector": [3, 5, 1, 0.5], "k": 20, "mode": "exact"}) + "\n")
        out = [json.loads(self.cairn("query", "acme/" + index, "--batch", lines, "--version", str(v), "--as", "group:g3", "-o", "json").stdout) for v in versions]
        return [[(h["doc"], h["score"], h["digest"]) for h in a["hits"]] for a in out]

    def roots(self, index):
        return [(v["version"], v["root"]) for v in self.map("versions", "acme/" + index)["versions"]]

    def test_compaction(self):
        segments = os.path.join(self.data, "tenants", "acme", "segments")
        killed, longest = 0, 0.1
        for i in range(JOBS + 1): # the first is left alone, and says how long it takes
            name = f"c{i}"
            self.cairn("index", "create", "acme/" + name, "--embedder", "none")
            for step in range(3):
                self.cairn("ingest", "acme/" + name, self.rows("r.jsonl", range(step * 4000, step * 4000 + 5000), f"at step {step}"), "--activate")
            self.cairn("policy", "erase", "acme", f"d{4100 + i}", "--reason", "test")
            versions, roots = (1, 2, 3), self.roots(name)
            before = self.answers(name, versions)
            self.assertTrue(all(before))
            for _ in range(KILLS if i else 0):
                p = subprocess.Popen([CAIRN, "compact", "acme/" + name], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                try:
                    p.wait(self.random.uniform(0, longest))
                except subprocess.TimeoutExpired:
                    p.kill()
                err = p.communicate()[1]
                self.assertIn(p.returncode, (0, -9), err)
                killed += p.returncode == -9
                self.assertEqual((self.answers(name, versions), self.roots(name)), (before, roots))
            start = time.time()
            end = self.map("compact", "acme/" + name)
            longest = max(longest, time.time() - start)
            self.assertEqual(self.map("compact", "acme/" + name)["rewritten"], 0)
            self.assertEqual((self.answers(name, versions), self.roots(name)), (before, roots))
        for f in os.listdir(segments): # an hour passes for what was never named
            os.utime(os.path.join(segments, f), (1, 1))
        last = self.map("compact", "acme/c0", "--wait")
        self.assertTrue(last["gone"])
        named = {f.split(".")[0] for f in os.listdir(segments)}
        self.assertEqual(len(named), (JOBS + 1) * (end["segments_after"] + 3)) # and a file of its own for each version
        self.cairn("audit", "verify", "acme")
        print(f"{killed} compactions were killed while they ran", file=sys.stderr)

    def test_rows_with_vectors(self):
        rows = self.rows("r.jsonl", range(30000), "says so")
        self.check(["--embedder", "none"], [rows])

    def test_an_increment_with_deletions(self):
        before = self.rows("a.jsonl", range(20000), "says so")
        after = self.rows("b.jsonl", [i for i in range(3000, 30000) if i % 5], "says so")
        self.check(["--embedder", "none"], [after, "--sync", "--max-deleted", "10000"], before=[before])

    def test_documents_that_are_parsed_and_embedded(self):
        folder = os.path.join(self.dir, "folder")
        os.mkdir(folder)
        subprocess.run([os.environ["MAKE_MODEL"], folder], check=True)
        self.cairn("model", "add", "tiny", folder)
        docs = os.path.join(self.dir, "docs")
        os.mkdir(docs)
        words = "time person year way day thing man world life hand part child eye woman place work week".split()
        for i in range(150):
            text = " ".join(" ".join(self.random.choices(words, k=9)).capitalize() + "." for _ in range(60))
            with open(os.path.join(docs, f"{i:03}.{('md', 'html', 'txt')[i % 3]}"), "w") as f:
                f.write(("# H\n\n", "<h1>H</h1><p>", "")[i % 3] + text)
        self.check(["--embedder", "tiny", "--chunker", "structure tokens=30 overlap=4"], [docs, "--label", "public"])


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
