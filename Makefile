# make demo   install, run the paper's methods on real images, print the table (minutes on two cores)
# make test   install, run the whole test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test night mutants grids bench lint leaderboard verify docs axe install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jkbench needs Python 3.11 or newer; try make PYTHON=python3.12")'
ifdef UV
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
endif
	@touch $@

demo: install
	$(BIN)/jkbench demo

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Faults as often as a suite of minutes cannot try them; about an hour (docs/reliability.md).
night: install
	JKBENCH_NIGHT=1 $(BIN)/python -m pytest -s tests/test_kills.py tests/test_cut_writes.py tests/test_fuzz.py tests/test_application.py

# A Ray cluster of three nodes and, where its packages are installed, a Slurm of one: minutes.
grids: $(VENV)/.grids
	$(BIN)/python -m pytest -m grids -rs

$(VENV)/.grids: $(VENV)/.installed
ifdef UV
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev,ray,slurm]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,ray,slurm]'
endif
	@touch $@

# Small changes of the code that the tests should notice: all of them, or SAMPLE=150 (docs/reliability.md).
mutants: $(VENV)/.mutants
	$(BIN)/python benchmarks/mutants.py $(if $(SAMPLE),--sample $(SAMPLE))

bench: install
	$(BIN)/python -m pytest tests/test_bench.py --benchmark-only --benchmark-disable-gc

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

leaderboard: install
	$(BIN)/jkbench leaderboard --readme README.md

# The committed records, and the pages that are made of them.
verify: install
	$(BIN)/jkbench verify
	$(BIN)/jkbench leaderboard --check --readme README.md

# The site, in site/: every link between pages is checked.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d build/doctrees -b html . site

$(VENV)/.docs $(VENV)/.mutants: $(VENV)/.%: $(VENV)/.installed
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,$*]'
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,$*]'
endif
	@touch $@

# What tests the board for readers with a screen reader; tests/test_browser.py skips without it.
axe:
	mkdir -p .axe && cd .axe && npm pack --silent axe-core@4.14.1 && tar xzf axe-core-4.14.1.tgz

clean:
	rm -rf $(VENV) demo site build dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
