"""The command through a server: the same output as on files, and clear words when it cannot be had."""
import json
import os
import re
import subprocess
import unittest

from place import ALL, CAIRN, TEXT, Place, run
from test_words import CHANGES, READS


VOLATILE = {"elapsed_ms", "cpu_ms", "job", "trace_id", "made", "started", "updated", "at", "digest", "head", "who", "via", "by", "first_active", "id", "key", "estimate", "modified",
            "permit_us", "embed_us", "search_us", "prev"}


def steady(text):
    """What differs between any two calls: the trace id. A job's process is told on files alone."""
    text = re.sub(r'"pid": ?[0-9]+, ?', "", text)
    text = re.sub(r'"trace_id": ?"[0-9a-f]+"', '"trace_id":""', text)
    return re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "TRACE", text)


def lasting(value):
    """A JSON value without what differs between two data directories that were given the same commands."""
    if isinstance(value, dict):
        of_key = str(value.get("action", "")).startswith("key.")  # its target is an id
        timed = str(value.get("name", "")).endswith("p95_ms")
        return {k: None if k in VOLATILE or k.endswith("p95_ms") or (of_key and k == "target") or (timed and k == "value") else lasting(v) for k, v in value.items() if k != "pid"}
    if isinstance(value, list):
        return [lasting(v) for v in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", re.sub(r"\d{8}T\d{6}-[0-9a-f]{16}", "JOB", value))


class Remote(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Place()
        cls.data.serve()
        cls.server, cls.admin, cls.remote = cls.data.server, cls.data.admin, staticmethod(cls.data.remote)
        cls.app = cls.data.key("--scope", "query,act-as")

    @classmethod
    def tearDownClass(cls):
        cls.data.close()

    def same(self, *args, key=None):
        for form in ("table", "json", "tsv"):
            here = self.data.cairn(*args, "-o", form, check=False)
            there = self.remote(*args, "-o", form, key=key)
            self.assertEqual(here.returncode, there.returncode, there.stderr)
            self.assertEqual(steady(here.stdout), steady(there.stdout), args)
            self.assertEqual(here.stderr, there.stderr)

    def test_reading_prints_the_same(self):
        for args in (("versions", "acme/docs"), ("diff", "acme/docs", "1", "2"), ("index", "list", "acme"), ("index", "show", "acme/docs"),
                     ("member", "list", "acme"), ("key", "list", "acme"), ("jobs", "list", "acme"), ("model", "list"),
                     ("policy", "show", "acme", "open.txt", "none.txt"), ("documents", "list", "acme/docs"),
                     ("documents", "get", "acme/docs", "open.txt"), ("gc", "acme/docs", "--dry-run"), ("audit", "verify", "acme"),
                     ("query", "acme/docs", TEXT), ("query", "acme/docs", TEXT, "-k", "2", "--mode", "exact"),
                     ("query", "acme/docs", TEXT, "--version", "2")):
            with self.subTest(args):
                self.same(*args)

    def test_each_principal_reads_the_same(self):
        """Byte for byte, for the public, a holder of labels, a member named by an application, and one who may read nothing."""
        self.data.cairn("member", "add", "acme", "user:none", "group:none")
        hr = self.data.key("--scope", "query,versions,audit", "--labels", "public,group:hr")
        app = self.data.key("--scope", "query,versions,audit,act-as")
        few = self.data.key("--scope", "query,versions,audit", "--labels", "group:none")
        who = [((), (), self.admin), (("--as", "public,group:hr"), (), hr), (("--as", "group:none"), (), few),
               *((("--principal", u), ("--principal", u), app) for u in ("user:ana", "user:bo", "user:none"))]
        batch = os.path.join(self.data.dir, "batch")
        with open(batch, "w") as f:
            f.write(TEXT + '\n{"text": "pay", "k": 1}\n\n{"text": "", "k": 1}\n')
        for args in (("query", TEXT), ("query", TEXT, "-k", "1"), ("query", TEXT, "--mode", "exact", "--per-doc", "1"), ("query", TEXT, "--min-relevance", "1"),
                     ("query", TEXT, "--distinct", "--section", "--max-tokens", "40"), ("query", TEXT, "--expand", "2", "--mode", "lexical"),
                     ("query", TEXT, "--filter", "lang = en or not lang exists"), ("query", TEXT, "--version", "1"), ("query", "--batch", batch),
                     ("documents list",), ("documents list", "--limit", "1"), ("documents list", "--source", "default"), ("documents list", "--source", "none"),
                     ("documents get", "hr-pay.txt"), ("documents get", "open.txt"), ("documents get", "open.txt", "--version", "1")):
            words = (*args[0].split(), "acme/docs", *args[1:])
            for here, there, key in who:
                for form in ("table", "json", "tsv"):
                    with self.subTest((args, here, form)):
                        a, b = self.data.cairn(*words, *here, "-o", form, check=False), self.remote(*words, *there, "-o", form, key=key)
                        self.assertEqual((a.returncode, steady(a.stdout), a.stderr), (b.returncode, steady(b.stdout), b.stderr))
                        if "--batch" not in words and a.returncode == 0 and "hr" not in str(here) and "ana" not in str(here):
                            self.assertNotIn("hr-pay", a.stdout)

    def test_changes_print_the_same(self):
        """Two data directories made alike; the commands of test_words on the files of one and through the server of the other."""
        here, there = Place(), Place()
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        there.serve()
        here.key("--scope", ALL, "--labels", "public")
        host_only = {"tenant add", "tenant drop", "model add", "model remove", "model distill"}
        for args, _ in CHANGES:
            if " ".join(args[:2]) in host_only or args[-1] == "-":
                continue
            with self.subTest(args):
                a = here.cairn(*(w.replace("DOCS", here.docs).replace("CASES", here.cases()) for w in args), "-o", "json", check=False)
                b = there.remote(*(w.replace("DOCS", there.docs).replace("CASES", there.cases()) for w in args), "-o", "json")
                self.assertEqual((a.returncode, a.stderr), (b.returncode, b.stderr))
                self.assertEqual(lasting(json.loads(a.stdout)), lasting(json.loads(b.stdout)))
        for args, *_ in READS:
            if args[0] in ("stats", "doctor", "scrub", "tenant", "key"):  # of the host, or in the order of random ids
                continue
            with self.subTest(args):
                a, b = here.cairn(*args, "-o", "json", check=False), there.remote(*args, "-o", "json")
                self.assertEqual((a.returncode, a.stderr), (b.returncode, b.stderr))
                if a.returncode == 0:
                    self.assertEqual(lasting(json.loads(a.stdout)), lasting(json.loads(b.stdout)))

    def test_the_trail_reads_the_same(self):
        for args in (("audit", "show", "acme"), ("audit", "show", "acme", "--limit", "2"), ("audit", "verify", "acme")):
            self.same(*args)

    def test_policy_reads_the_same(self):
        for change in (("policy", "allow", "acme", "open.txt", "--labels", "group:it,group:hr"), ("policy", "deny", "acme", "news.txt", "--labels", "user:bo"),
                       ("policy", "hide", "acme", "--glob", "hr-*"), ("policy", "hide", "acme", "x\u00fcy.txt")):
            self.data.cairn(*change)
            self.same("policy", "show", "acme", "open.txt", "news.txt", "hr-pay.txt", "x\u00fcy.txt", "none.txt")
            self.same("query", "acme/docs", TEXT)
        for change in (("policy", "unhide", "acme", "--glob", "hr-*"), ("policy", "unhide", "acme", "x\u00fcy.txt"), ("policy", "clear", "acme", "open.txt", "news.txt")):
            self.assertEqual(self.remote(*change).returncode, 0)
            self.same("policy", "show", "acme", "open.txt", "news.txt", "hr-pay.txt", "x\u00fcy.txt", "none.txt")

    def test_one_principal_gets_the_same_hits(self):
        for who, docs in (("user:ana", {"hr-pay.txt", "open.txt", "news.txt"}), ("user:bo", {"open.txt", "news.txt"})):
            args = ("query", "acme/docs", TEXT, "--principal", who, "-o", "json")
            here, there = json.loads(self.data.cairn(*args).stdout), json.loads(self.remote(*args, key=self.app).stdout)
            self.assertEqual(here["hits"], there["hits"])
            self.assertEqual({h["doc"] for h in there["hits"]}, docs)

    def test_labels_can_only_narrow(self):
        p = self.remote("query", "acme/docs", TEXT, "--as", "public,group:hr", "-o", "json")
        docs = {h["doc"] for h in json.loads(p.stdout)["hits"]} if p.returncode == 0 else set()
        self.assertNotIn("hr-pay.txt", docs)

    def test_errors_are_the_same(self):
        for args in (("query", "acme/none", TEXT), ("query", "acme/docs", TEXT, "-k", "0"), ("query", "acme/docs", TEXT, "-k", "1000000"),
                     ("query", "acme/docs", TEXT, "--mode", "magic"), ("activate", "acme/docs", "77"), ("activate", "acme/docs", "2", "--expect", "9"),
                     ("query", "acme/docs", TEXT, "--version", "77"), ("jobs", "show", "acme", "nojob")):
            with self.subTest(args):
                here, there = self.data.cairn(*args, check=False), self.remote(*args)
                self.assertNotEqual(here.returncode, 0)
                self.assertEqual((here.returncode, here.stderr), (there.returncode, there.stderr))

    def test_another_tenant_does_not_exist(self):
        self.data.cairn("tenant", "add", "other")
        p = self.remote("index", "list", "other")
        self.assertEqual(p.returncode, 3, p.stderr)
        self.assertEqual(p.stderr.replace("other", "nobody"), self.remote("index", "list", "nobody").stderr)

    def test_a_whole_story(self):
        self.data.write("more.txt", "A committee of five decides.")
        job = json.loads(self.remote("ingest", "acme/docs", self.data.docs, "--label-rule", "hr-*=group:hr", "--label", "public", "-o", "json").stdout)
        self.assertEqual((job["state"], job["counts"]["added"], job["version"]), ("done", 1, 3))
        self.assertEqual(self.remote("activate", "acme/docs", "3", "--expect", "1", "--reason", "new").returncode, 0)
        self.assertIn("more.txt", self.remote("query", "acme/docs", "five decide").stdout)
        self.assertEqual(self.remote("rollback", "acme/docs", "--reason", "wrong").returncode, 0)
        self.assertNotIn("more.txt", self.remote("query", "acme/docs", "five decide").stdout)
        self.assertEqual(self.remote("release", "acme/docs").returncode, 0)
        self.assertEqual(self.remote("policy", "hide", "acme", "news.txt", "--reason", "quoted").returncode, 0)
        self.assertNotIn("news.txt", self.data.cairn("query", "acme/docs", TEXT).stdout)
        self.assertEqual(self.remote("policy", "unhide", "acme", "news.txt").returncode, 0)
        self.assertIn('"via": "rpc"', self.remote("audit", "show", "acme", "-o", "json").stdout)

    def test_paths_on_the_server(self):
        p = self.remote("ingest", "acme/docs", "docs")
        self.assertIn("from the root", p.stderr)
        p = self.remote("ingest", "acme/docs", "/etc/passwd")
        self.assertEqual(p.returncode, 1)
        self.assertIn("import root", p.stderr)

    def test_no_server(self):
        p = self.remote("versions", "acme/docs", server="unix:/nonexistent/sock")
        self.assertEqual(p.returncode, 4, p.stderr)
        self.assertIn("/nonexistent/sock", p.stderr)
        p = self.remote("versions", "acme/docs", server="tcp://127.0.0.1:1")
        self.assertEqual(p.returncode, 4, p.stderr)

    def test_wrong_keys(self):
        p = self.remote("versions", "acme/docs", key="nonsense")
        self.assertEqual(p.returncode, 1)
        self.assertIn("UNAUTHENTICATED", p.stderr)
        empty = os.path.join(self.data.dir, "empty")
        open(empty, "w").close()
        p = run("--server", "unix:" + self.server.sock, "--key-file", empty, "versions", "acme/docs", check=False)
        self.assertIn("empty", p.stderr)
        p = run("--server", "unix:" + self.server.sock, "--key-file", self.data.dir, "versions", "acme/docs", check=False)
        self.assertRegex(p.stderr, "cannot read the key file .*directory")
        with open(empty, "w") as f:
            f.write(self.admin + "\n")
        self.assertEqual(run("--server", "unix:" + self.server.sock, "--key-file", empty, "versions", "acme/docs").returncode, 0)

    def test_what_works_on_files_only_says_so(self):
        for args in (("init",), ("model", "add", "x", "/nowhere")):
            p = self.remote(*args)
            self.assertNotEqual(p.returncode, 0)
            self.assertIn("files", p.stderr)

    def test_the_environment(self):
        env = {"CAIRN_SERVER": "unix:" + self.server.sock, "CAIRN_KEY": self.admin, "CAIRN_DATA": "/nonexistent"}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        p = subprocess.run([CAIRN, "versions", "acme/docs"], capture_output=True, text=True, env={**clean, **env})
        self.assertEqual(p.returncode, 0, p.stderr)
        p = subprocess.run([CAIRN, "--data", self.data.path, "--server", "unix:x", "versions", "acme/docs"], capture_output=True, text=True, env=clean)
        self.assertEqual(p.returncode, 2, p.stderr)


if __name__ == "__main__":
    unittest.main()
