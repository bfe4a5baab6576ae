#!/usr/bin/env python3
"""How good answers are, on sets that no constant was chosen on: modes beside bm25s, and chunkers beside each other.

    python3 benchmarks/quality/run.py modes BUILD MODEL --debs DEBS [--beir FOLDER ...] --python VENV/bin/python [--out FILE]
    python3 benchmarks/quality/run.py chunkers BUILD MODEL --debs DEBS [--only SET,...] [--out FILE]

BUILD is a release build, MODEL a sentence-transformers folder, DEBS as sets.py says, VENV has bm25s and PyStemmer. All measures are
trec_eval's, through `cairn eval`. "reference" is what a user of sentence-transformers gets: each document whole, after its title, cut
at the model's limit, one vector in single precision, exact search by numpy. Needs pip's numpy.
"""
import argparse, datetime, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lexical"), os.path.join(HERE, "../../tests/ingest")]
import numpy as np
import sets
from peer import Cairn, peer
from result import finish

SHOWN = ("nDCG@10", "RR@10", "R@10", "R@100")
CHUNKERS = ["fixed tokens=128 overlap=0", "fixed tokens=128 overlap=13", "fixed tokens=128 overlap=26", "structure tokens=128 overlap=0", "structure tokens=128 overlap=26",
            "structure tokens=200 overlap=0", "structure tokens=200 overlap=20", "structure tokens=200 overlap=40", "structure", "document"]


def folders(o, work):
    sets.build(o.debs, work + "/sets")
    found = {**{name: f"{work}/sets/{name}" for name in ("perlfaq", "manpages")}, **{os.path.basename(os.path.normpath(b)): b for b in o.beir}}
    return {name: folder for name, folder in found.items() if not o.only or name in o.only.split(",")}


def measures(cairn, index, folder, *options):
    m = cairn.json("eval", "run", "acme/" + index, "--beir", folder, *options)["metrics"]
    return {x: round(m[x], 4) for x in SHOWN}


def embedded(cairn, texts, path, *options):
    lines = "".join((" ".join(t.split()) or ".") + "\n" for t in texts)
    subprocess.run([cairn.program, "embed", "model", "--precision", "fp32", "--out", path, *options], input=lines, text=True, check=True, capture_output=True,
                   env={**os.environ, "CAIRN_DATA": cairn.data})
    return np.load(path)


def reference(cairn, folder, work):
    with open(folder + "/corpus.jsonl") as f:
        docs = [json.loads(line) for line in f]
    with open(folder + "/queries.jsonl") as f:
        asked = [json.loads(line) for line in f]
    rows = embedded(cairn, [d.get("title", "") + " " + d["text"] for d in docs], work + "/docs.npy")
    scores = embedded(cairn, [q["text"] for q in asked], work + "/asked.npy", "--query") @ rows.T
    with open(work + "/reference.run", "w") as f:
        for q, s in zip(asked, scores):
            f.writelines(f"{q['_id']} Q0 {docs[j]['_id']} {rank} {s[j]:.9g} reference\n" for rank, j in enumerate(np.argsort(-s)[:1000], 1))
    m = cairn.json("eval", "score", work + "/reference.run", "--qrels", folder + "/qrels/test.tsv")["metrics"]
    return {x: round(m[x], 4) for x in SHOWN}


def modes(o, cairn, work):
    figures = {}
    for name, folder in folders(o, work).items():
        cairn.fill(name, folder, "--embedder", "model")
        got = {mode: measures(cairn, name, folder, "--mode", mode) for mode in ("lexical", "dense", "hybrid")}
        got["reference"] = reference(cairn, folder, work)
        peer(o.python, folder, "-", 1000, work + "/peer.run")
        m = cairn.json("eval", "score", work + "/peer.run", "--qrels", folder + "/qrels/test.tsv")["metrics"]
        got["bm25s"] = {x: round(m[x], 4) for x in SHOWN}
        figures[name] = got
        print(name, json.dumps(got), file=sys.stderr, flush=True)
    return figures


def modes_reached(figures):
    at = lambda f, mode: f[mode]["nDCG@10"]
    return all(at(f, "lexical") >= at(f, "bm25s") - .005 and at(f, "dense") >= at(f, "reference") and at(f, "hybrid") >= max(at(f, "lexical"), at(f, "dense")) for f in figures.values())


def chunkers(o, cairn, work):
    figures = {}
    for name, folder in folders(o, work).items():
        figures[name] = {}
        for n, chunker in enumerate(CHUNKERS):
            index = f"{name}-{n}"
            cairn.fill(index, folder, "--embedder", "model", "--chunker", chunker)
            chunks = cairn.json("versions", "acme/" + index)["versions"][0]["chunks"]
            figures[name][chunker] = {"chunks": chunks, **{mode: measures(cairn, index, folder, "--mode", mode) for mode in ("dense", "lexical", "hybrid")}}
            print(name, chunker, json.dumps(figures[name][chunker]), file=sys.stderr, flush=True)
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("modes", "chunkers")), p.add_argument("build"), p.add_argument("model"), p.add_argument("--debs", required=True)
    p.add_argument("--beir", action="append", default=[]), p.add_argument("--python"), p.add_argument("--only", help="these sets alone"), p.add_argument("--out")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-quality-") as work:
        cairn = Cairn(os.path.abspath(o.build), work)
        cairn.run("model", "add", "model", o.model)
        figures = modes(o, cairn, work) if o.what == "modes" else chunkers(o, cairn, work)
    bar = "lexical at least bm25s (within .005), dense at least the reference, hybrid above both parts" if o.what == "modes" else None
    what = "nDCG@10, RR@10, R@10 and R@100 " + ("of each mode beside bm25s and whole documents" if o.what == "modes" else "by chunker")
    finish(o.out, what, bar, o.what == "chunkers" or modes_reached(figures), figures)


main()
