#!/usr/bin/env python3
"""Writes unicode_tables.c: the character classes that Hugging Face's `tokenizers` works with.

Its classes are those of an old Unicode (and its lower case those of a newer one), so they are asked of the library
itself, one code point at a time, and not taken from our Unicode library. Needs pip's `tokenizers` and libutf8proc.
    python3 ingest/embed/unicode_tables.py > ingest/embed/unicode_tables.c
"""
import ctypes
from tokenizers import normalizers, pre_tokenizers, __version__

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(codes):
    out = []
    for c in codes:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def bert(**on):
    opts = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**opts, **on}).normalize_str


class Property(ctypes.Structure):  # the first fields of utf8proc_property_t
    _fields_ = [("category", ctypes.c_int16), ("ccc", ctypes.c_int16)]


def main():
    lib = ctypes.CDLL("libutf8proc.so.2")
    lib.utf8proc_get_property.restype = ctypes.POINTER(Property)
    lib.utf8proc_tolower.restype = ctypes.c_int32
    ccc = lambda c: lib.utf8proc_get_property(c).contents.ccc
    clean, strip, lower = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    nfd = normalizers.NFD().normalize_str
    # a mark of class 1 before and of class 240 after: known marks between 2 and 239 are sorted between them
    unsorted = [c for c in CODES if ccc(c) and nfd(chr(c)) == chr(c) and
                nfd("\u0345" + chr(c) + "\u0334") == "\u0345" + chr(c) + "\u0334"]
    buf, last = (ctypes.c_int32 * 32)(), ctypes.c_int(0)
    whole = [c for c in CODES if not 0xAC00 <= c <= 0xD7A3 and nfd(chr(c)) == chr(c) and
             lib.utf8proc_decompose_char(c, buf, 32, 1 << 1 | 1 << 4, ctypes.byref(last)) > 0 and buf[0] != c]
    lows = [(c, ord(lower(chr(c))) - c) for c in CODES
            if len(lower(chr(c))) == 1 and ord(lower(chr(c))) != lib.utf8proc_tolower(c)]
    print("/* Written by unicode_tables.py from pip's tokenizers %s; do not edit. */" % __version__)
    print('#include "ingest/embed/unicode.h"\n')
    table("removed", "control, format and private characters, U+0000 and U+FFFD: clean_text drops them",
          [c for c in CODES if clean(chr(c)) == ""])
    table("accent", "marks that strip_accents drops", [c for c in CODES if strip(chr(c)) == ""])
    table("punct", "signs that are words of their own", [c for c in CODES if len(split("a" + chr(c) + "b")) == 3])
    table("unsorted", "combining marks newer than the library's canonical ordering", unsorted)
    table("whole", "characters newer than the library's decompositions", whole)
    print("/* lower case newer than utf8proc 2.8: first, last, what is added */")
    print("const cn_uni_shift cn_uni_lower[] = {")
    out = []
    for c, d in lows:
        if out and out[-1][1] == c - 1 and out[-1][2] == d:
            out[-1][1] = c
        else:
            out.append([c, c, d])
    lines(["{0x%x, 0x%x, %d}" % tuple(r) for r in out])
    print("};\nconst uint32_t cn_uni_lower_n = sizeof cn_uni_lower / sizeof *cn_uni_lower;")


def table(name, what, codes):
    print("/* %s */\nstatic const cn_uni_range %s[] = {" % (what, name))
    lines(["{0x%x, 0x%x}" % tuple(r) for r in ranges(codes)] or ["{1, 0}"])
    print("};\nconst cn_uni_set cn_uni_%s = {%s, sizeof %s / sizeof *%s};\n" % (name, name, name, name))


def lines(items):
    for i in range(0, len(items), 6):
        print("    " + ", ".join(items[i:i + 6]) + ",")


main()
