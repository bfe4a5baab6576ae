"""An incident, on a real server: the five commands of tools/README.md as they stand there, and request records through restarts,
damage and loss, with nothing in them that they must not hold.

`test_incident.py README.md`"""
import json
import os
import re
import shlex
import signal
import struct
import sys
import time
import unittest

from serving import Data, Failed, Rpc, Server, hold_writer, run

README = sys.argv[1]
DOC, TEXT = "salaries/2026.html", "Here the salary of the director\nis told: more than is wise."
QUESTION = "0123456789abcdef"  # no text of an index without a model; it must not be found anywhere


class World(Data):
    """acme/docs: version 1 labels the salaries for group:hr; the job of version 2 has a wrong rule and labels them for group:staff.
    user:ana is of the staff, by way of group:office."""

    def __init__(self):
        super().__init__(6)
        self.rows = os.path.join(self.dir, "salaries.jsonl")
        self.write(TEXT)
        self.ingest("--label-rule", "salaries/**=group:hr")
        self.ingest("--label-rule", "salaries/*=group:staff")
        self.cairn("member", "add", "acme", "user:ana", "group:office")
        self.cairn("member", "add", "acme", "group:office", "group:staff")
        self.app = self.make_key("--scope", "query,act-as")
        self.responder = self.make_key("--scope", "query,audit,policy,versions,activate", "--labels", "public")

    def write(self, text):
        with open(self.rows, "w") as f:
            f.write(json.dumps({"id": DOC, "text": text, "title": "Salaries", "vector": [0, 1, 0, 0]}) + "\n")
            f.write(json.dumps({"id": "notes/copy.html", "text": "Copied: THE SALARY of the Director is told.", "labels": ["user:bo"], "vector": [0, 0, 1, 0]}) + "\n")

    def ingest(self, *rules):
        return json.loads(self.cairn("ingest", "acme/docs", self.rows, "--source", "default", *rules, "--activate", "-o", "json").stdout)

    def remote(self, server, *args, key=None, check=True):
        return run("--server", f"unix:{server.sock}", "--key", key or self.responder, *args, check=check)

    def trace(self):
        return os.path.join(self.path, "tenants", "acme", "trace.mdb")


def commands():
    """The numbered commands of the page's section."""
    with open(README) as f:
        section = f.read().split("## A private document was quoted: five commands\n")[1].split("\n## ")[0]
    found = re.findall(r"^\d\. `cairn ([^`]*)`", section, re.M)
    assert len(found) == 5, found
    return [shlex.split(c) for c in found]


