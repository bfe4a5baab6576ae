"""A naive model of one index of a tenant, as DESIGN.md sections 7 and 8 word it, and the changes that are done to it and to a
real server alike. Written apart from the code and from tests/index/world.h: sets, dictionaries, loops.

A kind of change is a row of STEPS, a kind of caller a row of callers(), a filter's form a row of FORMS."""
import random

LABELS = ["public", "group:a", "group:b", "group:c", "group:d", "user:x", "user:y", "user:z"]
SOURCES = ["s0", "s1"]
DOCS = [(SOURCES[i % 2], f"{'a/' if i >= 30 else ''}doc-{i}") for i in range(40)]
GLOBS = {"doc-1*": lambda i: "/" not in i and i.startswith("doc-1"), "a/**": lambda i: i.startswith("a/"), "*": lambda i: "/" not in i}
LANGS = ["de", "en", "fr"]


class Row:
    def __init__(self, r, serial):
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
        self.vector = [r.randint(1, 5), r.randint(-3, 3), r.randint(-3, 3), serial % 997]
        self.serial = serial

    def relabelled(self, r, serial):
        other = Row(r, serial)
        other.meta, other.vector, other.tags = self.meta, self.vector, self.tags
        return other

    def again(self, serial):
        other = object.__new__(Row)
        other.__dict__.update(self.__dict__, serial=serial)
        return other

    def narrowed(self, left, serial):
        other = self.again(serial)
        other.allow, other.deny, other.require = map(frozenset, left)
        return other

    def wire(self, doc):
        return {"id": doc, "text": f"{doc} says {self.vector}", "vector": self.vector, "labels": sorted(self.allow), "deny": sorted(self.deny),
                "require": sorted(self.require), "meta": self.meta}


class Version:
    def __init__(self, rows):
        self.rows = rows  # (source, id) -> Row
        self.suspect = self.quarantined = self.dropped = self.ever = self.in_force = False
        self.before, self.gone_back_to = 0, False

    def good(self):
        return not (self.suspect or self.quarantined or self.dropped)


class Model:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.versions = {}
        self.active = self.serial = 0
        self.way = []  # versions that were ever active, lined up: going back is to the left
        self.hold = False
        self.granted, self.denied = {d: set() for d in DOCS}, {d: set() for d in DOCS}
        self.hidden, self.erased, self.dead_before = set(), set(), {}
        self.hidden_globs, self.hidden_sources = set(), set()
        self.members = {}

    # --- who may see what ---
    def head(self):
        return max((n for n, v in self.versions.items() if v.good()), default=0)

    def gone(self, key, row):
        return (key in self.erased or key in self.hidden or row.serial < self.dead_before.get(key, 0) or key[0] in self.hidden_sources
                or any(source in ("", key[0]) and GLOBS[glob](key[1]) for source, glob in self.hidden_globs))

    def left(self, number, key, row):
        """Of the row's labels, after the lists in force over this version."""
        allow, deny, require = set(row.allow), set(row.deny), set(row.require)
        for n, v in self.versions.items():
            later = v.rows.get(key) if n > number and v.in_force else None
            if later:
                allow &= later.allow
                deny |= later.deny
                require |= later.require
        return allow, deny, require

    def sees(self, number, key, holds, asks):
        row = self.versions[number].rows.get(key)
        if row is None or self.gone(key, row):
            return False
        allow, deny, require = self.left(number, key, row)
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

    def permitted(self, number, holds, asks, filtered=None):
        return {key for key in DOCS if self.sees(number, key, holds, asks) and (filtered is None or matches(filtered, self.versions[number].rows[key]))}


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
    return m.r.sample(DOCS, m.r.randint(1, n))


def line_up(m, n, back):
    """At the right end; or, gone back to, right of the next lower number on the way that was gone, among others so by number."""
    v, at = m.versions[n], len(m.way)
    v.before, v.gone_back_to = m.active, back
    if back:
        while v.before > n:
            v.before = m.versions[v.before].before
        at = m.way.index(v.before) + 1 if v.before else 0
        while at < len(m.way) and m.versions[m.way[at]].gone_back_to and m.way[at] < n:
            at += 1
    m.way.insert(at, n)


