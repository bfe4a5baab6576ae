#!/usr/bin/env python3
"""What a question costs over the scan itself: pinned version, permitted set from the cache, merge of segments.

    python3 benchmarks/search/run.py BUILD VECTORS.npy [--queries 300] [-k 10] [--rounds 3] [--out FILE]

BUILD is a release build. Each query runs by the flat scan alone and by the whole of cn_view_open and cn_search, interleaved, one
thread, pinned to one processor; medians over queries, then over rounds. Needs Debian's python3 only.
"""
import argparse, json, os, statistics, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from result import finish


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("vectors")
    p.add_argument("--queries", type=int, default=300), p.add_argument("-k", type=int, default=10), p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--out")
    o = p.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    command = [o.build + "/benchmarks/search/search_bench", o.vectors, str(o.queries), str(o.k)]
    rounds = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(o.rounds)]
    figures = {name: round(statistics.median(r[name] for r in rounds), 4) if isinstance(value, float) else value for name, value in rounds[0].items()}
    figures["allocations"] = max(r["allocations"] for r in rounds)
    finish(o.out, "a whole question (version, permissions, search, merge) beside the flat scan alone, one thread",
           "at most 10% more than the scan alone, staged and exact; no allocation when asked again",
           figures["more_staged"] <= 0.1 and figures["more_exact"] <= 0.1 and figures["allocations"] == 0, figures)


main()
