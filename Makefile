# The same words locally and in CI. Everything runs in .venv, made from requirements.lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-slow check bench bench-data bench-data-scale bench-training bench-training-gpu bench-engine bench-models bench-tuning bench-serving bench-serving-soak format lock clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | column -t -s "$$(printf '\t')"

demo: $(VENV)/ready   ## real conversations in, a reply over HTTP out, in minutes on two CPU cores
	$(BIN)/python jobs/demo.py

test: $(VENV)/ready   ## the quick tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/ready  ## the tests that start clusters and kill processes
	$(BIN)/python -m pytest -m slow -n 3 --dist loadfile --durations=20 \
	  || $(BIN)/python -m pytest -m slow --last-failed --last-failed-no-failures none  # alone: is it the test or the crowd?

check: $(VENV)/ready  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports

bench: bench-data bench-training bench-engine bench-models bench-tuning bench-serving  ## every comparison with peers; exits 1 when a figure is short of its floor

bench-data: $(VENV)/ready  ## preparing and reading data against tokenizers, datasets, DataLoader, Ray Data: minutes
	PYTHONPATH=platform:. $(BIN)/python -m bench data

bench-data-scale: $(VENV)/ready  ## time and memory of preparing 10^5 to 10^7 exchanges: many minutes
	PYTHONPATH=platform:. $(BIN)/python -m bench data-scale

bench-training: $(VENV)/ready  ## pace, quality, starts and memory against torchrun, Seq2SeqTrainer, JoeyNMT, Eole: more than half an hour
	PYTHONPATH=platform:. $(BIN)/python -m bench training

bench-training-gpu: $(VENV)/ready  ## recipes base and large on one GPU in bf16: minutes
	PYTHONPATH=platform:. $(BIN)/python -m bench training-gpu

bench-engine: $(VENV)/ready  ## replies against CTranslate2 and generate: closed batches, arrivals by chance, GRU, contexts: half an hour
	PYTHONPATH=platform:. $(BIN)/python -m bench engine

bench-models: $(VENV)/ready  ## our models side by side after the same time, by the length of the context: a minute of training each
	PYTHONPATH=platform:. $(BIN)/python -m bench models

bench-tuning: $(VENV)/ready  ## ASHA and TPE beside a full grid; what a trial costs beside its training: a quarter of an hour
	PYTHONPATH=platform:. $(BIN)/python -m bench tuning

bench-serving: $(VENV)/ready  ## the endpoint over HTTP: waiting, goodput, scaling, what is lost when things break: many minutes, or --wall-s
	PYTHONPATH=platform:. $(BIN)/python -m bench serving

bench-serving-soak: $(VENV)/ready  ## half an hour at 70 % of what the endpoint bears
	PYTHONPATH=platform:. $(BIN)/python -m bench serving-soak

format: $(VENV)/ready  ## puts style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready   ## writes requirements.lock from what .venv holds
	$(BIN)/pip freeze --exclude pip --exclude setuptools | sed 's/+cpu$$//' > requirements.lock

clean:           ## takes the environment away
	rm -rf $(VENV) bench/.peers

$(VENV)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = (3, 11) <= v <= (3, 13); \
	  sys.exit(0 if ok else "error: Rejoinder needs Python 3.11, 3.12 or 3.13, %s is %s; run make PYTHON=python3.11" % ("$(PYTHON)", "%d.%d" % v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@
