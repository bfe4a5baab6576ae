#!/usr/bin/env python3
"""Compares vectors with a plain numpy forward pass, and their bytes between batches, orders and threads.

    check_vectors.py PROBE MODEL_FOLDER [--texts N] [--out FILE.json]
The texts have 1 to 256 tokens, [CLS] and [SEP] not counted below 254; longer ones are cut by both.
"""
import argparse, os, random, struct, subprocess, tempfile
import numpy as np
from tokenizers import Tokenizer
from bert_numpy import Model
from result import finish

BATCHES = ((1, 1), (7, 2), (1000, 3))


def vectors(probe, data, texts, batch, threads, dim, isa=""):
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    out = subprocess.run([probe, "vectors", data, "m", str(batch), str(threads)], input=raw, stdout=subprocess.PIPE, check=True,
                         env=dict(os.environ, **({"CAIRN_ISA": isa} if isa else {}))).stdout
    return np.frombuffer(out, np.float32).reshape(len(texts), dim)


def other_bytes(o, r, data, texts, ours):
    """How many vectors had other bytes in another order, batch or number of threads."""
    order, other = list(range(len(texts))), 0
    r.shuffle(order)
    for batch, threads in BATCHES:
        again = vectors(o.probe, data, [texts[i] for i in order], batch, threads, ours.shape[1])
        other += sum(again[k].tobytes() != ours[i].tobytes() for k, i in enumerate(order))
    return other


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("probe"), p.add_argument("model"), p.add_argument("--texts", type=int, default=60), p.add_argument("--out")
    o = p.parse_args()
    r = random.Random(7)
    m = Model(o.model)
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_padding(), tok.enable_truncation(256)
    with open(o.model + "/vocab.txt", encoding="utf-8") as f:
        words = [w.strip() for w in f if w.strip().isalpha()]
    texts = [" ".join(r.choice(words) for _ in range(1 + i * 256 // o.texts)) for i in range(o.texts)]
    with tempfile.TemporaryDirectory() as data:
        subprocess.run([o.probe, "add", data, "m", o.model], check=True)
        dim = m.config["hidden_size"]
        ours = vectors(o.probe, data, texts, 32, 1, dim)
        other = other_bytes(o, r, data, texts, ours)
        some = list(range(0, len(texts), 5))
        sets = {isa: vectors(o.probe, data, [texts[i] for i in some], 32, 2, dim, isa) for isa in ("avx2", "scalar")}
    encoded = tok.encode_batch(texts)
    theirs = np.array([m.vector(e.ids) for e in encoded])
    cos = {"": cosines(ours, theirs), **{isa: cosines(v, theirs[some]) for isa, v in sets.items()}}
    least = min(float(c.min()) for c in cos.values())
    finish(o.out, "fp32 vectors against a numpy forward pass; bytes in other orders, batches and threads",
           "cosine of every one at least .99999; bytes independent of batch and threads", least >= .99999 and other == 0,
           {"texts": len(texts), "tokens": [min(len(e.ids) for e in encoded), max(len(e.ids) for e in encoded)],
            "least_cosine": float(cos[""].min()), "largest_difference": float(np.abs(ours - theirs).max()),
            "vectors_with_other_bytes": other, "batches_and_threads": BATCHES,
            "of_which_with_other_arithmetic": len(some), "least_cosine_avx2": float(cos["avx2"].min()), "least_cosine_openblas": float(cos["scalar"].min()),
            "avx2_same_bytes": bool((sets["avx2"] == ours[some]).all()), "numpy": np.__version__})


main()
