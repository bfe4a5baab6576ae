"""kill -9 of whatever works on one data directory, at random moments: nothing acknowledged is lost, nothing unacknowledged is
half there, the next start needs no hand, a resumed job ends with the root of one that nobody disturbed, and at the end no file
holds what was erased.

What is killed is a row of VICTIMS: its weight, and for commands the operations it chooses from. CAIRN_SEED repeats a run."""
import copy
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
from serving import CAIRN, LONG, Data, Failed, Rpc, Server, count, seed

ROUNDS = count(26, 300)
VECTOR = [1.0, 2.0, 0.0, 1.0]
DOCS = [f"d{i}" for i in range(12)]
SCOPES = "query,ingest,activate,versions,policy,audit,admin,operate"
WHY = ["--reason", "test"]


class Operations:
    """One of each kind, chosen for a state: (method, fields, command, the state afterwards), or None where that state has no room for
    it. Without a method it is for commands alone. Each is one transaction, but for `put`: that seals, then activates."""

    def __init__(self, r, folder):
        self.r, self.folder, self.n = r, folder, 0
        self.ids = {}      # which index a key is for, a name of its own: its id
        self.secrets = {}  # id of a document that is there to be erased: its text
        self.tried = set() # those whose erasure was begun

    def number(self):
        self.n += 1
        return self.n

    def make(self, kind, known):
        after = copy.deepcopy(known)
        made = getattr(self, kind)(after)
        return made and (*made, after)

    def put(self, s):
        n = self.number()
        s["versions"] += 1
        if not s["hold"]:
            self.point(s, s["versions"])
        row = {"id": f"p{n}", "text": f"put {n}", "labels": ["public"], "vector": VECTOR}
        return "documents.put", {"index": "docs", "activate": True, "documents": [row]}, None

    # --- versions ---
    @staticmethod
    def marks(s, version, add=(), take=()):
        left = set(s["marks"].get(version, ())) - set(take) | set(add)
        s["marks"].pop(version, None)
        if left:
            s["marks"][version] = sorted(left)

    def point(self, s, version):
        s["active"] = version
        self.marks(s, version, take=["suspect"])
        if version not in s["order"]:
            s["order"].append(version)

    def good(self, s, versions):
        return [v for v in versions if "quarantined" not in s["marks"].get(v, ())]

    def version(self, name, to):
        return f"versions.{name}", {"index": "docs", "version": to, "reason": "test"}, [name, "acme/docs", str(to), *WHY]

    def activate(self, s):
        to = self.r.choice(self.good(s, range(1, s["versions"] + 1)))
        self.point(s, to)
        return self.version("activate", to)

    def rollback(self, s):
        before = self.good(s, s["order"][:s["order"].index(s["active"])])
        if not before:
            return None
        to = self.r.choice(before)
        self.marks(s, s["active"], add=["suspect"])
        self.point(s, to)
        s["hold"] = True
        return "versions.rollback", {"index": "docs", "to": to, "reason": "test"}, ["rollback", "acme/docs", "--to", str(to), *WHY]

    def release(self, s):
        if not s["hold"]:
            return None
        s["hold"] = False
        return "versions.release", {"index": "docs"}, ["release", "acme/docs"]

    def mark(self, s, name, to):
        marked = {"pin": "pinned", "quarantine": "quarantined"}[name]
        has = marked in s["marks"].get(to, ())
        self.marks(s, to, *([(), [marked]] if has else [[marked]]))
        return self.version("un" + name if has else name, to)

    def pin(self, s):
        return self.mark(s, "pin", self.r.randint(1, s["versions"]))

    def quarantine(self, s):
        """Of two at most, so that one is left to go to."""
        marked = [v for v in s["marks"] if "quarantined" in s["marks"][v]]
        others = [v for v in range(1, s["versions"] + 1) if v != s["active"]]
        return self.mark(s, "quarantine", self.r.choice(marked if len(marked) > 1 else others)) if others else None

    def gc(self, s):
        return "versions.gc", {"index": "docs"}, ["gc", "acme/docs"]

    def compact(self, s):
        return "versions.compact", {"index": "docs"}, ["compact", "acme/docs"]

    # --- policy ---
    @staticmethod
    def set(s, doc, **to):
        s["policy"][doc] = {**s["policy"][doc], **to}

    def change(self, s, op, doc, labels=(), **to):
        self.set(s, doc, **to)
        return ("policy." + op, {"docs": [doc], "reason": "test", **({"labels": labels} if labels else {})},
                ["policy", op, "acme", doc, *(["--labels", ",".join(labels)] if labels else []), *WHY])

    def deny(self, s):
        return self.change(s, "deny", self.r.choice(DOCS), ["group:x"], denied=["group:x"])

    def clear(self, s):
        return self.change(s, "clear", self.r.choice(DOCS), denied=[])

    def hide(self, s):
        return self.change(s, "hide", self.r.choice(DOCS), hidden=True)

    def unhide(self, s):
        return self.change(s, "unhide", self.r.choice(DOCS), hidden=False)

    def secret(self, s, erased):
        return [d for d in self.secrets if d in s["policy"] and s["policy"][d]["erased"] == erased]

    def erase(self, s):
        docs = self.secret(s, False)
        if not docs:
            return None
        doc = self.r.choice(docs)
        self.tried.add(doc)
        return self.change(s, "erase", doc, erased=True)

    def restore(self, s):
        docs = self.secret(s, True)
        return self.change(s, "restore", self.r.choice(docs), erased=False) if docs else None

    def apply(self, s):
        """All of the file or nothing."""
        changes = [{"op": "hide", "docs": self.r.sample(DOCS, 3)}, {"op": "deny", "docs": self.r.sample(DOCS, 3), "labels": ["group:x"]}]
        for c in changes:
            for d in c["docs"]:
                self.set(s, d, **({"hidden": True} if c["op"] == "hide" else {"denied": ["group:x"]}))
        path = os.path.join(self.folder, "changes")
        with open(path, "w") as f:
            f.writelines(json.dumps(c) + "\n" for c in changes)
        return "policy.apply", {"changes": changes, "reason": "test"}, ["policy", "apply", "acme", path, *WHY]

    # --- who and where ---
    def member(self, s):
        name, group = f"user:u{self.r.randint(1, 9)}", f"group:g{self.r.randint(1, 9)}"
        s["members"][name] = [group]
        return "members.set", {"member": name, "labels": [group]}, ["member", "set", "acme", name, group]

    def name(self, s, what, first):
        """A new name, or one of those there are: whether it goes."""
        names = sorted(n for n in s[what] if n.startswith(first))
        gone = len(names) > 2 or (names and self.r.random() < 0.5)
        name = self.r.choice(names) if gone else f"{first}{self.number()}"
        s[what] = sorted({*s[what], name} - ({name} if gone else set()))
        return name, gone

    def index(self, s):
        name, gone = self.name(s, "indexes", "x")
        return (("admin.index_drop", {"index": name}, ["index", "drop", "acme/" + name]) if gone else
                ("admin.index_create", {"index": name, "embedder": "none"}, ["index", "create", "acme/" + name, "--embedder", "none"]))

    def tenant(self, s):
        name, gone = self.name(s, "tenants", "t")
        return None, None, ["tenant", "drop" if gone else "add", name]

    def mode(self, s):
        """Of the host, the tenant or the index; one that changes no answer to what is asked here."""
        holder = self.r.choice(["--host", "acme", "acme/docs"])
        exact = holder not in s["modes"]
        s["modes"] = sorted({*s["modes"], holder} - (set() if exact else {holder}))
        return None, None, ["mode", holder, "exact" if exact else "normal", *WHY]

    def key(self, s):
        known = [k for k in s["keys"] if k in self.ids]
        if known and self.r.random() < 0.5:
            name = self.r.choice(known)
            s["keys"] = [k for k in s["keys"] if k != name]
            return "admin.key_revoke", {"id": self.ids[name]}, ["key", "revoke", self.ids[name]]
        name = f"k{self.number()}"
        s["keys"] = sorted([*s["keys"], name])
        return "admin.key_add", {"scopes": ["query"], "index": name}, ["key", "add", "acme", "--scope", "query", "--index", name]


