#!/usr/bin/env python3
"""An index that grew by single puts, beside the same rows from one ingest; and how long a put takes to be found.

    python3 benchmarks/server/puts.py BUILD [--puts 1000] [--rows 20000] [--rounds 5] [--each 2000] [--folder DIR] [--out FILE]

BUILD is a release build. --puts documents of one vector of 64 are put one by one into an index of --rows; after each the index is
asked until it answers with that document. The server merges small files meanwhile (merge_rate), as it does by default; when
that has come to rest, four connections ask this index and, in turn, one that has all rows from one ingest. The medians of the
rounds' ratios count. Needs numpy and python3-msgpack.
"""
import argparse, json, os, shutil, statistics, sys, tempfile, time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from place import Client, Place, Server, load
from result import finish

DIM, CONNECTIONS, SETTLED_S = 64, 4, 5


def ingest(place, index, path):
    place.cairn("ingest", f"t0/{index}", path, "--label", "public", "--activate")


def make(build, folder, rows, puts):
    place, rng = Place(build, folder), np.random.default_rng(1)
    place.cairn("tenant", "add", "t0")
    all_rows, queries = rng.standard_normal((rows + puts, DIM), dtype=np.float32), f"{folder}/q.npy"
    np.save(queries, rng.standard_normal((500, DIM), dtype=np.float32))
    for index, n in ("grown", rows), ("once", rows + puts):
        place.cairn("index", "create", f"t0/{index}", "--embedder", "none")
        np.save(f"{folder}/{index}.npy", all_rows[:n])
        ingest(place, index, f"{folder}/{index}.npy")
    return place, queries, all_rows[rows:]


def files(place):
    return json.loads(place.cairn("compact", "t0/grown", "--dry-run", "-o", "json"))["segments_before"]


def put_all(client, vectors):
    took, found = [], []
    for i, v in enumerate(vectors.astype("<f4")):
        begin = time.perf_counter()
        client.call("documents.put", index="grown", activate=True, documents=[{"id": f"p{i}", "text": f"put {i}", "labels": ["public"], "vector": v.tobytes()}])
        took.append(time.perf_counter() - begin)
        while client.call("query", index="grown", vector=v.tobytes(), k=1)["hits"][0]["doc"] != f"p{i}":
            pass
        found.append(time.perf_counter() - begin)
    return took, found


def settle(place):
    """Until no file was merged for a while."""
    n, since = files(place), time.time()
    while time.time() - since < SETTLED_S:
        time.sleep(.5)
        now = files(place)
        n, since = (n, since) if now == n else (now, time.time())
    return n


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("--puts", type=int, default=1000), p.add_argument("--rows", type=int, default=20000), p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--each", type=int, default=2000), p.add_argument("--folder"), p.add_argument("--out")
    o = p.parse_args()
    folder = tempfile.mkdtemp(prefix="cairn-bench-", dir=o.folder)
    try:
        place, queries, vectors = make(o.build, folder, o.rows, o.puts)
        key = place.key("t0", "query,ingest,activate")
        server = Server(place, key, "grown", DIM)
        took, found = put_all(Client(server, key), vectors)
        at_once, left = files(place), settle(place)
        ask = lambda index: load(place, server.address, key, index, queries, 10, CONNECTIONS, o.each)
        ask("grown"), ask("once")
        rounds = [(ask("grown"), ask("once")) for _ in range(o.rounds)]
        server.stop()
    finally:
        shutil.rmtree(folder)
    for r in sum(rounds, ()):
        r["qps"] = r["queries"] / r["seconds"]
    ms = lambda v, share: round(sorted(v)[int(share * (len(v) - 1))] * 1000, 2)
    measure = ("qps", "p50_us", "p99_us")
    figures = {"puts_a_second": round(len(took) / sum(took), 1), "put_ms": {"p50": ms(took, .5), "p99": ms(took, .99)},
               "found_after_ms": {"p50": ms(found, .5), "p99": ms(found, .99), "most": ms(found, 1)},
               "files": {"after the last put": at_once, "at rest": left},
               "grown": {m: round(statistics.median(g[m] for g, _ in rounds), 1) for m in measure},
               "once": {m: round(statistics.median(w[m] for _, w in rounds), 1) for m in measure},
               "time_of_a_query_ratio": round(statistics.median(w["qps"] / g["qps"] for g, w in rounds), 2)}
    finish(o.out, "an index grown by single puts, beside one ingest of the same rows; a put to being found",
           "a query takes at most 1.3x the time; a put is found within 2 s", figures["time_of_a_query_ratio"] <= 1.3 and figures["found_after_ms"]["most"] <= 2000, figures)


main()
