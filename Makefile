# Each target does all the set-up it needs, in .venv. A machine without a GPU avoids gigabytes of CUDA packages with
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON      ?= python3
TORCH_INDEX ?=
VENV        := .venv
BIN         := $(VENV)/bin
STAMP       := $(VENV)/.ready
TORCH_PIN   := $(shell sed -n 's/^\(torch==[^+ ]*\).*/\1/p' constraints.txt)

.PHONY: setup demo test lint check bench bench-page clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"raypipe needs Python 3.11 or newer, got {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	@echo "installing into $(VENV): some minutes, 3 GB (more with CUDA)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH_PIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip check
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/raypipe demo --output-dir out/demo --overwrite

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

# The audit stands apart from the tests: a vulnerability that is published tomorrow breaks nothing that works today.
check: lint
	$(BIN)/python .ci/audit.py

# Two files at a time: much of the time goes into waiting for processes to start, which start sooner from compiled
# files. One session of Ray for each.
test: lint
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# At a size of minutes; LONG=1 for full size, on a machine that does nothing else. Then the page of the results.
bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(if $(LONG),--long)
	$(BIN)/python benchmarks/page.py

bench-page: $(STAMP)
	$(BIN)/python benchmarks/page.py

clean:
	rm -rf out runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
