"""Measures; `run.sh` builds first and calls this. Each figure is the median of the runs, its range
in brackets; peers take turns with us, so that a drift of the machine's speed meets all alike."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
import peers  # noqa: E402

STEPS = 1000
MIB = 1024.0


class Bench:
    def __init__(self, options):
        self.target = pathlib.Path(options.target)
        self.bin = str(self.target / "release/runwarden")
        self.meter = str(self.target / "bench/meter")
        self.peers = self.target / "bench/peers/bin"
        self.runs = options.runs
        self.entries = options.entries
        # Beside the build, not in /tmp: that may be memory, where an fsync costs nothing.
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="run.", dir=self.target / "bench"))
        self.state = self.work / "state"
        self.rows = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RUNWARDEN_")}

    def once(self, argv, expect=0):
        out = self.work / "meter.json"
        subprocess.run([self.meter, str(out), *map(str, argv)], env=self.env, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=open(self.work / "stderr", "wb"))
        cost = json.loads(out.read_text())
        if cost["code"] != expect:
            said = (self.work / "stderr").read_text(errors="replace")
            sys.exit(f"{argv}: exit {cost['code']}\n{said}")
        return cost

    def turns(self, commands, runs=None):
        """Name → costs, after a warm-up of each."""
        costs = {name: [] for name in commands}
        for turn in range((runs or self.runs) + 1):
            for name, argv in commands.items():
                cost = self.once(argv)
                if turn:
                    costs[name].append(cost)
        return costs

    def ours(self, *args):
        return [self.bin, "--state", self.state, *args]

    def row(self, what, ours, goal, others=""):
        self.rows.append((what, ours, goal, others))
        print(f"{what}: {ours} (goal {goal}) {others}", file=sys.stderr, flush=True)

    def runbook(self, name, body):
        path = self.work / f"{name}.yaml"
        path.write_text(f"runwarden: 1\nrunbook: {name}\nversion: 1.0.0\nkind: task\n"
                        f"title: A benchmark\nsteps:\n{body}")
        return path


def middle(costs, key="wall", scale=1.0, unit="", digits=3):
    values = [cost[key] * scale for cost in costs]
    text = f"{statistics.median(values):.{digits}g}{unit}"
    return f"{text} ({min(values):.{digits}g}–{max(values):.{digits}g})"


def disk(bench):
    """What the disk takes for one durable write: we wait for it once a step, the peers never."""
    took = []
    file = os.open(bench.work / "disk", os.O_CREAT | os.O_WRONLY)
    for _ in range(200):
        os.write(file, b"x" * 4096)
        begin = time.monotonic()
        os.fdatasync(file)
        took.append({"wall": time.monotonic() - begin})
    os.close(file)
    bench.row("ms, fdatasync of 4 KiB", middle(took, scale=1000), "the disk's")


def steps(bench):
    """1,000 steps of /bin/true, durable and signed."""
    body = "".join(f"  - id: s{i}\n    command: [/bin/true]\n" for i in range(STEPS))
    runbook = bench.runbook("steps", body)
    shell = bench.runbook("shells", body.replace("command: [/bin/true]", "shell: /bin/true"))
    ours = bench.ours("-q", "run", runbook, "--yes")
    commands = {"ours": ours} | peers.steps(STEPS, bench.work, bench.peers)
    costs = bench.turns(commands)
    per = 1000 / STEPS
    rest = ", ".join(f"{name} {middle(cost, scale=per)}" for name, cost in costs.items()
                     if name != "ours")
    bench.row("ms a step, command, 1,000 steps", middle(costs["ours"], scale=per),
              "≤ 2 × sh, < just", rest)
    rss = ", ".join(f"{name} {middle(cost, 'rss_kib', 1 / MIB)}" for name, cost in costs.items()
                    if name != "ours")
    bench.row("ms of processor a step, both sides", middle(costs["ours"], "cpu", per), "–",
              ", ".join(f"{name} {middle(cost, 'cpu', per)}" for name, cost in costs.items()
                        if name != "ours"))
    bench.row("MiB resident, peak of that", middle(costs["ours"], "rss_kib", 1 / MIB), "≤ 16", rss)
    by_shell = bench.turns({"ours": bench.ours("-q", "run", shell, "--yes")}, min(bench.runs, 3))
    bench.row("ms a step, shell (bash), 1,000 steps", middle(by_shell["ours"], scale=per), "–")
    if shutil.which("strace"):
        counts = bench.work / "syscalls"
        bench.once(["strace", "-f", "-qq", "-c", "-o", counts,
                    "-e", "trace=fsync,fdatasync,sync_file_range", *ours])
        calls = sum(int(line.split()[3]) for line in counts.read_text().splitlines()
                    if line.split()[-1:] in (["fsync"], ["fdatasync"], ["sync_file_range"]))
        bench.row("fsyncs a step", f"{calls / STEPS:.3f}", "≤ 2", "none syncs")


def start(bench):
    """Printing the version."""
    commands = {"ours": [bench.bin, "--version"]} | peers.versions(bench.peers)
    costs = bench.turns(commands, 20)
    rest = ", ".join(f"{name} {middle(cost, scale=1000)}" for name, cost in costs.items()
                     if name != "ours")
    bench.row("ms, --version", middle(costs["ours"], scale=1000), "≤ 5", rest)


def output(bench):
    """A step that writes 1 GiB, beside one that writes nothing."""
    small = bench.runbook("small", "  - command: [/bin/true]\n")
    large = bench.runbook("large", "  - command: [head, -c, 1GiB, /dev/zero]\n".replace("1GiB", "1G"))
    noise = bench.runbook("noise", "  - shell: head -c 1G /dev/urandom\n")
    costs = bench.turns({name: bench.ours("-q", "run", path, "--yes") for name, path in
                         (("small", small), ("large", large), ("noise", noise))}, 2)
    least = statistics.median(cost["rss_kib"] for cost in costs["small"])
    most = max(cost["rss_kib"] for cost in costs["large"] + costs["noise"])
    bench.row("MiB more resident for 1 GiB of output", f"{(most - least) / MIB:.1f}", "≤ 16",
              f"whole {most / MIB:.1f}")
    bench.row("s for 1 GiB of zeros", middle(costs["large"]), "–", f"random {middle(costs['noise'])}")


def validate(bench):
    """1,000 runbooks of ten steps."""
    folder = bench.work / "runbooks"
    folder.mkdir()
    text = (HERE.parent / "runbooks/health-checks/host.yaml").read_text()
    for number in range(1000):
        named = text.replace("runbook: host-health", f"runbook: host-health-{number}")
        (folder / f"r{number}.yaml").write_text(named)
    costs = bench.turns({"ours": [bench.bin, "-q", "validate", folder]})
    bench.row("s, validate 1,000 × host.yaml", middle(costs["ours"]), "≤ 1")


def size(bench):
    """The release binary."""
    bench.row("MiB, release binary", f"{os.path.getsize(bench.bin) / MIB / MIB:.1f}", "≤ 26")


def verify(bench):
    """The log that the runs above and these wrote."""
    body = "".join(f"  - id: s{i}\n    command: [/bin/true]\n" for i in range(STEPS))
    runbook = bench.runbook("fill", body)
    count = 0
    while count < bench.entries:
        bench.once(bench.ours("-q", "run", runbook, "--yes"))
        note = subprocess.run(list(map(str, bench.ours("audit", "checkpoint"))), check=True,
                              env=bench.env, capture_output=True, text=True).stdout
        count = int(note.split("\n")[1])
    costs = bench.turns({"ours": bench.ours("audit", "verify")})
    rate = [count / cost["wall"] for cost in costs["ours"]]
    bench.row(f"entries a second, audit verify of {count:,}", f"{statistics.median(rate):,.0f}",
              "≥ 300,000", f"{middle(costs['ours'], 'rss_kib', 1 / MIB)} MiB")


CASES = {case.__name__: case for case in (disk, steps, start, output, validate, size, verify)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--entries", type=int, default=100_000, help="of the log that is verified")
    parser.add_argument("--only", default=",".join(CASES), help="of " + ", ".join(CASES))
    options = parser.parse_args()
    bench = Bench(options)
    try:
        for name in options.only.split(","):
            CASES[name](bench)
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)
    print("\n| what | ours | goal | beside it |\n|---|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")
    load = os.getloadavg()[0]
    print(f"\nMedian (least–most) of {options.runs} runs; {os.cpu_count()} processors, "
          f"load {load:.1f} at the end.")


main()
