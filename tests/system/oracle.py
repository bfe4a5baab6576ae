"""A naive model of a tenant with two indexes, as DESIGN.md sections 7 and 8 word it, and the changes that are done to it and to a
real server alike: `ix`, embedded, a passage each; `tx` of words alone, several passages each. Written apart from the code and
from tests/index/world.h: sets, dictionaries, loops. What is asked of both, and what they must answer: oracle_ask.py.

A kind of change is a row of STEPS, a filter's form a row of FORMS."""
import random
from collections import Counter

from serving import Failed

LABELS = ["public", "group:a", "group:b", "group:c", "group:d", "user:x", "user:y", "user:z"]
SOURCES = ["s0", "s1"]
DOCS = [(SOURCES[i % 2], f"{'a/' if i >= 30 else ''}doc-{i}") for i in range(40)]
GLOBS = {"doc-1*": lambda i: "/" not in i and i.startswith("doc-1"), "a/**": lambda i: i.startswith("a/"), "*": lambda i: "/" not in i}
LANGS = ["de", "en", "fr"]
WORDS = ["cup", "dog", "sun", "cap", "pen", "box", "cat", "car", "jar", "log", "net", "zip"]  # a token each, and their own stems
KEEP = 4     # good versions before the active one that gc keeps
ANALYSERS = ["english", "none"]  # alike, of these words
PRECISIONS = ["int8", "fp32"]
PASSAGE = 8  # words of a passage of `tx`


class Row:
    def __init__(self, r, serial, words=1):
        some = lambda n: frozenset(r.sample(LABELS, r.randint(0, n)))
        self.allow, self.deny, self.require = some(4), some(2) if r.random() < .2 else frozenset(), some(2) if r.random() < .15 else frozenset()
        self.meta = {}
        if r.random() < .8:
            self.meta["lang"] = r.choice(LANGS)
        if r.random() < .8:
            self.meta["year"] = r.randint(2018, 2026)
        self.tags = sorted(r.sample(["t1", "t2", "t3"], r.randint(0, 3)))
        if self.tags:
            self.meta["tags"] = self.tags
        self.words = [WORDS[min(r.randrange(12), r.randrange(12))] for _ in range(r.randint(1, words))]
        self.serial, self.stub = serial, False  # a stub: compaction left nothing else of it
        self.said = True  # by its source; else it is what a list in force left of it

    def relabelled(self, r, serial):
        other = Row(r, serial)
        other.meta, other.words, other.tags = self.meta, self.words, self.tags
        return other

    def again(self, serial):
        other = object.__new__(Row)
        other.__dict__.update(self.__dict__, serial=serial, stub=False)
        return other

    def labelled(self, left, serial, said):
        other = self.again(serial)
        other.allow, other.deny, other.require, other.said = *map(frozenset, left), said
        return other

    def text(self):
        return " ".join(self.words)

    def wire(self, doc):
        return {"id": doc, "text": self.text(), "labels": sorted(self.allow), "deny": sorted(self.deny), "require": sorted(self.require), "meta": self.meta}


def narrows(was, now):
    return bool(was and now and not was.stub and not now.stub and (was.allow - now.allow or now.deny - was.deny or now.require - was.require))


class Version:
    def __init__(self, number, rows, older=(), base=0):
        self.rows, self.base = rows, base  # (source, id) -> Row
        self.suspect = self.quarantined = self.dropped = self.pinned = self.ever = self.in_force = self.trial = False
        self.after = number  # lists of versions after this one count for it: of what a rebuild made, those that count for its base
        self.before, self.gone_back_to, self.fusion = 0, False, "scores"
        self.recipe = {}  # what a rebuild makes otherwise
        self.lists = {key for v in older if not v.dropped for key, row in rows.items() if narrows(v.rows.get(key), row)}  # whom its list names

    def good(self):
        return not (self.suspect or self.quarantined or self.dropped)


