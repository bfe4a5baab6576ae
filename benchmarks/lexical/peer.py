"""A data directory of cairn's for a benchmark, and pip's bm25s beside it, in an interpreter that has it."""
import json, os, subprocess, time

PEER = r"""
import json, sys, time
import bm25s, Stemmer
folder, asked, k, out = sys.argv[1:5]
docs = [json.loads(l) for l in open(folder + "/corpus.jsonl")]
questions = [json.loads(l) for l in open(folder + "/queries.jsonl")] if asked == "-" else [{"_id": str(i), "text": l.rstrip("\n")} for i, l in enumerate(open(asked))]
stem = Stemmer.Stemmer("english")
begin = time.perf_counter()
tokens = bm25s.tokenize([(d.get("title", "") + " " + d["text"]).strip() for d in docs], stopwords="en", stemmer=stem, show_progress=False)
r = bm25s.BM25()
r.index(tokens, show_progress=False)
built = time.perf_counter() - begin
k = min(int(k), len(docs))
us, ranked = [], []
for q in questions:
    begin = time.perf_counter()
    t = bm25s.tokenize(q["text"], stopwords="en", stemmer=stem, show_progress=False, return_ids=False)
    rows, scores = r.retrieve(t, k=k, n_threads=1, show_progress=False)
    us.append((time.perf_counter() - begin) * 1e6)
    ranked.append((rows[0], scores[0]))
with open(out, "w") as f:
    for q, (rows, scores) in zip(questions, ranked):
        for i, (row, score) in enumerate(zip(rows, scores)):
            if score > 0:
                f.write(f"{q['_id']} Q0 {docs[row]['_id']} {i + 1} {float(score):.9g} bm25s\n")
us.sort()
print(json.dumps({"built_s": built, "p50_us": us[len(us) // 2], "qps": 1e6 * len(us) / sum(us)}))
"""


class Cairn:
    def __init__(self, build, folder):
        self.program, self.data = build + "/tools/cairn", folder + "/data"
        self.found = os.path.exists(self.data)
        for args in () if self.found else (("init",), ("tenant", "add", "acme")):
            self.run(*args)

    def run(self, *args, text=None):
        env = {**os.environ, "CAIRN_DATA": self.data}
        return subprocess.run([self.program, *args], check=True, capture_output=True, text=True, input=text, env=env).stdout

    def json(self, *args):
        return json.loads(self.run(*args, "-o", "json"))

    def fill(self, index, corpus, *options):
        """A BEIR folder as an index, with these options of `index create`; how long the ingest took, in seconds."""
        self.run("index", "create", "acme/" + index, *options)
        begin = time.perf_counter()
        self.run("ingest", "acme/" + index, corpus, "--format", "beir", "--label", "public", "--activate")
        return time.perf_counter() - begin

    def bytes(self, end):
        folder = self.data + "/tenants/acme/segments"
        return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n.endswith(end))


def peer(python, folder, asked, k, out):
    return json.loads(subprocess.run([python, "-c", PEER, folder, asked, str(k), out], check=True, capture_output=True, text=True).stdout)
