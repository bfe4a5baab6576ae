"""The progress line on a terminal, and Ctrl-C: played on a pseudo-terminal, on files and through a server."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from place import CAIRN, SANITIZED, Place, run

ROWS = 500 if SANITIZED else 8000
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_") and k != "NO_COLOR"}


class Typed:
    """A command whose standard error (and output, if asked) is a terminal of so many columns."""

    def __init__(self, *args, columns=80, out=False, env=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.p = subprocess.Popen([CAIRN, *args], stdin=slave, stdout=slave if out else subprocess.DEVNULL, stderr=slave,
                                  env={**CLEAN, "TERM": "xterm", **(env or {})}, preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
        os.close(slave)
        self.shown = ""

    def read(self, seconds=60, until=None):
        end = time.time() + seconds
        while time.time() < end and not (until and re.search(until, self.shown)):
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    got = os.read(self.master, 65536).decode()
                except OSError:  # the other end is closed
                    break
                if not got:
                    break
                self.shown += got
        return self.shown

    def end(self):
        self.read()
        os.close(self.master)
        return self.p.wait(30)


class Progress(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.rows = os.path.join(cls.place.docs, "rows.jsonl")
        cls.write_rows(cls.rows, ROWS)
        cls.place.serve()

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    @staticmethod
    def write_rows(path, n):
        with open(path, "w") as f:
            for i in range(n):
                f.write(json.dumps({"id": f"d{i}", "text": f"text number {i} is about packages. " * 12, "labels": ["public"]}) + "\n")

    def index(self, name):
        self.place.cairn("index", "create", "acme/" + name, "--embedder", "tiny")
        return "acme/" + name

    def frames(self, shown):
        """What each writing-over shows; asserts that it was one line only."""
        self.assertTrue(shown.startswith("\r\x1b[K"), repr(shown[:100]))
        self.assertEqual(shown.count("\n"), 1, repr(shown[-300:]))
        self.assertTrue(shown.endswith("\r\n"))
        return [f.rstrip("\r\n") for f in shown.split("\r\x1b[K")[1:]]

    def check_frames(self, frames, width):
        self.assertGreater(len(frames), 2)
        shares = [int(re.search(r"(\d+)%", f).group(1)) for f in frames if "%" in f]
        self.assertEqual(shares, sorted(shares))
        self.assertEqual(shares[-1], 100)
        self.assertTrue(all(s < 100 for s in shares[:-1]), shares)
        for f in frames:
            self.assertLess(len(f), width)
            self.assertNotIn("\x1b", f)

    def test_one_line_that_ends_at_100(self):
        for name, where in (("here", ("--data", self.place.path)), ("there", ("--server", "unix:" + self.place.server.sock, "--key", self.place.admin))):
            with self.subTest(name):
                t = Typed(*where, "ingest", self.index(name), self.rows, "--threads", "1")
                self.assertEqual(t.end(), 0, t.shown)
                frames = self.frames(t.shown)
                self.check_frames(frames, 80)
                self.assertRegex(frames[-1], rf"^done +\[=+\] 100% {ROWS} documents, \d+ chunks")
                middle = [f for f in frames[:-1] if "documents" in f]
                self.assertTrue(middle)
                self.assertTrue(any(re.search(r"\[=*>? *\] +\d+% \d+ documents, \d+ chunks", f) for f in middle), middle)

    def test_narrow_terminals(self):
        for columns in (20, 45):
            with self.subTest(columns):
                t = Typed("--data", self.place.path, "ingest", self.index(f"narrow{columns}"), self.rows, "--threads", "1", columns=columns)
                self.assertEqual(t.end(), 0, t.shown)
                self.check_frames(self.frames(t.shown), columns)

    def test_none_where_it_would_disturb(self):
        ix = self.index("quiet")
        p = self.place.cairn("ingest", ix, self.rows)
        self.assertEqual(p.stderr, "")
        for args, env in ((("--quiet",), {}), ((), {"TERM": "dumb"})):
            t = Typed("--data", self.place.path, *args, "ingest", ix, self.rows, "--reparse", env=env)
            self.assertEqual((t.end(), t.shown), (0, ""))

    def test_a_gate_run(self):
        """How many of the questions were asked; the line is gone when the results come."""
        ix, cases = self.index("gated"), os.path.join(self.place.dir, "cases.jsonl")
        self.place.cairn("ingest", ix, self.place.docs, "--activate", "--label", "public")
        with open(cases, "w") as f:
            for i in range(300):
                f.write(json.dumps({"id": f"q{i}", "text": f"question {i}", "must_not_see": ["nothing"]}) + "\n")
        self.place.cairn("gate", "freeze", ix, "core", "--cases", cases)
        t = Typed("--data", self.place.path, "gate", "run", ix)
        self.assertEqual(t.end(), 0, t.shown)
        self.assertRegex(t.shown, r"measuring +\[>? *\] +0% 0 of 300")
        self.assertTrue(t.shown.endswith("\r\x1b[K"), repr(t.shown[-100:]))

    def test_a_failure_takes_the_line_away(self):
        t = Typed("--data", self.place.path, "ingest", "acme/docs", self.place.docs + "/none")
        self.assertEqual(t.end(), 3)
        self.assertRegex(t.shown, r"^(\r\x1b\[K)*cairn: NOT_FOUND: [^\n]*\r\n$")

    def test_colour(self):
        for env, bold in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)):
            t = Typed("--data", self.place.path, "query", "acme/docs", "removal", out=True, env=env)
            self.assertEqual(t.end(), 0)
            self.assertEqual("\x1b[1m" in t.shown, bold, env)

    def test_ctrl_c_says_how_to_go_on_and_going_on_works(self):
        ix = self.index("resumed")
        big = os.path.join(self.place.dir, "big.jsonl")
        self.write_rows(big, ROWS * 2)
        t = Typed("--data", self.place.path, "ingest", ix, big, "--activate", "--threads", "1")
        t.read(until=r"\d{3,} documents")
        os.write(t.master, b"\x03")
        self.assertEqual(t.end(), -signal.SIGINT)
        said = t.shown.split("\r\x1b[K")[-1]
        m = re.search(rf"stopped; nothing of it is visible\. To go on from here:\r\n  cairn (--data \S+ ingest {ix} --resume (\S+))\r\n$", said)
        self.assertTrue(m, repr(said))
        self.assertIn("interrupted", self.place.cairn("jobs", "show", "acme", m.group(2)).stdout)
        self.assertEqual(json.loads(self.place.cairn("versions", ix, "-o", "json").stdout)["versions"], [])
        note = self.place.cairn("doctor").stdout
        self.assertIn(f"ingest {ix} --resume {m.group(2)}", note)
        p = run(*m.group(1).split(), "-o", "json")
        r = json.loads(p.stdout)
        self.assertEqual((r["job"], r["state"], r["activated"], r["counts"]["read"], r["counts"]["documents"]), (m.group(2), "done", True, ROWS * 2, ROWS * 2))
        same = self.index("whole")
        whole = json.loads(self.place.cairn("ingest", same, big, "-o", "json").stdout)
        self.assertEqual(r["root"], whole["root"])

    def test_sigterm_without_a_terminal(self):
        p = subprocess.Popen([CAIRN, "--data", self.place.path, "ingest", self.index("term"), "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True, env=CLEAN)
        p.stdin.write('{"id": "a", "text": "x"}\n')
        p.stdin.flush()
        end = time.time() + 30
        while "running" not in self.place.cairn("jobs", "list", "acme").stdout and time.time() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        p.send_signal(signal.SIGTERM)
        out, err = p.communicate(timeout=30)
        self.assertEqual((p.returncode, out), (-signal.SIGTERM, ""))
        self.assertRegex(err, r"^cairn: stopped; [^\n]*\n  cairn --data \S+ ingest acme/term --resume \w+-\w+\n$")

    def test_cancel(self):
        p = subprocess.Popen([CAIRN, "--data", self.place.path, "ingest", self.index("cancelled"), "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, env=CLEAN)
        job, end = None, time.time() + 30
        while not job and time.time() < end:
            jobs = json.loads(self.place.cairn("jobs", "list", "acme", "-o", "json").stdout)["jobs"]
            job = next((j["job"] for j in jobs if j["index"] == "cancelled" and j["state"] == "running"), None)
        self.assertLessEqual({"job", "state"}, set(json.loads(self.place.cairn("jobs", "cancel", "acme", job, "-o", "json").stdout)))
        for i in range(2000):
            if p.poll() is None:
                try:
                    p.stdin.write(json.dumps({"id": f"d{i}", "text": "words " * 50}) + "\n")
                    p.stdin.flush()
                except BrokenPipeError:
                    break
                time.sleep(0.002)
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (5, ""), err)
        self.assertRegex(err, rf"job {job} was cancelled: asked to stop by uid:\d+\(\w+\); nothing of it is visible")
        p = self.place.cairn("jobs", "cancel", "acme", job, check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("cancelled already", p.stderr)

    def test_ctrl_c_through_a_server_leaves_the_job(self):
        ix = self.index("watched")
        big = os.path.join(self.place.docs, "big.jsonl")
        self.write_rows(big, ROWS * 2)
        self.addCleanup(os.remove, big)
        t = Typed("--server", "unix:" + self.place.server.sock, "--key", self.place.admin, "ingest", ix, big, "--threads", "1")
        t.read(until=r"\d{3,} documents")
        os.write(t.master, b"\x03")
        self.assertEqual(t.end(), -signal.SIGINT)
        m = re.search(r"the job goes on in the server: `cairn (jobs show acme (\S+))`", t.shown)
        self.assertTrue(m, repr(t.shown[-400:]))
        end = time.time() + 60
        while "running" in self.place.remote(*m.group(1).split()).stdout and time.time() < end:
            time.sleep(0.1)
        r = json.loads(self.place.remote(*m.group(1).split(), "-o", "json").stdout)
        self.assertEqual((r["state"], r["counts"]["documents"]), ("done", ROWS * 2))


if __name__ == "__main__":
    unittest.main()