def point(m, n, back=False):
    v = m.versions[n]
    if not v.ever:
        v.ever = v.in_force = True
        line_up(m, n, back)
    v.suspect, m.active = False, n


def carried(m, rows):
    """Rows of the head that nobody wrote come over as lists in force over it show them."""
    head = m.head()
    for key in [k for k in rows if head and rows[k] is m.versions[head].rows.get(k) and k not in m.erased and rows[k].serial >= m.dead_before.get(k, 0)]:
        left = m.left(head, key, rows[key])
        if left != (set(rows[key].allow), set(rows[key].deny), set(rows[key].require)):
            m.serial += 1
            rows[key] = rows[key].narrowed(left, m.serial)
    return rows


def sealed(m, answer, rows, differs):
    if not differs:
        assert "version" not in answer or answer["version"] == m.head(), (answer, m.head())
        return
    n = max(m.versions, default=0) + 1
    assert answer["version"] == n, (answer, n)
    m.versions[n] = Version(rows)


def put(m, call):
    source = m.r.choice(SOURCES)
    head = m.head()
    rows = dict(m.versions[head].rows) if head else {}
    sent, differs = [], not head
    for key in [k for k in some_docs(m, 12 if head else 40) if k[0] == source]:
        m.serial += 1
        old = rows.get(key)
        kind = m.r.random() if old else 1
        new = old.again(m.serial) if kind < .15 else old.relabelled(m.r, m.serial) if kind < .6 else Row(m.r, m.serial)
        sent.append(new.wire(key[1]))
        if key not in m.erased:
            rows[key], differs = new, True
    if sent:
        answer = call("documents.put", source=source, documents=sent)
        # A row that says what the head says already is left as it is, but for one that a list in force narrows: that grants it again.
        same = {k for k in rows if head and m.versions[head].rows.get(k) and m.versions[head].rows[k].serial >= m.dead_before.get(k, 0)
                and m.versions[head].rows[k].wire(k[1]) == rows[k].wire(k[1])
                and m.left(head, k, m.versions[head].rows[k]) == (set(rows[k].allow), set(rows[k].deny), set(rows[k].require))}
        for k in same:
            rows[k] = m.versions[head].rows[k]
        differs = not head or rows != m.versions[head].rows
        sealed(m, answer, carried(m, rows) if differs else rows, differs)


def delete(m, call):
    head = m.head()
    rows = dict(m.versions[head].rows) if head else {}
    keys = [k for k in rows if k[0] == SOURCES[0] and rows[k].serial >= m.dead_before.get(k, 0) and k not in m.erased]
    if keys:
        gone = m.r.sample(keys, min(len(keys), m.r.randint(1, 3)))
        for k in gone:
            del rows[k]
        answer = call("documents.delete", source=SOURCES[0], docs=[k[1] for k in gone])
        sealed(m, answer, carried(m, rows), True)


def activate(m, call):
    able = [n for n, v in m.versions.items() if not v.quarantined and not v.dropped]
    if able:
        n = m.r.choice(able[-1:] * 3 + able)
        call("versions.activate", version=n, reason="test")
        point(m, n)


def rollback(m, call):
    to = m.versions[m.active].before if m.active else 0
    while to and not m.versions[to].good():
        to = m.versions[to].before
    named = [n for n, v in m.versions.items() if m.active and v.good() and (m.way.index(n) < m.way.index(m.active) if v.ever else n < m.active)]
    to, words = (to, {}) if m.r.random() < .6 or not named else (n := m.r.choice(named), {"to": n})
    if to:
        left = m.active
        assert call("versions.rollback", **words)["active"] == to
        m.versions[left].suspect, m.hold = True, True
        point(m, to, back=True)
        assert m.way.index(to) < m.way.index(left), (m.way, left, to)


def release(m, call):
    if m.hold:
        call("versions.release")
        m.hold = False


def quarantine(m, call):
    able = [n for n, v in m.versions.items() if n != m.active and not v.dropped]
    if able:
        n = m.r.choice(able)
        on = m.r.random() < .4
        call("versions.quarantine" if on else "versions.unquarantine", version=n)
        m.versions[n].quarantined = on


