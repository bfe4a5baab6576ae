#!/usr/bin/env python3
"""Compares token ids (and places) with pip's `tokenizers` on many texts.

    check_ids.py PROBE MODEL_FOLDER [--texts N] [--wordnet FOLDER] [--file TEXT_FILE]... [--seed S] [--out FILE.json]
PROBE is the built embed_probe. WordNet's folder (Debian's wordnet-base: /usr/share/wordnet) gives dictionary entries and
glosses, a file one text a line; the rest is generated.
"""
import argparse, collections, glob, random, struct, subprocess, tempfile
import tokenizers
from tokenizers import Tokenizer
from result import finish

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


KINDS = ["other scripts", "any code points", "control characters", "words about the limit of 100 characters", "very long words", "marks on marks",
         "special tokens", "emoji and joiners", "titles and signs", "capitals and joining signs", "marks alone", "words of the vocabulary"]


def generated(r, words, kind):
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


def wordnet(folder):
    """(entries "word, word: gloss", glosses)"""
    entries, glosses = [], []
    for path in sorted(glob.glob(folder + "/data.*")):
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.startswith(" "):
                    continue
                head, gloss = line.rstrip().split(" | ", 1)
                fields = head.split()
                names = [n.replace("_", " ") for n in fields[4:4 + 2 * int(fields[3], 16):2]]
                entries.append(", ".join(names) + ": " + gloss)
                glosses.append(gloss)
    return entries, glosses


def choose(o, r, model):
    """[(kind, text)]"""
    with open(model + "/vocab.txt", encoding="utf-8") as f:
        words = [w.strip() for w in f if not w.startswith(("##", "["))]
    out, share = [], o.texts // 4
    if o.wordnet:
        entries, glosses = wordnet(o.wordnet)
        out += [("dictionary entries", t) for t in r.sample(entries, min(len(entries), share // 2))]
        out += [("glosses", t) for t in r.sample(glosses, min(len(glosses), share))]
    for path in o.file:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = [l.rstrip("\n") for l in f if l.strip()]
        out += [("lines of files", t) for t in r.sample(lines, min(len(lines), share // len(o.file)))]
    codes = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000]
    out += [("each code point between letters", chr(c) + "a" + chr(c)) for c in codes[::max(1, 4 * len(codes) // o.texts)]]
    while len(out) < o.texts:
        kind = r.randrange(len(KINDS))
        out.append((KINDS[kind], generated(r, words, kind)))
    return out


def compare(texts, theirs, out):
    """Counts of texts with other ids and with other places; tokens; whether the probe's answer was read to its end."""
    at = wrong = moved = tokens = 0
    for text, want in zip(texts, theirs):
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
        moved += list(zip(flat[1::3], flat[2::3])) != [(place[a], place[b]) for a, b in want.offsets]
    return wrong, moved, tokens, at == len(out)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("probe"), p.add_argument("model")
    p.add_argument("--texts", type=int, default=5000), p.add_argument("--file", action="append", default=[])
    p.add_argument("--wordnet"), p.add_argument("--seed", type=int, default=4), p.add_argument("--out")
    o = p.parse_args()
    chosen = choose(o, random.Random(o.seed), o.model)
    texts = [t for _, t in chosen]
    tok = Tokenizer.from_file(o.model + "/tokenizer.json")
    tok.no_truncation(), tok.no_padding()
    with tempfile.TemporaryDirectory() as data:
        subprocess.run([o.probe, "add", data, "m", o.model], check=True)
        out = probe(o.probe, "ids", data, texts)
    wrong, moved, tokens, whole = compare(texts, tok.encode_batch(texts, add_special_tokens=False), out)
    finish(o.out, "token ids against pip's tokenizers", "all equal", wrong == 0 and whole,
           {"texts": len(texts), "tokens": tokens, "texts_with_other_ids": wrong, "texts_with_other_places": moved,
            "kinds": dict(collections.Counter(k for k, _ in chosen).most_common()), "tokenizers": tokenizers.__version__})


main()
