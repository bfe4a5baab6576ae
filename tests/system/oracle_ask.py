"""What is asked of the model of oracle.py and of the real tenant, and what the answers must be: questions by vectors and by words, with
all that shapes what is given (rows of SHAPES), over one index or both; lists, documents, citations and differences of versions."""
import re

from oracle import DOCS, LABELS, PASSAGE, WORDS, random_filter

DIM = 24  # of the model that make_model makes
PREFIXES = ["ca", "cu", "su", "qq"]
SHAPES = [("per_doc", lambda r: r.randint(1, 2)), ("distinct", lambda r: True), ("expand", lambda r: r.randint(1, 3)), ("section", lambda r: True),
          ("max_tokens", lambda r: r.randint(1, 200)), ("highlight", lambda r: True)]


# --- questions ---
class Asked:
    """The words of a text: those it names, phrases, and what its prefixes begin with."""

    def __init__(self, r, operators):
        some = lambda n: [r.choice([*WORDS[:4], *WORDS, "qqq"]) for _ in range(n)]
        self.words = some(r.randint(1, 3))
        self.phrases = [some(r.randint(1, 3)) for _ in range(r.randint(0, 1))] if operators else []
        self.prefixes = [r.choice(PREFIXES)] if operators and r.random() < .4 else []
        self.text = " ".join(self.words + ['"' + " ".join(p) + '"' for p in self.phrases] + [p + "*" for p in self.prefixes])

    def single(self, word):
        return word in self.words or any(word.startswith(p) for p in self.prefixes)

    def places(self, words):
        """[(first word, words)] of its phrases."""
        return [(i, len(p)) for p in self.phrases for i in range(len(words) - len(p) + 1) if words[i:i + len(p)] == p]

    def finds(self, words):
        """A passage is a hit: all its phrases, and any word at all."""
        stands = lambda p: any(words[i:i + len(p)] == p for i in range(len(words) - len(p) + 1))
        return all(map(stands, self.phrases)) and any(self.single(w) or any(w in p for p in self.phrases) for w in words)

    def marked(self, words):
        """Which words of a text are highlighted."""
        return {i for i, w in enumerate(words) if self.single(w)} | {i for at, n in self.places(words) for i in range(at, at + n)}


def question(m, ix):
    """(fields of a random question, but for who asks; Asked, or None where it is a vector)"""
    r = m.r
    asked = Asked(r, operators := r.random() < .5) if not ix.embedded or r.random() < .7 else None
    q = {"k": r.choice([1, 5, 1000]), **({"text": asked.text, "operators": operators} if asked else {"vector": [r.uniform(-1, 1) for _ in range(DIM)]})}
    if r.random() < .7:
        q["mode"] = "lexical" if not ix.embedded else r.choice(["dense", "exact", *["hybrid", "lexical"] * bool(asked)])
    if r.random() < .4:
        q["filter"] = random_filter(r)
    if r.random() < .4:
        q["version"] = r.randint(1, max(ix.versions) + 1)
    elif q.get("mode") == "lexical" and r.random() < .4 and all(i.active for i in m.indexes):
        q.update(also=[i.name for i in m.indexes if i is not ix], merge=r.choice(["rank", "relevance"]))
    for name, value in SHAPES:
        if r.random() < .2:
            q[name] = value(r)
    return q, asked


def narrowed(m, holds):
    """(held, asked with, what the request says of it)"""
    if m.r.random() < .3:
        said = m.r.sample(LABELS, m.r.randint(1, 4))
        return holds, holds & set(said), {"labels": said}
    return holds, holds, {}


# --- what they must give ---
def candidates(m, ix, number, q, asked, holds, asks):
    """(index, key, passage, words) of all that may be found."""
    v = ix.versions[number]
    return {(ix.name, key, n, tuple(words)) for key in m.permitted(ix, number, holds, asks, q.get("filter"))
            for n, (_, words) in enumerate(ix.passages(v.rows[key])) if (ix.embedded and q.get("mode") != "lexical") or asked.finds(words)}


def expected(q, found):
    """How many of them are given; (least, most) where that hangs on their order."""
    least = most = len(found)
    if "per_doc" in q:
        keys = [key for _, key, _, _ in found]
        most = sum(min(q["per_doc"], keys.count(key)) for key in set(keys))
        least = min(most, least)
    if "distinct" in q:
        different = len({words for *_, words in found})
        most, least = min(most, different), 1 if "per_doc" in q and found else different
    if "also" in q and q["k"] < most:  # each index gives k, of which the other's may be left out again
        least = 1
    return min(least, q["k"]), min(most, q["k"])


