"""Who let a document through, and why it is not in an answer: tables of what was done and of what is then said, each answer compared
whole, on files and through a server alike. Taken out are the epoch, scores (which are the question's) and, once they are found to
be those of the version named, times, who and ids of jobs."""
import json
import os
import unittest

from serving import Data, Failed, Rpc, Server

NOTHING = {"allow": [], "deny": [], "require": []}
WORDS = "words of the salaries"


def held(allow=(), deny=(), require=()):
    return {"allow": list(allow), "deny": list(deny), "require": list(require)}


def met(label, origin="row", through=None):
    return {"label": label, "from": origin, "through": through or [label]}


class World(Data):
    """Index acme/why, a server on it, and the jobs by the names that the tables give them."""

    def __init__(self):
        super().__init__(2)
        self.cairn("index", "create", "acme/why", "--embedder", "none", "--keep-versions", "50")
        self.cairn("member", "add", "acme", "user:ana", "group:office")
        self.cairn("member", "add", "acme", "group:office", "group:hr")
        self.server = Server(self)
        self.rpc = Rpc(self.server, self.make_key("--scope", "query,ingest,activate,audit,versions,policy,operate,admin", "--labels", "public"))
        self.jobs = {"": ""}

    def close(self):
        self.server.stop()
        super().close()

    # --- steps ---
    def ingest(self, name, rows, *options, activate=True):
        """A job of the table's name; the version that it made (None: none)."""
        path = os.path.join(self.dir, "rows.jsonl")
        with open(path, "w") as f:
            for r in rows:
                f.write(json.dumps({"vector": [1, 0], "text": WORDS, **r} if "op" not in r else r) + "\n")
        r = json.loads(self.cairn("ingest", "acme/why", path, *options, *["--activate"] * activate, "-o", "json").stdout)
        self.jobs[r["job"]] = name
        return r.get("version")

    def put(self, name, *documents):
        r = self.rpc.call("documents.put", index="why", activate=True, documents=[{"vector": [1, 0], "text": WORDS, **d} for d in documents])
        self.jobs[r["job"]] = name
        return r["version"]

    def rebuild(self, name, *options):
        r = json.loads(self.cairn("rebuild", "acme/why", *options, "-o", "json").stdout)
        self.jobs[r["job"]] = name
        return r["version"]

    def policy(self, *args):
        self.cairn("policy", args[0], "acme", *args[1:], "--reason", "a test")

    def back(self, *to):
        self.cairn("rollback", "acme/why", *to, "--reason", "a test")
        self.cairn("release", "acme/why")

    def compact(self):
        """At least one file is written anew."""
        assert json.loads(self.cairn("compact", "acme/why", "-o", "json").stdout)["rewritten"] > 0

    # --- questions ---
    def options(self, q):
        return [w for k in ("version", "source", "filter") if k in q for w in ("--" + k, str(q[k]))] + (["--as", ",".join(q["labels"])] if q.get("labels") else [])

    def on_files(self, command, q):
        if command == "explain-access":
            args = [q["doc"], *([q["principal"]] if "principal" in q else [])]
        else:
            args = [q.get("text", WORDS), q["doc"], *(["--principal", q["principal"]] if "principal" in q else []), *(["-k", str(q["k"])] if "k" in q else [])]
        p = self.cairn(command, "acme/why", *args, *self.options(q), "-o", "json", check=False)
        return json.loads(p.stdout) if p.returncode == 0 else (p.returncode, p.stderr.strip().split(": ", 2)[2])

    def through_server(self, command, q):
        params = {**({"text": WORDS} if command == "why-not" else {}), **q}
        if "filter" in params:
            field, value = params["filter"].split(" = ")
            params["filter"] = {"field": field, "eq": value}
        try:
            return self.rpc.call("incident." + command.replace("-", "_"), index="why", **params)
        except Failed as e:
            return ({"REFUSED": 5, "NOT_FOUND": 3}[str(e).split(": ")[0]], str(e).split(": ", 1)[1])

    def hit(self, q, k):
        """The document's passage in the answer to the same question."""
        who = ["--principal", q["principal"]] if "principal" in q else []
        p = self.cairn("query", "acme/why", q.get("text", WORDS), "-k", str(k), *who, *self.options({k: v for k, v in q.items() if k != "source"}), "-o", "json")
        hits = [h for h in json.loads(p.stdout)["hits"] if (h["doc"], h["source"]) == (q["doc"], q.get("source", "default"))]
        return hits[0] if hits else None


