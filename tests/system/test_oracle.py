"""Random questions to a real cairnd and to the command on files, each answer against the naive model of oracle.py; and after each
change lists, documents, citations and differences of versions. Jobs of the command (oracle_jobs.py) overlap the other changes.

Of the full count of the permissions test (tests/index/world.h has the rest) a fifth goes through here: 20,000 questions over
RPC (200,000 long), a tenth of these by the command on files; through query_batch, by act-as keys (for all principals, and for some),
keys of labels (one limited to an index), and nobody. A caller is a row of CALLERS."""
import json
import os
import random
import signal
import subprocess
import sys
import unittest
from collections import Counter

import oracle
import oracle_ask
import oracle_jobs
from serving import Data, Failed, Rpc, Server, count, seed

QUESTIONS = count(20000, 200000)
BATCH = 60       # questions after each change
CHANGES = 150    # of one tenant
ALL = "query,ingest,activate,force,versions,policy,operate,audit,admin"


class World(Data):
    """Two indexes that the model knows all of, their server, and the callers that ask."""

    def __init__(self, number):
        super().__init__(2)
        self.m = oracle.Model(number)
        keep = ("--keep-versions", str(oracle.KEEP), "--keep-days", "0")
        model = os.path.join(self.dir, "model")
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        self.cairn("model", "add", "tiny", model)
        self.cairn("index", "create", "acme/ix", "--embedder", "tiny", "--chunker", "document", *keep)
        self.cairn("index", "create", "acme/tx", "--embedder", "none", "--chunker", f"fixed tokens={oracle.PASSAGE} overlap=0", *keep)
        self.admin = self.make_key("--scope", ALL, "--labels", "public")
        scope = ("--scope", "query,versions,audit")
        self.keys = [frozenset(self.m.r.sample(oracle.LABELS, n)) for n in (1, 2, 3, 5)]
        self.keys = [(self.make_key(*scope, "--labels", ",".join(labels)), labels) for labels in self.keys]
        self.app = self.make_key("--scope", "query,versions,audit,act-as", "--principals", "user:*,group:*")
        self.users = self.make_key("--scope", "query,versions,audit,act-as", "--principals", "user:*")
        self.limited = self.make_key(*scope, "--index", "ix", "--labels", "public,group:a")
        self.plain = self.make_key("--scope", "query,versions", "--labels", "public,group:a")
        self.start()
        self.jobs = oracle_jobs.Jobs(self)

    def start(self):
        self.server = Server(self, "--anonymous", "acme")
        self.root = Rpc(self.server, self.admin)
        self.asks = {key: Rpc(self.server, key) for key, _ in self.keys}
        self.acts, self.acts_for_users, self.nobody = Rpc(self.server, self.app), Rpc(self.server, self.users), Rpc(self.server, tcp=True)
        self.limited_conn, self.plain_conn = Rpc(self.server, self.limited), Rpc(self.server, self.plain)

    def restart(self):
        self.server.stop(self.m.r.choice([signal.SIGTERM, signal.SIGKILL]))
        self.start()

    def change(self, index, method, **params):
        on = {} if method.startswith(("policy.", "members.")) and method != "policy.reinstate" else {"index": index}
        return self.root.call(method, **on, **params)

    @staticmethod
    def by(conn, **fixed):
        """A call whose error is an answer like another."""
        def call(method, **params):
            try:
                return conn.call(method, **fixed, **params)
            except Failed as e:
                return {"error": str(e)}
        return call

    def batch(self, conn, ix, questions, **fixed):
        return conn.call("query_batch", index=ix.name, queries=questions, **fixed)["results"]

    # --- callers: each gives the questions, what each is held and asked with (None: it is refused), and the answers ---
    def as_members(self, ix, questions, conn, may):
        names = [self.m.r.choice(oracle.LABELS[1:] + ["user:unknown"]) for _ in questions]
        who = [oracle_ask.narrowed(self.m, self.m.expand(n)) for n in names]
        answers = self.batch(conn, ix, [{**q, **said, "as": n} for q, n, (_, _, said) in zip(questions, names, who)])
        return [w if may(n) else (None, None, w[2]) for w, n in zip(who, names)], answers

    def as_someone(self, ix, questions):
        return self.as_members(ix, questions, self.acts, lambda name: True)

    def as_users(self, ix, questions):
        return self.as_members(ix, questions, self.acts_for_users, lambda name: name.startswith("user:"))

    def as_key(self, ix, questions):
        key, labels = self.m.r.choice(self.keys)
        who = [oracle_ask.narrowed(self.m, set(labels)) for _ in questions]
        return who, self.batch(self.asks[key], ix, [{**q, **said} for q, (_, _, said) in zip(questions, who)])

    def as_limited(self, ix, questions):
        """A key of index ix alone: to it the other one is not there, neither by itself nor beside its own."""
        who = [({"public", "group:a"},) * 2 + ({},) if ix.name == "ix" and "also" not in q else (None, None, {}) for q in questions]
        if ix.name == "ix":
            return who, self.batch(self.limited_conn, ix, questions)
        call = self.by(self.limited_conn)
        told = call("query_batch", index=ix.name, queries=questions)["error"]
        assert told == call("query_batch", index="nowhere", queries=questions)["error"].replace("nowhere", ix.name), told
        return who, [{"error": told}] * len(questions)

    def as_nobody(self, ix, questions):
        for q in questions:  # only the active version answers them
            q.pop("version", None)
        return [({"public"}, {"public"}, {})] * len(questions), self.batch(self.nobody, ix, questions, tenant="acme")

    def look(self, ix):
        """One look of each kind; None, or what is wrong."""
        m, number = self.m, self.m.r.choice([ix.active, *ix.versions])
        v = ix.versions[number]
        why = oracle_ask.look_diff(m, ix, {"public", "group:a"}, self.by(self.root, index=ix.name), self.by(self.plain_conn, index=ix.name))
        name = m.r.choice(oracle.LABELS[1:])
        holds, asks, said = oracle_ask.narrowed(m, m.expand(name))
        call = self.by(self.acts, index=ix.name, version=number, **{"as": name}, **said)
        if v.quarantined or v.dropped:
            return why or (None if oracle_ask.refused(call("documents.list"), "NOT_FOUND", "REFUSED") else f"version {number} is listed")
        return why or oracle_ask.look_list(m, ix, number, holds, asks, call) or next(filter(None, (oracle_ask.look_document(m, ix, number, holds, asks, call) for _ in range(3))), None)

    def on_files(self, ix, questions):
        who, lines = [], []
        for q in questions:
            if self.m.r.random() < .5:
                name = self.m.r.choice(oracle.LABELS[1:])
                held, asked, said = oracle_ask.narrowed(self.m, self.m.expand(name))
                said = {**said, "as": name}
            else:
                held = asked = set(self.m.r.sample(oracle.LABELS, self.m.r.randint(1, 4)))
                said = {"labels": sorted(held)}
            who.append((held, asked, said))
            lines.append(json.dumps({**q, **said}))
        path = os.path.join(self.dir, "questions")
        with open(path, "w") as f:
            f.write("\n".join(lines) + "\n")
        out = self.cairn("query", f"acme/{ix.name}", "--batch", path, "-o", "json", check=False).stdout
        return who, [json.loads(line) for line in out.splitlines()]

    def close(self):
        self.jobs.close()
        code = self.server.stop()
        self.cairn("audit", "verify", "acme")
        self.cairn("scrub")
        super().close()
        assert code == 0, code