def row_of(m, q, number, hit, ix):
    ix = next(i for i in m.indexes if i.name == hit.get("index", ix.name))
    return ix, ix.versions[ix.active if "also" in q else number].rows[hit["source"], hit["doc"]]


def span(passages, at, q, given):
    """From which passage to which a hit is widened: nothing twice."""
    far = q.get("expand", len(passages))
    first = last = at
    free = lambda i: not any(a <= i <= b for a, b in given)
    while last + 1 < len(passages) and last - at < far and free(last + 1):
        last += 1
    while first > 0 and at - first < far and free(first - 1):
        first -= 1
    return first, last


def places(words):
    """The bytes of each word of a text, words apart by a space."""
    return [match.span() for match in re.finditer(r"\S+", " ".join(words))]


def wrong_shape(m, ix, number, q, asked, hits, found):
    """What is wrong with the texts of hits, and with what stands around them; told: the passages of `found` that they hold."""
    told, given = [], {}
    for h in hits:
        at, row = row_of(m, q, number, h, ix)
        key = at.name, (h["source"], h["doc"])
        passages = at.passages(row)
        first, last = span(passages, h["chunk"], q, given.get(key, ())) if "expand" in q or "section" in q else (h["chunk"], h["chunk"])
        inside = [p["chunk"] for p in h["passages"]] if "expand" in q or "section" in q else [h["chunk"]]
        words = [w for _, some in passages[first:last + 1] for w in some]
        all_of = places(row.words)
        if "max_tokens" in q:
            if ix is m.indexes[1] and h["tokens"] != len(h["text"].split()):
                return f"{h['tokens']} tokens of {h['text']}", told
            if all_of[passages[first][0]][0] <= h["bytes"][0] and h["text"].encode() == row.text().encode()[slice(*h["bytes"])]:  # as far as they sufficed
                first = sum(1 for at, _ in passages if all_of[at][0] < h["bytes"][0])
                last = first + -(-len(h["text"].split()) // PASSAGE) - 1 if len(passages) > 1 else first
                words = h["text"].split()
        if h["text"] != " ".join(words) or h["bytes"] != [all_of[passages[first][0]][0], all_of[passages[first][0] + len(words) - 1][1]]:
            return f"{h} is not passages {first} to {last} of {row.words}", told
        if not all(first <= n <= last for n in inside) or h["chunk"] != inside[0]:
            return f"{h} holds {inside}, of {first} to {last}", told
        if "highlight" in q:
            want = asked.marked(words) if asked else set()
            have = {i for i, (a, b) in enumerate(places(words)) if any(x <= a and b <= y for x, y in h["highlights"])}
            if have != want or sorted(h["highlights"]) != h["highlights"]:
                return f"{h['highlights']} of {h['text']}, asked for {asked.text if asked else None}", told
        given.setdefault(key, []).append((first, last))
        told += [(*key, n, tuple(passages[n][1])) for n in inside]
    return None, told


def refused(got, *codes):
    return str(got.get("error", "")).split(":")[0] in codes


def wrong(m, ix, q, asked, holds, asks, got):
    """What is wrong with an answer; None: nothing. got: a result map, or {"error": "CODE: ..."}; holds None: it must be refused."""
    number = q.get("version") or ix.active
    v = ix.versions.get(number)
    if holds is None:
        return None if refused(got, "DENIED", "NOT_FOUND") else f"who may not ask is answered: {got}"
    if v is None or v.quarantined or v.dropped:
        return None if refused(got, "NOT_FOUND", "REFUSED") else f"version {number} answers: {got}"
    if "error" in got:
        return got["error"]
    if got["made_by"]["version"] != number:
        return f"version {got['made_by']['version']} answers, not {number}"
    found = set().union(*(candidates(m, i, i.active if "also" in q else number, q, asked, holds, asks) for i in m.indexes if i is ix or "also" in q))
    why, told = wrong_shape(m, ix, number, q, asked, got["hits"], found)
    least, most = expected(q, found)
    n = len(told)
    if why:
        return why
    if "max_tokens" in q:
        t = got["tokens"]
        if t["given"] != sum(h["tokens"] for h in got["hits"]) or t["given"] > q["max_tokens"]:
            return f"{t} of {got['hits']}"
        n += t["left_out"]
    if len(set(told)) != len(told) or not set(told) <= found or not least <= n <= most:
        return f"hits {sorted(told)} ({n}), of {sorted(found)} ({least} to {most})"
    if "per_doc" in q and max((sum(x[1] == y[1] for y in told) for x in told), default=0) > q["per_doc"]:
        return f"more than {q['per_doc']} of a document: {sorted(told)}"
    if "distinct" in q and len({words for *_, words in told}) != len(told):
        return f"a text twice: {sorted(told)}"
    return None


# --- looks: each gives what is wrong, or None. call(method, **params): as someone who holds and asks with these labels ---
def look_list(m, ix, number, holds, asks, call):
    got, params = [], {"limit": m.r.randint(1, 15)}
    while True:
        page = call("documents.list", **params)
        got += [(d["source"], d["doc"], d["bytes"], d["chunks"]) for d in page["documents"]]
        if "next" not in page:
            break
        params["after"] = page["next"]
    rows = ix.versions[number].rows
    want = [(*key, len(rows[key].text()), len(ix.passages(rows[key]))) for key in sorted(m.permitted(ix, number, holds, asks))]
    return None if got == want else f"listed {got}, not {want}"


def look_document(m, ix, number, holds, asks, call):
    """Whole and in part; what may not be read answers like what never was."""
    key = m.r.choice(DOCS)
    row = ix.versions[number].rows.get(key)
    a, b = sorted(m.r.randint(0, 100) for _ in range(2))
    whole, part = call("documents.get", source=key[0], doc=key[1]), call("fetch", source=key[0], doc=key[1], bytes=[a, b])
    if not m.sees(ix, number, key, holds, asks):
        never = call("fetch", source=key[0], doc="never")["error"].replace("never", key[1])
        return None if whole == part == {"error": never} else f"{whole} and {part}, not {never}"
    if "error" in whole or "error" in part:
        return f"{key}: {whole}, {part}"
    ends = places(row.words)
    bytes_of = lambda first, words: [ends[first][0], ends[first + len(words) - 1][1]]
    if whole["text"] != row.text() or [p["bytes"] for p in whole["passages"]] != [bytes_of(*p) for p in ix.passages(row)] or whole["meta"] != row.meta:
        return f"{whole}, not {row.__dict__}"
    return None if part["text"] == row.text()[a:b] else f"{part}, not bytes {a} to {b} of {row.text()}"


def look_diff(m, ix, holds, root, plain):
    """All of it to who holds the audit scope; else nothing that the caller may read on neither side."""
    a, b = m.r.choice(list(ix.versions)), m.r.choice(list(ix.versions))
    old, new = ix.versions[a], ix.versions[b]
    told, narrow = (c("versions.diff", **{"from": a, "to": b}) for c in (root, plain))
    if old.dropped or new.dropped:
        return None if refused(told, "NOT_FOUND") and told == narrow else f"{told}, {narrow} of dropped versions"
    said = lambda v: {"fusion": v.fusion, **v.recipe}
    settings = [{"setting": name, "before": x, "after": said(new)[name]} for name, x in said(old).items() if x != said(new)[name]]
    if told["settings"] != settings or narrow["settings"] != settings:
        return f"versions {a} and {b} differ in {told['settings']}, {narrow['settings']}, not {settings}"
    leaf = lambda row, v: row and (row.words, row.meta, row.allow, row.deny, row.require, v.recipe["precision"])  # a stub keeps its own
    whole = lambda row: row if row and not row.stub else None
    what = lambda x, y: "added" if not x else "deleted" if not y else "changed" if (x.words, x.meta, old.recipe["precision"]) != (y.words, y.meta, new.recipe["precision"]) else "relabelled"
    pairs = {key: (old.rows.get(key), new.rows.get(key)) for key in DOCS}
    want = {key: what(whole(x), whole(y)) for key, (x, y) in pairs.items() if leaf(x, old) != leaf(y, new) and (whole(x) or whole(y))}
    have = {(d["source"], d["doc"]): d["change"] for d in told["documents"]}
    if have != want:
        return f"versions {a} and {b} differ in {have}, not {want}"
    labels = lambda row: {kind: sorted(getattr(row, kind)) if whole(row) else [] for kind in ("allow", "deny", "require")}
    for d in told["documents"]:
        sides = {"before": labels(pairs[d["source"], d["doc"]][0]), "after": labels(pairs[d["source"], d["doc"]][1])}
        if sides != {side: {kind: sorted(v) for kind, v in d[side].items()} for side in sides}:
            return f"{d} between versions {a} and {b}, not {sides}"
    open_sides = [n for n in (a, b) if not ix.versions[n].quarantined]
    may = {key for key in want for n in open_sides if m.sees(ix, n, key, holds, holds)}
    shown = {(d["source"], d["doc"]) for d in narrow["documents"]}
    if not shown <= may or any("before" in d or "after" in d for d in narrow["documents"]):
        return f"a plain key is shown {shown - may} of versions {a} and {b}"
    return None
