"""Why somebody may read a document or may not, exactly: who labelled it and since when, what was revoked, over many versions, by the
command on files and by RPC alike; and that a compaction changes none of it."""
import json
import unittest

from serving import Data, Rpc, Server

VECTOR = [1, 2, 3, 4]
ANA = "user:ana"


def labels(*allow):
    return {"allow": list(allow), "deny": [], "require": []}


def revoked(version, *allow):
    return {"version": version, **labels(*allow)}


def own(label):
    """Of the member's own labels, allowed by the row."""
    return [{"label": label, "from": "row", "through": [ANA, label]}]


class Explaining(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.data = Data(1)
        self.addCleanup(self.data.close)
        self.data.cairn("index", "create", "acme/x", "--embedder", "none", "--mode", "lexical")
        self.data.cairn("member", "set", "acme", ANA, "public", "group:a")
        self.server = Server(self.data, "--merge-rate", "0")
        self.addCleanup(self.server.stop)
        self.conn = Rpc(self.server, self.data.make_key("--scope", "query,audit,versions", "--labels", "public"))
        self.jobs = {}

    def map(self, *args, text=None):
        return json.loads(self.data.cairn(*args, "-o", "json", text=text).stdout)

    def ingest(self, version, *rows, activate="--activate"):
        r = self.map("ingest", "acme/x", "-", "--format", "jsonl", activate, text="".join(json.dumps(r) + "\n" for r in rows))
        self.assertEqual(r["version"], version)
        self.jobs[r["job"]] = version

    def row(self, id, text, *allow):
        return {"id": id, "text": text, "labels": list(allow), "vector": VECTOR}

    def both(self, command, method, **fields):
        """The same answer whichever way."""
        options = [w for k, v in fields.items() if k == "version" for w in ("--version", str(v))]
        r = self.map(*command, *options)
        near = lambda r: {k: round(v, 5) if isinstance(v, float) else v for k, v in r.items()}
        self.assertEqual(near(self.conn.call(method, index="x", principal=ANA, **fields)), near(r))
        return r

    def access(self, doc="d", **version):
        return self.both(("explain-access", "acme/x", doc, ANA), "incident.explain_access", doc=doc, **version)

    def explained(self, verdict, why, row=None, labelled=None, now=None, **more):
        """What is expected; row: as ingested; labelled: the version whose job did; (version, certain, job's version) where it is not certain."""
        row = row or labels()
        return {"verdict": verdict, "why": why, "may_read": verdict == "readable", "allowed_by": [], "denied_by": [], "lacking": [], "hidden_by": [], "erased": False, "revoked": [],
                "row": row, "now": now or row, "labels": ["group:a", "public", ANA], "principal": ANA, "labelled": labelled and (labelled if isinstance(labelled, tuple) else (labelled, True, labelled)), **more}

    def is_explained(self, got, *args, **more):
        by = got["labelled"]
        got = {k: v for k, v in got.items() if k not in ("index", "source", "doc", "version", "policy_epoch")}
        got["labelled"] = by and (by["version"], by["certain"], self.jobs[by["job"]])
        self.assertEqual(got, self.explained(*args, **more))

    def test_who_labelled_it_over_versions(self):
        here = lambda label: f"{label} is allowed by its row; {ANA} has it from the directory of members"
        gone = "public would let it through, and was revoked by version 4"
        for version, text in (1, "one"), (2, "one"), (3, "two"):  # the second leaves it as it is, the third changes its text
            self.ingest(version, self.row("d", text, "public"), self.row(f"other{version}", "other", "public"))
            self.is_explained(self.access(), "readable", here("public"), labels("public"), 1, allowed_by=own("public"))
        self.ingest(4, self.row("d", "two", "group:b"))
        self.is_explained(self.access(), "not_allowed", "none of the labels asked with is one that it allows", labels("group:b"), 4)
        for version in 1, 3:
            self.is_explained(self.access(version=version), "not_allowed", gone, labels("public"), 1, labels(), revoked=[revoked(4, "public")])
        self.ingest(5, {"id": "d", "op": "delete"})
        self.is_explained(self.access(), "not_in_version", "version 5 does not hold it; `cairn which-versions` lists those that do")
        self.ingest(6, self.row("d", "three", "group:a"))
        self.is_explained(self.access(), "readable", here("group:a"), labels("group:a"), 6, allowed_by=own("group:a"))
        lists = [revoked(4, "public"), revoked(6, "group:b", "public")]
        self.is_explained(self.access(version=3), "not_allowed", gone, labels("public"), 1, labels(), revoked=lists)
        self.is_explained(self.access(version=4), "not_allowed", "it allows no label, so nobody may read it", labels("group:b"), 4, labels(), revoked=lists[1:])
        before = [self.access(version=v) for v in range(1, 7)]
        self.assertEqual(self.map("compact", "acme/x")["made"], 1)
        after = [self.access(version=v) for v in range(1, 7)]
        self.assertEqual([{**r, "policy_epoch": 0} for r in after], [{**r, "policy_epoch": 0} for r in before])
        self.data.cairn("rollback", "acme/x", "--to", "3", "--reason", "test")
        self.is_explained(self.access(), "not_allowed", gone, labels("public"), 1, labels(), revoked=lists)
        self.data.cairn("policy", "reinstate", "acme/x", "4", "--reason", "test")
        self.is_explained(self.access(), "not_allowed", "public would let it through, and was revoked by version 6", labels("public"), 1, labels(), revoked=lists[1:])
        self.data.cairn("policy", "reinstate", "acme/x", "6", "--reason", "test")
        self.is_explained(self.access(), "readable", here("public"), labels("public"), 1, allowed_by=own("public"))
        self.data.cairn("release", "acme/x")
        self.ingest(7, self.row("d", "four", "public"))  # on version 5, the newest that is not suspect, which does not hold it
        self.is_explained(self.access(), "readable", here("public"), labels("public"), 7, allowed_by=own("public"))
        self.data.cairn("drop", "acme/x", "1")
        self.is_explained(self.access(version=3), "readable", here("public"), labels("public"), allowed_by=own("public"), labelled=(2, False, 2), revoked=[revoked(7, "group:a", "group:b")])

    def why_not(self, doc, **version):
        r = self.both(("why-not", "acme/x", "alpha", doc, "--principal", ANA), "incident.why_not", text="alpha", doc=doc, **version)
        return r["verdict"], r["why"], r["rank"], r["hidden_by"], r["erased"], [v["version"] for v in r["revoked"]], r["may_read"]

    def test_why_not(self):
        policy = lambda *args: self.data.cairn("policy", *args[:1], "acme", *args[1:], "--reason", "test")
        answered = ("answered", "it is in the answer: its best passage ranks 1", 1, [], False, [], True)
        old = ("erased", "it was erased, and this row is one of before it was restored", None, [], True, [], False)
        self.ingest(1, self.row("d", "alpha of d", "public"), self.row("e", "alpha alpha", "public"))
        self.ingest(2, self.row("d", "alpha of d", "group:b"))
        self.ingest(3, self.row("f", "alpha of f", "public"), activate="--no-activate")
        self.assertEqual(self.why_not("e"), answered)
        self.assertEqual(self.why_not("never"), ("not_in_version", "version 2 does not hold it; `cairn which-versions` lists those that do", None, [], False, [], False))
        self.assertEqual(self.why_not("f")[0], "not_in_version")
        self.assertEqual(self.why_not("f", version=3)[0], "answered")
        self.assertEqual(self.why_not("d"), ("not_allowed", "none of the labels asked with is one that it allows", None, [], False, [], False))
        self.assertEqual(self.why_not("d", version=1), ("not_allowed", "public would let it through, and was revoked by version 2", None, [], False, [2], False))
        policy("hide", "e")
        self.assertEqual(self.why_not("e"), ("hidden", "it is hidden by name, from everyone, in every version", None, ["its name"], False, [], False))
        policy("unhide", "e")
        policy("deny", "e", "--labels", "public")
        self.assertEqual(self.why_not("e"), ("denied", "public is denied by denial", None, [], False, [], False))
        policy("clear", "e")
        self.assertEqual(self.why_not("e"), answered)
        policy("erase", "e")
        for version in {}, {"version": 1}:
            self.assertEqual(self.why_not("e", **version), ("erased", "it is erased, in every version", None, [], True, [], False))
        policy("restore", "e")
        self.assertEqual(self.why_not("e"), old)
        self.ingest(4, self.row("e", "alpha alpha", "public"))
        self.assertEqual(self.why_not("e"), answered)
        self.assertEqual(self.why_not("e", version=2), old)
        self.data.cairn("compact", "acme/x")
        self.assertEqual((self.why_not("e"), self.why_not("e", version=2)[0]), (answered, "erased"))


if __name__ == "__main__":
    unittest.main()
