"""METHODS.md says what api.describe says: methods, scopes, fields, types, errors, both ways; and what answers hold.

`test_methods.py METHODS.md --write` writes what comes from the server; what a new method returns is then added by hand."""
import re
import sys
import unittest

from serving import Failed, Rpc
import test_access

PAGE = sys.argv[1]
FIELDS, ERRORS = "## Fields\n", "## Errors\n"


def scope_of(m):
    return "–" if m["open"] else ", ".join([m["scope"] or "any key"] + ["host"] * m["host"])


def takes(m):
    return ", ".join(p["name"] if p["required"] else f"[{p['name']}]" for p in m["params"])


def fields_part(methods):
    lines = ["| field | of | type | what |", "|---|---|---|---|"]
    seen = {}
    for m in methods:
        for p in m["params"]:
            seen.setdefault((p["name"], p["type"], p["help"]), []).append(m["name"])
    return "\n".join(lines + [f"| `{name}` | {', '.join(of)} | {kind} | {what.replace('|', '&#124;')} |" for (name, kind, what), of in seen.items()]) + "\n"


def errors_part(errors):
    return "\n".join(["| code | what | trying again helps |", "|---|---|---|"] + [f"| `{e['code']}` | {e['text']} | {'yes' if e['retry'] else 'no'} |" for e in errors]) + "\n"


def rows(page):
    """Method -> (scope, takes, returns) of the first table."""
    return {m[1]: tuple(c.strip() for c in m[2].split(" | ", 2)) for m in re.finditer(r"^\| `([a-z_.]+)` \| (.*) \|$", page.split(FIELDS)[0], re.M)}


def part(page, title):
    """The table below a title."""
    return "\n".join(line for line in page.split(title)[1].split("\n## ")[0].split("\n") if line.startswith("|")) + "\n"


def top_level(text):
    """The names of `returns`, and those in brackets: what stands in braces or behind a name is of a deeper level."""
    while (flat := re.sub(r"\{[^{}]*\}|\([^()]*\)|(?<=\w)\[[^\[\]]*\]", "", text)) != text:
        text = flat
    text = text.split("; ")[0]
    optional = {n for group in re.findall(r"\[([^\[\]]*)\]", text) for n in re.findall(r"\w+", group)}
    return {n.split()[0] for n in re.sub(r"\[[^\[\]]*\]", "", text).split(",") if n.strip()}, optional


class Methods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        test_access.Access.setUpClass()
        with open(PAGE) as f:
            cls.page = f.read()
        cls.told = test_access.Access.w.root.call("api.describe")

    @classmethod
    def tearDownClass(cls):
        test_access.Access.tearDownClass()

    def test_each_method_with_its_scope_and_fields(self):
        self.assertEqual({n: r[:2] for n, r in rows(self.page).items()}, {m["name"]: (scope_of(m), takes(m)) for m in self.told["methods"]})

    def test_each_field_with_its_type(self):
        self.assertEqual(part(self.page, FIELDS), fields_part(self.told["methods"]))

    def test_each_error(self):
        self.assertEqual(part(self.page, ERRORS), errors_part(self.told["errors"]))

    def test_answers_hold_what_is_told(self):
        w, told = test_access.Access.w, rows(self.page)
        wrong = []
        for m in self.told["methods"]:
            conn = Rpc(w.server, w.root_key)
            try:
                got = set(conn.call(m["name"], **test_access.prepared(w, m["name"], "docs", True)))
            except Failed as e:
                if m["name"] == "ingest.cancel":  # the job has ended
                    continue
                raise AssertionError(f"{m['name']}: {e}")
            always, sometimes = top_level(told[m["name"]][2])
            if not always <= got <= always | sometimes:
                wrong.append(f"{m['name']}: told, and not there: {always - got}; there, and not told: {got - always - sometimes}")
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_the_plan_is_told(self):
        w = test_access.Access.w
        always, sometimes = top_level(re.search(r"\[plan\{([^{}]*)\}", rows(self.page)["query"][2])[1])
        for asked in ({"mode": "dense", "vector": [1, 0, 0, 1]}, {"mode": "lexical", "text": "new words"}, {"mode": "lexical", "text": "\"new\" wor*", "operators": True}):
            plan = set(w.root.call("query", tenant="acme", index="docs", explain=True, **asked)["plan"])
            self.assertTrue(always <= plan <= always | sometimes, (asked, always - plan, plan - always - sometimes))


def write(told):
    with open(PAGE) as f:
        page = f.read()
    old = rows(page)
    head, tail = page.split("| method |")[0], page.split(ERRORS)[1].split("\n\n", 2)[-1] if ERRORS in page else page.rsplit("\n\n", 1)[-1]
    lines = ["| method | scope | takes | returns |", "|---|---|---|---|"]
    lines += [f"| `{m['name']}` | {scope_of(m)} | {takes(m)} | {old.get(m['name'], ('', '', ''))[2]} |" for m in told["methods"]]
    with open(PAGE, "w") as f:
        f.write(head + "\n".join(lines) + f"\n\n{FIELDS}{fields_part(told['methods'])}\n{ERRORS}{errors_part(told['errors'])}\n{tail}")


if __name__ == "__main__":
    if "--write" in sys.argv:
        test_access.Access.setUpClass()
        write(test_access.Access.w.root.call("api.describe"))
        test_access.Access.tearDownClass()
    else:
        unittest.main(argv=sys.argv[:1])