CALLERS = [("as_someone", 4), ("as_users", 1), ("as_key", 2), ("as_limited", 1), ("as_nobody", 1), ("on_files", 1)]


class Oracle(unittest.TestCase):
    def ask(self, w, caller, ix):
        m = w.m
        questions = [oracle_ask.question(m, ix) for _ in range(BATCH)]
        who, answers = getattr(w, caller)(ix, [q for q, _ in questions])
        self.assertEqual(len(answers), len(questions))
        for (q, asked), (holds, asks, said), got in zip(questions, who, answers):
            why = oracle_ask.wrong(m, ix, q, asked, holds, asks, got)
            self.assertIsNone(why, f"{caller} {ix.name} {q} {said}: {why}")
            hits = got.get("hits", ())
            self.hits += len(hits)
            self.empty += got.get("hits") == []
            for name in q:
                self.seen[name] += bool(hits)
            self.seen["widened"] += sum(len(h["text"].split()) > oracle.PASSAGE for h in hits if ix.name == "tx" and "passages" in h)
            self.seen["marked"] += sum(len(h.get("highlights") or ()) for h in hits)
            self.seen["left out"] += got.get("tokens", {}).get("left_out", 0)

    def test_each_answer_is_the_models(self):
        asked, steps, jobs, self.seen, self.hits, self.empty, number = Counter(), Counter(), Counter(), Counter(), 0, 0, seed(1)
        r = random.Random(number)
        while asked.total() < QUESTIONS:
            w = World(number)
            try:
                for n in range(CHANGES):
                    try:
                        steps[w.jobs.turn() or oracle.step(w.m, w.change)] += 1
                        able = [ix for ix in w.m.indexes if ix.active]
                        if not able:
                            continue
                        ix = r.choice(able)
                        caller = r.choices([c for c, _ in CALLERS], [x for _, x in CALLERS])[0]
                        self.ask(w, caller, ix)
                        asked[caller] += BATCH
                        self.assertIsNone(w.look(ix))
                        if n % 50 == 25:
                            w.restart()
                            steps["restart"] += 1
                    except (AssertionError, Failed) as e:
                        raise AssertionError(f"CAIRN_SEED={number}, change {n}: {e}") from e
                    if asked.total() >= QUESTIONS:
                        break
            finally:
                w.close()
                jobs += w.told
            number += 1
        print(f"{dict(asked)} questions, {self.hits} hits, {self.empty} empty answers; {dict(steps)}; jobs {dict(jobs)}; with hits {dict(self.seen)}", file=sys.stderr)
        self.assertGreater(self.hits, asked.total() // 4)
        self.assertGreater(self.empty, asked.total() // 50)
        self.assertEqual(set(steps) - {"restart", *oracle_jobs.TURNS}, {s.__name__ for s, _ in oracle.STEPS})
        self.assertGreater(jobs["sealed"], 10)
        self.assertGreater(jobs["sealed on another"], 0)
        for name in [*(s for s, _ in oracle_ask.SHAPES), "text", "vector", "also", "operators", "widened", "marked", "left out"]:
            self.assertGreater(self.seen[name], asked.total() // 200, name)


if __name__ == "__main__":
    unittest.main()
