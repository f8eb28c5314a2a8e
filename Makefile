# Everything works on a fresh clone: each target first makes .venv and installs what setup.cfg names, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
MRML := $(VENV)/bin/mrml
# a changed setup.cfg is installed again
STAMP := $(VENV)/.installed-$(shell sha256sum setup.cfg | cut -c1-12)
EXTRAS := fast,progress,report,docs,dev,hdfs,hdfs-native,xgboost,lightgbm
# two processes: more only wait for each other on the machines this was measured on
# torch from the package index is the CUDA build: 5.4 GB, so it has an environment of its own
TORCH := .venv-torch
TORCH_STAMP := $(TORCH)/.installed-$(shell sha256sum setup.cfg | cut -c1-12)
# Airflow never shares an environment with mrml's own: its package is there, and nothing that it computes with
AIRFLOW := .venv-airflow
AIRFLOW_NEEDS := 'apache-airflow~=3.3' 'hdfs-native>=0.14' 'hypothesis>=6.100' 'pytest>=8'
AIRFLOW_STAMP := $(AIRFLOW)/.installed-$(shell echo "$(AIRFLOW_NEEDS)" | cat - setup.cfg | sha256sum | cut -c1-12)
PYTEST := $(PY) -m pytest -q -n 2 --dist worksteal
# Hadoop's jars, fetched once
export MRML_HADOOP_CACHE ?= $(CURDIR)/.cache/hadoop
BENCH := .cache/bench
PROBES := ../shared/probes/make_data.py

.PHONY: old-models help browser install demo demo-nightly test test-fast test-torch test-airflow lint identity \
    benchmarks benchmarks-hadoop docs

help:
	@echo 'make demo        train, evaluate and predict on real rows and on 2,000,000 made ones'
	@echo 'make demo-nightly  three nights of batch runs on a Hadoop of this machine, one of them killed'
	@echo 'make test        lint, types and every test;  make test-fast: without the slow ones and Hadoop'
	@echo 'make test-torch  the torch kernel, exports to ONNX and the like, on the CPU; installs torch into $(TORCH), once'
	@echo 'make test-airflow  nights in a real Airflow, installed into $(AIRFLOW), once'
	@echo 'make identity    2,000 ways to train the same model, compared byte for byte'
	@echo 'make benchmarks-hadoop  what a round costs on YARN beside a bare Streaming job'
	@echo 'make benchmarks  speed beside the peers;  make lint;  make docs: the generated parts of docs/, and build/docs'

install: $(STAMP)

$(STAMP):
	@for p in $(PYTHON) python3.11 python3 python3.13 python3.12 python3.10; do \
	    if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then found=$$p; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then echo 'mrml needs Python 3.10 or newer with venv; name one with make PYTHON=...' >&2; exit 1; fi; \
	echo "installing into $(VENV) with $$("$$found" --version)" >&2; \
	"$$found" -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[$(EXTRAS)]'
	@rm -f $(VENV)/.installed-* && touch $@

demo: $(STAMP)
	@$(PY) benchmarks/breast_cancer.py .demo/breast-cancer
	$(MRML) train --config conf/breast-cancer.yaml --overwrite
	$(MRML) evaluate .demo/breast-cancer.model --data .demo/breast-cancer/test
	$(MRML) predict .demo/breast-cancer.model --data .demo/breast-cancer/test --format csv \
	    --output .demo/breast-cancer.predictions --overwrite
	@head -n 4 .demo/breast-cancer.predictions/part-*
	$(MRML) sample .demo/made --rows 2000000 --seed 7 --overwrite
	$(MRML) train --config conf/made.yaml --overwrite
	$(MRML) predict .demo/made.model --data .demo/made --output .demo/made.predictions --overwrite
	@echo && echo 'models: .demo/breast-cancer.model, .demo/made.model;  $(MRML) inspect MODEL tells what is in one'

demo-nightly: $(STAMP)
	@$(MRML) cluster up --nodes 2
	@eval "$$($(MRML) cluster env)"; $(PY) benchmarks/nightly.py hdfs:///nightly; \
	    $(MRML) models list --store hdfs:///nightly/models
	@echo 'the cluster still runs: `mrml cluster env` tells how to reach it, `mrml cluster down` ends it'

# the pages of reports are looked at in a browser, where one is there or can be installed
browser:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	    { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >&2 \
	    || echo 'no chromium: the tests of pages are skipped' >&2

test: lint browser
	@$(PYTEST) -m 'not hadoop and not torch and not airflow'
# one cluster, and one job at a time: two cores are not enough for more
	@$(PY) -m pytest -q -m hadoop
	@$(MAKE) --no-print-directory test-torch
	@$(MAKE) --no-print-directory test-airflow

test-fast: lint
	@$(PYTEST) -m 'not hadoop and not slow and not torch and not airflow'

$(TORCH_STAMP): | $(STAMP)
	@echo 'installing torch into $(TORCH)' >&2
	@$(PY) -m venv $(TORCH)
	@$(TORCH)/bin/python -m pip install -q --disable-pip-version-check -e '.[torch,onnx,dev-torch]'
	@rm -f $(TORCH)/.installed-* && touch $@

test-torch: $(TORCH_STAMP)
	@$(TORCH)/bin/python -m pytest -q -n 2 --dist worksteal -m torch tests/torch
	@$(TORCH)/bin/python -m pytest -q -k '[torch' tests/contract/test_algorithms.py

$(AIRFLOW_STAMP): | $(STAMP)
	@echo 'installing Airflow into $(AIRFLOW)' >&2
	@$(PY) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip install -q --disable-pip-version-check $(AIRFLOW_NEEDS)
	@$(AIRFLOW)/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@rm -f $(AIRFLOW)/.installed-* && touch $@

test-airflow: $(AIRFLOW_STAMP)
	@$(AIRFLOW)/bin/python -m pytest -q -m 'not hadoop' tests/airflow
	@$(AIRFLOW)/bin/python -m pytest -q -m hadoop tests/airflow

lint: $(STAMP)
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy -p mrml -p tests

identity: $(STAMP)
	@MRML_IDENTITY_DRAWS=2000 $(PYTEST) tests/end_to_end/test_identity.py

$(BENCH)/%/meta.json: | $(STAMP)
	@MRML_BENCH_DATA=$(BENCH) $(PY) $(PROBES) $*

benchmarks: $(BENCH)/d1/meta.json $(BENCH)/d3/meta.json
	@$(PY) benchmarks/small.py
	@MRML_BENCH_DATA=$(BENCH) $(PY) benchmarks/peers.py

benchmarks-hadoop: $(STAMP)
	@$(PY) benchmarks/hadoop.py 5

# the code of the commit before classes had registered names makes the models and runs that tests/old reads
OLD := 120c51e
old-models: $(STAMP)
	@folder=$$(mktemp -d); trap 'git worktree remove --force "$$folder/mrml"; rmdir "$$folder"' EXIT; \
	git worktree add --quiet --detach "$$folder/mrml" $(OLD); PYTHONPATH="$$folder/mrml" $(PY) tests/old/make.py

docs: $(STAMP)
	@$(PY) -m mrml.cli.reference docs/*.md mrml/__init__.pyi
	@$(PY) -m sphinx -q -W --keep-going -b html docs build/docs
	@echo 'build/docs/index.html'
