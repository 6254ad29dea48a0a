# Two commands matter: `make demo` and `make test`. Both set everything up in .venv first; a stamp there keeps what is
# installed until pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TREE := build/tree
DEMO_BOARD ?= icebreaker
DEMO_IMAGES ?= 50
JOBS ?= 2

.PHONY: demo test test-slow lint format docs tree venv clean

demo: $(READY)
	$(BIN)/xnorweave build fashion_mnist --board $(DEMO_BOARD) -o build/demo --images $(DEMO_IMAGES)

test: lint
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY) tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	PYTHONPATH=$(TREE) $(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/docs/index.html; a warning is an error.
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs

# The four rooms as the one package they are installed as: static checkers cannot follow the editable install.
tree:
	@rm -rf $(TREE) && mkdir -p $(TREE)/xnorweave
	@ln -s $(CURDIR)/gen/* $(CURDIR)/hw $(CURDIR)/sim $(CURDIR)/boards $(TREE)/xnorweave/

venv: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "error: $(PYTHON) is not Python 3.11 to 3.13; say which with make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[sim,dev]"
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache sim_build
