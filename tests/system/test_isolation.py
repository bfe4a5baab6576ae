"""A key of one tenant against everything of another: every method that api.describe lists, every field that can name something,
with the other tenant's own names and with names that there are nowhere. Both answer alike, tell nothing of it, and change
nothing of it. A method or a field that is served later is tried without a word here; a field that names something of a new
sort is a row of NAMES."""
import json
import re
import sys
import unittest
from collections import Counter

from serving import Failed, Rpc
from test_access import SCOPES, World, make_keys, prepared

# Field -> what it is called in the other tenant, and what is called so nowhere; made by names() where an id is given by cairn.
NAMES = {
    "index": ("bsecret", "nsecret"), "doc": ("bdoc", "ndoc"), "docs": (["bdoc"], ["ndoc"]), "source": ("bsource", "nsource"), "after": ("bsource/bdoc", "bnowhere/ndoc"),
    "member": ("user:bmember", "user:nmember"), "as": ("user:bmember", "user:nmember"), "labels": (["group:blabel"], ["group:nlabel"]),
    "glob": ("bdo*", "ndo*"), "all_of": ("bsource", "nsource"), "principals": (["user:bmember"], ["user:nmember"]), "text": ("user:bmember group:blabel\n", "user:nmember group:nlabel\n"),
    "tenant": ("btenant", "ntenant"), "job": None, "resume": None, "id": None, "key": None, "version": (3, 3), "expect": (3, 3), "to": (3, 3), "from": (3, 3),
    "changes": ([{"op": "unhide", "docs": ["bdoc"]}], [{"op": "unhide", "docs": ["ndoc"]}]), "paths": (["bdoc"], ["ndoc"]), "rows": ("bdoc", "ndoc"),
    "queries": ([{"vector": [1, 2, 3], "filter": {"field": "id", "eq": "bdoc"}}], [{"vector": [1, 2, 3], "filter": {"field": "id", "eq": "ndoc"}}]),
    "filter": ({"field": "id", "eq": "bdoc"}, {"field": "id", "eq": "ndoc"}), "documents": ([{"id": "bdoc", "text": "words", "vector": [1, 2, 3, 4]}], [{"id": "ndoc", "text": "words", "vector": [1, 2, 3, 4]}]),
    "scopes": None, "principal": ("user:bmember", "user:nmember"), "also": (["bsecret"], ["nsecret"]), "catch_up": (3, 3), "set": ("bset", "nset"), "sets": (["bset"], ["nset"]),
    "name": ("bset", "nset"), "names": (["bresult"], ["nresult"]), "trace_id": ("c" * 32, "d" * 32), "traceparent": (f"00-{'b' * 32}-{'1' * 16}-01", f"00-{'e' * 32}-{'1' * 16}-01"),
}
# Every other field: how something is done, or what is written with it. A new one is put here or into NAMES.
UNNAMING = set("""activate all_versions analyser before bytes chunker deadline_ms digest distinct dry_run embedder expand expires explain force format fusion highlight host
    ignore_case k keep_days keep_versions kind label_rules limit local_only map max_deleted max_rejected max_relabelled max_tokens merge metric min_relevance min_version mode on_degraded
    operators per_doc precision reason recall rejected reparse requirements results seal_only section since strict_input sync tags threads trust vector wait""".split())
SECRETS = ["bsecret", "bdoc", "bsource", "bmember", "blabel", "btenant", "bhidden", "bset", "bresult", "bquery"]
# What differs between two calls one after the other, whatever they name: times, names that cairn makes up, the caller's own epoch;
# besides, a gate's result that is a time, and the digest of a set of questions, which says what was passed.
DIFFERS = {"trace_id", "at", "made", "started", "updated", "elapsed_ms", "cpu_ms", "uptime_s", "job", "id", "key", "epoch", "policy_epoch"}
# These write what is passed into the caller's own index, so that a second one finds what the first one left; they are tried last.
WRITES = ["documents.put", "documents.delete", "ingest.start", "ingest.rebuild"]
LOOKS = {"versions.list": {"index": "bsecret"}, "documents.list": {"index": "bsecret"}, "policy.show": {"docs": ["bdoc"], "source": "bsource"}, "members.list": {},
         "admin.key_list": {}, "ingest.list": {}, "admin.index_list": {}, "audit.list": {"limit": 1000},
         "gate.show": {"index": "bsecret"}, "gate.sets": {"index": "bsecret"}, "modes.show": {}}


