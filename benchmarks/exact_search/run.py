#!/usr/bin/env python3
"""Exact search, single queries, one thread: cairn's staged and exact scans beside faiss-cpu's flat index in one run.

    python3 benchmarks/exact_search/run.py BUILD VECTORS.npy QUERIES.npy [--python VENV/bin/python] [--out FILE]
        [--metric ip|cosine|l2] [-k 10] [--rounds 7] [--per-round 100]

BUILD is a release build. Each round gives faiss, staged, exact and the plain float scan the same queries in turn, by the
CPU time of their one thread; the medians count. Recall is over all queries against faiss (a row that ties with the k-th
within rounding is as good as it); exact must also equal the plain scan row by row. Masks permit one row in 2, 10 and 100.
Needs pip's numpy and faiss-cpu; --python names the interpreter that has them.
"""
import os
import sys
if "--python" in sys.argv[:-1]:
    python = sys.argv[sys.argv.index("--python") + 1]
    if os.path.abspath(sys.executable) != os.path.abspath(python):
        os.execv(python, [python] + sys.argv)
os.environ["OMP_NUM_THREADS"] = "1"
import argparse, json, statistics, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/ingest"))
import faiss
import numpy as np
from result import finish

MODES = ("staged", "exact", "plain")


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("vectors"), p.add_argument("queries")
    p.add_argument("--metric", default="ip", choices=("ip", "cosine", "l2"))
    p.add_argument("-k", type=int, default=10), p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--per-round", type=int, default=100), p.add_argument("--out"), p.add_argument("--python")
    return p.parse_args()


class Cairn:
    def __init__(self, o, folder):
        self.k, self.file = o.k, folder + "/rows"
        self.run = subprocess.Popen([o.build + "/benchmarks/exact_search/exact_bench", o.vectors, o.queries, o.metric, str(o.k)],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = json.loads(self.run.stdout.readline())

    def ask(self, mode, first, count, each=1):
        """Times, and the rows found."""
        self.run.stdin.write(f"{mode} {each} {first} {count} {self.file}\n")
        self.run.stdin.flush()
        told = json.loads(self.run.stdout.readline())
        return told, np.fromfile(self.file, dtype=np.uint32).reshape(count, self.k).astype(np.int64)


class Faiss:
    def __init__(self, x, metric):
        self.unit = metric == "cosine"
        self.index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(x.shape[1])
        self.index.add(self.rows(x))

    def rows(self, a):
        return a / np.linalg.norm(a, axis=1, keepdims=True) if self.unit else a

    def one_by_one(self, q, k):
        """CPU nanoseconds."""
        q = self.rows(q)
        start = time.thread_time_ns()
        for i in range(len(q)):
            self.index.search(q[i:i + 1], k)
        return time.thread_time_ns() - start

    def answers(self, q, k):
        return self.index.search(self.rows(q), k)[1]


def recall(found, truth, x, q, metric):
    def scores(rows, query):
        d, query = x[rows].astype(np.float64), query.astype(np.float64)
        if metric == "l2":
            return -((d - query) ** 2).sum(1)
        return d @ query / (np.linalg.norm(d, axis=1) * np.linalg.norm(query) if metric == "cosine" else 1)
    hit = 0
    for rows, best, query in zip(found, truth, q):
        bar = scores(best, query).min()
        hit += min(len(best), (scores(np.unique(rows), query) >= bar - 1e-6 * max(1, abs(bar))).sum())
    return hit / truth.size


def interleaved(o, cairn, index, q):
    seen = {m: [] for m in ("faiss",) + MODES}
    index.one_by_one(q[:5], o.k)
    for m in MODES:
        cairn.ask(m, 0, 5)
    equal = True
    for r in range(o.rounds):
        first = r * o.per_round % (len(q) - o.per_round + 1)
        seen["faiss"].append({"cpu_ns": index.one_by_one(q[first:first + o.per_round], o.k)})
        rows = {}
        for m in MODES:
            told, rows[m] = cairn.ask(m, first, o.per_round)
            seen[m].append(told)
        equal &= np.array_equal(rows["exact"], rows["plain"])
    return seen, equal


def main():
    o = options()
    faiss.omp_set_num_threads(1)
    x, q = (np.ascontiguousarray(np.load(p), dtype=np.float32) for p in (o.vectors, o.queries))
    o.per_round = min(o.per_round, len(q))
    index = Faiss(x, o.metric)
    with tempfile.TemporaryDirectory() as folder:
        cairn = Cairn(o, folder)
        seen, equal = interleaved(o, cairn, index, q)
        truth = index.answers(q, o.k)
        found = {m: recall(cairn.ask(m, 0, len(q))[1], truth, x, q, o.metric) for m in ("staged", "exact")}
        masked = {f"1 in {each}": {m: cairn.ask(m, 0, o.per_round, each)[0]["cpu_ns"] / o.per_round / 1000 for m in MODES}
                  for each in (2, 10, 100)}
        cairn.run.stdin.close(), cairn.run.wait()
    us = {m: [t["cpu_ns"] / o.per_round / 1000 for t in v] for m, v in seen.items()}
    times = {m: statistics.median(f / t for f, t in zip(us["faiss"], us[m])) for m in MODES}
    finish(o.out, f"exact search of {x.shape[0]} x {x.shape[1]}, {o.metric}, k {o.k}, single queries, one thread, CPU time; "
           f"medians of {o.rounds} interleaved rounds of {o.per_round} queries",
           "staged: recall at least .999 and 4 x faiss; exact: recall 1, equal to the plain scan, not slower than faiss",
           found["staged"] >= .999 and times["staged"] >= 4 and found["exact"] == 1 and equal and times["exact"] >= 1,
           {"faiss": faiss.__version__, "isa": cairn.told["isa"], "times_faiss": {m: round(v, 2) for m, v in times.items()},
            "recall": {m: round(v, 5) for m, v in found.items()}, "queries_for_recall": len(q), "exact_equals_plain": bool(equal),
            "us_per_query": {m: round(statistics.median(v), 1) for m, v in us.items()},
            "wall_p99_us": {m: round(statistics.median(t["p99_ns"] for t in seen[m]) / 1000, 1) for m in MODES},
            "us_per_query_masked": {e: {m: round(v, 1) for m, v in t.items()} for e, t in masked.items()},
            "build_s": round(cairn.told["build_cpu_ns"] / 1e9, 2), "bytes_per_row_of_codes": round(cairn.told["bytes"] / len(x), 1),
            "us_per_query_rounds": {m: [round(t, 1) for t in v] for m, v in us.items()}})


main()
