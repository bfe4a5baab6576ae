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
from oracle import SOURCES, Look, fate, outcome, point, sealed, some_rows, wire
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
        self.failing = Failing(folder, os.path.join(w.path, how[1])) if how else None
        if how:
            self.failing.arm("fdatasync", w.m.r.randint(1, how[2]), kill=how[0], stop=not how[0])
            env.update(self.failing.env)
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

    def end(self, kill=False):
        """(exit code, answer or None, what it said)"""
        if self.failing:
            self.failing.disarm()
        if kill:
            self.p.kill()
        elif self.state() == "T":
            self.p.send_signal(signal.SIGCONT)
        try:
            out, err = self.p.communicate(self.text[1] if self.text and not kill else None, timeout=120)
        except BrokenPipeError:
            out, err = self.p.communicate(timeout=120)
        if self.failing:
            self.failing.close()
        return self.p.returncode, json.loads(out) if out else None, err.decode()


class Ingest:
    """One source's job, from its begin on."""
    def __init__(self, w, ix, source, serial):
        m, self.w, self.ix, self.source, self.name = w.m, w, ix, source, f"job{serial}"
        look = Look(m, ix)
        self.told = some_rows(m, ix, look, source, ("put", "put", "put", "put", "labels", "delete"))
        self.halves = m.r.random() < .3
        at = -(-len(self.told) // 2)
        self.stages = [0, at, len(self.told)] if self.halves else [0, len(self.told)]  # how many rows may have reached the disk
        lines = [json.dumps(wire(*t)).encode() + b"\n" for t in self.told]
        fill = [json.dumps({"id": f"never-{i}", "op": "delete"}).encode() + b"\n" for i in range(FILL)] if self.halves else []
        self.fill = len(fill)
        self.text = b"".join(lines[:at] + fill), b"".join(lines[at:])
        self.sync, self.activate = m.r.random() < .4, m.r.random() < .4
        self.moment = m.r.choice(list(MOMENTS))
        self.stdin = self.moment == "input"
        path = os.path.join(w.dir, self.name + ".jsonl")
        with open(path, "wb") as f:
            f.write(b"".join(self.text))
        self.args = ["ingest", f"acme/{ix.name}", "-" if self.stdin else path, "--format", "jsonl", "--source", source] + ["--sync"] * self.sync + ["--activate"] * self.activate
        self.files = [None]  # what of it may lie in its file: (version it builds on, rows taken)
        self.id = self.sealed = None
        self.done = not self.told
        if self.told:
            self.start(self.args)

    def __str__(self):
        return f"{self.name} ({self.id}) of {self.ix.name}, {self.source}: {self.moment}, sync {self.sync}, activate {self.activate}, stdin {self.stdin}"

    # --- a phase: from a start to a kill or the end ---
    def start(self, args):
        m = self.w.m
        m.busy.add((self.ix.name, self.source))
        self.look = Look(m, self.ix)
        self.plans = [plan for f in self.files for plan in self.plan(f)]
        self.wrote = m.wrote[self.ix.name, self.source]
        self.command = Command(self.w, self.name, self.moment, args, self.text)
        self.held = self.command.held
        if not self.held:
            self.over(*self.command.end())

    def plan(self, file):
        look, first = self.look, []
        if file:
            base, first = file
            restored = any(e.row and e.key not in look.erased and e.restored != look.restored[e.key] for e in first)
            if base != look.base or restored:
                return []
        return [first + [Entry(look, t) for t in self.told[len(first):]]]

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

    def ends(self):
        """[(plan, its outcome now)]"""
        return [(p, outcome(self.w.m, self.ix, self.look, {e.key: e.row for e in p if e.row}, self.removed(p))) for p in self.plans]

    # --- its time is up ---
    def go_on(self):
        """Ends what it is at; whether the job is over."""
        if self.held:
            self.over(*self.command.end(kill=self.w.m.r.random() < .3))
        else:
            if self.wrote != self.w.m.wrote[self.ix.name, self.source]:
                self.files = [None]  # a small write took its place
            self.moment = "input" if self.stdin else self.w.m.r.choice(["stopped", "killed"])
            self.start(["ingest", f"acme/{self.ix.name}", "--resume", self.id])
        return self.done

    def listed(self):
        """Its id, once it is known, and its state."""
        jobs = json.loads(self.w.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"]
        self.id = self.id or next((j["job"] for j in jobs if j["pid"] == self.command.p.pid), None)
        return next((j["state"] for j in jobs if j["job"] == self.id), None)

    def over(self, code, answer, said):
        self.held = self.done = False
        self.w.m.busy.discard((self.ix.name, self.source))
        if code == -signal.SIGKILL:
            self.killed()
        else:
            self.ended(code, answer, said)

    def killed(self):
        state = self.listed()
        told = self.w.root.call("versions.list", index=self.ix.name)
        n, ix = max((v["version"] for v in told["versions"]), default=0), self.ix
        if n > max(ix.versions, default=0):
            self.seal(n, [rows for _, rows in self.ends() if rows not in ("conflict", "unchanged")])
        if told["active"] != ix.active:
            assert self.activate and told["active"] == (self.sealed or self.look.base) and self.may_flip(told["active"]), (self, told)
            point(ix, told["active"])
        self.files = [None] + [(self.look.base, p[:n]) for p in self.plans for n in self.stages[1:]]
        self.done = self.id is None or state not in ("interrupted", "failed")  # before it began, or after its end

    def seal(self, n, ends):
        assert ends, f"{self} sealed version {n}, though nothing is to be sealed"
        self.sealed = n
        sealed(self.ix, n, ends[0])

    # --- its end ---
    def may_flip(self, n):
        return not self.ix.hold and self.ix.versions[n].good()

    def flipped(self, n, answer):
        wanted = self.activate and n and self.ix.active < n
        may = wanted and self.may_flip(n)
        assert (answer["activated"], answer["state"] == "held") == (bool(may), bool(wanted and not may)), (str(self), n, answer)
        if may:
            point(self.ix, n)

    def ended(self, code, answer, said):
        m, ix = self.w.m, self.ix
        self.done = True
        if self.sealed:
            assert code in (0, 5) and answer["version"] == self.sealed, (str(self), code, answer, said)
            return self.flipped(self.sealed, answer)
        ends = self.ends()
        kinds = [rows if isinstance(rows, str) else "version" for _, rows in ends]
        if code == 5 and answer is None:
            assert "run it again" in said and "conflict" in kinds, f"{self}: {kinds}, but {said}"
            self.w.told["conflict"] += 1
            self.files = [None]
            self.done = self.listed() != "failed" or m.r.random() < .5
            return None
        assert code in (0, 5), f"{self}: {code} {said}"
        same = lambda p: all(answer["counts"][f] == n for f, n in self.counts(p).items())
        fit = [rows for (p, rows), kind in zip(ends, kinds) if same(p)]
        assert fit, f"{self}: {answer}, not {[(dict(self.counts(p)), kind) for (p, _), kind in zip(ends, kinds)]}"
        if "version" not in answer or answer["version"] in ix.versions:
            assert "unchanged" in fit and answer.get("version", ix.head()) == ix.head(), f"{self}: {answer}, {kinds}, head {ix.head()}"
            self.w.told["unchanged"] += 1
            return self.flipped(answer.get("version", self.look.base), answer)
        self.w.told["sealed on another" if ix.head() != self.look.base else "sealed"] += 1
        self.seal(answer["version"], [rows for rows in fit if not isinstance(rows, str)])
        return self.flipped(answer["version"], answer)


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
        free = [(ix, s) for ix in self.w.m.indexes for s in SOURCES if (ix.name, s) not in taken]
        if len(self.under_way) == 2 or r.random() > self.OFTEN:
            return None
        self.serial += 1
        ix, source = r.choice(free)
        job = Ingest(self.w, ix, source, self.serial)
        if not job.done:
            self.under_way.append([job, r.randint(1, self.LONG)])
        return TURNS[0]

    def close(self):
        for job, _ in self.under_way:
            if job.held:
                job.command.end(kill=True)
