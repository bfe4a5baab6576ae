"""What a change of the policy says that it meets: a slip in an id, a source or a glob is told, and the change stands."""
import glob
import json
import os
import unittest

from serving import Data, Failed, Rpc, Server


class Policy(unittest.TestCase):
    def setUp(self):
        self.data = Data()  # d0 to d19 of source default in acme/docs
        self.addCleanup(self.data.close)
        rows = os.path.join(self.data.dir, "pay.jsonl")
        with open(rows, "w") as f:
            for name in ("salaries", "d1"):
                f.write(json.dumps({"id": name, "text": "zebra salaries", "labels": ["public"], "vector": [1, 2, 3, 4]}) + "\n")
        self.data.cairn("index", "create", "acme/pay", "--embedder", "none")
        self.data.cairn("ingest", "acme/pay", rows, "--source", "payroll", "--activate")

    def change(self, *args):
        """The answer, and what stands on standard error."""
        p = self.data.cairn("policy", *args, "-o", "json")
        return json.loads(p.stdout), p.stderr

    def test_a_slip_is_told_with_the_source_that_was_meant(self):
        r, err = self.change("hide", "acme", "salaries", "--reason", "leak")
        self.assertEqual((r["documents"], r["held"], r["more"], r["unread"]), (1, 0, False, None))
        self.assertEqual(r["missing"], [{"doc": "salaries", "source": "default", "others": ["payroll"]}])
        self.assertEqual(err, 'cairn: warning: no version holds "salaries" of source default; that id is of --source payroll\n')
        r, err = self.change("hide", "acme", "salaries", "--source", "payroll")
        self.assertEqual((r["held"], r["missing"], err), (1, [], ""))

    def test_a_pattern_in_place_of_an_id(self):
        self.assertIn("there is --glob", self.change("hide", "acme", "d*")[1])
        self.assertNotIn("--glob", self.change("hide", "acme", "--glob", "nosuch*")[1])

    def test_each_change(self):
        for args in (("allow", "--labels", "group:x"), ("deny", "--labels", "group:x"), ("clear",), ("hide",), ("unhide",), ("erase",)):
            with self.subTest(args[0]):
                r, err = self.change(args[0], "acme", "d1", "nosuchdoc", *args[1:])
                self.assertEqual((r["documents"], r["held"]), (2, 1))
                self.assertEqual(r["missing"], [{"doc": "nosuchdoc", "source": "default", "others": []}])
                self.assertIn('no version holds "nosuchdoc" of source default; it counts for what is ingested later', err)
        r, err = self.change("restore", "acme", "d1", "nosuchdoc", "--reason", "a test")
        self.assertEqual((set(r), err), ({"documents", "epoch"}, ""))

    def test_globs_and_sources(self):
        for args, held, missing in ((("--glob", "d1*"), 12, None), (("--glob", "d1", "--source", "payroll"), 1, None), (("--all-of", "payroll"), 2, None),
                                    (("--glob", "D*"), 0, {"glob": "D*", "source": ""}), (("--glob", "d*", "--source", "pay"), 0, {"glob": "d*", "source": "pay"}),
                                    (("--all-of", "pay"), 0, {"all_of": "pay"})):
            for verb in ("hide", "unhide"):
                r, err = self.change(verb, "acme", *args)
                self.assertEqual((r["documents"], r["held"], r["missing"]), (1, held, [missing] if missing else []))
                self.assertEqual("warning: no version holds" in err, missing is not None)
        p = self.data.cairn("policy", "hide", "acme", "--glob", "[sal*", check=False)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("INVALID: glob: this [ has no ]; for the character itself write \\[, at byte 0\n  [sal*\n  ^\n", p.stderr)

    def test_many_at_once(self):
        path = os.path.join(self.data.dir, "changes.jsonl")
        with open(path, "w") as f:
            f.write(json.dumps({"op": "hide", "docs": ["d1", *(f"n{i}" for i in range(150))]}) + "\n" + json.dumps({"op": "deny", "docs": ["d1", "d2"], "labels": ["group:x"]}))
        r, err = self.change("apply", "acme", path)
        self.assertEqual((r["documents"], r["held"], len(r["missing"]), r["more"]), (153, 2, 100, True))
        self.assertEqual(len(err.splitlines()), 11)
        self.assertIn("over 90 others", err)
        p = self.data.cairn("policy", "apply", "acme", path)
        self.assertEqual([line.split()[0] for line in p.stdout.splitlines()], ["documents", "held", "epoch"])

    def test_what_cannot_be_read_holds_no_change_up(self):
        server = Server(self.data)
        self.addCleanup(server.stop)
        conn = Rpc(server, self.data.make_key("--scope", "policy,query", "--labels", "public"))
        self.assertEqual(conn.call("policy.hide", docs=["d1"])["held"], 1)
        server.stop()
        files = glob.glob(os.path.join(self.data.path, "tenants", "acme", "segments", "*.mdb"))
        for f in files:
            os.rename(f, f + ".aside")
        server = Server(self.data)
        self.addCleanup(server.stop)
        conn = Rpc(server, self.data.make_key("--scope", "policy,query", "--labels", "public"))
        r = conn.call("policy.hide", docs=["d2"])
        self.assertEqual((r["documents"], r["held"]), (1, 0))
        self.assertIn("is gone; bring it back from a backup", r["unread"])
        self.assertNotIn(self.data.path, r["unread"])  # a key is told no path
        p = self.data.cairn("policy", "hide", "acme", "d4")
        self.assertIn("the change stands; not all of the versions could be looked at", p.stderr)
        server.stop()
        for f in files:
            os.rename(f + ".aside", f)
        shown = json.loads(self.data.cairn("policy", "show", "acme", "d1", "d2", "d4", "d6", "-o", "json").stdout)["documents"]
        self.assertEqual([d["hidden"] for d in shown], [True, True, True, False])

    def test_a_key_of_some_indexes_asks_nothing(self):
        server = Server(self.data)
        self.addCleanup(server.stop)
        conn = Rpc(server, self.data.make_key("--scope", "policy", "--labels", "public", "--index", "docs"))
        with self.assertRaises(Failed) as e:
            conn.call("policy.hide", docs=["salaries"])
        self.assertIn("DENIED", str(e.exception))


if __name__ == "__main__":
    unittest.main()
