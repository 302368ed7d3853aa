# The daily commands. `make` alone lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test check unit lint type fmt prove bench docs lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

venv: $(STAMP) ## the virtual environment, with everything locked

demo: $(STAMP) ## the main job on a small repository made for it, with scripted agents
	@$(BIN)/python plans/demo.py

check: lint type unit ## the daily loop: format, lint, types, unit and contract tests

unit: $(STAMP)
	$(BIN)/pytest tests/unit tests/contract -n 2

lint: $(STAMP) ## ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(STAMP) ## mypy, strict
	$(BIN)/mypy

fmt: $(STAMP) ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint type ## everything that has to be green before a change lands
	$(BIN)/pytest -n 2 --dist worksteal -m "not prove"

prove: $(STAMP) ## the long proofs
	$(BIN)/pytest -n 2 -m prove

bench: $(STAMP) ## measurements, as ratios within one run
	$(BIN)/python tests/bench/run.py --keep

docs: $(STAMP) ## the reference pages that are made from the code
	$(BIN)/python docs/make.py

lock: ## requirements/dev.txt anew from the .in files
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-options \
		--strip-extras --allow-unsafe --no-header -o requirements/dev.txt requirements/dev.in

clean: ## what can be made again
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
