# Each target makes what it needs: a virtual environment in $(VENV), with the package installed in editable mode.
# `make test PYTHON=python3.12` uses another interpreter; the environment is made anew when that changes.

PYTHON ?= python3
VENV ?= .venv
BENCH ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet
MADE := $(VENV)/.made-by-$(subst /,-,$(PYTHON))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-train frameworks test test-all lint format bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.has-test  ## cut real textures and medical images, and look at the results, in ./demo/
	@$(BIN)/python tests/demo_images.py demo
	@PATH="$(abspath $(BIN)):$$PATH"; set -e; \
	run() { printf '\n$$ %s\n' "$$*"; "$$@"; }; \
	run patchcli extract demo/textures demo/textures.h5 --patch 64 --overlap 0.5 --mode gray; \
	run patchcli inspect demo/textures.h5; \
	run patchcli augment demo/textures.h5 demo/textures-more.h5 --rotation-range 20 --zoom-range 0.2 --horizontal-flip --copies 2; \
	run patchcli augment demo/textures.h5 --rotation-range 20 --zoom-range 0.2 --horizontal-flip --copies 6 --preview demo/textures.png; \
	run patchcli extract demo/medical demo/medical.h5 --patch 96 --edge shift --mode rgb; \
	run patchcli inspect demo/medical.h5 --verify --source demo/medical --sheet demo/medical.png --overlay 3 \
	    --overlay demo/images.png --html demo/medical.html

demo-train: $(VENV)/.has-test $(VENV)/.has-train  ## train small networks in torch and Keras on patches, in ./demo/
	@$(BIN)/python tests/demo_train.py demo

frameworks: $(VENV)/.has-test $(VENV)/.has-train  ## install torch and TensorFlow: their tests are skipped without

test: $(VENV)/.has-test  ## the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.has-test  ## all tests, at full size
	$(BIN)/python -m pytest

lint: $(VENV)/.has-dev  ## ruff, mypy and the layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.has-dev  ## let ruff mend style and order of imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.has-test $(VENV)/.has-train $(VENV)/.has-bench  ## time commands and readers beside floors and naive scripts (BENCH=--quick: a glance)
	PYTHONPATH=tests $(BIN)/python -m bench.extract $(BENCH)
	PYTHONPATH=tests $(BIN)/python -m bench.augment $(BENCH)
	PYTHONPATH=tests $(BIN)/python -m bench.verify $(BENCH)
	PYTHONPATH=tests $(BIN)/python -m bench.inspect $(BENCH)
	PYTHONPATH=tests $(BIN)/python -m bench.training $(BENCH)

clean:  ## remove what make made
	rm -rf $(VENV) demo bench build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find patchcli tests -name __pycache__ -type d -prune -exec rm -rf {} +

# pip reads [dependency-groups] from 25.1 on; the one that an interpreter brings is often older.
$(MADE):
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.has-%: pyproject.toml $(MADE)
	$(PIP) install --editable . --group $*
	@touch $@
