# Each line is a command a person could type. `make demo` runs the whole system on this machine, `make test` tests it.

# cargo's own variable, if it is set.
CARGO_TARGET_DIR ?= target

.PHONY: help setup demo test lint bench sim endure drill fuzz metrics

help:
	@echo 'make demo    build, then run edge, two regions and all they need; prints a curl line; Ctrl-C stops it'
	@echo 'make test    run every test'
	@echo 'make lint    formatting, lints, documentation'
	@echo 'make bench   measure'
	@echo 'make sim     route millions of simulated calls, by our policy and by others, and compare'
	@echo 'make endure  large bodies, 10,000 waiting calls, 110 kills, calls silent for MINUTES=15 (about 25 minutes)'
	@echo 'make drill   break everything there is to break, under load, and see the verdicts (about 7 minutes; RUNS=5: 35)'
	@echo 'make fuzz    feed what comes off the wire with what a fuzzer thinks of, SECONDS=600 for each of five targets'
	@echo 'make setup   install what the others need and this machine lacks (they do it themselves)'

setup:
	@ops/setup

demo: setup
	cargo build --release
	exec "$(CARGO_TARGET_DIR)/release/frontdoor" local up

test:
	@ops/setup --tests
	cargo nextest run --workspace
	cargo test --workspace --doc

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

bench: setup
	cargo bench --workspace --bench '*'

# Twenty regions, two hundred edges, two thousand functions, three seeds of eight scenarios: 24 runs of ours take two minutes or more each,
# one on each core. The small one is among the tests.
sim:
	EDGE_SIM=full cargo test --release --workspace --test simulation -- --nocapture the_table

# The full forms of what the tests of endurance do in short, one at a time, each with a line of figures.
MINUTES ?= 15
endure: setup
	cargo build --release --bin frontdoor
	FRONTDOOR_ENDURE=full FRONTDOOR_ENDURE_MINUTES=$(MINUTES) FRONTDOOR_BINARY="$(abspath $(CARGO_TARGET_DIR)/release/frontdoor)" \
		cargo test --workspace --test system -- --nocapture --test-threads=1 endurance

# On stacks of its own, three regions at 5, 40 and 120 ms. RUNS=5 for figures to keep; the table is for ops/README.md.
RUNS ?= 1
drill: setup
	ops/drill all --fresh --runs $(RUNS) --markdown --json "$(CARGO_TARGET_DIR)/drills.json"

# fuzz/README.md. The stable toolchain has no sanitizers, and no code of ours needs them: it has no `unsafe`.
SECONDS ?= 600
FUZZ = attach chatter config identity protobuf
fuzz:
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	cargo fuzz build --sanitizer none
	for target in $(FUZZ); do \
		mkdir -p fuzz/target/corpus/$$target; \
		cargo fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-dict=fuzz/dictionaries/$$target.dict -max_total_time=$(SECONDS) -print_final_stats=1 || exit 1; \
	done

# The list of metrics for operators, from the code.
metrics:
	FRONTDOOR_UPDATE=1 cargo test -q --workspace --test tidy the_list_of_metrics
