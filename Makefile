# `make help` lists the targets. Each target that builds runs scripts/setup.sh first, which does nothing where
# everything is installed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What `make tune` tunes and `make compile` compiles; by default BERT's second feed-forward matmul for an A100.
OP = matmul
M = 512
N = 768
K = 3072
DTYPE = f16
OUT_DTYPE = f32
LAYOUT = nn
TARGET = a100
TRIALS = 20
STRATEGY = analytic
SEED = 0
DEVICE = sim
CASES = 2000
FUZZ_SECONDS = 600
SECONDS = 3600
BLOCK = 128x128x32
WARP = 64x64
SHARED_STAGES = 3
REGISTER_STAGES = 2
OUT = out
OPERATOR = --op $(OP) --m $(M) --n $(N) --k $(K) --dtype $(DTYPE) --out-dtype $(OUT_DTYPE) --layout $(LAYOUT)

# A rustup toolchain whose directory is not on PATH yet; a cargo that is on PATH comes first.
export PATH := $(PATH):$(HOME)/.cargo/bin
BUILD_DIR := $(or $(CARGO_TARGET_DIR),target)
ALCOP := $(BUILD_DIR)/release/alcop
EXAMPLES = $(patsubst examples/%.rs,%,$(wildcard examples/*.rs))

.PHONY: help setup setup-lint setup-sass build tune compile test test-nightly lint bench bench-sass bench-search bench-registers gpu-pack check-corpus check-mutants check-upstream fuzz fuzz-kernels clean

help: ## list the targets
	@echo "usage: make TARGET [VARIABLE=value …]"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo
	@echo "variables, with their values:"
	@echo "  tune, compile: OP=$(OP) M=$(M) N=$(N) K=$(K) DTYPE=$(DTYPE) OUT_DTYPE=$(OUT_DTYPE) LAYOUT=$(LAYOUT) TARGET=$(TARGET) OUT=$(OUT)"
	@echo "  tune:          TRIALS=$(TRIALS) STRATEGY=$(STRATEGY) SEED=$(SEED) DEVICE=$(DEVICE)"
	@echo "  compile:       BLOCK=$(BLOCK) WARP=$(WARP) SHARED_STAGES=$(SHARED_STAGES) REGISTER_STAGES=$(REGISTER_STAGES)"

setup: ## install what the build needs and this machine lacks (Debian 12), or list it
	@scripts/setup.sh

setup-lint:
	@scripts/setup.sh --lint

setup-sass:
	@scripts/setup.sh --sass

build: setup ## build the release binary
	cargo build --release --locked --bin alcop

tune: build ## search the fastest schedule of one operator; PTX, launch files and journal go into OUT
	$(ALCOP) tune $(OPERATOR) --target $(TARGET) --device $(DEVICE) --trials $(TRIALS) --strategy $(STRATEGY) \
		--seed $(SEED) --out $(OUT)

compile: build ## compile one operator to PTX, with its launch file and inputs, into OUT
	mkdir -p $(OUT)
	$(ALCOP) compile $(OPERATOR) \
		--target $(TARGET) --block $(BLOCK) --warp $(WARP) --shared-stages $(SHARED_STAGES) \
		--register-stages $(REGISTER_STAGES) --emit launch -o $(OUT)/$(OP).json

test: setup ## run all tests, then every example
	cargo test --workspace --locked
	@for example in $(EXAMPLES); do \
		echo "cargo run --locked --quiet --example $$example"; \
		cargo run --locked --quiet --example "$$example"; \
	done

test-nightly: setup ## 2000 random nests with and without a pipeline against an interpreter (CASES=...)
	ALCOP_CASES=$(CASES) cargo test --locked --test suite differential:: -- --nocapture

lint: setup-lint ## format, clippy and docs, warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

bench: setup ## run the criterion benches
	cargo bench --workspace --locked --bench '*'

bench-sass: setup-sass build ## assemble the reference kernels with ptxas and hold their main loops to the bounds
	ALCOP=$(ALCOP) SASS_DIR=$(BUILD_DIR)/sass scripts/bench-sass.sh

gpu-pack: build ## make OUT/gpu-pack, a folder for a machine with a GPU: kernels, expected outputs, simulated times; there: bash run.sh RESULT.json
	$(ALCOP) bench gpu-pack --out $(OUT)/gpu-pack
	bash $(OUT)/gpu-pack/run.sh --check

check-corpus: setup-sass ## compile kernels with Triton, TileLang and TVM (from PyPI) and compare them, emulated, with NumPy
	scripts/check-corpus.sh

check-mutants: setup-sass ## drop and weaken the synchronisation of those kernels: what is wrong must be reported; writes benches/results/mutants.txt
	scripts/check-corpus.sh --mutants benches/results/mutants.txt

bench-registers: setup-sass build ## live registers of our kernels and the corpus' against those of ptxas; writes benches/results/registers.txt
	ALCOP=$(ALCOP) scripts/live-registers.sh benches/results/registers.txt

check-upstream: build ## explain the kernels of MLIR's own tests, against the reviewed verdicts: LLVM_SRC=checkout
	scripts/check-upstream.sh "$(LLVM_SRC)" $(BUILD_DIR)/upstream.tsv

bench-search: build ## search the paper's matmuls exhaustively (resumable), and replay the strategies on their times
	ALCOP=$(ALCOP) TARGET=$(TARGET) scripts/bench-search.sh $(OUT)/exhaustive benches/results/search

fuzz: setup ## run the fuzz targets of the PTX parser and the emulator, FUZZ_SECONDS each (nightly and cargo-fuzz)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "fuzz: needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz --locked)" >&2; exit 1; }
	@for target in parser run; do \
		mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds -- -max_total_time=$(FUZZ_SECONDS) -max_len=8000 -timeout=20; \
	done

fuzz-kernels: setup ## mutated file tests against their plain lowering for SECONDS=3600; goes on where it ended, failures into OUT/fuzz-kernels
	cargo build --release --locked --example fuzz_kernels
	$(BUILD_DIR)/release/examples/fuzz_kernels $(SECONDS) $(OUT)/fuzz-kernels

clean: ## remove the build directory; OUT is kept
	rm -rf -- $(BUILD_DIR)
