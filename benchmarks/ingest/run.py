#!/usr/bin/env python3
"""The bars of `cairn ingest`, each written as JSON under benchmarks/results.

    python3 benchmarks/ingest/run.py vectors BUILD      rows of ready vectors (.npy), MB/s from start to sealed
    python3 benchmarks/ingest/run.py again BUILD        100,000 documents again: unchanged; only labels changed
    python3 benchmarks/ingest/run.py memory BUILD       1 GB of JSON Lines: peak of anonymous resident memory
    python3 benchmarks/ingest/run.py overhead BUILD --model FOLDER [--texts FILE.jsonl] [--html DIR] [--pdf DIR]
                                                        all that is not embedding, as a share of embedding
    python3 benchmarks/ingest/run.py all BUILD --model FOLDER ...
BUILD is a release build. Needs nothing but Python. Data is made under --work (a disk, not a tmpfs) and removed.
"""
import argparse, glob, json, os, random, resource, shutil, struct, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/ingest"))
from result import write

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "../results")
WORDS = "time person year way day thing man world life hand part child eye woman place work week case point government company number group problem fact".split()


class Cairn:
    """A data directory of its own with tenant t."""
    def __init__(self, o):
        self.bin = os.path.join(o.build, "tools/cairn")
        self.dir = tempfile.mkdtemp(prefix="cairn-bench-", dir=o.work)
        self.env = {**os.environ, "CAIRN_DATA": os.path.join(self.dir, "data")}
        self.run("init"), self.run("tenant", "add", "t")

    def run(self, *args):
        p = subprocess.run([self.bin, *args], env=self.env, capture_output=True, text=True)
        if p.returncode:
            sys.exit(f"cairn {' '.join(args)}: {p.returncode}\n{p.stdout}{p.stderr}")
        return p.stdout

    def index(self, name, *options):
        self.run("index", "create", "t/" + name, *options)

    def ingest(self, name, *args):
        """The command's own map, with the wall time and the CPU time of the whole command."""
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        r = json.loads(self.run("ingest", "t/" + name, *args, "-o", "json"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        r["wall_s"] = time.monotonic() - start
        r["cpu_s"] = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return r

    def close(self):
        shutil.rmtree(self.dir)


def report(o, name, what, bar, reached, figures):
    write(os.path.join(o.out or RESULTS, f"ingest-{name}.json"), what, bar, reached, figures)


# ---------- vectors ----------
def write_npy(path, rows, dim):
    """Numbers between 2^-3 and 2^-1 in size, of either sign: random bytes with the exponent's byte put right."""
    table = bytes(0x3e | x & 0x80 for x in range(256))
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    head += " " * (117 - len(head)) + "\n"
    source = random.Random(1)
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        for at in range(0, rows, 4096):
            b = bytearray(source.randbytes(min(4096, rows - at) * dim * 4))
            b[3::4] = b[3::4].translate(table)
            f.write(b)


def touch_memory(path, size):
    """A file of this size, written and removed: in a virtual machine the first touch of memory is its host's work, and slow."""
    with open(path, "wb") as f:
        for _ in range(size >> 20):
            f.write(bytes(1 << 20))
    os.unlink(path)


def vectors(o):
    figures = []
    for rows, dim in ((200000, 384), (400000, 384), (100000, 768)):
        path = os.path.join(o.work, f"cairn-{rows}x{dim}.npy")
        write_npy(path, rows, dim)
        size, seen = os.path.getsize(path), []
        for _ in range(o.rounds):
            c = Cairn(o)
            c.index("v", "--embedder", "none")
            touch_memory(path + ".touch", 2 * size)
            os.sync() # nothing of what was made before is still to be written
            seen.append(c.ingest("v", path, "--label", "public"))
            c.close()
        os.unlink(path)
        best = sorted(seen, key=lambda r: r["wall_s"])
        mid = best[len(best) // 2]
        figures.append({"rows": rows, "dim": dim, "mb_per_s": round(size / 1e6 / mid["wall_s"], 1), "mb_per_s_all": [round(size / 1e6 / r["wall_s"], 1) for r in seen],
                        "cpu_s": round(mid["cpu_s"], 2), "cpu_ms": mid["cpu_ms"]})
    report(o, "vectors", "rows of ready vectors from .npy to a sealed version, codes for search included; median of the rounds", "150 MB/s", all(f["mb_per_s"] >= 150 for f in figures), figures)


# ---------- again ----------
def again(o):
    c = Cairn(o)
    model = os.path.join(c.dir, "model")
    os.mkdir(model)
    subprocess.run([os.path.join(o.build, "tests/system/make_model"), model], check=True)
    c.run("model", "add", "tiny", model)
    figures = []
    for kind, options in (("embedded", ["--embedder", "tiny", "--chunker", "structure tokens=30 overlap=0"]), ("vectors", ["--embedder", "none"])):
        def rows(name, label):
            path, r = os.path.join(c.dir, name), random.Random(1)
            with open(path, "w") as f:
                for i in range(o.documents):
                    row = {"id": f"doc-{i}", "text": " ".join(r.choices(WORDS, k=6)), "labels": [f"group:{label}{i % 5}"], "meta": {"n": i % 100}}
                    if kind == "vectors":
                        row["vector"] = [round(r.uniform(-1, 1), 4) for _ in range(32)]
                    f.write(json.dumps(row) + "\n")
            return path
        c.index(kind, *options)
        first = c.ingest(kind, rows("a.jsonl", "x"))
        same = [c.ingest(kind, os.path.join(c.dir, "a.jsonl")) for _ in range(o.rounds)]
        labels = [c.ingest(kind, rows("b.jsonl", letter), "--max-relabelled", "1000000000") for letter in "yz"[:max(1, min(2, o.rounds))]]
        assert all(r["state"] == "unchanged" and r["chunks_embedded"] == 0 for r in same)
        assert all(r["counts"]["relabelled"] == o.documents and r["chunks_embedded"] == 0 for r in labels)
        pick = lambda all_: sorted(all_, key=lambda r: r["elapsed_ms"])[(len(all_) - 1) // 2]
        for what, r in (("first", first), ("unchanged", pick(same)), ("only labels changed", pick(labels))):
            figures.append({"documents": o.documents, "rows": kind, "job": what, "elapsed_s": r["elapsed_ms"] / 1000, "chunks_embedded": r["chunks_embedded"],
                            "cpu_ms": r["cpu_ms"], "after_reading_s": round(r["elapsed_ms"] / 1000 - r["cpu_ms"]["read"] / 1000, 2)})
    c.close()
    report(o, "again", "the same documents again, and with other labels; elapsed_s is the whole job with reading", "under 2 s for 100,000 documents after reading them, no embedding call",
           all(f["after_reading_s"] < 2 for f in figures if f["job"] != "first"), figures)


# ---------- memory ----------
def anonymous(pid):
    """kB of RssAnon of a process and all below it."""
    total = 0
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in open(f"/proc/{pid}/task/{task}/children").read().split():
                total += anonymous(child)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def peak(c, *args):
    p = subprocess.Popen([c.bin, *args], env=c.env, stdout=subprocess.PIPE, text=True)
    most = 0
    while p.poll() is None:
        most = max(most, anonymous(p.pid))
        time.sleep(.02)
    out = p.stdout.read()
    assert p.returncode == 0, out
    return most / 1024, json.loads(out)


def memory(o):
    figures = []
    for kind in ("texts", "vectors in rows", "long texts"):
        c = Cairn(o)
        path, r, n, i = os.path.join(c.dir, "rows.jsonl"), random.Random(1), 0, 0
        numbers = [f"{r.uniform(-1, 1):.7f}" for _ in range(5000)]
        with open(path, "w") as f:
            while n < o.bytes:
                row = {"id": f"doc-{i}", "title": "Of " + r.choice(WORDS), "text": " ".join(r.choices(WORDS, k=(20000 if kind == "long texts" else 120))), "labels": [f"group:g{i % 9}"], "meta": {"n": i}}
                line = json.dumps(row)
                if kind == "vectors in rows":
                    at = r.randrange(4000)
                    line = line[:-1] + ', "vector": [' + ", ".join(numbers[at:at + 384]) + "]}"
                n += f.write(line + "\n")
                i += 1
        c.index("m", "--embedder", "none")
        mib, job = peak(c, "ingest", "t/m", path, "-o", "json")
        figures.append({"rows": kind, "bytes": n, "documents": i, "peak_anonymous_mib": round(mib, 1), "elapsed_s": job["elapsed_ms"] / 1000, "cpu_ms": job["cpu_ms"]})
        c.close()
    report(o, "memory", "JSON Lines into an index without a model: peak of RssAnon of the job and its parsers, seen every 20 ms", "under 1 GiB",
           all(f["peak_anonymous_mib"] < 1024 for f in figures), figures)


# ---------- overhead ----------
def overhead(o):
    if not o.model:
        sys.exit("overhead needs --model FOLDER")
    figures = []
    for kind, place, pattern in (("texts", o.texts, None), ("html", o.html, "**/*.html"), ("pdf", o.pdf, "**/*.pdf")):
        if not place:
            continue
        c = Cairn(o)
        c.run("model", "add", "m", o.model)
        c.index("o", "--embedder", "m", "--precision", "fp32")
        if pattern:
            files = sorted(glob.glob(os.path.join(place, pattern), recursive=True))
            random.Random(1).shuffle(files)
            paths = files[:o.limit] if o.limit else files
        else:
            sample = os.path.join(c.dir, "sample.jsonl")
            lines = open(place).readlines()
            random.Random(1).shuffle(lines)
            with open(sample, "w") as f:
                f.writelines(lines[:o.limit * 20] if o.limit else lines)
            paths = [sample]
        r = c.ingest("o", *paths, "--label", "public")
        embed = r["cpu_ms"]["embed"] / 1000
        figures.append({"documents": kind, "sample": o.limit or "all", "counts": r["counts"], "embed_cpu_s": round(embed, 2), "other_cpu_s": round(r["cpu_s"] - embed, 2),
                        "share": round((r["cpu_s"] - embed) / embed, 4) if embed else None, "chunks_per_s": round(r["chunks_embedded"] / r["wall_s"], 1),
                        "cpu_ms": r["cpu_ms"], "wall_s": round(r["wall_s"], 2)})
        c.close()
    report(o, "overhead", "CPU time of the whole command with its parsers, less that of embedding, over that of embedding in single precision", "under 0.1",
           all(f["share"] and f["share"] < .1 for f in figures), figures)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("which", choices=("vectors", "again", "memory", "overhead", "all")), p.add_argument("build")
    p.add_argument("--model"), p.add_argument("--texts"), p.add_argument("--html"), p.add_argument("--pdf"), p.add_argument("--out")
    p.add_argument("--work", default=os.environ.get("TMPDIR", "/var/tmp")), p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--documents", type=int, default=100000), p.add_argument("--bytes", type=int, default=10**9)
    p.add_argument("--limit", type=int, default=0, help="so many files of each kind, and twenty times so many texts (0: all)")
    o = p.parse_args()
    for name, run in (("vectors", vectors), ("again", again), ("memory", memory), ("overhead", overhead)):
        if o.which in (name, "all"):
            run(o)


if __name__ == "__main__":
    main()
