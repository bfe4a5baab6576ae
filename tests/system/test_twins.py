"""Two tenants with the same documents for whoever asks; one of them holds as many again that nobody who asks here may read: other
labels, denied, lacking a required label, hidden, erased, revoked, deleted, in older versions. What a plain key is answered is
the same byte for byte, but for what names the tenant or the state of its catalog (NAMED, the exceptions of promise 4). What
nobody may read is full of words of its own (SECRETS): no answer, log or request record holds one.

A question is a row of questions(), any other request a row of requests(). Indexes of kind cells: test_cells.py."""
import json
import os
import random
import subprocess
import sys
import time
import unittest
from collections import Counter

import msgpack

from serving import Data, Failed, Rpc, Server, count, seed

DOCS, DIM = 300, 12
WORDS = ["cairn", "stone", "moor", "path", "wind", "north", "peak", "trail", "valley", "river", "bridge", "fox", "owl", "elk", "hut", "map"]
INDEXES = ["vectors", "texts", "embedded"]
NAMED = {"tenant", "root", "policy_epoch", "trace_id", "made", "first_active", "uptime_s"}
READERS = {"public": ["public"], "hr": ["public", "group:hr"], "none": ["group:none"]}
SECRETS = ["zzqtext", "zzqtitle", "zzqfile", "zzqmeta", "zzqlabel", "zzqname"]
# What is said to be not there: a document that one tenant holds and the key may not read, and another that none holds. The texts of
# errors name it, so that both tenants are asked for both.
ABSENT = ["x-labels", "x-denied", "x-required", "x-hidden", "x-erased", "x-policy", "x-revoked", "x-deleted", "nowhere"]


def document(r, i):
    return {"id": f"{r.choice('abc')}/{i}", "text": ". ".join(" ".join(r.choices(WORDS, k=r.randint(3, 8))) for _ in range(r.randint(1, 4))),
            "labels": r.sample(["public", "group:hr", "group:ops"], r.randint(1, 2)), "title": r.choice(WORDS), "uri": f"file:{i}",
            "meta": {"lang": r.choice(["en", "de"]), "n": i}, "modified": "2024-01-02T03:04:05Z"}


