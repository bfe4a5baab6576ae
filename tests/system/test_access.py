"""Who may call what: every method that api.describe lists, by every kind of credential, over real sockets.

EXPECTED states each outcome; a method that is served and not in it fails the test. Each pair is tried twice: with the key
given to `auth`, and with the key in the request itself. What is allowed must succeed, so the table cannot hold for
calls that fail for some other reason. Below it: what a key limited to some indexes sees, and that answers tell nothing."""
import itertools
import json
import os
import time
import unittest

from serving import Data, Failed, Rpc, Server

SCOPES = ["query", "ingest", "activate", "force", "versions", "policy", "operate", "audit", "admin", "act-as"]
ALL = [s for s in SCOPES if s != "act-as"]
ADMINS = {"admin", "all", "other tenant", "limited: inside", "limited: outside", "host"}  # kinds that hold the scope
KINDS = ["none", "unknown", "garbled", "revoked", "expired", *SCOPES, "app", "app, no as", "all", "other tenant", "limited: inside",
         "limited: outside", "host", "host, query", "ingest, activate"]
# One column for each kind, in that order; one row for each method, and for each with `activate: true`. Tenant-wide methods are the same for both columns of "limited".
#  . allowed   U UNAUTHENTICATED   D DENIED   N NOT_FOUND   I INVALID (an app must say `as`; cancel: allowed, but the job has ended)
EXPECTED = {
    # nobody to expired, the ten scopes alone, app, all and another tenant's, limited, host, and ingest with activate
    "auth":                  ".....  ..........  ..  ..  ..  ..  .",
    "health":                ".....  ..........  ..  ..  ..  ..  .",
    "api.describe":          ".....  ..........  ..  ..  ..  ..  .",
    "stats":                 "UUUUU  ..........  ..  .N  ..  ..  .",
    "query":                 "UUUUU  .DDDDDDDDD  .I  .N  .N  ..  D",
    "query_batch":           "UUUUU  .DDDDDDDDD  .I  .N  .N  ..  D",
    "fetch":                 "UUUUU  .DDDDDDDDD  .I  .N  .N  ..  D",
    "documents.list":        "UUUUU  .DDDDDDDDD  .I  .N  .N  ..  D",
    "documents.get":         "UUUUU  .DDDDDDDDD  .I  .N  .N  ..  D",
    "versions.list":         "UUUUU  .DDDDDDDDD  ..  .N  .N  ..  D",
    "admin.index_show":      "UUUUU  .DDDDDDDDD  ..  .N  .N  ..  D",
    "admin.index_list":      "UUUUU  .DDDDDDDDD  ..  .N  ..  ..  D",
    "admin.model_list":      "UUUUU  .DDDDDDDDD  ..  .N  ..  ..  D",
    "ingest.start":          "UUUUU  D.DDDDDDDD  DD  .N  .N  .D  .",
    "ingest.start activate":    "UUUUU  DDDDDDDDDD  DD  .N  .N  .D  .",
    "ingest.rebuild":        "UUUUU  D.DDDDDDDD  DD  .N  .N  .D  .",
    "ingest.rebuild activate":  "UUUUU  DDDDDDDDDD  DD  .N  .N  .D  .",
    "ingest.show":           "UUUUU  D.DDDDDDDD  DD  .N  .N  .D  .",
    "documents.put":         "UUUUU  D.DDDDDDDD  DD  .N  .N  .D  .",
    "documents.put activate":   "UUUUU  DDDDDDDDDD  DD  .N  .N  .D  .",
    "documents.delete":      "UUUUU  D.DDDDDDDD  DD  .N  .N  .D  .",
    "documents.delete activate": "UUUUU  DDDDDDDDDD  DD  .N  .N  .D  .",
    "ingest.list":           "UUUUU  D.DDDDDDDD  DD  .N  ..  .D  .",
    "ingest.cancel":         "UUUUU  DIDDDDDDDD  DD  IN  IN  ID  I",
    "versions.activate":     "UUUUU  DD.DDDDDDD  DD  .N  .N  .D  .",
    "versions.rollback":     "UUUUU  DD.DDDDDDD  DD  .N  .N  .D  .",
    "versions.release":      "UUUUU  DD.DDDDDDD  DD  .N  .N  .D  .",
    "versions.diff":         "UUUUU  DDDD.DDDDD  DD  .N  .N  .D  D",
    "policy.show":           "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.allow":          "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.deny":           "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.clear":          "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.hide":           "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.unhide":         "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.erase":          "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.restore":        "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.apply":          "UUUUU  DDDDD.DDDD  DD  .N  DD  .D  D",
    "policy.reinstate":      "UUUUU  DDDDD.DDDD  DD  .N  .N  .D  D",
    "versions.pin":          "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "versions.unpin":        "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "versions.quarantine":   "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "versions.unquarantine": "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "versions.drop":         "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "versions.gc":           "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "gate.show":             "UUUUU  DDDD.DDDDD  DD  .N  .N  .D  D",
    "eval.list":             "UUUUU  DDDD.DDDDD  DD  .N  .N  .D  D",
    "gate.set":              "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "gate.submit":           "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "gate.forget":           "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "gate.freeze":          "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "gate.unfreeze":        "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "gate.sets":            "UUUUU  DDDD.DDDDD  DD  .N  .N  .D  D",
    "gate.run":             "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "modes.set":             "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "modes.show":            "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "modes.set_host":        "UUUUU  DDDDDDDDDD  DD  DD  DD  .D  D",
    "modes.show_host":       "UUUUU  DDDDDDDDDD  DD  DD  DD  .D  D",
    "versions.compact":      "UUUUU  DDDDDD.DDD  DD  .N  .N  .D  D",
    "audit.list":            "UUUUU  DDDDDDD.DD  DD  .N  ..  .D  D",
    "audit.verify":          "UUUUU  DDDDDDD.DD  DD  .N  DD  .D  D",
    "trace.get":             "UUUUU  DDDDDDD.DD  DD  .N  ..  .D  D",
    "trace.exposed":         "UUUUU  DDDDDDD.DD  DD  .N  ..  .D  D",
    "incident.which_versions": "UUUUU  DDDDDDD.DD  DD  .N  .N  .D  D",
    "incident.why_not":      "UUUUU  DDDDDDD.DD  DD  .N  .N  .D  D",
    "incident.explain_access": "UUUUU  DDDDDDD.DD  DD  .N  .N  .D  D",
    "incident.find":         "UUUUU  DDDDDDD.DD  DD  .N  .N  .D  D",
    "members.add":           "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "members.set":           "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "members.remove":        "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "members.list":          "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "members.sync":          "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "admin.key_add":         "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "admin.key_list":        "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "admin.key_revoke":      "UUUUU  DDDDDDDD.D  DD  .N  DD  .D  D",
    "admin.index_create":    "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "admin.index_set":       "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "admin.index_drop":      "UUUUU  DDDDDDDD.D  DD  .N  .N  .D  D",
    "admin.tenant_add":      "UUUUU  DDDDDDDDDD  DD  DD  DD  .D  D",
    "admin.tenant_drop":     "UUUUU  DDDDDDDDDD  DD  DD  DD  .D  D",
    "admin.tenant_list":     "UUUUU  DDDDDDDDDD  DD  DD  DD  .D  D",
}
CODES = {"U": "UNAUTHENTICATED", "D": "DENIED", "N": "NOT_FOUND", "I": "INVALID"}


