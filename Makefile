# The two commands of the README are "demo" and "test"; everything they need they get themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo demo-reconnect demo-stop test acceptance lint unit lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COLLECTION := $(VENV)/collections/ansible_collections/anywhere/notebook
AGENT := .cache/ngrok-agent-2/ngrok
# Of an agent 3 there is none for other processors in npm.
AGENTS := $(AGENT) $(if $(filter x86_64,$(shell uname -m)),.cache/ngrok-agent-3/ngrok)
PYTEST := $(BIN)/pytest
SPREAD := --no-loadscope-reorder --numprocesses 3 --durations 30

export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(VENV)/collections
# Nothing outside the checkout is written, caches of the installers included.
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export npm_config_cache := $(CURDIR)/.cache/npm
# Container images set it; then each of some thousand starts of Python compiles all its modules again.
unexport PYTHONDONTWRITEBYTECODE

demo: $(VENV)/.demo $(if $(NGROK_AUTHTOKEN),,$(AGENT))
	@$(BIN)/python -m tests.demo up

demo-reconnect: $(VENV)/.demo
	@$(BIN)/python -m tests.demo reconnect

demo-stop:
	@$(PYTHON) -m tests.demo stop

# Each promise once, at the cheapest level at which it can break (docs/contributing.md). Of lint and unit neither keeps
# two processors busy; of the others some only wait, hence three processes.
test: $(VENV)/.aws $(AGENTS)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint unit
	$(PYTEST) $(SPREAD) -m "not acceptance" tests/guard tests/keeper tests/account tests/browser tests/machine

# The rest: further releases, pages, libraries, states and interruptions, and the tests of what stands in for others.
acceptance: $(VENV)/.aws $(AGENTS)
	$(PYTEST) $(SPREAD) -m acceptance tests

lint: $(VENV)/.aws
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint --strict

unit: $(VENV)/.test
	$(PYTEST) -m "not acceptance" tests/unit

# Pins what pyproject.toml names, which needs the package index, and the agent, which needs ngrok's list of releases.
lock: $(VENV)/.demo
	tests/lock.sh $(BIN)/uv
	PYTHONPATH=$(VENV)/collections $(BIN)/python -m tests.lock_agent

clean: demo-stop
	@# The roots of the test hosts belong to root.
	@[ "$$(id -u)" = 0 ] || [ ! -d .cache/hosts ] || sudo -n rm -rf .cache/hosts
	rm -rf .demo .cache $(VENV)

# The installer is the one that hosts get.
$(VENV)/.demo: requirements.txt roles/jupyter/files/requirements.txt
	@tests/prerequisites.sh $(PYTHON) $(if $(NGROK_AUTHTOKEN),,npm)
	@echo "==> Making the development environment in $(VENV), half a minute the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement <(sed -n '/^uv==/,/[^\\]$$/p' roles/jupyter/files/requirements.txt)
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes --requirement requirements.txt
	@mkdir -p $(dir $(COLLECTION))
	@ln -sfn $(CURDIR) $(COLLECTION)
	@touch $@

$(VENV)/.test: $(VENV)/.demo tests/requirements.txt
	@tests/prerequisites.sh $(PYTHON) npm chromium mmdebstrap systemd-nspawn:systemd-container ip:iproute2 iptables \
	  ssh:openssh-client
	@echo "==> Adding what the tests need"
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes --requirement tests/requirements.txt
	@touch $@

# Apart from the rest, which has to do without boto3.
$(VENV)/.aws: $(VENV)/.test tests/aws-requirements.txt tests/fetch_aws.sh
	@echo "==> Adding what names an EC2 instance, and an AWS to test it with"
	@$(PYTHON) -m venv --without-pip $(VENV)/aws
	@$(BIN)/uv pip install --python $(VENV)/aws/bin/python --require-hashes --requirement tests/aws-requirements.txt
	@tests/fetch_aws.sh $(BIN)/python $(VENV)/collections
	@touch $@

$(AGENTS): .cache/ngrok-agent-%/ngrok: tests/fetch_agent.sh
	@tests/fetch_agent.sh $* $@
