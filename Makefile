# Every target sets up all it needs, on a machine that has only Python 3.11 to 3.13 and make.
# After the first run nothing needs the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := $(VENV)/.fraudloop-packages
STAMP := $(VENV)/.fraudloop-ready
KERNELS := $(wildcard src/fraudloop/compiled.py src/fraudloop/limits.py src/fraudloop/features/*.py src/fraudloop/door/identity.py \
           src/fraudloop/scoring/*.py src/fraudloop/decisions/rule_program.py src/fraudloop/decisions/ranking.py \
           src/fraudloop/decisions/policy.py src/fraudloop/decisions/decide.py src/fraudloop/monitoring/sketches.py src/fraudloop/door/spread.py src/fraudloop/door/events.py \
           src/fraudloop/ledger/punctured.py src/fraudloop/engine/known.py src/fraudloop/engine/metronome.py src/fraudloop/engine/populator.py \
           src/fraudloop/engine/syncer.py)
WORKERS ?= 2

# Python ignores what the caller's shell says about other environments.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test prove lint format bench lock clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## build .venv/ with everything, pinned by hash

# Pinned packages, then the project itself (editable, built without the network).
$(PACKAGES): requirements/dev.txt requirements/uv.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh $(VENV)
	@touch $@

# The machine code of the kernels, so that no first use waits for the compiler.
$(STAMP): $(PACKAGES) $(KERNELS)
	@$(PY) -m fraudloop.compiled
	@touch $@

demo: $(STAMP) ## the whole way: generate, train, judge, promote, then serve a day and lose nothing (under 4 minutes)
	@$(PY) -m fraudloop demo

test: $(STAMP) ## every promise, scaled down (under 10 minutes)
	@$(PY) -m pytest -n $(WORKERS) -q --durations=8 --durations-min=5

prove: $(STAMP) ## every promise, in full (about an hour)
	@FRAUDLOOP_PROVE=1 $(PY) -m pytest -n $(WORKERS) -q -m "prove or not prove"

# Every check runs whatever the others say, so that one run shows everything.
lint: $(STAMP) ## style, types, architecture, and what must not stand in the tree
	@bad=0; \
	$(PY) -m ruff check . || bad=1; \
	$(PY) -m ruff format --check . || bad=1; \
	$(PY) -m mypy || bad=1; \
	$(VENV)/bin/lint-imports --cache-dir $(VENV)/.import_linter || bad=1; \
	$(PY) tools/check_tree.py || bad=1; \
	exit $$bad

format: $(STAMP) ## let ruff put things right
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(STAMP) ## the figures of docs/benchmarks.md, as tables and out/bench.json
	@$(PY) -m benchmarks.run

lock: $(STAMP) ## resolve the pinned requirements anew
	@sh tools/lock.sh $(VENV)

clean: ## remove what the targets made
	@rm -rf $(VENV) src/fraudloop/_compiled out .pytest_cache .mypy_cache .ruff_cache .hypothesis
