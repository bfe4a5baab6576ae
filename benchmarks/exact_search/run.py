#!/usr/bin/env python3
"""Exact search, single queries, one thread: cairn's staged and exact scans beside faiss-cpu's IndexFlatIP (or L2).

    python3 benchmarks/exact_search/run.py BUILD VECTORS.npy QUERIES.npy [--metric ip|cosine|l2] [-k 10] [--rounds 5] [--out FILE]

BUILD is a release build. Each round times faiss, staged and exact in turn over the same queries; the medians count.
Recall is against faiss's own answers. Needs pip's numpy and faiss-cpu. One process each, both pinned to one processor.
"""
import os
os.environ["OMP_NUM_THREADS"] = "1"
import argparse, datetime, json, platform, statistics, subprocess, sys, tempfile, time

import faiss
import numpy as np


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def recall(found, truth, x, q, metric):
    """Share of the k best that were found; rows that tie with the k-th within rounding are as good as it."""
    def scores(rows, i):
        d = x[rows].astype(np.float64)
        return -((d - q[i]) ** 2).sum(1) if metric == "l2" else d @ q[i].astype(np.float64)
    hit = 0
    for i, row in enumerate(truth):
        bar = scores(row, i).min()
        hit += sum(s >= bar - 1e-6 * max(1, abs(bar)) for s in scores(np.unique(found[i]), i))
    return hit / truth.size


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("vectors"), p.add_argument("queries")
    p.add_argument("--metric", default="ip", choices=("ip", "cosine", "l2"))
    p.add_argument("-k", type=int, default=10), p.add_argument("--rounds", type=int, default=5), p.add_argument("--queries-used", type=int, default=300)
    p.add_argument("--out")
    o = p.parse_args()
    faiss.omp_set_num_threads(1)
    x = np.ascontiguousarray(np.load(o.vectors), dtype=np.float32)
    q = np.ascontiguousarray(np.load(o.queries)[:o.queries_used], dtype=np.float32)
    index = (faiss.IndexFlatL2 if o.metric == "l2" else faiss.IndexFlatIP)(x.shape[1])
    if o.metric == "cosine":
        x, q = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, q))
    index.add(x)
    with tempfile.TemporaryDirectory() as tmp:
        np.save(tmp + "/x.npy", x), np.save(tmp + "/q.npy", q)
        bench = subprocess.Popen([o.build + "/benchmarks/exact_search/exact_bench", tmp + "/x.npy", tmp + "/q.npy", o.metric, str(o.k)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        build_ns, isa = bench.stdout.readline().split()
        times = {"faiss": [], "staged": [], "exact": []}
        rows = {}
        for _ in range(o.rounds):
            start = time.perf_counter_ns()
            truth = np.concatenate([index.search(q[i:i + 1], o.k)[1] for i in range(len(q))])
            times["faiss"].append(time.perf_counter_ns() - start)
            for mode in ("staged", "exact"):
                bench.stdin.write(f"{mode} {tmp}/{mode}\n"), bench.stdin.flush()
                times[mode].append(int(bench.stdout.readline()))
                rows[mode] = np.fromfile(f"{tmp}/{mode}", dtype=np.uint32).reshape(len(q), o.k).astype(np.int64)
        bench.stdin.close(), bench.wait()
    us = {m: statistics.median(t) / len(q) / 1000 for m, t in times.items()}
    result = {
        "what": f"exact search, {x.shape[0]} x {x.shape[1]}, {o.metric}, k {o.k}, single queries, one thread",
        "command": "python3 benchmarks/exact_search/run.py BUILD VECTORS.npy QUERIES.npy " + " ".join(sys.argv[4:]),
        "date": datetime.date.today().isoformat(), "machine": cpu_name(), "isa": isa, "faiss": faiss.__version__,
        "queries": len(q), "rounds": o.rounds, "build_s": int(build_ns) / 1e9,
        "us_per_query": {m: round(v, 1) for m, v in us.items()},
        "times_faiss": {m: round(statistics.median(f / t for f, t in zip(times["faiss"], times[m])), 2) for m in ("staged", "exact")},
        "recall": {m: round(recall(rows[m], truth, x, q, o.metric), 5) for m in ("staged", "exact")},
        "bar": "staged: recall at least .999 and 4 x faiss; exact: recall 1 and not slower than faiss",
    }
    print(json.dumps(result, indent=1))
    if o.out:
        with open(o.out, "w") as f:
            json.dump(result, f, indent=1)
            f.write("\n")


main()
