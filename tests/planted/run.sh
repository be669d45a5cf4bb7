#!/usr/bin/env bash
# Plants each known bug into a copy of the tree and expects the named tests to find it: a patch that no longer applies,
# that does not compile or that nobody notices is a failure.
# Usage: tests/planted/run.sh [NAME…]   HUBSYNC_SIM_SECONDS bounds what the simulation may take for each (30).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR="$root/target/planted"
export HUBSYNC_SIM_SECONDS=${HUBSYNC_SIM_SECONDS:-30}

# What is tracked, as it stands now.
git -C "$root" ls-files -z | (cd "$root" && xargs -0 cp --parents -t "$copy" --)
cd "$copy"
git init -q .

failed=0
for patch in "$here"/*.patch; do
    name=$(basename "$patch" .patch)
    if (($#)) && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    why=$(head -n 1 "$patch")
    filter=$(sed -n 's/^expect: //p' "$patch")
    read -ra targets < <(sed -n 's/^in: //p' "$patch")
    if ! git apply "$patch"; then
        echo "BAD      $name: the patch no longer applies"
        failed=1
        continue
    fi
    if ! cargo nextest run --no-run "${targets[@]}" -E "$filter" >"$copy.log" 2>&1; then
        echo "BAD      $name: does not compile"
        tail -n 20 "$copy.log"
        failed=1
    elif cargo nextest run --no-tests fail "${targets[@]}" -E "$filter" >"$copy.log" 2>&1; then
        echo "UNSEEN   $name: $why"
        failed=1
    elif grep -q 'no tests to run' "$copy.log"; then
        echo "BAD      $name: no test is named so: $filter"
        failed=1
    else
        echo "found    $name: $why"
    fi
    git apply -R "$patch"
done
rm -f "$copy.log"
exit "$failed"
