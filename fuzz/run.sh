#!/usr/bin/env bash
# fuzz/run.sh BINARY SECONDS FOUND: each target for so many seconds, from its corpus and from what an earlier run found. Ends with 1 where
# something crashed or hung; the files are named.
set -euo pipefail
binary=$1 seconds=$2 found=$3
cd "$(dirname "$0")/.."
export AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1 AFL_AUTORESUME=1
bad=()
for target in mapping webhook answer; do
    echo "fuzz: $target for $seconds s"
    cargo afl fuzz -V "$seconds" -t 2000 -i "fuzz/corpus/$target" -o "$found/$target" -- "$binary" "$target" >"$found-$target.log" 2>&1 ||
        { tail -20 "$found-$target.log"; exit 1; }
    while IFS= read -r file; do bad+=("$file"); done < <(find "$found/$target" -path '*/crashes/id*' -o -path '*/hangs/id*')
    grep -h '^execs_done\|^corpus_count\|^saved_crashes' "$found/$target"/*/fuzzer_stats
done
if ((${#bad[@]})); then
    printf 'fuzz: %s\n' "${bad[@]}"
    exit 1
fi