class Table(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.w = World()
        self.addCleanup(self.w.close)

    def ask(self, command, q):
        here, there = self.w.on_files(command, q), self.w.through_server(command, q)
        if isinstance(here, dict) and here.get("score") is not None:
            self.assertAlmostEqual(here["score"], there["score"], 5)
            hit = self.w.hit(q, 100)
            self.assertEqual((here["score"], here["relevance"]), (hit["score"], hit["relevance"]))
            for answer in (here, there):
                answer["score"] = answer["relevance"] = "the hit's"
        self.assertEqual(here, there)
        if isinstance(here, dict):
            self.assertIs(type(here.pop("policy_epoch")), int)
        return here

    def labelled(self, l):
        """The job by its name; when and by whom it came is what `versions` says of the version, and goes."""
        if l is None:
            return None
        version = self.w.rpc.call("versions.list", index="why")["versions"][l["version"] - 1]
        self.assertEqual([l[k] for k in ("job", "by", "made")], [version[k] for k in ("job", "by", "made")])
        if l["job"]:
            job = self.w.rpc.call("ingest.show", job=l["job"])
            self.assertEqual((l["kind"], l["started"]), (job["kind"], job["started"]))
            self.assertLessEqual(l.pop("started"), l["made"])
        return {**{k: v for k, v in l.items() if k not in ("by", "made")}, "job": self.w.jobs[l["job"]]}

    def expected(self, q, verdict, why, row=NOTHING, **differs):
        asked = q.get("labels", ["public"])
        if q.get("principal") == "user:ana":
            asked = ["group:hr", "group:office", "public", "user:ana"]
        return {"index": "why", "source": q.get("source", "default"), "doc": q["doc"], "verdict": verdict, "why": why, "may_read": False, "allowed_by": [], "denied_by": [],
                "lacking": [], "hidden_by": [], "erased": False, "revoked": [], "row": row, "now": differs.get("now", row), "labels": asked, "principal": q.get("principal", ""), **differs}


def job(name, version, rule=None, gives=(), label=(), kind="ingest", certain=True):
    """What `labelled` says: the job that gave the row its labels, and what it was told."""
    return {"version": version, "certain": certain, "job": name, "kind": kind, "label_rule": rule or "", "rule_gives": list(gives), "label": list(label),
            "trust": [], "rows": ""}


class WhoLetItThrough(Table):
    """Each row: what is done; then what is asked, and the version, labels and job of the answer."""

    def readable(self, doc, version, label, by, ask_version=None, source=None):
        q = {"doc": doc, "labels": [label], **({"version": ask_version} if ask_version else {}), **({"source": source} if source else {})}
        got = self.ask("explain-access", q)
        got["labelled"] = self.labelled(got["labelled"])
        want = self.expected(q, "readable", f"{label} is allowed by its row", row=held([label]), version=version, may_read=True, allowed_by=[met(label)], labelled=by)
        self.assertEqual(got, want)

    def refused(self, doc, version, label, verdict, why, by, ask_version=None, **differs):
        q = {"doc": doc, "labels": [label], **({"version": ask_version} if ask_version else {})}
        got = self.ask("explain-access", q)
        got["labelled"] = self.labelled(got["labelled"])
        self.assertEqual(got, self.expected(q, verdict, why, version=version, labelled=by, **differs))

    FIRST = job("first", 1, "a/*=group:hr", ["group:hr"])
    STAFF = job("relabels", 3, "a/1=group:staff", ["group:staff"])
    OWN = job("own labels", 5, "a/1=group:staff", ["group:staff"])
    AGAIN = job("again", 7, "a/1=group:staff", ["group:staff"])

    def test_jobs_one_after_the_other(self):
        w, A, B = self.w, {"id": "a/1"}, {"id": "b/1"}
        w.ingest("first", [A, B], "--label-rule", "a/*=group:hr")
        self.readable("a/1", 1, "group:hr", self.FIRST)
        # changed by another job, whose other rule gives the same label: the label is the first one's
        self.assertEqual(w.ingest("changes", [{**A, "text": WORDS + " again"}], "--label-rule", "**=group:hr"), 2)
        self.readable("a/1", 2, "group:hr", self.FIRST)
        # relabelled by a rule
        self.assertEqual(w.ingest("relabels", [{**A, "text": WORDS + " again"}], "--label-rule", "a/1=group:staff"), 3)
        self.readable("a/1", 3, "group:staff", self.STAFF)
        # a job that changes nothing of it, in a version of its own and in none
        self.assertEqual(w.ingest("another's", [{**A, "text": WORDS + " again"}, {**B, "text": "new"}], "--label-rule", "a/1=group:staff"), 4)
        self.readable("a/1", 4, "group:staff", self.STAFF)
        self.assertIsNone(w.ingest("nothing", [{**A, "text": WORDS + " again"}], "--label-rule", "*/1=group:staff"))
        self.readable("a/1", 4, "group:staff", self.STAFF)
        # relabelled by its row, which the rule that fits gives way to
        self.assertEqual(w.ingest("own labels", [{**A, "labels": ["group:own"]}], "--label-rule", "a/1=group:staff"), 5)
        self.readable("a/1", 5, "group:own", self.OWN)
        # deleted: nobody's; and come again with labels that it had once
        self.assertEqual(w.ingest("deletes", [{**A, "op": "delete"}]), 6)
        self.refused("a/1", 6, "group:own", "not_in_version", "version 6 does not hold it; `cairn which-versions` lists those that do", None)
        self.readable("a/1", 5, "group:own", self.OWN, ask_version=5)
        self.assertEqual(w.ingest("again", [A], "--label-rule", "a/1=group:staff"), 7)
        self.readable("a/1", 7, "group:staff", self.AGAIN)
        self.every_older_version(newest=7)
        self.moved_and_made_anew()

    def every_older_version(self, newest):
        """What each says while the newest is active: the same now and after every file was written anew."""
        revoked = {3: ["group:hr"], 4: ["group:hr"], 5: ["group:hr", "group:staff"], 7: ["group:hr", "group:own"], 8: ["group:hr", "group:own"]}
        for version, label, by in ((1, "group:hr", self.FIRST), (2, "group:hr", self.FIRST), (3, "group:staff", self.STAFF), (4, "group:staff", self.STAFF),
                                   (5, "group:own", self.OWN)):
            lists = [{"version": n, **held(allow)} for n, allow in revoked.items() if version < n <= newest]
            by_list = [x["version"] for x in lists if label in x["allow"]][0]
            self.refused("a/1", version, label, "not_allowed", f"{label} would let it through, and was revoked by version {by_list}", by, ask_version=version,
                         row=held([label]), now=NOTHING, revoked=lists)
        self.refused("a/1", 7, "group:hr", "not_allowed", "none of the labels asked with is one that it allows", self.AGAIN, ask_version=7, row=held(["group:staff"]),
                     revoked=[{"version": 8, **held(revoked[8])}] if newest == 8 else [])
        stands = self.w.rpc.call("incident.which_versions", index="why", doc="a/1")["versions"]
        self.assertEqual([(v["version"], v["labels"], v["erased"]) for v in stands if v["version"] < 8],
                         [(v, held([label]), False) for v, label in ((1, "group:hr"), (2, "group:hr"), (3, "group:staff"), (4, "group:staff"), (5, "group:own"), (7, "group:staff"))])

    def moved_and_made_anew(self):
        w = self.w
        self.assertEqual(w.ingest("secret", [{"id": "b/2"}], "--label", "group:own"), 8)
        w.policy("erase", "b/2")
        self.every_older_version(newest=8)
        w.compact()
        self.every_older_version(newest=8)
        self.readable("a/1", 8, "group:staff", self.AGAIN)
        # settings of the index: a version of no job
        w.cairn("index", "set", "acme/why", "--mode", "exact")
        self.readable("a/1", 9, "group:staff", self.AGAIN)
        # another analyser: all files new, by a job that labelled nothing
        self.assertEqual(w.rebuild("rebuilds", "--analyser", "german", "--activate"), 10)
        self.readable("a/1", 10, "group:staff", self.AGAIN)
        # after a rollback the next job goes on from what was before the version that was left
        self.assertEqual(w.ingest("mangles", [{"id": "a/1"}], "--label", "group:x"), 11)
        self.readable("a/1", 11, "group:x", job("mangles", 11, label=["group:x"]))
        w.back()
        lists = [{"version": 11, **held(["group:hr", "group:own", "group:staff"])}]
        why = "group:staff would let it through, and was revoked by version 11"
        self.refused("a/1", 10, "group:staff", "not_allowed", why, self.AGAIN, row=held(["group:staff"]), now=NOTHING, revoked=lists)
        self.readable("a/1", 11, "group:x", job("mangles", 11, label=["group:x"]), ask_version=11)
        w.cairn("policy", "reinstate", "acme/why", "11", "--reason", "a test")
        self.readable("a/1", 10, "group:staff", self.AGAIN)
        self.assertEqual(w.ingest("after", [{"id": "b/3"}], "--label", "public"), 12)
        self.readable("a/1", 12, "group:staff", self.AGAIN)
        self.refused("a/1", 11, "group:x", "not_allowed", "group:x would let it through, and was revoked by version 12", job("mangles", 11, label=["group:x"]), ask_version=11,
                     row=held(["group:x"]), now=NOTHING, revoked=[{"version": 12, **held(["group:hr", "group:own", "group:x"])}])
        # small writes have jobs, too
        self.assertEqual(w.put("writes", {"id": "a/1", "labels": ["group:put"]}), 13)
        self.readable("a/1", 13, "group:put", job("writes", 13, kind="put"))
        self.without_what_was_before()

    def without_what_was_before(self):
        """Where an older version that might have had them is gone, that is said."""
        w = self.w
        self.assertEqual(w.ingest("another", [{"id": "b/4"}], "--label", "public"), 14)
        w.cairn("drop", "acme/why", "13")
        self.readable("a/1", 14, "group:put", job("another", 14, label=["public"], certain=False))

    def test_one_id_of_two_sources(self):
        w = self.w
        w.ingest("one's", [{"id": "a/1"}], "--label", "group:one")
        w.ingest("two's", [{"id": "a/1"}], "--label-rule", "a/*=group:two", "--source", "two")
        self.readable("a/1", 2, "group:one", job("one's", 1, label=["group:one"]))
        self.readable("a/1", 2, "group:two", job("two's", 2, "a/*=group:two", ["group:two"]), source="two")
        w.ingest("two again", [{"id": "a/1"}], "--label", "group:one", "--source", "two")
        self.readable("a/1", 3, "group:one", job("one's", 1, label=["group:one"]))
        self.readable("a/1", 3, "group:one", job("two again", 3, label=["group:one"]), source="two")

    def test_a_rebuild_that_catches_up(self):
        """What jobs brought beside it is theirs in its version too."""
        w = self.w
        w.ingest("one", [{"id": "a/1"}, {"id": "b/1"}], "--label", "group:one")
        self.assertEqual(w.rebuild("rebuilds", "--analyser", "german"), 2)
        self.assertEqual(w.ingest("two", [{"id": "a/1"}], "--label-rule", "a/*=group:two"), 3)
        self.refused("a/1", 2, "group:one", "not_allowed", "group:one would let it through, and was revoked by version 3", job("one", 1, label=["group:one"]), ask_version=2,
                     row=held(["group:one"]), now=NOTHING, revoked=[{"version": 3, **held(["group:one"])}])
        self.assertEqual(w.rebuild("catches up", "--catch-up", "2", "--activate"), 4)
        self.readable("a/1", 4, "group:two", job("two", 3, "a/*=group:two", ["group:two"]))
        self.readable("b/1", 4, "group:one", job("one", 1, label=["group:one"]))

    def test_erased_restored_and_come_again(self):
        """The same labels as before: who brought them back is the job of the row that there is now."""
        w = self.w
        w.ingest("before", [{"id": "a/1"}, {"id": "b/1"}], "--label", "group:hr")
        w.policy("erase", "a/1")
        w.policy("restore", "a/1")
        self.assertEqual(w.ingest("after", [{"id": "a/1"}, {"id": "b/1"}], "--label-rule", "a/*=group:hr", "--label", "group:hr"), 2)
        after = job("after", 2, "a/*=group:hr", ["group:hr"], ["group:hr"])
        of_before = "it was erased, and this row is one of before it was restored"
        self.readable("a/1", 2, "group:hr", after)
        self.readable("b/1", 2, "group:hr", job("before", 1, label=["group:hr"]))
        self.refused("a/1", 1, "group:hr", "erased", of_before, job("before", 1, label=["group:hr"]), ask_version=1, row=held(["group:hr"]), allowed_by=[met("group:hr")], erased=True)
        self.assertEqual(w.ingest("later", [{"id": "b/2"}], "--label", "public"), 3)
        self.readable("a/1", 3, "group:hr", after)
        w.compact()
        self.readable("a/1", 3, "group:hr", after)
        self.refused("a/1", 1, "group:hr", "erased", of_before, None, ask_version=1, erased=True)
        self.readable("b/1", 3, "group:hr", job("before", 1, label=["group:hr"]))


# --- why not ---
ABSENT = "version {} does not hold it; `cairn which-versions` lists those that do"
NONE_OF = "none of the labels asked with is one that it allows"
OF_BEFORE = "it was erased, and this row is one of before it was restored"
NAMED = "it is hidden by name, from everyone, in every version"
PUBLIC, HR, STAFF = held(["public"]), held(["group:hr"]), held(["group:staff"])
ANA = ["user:ana", "group:office", "group:hr"]


def asked(doc, as_whom="public", **more):
    return {"doc": doc, **({"principal": as_whom} if as_whom.startswith("user:") else {"labels": [as_whom]}), **more}


def answered(rank, label="public", origin="row", through=None, why=None, **more):
    """A document that is in the answer, or only (why) not near enough."""
    place = {"may_read": True, "allowed_by": [met(label, origin, through)], "chunk": 0, "rank": rank, "score": "the hit's", "relevance": "the hit's"}
    return ("ranked_lower" if why else "answered", why or f"it is in the answer: its best passage ranks {rank}", {**place, **more})


def revoked(version, allow=(), deny=(), require=()):
    return {"version": version, **held(allow, deny, require)}


def first(w):
    w.ingest("first", [{"id": "a/deny", "labels": ["public"], "deny": ["group:office"]}, {"id": "b/all", "labels": ["public"]},
                       {"id": "c/hr", "labels": ["group:hr"]}, {"id": "d/lang", "labels": ["public"], "meta": {"lang": "de"}}, {"id": "e/require", "labels": ["public"], "require": ["group:hr"]},
                       {"id": "f/nobody"}, {"id": "g/goes", "labels": ["public"]}, {"id": "h/narrows", "labels": ["group:hr"]}, {"id": "i/closes", "labels": ["public"]}])


def second(w):
    """Sealed, and not yet active."""
    w.ingest("second", [{"id": "g/goes", "op": "delete"}, {"id": "h/narrows", "labels": ["group:staff"]}, {"id": "j/comes", "labels": ["public"]},
                        {"id": "i/closes", "labels": ["public"], "deny": ["group:x"], "require": ["group:y"]}], activate=False)


# What is done; then what is asked, and of the answer: version, verdict, why, and what else is not as of a document that is nowhere.
WHY_NOT = [
    ("as their rows say", first, [
        (asked("b/all"), 1, *answered(2, row=PUBLIC)),
        (asked("d/lang", k=1), 1, *answered(3, row=PUBLIC, k=1, why="its best passage ranks 3, and 1 were asked for")),
        (asked("d/lang", filter="lang = de"), 1, *answered(1, row=PUBLIC)),
        (asked("b/all", filter="lang = de"), 1, "filtered", "its metadata does not fit the filter", {"row": PUBLIC, "may_read": True, "allowed_by": [met("public")]}),
        (asked("b/all", text="zebra"), 1, "ranked_lower", "it holds none of the question's words, or more than 10000 permitted passages fit them better",
         {"row": PUBLIC, "may_read": True, "allowed_by": [met("public")]}),
        (asked("c/hr"), 1, "not_allowed", NONE_OF, {"row": HR}),
        (asked("c/hr", "user:ana"), 1, *answered(2, "group:hr", through=ANA, row=HR)),
        (asked("a/deny"), 1, *answered(1, row=held(["public"], ["group:office"]))),
        (asked("a/deny", "user:ana"), 1, "denied", "group:office is denied by row",
         {"row": held(["public"], ["group:office"]), "denied_by": [met("group:office", through=ANA[:2])], "allowed_by": [met("public")]}),
        (asked("e/require"), 1, "lacking", "group:hr is required by row and not asked with",
         {"row": held(["public"], [], ["group:hr"]), "allowed_by": [met("public")], "lacking": [{"label": "group:hr", "from": "row"}]}),
        (asked("f/nobody"), 1, "not_allowed", "it allows no label, so nobody may read it", {}),
        (asked("never"), 1, "not_in_version", ABSENT.format(1), {}),
        (asked("b/all", source="two"), 1, "not_in_version", ABSENT.format(1), {}),
    ]),
    ("hidden by its name", lambda w: w.policy("hide", "b/all"), [
        (asked("b/all"), 1, "hidden", NAMED, {"row": PUBLIC, "allowed_by": [met("public")], "hidden_by": ["its name"]}),
        (asked("c/hr"), 1, "not_allowed", NONE_OF, {"row": HR}),
    ]),
    ("hidden by a glob too", lambda w: w.policy("hide", "--glob", "b/*"), [
        (asked("b/all"), 1, "hidden", NAMED, {"row": PUBLIC, "allowed_by": [met("public")], "hidden_by": ["its name", "b/*"]}),
    ]),
    ("hidden by the glob alone", lambda w: w.policy("unhide", "b/all"), [
        (asked("b/all"), 1, "hidden", "it is hidden by the glob b/*, from everyone, in every version", {"row": PUBLIC, "allowed_by": [met("public")], "hidden_by": ["b/*"]}),
    ]),
    ("hidden by its source", lambda w: (w.policy("unhide", "--glob", "b/*"), w.policy("hide", "--all-of", "default")), [
        (asked("b/all"), 1, "hidden", "it is hidden by the source default, from everyone, in every version", {"row": PUBLIC, "allowed_by": [met("public")], "hidden_by": ["default"]}),
        (asked("never"), 1, "not_in_version", ABSENT.format(1), {"hidden_by": ["default"]}),
    ]),
    ("shown again, and denied", lambda w: (w.policy("unhide", "--all-of", "default"), w.policy("deny", "b/all", "--labels", "public")), [
        (asked("b/all"), 1, "denied", "public is denied by denial",
         {"row": PUBLIC, "now": held(["public"], ["public"]), "allowed_by": [met("public")], "denied_by": [met("public", "denial")]}),
    ]),
    ("cleared; and granted", lambda w: (w.policy("clear", "b/all"), w.policy("allow", "c/hr", "--labels", "public")), [
        (asked("b/all"), 1, *answered(2, row=PUBLIC)),
        (asked("c/hr"), 1, *answered(3, origin="grant", row=HR, now=held(["group:hr", "public"]))),
    ]),
    ("a version that is sealed and not active", lambda w: (w.policy("clear", "c/hr"), second(w)), [
        (asked("h/narrows", "group:hr"), 1, *answered(2, "group:hr", row=HR)),
        (asked("h/narrows", "group:staff"), 1, "not_allowed", NONE_OF, {"row": HR}),
        (asked("h/narrows", "group:staff", version=2), 2, *answered(1, "group:staff", row=STAFF)),
        (asked("j/comes"), 1, "not_in_version", ABSENT.format(1), {}),
    ]),
    ("it is flipped to: its list is in force", lambda w: w.cairn("activate", "acme/why", "2"), [
        (asked("h/narrows", "group:hr"), 2, "not_allowed", NONE_OF, {"row": STAFF}),
        (asked("h/narrows", "group:hr", version=1), 1, "not_allowed", "group:hr would let it through, and was revoked by version 2",
         {"row": HR, "now": NOTHING, "revoked": [revoked(2, ["group:hr"])]}),
        (asked("h/narrows", "group:staff", version=1), 1, "not_allowed", "it allows no label, so nobody may read it", {"row": HR, "now": NOTHING, "revoked": [revoked(2, ["group:hr"])]}),
        (asked("i/closes", version=1), 1, "lacking", "group:y is required by version 2 and not asked with",
         {"row": PUBLIC, "now": held(["public"], ["group:x"], ["group:y"]), "allowed_by": [met("public")], "lacking": [{"label": "group:y", "from": "version 2"}],
          "revoked": [revoked(2, [], ["group:x"], ["group:y"])]}),
        (asked("g/goes"), 2, "not_in_version", ABSENT.format(2), {}),
        (asked("g/goes", version=1), 1, *answered(4, row=PUBLIC)),
        (asked("j/comes"), 2, *answered(4, row=PUBLIC)),
        (asked("j/comes", version=1), 1, "not_in_version", ABSENT.format(1), {}),
    ]),
    ("rolled back: what was revoked stays so", lambda w: w.back(), [
        (asked("h/narrows", "group:hr"), 1, "not_allowed", "group:hr would let it through, and was revoked by version 2",
         {"row": HR, "now": NOTHING, "revoked": [revoked(2, ["group:hr"])]}),
        (asked("i/closes", "group:x"), 1, "denied", "group:x is denied by version 2",
         {"row": PUBLIC, "now": held(["public"], ["group:x"], ["group:y"]), "denied_by": [met("group:x", "version 2")], "lacking": [{"label": "group:y", "from": "version 2"}],
          "revoked": [revoked(2, [], ["group:x"], ["group:y"])]}),
        (asked("g/goes"), 1, *answered(4, row=PUBLIC)),
        (asked("j/comes", version=2), 2, *answered(4, row=PUBLIC)),
    ]),
    ("granted though revoked", lambda w: w.policy("allow", "h/narrows", "--labels", "group:hr"), [
        (asked("h/narrows", "group:hr"), 1, *answered(2, "group:hr", "grant", row=HR, now=HR, revoked=[revoked(2, ["group:hr"])])),
    ]),
    ("the list withdrawn", lambda w: (w.policy("clear", "h/narrows"), w.cairn("policy", "reinstate", "acme/why", "2", "--reason", "a test")), [
        (asked("h/narrows", "group:hr"), 1, *answered(2, "group:hr", row=HR)),
        (asked("i/closes"), 1, *answered(5, row=PUBLIC)),
    ]),
    ("erased, one of them hidden and denied too", lambda w: (w.policy("hide", "b/all"), w.policy("deny", "b/all", "--labels", "public"), w.policy("erase", "b/all", "g/goes", "ghost")), [
        (asked("b/all"), 1, "erased", "it is erased, in every version",
         {"row": PUBLIC, "now": held(["public"], ["public"]), "allowed_by": [met("public")], "denied_by": [met("public", "denial")], "hidden_by": ["its name"], "erased": True}),
        (asked("g/goes"), 1, "erased", "it is erased, in every version", {"row": PUBLIC, "allowed_by": [met("public")], "erased": True}),
        (asked("g/goes", version=2), 2, "erased", "it is erased, in every version", {"erased": True}),
        (asked("ghost"), 1, "erased", "it is erased, in every version", {"erased": True}),
    ]),
    ("restored, and not come again", lambda w: (w.policy("restore", "b/all", "g/goes", "ghost"), w.policy("unhide", "b/all"), w.policy("clear", "b/all")), [
        (asked("b/all"), 1, "erased", OF_BEFORE, {"row": PUBLIC, "allowed_by": [met("public")], "erased": True}),
        (asked("b/all", version=2), 2, "erased", OF_BEFORE, {"row": PUBLIC, "allowed_by": [met("public")], "erased": True}),
        (asked("g/goes", version=2), 2, "not_in_version", ABSENT.format(2), {}),
        (asked("ghost"), 1, "not_in_version", ABSENT.format(1), {}),
    ]),
    ("come again", lambda w: w.ingest("again", [{"id": "b/all", "labels": ["group:hr"]}]), [
        (asked("b/all", "group:hr"), 3, *answered(1, "group:hr", row=HR)),
        (asked("b/all"), 3, "not_allowed", NONE_OF, {"row": HR}),
        (asked("b/all", version=1), 1, "erased", OF_BEFORE, {"row": PUBLIC, "now": NOTHING, "revoked": [revoked(3, ["public"])], "erased": True}),
        (asked("g/goes"), 3, "erased", OF_BEFORE, {"row": PUBLIC, "allowed_by": [met("public")], "erased": True}),
    ]),
    ("nothing left of the rows of before", lambda w: w.compact(), [
        (asked("b/all", "group:hr"), 3, *answered(1, "group:hr", row=HR)),
        (asked("b/all", version=1), 1, "erased", OF_BEFORE, {"revoked": [revoked(3, ["public"])], "erased": True}),
        (asked("b/all", version=2), 2, "erased", OF_BEFORE, {"revoked": [revoked(3, ["public"])], "erased": True}),
        (asked("g/goes"), 3, "erased", OF_BEFORE, {"erased": True}),
        (asked("g/goes", version=1), 1, "erased", OF_BEFORE, {"erased": True}),
        (asked("g/goes", version=2), 2, "not_in_version", ABSENT.format(2), {}),
        (asked("c/hr"), 3, "not_allowed", NONE_OF, {"row": HR}),
    ]),
    ("a version out of use, and one that is gone", lambda w: (w.cairn("quarantine", "acme/why", "2", "--reason", "a test"), w.cairn("drop", "acme/why", "1")), []),
]


class WhyNot(Table):
    def test_table(self):
        for title, step, questions in WHY_NOT:
            step(self.w)
            for q, version, verdict, why, differs in questions:
                with self.subTest(done=title, asked=q):
                    want = {"version": version, "k": 10, "mode": "lexical", "chunk": None, "rank": None, "score": None, "relevance": None, **differs}
                    self.assertEqual(self.ask("why-not", q), self.expected(q, verdict, why, **want))
                    self.assertEqual(self.w.hit(q, q.get("k", 10)) is not None, verdict == "answered")
        for version, error in ((1, (5, "version 1 was dropped or is quarantined and does not answer")), (2, (5, "version 2 was dropped or is quarantined and does not answer")),
                               (9, (3, "there is no version 9; `cairn versions` lists those there are"))):
            for command in ("why-not", "explain-access"):
                self.assertEqual(self.ask(command, asked("c/hr", version=version)), error)


if __name__ == "__main__":
    unittest.main()
