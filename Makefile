# `make demo` and `make test` set up everything by themselves: Python 3.11 and make are enough.

PYTHON ?= python3.11
BIN := .venv/bin
DEMO ?=

# The tests start some hundred processes: without compiled files each would compile the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test long check torture clean

demo: .venv/core
	$(BIN)/python -m experiments.demo $(DEMO)

test: .venv/dev
	$(BIN)/python -m pytest -n logical

long: .venv/dev
	$(BIN)/python -m pytest -n logical -m "long and not torture"

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical -m "not slow and not long and not torture"

torture: .venv/dev
	$(BIN)/python -m experiments.torture -n logical

clean:
	rm -rf .venv runs results/demo

.venv/core: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/dev: .venv/core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
