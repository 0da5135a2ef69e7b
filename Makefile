# Two doors: `make run` trains the first experiment, `make test` checks everything.
# TORCH_INDEX=https://... chooses the index that torch comes from (CPU-only or CUDA builds).

PYTHON ?= python3.11
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CONFIG ?= experiments/configs/exp_001_baseline.toml

.PHONY: run test test-long bench check clean

run: .venv/run.stamp
	$(BIN)/tiny-agent-trainer --config $(CONFIG)

test: check
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m "not long"

test-long: check
	$(BIN)/pytest --numprocesses 2 --dist worksteal

bench: .venv/test.stamp
	$(BIN)/python -m benchmarks

check: .venv/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/run.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) --editable .
	touch $@

.venv/test.stamp: .venv/run.stamp
	$(PIP) --editable '.[test,export]'
	touch $@

clean:
	rm -rf .venv
