#!/usr/bin/env bash
# Measures the release build, and beside it what a user would pick instead. Not part of the tests:
# it takes minutes and wants a quiet machine.
#
#   benches/run.sh [--runs 5] [--entries 100000] [--only steps,start,…]
#   benches/peers/install.sh     gets the peers that are not in every Debian, once
#
# Prints one table: what was measured, ours, the goal, the peers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(cargo metadata --format-version 1 --no-deps --offline --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --release --locked
mkdir -p "$target/bench"
cc -O2 -Wall -o "$target/bench/meter" benches/meter.c
exec python3 benches/measure.py --target "$target" "$@"
