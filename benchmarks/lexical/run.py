#!/usr/bin/env python3
"""Lexical search beside pip's bm25s: what it finds, how fast it answers, how long its postings take.

    python3 benchmarks/lexical/run.py BUILD --beir FOLDER [--wordnet FOLDER] --python VENV/bin/python [--rounds 3] [--out FILE]

BUILD is a release build; VENV has bm25s and PyStemmer. Quality is measured on a BEIR folder with judgements, by cairn's own `eval
run`: bm25s's ranking goes through `eval score`. Speed is measured on WordNet's glosses (Debian's wordnet-base, /usr/share/wordnet),
117,659 short texts, asked for by every n-th gloss's first words: cairn through its whole path (permissions, the answer with its
texts, one call a question), bm25s by retrieve() on one thread, both k 10. Rounds of the two are interleaved.
"""
import argparse, json, os, statistics, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from peer import Cairn, peer
from result import finish


def quality(o, cairn, folder):
    cairn.fill("judged", o.beir)
    ours = cairn.json("eval", "run", "acme/judged", "--beir", o.beir)["metrics"]
    peer(o.python, o.beir, "-", 1000, folder + "/peer.run")
    theirs = cairn.json("eval", "score", folder + "/peer.run", "--qrels", o.beir + "/qrels/test.tsv")["metrics"]
    return {"cairn": ours, "bm25s": theirs}


def glosses(source, folder):
    n = 0
    os.makedirs(folder)
    with open(folder + "/corpus.jsonl", "w") as corpus, open(folder + "/asked.txt", "w") as asked:
        for part in ("noun", "verb", "adj", "adv"):
            for line in open(f"{source}/data.{part}"):
                if line.startswith("  ") or " | " not in line:
                    continue
                head, text = line.strip().split(" | ", 1)
                corpus.write(json.dumps({"_id": f"{part}{n}", "title": head.split()[4].replace("_", " "), "text": text}) + "\n")
                if n % 100 == 7:
                    asked.write(" ".join(text.replace(";", " ").split()[:8]) + "\n")
                n += 1
    return n


def speed(o, cairn, folder):
    rows = glosses(o.wordnet, folder + "/glosses")
    spent, rounds = cairn.fill("glosses", folder + "/glosses"), []
    for _ in range(o.rounds):
        ours = cairn.json("bench", "acme/glosses", "--queries", folder + "/glosses/asked.txt", "-k", "10", "--mode", "lexical")
        theirs = peer(o.python, folder + "/glosses", folder + "/glosses/asked.txt", 10, folder + "/glosses/peer.run")
        rounds.append({"cairn": {x: ours[x] for x in ("qps", "p50_us", "p99_us")}, "bm25s": theirs})
    ratio = statistics.median(r["cairn"]["qps"] / r["bm25s"]["qps"] for r in rounds)
    return {"rows": rows, "questions": ours["queries"], "rounds": rounds, "times_the_peer": round(ratio, 2), "ingest_s": round(spent, 2),
            "postings_bytes": cairn.bytes(".postings.mdb")}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("--beir", required=True), p.add_argument("--wordnet"), p.add_argument("--python", required=True)
    p.add_argument("--rounds", type=int, default=3), p.add_argument("--out")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-lexical-") as folder:
        cairn = Cairn(os.path.abspath(o.build), folder)
        found = quality(o, cairn, folder)
        fast = speed(o, cairn, folder) if o.wordnet else None
    ours, theirs = found["cairn"], found["bm25s"]
    finish(o.out, "mode lexical beside bm25s: quality on judged questions, answers a second on WordNet's glosses, one thread",
           "nDCG@10 and R@100 no worse than bm25s by more than .005; as many answers a second",
           all(ours[m] >= theirs[m] - .005 for m in ("nDCG@10", "R@100")) and (not fast or fast["times_the_peer"] >= 1), {"quality": found, "speed": fast})


main()
