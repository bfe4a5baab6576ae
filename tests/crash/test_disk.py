"""A data directory on a full disk: a clear error, the version before still answers, and the job goes on when there is room.

The disk is a small tmpfs in a mount namespace of its own; where that is not permitted the test is skipped."""
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from serving import Rpc, Server, run

INSIDE = "CAIRN_TEST_OWN_MOUNTS"


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-disk-")
        self.disk, self.elsewhere = os.path.join(self.dir, "disk"), os.path.join(self.dir, "rest")
        os.mkdir(self.disk), os.mkdir(self.elsewhere)
        self.mount("48m")
        self.data = os.path.join(self.disk, "data")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/a", "--embedder", "none")
        self.small, self.large = self.rows("s.jsonl", 100), self.rows("l.jsonl", 40000)
        self.cairn("ingest", "acme/a", self.small, "--activate")

    def tearDown(self):
        subprocess.run(["umount", self.disk], check=True)
        subprocess.run(["rm", "-r", self.dir], check=True)

    def mount(self, size, *options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join((*options, "size=" + size)), "none", self.disk], check=True)

    def cairn(self, *args, code=0, check=True):
        p = run(*args, data=self.data, check=False)
        if check:
            self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def map(self, *args):
        return json.loads(self.cairn(*args, "-o", "json").stdout)

    def rows(self, name, n):
        path = os.path.join(self.elsewhere, name)
        with open(path, "w") as f:
            for i in range(n):
                f.write(json.dumps({"id": f"d{i}", "text": f"Row {i} says so. " * 60, "labels": ["public"], "vector": [1 + i % 7, 2, i % 5] * 100}) + "\n")
        return path

    def answers(self):
        lines = os.path.join(self.elsewhere, "q")
        with open(lines, "w") as f:
            f.write(json.dumps({"vector": [1, 2, 3] * 100, "k": 3}) + "\n")
        out = self.cairn("query", "acme/a", "--batch", lines, "-o", "json").stdout
        self.assertEqual(out.count('"doc"'), 3, out)

    def fails_and_goes_on(self, more):
        p = self.cairn("ingest", "acme/a", self.large, "--activate", code=1)
        self.assertRegex(p.stderr, "(?i)full|space")
        self.answers()
        versions = self.map("versions", "acme/a")
        self.assertEqual((versions["active"], len(versions["versions"])), (1, 1))
        more()
        job = self.map("jobs", "list", "acme")["jobs"][0]
        self.assertIn(job["state"], ("failed", "interrupted"))
        r = self.map("ingest", "acme/a", "--resume", job["job"])
        self.assertEqual((r["version"], r["activated"], r["counts"]["documents"]), (2, True, 40000))
        self.cairn("index", "create", "acme/b", "--embedder", "none")
        self.cairn("ingest", "acme/b", self.small)
        self.assertEqual(self.map("ingest", "acme/b", self.large)["root"], r["root"])

    def test_no_room_for_a_compaction(self):
        """The old files stay and answer; nothing is left behind; with room it is done."""
        self.mount("400m", "remount")
        self.cairn("ingest", "acme/a", self.large, "--activate")
        self.cairn("policy", "erase", "acme", "d777", "--reason", "test")
        segments = os.path.join(self.data, "tenants", "acme", "segments")
        files, versions = sorted(os.listdir(segments)), self.map("versions", "acme/a")
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb", buffering=0) as f: # what a buffer still holds would fail at its closing
            try:
                while True:
                    f.write(bytes(1 << 16))
            except OSError:
                pass
        for room in (1, 20, 40): # MiB more: for nothing, for a part of the rows, for half of the file
            os.truncate(filler, os.path.getsize(filler) - (room << 20))
            p = self.cairn("compact", "acme/a", code=1)
            self.assertRegex(p.stderr, "(?i)full|space")
            self.answers()
            self.assertEqual((sorted(os.listdir(segments)), self.map("versions", "acme/a")), (files, versions))
        os.unlink(filler)
        self.assertEqual(self.map("compact", "acme/a")["erased"], 1)
        self.answers()

    def test_the_disk_is_too_small_for_the_job(self):
        self.fails_and_goes_on(lambda: self.mount("400m", "remount"))

    def used(self):
        st = os.statvfs(self.disk)
        return (st.f_blocks - st.f_bfree) * st.f_frsize

    def test_a_job_that_filled_the_disk_is_given_up(self):
        """It says how; its space is free at once, by word, on a disk without a free byte, or because another job takes its place."""
        before = self.used()
        for full, again in ((True, lambda job: self.cairn("jobs", "cancel", "acme", job, "--reason", "test")), (False, lambda job: self.cairn("ingest", "acme/a", self.small))):
            p = self.cairn("ingest", "acme/a", self.large, code=1)
            job = self.map("jobs", "list", "acme")["jobs"][0]["job"]
            for words in ("Free some space", f"cairn ingest acme/a --resume {job}", f"cairn jobs cancel acme {job}"):
                self.assertIn(words, p.stderr)
            filler = self.fill() if full else None
            self.assertGreater(self.used() - before, 30 << 20)
            again(job)
            if filler:
                os.unlink(filler)
            self.assertLess(self.used() - before, 4 << 20)
        state = {j["job"]: j["state"] for j in self.map("jobs", "list", "acme")["jobs"]}
        self.assertEqual(sorted(state.values()), ["cancelled", "done", "failed", "unchanged"])
        given_up = next(j for j, s in state.items() if s == "cancelled")
        self.assertIn("is cancelled already", self.cairn("jobs", "cancel", "acme", given_up, code=1).stderr)
        self.assertIn("can be resumed", self.cairn("ingest", "acme/a", "--resume", given_up, code=1).stderr)
        self.answers()
        self.cairn("audit", "verify", "acme")

    def test_another_program_fills_the_disk(self):
        filler = os.path.join(self.disk, "filler")
        self.mount("400m", "remount")
        with open(filler, "wb", buffering=0) as f: # what a buffer still holds would fail at its closing
            try:
                while True:
                    f.write(bytes(1 << 16))
            except OSError:
                pass
        before = self.map("jobs", "list", "acme")["jobs"]
        p = self.cairn("ingest", "acme/a", self.large, code=1) # no room even for a job's entry
        self.assertRegex(p.stderr, "(?i)full|space")
        self.assertEqual(self.map("jobs", "list", "acme")["jobs"], before)
        self.answers()
        os.truncate(filler, os.path.getsize(filler) - (8 << 20))
        self.fails_and_goes_on(lambda: os.unlink(filler))

    # --- the reserve ---
    def fill(self, leave=0):
        """Not a byte is left on the disk; then again a little may be."""
        filler = os.path.join(self.disk, "filler")
        with open(filler, "ab") as f:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        os.write(f.fileno(), bytes(size))
                except OSError as e:
                    self.assertEqual(e.errno, errno.ENOSPC)
        if leave:
            os.truncate(filler, os.path.getsize(filler) - leave)
        return filler

    def reserve(self):
        return os.stat(os.path.join(self.data, "reserve")).st_blocks * 512

    def grow(self):
        """So much is said in the trail that control.mdb has no free page left for what comes."""
        for i in range(3):
            self.cairn("policy", "deny", "acme", *(f"x{i}-{n}" for n in range(400)), "--labels", f"group:g{i}", "--reason", "r" * 1000)

    def acts(self, i):
        """All that must work on a full disk; leaves what is active as it was."""
        self.cairn("policy", "hide", "acme", f"d{i}", "--reason", "r" * 1000)
        self.cairn("policy", "deny", "acme", "d90", "--labels", f"user:u{i}", "--reason", "r" * 1000)
        self.cairn("policy", "erase", "acme", f"e{i}", "--reason", "r" * 1000)
        self.cairn("rollback", "acme/a", "--reason", "r" * 1000)
        self.cairn("release", "acme/a", "--reason", "r" * 1000)
        self.cairn("activate", "acme/a", "2", "--reason", "r" * 1000)
        self.cairn("mode", "acme/a", "refuse", "x" * 500, "--reason", "r" * 1000)
        self.cairn("mode", "acme/a", "normal")
        self.cairn("mode", "--host", "refuse", "x" * 500, "--reason", "r" * 1000)
        self.cairn("mode", "--host", "normal")
        self.cairn("find", "acme/a", "no such words")
        self.cairn("activate", "acme/a", "99", "--reason", "r" * 1000, code=3)

    def test_the_reserve_lets_a_responder_act(self):
        self.cairn("ingest", "acme/a", self.rows("two.jsonl", 101), "--activate")
        self.assertEqual(self.reserve(), 8 << 20)
        self.grow()
        filler = self.fill()
        size = os.path.getsize(os.path.join(self.data, "tenants/acme/control.mdb"))
        records = self.map("audit", "verify", "acme")["records"]
        left, rounds, said = [self.reserve()], 0, ""
        while left[-1] == left[0] and rounds < 40:
            said += self.cairn("policy", "deny", "acme", *(f"y{rounds}-{n}" for n in range(100)), "--labels", "group:full").stderr
            rounds += 1
            left.append(self.reserve())
        self.assertGreater(os.path.getsize(os.path.join(self.data, "tenants/acme/control.mdb")), size)
        self.assertEqual(left[-1], left[0] * 3 // 4, "a quarter was given up")
        self.assertIn("the disk is full", said)
        records += 100 * rounds
        for i in range(5):
            self.fill()
            self.acts(i)
            records += 12
        self.assertEqual(self.map("audit", "verify", "acme")["records"], records)
        self.answers()
        self.assertRegex(self.cairn("doctor", code=1).stdout, "BAD +reserve .*given up")
        p = self.cairn("ingest", "acme/a", self.large, code=1)
        self.assertRegex(p.stderr, "(?i)full|space")
        self.assertLess(self.reserve(), 8 << 20, "it is not made again while there is no room")
        os.unlink(filler)
        self.cairn("stats")
        self.assertEqual(self.reserve(), 8 << 20)
        self.cairn("scrub")

    def test_a_small_disk_has_a_small_one(self):
        """Half of what is free, in quarters: hiding and erasing go on commit after commit, whoever takes what is freed; when it
        is used up that is said, and it comes back with the first room that there is, not only with twice the whole."""
        subprocess.run(["umount", self.disk], check=True)
        self.mount("12m")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/a", "--embedder", "none")
        self.cairn("ingest", "acme/a", self.small, "--activate")
        self.assertEqual(self.reserve(), 4 << 20)
        for i in range(20):
            self.fill()
            self.cairn("policy", ("hide", "erase")[i % 2], "acme", f"d{i}", "--reason", "r" * 100)
        self.assertLess(self.reserve(), 4 << 20)
        answer = None
        for i in range(60):
            self.fill()
            answer = self.cairn("policy", "deny", "acme", *(f"y{i}-{n}" for n in range(400)), "--labels", "group:full", "--reason", "r" * 1000, check=False)
            if answer.returncode:
                break
        self.assertEqual((answer.returncode, self.reserve()), (1, 0))
        self.assertRegex(answer.stderr, "reserve, which is kept for this, is used up: it is made again by itself")
        filler = os.path.join(self.disk, "filler")
        os.truncate(filler, os.path.getsize(filler) - (5 << 20))
        self.cairn("stats")
        self.assertEqual(self.reserve(), 2 << 20)
        self.fill()
        self.cairn("policy", "erase", "acme", "d50", "--reason", "r")
        self.answers()
        self.cairn("audit", "verify", "acme")

    def until(self, what, why):
        for _ in range(600):
            if what():
                return
            time.sleep(0.1)
        self.fail(why)

    def test_its_size_is_a_setting(self):
        config = os.path.join(self.elsewhere, "cairnd.ini")
        with open(config, "w") as f:
            f.write("reserve = 4MiB\n")
        server = Server(type("Data", (), {"path": self.data, "dir": self.elsewhere})(), "--config", config)
        try:
            self.until(lambda: self.reserve() == 4 << 20, "it is made smaller")
            self.assertRegex(self.cairn("doctor", check=False).stdout, "ok +reserve +4096 KiB")
            with open(config, "w") as f:
                f.write("reserve = 0\n")
            server.p.send_signal(signal.SIGHUP)
            self.until(lambda: self.reserve() == 0, "it is given back")
        finally:
            server.stop()
        self.assertRegex(self.cairn("doctor", check=False).stdout, "note +reserve +none is kept")

    def test_jobs_do_not_take_the_reserve(self):
        self.grow()
        self.fill(leave=2 << 20)
        for source in ("one", "two", "three"):
            self.assertRegex(self.cairn("ingest", "acme/a", self.large, "--source", source, "--activate", code=1).stderr, "(?i)full|space")
        self.cairn("index", "set", "acme/a", "--keep-days", "3", check=False)
        self.assertEqual(self.reserve(), 8 << 20)

    def test_what_is_refused_to_a_key_does_not_take_the_reserve(self):
        self.grow()
        server = Server(type("Data", (), {"path": self.data, "dir": self.elsewhere})())
        try:
            conns = [Rpc(server, json.loads(self.cairn("key", "add", "acme", "--scope", "query", "--labels", "public", "-o", "json").stdout)["key"]) for _ in range(16)]
            self.fill()
            unrecorded = 0
            for i in range(64):
                for conn in conns:
                    method = ("hide", "unhide", "erase", "deny", "allow", "clear", "restore", "apply")[i % 8]
                    with self.assertRaisesRegex(Exception, "DENIED: policy") as e:
                        conn.call("policy." + method, docs=["d1"], reason="r" * 1000)
                    unrecorded += "could not be recorded in the audit chain" in str(e.exception)
                self.fill()
            self.assertGreater(unrecorded, 10, "they found no room")
            self.assertEqual(self.reserve(), 8 << 20)
            self.cairn("policy", "hide", "acme", "d1", "--reason", "r" * 1000)
        finally:
            server.stop()
        self.cairn("audit", "verify", "acme")

    def test_an_index_that_a_server_has(self):
        """The same through a server, while another process takes what is freed as fast as it can."""
        self.cairn("ingest", "acme/a", self.rows("two.jsonl", 101), "--activate")
        self.grow()
        server = Server(type("Data", (), {"path": self.data, "dir": self.elsewhere})())
        try:
            key = json.loads(self.cairn("key", "add", "acme", "--scope", "query,policy,activate,operate,audit", "--labels", "public", "-o", "json").stdout)["key"]
            conn = Rpc(server, key)
            self.fill()
            greedy, over = threading.Thread(target=lambda: [self.fill() for _ in iter(over.is_set, True)]), threading.Event()
            greedy.start()
            try:
                for i in range(60):
                    conn.call("policy.deny", docs=[f"z{i}-{n}" for n in range(20)], labels=["group:full"], reason="r" * 1000)
                conn.call("versions.rollback", index="a", reason="r" * 1000)
            finally:
                over.set()
                greedy.join()
            self.assertLess(self.reserve(), 8 << 20)
            self.assertEqual(len(conn.call("query", index="a", vector=[1.0, 2.0, 3.0] * 100, k=3)["hits"]), 3)
            self.assertTrue(any(e["event"] == "reserve.given_up" for e in server.log()))
            os.unlink(os.path.join(self.disk, "filler"))
            self.until(lambda: self.reserve() == 8 << 20, "the server makes it again by itself")
        finally:
            server.stop()
        self.cairn("audit", "verify", "acme")


if __name__ == "__main__":
    if INSIDE not in os.environ:
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, "-W", "ignore::ResourceWarning", *sys.argv]
        probe = subprocess.run(["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
        if probe.returncode:
            print(f"skipped: no mount namespace of one's own here ({probe.stderr.strip()}); run as root to test a full disk")
            sys.exit(77)
        os.execvpe("unshare", again, {**os.environ, INSIDE: "1"})
    unittest.main(verbosity=2, argv=sys.argv)
