"""A data directory, a real cairnd on it, and a MessagePack-RPC client of a few lines, for the tests of this folder.

The programs come from CAIRN_BIN and CAIRND_BIN (meson sets both)."""
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import msgpack

CAIRN = os.environ["CAIRN_BIN"]
CAIRND = os.environ["CAIRND_BIN"]
with open(CAIRND, "rb") as f:
    SANITIZED = re.search(b"__[at]san_init", f.read()) is not None  # slower by far, and needs more address space than there is
SLOWER = 10 if SANITIZED else 1  # so many times as long is waited
PRELOADING = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}  # beside LD_PRELOAD
LONG = os.environ.get("CAIRN_TEST_LONG") == "1"  # tools/test --long


def count(brief, full):
    """How often a test tries: the short count, or the full one."""
    return full if LONG else brief


def seed(usual):
    """CAIRN_SEED, or what the test begins with else."""
    return int(os.environ.get("CAIRN_SEED") or usual)


class Failed(Exception):
    pass


def run(*args, check=True, data=None, text=None, env=None):
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, **(env or {})}
    if data:
        env["CAIRN_DATA"] = data
    p = subprocess.run([CAIRN, *args], capture_output=True, text=True, env=env, input=text, timeout=120 * SLOWER)
    if check and p.returncode:
        raise Failed(f"cairn {' '.join(args)}: {p.returncode}\n{p.stdout}{p.stderr}")
    return p


F_OFD_SETLK = 37


def hold_writer(tenant, env="control.mdb"):
    """What a writer of this file of a tenant's directory holds, until the descriptor is closed; BlockingIOError: somebody has it."""
    fd = os.open(os.path.join(tenant, env + "-writer"), os.O_RDWR)
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    except OSError:
        os.close(fd)
        raise
    return fd


def states(pid):
    """Of all threads: T is stopped, Z and X have ended."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            yield f.read().rsplit(")", 1)[1].split()[0]


def stop_between(pid, tenant):
    """Stops a process where it holds no file of the tenant for writing: else all others wait for it."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        while not set(states(pid)) <= set("TZX"):
            time.sleep(.001)
        try:
            for env in ("control.mdb", "work.mdb"):
                os.close(hold_writer(tenant, env))
            return
        except BlockingIOError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(.003)


class Data:
    """Tenant acme with index docs: `n` documents, even ones public, odd ones group:hr; vectors of four numbers."""

    def __init__(self, n=20):
        self.dir = tempfile.mkdtemp(prefix="cairn-test-")
        self.path = os.path.join(self.dir, "data")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/docs", "--embedder", "none")
        rows = os.path.join(self.dir, "rows.jsonl")
        with open(rows, "w") as f:
            for i in range(n):
                label = "public" if i % 2 == 0 else "group:hr"
                f.write(json.dumps({"id": f"d{i}", "text": f"text number {i} " * 20, "labels": [label], "vector": [1, i, 0, 1]}) + "\n")
        self.cairn("ingest", "acme/docs", rows, "--activate")
        self.key = self.make_key("--scope", "query", "--labels", "public")

    def cairn(self, *args, **kw):
        return run(*args, data=self.path, **kw)

    def make_key(self, *args):
        return json.loads(self.cairn("key", "add", "acme", *args, "-o", "json").stdout)["key"]

    def close(self):
        shutil.rmtree(self.dir)


class Server:
    def __init__(self, data, *options, env=None, listen_tcp=True):
        self.data = data
        self.sock = os.path.join(data.dir, "cairnd.sock")
        args = [CAIRND, "--data", data.path, "--listen", f"unix:{self.sock}", *options]
        if listen_tcp:
            args += ["--listen", "tcp://127.0.0.1:0"]
        self.log_path = os.path.join(data.dir, "log")
        self.log_file = open(self.log_path, "w")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        self.p = subprocess.Popen(args, stderr=self.log_file, env={**clean, **(env or {})})
        self.wait_log("server.ready")
        tcp = [e["address"] for e in self.log() if e["event"] == "server.listening" and e["address"].startswith("tcp:")]
        self.tcp = tcp[0] if tcp else None

    def log(self):
        with open(self.log_path) as f:
            return [json.loads(line) for line in f if line.startswith("{") and line.endswith("}\n")]

    def wait_log(self, event, seconds=20, **fields):
        end = time.time() + seconds * SLOWER
        while time.time() < end:
            for e in self.log():
                if e["event"] == event and all(str(e.get(k)) == v for k, v in fields.items()):
                    return e
            if self.p.poll() is not None:
                raise Failed(f"cairnd ended with {self.p.returncode}:\n{open(self.log_path).read()}")
            time.sleep(0.02)
        raise Failed(f"no {event} in the log:\n{open(self.log_path).read()}")

    def stop(self, sig=signal.SIGTERM, seconds=30):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        code = self.p.wait(seconds * SLOWER)
        self.log_file.close()
        return code


class Rpc:
    """One connection. call() waits for its own answer; send() and answer() are the two halves."""

    def __init__(self, server, key=None, tcp=False):
        if tcp:
            host, port = server.tcp[6:].rsplit(":", 1)
            self.s = socket.create_connection((host, int(port)))
        else:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(server.sock)
        self.s.settimeout(30 * SLOWER)
        self.unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 28)
        self.next_id = 0
        self.early = {}
        if key:
            self.call("auth", key=key)

    def send(self, method, **params):
        self.s.sendall(self.pack(method, **params))
        return self.next_id

    def pack(self, method, **params):
        self.next_id += 1
        return msgpack.packb([0, self.next_id, method, [params]])

    def message(self):
        """The next message; None when the server has closed the connection."""
        while True:
            for m in self.unpacker:
                return m
            try:
                b = self.s.recv(1 << 16)
            except ConnectionResetError:
                b = b""
            if not b:
                return None
            self.unpacker.feed(b)

    def answer(self, msgid):
        while msgid not in self.early:
            m = self.message()
            if m is None:
                raise Failed("the connection was closed")
            assert m[0] == 1 and m[1] not in self.early, m
            self.early[m[1]] = m
        m = self.early.pop(msgid)
        if m[2] is not None:
            raise Failed(m[2][1])
        return m[3]

    def call(self, method, **params):
        return self.answer(self.send(method, **params))

    def closed(self):
        return self.message() is None

    def close(self):
        self.s.close()


class Load:
    """While it stands, requests wait for a thread of the server all the time; start it with one worker."""

    AT_ONCE = 12

    def __init__(self, server, key, index="docs", dim=4):
        self.conns = [Rpc(server, key) for _ in range(2)]
        self.over = False
        self.errors = []
        self.batch = dict(index=index, queries=[{"vector": [1, i, 1, 1][:dim], "k": 1, "mode": "exact"} for i in range(200)])
        self.threads = [threading.Thread(target=self.ask, args=[c]) for c in self.conns]

    def ask(self, conn):
        waiting = []
        try:
            while not self.over:
                while len(waiting) < self.AT_ONCE:
                    waiting.append(conn.send("query_batch", **self.batch))
                conn.answer(waiting.pop(0))
        except (OSError, Failed) as e:
            if not self.over:
                self.errors.append(e)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *what):
        self.over = True
        for t in self.threads:
            t.join()
        for c in self.conns:
            c.close()
