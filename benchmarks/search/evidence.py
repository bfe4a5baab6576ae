#!/usr/bin/env python3
"""How well `evidence` tells questions that the documents answer from questions that they cannot, in each mode.

    python3 benchmarks/search/evidence.py BUILD MODEL_FOLDER --debs FOLDER --beir FOLDER [--data FOLDER] [--fit] [--out FILE]

BUILD is a release build. --debs holds Debian packages, got by
    apt-get download debian-policy perl-doc python3.11-doc
and --beir is the Cranfield collection. Each of four indexes is asked its own questions and those of the others:
    cranfield   abstracts of aerodynamics; its judged questions
    perlfaq     answers of Perl's FAQ, without their questions; the questions
    policy      sections of Debian's policy, without their headings; the headings of two words and more
    pyfaq       answers of Python's FAQ, without their questions; the questions
What one index is not about it cannot answer; the two FAQs of programming are not asked each other's. (Debian's policy has a few
sentences on Perl, and shares subjects with both FAQs, which count as unable to answer all the same.) The constants of
server/service/relevance.c come from --fit: logistic regression on the grounds of the best hit, over the even questions; then
shifted and scaled so that 5% of the answerable ones lie below .5 and half below .9. Held out are the odd questions. An index that
is unlike those fitted on is shown by `unseen`: constants fitted anew without any question of one index, and measured on that one. The
hardest questions are counted apart: those whose own answer is hidden from who asks, while all else on the subject may be read.
Needs pip's numpy.
"""
import argparse, collections, glob, html.parser, json, os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../quality"), os.path.join(HERE, "../lexical"), os.path.join(HERE, "../../tests/ingest")]
import numpy as np
import sets as cut
from peer import Cairn
from result import finish

MODES = {"lexical": ("words",), "dense": ("place",), "hybrid": ("place", "words")}
ALIKE = {"perlfaq", "pyfaq"}
PACKAGES = ("debian-policy", "perl-doc", "python3.11-doc")


