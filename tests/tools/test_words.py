"""What the command says and how it ends: each exit code by a real cause, on files and through a server; data on standard
output and errors on standard error; JSON with the documented fields; each bad input told in plain words."""
import json
import os
import shutil
import subprocess
import unittest

from place import CAIRN, RULES, TEXT, Place, run

SEALED = {"job", "state", "counts", "activated", "why", "elapsed_ms", "chunks_embedded", "tokens", "cpu_ms", "rejected"}
INDEX = {"index", "embedder", "precision", "chunker", "metric", "mode", "fusion", "kind", "dim", "keep_versions", "keep_days", "activate", "local_only", "active", "newest", "hold", "made"}
HIT = {"doc", "source", "chunk", "score", "relevance", "text", "title", "headings", "bytes", "page", "uri", "modified", "digest", "meta"}
MADE = {"tenant", "index", "version", "root", "embedder", "embedder_digest", "parser", "chunker", "policy_epoch", "mode", "search", "trace_id", "degraded", "build"}
COUNTS = {"read", "added", "unchanged", "changed", "relabelled", "rejected", "deleted", "documents", "chunks", "unlabelled", "skipped"}
# A subcommand, the fields of its JSON, and those of each entry of a list in it.
READS = [
    (("stats",), {"build", "pid", "uptime_s", "rss_bytes", "environments", "requests", "errors", "damaged", "scrub"}, None, ()),
    (("tenant", "list"), {"tenants"}, "tenants", {"tenant", "made"}),
    (("key", "list", "acme"), {"keys"}, "keys", {"id", "tenant", "scopes", "labels", "expires", "made", "state"}),
    (("member", "list", "acme"), {"members"}, "members", {"member", "labels"}),
    (("model", "list"), {"models"}, "models", {"model", "kind", "dim", "max_tokens", "digest"}),
    (("index", "list", "acme"), {"indexes"}, "indexes", INDEX),
    (("index", "show", "acme/docs"), INDEX, None, ()),
    (("gate", "show", "acme/docs"), {"index", "requirements", "by", "at", "reason", "versions"}, "versions", {"version", "state", "gate", "unmet", "results"}),
    (("eval", "list", "acme/docs"), {"index", "evaluations"}, None, ()),
    (("eval", "show", "acme/docs", "core"), {"index", "evaluations"}, None, ()),
    (("recall", "acme/docs"), {"index", "versions", "hours"}, None, ()),
    (("jobs", "list", "acme"), {"jobs"}, "jobs", {"job", "index", "source", "state", "step", "started", "updated", "counts", "why"}),
    (("documents", "list", "acme/docs"), {"documents"}, "documents", {"source", "doc", "title", "uri", "mime", "modified", "chunks", "bytes"}),
    (("documents", "get", "acme/docs", "open.txt"), {"source", "doc", "text", "meta", "passages"}, "passages", {"chunk", "bytes", "page", "headings"}),
    (("query", "acme/docs", TEXT), {"hits", "evidence", "made_by"}, "hits", HIT),
    (("query", "acme/docs", TEXT, "--explain"), {"hits", "evidence", "made_by", "plan"}, "hits", HIT),
    (("query", "acme/docs", TEXT, "--operators", "--highlight"), {"hits", "evidence", "made_by"}, "hits", HIT | {"highlights"}),
    (("versions", "acme/docs"), {"index", "active", "hold", "versions"}, "versions",
     {"version", "state", "marks", "root", "documents", "chunks", "base", "made", "by", "job", "first_active", "embedder", "chunker"}),
    (("diff", "acme/docs", "1", "2"), {"from", "to", "added", "deleted", "changed", "relabelled", "documents", "more"}, "documents",
     {"change", "source", "doc", "before", "after"}),
    (("gc", "acme/docs", "--dry-run"), {"versions", "documents", "files", "bytes"}, None, ()),
    (("policy", "show", "acme", "open.txt"), {"documents", "epoch"}, "documents", {"source", "doc", "granted", "denied", "hidden", "hidden_by", "erased"}),
    (("which-versions", "acme/docs", "open.txt"), {"index", "source", "doc", "versions", "unreadable", "policy"}, "versions",
     {"version", "state", "marks", "changed", "content", "chunks", "labels", "made", "by", "job"}),
    (("why-not", "acme/docs", TEXT, "hr-pay.txt"), {"verdict", "why", "may_read", "k", "mode", "chunk", "rank", "score", "relevance"}, None, ()),
    (("explain-access", "acme/docs", "hr-pay.txt", "user:ana"), {"verdict", "why", "may_read", "row", "now", "labelled"}, "allowed_by", {"label", "from", "through"}),
    (("find", "acme/docs", "Packages are"), {"documents", "next", "searched", "unreadable"}, "documents", {"source", "doc", "state", "versions", "matches", "places"}),
    (("exposed", "acme", "open.txt"), {"source", "doc", "records", "from", "complete", "gaps", "next"}, "records",
     {"at", "trace_id", "method", "who", "via", "as", "index", "version", "passages"}),
    (("audit", "show", "acme"), {"records"}, "records", {"seq", "at", "who", "via", "action", "target", "reason", "outcome", "detail", "digest"}),
    (("audit", "verify", "acme"), {"records", "head"}, None, ()),
    (("doctor",), {"bad", "findings"}, "findings", {"grade", "what", "detail"}),
    (("scrub",), {"bad", "findings"}, "findings", {"grade", "what", "detail"}),
]
# What changes something, in an order in which each works.
CHANGES = [
    (("tenant", "add", "other"), {"tenant"}),
    (("tenant", "drop", "other"), {"tenant"}),
    (("key", "add", "acme", "--scope", "query", "--labels", "public"), {"id", "key"}),
    (("member", "add", "acme", "user:bo", "group:hr"), {"member", "labels"}),
    (("member", "set", "acme", "user:bo", "group:staff"), {"member", "labels"}),
    (("member", "remove", "acme", "user:bo"), {"member"}),
    (("member", "sync", "acme", "-"), {"members"}),
    (("model", "add", "tiny", "MODEL"), {"model"}),
    (("model", "add", "spare", "MODEL"), {"model"}),
    (("model", "remove", "spare"), {"model"}),
    (("model", "distill", "fast", "--from", "tiny", "--texts", "DOCS"), {"model", "dim", "documents", "rejected", "passages", "words"}),
    (("index", "create", "acme/new", "--embedder", "none"), INDEX),
    (("index", "set", "acme/new", "--mode", "exact"), INDEX),
    (("index", "drop", "acme/new"), {"index"}),
    (("ingest", "acme/docs", "DOCS", *RULES, "--dry-run"), SEALED | {"estimate"}),
    (("ingest", "acme/docs", "DOCS", *RULES), SEALED),
    (("rebuild", "acme/docs", "--chunker", "fixed tokens=16"), SEALED | {"version", "root"}),
    (("activate", "acme/docs", "2", "--expect", "1"), {"index", "before", "active", "epoch"}),
    (("gate", "set", "acme/docs", "recall@10>=0.9"), {"index", "requirements", "by", "at", "reason"}),
    (("gate", "submit", "acme/docs", "2", "recall@10=0.95"), {"index", "version", "gate", "unmet", "results"}),
    (("gate", "forget", "acme/docs", "2", "recall@10"), {"index", "version", "gate", "unmet", "results"}),
    (("gate", "set", "acme/docs", "none"), {"index", "requirements"}),
    (("gate", "freeze", "acme/docs", "core", "--cases", "CASES"), {"set", "digest", "questions", "graded", "must_find", "must_not_see", "k", "asks_as", "by", "at", "reason"}),
    (("gate", "sets", "acme/docs"), {"index", "sets"}),
    (("gate", "run", "acme/docs", "2"), {"index", "version", "against", "sets", "gate", "unmet", "results", "failed"}),
    (("gate", "unfreeze", "acme/docs", "core"), {"index", "set"}),
    (("mode", "acme/docs", "exact"), {"incident_mode", "epoch"}),
    (("mode", "acme/docs", "normal"), {"incident_mode", "epoch"}),
    (("rollback", "acme/docs"), {"index", "from", "active", "hold", "epoch"}),
    (("release", "acme/docs"), {"index", "hold", "epoch"}),
    (("pin", "acme/docs", "2"), {"index", "version", "marks"}),
    (("unpin", "acme/docs", "2"), {"index", "version", "marks"}),
    (("quarantine", "acme/docs", "2"), {"index", "version", "marks"}),
    (("unquarantine", "acme/docs", "2"), {"index", "version", "marks"}),
    (("policy", "allow", "acme", "open.txt", "--labels", "group:it"), {"documents", "epoch"}),
    (("policy", "deny", "acme", "open.txt", "--labels", "group:it"), {"documents", "epoch"}),
    (("policy", "clear", "acme", "open.txt"), {"documents", "epoch"}),
    (("policy", "hide", "acme", "--glob", "*.txt"), {"documents", "epoch"}),
    (("policy", "unhide", "acme", "--glob", "*.txt"), {"documents", "epoch"}),
    (("policy", "erase", "acme", "news.txt", "--reason", "asked"), {"documents", "epoch"}),
    (("policy", "restore", "acme", "news.txt", "--reason", "wrong one"), {"documents", "epoch"}),
    (("drop", "acme/docs", "2"), {"index", "version", "marks"}),
    (("gc", "acme/docs"), {"versions", "documents", "files", "bytes"}),
    (("compact", "acme/docs", "--reason", "asked"), {"versions", "segments_before", "segments_after", "rewritten", "made", "bytes_before", "bytes_after", "erased",
                                                     "dropped", "files", "pending", "gone", "due"}),
]
# Words, exit code, what standard error must hold: what is wrong, where, and what to do. The same on files and through a server.
BAD = [
    (("query", "nope/docs", TEXT), 3, ['tenant "nope"', "`cairn tenant list`"]),
    (("query", "acme/nope", TEXT), 3, ['index "nope"', "`cairn index list`"]),
    (("query", "acme/docs", TEXT, "--version", "77"), 3, ["version 77", "`cairn versions`"]),
    (("query", "acme/docs", TEXT, "--mode", "magic"), 1, ['mode "magic"', "dense, exact"]),
    (("query", "acme/docs", TEXT, "-k", "0"), 1, ["-k is 0", "1 to 10000"]),
    (("query", "acme/docs", TEXT, "-k", "1000000"), 1, ["-k is 1000000", "1 to 10000"]),
    (("query", "acme/docs", TEXT, "--min-relevance", "3"), 1, ["--min-relevance", "0 to 1"]),
    (("query", "acme/docs", TEXT, "--min-relevance", "nan"), 2, ["--min-relevance", "number"]),
    (("query", "acme/docs", ""), 1, ["text is empty"]),
    (("query", "acme/docs", TEXT, "--version", "0"), 1, ["--version is 0", "1 or more"]),
    (("query", "acme/docs"), 2, ["TEXT", "--batch"]),
    (("query", "acme/docs", TEXT, "--batch", "NOWHERE"), 3, ["NOWHERE", "No such file", "check its path"]),
    (("query", "acme", TEXT), 2, ["TENANT/INDEX", "acme/docs"]),
    (("query", "acme/docs", TEXT, "-k", "many"), 2, ['"many"', "whole number"]),
    (("query", "acme/docs", TEXT, "-k", "1", "-k", "2"), 2, ["-k", "twice"]),
    (("query", "acme/docs", TEXT, "--as"), 2, ["--as needs a value", "L,..."]),
    (("query", "acme/docs", "two", "words"), 2, ['"words"', "one word too many"]),
    (("query", "acme/docs", TEXT, "--fliter", "x = 1"), 2, ['"--fliter"', 'did you mean "--filter"', "cairn query --help"]),
    (("qurey", "acme/docs", TEXT), 2, ['"qurey"', 'did you mean "query"', "cairn --help"]),
    (("policy", "shwo", "acme"), 2, ['"policy shwo"', 'did you mean "policy show"', "cairn policy --help"]),
    (("policy",), 2, ["one more word", "hide, unhide", "cairn policy --help"]),
    (("zzzzzz",), 2, ['"zzzzzz"', "cairn --help"]),
    (("--sever", "x"), 2, ['"--sever"', 'did you mean "--server"']),
    (("--filter", "x = 1", "query", "acme/docs", TEXT), 2, ["--filter", "stands behind it", "cairn query"]),
    (("-x",), 2, ['"-x"; `cairn --help`']),
    (("-o", "yaml", "stats"), 2, ["table, json or tsv", '"yaml"']),
    (("activate", "acme/docs", "77"), 3, ["version 77", "newest is"]),
    (("activate", "acme/docs", "2", "--expect", "9"), 5, ["CONFLICT", "9"]),
    (("drop", "acme/docs", "1"), 5, ["REFUSED", "version 1 is active"]),
    (("jobs", "show", "acme", "nojob"), 3, ['job "nojob"', "`cairn jobs list`"]),
    (("ingest", "acme/docs"), 1, ["PATH", "nothing to ingest"]),
    (("ingest", "acme/docs", "DOCS", "--format", "wordstar"), 1, ['"wordstar"', "jsonl"]),
    (("ingest", "acme/docs", "DOCS", "--label", "no kind"), 1, ["a label has no kind", "group:hr"]),
    (("index", "create", "acme/new", "--embedder", "nomodel"), 3, ['model "nomodel"', "`cairn model list`"]),
    (("index", "create", "acme/new", "--metric", "manhattan"), 1, ["cosine, ip or l2", '"manhattan"']),
    (("index", "create", "acme/new", "--precision", "fp8"), 1, ["no precision", "embedder"]),
    (("key", "add", "acme"), 1, ["`cairn key add` needs --scope", "query, ingest"]),
    (("key", "revoke", "deadbeef", "--tenant", "acme"), 3, ['deadbeef', "`cairn key list`"]),
    (("policy", "allow", "acme", "open.txt"), 1, ["`cairn policy allow` needs --labels"]),
    (("policy", "hide", "acme"), 1, ["exactly one of DOC, --glob and --all-of"]),
    (("policy", "apply", "acme", "NOWHERE"), 3, ["NOWHERE", "No such file"]),
    (("policy", "apply", "acme", "/dev/null"), 1, ["/dev/null", "no change"]),
    (("member", "sync", "acme", "NOWHERE"), 3, ["NOWHERE", "No such file"]),
    (("member", "remove", "acme", "user:nobody"), 3, ['"user:nobody"', "`cairn member list`"]),
    (("documents", "get", "acme/docs", "none.txt"), 3, ['"none.txt"', "may be read"]),
    (("documents", "list", "acme/docs", "--limit", "0"), 1, ["--limit is 0"]),
]
FILTERS = [ # an expression, and the byte (from 0) that the caret stands under
    ("lang = ", 7), ("lang == en and (year > 3", 24), ("= 3", 0), ("lang en", 5), ("lang = en and", 13), ("lang = 'open", 7), ("a = 1) or b = 2", 5),
]
JARGON = ["errno", "MDB_", "mdb_", "NULL", "assert", "msgpack", "0x"]


