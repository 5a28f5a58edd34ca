# The main commands are `make run` and `make test`. `make help` lists all of them.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BIN := .venv/bin
READY := .venv/.ready
# Expanded on use (=, not :=), because uv may be installed by then.
UV = $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

export VIRTUAL_ENV := $(CURDIR)/.venv
# For the stages' commands. The recipes below name $(BIN) explicitly, because make on macOS looks up programs in its own PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := 1
# Every stage is a separate process: without cached bytecode each would compile all of torch again.
unexport PYTHONDONTWRITEBYTECODE

# The registry's Linux build of torch includes several GB of CUDA libraries. UV_TORCH_BACKEND=cpu (or cu128, rocm6.4, …)
# selects another build. The files of torch, torchvision and their own dependencies then have other hashes, so these
# are pinned by version only; the hashes of all other packages are still checked.
ifdef UV_TORCH_BACKEND
OF_TORCH = ^(torch|torchvision|triton|cuda-.*|nvidia-.*)==
CHECKED = .venv/checked.txt
INSTALL = awk '/^[^ ]/ {keep = !/$(OF_TORCH)/ || /^nvidia-ml-py==/} keep' requirements.txt > $(CHECKED) && \
	$(UV) pip install --quiet --require-hashes --no-deps --requirement $(CHECKED) && \
	$(UV) pip install --quiet --constraint $(CHECKED) $$(awk '/^torch(vision)?==/ {print $$1}' requirements.txt)
else
INSTALL = $(UV) pip install --quiet --require-hashes --requirement requirements.txt
endif
# The build backend is already in the environment, with its hash checked.
INSTALL_SELF = $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
# If uv is not installed, it is installed with the version and the hashes in requirements.txt.
INSTALL_UV = awk '/^[^ ]/ {keep = /^uv==/} keep' requirements.txt > .venv/uv.txt && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt

# The slowest files begin (tests/conftest.py), so that none of them is still running when the others have ended.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env run experiments test test-all check format docs serve lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  UV_TORCH_BACKEND=cpu make run   use the CPU build of torch, several GB smaller"
	@echo "  PYTHON=python3.12 make run      use another Python (3.11, 3.12 or 3.13)"

env: $(READY) ## Create the environment in .venv, if it does not exist yet

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
		"error: $(PYTHON) is Python %d.%d, and 3.11, 3.12 or 3.13 is needed: make run PYTHON=python3.12" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null || test -x $(BIN)/uv || { $(INSTALL_UV); }
	@echo "Installing packages into .venv ..."
	@$(INSTALL)
	@$(INSTALL_SELF)
	@touch $@

run: $(READY) ## Run the whole pipeline and print a summary
	@$(BIN)/darkroom mend
	@$(BIN)/dvc repro
	@$(BIN)/darkroom summary

test: $(READY) ## Run the tests, without those that take long
	@$(PYTEST) -m 'not slow'

test-all: $(READY) ## Run all tests, and list the slowest
	@$(PYTEST) --durations=40 --durations-min=8

# Drops all columns except one metric and the parameters that differ between rows.
experiments: $(READY) ## Show the experiments with their changed parameters and the best model's test accuracy
	@$(BIN)/dvc exp show --only-changed --keep 'best\.test_accuracy$$' --drop '(?!Experiment$$|best\.test_accuracy$$|(dataset|seed|baseline|scratch|transfer|select|robustness|package|serve|report|gate|sweep)(\.|$$)|datasets\.)'

check: $(READY) ## Check format, lint and types
	@$(BIN)/ruff format --check --quiet . || { echo "error: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: $(READY) ## Format the code and fix lint errors
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

docs: $(READY) ## Regenerate the tables in docs/ and the code dependencies in dvc.yaml
	@$(BIN)/python -m tests.dependencies
	@$(BIN)/python -m tests.generated

serve: $(READY) ## Serve the best model on http://localhost:3000, page at /ui (or PORT=8000, HOST=0.0.0.0)
	@$(BIN)/python -c 'import socket, sys; \
		sys.exit("error: port $(PORT) is in use: make serve PORT=%d" % ($(PORT) + 1) \
		if not socket.socket().connect_ex(("127.0.0.1", $(PORT))) else 0)'
	@$(BIN)/bentoml serve --do-not-track --host $(HOST) --port $(PORT)

lock: $(READY) ## Rebuild the two requirements files from pyproject.toml
	@$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
		--extra pipeline --group dev --output-file requirements.txt pyproject.toml
	@$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
		--constraint requirements.txt --output-file requirements-serve.txt pyproject.toml

clean: ## Remove the environment and tool caches; data, models and results are kept
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