class Rounds(unittest.TestCase):
    def setUp(self):
        self.number = seed(random.randrange(1 << 30))
        print(f"CAIRN_SEED={self.number}", file=sys.stderr)
        self.r = random.Random(self.number)
        self.data = Data(len(DOCS))
        self.addCleanup(self.data.close)
        self.data.cairn("index", "set", "acme/docs", "--keep-versions", "100000")
        self.ingest_rows("docs", {"id": "one", "text": "more", "labels": ["public"], "vector": [1, 1, 1, 1]})
        self.key = self.data.make_key("--scope", SCOPES, "--labels", "public")
        self.operations = Operations(self.r, self.data.dir)
        self.done = Counter()
        self.victim = None
        self.erased = set() # every document that was once
        began = time.monotonic()
        self.map("versions", "acme/docs")
        self.start = time.monotonic() - began # seconds that a command takes which does little
        self.usual = {}                       # and one of this name

    def ingest_rows(self, index, *rows, then="--activate"):
        self.data.cairn("ingest", "acme/" + index, "-", then, text="".join(json.dumps(r) + "\n" for r in rows))

    # --- the state: what commands on files see of it ---
    def map(self, *args):
        return json.loads(self.data.cairn(*args, "-o", "json").stdout)

    def state(self):
        versions = self.map("versions", "acme/docs")
        policy = self.map("policy", "show", "acme", *DOCS, *self.operations.secrets)["documents"]
        documents = self.map("documents", "list", "acme/docs", "--limit", "10000", "--as", "public,group:hr")["documents"]
        keys = [k for k in self.map("key", "list", "acme")["keys"] if k["state"] == "valid" and k["index"]]
        self.operations.ids = {k["index"]: k["id"] for k in keys}
        ever = [v for v in versions["versions"] if v["first_active"]]
        return {"active": versions["active"], "hold": versions["hold"], "versions": len(versions["versions"]),
                "marks": {v["version"]: sorted(v["marks"]) for v in versions["versions"] if v["marks"]},
                "order": [v["version"] for v in sorted(ever, key=lambda v: (v["first_active"], v["version"]))],
                "policy": {d["doc"]: {k: d[k] for k in ("denied", "hidden", "erased")} for d in policy},
                "seen": {d["doc"] for d in documents},
                "members": {m["member"]: m["labels"] for m in self.map("member", "list", "acme")["members"]},
                "indexes": sorted(i["index"] for i in self.map("index", "list", "acme")["indexes"]),
                "tenants": sorted(t["tenant"] for t in self.map("tenant", "list")["tenants"]),
                "modes": sorted("--host" if m["host"] else "/".join(["acme"] + [m["index"]] * bool(m["index"])) for m in self.map("mode", "acme")["modes"]),
                "keys": sorted(k["index"] for k in keys)}

    def agrees(self, found, *allowed):
        """What is seen follows from version and policy, and must not hold what is hidden or erased."""
        same = lambda a, b: all(a[k] == b[k] for k in a if k not in ("seen", "order"))
        where = f"CAIRN_SEED={self.number}, round {sum(self.done[v] for v in self.VICTIMS)}, {self.victim}"
        self.assertTrue(any(same(found, a) for a in allowed), f"{where}: {found}\nis none of {allowed}")
        gone = {d for d, p in found["policy"].items() if p["hidden"] or p["erased"]}
        self.assertEqual(gone & found["seen"], set(), where)
        self.erased |= {d for d, p in found["policy"].items() if p["erased"]}

    def choose(self, known, kinds):
        while True:
            made = self.operations.make(self.r.choice(kinds), known)
            if made:
                return made

    # --- victims ---
    def server(self, known, kinds):
        """A server, while a client changes things. The states that may be found: as acknowledged, or one operation on."""
        server = Server(self.data)
        conn = Rpc(server, self.key)
        timer = threading.Timer(self.r.uniform(0, 0.4), lambda: server.p.kill())
        timer.start()
        doubtful, acknowledged, method = None, 0, None
        try:
            while True:
                method, fields, _, doubtful = self.choose(known, kinds)
                conn.call(method, **fields)
                known, doubtful = doubtful, None
                acknowledged += 1
        except (Failed, OSError) as e:
            self.assertTrue(isinstance(e, OSError) or "closed" in str(e), f"CAIRN_SEED={self.number}, {method}: {e}")
        timer.join()
        server.p.wait(30)
        server.log_file.close()
        self.done["acknowledged"] += acknowledged
        self.done["killed server"] += 1
        sealed = [{**doubtful, **{k: known[k] for k in ("active", "order", "marks")}}] if doubtful and method == "documents.put" else []
        return [known] + sealed + [doubtful] * (doubtful is not None)

    def killed(self, *args):
        """Runs a command and kills it after a random time; whether it had ended well before."""
        p = subprocess.Popen([CAIRN, *args], env={**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data.path},
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        name = " ".join(args[:2])
        began = time.monotonic()
        try:
            p.wait(self.r.uniform(0, self.usual.get(name, self.start)))
            self.usual[name] = time.monotonic() - began
        except subprocess.TimeoutExpired:
            p.kill()
        err = p.communicate()[1]
        self.assertIn(p.returncode, (0, -9), err)
        self.done[f"{'ended' if p.returncode == 0 else 'killed'} {self.victim}"] += 1
        return p.returncode == 0

    def command(self, known, kinds):
        if not self.operations.secret(known, False) and {"erase", "compact"} & set(kinds):
            known = self.more_secrets()
        _, _, args, after = self.choose(known, kinds)
        return [after] if self.killed(*args) else [known, after]

    def more_secrets(self):
        """Documents to be erased: one of them at once, so that a compaction has work."""
        rows = []
        for _ in range(3):
            n = self.operations.number()
            self.operations.secrets[f"s{n}"] = f"The heliotrope ledger {n:06} lies under the orangery"
            rows.append({"id": f"s{n}", "text": self.operations.secrets[f"s{n}"], "labels": ["public"], "vector": [1, n, 2, 3]})
        self.ingest_rows("docs", *rows, then="--no-activate")
        self.operations.tried.add(rows[0]["id"])
        self.data.cairn("policy", "erase", "acme", rows[0]["id"], *WHY)
        return self.state()

    def compact(self, known, kinds):
        known = self.more_secrets()
        self.killed("compact", "acme/docs")
        return [known]

    def compact_beside(self, known, kinds):
        """A compaction beside a server that answers from the files it replaces."""
        known = self.more_secrets()
        server = Server(self.data)
        conn = Rpc(server, self.key)
        asked = lambda: [(h["doc"], h["score"], h["text"]) for h in conn.call("query", index="docs", vector=VECTOR, k=1000, mode="exact")["hits"]]
        before = asked()
        for _ in range(3):
            if self.killed("compact", "acme/docs"):
                break
            self.assertEqual(asked(), before)
        self.assertEqual(asked(), before)
        self.assertIn(server.stop(self.r.choice([signal.SIGKILL, signal.SIGTERM])), (0, -9))
        return [known]

    def reinstate(self, known, kinds):
        """In an index of its own: a version that narrowed, and its list withdrawn."""
        name = f"narrow{self.operations.number()}"
        self.data.cairn("index", "create", "acme/" + name, "--embedder", "none")
        for labels in (["public", "group:hr"], ["group:hr"]):
            self.ingest_rows(name, {"id": "r", "text": "row", "labels": labels, "vector": VECTOR})
        sees = lambda: [d["doc"] for d in self.map("documents", "list", "acme/" + name, "--version", "1")["documents"]] == ["r"]
        self.assertFalse(sees())
        ended = self.killed("policy", "reinstate", "acme/" + name, "2", *WHY)
        if not sees():
            self.assertFalse(ended)
            self.data.cairn("policy", "reinstate", "acme/" + name, "2", *WHY)
        self.assertTrue(sees())
        self.data.cairn("index", "drop", "acme/" + name)
        return [known]

    def ingest(self, known, kinds):
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

    OWN = {"server": server, "compact": compact, "compact beside a server": compact_beside, "reinstate": reinstate, "ingest": ingest}
    VICTIMS = {
        "server": (5, ["put", "activate", "rollback", "release", "pin", "quarantine", "gc", "compact", "deny", "clear", "hide", "unhide", "erase", "restore", "apply",
                       "member", "index", "key"]),
        "flip": (3, ["activate"]),
        "rollback": (2, ["rollback", "release", "activate"]),
        "mark": (1, ["pin", "quarantine"]),
        "policy": (2, ["deny", "clear", "hide", "unhide"]),
        "apply": (1, ["apply"]),
        "erase": (2, ["erase", "restore"]),
        "reinstate": (1, []),
        "gc": (1, ["gc"]),
        "compact": (2, ["compact"]),
        "compact beside a server": (2, ["compact"]),
        "member": (1, ["member"]),
        "index": (1, ["index"]),
        "tenant": (1, ["tenant"]),
        "key": (1, ["key"]),
        "mode": (1, ["mode"]),
        "ingest": (2, []),
    }

    def round(self, n, known):
        names = list(self.VICTIMS)
        self.victim = names[n] if n < len(names) else self.r.choices(names, [weight for weight, _ in self.VICTIMS.values()])[0]
        kinds = self.VICTIMS[self.victim][1]
        allowed = self.OWN.get(self.victim, Rounds.command)(self, known, kinds)
        self.done[self.victim] += 1
        found = self.state()
        self.agrees(found, *allowed)
        return found

    def files_with(self, text):
        found = []
        for folder, _, names in os.walk(self.data.path):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    if text.encode() in f.read():
                        found.append(name)
        return found

    def nothing_erased_is_left(self):
        """In no byte of any file, once the last compaction's old files are gone; what was never erased is still there."""
        kept = set(self.operations.secrets) - self.operations.tried
        self.assertTrue(self.erased and kept)
        self.assertTrue(self.map("compact", "acme/docs", "--wait", *WHY)["gone"])
        for doc in self.erased:
            self.assertEqual(self.files_with(self.operations.secrets[doc]), [], f"CAIRN_SEED={self.number}: {doc}")
        for doc in kept:
            self.assertTrue(self.files_with(self.operations.secrets[doc]), f"CAIRN_SEED={self.number}: {doc}")

    def test_killed_at_random_moments(self):
        known = self.state()
        for n in range(ROUNDS):
            known = self.round(n, known)
            if n % 10 == 9:
                for args in (["scrub"], ["audit", "verify", "acme"]):
                    self.data.cairn(*args)
        self.data.cairn("doctor")
        server = Server(self.data)
        self.assertEqual({d["doc"] for d in Rpc(server, self.key).call("documents.list", index="docs", limit=10000)["documents"]} - known["seen"], set())
        self.assertEqual(server.stop(signal.SIGTERM), 0)
        known = self.more_secrets()
        self.agrees(known, known)
        self.nothing_erased_is_left()
        self.agrees(self.state(), known)
        print(dict(self.done), file=sys.stderr)
        self.assertGreater(self.done["acknowledged"], 0)
        killed = {v: self.done["killed " + v] for v in self.VICTIMS}
        self.assertGreater(sum(killed.values()), ROUNDS // 5)
        if LONG:
            self.assertEqual([v for v, n in killed.items() if n == 0], [])


if __name__ == "__main__":
    unittest.main()
