"""cairnd as a process: addresses, settings, limits, odd clients, signals."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import msgpack
from serving import CAIRN, CAIRND, SANITIZED, Data, Failed, Rpc, Server

VECTOR = struct.pack("<4f", 1, 2, 0, 1)


class WithData(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Data()

    @classmethod
    def tearDownClass(cls):
        cls.data.close()

    def start(self, *options, **kw):
        server = Server(self.data, *options, **kw)
        self.addCleanup(lambda: server.stop(signal.SIGKILL) if server.p.poll() is None else None)
        return server

    def refused(self, *args, code=1, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        p = subprocess.run([CAIRND, *args], capture_output=True, text=True, timeout=30, env={**clean, **(env or {})})
        self.assertEqual(p.returncode, code, p.stderr)
        return p.stderr + p.stdout


class Requests(WithData):
    def setUp(self):
        self.server = self.start()

    def tearDown(self):
        self.assertEqual(self.server.stop(), 0)

    def test_query_over_both_kinds_of_socket(self):
        for tcp in (False, True):
            c = Rpc(self.server, self.data.key, tcp=tcp)
            r = c.call("query", index="docs", vector=VECTOR, k=3)
            self.assertEqual(r["hits"][0]["doc"], "d2")
            self.assertTrue(all(int(h["doc"][1:]) % 2 == 0 for h in r["hits"]))
            self.assertEqual(c.call("query", index="docs", vector=[1.0, 2, 0, 1], k=3)["hits"], r["hits"])
            c.close()

    def test_pipelined_requests_are_each_answered_once(self):
        c = Rpc(self.server, self.data.key)
        many = b"".join(c.pack("query", index="docs", vector=VECTOR, k=1) if i % 3 else c.pack("health") for i in range(600))
        c.s.sendall(many)
        seen = set()
        for _ in range(600):
            m = c.message()
            self.assertIsNone(m[2])
            seen.add(m[1])
        self.assertEqual(len(seen), 600)

    def test_a_byte_at_a_time(self):
        c = Rpc(self.server, self.data.key)
        for byte in c.pack("query", index="docs", vector=VECTOR, k=1):
            c.s.sendall(bytes([byte]))
        self.assertEqual(c.answer(c.next_id)["hits"][0]["doc"], "d2")

    def test_damaged_bytes_cost_only_their_connection(self):
        good = Rpc(self.server, self.data.key)
        for bad in (b"\xc1", b"GET / HTTP/1.1\r\n\r\n", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 40, b"\x93\x05\x01\x02", b"\x94\x00\xff\xa1x\x90"):
            c = Rpc(self.server)
            c.s.sendall(bad)
            self.assertTrue(c.message()[2][1].startswith("INVALID: "), bad)
            self.assertTrue(c.closed(), bad)
        self.assertEqual(good.call("health")["status"], "ok")

    def test_requests_that_can_be_answered_are(self):
        c = Rpc(self.server)
        for bad in ([0, 7, 5, []], [0, 7, "health", 5], [0, 7, "health"], [0, 7, "health", [1]], [0, 7, "health", [{}, {}]], [0, 7, "x" * 200, []]):
            c.s.sendall(msgpack.packb(bad))
            m = c.message()
            self.assertEqual(m[:2], [1, 7])
            self.assertEqual(m[2][0], 1)
            self.assertTrue(m[2][1].startswith("INVALID: "), m)

    def test_notifications_and_responses_are_dropped(self):
        c = Rpc(self.server, self.data.key)
        c.s.sendall(msgpack.packb([2, "query", [{}]]) + msgpack.packb([2, "no.such", []]) + msgpack.packb([1, 3, None, 4]))
        self.assertEqual(c.call("health")["status"], "ok")
        self.assertEqual(c.early, {})

    def test_ids_come_back_as_they_went(self):
        c = Rpc(self.server)
        for msgid in (0, 1, 127, 128, 2**32 - 1, 2**32, 2**64 - 1):
            c.s.sendall(msgpack.packb([0, msgid, b"health", []], use_bin_type=True))
            self.assertEqual(c.message()[1], msgid)

    def test_old_packers(self):
        c = Rpc(self.server, self.data.key)
        c.next_id += 1
        c.s.sendall(msgpack.packb([0, c.next_id, "query", [{"index": "docs", "vector": VECTOR}]], use_bin_type=False))
        self.assertEqual(c.answer(c.next_id)["hits"][0]["doc"], "d2")

    def test_a_failed_auth_leaves_no_credentials(self):
        c = Rpc(self.server, self.data.key)
        c.call("query", index="docs", vector=VECTOR)
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("auth", key="cairn_aaaaaaaa_" + "b" * 43)
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("query", index="docs", vector=VECTOR)
        c.call("auth", key=self.data.key)
        c.call("query", index="docs", vector=VECTOR)

    def test_guessing_keys_ends_the_connection(self):
        c = Rpc(self.server)
        answers = 0
        for i in range(12):
            try:
                c.send("auth", key="cairn_aaaaaaaa_" + "b" * 43)
            except (BrokenPipeError, ConnectionResetError):
                break
            if c.message() is None:
                break
            answers += 1
        self.assertLessEqual(answers, 10)

    def test_a_revoked_key_is_refused_at_the_next_request(self):
        key = self.data.make_key("--scope", "query", "--labels", "public")
        c = Rpc(self.server, key)
        c.call("query", index="docs", vector=VECTOR)
        self.data.cairn("key", "revoke", key[6:14])
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("query", index="docs", vector=VECTOR)

    def test_refused_attempts_do_not_fill_the_audit_chain(self):
        """The first are written, the rest is counted and written when the server ends, if not before."""
        def records():
            return json.loads(self.data.cairn("audit", "verify", "acme", "-o", "json").stdout)["records"]
        before = records()
        c = Rpc(self.server, self.data.key)
        for i in range(300):
            with self.assertRaisesRegex(Failed, "DENIED: policy.hide needs the scope policy"):
                c.call("policy.hide", docs=[f"d{i}"], reason="r" * 900)
        self.assertEqual(records(), before + 8)
        self.assertEqual(self.server.stop(), 0)
        self.assertEqual(records(), before + 9)
        last = json.loads(self.data.cairn("audit", "show", "acme", "-o", "json").stdout)["records"][0]
        self.assertEqual((last["action"], last["who"], last["via"]), ("policy.hide", "key:" + self.data.key[6:14], "rpc"))
        self.assertRegex(last["outcome"], "^refused: 292 more attempts since 20")

    def test_closing_the_sending_half_still_gets_answers(self):
        c = Rpc(self.server, self.data.key)
        c.send("query_batch", index="docs", queries=[{"vector": VECTOR}] * 50)
        msgid = c.next_id
        c.s.shutdown(socket.SHUT_WR)
        self.assertEqual(len(c.answer(msgid)["results"]), 50)
        self.assertTrue(c.closed())

    def test_the_log_holds_no_secrets(self):
        c = Rpc(self.server, self.data.key)
        with self.assertRaises(Failed):
            c.call("query", index="docs", vector=VECTOR, key="cairn_aaaaaaaa_" + "S" * 43)
        with self.assertRaises(Failed):
            c.call("auth", key="cairn_aaaaaaaa_" + "S" * 43)
        with open(self.server.log_path) as f:
            log = f.read()
        self.assertNotIn("S" * 43, log)
        self.assertNotIn(self.data.key[15:], log)


class Limits(WithData):
    def test_a_full_queue_refuses_with_a_hint(self):
        server = self.start("--workers", "1", "--queue", "1")
        c = Rpc(server, self.data.key)
        batch = [{"vector": VECTOR, "k": 10}] * 2000
        for _ in range(20):
            c.send("query_batch", index="docs", queries=batch)
        answers = [c.message() for _ in range(20)]
        refused = [m[2][1] for m in answers if m[2]]
        self.assertTrue(refused and len(refused) < 20)
        for text in refused:
            self.assertRegex(text, r"^OVERLOADED: .* retry_after_ms=\d+$")
        self.assertEqual(server.stop(), 0)

    def test_what_a_small_search_costs_says_nothing_of_a_large_one(self):
        server = self.start("--workers", "1", "--queue", "1")
        c = Rpc(server, self.data.key)
        batch = [{"vector": VECTOR, "k": 10}] * 2000
        refused = 0
        for k in (20, 50, 100, 200, 400):  # one of another size each time: none has been asked for before
            for _ in range(100):
                c.call("query", index="docs", vector=VECTOR, k=1)  # now known to be cheap: it runs on the loop, whatever the queue holds
            packed = [c.pack("query_batch", index="docs", queries=batch) for _ in range(10)] + [c.pack("query", index="docs", vector=VECTOR, k=k)]
            c.s.sendall(b"".join(packed))
            answers = {m[1]: m for m in [c.message() for _ in packed]}
            refused += "OVERLOADED" in str(answers[c.next_id][2])
        self.assertGreater(refused, 0)
        self.assertEqual(server.stop(), 0)

    def spent(self, server, thread=""):
        """CPU time of the server, or of its event loop's thread."""
        with open(f"/proc/{server.p.pid}/{thread}stat") as f:
            user, system = f.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def test_a_new_filter_is_not_applied_on_the_event_loop(self):
        """Not though another one of the same form is known to be cheap; nor, for long, one that has left the cache."""
        rows = "".join(json.dumps({"id": f"d{i}", "text": "t", "labels": ["public"], "vector": [1, i % 7, 0, 1], "meta": {"n": i}}) + "\n" for i in range(1000))
        self.data.cairn("index", "create", "acme/many", "--embedder", "none")
        self.data.cairn("ingest", "acme/many", "-", "--activate", text=rows)
        server = self.start("--workers", "2")
        c = Rpc(server, self.data.key)

        def ask(n, dear):
            c.call("query", index="many", vector=VECTOR, k=1, filter={"or": [{"field": "n", "eq": n + 1000000 * i} for i in range(200 if dear else 1)]})

        def apply(filters):
            before = self.spent(server), self.spent(server, f"task/{server.p.pid}/")
            for n in filters:
                ask(n, True)
            return self.spent(server) - before[0], self.spent(server, f"task/{server.p.pid}/") - before[1]

        for _ in range(300):
            ask(1, False)
        whole, on_loop = apply(range(2, 32))
        self.assertGreater(whole, 0.2)
        self.assertLess(on_loop, whole / 3)
        for n in range(100, 170):  # more than the cache of sets holds
            for _ in range(60):
                ask(n, True)
        whole, on_loop = apply(n for _ in range(3) for n in range(100, 170))
        self.assertLess(on_loop, whole / 2)  # each once
        self.assertEqual(server.stop(), 0)

    def test_too_many_connections(self):
        server = self.start("--max-connections", "2")
        a, b = Rpc(server), Rpc(server)
        a.call("health"), b.call("health")
        c = Rpc(server)
        self.assertTrue(c.closed())
        a.close()
        time.sleep(0.3)
        self.assertEqual(Rpc(server).call("health")["status"], "ok")
        self.assertEqual(server.stop(), 0)

    def test_too_big_a_request(self):
        server = self.start("--max-frame", "2000")
        c = Rpc(server, self.data.key)
        with self.assertRaises((Failed, BrokenPipeError, ConnectionResetError)):
            c.call("query", index="docs", vector=VECTOR, tags={"a": "x" * 4000})
        self.assertEqual(Rpc(server).call("health")["status"], "ok")
        server.stop()

    def test_too_big_an_answer_is_an_error(self):
        server = self.start("--max-response", "2000")
        c = Rpc(server, self.data.key)
        with self.assertRaisesRegex(Failed, "OVERLOADED: the answer would be over"):
            c.call("query", index="docs", vector=VECTOR, k=10)
        with self.assertRaisesRegex(Failed, "OVERLOADED: the answer would be over"):
            c.call("query_batch", index="docs", queries=[{"vector": VECTOR}] * 3)
        self.assertEqual(len(c.call("query", index="docs", vector=VECTOR, k=1)["hits"]), 1)
        server.stop()

    def test_a_request_that_stops_half_way(self):
        server = self.start("--frame-timeout", "300ms")
        c = Rpc(server)
        c.s.sendall(b"\x94\x00")
        self.assertTrue(c.closed())
        server.wait_log("conn.closed", msg="a request stopped half-way")
        server.stop()

    def test_an_idle_connection(self):
        server = self.start("--idle-timeout", "300ms")
        c = Rpc(server)
        c.call("health")
        self.assertTrue(c.closed())
        server.stop()

    def test_a_client_that_does_not_read(self):
        server = self.start("--write-timeout", "500ms", "--max-pipelined", "16")
        deaf = Rpc(server, self.data.key)
        deaf.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.s.settimeout(5)
        good = Rpc(server, self.data.key)
        request = deaf.pack("query_batch", index="docs", queries=[{"vector": VECTOR, "k": 10}] * 500)
        sent = 0
        try:
            for _ in range(200):
                deaf.s.sendall(request)
                sent += 1
                good.call("health")
        except (TimeoutError, socket.timeout, BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, 200)  # reading stopped, or the connection was closed
        self.assertEqual(good.call("health")["status"], "ok")
        server.wait_log("conn.closed", msg="it does not take its answers")
        rss = int(open(f"/proc/{server.p.pid}/statm").read().split()[1]) * 4096
        self.assertLess(rss, 400 << 20)
        self.assertEqual(server.stop(), 0)

    def test_several_loops(self):
        server = self.start("--loops", "3")
        clients = [Rpc(server, self.data.key, tcp=bool(i % 2)) for i in range(9)]
        for c in clients:
            self.assertEqual(c.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        self.assertEqual(server.stop(), 0)


class Settings(WithData):
    @unittest.skipIf(SANITIZED, "a sanitizer's build is for finding, not for serving")
    def test_nothing_is_bound_late(self):
        """Also where a C++ compiler links the programs, as it does beside FAISS."""
        for program in (CAIRN, CAIRND):
            said = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
            self.assertIn("BIND_NOW", said)

    def test_plain_tcp_beyond_loopback(self):
        text = self.refused("--data", self.data.path, "--listen", "tcp://0.0.0.0:0")
        self.assertIn("--insecure", text)
        server = self.start("--listen", "tcp://0.0.0.0:0", "--insecure", listen_tcp=False)
        self.assertEqual(server.stop(), 0)

    def test_wrong_settings_name_their_place(self):
        base = ["--data", self.data.path, "--listen", "unix:/tmp/x.sock"]
        self.assertIn("--queue", self.refused(*base, "--queue", "none", code=2))
        self.assertIn("no option --nonsense", self.refused(*base, "--nonsense", "1", code=2))
        self.assertIn("CAIRN_QUEUE", self.refused(*base, code=2, env={"CAIRN_QUEUE": "-4"}))
        self.assertIn("nowhere to listen", self.refused("--data", self.data.path, code=2))
        self.assertIn("no data directory: give --data DIR (`cairn --data DIR init` makes one)", self.refused("--listen", "unix:/tmp/x", code=2))
        self.assertIn("must be tcp://", self.refused("--data", self.data.path, "--listen", "http://x", "--check-config", code=2))
        for root, why in (("acme", "must be TENANT=PATH"), ("acme=docs", "with a whole path"), ("Ac me=/tmp", "tenant")):
            self.assertRegex(self.refused(*base, "--import-root", root, "--check-config", code=2), f'import_root = "{root}".*{why}')
        for root, why in (("acme=/no/such/folder", "No such file"), (f"acme={__file__}", "it is not a folder")):
            self.assertRegex(self.refused(*base, "--import-root", root, "--check-config", code=0), f'warning: import_root = "{root}": {why}')
        self.refused(*base, "--import-root", f"made-later={self.data.dir}", "--check-config", code=0)
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            f.write("[cairnd]\nqueue = 7\n; fine so far\nquue = 8\n")
            f.flush()
            self.assertIn(f"{f.name}:4", self.refused(*base, "--config", f.name, code=2))
            f.seek(0)
            f.truncate()
            f.write("queue = 7\n[other]\nqueue = 8\n")
            f.flush()
            self.assertIn("[other]", self.refused(*base, "--config", f.name, code=2))
            f.seek(0)
            f.truncate()
            f.write("just words\n")
            f.flush()
            self.assertIn(f"{f.name}:1", self.refused(*base, "--config", f.name, code=2))
        self.assertIn("/no/such/file", self.refused(*base, "--config", "/no/such/file", code=2))

    def test_help_sample_and_check(self):
        self.assertIn("--max-frame", self.refused("--help", code=0))
        sample = self.refused("--sample-config", code=0)
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            lines = [line[1:] for line in sample.splitlines() if line.startswith(";") and not line.startswith("; ")]
            f.write("\n".join(line for line in lines if not line.endswith("= ")))
            f.flush()
            ok = self.refused("--config", f.name, "--data", self.data.path, "--listen", "unix:/tmp/x", "--check-config", code=0)
        self.assertIn("right", ok)

    def test_a_missing_data_directory(self):
        text = self.refused("--data", "/no/such/dir", "--listen", "unix:/tmp/cairn-none.sock")
        self.assertIn("/no/such/dir", text)


class Life(WithData):
    def test_unix_sockets_dead_and_alive(self):
        server = self.start()
        text = self.refused("--data", self.data.path, "--listen", f"unix:{server.sock}")
        self.assertIn("listening on", text)
        self.assertEqual(Rpc(server).call("health")["status"], "ok")
        server.stop(signal.SIGKILL)
        self.assertTrue(os.path.exists(server.sock))
        again = self.start()
        self.assertEqual(Rpc(again).call("health")["status"], "ok")
        self.assertEqual(again.stop(), 0)
        self.assertFalse(os.path.exists(again.sock))
        with tempfile.NamedTemporaryFile() as f:
            self.assertIn("no socket", self.refused("--data", self.data.path, "--listen", f"unix:{f.name}"))

    def test_stopping_answers_what_is_under_way(self):
        server = self.start("--workers", "1")
        busy, idle = Rpc(server, self.data.key), Rpc(server)
        ids = [busy.send("query_batch", index="docs", queries=[{"vector": VECTOR, "k": 10}] * 300) for _ in range(4)]
        busy.answer(ids[0])
        server.p.send_signal(signal.SIGTERM)
        for i in ids[1:]:
            self.assertEqual(len(busy.answer(i)["results"]), 300)
        self.assertTrue(idle.closed())
        self.assertTrue(busy.closed())
        self.assertEqual(server.stop(), 0)
        server_log = [e["event"] for e in server.log()]
        self.assertEqual(server_log[-1], "server.stopped")

    def test_a_background_job_is_left_and_taken_up_again(self):
        root = os.path.join(self.data.dir, "root")
        os.mkdir(root)
        path = os.path.join(root, "rows.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps({"id": f"r{i}", "text": f"row {i} " * 30, "labels": ["public"], "vector": [1, i % 7, i % 11, 1]}) + "\n" for i in range(120000))
        for name in ("a", "b"):
            self.data.cairn("index", "create", f"acme/{name}", "--embedder", "none")
        whole = json.loads(self.data.cairn("ingest", "acme/b", path, "-o", "json").stdout)
        key = self.data.make_key("--scope", "ingest,query", "--labels", "public")
        server = Server(self.data, "--import-root", f"acme={root}")
        self.addCleanup(server.stop)
        c = Rpc(server, key)
        job = c.call("ingest.start", index="a", paths=[path], wait=False)["job"]
        end = time.time() + 20
        while time.time() < end and not any(j["job"] == job for j in c.call("ingest.list")["jobs"]):
            time.sleep(0.02)
        self.assertEqual(c.call("ingest.show", job=job)["state"], "running", "it ended before it could be left")
        self.assertEqual(server.stop(), 0)
        shown = json.loads(self.data.cairn("jobs", "show", "acme", job, "-o", "json").stdout)
        self.assertEqual(shown["state"], "interrupted")
        self.assertIn(f"`cairn ingest acme/a --resume {job}`", shown["why"])
        self.assertNotIn("cancel", self.data.cairn("audit", "show", "acme").stdout)
        server = Server(self.data, "--import-root", f"acme={root}")
        self.addCleanup(server.stop)
        c = Rpc(server, key)
        self.assertEqual(c.call("ingest.start", index="a", resume=job, wait=False)["job"], job)
        end = time.time() + 60
        while time.time() < end and (shown := c.call("ingest.show", job=job))["state"] in ("running", "interrupted"):
            time.sleep(0.05)
        self.assertEqual((shown["state"], shown["root"]), ("done", whole["root"]))

    def test_drain_timeout_cuts_off(self):
        server = self.start("--workers", "1", "--drain-timeout", "0ms")
        c = Rpc(server, self.data.key)
        sent = threading.Semaphore(0)

        def send():  # blocks once the answers, which are not read, are too many
            try:
                for _ in range(30):
                    c.send("query_batch", index="docs", queries=[{"vector": VECTOR, "k": 10}] * 2000)
                    sent.release()
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        sent.acquire()
        server.p.send_signal(signal.SIGTERM)
        self.assertEqual(server.stop(), 0)
        sender.join()

    def test_hangup_reads_the_settings_again(self):
        conf = os.path.join(self.data.dir, "cairnd.conf")
        with open(conf, "w") as f:
            f.write("queue = 10\n")
        server = self.start("--config", conf)
        c = Rpc(server)
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("query", tenant="acme", index="docs", vector=VECTOR)
        with open(conf, "w") as f:
            f.write("anonymous = acme\nmax_frame = 300KiB\n")
        server.p.send_signal(signal.SIGHUP)
        server.wait_log("server.reload")
        self.assertEqual(c.call("query", tenant="acme", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        with open(conf, "w") as f:
            f.write("nonsense = 1\n")
        server.p.send_signal(signal.SIGHUP)
        server.wait_log("server.reload", level="error")
        self.assertEqual(c.call("query", tenant="acme", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")
        self.assertEqual(server.stop(), 0)

    def test_a_connection_takes_larger_answers_once_they_are_allowed(self):
        conf = os.path.join(self.data.dir, "larger.conf")
        with open(conf, "w") as f:
            f.write("max_response = 1024\n")
        server = self.start("--config", conf)
        c = Rpc(server, self.data.key)
        many = {"index": "docs", "queries": [{"vector": VECTOR, "k": 10}] * 2000}
        with self.assertRaisesRegex(Failed, "OVERLOADED: the answer would be over 1024 bytes"):
            c.call("query_batch", **many)
        with open(conf, "w") as f:
            f.write("max_response = 64MiB\n")
        server.p.send_signal(signal.SIGHUP)
        server.wait_log("server.reload", level="info")
        for _ in range(3):
            answer = c.call("query_batch", **many)["results"]
            self.assertGreater(len(msgpack.packb(answer)), 5 << 20)
        self.assertEqual(server.stop(), 0)

    def test_an_import_root_that_is_away_stops_nothing(self):
        conf = os.path.join(self.data.dir, "cairnd.conf")
        with open(conf, "w") as f:
            f.write("import_root = acme=/no/such/folder\n")
        server = self.start("--config", conf)
        warned = lambda: [e for e in server.log() if e["event"] == "config.import_root" and e["level"] == "warn"]
        self.assertEqual(len(warned()), 1)
        server.p.send_signal(signal.SIGHUP)
        end = time.time() + 20
        while not (said := [e for e in server.log() if e["event"] == "server.reload"]) and time.time() < end:
            time.sleep(0.02)
        self.assertEqual(([e["level"] for e in said], len(warned())), (["info"], 2))
        self.assertEqual(server.stop(), 0)

    def test_hangup_names_what_needs_a_restart(self):
        conf = os.path.join(self.data.dir, "cairnd.conf")
        first = {"queue": 10, "loops": 2, "long_workers": 2, "embed_threads": 1, "unix_mode": "0600", "insecure": "false", "import_root": f"acme={self.data.dir}"}
        other = {**first, "queue": 11, "loops": 3, "long_workers": 4, "embed_threads": 2, "unix_mode": "0660", "insecure": "true", "import_root": "acme=/"}

        def write(settings):
            with open(conf, "w") as f:
                f.writelines(f"{k} = {v}\n" for k, v in settings.items())
        def reloaded(n):
            end = time.time() + 20
            while len(said := [e for e in server.log() if e["event"] == "server.reload" and e["level"] == "info"]) < n and time.time() < end:
                time.sleep(0.02)
            self.assertEqual(len(said), n)
            return [e for e in server.log() if e["event"] == "server.reload" and e["level"] == "warn"]
        write(first)
        server = self.start("--config", conf)
        write({**first, "slow_query": "2s"})
        server.p.send_signal(signal.SIGHUP)
        self.assertEqual(reloaded(1), [])
        for n, changed in enumerate((*first, "listen", None)):
            write(other if changed is None else {**first, "listen": "tcp://127.0.0.1:1"} if changed == "listen" else {**first, changed: other[changed]})
            server.p.send_signal(signal.SIGHUP)
            said = reloaded(n + 2)
            self.assertEqual(len(said), n + 1)
            named = re.search(r"restart['\"]?[=:] ?['\"]?([a-z_,]+)", str(said[-1])).group(1)
            self.assertEqual(set(named.split(",")), {changed} if changed else set(first), said[-1])
        self.assertEqual(server.stop(), 0)

    def test_the_service_manager_is_told(self):
        path = os.path.join(self.data.dir, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(20)
            server = self.start(env={"NOTIFY_SOCKET": path})
            self.assertEqual(s.recv(100), b"READY=1")
            self.assertEqual(server.stop(), 0)
            self.assertEqual(s.recv(100), b"STOPPING=1")


class Client(WithData):
    """libcairn: the example, and a program that tries the rest of it."""

    def test_example_and_check(self):
        folder = os.path.join(self.data.dir, "model")
        os.mkdir(folder)
        subprocess.run([os.environ["MAKE_MODEL"], folder], check=True)
        self.data.cairn("model", "add", "tiny", folder)
        self.data.cairn("index", "create", "acme/texts", "--embedder", "tiny")
        rows = os.path.join(self.data.dir, "texts.jsonl")
        with open(rows, "w") as f:
            f.write('{"id": "a", "text": "some words", "labels": ["public"]}\n{"id": "b", "text": "hidden words", "labels": ["user:ana"]}\n')
        self.data.cairn("ingest", "acme/texts", rows, "--activate")
        server = self.start()
        env = {**os.environ, "CAIRN_SERVER": f"unix:{server.sock}", "CAIRN_KEY": self.data.key}
        p = subprocess.run([os.environ["EXAMPLE"], "texts", "some words"], capture_output=True, text=True, env=env, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn(" a bytes 0 to 10", p.stdout)
        self.assertNotIn("hidden", p.stdout)
        p = subprocess.run([os.environ["EXAMPLE"], "none", "x"], capture_output=True, text=True, env=env, timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertIn('NOT_FOUND: there is no index "none"', p.stderr)
        for address in (f"unix:{server.sock}", server.tcp):
            p = subprocess.run([os.environ["CLIENT_CHECK"], address, self.data.key], capture_output=True, text=True, timeout=60)
            self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertEqual(server.stop(), 0)
        p = subprocess.run([os.environ["EXAMPLE"], "texts", "x"], capture_output=True, text=True, env=env, timeout=60)
        self.assertIn("UNREACHABLE", p.stderr)

    def test_reconnect(self):
        server = self.start(listen_tcp=False)
        p = subprocess.Popen([os.environ["CLIENT_CHECK"], f"unix:{server.sock}", self.data.key, "reconnect"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "first\n")
        self.assertEqual(server.stop(), 0)
        again = self.start(listen_tcp=False)
        out, _ = p.communicate("go\n", timeout=60)
        self.assertEqual((p.returncode, out), (0, "second\n"))
        self.assertEqual(again.stop(), 0)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
