#!/usr/bin/env python3
"""What serving costs: server CPU a query beside the same search in process; a request's own cost; starting up.

    python3 benchmarks/server/run.py BUILD [--rows 100000] [--dim 384] [--rounds 5] [--start-rows 1000000] [--tenants 1000] [--out FILE]

BUILD is a release build. Vectors are random, made here. Needs numpy. Server CPU is user and system time of the whole
cairnd process, read before and after each round; rounds of the two are interleaved, and medians count.
"""
import argparse, datetime, json, os, platform, shutil, signal, statistics, subprocess, tempfile, time

import numpy as np

TICK = os.sysconf("SC_CLK_TCK")


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


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

    def key(self, tenant):
        return json.loads(self.cairn("key", "add", tenant, "--scope", "query", "--labels", "public", "-o", "json"))["key"]


class Server:
    """cairnd, and the time from its start to its first answer."""

    def __init__(self, place, key, index=None, dim=0):
        self.address = f"unix:{place.dir}/sock"
        start = time.perf_counter()
        self.p = subprocess.Popen([place.build + "/server/cairnd", "--data", place.data, "--listen", self.address], stderr=subprocess.DEVNULL)
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


def load(place, address, key, index, queries, k, connections, each):
    out = subprocess.run([place.build + "/benchmarks/server/load", address, key, index, queries, str(k), str(connections), str(each)],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def measure(place, tenant, index, queries, key, rounds, connections, each):
    server = Server(place, key, index, np.load(queries, mmap_mode="r").shape[1])
    load(place, server.address, key, index, queries, 10, connections, 100)
    ours, alone, told = [], [], []
    for _ in range(rounds):
        before = server.cpu_us()
        r = load(place, server.address, key, index, queries, 10, connections, each)
        ours.append((server.cpu_us() - before) / r["queries"])
        told.append(r)
        alone.append(float(subprocess.run([place.build + "/benchmarks/server/in_process", place.data, tenant, index, queries, "10", str(each)],
                                          check=True, capture_output=True, text=True).stdout))
    memory = server.rss_mib()
    server.stop()
    return {"server_cpu_us": round(statistics.median(ours), 1), "in_process_cpu_us": round(statistics.median(alone), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, alone)), 3),
            "own_us": round(statistics.median(a - b for a, b in zip(ours, alone)), 1),
            "qps": round(statistics.median(t["queries"] / t["seconds"] for t in told)), "p50_us": statistics.median(t["p50_us"] for t in told),
            "p99_us": statistics.median(t["p99_us"] for t in told), **memory}


def starts(place, key, index, dim, n=5):
    times, memory = [], {}
    for _ in range(n):
        server = Server(place, key, index, dim)
        times.append(server.ready_ms)
        memory = server.rss_mib()
        server.stop()
    return {"ready_ms": round(statistics.median(times), 1), **memory}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build"), p.add_argument("--rows", type=int, default=100000), p.add_argument("--dim", type=int, default=384)
    p.add_argument("--rounds", type=int, default=5), p.add_argument("--each", type=int, default=1000), p.add_argument("--start-rows", type=int, default=1000000)
    p.add_argument("--tenants", type=int, default=1000), p.add_argument("--folder"), p.add_argument("--out")
    o = p.parse_args()
    folder = tempfile.mkdtemp(prefix="cairn-bench-", dir=o.folder)
    try:
        place = Place(o.build, folder)
        place.cairn("tenant", "add", "t0")
        key = place.key("t0")
        big = place.index("t0", "big", o.rows, o.dim)
        small = place.index("t0", "small", 1000, 8)
        result = {"what": "what serving costs", "command": "python3 benchmarks/server/run.py BUILD", "date": datetime.date.today().isoformat(), "machine": cpu_name(),
                  "rows": o.rows, "dim": o.dim, "connections": 4,
                  "big": measure(place, "t0", "big", big, key, o.rounds, 4, o.each),
                  "small": measure(place, "t0", "small", small, key, o.rounds, 4, o.each * 10)}
        place.index("t0", "million", o.start_rows, 64)
        result["start_million_rows"] = {"rows": o.start_rows, **starts(place, key, "million", 64)}
        for i in range(1, o.tenants):
            place.cairn("tenant", "add", f"t{i}")
        result["start_idle_tenants"] = {"tenants": o.tenants, **starts(place, key, None, 0)}
        result["bar"] = "big.ratio at most 1.15; small.own_us under 30; ready within 200 ms on a million rows, 1,000 ms with 1,000 idle tenants"
        print(json.dumps(result, indent=1))
        if o.out:
            with open(o.out, "w") as f:
                json.dump(result, f, indent=1)
                f.write("\n")
    finally:
        shutil.rmtree(folder)


main()