class Words(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.place.serve()

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def filled(self, args):
        return [a.replace("DOCS", self.place.docs).replace("MODEL", self.place.model) for a in args]

    def ends(self, args, code, words):
        args = self.filled(args)
        here, there = self.place.cairn(*args, check=False), self.place.remote(*args)
        self.assertEqual((here.returncode, here.stdout), (code, ""), here.stderr)
        self.assertTrue(here.stderr.startswith("cairn: ") and here.stderr.endswith("\n"), here.stderr)
        for w in words:
            self.assertIn(w.replace("DOCS", self.place.docs), here.stderr)
        for w in JARGON:
            self.assertNotIn(w, here.stderr)
        self.assertEqual((there.returncode, there.stdout, there.stderr), (here.returncode, "", here.stderr))

    def test_bad_input_is_told_the_same_on_files_and_through_a_server(self):
        for args, code, words in BAD:
            with self.subTest(args):
                self.ends(args, code, words)

    def written(self, name, text):
        path = os.path.join(self.place.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def test_a_batch_tells_the_line(self):
        path = self.written("batch", f'{TEXT}\n\n{{"texxt": "x"}}\n{{"text": "x", "k": 0}}\n')
        for call in (lambda *a: self.place.cairn(*a, check=False), self.place.remote):
            p = call("query", "acme/docs", "--batch", path, "-k", "1")
            self.assertEqual((p.returncode, p.stdout.splitlines()[0]), (1, path + ":1"))
            self.assertIn("evidence: ", p.stdout)
            self.assertEqual(p.stderr, f'cairn: {path}:3: INVALID: a query of a batch has no field "texxt"\n'
                                       f'cairn: {path}:4: INVALID: field "k" is 0; it must be a whole number from 1 to 10000\n')
            p = call("query", "acme/docs", "--batch", path, "-o", "json")
            self.assertEqual((p.returncode, p.stderr, [sorted(json.loads(line))[0] for line in p.stdout.splitlines()]), (1, "", ["evidence", "error", "error"]))

    def test_files_of_changes_tell_the_place(self):
        for text, words in (('{"op":"hide","docs":["a"]}\n{"op":"hidee","docs":["a"]}\n', ["change 2", '"hidee"', "allow, deny"]), ('{"op":"hide","dox":["a"]}\n', ["change 1", '"dox"']),
                            ('{"op":"deny","docs":["a"]}\n', ["change 1", "labels"]), ('{"op":\n', [":1: ", "JSON"])):
            path = self.written("changes", text)
            self.ends(("policy", "apply", "acme", path), 1, [path, *words])
        self.assertEqual(json.loads(self.place.cairn("policy", "show", "acme", "a", "-o", "json").stdout)["documents"][0]["hidden"], False)
        for text, words in (("user:ana\n", ["line 1", "a member, a space"]), ("user:ana group:hr\nuser:bo bad\n", ["line 2", "a label has no kind", "group:hr"])):
            self.ends(("member", "sync", "acme", self.written("members", text)), 1, words)
        p = self.place.cairn("ingest", "acme/docs", self.place.docs, "--map", "name=x", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("one of id title text labels", p.stderr)

    def test_a_path_that_is_not_there(self):
        """A server tells only of what lies under an import root, and not whether other paths are there."""
        path = self.place.docs + "/none"
        p = self.place.cairn("ingest", "acme/docs", path, check=False)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (3, "", f"cairn: NOT_FOUND: {path}: No such file or directory; check its path\n"))
        p = self.place.remote("ingest", "acme/docs", path)
        self.assertEqual((p.returncode, p.stdout), (3, ""), p.stderr)
        p, other = self.place.remote("ingest", "acme/docs", "/etc/no-such-file"), self.place.remote("ingest", "acme/docs", "/etc/passwd")
        self.assertEqual((p.returncode, p.stderr), (1, other.stderr.replace("/etc/passwd", "/etc/no-such-file")))

    def test_a_filter_is_told_with_a_caret(self):
        for text, at in FILTERS:
            with self.subTest(text):
                p = self.place.cairn("query", "acme/docs", TEXT, "--filter", text, check=False)
                self.assertEqual((p.returncode, p.stdout), (2, ""))
                first, line, caret = p.stderr.rstrip("\n").split("\n")
                self.assertIn(f"at byte {at}", first)
                self.assertEqual((line, caret), ("  " + text, "  " + " " * at + "^"))

    def test_json_has_the_documented_fields(self):
        for args, fields, name, of_each in READS:
            with self.subTest(args):
                p = self.place.cairn(*args, "-o", "json")
                self.assertEqual(p.stderr, "")
                r = json.loads(p.stdout)
                self.assertLessEqual(fields, set(r))
                for row in r[name] if name else []:
                    self.assertLessEqual(of_each, set(row))
                if name:
                    self.assertTrue(r[name], "nothing to look at")
        r = json.loads(self.place.cairn("query", "acme/docs", TEXT, "-o", "json").stdout)
        self.assertLessEqual(MADE, set(r["made_by"]))
        r = json.loads(self.place.cairn("trace", "acme", r["made_by"]["trace_id"], "-o", "json").stdout)
        self.assertLessEqual({"trace_id", "at", "who", "labels", "version", "root", "epoch", "hits", "us"}, set(r["records"][0]))
        job = json.loads(self.place.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"][0]
        self.assertLessEqual(COUNTS, set(job["counts"]))
        r = json.loads(self.place.cairn("jobs", "show", "acme", job["job"], "--rejected", "-o", "json").stdout)
        self.assertLessEqual({"job", "state", "counts", "rejected"}, set(r))

    def test_changes_print_their_documented_fields(self):
        place = Place()
        self.addCleanup(place.close)
        for args, fields in CHANGES:
            with self.subTest(args):
                args = [a.replace("DOCS", place.docs).replace("MODEL", place.model).replace("CASES", place.cases()) for a in args]
                p = place.cairn(*args, "-o", "json", text="user:cy group:hr\n" if args[-1] == "-" else None)
                self.assertEqual(p.stderr, "")
                self.assertLessEqual(fields, set(json.loads(p.stdout)))
        changes = os.path.join(place.dir, "changes")
        with open(changes, "w") as f:
            f.write('{"op": "deny", "docs": ["open.txt"], "labels": ["group:it"]}\n')
        self.assertLessEqual({"documents", "epoch"}, set(json.loads(place.cairn("policy", "apply", "acme", changes, "-o", "json").stdout)))
        mangled = json.loads(place.cairn("ingest", "acme/docs", place.docs, "--label", "group:hr", "--activate", "-o", "json").stdout)
        p = place.cairn("policy", "reinstate", "acme/docs", str(mangled["version"]), "--reason", "labels were mangled", "-o", "json")
        self.assertEqual(set(json.loads(p.stdout)), {"epoch"})
        key = json.loads(place.cairn("key", "list", "acme", "-o", "json").stdout)["keys"][0]
        self.assertEqual(set(json.loads(place.cairn("key", "revoke", key["id"], "-o", "json").stdout)), {"id"})
        lines = place.cairn("query", "acme/docs", "--batch", "-", "--as", "group:hr", "-o", "json", text=TEXT + '\n{"text": "x", "k": 1}\n{"k": 0}\n', check=False)
        got = [json.loads(line) for line in lines.stdout.splitlines()]
        self.assertEqual((lines.returncode, [len(r.get("hits", [])) for r in got[1:]]), (1, [1, 0]))
        self.assertIn("INVALID", got[2]["error"])

    def test_every_command_is_looked_at(self):
        rows = subprocess.run([CAIRN, "--help"], capture_output=True, text=True).stdout.split("commands (")[1].split("\noptions")[0].splitlines()[1:]
        names = {line[2:22].strip() for line in rows if line.strip()}
        seen = {" ".join(a[:2]) if " ".join(a[:2]) in names else a[0] for a, *_ in READS + CHANGES}
        without = {"init", "model get", "model bench", "embed", "man", "completion"}  # files, or texts that are no map
        other = {"jobs show", "jobs cancel", "key revoke", "policy apply", "policy reinstate", "bench", "eval run", "eval score", "trace"}  # in tests of their own
        self.assertEqual(names - seen - without - other, set())

    def ways(self):
        """A place of its own, on files and then through a server."""
        for served in (False, True):
            place = Place()
            self.addCleanup(place.close)
            if served:
                place.serve()
            with self.subTest(served=served):
                yield place, place.remote if served else lambda *a: place.cairn(*a, check=False)

    def test_refused(self):
        """Exit 5: a hold, a guard."""
        for place, call in self.ways():
            call("activate", "acme/docs", "2")
            call("rollback", "acme/docs", "--reason", "wrong")
            place.write("more.txt", "Something more.")
            p = call("ingest", "acme/docs", place.docs, *RULES, "--activate")
            self.assertEqual((p.returncode, p.stderr), (5, ""))
            self.assertIn("release", p.stdout)
            self.assertEqual(call("release", "acme/docs").returncode, 0)
            os.remove(os.path.join(place.docs, "news.txt"))
            p = call("ingest", "acme/docs", place.docs, *RULES, "--sync", "--activate", "--max-deleted", "0")
            self.assertEqual((p.returncode, p.stderr), (5, ""))
            self.assertIn("--max-deleted", p.stdout)

    def test_rejected_documents(self):
        """Exit 6 with --strict-input alone."""
        for place, call in self.ways():
            place.write("bad.txt", "")
            p = call("ingest", "acme/docs", place.docs, *RULES, "--activate", "--strict-input")
            self.assertEqual((p.returncode, p.stderr), (6, ""))
            place.write("worse.txt", "")
            self.assertEqual(call("ingest", "acme/docs", place.docs, *RULES).returncode, 0)

    def test_no_server(self):
        """Exit 4, and what to do."""
        for server in ("unix:/nonexistent/sock", "tcp://127.0.0.1:1"):
            p = self.place.remote("versions", "acme/docs", server=server)
            self.assertEqual((p.returncode, p.stdout), (4, ""))
            self.assertEqual(p.stderr.count(server), 1, p.stderr)
            self.assertIn("is cairnd running", p.stderr)
        for server, word in (("http://x", "tcp://HOST:PORT"), ("tcp://127.0.0.1:99999", "1 to 65535"), ("tcp://127.0.0.1", "tcp://HOST:PORT")):
            p = self.place.remote("versions", "acme/docs", server=server)
            self.assertEqual(p.returncode, 1, p.stderr)
            self.assertIn(word, p.stderr)

    def test_no_key(self):
        p = run("--server", "unix:" + self.place.server.sock, "versions", "acme/docs", check=False)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("--key-file FILE, or set CAIRN_KEY", p.stderr)

    def test_no_place_to_work_on(self):
        for args, words in (((), ["--data DIR", "CAIRN_DATA"]), (("--data", ""), ["--data is empty"]), (("--data", "x", "--server", "unix:y"), ["one of them"])):
            p = run(*args, "versions", "acme/docs", check=False)
            self.assertEqual((p.returncode, p.stdout), (2, ""), p.stderr)
            for w in words:
                self.assertIn(w, p.stderr)

    def test_data_directories(self):
        dir = self.place.dir
        file, empty = os.path.join(dir, "file"), os.path.join(dir, "empty")
        open(file, "w").close()
        os.mkdir(empty)
        for path, code, words in ((dir + "/none", 3, ["there is no data directory", f"cairn --data {dir}/none init"]), (file, 1, ["not a directory"]),
                                  (empty, 3, ["not a data directory of cairn", "`cairn init`"])):
            p = run("--data", path, "versions", "acme/docs", check=False)
            self.assertEqual((p.returncode, p.stdout), (code, ""), p.stderr)
            for w in [path, *words]:
                self.assertIn(w, p.stderr)
        p = run("--data", self.place.path, "init", check=False)
        self.assertEqual(p.returncode, 5)
        self.assertIn("data directory already", p.stderr)

    def test_a_newer_format(self):
        new = os.path.join(self.place.dir, "newer")
        run("init", data=new)
        path = os.path.join(new, "cairn.mdb")
        with open(path, "rb") as f:
            raw = f.read()
        self.assertGreater(raw.count(b"format2"), 0)
        with open(path, "wb") as f:
            f.write(raw.replace(b"format2", b"format9"))
        p = run("versions", "acme/docs", data=new, check=False)
        self.assertEqual((p.returncode, p.stdout), (5, ""), p.stderr)
        for w in (new, "format 9", "use a newer cairn"):
            self.assertIn(w, p.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "needs another account")
    def test_without_permission(self):
        nobody = 65534
        os.chmod(self.place.dir, 0o755)
        program = shutil.copy(CAIRN, os.path.join(self.place.dir, "cairn"))  # the build may lie where they cannot go
        p = subprocess.run([program, "--data", self.place.path, "versions", "acme/docs"], user=nobody, group=nobody, extra_groups=[], cwd="/", capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stdout), (1, ""), p.stderr)
        for w in ("DENIED", self.place.path, "run as its owner"):
            self.assertIn(w, p.stderr)

    def test_an_id_plays_no_tricks_on_the_terminal(self):
        place = Place()
        self.addCleanup(place.close)
        signs = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        name = f"a{signs}z\u2026\u202f\u05d0\u00e9"
        rows = os.path.join(place.dir, "rows.jsonl")
        with open(rows, "w") as f:
            f.write(json.dumps({"id": name, "text": f"quite peculiar {signs} words", "labels": ["public"]}) + "\n")
        place.cairn("index", "create", "acme/odd", "--embedder", "none")
        place.cairn("ingest", "acme/odd", rows, "--activate")
        for words in (("query", "acme/odd", "peculiar"), ("documents", "list", "acme/odd"), ("policy", "show", "acme", name), ("documents", "list", "acme/odd", "-o", "tsv")):
            shown = place.cairn(*words).stdout
            self.assertEqual([c for c in signs if c in shown], [], words)
            self.assertIn("a" + " " * len(signs) + "z\u2026\u202f\u05d0\u00e9", shown)
        said = place.cairn("query", "acme/odd", "peculiar", "-o", "json").stdout
        self.assertEqual([c for c in signs if c in said], [])
        self.assertEqual(json.loads(said)["hits"][0]["doc"], name)
        for words in (("query", "acme/od" + signs + "\x1b[2J\u009b", "x"), ("\x1b[2J" + signs,), ("jobs", "show", "acme", "\x1b]0;x\x07" + signs)):
            wrong = subprocess.run([CAIRN, "--data", place.path, *words], capture_output=True, text=True)
            self.assertNotEqual(wrong.returncode, 0)
            self.assertEqual([c for c in signs + "\x1b\x07\u009b" if c in wrong.stdout + wrong.stderr], [], words)
        warned = place.cairn("policy", "hide", "acme", name + "\u202e").stderr
        self.assertIn("z\u2026\u202f\u05d0\u00e9 \" of source default", warned)

    def test_a_full_disk_under_the_output(self):
        for form in ("table", "json", "tsv"):
            with open("/dev/full", "w") as full:
                p = subprocess.run([CAIRN, "--data", self.place.path, "versions", "acme/docs", "-o", form], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(p.returncode, 1)
            self.assertIn("standard output", p.stderr)
            self.assertIn("free some space", p.stderr)
        with open("/dev/full", "w") as full:
            for words in (("--help",), ("--version",), ("ingest", "--help")):
                self.assertEqual(subprocess.run([CAIRN, *words], stdout=full, stderr=subprocess.PIPE).returncode, 1, words)

    def test_a_closed_output(self):
        for words in (("key", "add", "acme", "--scope", "query", "--labels", "public"), ("versions", "acme/docs", "-o", "json"), ("--version",), ("key", "add", "--help")):
            for closed in (">&-", "<&- >&-"):
                p = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", CAIRN, "--data", self.place.path, *words], stderr=subprocess.PIPE, text=True)
                self.assertEqual((p.returncode, p.stderr), (1, "cairn: UNAVAILABLE: standard output is closed, so the answer is lost\n"), words)
        p = subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", CAIRN, "--data", self.place.path, "versions", "acme/docs"], stdout=subprocess.PIPE)
        self.assertEqual((p.returncode, p.stdout.split()[:1]), (0, [b"index"]))

    def test_a_failed_job_keeps_its_reason(self):
        place = Place()
        self.addCleanup(place.close)
        for name in ("none", "neither"):
            place.cairn("ingest", "acme/docs", place.docs + "/" + name, check=False)
        jobs = json.loads(place.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"]
        self.assertEqual([(j["state"], name in j["why"]) for j, name in zip(jobs, ("neither", "none"))], [("failed", True)] * 2)


if __name__ == "__main__":
    unittest.main()
