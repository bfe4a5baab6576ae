"""`cairn diff --queries`: answers of two versions side by side, on files and through the server, against answers asked one by one."""
import json
import os
import sys
import unittest

from place import Place

QUESTIONS = ["who decides about pay", "the removal of packages", "packages are removed when their maintainer asks", "committee"]


class Diff(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.place.write("new.txt", "Their maintainer asks for the removal.")
        cls.place.cairn("ingest", "acme/docs", cls.place.docs, "--label-rule", "hr-*=group:hr", "--label", "public")
        cls.questions = os.path.join(cls.place.dir, "questions.txt")
        with open(cls.questions, "w") as f:
            f.write("\n".join(QUESTIONS) + "\n")
        cls.place.serve()

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def diff(self, *args, by=None):
        p = (by or self.place.cairn)("diff", "acme/docs", *args, "--queries", self.questions, "-o", "json")
        self.assertEqual(p.returncode, 0, p.stderr)
        return json.loads(p.stdout)

    def docs(self, question, version, *args):
        hits = json.loads(self.place.cairn("query", "acme/docs", question, "--version", version, "--per-doc", "1", *args, "-o", "json").stdout)["hits"]
        return [h["doc"] for h in hits]

    def test_a_version_beside_itself(self):
        got = self.diff("1", "1")
        self.assertEqual({k: got[k] for k in ("queries", "same", "reordered", "changed", "first_changed", "overlap", "most_changed")},
                         {"queries": 4, "same": 4, "reordered": 0, "changed": 0, "first_changed": 0, "overlap": 1, "most_changed": []})

    def test_answers_are_those_of_query(self):
        for labels in ("public", "public,group:hr"):
            got = self.diff("1", "3", "--as", labels)
            self.assertEqual((got["from"], got["to"]), (1, 3))
            self.assertEqual(got["same"] + got["reordered"] + got["changed"], 4)
            self.assertGreater(got["changed"], 0)  # version 3 has a document more
            told = {q["text"]: q for q in got["most_changed"]}
            overlaps, first = [], 0
            for text in QUESTIONS:
                a, b = self.docs(text, "1", "--as", labels), self.docs(text, "3", "--as", labels)
                overlaps.append(len(set(a) & set(b)) / max(len(a), len(b)))
                first += a[0] != b[0]
                self.assertEqual(text in told, a != b)
                if a != b:
                    self.assertEqual(([h["doc"] for h in told[text]["before"]], [h["doc"] for h in told[text]["after"]]), (a, b))
                    self.assertAlmostEqual(told[text]["overlap"], overlaps[-1])
            self.assertAlmostEqual(got["overlap"], sum(overlaps) / 4)
            self.assertEqual(got["first_changed"], first)
            self.assertEqual([q["overlap"] for q in got["most_changed"]], sorted(q["overlap"] for q in got["most_changed"]))
            self.assertEqual("hr-pay.txt" in json.dumps(got), "hr" in labels)

    def test_through_the_server_alike(self):
        self.assertEqual(self.diff("1", "3", by=self.place.remote), self.diff("1", "3"))
        key = self.place.key("--scope", "query,versions,act-as")
        as_ana = ("1", "3", "--principal", "user:ana", "-k", "2")
        self.assertEqual(self.diff(*as_ana, by=lambda *args: self.place.remote(*args, key=key)), self.diff(*as_ana))

    def test_table(self):
        said = self.place.cairn("diff", "acme/docs", "1", "3", "--queries", self.questions, "--limit", "1").stdout
        self.assertIn("4 questions, the first 10 documents of version 1 beside those of version 3", said)
        self.assertEqual(said.count("version 1 "), 2)  # of the sentence and of one question's columns
        self.assertRegex(said, r"new\.txt +new")
        self.assertNotIn("most_changed", said)

    def test_the_documents_as_before(self):
        got = json.loads(self.place.cairn("diff", "acme/docs", "1", "3", "-o", "json").stdout)
        self.assertEqual({d["doc"] for d in got["documents"]}, {"open.txt", "new.txt"})

    def test_what_is_refused(self):
        def fails(code, said, *args):
            p = self.place.cairn("diff", "acme/docs", *args, check=False)
            self.assertEqual(p.returncode, code, p.stderr)
            self.assertRegex(p.stderr, said)
        fails(3, "version 9", "1", "9", "--queries", self.questions)
        fails(3, "cannot open", "1", "3", "--queries", "/nowhere")
        fails(2, "--mode", "1", "3", "--mode", "exact")  # of documents nothing is asked
        key = self.place.key("--scope", "query", "--labels", "public")
        p = self.place.remote("diff", "acme/docs", "1", "3", "--queries", self.questions, key=key)
        self.assertEqual((p.returncode, p.stdout), (1, ""), p.stderr)
        self.assertIn("DENIED", p.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
