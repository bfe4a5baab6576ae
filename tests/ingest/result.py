"""Writes what a measurement found: printed, and with a path as JSON, in the form of benchmarks/results."""
import datetime, json, os, platform, sys


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((l.split(":")[1].strip() for l in f if l.startswith("model name")), platform.machine())
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release()}


def shown(word):
    """An argument without the folders of this machine."""
    return ".../" + os.path.basename(word.rstrip("/")) if os.path.isabs(word) else word


def write(out, what, bar, reached, figures):
    result = {"what": what, "command": "python3 " + " ".join(map(shown, sys.argv)), "date": datetime.date.today().isoformat(), "machine": machine(),
              "bar": bar, "reached": bool(reached), "figures": figures}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if out:
        with open(out, "w") as f:
            f.write(text + "\n")


def finish(out, what, bar, reached, figures):
    write(out, what, bar, reached, figures)
    sys.exit(0 if reached else 1)
