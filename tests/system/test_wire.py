"""What bad input gets, over a socket: each case and its error, and that the server goes on serving others after each."""
import itertools
import json
import os
import socket
import time
import unittest

import msgpack

from serving import Data, Failed, Rpc, Server, run

VECTOR = [1.0, 2.0, 0.0, 1.0]
MAX_FRAME = 100000
ALL = "query,ingest,activate,force,versions,policy,operate,audit,admin"


def request(msgid, *rest):
    return msgpack.packb([0, msgid, *rest])


def nested(depth):
    return b"\x94\x00\x09\xa5query\x91" + b"\x81\xa1a" * depth + b"\xc0"


NOBODY = 2**32 - 1
# Bytes after which a connection ends; the msgid that the error is answered under, how it begins, words in it and in the log.
ENDING = [
    (b"\xc1", NOBODY, "INVALID: ", "byte"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NOBODY, "INVALID: ", "not a message of MessagePack-RPC"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", NOBODY, "INVALID: ", "not a message of MessagePack-RPC"),
    (b"\xdd\xff\xff\xff\xff", NOBODY, "INVALID: ", "the message holds more than"),
    (b"\xc6\xff\xff\xff\xff", NOBODY, "INVALID: ", "at most"),
    (b"\x93\x05\x01\x02", NOBODY, "INVALID: ", "starts with none of 0, 1, 2"),
    (b"\x90", NOBODY, "INVALID: ", "starts with none of 0, 1, 2"),
    (b"\x80", NOBODY, "INVALID: ", "it is no array"),
    (b"\x94\x00\x09\xa5query\x91\xc6\x00\x98\x96\x80", 9, "INVALID: a message of 10000", "at most 65536 before auth"),
    (b"\x94\x00\x09\xa5query\xdd\x7f\xff\xff\xff", 9, "INVALID: ", "the message holds more than"),
    (b"\x94\x00\x09\xa5query\x91\xc1", 9, "INVALID: ", "byte"),
    (nested(60), 9, "INVALID: ", "deep"),
]

WRONG = {
    "str": [5, True, [], {}, 1.5], "uint": [-1, "1", 1.5, True, [], {}], "float": ["x", True, [], {}], "bool": [1, "true", [], {}],
    "map": [5, "x", [], True], "list": [5, "x", {}, True], "list of str": [5, {}, True, [5], ["a", {}], [None]], "vector": [5, {}, True, ["x"], [], "12345", [None]],
}
# Queries with one field wrong, and the error.
QUERIES = [
    ({"k": 0}, 'INVALID: field "k"'), ({"k": 1000000}, 'INVALID: field "k"'), ({"k": 10001}, 'INVALID: field "k"'), ({"k": 2**64 - 1}, 'INVALID: field "k"'),
    ({"per_doc": 10001}, 'INVALID: field "per_doc"'), ({"deadline_ms": 0}, 'INVALID: field "deadline_ms"'), ({"version": 0}, 'INVALID: field "version"'),
    ({"version": 99}, "NOT_FOUND: "), ({"min_version": 99}, "UNAVAILABLE: version 99 is not active yet"), ({"tenant": "nowhere"}, 'NOT_FOUND: there is no tenant "nowhere"'),
    ({"tenant": ""}, "INVALID: "), ({"tenant": "../acme"}, "INVALID: "), ({"index": "nowhere"}, 'NOT_FOUND: there is no index "nowhere"'), ({"index": ""}, "INVALID: "),
    ({"index": "a" * 5000}, "INVALID: "), ({"mode": "fast"}, 'INVALID: there is no mode "fast"; modes are'), ({"mode": ""}, ""), ({"mode": "lexical"}, "INVALID: mode lexical looks up words: give `text`"),
    ({"min_relevance": 1.5}, 'INVALID: field "min_relevance"'), ({"min_relevance": float("nan")}, 'INVALID: field "min_relevance"'), ({"recall": 0}, 'INVALID: field "recall"'),
    ({"on_degraded": "maybe"}, 'INVALID: field "on_degraded"'), ({"vector": None, "text": "aa* bb* cc* dd* ee* ff* gg* hh* ii*", "operators": True}, "INVALID: the question has more than 8 prefixes"), ({"tags": {"a": 5}}, 'INVALID: field "tags"'), ({"tags": {str(i): "x" for i in range(33)}}, 'INVALID: field "tags"'),
    ({"vector": [1, 2, 3]}, "INVALID: the vector has 3 numbers; this index has vectors of 4"), ({"vector": [0, 0, 0, 0]}, "INVALID: "), ({"vector": [float("nan"), 0, 0, 1]}, "INVALID: "),
    ({"vector": [float("inf"), 0, 0, 1]}, "INVALID: "), ({"vector": [1e300, 0, 0, 1]}, "INVALID: "), ({"vector": b"\0" * 17}, "INVALID: a vector of 17 bytes"), ({"vector": []}, "INVALID: a vector has 1 to"),
    ({"vector": [1] * 20000}, "INVALID: a vector has 1 to"), ({"text": "x"}, "INVALID: give `text` or `vector`, not both"), ({"vector": None}, "INVALID: a query needs `text` or `vector`"),
    ({"vector": None, "text": ""}, "INVALID: the text is empty"), ({"vector": None, "text": b"\xff"}, "INVALID: field \"text\" holds a string that is not valid UTF-8"), ({"vector": None, "text": "x", "mode": "dense"}, "INVALID: this index has no embedder"),
    ({"labels": ["no kind"]}, "INVALID: "), ({"labels": [5]}, "INVALID: "), ({"as": "user:ana"}, "DENIED: "), ({"nosuch": 1}, 'INVALID: query has no field "nosuch"'), ({"topk": 1}, 'INVALID: query has no field "topk"'),
    ({"filter": {}}, "INVALID: "), ({"filter": {"field": "lang"}}, "INVALID: "), ({"filter": {"field": "lang", "like": "x"}}, "INVALID: "), ({"filter": {"and": 5}}, "INVALID: "),
    ({"filter": {"field": "lang", "eq": {}}}, "INVALID: "), ({"filter": {"field": 5, "eq": 1}}, "INVALID: "),
]


class Wire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = Data()
        cls.server = Server(cls.data, "--max-frame", str(MAX_FRAME))
        cls.other = Rpc(cls.server, cls.data.key)
        cls.key = json.loads(cls.data.cairn("key", "add", "--host", "--scope", ALL, "--labels", "public", "-o", "json").stdout)["key"]
        cls.served = cls.other.call("api.describe")["methods"]

    @classmethod
    def tearDownClass(cls):
        cls.other.close()
        code = cls.server.stop()
        cls.data.close()
        assert code == 0, code

    def tearDown(self):
        self.others_are_served()

    def others_are_served(self):
        self.assertEqual(self.other.call("query", index="docs", vector=VECTOR, k=1)["hits"][0]["doc"], "d2")

    def closed_for(self, words):
        """The log says so, of a few a second."""
        end = time.time() + 20
        while not any(words in e["msg"] for e in self.server.log() if e["event"] == "conn.closed"):
            self.assertLess(time.time(), end, f"no connection was closed for: {words}")
            time.sleep(0.01)

    def refused(self, conn, expected, method, params):
        with self.assertRaises(Failed, msg=f"{method} {params}") as e:
            conn.call(method, **params)
        self.assertTrue(str(e.exception).startswith(expected), f"{method} {params}: {e.exception}")
        return str(e.exception)

    def test_bytes_that_end_a_connection(self):
        for tcp, (bad, msgid, error, words) in itertools.product((False, True), ENDING):
            c = Rpc(self.server, tcp=tcp)
            c.s.sendall(request(1, "health", []) + bad)
            m = c.message()
            self.assertEqual((m[1], m[2]), (1, None), bad)  # what came before is answered
            m = c.message()
            self.assertEqual(m[:2], [1, msgid], bad)
            self.assertTrue(m[2][1].startswith(error), m)
            self.assertIn(words, m[2][1])
            self.assertTrue(c.closed(), bad)
            if bad == ENDING[0][0] and not tcp:
                self.closed_for(words)
            self.others_are_served()

    def test_the_error_arrives_though_more_was_sent(self):
        for tcp in (False, True):
            c = Rpc(self.server, tcp=tcp)
            c.s.sendall(b"\xc1" + b"x" * 3_000_000)
            self.assertTrue(c.message()[2][1].startswith("INVALID: "))
            self.assertTrue(c.closed())

    def test_what_is_under_way_is_answered_before_the_end(self):
        c = Rpc(self.server)
        c.s.sendall(b"".join(request(i, "query", [{"index": "docs", "vector": VECTOR, "key": self.key, "tenant": "acme"}]) for i in range(20)) + b"\xc1")
        seen = [c.message()[1] for _ in range(21)]
        self.assertEqual(sorted(seen), [*range(20), NOBODY])
        self.assertTrue(c.closed())

    def test_a_client_that_stays_after_its_end_is_left(self):
        c = Rpc(self.server)
        c.s.sendall(b"\xc1")
        self.assertEqual(c.message()[1], NOBODY)
        self.assertTrue(c.closed())
        end = time.time() + 20
        with self.assertRaises(OSError):
            while time.time() < end:
                c.s.sendall(b"x")
                time.sleep(0.05)

    def test_a_request_cut_off(self):
        whole = request(1, "query", [{"index": "docs", "vector": VECTOR}])
        for n in range(1, len(whole)):
            c = Rpc(self.server)
            c.s.sendall(whole[:n])
            c.s.shutdown(socket.SHUT_WR)
            m = c.message()
            self.assertEqual((m[1], m[2][1]), (1 if n >= 3 else NOBODY, "INVALID: the connection ended inside a message"))
            self.assertTrue(c.closed(), n)

    def test_envelopes_that_can_be_answered(self):
        c = Rpc(self.server)
        for bad in ([5, []], ["health", 5], ["health"], ["health", [], 1], ["health", [1]], ["health", [{}, {}]], ["health", [[]]], ["x" * 129, []], [None, []], [{}, []]):
            c.s.sendall(request(7, *bad))
            m = c.message()
            self.assertEqual((m[:2], m[2][0], m[3]), ([1, 7], 1, None))
            self.assertTrue(m[2][1].startswith("INVALID: "), m)
        self.assertEqual(c.call("health")["status"], "ok")

    def test_unknown_methods(self):
        c = Rpc(self.server, self.key)
        for name in ("", "Query", "query ", "query\0", "admin", "admin.", "nvim_command", "__proto__", "\xfc" * 20):
            self.refused(c, "NOT_FOUND: there is no method", name, {})

    def test_each_type_of_each_field_of_each_method(self):
        tried = set()
        for m in self.served:
            c = Rpc(self.server, self.key)  # a failed auth leaves none
            good = {p["name"]: {"str": "x", "uint": 1, "list": [{}], "list of str": ["x"], "map": {}}[p["type"]] for p in m["params"] if p["required"]}
            if m["name"] != "auth":
                good["tenant"] = "acme"
            for p in m["params"]:
                for value in WRONG[p["type"]]:
                    with self.assertRaises(Failed, msg=f"{m['name']} {p['name']}={value}") as e:
                        c.call(m["name"], **{**good, p["name"]: value})
                    deep = isinstance(value, list) and value  # what is in a list is looked at later, when other things may be wrong
                    if m["name"] == "auth":
                        self.assertIn('INVALID: field "key" must be a string', str(e.exception))
                    elif not deep and value not in ("12345", []):
                        self.assertIn(f'INVALID: field "{p["name"]}" must be of type {p["type"]}', str(e.exception), f"{m['name']} {value}")
                    self.assertNotIn("INTERNAL", str(e.exception))
                tried.add(p["type"])
            for p in m["params"]:
                if p["required"]:
                    self.refused(c, f'INVALID: {m["name"]} needs the field "{p["name"]}"', m["name"], {k: v for k, v in good.items() if k != p["name"]})
                    self.refused(c, f'INVALID: {m["name"]} needs the field "{p["name"]}"', m["name"], {**good, p["name"]: None})
            if m["name"] == "auth":
                continue
            self.refused(c, f'INVALID: {m["name"]} has no field "nosuch"', m["name"], {**good, "nosuch": 1})
            for field in ("tenant", "key"):
                self.refused(c, f'INVALID: field "{field}" must be a string', m["name"], {**good, field: 5})
        self.assertEqual(tried, {p["type"] for m in self.served for p in m["params"]})
        self.assertLessEqual(tried, set(WRONG))

    def test_fields_twice_or_without_a_name(self):
        c = Rpc(self.server, self.data.key)
        for body, words in ((b"\x82\xa5index\xa4docs\xa5index\xa4docs", "twice"), (b"\x81\x05\xa4docs", "names of fields must be strings")):
            c.s.sendall(b"\x94\x00\x05\xa5query\x91" + body)
            m = c.message()
            self.assertEqual(m[1], 5)
            self.assertTrue(m[2][1].startswith("INVALID: ") and words in m[2][1], m)

    def test_queries(self):
        c = Rpc(self.server, self.key)
        limited = Rpc(self.server, self.data.key)
        base = {"tenant": "acme", "index": "docs", "vector": VECTOR}
        for wrong, error in QUERIES:
            if error:
                self.refused(c, error, "query", {**base, **wrong})
            else:
                c.call("query", **{**base, **wrong})
            if error and not {"tenant", "index"} & set(wrong):
                r = c.call("query_batch", tenant="acme", index="docs", queries=[{"vector": VECTOR}, {"vector": VECTOR, **wrong}])["results"]
                self.assertEqual([len(r), "hits" in r[0]], [2, True])
                self.assertTrue(r[1]["error"].startswith(error.replace("query has", "a query of a batch has")), (wrong, r[1]))
        self.refused(limited, "DENIED: another version", "query", {"index": "docs", "vector": VECTOR, "version": 99})
        self.refused(limited, 'DENIED: field "explain"', "query", {"index": "docs", "vector": VECTOR, "explain": True})

    def test_an_unknown_field_of_a_filter_finds_nothing(self):
        r = self.other.call("query", index="docs", vector=VECTOR, filter={"field": "nosuch", "eq": "x"})
        self.assertEqual((r["hits"], r["evidence"]), ([], "none"))

    def test_a_filter_is_shown_where_it_breaks(self):
        p = run("--server", f"unix:{self.server.sock}", "--key", self.data.key, "query", "acme/docs", "words", "--filter", "lang = de adn year > 3", check=False)
        self.assertNotEqual(p.returncode, 0)
        lines = p.stderr.splitlines()
        caret = next(i for i, line in enumerate(lines) if line.strip() == "^")
        self.assertEqual(lines[caret - 1][lines[caret].index("^"):][:3], "adn", p.stderr)

    def test_ids_used_again(self):
        c = Rpc(self.server, self.data.key)
        c.s.sendall(request(5, "health", []) * 3 + request(5, "query", [{"index": "nowhere", "vector": VECTOR}]) + request(5, "documents.list", [{"index": "docs"}]))
        got = [c.message() for _ in range(5)]
        self.assertEqual([m[1] for m in got], [5] * 5)  # each is answered once
        self.assertEqual(sorted(bool(m[2]) for m in got), [False] * 4 + [True])
        self.assertEqual(c.call("health")["status"], "ok")

    def test_notifications_do_nothing(self):
        c, before = Rpc(self.server, self.key), self.served
        c.s.sendall(msgpack.packb([2, "admin.index_drop", [{"tenant": "acme", "index": "docs"}]]) + msgpack.packb([2, "no.such", []]) +
                    msgpack.packb([2, "auth", [{"key": "cairn_wrong"}]]) + msgpack.packb([1, 3, None, 4]))
        self.assertEqual(len(c.call("api.describe")["methods"]), len(before))
        self.assertEqual(c.call("admin.index_show", tenant="acme", index="docs")["index"], "docs")  # and its credentials stay
        self.assertEqual(c.early, {})

    def test_a_frame_of_the_limit_and_one_more(self):
        pad = MAX_FRAME - len(request(1, "health", [{"x": b"x" * 90000}])) + 90000
        for more, expected in ((0, "has no field"), (1, "this end takes at most")):
            c = Rpc(self.server, self.key)
            c.s.sendall(request(1, "health", [{"x": b"x" * (pad + more)}]))
            m = c.message()
            self.assertIn(expected, m[2][1])

    def test_before_auth_a_frame_is_small(self):
        pad = 65536 - len(request(1, "health", [{"x": b"x" * 65000}])) + 65000
        large = request(1, "health", [{"x": b"x" * (pad + 1)}])
        for frame, expected in ((request(1, "health", [{"x": b"x" * pad}]), "has no field"), (large, "call auth {key} first"), (large[:100], "call auth {key} first")):
            c = Rpc(self.server)
            c.s.sendall(frame)
            self.assertIn(expected, c.message()[2][1])
        c = Rpc(self.server)
        c.s.sendall(request(1, "auth", [{"key": self.key}]) + large)  # in one piece: the key counts for what comes behind it
        self.assertEqual([c.message()[2] is None, "has no field" in c.message()[2][1]], [True, True])
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("auth", key="cairn_wrong")
        c.s.sendall(large)
        self.assertIn("call auth {key} first", c.message()[2][1])

    def test_a_large_auth_is_not_looked_into(self):
        c = Rpc(self.server, self.key)
        with self.assertRaisesRegex(Failed, "INVALID: an auth of"):
            c.call("auth", key="x" * 70000)
        with self.assertRaisesRegex(Failed, "UNAUTHENTICATED"):
            c.call("admin.tenant_list")


if __name__ == "__main__":
    unittest.main()
