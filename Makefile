# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow soak systemd conformance chaos mutants fuzz interop bench bench-quick lint lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	touch $@

demo: $(VENV)/.installed ## the main job, end to end, on a dataset it makes
	$(BIN)/labeltrail demo

test: $(VENV)/.installed-dev lint ## all fast tests
	$(BIN)/pytest -q -n 2

test-slow: $(VENV)/.installed-dev ## long-running, load and chaos checks
	$(BIN)/pytest -q -m "slow and not soak"
	$(MAKE) soak

soak: $(VENV)/.installed-dev ## half an hour (LABELTRAIL_SOAK_S) of 100 saves a second over 500 jobs
	$(BIN)/pytest -q -s -m soak

conformance: $(VENV)/.installed-dev ## hold the sandbox against recorded CVAT traffic
	$(BIN)/python -m tests.conformance

chaos: $(VENV)/.installed-dev ## 10,000 saves, a bad network, 50 kills of the daemon
	$(BIN)/python -m tests.chaos

mutants: $(VENV)/.installed-dev ## plants faults in our code; a named test must find each
	$(BIN)/python -m tests.mutants

fuzz: $(VENV)/.installed-dev ## 1,000,000 hostile inputs from outside
	$(BIN)/python -m tests.fuzz

systemd: $(VENV)/.installed-dev ## the service on a real systemd (root, debootstrap, systemd-nspawn)
	$(BIN)/pytest -q -m slow -rs tests/systemd

interop: $(VENV)/.installed-dev ## the real FiftyOne reads what we export (installs 1.2 GB)
	$(BIN)/python -m tests.interop

bench: $(VENV)/.installed-dev ## every figure as a ratio to its limit
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.installed-dev ## the same with small samples: 41 s at full speed
	$(BIN)/python -m benchmarks --quick

lint: $(VENV)/.installed-dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: ## pin every dependency again, with hashes
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group dev pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11 -c requirements-dev.lock pyproject.toml -o requirements.lock

clean: ## remove what was installed and made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
