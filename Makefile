# Two commands matter: `make demo` (bundled models on real images) and `make test` (everything that is checked).
# Both make .venv when it is missing and install again when pyproject.toml or constraints.txt changed.

VENV := .venv
# Tests run in as many processes as there are cores, at most four: PyTorch is large.
PYTEST_ARGS ?= -n logical --maxprocesses 4
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
# Twice quiet: pip is silent unless something fails.
PIP := $(VENV)/bin/python -m pip install -q -q --disable-pip-version-check --no-input -c constraints.txt

.DELETE_ON_ERROR:
.PHONY: demo test lint clean

demo: $(VENV)/.base
	@$(VENV)/bin/python examples/demo.py

test: $(VENV)/.dev
	@sh .ci/debian-packages
# one thread of numpy's BLAS each: tests run on all cores beside each other already, and its pool was seen to wait for ever
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache > $(VENV)/lint-imports.log || (cat $(VENV)/lint-imports.log; false)

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.made:
	@if [ -z "$(PYTHON)" ]; then echo "DeepBio needs Python 3.11, 3.12 or 3.13; say where with: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh .ci/debian-packages python3-venv
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.base: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing DeepBio (the first time this takes a minute)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing DeepBio, PyTorch and the tools for tests (the first time this takes some minutes)"
	@$(PIP) -e ".[dev,train,openvino,zarr,zoo,dicom,web,fiji,explain,parquet,retrieval]"
	@touch $@ $(VENV)/.base
