"""Every file of a tenant and of the host cut short, to several lengths, while a real server answers questions, flips versions,
changes policy and takes documents: an answer is right or an error, nothing hangs, the server's end (if it ends) says which
file, other tenants go on, and a server started anew refuses just what is lost."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from serving import CAIRND, Data, Failed, Rpc, Server, count, run

VECTOR = [1.0, 2.0, 0.0, 1.0]
LOST = 74  # CN_EXIT_LOST of index/store/env.h
BEFORE, AFTER = .25, count(.5, 1.5)
ERRORS = ("DAMAGED", "UNAVAILABLE", "OVERLOADED", "CONFLICT", "NOT_FOUND", "UNAUTHENTICATED", "INTERNAL")
LENGTHS = {"nothing": lambda size: 0, "part of a meta page": lambda size: 100, "one page": lambda size: 4096, "the meta pages": lambda size: 8192,
           "half": lambda size: size // 2 + 100, "all but a page": lambda size: max(size - 4096, 0), "all but a byte": lambda size: size - 1}


class Template(Data):
    """acme: index docs with two versions, of which the second has one more document, and one that is hidden; index more.
    other: index x."""

    def __init__(self):
        super().__init__(40)
        self.cairn("ingest", "acme/docs", "-", text=self.row("added", [1, 2, 0, 1]))
        self.cairn("policy", "hide", "acme", "d6")
        self.cairn("index", "create", "acme/more", "--embedder", "none")
        self.cairn("ingest", "acme/more", "-", "--activate", text=self.row("m", VECTOR))
        for i in range(5):  # a catalog of more than a few pages
            self.cairn("policy", "hide", "acme", *[f"nobody-{i}-{n}" for n in range(20)])
        self.cairn("tenant", "add", "other")
        self.cairn("index", "create", "other/x", "--embedder", "none")
        self.cairn("ingest", "other/x", "-", "--activate", text=self.row("h", VECTOR))
        self.key = self.make_key("--scope", "query,ingest,activate,versions,policy,audit", "--labels", "public")
        self.other_key = json.loads(self.cairn("key", "add", "other", "--scope", "query", "--labels", "public", "-o", "json").stdout)["key"]
        server = Server(self)  # so that there are request records
        ask(Rpc(server, self.key), 1)
        while not os.path.exists(os.path.join(self.path, "tenants", "acme", "trace.mdb")):
            time.sleep(.01)
        server.stop()

    @staticmethod
    def row(name, vector):
        return json.dumps({"id": name, "text": f"text of {name} " * 100, "labels": ["public"], "vector": vector}) + "\n"


class Copy:
    """A data directory of its own, as the template's was."""

    def __init__(self, template):
        self.dir = tempfile.mkdtemp(prefix="cairn-cut-")
        self.path = os.path.join(self.dir, "data")
        shutil.copytree(template.path, self.path, ignore=shutil.ignore_patterns("*-lock", "*-writer"))

    def close(self):
        shutil.rmtree(self.dir)


class Work(threading.Thread):
    """One connection that asks again and again; what it got wrong, what went well since `cut`, what was refused."""

    def __init__(self, server, key, step):
        super().__init__(daemon=True)
        self.conn, self.step = Rpc(server, key), step
        self.conn.s.settimeout(20)
        self.wrong, self.good_since, self.errors, self.cut, self.over = None, 0, [], False, False
        self.start()

    def run(self):
        n = 0
        while not self.over:
            n += 1
            try:
                began_after = self.cut
                self.wrong = self.wrong or self.step(self.conn, n)
                self.good_since += began_after
            except Failed as e:
                if "connection was closed" in str(e):
                    return
                self.errors.append(str(e))
                time.sleep(.002)
            except (TimeoutError, OSError) as e:
                if not isinstance(e, (BrokenPipeError, ConnectionResetError)):
                    self.wrong = self.wrong or f"no answer: {e}"
                return


def ask(conn, n):
    hits = [h["doc"] for h in conn.call("query", index="docs", vector=VECTOR, k=100)["hits"]]
    want = {f"d{i}" for i in range(0, 40, 2) if i != 6}
    extra = set(hits) - want
    missing = want - set(hits) - {"d4"}  # hidden and shown again all the while
    return f"{hits}: missing {missing}, too many {extra}" if missing or extra - {"added"} or len(hits) != len(set(hits)) else None


