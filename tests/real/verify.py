#!/usr/bin/env python3
"""Goal: a log that somebody changed is refused by our verifier, and by the twenty lines of
README.md with openssl, which know nothing of our code.

Method: one log with a few runs; every kind of change to what was exported, and to the database
itself, each on a copy.
"""

import base64
import pathlib
import random
import shutil
import sqlite3
import subprocess
import tempfile

import rig

DICE = random.Random(7)


def export(state, folder):
    for name, args in (
        ("vkey", ("keys",)), ("checkpoint", ("checkpoint",)), ("log", ("log", "--raw")),
    ):
        ended = subprocess.run(state.argv("audit", *args), capture_output=True, env=rig.ENV, check=True)
        (folder / name).write_bytes(ended.stdout)


def edited(number, change):
    """The whole log with one entry changed."""
    def apply(folder):
        lines = (folder / "log").read_bytes().split(b"\n")
        lines[number] = change(lines[number])
        (folder / "log").write_bytes(b"\n".join(lines))
    return apply


def flip(entry):
    at = DICE.randrange(len(entry))
    return entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1:]


def without(number):
    def apply(folder):
        lines = (folder / "log").read_bytes().split(b"\n")
        del lines[number]
        (folder / "log").write_bytes(b"\n".join(lines))
    return apply


def swapped(folder):
    lines = (folder / "log").read_bytes().split(b"\n")
    lines[2], lines[3] = lines[3], lines[2]
    (folder / "log").write_bytes(b"\n".join(lines))


def head(change):
    """The checkpoint with its lines changed."""
    def apply(folder):
        lines = (folder / "checkpoint").read_text().split("\n")
        change(lines)
        (folder / "checkpoint").write_text("\n".join(lines))
    return apply


def other_signature(lines):
    dash, name, body = lines[4].split(" ")
    raw = bytearray(base64.b64decode(body))
    raw[20] ^= 1
    lines[4] = " ".join((dash, name, base64.b64encode(raw).decode()))


def other_key(folder):
    """A key that somebody else made, under the same name."""
    name, number, key = (folder / "vkey").read_text().strip().split("+", 2)
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True)
    der = subprocess.run(["openssl", "pkey", "-pubout", "-outform", "DER"], input=made.stdout,
                         capture_output=True, check=True).stdout
    key = base64.b64encode(b"\1" + der[-32:]).decode()
    (folder / "vkey").write_text(f"{name}+{number}+{key}\n")


def line(number, text):
    return head(lambda lines: lines.__setitem__(number, text))


def changes(size):
    yield from ((f"a flipped bit of entry {n}", edited(n, flip)) for n in (0, 1, size // 2, size - 1))
    yield "an empty entry", edited(4, lambda entry: b"{}")
    yield "a space more in an entry", edited(4, lambda entry: entry.replace(b",", b", ", 1))
    yield "a missing entry", without(4)
    yield "a missing last entry", without(size - 1)
    yield "two entries swapped", swapped
    yield "a smaller size in the head", line(1, str(size - 1))
    yield "another root in the head", line(2, base64.b64encode(b"\0" * 32).decode())
    yield "another origin in the head", line(0, "runwarden.dev/local/another")
    yield "another signature", head(other_signature)
    yield "another key", other_key


def outsiders(state):
    good = pathlib.Path(tempfile.mkdtemp(dir=rig.WORK))
    export(state, good)
    why = rig.verify_exported(good)
    rig.check("verify: README.md's lines accept the log", why is None, why)
    size = int((good / "checkpoint").read_text().split("\n")[1])
    accepted = []
    for name, change in changes(size):
        bad = pathlib.Path(tempfile.mkdtemp(dir=rig.WORK)) / "bad"
        shutil.copytree(good, bad)
        for made in ("key.pem", "signed", "signature"):
            (bad / made).unlink(missing_ok=True)
        change(bad)
        if rig.verify_exported(bad) is None:
            accepted.append(name)
    rig.check("verify: README.md's lines refuse every change", not accepted, accepted)


def sql(state, *statements):
    database = sqlite3.connect(state.path / "log.db")
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


EDIT = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), {}, {}) AS BLOB) WHERE seq = {}"


def ourselves(state):
    """Changes to the database itself: exit 6 with a code, and nothing starts on a changed tail."""
    size = int(state.call("audit", "checkpoint").stdout.split("\n")[1])
    wrong = []
    for name, statements in {
        "an entry edited": [EDIT.format("'\"v\":1'", "'\"v\":2'", 3)],
        "the first entry edited": [EDIT.format("'log.created'", "'log.Created'", 0)],
        "an entry gone": ["DELETE FROM entries WHERE seq = 3"],
        "the last entry gone": [f"DELETE FROM entries WHERE seq = {size - 1}"],
        "another size in the head": ["UPDATE head SET size = size - 1"],
        "another root": ["UPDATE head SET root = zeroblob(32)"],
        "another note": ["UPDATE head SET note = replace(note, 'runwarden', 'runwaraen')"],
        "a leaf edited": ["UPDATE entries SET leaf = zeroblob(32) WHERE seq = 3"],
    }.items():
        copy = rig.State(pathlib.Path(tempfile.mkdtemp(dir=rig.WORK)) / "state")
        shutil.copytree(state.path, copy.path)
        copy.path.chmod(0o700)
        sql(copy, *statements)
        ended = copy.call("audit", "verify")
        if ended.returncode != 6 or "E_" not in ended.stdout + ended.stderr:
            wrong.append(f"{name}: verify: {ended.returncode} {ended.stdout} {ended.stderr}")
        run = copy.call("run", RUNBOOK)
        if run.returncode != 6:
            wrong.append(f"{name}: run: {run.returncode} {run.stderr}")
    rig.check("verify: a changed database is exit 6, and nothing starts on it", not wrong,
              f"{len(wrong)}: " + "; ".join(wrong[:3]))


def levels(state):
    """What is given from elsewhere raises the trust, and a wrong one is refused."""
    key = state.call("audit", "keys").stdout.strip()
    kept = rig.write("kept", state.call("audit", "checkpoint").stdout)
    state.call("run", RUNBOOK)
    for name, args, code in (
        ("L1 by a key", ("--key", key, "--require", "L1"), 0),
        ("L2 by a head", ("--key", key, "--since", kept, "--require", "L2"), 0),
        ("L1 without a key is not reached", ("--require", "L1"), 2),
    ):
        ended = state.call("audit", "verify", *args)
        rig.check(f"verify: {name}", ended.returncode == code,
                  f"{ended.returncode}: {ended.stdout} {ended.stderr}")


RUNBOOK = rig.write("one.yaml", """\
runwarden: 1
runbook: one
version: 1.0.0
kind: task
title: Two steps
steps:
  - shell: echo said
  - shell: head -c 40000 /dev/urandom | base64
    effect: read
""")

if __name__ == "__main__":
    try:
        made = rig.State(rig.WORK / "state")
        for _ in range(3):
            first = made.call("run", RUNBOOK, "--yes")
            assert first.returncode == 0, first.stderr
        for part in (outsiders, ourselves, levels):
            try:
                part(made)
            except Exception as err:  # A command hung, or gave no output: the other parts still run.
                rig.report(f"verify: {part.__name__}", f"{type(err).__name__}: {err}")
        rig.done()
    finally:
        shutil.rmtree(rig.WORK, ignore_errors=True)
