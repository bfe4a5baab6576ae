"""Random questions to a real cairnd and to the command on files, each answer against the naive model of oracle.py.

Of the full count of the permissions test (tests/index/world.h has the rest) a fifth goes through here: 20,000 questions over
RPC (200,000 long), a tenth of these by the command on files; through query_batch, by act-as keys, keys of labels, and nobody."""
import json
import os
import random
import signal
import subprocess
import sys
import unittest
from collections import Counter

import oracle
from serving import Data, Failed, Rpc, Server, count, seed

QUESTIONS = count(20000, 200000)
BATCH = 60       # questions after each change
CHANGES = 150    # of one tenant
ALL = "query,ingest,activate,force,versions,policy,operate,audit,admin"


class World(Data):
    """An index that the model knows all of, its server, and the callers that ask."""

    def __init__(self, number):
        super().__init__(2)
        self.m = oracle.Model(number)
        self.cairn("index", "create", "acme/ix", "--embedder", "none", "--keep-versions", "1000")
        self.admin = self.make_key("--scope", ALL, "--labels", "public")
        scope = ("--scope", "query,versions,audit")
        self.keys = [frozenset(self.m.r.sample(oracle.LABELS, n)) for n in (1, 2, 3, 5)]
        self.keys = [(self.make_key(*scope, "--labels", ",".join(labels)), labels) for labels in self.keys]
        self.app = self.make_key("--scope", "query,versions,audit,act-as", "--principals", "user:*,group:*")
        self.start()

    def start(self):
        self.server = Server(self, "--anonymous", "acme")
        self.root = Rpc(self.server, self.admin)
        self.asks = {key: Rpc(self.server, key) for key, _ in self.keys}
        self.acts, self.nobody = Rpc(self.server, self.app), Rpc(self.server, tcp=True)

    def restart(self):
        self.server.stop(self.m.r.choice([signal.SIGTERM, signal.SIGKILL]))
        self.start()

    def change(self, method, **params):
        on = {} if method.startswith(("policy.", "members.")) and method != "policy.reinstate" else {"index": "ix"}
        return self.root.call(method, **on, **params)

    # --- callers: each gives the questions, what each is held and asked with, and the answers ---
    def as_someone(self, questions):
        names = [self.m.r.choice(oracle.LABELS[1:] + ["user:unknown"]) for _ in questions]
        who = [oracle.narrowed(self.m, self.m.expand(n)) for n in names]
        sent = [{**q, **said, "as": n} for q, n, (_, _, said) in zip(questions, names, who)]
        return who, self.acts.call("query_batch", index="ix", queries=sent)["results"]

    def as_key(self, questions):
        key, labels = self.m.r.choice(self.keys)
        who = [oracle.narrowed(self.m, set(labels)) for _ in questions]
        return who, self.asks[key].call("query_batch", index="ix", queries=[{**q, **said} for q, (_, _, said) in zip(questions, who)])["results"]

    def as_nobody(self, questions):
        for q in questions:  # only the active version answers them
            q.pop("version", None)
        return [({"public"}, {"public"}, {})] * len(questions), self.nobody.call("query_batch", tenant="acme", index="ix", queries=questions)["results"]

    def on_files(self, questions):
        who, lines = [], []
        for q in questions:
            if self.m.r.random() < .5:
                name = self.m.r.choice(oracle.LABELS[1:])
                held, asked, said = oracle.narrowed(self.m, self.m.expand(name))
                said = {**said, "as": name}
            else:
                held = asked = set(self.m.r.sample(oracle.LABELS, self.m.r.randint(1, 4)))
                said = {"labels": sorted(held)}
            who.append((held, asked, said))
            lines.append(json.dumps({**q, **said}))
        path = os.path.join(self.dir, "questions")
        with open(path, "w") as f:
            f.write("\n".join(lines) + "\n")
        out = self.cairn("query", "acme/ix", "--batch", path, "-o", "json", check=False).stdout
        return who, [json.loads(line) for line in out.splitlines()]

    def close(self):
        code = self.server.stop()
        self.cairn("audit", "verify", "acme")
        self.cairn("scrub")
        super().close()
        assert code == 0, code


CALLERS = [("as_someone", 5), ("as_key", 3), ("as_nobody", 1), ("on_files", 1)]


class Oracle(unittest.TestCase):
    def ask(self, w, caller):
        m = w.m
        questions = [oracle.question(m) for _ in range(BATCH)]
        who, answers = getattr(w, caller)(questions)
        self.assertEqual(len(answers), len(questions))
        for q, (holds, asks, said), got in zip(questions, who, answers):
            why = oracle.wrong(m, q, holds, asks, got)
            self.assertIsNone(why, f"{caller} {q} {said}: {why}")
            self.hits += len(got.get("hits", ()))
            self.empty += got.get("hits") == []

    def test_each_answer_is_the_models(self):
        asked, steps, self.hits, self.empty, number = Counter(), Counter(), 0, 0, seed(1)
        r = random.Random(number)
        while asked.total() < QUESTIONS:
            w = World(number)
            try:
                for n in range(CHANGES):
                    try:
                        steps[oracle.step(w.m, w.change)] += 1
                        if not w.m.active:
                            continue
                        caller = r.choices([c for c, _ in CALLERS], [x for _, x in CALLERS])[0]
                        self.ask(w, caller)
                        asked[caller] += BATCH
                        if n % 50 == 25:
                            w.restart()
                            steps["restart"] += 1
                    except (AssertionError, Failed) as e:
                        raise AssertionError(f"CAIRN_SEED={number}, change {n}: {e}") from e
                    if asked.total() >= QUESTIONS:
                        break
            finally:
                w.close()
            number += 1
        print(f"{dict(asked)} questions, {self.hits} hits, {self.empty} empty answers; {dict(steps)}", file=sys.stderr)
        self.assertGreater(self.hits, asked.total())
        self.assertGreater(self.empty, asked.total() // 50)
        self.assertEqual(set(steps) - {"restart"}, {s.__name__ for s, _ in oracle.STEPS})


if __name__ == "__main__":
    unittest.main()
