"""Jobs that overlap other changes of the tenant of oracle.py: a command that is held, or killed and resumed, at a moment of MOMENTS while
other changes are done, and then is sealed on the head there is by then, or ends with CONFLICT, as the documents say.

What a job found out before it was killed may count after a resume, or not, by how much of it had reached the disk; so the model has
some plans, one of which must be the one that was followed."""
import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
import time
from collections import Counter

from failing import Failing
from oracle import ANALYSERS, PRECISIONS, SOURCES, Look, Version, descends, fate, outcome, point, sealed, some_rows, wire
from serving import CAIRN

FILL = 1100  # rows that say nothing, between the two halves of an input: more than a job writes at once
# how a command is held or killed: name: (killed there, what is counted, below which folder, the highest number)
MOMENTS = {"input": None, "stopped": (False, "tenants/acme/segments", 5), "killed": (True, "", 16)}
TURNS = "a job begins", "a job goes on"


class Entry:
    """A row of the input as a job took it."""
    def __init__(self, look, told):
        self.fate, self.row = fate(look, *told)
        self.key, self.restored = told[1], look.restored[told[1]]


class Command:
    """A process that is under way."""
    def __init__(self, w, name, moment, args, text=None):
        self.text, how = text, MOMENTS[moment]
        folder = os.path.join(w.dir, name)
        os.makedirs(folder, exist_ok=True)
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": w.path}
        self.failing = Failing(folder, os.path.join(w.path, how[1] if how else ""))
        env.update(self.failing.env)
        if how:
            self.failing.arm("fdatasync", w.m.r.randint(1, how[2]), kill=how[0], stop=not how[0])
        self.p = subprocess.Popen([CAIRN, *args, "-o", "json"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if how:
            self.wait(lambda: self.state() in "TZ")
        else:
            self.p.stdin.write(text[0])
            self.p.stdin.flush()
            self.wait(lambda: self.unread() == 0 or self.state() == "Z")
        self.held = self.state() != "Z"

    def state(self):
        with open(f"/proc/{self.p.pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]

    def unread(self):
        return struct.unpack("i", fcntl.ioctl(self.p.stdin.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]

    def wait(self, there):
        end = time.time() + 60
        while not there():
            assert time.time() < end, f"{self.p.args} neither ended nor waited"
            time.sleep(.005)

    def end(self, kill=False, at=0):
        """(exit code, answer or None, what it said). at: it goes on, and is killed at such a sync."""
        self.failing.disarm()
        if at:
            self.failing.arm("fdatasync", at, kill=True)
        if kill:
            self.p.kill()
        elif self.state() == "T":
            self.p.send_signal(signal.SIGCONT)
        try:
            out, err = self.p.communicate(self.text[1] if self.text and not kill else None, timeout=120)
        except BrokenPipeError:
            out, err = self.p.communicate(timeout=120)
        self.failing.close()
        return self.p.returncode, json.loads(out) if out else None, err.decode()


class Job:
    """From its begin on: held, dead or done."""
    verb = None

    def __init__(self, w, ix, source, serial):
        self.w, self.ix, self.source, self.name = w, ix, source, f"job{serial}"
        self.id, self.text = None, None
        self.held = self.done = False

    def start(self, moment, *args):
        m = self.w.m
        m.busy.add((self.ix.name, self.source))
        self.look, self.moment = Look(m, self.ix), moment
        self.begin()
        self.command = Command(self.w, self.name, moment, [self.verb, f"acme/{self.ix.name}", *args], self.text)
        self.held = self.command.held
        if self.held:
            self.learn()
        else:
            self.over(*self.command.end())

    def go_on(self):
        """Ends what it is at; whether the job is over."""
        if self.held:
            r = self.w.m.r
            self.over(*self.command.end(kill=r.random() < .3, at=r.randint(1, 16) if r.random() < .4 else 0))
        else:
            self.start("input" if self.text and self.moment == "input" else self.w.m.r.choice(["stopped", "killed"]), "--resume", self.id)
        return self.done

    def over(self, code, answer, said):
        self.held = False
        self.w.m.busy.discard((self.ix.name, self.source))
        if code == -signal.SIGKILL:
            state = self.listed()
            self.killed()
            self.done = state not in ("interrupted", "failed")  # before it began, or after its end
        else:
            self.done = True
            self.ended(code, answer, said)

    def listed(self):
        """Its state, and its id, once that is known."""
        jobs = json.loads(self.w.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"]
        self.id = self.id or next((j["job"] for j in jobs if j["pid"] == self.command.p.pid), None)
        return next((j["state"] for j in jobs if j["job"] == self.id), None)

    def learn(self):
        """What of it is seen while it is held."""

    def may_flip(self, n):
        v = self.ix.versions[n]
        return not self.ix.hold and v.good() and (not v.trial or v.base == self.ix.head())

    def flipped(self, n, answer):
        wanted = self.activate and n and self.ix.active < n
        may = wanted and self.may_flip(n)
        assert (answer["activated"], answer["state"] == "held") == (bool(may), bool(wanted and not may)), (str(self), n, answer)
        if may:
            point(self.ix, n)


class Ingest(Job):
    verb = "ingest"

    def __init__(self, w, ix, source, serial):
        super().__init__(w, ix, source, serial)
        m = w.m
        self.told = some_rows(m, ix, Look(m, ix), source, ("put", "put", "put", "put", "labels", "delete"))
        halves, at = m.r.random() < .3, -(-len(self.told) // 2)
        self.stages = [at] * halves + [len(self.told)]  # how many rows may have reached the disk
        lines = [json.dumps(wire(*t)).encode() + b"\n" for t in self.told]
        fill = [json.dumps({"id": f"never-{i}", "op": "delete"}).encode() + b"\n" for i in range(FILL if halves else 0)]
        self.fill = len(fill)
        self.text = b"".join(lines[:at] + fill), b"".join(lines[at:])
        self.sync = m.r.random() < .4 and any(op != "delete" for op, _, _ in self.told)  # else it is guarded
        self.activate = m.r.random() < .4
        moment, path = m.r.choice(list(MOMENTS)), os.path.join(w.dir, self.name + ".jsonl")
        with open(path, "wb") as f:
            f.write(b"".join(self.text))
        self.files = [None]  # what of it may lie in its file: (the look that it was made by, rows taken, whether they are to be made again)
        self.sealed = None
        self.done = not self.told
        if self.told:
            self.start(moment, "-" if moment == "input" else path, "--format", "jsonl", "--source", source, *["--sync"] * self.sync, *["--activate"] * self.activate)

    def __str__(self):
        return f"{self.name} ({self.id}) of {self.ix.name}, {self.source}: {self.moment}, sync {self.sync}, activate {self.activate}"

    # --- plans ---
    def begin(self):
        m, key = self.w.m, (self.ix.name, self.source)
        if self.id and self.wrote != m.wrote[key]:
            self.files = [None]  # a small write took its place
        self.wrote = m.wrote[key]
        self.recipe = self.ix.versions[self.look.base].recipe if self.look.base else self.ix.recipe
        self.plans = [plan for f in self.files for plan in self.plan(f)]

    def plan(self, file):
        look, made, first, whole = self.look, *(file or (None, [], False))
        if any(e.row and e.key not in look.erased and e.restored != look.restored[e.key] for e in first):
            return []
        if whole:
            return [self.again(first)] if descends(self.ix, made, look.base) else []
        return [first + [Entry(look, t) for t in self.told[len(first):]]] if not made or made.base == look.base else []

    def again(self, plan):
        """Its rows taken once more, by the head and the policy of now."""
        look = Look(self.w.m, self.ix)
        return [Entry(look, ("put", e.key, e.row)) if e.row else e for e in plan]

    def removed(self, plan):
        gone = {e.key for e in plan if e.fate == "deleted"}
        unseen = {k for k in self.look.rows if k[0] == self.source} - {e.key for e in plan}
        return gone | (unseen if self.sync else set())

    def counts(self, plan):
        c = Counter(e.fate for e in plan)
        c["deleted"] = len(self.removed(plan))
        c["unchanged"] += self.fill
        c["read"] = sum(c[f] for f in ("added", "changed", "relabelled", "unchanged", "rejected"))
        return c

    def outcome(self, plan):
        """Now; where the head's rows are made otherwise by now, the rows are taken once more, by that head and the policy of now."""
        m, ix, look, removed = self.w.m, self.ix, self.look, self.removed(plan)
        written = {e.key: e.row for e in plan if e.row}
        end = outcome(m, ix, look, written, removed)
        if isinstance(end, str) or self.kept_model():
            return end
        if not look.base:  # it cannot be told from a rebuild's what was made of nothing
            return "conflict"
        return outcome(m, ix, Look(m, ix), {e.key: e.row for e in self.again(plan) if e.row}, removed)

    def kept_model(self):
        head = self.ix.head()
        return not head or self.ix.versions[head].recipe == self.recipe

    def ends(self, counts=None):
        """Those of the plans that count so."""
        fits = lambda p: counts is None or not self.kept_model() or all(counts[f] == n for f, n in self.counts(p).items())
        return [self.outcome(p) for p in self.plans if fits(p)]

    # --- what becomes of it ---
    def killed(self):
        told, ix = self.w.root.call("versions.list", index=self.ix.name), self.ix
        newest = max(told["versions"], key=lambda v: v["version"], default={"version": 0})
        if newest["version"] > max(ix.versions, default=0):
            self.seal(newest["version"], self.ends(newest["counts"]))
        if told["active"] != ix.active:
            assert self.activate and told["active"] == (self.sealed or self.look.base) and self.may_flip(told["active"]), (str(self), told)
            point(ix, told["active"])
        self.files = [None] + [(self.look, p[:n], False) for p in self.plans for n in self.stages]
        if not self.kept_model():
            self.files += [(Look(self.w.m, ix), self.again(p), True) for p in self.plans if not self.removed(p)]
        self.w.told["killed, and sealed"] += bool(self.sealed)

    def seal(self, n, ends):
        made = [rows for rows in ends if not isinstance(rows, str)]
        assert made, f"{self} sealed version {n}, though nothing is to be sealed: {ends}"
        self.sealed = n
        sealed(self.ix, n, made[0])

    def ended(self, code, answer, said):
        ix, told = self.ix, self.w.told
        if self.sealed:
            assert code in (0, 5) and answer["version"] == self.sealed, (str(self), code, answer, said)
            return self.flipped(self.sealed, answer)
        if code == 5 and answer is None:
            assert "run it again" in said and "conflict" in self.ends(), f"{self}: {said}"
            told["conflict"] += 1
            self.files = [None]
            self.done = self.listed() != "failed" or self.w.m.r.random() < .5
            return None
        assert code in (0, 5), f"{self}: {code} {said}"
        head = ix.head()
        fit = self.ends(answer["counts"])
        assert fit, f"{self}: {answer}, not {[dict(self.counts(p)) for p in self.plans]}"
        if "version" not in answer or answer["version"] in ix.versions:
            assert "unchanged" in fit and answer.get("version", head) == head, f"{self}: {answer}, head {head}"
            told["unchanged"] += 1
            return self.flipped(answer.get("version", self.look.base if self.kept_model() else head), answer)
        told["made again" if not self.kept_model() else "sealed on another" if head != self.look.base else "sealed"] += 1
        self.seal(answer["version"], fit)
        return self.flipped(answer["version"], answer)


class Rebuild(Job):
    """By another analyser of words or precision of the model, or on from a trial that there is."""
    verb = "rebuild"

    def __init__(self, w, ix, serial):
        super().__init__(w, ix, "", serial)
        m, trials, head = w.m, [n for n, v in ix.versions.items() if v.trial and not v.dropped], ix.head()
        self.activate, self.of = m.r.random() < .4, m.r.choice(trials) if trials and m.r.random() < .4 else 0
        name, kinds = m.r.choice([("analyser", ANALYSERS), ("precision", PRECISIONS)][:1 + ix.embedded])
        self.asked = {} if self.of else {name: m.r.choice(kinds)}
        self.mine, self.alive = [], set()  # alive: what its file may hold, though it was erased since
        what = ["--catch-up", str(self.of)] if self.of else [f"--{name}", self.asked[name]]
        self.start(m.r.choice(["stopped", "killed"]), *what, *["--activate"] * self.activate)

    def __str__(self):
        return f"{self.name} ({self.id}) rebuilds {self.ix.name}: {self.moment}, {self.asked}, of {self.of}, activate {self.activate}, made {self.mine}"

    def begin(self):
        self.alive |= {self.look.rows[k] for k in set(self.look.rows) - self.look.dead}

    def learn(self):
        """The trials that it has made by now, and the pointer."""
        m, ix = self.w.m, self.ix
        told = self.w.root.call("versions.list", index=ix.name)
        for x in sorted(told["versions"], key=lambda x: x["version"]):
            n, base = x["version"], x["base"]
            if n not in ix.versions:
                of, before = ix.versions[base], ix.versions.get(max([*self.mine, self.of]))
                self.mine.append(n)
                made = [{k: row for k, row in of.rows.items() if row in held or not m.erased_row(k, row)} for held in ((), self.alive)]
                v = ix.versions[n] = Version(n, made[x["documents"] != len(made[0])], list(ix.versions.values()), base)
                v.trial, v.after, v.fusion, v.recipe = True, of.after, of.fusion, before.recipe if before else {**of.recipe, **self.asked}
                back = [k for k in v.rows if m.restored[k] and k not in m.erased]  # its file may have rows of what was erased then
                v.quarantined = (of.dropped or back != []) and "quarantined" in x["marks"]
                if v.quarantined and not of.dropped:
                    v.rows.update((k, v.rows[k].again(0)) for k in back)
                assert x["state"] == "dropped" or x["documents"] == len(v.rows), (str(self), x, v.rows.keys())
        for x in told["versions"]:
            v = ix.versions[x["version"]]
            if x["state"] == "dropped" and not v.dropped:
                assert x["version"] in self.mine and v.trial and not v.pinned and x["version"] != max(self.mine), (str(self), x)
                v.dropped = True
        return told

    def killed(self):
        told, ix = self.learn(), self.ix
        if told["active"] != ix.active:
            assert self.activate and told["active"] == (max(self.mine, default=0) or self.look.base) and self.may_flip(told["active"]), (str(self), told)
            point(ix, told["active"])

    def ended(self, code, answer, said):
        ix, before = self.ix, list(self.mine)
        head, lost = ix.head(), any(ix.versions[n].dropped for n in [*before, self.of] if n)
        self.learn()
        if answer is None:
            assert (code == 3 and not head) or (code == 5 and "rebuild anew" in said and lost) or (code == 1 and "no rebuild that waits" in said and self.of), (str(self), code, said)
            self.w.told["rebuild: no"] += 1
            return None
        assert code in (0, 5), f"{self}: {code} {said}"
        n = answer.get("version")
        if n is None:
            assert not self.look.rows or ix.versions[self.look.base].recipe.items() >= self.asked.items(), (str(self), answer)
            self.w.told["rebuild: unchanged"] += 1
            return self.flipped(self.look.base, answer)
        if not ix.versions[n].trial:  # a person made it active while the job was dead
            assert n in before and answer["activated"], (str(self), answer)
            return None
        v = ix.versions[n]
        self.w.told["rebuild of another" if v.base != self.look.base else "rebuild"] += 1
        assert not head or v.base == head, (str(self), answer, head)
        assert n in self.mine or n == self.of, (str(self), answer)
        rows = {k for k, row in ix.versions[v.base].rows.items() if not self.w.m.erased_row(k, row)}
        assert set(v.rows) == rows and (not v.quarantined or not head), (str(self), v.__dict__, rows)
        assert all(ix.versions[x].dropped or ix.versions[x].pinned or not ix.versions[x].trial for x in self.mine if x != n), (str(self), answer)
        return self.flipped(n, answer)


class Jobs:
    """What is under way in a world, at most two at once."""
    OFTEN, LONG = .2, 5  # how often one begins; other changes between, at most

    def __init__(self, w):
        self.w, self.under_way, self.serial = w, [], 0
        w.told = Counter()

    def turn(self):
        """Begins or goes on with one; its name, or None: it is the turn of another change."""
        r = self.w.m.r
        for x in self.under_way:
            x[1] -= 1
            if x[1] < 0:
                x[1] = r.randint(1, self.LONG)
                if x[0].go_on():
                    self.under_way.remove(x)
                return TURNS[1]
        taken = {(x[0].ix.name, x[0].source) for x in self.under_way}
        free = [(ix, s) for ix in self.w.m.indexes for s in (*SOURCES, "") if (ix.name, s) not in taken]
        if len(self.under_way) == 2 or r.random() > self.OFTEN:
            return None
        self.serial += 1
        ix, source = r.choice(free)
        job = Ingest(self.w, ix, source, self.serial) if source else Rebuild(self.w, ix, self.serial)
        if not job.done:
            self.under_way.append([job, r.randint(1, self.LONG)])
        return TURNS[0]

    def close(self):
        for job, _ in self.under_way:
            if job.held:
                job.command.end(kill=True)