class Index:
    def __init__(self, name, embedded):
        self.name, self.embedded = name, embedded
        self.words = 8 if embedded else 3 * PASSAGE  # of a document, at most; more the tiny model does not read
        self.versions = {}
        self.active = 0
        self.way = []  # versions that were ever active, lined up: going back is to the left
        self.hold = False
        self.fusion = "scores"  # of a version that is made from none
        self.recipe = {"analyser": ANALYSERS[0], "precision": PRECISIONS[0] if embedded else ""}

    def head(self):
        return max((n for n, v in self.versions.items() if v.good() and not v.trial), default=0)

    def back(self):
        """Where a rollback that names no version leads; 0: nowhere."""
        to = self.versions[self.active].before if self.active else 0
        while to and not self.versions[to].good():
            to = self.versions[to].before
        return to

    def passages(self, row):
        """[(first word, words)]"""
        return [(0, row.words)] if self.embedded else [(i, row.words[i:i + PASSAGE]) for i in range(0, len(row.words), PASSAGE)]


class Model:
    def __init__(self, seed):
        self.r, self.kinds = random.Random(seed), random.Random(seed)  # of changes: these are the same whatever jobs there are
        self.indexes = [Index("ix", True), Index("tx", False)]
        self.serial = 0
        self.granted, self.denied = {d: set() for d in DOCS}, {d: set() for d in DOCS}
        self.hidden, self.erased, self.dead_before, self.restored = set(), set(), {}, Counter()
        self.busy, self.wrote = set(), Counter()  # (index, source): a job is under way; small writes so far
        self.hidden_globs, self.hidden_sources = set(), set()
        self.members = {}

    # --- who may see what ---
    def gone(self, key, row):
        return (key in self.erased or key in self.hidden or row.serial < self.dead_before.get(key, 0) or key[0] in self.hidden_sources
                or any(source in ("", key[0]) and GLOBS[glob](key[1]) for source, glob in self.hidden_globs))

    def erased_row(self, key, row):
        return key in self.erased or row.serial < self.dead_before.get(key, 0)

    def left(self, ix, number, key, row):
        """Of the row's labels, after the lists in force over this version. What was erased when a list was written is not in it."""
        allow, deny, require = set(row.allow), set(row.deny), set(row.require)
        for n, v in ix.versions.items():
            later = v.rows.get(key) if n > ix.versions[number].after and v.in_force else None
            if later and (later.serial >= self.dead_before.get(key, 0) or key in v.lists):
                allow &= later.allow
                deny |= later.deny
                require |= later.require
        return allow, deny, require

    def narrowed(self, ix, number, key, row):
        return self.left(ix, number, key, row) != (row.allow, row.deny, row.require)

    def sees(self, ix, number, key, holds, asks):
        row = ix.versions[number].rows.get(key)
        if row is None or self.gone(key, row):
            return False
        allow, deny, require = self.left(ix, number, key, row)
        allow |= self.granted[key]
        deny |= self.denied[key]
        return bool(allow & asks) and not deny & holds and require <= asks

    def expand(self, name):
        held = {name, "public"}
        while True:
            more = held.union(*(self.members.get(label, ()) for label in held))
            if more == held:
                return held
            held = more

    def permitted(self, ix, number, holds, asks, filtered=None):
        return {key for key in DOCS if self.sees(ix, number, key, holds, asks) and (filtered is None or matches(filtered, ix.versions[number].rows[key]))}


# --- filters ---
FORMS = {
    "eq": lambda have, want: want in have, "ne": lambda have, want: want not in have, "in": lambda have, want: any(h in want for h in have),
    "gte": lambda have, want: any(type(h) is type(want) and h >= want for h in have), "lt": lambda have, want: any(type(h) is type(want) and h < want for h in have),
    "exists": lambda have, want: bool(have),
}