# --- sets: {id: text}, [(question, {ids that answer it})] ---
class Sections(html.parser.HTMLParser):
    """A page's sections, each its heading and its own text without that of sections within."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.heading, self.link = [], [], False, False

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self.open.append(["", ""])
        self.heading |= bool(re.fullmatch("h[1-6]", tag))
        self.link |= tag == "a" and "headerlink" in (dict(attrs).get("class") or "")
        if tag in ("p", "li", "dt", "dd", "pre", "tr") and self.open:
            self.open[-1][1] += "\n"

    def handle_endtag(self, tag):
        if tag == "section" and self.open:
            self.found.append(self.open.pop())
        self.heading &= not re.fullmatch("h[1-6]", tag)
        self.link &= tag != "a"

    def handle_data(self, data):
        if self.open and not self.link:
            self.open[-1][not self.heading] += data


def sections(paths, least):
    for path in sorted(paths):
        page = Sections()
        page.feed(open(path, errors="replace").read())
        for heading, text in page.found:
            heading, text = re.sub(r"^[\dA-Z]*[\d.]+\s+", "", " ".join(heading.split())), re.sub(r"\n\s*\n+", "\n\n", text).strip()
            if heading and len(text.split()) >= least:
                yield heading, text


def cranfield(folder):
    rows = lambda name: [json.loads(line) for line in open(os.path.join(folder, name))]
    wanted = collections.defaultdict(set)
    for line in list(open(os.path.join(folder, "qrels/test.tsv")))[1:]:
        q, doc, grade = line.split()
        if int(grade) > 0:
            wanted[q].add(doc)
    return {d["_id"]: f"{d['title']}\n{d['text']}".strip() or "." for d in rows("corpus.jsonl")}, [(q["text"], wanted[q["_id"]]) for q in rows("queries.jsonl") if wanted[q["_id"]]]


def faq(pairs):
    pairs = list(pairs)
    return {str(i): text for i, (_, text) in enumerate(pairs)}, [(question, {str(i)}) for i, (question, _) in enumerate(pairs)]


def sets(debs, beir):
    with tempfile.TemporaryDirectory() as tmp:
        for package in PACKAGES:
            found = sorted(glob.glob(os.path.join(debs, package + "_*.deb")))
            if not found:
                sys.exit(f"{package} is not in {debs}; apt-get download {' '.join(PACKAGES)}")
            subprocess.run(["dpkg-deb", "-x", found[-1], tmp], check=True)
        share = tmp + "/usr/share/"
        docs, asked = faq(sections(glob.glob(share + "doc/debian-policy/policy.html/ch-*.html"), 25))
        return {"cranfield": cranfield(beir),
                "perlfaq": cut.perlfaq(tmp),
                "policy": (docs, [(q, ids) for q, ids in asked if len(q.split()) > 1]),
                "pyfaq": faq(x for x in sections(glob.glob(share + "doc/python3.11/html/faq/*.html"), 15) if x[0].endswith("?"))}


# --- answers ---
def fill(cairn, name, docs):
    """Each document has a label of its own beside the common one, so that one can be withheld from who asks."""
    if name in [x["index"] for x in cairn.json("index", "list", "acme")["indexes"]]:
        return
    cairn.run("index", "create", "acme/" + name, "--embedder", "minilm")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps({"id": i, "text": t, "labels": ["public"], "deny": [f"not:{name}-{i}"]}) + "\n" for i, t in docs.items())
        f.flush()
        cairn.run("ingest", "acme/" + name, f.name, "--activate")


def ask(cairn, name, questions):
    """questions: (text, mode, ids withheld from who asks). In one process, which embeds a text once."""
    lines = [json.dumps({"text": text, "mode": mode, "k": 10, "labels": ["public", *(f"not:{name}-{i}" for i in sorted(withheld))]}) + "\n" for text, mode, withheld in questions]
    out = cairn.run("query", "acme/" + name, "--batch", "-", "--explain", "-o", "json", text="".join(lines))
    return [json.loads(line) for line in out.splitlines()]


def best(answer):
    return max((h["relevance"] for h in answer["hits"]), default=0.0)


def grounds(answer, mode):
    """Of each hit, as rows of numbers, as cn_relevance() takes them."""
    rows = [[g["share"] * g["words"] ** .5 if x == "words" else g[x] for x in MODES[mode]] for g in (h["grounds"] for h in answer["hits"])]
    return np.array(rows).reshape(len(rows), len(MODES[mode]))


def collect(cairn, all_sets):
    """{mode: {index: {"own": [...], "withheld": [...], "other": {index: [...]}}}}"""
    got = {m: {} for m in MODES}
    for name, (docs, asked) in all_sets.items():
        fill(cairn, name, docs)
        others = [o for o in all_sets if o != name and not {o, name} <= ALIKE]
        parts = {"own": asked, "withheld": asked if name != "cranfield" else []} | {o: all_sets[o][1] for o in others}
        plan = [(part, mode, q, ids if part == "withheld" else ()) for mode in MODES for part, v in parts.items() for q, ids in v]
        sorted_out = collections.defaultdict(list)
        for (part, mode, *_), answer in zip(plan, ask(cairn, name, [(q, mode, ids) for _, mode, q, ids in plan])):
            sorted_out[mode, part].append(answer)
        for mode in MODES:
            got[mode][name] = {"own": sorted_out[mode, "own"], "withheld": sorted_out[mode, "withheld"], "other": {o: sorted_out[mode, o] for o in others}}
    return got


# --- fitting ---
def regression(x, y, w):
    """Weighted logistic regression by Newton's steps, a little ridge; weights and constant."""
    mean, spread = x.mean(0), x.std(0) + 1e-9
    z, b = np.c_[(x - mean) / spread, np.ones(len(x))], np.zeros(x.shape[1] + 1)
    ridge = 1e-3 * w.sum() * np.r_[np.ones(x.shape[1]), 0]
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ b))
        b -= np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + np.diag(ridge + 1e-9), z.T @ (w * (p - y)) + ridge * b)
    return b[:-1] / spread, b[-1] - (b[:-1] / spread * mean).sum()


def quantile(values, weights, q):
    order = np.argsort(values)
    return values[order][np.searchsorted(np.cumsum(weights[order]), q * weights.sum())]


