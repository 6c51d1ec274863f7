# The two commands of the README are "demo" and "test"; everything they need they get themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo demo-reconnect demo-stop test lint unit integration lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COLLECTION := $(VENV)/collections/ansible_collections/anywhere/notebook
AGENT := .cache/ngrok-agent/ngrok

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

# Of lint and unit neither keeps two processors busy.
test: $(VENV)/.aws
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint unit
	@$(MAKE) --no-print-directory integration

lint: $(VENV)/.aws
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint --strict

unit: $(VENV)/.test
	$(BIN)/pytest tests/unit

# In a browser, on hosts of their own, and on accounts of this machine. Some tests only wait, hence three processes for
# two processors; the long ones come first.
integration: $(VENV)/.aws $(AGENT)
	$(BIN)/pytest --no-loadscope-reorder --numprocesses 3 --durations 30 tests/e2e tests/hosts tests/integration

# Pins what pyproject.toml names. Needs the package index, nothing else.
lock: $(VENV)/.demo
	tests/lock.sh $(BIN)/uv

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

$(AGENT): tests/fetch_agent.sh
	@tests/fetch_agent.sh $@
