#!/usr/bin/env python3
"""Goal: the monitoring plugins that people have are read as Nagios reads them, and the shipped
runbooks run for real.

Method: plugins of ours that end with each code and write performance data in its odd forms; then
the packaged plugins, whose own answers are the expectation; then every shipped health check.
"""

import os
import shutil
import subprocess

import rig

FOLDER = "/usr/lib/nagios/plugins"
VERDICTS = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}


def step_of(shown, name):
    return next(step for step in shown["steps"] if step["id"] == name)


def our_plugins():
    """Each exit code, and a text with performance data over several lines."""
    steps = ""
    for code in (0, 1, 2, 3, 4):
        plugin = rig.write(f"check_{code}", f"""\
#!/bin/sh
echo 'STATE {code} - all of it|'\\''used space'\\''=12%;80;90 time=0.5s;;;0;10'
echo 'second line | free=3GB'
exit {code}
""")
        plugin.chmod(0o755)
        steps += f"  - id: p{code}\n    nagios: {{ command: [\"{plugin}\", \"$HOME\", a b] }}\n"
    runbook = rig.write("ours.yaml", f"""\
runwarden: 1
runbook: our-plugins
version: 1.0.0
kind: health-check
title: One plugin for each exit code
steps:
{steps}""")
    state = rig.State(rig.WORK / "state-ours")
    ended = state.call("run", runbook)
    shown = state.json("runs", "show", state.runs()[0]["id"])
    for code in (0, 1, 2, 3, 4):
        step = step_of(shown, f"p{code}")
        want = VERDICTS.get(code, "unknown")
        rig.check(f"plugins: exit code {code} is {want}", step["verdict"] == want, step)
    rig.check("plugins: a critical plugin fails the run", ended.returncode == 1,
              f"{ended.returncode}: {ended.stderr}")
    data = step_of(shown, "p0")["result"].get("perfdata")
    rig.check("plugins: performance data has its labels", "used space" in str(data), data)
    rig.check("plugins: that log verifies", (why := state.verify()) is None, why)


def packaged_plugins():
    """What the packaged plugins say themselves is what the record says."""
    if not os.access(f"{FOLDER}/check_load", os.X_OK):
        return rig.skip("plugins: packaged", "monitoring-plugins-basic is not installed")
    state = rig.State(rig.WORK / "state-packaged")
    ended = state.call("run", rig.ROOT / "runbooks/health-checks/plugins.yaml")
    shown = state.json("runs", "show", state.runs()[0]["id"])
    ran = [step for step in shown["steps"] if step["action"] == "nagios"]
    rig.check("plugins: the shipped runbook runs them all",
              ended.returncode in (0, 1) and len(ran) >= 5
              and all(step["status"] in ("succeeded", "failed") for step in ran),
              f"{ended.returncode}: {ran} {ended.stderr}")
    # Two whose answer does not change from one second to the next.
    for name, argv in (
        ("disk", [f"{FOLDER}/check_disk", "-w", "15%", "-c", "5%", "-p", "/"]),
        ("swap", [f"{FOLDER}/check_swap", "-w", "20%", "-c", "5%", "-n", "ok"]),
    ):
        itself = subprocess.run(argv, capture_output=True, text=True, check=False)
        step = step_of(shown, name)
        rig.check(f"plugins: check_{name} is judged as it judges",
                  step["verdict"] == VERDICTS.get(itself.returncode),
                  f"{itself.returncode} {itself.stdout} is {step}")


def shipped_health_checks():
    """host.yaml on this very machine, as a person runs it first, and as a plugin."""
    state = rig.State(rig.WORK / "state-host")
    host = rig.ROOT / "runbooks/health-checks/host.yaml"
    ended = state.call("run", host)
    whole = ended.returncode in (0, 1) and [run["state"] for run in state.runs()] == ["finished"]
    if not rig.check("plugins: host.yaml reports this host", whole,
                     f"{ended.returncode}: {ended.stdout} {ended.stderr}"):
        return
    rig.check("plugins: its record verifies", (why := state.verify()) is None, why)
    plugin = state.call("run", host, "--nagios")
    lines = plugin.stdout.splitlines()
    first = ["OK", "WARNING", "CRITICAL", "UNKNOWN"]
    rig.check("plugins: `run --nagios` is a plugin itself",
              plugin.returncode in VERDICTS and len(lines) == 1
              and lines[0].startswith(first[plugin.returncode]),
              f"{plugin.returncode}: {plugin.stdout!r} {plugin.stderr!r}")


if __name__ == "__main__":
    try:
        for part in (our_plugins, packaged_plugins, shipped_health_checks):
            try:
                part()
            except Exception as err:  # A command hung, or gave no JSON: the other parts still run.
                rig.report(f"plugins: {part.__name__}", f"{type(err).__name__}: {err}")
        rig.done()
    finally:
        shutil.rmtree(rig.WORK, ignore_errors=True)
