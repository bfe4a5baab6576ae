"""What four clients see while versions flip and documents are denied under them: whole answers of one version, no error, and
after the response to a denial nobody gets the document. And both at once.

A way to ask is a row of LOOKS, a way to take a document away a row of TAKES."""
import json
import os
import random
import subprocess
import sys
import threading
import time
import unittest
from collections import Counter

from serving import Data, Failed, Rpc, Server, count, seed

FLIPS = count(100, 1000)
DENIALS = count(100, 1000)
CLIENTS = 4
DOCS = 40
OWNED = 12  # documents that have a source for themselves
MODES = ["dense", "exact", "lexical", "hybrid"]


def question(r, mode=None):
    """Finds every document, in any mode: all texts say "text"."""
    return {"text": "text", "k": 2000, "mode": mode or r.choice(MODES)}


def source(doc):
    return doc if doc.startswith("own") else "default"


def texts(hits):
    return [h["text"].split()[0] for h in hits]


class Load(unittest.TestCase):
    def setUp(self):
        self.data = Data(2)
        self.addCleanup(self.data.close)
        model = os.path.join(self.data.dir, "model")
        os.mkdir(model)
        subprocess.run([os.environ["MAKE_MODEL"], model], check=True)
        self.data.cairn("model", "add", "tiny", model)
        self.data.cairn("index", "create", "acme/ix", "--embedder", "tiny", "--keep-versions", "1000")
        self.wrong, self.stop, self.asked = [], threading.Event(), Counter()

    def ingest(self, word, n, labels=("public", "group:a"), *more):
        """A version of n documents, each of whose texts begins with the word."""
        return self.ingest_docs(word, {f"d{i}": labels for i in range(n)}, *more)

    def ingest_docs(self, word, docs, *more):
        rows = "".join(json.dumps({"id": d, "text": f"{word} text of {d}", "labels": list(labels)}) + "\n" for d, labels in docs.items())
        out = self.data.cairn("ingest", "acme/ix", "-", "--sync", "--activate", "-o", "json", *more, text=rows).stdout
        self.active = json.loads(out)["version"]
        return self.active

    def serve(self):
        self.server = Server(self.data)
        self.addCleanup(lambda: self.server.p.poll() is None and self.server.stop())
        self.key = self.data.make_key("--scope", "query,activate,versions,policy,audit,ingest,operate,admin", "--labels", "public")
        return Rpc(self.server, self.key)

    def clients(self, look):
        """Starts them; each runs look(conn, random) until stop is set."""
        def run(number):
            r, conn = random.Random(number), Rpc(self.server, self.key, tcp=number % 2 == 1)
            try:
                while not self.stop.is_set():
                    look(conn, r)
            except Exception as e:  # told by the test, at its end
                self.wrong.append(repr(e))
        self.threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        self.assertEqual(self.wrong[:5], [])
        self.assertEqual(self.server.stop(), 0)
        self.data.cairn("audit", "verify", "acme")

    # --- flips ---
    def flip(self, conn, r, versions, done):
        """To another version, or back; the next question says which."""
        if r.random() < .7:
            self.active = r.choice([v for v in versions if v != self.active])
            conn.call("versions.activate", index="ix", version=self.active, reason="test")
            done["activations"] += 1
        else:
            try:
                self.active = conn.call("versions.rollback", index="ix")["active"]
            except Failed as e:  # none before it is good
                self.assertTrue(str(e).startswith("REFUSED"), e)
                return
            conn.call("versions.release", index="ix")
            done["rollbacks"] += 1
        self.assertEqual(conn.call("query", index="ix", text="text", k=1)["made_by"]["version"], self.active)

    def test_each_answer_is_of_one_version(self):
        size = {}
        for n in range(1, 5):
            size[self.ingest(f"v{n}", 10 * n, ("public",), "--max-deleted", "1000")] = 10 * n
        conn = self.serve()

        def whole(answer):
            v = answer["made_by"]["version"]
            return len(answer["hits"]) == size[v] and set(texts(answer["hits"])) == {f"v{v}"}

        def look(c, r):
            self.asked["questions"] += 1
            if r.random() < .2:
                answers = c.call("query_batch", index="ix", queries=[question(r, m) for m in MODES])["results"]
            else:
                answers = [c.call("query", index="ix", **question(r))]
            for answer in answers:
                if "error" in answer or not whole(answer):
                    self.wrong.append(f"{answer.get('error') or answer['made_by']['version']} {Counter(texts(answer.get('hits', [])))}")
            listed = c.call("documents.list", index="ix", limit=1000)["documents"]
            if len(listed) not in size.values():
                self.wrong.append(f"{len(listed)} documents listed")

        self.clients(look)
        r, done = random.Random(seed(1)), Counter()
        while done.total() < FLIPS:
            self.flip(conn, r, list(size), done)
        self.end()
        print(f"{dict(done)} under {self.asked['questions']} questions", file=sys.stderr)
        self.assertGreater(min(done["activations"], done["rollbacks"]), FLIPS // 10)
        self.assertGreater(self.asked["questions"], CLIENTS)

    # --- documents taken away ---
    LOOKS = {
        "query": lambda c, r, doc: {h["doc"] for h in c.call("query", index="ix", **question(r))["hits"]},
        "query, another version": lambda c, r, doc: {h["doc"] for h in c.call("query", index="ix", version=1, **question(r))["hits"]},
        "query_batch": lambda c, r, doc: {h["doc"] for a in c.call("query_batch", index="ix", queries=[question(r) for _ in range(3)])["results"] for h in a["hits"]},
        "documents.list": lambda c, r, doc: {d["doc"] for d in c.call("documents.list", index="ix", limit=1000)["documents"]},
        "documents.get": lambda c, r, doc: {c.call("documents.get", index="ix", doc=doc, source=source(doc))["doc"]},
        "fetch": lambda c, r, doc: {c.call("fetch", index="ix", doc=doc, source=source(doc))["doc"]},
    }
    # name: (method and fields that take a document away, those that give it back, or None)
    TAKES = {
        "denied": (lambda doc: ("policy.deny", {"docs": [doc], "labels": ["public"]}), lambda doc: ("policy.clear", {"docs": [doc]})),
        "hidden": (lambda doc: ("policy.hide", {"docs": [doc]}), lambda doc: ("policy.unhide", {"docs": [doc]})),
        "hidden by a glob": (lambda doc: ("policy.hide", {"glob": doc}), lambda doc: ("policy.unhide", {"glob": doc})),
        "by policy.apply": (lambda doc: ("policy.apply", {"changes": [{"op": "hide", "docs": [doc, "other"]}]}),
                            lambda doc: ("policy.apply", {"changes": [{"op": "unhide", "docs": [doc, "other"]}]})),
        "hidden with its source": (lambda doc: ("policy.hide", {"all_of": source(doc)}), lambda doc: ("policy.unhide", {"all_of": source(doc)})),
        "revoked by a flip": (lambda doc: ("documents.put", {"index": "ix", "activate": True, "documents": [{"id": doc, "labels": ["group:a"]}]}),
                              lambda doc: ("documents.put", {"index": "ix", "activate": True, "documents": [{"id": doc, "labels": ["group:a", "public"]}]})),
        "erased": (lambda doc: ("policy.erase", {"docs": [doc]}), None),
    }

    def watch(self, gone):
        """A look of a client: none of what was gone when it began may be in what it sees."""
        def look(c, r):
            before = dict(gone)
            name = r.choice(list(self.LOOKS))
            doc = r.choice(list(before) or ["d0"])
            try:
                seen = self.LOOKS[name](c, r, doc)
            except Failed as e:
                seen = set()
                if not str(e).startswith("NOT_FOUND"):
                    self.wrong.append(f"{name}: {e}")
            self.asked[name] += 1
            self.wrong += [f"{name} shows {d}, {before[d]}" for d in seen if d in before and gone.get(d) is before[d]]
        return look

    def test_what_is_taken_away_is_gone_when_the_response_is_there(self):
        self.ingest("one", min(DENIALS, 200))
        conn = self.serve()
        for n in range(OWNED):
            conn.call("documents.put", index="ix", source=f"own{n}", activate=True, documents=[{"id": f"own{n}", "text": "one text", "labels": ["public"]}])
        gone, r, done = {}, random.Random(seed(1)), Counter()
        self.clients(self.watch(gone))
        free, owned = [f"d{n}" for n in range(min(DENIALS, 200))], [f"own{n}" for n in range(OWNED)]
        back = []
        for n in range(DENIALS):
            name = r.choices(list(self.TAKES), [3, 3, 2, 2, 1, 2, 1])[0]
            if name == "hidden with its source" and not owned:
                name = "hidden"
            doc = (owned if name == "hidden with its source" else free).pop(0)
            take, give = self.TAKES[name]
            method, fields = take(doc)
            if n % 20 == 7 and name == "hidden":  # another process
                self.data.cairn("policy", "hide", "acme", doc)
            else:
                conn.call(method, **fields)
            gone[doc] = name + " " + str(n)  # a text of its own: who gives back and takes again makes another
            self.wrong += [f"{look} shows {doc} at once" for look in ("query", "documents.list") if doc in self.LOOKS[look](conn, r, doc)]
            done[name] += 1
            if n % 50 == 25:  # what the flips left in many files is made one
                conn.call("versions.compact", index="ix")
            if give:
                back.append((doc, give))
            while len(back) > 30:
                doc, give = back.pop(r.randrange(len(back)))
                del gone[doc]
                method, fields = give(doc)
                conn.call(method, **fields)
                (free if source(doc) == "default" else owned).append(doc)
                if doc not in self.LOOKS["query"](conn, r, doc):
                    self.wrong.append(f"{doc} is not given back")
        self.end()
        print(f"{dict(done)} under {dict(self.asked)}", file=sys.stderr)
        self.assertEqual(set(done), set(self.TAKES))
        self.assertEqual(set(self.asked), set(self.LOOKS))

    # --- both at once ---
    def test_flips_under_changes_of_the_policy(self):
        """What a question must not show: what was gone when it began. What it must show, of the one version that it names: what
        nobody began to take away until it was answered."""
        docs, granted = {}, [f"g{n}" for n in range(20)]
        for n in range(1, 5):
            given = {**{f"d{i}": ("public", "group:a") for i in range(40 * n)}, **{g: ("group:a",) for g in granted},
                     "narrowed": ("group:a",) if n == 3 else ("public", "group:a")}
            docs[self.ingest_docs(f"v{n}", given, "--max-deleted", "1000", "--max-relabelled", "1000")] = set(given) - ({"narrowed"} if n < 4 else set())
        conn = self.serve()
        conn.call("policy.allow", docs=granted, labels=["public"])
        gone, away, begun, done = {}, set(), Counter(), Counter()

        def seen(version, ids, before):
            """What is wrong with these, asked for at `before`: (gone, away, begun) as they were."""
            must = {d for d in docs[version] - before[1] if begun[d] == before[2][d]}
            shown = {d: before[0][d] for d in ids if d in before[0] and gone.get(d) is before[0][d]}
            return f"shown: {shown}, lacking: {must - ids}, of another version: {ids - docs[version]}" if shown or must - ids or ids - docs[version] else ""

        def look(c, r):
            before = dict(gone), set(away), begun.copy()
            kind = r.choice(["query", "another version", "query_batch", "documents.list", "fetch"])
            self.asked[kind] += 1
            if kind == "documents.list":
                ids = {d["doc"] for d in c.call("documents.list", index="ix", limit=1000)["documents"]}
                found = [seen(v, ids, before) for v in docs]
                self.wrong += [] if "" in found else [f"documents.list: {found}"]
            elif kind == "fetch":
                doc = r.choice(list(before[0]) or ["narrowed"])
                try:
                    c.call("fetch", index="ix", doc=doc)
                    self.wrong += [f"fetch shows {doc}"] if doc in before[0] and gone.get(doc) is before[0][doc] else []
                except Failed as e:
                    self.wrong += [] if str(e).startswith("NOT_FOUND") else [f"fetch: {e}"]
            else:
                more = {"version": r.choice(list(docs))} if kind == "another version" else {}
                answers = [c.call("query", index="ix", **question(r), **more)] if kind != "query_batch" else \
                    c.call("query_batch", index="ix", queries=[question(r, m) for m in MODES])["results"]
                for a in answers:
                    version = a.get("made_by", more).get("version")
                    bad = a.get("error") or seen(version, {h["doc"] for h in a["hits"]}, before) or set(texts(a["hits"])) - {f"v{version}"}
                    self.wrong += [f"{kind}, version {version}: {bad}"] if bad else []

        def flips():
            mine, r = Rpc(self.server, self.key), random.Random(seed(2))
            try:
                while not self.stop.is_set():
                    self.flip(mine, r, list(docs), done)
            except (Exception, AssertionError) as e:  # told by the test, at its end
                self.wrong.append(repr(e))

        takes = {n: t for n, t in self.TAKES.items() if n not in ("revoked by a flip", "hidden with its source")}
        takes["its grant withdrawn"] = (lambda doc: ("policy.clear", {"docs": [doc], "labels": ["public"]}), lambda doc: ("policy.allow", {"docs": [doc], "labels": ["public"]}))
        self.clients(look)
        self.threads.append(threading.Thread(target=flips))
        self.threads[-1].start()
        r, free, back, taken = random.Random(seed(1)), [f"d{i}" for i in range(160)], [], Counter()
        for n in range(DENIALS):
            name = r.choice([t for t in takes if t != "erased" or taken[t] < 40])
            doc = (granted if name == "its grant withdrawn" else free).pop(0)
            take, give = takes[name]
            away.add(doc)
            begun[doc] += 1
            method, fields = take(doc)
            conn.call(method, **fields)
            gone[doc] = f"{name} {n}"
            taken[name] += 1
            back += [(doc, give)] if give else []
            while len(back) > 15:
                doc, give = back.pop(r.randrange(len(back)))
                del gone[doc]
                method, fields = give(doc)
                conn.call(method, **fields)
                away.discard(doc)
                (granted if doc.startswith("g") else free).append(doc)
        while done.total() < FLIPS and not self.wrong:
            time.sleep(.05)
        self.end()
        print(f"{dict(done)}, {dict(taken)} under {dict(self.asked)}", file=sys.stderr)
        self.assertEqual(set(taken), set(takes))
        self.assertGreater(min(done["activations"], done["rollbacks"]), FLIPS // 20)

    def test_a_member_who_loses_a_group_loses_its_documents(self):
        self.ingest("one", DOCS, ("group:a",))
        conn = self.serve()
        app = self.data.make_key("--scope", "query,act-as")
        state = {"in": False, "turn": 0}
        own = Rpc(self.server, app)
        sees = lambda c: len(c.call("query", index="ix", **question(None, "dense"), **{"as": "user:ana"})["hits"])

        def look(c, r):
            mine = Rpc(self.server, app)
            for _ in range(20):
                before = dict(state)
                hits = sees(mine)
                self.asked["in" if hits else "out"] += 1
                if hits not in (0, DOCS) or (hits and not before["in"] and state["turn"] == before["turn"]):
                    self.wrong.append(f"{hits} hits, {before}, {state}")
            mine.close()

        self.clients(look)
        for n in range(DENIALS):
            state.update({"in": True, "turn": n + 1})
            conn.call("members.set", member="user:ana", labels=["group:b"])
            conn.call("members.set", member="group:b", labels=["group:a"])
            self.assertEqual(sees(own), DOCS)
            conn.call("members.remove", member=("user:ana", "group:b")[n % 2])
            state["in"] = False
            self.assertEqual(sees(own), 0)
        self.end()
        print(dict(self.asked), file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
