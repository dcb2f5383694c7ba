# Every chore of the project. `make help` lists them.

SHELL := /bin/bash
VENV := .venv
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed
NATIVE := $(shell find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.inc' -o -name '*.cu' -o -name '*.h')

# The first Python that runs, is 3.11 or 3.12, and can make a virtual environment.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint types format check fuzz races clean

help: ## list the chores
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP) ## install the project and its tools into .venv

quickstart: setup ## set up, then run the main job: base, warm-up, SFT, ReFT, report
	PATH="$(BIN):$$PATH" bash examples/quickstart.sh

test: setup ## set up, then run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup ## check style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(filter-out %.inc,$(NATIVE))

types: setup ## check types
	$(BIN)/mypy

format: setup ## rewrite the sources in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(filter-out %.inc,$(NATIVE))

check: lint types test ## everything that CI checks

fuzz: setup ## a minute of libFuzzer on the extractor's core (needs clang and libclang-rt)
	PATH="$(BIN):$$PATH" bash tools/fuzz_native.sh 60

races: ## threads, forks and processes of the extractor under ThreadSanitizer
	bash tools/race_native.sh

clean: ## remove .venv and everything built; runs/ stays
	rm -rf $(VENV) build dist reft_megatron/*.so *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when what is installed, or how, has changed.
$(STAMP): pyproject.toml constraints.txt setup.py csrc/kernels/compile_cuda.py $(NATIVE)
	$(if $(PYTHON),,$(error no usable Python: install Python 3.11 or 3.12 with its venv module, or name one: make PYTHON=/path/to/python3.11))
	@echo "installing into $(VENV): a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
