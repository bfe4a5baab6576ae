#!/usr/bin/env python3
"""Judged sets out of Debian's packages, as BEIR folders (corpus.jsonl, queries.jsonl, qrels/test.tsv).

    python3 benchmarks/quality/sets.py DEBS FOLDER      DEBS: a folder with perl-doc_*.deb, manpages_*.deb, manpages-dev_*.deb

perlfaq    a question of the Perl FAQ to its answer: the heading is the question, the text below it the document.
manpages   what a page of the manual is for, as its NAME line says, to the page without that line. Pages with the same words
           for their purpose are all right answers. One page in PAGES_OF, one question in three of those.
Nothing of a question's own words is left in its document by the builder, and nothing is judged by an engine: relevance is what
the authors of the texts meant. Needs dpkg-deb and nothing else but Python.
"""
import glob, gzip, json, os, re, subprocess, sys, tempfile, zlib

PAGES_OF = 6


# ---------- perlfaq ----------
def plain_pod(text):
    """POD's marks to what a reader sees: C<x>, F<x>, L<text|target>; index entries are not shown."""
    text = re.sub(r"X<[^<>]*>", "", text)
    for _ in range(3):  # they may stand in one another
        text = re.sub(r"[BCFIS]<<+ (.*?) >>+|[BCFIS]<([^<>]*)>", lambda m: m.group(1) or m.group(2) or "", text, flags=re.S)
        text = re.sub(r"L<(?:([^<>|]*)\|)?([^<>]*)>", lambda m: m.group(1) or m.group(2), text, flags=re.S)
    return text.replace("E<lt>", "<").replace("E<gt>", ">")


def perlfaq(root):
    """Documents and (question, the document's id)."""
    docs, asked = {}, []
    for path in sorted(glob.glob(root + "/usr/share/perl/*/pod/perlfaq[1-9].pod")):
        with open(path, encoding="utf-8", errors="replace") as f:
            parts = re.split(r"^=head2 (.*(?:\n.+)*)\n", f.read(), flags=re.M)
        for n, (head, body) in enumerate(zip(parts[1::2], parts[2::2])):
            body = plain_pod(re.split(r"^=head1 ", body, flags=re.M)[0])
            body = re.sub(r"^=\w+.*\n", "", body, flags=re.M).strip()
            if len(body) < 80:  # "See perlfaq5"
                continue
            name = f"{os.path.basename(path)[:-4]}-{n}"
            docs[name] = body
            asked.append((" ".join(plain_pod(head).split()), [name]))
    return docs, asked


# ---------- manual pages ----------
def plain_roff(text):
    """The words of a page: arguments of font and heading requests stay, other requests go."""
    lines = []
    for line in text.splitlines():
        if line.startswith((".\\\"", "'\\\"")):
            continue
        m = re.match(r"[.'](\w+)\s*(.*)", line)
        if m:
            if m.group(1) not in ("B", "I", "BR", "BI", "IR", "IB", "RB", "RI", "SH", "SS", "SM", "SB", "TP", "IP"):
                continue
            line = m.group(2).replace('"', "")
        line = re.sub(r"\\f[BIRP]|\\f\(..|\\&|\\s[-+]?\d|\\c$", "", line).replace("\\-", "-").replace("\\e", "\\").replace("\\(aq", "'")
        lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def manpages(root):
    docs, by_purpose = {}, {}
    for path in sorted(glob.glob(root + "/usr/share/man/man*/*.gz")):
        name = os.path.basename(path)[:-3]
        if os.path.islink(path) or zlib.crc32(name.encode()) % PAGES_OF:
            continue
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as f:
            text = f.read()
        m = re.search(r'^\.SH "?NAME"?\n(.*?)(?=^\.SH)', text, re.M | re.S)
        purpose = m and re.split(r"\s\\?-\s", " ".join(plain_roff(m.group(1)).replace(" \\- ", " - ").split()), maxsplit=1)
        if not m or len(purpose) != 2 or len(purpose[1].split()) < 3:
            continue
        body = plain_roff(text[m.end():])
        if len(body) < 200:
            continue
        docs[name] = body
        by_purpose.setdefault(purpose[1], []).append(name)
    asked = [(p, names) for p, names in sorted(by_purpose.items()) if zlib.crc32(p.encode()) % 3 == 0]
    return docs, asked


# ---------- folders ----------
def write(folder, docs, asked):
    os.makedirs(folder + "/qrels", exist_ok=True)
    with open(folder + "/corpus.jsonl", "w") as f:
        for name, text in docs.items():
            f.write(json.dumps({"_id": name, "title": "", "text": text}) + "\n")
    with open(folder + "/queries.jsonl", "w") as q, open(folder + "/qrels/test.tsv", "w") as r:
        r.write("query-id\tcorpus-id\tscore\n")
        for i, (text, right) in enumerate(asked):
            q.write(json.dumps({"_id": f"q{i}", "text": text}) + "\n")
            r.writelines(f"q{i}\t{name}\t1\n" for name in right)
    return {"documents": len(docs), "questions": len(asked)}


def build(debs, folder):
    counts = {}
    with tempfile.TemporaryDirectory(prefix="cairn-sets-") as root:
        for package in ("perl-doc", "manpages", "manpages-dev"):
            found = glob.glob(f"{debs}/{package}_*.deb")
            if not found:
                sys.exit(f"{debs} holds no {package}_*.deb: cd {debs} && apt-get download {package}")
            subprocess.run(["dpkg-deb", "-x", found[0], root], check=True)
        for name, make in (("perlfaq", perlfaq), ("manpages", manpages)):
            counts[name] = write(f"{folder}/{name}", *make(root))
    return counts


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(json.dumps(build(sys.argv[1], sys.argv[2])))
