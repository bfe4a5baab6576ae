#!/usr/bin/env python3
"""Compares token ids (and places) with pip's `tokenizers` on many texts.

    check_ids.py PROBE MODEL_FOLDER [--texts N] [--file TEXT_FILE]... [--seed S]
PROBE is the built embed_probe. Without --file only generated texts are used; a file gives one text a line.
"""
import argparse, random, struct, subprocess, sys, tempfile
from tokenizers import Tokenizer

PLANES = [(0x20, 0x7f), (0x80, 0x250), (0x250, 0x400), (0x400, 0x530), (0x530, 0x700), (0x700, 0x1100), (0x1100, 0x1400),
          (0x1e00, 0x2000), (0x2000, 0x2c00), (0x3000, 0x3400), (0x4e00, 0xa000), (0xa000, 0xac00), (0xac00, 0xd7a4),
          (0xf900, 0x10000), (0x10000, 0x11000), (0x11000, 0x12000), (0x1d100, 0x1d800), (0x1f000, 0x1fb00), (0x20000, 0x2a6e0), (0xe0000, 0xe01f0)]
COMBINING = list(range(0x300, 0x370)) + list(range(0x483, 0x488)) + list(range(0x591, 0x5c8)) + list(range(0x64b, 0x660)) + \
    list(range(0x1dc0, 0x1e00)) + [0x302e, 0x302f, 0x1b44, 0xa953, 0x1d165, 0x1d16d, 0x1d170, 0x20dd, 0x8d4, 0x345]
SPECIAL = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]", "[cls]", "[CLS", "CLS]", "[[SEP]]", "##ing", "[unused1]"]


def chars(r, n):
    out = []
    while len(out) < n:
        lo, hi = r.choice(PLANES)
        out += [chr(r.randrange(lo, hi)) for _ in range(r.randrange(1, 8))]
        if r.random() < .4:
            out.append(r.choice(" \t\n"))
    return "".join(c for c in out if not 0xd800 <= ord(c) < 0xe000)


def generated(r, words):
    kind = r.randrange(12)
    some = lambda n: " ".join(r.choice(words) for _ in range(n))
    if kind == 0:
        return chars(r, r.randrange(1, 60))
    if kind == 1:  # anything at all
        return "".join(chr(c) for c in (r.randrange(0x110000) for _ in range(r.randrange(40))) if not 0xd800 <= c < 0xe000)
    if kind == 2:  # control characters
        return "".join(r.choice(some(3)) + chr(r.randrange(0xa1)) for _ in range(r.randrange(1, 30)))
    if kind == 3:  # words about the limit of 100 characters
        return "".join(r.choice("abcdeéßñçİǅあ漢") for _ in range(r.randrange(90, 110))) + " " + some(2)
    if kind == 4:
        return r.choice(words) * r.randrange(1, 3000)
    if kind == 5:  # marks on marks
        return "".join(r.choice("aeE漢한कกu1. ") + "".join(chr(r.choice(COMBINING)) for _ in range(r.randrange(6))) for _ in range(r.randrange(1, 30)))
    if kind == 6:
        return r.choice(["", " "]).join(r.choice([r.choice(SPECIAL), some(1), " ", "é"]) for _ in range(r.randrange(1, 12)))
    if kind == 7:  # emoji and joiners
        return "".join(r.choice(["\U0001f468", "\u200d", "\U0001f469", "\ufe0f", "\U0001f3fd", " ", "ok", "\U0001f1e9", "#️⃣", "™"]) for _ in range(r.randrange(1, 20)))
    if kind == 8:
        return some(r.randrange(1, 20)).title() + r.choice("!?.,;:-_'\"()[]{}<>@#$%^&*+=|\\/~`") * r.randrange(4)
    if kind == 9:
        return "".join(w.upper() + r.choice(" -_/.’“”—…€№ﬁ½²") for w in some(r.randrange(1, 10)).split())
    if kind == 10:
        return "".join(chr(r.choice(COMBINING)) for _ in range(r.randrange(1, 300)))
    return some(r.randrange(1, 200))


def probe(path, mode, data, texts):
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    return subprocess.run([path, mode, data, "m"], input=raw, stdout=subprocess.PIPE, check=True).stdout


def main():
    p = argparse.ArgumentParser()
    p.add_argument("probe"), p.add_argument("model")
    p.add_argument("--texts", type=int, default=5000), p.add_argument("--file", action="append", default=[])
    p.add_argument("--seed", type=int, default=4)
    o = p.parse_args()
    r = random.Random(o.seed)
    words = [w.strip() for w in open(o.model + "/vocab.txt", encoding="utf-8") if not w.startswith(("##", "["))]
    lines = [l.rstrip("\n") for f in o.file for l in open(f, encoding="utf-8", errors="replace") if l.strip()]
    texts = r.sample(lines, min(len(lines), o.texts // 2))
    texts += [chr(c) + "a" + chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000][::max(1, 4 * 0x110000 // o.texts)]
    while len(texts) < o.texts:
        texts.append(generated(r, words))
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_truncation(), tok.no_padding()
    with tempfile.TemporaryDirectory() as data:
        subprocess.run([o.probe, "add", data, "m", o.model], check=True)
        out = probe(o.probe, "ids", data, texts)
    at = wrong = moved = tokens = 0
    for text, want in zip(texts, tok.encode_batch(texts, add_special_tokens=False)):
        (n,) = struct.unpack_from("<I", out, at)
        flat = struct.unpack_from("<%dI" % (3 * n), out, at + 4)
        at += 4 + 12 * n
        tokens += n
        if list(flat[::3]) != want.ids:
            wrong += 1
            if wrong <= 5:
                print("DIFFERENT: %r\n  ours   %s\n  theirs %s" % (text[:200], list(flat[::3])[:40], want.ids[:40]))
            continue
        place = [0]
        for c in text:
            place.append(place[-1] + len(c.encode()))
        ours = list(zip(flat[1::3], flat[2::3]))
        theirs = [(place[a], place[b]) for a, b in want.offsets]
        if ours != theirs:
            moved += 1
            if moved <= 3:
                print("other places: %r\n  ours   %s\n  theirs %s" % (text[:80], ours[:12], theirs[:12]))
    print("%d texts, %d tokens: %d with other ids, %d with other places" % (len(texts), tokens, wrong, moved))
    sys.exit(1 if wrong or at != len(out) else 0)


main()
