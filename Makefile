# Two commands do everything: `make run` opens a chat, `make test` runs every check that needs no GPU.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first Python on this machine that is new enough; `make run PYTHON=…` chooses another.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
ifeq ($(PYTHON),)
PYTHON := python3
endif
endif

PRESET ?= starter
PROMPT ?= In one sentence: why is the sky blue?
BIN := .venv/bin
NOT_HERE := not gpu and not ollama and not slow

.PHONY: help run test setup check lint bench test-slow catalogues clean

help: ## show this list
	@echo "deepseek-tui: chat with DeepSeek-R1 on the card you have"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "llama.cpp builds are kept in $${XDG_CACHE_HOME:-~/.cache}/deepseek-tui/wheels."

run: ## set up what is missing, then chat (without a terminal: answer PROMPT)
	@$(PYTHON) -m tools.bootstrap
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/deepseek-tui -p "$(PRESET)"; \
	else exec $(BIN)/deepseek-tui ask -p "$(PRESET)" "$(PROMPT)" </dev/null; fi

test: ## set up, then every check that needs no GPU and no server
	@$(PYTHON) -m tools.bootstrap --test
	@$(MAKE) --no-print-directory lint check

setup: ## set up again even if nothing changed (after installing a CUDA toolkit, say)
	@$(PYTHON) -m tools.bootstrap --again

lint: ## style, types and import contracts
	@test -x $(BIN)/ruff || $(PYTHON) -m tools.bootstrap --test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Files go to one process a core; what measures time or load runs afterwards, by itself.
NONE_IS_FINE := $(if $(ARGS),|| test $$$$? -eq 5)

check: # the tests without lint
	$(BIN)/python -m pytest -m "$(NOT_HERE) and not alone" -n auto --dist loadfile $(ARGS) $(NONE_IS_FINE)
	$(BIN)/python -m pytest -m "$(NOT_HERE) and alone" $(ARGS) $(NONE_IS_FINE)
	@echo "Not run: tests marked gpu, ollama and slow (make test-slow; pytest -m gpu; pytest -m ollama)."

test-slow: ## the tests that take minutes
	@$(PYTHON) -m tools.bootstrap --test
	$(BIN)/python -m pytest -m "slow and not gpu and not ollama" $(ARGS)

bench: ## measure: start-up, memory, speed
	@$(PYTHON) -m tools.bootstrap --test
	@set -e; found=; for f in tests/benchmarks/bench_*.py; do \
	test -e "$$f" || continue; found=1; echo "== $$f"; $(BIN)/python "$$f"; done; \
	test -n "$$found" || { echo "There are no benchmarks in tests/benchmarks."; exit 1; }

catalogues: ## collect the texts for other languages; NEW=fr begins another
	@$(PYTHON) -m tools.bootstrap --test
	@$(BIN)/python -m tools.catalogues $(NEW)

clean: ## remove the environment and every cache in this folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
