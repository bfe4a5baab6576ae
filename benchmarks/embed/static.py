#!/usr/bin/env python3
"""A static model, distilled from a BERT-class one: how long that takes, what the result finds, and how fast it embeds.

    python3 benchmarks/embed/static.py BUILD MODEL_FOLDER --debs FOLDER --beir FOLDER [--rounds N] [--passages N] [--data FOLDER] [--out FILE]

BUILD is a release build. The texts to fit to are those of Debian packages that lie in --debs, got by
    apt-get download dict-gcide dict-foldoc wordnet-base python3.11-doc debian-policy manpages manpages-dev fortunes
and none of --beir's. Distilling has two threads; its time is the wall's and, for a host that does other things too, the
processors' over two. nDCG@10 is over --beir's test questions, of the teacher (in int8, as it taught) and of the static model in the
same run, exact search over whole documents. Speed is of passages of 100 words from those texts, one thread, CPU time: cutting into pieces and
summing rows. With --data the model and what was measured of its making stay there, and are taken from there the next time.
Needs pip's numpy.
"""
import os
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"
import argparse, glob, gzip, json, math, re, resource, shutil, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/ingest"))
import numpy as np
from result import finish

PACKAGES = ["dict-gcide", "dict-foldoc", "wordnet-base", "python3.11-doc", "debian-policy", "manpages", "manpages-dev", "fortunes"]
WORDS = 100


def manual(text):
    """A manual page's own words, without what sets it."""
    text = re.sub(r"^[.'](?!SH|SS|PP|TP|IP|P\b|LP|BR|IR|RB|RI|B|I).*$", "", text, flags=re.M)
    text = re.sub(r"^\.(SH|SS|PP|TP|IP|P|LP)\b ?", "\n", text, flags=re.M)
    text = re.sub(r"^\.(BR|IR|RB|RI|B|I) ", "", text, flags=re.M)
    return re.sub(r"\\f.|\\\(..|\\[&^|]", "", text).replace("\\-", "-")


def glosses(text):
    """WordNet's data files: the words of each meaning and what is said of it."""
    for line in text.splitlines():
        if line.startswith("  ") or "|" not in line:
            continue
        head, gloss = line.split("|", 1)
        f = head.split()
        yield ", ".join(f[4 + 2 * i].replace("_", " ") for i in range(int(f[3], 16))) + ": " + gloss.strip()


def texts(debs, out):
    for package in PACKAGES:
        found = sorted(glob.glob(os.path.join(debs, package + "_*.deb")))
        if not found:
            sys.exit(f"{package} is not in {debs}; apt-get download {' '.join(PACKAGES)}")
        with tempfile.TemporaryDirectory() as tmp:
            subprocess.run(["dpkg-deb", "-x", found[-1], tmp], check=True)
            for folder, _, names in os.walk(tmp):
                for name in sorted(names):
                    path, to = os.path.join(folder, name), os.path.join(out, package + "-" + name)
                    if os.path.islink(path) or "_sources" in folder or "genindex" in name:
                        continue
                    if name.endswith(".html"):
                        shutil.copy(path, f"{out}/{len(os.listdir(out))}-{name}")
                        continue
                    if name.endswith(".dict.dz"):
                        text = gzip.open(path, "rt", errors="replace").read()
                        text = re.sub(r"\[(1913 Webster|PJC|WordNet 1\.5)[^\]]*\]", "", re.sub(r"\n(?=\S)", "\n\n", text))
                    elif name.startswith("data.") and "/wordnet" in folder:
                        text = "\n\n".join(glosses(open(path, errors="replace").read()))
                    elif "/man/man" in folder and name.endswith(".gz"):
                        text = manual(gzip.open(path, "rt", errors="replace").read())
                    elif "/games/fortunes" in folder and not name.endswith((".dat", ".u8")):
                        text = open(path, errors="replace").read().replace("\n%\n", "\n\n")
                    else:
                        continue
                    with open(to + ".txt", "w") as f:
                        f.write(text)


def vectors(probe, data, name, precision, texts):
    raw = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    out = subprocess.run([probe, "vectors", data, name, "64", "2", precision], input=raw, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, np.float32).reshape(len(texts), -1)


def ndcg(run, wanted):
    """Any grade above 0 is relevant."""
    best = sum(1 / math.log2(i + 2) for i in range(min(10, len(wanted))))
    return sum(1 / math.log2(i + 2) for i, d in enumerate(run[:10]) if d in wanted) / best


