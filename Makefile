# `make check` is everything that must hold before a change lands; `.ci/run` calls it and nothing weaker.
# Needed: Rust 1.95 with clippy and rustfmt, cargo-nextest, a C compiler, sqlite3 (the command). `make fidelity` needs python3 with venv.

SHELL := /bin/bash
export RUSTDOCFLAGS := -D warnings

.PHONY: check format lint test doctest docs deny demo fidelity proxies bench long planted

# Every step runs, also after one that failed; the last line names all that did. Each says what CPU time it took.
STEPS := format lint test doctest docs deny
check:
	@failed=(); TIMEFORMAT='%R s, %U s of CPU'; \
	for step in $(STEPS); do \
		echo "check: $$step"; \
		time $(MAKE) --no-print-directory $$step || failed+=("$$step"); \
	done; \
	if (($${#failed[@]})); then echo "check: failed: $${failed[*]}"; exit 1; fi; \
	echo "check: all of $(STEPS) hold"

format:
	cargo fmt --check

lint:
	cargo clippy --all-targets -- -D warnings

# A test that fails stops no other one; the summary names all that failed.
test:
	cargo nextest run --no-fail-fast

doctest:
	cargo test --doc

docs:
	cargo doc --no-deps

# Needs the advisory database, which is not to be had everywhere.
deny:
	@if ! command -v cargo-deny >/dev/null; then \
		echo "deny: skipped, cargo-deny is not installed (cargo install cargo-deny)"; \
	elif ! cargo deny fetch db >/dev/null 2>&1; then \
		echo "deny: the advisory database can't be fetched; checking bans, licences and sources alone"; \
		cargo deny check bans licenses sources; \
	else \
		cargo deny check; \
	fi

demo:
	cargo run --release -- demo

# HubSpot's official Python client drives the simulator.
fidelity:
	cargo build
	tests/fidelity/run.sh target/debug/hubsyncd

# The manual's recipes for Caddy and nginx in front of the webhook listener. Needs caddy, nginx, openssl, curl and python3.
proxies:
	cargo build
	tests/proxies/run.py target/debug/hubsyncd

# Ratios in one run; the last of them reads a million records for the first time. HUBSYNC_BENCH_RECORDS takes fewer.
bench:
	cargo bench

# The long forms of what `check` runs shortly: 20 minutes of seeds, 20 minutes of small worlds, and more power cuts.
long:
	HUBSYNC_SIM_SECONDS=1200 cargo nextest run --test sim every_promise
	HUBSYNC_WORLDS_STRIDE=1 HUBSYNC_WORLDS_SECONDS=1200 cargo nextest run --test sim small_world
	HUBSYNC_POWER_SEEDS=20 HUBSYNC_POWER_CUTS=64 cargo nextest run --test power

# Known bugs, put into a copy of the tree one by one: the tests must find each. Each is a build of its own: 150 of them take
# some 45 minutes on two cores, and half as long again with a cold `target/planted`. `tests/planted/run.sh 31 32` takes two.
planted:
	tests/planted/run.sh