def random_filter(r, depth=2):
    if depth and r.random() < .5:
        kind = r.choice(["and", "or", "not"])
        return {kind: random_filter(r, depth - 1)} if kind == "not" else {kind: [random_filter(r, depth - 1) for _ in range(r.randint(0, 3))]}
    field, form = r.choice(["lang", "year", "tags", "nosuch"]), r.choice(list(FORMS))
    value = lambda: r.randint(2017, 2027) if field == "year" else r.choice(["t1", "t2", "t4"] if field == "tags" else LANGS)
    return {"field": field, form: [value() for _ in range(r.randint(0, 3))] if form == "in" else True if form == "exists" else value()}


def matches(f, row):
    if "and" in f:
        return all(matches(g, row) for g in f["and"])
    if "or" in f:
        return any(matches(g, row) for g in f["or"])
    if "not" in f:
        return not matches(f["not"], row)
    have = row.meta.get(f["field"], [])
    have = have if isinstance(have, list) else [have]
    form = next(k for k in f if k != "field")
    return FORMS[form](have, f[form])


# --- changes: each on the model and by `call`; they choose what must succeed ---
def some_docs(m, n):
    return m.r.sample(DOCS, m.r.randint(1, min(n, len(DOCS))))


def line_up(ix, n, back):
    """At the right end; or, gone back to, right of the next lower number on the way that was gone, among others so by number."""
    v, at = ix.versions[n], len(ix.way)
    v.before, v.gone_back_to = ix.active, back
    if back:
        while v.before > n:
            v.before = ix.versions[v.before].before
        at = ix.way.index(v.before) + 1 if v.before else 0
        while at < len(ix.way) and ix.versions[ix.way[at]].gone_back_to and ix.way[at] < n:
            at += 1
    ix.way.insert(at, n)


def point(ix, n, back=False):
    v = ix.versions[n]
    if not v.ever:
        v.ever = v.in_force = True
        line_up(ix, n, back)
    v.suspect, v.trial, ix.active = False, False, n


# --- jobs: what one makes of its rows, by the head and the policy of when it began, and what becomes of that at its end ---
class Look:
    def __init__(self, m, ix):
        self.base, self.newest = ix.head(), max(ix.versions, default=0)
        while self.newest > self.base and ix.versions[self.newest].trial:  # one that is activated later has the head's documents
            self.newest -= 1
        self.rows = dict(ix.versions[self.base].rows) if self.base else {}
        self.erased, self.restored = set(m.erased), Counter(m.restored)
        self.dead = {k for k, row in self.rows.items() if m.erased_row(k, row)}
        self.anew = {k for k, row in self.rows.items() if not row.said or m.narrowed(ix, self.base, k, row)}  # though they say what they said


def some_rows(m, ix, look, source, ops=("put",)):
    """[(op, key, Row)], an id once: a row as it was, one with other labels, another one; labels alone, or a delete."""
    told = []
    for key in [k for k in some_docs(m, 12 if look.base else 40) if k[0] == source]:
        old, kind, op = look.rows.get(key), m.r.random(), m.r.choice(ops)
        new = old.again(0) if old and kind < .15 else old.relabelled(m.r, 0) if old and kind < .6 else Row(m.r, 0, ix.words)
        told.append((op, key, new))
    return told


def wire(op, key, row):
    full = row.wire(key[1])
    return {"id": key[1], "op": "delete"} if op == "delete" else {k: full[k] for k in ("id", "labels", "deny", "require")} if op == "labels" else full


def fate(look, op, key, row):
    """As it is counted; and what is to be written, None: nothing. A row that says what the head says already is left as it is, but for
    one that a list in force narrows: that grants it again."""
    old = look.rows.get(key)
    alive = old and key not in look.dead
    if op == "delete":
        return "deleted" if old else "unchanged", None
    if key in look.erased or (op == "labels" and not alive):
        return "rejected", None
    if op == "labels":
        row = old.labelled((row.allow, row.deny, row.require), 0, True)
    if not old:
        return "added", row
    if not alive or row.words != old.words:
        return "changed", row
    return ("unchanged", None) if row.wire(key) == old.wire(key) and key not in look.anew else ("relabelled", row)


