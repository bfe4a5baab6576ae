"""tools/quickstart and tools/setup where something cannot be had: they say what, and how to bring it, and leave nothing half made."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

CAIRN = os.environ["CAIRN_BIN"]
TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")
REFUSES = "#!/bin/sh\necho \"$0: no network\" >&2\nexit 100\n"


class Quickstart(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="cairn-quickstart-")
        self.addCleanup(shutil.rmtree, self.top)
        shutil.copytree(TOOLS, os.path.join(self.top, "tools"))
        for folder in ("bin", "build/release/tools"):
            os.makedirs(os.path.join(self.top, folder))
        self.put("build/release/build.ninja", "")
        os.symlink(CAIRN, os.path.join(self.top, "build/release/tools/cairn"))
        self.program("ninja", "#!/bin/sh\n")
        self.program("dpkg-query", "#!/bin/sh\necho install ok installed\n")
        for name in ("apt-get", "sudo", "pip", "pip3"):
            self.program(name, REFUSES)
        self.program("python3", REFUSES)

    def put(self, path, text):
        with open(os.path.join(self.top, path), "w") as f:
            f.write(text)

    def program(self, name, text):
        self.put("bin/" + name, text)
        os.chmod(os.path.join(self.top, "bin", name), 0o755)

    def run_tool(self, name, *args, cwd=None):
        env = {"PATH": os.path.join(self.top, "bin") + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.top, "LANG": "C.UTF-8",
               **{k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}}
        return subprocess.run([os.path.join(self.top, "tools", name), *args], cwd=cwd or self.top, env=env, capture_output=True, text=True, timeout=60)

    def refused(self, *words):
        p = self.run_tool("quickstart")
        self.assertNotEqual(p.returncode, 0, p.stdout)
        for word in words:
            self.assertIn(word, p.stderr)
        return set(os.listdir(os.path.join(self.top, "build"))) - {"release", "quickstart.log"}

    def test_packages_that_cannot_be_installed(self):
        self.program("dpkg-query", "#!/bin/sh\nfor last; do :; done\n[ $last != libuv1-dev ] && echo install ok installed\n")
        left = self.refused("could not install libuv1-dev", "apt-get install libuv1-dev", "some Debian packages are missing")
        self.assertEqual(left, set())
        p = self.run_tool("setup", "--list")
        self.assertEqual(p.returncode, 0)
        self.assertIn("sockets of the server", p.stdout)

    def test_documents_that_cannot_be_downloaded(self):
        self.assertEqual(self.refused("debian-policy could not be downloaded", "no network", "dpkg -x debian-policy_*_all.deb build/debian-policy"), set())

    def test_a_model_that_cannot_be_had(self):
        os.makedirs(os.path.join(self.top, "build/debian-policy/usr/share/doc/debian-policy/policy.html"))
        self.assertEqual(self.refused("the model could not be had", "build/release/tools/cairn --data build/model-data model add minilm FOLDER"), {"debian-policy"})

    def test_a_folder_that_holds_other_things(self):
        os.makedirs(os.path.join(self.top, "build/debian-policy/usr/share/doc/debian-policy/policy.html"))
        os.makedirs(os.path.join(self.top, "build/model-data/models/minilm"))
        os.makedirs(os.path.join(self.top, "mine/data"))
        self.put("mine/data/letter", "dear")
        p = self.run_tool("quickstart", "mine")
        self.assertNotEqual(p.returncode, 0)
        self.assertIn("mine holds other things", p.stderr)
        self.assertEqual(os.listdir(os.path.join(self.top, "mine")), ["data"])
        self.assertEqual(os.listdir(os.path.join(self.top, "mine/data")), ["letter"])

    def test_a_folder_is_the_callers(self):
        """A relative one is below the folder where the command was given, an absolute one where it says; the story begins."""
        manual = os.path.join(self.top, "build/debian-policy/usr/share/doc/debian-policy/policy.html")
        os.makedirs(manual)
        with open(os.path.join(manual, "index.html"), "w") as f:
            f.write("<h1>Policy</h1>")
        os.makedirs(os.path.join(self.top, "build/model-data/models/minilm"))
        elsewhere = tempfile.mkdtemp(prefix="cairn-elsewhere-")
        self.addCleanup(shutil.rmtree, elsewhere)
        for given, folder in (("mine", os.path.join(elsewhere, "mine")), (os.path.join(elsewhere, "full"), os.path.join(elsewhere, "full"))):
            p = self.run_tool("quickstart", given, cwd=elsewhere)
            self.assertIn("1. A data directory", p.stdout, p.stderr)
            self.assertTrue(os.path.exists(os.path.join(folder, "docs/policy.html/index.html")), p.stderr)
            self.assertTrue(os.path.exists(os.path.join(folder, "data/cairn.mdb")), p.stderr)

    def test_options(self):
        for name in ("quickstart", "setup", "test"):
            self.assertEqual(self.run_tool(name, "--nonsense").returncode, 2)
            p = self.run_tool(name, "--help")
            self.assertEqual((p.returncode, p.stdout.startswith("tools/" + name)), (0, True), p.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
