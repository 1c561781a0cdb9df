#!/usr/bin/env python3
"""Goal: a disk that fails, fills up or cannot be written, a death during the first start, a second
process and a reader that goes away cost no record and repeat no effect.

Method: the fault is made for real (strace's fault injection, a small tmpfs, a read-only mount, a
kill, a closed pipe) and the same folder is then used again without it. Each part says `ok` or
`not ok`; what this machine does not allow is skipped, with the reason.
"""

import collections
import os
import random
import shutil
import subprocess
import time

import rig

STEPS = 12
# A step's effect is a line in a file outside the state folder. None may be repeated.
RUNBOOK = f"""\
runwarden: 1
runbook: faults
version: 1.0.0
kind: task
title: Steps whose effects are counted
inputs:
  effects: {{ type: string }}
  pause: {{ type: string, default: "0" }}
steps:
""" + "".join(
    f"""\
  - id: s{n}
    shell: echo s{n} >> "$EFFECTS"; sleep "$PAUSE"
    env: {{ EFFECTS: "{{{{inputs.effects}}}}", PAUSE: "{{{{inputs.pause}}}}" }}
"""
    for n in range(STEPS)
)


class Life:
    """A state folder, an effects file, and what went wrong with them."""

    def __init__(self, name, folder=None):
        self.name = name
        self.state = rig.State(folder or rig.WORK / f"state-{name}")
        self.effects = rig.WORK / f"effects-{name}"
        self.effects.touch()
        self.args = ("run", RUNBOOK_PATH, "-i", f"effects={self.effects}", "--yes")

    def lines(self):
        return collections.Counter(self.effects.read_text().split())

    def end_it(self):
        """Ends every unfinished run as a person would; None, or why it cannot be ended."""
        for _ in range(6):
            open_runs = [run for run in self.state.runs() if run["state"] != "finished"]
            if not open_runs:
                return None
            for choice in ((), ("--skip",), ("--stop",)):
                ended = self.state.call("runs", "resume", open_runs[0]["id"], *choice)
                if ended.returncode != 2:
                    break
        return f"run {open_runs[0]} does not end: {ended.returncode} {ended.stderr}"

    def judge(self):
        """None, or what is wrong with the record once the fault is over."""
        why = self.end_it()
        if why:
            return why
        lines = self.lines()
        again = {step: times for step, times in lines.items() if times > 1}
        if again:
            return f"repeated: {again}"
        started = {e["step"] for e in self.state.entries() if e["type"] == "step.started"}
        unrecorded = set(lines) - started
        if unrecorded:
            return f"happened without a record: {unrecorded}"
        return self.state.verify()


def panicked(text):
    return "panicked" in text or "RUST_BACKTRACE" in text


def disk_errors():
    """Each flush to the disk fails once, from the first to beyond the last."""
    name = "faults: a flush that fails ends the run with 7, and nothing is lost"
    if not shutil.which("strace"):
        return rig.skip(name, "no strace")
    life = Life("strace")
    probe = subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False
    )
    if probe.returncode != 0:
        return rig.skip(name, "strace may not trace here")
    wrong, seen = [], collections.Counter()
    for number in list(range(1, 9)) + [12, 16, 20, 24, 28, 32]:
        life = Life(f"flush-{number}")
        traced = [
            "strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync,fdatasync",
            "-e", f"inject=fsync,fdatasync:error=EIO:when={number}", *life.state.argv(*life.args),
        ]
        ended = subprocess.run(
            traced, env=rig.ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=rig.PATIENCE, check=False,
        )
        seen[ended.returncode] += 1
        if ended.returncode not in (0, 7):
            wrong.append(f"flush {number}: exit {ended.returncode}: {ended.stderr}")
        if panicked(ended.stderr) or (ended.returncode == 7 and not ended.stderr.strip()):
            wrong.append(f"flush {number}: it says {ended.stderr!r}")
        if ended.returncode == 7 and len(life.lines()) == STEPS:
            # The last entries were refused, so the record cannot know: it must not say succeeded.
            if any(run["state"] == "finished" for run in life.state.runs()):
                wrong.append(f"flush {number}: exit 7, and the run is finished")
        # Without a single entry a later run must simply work.
        again = life.state.call("run", OTHER_PATH)
        if again.returncode != 0:
            wrong.append(f"flush {number}: the next run ends with {again.returncode}: {again.stderr}")
            continue
        why = life.judge()
        if why:
            wrong.append(f"flush {number}: {why}")
    if seen[7] == 0:
        wrong.append("no flush was made to fail")
    rig.check(name, not wrong, f"{len(wrong)}: " + "; ".join(wrong[:3]))


def mount(folder, *options):
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )
    return made.returncode == 0


