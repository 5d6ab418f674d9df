# What a person types. Everything sets itself up first; setting up again costs a second.

.DEFAULT_GOAL := help
DATA := $(or $(HEADCOUNT_TEST_DATA),../shared/data)
RUN := cargo run --quiet --
comma := ,

.PHONY: help setup build test lint demo doctor pictures bench bench-api bench-core bench-exactly-once chaos fuzz fuzz-api fuzz-tenants audit clean

help:
	@echo "make demo    count a real clip through the whole pipeline"
	@echo "make test    format, lints, and every test, on a real Kafka and PostgreSQL"
	@echo "make setup   bring what is needed to build and test"
	@echo "make doctor  say what is found on this machine"
	@echo "make bench   analyze beside the path through Kafka, with latencies and memory"
	@echo "make chaos   kill, freeze, cut off and confuse everything: 200 kills, then faults of every kind"
	@echo "make fuzz-tenants  random requests as users of many tenants: nobody sees what is not his"
	@echo "make fuzz-api  schemathesis against the API and its OpenAPI document, FUZZ_SECONDS=600 in all"
	@echo "make fuzz    arbitrary input for everything that reads, FUZZ_SECONDS=600 each"
	@echo "make audit   dependencies: known faults, licences, sources"
	@echo "make pictures  draw those of docs/COUNTING.md"
	@echo "make bench-exactly-once  what exactness costs: with transactions and without"
	@echo "make bench-api  what reading costs: cached answers, and answers from ten million events"
	@echo "make bench-core  counting beside a pipeline in Python, and the tracker alone"

setup:
	@scripts/setup

build: setup
	cargo build

# A model that lies beside the checkout is taken in; else the demo says how to get one, and
# OpenCV's people detector stands in.
models: build
	@if [ -e models/yolox_nano_416x416.onnx ]; then :; \
	elif [ -e "$(DATA)/models/yolox_nano_416x416.onnx" ]; then \
		$(RUN) model add "$(DATA)/models/yolox_nano_416x416.onnx"; \
	else $(RUN) model pull yolox_nano || true; fi

demo: models
	@$(RUN) demo

doctor: build
	@$(RUN) doctor

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

test: lint
	cargo test --workspace

bench: setup
	cargo build --release
	target/release/headcount bench pipeline "$(DATA)/clips/one_by_one_768x432_10fps.mp4" \
		--model "$(DATA)/models/yolox_nano_416x416.onnx"

bench-exactly-once: setup
	cargo build --release
	target/release/headcount bench exactly-once

bench-api: setup
	cargo build --release
	target/release/headcount bench api

# Python with the yardstick's pinned packages, apart from that of the tests. It lies beside the test data.
BENCH_VENV := .local/bench-venv
YARDSTICK := $(or $(HEADCOUNT_YARDSTICK),../shared/bench/supervision_pipeline.py)

$(BENCH_VENV)/.requirements: bench/requirements.txt
	python3 -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps -r $<
	cp $< $@

# The network with free sides: the yardstick gives it squares, as it does to the one with fixed sides.
bench-core: setup $(BENCH_VENV)/.requirements
	cargo build --release
	target/release/headcount bench core --clips "$(DATA)/clips" --truth "$(DATA)/clips/line-counts.json" \
		--model "$(DATA)/models/yolox_nano_dynamic_hw.onnx" \
		--python $(BENCH_VENV)/bin/python --script "$(YARDSTICK)"

# The same faults every time; SEED chooses others. Filling disks needs to mount: WITHOUT=disk-full where that is
# not allowed. Recordings and clips lie beside the test data; without recordings people are made up.
SEED := 1
CHAOS := $(RUN) chaos --seed $(SEED)
RECORDINGS := $(if $(wildcard $(DATA)/mot17),--detections "$(DATA)/mot17")

chaos: build
	$(CHAOS) --fast $(RECORDINGS) --kinds kill --faults 200 --per-round 25
	$(CHAOS) --fast $(RECORDINGS) --faults 75 --per-round 15 $(if $(WITHOUT),--without $(WITHOUT))
	$(CHAOS) --clips "$(DATA)/clips" --model "$(DATA)/models/yolox_nano_416x416.onnx" --cameras 3 \
		--faults 24 --per-round 6 --without time-step$(if $(WITHOUT),$(comma)$(WITHOUT))

# The pictures of docs/COUNTING.md.
pictures: build
	$(RUN) draw docs/counting

# Each target for so long, one after the other. Our own code has no `unsafe`, so no sanitizer is wanted, and
# the stable compiler does. The versions of the dependencies are those of everything else.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS := detections snapshot geometry model_output
CARGO_FUZZ := .local/cargo-fuzz/bin/cargo-fuzz

$(CARGO_FUZZ):
	cargo install --quiet --locked --root .local/cargo-fuzz cargo-fuzz

fuzz: setup $(CARGO_FUZZ)
	cp Cargo.lock fuzz/Cargo.lock
	set -e; for target in $(FUZZ_TARGETS); do \
		$(CARGO_FUZZ) fuzz run --sanitizer none --features detect $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=8192; \
	done

# The advisories come from GitHub, so this is no part of the tests.
AUDIT := .local/cargo-audit/bin

$(AUDIT)/%:
	cargo install --quiet --locked --root .local/cargo-audit $*

audit: $(AUDIT)/cargo-audit $(AUDIT)/cargo-deny
	$(AUDIT)/cargo-audit audit
	$(AUDIT)/cargo-deny check

# Random requests as users of twenty tenants, each answer checked against what its caller may see.
FUZZ_REQUESTS ?= 100000
FUZZ_SEED ?= 1

fuzz-tenants: setup
	HEADCOUNT_FUZZ_REQUESTS=$(FUZZ_REQUESTS) HEADCOUNT_FUZZ_SEED=$(FUZZ_SEED) \
		cargo test -p headcount-api --test tenants -- --nocapture no_answer_has_what_is_anothers

# The real service against its OpenAPI document, with all checks of schemathesis; see tests/python/schemathesis.toml.
fuzz-api: setup
	HEADCOUNT_FUZZ_SECONDS=$(FUZZ_SECONDS) HEADCOUNT_FUZZ_SEED=$(FUZZ_SEED) \
		cargo test -p headcount --test e2e -- --nocapture the_api_is_as_its_document_says

clean:
	rm -rf out .local/postgres
