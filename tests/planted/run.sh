#!/usr/bin/env bash
# Plants each known bug into a copy of the tree and expects the named tests to find it: a patch that no longer applies,
# that does not compile or that nobody notices is a failure.
# Usage: tests/planted/run.sh [NAME…]   A name may be a beginning: `31` or `31-oldest`. HUBSYNC_SIM_SECONDS bounds what the
# simulation may take for each (30).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
copy="$root/target/planted/tree"
log="$root/target/planted/log"
export CARGO_TARGET_DIR="$root/target/planted"
export HUBSYNC_SIM_SECONDS=${HUBSYNC_SIM_SECONDS:-30}
# Nothing is measured here, and each patch is a build of its own: the quickest build is the best one.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0

# The copy stays from run to run, so that only what has changed is built again: what is tracked, as it stands now. A file
# whose patch was left behind by a run that was cut off is another one too, and is copied anew.
mkdir -p "$copy"
[[ -d "$copy/.git" ]] || git init -q "$copy"
declare -A tracked
while IFS= read -r -d '' file; do
    [[ -f "$root/$file" ]] || continue
    tracked[$file]=1
    if ! cmp -s "$root/$file" "$copy/$file"; then
        mkdir -p "$copy/$(dirname "$file")"
        cp "$root/$file" "$copy/$file"
    fi
done < <(git -C "$root" ls-files -z)
while IFS= read -r -d '' file; do
    file=${file#"$copy/"}
    [[ -n ${tracked[$file]:-} ]] || rm "$copy/$file"
done < <(find "$copy" -path "$copy/.git" -prune -o -type f -print0)

is_wanted() {
    (($# > 1)) || return 0
    local name=$1 wanted
    for wanted in "${@:2}"; do
        [[ $name == "$wanted" || $name == "$wanted"-* ]] && return 0
    done
    return 1
}

# What is built least often goes last: the unit tests need the library alone.
mapfile -t patches < <(
    grep -l '^in: --lib$' "$here"/*.patch
    grep -L '^in: --lib$' "$here"/*.patch
)
cd "$copy"
failed=0
count=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    is_wanted "$name" "$@" || continue
    count=$((count + 1))
    why=$(head -n 1 "$patch")
    filter=$(sed -n 's/^expect: //p' "$patch")
    read -ra targets < <(sed -n 's/^in: //p' "$patch")
    # Two lines of context less are enough to know the place by: a neighbour may change without it.
    if ! git apply -C1 "$patch"; then
        echo "BAD      $name: the patch no longer applies"
        failed=1
        continue
    fi
    result=0
    cargo nextest run --no-tests fail "${targets[@]}" -E "$filter" >"$log" 2>&1 || result=$?
    # 100: a test failed; 4: none is named so; 0: none noticed. Anything else kept them from being run.
    case $result in
        100) echo "found    $name: $why" ;;
        0)
            echo "UNSEEN   $name: $why"
            failed=1
            ;;
        4)
            echo "BAD      $name: no test is named so: $filter"
            failed=1
            ;;
        *)
            echo "BAD      $name: does not compile"
            tail -n 20 "$log"
            failed=1
            ;;
    esac
    git apply -R -C1 "$patch"
done
if ((count == 0)); then
    echo "no patch is named so: $*"
    failed=1
fi
exit "$failed"
