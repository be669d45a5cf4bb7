#!/usr/bin/env bash
# Plants all known bugs into one copy of the tree, wakes each by its name, and expects the named tests to find it: a patch that
# no longer applies, that does not compile or that nobody notices is a failure.
# Usage: tests/planted/run.sh [NAME…]   A name may be a number: `31` or `31-oldest-write-meets-an-archiving`.
# HUBSYNC_SIM_SECONDS bounds what the simulation may take for each (30). `crates/planted-tree` says the rest.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
exec cargo run --quiet --package planted-tree -- "$root" run "$@"
