# `make serve` and `make test` are all a fresh machine needs; both create .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSOLE := serve_app/console
CONSOLE_SOURCES := $(shell find $(CONSOLE) \( -name node_modules -o -name dist -o -name __pycache__ \) -prune \
	-o -type f ! -name openapi.json ! -name schema.d.ts -print)

.PHONY: serve console test check format docs load torture fuzz audit clean

serve: $(VENV)/.serve
	@$(MAKE) --no-print-directory console || echo "The service works without its console; make console tries again."
	$(BIN)/face-api serve

console: $(CONSOLE)/dist/index.html

$(CONSOLE)/dist/index.html: $(CONSOLE_SOURCES) | $(BIN)/python
	$(BIN)/python $(CONSOLE)/build.py build

# In two processes: what the first loads (torch, Arrow, codecs) is not in the way of a hundred services.
test: $(VENV)/.dev console
	$(BIN)/python -m pytest --ignore=tests/serving
	$(BIN)/python -m pytest tests/serving

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python $(CONSOLE)/build.py check

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The tables of docs/ that are made from the code; a test says when one is old.
docs: $(VENV)/.dev
	$(BIN)/python -m serve_app.reference

# Every scenario against a service of its own, in some six minutes; the report's address is the last but one line.
load: $(VENV)/.dev
	$(BIN)/python -m loadtests $(LOAD)

# The promises of RELIABILITY.md, one after the other, in some two hours: make torture TORTURE='--only crash-only'.
torture: $(VENV)/.dev
	$(BIN)/python -m loadtests.torture $(TORTURE)

# What strangers send, mutated for ten minutes a target, or FUZZ='picture --seconds 3600'; findings lie in var/fuzz.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

# Known vulnerabilities of what is locked, by PyPI's advisories; the tool has an environment of its own.
audit: $(BIN)/python
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.9'
	for lock in requirements*.lock; do \
		$(VENV)/audit/bin/pip-audit --disable-pip --require-hashes -r $$lock || exit 1; \
	done

clean:
	rm -rf $(VENV) $(CONSOLE)/dist $(CONSOLE)/node_modules var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The development lock holds everything of the runtime lock at the same versions.
$(VENV)/.serve: $(BIN)/python requirements.lock pyproject.toml
	@test -e $(VENV)/.dev || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements-dev.lock pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