def descends(ix, look, n):
    """Is all that lies above what the job began on made since? What was set aside then may be its source's own."""
    while n > look.base and n > look.newest:
        n = ix.versions[n].base
    return n == look.base


def carried(m, ix, rows):
    """Rows of the head that nobody wrote come over as lists in force over it show them."""
    head = ix.head()
    for key in [k for k in rows if head and rows[k] is ix.versions[head].rows.get(k) and not m.erased_row(k, rows[k])]:
        if m.narrowed(ix, head, key, rows[key]):
            m.serial += 1
            rows[key] = rows[key].labelled(m.left(ix, head, key, rows[key]), m.serial, False)
    return rows


def outcome(m, ix, look, written, removed):
    """At this moment: "conflict", "unchanged", or the rows of a new version."""
    head = ix.head()
    if not written and not removed:
        return "unchanged"
    if not descends(ix, look, head) or any(k not in m.erased and m.restored[k] != look.restored[k] for k in written):
        return "conflict"
    was = ix.versions[head].rows if head else {}
    rows, revived = dict(was), any(k in was and (m.erased_row(k, was[k]) or m.narrowed(ix, head, k, was[k])) for k in {*written, *removed})
    for key, row in written.items():
        m.serial += 1
        rows[key] = row.again(m.serial)
    for key in removed:
        rows.pop(key, None)
    carried(m, ix, rows)
    leaf = lambda k, row: row and row.wire(k[1])
    return rows if revived or not head or any(leaf(k, rows.get(k)) != leaf(k, was.get(k)) for k in {*rows, *was}) else "unchanged"


def sealed(ix, n, rows):
    """Version n is made of these rows, on the head."""
    head = ix.head()
    assert n == max(ix.versions, default=0) + 1, (n, ix.versions.keys())
    v = ix.versions[n] = Version(n, rows, list(ix.versions.values()), head)
    v.fusion, v.recipe = (ix.versions[head].fusion, ix.versions[head].recipe) if head else (ix.fusion, ix.recipe)


def small_write(m, ix, look, told, ask):
    """A job that nothing comes between."""
    fates = [fate(look, *t) for t in told]
    answer = ask()
    assert answer["counts"]["rejected"] == sum(f == "rejected" for f, _ in fates), (answer, fates)
    written = {key: row for (_, key, _), (_, row) in zip(told, fates) if row}
    end = outcome(m, ix, look, written, {key for (_, key, _), (f, _) in zip(told, fates) if f == "deleted"})
    assert answer.get("version", ix.head()) == ix.head() if end == "unchanged" else answer["version"] not in ix.versions, (answer, end)
    if end != "unchanged":
        sealed(ix, answer["version"], end)


def free_source(m, ix):
    free = [s for s in SOURCES if (ix.name, s) not in m.busy]
    source = m.r.choice(free) if free else None
    m.wrote[ix.name, source] += 1
    return source


def put(m, ix, call):
    look = Look(m, ix)
    source = free_source(m, ix)
    told = some_rows(m, ix, look, source, ("put", "put", "put", "labels")) if source else []
    if told:
        small_write(m, ix, look, told, lambda: call("documents.put", source=source, documents=[wire(*t) for t in told]))


def delete(m, ix, call):
    look = Look(m, ix)
    source = free_source(m, ix)
    keys = [k for k in look.rows if k[0] == source and k not in look.dead]
    if keys:
        gone = m.r.sample(keys, min(len(keys), m.r.randint(1, 3)))
        small_write(m, ix, look, [("delete", k, None) for k in gone], lambda: call("documents.delete", source=source, docs=[k[1] for k in gone]))