class Twins(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.number = seed(1)
        r = cls.r = random.Random(cls.number)
        cls.data = Data(2)
        cls.addClassCleanup(cls.data.close)
        shared = [document(r, i) for i in range(DOCS)]
        cls.labels = {d["id"]: set(d["labels"]) for d in shared}
        others = cls.others(r)
        key = lambda tenant, scope, labels: json.loads(cls.data.cairn("key", "add", tenant, "--scope", scope, "--labels", ",".join(labels), "-o", "json").stdout)["key"]
        cls.keys = {}
        model = os.path.join(cls.data.dir, "model")
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        cls.data.cairn("model", "add", "tiny", model)
        for tenant in ("bare", "full"):
            cls.data.cairn("tenant", "add", tenant)
            cls.data.cairn("index", "create", f"{tenant}/vectors", "--embedder", "none")
            cls.data.cairn("index", "create", f"{tenant}/texts", "--embedder", "none", "--chunker", "structure tokens=8 overlap=0")
            cls.data.cairn("index", "create", f"{tenant}/embedded", "--embedder", "tiny")
            cls.keys[tenant] = {name: key(tenant, "query", labels) for name, labels in READERS.items()}
            cls.keys[tenant]["app"] = key(tenant, "query,act-as", [])
            cls.data.cairn("member", "add", tenant, "user:ana", "group:hr")
        cls.server = Server(cls.data)
        cls.addClassCleanup(lambda: cls.server.stop())
        for tenant in ("bare", "full"):
            root = Rpc(cls.server, json.loads(cls.data.cairn("key", "add", tenant, "--scope", "query,ingest,activate,versions,policy,operate,audit,admin", "--labels", "public", "-o", "json").stdout)["key"])
            cls.fill(root, shared, others if tenant == "full" else None)
        cls.conns = {(t, name): Rpc(cls.server, k) for t, keys in cls.keys.items() for name, k in keys.items()}

    @staticmethod
    def others(r):
        """What nobody here may read: some of every sort by name, and many by labels alone."""
        own = [{**document(r, i), "id": f"z{i}zzqname" if i % 2 else f"a/{i}xzzqname", "labels": ["group:board", "group:zzqlabel"]} for i in range(DOCS, 3 * DOCS)]
        sorts = {"x-labels": {"labels": ["group:board"]}, "x-denied": {"labels": ["public"], "deny": ["public", "group:none"]},
                 "x-required": {"labels": ["public"], "require": ["group:board"]}}
        own += [{**document(r, 0), "id": x, "labels": ["public"], **sorts.get(x, {})} for x in ABSENT[:-1]]
        return [{**d, "text": d["text"] + " zzqtext", "title": "zzqtitle", "uri": "file:zzqfile", "meta": {**d["meta"], "zzqkey": "zzqmeta"}} for d in own]

    @classmethod
    def fill(cls, root, shared, others):
        """The same jobs for both, so that versions and passages go by the same order; only one is given the others, too."""
        r = random.Random(cls.number + 1)
        vectors = random.Random(cls.number + 2)
        vector = {d["id"]: [vectors.gauss(0, 1) for _ in range(DIM)] for d in shared + (others or [])} | {"passing": [1] * DIM}
        put = lambda index, docs: docs and root.call("documents.put", index=index, activate=True, source="s", documents=[
            {**d, "vector": vector[d["id"]]} if index == "vectors" and "text" in d else d for d in docs])
        for index in INDEXES:
            mixed = shared[:200] + (others or [])
            r.shuffle(mixed)
            put(index, mixed)
            put(index, shared[200:] + [{**d, "text": d["text"] + " again"} for d in (others or [])[:50]])
            gone = "x-deleted" if others else "passing"  # as many versions: their numbers are told
            put(index, [{"id": "x-revoked", "labels": ["group:board"]}] if others else [{**shared[0], "id": "passing", "labels": []}])
            root.call("documents.delete", index=index, source="s", docs=[gone], activate=True)
        root.call("policy.deny", source="s", docs=["x-policy"], labels=["public"])
        root.call("policy.hide", source="s", docs=["x-hidden"])
        root.call("policy.erase", source="s", docs=["x-erased"])
        root.call("members.set", member="user:board", labels=["group:board"])

    # --- the same? ---
    def plain(self, value):
        if isinstance(value, dict):
            return {k: self.plain(v) for k, v in value.items() if k not in NAMED}
        return [self.plain(v) for v in value] if isinstance(value, list) else value

    def told(self, tenant, reader, method, params):
        try:
            got = self.conns[tenant, reader].call(method, **params)
        except Failed as e:
            got = str(e)
        self.assertEqual([x for x in SECRETS if x in repr(got) and x not in repr(params)], [], (reader, method, params))
        return self.plain(got)

    def same(self, reader, method, params):
        bare, full = (self.told(t, reader, method, params) for t in ("bare", "full"))
        self.assertEqual(bare, full, (reader, method, params))
        self.assertEqual(msgpack.packb(bare), msgpack.packb(full))
        return bare

    def reader(self):
        name = self.r.choice([*READERS, "app"])
        return name, {"as": self.r.choice(["user:ana", "user:other", "user:nobody"])} if name == "app" else {}

    # --- what is asked ---
    def question(self):
        r = self.r
        index = r.choice(INDEXES)
        mode = r.choice(["dense", "exact", "lexical", "hybrid"] if index == "embedded" else ["dense", "exact", "lexical"] if index == "vectors" else ["lexical"])
        q = {"index": index, "mode": mode, "k": r.choice([1, 7, 100, 1000])}
        if index == "vectors" and mode != "lexical":
            q["vector"] = [r.gauss(0, 1) for _ in range(DIM)]
        else:
            q["text"] = r.choice(["", '"cairn stone" ', "pa* ", "b* ", "zz* ", "zzqtext "]) + " ".join(r.choices(WORDS, k=r.randint(1, 3)))
            q.update(operators=r.random() < .6, highlight=r.random() < .3)
        shape = {"per_doc": 1, "distinct": True, "expand": r.randint(1, 3), "section": True, "max_tokens": r.randint(1, 400), "min_relevance": r.random() / 2,
                 "filter": r.choice([{"field": "lang", "eq": "en"}, {"field": "n", "lt": 450}, {"not": {"field": "id", "in": ABSENT}}, {"field": "zzqkey", "exists": True}])}
        q.update((name, value) for name, value in shape.items() if r.random() < .2)
        if index == "vectors" and mode == "lexical" and r.random() < .3:
            q.update(also=["texts"], merge=r.choice(["rank", "relevance"]))
        return q

    def test_questions(self):
        asked = Counter()
        for _ in range(count(600, 20000)):
            q, (reader, more) = self.question(), self.reader()
            got = self.same(reader, "query", {**q, **more})
            self.assertIsInstance(got, dict, got)
            held = set(READERS.get(reader) or (["public", "group:hr"] if more["as"] == "user:ana" else ["public"]))
            self.assertEqual([h["doc"] for h in got["hits"] if not self.labels[h["doc"]] & held], [], (reader, more))
            asked[q["mode"]] += 1
            asked["hits"] += len(got["hits"])
        print(dict(asked), file=sys.stderr)
        self.assertGreater(asked["hits"], 5 * asked["dense"])

    def test_batches(self):
        for _ in range(count(20, 200)):
            reader, more = self.reader()
            questions = [self.question() for _ in range(20)]
            self.same(reader, "query_batch", {"index": self.r.choice(INDEXES), "queries": [{k: v for k, v in q.items() if k != "index"} for q in questions], **more})

    def test_lists_page_by_page(self):
        for index in (*INDEXES, "nowhere"):
            for reader, more in (("public", {}), ("hr", {}), ("none", {}), ("app", {"as": "user:ana"}), ("app", {"as": "user:other"})):
                for params in ({}, {"source": "s"}, {"source": "t"}, {"after": "s/x-hidden"}, {"after": "s/a/310x"}):
                    params = {"index": index, "limit": self.r.randint(1, 40), **params, **more}
                    while "next" in (page := self.same(reader, "documents.list", params)):
                        params["after"] = page["next"]

    def test_a_cursor_of_another(self):
        """Where one reader's list goes on says nothing to another of what lies between, and leads into nothing of it."""
        for index in INDEXES:
            whole = [d["doc"] for d in self.same("public", "documents.list", {"index": index, "limit": 1000})["documents"]]
            params = {"index": index, "limit": 17}
            while "next" in (page := self.same("hr", "documents.list", params)):
                params["after"] = page["next"]
                last = page["documents"][-1]["doc"]
                got = [d["doc"] for d in self.same("public", "documents.list", {**params, "limit": 1000})["documents"]]
                self.assertEqual(got, [d for d in whole if d.encode() > last.encode()])

    def test_what_is_written(self):
        """Log, figures and request records hold none of what nobody here may read, nor what was asked."""
        key = lambda *a: json.loads(self.data.cairn("key", "add", *a, "--scope", "audit,query", "--labels", "public", "-o", "json").stdout)["key"]
        asked = []
        for reader in READERS:
            for index, modes in (("texts", ["lexical"]), ("embedded", ["dense", "exact", "lexical", "hybrid"])):
                for mode in modes:
                    conn = self.conns["full", reader]
                    asked.append(conn.call("query", index=index, mode=mode, text="zzqtext zzqtitle cairn", k=1000, highlight=True)["made_by"]["trace_id"])
        audit, records, end = Rpc(self.server, key("full")), [], time.time() + 20
        while len(records) < len(asked) and time.time() < end:  # they are written afterwards
            try:
                records += audit.call("trace.get", trace_id=asked[len(records)])["records"]
            except Failed as e:
                self.assertTrue(str(e).startswith("NOT_FOUND"), e)
                time.sleep(.05)
        self.assertEqual(len(records), len(asked))
        self.assertGreater(sum(len(r["hits"]) for r in records), 100)
        tenant = os.path.join(self.data.path, "tenants", "full")
        written = {"the log": open(self.server.log_path, "rb").read(), "trace.mdb": open(os.path.join(tenant, "trace.mdb"), "rb").read(),
                   "trace.get": repr(records).encode(), "stats": repr(Rpc(self.server, key("--host")).call("stats")).encode(),
                   "stats of the tenant": repr(audit.call("stats")).encode()}
        for what, data in written.items():
            self.assertGreater(len(data), 20, what)
            self.assertEqual([x for x in SECRETS if x.encode() in data], [], what)
        self.assertTrue(any(b"zzqtext" in open(os.path.join(tenant, "segments", f), "rb").read() for f in os.listdir(os.path.join(tenant, "segments"))))  # they are there

    def requests(self):
        for index in INDEXES:
            yield from (("admin.index_show", {"index": index}), ("versions.list", {"index": index}))
            for doc in [*ABSENT, *(d["doc"] for d in self.same("hr", "documents.list", {"index": index, "limit": 20})["documents"])]:
                named = {"index": index, "doc": doc, "source": "s"}
                yield from (("documents.get", named), ("fetch", named), ("fetch", {**named, "bytes": [0, 9]}), ("fetch", {**named, "digest": "00" * 32}),
                            ("documents.get", {**named, "source": "default"}), ("fetch", {**named, "version": 1}))
            for wrong in ({"vector": [1]}, {"text": "cairn", "mode": "dense"}, {"k": 0}, {"filter": {"field": "id", "eq": 5}}, {"text": "b* c* p*", "operators": True, "on_degraded": "error"},
                          {"text": "cairn", "min_version": 99}, {"text": "cairn", "version": 1}, {"text": "cairn", "labels": ["group:board"]}, {"text": "cairn", "explain": True}):
                yield "query", {"index": index, **wrong}
        yield from (("stats", {}), ("health", {}), ("admin.index_list", {}), ("admin.model_list", {}))

    def test_other_requests(self):
        told = Counter()
        for reader, more in (("public", {}), ("hr", {}), ("none", {}), ("app", {"as": "user:ana"})):
            for method, params in self.requests():
                takes = method in ("documents.get", "fetch", "query", "documents.list")
                got = self.same(reader, method, {**params, **more} if takes else params)
                told[method, isinstance(got, str)] += 1
        self.assertGreater(told["fetch", False], 20)
        self.assertGreater(told["fetch", True], 100)


if __name__ == "__main__":
    unittest.main()
