# Everything a user or CI does. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
# When the oldest supported Airflow was the newest: its own requirements have no upper bounds.
OLDEST_DATE := 2026-06-01
BIN := .venv/bin
COMPILED := $(wildcard scoring/arrow/_siphash.c scoring/models/trees/_kernels.c)
DATA ?= .run/data
EXIT ?=
SERVE ?=
STREAM ?=
ROUNDS ?= 20
READ_SECONDS ?= 300
SEED ?=
PARTS ?=

.PHONY: help setup setup-stack setup-containers setup-dev data run stack containers env test test-fast soak soak-readers soak-streams lint docs bench clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## the virtual environment .venv with the pinned requirements

setup-stack: .venv/.installed-stack ## the same, and the broker and S3 service of `make stack`

setup-containers: .venv/.installed-containers ## the same, and Podman where there is no Docker (as root, from Debian's packages)
	@devstack/containers/install_podman

setup-dev: .venv/.installed-dev ## the same, and what tests and linters need (as root: also Chromium, from Debian)

data: .venv/.installed ## flights by month and the two models, in .run/data
	@$(BIN)/python -m examples --data $(DATA)

run: .venv/.installed ## Airflow on this machine; scores 2013 and stays up (EXIT=1: ends after scoring)
	@$(BIN)/python -m devstack run $(if $(EXIT),--exit)

stack: .venv/.installed-stack ## all that docker-compose.yaml starts, without containers (EXIT=1: ends when it is up; SERVE=1: with the service for predictions; STREAM=1: with a broker of Kafka's protocol, whose messages are scored)
	@$(BIN)/python -m devstack stack $(if $(EXIT),--exit) $(if $(SERVE),--serve) $(if $(STREAM),--stream)

containers: setup-containers ## docker-compose.yaml in real containers: builds, scores, kills a worker, compares every byte, takes all down
	@$(BIN)/python -m devstack containers

env: .venv/.installed ## .env with fresh secrets, for docker-compose.yaml
	@$(BIN)/python -m devstack env

test: .venv/.installed-dev ## all tests, with the coverage of scoring/ (at least 95 %)
	@mkdir -p .run/coverage
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=95 --durations=10 -n 3 --no-loadscope-reorder

test-fast: .venv/.installed-dev ## the tests that need no service: no Postgres, S3, broker or Airflow database
	$(BIN)/python -m pytest -m "not integration" -n 2

soak: .venv/.installed-dev ## ROUNDS rounds of faults (20: half an hour); the table goes into docs/reliability.md
	SOAK_ROUNDS=$(ROUNDS) SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/integration/distributed/test_faults.py -s

soak-readers: .venv/.installed-dev ## DuckDB, Polars, pandas and pyarrow read for READ_SECONDS (300) while a month is replaced; the tables go into docs/reliability.md
	READERS_SECONDS=$(READ_SECONDS) $(BIN)/python -m pytest tests/integration/test_readers.py -s

soak-streams: .venv/.installed-dev ## a stream whose consumers are killed and whose broker is restarted; the table goes into docs/reliability.md
	SOAK_STREAMS=1 SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/scoring/serving/stream/test_reliability.py -s

lint: .venv/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.installed ## the tables of docs/jobs.md and docs/job.schema.json, generated from the code
	@$(BIN)/python -m docs.generate

bench: .venv/.installed ## the figures of benchmarks/ (PARTS="backfill peers picture": these beside other tools, and their picture)
	$(BIN)/python -m benchmarks $(PARTS)

clean: ## remove .run (data, predictions, Airflow, S3, logs) and caches; .venv stays
	@if [ -x $(BIN)/python ] && [ -d .run ]; then $(BIN)/python -m devstack stop; fi
	rm -rf .run build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

lock: .venv/.installed ## renew requirements.txt, requirements-dev.txt and the oldest supported set from pyproject.toml, and the peers of benchmarks/
	$(BIN)/uv pip compile --universal --upgrade --generate-hashes --extra local --extra celery --extra kubernetes --extra environments \
	    --constraint devstack/lock_constraints.txt \
	    --custom-compile-command 'make lock   (uv $(UV_VERSION) pip compile --universal --generate-hashes --extra local --extra celery --extra kubernetes --extra environments --constraint devstack/lock_constraints.txt pyproject.toml)' \
	    --quiet --output-file requirements.txt pyproject.toml
	$(BIN)/uv pip compile --universal --upgrade --generate-hashes --constraint requirements.txt \
	    --custom-compile-command 'make lock   (uv $(UV_VERSION) pip compile --universal --generate-hashes --constraint requirements.txt --group dev)' \
	    --quiet --output-file requirements-dev.txt --group pyproject.toml:dev
	$(BIN)/uv pip compile --universal --resolution lowest-direct --exclude-newer $(OLDEST_DATE) --extra airflow \
	    --custom-compile-command 'make lock   (the oldest supported versions, as they could be installed on $(OLDEST_DATE))' \
	    --quiet --output-file tests/packaging/requirements-oldest.txt pyproject.toml
	@# The peers of benchmarks/: the newest releases that take the model's own libraries as they are here. MLflow 3.17 refuses
	@# this pyarrow, and BentoML needs none.
	for peer in mlflow bentoml dask prefect; do \
	    same='scikit-learn|skops|joblib|numpy|pandas'; asked=$$peer; \
	    case $$peer in dask) asked='dask[dataframe,distributed]'; same+='|pyarrow';; prefect) same+='|pyarrow';; esac; \
	    { echo "$$asked"; sed -nE "s/^(($$same)==[^\\\\]*).*/\1/p" requirements.txt; } | \
	    $(BIN)/uv pip compile --universal --upgrade --generate-hashes --python-version 3.11 \
	    --custom-compile-command "make lock   (uv $(UV_VERSION) pip compile --universal --generate-hashes --python-version 3.11; $$peer, and the model's libraries as in requirements.txt)" \
	    --quiet --output-file benchmarks/peers/$$peer.txt -; \
	done

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "error: Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { \
	    echo "error: '$(PYTHON) -m venv' failed. On Debian and Ubuntu the package python3-venv is missing." >&2; exit 2; }
	@printf '#!/bin/sh\n' > .venv/.may_execute && chmod +x .venv/.may_execute && .venv/.may_execute || { \
	    echo "error: programs in $$(pwd)/.venv may not be executed: its file system is mounted with noexec. Put the checkout elsewhere." >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The stamps are written last: an interrupted installation is repeated.
.venv/.installed: requirements.txt pyproject.toml $(COMPILED) | .venv/bin/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/.installed-stack: requirements-dev.txt .venv/.installed
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint requirements-dev.txt --group stack
	@touch $@

.venv/.installed-containers: requirements-dev.txt .venv/.installed
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint requirements-dev.txt --group containers
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements-dev.txt
	@devstack/install_browser
	@touch $@
