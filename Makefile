# Every target sets up what it needs: a virtual environment in .venv, nothing global.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.streamlsh-setup

# The first Python of at least 3.11 that can make virtual environments.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-portable check format bench bench-full churn soak fuzz docs docs-cli clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Virtual environment in .venv with every extra (the others call it)
	@:

$(STAMP): pyproject.toml constraints.txt
	@set -e; python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
		echo 'streamlsh needs Python 3.11 or newer with the modules venv and ensurepip,'; \
		echo 'and found none as python3 or python3.11 ... python3.14.'; \
		echo 'On Debian and Ubuntu: apt install python3 python3-venv'; \
		echo 'Elsewhere: name one with  make setup PYTHON=/path/to/python3'; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Making $(VENV) with $$($$python --version)"; \
		"$$python" -m venv --clear $(VENV); \
	fi; \
	echo 'Installing streamlsh and its tools into $(VENV); the first time takes a minute or two'; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'; \
	touch $@; echo 'Ready: $(BIN)/streamlsh --help'

demo: setup ## The whole story on real data, from a topic to answers, in under three minutes
	@$(BIN)/streamlsh-kafka demo

test: setup ## Every test; ARGS='-k name' picks some
	@$(BIN)/python -m pytest $(ARGS)

test-portable: setup ## The kernels' tests, compiled for x86 processors without AVX-512
	@cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
		NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= NUMBA_CACHE_DIR="$$cache" \
		$(BIN)/python -m pytest tests/unit/kernels $(ARGS)

check: setup ## Format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup ## Format the code and apply the lint's safe fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

bench: setup ## The figures; DATA=folder for your own vectors instead of the shipped sample
	@$(BIN)/python -m tests.bench $(if $(DATA),--data '$(DATA)') $(ARGS)

bench-full: setup ## The same with every peer and curve, up to an hour; writes docs/benchmarks.md
	@$(BIN)/python -m tests.bench --full --write-docs $(if $(DATA),--data '$(DATA)') $(ARGS)

fuzz: setup ## Bytes that nobody sent yet; SECONDS=600 for longer, TARGETS='json npy' for some
	@$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(TARGETS)

docs: setup ## The site, from docs/ into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'Open site/index.html'

docs-cli: setup ## Write the docs' pages of the command lines from their own help
	@$(BIN)/python -m streamlsh.cli.reference streamlsh.cli.parser:build_parser docs/cli.md
	@$(BIN)/python -m streamlsh.cli.reference streamlsh_kafka.options:new_parser docs/cli-kafka.md

clean: ## Remove what was built, the virtual environment too
	rm -rf $(VENV) site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

soak: setup ## The long forms of all fault tests, an hour or two; their output goes to docs/soak.md
	@$(BIN)/python -m tests.soak docs/soak.md

churn: setup ## Sizes and commit times over full turnovers; DATA=folder for your own vectors
	@$(BIN)/python -m tests.churn $(if $(DATA),--data '$(DATA)') $(ARGS)
