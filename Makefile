# Every target creates .venv by itself. It needs only Python 3.11 or newer and make.
# PYTHON=... picks the interpreter, by default 3.11 if it is there. PYTEST_ARGS=... goes to pytest.

.DEFAULT_GOAL := help
.PHONY: help demo test docs links contract lint types rules dist-check fmt bench bench-page chaos soak fuzz histories peers clean image image-test process-tests stack stack-example stack-down

PYTHON ?=
PYTEST_ARGS ?=
VENV := .venv
GROUP := dev
# Tests start hundreds of Python processes. Without bytecode, each one would compile pos3 again.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## this list
	@grep -hE '^[a-z0-9.%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s  %s\n", $$1, $$2}'

demo: $(READY) ## run the example flow with its own S3 server
	$(BIN)/python examples/train_flow.py

# Three processes for two cores, because tests often wait. With worksteal, neighbouring tests mostly stay in one process,
# and share their fixtures.
test: lint types rules ## run all checks: lint, types, import rules, tests
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PYTEST_ARGS)

docs: $(READY) ## build the documentation in site/; a broken link or an unknown name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'The site is in site/. To read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site' >&2

links: docs ## the same, and check the links to other sites
	$(BIN)/linkchecker --check-extern --no-warnings site/index.html

# The tests that depend on the Python version: forks, signals and exits. They take at most 8 minutes on two cores. Slow tests of
# pages, examples and workers run on one Python only.
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

test-%: ## run the tests of processes, signals and forks on another Python: make test-3.12 test-3.13
	$(call with_python,$(MAKE) --no-print-directory process-tests VENV=.venv-$* GROUP=test PYTHON="$$python")

process-tests: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PROCESS_TESTS) $(PYTEST_ARGS)

contract: $(READY) ## run the tests for S3 servers on your server, which POS3_TEST_S3_ENDPOINT names (CONTRIBUTING.md)
	@test -n "$$POS3_TEST_S3_ENDPOINT" || { echo 'Name the server: POS3_TEST_S3_ENDPOINT=http://...' >&2; exit 2; }
	$(BIN)/python -m pytest -n 2 --dist worksteal -m contract $(PYTEST_ARGS)

lint: $(READY) ## run ruff: lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## run mypy
	$(BIN)/mypy

rules: $(READY) ## check which module may import which
	$(BIN)/lint-imports

dist-check: $(READY) ## build the source distribution and a wheel from it, and check both
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

fmt: $(READY) ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## compare the speed of pos3 with other tools; BENCH_ARGS=--quick is a short trial
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

bench-page: $(READY) ## make docs/benchmarks.md and its charts from the last make bench
	$(BIN)/python -m benchmarks.speed.report

chaos: $(READY) ## fail, stop and kill 100 flow runs, and check S3; SEED=... picks others
	$(BIN)/python tests/stress/chaos --seed $(or $(SEED),1)

SOAK_ARGS ?=

soak: $(READY) ## kill, stop and disturb transfers for hours; continues where it was stopped; SOAK_ARGS=...
	$(BIN)/python tests/stress/soak $(SOAK_ARGS)

fuzz: $(READY) ## give unexpected input to the parsers, for about ten minutes; EXAMPLES=... for each property
	POS3_FUZZ_EXAMPLES=$(or $(EXAMPLES),15000) $(BIN)/python -m pytest tests/fuzz -n 2 --timeout 0 \
		--hypothesis-profile fuzz --hypothesis-show-statistics -q $(PYTEST_ARGS)

histories: $(READY) ## compare random histories of mirrors with a model; HISTORIES=... of 30 steps each
	POS3_HISTORIES=$(or $(HISTORIES),200) $(BIN)/python -m pytest tests/model -n 2 --hypothesis-profile fuzz $(PYTEST_ARGS)

peers: $(READY) ## run other tools with the same faults, and write docs/peers.md
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

stack-down: ## stop them, and remove their data
	POS3_IMAGE=$(IMAGE) $(COMPOSE) down --volumes

image-test: $(READY) ## build and test the image, with a separate Docker engine
	POS3_TEST_DOCKER=1 $(BIN)/python -m pytest tests/docker -n 0 -p no:randomly -rs $(PYTEST_ARGS)

image-test-%: ## the same on another Python of this machine: make image-test-3.13
	$(call with_python,POS3_TEST_BASE_PYTHON="$$python" $(MAKE) --no-print-directory image-test)

clean: ## remove the environment and all caches
	rm -rf .venv .venv-* dist build site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .demo .soak
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Possible paths of a Python version: on PATH, or among the versions of pyenv.
pythons = python$(1) "$$(pyenv root 2>/dev/null || echo "$${PYENV_ROOT:-$$HOME/.pyenv}")"/versions/$(1)*/bin/python

# A command on PATH may be a shim that fails, and a Python may have no venv or pip. So each candidate is tried.
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
