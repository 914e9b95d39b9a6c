# Every target sets up what it needs in .venv: a Python 3.11 or newer and make are enough.
# PYTHON=... picks the interpreter, else 3.11 is taken where it can be had; PYTEST_ARGS=... goes to pytest.

.DEFAULT_GOAL := help
.PHONY: help demo test contract lint types rules dist-check fmt bench bench-page chaos soak fuzz histories peers clean image image-test process-tests stack stack-example stack-down

PYTHON ?=
PYTEST_ARGS ?=
VENV := .venv
GROUP := dev
# Tests start hundreds of Pythons, and each would compile pos3 again.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## this list
	@grep -hE '^[a-z0-9.%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s  %s\n", $$1, $$2}'

demo: $(READY) ## run the example flow against an S3 server of its own
	$(BIN)/python examples/train_flow.py

# Three for two cores, since tests often wait. A worker keeps neighbours together as long as it has some, and with
# them the fixtures that they share.
test: lint types rules ## everything that must pass: lint, types, import rules, tests
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PYTEST_ARGS)

# What the version of Python matters for: all that forks, stops and ends. At most 8 minutes on two cores, so what shows
# pages, examples and workers, which takes long and asks other things, runs on one Python only.
ONE_PYTHON := blocks chaos contents draining_worker examples options pages publish secrets types ui workers
PROCESS_TESTS := $(filter-out $(ONE_PYTHON:%=tests/orchestration/test_%.py),$(wildcard tests/orchestration/test_*.py)) \
	tests/faults/test_forks.py tests/faults/test_processes.py tests/faults/test_signals.py tests/faults/test_kills.py \
	tests/faults/test_interrupts.py tests/faults/test_exits.py tests/state/test_locks.py tests/behaviour/test_lifecycle.py \
	tests/test_imports.py tests/behaviour/test_claims.py tests/behaviour/test_composing.py

# Runs a command with a Python of the version in the name of the target, as $$python, where this machine has one.
with_python = @set -eu; \
	for python in $(call pythons,$*); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit("%d.%d" % sys.version_info[:2] != "$*")' >/dev/null 2>&1; then \
			$(1); exit; \
		fi; \
	done; \
	echo 'No Python $* with venv and pip was found: $@ is skipped.' >&2

test-%: ## what depends on processes, signals and forks on another Python: make test-3.12 test-3.13 test-3.14
	$(call with_python,$(MAKE) --no-print-directory process-tests VENV=.venv-$* GROUP=test PYTHON="$$python")

process-tests: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PROCESS_TESTS) $(PYTEST_ARGS)

contract: $(READY) ## what any S3 server must pass, on the one that POS3_TEST_S3_ENDPOINT names (CONTRIBUTING.md)
	@test -n "$$POS3_TEST_S3_ENDPOINT" || { echo 'Name the server: POS3_TEST_S3_ENDPOINT=http://...' >&2; exit 2; }
	$(BIN)/python -m pytest -n 2 --dist worksteal -m contract $(PYTEST_ARGS)

lint: $(READY) ## ruff, rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

rules: $(READY) ## which module may import which
	$(BIN)/lint-imports

dist-check: $(READY) ## build the source distribution, a wheel of it, and check both
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

fmt: $(READY) ## format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## pos3 and its peers, compared in turns; BENCH_ARGS=--quick and so on
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

bench-page: $(READY) ## docs/benchmarks.md and its charts, made of the last make bench
	$(BIN)/python -m benchmarks.speed.report

chaos: $(READY) ## 100 flow runs that are failed, stopped and killed; SEED=... picks others
	$(BIN)/python tests/stress/chaos --seed $(or $(SEED),1)

SOAK_ARGS ?=

soak: $(READY) ## hours of transfers that are killed, stopped and disturbed; goes on where it was ended; SOAK_ARGS=...
	$(BIN)/python tests/stress/soak $(SOAK_ARGS)

