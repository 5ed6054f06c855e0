# `make demo` runs the main job on the open world; `make test` runs the tests. Both set up what they need.
VENV ?= .venv
PYTHON ?= python3
OUT ?= out/demo
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test test-slow lint docs clean

$(READY): pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet 'torch>=2.5,<2.14'
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/python run_fitting.py demo --out $(OUT)

# Two processes of one thread each: two threads in each of two processes are slower than one.
test: $(READY)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

clean:
	rm -rf $(VENV) build *.egg-info
