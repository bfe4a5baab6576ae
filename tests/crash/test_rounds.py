"""kill -9 of whatever works on one data directory, at random moments: nothing acknowledged is lost, nothing unacknowledged is
half there, the next start needs no hand, and a resumed job ends with the root of one that nobody disturbed.

What is killed is a row of VICTIMS: a program, and what of the state it may change. CAIRN_SEED repeats a run."""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from serving import CAIRN, Data, Failed, Rpc, Server, count, seed

ROUNDS = count(20, 300)
VECTOR = [1.0, 2.0, 0.0, 1.0]
DOCS = [f"d{i}" for i in range(12)]


class Rounds(unittest.TestCase):
    def setUp(self):
        self.number = seed(random.randrange(1 << 30))
        print(f"CAIRN_SEED={self.number}", file=sys.stderr)
        self.r = random.Random(self.number)
        self.data = Data(len(DOCS))
        self.addCleanup(self.data.close)
        self.data.cairn("index", "set", "acme/docs", "--keep-versions", "100000")
        self.data.cairn("ingest", "acme/docs", "-", "--activate", text='{"id":"one","text":"more","labels":["public"],"vector":[1,1,1,1]}\n')
        self.key = self.data.make_key("--scope", "query,ingest,activate,versions,policy,audit,admin,operate", "--labels", "public")
        self.done = Counter()
        self.puts = 0
        self.usual = {}  # seconds that a command of this name takes

    # --- the state: what commands on files see of it ---
    def map(self, *args):
        return json.loads(self.data.cairn(*args, "-o", "json").stdout)

    def state(self):
        versions = self.map("versions", "acme/docs")
        policy = self.map("policy", "show", "acme", *DOCS)["documents"]
        documents = self.map("documents", "list", "acme/docs", "--limit", "10000", "--as", "public,group:hr")["documents"]
        return {"active": versions["active"], "versions": len(versions["versions"]),
                "policy": {d["doc"]: (sorted(d["denied"]), d["hidden"]) for d in policy},
                "seen": {d["doc"] for d in documents}, "members": {m["member"]: sorted(m["labels"]) for m in self.map("member", "list", "acme")["members"]}}

    # --- operations: (method, fields, command) chosen at random; what they make of a state ---
    def operation(self, known):
        kind = self.r.choice(["put", "activate", "deny", "clear", "hide", "unhide", "member"])
        doc = self.r.choice(DOCS)
        if kind == "put":
            self.puts += 1
            row = {"id": f"p{self.puts}", "text": f"put {self.puts}", "labels": ["public"], "vector": VECTOR}
            return kind, "documents.put", {"index": "docs", "activate": True, "documents": [row]}, None
        if kind == "activate":
            to = self.r.randint(1, known["versions"])
            return kind, "versions.activate", {"index": "docs", "version": to, "reason": "test"}, ["activate", "acme/docs", str(to), "--reason", "test"]
        if kind == "member":
            name, group = f"user:u{self.r.randint(1, 9)}", f"group:g{self.r.randint(1, 9)}"
            return kind, "members.set", {"member": name, "labels": [group]}, ["member", "set", "acme", name, group]
        labels = {"labels": ["group:x"]} if kind == "deny" else {}
        words = ["--labels", "group:x"] if kind == "deny" else []
        return kind, "policy." + kind, {"docs": [doc], **labels}, ["policy", kind, "acme", doc, *words]

    @staticmethod
    def apply(s, kind, fields):
        """A state after an operation; what is seen follows from version and policy, and is compared as it is."""
        s = {**s, "policy": dict(s["policy"]), "members": dict(s["members"])}
        for doc in fields.get("docs", ()):
            denied, hidden = s["policy"][doc]
            s["policy"][doc] = (["group:x"], hidden) if kind == "deny" else ([], hidden) if kind == "clear" else (denied, kind == "hide")
        if kind == "activate":
            s["active"] = fields["version"]
        if kind == "put":
            s["versions"] += 1
            s["active"] = s["versions"]
        if kind == "member":
            s["members"][fields["member"]] = fields["labels"]
        return s

    def agrees(self, found, *allowed):
        same = lambda a, b: all(a[k] == b[k] for k in ("active", "versions", "policy", "members"))
        self.assertTrue(any(same(found, a) for a in allowed), f"CAIRN_SEED={self.number}, round {sum(self.done.values())}: {found}\nis none of {allowed}")
        self.assertEqual({d for d in DOCS if found["policy"][d][1]} & found["seen"], set())

    # --- victims ---
    def server(self, known):
        """A server, while a client changes things. The states that may be found: as acknowledged, or one operation on."""
        server = Server(self.data)
        conn = Rpc(server, self.key)
        timer = threading.Timer(self.r.uniform(0, 0.4), lambda: server.p.kill())
        timer.start()
        doubtful, acknowledged, kind = None, 0, None
        try:
            while True:
                kind, method, fields, _ = self.operation(known)
                doubtful = self.apply(known, kind, fields)
                conn.call(method, **fields)
                known, doubtful = doubtful, None
                acknowledged += 1
        except (Failed, OSError) as e:
            self.assertTrue(isinstance(e, OSError) or "closed" in str(e), e)
        timer.join()
        server.p.wait(30)
        server.log_file.close()
        self.done["acknowledged"] += acknowledged
        between = [{**doubtful, "active": known["active"]}] if doubtful and kind == "put" else []  # sealed, and not yet active
        return [known] + between + [doubtful] * (doubtful is not None)

    def killed(self, *args):
        """Runs a command and kills it after a random time; whether it had ended well before."""
        p = subprocess.Popen([CAIRN, *args], env={**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data.path},
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        began = time.monotonic()
        try:
            p.wait(self.r.uniform(0, self.usual.get(args[0], 0.2)))
            self.usual[args[0]] = time.monotonic() - began
        except subprocess.TimeoutExpired:
            p.kill()
        err = p.communicate()[1]
        self.assertIn(p.returncode, (0, -9), err)
        self.done["ended before" if p.returncode == 0 else "killed"] += 1
        return p.returncode == 0

    def command(self, known, kinds):
        while True:
            kind, _, fields, args = self.operation(known)
            if kind in kinds:
                break
        after = self.apply(known, kind, fields)
        return [after] if self.killed(*args) else [known, after]

    def flip(self, known):
        return self.command(known, ("activate",))

    def policy(self, known):
        return self.command(known, ("deny", "clear", "hide", "unhide"))

    def gc(self, known):
        self.killed("gc", "acme/docs")
        return [known]

    def ingest(self, known):
        """A job into an index of its own, killed until it ends; the root is that of a job that nobody disturbs."""
        n = self.done["ingest"]
        rows = os.path.join(self.data.dir, f"rows{n}")
        with open(rows, "w") as f:
            for i in range(self.r.randint(3000, 12000)):
                f.write(json.dumps({"id": f"i{i}", "text": f"row {i} of {n}. " * 3, "labels": ["public"], "vector": [1, i % 7, i % 5, 1]}) + "\n")
        for name in (f"whole{n}", f"killed{n}"):
            self.data.cairn("index", "create", "acme/" + name, "--embedder", "none")
        args = ["ingest", f"acme/killed{n}", rows]
        for _ in range(4):
            if self.killed(*args):
                break
            jobs = [j for j in self.map("jobs", "list", "acme")["jobs"] if j["index"] == f"killed{n}"]
            if jobs and jobs[0]["state"] == "interrupted":
                args = ["ingest", f"acme/killed{n}", "--resume", jobs[0]["job"]]
                self.done["interrupted"] += 1
            elif jobs and jobs[0]["state"] != "interrupted":
                break
        else:
            self.data.cairn(*args)
        versions = self.map("versions", f"acme/killed{n}")["versions"]
        whole = self.map("ingest", f"acme/whole{n}", rows)
        self.assertEqual([v["root"] for v in versions], [whole["root"]], f"CAIRN_SEED={self.number}")
        for name in (f"whole{n}", f"killed{n}"):
            self.data.cairn("index", "drop", "acme/" + name)
        return [known]

    VICTIMS = {"server": 4, "flip": 3, "policy": 3, "gc": 1, "ingest": 2}

    def test_killed_at_random_moments(self):
        known = self.state()
        for n in range(ROUNDS):
            victim = (self.r.choices(list(self.VICTIMS), list(self.VICTIMS.values())) if n >= len(self.VICTIMS) else list(self.VICTIMS)[n:])[0]
            allowed = getattr(self, victim)(known)
            self.done[victim] += 1
            found = self.state()
            self.agrees(found, *allowed)
            known = found
            if n % 10 == 9:
                for args in (["scrub"], ["audit", "verify", "acme"]):
                    self.data.cairn(*args)
        self.data.cairn("doctor")
        server = Server(self.data)
        self.assertEqual({d["doc"] for d in Rpc(server, self.key).call("documents.list", index="docs", limit=10000)["documents"]} - found["seen"], set())
        self.assertEqual(server.stop(signal.SIGTERM), 0)
        print(dict(self.done), file=sys.stderr)
        self.assertGreater(self.done["acknowledged"], 0)
        self.assertGreater(self.done["killed"], 0)


if __name__ == "__main__":
    unittest.main()
