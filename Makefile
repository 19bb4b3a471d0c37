# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Two commands matter: `make demo` shows what Sentinel does, `make test` proves it. Each sets up all it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=
# Test processes side by side; the lab and the bench need the machine to themselves.
JOBS ?= auto
KILLS ?= 500
SEEDS ?= 200
BENCH_ARGS ?=
FUZZ_SECONDS ?= 60
# What a set-up depends on: another version of these is installed, and compiled, anew.
SOURCES := pyproject.toml setup.py $(wildcard sentinel/*/*.pyx sentinel/*/*.pxd sentinel/*/native/*.pxi)

.PHONY: demo test test-fast test-all unit lab lint types sim quality fuzz bench lab-qemu wheel shim clean

demo: $(VENV)/.run ## a compromised host being caught, on an emulated fabric
	@$(BIN)/sentinel demo $(DEMO_ARGS)

test-fast: $(VENV)/.test lint types ## while working: style, types, architecture, what needs no other process (3 minutes)
	$(BIN)/pytest -n $(JOBS) tests/unit tests/property $(PYTEST_ARGS)

test: $(VENV)/.test lint types unit ## before a commit: all that needs no namespaces and no quiet machine (15 minutes)

unit: $(VENV)/.test shim
	$(BIN)/pytest -n $(JOBS) -m "not lab and not bench" $(PYTEST_ARGS)

test-all: test lab ## before a release: the lab, many kills, many seeds, long fuzzing too (90 minutes)
	SENTINEL_KILLS=$(KILLS) $(BIN)/pytest tests/scenario/test_crashes.py $(PYTEST_ARGS)
	$(BIN)/python -m tests.sim --seeds $(SEEDS)
	$(MAKE) fuzz FUZZ_SECONDS=600

lab: $(VENV)/.test shim ## real agents and switches in namespaces, and tests at a large scale
	$(BIN)/pytest -m "lab or bench" $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

sim: $(VENV)/.test ## 1,000 seeds of a virtual day each: captures against a fabric that fails
	$(BIN)/python -m tests.sim --seeds 1000

quality: $(VENV)/.test ## how good the decisions are under small and large budgets, against "everything, first come"
	$(BIN)/python -m tests.sim --quality --seeds 4

fuzz: $(VENV)/.test ## hostile input, guided by coverage: FUZZ_SECONDS for the two scans, a quarter of it for each other reader
	-@PYTHON=$(PYTHON) deploy/prepare.sh fuzz
	-@$(BIN)/python -m pip install -q --only-binary atheris --group fuzz
	PYTHON=$(BIN)/python tests/fuzz/run.sh $(FUZZ_SECONDS)

bench: $(VENV)/.test ## what a sample costs, against the machine's own limit (--json FILE with BENCH_ARGS)
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

lab-qemu: $(VENV)/.test ## the linux driver's lab on Debian's own kernel with real erspan devices (emulated, 7 minutes)
	LAB_QEMU_CACHE=$(VENV)/lab-qemu tests/lab/qemu/run.sh $(BIN)/python $(PYTEST_ARGS)

wheel: $(BIN)/python ## dist/*.whl
	rm -rf dist build
	$(BIN)/python -m pip wheel -q --no-deps --wheel-dir dist .

shim: $(BIN)/python ## dist/switch-acl-api.pyz, the one file a switch needs (Python 3.7 or newer there)
	mkdir -p dist
	$(BIN)/python deploy/switch/build_zipapp.py dist/switch-acl-api.pyz

clean:
	rm -rf $(VENV) .fuzz dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@PYTHON=$(PYTHON) deploy/prepare.sh run
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --editable .
	@touch $@

$(VENV)/.test: $(SOURCES) | $(VENV)/bin/python
	@PYTHON=$(PYTHON) deploy/prepare.sh test
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --editable . --group dev
	@touch $@ $(VENV)/.run