class World(Data):
    """acme with docs and secret, other with docs; a key of each kind."""

    def __init__(self):
        super().__init__(4)
        self.numbers = itertools.count(1)
        self.root_key = json.loads(self.cairn("key", "add", "--host", "--scope", ",".join(ALL), "--labels", "public", "-o", "json").stdout)["key"]
        self.server = Server(self, "--import-root", f"acme={self.dir}")
        self.root = Rpc(self.server, self.root_key)
        self.root.call("admin.tenant_add", tenant="other")
        self.root.call("admin.index_create", tenant="acme", index="secret", embedder="none")
        self.root.call("admin.index_create", tenant="other", index="docs", embedder="none")
        for tenant, index in (("acme", "docs"), ("acme", "secret"), ("other", "docs")):
            self.put(index, tenant=tenant)
            self.put(index, tenant=tenant)
        self.rows = os.path.join(self.dir, "more.jsonl")

    def new_key(self, scopes, tenant="acme", **kw):
        return self.root_operator(tenant, scopes, **kw)

    def root_operator(self, tenant, scopes, **kw):
        args = ["--scope", ",".join(scopes)]
        for k, v in kw.items():
            args += [f"--{k}", v]
        return json.loads(self.cairn("key", "add", *([tenant] if tenant else ["--host"]), *args, "-o", "json").stdout)["key"]

    def put(self, index, tenant="acme", activate=True):
        n = next(self.numbers)
        return self.root.call("documents.put", tenant=tenant, index=index, activate=activate,
                              documents=[{"id": f"{tenant}-{index}-{n}", "text": f"words {n}", "labels": ["public"], "vector": [1, n, 0, 1]}])

    def narrow(self, index):
        """An active version that takes a label from a document."""
        self.settle(index, held=False)
        doc = {"id": f"narrowed{next(self.numbers)}", "text": "words", "vector": [1, 2, 0, 1]}
        for labels in (["public", "group:hr"], ["public"]):
            r = self.root.call("documents.put", tenant="acme", index=index, activate=True, documents=[{**doc, "labels": labels}])
        return r["version"]

    def settle(self, index, held):
        """A fresh version is active; held: and has been rolled back from."""
        if self.root.call("versions.list", tenant="acme", index=index)["hold"]:
            self.root.call("versions.release", tenant="acme", index=index)
        self.put(index)
        if held:
            self.root.call("versions.rollback", tenant="acme", index=index)

    def close(self):
        code = self.server.stop()
        super().close()
        assert code == 0, code


