# One word each. `make rehearse` runs the main job, `make test` passes every test; both install what they need.
.DEFAULT_GOAL := help
.PHONY: help setup rehearse test check lint format test-containai wheel clean
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest --quiet -n $(JOBS) --dist worksteal

# The platforms that `make rehearse` builds: this machine's own, or `make rehearse PLATFORMS=all` for those of the project.
NATIVE := linux/$(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
PLATFORMS ?= $(NATIVE)

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @

setup: $(VENV)/.installed ## Make .venv with shipgraph in it

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "shipgraph needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/install-debian --for main
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	@touch $@

rehearse: setup ## The main job: containai from source to a published channel of a registry on this disk
	@tools/install-debian --for main
	@if [ "$(PLATFORMS)" = all ]; then tools/install-debian --for tests && tools/enable-arm64; fi
	@$(BIN)/shipgraph rehearse --project containai $(if $(filter all,$(PLATFORMS)),,$(addprefix --platform ,$(PLATFORMS)))

test: setup lint ## Lint, types, contracts and all tests, with real registries, builders and clients
	@tools/install-debian --for tests
	@tools/enable-arm64
	tools/install
	$(PYTEST) -m "not containai"

check: setup lint ## What `make test` does without real tools: nothing to install, a minute
	$(PYTEST) -m "not real and not containai"

lint: setup ## Style, formatting, types, import contracts, dependencies, dead code, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > $(VENV)/contracts.txt || { cat $(VENV)/contracts.txt; exit 1; }
	@$(BIN)/deptry src > $(VENV)/deptry.txt 2>&1 || { cat $(VENV)/deptry.txt; exit 1; }
	$(BIN)/vulture
	@$(BIN)/shipgraph workflow --check --project containai > $(VENV)/workflow.txt || { cat $(VENV)/workflow.txt; exit 1; }
	$(BIN)/zizmor --offline --no-progress --quiet .github/workflows action.yml
	@if command -v go >/dev/null; then bin=$$(tools/install actionlint) && "$$bin/actionlint"; \
	  else echo "no Go here: actionlint is left to \`make test\`" >&2; fi
	@! grep -l '://' requirements*.lock || { echo "a lock file records a host" >&2; exit 1; }

format: setup ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-containai: setup ## Build and publish the whole of containai, with foreign registries and clients: minutes
	@tools/install-debian --for tests
	@tools/enable-arm64
	tools/install
	$(BIN)/python -m pytest --quiet -m containai

wheel: setup ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## Remove what the other targets made, but no rehearsal
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
