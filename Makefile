# make demo | test | lint | bench | clean        (set-up happens by itself, into .venv)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.PHONY: demo test lint format bench bench-proof bench-engines bench-kv260 bench-shapes bitstream docs clean setup
.DELETE_ON_ERROR:

demo: setup
	@$(BIN)/python -m bench.demo

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m bench.all

bench-proof: setup
	$(BIN)/python -m bench.random_programs --count 5000
	$(BIN)/python -m pytest -m bench tests/hw/test_vector.py
	$(BIN)/python -m bench.mutants --count 150 --seed 1

bench-engines: setup
	$(BIN)/python -m bench.engines
	$(BIN)/python -m bench.packing
	$(BIN)/python -m pytest -m "bench or not bench" tests/hw/test_packing.py

bench-kv260: setup
	$(BIN)/python -m bench.kv260

bench-shapes: setup
	$(BIN)/python -m bench.shape_batch
	$(BIN)/python -m bench.small_model
	$(BIN)/python -m bench.scaling
	$(BIN)/python -m bench.estimate

bitstream: setup
	@$(BIN)/python -c "import sys; sys.exit('make bitstream: wanted a board, found none: this version has no board; its machines run in simulation (trine run --on rtl)')"

docs: setup
	$(BIN)/python -m docs.generate_isa
	$(BIN)/python -m docs.generate_cli
	$(BIN)/python -m docs.draw_machine

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "setup: wanted Python 3.11 or newer, found no '$(PYTHON)'. Install it (Debian: apt install python3 python3-venv) or say make PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "setup: wanted Python 3.11 or newer, found %s. Say make PYTHON=python3.11, or a newer one" % sys.version.split()[0])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "setup: wanted the venv and ensurepip modules, found none. Debian: apt install python3-venv"; exit 2; }
	@command -v g++ >/dev/null || { echo "setup: wanted a C++ compiler for the Verilator simulation, found no g++. Debian: apt install g++"; exit 2; }
	@echo "setup: making $(VENV) (first time: the packages of requirements.lock are downloaded; torch alone is 0.2 to 1 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
