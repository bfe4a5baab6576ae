"""A data directory that the tests of the command share: tenant acme, index docs by a tiny model, two versions, a member."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
from serving import CAIRN, SANITIZED, Server, run

MAKE_MODEL = os.environ["MAKE_MODEL"]
ALL = "query,ingest,activate,force,versions,policy,operate,audit,admin"
TEXT = "the committee decides on the removal of packages"
RULES = ("--label-rule", "hr-*=group:hr", "--label", "public")


class Place:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-tools-")
        self.path = os.path.join(self.dir, "data")
        self.docs = os.path.join(self.dir, "docs")
        self.model = os.path.join(self.dir, "model")
        os.mkdir(self.docs)
        os.mkdir(self.model)
        subprocess.run([MAKE_MODEL, self.model], check=True)
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        self.cairn("model", "add", "tiny", self.model)
        self.cairn("index", "create", "acme/docs", "--embedder", "tiny")
        for name, text in (("hr-pay.txt", "Pay is decided by the committee."), ("open.txt", "Packages are removed on request."),
                           ("news.txt", "The removal of packages was discussed.")):
            self.write(name, text)
        self.cairn("ingest", "acme/docs", self.docs, *RULES, "--activate")
        self.write("open.txt", "Packages are removed when their maintainer asks.")
        self.cairn("ingest", "acme/docs", self.docs, *RULES)
        self.cairn("member", "add", "acme", "user:ana", "group:hr")

    def write(self, name, text):
        path = os.path.join(self.docs, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def cases(self):
        """A file of one case, for `gate freeze`."""
        path = os.path.join(self.dir, "cases")
        with open(path, "w") as f:
            f.write(json.dumps({"id": "q", "text": TEXT, "relevant": {"open.txt": 1}, "must_find": ["open.txt"]}) + "\n")
        return path

    def cairn(self, *args, **kw):
        return run(*args, data=self.path, **kw)

    def key(self, *args):
        return json.loads(self.cairn("key", "add", "acme", *args, "-o", "json").stdout)["key"]

    def serve(self, *options):
        """Starts cairnd; from then on remote() goes through it by a key with every scope but act-as."""
        self.admin = self.key("--scope", ALL, "--labels", "public")
        self.server = Server(self, "--import-root", "acme=" + self.docs, *options)

    def remote(self, *args, key=None, server=None, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        return subprocess.run([CAIRN, "--server", server or "unix:" + self.server.sock, "--key", key or self.admin, *args],
                              capture_output=True, text=True, timeout=120, env={**clean, **(env or {})})

    def close(self):
        if hasattr(self, "server"):
            self.server.stop()
        shutil.rmtree(self.dir)