fuzz: $(READY) ## parsers against odd input, for about ten minutes; EXAMPLES=... of each property
	POS3_FUZZ_EXAMPLES=$(or $(EXAMPLES),15000) $(BIN)/python -m pytest tests/fuzz -n 2 --timeout 0 \
		--hypothesis-profile fuzz --hypothesis-show-statistics -q $(PYTEST_ARGS)

histories: $(READY) ## random histories of mirrors against a model, HISTORIES=... of 30 steps each
	POS3_HISTORIES=$(or $(HISTORIES),200) $(BIN)/python -m pytest tests/model -n 2 --hypothesis-profile fuzz $(PYTEST_ARGS)

peers: $(READY) ## what other tools do with the same faults; writes docs/peers.md
	$(BIN)/python tests/stress/peers_matrix

# Another base image, or more packages: make image IMAGE_ARGS="--build-arg PACKAGES=torch"
IMAGE ?= pos3-worker:latest
IMAGE_ARGS ?=
COMPOSE = $$(docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) \
	--project-name pos3 --file docker/compose.yaml

image: ## build the worker image
	DOCKER_BUILDKIT=1 docker build --file docker/Dockerfile --tag $(IMAGE) \
		--build-arg "REVISION=$$(git rev-parse HEAD 2>/dev/null)" $(IMAGE_ARGS) .

stack: image ## start a Prefect server, an S3 server and a worker in containers
	POS3_IMAGE=$(IMAGE) $(COMPOSE) up --detach worker

stack-example: ## deploy examples/stack to them, and run it
	POS3_IMAGE=$(IMAGE) $(COMPOSE) run --rm deploy

stack-down: ## end them, and remove their data
	POS3_IMAGE=$(IMAGE) $(COMPOSE) down --volumes

image-test: $(READY) ## build and try the image, with a Docker engine of its own
	POS3_TEST_DOCKER=1 $(BIN)/python -m pytest tests/docker -n 0 -p no:randomly -rs $(PYTEST_ARGS)

image-test-%: ## the same on another Python of this machine: make image-test-3.13
	$(call with_python,POS3_TEST_BASE_PYTHON="$$python" $(MAKE) --no-print-directory image-test)

clean: ## remove the environment and all caches
	rm -rf .venv .venv-* dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .demo .soak
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Where a version of Python may be: on PATH, or among those of pyenv that are not.
pythons = python$(1) "$$(pyenv root 2>/dev/null || echo "$${PYENV_ROOT:-$$HOME/.pyenv}")"/versions/$(1)*/bin/python

# A name on PATH may be a shim that fails, and a Python may lack venv or pip: each candidate is tried.
$(READY): pyproject.toml
	@echo 'Installing what pos3, its tests and examples need in $(VENV); this takes a minute or two, and only once.' >&2
	@set -eu; \
	fits() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then \
		if [ ! -x $(BIN)/python ]; then \
			uv venv --quiet --python '$(or $(PYTHON),3.11)' $(VENV) || uv venv --quiet --python '$(or $(PYTHON),>=3.11)' $(VENV); \
		fi; \
		uv pip install --quiet --python $(BIN)/python --editable '.[prefect]' --group $(GROUP); \
	else \
		if [ ! -x $(BIN)/python ]; then \
			chosen=; \
			for python in $(or $(PYTHON),$(call pythons,3.11) python3.12 python3.13 python3 python); do \
				if fits "$$python"; then chosen=$$python; break; fi; \
			done; \
			if [ -z "$$chosen" ]; then \
				echo 'No Python 3.11 or newer with venv and pip was found. Name one: make $(MAKECMDGOALS) PYTHON=...' >&2; \
				exit 1; \
			fi; \
			"$$chosen" -m venv $(VENV); \
		fi; \
		$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'; \
		$(BIN)/python -m pip install --quiet --editable '.[prefect]' --group $(GROUP); \
	fi; \
	touch $(READY)