def drop(m, call):
    able = [n for n, v in m.versions.items() if n != m.active and not v.dropped]
    if len(able) > 3:
        n = m.r.choice(able)
        call("versions.drop", version=n)
        m.versions[n].dropped = True


def label_policy(m, call):
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


def hide(m, call):
    key = m.r.choice(DOCS)
    on = m.r.random() < .5
    (m.hidden.add if on else m.hidden.discard)(key)
    call("policy.hide" if on else "policy.unhide", source=key[0], docs=[key[1]])


def hide_many(m, call):
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


def erase(m, call):
    key = m.r.choice(DOCS)
    m.erased.add(key)
    call("policy.erase", source=key[0], docs=[key[1]])


def restore(m, call):
    if m.erased:
        key = m.r.choice(sorted(m.erased))
        m.erased.discard(key)
        m.dead_before[key] = m.serial + 1
        call("policy.restore", source=key[0], docs=[key[1]], reason="test")


def narrows(m, n):
    """Version n takes something from an older one that is still there: only then it has a list."""
    for older in (v for k, v in m.versions.items() if k < n and not v.dropped):
        for key, row in m.versions[n].rows.items():
            was = older.rows.get(key)
            if was and (was.allow - row.allow or row.deny - was.deny or row.require - was.require):
                return True
    return False


def reinstate(m, call):
    able = [n for n, v in m.versions.items() if v.in_force and not v.dropped and narrows(m, n)]
    if able:
        n = m.r.choice(able)
        call("policy.reinstate", version=n, reason="test")
        m.versions[n].in_force = False


def members(m, call):
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


STEPS = [(put, 26), (delete, 4), (activate, 16), (rollback, 6), (release, 3), (quarantine, 4), (drop, 2), (label_policy, 16), (hide, 6), (hide_many, 5),
         (erase, 4), (restore, 3), (reinstate, 3), (members, 8)]


def step(m, call):
    """One random change; its name."""
    run = put if not m.versions else m.r.choices([s for s, _ in STEPS], [w for _, w in STEPS])[0]
    run(m, call)
    return run.__name__


# --- questions ---
# Each document here has a text of its own and one passage, so none of these changes which documents are found.
SHAPES = [("per_doc", 1), ("distinct", True), ("expand", 2), ("section", True), ("max_tokens", 1000000), ("operators", True), ("highlight", True)]


def question(m):
    """Fields of a random question, but for who asks."""
    q = {"vector": [1, m.r.randint(-3, 3), m.r.randint(-3, 3), 1], "k": m.r.choice([1, 5, 1000])}
    if m.r.random() < .4:
        q["filter"] = random_filter(m.r)
    if m.r.random() < .6:
        q["mode"] = m.r.choice(["dense", "exact"])
    if m.r.random() < .4:
        q["version"] = m.r.randint(1, max(m.versions) + 1)
    for name, value in SHAPES:
        if m.r.random() < .15:
            q[name] = value
    return q


def wrong(m, q, holds, asks, got):
    """What is wrong with an answer; None: nothing. got: a result map, or {"error": "CODE: ..."}."""
    number = q.get("version") or m.active
    v = m.versions.get(number)
    if v is None or v.quarantined or v.dropped:
        return None if str(got.get("error", "")).split(":")[0] in ("NOT_FOUND", "REFUSED") else f"version {number} answers: {got}"
    if "error" in got:
        return got["error"]
    want = m.permitted(number, holds, asks, q.get("filter"))
    hits = [(h["source"], h["doc"]) for h in got["hits"]]
    if got["made_by"]["version"] != number:
        return f"version {got['made_by']['version']} answers, not {number}"
    if len(set(hits)) != len(hits) or not set(hits) <= want or len(hits) != min(q["k"], len(want)):
        return f"hits {sorted(hits)}, of {sorted(want)}"
    return None


def narrowed(m, holds):
    """(held, asked with, what the request says of it)"""
    if m.r.random() < .3:
        said = m.r.sample(LABELS, m.r.randint(1, 4))
        return holds, holds & set(said), {"labels": said}
    return holds, holds, {}
