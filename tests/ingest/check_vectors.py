#!/usr/bin/env python3
"""Compares vectors with a plain numpy forward pass, and their bytes between batches, orders and threads.

    check_vectors.py PROBE MODEL_FOLDER [--texts N]
"""
import argparse, random, struct, subprocess, sys, tempfile
import numpy as np
from tokenizers import Tokenizer
from bert_numpy import Model


def vectors(probe, data, texts, batch, threads, dim):
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    out = subprocess.run([probe, "vectors", data, "m", str(batch), str(threads)], input=raw, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, np.float32).reshape(len(texts), dim)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("probe"), p.add_argument("model"), p.add_argument("--texts", type=int, default=60)
    o = p.parse_args()
    r = random.Random(7)
    m = Model(o.model)
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_padding(), tok.enable_truncation(256)
    words = [w.strip() for w in open(o.model + "/vocab.txt", encoding="utf-8") if w.strip().isalpha()]
    texts = [" ".join(r.choice(words) for _ in range(i * 270 // o.texts)) for i in range(o.texts)]
    with tempfile.TemporaryDirectory() as data:
        subprocess.run([o.probe, "add", data, "m", o.model], check=True)
        ours = vectors(o.probe, data, texts, 32, 1, m.config["hidden_size"])
        order = list(range(o.texts))
        r.shuffle(order)
        for batch, threads in ((1, 1), (7, 2), (64, 2)):
            again = vectors(o.probe, data, [texts[i] for i in order], batch, threads, ours.shape[1])
            if any(again[k].tobytes() != ours[i].tobytes() for k, i in enumerate(order)):
                sys.exit("other bytes at batch %d, threads %d" % (batch, threads))
    encoded = tok.encode_batch(texts)
    theirs = np.array([m.vector(e.ids) for e in encoded])
    cos = (ours.astype(np.float64) * theirs).sum(1) / np.linalg.norm(ours.astype(np.float64), axis=1) / np.linalg.norm(theirs.astype(np.float64), axis=1)
    print("%d texts of %d to %d tokens: least cosine %.9f, largest difference %.2e; same bytes in every batch, order and thread" %
          (len(texts), min(len(e.ids) for e in encoded), max(len(e.ids) for e in encoded), cos.min(), np.abs(ours - theirs).max()))
    sys.exit(0 if cos.min() >= .99999 else 1)


main()
