# One command each; CI runs the same ones. `make help` lists them.
# Needs make and a Python of at least 3.11; everything else goes into .venv.

PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$name; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --constraint constraints.txt

# Of `make test`: how many run the tests side by side.
PROCESSES = 2

# Of `make chaos`: the seed is drawn, and printed, unless it is given.
SEED = $(shell od -An -N3 -tu4 /dev/urandom)
MINUTES = 5

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check fix bench bench-quick chaos clean
MAKEFLAGS += --no-print-directory

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: .venv/installed ## run the whole story on this machine
	@$(BIN)/python examples/demo.py

test: check ## check, then every test on real servers
	@echo "· tests"
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

check: .venv/installed-dev ## what a machine can check: style, format, types, imports, tidiness
	@echo "· ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted; run make fix"; exit 1; }
	@echo "· mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "· import contracts"
	@$(BIN)/lint-imports --no-logo --no-cache > .venv/imports.log || { cat .venv/imports.log; exit 1; }
	@echo "· tidiness"
	@$(BIN)/python -m pytest --quiet --no-header --tb=short -rN tests/test_tidy.py > .venv/tidy.log || { cat .venv/tidy.log; exit 1; }

fix: .venv/installed-dev ## repair what ruff can repair
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench-quick: .venv/installed-dev ## measure Penstock against plain Dramatiq, in under 90 s
	@$(BIN)/python -m benchmarks.quick

bench: .venv/installed-peers ## measure everybody, and write docs/benchmarks.md
	@.venv/peers/bin/python -m benchmarks.everything

chaos: .venv/installed-dev ## faults drawn from a seed, under load: SEED=… MINUTES=…
	@$(BIN)/python -m tests.faults.chaos $(SEED) $(MINUTES)

clean: ## delete .venv and the caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt | .venv/python
	@echo "· install Penstock"
	@$(PIP) --editable '.[all]' --group demo
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "· install the tools of the developers"
	@$(PIP) --group dev
	@touch $@

.venv/installed-peers: .venv/installed-dev
	@echo "· install the peers"
	@$(BIN)/python -m venv --clear .venv/peers
	@.venv/peers/bin/python -m pip --disable-pip-version-check -qq install --upgrade 'pip>=25.1'
	@.venv/peers/bin/python -m pip --disable-pip-version-check -qq install --constraint constraints.txt --editable '.[all]' --group peers
	@touch $@

# pip knows --group since 25.1
.venv/python:
	@test -n "$(PYTHON)" || { echo "Penstock needs Python 3.11 or newer; install it as python3 and try again" >&2; exit 1; }
	@echo "· make .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv > venv.log 2>&1 || { cat venv.log >&2; rm -rf venv.log .venv; \
		echo "Python cannot make a venv here; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@rm venv.log
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --upgrade 'pip>=25.1'
	@touch $@