def settings(m, ix, call):
    """Another fusion: a version with the documents of the head, which answers where that did, unless the pointer is held."""
    head = ix.head()
    fusion = "rrf" if (ix.versions[head].fusion if head else ix.fusion) == "scores" else "scores"
    answer = call("admin.index_set", fusion=fusion)
    assert answer["activated"] == (head != 0 and ix.active == head and not ix.hold), answer
    ix.fusion = fusion
    if head:
        sealed(ix, answer["version"], carried(m, ix, dict(ix.versions[head].rows)))
        ix.versions[answer["version"]].fusion = fusion
    if answer["activated"]:
        point(ix, answer["version"])
    told = {n: v["fusion"] for n, v in states(call).items()}
    assert told == {n: v.fusion for n, v in ix.versions.items()}, (told, answer)


def refused_with(code, ask):
    try:
        answer = ask()
    except Failed as e:
        assert str(e).startswith(code), e
    else:
        raise AssertionError(f"{answer}, not {code}")


def activate(m, ix, call):
    able = [n for n, v in ix.versions.items() if not v.quarantined and not v.dropped]
    if able:
        n = m.r.choice(able[-1:] * 3 + able)
        if ix.versions[n].trial and ix.versions[n].base != ix.head():
            return refused_with("CONFLICT", lambda: call("versions.activate", version=n, reason="test"))
        call("versions.activate", version=n, reason="test")
        point(ix, n)


def rollback(m, ix, call):
    to = ix.back()
    named = [n for n, v in ix.versions.items() if ix.active and v.good() and not v.trial and (ix.way.index(n) < ix.way.index(ix.active) if v.ever else n < ix.active)]
    to, words = (to, {}) if m.r.random() < .6 or not named else (n := m.r.choice(named), {"to": n})
    if to:
        left = ix.active
        assert call("versions.rollback", **words)["active"] == to
        ix.versions[left].suspect, ix.hold = True, True
        point(ix, to, back=True)
        assert ix.way.index(to) < ix.way.index(left), (ix.way, left, to)


def release(m, ix, call):
    if ix.hold:
        call("versions.release")
        ix.hold = False


def mark(m, ix, call):
    """Quarantined or pinned, or not any more."""
    kind, n = m.r.choice(["quarantine", "pin"]), m.r.choice([0, *ix.versions])
    on = m.r.random() < .4
    if n and not ix.versions[n].dropped and (n != ix.active or kind == "pin"):
        call(f"versions.{'' if on else 'un'}{kind}", version=n)
        setattr(ix.versions[n], f"{kind}d" if kind == "quarantine" else "pinned", on)


def drop(m, ix, call):
    able = [n for n, v in ix.versions.items() if n != ix.active and not v.dropped]
    if len(able) > 3 and not ix.versions[n := m.r.choice(able)].pinned:
        call("versions.drop", version=n)
        ix.versions[n].dropped = True


def states(call):
    return {v["version"]: v for v in call("versions.list")["versions"]}


def gc(m, ix, call):
    """Of the good ones before the active one KEEP stay; what is not good goes, but for what a hold leaves to be looked at. A trial and what
    it is of are waited for."""
    stay = {ix.active, ix.head(), ix.back(), *(k for n, v in ix.versions.items() if v.trial and not v.dropped for k in (n, v.base))}
    good = lambda lo, hi: sum(v.good() and not v.trial for n, v in ix.versions.items() if lo <= n < hi)

    def goes(n, v):
        if v.dropped or v.pinned or n in stay:
            return False
        if v.good():
            return n < ix.active and good(n + 1, ix.active) >= KEEP
        return not ix.hold if n > ix.active else not (ix.hold and v.suspect)

    want = [n for n, v in ix.versions.items() if goes(n, v)]
    did = call("versions.gc")
    gone = [n for n, v in states(call).items() if v["state"] == "dropped" and not ix.versions[n].dropped]
    assert len(gone) == did["versions"] and sorted(gone) == sorted(want), (gone, did, want)
    for n in gone:
        ix.versions[n].dropped = True


def compact(m, ix, call):
    """Roots, states and marks stay; of what was erased nothing but stubs."""
    before = states(call)
    call("versions.compact")
    told = lambda all_of: {n: (v["state"], v["marks"], v["root"], v.get("documents")) for n, v in all_of.items()}
    assert told(states(call)) == told(before), (before, states(call))
    for v in ix.versions.values():
        for key, row in v.rows.items():
            row.stub |= not v.dropped and m.erased_row(key, row)
        if not v.dropped:
            v.lists -= m.erased


