# The first Python of this list that is 3.10 to 3.12 builds the environment.
PYTHON ?= python3.12 python3.11 python3.10 python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OFFICIAL := tests/parity/requirements.txt
SECOND := tests/baselines tests/dreamerv2_base tests/export tests/fuzz \
  tests/parity tests/stages

IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))
VENV_PACKAGE := import sys; print('python3.%d-venv' % sys.version_info[1])

.DELETE_ON_ERROR:
.PHONY: help demo test lint install lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s  %s\n", $$1, $$2}' \
	  Makefile

demo: $(INSTALLED)  ## Collect data, train the pair, evaluate (SEED=1)
	$(BIN)/python -m coworld_tf.demo $(if $(SEED),--seed $(SEED))

# Two at a time, since most tests keep to one core. TensorFlow and Mesa cannot
# share a process, and what runs in the background does not see interrupts.
test: $(INSTALLED)  ## Check the style and run all tests
	@failed=; log=$$(mktemp); \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	{ $(BIN)/python -m pytest tests/envs; envs=$$?; \
	  $(BIN)/python -m pytest $(SECOND) && exit $$envs; } >$$log 2>&1 & \
	second=$$!; trap 'pkill -P $$second; kill $$second; exit 130' INT TERM; \
	$(BIN)/python -m pytest tests --ignore=tests/envs \
	  $(SECOND:%=--ignore=%) || failed="$$failed tests"; \
	wait $$second || failed="$$failed tests/envs or $(SECOND)"; \
	cat $$log; rm $$log; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

lint: $(INSTALLED)  ## Check the style only
	$(BIN)/ruff check .

install: $(INSTALLED)  ## Create .venv, install the locked dependencies

lock: | $(BIN)/python  ## Resolve setup.py into requirements.lock again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal \
	  --python-version 3.10 --generate-hashes --extra dev \
	  --custom-compile-command 'make lock' setup.py -o requirements.lock

clean:  ## Remove .venv and everything else that make and Python created
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache \
	  .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Old versions of pip, as Python 3.10 brings, trip over extras in lock files.
$(INSTALLED): requirements.lock $(OFFICIAL) setup.py | $(BIN)/python
	@echo 'Installing into $(VENV); the first time takes some minutes.'
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	  'pip>=24'
	$(BIN)/python -m pip install --disable-pip-version-check \
	  --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	  --no-deps --no-build-isolation --require-hashes -r $(OFFICIAL)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	  --no-deps --no-build-isolation -e .
	$(BIN)/python -m envs.headless
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON); do \
	  $$python -c '$(IN_RANGE)' 2>/dev/null || continue; \
	  if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    test "$$(id -u)" = 0 || sudo='sudo '; \
	    echo "error: $$python cannot create environments; on" \
	      "Debian/Ubuntu run: $${sudo}apt-get install -y" \
	      "$$($$python -c "$(VENV_PACKAGE)")" >&2; \
	    exit 2; \
	  fi; \
	  echo "Creating $(VENV) with $$python."; \
	  $$python -m venv $(VENV); exit; \
	done; \
	echo 'error: Python 3.10, 3.11 or 3.12 is needed (tried: $(PYTHON));' \
	  'name one with: make PYTHON=/path/to/python' >&2; \
	exit 2
