"""Clients of others, unmodified: pynvim, Neovim itself and npm's neovim speak MessagePack-RPC to a real cairnd.

A client that is not installed is skipped, and the skip says so. npm's neovim comes from NODE_PATH, or else by npm itself, which
is skipped where no registry can be reached."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

from serving import Data, Server

try:
    import pynvim
    from pynvim.msgpack_rpc import socket_session, tcp_session
except ImportError:
    pynvim = None

VECTOR = [1.0, 2.0, 0.0, 1.0]


NPM_NEOVIM = "neovim@5.5.0"


def node_env(folder):
    """An environment in which node finds the package neovim; a word on why not, else."""
    def found(env):
        return subprocess.run(["node", "-e", "require('neovim')"], capture_output=True, env=env).returncode == 0
    if not shutil.which("node") or not shutil.which("npm"):
        raise unittest.SkipTest("nodejs or npm is not installed")
    if found(os.environ):
        return os.environ
    quick = ["--fetch-retries=1", "--fetch-timeout=20000", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        p = subprocess.run(["npm", "install", "--prefix", folder, *quick, NPM_NEOVIM], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise unittest.SkipTest(f"npm could not get {NPM_NEOVIM} in time")
    if p.returncode:
        raise unittest.SkipTest(f"npm cannot get {NPM_NEOVIM}: {p.stderr.strip()[:300]}")
    env = {**os.environ, "NODE_PATH": os.path.join(folder, "node_modules")}
    assert found(env)
    return env


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Data()
        cls.server = Server(cls.data)
        cls.host, port = cls.server.tcp[6:].rsplit(":", 1)
        cls.port = int(port)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.data.close()
        assert code == 0, code

    # --- pynvim ---
    def ask_by_session(self, session):
        session.error_wrapper = lambda e: pynvim.NvimError(e[1])  # attach() sets this hook; a bare session leaves it unset
        self.assertEqual(session.request("health", {})["status"], "ok")
        session.request("auth", {"key": self.data.key})
        self.check_answer(session.request("query", {"index": "docs", "vector": VECTOR, "k": 3}))
        self.check_answer(session.request("query", {"index": "docs", "vector": struct.pack("<4f", *VECTOR), "k": 3}))
        with self.assertRaises(Exception) as e:
            session.request("query", {"index": "none", "vector": VECTOR})
        self.assertIn('NOT_FOUND: there is no index "none"', str(e.exception))
        session.close()

    def check_answer(self, r):
        self.assertEqual(r["hits"][0]["doc"], "d2")
        self.assertEqual(r["evidence"], "ok")
        self.assertEqual(r["made_by"]["index"], "docs")

    @unittest.skipUnless(pynvim, "python3-pynvim is not installed")
    def test_pynvim_sessions(self):
        self.ask_by_session(socket_session(self.server.sock))
        self.ask_by_session(tcp_session(self.host, self.port))

    @unittest.skipUnless(pynvim, "python3-pynvim is not installed")
    def test_pynvim_attach(self):
        n = pynvim.attach("socket", path=self.server.sock)
        self.assertGreater(n.channel_id, 0)
        n.request("auth", {"key": self.data.key})
        self.check_answer(n.request("query", {"index": "docs", "vector": VECTOR, "k": 3}))
        with self.assertRaises(pynvim.NvimError) as e:
            n.request("query", {"index": "docs"})
        self.assertIn("INVALID: ", str(e.exception))
        n.close()

    # --- Neovim itself ---
    @unittest.skipUnless(shutil.which("nvim"), "neovim is not installed")
    def test_neovim(self):
        for kind, address in (("pipe", self.server.sock), ("tcp", f"{self.host}:{self.port}")):
            out = os.path.join(self.data.dir, "nvim.out")
            script = f"""
                let c = sockconnect('{kind}', '{address}', {{'rpc': 1}})
                call rpcrequest(c, 'auth', {{'key': '{self.data.key}'}})
                let r = rpcrequest(c, 'query', {{'index': 'docs', 'vector': {VECTOR}, 'k': 3}})
                try
                  call rpcrequest(c, 'query', {{'index': 'none', 'vector': {VECTOR}}})
                catch
                  let why = v:exception
                endtry
                call writefile([json_encode([r, why])], '{out}')
                qa!
            """
            path = os.path.join(self.data.dir, "ask.vim")
            with open(path, "w") as f:
                f.write(script)
            subprocess.run(["nvim", "--headless", "--clean", "-S", path], capture_output=True, timeout=60, check=True)
            with open(out) as f:
                answer, why = json.load(f)
            self.check_answer(answer)
            self.assertIn('NOT_FOUND: there is no index "none"', why)

    # --- npm's neovim ---
    def test_node_neovim(self):
        env = node_env(self.data.dir)
        script = """
            const { attach } = require('neovim');
            (async () => {
              const n = attach({ socket: process.argv[1] });
              await n.request('auth', [{ key: process.argv[2] }]);
              const r = await n.request('query', [{ index: 'docs', vector: [1, 2, 0, 1], k: 3 }]);
              let why = '';
              try { await n.request('query', [{ index: 'none', vector: [1, 2, 0, 1] }]); } catch (e) { why = e.message; }
              require('fs').writeSync(1, JSON.stringify([r, why, await n.channelId]));
              process.exit(0);
            })();
        """
        p = subprocess.run(["node", "-e", script, self.server.sock, self.data.key], capture_output=True, text=True, timeout=60, env=env)
        self.assertEqual(p.returncode, 0, p.stderr)
        answer, why, channel = json.loads(p.stdout)
        self.check_answer(answer)
        self.assertIn('NOT_FOUND: there is no index "none"', why)
        self.assertGreater(channel, 0)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
