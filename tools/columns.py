#!/usr/bin/env python3
"""Show answers of `cairn query -o json` side by side.

    python3 tools/columns.py NAME=FILE.json ...
"""
import json, shutil, sys, textwrap


def cell(hit, width):
    """One hit as lines: rank's source and score, where in the document, how the passage begins."""
    place = " > ".join(hit["headings"][1:] or hit["headings"] or [hit["title"]])
    lines = textwrap.wrap(f"{hit['score']:.3f}  {hit['doc']}", width)
    lines += textwrap.wrap(place, width, max_lines=2, placeholder=" ...")
    lines += textwrap.wrap(hit["text"], width - 2, max_lines=3, placeholder=" ...", initial_indent="  ", subsequent_indent="  ")
    return lines


def main():
    answers = [(name, json.load(open(file))) for name, _, file in (word.partition("=") for word in sys.argv[1:])]
    width = (min(shutil.get_terminal_size((132, 24)).columns, 160) - 3 * (len(answers) - 1)) // len(answers)
    rows = [[[name, "-" * width] for name, _ in answers]]
    for rank in range(max(len(a["hits"]) for _, a in answers)):
        rows.append([cell(a["hits"][rank], width) if rank < len(a["hits"]) else [] for _, a in answers])
    for row in rows:
        for line in range(max(map(len, row))):
            print(" | ".join((c[line] if line < len(c) else "").ljust(width) for c in row).rstrip())
        print(" | ".join(" " * width for _ in row).rstrip())


main()
