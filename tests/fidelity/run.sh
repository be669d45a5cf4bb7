#!/bin/sh
# Drives the simulator with HubSpot's official Python client: a second reader of the same API.
# Usage: tests/fidelity/run.sh path/to/hubsyncd
# Skips with 0 only if no package registry can be reached; any mismatch is an error.
set -eu

binary=${1:?usage: tests/fidelity/run.sh path/to/hubsyncd}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/target/fidelity-venv"
log="$root/target/fidelity-pip.log"
stamp="$venv/requirements.installed"

command -v python3 >/dev/null || { echo "fidelity: python3 is needed" >&2; exit 1; }
mkdir -p "$root/target"
if ! cmp -s "$here/requirements.txt" "$stamp"; then
    python3 -m venv --clear "$venv"
    if ! "$venv/bin/pip" install --disable-pip-version-check --quiet --retries 1 --timeout 20 \
        -r "$here/requirements.txt" >"$log" 2>&1; then
        if grep -Eq 'connection broken|Failed to establish|name resolution|Name or service not known|timed out|Network is unreachable|ProxyError' "$log"; then
            echo "fidelity: skipped, no package registry can be reached"
            exit 0
        fi
        cat "$log" >&2
        exit 1
    fi
    cp "$here/requirements.txt" "$stamp"
fi
exec "$venv/bin/python" "$here/fidelity.py" "$binary"
