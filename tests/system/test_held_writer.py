"""A tenant whose one writer is held (by a stopped command, say) keeps nobody from asking, and no other tenant from changing; and an
ingest that is stopped at any moment lets flips through, or they name it."""
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest

from serving import CAIRN, Data, Failed, Rpc, Server, count, hold_writer, seed

VECTOR = b"\x00\x00\x80\x3f" * 4


class HeldWriter(unittest.TestCase):
    def setUp(self):
        self.data = Data(4)
        self.addCleanup(self.data.close)
        self.data.cairn("tenant", "add", "other")
        self.server = Server(self.data, "--workers", "2")
        self.addCleanup(self.server.stop)

    def key(self, tenant, *scopes):
        return json.loads(self.data.cairn("key", "add", tenant, "--scope", ",".join(scopes), "-o", "json").stdout)["key"]

    def hold(self, tenant):
        """What a writer of this tenant's control.mdb holds; its first line names the holder."""
        fd = hold_writer(os.path.join(self.data.path, "tenants", tenant))
        os.pwrite(fd, f" {os.getpid()} {int(time.time() * 1e6)}\n".encode(), 0)
        return fd

    def test_others_go_on(self):
        policy, asking = Rpc(self.server, self.key("acme", "policy")), Rpc(self.server, self.data.key)
        other = Rpc(self.server, self.key("other", "policy"))
        fd = self.hold("acme")
        try:
            waiting = [policy.send("policy.hide", docs=["d0"], reason="a test") for _ in range(8)]
            start = time.time()
            for _ in range(20):
                self.assertEqual(len(asking.call("query", index="docs", vector=VECTOR, k=2)["hits"]), 2)
                self.assertEqual(len(asking.call("documents.list", index="docs")["documents"]), 2)
                other.call("policy.hide", docs=["x"], reason="a test")
            self.assertLess(time.time() - start, 8, "none of them waited for the held writer")  # which would be 10 s
        finally:
            os.close(fd)
        for msgid in waiting:
            self.assertEqual(policy.answer(msgid)["documents"], 1)
        self.assertEqual(len(asking.call("documents.list", index="docs")["documents"]), 1)

    def test_a_key_learns_that_and_the_log_who(self):
        conn, fd = Rpc(self.server, self.key("acme", "activate")), self.hold("acme")
        try:
            with self.assertRaises(Failed) as e:
                conn.call("versions.activate", index="docs", version=1, reason="a test")
        finally:
            os.close(fd)
        self.assertIn("held for writing by another process, for ", str(e.exception))
        self.assertNotIn(str(os.getpid()), str(e.exception))
        self.assertIn(f"pid {os.getpid()}", self.told(e.exception))

    def test_a_command_that_waits_names_the_holder(self):
        fd = self.hold("acme")
        try:
            p = subprocess.Popen([CAIRN, "--data", self.data.path, "policy", "hide", "acme", "d0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            said = p.stderr.readline()  # before it has ended
            self.assertIn(f"(pid {os.getpid()})", said)
            self.assertIsNone(p.poll())
        finally:
            os.close(fd)
        self.assertEqual(p.wait(30), 0)
        p.stdout.close(), p.stderr.close()

    # --- an ingest that is stopped ---
    def rows(self, n):
        """A file of rows, each time others, so that the job has to write all of them."""
        path = os.path.join(self.data.dir, "more.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps({"id": f"m{i}", "text": f"round {n} text {i}", "labels": ["public"], "vector": [1, i % 7, n % 5, 1]}) + "\n" for i in range(2000))
        return path

    def ingest(self, n):
        return subprocess.Popen([CAIRN, "--data", self.data.path, "ingest", "acme/docs", self.rows(n), "--source", "more"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def told(self, e):
        """Pids are the host's, so that to a key the server says that another process has it, and in its own log which."""
        with open(self.server.log_path) as f:
            return str(e) + "".join(line for line in f if "held for writing" in line)

    def named(self, flip, pid, wrong):
        """Did it flip? Else its words, or the server's log, name the one that is stopped."""
        start = time.time()
        try:
            flip()
        except Failed as e:
            if f"pid {pid}" not in self.told(e):
                wrong.append(f"a flip failed without the pid {pid}: {e}")
        else:
            return True
        finally:
            if time.time() - start > 60:
                wrong.append(f"a flip took {time.time() - start:.0f} s")
        return False

    def test_a_stopped_ingest_holds_no_flip_up_unnamed(self):
        first = self.ingest(0)
        first.communicate()
        self.assertEqual(first.returncode, 0)
        conn, r, wrong, stopped, through = Rpc(self.server, self.key("acme", "activate", "query")), random.Random(seed(1)), [], 0, 0
        began = time.time()
        self.ingest(1).communicate()
        takes = time.time() - began
        for n in range(2, 2 + count(10, 200)):
            job = self.ingest(n)
            time.sleep(r.random() * takes)
            os.kill(job.pid, signal.SIGSTOP)  # it is not waited for yet: even an ended one has its pid
            ended = os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            to = 1 + n % 2
            by_command = lambda: self.data.cairn("activate", "acme/docs", str(to), "--reason", "a test")
            by_server = lambda: conn.call("versions.activate", index="docs", version=3 - to, reason="a test")
            stopped += ended is None
            through += sum([self.named(by_command, job.pid, wrong), self.named(by_server, job.pid, wrong)])
            os.kill(job.pid, signal.SIGCONT)
            said = job.communicate(timeout=120)[1]
            if job.returncode:
                wrong.append(f"the ingest ended with {job.returncode}: {said}")
        self.assertEqual(wrong, [])
        self.assertGreater(stopped, 0)
        self.assertGreater(through, stopped)  # most moments hold nobody up
        versions = conn.call("versions.list", index="docs")["versions"]
        self.assertEqual(len(versions), n + 2)
        self.data.cairn("audit", "verify", "acme")
        print(f"{stopped} times stopped, {through} flips went through", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
