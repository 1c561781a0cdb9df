#!/usr/bin/env bash
# Gets the peers from the Python package registry into target/bench/peers. make comes with apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(cargo metadata --format-version 1 --no-deps --offline --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
mkdir -p "$target/bench"
python3 -m venv "$target/bench/peers"
"$target/bench/peers/bin/pip" --quiet install rust-just go-task-bin chaostoolkit
