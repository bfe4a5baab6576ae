"""A data directory of random vectors, a cairnd on it, and the load program: what the measurements of serving share."""
import json, os, signal, socket, subprocess, time

import msgpack
import numpy as np

TICK = os.sysconf("SC_CLK_TCK")


class Place:
    def __init__(self, build, folder):
        self.build, self.dir, self.data = build, folder, folder + "/data"
        self.cairn("init")

    def cairn(self, *args):
        p = subprocess.run([self.build + "/tools/cairn", "--data", self.data, *args], capture_output=True, text=True)
        if p.returncode:
            raise SystemExit(f"cairn {' '.join(args)}: {p.stderr}")
        return p.stdout

    def index(self, tenant, name, rows, dim):
        path = f"{self.dir}/{name}.npy"
        rng = np.random.default_rng(1)
        np.save(path, rng.standard_normal((rows, dim), dtype=np.float32))
        self.cairn("index", "create", f"{tenant}/{name}", "--embedder", "none")
        self.cairn("ingest", f"{tenant}/{name}", path, "--label", "public", "--activate")
        os.unlink(path)
        np.save(f"{self.dir}/{name}.q.npy", rng.standard_normal((500, dim), dtype=np.float32))
        return f"{self.dir}/{name}.q.npy"

    def key(self, tenant, scopes="query"):
        return json.loads(self.cairn("key", "add", tenant, "--scope", scopes, "--labels", "public", "-o", "json"))["key"]


class Server:
    """cairnd, and the time from its start to its first answer."""

    def __init__(self, place, key, index=None, dim=0, *options):
        self.address = f"unix:{place.dir}/sock"
        start = time.perf_counter()
        self.p = subprocess.Popen([place.build + "/server/cairnd", "--data", place.data, "--listen", self.address, *options], stderr=subprocess.DEVNULL)
        one = f"{place.dir}/one.npy"
        while not os.path.exists(f"{place.dir}/sock"):
            time.sleep(0.001)
        if index:
            np.save(one, np.ones((1, dim), dtype=np.float32))
            load(place, self.address, key, index, one, 1, 1, 1)
        else:
            subprocess.run([place.build + "/tools/cairn", "--server", self.address, "--key", key, "index", "list", "t0"], check=True, capture_output=True)
        self.ready_ms = (time.perf_counter() - start) * 1000
        self.place, self.key = place, key

    def cpu_us(self):
        fields = open(f"/proc/{self.p.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / TICK

    def rss_mib(self):
        """All resident memory, and what of it is not the data files' pages."""
        kib = {w[0]: int(w[1]) for w in (line.split() for line in open(f"/proc/{self.p.pid}/status")) if w[0].startswith("Rss") or w[0] == "VmRSS:"}
        return {"rss_mib": round(kib["VmRSS:"] / 1024, 1), "anonymous_mib": round(kib["RssAnon:"] / 1024, 1)}

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(30)


def load(place, address, key, index, queries, k, connections, each, *rate):
    first = ["chrt", "-f", "10"] if os.geteuid() == 0 else []  # as if on a machine of its own
    out = subprocess.run([*first, place.build + "/benchmarks/server/load", address, key, index, queries, str(k), str(connections), str(each), *map(str, rate)],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def connect(server):
    s = socket.socket(socket.AF_UNIX)
    s.connect(server.address[len("unix:"):])
    return s


class Client:
    """An ordinary MessagePack-RPC client, one call after the other."""

    def __init__(self, server, key):
        self.s, self.unpacker = connect(server), msgpack.Unpacker(raw=False)
        self.call("auth", key=key)

    def call(self, method, **params):
        self.s.sendall(msgpack.packb([0, 1, method, [params]]))
        while True:
            for _, _, error, result in self.unpacker:
                if error:
                    raise RuntimeError(f"{method}: {error[1]}")
                return result
            self.unpacker.feed(self.s.recv(1 << 20))