def ask_other(conn, n):
    hits = [h["doc"] for h in conn.call("query", index="x", vector=VECTOR, k=100)["hits"]]
    return None if hits == ["h"] else f"other: {hits}"


def flip(conn, n):
    conn.call("versions.activate", index="docs", version=1 + n % 2)


def change_policy(conn, n):
    conn.call("policy.hide" if n % 2 else "policy.unhide", docs=["d4"])


def put(conn, n):
    conn.call("documents.put", index="more", activate=True, documents=[{"id": f"p{n % 5}", "text": f"text {n} " * 50, "labels": ["public"], "vector": VECTOR}])


def look(conn, n):
    conn.call("audit.list", limit=200)
    conn.call("versions.list", index="docs")


STEPS = (ask, ask, flip, change_policy, put, look)


class CutShort(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = Template()

    @classmethod
    def tearDownClass(cls):
        cls.template.close()

    def segments(self, tenant="acme"):
        """The largest, and a version's own, which has no rows."""
        found = sorted((f for f in glob.glob(os.path.join(self.template.path, "tenants", tenant, "segments", "*.mdb")) if os.path.basename(f).count(".") == 1), key=os.path.getsize)
        return [os.path.relpath(f, self.template.path) for f in (found[-1], found[0])]

    def kill(self, server):
        if server.p.poll() is None:
            server.stop(signal.SIGKILL)

    def under_way(self, data, path, length):
        """The server and its workers' findings, after `path` was cut in the midst of it all."""
        server = Server(data)
        self.addCleanup(self.kill, server)
        workers = [Work(server, self.template.key, step) for step in STEPS] + [Work(server, self.template.other_key, ask_other)]
        time.sleep(BEFORE)
        size = os.path.getsize(path)
        os.truncate(path, LENGTHS[length](size))
        for w in workers:
            w.cut = True
        time.sleep(AFTER)
        for w in workers:
            w.over = True
        for w in workers:
            w.join(30)
            self.assertFalse(w.is_alive(), f"{w.step.__name__} hangs")
            self.assertIsNone(w.wrong)
            for e in w.errors:
                self.assertTrue(e.startswith(ERRORS), e)
        return server, workers

    def log(self, server):
        with open(server.log_path) as f:
            return f.read()

    def check_end(self, server, name):
        """True when it goes on. If not, it ended by its own word, which names the file."""
        try:
            server.p.wait(0 if server.p.poll() is not None else .05)
        except subprocess.TimeoutExpired:
            return True
        said = self.log(server)
        self.assertEqual(server.p.returncode, LOST, said[-2000:])
        self.assertIn(name, said)
        self.assertIn("backup", said)
        return False

    def anew(self, data, tenant_lost):
        """Started anew: the other tenant as before, and of this one what is right, or an error."""
        server = Server(data)
        self.addCleanup(self.kill, server)
        self.assertIsNone(ask_other(Rpc(server, self.template.other_key), 1))
        told = []
        for step in STEPS:
            try:
                self.assertIsNone(step(Rpc(server, self.template.key), 1))
            except Failed as e:
                self.assertTrue(str(e).startswith(ERRORS), e)
                told.append(str(e))
        if tenant_lost:
            self.assertTrue(told and any(t.startswith("DAMAGED") for t in told), told)
        self.assertEqual(server.stop(), 0)

    def cut(self, name):
        for length in LENGTHS:
            with self.subTest(file=name, length=length):
                data = Copy(self.template)
                try:
                    path = os.path.join(data.path, name)
                    server, workers = self.under_way(data, path, length)
                    goes_on = self.check_end(server, os.path.basename(name))
                    if goes_on:
                        self.assertGreater(workers[-1].good_since, 0, workers[-1].errors[-3:])
                        self.assertEqual(server.stop(), 0)
                    self.anew(data, "control.mdb" in name and length != "all but a page" and length != "all but a byte")
                finally:
                    data.close()

    def test_control(self):
        self.cut("tenants/acme/control.mdb")

    def test_work(self):
        self.cut("tenants/acme/work.mdb")

    def test_trace(self):
        self.cut("tenants/acme/trace.mdb")

    def test_segments(self):
        for name in self.segments():
            self.cut(name)

    def goes_on(self, server, workers):
        """What is committed counts, and everything is answered as before."""
        conn = Rpc(server, self.template.key)
        conn.call("policy.hide", docs=["d8"])
        with self.assertRaises(AssertionError):
            self.assertIsNone(ask(conn, 1))
        conn.call("policy.unhide", docs=["d8"])
        self.assertIsNone(ask(conn, 1))
        for w in workers:
            self.assertGreater(w.good_since, 0, (w.step.__name__, w.errors[-3:]))

    def test_lock_file(self):
        """LMDB's own, in which its readers stand: it is opened anew, and all goes on. Only under a writer that holds its mutex
        there is nothing to go on with: an end that says which file."""
        for length in ("nothing", "part of a meta page", "one page", "the meta pages", "all but a page", "all but a byte"):
            with self.subTest(length=length):
                data = Copy(self.template)
                try:
                    server, workers = self.under_way(data, os.path.join(data.path, "tenants/acme/control.mdb-lock"), length)
                    if self.check_end(server, "control.mdb-lock"):
                        self.goes_on(server, workers)
                        self.assertIn('"event":"lock.lost"', self.log(server).replace('": "', '":"'))
                        self.assertEqual(server.stop(), 0)
                    self.anew(data, False)
                    run("audit", "verify", "acme", data=data.path)
                finally:
                    data.close()

    def test_lock_file_removed(self):
        """Another program then makes a lock file of its own: neither writes over the other's commits, and each sees them."""
        for tenant_dir in ("tenants/acme/control.mdb-lock", "cairn.mdb-lock"):
            with self.subTest(tenant_dir):
                data = Copy(self.template)
                try:
                    server = Server(data)
                    self.addCleanup(self.kill, server)
                    conn = Rpc(server, self.template.key)
                    self.assertIsNone(ask(conn, 1))
                    for i in range(3):
                        os.unlink(os.path.join(data.path, tenant_dir))
                        run("policy", "hide", "acme", f"d{10 + 2 * i}", data=data.path)
                        hits = [h["doc"] for h in conn.call("query", index="docs", vector=VECTOR, k=100)["hits"]]
                        self.assertNotIn(f"d{10 + 2 * i}", hits)
                        conn.call("policy.hide", docs=[f"d{20 + 2 * i}"])
                        self.assertIn(f"d{20 + 2 * i}", run("policy", "show", "acme", f"d{20 + 2 * i}", data=data.path).stdout)
                    self.assertEqual(server.stop(), 0)
                    run("audit", "verify", "acme", data=data.path)
                    hidden = run("query", "acme/docs", "--batch", "-", "-o", "json", text=json.dumps({"vector": VECTOR, "k": 100}) + "\n", data=data.path, check=False).stdout
                    for i in (10, 12, 14, 20, 22, 24):
                        self.assertNotIn(f'"d{i}"', hidden)
                finally:
                    data.close()

    def test_host(self):
        """Keys and the list of tenants: nobody is let in any more, and a server started anew says why it does not start."""
        for length in LENGTHS:
            with self.subTest(length=length):
                data = Copy(self.template)
                try:
                    server, workers = self.under_way(data, os.path.join(data.path, "cairn.mdb"), length)
                    if self.check_end(server, "cairn.mdb"):
                        with self.assertRaises(Failed) as e:
                            ask(Rpc(server, self.template.key), 1)
                        self.assertTrue(str(e.exception).startswith("DAMAGED"), e.exception)
                        self.assertEqual(server.stop(), 0)
                    p = subprocess.run([CAIRND, "--data", data.path, "--listen", f"unix:{data.dir}/again.sock"], capture_output=True, text=True, timeout=3) if length in ("nothing", "part of a meta page", "one page", "half") else None
                    if p:
                        self.assertNotEqual(p.returncode, 0)
                        self.assertIn("cairn.mdb", p.stderr)
                finally:
                    data.close()


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