class Isolation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        w = cls.w = World()
        with open(w.rows, "w") as f:
            f.write('{"id":"more","text":"words","labels":["public"],"vector":[1,1,1,1]}\n')
        root = w.root
        other = lambda method, **kw: root.call(method, tenant="btenant", **kw)
        root.call("admin.tenant_add", tenant="btenant")
        other("admin.index_create", index="bsecret", embedder="none")
        for n in range(3):
            other("documents.put", index="bsecret", source="bsource", activate=True,
                  documents=[{"id": d, "text": f"{d} {n}", "labels": ["group:blabel", "public"], "vector": [1, n, 1]} for d in ("bdoc", "bhidden")])
        other("policy.hide", docs=["bhidden"], source="bsource")
        other("policy.deny", docs=["bdoc"], source="bsource", labels=["group:blabel"])
        other("members.set", member="user:bmember", labels=["group:blabel"])
        other("gate.freeze", index="bsecret", set="bset", queries=[{"id": "bquery", "vector": [1, 2, 1], "must_find": ["bdoc"]}])
        other("gate.submit", index="bsecret", version=3, results={"bresult": 1})
        for trace in (NAMES["trace_id"][0], "b" * 32):
            other("query", index="bsecret", vector=[1, 2, 1], labels=["public"], traceparent=f"00-{trace}-{'1' * 16}-01")
        cls.foreign_key = json.loads(w.cairn("key", "add", "btenant", "--scope", "query", "--labels", "group:blabel", "-o", "json").stdout)
        cls.foreign_job = other("ingest.list")["jobs"][0]["job"]
        w.keys = make_keys(w)
        w.known = {i: root.call("documents.list", tenant="acme", index=i)["documents"][0]["doc"] for i in ("docs", "secret")}
        w.jobs = {j["index"]: j["job"] for j in root.call("ingest.list", tenant="acme")["jobs"]}
        cls.served = {m["name"]: m for m in root.call("api.describe")["methods"]}

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def names(self, field):
        """(the other tenant's, nowhere's), or None: this field names nothing."""
        if field in ("job", "resume"):
            return self.foreign_job, self.foreign_job[:-8] + "0" * 8
        if field == "id":
            return self.foreign_key["id"], "aaaaaaaa"
        return NAMES.get(field)

    def other_state(self):
        return {m: self.w.root.call(m, tenant="btenant", **p) for m, p in LOOKS.items()}

    @staticmethod
    def plain(value, passed):
        """What an answer tells: all of it but DIFFERS, and with what was passed taken out of its texts."""
        if isinstance(value, dict):
            differs = DIFFERS | ({"digest"} if "questions" in value else set()) | ({"value"} if str(value.get("name")).endswith("_ms") else set())
            return {k: Isolation.plain(v, passed) if k not in differs else type(v).__name__ for k, v in value.items()}
        if isinstance(value, list):
            return [Isolation.plain(v, passed) for v in value]
        return Isolation.without(value, passed) if isinstance(value, str) else value  # and numbers as they are

    @staticmethod
    def without(text, passed):
        for word in sorted(passed, key=len, reverse=True):
            text = text.replace(word, "#")
        return re.sub(r"gone\d+", "gone", text)  # a name that prepared() makes up

    def answer(self, conn, method, params, passed):
        """(ok?, its words or all it tells), with what was passed taken out of it; and as text."""
        try:
            got = conn.call(method, **params)
            return (True, self.plain(got, passed)), self.without(repr(got), passed)
        except Failed as e:
            text = self.without(str(e), passed)
            return (False, text), text

    def forget_members(self):
        """Those that members.* took in while they were tried are no more members here than the other tenant's are."""
        for m in self.w.root.call("members.list", tenant="acme")["members"]:
            if m["member"] in NAMES["member"]:
                self.w.root.call("members.remove", tenant="acme", member=m["member"])

    def words(self, value):
        """The texts in a value."""
        if isinstance(value, str):
            return {value, *value.split(), *value.split("/")} - {"id", "eq", "words", "op", "unhide"}
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return set().union(*(self.words(v) for v in values)) if values else set()

    def test_each_field_is_known_to_name_something_or_nothing(self):
        fields = {p["name"] for m in self.served.values() for p in m["params"]}
        self.assertEqual(fields - UNNAMING, set(NAMES) & fields)
        self.assertEqual(sorted(UNNAMING - fields | set(NAMES) - fields - {"tenant"}), [])

    def test_each_method_and_each_field(self):
        w, tried = self.w, Counter()
        kinds = {s: w.keys[s] for s in (*SCOPES, "all", "app")}
        before = self.other_state()
        wrong = []
        for name, m in sorted(self.served.items(), key=lambda x: x[0] in WRITES):
            if name in ("auth", "admin.key_revoke") or m["host"]:
                continue
            fields = [p["name"] for p in m["params"]] + ["tenant"]
            for field, (kind, key) in ((f, k) for f in fields if self.names(f) for k in kinds.items()):
                pair = []
                for value in self.names(field):
                    self.forget_members()
                    conn = Rpc(w.server, key)
                    params = {**prepared(w, name, "docs", False), field: value}
                    if any(p["name"] == "as" for p in m["params"]) and kind in ("app", "act-as"):
                        params.setdefault("as", "user:ana")
                    told, text = self.answer(conn, name, params, self.words(value) | {"bdo*", "ndo*"})
                    pair.append(told)
                    leaked = [s for s in SECRETS + [self.foreign_job, self.foreign_key["id"]] if s in text]
                    if leaked and field not in ("index", "source", "docs", "doc"):
                        wrong.append(f"{name} {field}={value} by {kind} tells {leaked}: {text[:200]}")
                    conn.close()
                if pair[0] != pair[1] and not (pair[0][0] and pair[1][0] and name in WRITES):
                    wrong.append(f"{name} by {kind}, {field}: {str(pair[0])[:600]} of the other tenant's, {str(pair[1])[:600]} of what is nowhere")
                tried[field] += 1
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong[:20]))
        self.assertEqual(self.other_state(), before)
        print(dict(tried), file=sys.stderr)
        self.assertGreater(min(tried[f] for f in ("index", "doc", "docs", "job", "member", "tenant")), 10)

    def test_the_other_tenants_key_and_its_revocation(self):
        w = self.w
        there, nowhere = self.foreign_key["id"], "aaaaaaaa"
        conn = Rpc(w.server, w.keys["all"])
        tell = lambda i: self.answer(conn, "admin.key_revoke", {"id": i}, {i})[0]
        self.assertEqual(tell(there), tell(nowhere))
        self.assertEqual(Rpc(w.server, self.foreign_key["key"]).call("query", index="bsecret", vector=[1, 1, 1])["hits"], [])  # it works, and is denied bdoc
        theirs = Rpc(w.server, self.foreign_key["key"])
        for index in ("docs", "secret"):
            for method, params in (("query", {"vector": [1, 1, 1]}), ("documents.list", {}), ("fetch", {"doc": "d0"})):
                self.assertEqual(self.answer(theirs, method, {"index": index, **params}, {index})[0], self.answer(theirs, method, {"index": "nowhere", **params}, {"nowhere"})[0])


if __name__ == "__main__":
    unittest.main()