def full_disk():
    """The disk fills up in the middle of a run: what ends is still recorded, nothing more starts."""
    name = "faults: a full disk ends the run with 7, and what happened is recorded"
    disk = rig.WORK / "disk"
    if os.geteuid() != 0 or not mount(disk, "size=16m", "mode=700"):
        return rig.skip(name, "needs root and a mount")
    try:
        life = Life("full", disk / "state")
        first = life.state.call("run", OTHER_PATH)
        process = life.state.start(*life.args, "-i", "pause=0.1", stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while len(life.lines()) < 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        fill(disk / "filler")
        said = process.communicate(timeout=rig.PATIENCE)[1]
        happened = life.lines()
        rig.check(
            name,
            first.returncode == 0 and process.returncode == 7 and 0 < len(happened) < STEPS
            and not panicked(said) and said.strip(),
            f"first {first.returncode}, exit {process.returncode}, effects {dict(happened)}: {said}",
        )
        refused = life.state.call("run", OTHER_PATH)
        rig.check("faults: on a full disk nothing starts", refused.returncode == 7,
                  f"exit {refused.returncode}: {refused.stderr}")
        (disk / "filler").unlink()
        why = life.judge()
        rig.check("faults: with room again the run goes on and nothing is repeated", why is None, why)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def fill(path):
    """Takes all the room there is, again and again while some is given back."""
    with open(path, "ab", buffering=0) as file:
        end_at = time.monotonic() + 1.5
        while time.monotonic() < end_at:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    pass
            time.sleep(0.02)


def read_only():
    """The state folder cannot be written: nothing starts, reading still works."""
    disk = rig.WORK / "read-only"
    if os.geteuid() != 0 or not mount(disk, "size=32m", "mode=700"):
        return rig.skip("faults: read-only", "needs root and a mount")
    try:
        life = Life("read-only", disk / "state")
        first = life.state.call("run", OTHER_PATH)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = life.state.call(*life.args)
        rig.check(
            "faults: on a read-only state folder nothing starts, exit 7",
            first.returncode == 0 and ended.returncode == 7 and not life.lines()
            and not panicked(ended.stderr) and ended.stderr.strip(),
            f"first {first.returncode}, exit {ended.returncode}, {life.lines()}: {ended.stderr}",
        )
        why = life.state.verify()
        rig.check("faults: a read-only log can be read and verified", why is None, why)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def two_at_once():
    """Two processes make and use the same new folder at the same moment."""
    wrong = []
    for turn in range(20):
        life = Life(f"two-{turn}")
        pair = [life.state.start("run", OTHER_PATH, stderr=subprocess.PIPE, text=True)
                for _ in range(2)]
        for process in pair:
            said = process.communicate(timeout=rig.PATIENCE)[1]
            if process.returncode != 0:
                wrong.append(f"turn {turn}: exit {process.returncode}: {said}")
        runs = life.state.runs()
        if len(runs) != 2 or any(run["state"] != "finished" for run in runs):
            wrong.append(f"turn {turn}: {runs}")
        created = [e for e in life.state.entries() if e["type"] == "log.created"]
        if len(created) != 1:
            wrong.append(f"turn {turn}: {len(created)} logs in one folder")
        why = life.state.verify()
        if why:
            wrong.append(f"turn {turn}: {why}")
        shutil.rmtree(life.state.path)
    rig.check("faults: two first starts at once make one log, 20 times", not wrong,
              f"{len(wrong)}: " + "; ".join(wrong[:3]))


def death_at_first_start():
    """Killed while the folder, the key and the log are made: the next start works."""
    wrong, killed = [], 0
    dice = random.Random()
    begin = time.monotonic()
    rig.State(rig.WORK / "state-time").call("run", OTHER_PATH)
    longest = time.monotonic() - begin
    for turn in range(40):
        life = Life(f"first-{turn}")
        process = life.state.start("run", OTHER_PATH)
        time.sleep(dice.uniform(0, longest))
        process.kill()
        killed += process.wait() == -9
        again = life.state.call("run", OTHER_PATH)
        if again.returncode != 0:
            wrong.append(f"turn {turn}: the next start ends with {again.returncode}: {again.stderr}")
            continue
        why = life.judge()
        if why:
            wrong.append(f"turn {turn}: {why}")
        shutil.rmtree(life.state.path)
    rig.check(f"faults: killed at the first start ({killed} of 40), the next works", not wrong,
              f"{len(wrong)}: " + "; ".join(wrong[:3]))


def reader_goes_away():
    """Standard output and error that nobody reads: the run is none the worse."""
    for name, make in (
        ("a closed pipe", closed_pipe),
        ("closed descriptors", lambda life: shell(life, '"$@" >&- 2>&-')),
        ("a full device", lambda life: shell(life, '"$@" >/dev/full 2>/dev/full')),
    ):
        life = Life(name.replace(" ", "-"))
        code = make(life)
        runs = life.state.runs()
        whole = len(life.lines()) == STEPS and [run["outcome"] for run in runs] == ["succeeded"]
        why = life.judge()
        rig.check(f"faults: with {name} for output the run is whole",
                  whole and code in (0, 1, 2, 7) and why is None,
                  f"exit {code}, {dict(life.lines())}, {runs}, {why}")


def closed_pipe(life):
    read, write = os.pipe()
    os.close(read)
    process = life.state.start(*life.args, stdout=write, stderr=write)
    os.close(write)
    return process.wait(timeout=rig.PATIENCE)


def shell(life, line):
    ended = subprocess.run(
        ["sh", "-c", line, "sh", *life.state.argv(*life.args)], env=rig.ENV,
        stdin=subprocess.DEVNULL, timeout=rig.PATIENCE, check=False,
    )
    return ended.returncode


RUNBOOK_PATH = rig.write("faults.yaml", RUNBOOK)
OTHER_PATH = rig.write("other.yaml", """\
runwarden: 1
runbook: other
version: 1.0.0
kind: task
title: One step that always works
steps:
  - command: ["true"]
    effect: read
""")

if __name__ == "__main__":
    try:
        for part in (disk_errors, full_disk, read_only, two_at_once, death_at_first_start,
                     reader_goes_away):
            try:
                part()
            except Exception as err:  # A command hung, or gave no JSON: the other parts still run.
                rig.report(f"faults: {part.__name__}", f"{type(err).__name__}: {err}")
        rig.done()
    finally:
        shutil.rmtree(rig.WORK, ignore_errors=True)
