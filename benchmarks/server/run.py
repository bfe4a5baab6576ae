#!/usr/bin/env python3
"""What serving costs: server CPU a query beside the same search in process; a request's own cost; starting up.

    python3 benchmarks/server/run.py BUILD [--rows 100000] [--dim 384] [--rounds 5] [--start-rows 1000000] [--tenants 1000] [--out FILE]

BUILD is a release build. Vectors are random, made here. Needs numpy. Server CPU is user and system time of the whole
cairnd process, read before and after each round; rounds of the two are interleaved, and medians count. In process as many
threads search as the machine has processors, for searches side by side share its memory's bandwidth in the server, too.
"""
import argparse, os, shutil, statistics, subprocess, sys, tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from place import Place, Server, load
from result import finish


def measure(place, tenant, index, queries, key, rounds, connections, each):
    server = Server(place, key, index, np.load(queries, mmap_mode="r").shape[1])
    load(place, server.address, key, index, queries, 10, connections, 100)
    ours, alone, told = [], [], []
    for _ in range(rounds):
        before = server.cpu_us()
        r = load(place, server.address, key, index, queries, 10, connections, each)
        ours.append((server.cpu_us() - before) / r["queries"])
        told.append(r)
        alone.append(float(subprocess.run([place.build + "/benchmarks/server/in_process", place.data, tenant, index, queries, "10", str(each), str(os.cpu_count())],
                                          check=True, capture_output=True, text=True).stdout))
    memory = server.rss_mib()
    server.stop()
    return {"server_cpu_us": round(statistics.median(ours), 1), "in_process_cpu_us": round(statistics.median(alone), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, alone)), 3),
            "own_us": round(statistics.median(a - b for a, b in zip(ours, alone)), 1),
            "qps": round(statistics.median(t["queries"] / t["seconds"] for t in told)), "p50_us": statistics.median(t["p50_us"] for t in told),
            "p99_us": statistics.median(t["p99_us"] for t in told), **memory}


def starts(place, key, index, dim, n=5):
    times, memory = [], {}
    for _ in range(n):
        server = Server(place, key, index, dim)
        times.append(server.ready_ms)
        memory = server.rss_mib()
        server.stop()
    return {"ready_ms": round(statistics.median(times), 1), **memory}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("--rows", type=int, default=100000), p.add_argument("--dim", type=int, default=384)
    p.add_argument("--rounds", type=int, default=5), p.add_argument("--each", type=int, default=1000), p.add_argument("--start-rows", type=int, default=1000000)
    p.add_argument("--tenants", type=int, default=1000), p.add_argument("--folder"), p.add_argument("--out")
    o = p.parse_args()
    folder = tempfile.mkdtemp(prefix="cairn-bench-", dir=o.folder)
    try:
        place = Place(o.build, folder)
        place.cairn("tenant", "add", "t0")
        key = place.key("t0")
        big = place.index("t0", "big", o.rows, o.dim)
        small = place.index("t0", "small", 32, 8)
        figures = {"rows": o.rows, "dim": o.dim, "connections": 4, "big": measure(place, "t0", "big", big, key, o.rounds, 4, o.each),
                   "small": measure(place, "t0", "small", small, key, o.rounds, 4, o.each * 10)}
        place.index("t0", "million", o.start_rows, 64)
        million = figures["start_million_rows"] = {"rows": o.start_rows, **starts(place, key, "million", 64)}
        for i in range(1, o.tenants):
            place.cairn("tenant", "add", f"t{i}")
        idle = figures["start_idle_tenants"] = {"tenants": o.tenants, **starts(place, key, None, 0)}
    finally:
        shutil.rmtree(folder)
    finish(o.out, "what serving costs", "big.ratio at most 1.15; small.own_us under 30; ready within 200 ms on a million rows, 1,000 ms with 1,000 idle tenants",
           figures["big"]["ratio"] <= 1.15 and figures["small"]["own_us"] < 30 and million["ready_ms"] <= 200 and idle["ready_ms"] <= 1000, figures)


main()
