# Every target sets up what it needs: a virtual environment, packages by dependency group (pyproject.toml), and the
# extension, built for release. Stamps in the environment make the next run quick.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
# How pytest shares its files between processes; PARALLEL= for one process, as debuggers like it.
PARALLEL ?= -n 2 --dist loadfile
BIN := $(VENV)/bin
# The automatic build must use exactly what was committed; a person may be about to change it.
LOCKED := $(if $(CI),--locked)
# What has nothing to do with the interpreter's version is tested once: the kernel's limits, C, damage, commands, storms,
# models, leaks.
OTHERS := --ignore=tests/test_demo.py --ignore=tests/test_setup.py --ignore=tests/c --ignore=tests/cli --ignore=tests/format
OTHERS += --ignore=tests/test_docs.py
OTHERS += $(addprefix --ignore=tests/processes/test_,arrival.py creation.py leaks.py lesser_systems.py limits.py \
	lock_leaks.py lock_storms.py queue_accounts.py queue_leaks.py queue_models.py scattered_faults.py segment_files.py \
	topic_leaks.py topic_models.py topic_storms.py truncation.py truncation_storm.py tutorial.py)
CRATES := Cargo.toml $(wildcard Cargo.lock) $(shell find crates -name '*.rs' -o -name '*.toml')

.PHONY: help demo test bench lint format test-all test-rust test-python test-others clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(VENV)/.demo $(VENV)/.extension ## Show what it does, in under a minute (SOURCE=file: stream your own picture or video)
	@$(BIN)/python demo $(if $(SOURCE),--source '$(SOURCE)') $(ARGS)

test: test-rust test-python ## Run all tests on one interpreter (ARGS='-k bell': more arguments for pytest)

bench: $(VENV)/.test $(if $(filter queues topics,$(ARGS)),$(VENV)/.peers) $(VENV)/.extension ## Measure, on this machine
	@$(BIN)/python benchmarks $(ARGS)

lint: $(VENV)/.lint $(VENV)/.extension ## Check format, lints, types, floors and stubs
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	cargo clippy $(LOCKED) -p samemap-core --features crash-points --test crashes --target-dir target/crashes -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	for folder in src demo examples benchmarks; do $(BIN)/mypy $$folder; done
	$(BIN)/lint-imports
	$(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist .ci/stubtest-allowlist --ignore-unused-allowlist samemap._core

format: $(VENV)/.lint ## Format Rust and Python, and mend what ruff can mend
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test-all: test-others test ## Run the tests on every CPython >= 3.11 of this machine

test-rust: | $(VENV)/.python
	cargo test $(LOCKED) -p samemap-core
	cargo test $(LOCKED) -p samemap-core --features crash-points --target-dir target/crashes --test crashes
	RUSTFLAGS='--cfg loom' cargo test $(LOCKED) -p samemap-core --profile loom --target-dir target/loom --test loom

test-python: $(VENV)/.test $(VENV)/.extension
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-others: | $(VENV)/.python
	@.ci/interpreters --except $(BIN)/python | while read -r version python; do echo "Python $$version: $$python"; \
	$(MAKE) --no-print-directory test-python VENV=.venv-$$version PYTHON=$$python ARGS='$(OTHERS) $(ARGS)' </dev/null; done

clean: ## Remove everything that was built or installed here
	rm -rf .venv .venv-* target build dist .*_cache .hypothesis src/samemap/_core.*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

# pip 25.1 is the first that installs dependency groups.
$(VENV)/.python:
	@.ci/check-tools $(PYTHON)
	@echo 'Making $(VENV)'
	@$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && touch $@

$(VENV)/.build $(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.peers: $(VENV)/.%: pyproject.toml | $(VENV)/.python
	@echo 'Installing the dependency group $* into $(VENV)'
	@$(BIN)/python -m pip install --quiet --group $* && touch $@

# A Conda environment that happens to be active would make maturin refuse to choose.
$(VENV)/.extension: pyproject.toml $(CRATES) | $(VENV)/.build
	@env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release $(LOCKED) && touch $@
