"""Every write, sync, truncation, reservation, mapping, opening and reading of a file that fails in turn: a clear error or success, never a
crash; what was acknowledged is there and what was not is not; the server goes on reading, and the data is whole afterwards.

A kind of call is a row of failing.CALLS; what is done under it, a row of ON_SERVER (a method of a running cairnd) or of ON_FILES
(a command), or the start of a server. Each class says which kinds come to fail in it (CALLED). Short: at most SOME places of each
pair, spread over all of them; long: each."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest
from collections import Counter
from pathlib import Path

from failing import CALLS, Failing
from serving import Data, Failed, Rpc, Server, count

SOME = count(2, 1000000)
VECTOR = [1.0, 2.0, 0.0, 1.0]
DOCS = ["d0", "d1", "d2", "d5"]
ERRORS = ("UNAVAILABLE", "INTERNAL", "OVERLOADED", "DAMAGED")
ALL = "query,ingest,activate,versions,policy,operate,audit,admin"


def places(total):
    """Which of the calls fail, of all that there were."""
    return range(1, total + 1) if total <= SOME else sorted({1, total, *(1 + total * i // SOME for i in range(SOME))})


class Faulty(unittest.TestCase):
    def setUp(self):
        self.data = Data(6)
        self.addCleanup(self.data.close)
        self.data.cairn("index", "set", "acme/docs", "--keep-versions", "100000")
        self.inputs = self.data.path + "-inputs"  # which calls fail goes by the beginning of the path: here too
        os.mkdir(self.inputs)
        self.failing = Failing(self.data.dir, self.data.path)
        self.addCleanup(self.failing.close)
        self.seen, self.fired = Counter(), Counter()  # fired: of each kind of call how many failed
        self.number = 0

    def sound(self):
        self.data.cairn("scrub")
        self.data.cairn("audit", "verify", "acme")
        self.data.cairn("doctor")

    def tell(self):
        print("failed:", ", ".join(f"{k} {v}" for k, v in sorted(self.fired.items())), file=sys.stderr)
        print(", ".join(f"{k} {v}" for k, v in sorted(self.seen.items())), file=sys.stderr)


class Starting(Faulty):
    def test_a_loop_without_a_thread_ends_those_that_run(self):
        """The last threads that a server starts before it is ready are those of its loops."""
        start = lambda: Server(self.data, "--loops", "4", "--scrub-rate", "0", env=self.failing.env)
        self.failing.arm("pthread_create", 0)
        server = start()
        threads = self.failing.disarm()["pthread_create"]
        self.assertEqual(server.stop(), 0)
        for last in range(3):
            self.failing.arm("pthread_create", threads - last)
            with self.assertRaisesRegex(Failed, rf"(?s)ended with 1:.*a thread for event loop {4 - last} of 4 could not be started"):
                start()
            self.failing.disarm()
        self.sound()

    CALLED = ["pwrite", "fsync", "mmap", "open", "mkdir", "rename", "pread", "futimens", "statfs", "flock", "opendir", "readdir"]

    def attempt(self, call=None, at=0):
        """A server starts after one that was killed. How many calls of each kind there were until it was ready."""
        shutil.rmtree(self.data.path)
        shutil.copytree(self.copy, self.data.path)
        self.failing.arm(call, at) if call else self.failing.count()
        try:
            server, error = Server(self.data, "--scrub-rate", "0", env=self.failing.env), None
        except Failed as e:
            error = str(e)
        calls = self.failing.disarm()
        where = f"{call} {at} of {calls.get(call)}: {error}"
        if call:
            self.fired[call] += at <= calls[call]
        if error:
            self.assertRegex(error, r'(?s)ended with 1:\n.*"server.failed", "msg": ".{15}', where)
            self.seen["ended"] += 1
            return calls
        self.addCleanup(server.stop, signal.SIGKILL)
        conn = Rpc(server, self.key)
        self.assertEqual(len(conn.call("query", index="docs", vector=VECTOR, k=3)["hits"]), 3, where)
        self.assertFalse(conn.call("trace.exposed", doc="d0")["complete"], where)  # the one that was killed may have had more to tell
        self.assertEqual(server.stop(), 0, where)
        self.seen["ready"] += 1
        return calls

    def test_each_call_that_fails_as_a_server_starts(self):
        self.key = self.data.make_key("--scope", ALL, "--labels", "public")
        server = Server(self.data)
        conn = Rpc(server, self.key)
        conn.call("query", index="docs", vector=VECTOR, k=3)
        conn.call("trace.exposed", doc="d0")  # from now on there is a store
        server.stop(signal.SIGKILL)
        self.copy = os.path.join(self.data.dir, "copy")
        shutil.copytree(self.data.path, self.copy)
        for call, total in self.attempt().items():
            for at in places(total):
                self.attempt(call, at)
        self.tell()
        self.assertEqual([call for call in self.CALLED if not self.fired[call]], [])
        self.sound()


class OnServer(Faulty):
    """A row: the method, its fields for the n-th time, what it changes; all on one server. READY makes what some need."""
    CALLED = ["pwrite", "writev", "fsync", "fdatasync", "sync_file_range", "mmap", "ftruncate", "open", "mkdir", "rename", "unlink", "read", "pread", "flock", "rmdir", "opendir",
              "readdir"]
    INDEX = {"index": "docs"}
    ON_SERVER = {
        "put": ("documents.put", lambda self, n: {**self.INDEX, "activate": True, "documents": [{"id": f"p{n}", "text": f"put {n}", "labels": ["public"], "vector": VECTOR}]},
                lambda self, n: self.there(f"p{n}")),
        "delete": ("documents.delete", lambda self, n: {**self.INDEX, "activate": True, "docs": [f"f{n}"]}, lambda self, n: self.there(f"f{n}")),
        "rebuild": ("ingest.rebuild", lambda self, n: {"index": "small", "chunker": "document", "wait": True}, lambda self, n: len(self.listed("versions.list", index="small"))),
        "drop": ("versions.drop", lambda self, n: {"index": "small", "version": self.newest("small")}, lambda self, n: self.listed("versions.list", index="small")[-1]["state"]),
        "gc": ("versions.gc", lambda self, n: {"index": "few"}, lambda self, n: [v["state"] for v in self.listed("versions.list", index="few")]),
        "pin": ("versions.pin", lambda self, n: {**self.INDEX, "version": 1}, lambda self, n: self.listed("versions.list", index="docs")[0]["marks"]),
        "unpin": ("versions.unpin", lambda self, n: {**self.INDEX, "version": 1}, lambda self, n: self.listed("versions.list", index="docs")[0]["marks"]),
        "quarantine": ("versions.quarantine", lambda self, n: {**self.INDEX, "version": 1}, lambda self, n: self.listed("versions.list", index="docs")[0]["marks"]),
        "unquarantine": ("versions.unquarantine", lambda self, n: {**self.INDEX, "version": 1}, lambda self, n: self.listed("versions.list", index="docs")[0]["marks"]),
        "ingest": ("ingest.start", lambda self, n: {**self.INDEX, "activate": True, "wait": True, "format": "jsonl", "paths": [self.rows(n)]}, lambda self, n: self.there(f"i{n}")),
        "cancel": ("ingest.cancel", lambda self, n: {"job": self.job}, lambda self, n: self.conn.call("ingest.show", job=self.job)["state"]),
        "deny": ("policy.deny", lambda self, n: {"docs": [f"f{n}"], "labels": ["public"]}, lambda self, n: self.there(f"f{n}")),
        "hide": ("policy.hide", lambda self, n: {"docs": [f"f{n}"]}, lambda self, n: self.there(f"f{n}")),
        "erase": ("policy.erase", lambda self, n: {"docs": [f"f{n}"]}, lambda self, n: self.there(f"f{n}")),
        "apply": ("policy.apply", lambda self, n: {"changes": [{"op": "hide", "docs": [f"f{n}"]}, {"op": "deny", "docs": [f"g{n}"], "labels": ["group:x"]}]},
                  lambda self, n: self.applied(n)),
        "activate": ("versions.activate", lambda self, n: {**self.INDEX, "version": 2 if self.active() != 2 else 3, "reason": "test"}, lambda self, n: self.active()),
        "reinstate": ("policy.reinstate", lambda self, n: {**self.INDEX, "version": self.newest("docs"), "reason": "test"}, lambda self, n: self.there(f"r{n}", version=self.newest("docs") - 1)),
        "member": ("members.set", lambda self, n: {"member": f"user:u{n}", "labels": ["group:hr"]}, lambda self, n: self.known(f"user:u{n}")),
        "labels": ("members.add", lambda self, n: {"member": f"user:u{n}", "labels": ["group:staff"]}, lambda self, n: self.known(f"user:u{n}")),
        "forget": ("members.remove", lambda self, n: {"member": f"user:u{n}"}, lambda self, n: self.known(f"user:u{n}")),
        "allow": ("policy.allow", lambda self, n: {"docs": [f"f{n}"], "labels": ["group:z"]}, lambda self, n: self.said(f"f{n}")),
        "clear": ("policy.clear", lambda self, n: {"docs": [f"f{n}"]}, lambda self, n: self.said(f"f{n}")),
        "unhide": ("policy.unhide", lambda self, n: {"docs": [f"f{n}"]}, lambda self, n: self.there(f"f{n}")),
        "restore": ("policy.restore", lambda self, n: {"docs": [f"f{n}"], "reason": "test"}, lambda self, n: self.said(f"f{n}")),
        "members": ("members.sync", lambda self, n: {"text": f"user:s{n} group:hr"}, lambda self, n: self.listed("members.list")),
        "mode": ("modes.set", lambda self, n: {**self.INDEX, "mode": "normal" if self.mode() == "exact" else "exact"}, lambda self, n: self.mode()),
        "host's mode": ("modes.set_host", lambda self, n: {"mode": "answer" if self.host_mode() else "exact"}, lambda self, n: self.host_mode()),
        "gate": ("gate.set", lambda self, n: {"index": "small", "requirements": [f"a>={n}"]}, lambda self, n: self.conn.call("gate.show", index="small")["requirements"]),
        "result": ("gate.submit", lambda self, n: {"index": "small", "version": 1, "results": {"a": n}}, lambda self, n: self.conn.call("gate.show", index="small")["versions"]),
        "no result": ("gate.forget", lambda self, n: {"index": "small", "version": 1, "names": ["a"]}, lambda self, n: self.conn.call("gate.show", index="small")["versions"]),
        "freeze": ("gate.freeze", lambda self, n: {**self.INDEX, "set": f"s{n}", "queries": [{"id": "q", "vector": VECTOR, "must_find": ["d2"]}]}, lambda self, n: self.sets()),
        "measure": ("gate.run", lambda self, n: {**self.INDEX, "version": 1, "sets": ["core"]}, lambda self, n: [r["name"] for r in self.conn.call("gate.show", **self.INDEX, version=1)["versions"][0]["results"]]),
        "unfreeze": ("gate.unfreeze", lambda self, n: {**self.INDEX, "set": "core"}, lambda self, n: self.sets()),
        "access": ("incident.explain_access", lambda self, n: {**self.INDEX, "doc": "d2"}, lambda self, n: self.conn.call("audit.list", limit=1)["records"][0]["seq"]),
        "key": ("admin.key_add", lambda self, n: {"scopes": ["query"], "labels": ["public"]}, lambda self, n: sum(k["state"] != "revoked" for k in self.listed("admin.key_list"))),
        "revoke": ("admin.key_revoke", lambda self, n: {"id": self.other_key}, lambda self, n: sum(k["state"] != "revoked" for k in self.listed("admin.key_list"))),
        "tenant": ("admin.tenant_add", lambda self, n: {"tenant": f"t{n}"}, lambda self, n: [t["tenant"] for t in self.host.call("admin.tenant_list")["tenants"]]),
        "tenant drop": ("admin.tenant_drop", lambda self, n: {"tenant": f"t{n}"}, lambda self, n: [t["tenant"] for t in self.host.call("admin.tenant_list")["tenants"]]),
        "index": ("admin.index_create", lambda self, n: {"index": f"i{n}", "embedder": "none"}, lambda self, n: [i["index"] for i in self.listed("admin.index_list")]),
        "index drop": ("admin.index_drop", lambda self, n: {"index": f"i{n}"}, lambda self, n: [i["index"] for i in self.listed("admin.index_list")]),
        "settings": ("admin.index_set", lambda self, n: {"index": "small", "keep_versions": 1000 + n}, lambda self, n: self.conn.call("admin.index_show", index="small")["keep_versions"]),
        "compact": ("versions.compact", lambda self, n: self.INDEX, None),
        "query": ("query", lambda self, n: {**self.INDEX, "vector": VECTOR, "k": 1000, "labels": ["public"]}, None),
        "words": ("query", lambda self, n: {**self.INDEX, "text": '"text number" te*', "k": 1000, "mode": "lexical", "operators": True, "highlight": True,
                                            "labels": ["public", f"group:w{n}"]}, None),
        "get": ("documents.get", lambda self, n: {**self.INDEX, "doc": "d2"}, None),
        "rollback": ("versions.rollback", lambda self, n: {**self.INDEX, "reason": "test"}, lambda self, n: self.active()),  # it leaves a hold
        "release": ("versions.release", lambda self, n: self.INDEX, lambda self, n: self.conn.call("versions.list", **self.INDEX)["hold"]),
    }
    # methods that take a reason, for the audit chain, and have no row
    NO_ROW = {method: "its record is all that it writes, as incident.explain_access does"
              for method in ("trace.get", "trace.exposed", "incident.which_versions", "incident.why_not", "incident.find")}
    HOST = "modes.set_host", "admin.tenant_add", "admin.tenant_drop"

    def rows(self, n):
        path = os.path.join(self.inputs, f"{n}.jsonl")
        with open(path, "w") as f:
            f.write(json.dumps({"id": f"i{n}", "text": f"row {n}", "labels": ["public"], "vector": VECTOR}) + "\n")
        return path

    def ready_compact(self, n):
        """Something to do."""
        self.conn.call("policy.erase", docs=[f"f{n}"])

    def ready_rollback(self, n):
        """Somewhere to go back to."""
        if self.active() < 3:
            self.conn.call("versions.activate", **self.INDEX, version=3, reason="test")

    def ready_drop(self, n):
        self.conn.call("documents.put", index="small", documents=[{"id": f"s{n}", "text": "more", "labels": ["public"], "vector": VECTOR}])

    def ready_gc(self, n):
        """A version that nothing keeps any more; jobs let such go themselves."""
        self.conn.call("admin.index_set", index="few", keep_versions=1000)
        for text in "one", "two", "three":
            self.conn.call("documents.put", index="few", activate=True, documents=[{"id": "f", "text": f"{text} {n}", "labels": ["public"], "vector": VECTOR}])
        self.conn.call("admin.index_set", index="few", keep_versions=0, keep_days=0)

    def ready_cancel(self, n):
        """A job that stopped."""
        killing = Failing(self.inputs, self.data.path)
        killing.arm("fdatasync", 3, kill=True)
        self.data.cairn("ingest", "acme/small", self.rows(n), check=False, env=killing.env)
        killing.close()
        job = self.listed("ingest.list")[0]
        self.assertEqual(job["state"], "interrupted")
        self.job = job["job"]

    def ready_reinstate(self, n):
        """Labels that a version takes away in those before."""
        for labels in ["public", "group:x"], ["group:x"]:
            self.conn.call("documents.put", **self.INDEX, activate=True, documents=[{"id": f"r{n}", "text": f"row {n}", "labels": labels, "vector": VECTOR}])

    def ready_revoke(self, n):
        self.other_key = self.conn.call("admin.key_add", scopes=["query"], labels=["public"])["id"]

    def ready_release(self, n):
        if not self.conn.call("versions.list", **self.INDEX)["hold"]:
            self.ready_rollback(n)
            self.conn.call("versions.rollback", **self.INDEX, reason="test")

    def sets(self):
        return {s["set"] for s in self.listed("gate.sets", index="docs")}

    def ready_freeze(self, n):
        """Room for one more."""
        for name in self.sets() - {"core"}:
            self.conn.call("gate.unfreeze", **self.INDEX, set=name)

    def ready_unfreeze(self, n):
        if "core" not in self.sets():
            self.conn.call("gate.freeze", **self.INDEX, set="core", queries=[{"id": "q", "vector": VECTOR, "must_find": ["d2"]}])

    def ready_measure(self, n):
        """Without results: those of a set go with it."""
        if self.ON_SERVER["measure"][2](self, n):
            self.conn.call("gate.unfreeze", **self.INDEX, set="core")
        self.ready_unfreeze(n)

    def ready(method, **fields):
        """Done already: refused."""
        def call(self, n):
            try:
                self.to(method).call(method, **{k: v(n) if callable(v) else v for k, v in fields.items()})
            except Failed as e:
                self.assertRegex(str(e), "^(REFUSED|NOT_FOUND)")
        return call

    one = staticmethod(lambda n: [f"f{n}"])
    READY = {"compact": ready_compact, "rollback": ready_rollback, "drop": ready_drop, "rebuild": ready_drop, "gc": ready_gc, "cancel": ready_cancel,
             "reinstate": ready_reinstate, "revoke": ready_revoke, "release": ready_release, "measure": ready_measure, "freeze": ready_freeze, "unfreeze": ready_unfreeze,
             "pin": ready("versions.unpin", index="docs", version=1), "unpin": ready("versions.pin", index="docs", version=1),
             "quarantine": ready("versions.unquarantine", index="docs", version=1), "unquarantine": ready("versions.quarantine", index="docs", version=1),
             "labels": ready("members.set", member=lambda n: f"user:u{n}", labels=["group:hr"]), "forget": ready("members.set", member=lambda n: f"user:u{n}", labels=["group:hr"]),
             "no result": ready("gate.submit", index="small", version=1, results={"a": 1}), "tenant drop": ready("admin.tenant_add", tenant=lambda n: f"t{n}"),
             "clear": ready("policy.deny", docs=one, labels=["public"]),
             "unhide": ready("policy.hide", docs=one), "restore": ready("policy.erase", docs=one),
             "index drop": ready("admin.index_create", index=lambda n: f"i{n}", embedder="none")}

    def listed(self, method, **fields):
        return next(v for v in self.conn.call(method, **fields).values() if isinstance(v, list))

    def newest(self, index):
        return max(v["version"] for v in self.listed("versions.list", index=index) if v["state"] != "dropped")

    def said(self, doc):
        return self.conn.call("policy.show", docs=[doc])["documents"]

    def mode(self):
        return next((m["mode"] for m in self.listed("modes.show") if m["index"] == "docs"), "normal")

    def host_mode(self):
        return [m["mode"] for m in self.host.call("modes.show_host")["modes"]]

    def known(self, member):
        return [m["labels"] for m in self.listed("members.list") if m["member"] == member]

    def serve(self):
        self.server = Server(self.data, "--import-root", "acme=" + self.inputs, env=self.failing.env)
        self.addCleanup(lambda: self.server.p.poll() is None and self.server.stop(signal.SIGKILL))
        self.conn, self.host = Rpc(self.server, self.key), Rpc(self.server, self.host_key)

    def to(self, method):
        return self.host if method in self.HOST else self.conn

    def there(self, doc, **version):
        try:
            return self.conn.call("documents.get", index="docs", doc=doc, **version)["doc"] == doc
        except Failed as e:
            self.assertTrue(str(e).startswith("NOT_FOUND"), e)
            return False

    def applied(self, n):
        denied = self.conn.call("policy.show", docs=[f"g{n}"])["documents"][0]["denied"] == ["group:x"]
        self.assertEqual(self.there(f"f{n}"), not denied)
        return denied

    def active(self):
        return self.conn.call("versions.list", index="docs")["active"]

    def state(self, name, n):
        """What the operation changes. Nothing fails now, so everything must answer."""
        answer = self.conn.call("query", index="docs", vector=VECTOR, k=3)
        self.assertEqual(len(answer["hits"]), 3)
        look = self.ON_SERVER[name][2]
        return look(self, n) if look else None

    def attempt(self, name, call=None, at=0):
        """Runs the operation with its at-th call of that kind failing. How many calls of each kind there were."""
        self.number += 1
        n = self.number
        if name in self.READY:
            self.READY[name](self, n)
        before = self.state(name, n)
        method, fields, _ = self.ON_SERVER[name]
        fields = fields(self, n)
        self.failing.arm(call, at) if call else self.failing.count()
        try:
            answer, error = self.to(method).call(method, **fields), None
        except Failed as e:
            error = str(e)
        calls = self.failing.disarm()
        where = f"{name}, {call} {at} of {calls.get(call)}: {error}"
        after = self.state(name, n)
        if call:
            self.fired[call] += at <= calls[call]
        if error is None:
            rejected = name == "ingest" and answer["counts"]["rejected"]  # the input could not be read, and that is told
            if before is not None and not rejected:
                self.assertNotEqual(after, before, where)
            self.seen["rejected" if rejected else "fine"] += 1
        else:
            self.assertIn(error.split(":")[0], ERRORS, where)
            self.assertGreater(len(error.split(":", 1)[1]), 10, where)
            if after != before:  # a job's own entry could not be written, after the flip, or the audit chain; a rebuild goes on after its first version, gc after its last
                self.assertTrue(name in ("rebuild", "gc") or (name in ("put", "ingest", "delete") and "work.mdb" in error) or
                                (name in ("cancel", "revoke", "host's mode") and re.search("but (that could not be recorded|1 tenants' audit chains do not tell of it)", error)), where)
                self.seen["done, though the job's entry or the chain failed"] += 1
            self.seen[error.split(":")[0]] += 1
            if after == before or name not in ("cancel", "host's mode"):
                self.to(method).call(method, **fields)  # now nothing fails
            if before is not None:
                self.assertNotEqual(self.state(name, n), before, where)
        self.assertIsNone(self.server.p.poll(), where)
        return calls

    def test_each_method_that_writes_has_a_row(self):
        """Whatever writes takes a reason, for the audit chain."""
        server = Server(self.data)
        writing = {m["name"] for m in Rpc(server).call("api.describe")["methods"] if any(p["name"] == "reason" for p in m["params"])}
        self.assertEqual(server.stop(), 0)
        self.assertGreater(len(writing), 40)
        self.assertEqual(writing, (writing & {method for method, _, _ in self.ON_SERVER.values()}) | set(self.NO_ROW))
        self.assertEqual({method for method, _, changes in self.ON_SERVER.values() if method in writing and not changes}, {"versions.compact"})

    def test_each_call_that_fails_under_each_method(self):
        self.key = self.data.make_key("--scope", ALL, "--labels", "public")
        rows = "".join(json.dumps({"id": f"f{n}", "text": "text", "labels": ["public"], "vector": VECTOR}) + "\n" for n in range(count(2000, 60000)))
        self.data.cairn("ingest", "acme/docs", "-", "--activate", text=rows)
        self.data.cairn("ingest", "acme/docs", "-", "--activate", text='{"id":"one","text":"more","labels":["public"],"vector":[1,1,1,1]}\n')
        for index in "small", "few":
            self.data.cairn("index", "create", f"acme/{index}", "--embedder", "none", "--keep-versions", "100000")
        self.data.cairn("ingest", "acme/small", "-", "--activate", text='{"id":"s","text":"small","labels":["public"],"vector":[1,1,1,1]}\n')
        self.host_key = json.loads(self.data.cairn("key", "add", "--host", "--scope", ALL, "-o", "json").stdout)["key"]
        self.serve()
        for name in self.ON_SERVER:
            for call, total in self.attempt(name).items():
                for at in places(total):
                    self.attempt(name, call, at)
        self.tell()
        self.assertEqual([call for call in self.CALLED if not self.fired[call]], [])
        self.assertGreater(self.seen["UNAVAILABLE"], 10)
        self.assertEqual(self.server.stop(), 0)
        self.sound()


class Kinds(unittest.TestCase):
    def test_each_kind_of_call_comes_to_fail_somewhere(self):
        self.assertEqual(set(CALLS), {*Starting.CALLED, *OnServer.CALLED, *OnFiles.CALLED})


class OnFiles(Faulty):
    """The command, a process for each try, on a data directory of its own."""
    INDEX = "acme/docs"
    # name: (arguments, whether the state below is another afterwards)
    ON_FILES = {
        "ingest": (["ingest", INDEX, "ROWS", "--activate"], True),
        "activate": (["activate", INDEX, "1", "--reason", "test"], True),
        "rollback": (["rollback", INDEX, "--reason", "test"], True),
        "policy deny": (["policy", "deny", "acme", "d0", "--labels", "public"], True),
        "policy erase": (["policy", "erase", "acme", "d0"], True),
        "query": (["query", INDEX, "--batch", "QUESTIONS"], False),
        "gc": (["gc", INDEX], False),
        "compact": (["compact", INDEX], False),
        "policy apply": (["policy", "apply", "acme", "CHANGES"], True),
        "policy restore": (["policy", "restore", "acme", "d5", "--reason", "test"], True),
        "member sync": (["member", "sync", "acme", "MEMBERS"], True),
        "gate run": (["gate", "run", INDEX], True),
        "tenant add": (["tenant", "add", "third"], True),
        "tenant drop": (["tenant", "drop", "other"], True),
        "index create": (["index", "create", "acme/more", "--embedder", "old"], True),
        "index drop": (["index", "drop", "acme/spare"], True),
        "model add": (["model", "add", "new", "MODEL"], True),
        "model remove": (["model", "remove", "old"], True),
        "model list": (["model", "list"], False),
        "scrub": (["scrub"], False),
        "embed": (["embed", "old", "--out", "OUT"], True),
        "eval": (["eval", "run", INDEX, "--mode", "lexical", "--queries", "TEXTS", "--qrels", "GRADES", "--run", "OUT"], True),
    }
    SAME = "model list",  # what it prints
    CUT = "eval",  # what it writes may be cut off where it fails
    CALLED = [call for call in CALLS if call not in ("ftruncate", "futimens")]

    def write(self, name, *maps):
        path = os.path.join(self.inputs, name)
        with open(path, "w") as f:
            f.writelines(json.dumps(m) + "\n" for m in maps)
        return path

    def state(self):
        """What is answered, by whom, and whether the chain and everything else is whole."""
        for command in (["audit", "verify", "acme"], ["scrub"]):
            p = self.data.cairn(*command, check=False)
            self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        read = lambda *args: json.loads(self.data.cairn(*args, "-o", "json").stdout)
        answer = read("query", self.INDEX, "--batch", self.words["QUESTIONS"])
        policy = [(d["denied"], d["hidden"], d["erased"]) for d in read("policy", "show", "acme", *DOCS)["documents"]]
        gate = [(r["name"], r["value"]) for v in read("gate", "show", self.INDEX)["versions"] for r in v["results"] if not r["name"].endswith("_ms")]
        written = os.path.exists(self.words["OUT"]) and Path(self.words["OUT"]).read_bytes()
        return (answer["made_by"]["version"], sorted(h["doc"] for h in answer["hits"]), policy, read("member", "list", "acme")["members"], gate, written,
                [t["tenant"] for t in read("tenant", "list")["tenants"]], [i["index"] for i in read("index", "list", "acme")["indexes"]], read("model", "list")["models"])

    def again(self):
        shutil.rmtree(self.data.path)
        shutil.copytree(self.copy, self.data.path)
        Path(self.words["OUT"]).unlink(missing_ok=True)

    def finish(self, name, args):
        """Now nothing fails: the operation, or the job that was interrupted, goes through."""
        job = next(iter(json.loads(self.data.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"]), None) if name == "ingest" else None
        if job and job["state"] in ("interrupted", "failed"):
            args = ["ingest", self.INDEX, "--resume", job["job"]]
        p = self.data.cairn(*args, check=False, text="one\ntwo\n")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)

    def attempt(self, name, call=None, at=0):
        args, changes = self.ON_FILES[name]
        args = [self.words.get(a, a) for a in args]
        self.again()
        self.failing.arm(call, at) if call else self.failing.count()
        p = self.data.cairn(*args, check=False, env=self.failing.env, text="one\ntwo\n")
        calls = self.failing.disarm()
        if call:
            self.fired[call] += at <= calls[call]
        where = f"{name}, {call} {at} of {calls.get(call)}: {p.returncode} {p.stdout}{p.stderr}"
        if p.returncode and name in self.CUT:
            Path(self.words["OUT"]).unlink(missing_ok=True)
        after = self.state()
        if p.returncode == 0:
            rejected = name == "ingest" and re.search(r"\brejected=[1-9]", p.stdout)  # the input could not be read, and that is told
            if not rejected:
                self.assertEqual(after != self.before, changes, where)
            if name in self.SAME:
                self.assertTrue(p.stdout == self.printed.setdefault(name, p.stdout) or "unreadable" in p.stdout, where)
            self.seen["rejected" if rejected else "fine"] += 1
            return calls
        self.assertIn(p.returncode, (1, 3, 4, 5), where)
        self.assertRegex(p.stdout + p.stderr, r"(?ms)^(cairn:|BAD ).{15}", where)
        self.seen["failed"] += 1
        done = after != self.before
        if done:  # a job's version, or what the disk did not say that it keeps
            self.assertTrue(name == "ingest" or re.search(r"is (added|removed), but a power cut may undo that", p.stderr), where)
        if not done or name == "model add":
            self.finish(name, args)
        self.assertEqual(self.state() != self.before, changes, where)
        return calls

    def test_each_call_that_fails_under_each_command(self):
        rows = [{"id": f"r{i}", "text": f"row {i}", "labels": ["public"], "vector": [1, i, 1, 1]} for i in range(5)]
        self.words = {"ROWS": self.write("rows.jsonl", *rows), "QUESTIONS": self.write("questions.jsonl", {"vector": VECTOR, "k": 1000}),
                      "CHANGES": self.write("changes.jsonl", {"op": "hide", "docs": ["d0"]}, {"op": "deny", "docs": ["d1", "d2"], "labels": ["group:x"]}),
                      **{name: os.path.join(self.inputs, name) for name in ("MEMBERS", "TEXTS", "GRADES", "MODEL", "OUT")}}
        for name, text in ("MEMBERS", "user:ana group:hr\ngroup:hr group:staff\n"), ("TEXTS", "q1\ttext number 2\n"), ("GRADES", "q1 0 d2 1\n"):
            Path(self.words[name]).write_text(text)
        os.mkdir(self.words["MODEL"])
        subprocess.run([os.environ["MAKE_MODEL"], self.words["MODEL"]], check=True)
        self.data.cairn("model", "add", "old", self.words["MODEL"])
        self.data.cairn("tenant", "add", "other")
        self.data.cairn("index", "create", "acme/spare", "--embedder", "none")
        self.data.cairn("ingest", self.INDEX, "-", "--activate", text='{"id":"one","text":"more","labels":["public"],"vector":[1,1,1,1]}\n')
        self.data.cairn("member", "set", "acme", "user:bo", "group:hr")
        self.data.cairn("policy", "erase", "acme", "d5")
        self.data.cairn("gate", "freeze", self.INDEX, "core", "--cases", self.write("cases.jsonl", {"id": "q", "vector": VECTOR, "must_find": ["d0"], "relevant": {"d2": 1}}))
        self.copy = os.path.join(self.data.dir, "copy")
        shutil.copytree(self.data.path, self.copy)
        self.before, self.printed = self.state(), {}
        for name in self.ON_FILES:
            for call, total in self.attempt(name).items():
                for at in places(total):
                    self.attempt(name, call, at)
        self.tell()
        self.assertEqual([call for call in self.CALLED if not self.fired[call]], [])
        self.assertGreater(self.seen["failed"], 20)

    def test_a_job_killed_at_any_sync_goes_on_to_its_end(self):
        """One of them lies between the commit that seals the version and the one that makes it active."""
        with open(os.path.join(self.data.dir, "rows.jsonl")) as f:
            rows = self.write("fewer.jsonl", *map(json.loads, list(f)[:-3]))
        self.words = {"QUESTIONS": self.write("questions.jsonl", {"vector": VECTOR, "k": 1000}), "OUT": os.path.join(self.inputs, "OUT")}
        self.copy = os.path.join(self.data.dir, "copy")
        shutil.copytree(self.data.path, self.copy)
        args = ["ingest", self.INDEX, rows, "--sync", "--activate"]

        def once(at):
            self.again()
            self.failing.arm("fdatasync", at, kill=True)
            p = self.data.cairn(*args, check=False, env=self.failing.env)
            calls = self.failing.disarm()["fdatasync"]
            self.assertEqual(p.returncode, -signal.SIGKILL if at else 0, p.stdout + p.stderr)
            shown = json.loads(self.data.cairn("versions", self.INDEX, "-o", "json").stdout)
            if at:
                self.seen[f"{len(shown['versions'])} sealed, {shown['active']} active"] += 1
                self.finish("ingest", args)
            return calls, self.state()

        total, whole = once(0)
        self.assertEqual(len(whole[1]), 2)
        for at in range(1, total + 1):
            self.assertEqual(once(at)[1], whole, f"killed at {at} of {total}")
        self.tell()
        self.assertGreater(self.seen["2 sealed, 1 active"], 0)

    def test_a_compaction_killed_at_any_sync_leaves_nothing_that_is_erased_after(self):
        """Neither in the new file that it was about to name, nor in the old one that it was about to let go."""
        secret = "The heliotrope ledger {} lies under the orangery"
        files = lambda text: [n for folder, _, names in os.walk(self.data.path) for n in names if text.encode() in open(os.path.join(folder, n), "rb").read()]

        def once(at):
            index = f"acme/k{at}"
            rows = [{"id": f"{who}{at}", "text": secret.format(f"{who}{at:03}"), "labels": ["public"], "vector": [1, i, 0, 1]} for i, who in enumerate(("before", "after", "never"))]
            self.data.cairn("index", "create", index, "--embedder", "none")
            self.data.cairn("ingest", index, self.write("secret.jsonl", *rows), "--activate")
            self.data.cairn("policy", "erase", "acme", f"before{at}")
            self.failing.arm("fdatasync", at, kill=True)
            p = self.data.cairn("compact", index, check=False, env=self.failing.env)
            calls = self.failing.disarm()["fdatasync"]
            self.assertEqual(p.returncode, -signal.SIGKILL if at else 0, p.stdout + p.stderr)
            self.data.cairn("policy", "erase", "acme", f"after{at}")
            return calls

        total = once(0)
        for at in range(1, total + 1):
            once(at)
        for at in range(total + 1):
            self.data.cairn("compact", f"acme/k{at}")
        self.assertTrue(json.loads(self.data.cairn("compact", "acme/k0", "--wait", "-o", "json").stdout)["gone"])
        left = {text: files(text) for at in range(total + 1) for text in (secret.format(f"{who}{at:03}") for who in ("before", "after"))}
        self.assertEqual({text: f for text, f in left.items() if f}, {})
        self.assertTrue(all(files(secret.format(f"never{at:03}")) for at in range(total + 1)))
        print(f"{total} places", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
