"""Help that teaches, the manual page and completion: all three name every command and option of the table."""
import os
import re
import shutil
import subprocess
import unittest

from place import CAIRN, Place, run

FLAG = re.compile(r"^  (-[-a-z]+)( \S.*?)?(?:  +|$)")


def out(*args):
    p = run(*args, check=False)
    assert p.returncode == 0 and p.stderr == "", (args, p.returncode, p.stderr)
    return p.stdout


def commands():
    block = out("--help").split("commands (")[1].split("\n\n")[0].splitlines()[1:]
    return [line[2:22].strip() for line in block]


def options_of(text):
    """The options that a help lists, as {name: argument or None}."""
    found = {}
    for line in text.split("\noptions:\n")[1].split("\n\n")[0].splitlines() if "\noptions:\n" in text else []:
        m = FLAG.match(line)
        assert m, line
        found[m.group(1)] = m.group(2) and m.group(2).strip()
    return found


class Help(unittest.TestCase):
    def test_the_whole(self):
        text = out("--help")
        for w in ("usage: cairn", "cairn --data ./demo ingest acme/docs ./handbook --label public --activate", "--server ADDR", "-o table|json|tsv", "exit codes:"):
            self.assertIn(w, text)
        for code in range(7):
            self.assertRegex(text, rf"\n  {code}  \w")
        self.assertEqual(text, out("-h"))
        p = run(check=False)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (2, "", text))
        self.assertRegex(out("--version"), r"^cairn \d+\.\d+\.\d+\n$")

    def test_every_command_teaches(self):
        self.assertGreater(len(commands()), 50)
        for name in commands():
            with self.subTest(name):
                text = out(*name.split(), "--help")
                self.assertTrue(text.startswith("usage: cairn " + name), text)
                usage = text.split("\n\n")[0]
                for option, arg in options_of(text).items():
                    self.assertIn(f"[{option} {arg}]" if arg else f"[{option}]", usage)
                    line = next(x for x in text.splitlines() if x.startswith(f"  {option} ") or x == f"  {option}")
                    self.assertRegex(line, r"\S {1,}\S", "says nothing of " + option)
                self.assertRegex(text, rf"\n  (\w.* \| |source <\()?(cairn|echo .* \| cairn)( --\S+ \S+)* {name}\b", "has no example")
                for line in text.splitlines():
                    self.assertLessEqual(len(line), 140, line)
                self.assertEqual(out("--help", *name.split()), text)

    def test_examples_are_words_that_the_command_takes(self):
        """Each example of a help is typed, without a place to work on: it must be understood."""
        import shlex
        for name in commands():
            for line in out(*name.split(), "--help").splitlines():
                if not line.startswith("  cairn ") or " | " in line:
                    continue
                words = shlex.split(line.split("  #")[0])[1:]
                if "--data" in words:
                    del words[words.index("--data"):words.index("--data") + 2]
                p = run("--data", "/nonexistent/cairn", *words, check=False)
                with self.subTest(line):
                    self.assertNotEqual(p.returncode, 2, p.stderr)
                    self.assertNotIn("INVALID", p.stderr)

    def test_a_group(self):
        text = out("policy", "--help")
        for name in commands():
            self.assertEqual(f"cairn {name} " in text, name.startswith("policy "), name)
        p = run("nonsense", "--help", check=False)
        self.assertEqual((p.returncode, p.stdout), (2, ""))

    def test_options_with_few_values_take_them(self):
        place = Place()
        self.addCleanup(place.close)
        judged = []
        for name, text in (("q.tsv", "q1\tpackages\n"), ("q.qrels", "q1 0 open.txt 1\n")):
            judged += ["--queries" if name == "q.tsv" else "--qrels", os.path.join(place.dir, name)]
            with open(judged[-1], "w") as f:
                f.write(text)
        for name in commands():
            for option, arg in options_of(out(*name.split(), "--help")).items():
                for value in arg.split("|") if arg and "|" in arg else []:
                    words = {"query": ("acme/docs", "x"), "bench": ("acme/docs", "--queries", os.path.join(place.docs, "open.txt")), "index create": (f"acme/{option.strip('-')}{value}",), "index set": ("acme/docs", "--seal-only"), "eval run": ("acme/docs", *judged), "diff": ("acme/docs", "1", "2", "--queries", os.path.join(place.docs, "open.txt")), "why-not": ("acme/docs", "x", "open.txt")}[name]
                    p = place.cairn(*name.split(), *words, option, value, check=False)
                    self.assertEqual(p.returncode, 0, p.stderr)