class Incident(unittest.TestCase):
    def setUp(self):
        self.w = World()
        self.addCleanup(self.w.close)
        self.server = None

    def serve(self, *options):
        self.server = Server(self.w, *options)
        self.addCleanup(lambda s=self.server: s.p.poll() is None and s.stop())
        return self.server

    def ask(self, who="user:ana", conn=None):
        conn = conn or Rpc(self.server, self.w.app)
        return conn.call("query", index="docs", vector=[0, 1, 0, 0], k=3, **{"as": who})

    def exposed(self, *args, doc=DOC):
        return json.loads(self.w.remote(self.server, "exposed", "acme", doc, *args, "-o", "json").stdout)

    # --- the page ---
    def test_the_five_commands(self):
        w = self.w
        self.serve()
        answer = self.ask()
        self.assertEqual(answer["hits"][0]["doc"], DOC, "ana was given what she should not have been")
        hit = answer["hits"][0]
        Rpc(self.server, w.app).call("fetch", index="docs", doc=DOC, bytes=hit["bytes"], digest=hit["digest"], **{"as": "user:ana"})
        self.assertNotIn(DOC, [h["doc"] for h in self.ask("user:eve")["hits"]])
        hide, exposed, explain, which, find = commands()
        out = [json.loads(w.remote(self.server, *c, "-o", "json").stdout) for c in (hide, exposed, explain, which, find)]
        for c in (hide, exposed, explain, which, find):  # as people see it, too
            self.assertNotEqual(w.remote(self.server, *c).stdout, "")

        self.assertNotIn(DOC, [h["doc"] for h in self.ask()["hits"]])
        self.assertEqual([(r["method"], r["as"], r["version"]) for r in out[1]["records"]], [("query", "user:ana", 3), ("fetch", "user:ana", 3)])
        self.assertEqual(out[1]["records"][0]["trace_id"], answer["made_by"]["trace_id"])
        self.assertEqual(out[1]["records"][1]["passages"][0]["bytes"], hit["bytes"])
        self.assertEqual((out[1]["complete"], out[1]["gaps"]), (False, []), "there were no records at all at the beginning of that time")
        self.assertEqual((out[2]["verdict"], out[2]["hidden_by"]), ("hidden", ["its name"]))
        self.assertEqual(out[2]["allowed_by"], [{"label": "group:staff", "from": "row", "through": ["user:ana", "group:office", "group:staff"]}])
        labelled = out[2]["labelled"]
        self.assertEqual((labelled["version"], labelled["certain"], labelled["kind"], labelled["label_rule"], labelled["rule_gives"]),
                         (3, True, "ingest", "salaries/*=group:staff", ["group:staff"]))
        self.assertEqual([(v["version"], v["state"], v["changed"], v["labels"]["allow"]) for v in out[3]["versions"]],
                         [(2, "idle", False, ["group:hr"]), (3, "active", True, ["group:staff"])])
        self.assertTrue(out[3]["policy"]["hidden"])
        self.assertEqual([(d["doc"], d["state"], d["versions"]) for d in out[4]["documents"]], [(DOC, "hidden", [2]), ("notes/copy.html", "live", [2, 3]), (DOC, "hidden", [3])])
        start, end = out[4]["documents"][0]["places"][0]
        self.assertEqual(TEXT.encode()[start:end].decode(), "the salary of the director")
        audit = [r["action"] for r in json.loads(w.remote(self.server, "audit", "show", "acme", "-o", "json").stdout)["records"]]
        for action in ("policy.hide", "trace.exposed", "incident.explain_access", "incident.which_versions", "incident.find"):
            self.assertIn(action, audit)

    def test_the_same_on_files_and_through_a_server(self):
        w = self.w
        self.serve()
        trace = self.ask()["made_by"]["trace_id"]
        self.exposed()  # writes what is queued
        for args in (("exposed", "acme", DOC), ("explain-access", "acme/docs", DOC, "user:ana"), ("explain-access", "acme/docs", DOC, "--as", "group:hr,public"),
                     ("which-versions", "acme/docs", DOC), ("find", "acme/docs", "SALARY", "--ignore-case"), ("trace", "acme", trace)):
            here, there = w.cairn(*args, "-o", "json").stdout, w.remote(self.server, *args, "-o", "json").stdout
            self.assertEqual(json.loads(here), json.loads(there), args)
            self.assertEqual(w.cairn(*args).stdout, w.remote(self.server, *args).stdout, args)
        p = w.remote(self.server, "trace", "acme", "0" * 32, check=False)
        self.assertEqual(p.returncode, 3, p.stderr)

    def test_a_list_for_scripts_tells_what_it_lacks(self):
        self.serve()
        self.ask()
        self.exposed()  # from now on there is a store
        p = self.w.remote(self.server, "exposed", "acme", DOC, "--since", "2020-01-01", "-o", "tsv")
        self.assertEqual(len(p.stdout.splitlines()), 2)
        self.assertRegex(p.stderr, "warning: the list is not complete: .*from=20")
        time.sleep(1.1)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        p = self.w.remote(self.server, "exposed", "acme", DOC, "--since", since, "-o", "tsv")
        self.assertEqual((len(p.stdout.splitlines()), p.stderr), (1, ""))

    def test_questions_of_the_command_are_recorded(self):
        w = self.w
        w.cairn("documents", "get", "acme/docs", DOC, "--principal", "user:ana")
        r = json.loads(w.cairn("exposed", "acme", DOC, "-o", "json").stdout)
        self.assertEqual([(x["method"], x["via"], x["as"]) for x in r["records"]], [("documents.get", "command", "user:ana")])
        self.assertTrue(r["records"][0]["who"].startswith("uid:"))
        self.serve()
        self.ask()
        self.assertEqual([x["method"] for x in self.exposed()["records"]], ["documents.get", "query"])

    def test_found_page_by_page(self):
        self.serve()
        conn = Rpc(self.server, self.w.responder)
        whole = conn.call("incident.find", index="docs", text="t", all_versions=True)
        self.assertGreater(len(whole["documents"]), 5)
        for limits in ({"limit": 1}, {"limit": 2}, {"deadline_ms": 1}):
            got, page = [], {"next": None}
            while page["next"] or not got:
                page = conn.call("incident.find", index="docs", text="t", all_versions=True, **limits, **({"after": page["next"]} if page["next"] else {}))
                got += page["documents"]
            self.assertEqual(got, whole["documents"], limits)
        with self.assertRaisesRegex(Failed, "INVALID.*after"):
            conn.call("incident.find", index="docs", text="t", after="nothing")

    # --- what no record holds ---
    def test_no_text_and_no_vector(self):
        w = self.w
        self.serve()
        vector = [0.015625, 1.40625, 0.0703125, 0.33203125]
        conn = Rpc(self.server, w.app)
        conn.call("query", index="docs", vector=struct.pack("<4f", *vector), tags={"session": QUESTION}, **{"as": "user:ana"})
        conn.call("documents.get", index="docs", doc=DOC, **{"as": "user:ana"})
        with self.assertRaises(Failed):
            conn.call("query", index="docs", text=QUESTION, mode="dense", **{"as": "user:ana"})
        by_words = conn.call("query", index="docs", text=QUESTION, **{"as": "user:ana"})["hits"]
        w.remote(self.server, "find", "acme/docs", QUESTION)
        self.assertEqual([r["method"] for r in self.exposed()["records"]], ["query", "documents.get"] + ["query"] * any(h["doc"] == DOC for h in by_words))
        self.server.stop()
        held = b""
        for root, _, names in os.walk(os.path.join(w.path, "tenants", "acme")):
            for n in names:
                if n.startswith(("trace.mdb", "control.mdb")):
                    with open(os.path.join(root, n), "rb") as f:
                        held += f.read()
        self.assertIn(DOC.encode(), held)
        for secret in (TEXT.encode(), b"salary of the director", b"Salaries", QUESTION.encode(), struct.pack("<4f", *vector), struct.pack(">4f", *vector)):
            self.assertNotIn(secret, held)
        with open(self.server.log_path) as f:
            self.assertNotIn(QUESTION, f.read())

    def test_other_tenants_see_nothing(self):
        w = self.w
        w.cairn("tenant", "add", "other")
        foreign = json.loads(w.cairn("key", "add", "other", "--scope", "audit,query", "-o", "json").stdout)["key"]
        self.serve()
        trace = self.ask()["made_by"]["trace_id"]
        self.assertEqual(len(self.exposed()["records"]), 1)
        conn = Rpc(self.server, foreign)
        self.assertEqual(conn.call("trace.exposed", doc=DOC)["records"], [])
        for call in (lambda: conn.call("trace.get", trace_id=trace), lambda: conn.call("trace.get", trace_id="0" * 32)):
            with self.assertRaisesRegex(Failed, "NOT_FOUND: there is no record of trace [0-9a-f]{32}; no request records are kept here yet"):
                call()

    # --- kept and lost ---
    def test_kept_through_restarts_and_a_kill(self):
        self.serve()
        self.ask()
        self.assertEqual(self.server.stop(), 0)  # what is queued is written at the end
        self.serve()
        self.ask()
        self.assertEqual(len(self.exposed()["records"]), 2)
        self.server.stop(signal.SIGKILL)
        killed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for _ in range(2):  # what was in its memory is missing, whoever asks, and until when is known once there is a server again
            r = json.loads(self.w.cairn("exposed", "acme", DOC, "--since", killed, "-o", "json").stdout)
            self.assertEqual((r["complete"], [g["why"] for g in r["gaps"]]), (False, ["a server ended before all was written"]))
            time.sleep(1.1)
        self.serve()
        self.ask()
        r = self.exposed()
        self.assertEqual((len(r["records"]), r["complete"], [g["why"] for g in r["gaps"]]), (3, False, ["a server ended before all was written"]))
        pages, page = [], {"next": None}
        conn = Rpc(self.server, self.w.responder)
        while page["next"] or not pages:
            page = conn.call("trace.exposed", doc=DOC, limit=1, **({"after": page["next"]} if page["next"] else {}))
            pages.append(page)
        self.assertEqual(([len(p["gaps"]) for p in pages].count(1), sum(len(p["records"]) for p in pages)), (1, 3))
        time.sleep(1.1)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.assertTrue(self.exposed("--since", since)["complete"])
        self.assertEqual(self.server.stop(), 0)
        self.serve()
        self.assertTrue(self.exposed("--since", since)["complete"])
        self.assertFalse(self.exposed()["complete"])

    def test_a_server_that_cuts_requests_off_has_written_all(self):
        self.serve("--drain-timeout", "0")
        self.ask()
        self.exposed()  # from now on there is a store
        time.sleep(1.1)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        fd = hold_writer(os.path.join(self.w.path, "tenants", "acme"))
        try:
            Rpc(self.server, self.w.responder).send("policy.hide", docs=["nothing"], reason="a test")
            self.ask()
            self.assertEqual(self.server.stop(), 0)
        finally:
            os.close(fd)
        self.assertIn("requests were cut off", str(self.server.log()[-1]))
        self.serve()
        r = self.exposed("--since", since)
        self.assertEqual((len(r["records"]), r["complete"], r["gaps"]), (1, True, []))

    def lost(self, spoil, running):
        """Records there, and then their file is spoilt: the server answers, says so, and keeps records anew."""
        self.serve()
        self.ask()
        self.assertEqual(len(self.exposed()["records"]), 1)
        if not running:
            self.server.stop()
        spoil(self.w.trace())
        if not running:
            self.serve()
        for _ in range(3):
            self.assertEqual(self.ask()["hits"][0]["doc"], DOC)
        return self.exposed()

    def test_a_damaged_file_is_set_aside(self):
        def junk(path):
            with open(path, "r+b") as f:
                f.write(b"\x5a" * 20000)
        r = self.lost(junk, running=False)
        self.assertEqual((len(r["records"]), r["complete"], [g["why"] for g in r["gaps"]]), (3, False, ["damaged"]))
        self.server.wait_log("trace.damaged", tenant="acme")
        self.assertTrue(os.path.exists(self.w.trace() + ".damaged"))
        p = self.w.cairn("doctor")
        self.assertIn("trace.mdb was damaged and is set aside", p.stdout)
        self.assertRegex(p.stdout, r"records of acme +\d+ request records")

    def test_a_file_cut_short_while_it_is_in_use(self):
        r = self.lost(lambda path: os.truncate(path, 4096), running=True)
        self.assertEqual((len(r["records"]), [g["why"] for g in r["gaps"]]), (3, ["damaged"]))

    def test_a_file_removed_while_it_is_in_use(self):
        r = self.lost(os.remove, running=True)
        self.assertEqual(len(r["records"]), 3)
        self.assertFalse(self.exposed("--since", "1h")["complete"])

    def test_a_place_where_none_can_be_kept(self):
        """A folder of that name: questions are answered, the log and stats say what is lost."""
        os.mkdir(self.w.trace())
        self.serve()
        for _ in range(5):
            self.assertEqual(self.ask()["hits"][0]["doc"], DOC)
        self.server.wait_log("trace.failed", tenant="acme")
        conn, end, dropped = Rpc(self.server, self.w.responder), time.time() + 20, 0
        while dropped < 5 and time.time() < end:  # they may come in two batches
            dropped = conn.call("stats")["records_dropped"]
        self.assertEqual(dropped, 5)
        os.rmdir(self.w.trace())
        self.ask()
        r = self.exposed()
        end = time.time() + 20
        while not r["gaps"] and time.time() < end:
            r = self.exposed()
        self.assertEqual((len(r["records"]), [(g["why"], g["records"]) for g in r["gaps"]]), (1, [("dropped", 5)]))

    def test_none_when_the_host_wants_none(self):
        self.serve("--trace-bytes", "0")
        self.assertEqual(self.ask()["hits"][0]["doc"], DOC)
        r = self.exposed()
        self.assertEqual((r["records"], r["complete"]), ([], False))
        self.server.stop()
        self.serve("--trace-bytes", "100KiB", "--trace-keep", "1h")
        conn = Rpc(self.server, self.w.app)
        first = self.ask(conn=conn)["made_by"]["trace_id"]
        for _ in range(1000):
            self.ask(conn=conn)
        r = self.exposed("--since", "1h")
        self.assertTrue(50 < len(r["records"]) < 300, len(r["records"]))
        self.assertFalse(r["complete"])
        with self.assertRaisesRegex(Failed, "what is kept reaches back to 20"):
            Rpc(self.server, self.w.responder).call("trace.get", trace_id=first)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
