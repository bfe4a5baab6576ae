"""What bad input gets, by the command: each case makes an input, and says with which exit code the job ends, what is told of
it (what, where, what to do), and that the good documents beside it landed."""
import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest
import zipfile

from serving import CAIRN, SANITIZED, run

GOOD = '{"id":"good1","text":"A good document.","labels":["public"]}\n'
GOOD_LAST = '{"id":"good2","text":"Another good document.","labels":["public"]}\n'
DOCX = "<w:d xmlns:w='x'><w:p><w:r><w:t>%s</w:t></w:r></w:p></w:d>"


def zipped(parts, how=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as z:
        for name, body in parts.items():
            z.writestr(name, body)
    return out.getvalue()


def pdf(text):
    show = f"BT /F 12 Tf 20 200 Td ({text}) Tj ET" if text else ""
    return (f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
            f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj\n"
            f"4 0 obj<</Length {len(show)}>>stream\n{show}\nendstream endobj\n5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
            f"trailer<</Root 1 0 R>>\n%%EOF\n").encode()


def npy(descr, shape, body, order="False"):
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body


def zst_of_one_byte(byte, steps):
    """A frame of steps times 128 KiB of one byte: four bytes for each."""
    blocks = b"".join(struct.pack("<I", (131072 << 3) | 2 | (i == steps - 1))[:3] + byte for i in range(steps))
    return b"\x28\xb5\x2f\xfd\x00\x38" + blocks


ENTITIES = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'>" + "".join(f"<!ENTITY {chr(98 + i)} '{('&' + chr(97 + i) + ';') * 10}'>" for i in range(9)) + "]>"

# Rows: a line, and what is said of it. Each stands between two good ones.
ROWS = [
    ("[1, 2]", ["not a JSON object"]),
    ("nonsense", ["not a JSON object"]),
    ('{"id":"a"', ["byte", "too early"]),
    ('{"id":"a","text":"x"} trailing', ["byte 23", "follows"]),
    ('{"id":"a"}', ['no field "text"', "--map text="]),
    ('{"text":"x"}', ['no field "id"', "--map id="]),
    ('{"id":"","text":"x"}', ['"id"', "1 to 4096 bytes"]),
    ('{"id":"a","text":""}', ["text is empty"]),
    ('{"id":"a","text":5}', ['"text"', "string"]),
    ('{"id":"good1","text":"again"}', ["an id may come once"]),
    ('{"id":"a","text":"x","labels":["no kind"]}', ['"labels"', "no kind"]),
    ('{"id":"a","text":"x","labels":[",:"]}', ['"labels"']),
    ('{"id":"a","text":"x","meta":{"k":{"deep":1}}}', ["entry 1", "nested"]),
    ('{"id":"a","text":"x","modified":"yesterday"}', ['"modified"', "2026-11-23"]),
    ('{"id":"a","text":"\\ud800"}', ["surrogate"]),
    ('{"id":"a","text":"a\\u0000b"}', ["binary", "zero"]),
    ("{" * 5000, ["byte"]),
    ('{"id":"a","text":"x","x":' + "[" * 5000 + "]" * 5000 + "}", ["nested too deep"]),
]
VECTORS = [
    ("[1, 2]", ['"vector"', "has 2 numbers; this index has 3"]),
    ("[1, 2, 3, 4]", ['"vector"', "has 4 numbers"]),
    ("[1, NaN, 3]", ['"vector"', "NaN"]),
    ("[1, Infinity, 3]", ['"vector"', "Infinity"]),
    ("[1, 1e999, 3]", ['"vector"', "infinit"]),
    ("[0, 0, 0]", ['"vector"', "zero"]),
    ("[1, \"2\", 3]", ['"vector"', "number"]),
    ("[]", ['"vector"', "empty"]),
    ('"abc"', ['"vector"', "array of numbers"]),
]
# Files in a folder: name, bytes, and what is said.
FILES = [
    ("empty.txt", b"", ["empty", "0 bytes"]),
    ("empty.jsonl", b"", ["empty", "no row"]),
    ("empty.fvecs", b"", ["empty", "no row"]),
    ("empty.jsonl.gz", gzip.compress(b""), ["empty", "no row"]),
    ("blank.txt", b" \n\n ", ["no text"]),
    ("binary.txt", bytes(range(256)) * 40, ["binary", "byte"]),
    ("controls.txt", b"\x01\x02\x03\x04 words " * 400, ["binary", "control"]),
    ("broken.txt", "grüße, übermütig größer, ärger".encode() * 9 + b"\xff tail", ["byte", "0xFF", "iconv"]),
    ("marked.txt", b"\xef\xbb\xbfabc\xffdef", ["byte", "0xFF"]),
    ("wide.txt", b"\xff\xfea\x00b\x00\x00\xd8", ["UTF-16"]),
    ("cut.pdf", pdf("words")[:150], ["PDF", "damaged or cut off"]),
    ("scan.pdf", pdf(""), ["no text", "OCR"]),
    ("not.pdf", b"hello", ["PDF"]),
    ("cut.docx", zipped({"word/document.xml": DOCX % ("word " * 3000)})[:200], ["damaged or cut off zip"]),
    ("none.docx", zipped({"other.xml": "x"}), ["no text"]),
    ("broken.docx", zipped({"word/document.xml": "<w:d xmlns:w='x'><w:p>"}), ["well-formed", "line"]),
    ("bomb.docx", zipped({"word/document.xml": b"\0" * (64 << 20)}), ["zip bomb"]),
    ("entities.docx", zipped({"word/document.xml": ENTITIES + DOCX % "&i;"}), ["well-formed"]),
    ("many.odt", zipped({f"p{i}": "" for i in range(10050)}, zipfile.ZIP_STORED), ["10000 parts"]),
    ("cut.txt.gz", gzip.compress(os.urandom(5000))[:700], ["unpack"]),
    ("plain.txt.gz", b"no packing at all", ["rename"]),
    ("cut.npy", npy("<f4", (2, 3), b"\0\0\x80\x3f" * 2), ["ends too early", "missing"]),
    ("ints.npy", npy("<i8", (2, 3), b"\0" * 48), ["astype"]),
    ("columns.npy", npy("<f4", (2, 3), b"\0" * 24, "True"), ["ascontiguousarray"]),
    ("flat.npy", npy("<f4", "(6,)", b"\0" * 24), ["shape is (6,);", "two dimensions"]),
    ("cube.npy", npy("<f4", (1, 2, 4), b"\0" * 32), ["shape is (1, 2, 4);", "two dimensions"]),
    ("negative.npy", npy("<f4", (-2, 4), b"\0" * 32), ["shape is (-2, 4);", "two dimensions"]),
    ("huge.fbin", struct.pack("<II", 1 << 31, 4000000), ["numbers"]),
    ("short.fvecs", struct.pack("<i", 3) + b"\0" * 5, ["missing"]),
    ("head.csv", b"name,body\n1,2\n", ["line 1", "--map id="]),
    ("wide.jsonl", '{"id":"u","text":"x"}\n'.encode("utf-16"), ["UTF-16", "iconv"]),
    ("a\nb.txt", b"words", ["control characters"]),
]
# Files that look bad and are read: name, bytes, and a word that must be found in their text.
FINE = [
    ("latin.txt", "Gr\xfc\xdfe aus K\xf6ln, sch\xf6ne Gr\xfc\xdfe".encode("latin-1"), "Grüße"),
    ("bom.txt", b"\xef\xbb\xbfmarked words", "marked"),
    ("utf16.txt", "wide words".encode("utf-16"), "wide"),
    ("nested.html", b"<div>" * 200000 + b"deepest word", "deepest"),
    ("entities.html", ENTITIES.encode() + b"<p>page word &i;</p>", "page"),
    ("word.docx", zipped({"word/document.xml": DOCX % "office word"}), "office"),
    ("good.pdf", pdf("printed word"), "printed"),
    ("packed.md.gz", gzip.compress(b"# Packed word"), "Packed"),
]
SKIPPED = {"logo.png": b"\x89PNG\r\n\x1a\n\0\0", "site.css": b"a { color: red }", "app.js": b"alert()", "core": b"\x7fELF\0\0\0"}


class BadInput(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cairn-bad-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = os.path.join(self.dir, "data")
        self.cairn("init")
        self.cairn("tenant", "add", "acme")
        self.cairn("index", "create", "acme/a", "--embedder", "none")

    def cairn(self, *args, code=0, text=None):
        p = run(*args, data=self.data, check=False, text=text)
        self.assertEqual(p.returncode, code, f"cairn {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def ingest(self, *args, code=0, text=None):
        out = self.cairn("ingest", "acme/a", *args, "-o", "json", code=code, text=text)
        r = json.loads(out.stdout)
        c = r["counts"]
        self.assertEqual(c["read"], c["added"] + c["unchanged"] + c["changed"] + c["relabelled"] + c["rejected"])
        return r

    def listed(self, job):
        return json.loads(self.cairn("jobs", "show", "acme", job, "--rejected", "-o", "json").stdout)["rejected"]

    def docs(self):
        r = json.loads(self.cairn("documents", "list", "acme/a", "--limit", "1000", "-o", "json").stdout)
        return {d["doc"] for d in r["documents"]}

    def text_of(self, doc):
        return json.loads(self.cairn("documents", "get", "acme/a", doc, "-o", "json").stdout)["text"]

    def write(self, name, body):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(body.encode() if isinstance(body, str) else body)
        return path

    def says(self, text, words, case):
        for w in words:
            self.assertIn(w, text, case)

    def rows(self, lines, good, last):
        body = "".join([good] + [x + "\n" for x, _ in lines] + [last])
        r = self.ingest(self.write("rows.jsonl", body), "--activate")
        self.assertEqual((r["counts"]["added"], r["counts"]["rejected"]), (2, len(lines)), r)
        got = self.listed(r["job"])
        self.assertEqual(len(got), len(lines))
        for i, (line, words) in enumerate(lines):
            self.assertEqual(got[i]["where"], f"rows.jsonl:{i + 2}")
            self.says(got[i]["why"], words, line[:80])
        self.assertEqual(self.docs(), {"good1", "good2"})

    def test_rows_of_text(self):
        self.rows(ROWS, GOOD, GOOD_LAST)

    def test_rows_with_vectors(self):
        good = [g.replace("}", ',"vector":[1,2,3]}') for g in (GOOD, GOOD_LAST)]
        self.rows([('{"id":"a","text":"x","labels":["public"],"vector":%s}' % v, say) for v, say in VECTORS], *good)

    @unittest.skipIf(SANITIZED, "reading a GiB takes longer than a parser may work")
    def test_more_than_pdftotext_can_hold(self):
        """It ends by a signal, which alone would tell nobody what to do."""
        path = self.write("large.pdf", b"%PDF-1.4\n")
        os.truncate(path, 1 << 30)
        r = self.ingest(path)
        self.assertEqual(r["counts"]["rejected"], 1)
        self.says(self.listed(r["job"])[0]["why"], ["pdftotext", "512 MiB", "split it"], "large.pdf")

    def test_broken_bytes_in_rows(self):
        path = self.write("rows.jsonl", b"\xef\xbb\xbf" + GOOD.encode() + b'{"id":"x","text":"\xff"}\n\n' + GOOD_LAST.encode()[:-1])
        r = self.ingest(path, "--activate")
        self.assertEqual(r["counts"]["rejected"], 1)
        self.says(self.listed(r["job"])[0]["why"], ["byte 19", "0xFF", "UTF-8", "iconv"], "rows")
        self.assertEqual(self.docs(), {"good1", "good2"})

    def test_files_in_a_folder(self):
        for name, body, _ in FILES:
            self.write("f/" + name, body)
        for name, body, _ in FINE:
            self.write("f/" + name, body)
        for name, body in SKIPPED.items():
            self.write("f/" + name, body)
        os.symlink("/etc/passwd", os.path.join(self.dir, "f/out.txt"))
        os.symlink("/", os.path.join(self.dir, "f/root"))
        os.symlink("nowhere", os.path.join(self.dir, "f/dangling.txt"))
        os.mkfifo(os.path.join(self.dir, "f/pipe.txt"))
        r = self.ingest(os.path.join(self.dir, "f"), "--label", "public", "--activate")
        c = r["counts"]
        got = {x["doc"]: x for x in self.listed(r["job"])}
        rejected = {k: x["why"] for k, x in got.items() if not x["skipped"]}
        for name, _, words in FILES:
            self.assertIn(name, rejected)
            self.says(rejected[name], words, name)
        self.says(rejected["out.txt"], ["link", "out of the folder"], "out.txt")
        self.assertNotIn("passwd", rejected["out.txt"], "where it leads is not told")
        self.says(rejected["root"], ["link", "out of the folder"], "root")
        self.says(rejected["dangling.txt"], ["link", "nowhere"], "dangling.txt")
        self.assertEqual({k for k, x in got.items() if x["skipped"]}, set(SKIPPED))
        self.assertEqual((c["rejected"], c["added"], c["skipped"]), (len(FILES) + 3, len(FINE), len(SKIPPED)), rejected)
        self.assertEqual(self.docs(), {name for name, _, _ in FINE})
        for name, _, word in FINE:
            self.assertIn(word, self.text_of(name))
        again = self.ingest(os.path.join(self.dir, "f"), "--label", "public", "--sync", "--activate")
        self.assertEqual((again["counts"]["unchanged"], again["counts"]["deleted"], again["state"]), (len(FINE), 0, "unchanged"))

    def test_what_is_skipped_is_no_failure(self):
        for name, body in SKIPPED.items():
            self.write("f/" + name, body)
        self.write("f/a.txt", "words")
        r = self.ingest(os.path.join(self.dir, "f"), "--label", "public", "--strict-input", "--max-rejected", "0", "--activate")
        self.assertEqual((r["counts"]["read"], r["counts"]["rejected"], r["counts"]["skipped"], r["activated"]), (1, 0, len(SKIPPED), True))
        self.write("f/b.txt", "")
        self.ingest(os.path.join(self.dir, "f"), "--label", "public", "--strict-input", code=6)

    def test_inputs_named_by_themselves(self):
        one = [(["nowhere.txt"], 3, ["nowhere.txt"]), (["nothing/*.html"], 3, ["nothing"]), ([self.write("x.tsv", "a\tb\n1\t2\n")], 1, ["x.tsv", "line 1", "--map id="]),
               ([self.write("e.csv", "")], 1, ["e.csv", "empty"]), ([self.write("q.csv", "id,text\n1,ok\n2,\"never closed\n")], 1, ["q.csv:3", "quote"]),
               ([self.write("v.npy", npy("<f4", (5, 3), b"\0\0\x80\x3f" * 7))], 1, ["v.npy", "ends", "missing"]),
               ([self.write("r.jsonl", GOOD), "--format", "nosuch"], 1, ["nosuch", "jsonl"]), ([self.write("r.jsonl", GOOD), "--map", "id"], 1, ["--map", "NAME=FIELD"]),
               ([self.write("r.jsonl", GOOD), "--label", "bad label"], 1, ["a label has no kind", "group:hr"]), ([self.write("r.jsonl", GOOD), "--label-rule", "x"], 1, ["GLOB=LABEL"]),
               ([self.write("r.jsonl", GOOD), "--trust", "everyone"], 1, ["sidecar", "everyone"])]
        for args, code, words in one:
            p = self.cairn("ingest", "acme/a", *args, code=code)
            self.says(p.stderr, words, args)
        self.assertEqual(json.loads(self.cairn("versions", "acme/a", "-o", "json").stdout)["versions"], [])

    def test_no_rows_are_told_and_are_no_failure(self):
        for name in ("none.jsonl", "none.fvecs"):
            r = self.ingest(self.write(name, b""), "--sync", "--activate")
            self.assertEqual((r["state"], r["counts"]["rejected"], r["counts"]["deleted"]), ("unchanged", 1, 0))
            self.assertEqual(self.listed(r["job"])[0]["where"], name)
            self.ingest(self.write(name, b""), "--strict-input", code=6)

    def test_standard_input(self):
        p = self.cairn("ingest", "acme/a", "-", text="just words\n", code=1)
        self.says(p.stderr, ["standard input", "--format"], "-")
        r = self.ingest("-", "--format", "html", "--label", "public", "--activate", text="<h1>Piped</h1><p>page")
        self.assertEqual((r["counts"]["added"], self.docs()), (1, {"stdin"}))
        r = self.ingest("-", "--format", "csv", text="id,text,labels\nc,cell,public\n,no id,public\n")
        self.assertEqual((r["counts"]["added"], r["counts"]["rejected"]), (1, 1))
        self.assertEqual(self.listed(r["job"])[0]["where"], "standard input:3")

    def test_a_file_past_the_limit_is_not_read(self):
        path = os.path.join(self.dir, "f/big.txt")
        self.write("f/a.txt", "words")
        with open(path, "wb") as f:
            f.truncate((1 << 30) + 1)
        r = self.ingest(os.path.join(self.dir, "f"), "--label", "public", "--activate")
        self.says(self.listed(r["job"])[0]["why"], [str((1 << 30) + 1), "limit", "split"], "big.txt")
        self.assertEqual(self.docs(), {"a.txt"})

    def test_packed_rows_that_are_cut_off(self):
        """Small or large, in a folder or named by itself, lines or a table: the whole rows before the cut, and one rejection."""
        header = {"jsonl": b"", "csv": b"id,text,labels\n"}
        form = {"jsonl": '{"id":"d%d","text":"%s","labels":["public"]}\n', "csv": 'd%d,"%s",public\n'}
        for kind, n in (("jsonl", 40), ("csv", 40), ("jsonl", 9000), ("csv", 9000)):
            rows = [form[kind] % (i, os.urandom(120).hex()) for i in range(n)]
            packed = gzip.compress(header[kind] + "".join(rows).encode())
            name = f"{kind}{n}.{kind}.gz"
            path, source = self.write(f"{kind}{n}/{name}", packed), ["--source", f"{kind}{n}"]
            self.assertEqual(self.ingest(path, *source)["counts"]["added"], n)
            self.write(f"{kind}{n}/{name}", packed[:len(packed) * 3 // 4])
            for args in ([os.path.dirname(path)], [path]):
                r = self.ingest(*args, *source, "--sync")
                c = r["counts"]
                self.assertGreater(c["unchanged"], n // 2, r)
                self.assertLess(c["unchanged"], n, r)
                self.assertEqual((c["rejected"], c["deleted"], c["added"]), (1, 0, 0), r)
                self.assertIn("nothing was deleted", r["why"])
                (told,) = self.listed(r["job"])
                self.assertEqual((told["doc"], told["where"]), (name, name))
                self.says(told["why"], [name, f"byte {len(packed) * 3 // 4}", "cut off"], args)

    def test_tables_that_are_damaged_end(self):
        packed = bytearray(gzip.compress(b"id,text,labels\n1,a,public\n"))
        packed[-5] ^= 1
        self.write("f/t.csv.gz", bytes(packed))
        r = self.ingest(os.path.join(self.dir, "f"))
        self.assertEqual((r["counts"]["added"], r["counts"]["rejected"]), (1, 1))
        self.says(self.listed(r["job"])[0]["why"], ["t.csv.gz", "checksum"], "t.csv.gz")

    def test_packed_bombs_are_bounded(self):
        """Neither memory nor time goes with what a packed file pretends to hold."""
        def gz(name, head, tail):
            with gzip.open(self.write(name, b""), "wb") as f:
                f.write(head)
                for _ in range(150):
                    f.write(b"words " * 174763)  # a MiB
                f.write(tail)
        gz("f/one.jsonl.gz", b'{"id":"x","labels":["public"],"text":"', b'"}\n')
        gz("f/table.csv.gz", b'id,text\n1,"', b'"\n')
        gz("f/document.txt.gz", b"", b"")
        self.write("f/blank.jsonl.zst", zst_of_one_byte(b"\n", 1 << 18))  # 32 GiB of empty lines
        self.write("f/line.jsonl.zst", zst_of_one_byte(b"a", 1 << 18))
        self.write("f/document.txt.zst", zst_of_one_byte(b"a", 1 << 18))
        self.write("f/good.jsonl", GOOD)
        p = subprocess.Popen([CAIRN, "ingest", "acme/a", os.path.join(self.dir, "f"), "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**{k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}, "CAIRN_DATA": self.data})
        out = p.stdout.read()
        said = p.stderr.read()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = status
        p.stdout.close(), p.stderr.close()
        self.assertEqual(status, 0, out + said)
        r = json.loads(out)
        self.assertEqual((r["counts"]["added"], r["counts"]["rejected"]), (1, 6), r)
        for told in self.listed(r["job"]):
            self.says(told["why"], [told["doc"], "times its size" if told["doc"] != "blank.jsonl.zst" else "over 1000 times its size"], told)
        self.assertLess(usage.ru_maxrss, 400 << 10)  # KiB

    def test_documents_without_labels_are_told(self):
        r = self.ingest(self.write("r.jsonl", GOOD + '{"id":"mute","text":"Nobody may read this."}\n'), "--activate")
        self.assertEqual((r["counts"]["added"], r["counts"]["unlabelled"]), (2, 1))
        self.assertEqual(self.docs(), {"good1"})
        p = self.cairn("ingest", "acme/a", self.write("s.jsonl", '{"id":"mute2","text":"Nobody."}\n'))
        self.assertIn("unlabelled", p.stdout)

    def test_authors_words_count_only_where_trusted(self):
        self.write("f/a.md", "---\nlabels: group:hr\ntitle: Told\n---\n# Body\n\nwords")
        self.write("f/b.txt", "words")
        self.write("f/b.txt.meta.json", '{"labels":["group:hr"],"meta":{"lang":"en"}}')
        folder = os.path.join(self.dir, "f")
        self.ingest(folder, "--label", "public", "--activate")
        self.assertEqual(self.docs(), {"a.md", "b.txt"})
        r = self.ingest(folder, "--label", "public", "--trust", "sidecar,front-matter", "--activate")
        self.assertEqual((r["counts"]["relabelled"] + r["counts"]["changed"], r["counts"]["unlabelled"]), (2, 0))
        self.assertEqual(self.docs(), set())


if __name__ == "__main__":
    unittest.main()
