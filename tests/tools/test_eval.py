"""eval: measures against a naive sum of their definitions and against trec_eval's own code, rankings of a real index, bad files."""
import json
import math
import os
import random
import sys
import unittest

from place import Place

sys.path.insert(0, os.environ.get("CAIRN_TEST_PACKAGES", ""))
try:
    import pytrec_eval
except ImportError:
    pytrec_eval = None

NAMES = {"nDCG@10": "ndcg_cut_10", "AP": "map", "R@10": "recall_10", "R@100": "recall_100", "P@10": "P_10"}


def naive(grades, ranked):
    """The measures of one question, as their definitions say."""
    gains = [max(grades.get(d, 0), 0) for d in ranked]
    dcg = lambda g: sum(x / math.log2(i + 2) for i, x in enumerate(g[:10]))
    relevant = sum(g > 0 for g in grades.values())
    hits = [g > 0 for g in gains]
    ideal = dcg(sorted((max(g, 0) for g in grades.values()), reverse=True))
    first = hits.index(True) + 1 if True in hits else 0
    return {"nDCG@10": dcg(gains) / ideal if ideal else 0, "RR@10": 1 / first if 0 < first <= 10 else 0,
            "AP": sum(sum(hits[:i + 1]) / (i + 1) for i, h in enumerate(hits) if h) / relevant if relevant else 0,
            "R@10": sum(hits[:10]) / relevant if relevant else 0, "R@100": sum(hits[:100]) / relevant if relevant else 0, "P@10": sum(hits[:10]) / 10}


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def file(self, name, text):
        path = os.path.join(self.place.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        return path

    def score(self, run, qrels):
        return json.loads(self.place.cairn("eval", "score", run, "--qrels", qrels, "-o", "json").stdout)

    def random_run(self, seed):
        """Grades from -1 to 3, ties of scores, questions without answers, answers without judgements."""
        r = random.Random(seed)
        qrels, run = {}, {}
        for q in range(40):
            qrels[f"q{q}"] = {f"d{d}": r.choice([-1, 0, 0, 1, 1, 2, 3]) for d in r.sample(range(300), r.randint(1, 60))}
            if q % 9:
                run[f"q{q}"] = {f"d{d}": float(r.randint(0, 30)) / 8 for d in r.sample(range(300), r.randint(1, 150))}
        run["unjudged"] = {"d1": 1.0}
        lines = [f"{q} Q0 {d} 1 {s} x" for q, docs in run.items() for d, s in docs.items()]
        r.shuffle(lines)
        return qrels, run, self.file("r.run", "\n".join(lines) + "\n"), self.file("r.qrels", "".join(f"{q} 0 {d} {g}\n" for q, docs in qrels.items() for d, g in docs.items()))

    def test_measures_are_their_definitions(self):
        for seed in range(5):
            qrels, run, run_path, qrels_path = self.random_run(seed)
            got = self.score(run_path, qrels_path)
            each = [naive(grades, sorted(sorted(run.get(q, {}), reverse=True), key=lambda d: -run[q][d])) for q, grades in qrels.items()]
            self.assertEqual(got["queries"], len(qrels))
            for name in each[0]:
                self.assertAlmostEqual(got["metrics"][name], sum(e[name] for e in each) / len(each), 9, (seed, name))
            self.assertEqual(got["metrics"]["R@10"], got["recall"]["10"])

    @unittest.skipIf(pytrec_eval is None, "pytrec_eval is not here")
    def test_measures_are_trec_evals(self):
        qrels, run, run_path, qrels_path = self.random_run(7)
        got = self.score(run_path, qrels_path)["metrics"]
        each = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut", "map", "recall", "P"}).evaluate({q: d for q, d in run.items() if q in qrels})
        for ours, theirs in NAMES.items():
            self.assertAlmostEqual(got[ours], sum(e[theirs] for e in each.values()) / len(qrels), 4, ours)

    def test_an_index_is_asked(self):
        folder = os.path.join(self.place.dir, "beir")
        self.file("beir/queries.jsonl", "".join(json.dumps({"_id": f"q{i}", "text": t}) + "\n" for i, t in
                                               enumerate(["Packages are removed on request.", "The removal of packages was discussed.", "nobody judged this"])))
        self.file("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\topen.txt\t2\nq1\tnews.txt\t1\nq1\tnowhere\t1\n")
        run = os.path.join(self.place.dir, "out.run")
        ask = ["eval", "run", "acme/docs", "--beir", folder]
        got = json.loads(self.place.cairn(*ask, "--run", run, "--against-version", "2", "-o", "json").stdout)
        self.assertEqual(got["queries"], 2)
        self.assertEqual(got["metrics"]["R@100"], .75)
        self.assertGreater(got["metrics"]["RR@10"], .3)  # two documents may be read
        self.assertEqual(got["beside"]["what"], "version 2")
        d = got["beside"]["difference"]["nDCG@10"]
        self.assertAlmostEqual(d["mean"], got["metrics"]["nDCG@10"] - got["beside"]["metrics"]["nDCG@10"])
        self.assertLessEqual(d["better"] + d["worse"], 2)
        self.assertEqual(got["worst"][-1]["relevant"], 2 if got["worst"][-1]["query"] == "q1" else 1)
        self.assertEqual(self.score(run, os.path.join(folder, "qrels/test.tsv"))["metrics"], got["metrics"])  # whoever sorts it sees our order
        self.assertNotIn("hr-pay.txt", open(run).read())  # asked as the public
        with_hr = os.path.join(self.place.dir, "hr.run")
        self.place.cairn(*ask, "--as", "public,group:hr", "--run", with_hr)
        self.assertIn("hr-pay.txt", open(with_hr).read())
        table = self.place.cairn(*ask, "--against-mode", "exact").stdout
        self.assertRegex(table, r"2 questions\nnDCG@10  \d\.\d{4}   mode exact \d\.\d{4}   \+0\.0000, 0 better, 0 worse, p 1\.0000")
        self.assertIn("recall by k", table)

    def test_figures_stay_with_the_version(self):
        """What `eval run --store` measured is what a gate may require, and what eval list shows."""
        map = lambda *args, **kw: json.loads(self.place.cairn(*args, "-o", "json", **kw).stdout)
        queries = self.file("kept/queries.tsv", "q0\tPackages are removed on request.\nq1\tThe removal of packages was discussed.\n")
        qrels = self.file("kept/qrels", "q0 0 open.txt 2\nq1 0 news.txt 1\nq1 0 nowhere 1\n")
        ask = ["eval", "run", "acme/docs", "--queries", queries, "--qrels", qrels]
        self.assertEqual(map("eval", "list", "acme/docs")["evaluations"], [])
        got = map(*ask, "--version", "2", "--against-version", "1", "--store", "faq")
        self.assertEqual(got["stored"], {"name": "faq", "version": 2, "gate": "none"})
        (one,) = map("eval", "list", "acme/docs")["evaluations"]
        self.assertEqual({k: one[k] for k in ("name", "version", "queries", "metrics")}, {"name": "faq", "version": 2, "queries": 2, "metrics": got["metrics"]})
        self.assertIsNotNone(one["at"])
        self.assertEqual(self.place.cairn(*ask, "--store", "faq").stdout.splitlines()[7], "stored as faq/... of version 1; its gate: none")
        self.assertEqual([e["version"] for e in map("eval", "show", "acme/docs", "faq")["evaluations"]], [1, 2])
        self.assertEqual(map("eval", "show", "acme/docs", "faq2")["evaluations"], [])
        self.assertEqual([e["version"] for e in map("eval", "list", "acme/docs", "--version", "2")["evaluations"]], [2])
        self.place.cairn("gate", "set", "acme/docs", f"faq/nDCG@10>{got['metrics']['nDCG@10']}")
        self.assertIn("faq/nDCG@10", self.place.cairn("activate", "acme/docs", "2", check=False).stderr)
        self.place.cairn("gate", "set", "acme/docs", f"faq/nDCG@10>={got['metrics']['nDCG@10'] - 1e-6}", "faq/questions>=2")
        self.assertEqual(map(*ask, "--version", "2", "--store", "faq")["stored"]["gate"], "met")
        self.place.cairn("activate", "acme/docs", "2")
        self.place.cairn("activate", "acme/docs", "1")
        self.place.cairn("gate", "set", "acme/docs", "none")
        self.place.cairn("gate", "freeze", "acme/docs", "core", "--cases", self.place.cases())
        p = self.place.cairn(*ask, "--store", "core", "-o", "json", check=False)  # what a frozen set measures is not handed in; the figures are told all the same
        self.assertEqual((p.returncode, json.loads(p.stdout)["metrics"]), (5, map(*ask)["metrics"]))
        self.assertIn("frozen set", p.stderr)
        self.place.cairn("gate", "run", "acme/docs", "2")
        core, faq = map("eval", "list", "acme/docs", "--version", "2")["evaluations"]
        self.assertEqual((core["name"], faq["name"], core["queries"]), ("core", "faq", 1))
        self.place.cairn("gate", "unfreeze", "acme/docs", "core")
        for bad in (("--store", "a/b"), ("--store", ""), ("--store", "faq", "-k", "10")):
            self.assertEqual(self.place.cairn(*ask, *bad, check=False).returncode, 1)

    def test_bad_files(self):
        good = self.file("good.qrels", "q1 0 d1 1\n")
        for text, said in (("", "has no judgements"), ("q1 d1\n", r":1: a line has 2 parts"), ("q1 0 d1 1\nq1 0 d1 0\n", r":2: document \"d1\" is judged twice"),
                           ("q1 0 d1 much\n", r"\"much\" is no grade")):
            p = self.place.cairn("eval", "score", self.file("x.run", "q1 Q0 d1 1 1 x\n"), "--qrels", self.file("bad.qrels", text), check=False)
            self.assertEqual(p.returncode, 1)
            self.assertRegex(p.stderr, said)
        for text, said in (("q1 Q0 d1 1\n", r"x\.run:1: a line of a run has 6 parts"), ("q1 Q0 d1 1 high x\n", "is no score")):
            p = self.place.cairn("eval", "score", self.file("x.run", text), "--qrels", good, check=False)
            self.assertRegex(p.stderr, said)
        for queries, said in (("q1 no tab\n", r":1: neither a JSON map nor"), ("other\ttext\n", "has no question that is judged"), ('{"text": "x"}\n', "without")):
            p = self.place.cairn("eval", "run", "acme/docs", "--queries", self.file("q", queries), "--qrels", good, check=False)
            self.assertRegex(p.stderr, said)
        self.assertIn("--beir FOLDER", self.place.cairn("eval", "run", "acme/docs", check=False).stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
