# The same words locally and in CI. Everything runs in .venv, made from requirements.lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-slow check format lock clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | column -t -s "$$(printf '\t')"

demo: $(VENV)/ready   ## real conversations in, a reply over HTTP out, in minutes on two CPU cores
	$(BIN)/python jobs/demo.py

test: $(VENV)/ready   ## the quick tests
	$(BIN)/python -m pytest

test-slow: $(VENV)/ready  ## the tests that start clusters and kill processes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/ready  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports

format: $(VENV)/ready  ## puts style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready   ## writes requirements.lock from what .venv holds
	$(BIN)/pip freeze --exclude pip --exclude setuptools | sed 's/+cpu$$//' > requirements.lock

clean:           ## takes the environment away
	rm -rf $(VENV)

$(VENV)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = (3, 11) <= v <= (3, 13); \
	  sys.exit(0 if ok else "error: Rejoinder needs Python 3.11, 3.12 or 3.13, %s is %s; run make PYTHON=python3.11" % ("$(PYTHON)", "%d.%d" % v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@