def fit(got, mode, without=None):
    """Constants by the even questions, of all indexes but one; questions of an index that is left out are put to none."""
    names = [c for c in got[mode] if c != without]
    own = {c: [grounds(a, mode) for a in got[mode][c]["own"][::2]] for c in names}
    other = {c: [grounds(a, mode) for o, v in got[mode][c]["other"].items() if o in names for a in v[::2]] for c in names}
    lists = [(rows, y, 1 / len(part[c])) for part, y in ((own, 1), (other, 0)) for c in names for rows in part[c] if len(rows)]
    y, w = np.array([l[1] for l in lists]), np.array([l[2] for l in lists])
    at = [0] * len(lists)
    for _ in range(5):  # of each answer the hit that the constants so far find best
        b, c = regression(np.array([l[0][i] for l, i in zip(lists, at)]), y, w / w.mean())
        at = [int(np.argmax(l[0] @ b)) for l in lists]
    top = np.array([l[0][i] @ b + c for l, i in zip(lists, at)])
    low, middle = (quantile(top[y == 1], w[y == 1], q) for q in (.05, .5))
    scale = np.log(.9 / .1) / (middle - low)
    return {**dict(zip(MODES[mode], (scale * b).round(4).tolist())), "fixed": round(float(scale * (c - low)), 4)}


# --- measures ---
def measure(own, other, told_own, told_other):
    """Of the best passages' relevance, and of what evidence says."""
    own, other = np.array(own), np.array(other)
    share = lambda told, words: round(float(np.mean([t in words for t in told])), 4)
    return {"answerable": len(own), "false_alarms": share(told_own, ("weak", "none")), "false_none": share(told_own, ("none",)),
            "unanswerable": len(other), "caught": share(told_other, ("weak", "none")), "caught_as_none": share(told_other, ("none",)),
            "caught_at_5_percent": round(float(np.mean(other < np.quantile(own, .05))), 4)}


def others(v, each):
    return [a for o in sorted(v["other"]) for a in v["other"][o][each]]


def by_constants(k, mode, answer):
    rows = grounds(answer, mode)
    return float(1 / (1 + np.exp(-(rows @ [k[x] for x in MODES[mode]] + k["fixed"]).max()))) if len(rows) else 0.0


def told(relevance):
    return "ok" if relevance >= .5 else "weak" if relevance >= .25 else "none"


def report(got):
    out, odd = {}, slice(1, None, 2)
    for mode, indexes in got.items():
        held = {c: (v["own"][odd], others(v, odd)) for c, v in indexes.items()}
        one = lambda own, other: measure([best(a) for a in own], [best(a) for a in other], [a["evidence"] for a in own], [a["evidence"] for a in other])
        unseen = {}
        for c, v in indexes.items():
            k = fit(got, mode, c)
            own, other = ([by_constants(k, mode, a) for a in x] for x in (v["own"], others(v, slice(None))))
            unseen[c] = measure(own, other, [told(x) for x in own], [told(x) for x in other])
        out[mode] = {"held_out": {**{c: one(*v) for c, v in held.items()}, "all": one([a for v in held.values() for a in v[0]], [a for v in held.values() for a in v[1]])},
                     "unseen": unseen, "own_answer_withheld": {c: round(float(np.mean([a["evidence"] != "ok" for a in v["withheld"]])), 4) for c, v in indexes.items() if v["withheld"]}}
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("model"), p.add_argument("--debs", required=True), p.add_argument("--beir", required=True)
    p.add_argument("--data", help="a folder to keep the indexes in, or one that has them"), p.add_argument("--fit", action="store_true"), p.add_argument("--out")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-evidence-") as tmp:
        cairn = Cairn(os.path.abspath(o.build), o.data or tmp)
        if not cairn.found:
            cairn.run("model", "add", "minilm", o.model)
        got = collect(cairn, sets(o.debs, o.beir))
    if o.fit:
        print(json.dumps({mode: fit(got, mode) for mode in MODES}, indent=1), file=sys.stderr)
    held = report(got)
    what = ("evidence: false_alarms are answerable questions called weak or none, caught are unanswerable ones called so; caught_at_5_percent: "
            "where the line is drawn so that exactly 5% of these answerable ones lie below; own_answer_withheld: called weak or none")
    finish(o.out, what, "at 5% false alarms at least 90% caught, in each mode", all(m["held_out"]["all"]["caught_at_5_percent"] >= .9 for m in held.values()), held)


main()
