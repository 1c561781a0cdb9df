"""What the tests with real parts share: the binary, private state folders, counted lines.

Python's standard library only. Nothing here is executable: `tests/run` runs what is.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How long one command may take before the test says that it hangs. Seconds.
PATIENCE = 120


def find_binary():
    """The binary under test: RUNWARDEN_BIN, else the newest that cargo has built."""
    named = os.environ.get("RUNWARDEN_BIN")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / kind / "runwarden" for kind in ("release", "debug")]
    built = sorted((p for p in built if p.exists()), key=lambda p: p.stat().st_mtime)
    if named:
        return named
    if not built:
        sys.exit("no binary: `cargo build`, or set RUNWARDEN_BIN")
    return str(built[-1])


BIN = find_binary()
WORK = pathlib.Path(tempfile.mkdtemp(prefix="runwarden-real."))
FAILED = 0

# What a run sees of us: nothing of the caller's settings.
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("RUNWARDEN_", "XDG_"))}
ENV.pop("STATE_DIRECTORY", None)
ENV |= {"HOME": str(WORK / "home"), "LC_ALL": "C.UTF-8"}
(WORK / "home").mkdir()


def report(name, why=None):
    """One counted line."""
    global FAILED
    if why is None:
        print(f"ok {name}", flush=True)
    else:
        FAILED += 1
        print(f"not ok {name} # {' '.join(str(why).split())[:2000]}", flush=True)


def skip(name, why):
    print(f"skip {name} # {why}", flush=True)


def check(name, holds, why="it does not hold"):
    report(name, None if holds else why)
    return holds


def done():
    """Removes what the test made, and ends it with the right code."""
    shutil.rmtree(WORK, ignore_errors=True)
    sys.exit(1 if FAILED else 0)


def write(name, text):
    path = WORK / name
    path.write_text(text)
    return path


class State:
    """A state folder, and commands on it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def argv(self, *args):
        return [BIN, "--state", str(self.path), *map(str, args)]

    def start(self, *args, **options):
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        return subprocess.Popen(
            self.argv(*args), stdin=subprocess.DEVNULL, env=ENV, cwd=WORK, **options
        )

    def call(self, *args, patience=PATIENCE):
        """The ended command: `returncode`, `stdout`, `stderr`."""
        return subprocess.run(
            self.argv(*args), stdin=subprocess.DEVNULL, env=ENV, cwd=WORK, timeout=patience,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )

    def json(self, *args):
        """What a command prints as JSON."""
        ended = self.call("-o", "json", *args)
        try:
            return json.loads(ended.stdout)
        except ValueError:
            raise AssertionError(
                f"{args} ended with {ended.returncode} without JSON: {ended.stdout} {ended.stderr}"
            ) from None

    def runs(self, *args):
        found = self.json("runs", "list", *args)
        return found["items"] if isinstance(found, dict) else found

    def entries(self):
        """The log's entries, as they are stored and as objects."""
        raw = self.call("audit", "log", "--raw")
        assert raw.returncode == 0, raw.stderr
        return [json.loads(line) for line in raw.stdout.splitlines()]

    def verify(self):
        """None if the log verifies by our own verifier, and by others where they are there."""
        ended = self.call("audit", "verify")
        if ended.returncode != 0:
            return f"audit verify: {ended.returncode}: {ended.stdout} {ended.stderr}"
        return verify_by_readme(self)


def verify_by_readme(state):
    """None if the twenty lines of README.md and openssl find the log whole."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=WORK))
    for name, args in (
        ("vkey", ("keys",)), ("checkpoint", ("checkpoint",)), ("log", ("log", "--raw")),
    ):
        with open(folder / name, "wb") as file:
            subprocess.run(state.argv("audit", *args), stdout=file, env=ENV, check=True)
    why = verify_exported(folder)
    shutil.rmtree(folder)
    return why


def verify_exported(folder):
    """The same for the files `vkey`, `checkpoint` and `log` in a folder."""
    text = (ROOT / "README.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    program = next(block for block in blocks if "import" in block and "hashlib" in block)
    read = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    if read.returncode != 0:
        return f"README.md's Python: {read.stdout} {read.stderr}"
    signed = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin",
         "-in", "signed", "-sigfile", "signature"],
        cwd=folder, capture_output=True, text=True, check=False,
    )
    if signed.returncode != 0 or "Verified Successfully" not in signed.stdout:
        return f"openssl: {signed.stdout} {signed.stderr}"
    return None


def processes_with(mark):
    """Processes, other than this one, whose environment or arguments hold `mark`."""
    found = []
    needle = mark.encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                held = file.read()
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if needle in held or needle in command:
            found.append((int(entry), command.replace(b"\0", b" ").decode(errors="replace")))
    return found


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
