# make quickstart   set up what is missing and run the quickstart scenario
# make test         set up what is missing and run every check
# make bench-memory how often the memory verdict is right: results/memory
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench-agent bench-compare bench-docker bench-gate bench-historical bench-links bench-memory \
  bench-memory-amqp1 bench-memory-cycles bench-memory-double bench-memory-kinds bench-memory-rabbit bench-probe \
  bench-store help quickstart setup setup-test test test-engine check clean

help:
	@echo "make quickstart   RabbitMQ against AMQP 1.0 routers over three sites (sets up what is missing)"
	@echo "make test         every check and test (sets up what is missing)"
	@echo "make bench-memory how often the memory verdict is right on this host (half an hour); writes results/memory"
	@echo "make bench-gate, bench-probe   identical pairs through the gate; what the probe itself costs"
	@echo "make test-engine  what every runtime must do, with the engine that DOCKER_HOST names (docs/containers.md)"
	@echo "make check        format, lint and types only"
	@echo "make bench-links, bench-docker, bench-agent   figures beside a baseline of the same run (links: installs iperf3)"
	@echo "make bench-store, bench-compare   what results of many operations cost, and how often compare is right"
	@echo "make clean        remove the virtual environment and caches of the tools"

# A first look, on whatever machine: what was late there is told instead of refused.
quickstart: setup
	$(BIN)/harness run --lax-links scenarios/quickstart.yaml

setup: $(VENV)/.installed
	@PYTHON=$(PYTHON) scripts/system-packages.sh run

setup-test: $(VENV)/.installed-dev
	@PYTHON=$(PYTHON) scripts/system-packages.sh test

$(VENV)/bin/uv:
	@PYTHON=$(PYTHON) scripts/system-packages.sh run
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt --editable . --group dev
	@touch $@

# Three at a time also on two cores: most of them wait most of the time. tests/conftest.py says who runs what.
test: setup-test check
	$(BIN)/python -m pytest -n 3

# DOCKER_HOST says which engine, Docker or podman; missing engines fail here.
test-engine: setup-test
	CI=true $(BIN)/python -m pytest -n 0 tests/runtime/test_runtime_contract.py -k docker

# Figures, not tests: each prints ratios against a baseline of the same run. Wants a quiet machine.
bench-links: setup
	@PYTHON=$(PYTHON) scripts/system-packages.sh bench
	$(BIN)/python -m tests.benchmarks.bench_links --json results/benchmarks/links.json

# Needs a container engine that answers. Images are made first, and not counted.
bench-docker: setup
	$(BIN)/harness images build --quiet scenarios/quickstart.yaml
	$(BIN)/python -m tests.benchmarks.bench_docker --json results/benchmarks/docker.json

bench-agent: setup-test
	$(BIN)/python -m tests.benchmarks.bench_agent --json results/benchmarks/agent.json

bench-store: setup
	$(BIN)/python -m tests.benchmarks.bench_store --into results/benchmarks

# AA=RUN: a run of tests/benchmarks/aa.yaml, for pairs of identical systems that really ran (seven minutes).
bench-compare: setup
	$(BIN)/python -m tests.benchmarks.bench_compare --into results/benchmarks $(if $(AA),--real $(AA))

check: setup-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# 60 clean checks over loopback, RabbitMQ and a router, 40 leaks of twice the limit, and leaks of each other kind, in
# parts of some minutes: each adds to results/memory, so that what was interrupted can be gone on with. Then 50
# identical pairs through the gate, and what the probe itself costs.
BENCH_MEMORY := bench-memory-double bench-memory-kinds bench-memory-cycles bench-memory-rabbit bench-memory-amqp1
CALIBRATE := $(BIN)/harness calibrate --update --report results/memory

bench-memory: $(BENCH_MEMORY) bench-gate bench-historical bench-probe

bench-memory-double: setup
	$(CALIBRATE) --setting clean=20 --setting double=40

bench-memory-kinds: setup
	$(CALIBRATE) --setting half=10 --setting at=10 --setting fourfold=10 --setting native=20 \
	  --setting descriptor=20 --setting thread=20

bench-memory-cycles: setup
	$(CALIBRATE) --setting connect=20 --setting connect-object=20 --setting connect-native=20 \
	  --setting connect-descriptor=20 --setting connect-thread=20

bench-memory-rabbit bench-memory-amqp1: bench-memory-%: setup
	$(CALIBRATE) --system $* --setting clean=20

bench-gate: setup
	$(BIN)/python -m tests.benchmarks.bench_gate loopback --pairs 50 --report results/memory

# Leaks of released clients, and the releases that mended them.
bench-historical: setup
	$(BIN)/python -m tests.benchmarks.bench_historical

# Latency and blocks per operation of the agent against a bare loop: results/memory/probe.txt.
bench-probe: setup-test
	$(BIN)/python -m tests.benchmarks.bench_agent cost memory > results/memory/probe.txt || { cat results/memory/probe.txt; exit 1; }
	@cat results/memory/probe.txt