def make_keys(w):
    """Kind -> key, and what it adds to a request. Some are spoilt later, by spoil()."""
    public = {"labels": "public"}
    keys = {"none": None, "unknown": "cairn_aaaaaaaa_" + "A" * 43, "garbled": "cairn_" + "x" * 300, "revoked": w.new_key(ALL),
            "expired": w.new_key(ALL, expires=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4)))}
    keys.update({s: w.new_key([s], **({} if s == "act-as" else public)) for s in SCOPES})
    keys["app"] = keys["app, no as"] = w.new_key(["query", "act-as"])
    keys["all"] = w.new_key(ALL, **public)
    keys["other tenant"] = w.new_key(ALL, tenant="other", **public)
    keys["limited: inside"] = keys["limited: outside"] = w.new_key(ALL, index="docs*", **public)
    keys["ingest, activate"] = w.new_key(["ingest", "activate"], **public)
    keys["host"], keys["host, query"] = w.root_key, w.new_key(["query"], tenant=None, **public)
    return keys


def prepared(w, method, index, make):
    """Fields for a call that succeeds when it is allowed; `make`: it is, so what it works on must be there."""
    n = next(w.numbers)
    on = {"tenant": "acme", "index": index}
    doc = {"tenant": "acme", "docs": ["d0"]}
    job = {"tenant": "acme", "job": w.jobs[index]}
    simple = {
        "auth": {"key": w.keys["all"]}, "health": {}, "api.describe": {}, "stats": {"tenant": "acme"},
        "query": {**on, "vector": [1, 0, 0, 1]}, "query_batch": {**on, "queries": [{"vector": [1, 0, 0, 1]}]},
        "fetch": {**on, "doc": w.known[index]}, "documents.list": on, "documents.get": {**on, "doc": w.known[index]},
        "documents.put": {**on, "documents": [{"id": f"n{n}", "text": "new", "labels": ["public"], "vector": [1, n, 1, 1]}]},
        "documents.delete": {**on, "docs": ["nothing"]}, "ingest.start": {**on, "paths": [w.rows], "wait": True, "source": f"s{n}"},
        "ingest.list": {"tenant": "acme"}, "ingest.show": job, "versions.list": on, "admin.index_show": on, "admin.index_list": {"tenant": "acme"},
        "versions.diff": {**on, "from": 1, "to": 2}, "versions.gc": {**on, "dry_run": True}, "versions.compact": {**on, "dry_run": True}, "admin.index_set": {**on, "mode": "dense"},
        "policy.show": doc, "policy.allow": {**doc, "labels": ["group:x"]}, "policy.deny": {**doc, "labels": ["group:y"]}, "policy.clear": doc,
        "policy.hide": {"tenant": "acme", "docs": ["no such"]}, "policy.unhide": {"tenant": "acme", "docs": ["no such"]},
        "policy.erase": {"tenant": "acme", "docs": [f"gone{n}"]}, "policy.apply": {"tenant": "acme", "changes": [{"op": "allow", "docs": ["d0"], "labels": ["group:z"]}]},
        "members.add": {"tenant": "acme", "member": "user:ana", "labels": ["group:hr"]}, "members.set": {"tenant": "acme", "member": "user:ana", "labels": ["group:hr"]},
        "members.list": {"tenant": "acme"}, "members.sync": {"tenant": "acme", "text": "user:ana group:hr\n"},
        "trace.exposed": {"tenant": "acme", "doc": w.known[index]}, "incident.which_versions": {**on, "doc": w.known[index]},
        "incident.why_not": {**on, "doc": w.known[index], "vector": [1, 0, 0, 1]}, "incident.explain_access": {**on, "doc": w.known[index], "principal": "user:ana"},
        "incident.find": {**on, "text": "words"},
        "gate.show": on, "eval.list": on, "gate.set": {**on, "requirements": ["none"]}, "gate.submit": {**on, "version": 1, "results": {"recall@10": 0.9}},
        "gate.freeze": {**on, "set": "s", "queries": [{"id": "q", "vector": [1, 0, 0, 1], "must_find": ["d0"]}]}, "gate.sets": on, "gate.run": {**on, "version": 1},
        "gate.unfreeze": {**on, "set": f"s{n}"}, "gate.forget": {**on, "version": 1, "names": [f"gone{n}"]},
        "modes.set": {**on, "mode": "normal"}, "modes.show": on, "modes.set_host": {"mode": "normal"}, "modes.show_host": {},
        "audit.list": {"tenant": "acme"}, "audit.verify": {"tenant": "acme"}, "admin.tenant_list": {},
        "admin.index_create": {"tenant": "acme", "index": f"{index}-{n}", "embedder": "none"},
        "admin.key_add": {"tenant": "acme", "scopes": ["admin"]}, "admin.key_list": {"tenant": "acme"}, "admin.model_list": {"tenant": "acme"},
        "admin.tenant_add": {"tenant": f"t{n}"}, "admin.tenant_drop": {"tenant": f"t{n}"}, "admin.index_drop": {"tenant": "acme", "index": f"{index}-{n}"},
        "policy.restore": {"tenant": "acme", "docs": [f"gone{n}"], "reason": "test"}, "members.remove": {"tenant": "acme", "member": f"user:u{n}"},
    }
    before = {
        "admin.tenant_drop": lambda: w.root.call("admin.tenant_add", tenant=f"t{n}"),
        "admin.index_drop": lambda: w.root.call("admin.index_create", tenant="acme", index=f"{index}-{n}", embedder="none"),
        "policy.restore": lambda: w.root.call("policy.erase", tenant="acme", docs=[f"gone{n}"]),
        "gate.forget": lambda: w.root.call("gate.submit", **on, version=1, results={f"gone{n}": 1}),
        "gate.unfreeze": lambda: w.root.call("gate.freeze", **on, set=f"s{n}", queries=[{"id": "q", "vector": [1, 0, 0, 1], "must_find": ["d0"]}]),
        "members.remove": lambda: w.root.call("members.set", tenant="acme", member=f"user:u{n}", labels=["group:hr"]),
    }
    if make and method in before:
        before[method]()
    if method in simple:
        return simple[method]
    if method == "ingest.cancel":
        return job
    if method == "trace.get":
        trace = w.root.call("query", tenant="acme", index="docs", vector=[1, 0, 0, 1])["made_by"]["trace_id"] if make else "0" * 32
        return {"tenant": "acme", "trace_id": trace}
    if method == "ingest.rebuild":
        return {**on, "chunker": f"fixed tokens={64 + n}", "wait": True}
    if method == "admin.key_revoke":
        return {"tenant": "acme", "id": w.root.call("admin.key_add", tenant="acme", scopes=["admin"])["id"] if make else "aaaaaaaa"}
    if method in ("versions.activate", "versions.rollback", "versions.release"):
        if make:
            w.settle(index, held=method == "versions.release")
        return {"versions.activate": {**on, "version": w.root.call("versions.list", **on)["active"]}, "versions.rollback": on, "versions.release": on}[method]
    if method.startswith("versions."):
        return {**on, "version": w.put(index, activate=False)["version"] if make else 1}
    if method == "policy.reinstate":
        return {**on, "version": w.narrow(index) if make else 1, "reason": "test"}
    raise KeyError(f"{method} is served, and this test does not know how to call it")


