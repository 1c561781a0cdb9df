"""The same work for each peer: N steps of /bin/true, one after another. None of them but us writes
anything durable; chaostoolkit writes a journal at the end."""

import json
import shutil


def find(name, folder):
    """The peer's program: installed by `install.sh`, else the system's; None if there is none."""
    return shutil.which(name, path=str(folder)) or shutil.which(name)


def steps(count, work, folder):
    """Peer → command line, for those that are there."""
    make, just, task, chaos = (find(name, folder) for name in ("make", "just", "task", "chaos"))
    targets = [f"s{i}" for i in range(count)]
    files = {
        "steps.mk": ".PHONY: all {0}\nall: {0}\n".format(" ".join(targets))
        + "".join(f"{name}:\n\t@/bin/true\n" for name in targets),
        "steps.just": "all:\n" + "  @/bin/true\n" * count,
        "steps.yml": "version: '3'\nsilent: true\ntasks:\n  all:\n    cmds:\n"
        + "      - /bin/true\n" * count,
        "steps.json": json.dumps({
            "title": "steps", "description": "trivial processes",
            "method": [{"type": "action", "name": name,
                        "provider": {"type": "process", "path": "/bin/true"}} for name in targets],
        }),
    }
    for name, text in files.items():
        (work / name).write_text(text)
    loop = f"i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done"
    peers = {
        "sh": ["/bin/sh", "-c", loop],
        "make": [make, "-s", "-f", work / "steps.mk"],
        "just": [just, "-f", work / "steps.just"],
        "task": [task, "-t", work / "steps.yml", "all"],
        "chaostoolkit": [chaos, "--no-version-check", "--no-log-file", "run",
                         "--journal-path", work / "journal.json", work / "steps.json"],
    }
    return {name: list(map(str, argv)) for name, argv in peers.items() if argv[0]}


def versions(folder):
    """Peer → command line that prints the version, for those that are there."""
    peers = {
        "make": [find("make", folder), "--version"],
        "just": [find("just", folder), "--version"],
        "task": [find("task", folder), "--version"],
        "chaostoolkit": [find("chaos", folder), "--version"],
    }
    return {"true": ["/bin/true"]} | {name: argv for name, argv in peers.items() if argv[0]}
