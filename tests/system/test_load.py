"""What four clients see while versions flip and documents are denied under them: whole answers of one version, no error, and
after the response to a denial nobody gets the document.

A way to ask is a row of LOOKS, a way to take a document away a row of TAKES."""
import itertools
import json
import random
import sys
import threading
import unittest
from collections import Counter

from serving import Data, Failed, Rpc, Server, count, seed

FLIPS = count(100, 1000)
DENIALS = count(100, 1000)
CLIENTS = 4
DOCS = 40
VECTOR = [1.0, 2.0, 0.0, 1.0]
OWNED = count(12, 120)  # documents that have a source for themselves
# How each mode finds every document: all texts say "text".
MODES = {"dense": {"vector": VECTOR}, "exact": {"vector": VECTOR}, "lexical": {"text": "text"}, "hybrid": {"vector": VECTOR, "text": "text"}}


def question(r, k=2000):
    mode = r.choice(list(MODES))
    return {"k": k, "mode": mode, **MODES[mode]}


def source(doc):
    return doc if doc.startswith("own") else "default"


def texts(hits):
    return [h["text"].split()[0] for h in hits]


class Load(unittest.TestCase):
    def setUp(self):
        self.data = Data(2)
        self.addCleanup(self.data.close)
        self.data.cairn("index", "create", "acme/ix", "--embedder", "none", "--keep-versions", "1000")
        self.wrong, self.stop, self.asked = [], threading.Event(), Counter()

    def ingest(self, word, n, labels=("public", "group:a"), *more):
        """A version of n documents, each of whose texts begins with the word."""
        rows = "".join(json.dumps({"id": f"d{i}", "text": f"{word} text of {i}", "labels": list(labels), "vector": [1, i % 7, i % 5, 1]}) + "\n" for i in range(n))
        out = self.data.cairn("ingest", "acme/ix", "-", "--sync", "--activate", "-o", "json", *more, text=rows).stdout
        return json.loads(out)["version"]

    def serve(self):
        self.server = Server(self.data)
        self.addCleanup(lambda: self.server.p.poll() is None and self.server.stop())
        self.key = self.data.make_key("--scope", "query,activate,versions,policy,audit,ingest,admin", "--labels", "public")
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
                answers = c.call("query_batch", index="ix", queries=[{"k": 1000, "mode": m, **q} for m, q in MODES.items()])["results"]
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
        active = 4
        while done.total() < FLIPS:
            if r.random() < .7:
                active = r.choice([v for v in size if v != active])
                conn.call("versions.activate", index="ix", version=active, reason="test")
                done["activations"] += 1
            else:
                try:
                    active = conn.call("versions.rollback", index="ix")["active"]
                except Failed as e:  # none before it is good
                    self.assertTrue(str(e).startswith("REFUSED"), e)
                    continue
                conn.call("versions.release", index="ix")
                done["rollbacks"] += 1
            self.assertEqual(conn.call("query", index="ix", vector=VECTOR, k=1)["made_by"]["version"], active)
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
        self.ingest("one", DENIALS)
        conn = self.serve()
        for n in range(OWNED):
            conn.call("documents.put", index="ix", source=f"own{n}", activate=True, documents=[{"id": f"own{n}", "text": "one text", "labels": ["public"], "vector": VECTOR}])
        gone, r, done = {}, random.Random(seed(1)), Counter()
        self.clients(self.watch(gone))
        fresh, owned = itertools.count(), [f"own{n}" for n in range(OWNED)]
        back = []
        for n in range(DENIALS):
            name = r.choices(list(self.TAKES), [3, 3, 2, 2, 1, 2, 1])[0]
            if name == "hidden with its source" and not owned:
                name = "hidden"
            doc = owned.pop() if name == "hidden with its source" else f"d{next(fresh)}"
            take, give = self.TAKES[name]
            method, fields = take(doc)
            if n % 20 == 7 and name == "hidden":  # another process
                self.data.cairn("policy", "hide", "acme", doc)
            else:
                conn.call(method, **fields)
            gone[doc] = name + " " + str(n)  # a text of its own: who gives back and takes again makes another
            self.wrong += [f"{look} shows {doc} at once" for look in ("query", "documents.list") if doc in self.LOOKS[look](conn, r, doc)]
            done[name] += 1
            if give:
                back.append((doc, give))
            while len(back) > 30:
                doc, give = back.pop(r.randrange(len(back)))
                del gone[doc]
                method, fields = give(doc)
                conn.call(method, **fields)
                if doc not in self.LOOKS["query"](conn, r, doc):
                    self.wrong.append(f"{doc} is not given back")
        self.end()
        print(f"{dict(done)} under {dict(self.asked)}", file=sys.stderr)
        self.assertEqual(set(done), set(self.TAKES))
        self.assertEqual(set(self.asked), set(self.LOOKS))

    def test_a_member_who_loses_a_group_loses_its_documents(self):
        self.ingest("one", DOCS, ("group:a",))
        conn = self.serve()
        app = self.data.make_key("--scope", "query,act-as")
        state = {"in": False, "turn": 0}
        own = Rpc(self.server, app)
        sees = lambda c: len(c.call("query", index="ix", vector=VECTOR, k=1000, **{"as": "user:ana"})["hits"])

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
