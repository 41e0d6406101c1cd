# Two commands on a fresh machine: `make run` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check bench mutants clean

run: $(READY)
	$(BIN)/gradlab run --activation sigmoid --depth 20 --report

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

# Style, types and which package may import which; needs the `dev` extra: pip install -c constraints.txt -e ".[dev]"
check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $(READY)

# Speed beside what a user would do instead; JAX comes with the extra. Takes half an hour on a quiet machine.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.speed

# A hundred small mistakes, one at a time: does a fast test fail? Twenty minutes on two idle cores, and ten more the first
# time, to measure which test runs which line.
mutants: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[mutants]"
	$(BIN)/python -m benchmarks.mutants --sample 100 --processes 2

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
