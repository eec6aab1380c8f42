# make quickstart   installs into .venv and runs sweeps/quickstart.yaml
# make test         installs what is missing, then lint and the default tests
# make sweeps-smoke runs every sweep of the papers at its smallest scale into runs/smoke
# PYTHON=python3.13 make ...   picks the interpreter of a new .venv (3.11 or newer)

PYTHON ?= python3
BIN := .venv/bin
UV_INSTALL := $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt
BENCHMARKS := $(filter-out %/contest.py %/small_trials_elsewhere.py, $(wildcard tests/benchmarks/*.py))
PAPERS := $(wildcard sweeps/bad_minima/*.yaml sweeps/truth_or_backprop/*.yaml)
NAMES = $(shell sed -n "s/^name: *//p" $(PAPERS))
SMOKE := runs/smoke

# Where it is set, every process compiles its imports again: ray.tune takes 8 s to import instead of 2.
unexport PYTHONDONTWRITEBYTECODE
# An activated environment must not win over .venv.
unexport VIRTUAL_ENV
unexport PYTHONPATH

.PHONY: quickstart sweeps-smoke install test lint format bench test-science test-faults test-slow test-cluster test-attacks test-slurm clean
.DEFAULT_GOAL := quickstart

quickstart: .venv/installed
	$(BIN)/sweep run sweeps/quickstart.yaml

sweeps-smoke: .venv/installed
	$(BIN)/sweep run $(PAPERS) --scale smoke --store $(SMOKE) --yes --plain
	@set -e; for name in $(NAMES); do $(BIN)/sweep figures $$name@smoke --store $(SMOKE); done
	$(BIN)/sweep report $(addsuffix @smoke, $(NAMES)) --store $(SMOKE)

install: .venv/installed-dev

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-science: .venv/installed-dev
	$(BIN)/python -m pytest -m science --timeout 1800

test-faults: .venv/installed-dev
	$(BIN)/python -m pytest tests/faults -m "not slow" -n 3 --dist worksteal

# What takes long and needs nothing else: outages, object stores under Ray, GPUs in name, a Ray that dies, any input.
test-slow: .venv/installed-dev
	$(BIN)/python -m pytest tests/unit tests/integration tests/faults -m slow --timeout 600

# As root, on Linux, with PostgreSQL, an sshd and iproute2: machines are namespaces inside this one.
test-cluster: .venv/installed-dev
	$(BIN)/python -m pytest tests/deploy -m "cluster or (slow and mlflow)"

# What somebody without the token or password can do; sweeps that are submitted; doctor; on this machine's loopback.
test-attacks: .venv/installed-dev
	$(BIN)/python -m pytest tests/deploy tests/integration/test_hostile_store.py -m "slow and not mlflow"

# As root, with slurm-wlm and munge.
test-slurm: .venv/installed-dev
	$(BIN)/python -m pytest tests/deploy -m slurm

bench: .venv/installed-dev
	@set -e; for benchmark in $(BENCHMARKS); do PYTHONPATH=. $(BIN)/python $$benchmark; done

# Results (runs/) and data stay.
clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment: its venv module is missing." >&2; \
	  echo "On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q -c constraints.txt uv

.venv/installed: $(BIN)/uv pyproject.toml constraints.txt
	$(UV_INSTALL) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(UV_INSTALL) -e '.[dev]'
	@touch $@