def quality(probe, data, folder, name, precision):
    rows = lambda f: [json.loads(line) for line in open(os.path.join(folder, f))]
    corpus, questions, wanted = rows("corpus.jsonl"), rows("queries.jsonl"), {}
    for line in list(open(glob.glob(folder + "/qrels/*.tsv")[0]))[1:]:
        q, doc, grade = line.split()
        if int(grade) > 0:
            wanted.setdefault(q, set()).add(doc)
    questions = [q for q in questions if q["_id"] in wanted]
    d = vectors(probe, data, name, precision, [(c.get("title", "") + "\n" + c["text"]).strip() or "." for c in corpus])
    q = vectors(probe, data, name, precision, [x["text"] for x in questions])
    order = np.argsort(-(q @ d.T), axis=1, kind="stable")[:, :10]
    return float(np.mean([ndcg([corpus[i]["_id"] for i in o], wanted[x["_id"]]) for o, x in zip(order, questions)]))


def passages(folder):
    """Some thousand passages of so many words, evenly from all texts but HTML."""
    found = []
    for path in sorted(glob.glob(folder + "/*.txt")):
        words = open(path).read().split()
        step = max(WORDS, len(words) // 400 // WORDS * WORDS)
        found += [" ".join(words[i:i + WORDS]) for i in range(0, len(words) - WORDS, step)]
    return found[::max(1, len(found) // 4096)][:4096]


def make(cairn, data, model, folder, most):
    """The teacher and what is made from it, unless they are there."""
    kept = os.path.join(data, "distilled.json")
    if os.path.exists(kept):
        return json.load(open(kept))
    run = lambda *words: subprocess.run([cairn, "--data", data, *words], check=True, stdout=subprocess.PIPE).stdout
    run("init")
    run("model", "add", "teacher", model)
    wall, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(run("model", "distill", "fast", "--from", "teacher", "--texts", folder, "--threads", "2", "-o", "json", *(["--passages", str(most)] if most else [])))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    got = {"distill_s": round(time.time() - wall), "distill_cpu_s_over_two": round(cpu / 2), "distilled": told}
    json.dump(got, open(kept, "w"))
    return got


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("model"), p.add_argument("--debs", required=True), p.add_argument("--beir", required=True)
    p.add_argument("--rounds", type=int, default=9), p.add_argument("--passages", type=int, default=0), p.add_argument("--data"), p.add_argument("--out")
    o = p.parse_args()
    probe, cairn, bench = (os.path.join(o.build, x) for x in ("tests/ingest/embed_probe", "tools/cairn", "benchmarks/embed/embed_bench"))
    with tempfile.TemporaryDirectory() as tmp:
        data, from_texts = o.data or os.path.join(tmp, "data"), os.path.join(tmp, "texts")
        os.mkdir(from_texts)
        texts(o.debs, from_texts)
        made = make(cairn, data, o.model, from_texts, o.passages)
        found = {"fast": quality(probe, data, o.beir, "fast", "fp32"), "teacher": quality(probe, data, o.beir, "teacher", "int8")}
        chunks = passages(from_texts)
        for name, lines in (("chunks", chunks), ("text", chunks)):
            open(os.path.join(tmp, name), "w").write("\n".join(lines))
        run = subprocess.Popen([bench, data, "fast", tmp + "/chunks", tmp + "/text"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ask = lambda w: (run.stdin.write(w + "\n"), run.stdin.flush(), json.loads(run.stdout.readline()))[2]
        ask("embed")  # to warm up
        rounds = [ask("embed")["chunks_per_s"] for _ in range(o.rounds)]
        cut = [ask("tokens")["mb_per_s"] for _ in range(o.rounds)]
        run.stdin.close()
        run.wait()
    share, speed = found["fast"] / found["teacher"], statistics.median(rounds)
    finish(o.out, "a static model distilled from MiniLM: time, nDCG@10 beside its teacher's, passages of 100 words a second on one core",
           "30,000 passages a second and core; 69% of the teacher's nDCG@10; distilled within 600 s on two cores",
           speed >= 30000 and share >= .69 and made["distill_cpu_s_over_two"] <= 600, {
               "passages_per_s": round(speed), "bytes_a_passage": round(statistics.mean(len(c.encode()) for c in chunks)), "tokenize_mb_per_s": round(statistics.median(cut), 1),
               **made,
               "ndcg10_teacher": round(found["teacher"], 4), "ndcg10_static": round(found["fast"], 4), "share": round(share, 3),
               "texts": PACKAGES, "rounds": [round(x) for x in rounds]})


main()
