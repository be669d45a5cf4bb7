#!/bin/sh
# Makes what a package holds besides the binary: manual pages and completions from the binary's own definition of its commands,
# and the units with the path that a package installs the binary under.
#
#     packaging/prepare.sh target/release/hubsyncd target/package
set -eu
binary=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."
rm -rf "$folder"/*
mkdir -p "$folder/completions" "$folder/systemd"
"$binary" man "$folder/man" >/dev/null
"$binary" completions bash >"$folder/completions/hubsyncd.bash"
"$binary" completions zsh >"$folder/completions/_hubsyncd"
"$binary" completions fish >"$folder/completions/hubsyncd.fish"
for unit in systemd/*.service systemd/*.socket systemd/*.timer; do
    sed 's|/usr/local/|/usr/|' "$unit" >"$folder/systemd/$(basename "$unit")"
done
