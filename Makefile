# The demo and the development of umami-ops. `make` alone lists what there is.
#
# Everything happens in .venv, which is made once and brought up to date when pyproject.toml changes.
# `make demo PYTHON=/path/to/python3.12` names the Python to make it with.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test test-all lint format bench-prune bench-migrate bench-upkeep bench-partition bench-backup clean

ARGS ?=
INSTALL := .venv/bin/python -m pip --disable-pip-version-check --quiet install --editable

help: ## List these targets
	@awk -F ' *:[^#]*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/for-demo ## Prune a year-old Umami on a PostgreSQL of its own
	@.venv/bin/python -m testbed.demo $(ARGS)

demo-stop: .venv/for-demo ## Stop that PostgreSQL and remove it
	@.venv/bin/python -m testbed.demo --stop $(ARGS)

test: .venv/for-tests ## Run the tests on real servers; ARGS="-k prune" chooses
	.venv/bin/python -m pytest $(ARGS)

test-all: .venv/for-tests ## Run the slow tests too, and those that kill servers
	.venv/bin/python -m pytest --all $(ARGS)

lint: .venv/for-tests ## Check style, types, the import contract and the Dockerfile
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/hadolint --no-color Dockerfile

format: .venv/for-tests ## Put the code into its format
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench-prune: .venv/for-tests ## Measure prune beside what else there is
	.venv/bin/python -m benchmarks.prune $(ARGS)

bench-migrate: .venv/for-tests ## Measure migrate beside pgloader and the floor
	.venv/bin/python -m benchmarks.migrate $(ARGS)

bench-upkeep: .venv/for-tests ## Measure health, upgrade prepare and vacuum --reindex
	.venv/bin/python -m benchmarks.upkeep $(ARGS)

bench-partition: .venv/for-tests ## Measure partitions beside the plain table
	.venv/bin/python -m benchmarks.partition $(ARGS)

bench-backup: .venv/for-tests ## Measure backups beside the servers' tools
	.venv/bin/python -m benchmarks.backup $(ARGS)

clean: ## Remove .venv and what tools have left; stops the demo first
	@if [ -e .venv/for-demo ]; then .venv/bin/python -m testbed.demo --stop; fi
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Files that say what is ready. Each is touched last, so that an interrupted step is done again.

.venv/made:
	@sh testbed/venv.sh .venv
	@touch $@

.venv/for-demo: pyproject.toml | .venv/made
	@echo "Installing umami-ops and a PostgreSQL to try it on into .venv ..."
	@$(INSTALL) '.[demo]'
	@touch $@

.venv/for-tests: pyproject.toml | .venv/made
	@echo "Installing umami-ops and all that its tests need into .venv ..."
	@$(INSTALL) '.[test,lint]'
	@touch $@ .venv/for-demo
