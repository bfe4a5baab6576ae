"""A tenant whose one writer is held (by a stopped command, say) keeps nobody from asking, and no other tenant from changing."""
import fcntl
import json
import os
import struct
import subprocess
import sys
import time
import unittest

from serving import CAIRN, Data, Rpc, Server

VECTOR = b"\x00\x00\x80\x3f" * 4
F_OFD_SETLK = 37


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
        fd = os.open(os.path.join(self.data.path, "tenants", tenant, "control.mdb-writer"), os.O_RDWR)
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
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


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