def outcome(call):
    try:
        why = [r["error"] for r in call().get("results", []) if "error" in r] or ["."]  # of a batch: its first error
    except Failed as e:
        why = [str(e)]
    return {v: k for k, v in CODES.items()}.get(why[0].split(":")[0], why[0])


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        w = cls.w = World()
        with open(w.rows, "w") as f:
            f.write('{"id":"more","text":"words","labels":["public"],"vector":[1,1,1,1]}\n')
        w.keys = make_keys(w)
        w.known = {i: w.root.call("documents.list", tenant="acme", index=i)["documents"][0]["doc"] for i in ("docs", "secret")}
        w.jobs = {j["index"]: j["job"] for j in w.root.call("ingest.list", tenant="acme")["jobs"]}
        cls.conns = {}
        for kind, key in w.keys.items():
            cls.conns[kind] = Rpc(w.server)
            if key and kind not in ("unknown", "garbled"):
                cls.conns[kind].call("auth", key=key)
        w.root.call("admin.key_revoke", id=w.keys["revoked"][6:14])
        time.sleep(4)
        cls.bare = Rpc(w.server, tcp=True)
        cls.served = {m["name"]: m for m in w.root.call("api.describe")["methods"]}

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def ask(self, method, kind, by_request, expected):
        index = "secret" if kind == "limited: outside" else "docs"
        method, *words = method.split()
        params = {**prepared(self.w, method, index, expected == "."), **{w: True for w in words}}
        key, conn = self.w.keys[kind], self.conns[kind]
        if any(p["name"] == "as" for p in self.served[method]["params"]) and kind == "app":
            params = {**params, "as": "user:ana"}
        if by_request and key and method != "auth":
            conn, params = self.bare, {**params, "key": key}
        elif method == "auth":
            conn = Rpc(self.w.server)
        return outcome(lambda: conn.call(method, **params))

    def test_matrix(self):
        self.assertEqual(set(self.served), {row.split()[0] for row in EXPECTED}, "methods served, and methods of the table")
        wrong = []
        for method, row in EXPECTED.items():
            cells = row.replace(" ", "")
            self.assertEqual(len(cells), len(KINDS), method)
            for (kind, expected), by_request in itertools.product(zip(KINDS, cells), (False, True)):
                got = self.ask(method, kind, by_request, expected)
                if got != expected:
                    wrong.append(f"{method} by {kind}, key {'in the request' if by_request else 'given to auth'}: expected {expected}, got {got}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    # --- keys limited to some indexes ---
    LISTS = {"admin.index_list": {}, "ingest.list": {}, "audit.list": {"limit": 1000}, "stats": {}, "versions.list": {"index": "docs"},
             "documents.list": {"index": "docs"}, "admin.index_show": {"index": "docs"}}

    def words(self, kind, method, **params):
        """What is refused, in words."""
        try:
            return f"allowed: {self.conns[kind].call(method, **params)}"
        except Failed as e:
            return str(e)

    def test_lists_show_a_limited_key_its_part(self):
        limited, root = self.conns["limited: inside"], self.w.root
        self.w.put("secret")
        for method, params in self.LISTS.items():
            self.assertNotIn("secret", repr(limited.call(method, **params)), method)
        for method in ("admin.index_list", "ingest.list", "audit.list"):
            self.assertIn("secret", repr(root.call(method, tenant="acme")), method)
        names = {i["index"] for i in root.call("admin.index_list", tenant="acme")["indexes"]}
        self.assertEqual({i["index"] for i in limited.call("admin.index_list")["indexes"]}, {n for n in names if n.startswith("docs")})
        jobs = [j for j in root.call("ingest.list", tenant="acme")["jobs"] if j["index"].startswith("docs")]
        self.assertEqual([j["job"] for j in limited.call("ingest.list")["jobs"]], [j["job"] for j in jobs])

    def test_a_limited_key_is_not_told_the_tenants_policy(self):
        doc = {"index": "docs", "doc": self.w.known["docs"]}
        self.assertIsNone(self.conns["limited: inside"].call("incident.which_versions", **doc)["policy"])
        self.assertIn("granted", self.conns["all"].call("incident.which_versions", **doc)["policy"])

    def test_what_an_index_does_by_itself_needs_no_scope(self):
        self.w.root.call("admin.index_create", tenant="acme", index="by-itself", embedder="none", activate=True)
        put = lambda **more: self.conns["ingest"].call("documents.put", index="by-itself", documents=[{"id": "a", "text": "a", "vector": [1, 2]}], **more)
        self.assertTrue(put()["activated"])
        more = [{"id": "b", "text": "b", "vector": [1, 2]}]
        self.assertTrue(self.conns["ingest"].call("documents.put", index="by-itself", documents=more, activate=None)["activated"])
        with self.assertRaisesRegex(Failed, "DENIED: field .activate. needs the scope activate"):
            put(activate=True)

    def test_a_limited_key_pages_through_its_audit_records(self):
        limited, every = self.conns["limited: inside"], self.w.root.call("audit.list", tenant="acme", limit=100000)["records"]
        wanted = [r for r in every if r["action"].split(".")[0] in ("version", "index", "incident", "mode") and r["target"].startswith("docs")]
        wanted = [r["seq"] for r in wanted + [r for r in every if r["action"] == "policy.reinstate" and r["target"].startswith("docs")]]
        got, before = [], {}
        while page := limited.call("audit.list", limit=7, **before)["records"]:
            self.assertLessEqual(len(page), 7)
            got += [r["seq"] for r in page]
            before = {"before": got[-1]}
        self.assertEqual(got, sorted(wanted, reverse=True))
        self.assertGreater(len(every), len(got))

    def test_forbidden_and_missing_indexes_answer_alike(self):
        w, tried = self.w, 0
        for method, m in self.served.items():
            if not any(p["name"] == "index" and p["required"] for p in m["params"]):
                continue
            tried += 1
            params = prepared(w, method, "docs", False)
            outside, nowhere = (self.words("limited: inside", method, **{**params, "index": i}) for i in ("secret", "nowhere"))
            self.assertEqual(outside.replace("secret", "nowhere"), nowhere, method)
            self.assertTrue(nowhere.startswith('NOT_FOUND: there is no index "nowhere"'), nowhere)
            if method != "admin.index_create":
                missing = self.words("limited: inside", method, **{**params, "index": "docs-nowhere"})
                self.assertEqual(missing.replace("docs-nowhere", "nowhere"), nowhere, method)
        self.assertGreater(tried, 20)

    def test_forbidden_and_missing_jobs_answer_alike(self):
        root, w = self.w.root, self.w
        foreign = root.call("ingest.list", tenant="other")["jobs"][0]["job"]
        for kind, job in (("limited: inside", w.jobs["secret"]), ("limited: inside", foreign), ("all", foreign)):
            for method, params in (("ingest.show", {}), ("ingest.show", {"rejected": True}), ("ingest.cancel", {})):
                absent = "0" * len(job)
                self.assertEqual(self.words(kind, method, job=job, **params).replace(job, absent), self.words(kind, method, job=absent, **params))
            resumed = self.words(kind, "ingest.start", index="docs", resume=job)
            self.assertEqual(resumed, f'NOT_FOUND: there is no job "{job}"; `cairn jobs list` names those there are')

    # --- other tenants ---
    def test_lists_show_nothing_of_other_tenants(self):
        key, root = self.conns["all"], self.w.root
        foreign = [j["job"] for j in root.call("ingest.list", tenant="other")["jobs"]]
        foreign += [k["id"] for k in root.call("admin.key_list", tenant="other")["keys"]] + ["other"]
        lists = {**self.LISTS, "admin.key_list": {}, "members.list": {}, "admin.model_list": {}, "api.describe": {}}
        for method, params in lists.items():
            answer = repr(key.call(method, **params))
            for word in foreign:
                if word != "other" or method not in ("api.describe", "audit.list"):
                    self.assertNotIn(word, answer, method)

    def test_forbidden_and_missing_tenants_answer_alike(self):
        for method, m in self.served.items():
            if m["open"]:
                continue
            params = prepared(self.w, method, "docs", False)
            for kind in ("all", "query", "limited: inside", "app", "none"):
                there, not_there = (self.words(kind, method, **{**params, "tenant": t}) for t in ("other", "nowhere"))
                self.assertEqual(there.replace("other", "nowhere"), not_there, f"{method} by {kind}")
                self.assertFalse(there.startswith("allowed"), f"{method} by {kind}")

    # --- keys that make keys ---
    def test_nobody_gives_more_than_they_hold(self):
        w, root = self.w, self.w.root
        some = Rpc(w.server, w.new_key(["admin", "query"], labels="public"))
        patterns = Rpc(w.server, w.new_key(["admin", "query", "act-as"], principals="user:a*,group:x"))
        anyone = Rpc(w.server, w.new_key(["admin", "query", "act-as"]))
        for conn, given, expected in (
                (some, {"scopes": ["query"], "labels": ["public"]}, "."), (some, {"scopes": ["query"], "labels": ["group:hr"]}, "D"),
                (some, {"scopes": ["query", "audit"]}, "D"), (some, {"scopes": ["act-as"]}, "D"), (some, {"scopes": ["query"], "host": True}, "I"),
                (some, {"scopes": ["query"], "tenant": "other"}, "N"), (patterns, {"scopes": ["query", "act-as"], "principals": ["group:x"]}, "."),
                (patterns, {"scopes": ["query", "act-as"]}, "D"), (patterns, {"scopes": ["query", "act-as"], "principals": ["user:*"]}, "D"),
                (patterns, {"scopes": ["query", "act-as"], "principals": ["group:x,user:*"]}, "D"), (patterns, {"scopes": ["query"], "labels": ["group:x"]}, "D"),
                (anyone, {"scopes": ["query"], "labels": ["group:hr"]}, "."), (anyone, {"scopes": ["query", "act-as"]}, "."),
                (root, {"scopes": ["query"]}, "I"), (root, {"scopes": ["query"], "host": True}, "."), (root, {"scopes": ["query"], "host": True, "tenant": "acme"}, "I")):
            self.assertEqual(outcome(lambda: conn.call("admin.key_add", **given)), expected, given)

    # --- stats ---
    def test_facts_of_the_host_are_for_the_host(self):
        host = {"pid", "rss_bytes", "environments", "tenants", "records_written", "scrub"}
        for kind in self.w.keys:
            if kind in ("none", "unknown", "garbled", "revoked", "expired"):
                continue
            got = set(self.conns[kind].call("stats"))
            own = {"build", "uptime_s"} if kind.startswith("limited") else {"build", "uptime_s", "requests", "errors", "records_dropped"}
            own |= {"damaged", "modes"}
            own |= {"erased"} if kind in ADMINS else set()
            self.assertEqual(got, own | host if kind.startswith("host") else own, kind)
        self.assertFalse(host & set(self.w.root.call("stats", tenant="acme")))
        limited_host = Rpc(self.w.server, self.w.new_key(["query"], tenant=None, index="docs*"))
        self.assertFalse(host & set(limited_host.call("stats")))

    # --- without a key ---
    def test_a_tenant_that_answers_anyone(self):
        world = World()
        try:
            world.server.stop()
            world.server = Server(world, "--anonymous", "acme")
            nobody, jobs = Rpc(world.server), Rpc(world.server, world.root_key).call("ingest.list", tenant="acme")["jobs"]
            world.keys, world.jobs, world.known = {"all": world.root_key}, {j["index"]: j["job"] for j in jobs}, {"docs": "d0"}
            world.rows = "/nowhere"
            world.root = Rpc(world.server, world.root_key)
            allowed = set()
            for method in self.served:
                params = {**prepared(world, method, "docs", False), "tenant": "acme"}
                conn = nobody if method != "auth" else Rpc(world.server)
                if outcome(lambda: conn.call(method, **params)) == ".":
                    allowed.add(method)
                self.assertEqual(outcome(lambda: conn.call(method, **{**params, "tenant": "other"})), "." if self.served[method]["open"] else "U", method)
            self.assertEqual(allowed, {"auth", "health", "api.describe", "query", "query_batch", "fetch", "documents.list", "documents.get"})
            self.assertEqual({d["doc"] for d in nobody.call("documents.list", tenant="acme", index="docs")["documents"] if d["doc"] in ("d1", "d3")}, set())
            self.assertEqual(outcome(lambda: nobody.call("query", tenant="acme", index="docs", vector=[1, 0, 0, 1], **{"as": "user:ana"})), "D")
        finally:
            world.close()


if __name__ == "__main__":
    unittest.main()
