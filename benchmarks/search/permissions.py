#!/usr/bin/env python3
"""What permissions cost: sets of new and of known principals, a flip that narrows many documents, a long list of denials.

    python3 benchmarks/search/permissions.py BUILD [--folder DIR] [--rounds 3] [--out FILE]

BUILD is a release build; DIR (the current folder) is on the disk whose sync is meant. Each figure is a median of questions or
flips within a round, then over rounds. Needs Debian's python3 only.
"""
import argparse, json, os, statistics, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from result import finish

PARTS = {"sets_10": ("sets", 10), "sets_10000": ("sets", 10_000), "sets_1000000": ("sets", 1_000_000), "flips": ("flips", 100_000), "denials": ("denials", 100_000)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("--folder", default="."), p.add_argument("--rounds", type=int, default=3), p.add_argument("--out")
    o = p.parse_args()
    program = o.build + "/benchmarks/search/permission_bench"
    seen = {name: [] for name in PARTS}
    for _ in range(o.rounds):
        for name, (part, n) in PARTS.items():
            seen[name].append(json.loads(subprocess.run([program, part, str(n), o.folder], check=True, stdout=subprocess.PIPE).stdout))
    figures = {name: {k: round(statistics.median(r[k] for r in rounds), 3) for k in rounds[0]} for name, rounds in seen.items()}
    finish(o.out, "permissions: microseconds of a question's permitted set, of flips between versions with narrowed documents, of questions under many denials",
           "a flip of 100,000 changed documents under 10 ms besides the disk's sync; a warm question under 100,000 denials at most 1.1 times one without; "
           "the question after one more denial on top of them under 5 ms",
           figures["flips"]["flip_besides_sync_us"] < 10_000 and figures["denials"]["times"] <= 1.1 and figures["denials"]["question_after_one_more_us"] < 5_000, figures)


main()
