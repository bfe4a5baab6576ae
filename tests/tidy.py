#!/usr/bin/env python3
"""The tree's habits, checked: layers, headers, leftovers, banned calls, lengths. Prints each breach as FILE:LINE: what.

    python3 tests/tidy.py
"""
import os, re, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYERS = ["engine", "index", "ingest", "server", "tools"]
# Folders within a layer, where they have an order too; a layer's own headers come before its folders.
FOLDERS = {"index": ["text", "store", "trace", "control", "policy", "catalog", "search"]}
TOP = {"meson.build", "README.md", "LICENSE", "engine", "index", "ingest", "server", "tools", "tests", "benchmarks",
       "meson_options.txt", "ARCHITECTURE.md", "CHANGELOG.md"}
HEAP = {"engine/base/mem.c"}
PUBLIC = {"cairn.h"}  # included as its users do
# The client stands alone (it includes nothing of cairn), and so does what prints.
OWN_HEAP = ("server/client/",)
PRINTS = ("tools/", "server/net/main.c", "server/net/log_sink.c", "server/client/example.c", "server/net/config.c")
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD)\b")
FILE_LINES, FUNCTION_LINES = 600, 60

problems = []


def told(path, line, what):
    problems.append(f"{path}:{line}: {what}")


def files():
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, check=True).stdout.decode()
    return sorted(f for f in out.split("\0") if f and os.path.isfile(os.path.join(ROOT, f)))


def check_layers(path, lines):
    """A file includes only from its own layer or from those before it; tests and benchmarks include anything."""
    layer = path.split("/")[0]
    for n, line in enumerate(lines, 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found:
            continue
        target = found.group(1)
        if target in PUBLIC:
            continue
        if "/" not in target and path.endswith((".c", ".h")):
            told(path, n, f"include paths start at the root: {target}")
        if layer in LAYERS and target.split("/")[0] not in LAYERS[:LAYERS.index(layer) + 1]:
            told(path, n, f"{layer} may not include {target}")
        elif not in_order(path, target):
            told(path, n, f"{os.path.dirname(path)} may not include {target}: {' <- '.join(FOLDERS[layer])}")


def in_order(path, target):
    """Within a layer whose folders have an order; a folder that the order does not name is out of it."""
    layer, order = path.split("/")[0], FOLDERS.get(path.split("/")[0])
    if not order or target.split("/")[0] != layer:
        return True
    place = lambda p: order.index(p.split("/")[1]) if p.split("/")[1] in order else len(order) if p.count("/") > 1 else -1
    return place(target) < place(path) or os.path.dirname(target) == os.path.dirname(path)


def check_header(path, text):
    if not path.endswith("_body.h") and "#pragma once" not in text and "#ifndef" not in text:
        told(path, 1, "no include guard")
    if path.startswith("tests/") or path.startswith("benchmarks/"):
        return
    opening = text[:text.find("*/")]
    for word in ("Owns:", "Thread:", "Limits:"):
        if word not in opening:
            told(path, 1, f"the header's opening does not say {word}")
    if not opening.startswith(f"/* {os.path.basename(path)} -- "):
        told(path, 1, "a header opens with its name and purpose")


def check_calls(path, lines):
    for n, line in enumerate(lines, 1):
        code = re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/|//.*', "", line)
        if path not in HEAP and not path.startswith(OWN_HEAP) and re.search(r"(?<![\w>.])(malloc|calloc|realloc|strdup|strndup)\s*\(", code):
            told(path, n, "the heap is used by engine/base/mem.h")
        if re.search(r"(?<![\w>.])(strcpy|strcat|sprintf|gets|strtok|system|mktemp|tmpnam)\s*\(", code):
            told(path, n, "a call with no bound or no safety")
        if path.endswith(".c") and path != "index/store/env_ward.c" and re.search(r"\bmdb_(get|cursor_get|cursor_open|stat)\s*\(", code):
            told(path, n, "LMDB's reads go by the names of index/store/env.h")
        if not path.startswith(PRINTS) and re.search(r"(?<![\w>.])(printf|puts|perror)\s*\(", code):
            told(path, n, "a library returns, a program prints")


def check_lengths(path, lines):
    if len(lines) > FILE_LINES:
        told(path, len(lines), f"{len(lines)} lines; a file has one purpose and at most {FILE_LINES}")
    start = None
    for n, line in enumerate(lines, 1):
        if re.match(r"[a-zA-Z_].*\)\s*\{\s*$", line) or (start is None and re.match(r"\s+\S.*\)\s*\{\s*$", line) and re.match(r"[a-zA-Z_].*\(.*,\s*$", lines[n - 2])):
            start = n
        elif line.startswith("}") and start:
            if n - start > FUNCTION_LINES:
                told(path, start, f"a function of {n - start} lines; at most {FUNCTION_LINES}")
            start = None


def names(build, source):
    """Whole, or by a prefix and a loop's variable: 'fuzz_' + name + '.c'."""
    return re.search(rf"['/]{re.escape(source)}'", build) or re.search(rf"'{re.escape(source.rpartition('_')[0])}_'\s*\+", build)


def check_meson(known):
    """Every source is built by somebody."""
    listed = {}
    for path in known:
        if os.path.basename(path) == "meson.build":
            listed[os.path.dirname(path)] = open(os.path.join(ROOT, path)).read()
    for path in known:
        if not path.endswith(".c"):
            continue
        folder, name = os.path.split(path)
        at = folder
        while at and not (at in listed and names(listed[at], name)):
            at = os.path.dirname(at)
        if not at:
            told(path, 1, "no meson.build above names it")


def main():
    known = files()
    for name in sorted({f.split("/")[0] for f in known}):
        if not name.startswith(".") and name not in TOP:
            told(name, 1, "the list of top-level names is fixed")
    for path in known:
        if not path.endswith((".c", ".h", ".py", ".sh", "meson.build", ".md")) and "/" in path:
            continue
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        lines = text.splitlines()
        if path != "tests/tidy.py":
            for n, line in enumerate(lines, 1):
                if LEFTOVER.search(line) and path.endswith((".c", ".h", ".py", ".sh")):
                    told(path, n, "a leftover")
        if path.endswith((".c", ".h")):
            check_layers(path, lines)
            check_lengths(path, lines)
        if path.endswith(".h"):
            check_header(path, text)
        if path.endswith((".c", ".h")) and path.split("/")[0] in LAYERS:
            check_calls(path, lines)
        if os.path.basename(path) == "README.md" and "/" in path and len(lines) > 40:
            told(path, len(lines), "a folder's README has at most 40 lines")
    check_meson(known)
    for folder in [*LAYERS, "tests", "benchmarks"]:
        if f"{folder}/README.md" not in known:
            told(folder, 1, "has no README.md")
    print("\n".join(problems) or "tidy")
    return 1 if problems else 0


sys.exit(main())
