# make quickstart   from nothing to a scored transcript (see recipes/tiny)
# make test         lint and the default test suite
# make venv         only the environment, .venv
# make lint | format | clean
#
# The first run of any of them makes .venv (some minutes, about 5 GB, mostly torch); later runs start at once.

BIN := .venv/bin
FITS := import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do \
	"$$p" -c '$(FITS)' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: quickstart test venv lint format clean

quickstart: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/tiny/run.sh

# One thread per process: the tests' tensors are tiny, and some tests start several processes. A file of tests
# shares trained models, so it stays in one process.
test: export OMP_NUM_THREADS ?= 1
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

venv: .venv/.stamp

# The stamp is written last, so an interrupted installation is taken up again.
.venv/.stamp: constraints.txt pyproject.toml
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { echo "speechx needs Python 3.10, 3.11 or 3.12 with its venv module" \
		"(Debian: apt-get install python3-venv). Found: '$(PYTHON)'." \
		"Name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find speechx tests -name __pycache__ -type d -prune -exec rm -rf {} +
