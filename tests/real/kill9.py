#!/usr/bin/env python3
"""Goal: `kill -9` at any moment repeats no unsafe effect, loses no run, leaves no process and no
broken log.

Method: runs of a runbook whose steps each append a line to a file are killed at random moments by
the hundred, three at once on one state folder, and so are some of the resumes. Whatever the record
then asks for is decided by a person's command, until the run has ended. The lines in the file are
the truth that the record is held against.

    kill9.py [KILLS] [SEED]        200 kills; the seed is printed
"""

import collections
import os
import random
import shutil
import sys
import threading
import time

import rig

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(4))
# The whole test, resumes included. Seconds.
BUDGET = 150
AT_ONCE = 3

# `a` and `d` to `g` are unsafe: a second time would be a second effect. `b` may be repeated. `c`
# can be asked whether it happened.
RUNBOOK = """\
runwarden: 1
runbook: kill-nine
version: 1.0.0
kind: task
title: Steps whose effects are counted
inputs:
  effects: { type: string }
steps:
  - id: a
    shell: echo a >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
  - id: b
    idempotent: true
    shell: echo b >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
  - id: c
    done: { command: [grep, -qx, c, "{{inputs.effects}}"] }
    shell: echo c >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
  - id: d
    shell: echo d >> "$EFFECTS"; sleep 0.03
    env: { EFFECTS: "{{inputs.effects}}" }
  - id: e
    shell: setsid sleep 300 & sleep 0.02; echo e >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
  - id: g
    shell: echo g >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
finally:
  - id: f
    shell: echo f >> "$EFFECTS"
    env: { EFFECTS: "{{inputs.effects}}" }
"""
STEPS = "abcdegf"
REPEATABLE = "b"

lock = threading.Lock()
count = collections.Counter()
wrong = collections.defaultdict(list)


def note(kind, text):
    with lock:
        wrong[kind].append(text)


def kill_at_random(process, dice, longest, effects):
    """Whether the process was still alive when it was killed.

    A third of the deaths are at any moment from the start on, the others shortly after some step
    has had its effect: starting up would else take most of them.
    """
    if dice.random() < 0.33:
        time.sleep(dice.uniform(0, longest))
    else:
        size = effects.stat().st_size + 2 * dice.randrange(len(STEPS))
        while effects.stat().st_size < size and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(dice.choice([0, dice.uniform(0, 0.003), dice.uniform(0, 0.03)]))
    process.kill()
    was_killed = process.wait() == -9
    with lock:
        count["kills"] += was_killed
    return was_killed


def decide(state, run, dice, longest, effects):
    """One command of the person at the keyboard; sometimes it dies as well."""
    choices = [(), (dice.choice(["--skip", "--stop"]),), ("--stop",)]
    for choice in choices:
        args = ("runs", "resume", run, *choice, "--comment", "after a crash", "--no-wait")
        if dice.random() < 0.3:
            if kill_at_random(state.start(*args), dice, longest, effects):
                count["killed again"] += 1
                return None
            continue
        ended = state.call(*args)
        if ended.returncode != 2:  # Not a wrong request: it was done.
            return ended
    return ended


def one_life(state, runbook, name, dice, longest):
    effects = rig.WORK / f"effects-{name}"
    effects.touch()
    process = state.start("run", runbook, "-i", f"effects={effects}", "--ticket", name, "--yes")
    kill_at_random(process, dice, longest, effects)
    found = state.runs("--ticket", name)
    lines = collections.Counter(effects.read_text().split())
    if not found:
        # Killed before its first entry: then nothing may have happened.
        count["unborn"] += 1
        if lines:
            note("lost", f"{name}: effects {dict(lines)} without a run")
        return
    if len(found) > 1:
        note("lost", f"{name}: {len(found)} runs for one request")
    run, last = found[0]["id"], None
    for _ in range(20):
        shown = state.json("runs", "show", run)
        if shown["state"] == "finished":
            break
        last = decide(state, run, dice, longest, effects)
    else:
        why = f"{last.returncode} {last.stderr}" if last else "killed"
        note("lost", f"{name}: run {run} is {shown['state']} and does not end: {why}")
        return
    count[shown["outcome"]] += 1
    judge(name, run, shown, effects)


def judge(name, run, shown, effects):
    """Holds the record against what happened."""
    lines = collections.Counter(effects.read_text().split())
    status = {step["id"]: step["status"] for step in shown["steps"]}
    for step in STEPS:
        if lines[step] > 1 and step not in REPEATABLE:
            note("repeated", f"{name}: `{step}` {lines[step]} times, {status} in run {run}")
        if status.get(step) == "succeeded" and lines[step] == 0:
            note("untrue", f"{name}: `{step}` succeeded without its effect in run {run}")
        if lines[step] and status.get(step) in (None, "failed"):
            note("untrue", f"{name}: `{step}` happened and is {status.get(step)} in run {run}")
    left = rig.processes_with(str(effects))
    if left:
        note("left", f"{name}: {left} after run {run}")
        for pid, _ in left:
            rig.end(pid)
    effects.unlink()


def worker(state, runbook, number, longest, end_at):
    dice = random.Random(SEED * 1000 + number)
    turn = 0
    while count["kills"] < KILLS and time.monotonic() < end_at:
        turn += 1
        try:
            one_life(state, runbook, f"K-{number}-{turn}", dice, longest)
        except Exception as err:  # A command hung, or gave no JSON.
            note("lost", f"K-{number}-{turn}: {type(err).__name__}: {err}")


def main():
    print(f"# seed {SEED}", flush=True)
    runbook = rig.write("kill-nine.yaml", RUNBOOK)
    state = rig.State(rig.WORK / "state")
    # How long a whole run takes here, three at once; the first also creates the state folder.
    begin = time.monotonic()
    effects = rig.WORK / "effects-whole"
    effects.touch()
    ended = state.call("run", runbook, "-i", f"effects={effects}", "--yes")
    longest = (time.monotonic() - begin) * 1.5
    whole = effects.read_text().split() == list(STEPS)
    if not rig.check("kill9: without a kill the run is whole", ended.returncode == 0 and whole,
                     f"{ended.returncode}: {effects.read_text()!r} {ended.stdout} {ended.stderr}"):
        rig.done()
    end_at = time.monotonic() + BUDGET
    workers = [
        threading.Thread(target=worker, args=(state, runbook, number, longest, end_at))
        for number in range(AT_ONCE)
    ]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    said = dict(sorted(count.items()))
    rig.check(f"kill9: {KILLS} kills at random moments", count["kills"] >= KILLS,
              f"only {said} in {BUDGET} s")
    for kind, name in (
        ("repeated", "no unsafe effect is repeated"),
        ("lost", "no run is lost"),
        ("untrue", "the record says what happened"),
        ("left", "no process is left"),
    ):
        found = wrong[kind]
        rig.check(f"kill9: {name}", not found, f"seed {SEED}: {len(found)}: " + "; ".join(found[:3]))
    bad = state.verify()
    rig.check("kill9: the log verifies by three verifiers", bad is None, bad)
    # Who dies between the last commit and the clean-up leaves a folder; the next start removes it.
    effects.write_text("")
    state.call("run", runbook, "-i", f"effects={effects}", "--yes")
    scratch = state.path / "runs"
    left = os.listdir(scratch) if scratch.is_dir() else []
    rig.check("kill9: after the next start no scratch folder is left", not left, left[:5])
    print(f"# {said}", flush=True)
    rig.done()


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(rig.WORK, ignore_errors=True)