def label_policy(m, ix, call):
    """Allow, deny and clear, one call or several in one `policy.apply`."""
    changes = []
    for _ in range(m.r.choice([1, 1, 4])):
        op, key, labels = m.r.choice(["allow", "deny", "clear", "clear"]), m.r.choice(DOCS), set(m.r.sample(LABELS, m.r.randint(1, 3)))
        changes.append({"op": op, "source": key[0], "docs": [key[1]], "labels": sorted(labels)})
        if op == "clear":
            m.granted[key] -= labels
            m.denied[key] -= labels
        else:
            (m.granted if op == "allow" else m.denied)[key] |= labels
    if len(changes) == 1:
        call("policy." + changes[0].pop("op"), **changes[0])
    else:
        call("policy.apply", changes=changes)


def hide(m, ix, call):
    key = m.r.choice(DOCS)
    on = m.r.random() < .5
    (m.hidden.add if on else m.hidden.discard)(key)
    call("policy.hide" if on else "policy.unhide", source=key[0], docs=[key[1]])


def hide_many(m, ix, call):
    """A pattern hides much, so that it is taken back soon."""
    if m.hidden_globs:
        source, glob = m.hidden_globs.pop()
        call("policy.unhide", glob=glob, **({"source": source} if source else {}))
    elif m.hidden_sources:
        call("policy.unhide", all_of=m.hidden_sources.pop())
    elif m.r.random() < .5:
        m.hidden_sources.add(s := m.r.choice(SOURCES))
        call("policy.hide", all_of=s)
    else:
        source, glob = m.r.choice(["", *SOURCES]), m.r.choice(list(GLOBS))
        m.hidden_globs.add((source, glob))
        call("policy.hide", glob=glob, **({"source": source} if source else {}))


def erase(m, ix, call):
    key = m.r.choice(DOCS)
    m.erased.add(key)
    call("policy.erase", source=key[0], docs=[key[1]])


def restore(m, ix, call):
    if m.erased:
        key = m.r.choice(sorted(m.erased))
        m.erased.discard(key)
        m.dead_before[key] = m.serial + 1
        m.restored[key] += 1
        call("policy.restore", source=key[0], docs=[key[1]], reason="test")


def reinstate(m, ix, call):
    able = [n for n, v in ix.versions.items() if v.in_force and v.lists and not v.dropped and any(x.after < n and not x.dropped for k, x in ix.versions.items())]
    if able:
        n = m.r.choice(able)
        call("policy.reinstate", version=n, reason="test")
        ix.versions[n].in_force = False


def members(m, ix, call):
    name, labels = m.r.choice(LABELS[1:]), set(m.r.sample(LABELS, m.r.randint(1, 3)))
    if m.members.get(name) and m.r.random() < .3:
        call("members.remove", member=name)
        del m.members[name]
    elif m.r.random() < .5:
        call("members.add", member=name, labels=sorted(labels))
        m.members[name] = m.members.get(name, set()) | labels
    else:
        call("members.set", member=name, labels=sorted(labels))
        m.members[name] = labels


STEPS = [(put, 26), (delete, 4), (settings, 3), (activate, 16), (rollback, 6), (release, 3), (mark, 5), (drop, 2), (gc, 2), (compact, 3), (label_policy, 16), (hide, 6),
         (hide_many, 5), (erase, 4), (restore, 3), (reinstate, 3), (members, 8)]


def step(m, call):
    """One random change; its name. call(index, method, **params)"""
    ix = m.r.choice(m.indexes)
    kind = m.kinds.choices([s for s, _ in STEPS], [w for _, w in STEPS])[0]
    run = kind if ix.versions else put
    run(m, ix, lambda method, **params: call(ix.name, method, **params))
    return run.__name__