class Manual(unittest.TestCase):
    def test_groff_takes_it(self):
        groff = shutil.which("groff")
        self.assertTrue(groff, "groff is missing: tools/setup --tests")
        page = out("man")
        p = subprocess.run([groff, "-man", "-ww", "-z", "-Kutf8", "-Tutf8"], input=page, capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))
        p = subprocess.run([groff, "-man", "-Tascii", "-rLL=200n", "-P-c", "-P-b", "-P-u"], input=page, capture_output=True, text=True)
        shown = p.stdout
        for name in commands():
            self.assertIn("cairn " + name, shown)
            text = out(*name.split(), "--help")
            section = re.split(rf"\n +cairn {name}(?=[ \n])", shown, maxsplit=1)[1].split("\n   cairn ")[0]
            for option in options_of(text):
                self.assertRegex(section, rf"(?<![-\w]){option}\b", name)
        for w in ("CAIRN_DATA", "CAIRN_SERVER", "EXIT STATUS", "--key-file FILE", "no server answers"):
            self.assertIn(w, shown)


class Completion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.script = os.path.join(cls.place.dir, "completion")
        with open(cls.script, "w") as f:
            f.write(out("completion"))

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def offers(self, *words, cur=""):
        """What a real bash offers after these words (as readline breaks them) for the word that is begun."""
        code = (f'source "{self.script}"; COMP_WORDS=("$0" "$@"); COMP_CWORD=$#; _cairn; printf "%s\\n" "${{COMPREPLY[@]}}"')
        p = subprocess.run(["bash", "--norc", "-c", code, CAIRN, *words, cur], capture_output=True, text=True, timeout=30,
                           env={"PATH": os.environ["PATH"], "CAIRN_DATA": self.place.path})
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return set(p.stdout.split())

    def test_commands(self):
        first = {name.split()[0] for name in commands()}
        self.assertLessEqual(first | {"--data", "--server", "-o", "--help", "--version"}, self.offers())
        self.assertEqual(self.offers(cur="po"), {"policy"})
        self.assertEqual(self.offers("policy"), {n.split()[1] for n in commands() if n.startswith("policy ")})
        self.assertEqual(self.offers("policy", cur="h"), {"hide"})
        self.assertEqual(self.offers("--data", "/srv/x", "-o", "json", cur="aud"), {"audit"})

    def test_options_of_every_command(self):
        for name in commands():
            with self.subTest(name):
                self.assertEqual(self.offers(*name.split(), cur="-"), set(options_of(out(*name.split(), "--help"))) | {"--help"})
        self.assertEqual(self.offers("query", "acme/docs", "why", cur="--fi"), {"--filter"})

    def test_values(self):
        self.assertEqual(self.offers("-o"), {"table", "json", "tsv"})
        self.assertEqual(self.offers("query", "acme/docs", "x", "--mode"), {"dense", "exact", "lexical", "hybrid"})
        self.assertEqual(self.offers("query", "acme/docs", "x", "--mode", "=", cur="e"), {"exact"})
        self.assertEqual(self.offers("query", "acme/docs", "x", "--filter"), set())
        self.assertEqual(self.offers("ingest", "acme/docs"), set(), "files are the shell's own")

    def test_places(self):
        self.assertEqual(self.offers("query", cur="ac"), {"acme/docs"})
        self.assertEqual(self.offers("tenant", "drop"), {"acme"})
        self.assertEqual(self.offers("index", "show", cur="acme/d"), {"acme/docs"})
        self.assertEqual(self.offers("--data", "/nonexistent", "query", cur="ac"), set())
        self.assertEqual(self.offers("--server", "unix", ":", "/nonexistent", cur="vers"), {"versions"})

    def test_a_server_has_nothing_run(self):
        """Names come from whoever serves; bash expands what is in a list of words."""
        mark, told = os.path.join(self.place.dir, "mark"), os.path.join(self.place.dir, "told")
        with open(told, "w") as f:
            f.write(f"#!/bin/sh\nprintf 'tenant\\nacme\\n$(touch${{IFS}}{mark})\\n`touch${{IFS}}{mark}`\\n*\\n'\n")
        os.chmod(told, 0o755)
        code = f'source "{self.script}"; COMP_WORDS=("$0" "$@"); COMP_CWORD=$#; _cairn; printf "%s\\n" "${{COMPREPLY[@]}}"'
        for words, offered in ((("tenant", "drop"), "acme\n"), (("index", "show"), "acme/acme\n")):
            p = subprocess.run(["bash", "--norc", "-c", code, told, *words, ""], capture_output=True, text=True, timeout=30, cwd=self.place.dir)
            self.assertEqual((p.stdout, os.path.exists(mark)), (offered, False), p.stderr)

    def test_bash_registers_it(self):
        p = subprocess.run(["bash", "--norc", "-c", f'source "{self.script}"; complete -p cairn'], capture_output=True, text=True)
        self.assertIn("-F _cairn cairn", p.stdout)


if __name__ == "__main__":
    unittest.main()
