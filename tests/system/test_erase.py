"""What is erased leaves the files of a running server by itself: after compact_after, beside questions, after a kill; who may
know how much is left."""
import fcntl
import json
import os
import signal
import time
import unittest

from serving import Data, Load, Rpc, Server

SECRET = "The heliotrope ledger lies under the orangery"
VECTOR = [0.123456789, -7.7654321, 3.14159274, 2.71828175]
ALL = "query,ingest,activate,versions,policy,operate,audit,admin"


class Erasing(unittest.TestCase):
    def setUp(self):
        self.data = Data(20)
        self.addCleanup(self.data.close)
        self.data.cairn("index", "create", "acme/other", "--embedder", "none")
        self.servers = []
        self.addCleanup(lambda: [s.stop(signal.SIGKILL) for s in self.servers if s.p.poll() is None])
        self.admin_key = self.data.make_key("--scope", ALL, "--labels", "public")

    def serve(self, *options):
        self.servers.append(Server(self.data, *options))
        self.server = self.servers[-1]
        self.admin = Rpc(self.server, self.admin_key)

    def put(self, index, doc, text=SECRET, **more):
        row = {"id": doc, "text": text, "labels": ["public"], "vector": VECTOR, **more}
        return self.admin.call("documents.put", index=index, activate=True, documents=[row])

    def ingest(self, n, words):
        path = os.path.join(self.data.dir, "more.jsonl")
        with open(path, "w") as f:
            for i in range(n):
                f.write(json.dumps({"id": f"m{i}", "text": f"{SECRET if i == n // 2 else 'other'} " + "words " * words, "labels": ["public"], "vector": [1, i, 2, 3]}) + "\n")
        self.data.cairn("ingest", "acme/docs", path, "--activate")
        return f"m{n // 2}"

    def erased(self, conn=None):
        return (conn or self.admin).call("stats")["erased"]["indexes"]

    def files_with(self, text):
        found = []
        for folder, _, names in os.walk(self.data.path):
            for name in names:
                try:
                    with open(os.path.join(folder, name), "rb") as f:
                        if text.encode() in f.read():
                            found.append(name)
                except FileNotFoundError:
                    pass
        return found

    def until(self, what, why, seconds=30):
        end = time.time() + seconds
        while time.time() < end:
            got = what()
            if got:
                return got
            time.sleep(0.05)
        self.fail(f"{why}; {self.erased()}\n{open(self.server.log_path).read()}")

    def until_gone(self, seconds=120):
        self.until(lambda: not self.files_with(SECRET), "its bytes are still there", seconds)
        self.until(lambda: self.erased() == [], "it is not said to be gone")

    def actions(self, *names):
        records = self.admin.call("audit.list", limit=1000)["records"]
        return [r for r in records if r["action"] in names]

    def doctor(self):
        return [f for f in json.loads(self.data.cairn("doctor", "-o", "json", check=False).stdout)["findings"] if "erased documents" in f["detail"]]

    # --- it goes by itself ---
    def test_it_leaves_every_file(self):
        self.serve("--compact-after", "1s")
        for index in ("docs", "other"):
            self.put(index, "secret", title="Zyzzyva minutes")
            self.put(index, "secret", SECRET + " again")
        self.put("docs", "kept", "nothing of it")
        self.assertEqual(self.erased(), [])
        ask = dict(index="docs", vector=[1, 2, 3, 1], k=50, mode="exact")
        before = [h["doc"] for h in self.admin.call("query", **ask)["hits"]]
        roots = [v["root"] for v in self.admin.call("versions.list", index="docs")["versions"]]
        began = time.time()
        self.admin.call("policy.erase", docs=["secret"], reason="request 4711")
        left = self.until(lambda: [e for e in self.erased() if e["documents"]], "nobody noticed")
        self.assertTrue(all(e["documents"] == 1 and e["files"] >= 1 and e["since"] and e["due"] > e["since"] and "cairn compact acme/" in e["next"] for e in left), left)
        waiting = self.until(lambda: [e for e in self.erased() if e["leaving"] and not e["documents"]], "it was not compacted")
        self.assertLess(time.time() - began, 25)
        self.assertTrue(all(e["gone_after"] and "gone_after" in e["next"] for e in waiting))
        self.assertTrue(self.doctor() and all(f["grade"] == "note" for f in self.doctor()))
        self.assertEqual([h["doc"] for h in self.admin.call("query", **ask)["hits"]], [d for d in before if d != "secret"])
        self.until_gone()
        self.assertEqual(self.files_with("Zyzzyva minutes"), [])
        self.assertEqual([v["root"] for v in self.admin.call("versions.list", index="docs")["versions"]], roots)
        done = self.actions("version.compact")
        self.assertEqual({(r["target"], r["who"], r["detail"]["erased"]) for r in done}, {("docs", "cairnd", 1), ("other", "cairnd", 1)})
        self.assertTrue(all("compact_after" in r["reason"] for r in done))
        gone = self.actions("version.erased")
        self.assertTrue(gone and all(r["who"] == "cairnd" and r["detail"]["compacted"] in [d["seq"] for d in done] for r in gone), gone)
        self.assertEqual(self.doctor(), [])
        self.data.cairn("audit", "verify", "acme")
        self.data.cairn("scrub")

    def test_what_was_let_go_leaves_too(self):
        """Of a version that was dropped before its document was erased, and of a dropped index; what was never erased goes as well,
        and so does a tenant whose removal was cut short."""
        cut = os.path.join(self.data.path, "tenants", ".dropped-gone-0123456789abcdef")
        os.mkdir(cut)
        with open(os.path.join(cut, "segment"), "w") as f:
            f.write("Quercus suber, and no other")
        self.serve("--compact-after", "1s")
        self.until(lambda: not os.path.exists(cut), "a drop that was cut short is not ended")
        self.put("docs", "first", "of them")
        for doc, text in (("secret", SECRET), ("plain", "Marginalia of Wednesday")):
            dropped = self.admin.call("documents.put", index="docs", activate=False, documents=[{"id": doc, "text": text, "labels": ["public"], "vector": VECTOR}])["version"]
            self.admin.call("versions.drop", index="docs", version=dropped)
        self.put("other", "second", SECRET + " too")
        self.admin.call("admin.index_drop", index="other")
        self.assertEqual(len(self.files_with(SECRET)), 2)
        self.admin.call("policy.erase", docs=["secret", "second"], reason="request 4712")
        self.until(lambda: [e for e in self.erased() if e["documents"] or e["leaving"]], "nobody noticed")
        self.until_gone()
        self.until(lambda: not self.files_with("Marginalia of Wednesday"), "what was let go stays", 120)
        gone = self.actions("version.erased")
        self.assertTrue(len(gone) == 2 and all(r["who"] == "cairnd" and r["detail"]["documents"] == 1 for r in gone), gone)
        self.data.cairn("audit", "verify", "acme")
        self.assertEqual(self.doctor(), [])

    def test_a_word_leaves_the_postings(self):
        """Enough rows for postings on disk: the erased document's own word is in them, and then in no file."""
        path = os.path.join(self.data.dir, "many.jsonl")
        with open(path, "w") as f:
            for i in range(600):
                text = f"row {i} of the ledger" + (" qwyjibozz" if i == 300 else "")
                f.write(json.dumps({"id": f"m{i}", "text": text, "labels": ["public"], "vector": [1, i, 2, 3]}) + "\n")
        self.data.cairn("ingest", "acme/docs", path, "--activate")
        self.serve("--compact-after", "1s")
        ask = dict(index="docs", mode="lexical", k=5, text="qwyjibozz")
        self.assertEqual([h["doc"] for h in self.admin.call("query", **ask)["hits"]], ["m300"])
        before = self.files_with("qwyjibozz")
        self.assertEqual({n.split(".", 1)[1] for n in before}, {"mdb", "postings.mdb"})
        self.admin.call("policy.erase", docs=["m300"], reason="request 4711")
        self.assertEqual(self.admin.call("query", **ask)["hits"], [])
        self.until(lambda: not self.files_with("qwyjibozz"), "the word is still there", 120)
        self.until(lambda: self.erased() == [], "it is not said to be gone")
        self.assertEqual(len(self.admin.call("query", **{**ask, "text": "ledger"})["hits"]), 5)
        made = [n for n in os.listdir(os.path.join(self.data.path, "tenants/acme/segments")) if n.endswith(".postings.mdb") and n not in before]
        self.assertTrue(made)  # anew, without it
        self.data.cairn("scrub")

    def test_a_held_file_delays_no_erasure(self):
        """Someone holds the old file for long: what is erased afterwards is compacted all the same, and then all of it goes."""
        self.serve("--compact-after", "1s")
        self.put("docs", "first")
        folder = os.path.join(self.data.path, "tenants/acme/segments")
        held = [open(os.path.join(folder, n), "rb") for n in self.files_with(SECRET)]
        for f in held:
            fcntl.flock(f, fcntl.LOCK_SH)
        self.admin.call("policy.erase", docs=["first"], reason="test")
        self.until(lambda: [e for e in self.erased() if "still held" in e["problem"]], "that it is held is not said", 120)
        self.put("docs", "second", "Zyzzyva minutes")
        began = time.time()
        self.admin.call("policy.erase", docs=["second"], reason="test")
        self.until(lambda: len([r for r in self.actions("version.compact") if r["outcome"] == "done"]) == 2, "it waits behind the held file", 20)
        self.assertLess(time.time() - began, 20)
        self.assertTrue(self.files_with(SECRET))
        for f in held:
            f.close()

    def test_a_tenant_that_cannot_be_read_hides_no_other(self):
        """`stats` on files: its problem, and what is left of the others."""
        self.serve("--compact-after", "0")
        self.put("docs", "secret")
        self.admin.call("policy.erase", docs=["secret"], reason="test")
        self.server.stop()
        self.data.cairn("tenant", "add", "beta")
        with open(os.path.join(self.data.path, "tenants/beta/control.mdb"), "r+b") as f:
            f.write(b"\xff" * 8192)
        told = json.loads(self.data.cairn("stats", "-o", "json").stdout)["erased"]["indexes"]
        self.assertEqual([(e["tenant"], e["index"], e["documents"], bool(e["problem"])) for e in told], [("acme", "docs", 1, False), ("beta", "", 0, True)])
        self.assertIn("scrub", told[1]["next"])

    def test_an_erasure_by_the_command_beside_the_server(self):
        """Only files that hold what was erased are rewritten."""
        self.serve("--compact-after", "1s")
        self.put("docs", "secret")
        self.put("docs", "kept", "nothing of it")
        self.data.cairn("policy", "erase", "acme", "secret", "--reason", "test")
        done = self.until(lambda: self.actions("version.compact"), "it was not noticed")
        self.assertEqual((done[0]["detail"]["files_before"], done[0]["detail"]["files_after"], done[0]["detail"]["erased"]), (3, 3, 1))

    def test_a_kill_and_questions(self):
        """While requests wait it goes a MiB a second; killed in the middle of that, the next server begins anew."""
        doc = self.ingest(6000, 2000)
        self.serve("--compact-after", "1s", "--workers", "1")
        with Load(self.server, self.data.key):
            self.admin.call("policy.erase", docs=[doc], reason="test")
            self.server.wait_log("erase.begun")
            time.sleep(3)
            self.assertEqual([e["event"] for e in self.server.log() if e["event"].startswith("erase.") and e["event"] != "erase.begun"], [])
            self.server.stop(signal.SIGKILL)
        self.serve("--compact-after", "1s")
        self.server.wait_log("erase.compacted", 60)
        self.until_gone()
        self.assertEqual(len(self.actions("version.compact")), 1)
        self.data.cairn("scrub")

    # --- it can be told not to ---
    def test_turned_off_and_on(self):
        config = os.path.join(self.data.dir, "cairnd.ini")
        with open(config, "w") as f:
            f.write("compact_after = 0\n")
        self.serve("--config", config)
        self.put("docs", "secret")
        self.admin.call("policy.erase", docs=["secret"], reason="test")
        left = self.until(lambda: self.erased(), "nobody noticed")
        self.assertEqual((left[0]["index"], left[0]["documents"], left[0]["due"]), ("docs", 1, None))
        self.assertIn("compact_after is 0", left[0]["next"])
        time.sleep(2)
        self.assertEqual(self.actions("version.compact"), [])
        found = self.doctor()
        self.assertEqual((len(found), found[0]["grade"], found[0]["what"]), (1, "note", "acme/docs"))
        self.assertRegex(found[0]["detail"], r"1 erased documents, the first since 20.*`cairn compact acme/docs --wait`")
        on_files = json.loads(self.data.cairn("stats", "-o", "json").stdout)["erased"]["indexes"]
        self.assertEqual([(e["tenant"], e["index"], e["documents"]) for e in on_files], [("acme", "docs", 1)])
        self.assertIn("cairn compact acme/docs", self.data.cairn("stats").stdout)
        with open(config, "w") as f:
            f.write("compact_after = 1s\n")
        self.server.p.send_signal(signal.SIGHUP)
        self.until(lambda: self.actions("version.compact"), "it was not turned on")

    def test_a_freeze_is_waited_for(self):
        self.serve("--compact-after", "1s")
        self.put("docs", "secret")
        self.admin.call("modes.set", index="docs", mode="freeze")
        self.admin.call("policy.erase", docs=["secret"], reason="test")
        left = self.until(lambda: [e for e in self.erased() if e["problem"]], "the freeze is not said")
        self.assertIn("freeze", left[0]["problem"])
        self.assertRegex(left[0]["next"], "^nothing before that ends: the index is in mode freeze")
        self.assertNotIn("--wait", left[0]["next"])  # it would be refused
        told = json.loads(self.data.cairn("stats", "-o", "json").stdout)["erased"]["indexes"]
        self.assertIn("in mode freeze", told[0]["next"])
        time.sleep(2)
        self.assertEqual(self.actions("version.compact"), [])  # no refused attempts either
        self.admin.call("modes.set", index="docs", mode="normal")
        self.until(lambda: self.actions("version.compact"), "it did not go on")
        self.assertEqual({r["outcome"] for r in self.actions("version.compact")}, {"done"})

    def test_what_fails_is_told_and_tried_again(self):
        """A file that cannot be read: nothing is changed, and it does not try all the time."""
        self.serve("--compact-after", "1s")
        beside = {"id": "beside", "text": "the neighbour", "labels": ["public"], "vector": VECTOR}
        self.admin.call("documents.put", index="docs", activate=True, documents=[beside, {**beside, "id": "secret", "text": SECRET}])
        name = self.files_with("the neighbour")[0]
        self.server.stop()
        with open(os.path.join(self.data.path, "tenants/acme/segments", name), "r+b") as f:
            f.seek(f.read().find(b"the neighbour"))
            f.write(b"x")
        self.serve("--compact-after", "1s")
        self.admin.call("policy.erase", docs=["secret"], reason="test")
        left = self.until(lambda: [e for e in self.erased() if e["problem"]], "the failure is not said")
        self.assertEqual(left[0]["documents"], 1)
        time.sleep(3)
        self.assertLessEqual(len([e for e in self.server.log() if e["event"] in ("erase.failed", "erase.unknown")]), 2)
        self.assertEqual(self.admin.call("health")["status"], "ok")

    # --- who may know ---
    def test_only_administrators_are_told(self):
        self.serve("--compact-after", "0")
        self.put("docs", "secret")
        self.put("other", "secret")
        self.admin.call("policy.erase", docs=["secret"], reason="test")
        self.until(lambda: len(self.erased()) == 2, "nobody noticed")
        for scope in ("query", "policy", "audit", "operate", "versions"):
            self.assertNotIn("erased", Rpc(self.server, self.data.make_key("--scope", scope, "--labels", "public")).call("stats"), scope)
        limited = Rpc(self.server, self.data.make_key("--scope", "admin", "--index", "other"))
        self.assertEqual([(e["index"], "tenant" in e) for e in self.erased(limited)], [("other", False)])
        host = lambda *args: Rpc(self.server, json.loads(self.data.cairn("key", "add", "--host", "--scope", "admin", *args, "-o", "json").stdout)["key"])
        self.assertEqual([(e["tenant"], e["index"]) for e in self.erased(host())], [("acme", "docs"), ("acme", "other")])
        self.assertEqual(self.erased(host("--index", "docs")), [])  # who the tenants are is not for it
        self.data.cairn("tenant", "add", "beta")
        beta = json.loads(self.data.cairn("key", "add", "beta", "--scope", "admin", "-o", "json").stdout)["key"]
        self.assertEqual(self.erased(Rpc(self.server, beta)), [])
        self.assertNotIn("secret", json.dumps(self.admin.call("stats")))  # ids are not told


if __name__ == "__main__":
    unittest.main(verbosity=2)
