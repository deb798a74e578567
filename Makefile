# Everything a clean clone needs is Python 3.11 or newer; `make run` and `make test` set up the rest.
PYTHON ?= python3
VENV ?= .venv
ENGINES ?= .venv-engines
CLIENTS := .venv-clients
MLFLOW ?= .venv-mlflow
BIN := $(VENV)/bin
# Files of tests that run at a time; most of what they do is to wait for processes. In their own order the long ones come
# early, by the number of their tests they would come last.
WORKERS ?= 2
PYTEST := pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# The tests start hundreds of processes: where this is set, each would compile the whole service anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo demo-rollout test test-engines test-training test-parity test-clients record-triton lint types contracts check chart bench bench-states bench-living bench-queue bench-engines bench-chains bench-telemetry bench-pressure bench-peers bench-protocols bench-tiles gpu-check dashboard-picture top-picture console-pictures train lock notice clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.cpu ## Start the service with the bundled model on port 8000
	$(BIN)/roo-vision serve

demo: $(VENV)/.cpu ## See the queue at work: Service Bus in memory, the service, 200 pictures
	$(BIN)/roo-vision demo

demo-rollout: $(VENV)/.dev ## See a good version get all the traffic and a bad one be taken back, with a plot of the shares
	$(BIN)/python -m benchmarks.rollout_demo

test: $(VENV)/.dev ## Run all the tests
	$(BIN)/$(PYTEST)

test-engines: $(ENGINES)/.engines ## Run the tests that need PyTorch or OpenVINO, in an environment of 7 GB
	REQUIRE_ENGINES=1 $(ENGINES)/bin/pytest tests/engines tests/commands/test_export.py

test-training: $(ENGINES)/.engines $(MLFLOW)/.mlflow ## Run the tests of training, in the same environment, with a real MLflow server
	PATH="$(abspath $(MLFLOW))/bin:$$PATH" REQUIRE_MLFLOW=1 $(ENGINES)/bin/pytest tests/models/shelf

test-parity: $(ENGINES)/.engines ## Compare foreign models with their families' own code, in the same environment
	REQUIRE_PARITY=1 HF_HUB_OFFLINE=1 $(ENGINES)/bin/pytest -W ignore tests/parity

test-clients: $(VENV)/.dev $(patsubst tests/clients/%.lock,$(CLIENTS)/%/.installed,$(wildcard tests/clients/*.lock)) ## Ask with other people's clients, each in an environment of its own
	$(BIN)/python -m tests.clients

record-triton: $(VENV)/.dev ## Record anew what a real Triton answers to the tests' requests
	triton=$$($(BIN)/python -m benchmarks.peers.environments) && PYTHONPATH=. $$triton -m tests.oip.triton.record

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

contracts: $(VENV)/.dev ## Check which room imports which
	$(BIN)/lint-imports

check: lint types contracts test ## All of the above

chart: $(VENV)/.dev ## Make the Helm chart of the kustomize overlays; needs kubectl or kustomize
	$(BIN)/python -m k8s.make_chart

bench: $(VENV)/.dev ## Measure the service beside a plain loop and a naive endpoint
	$(BIN)/python -m benchmarks.comparison

bench-states: $(VENV)/.dev ## Measure what a newcomer gets, beside an earlier commit
	$(BIN)/python -m benchmarks.served_states

bench-living: $(VENV)/.dev ## Measure a model's renewal under load, a shadow, and a start with a hundred models
	$(BIN)/python -m benchmarks.living

bench-queue: $(VENV)/.dev ## Measure the queue: throughput, losses, a spike, people, chaos; beside an earlier commit
	$(BIN)/python -m benchmarks.queue_run

bench-engines: $(ENGINES)/.engines ## Measure the bundled model served by each engine and precision
	$(ENGINES)/bin/python -m benchmarks.served_engines

bench-chains: $(ENGINES)/.engines ## Measure a chain of two models beside a plain loop, and beside crops asked one by one
	$(ENGINES)/bin/python -m benchmarks.chains

bench-telemetry: $(VENV)/.dev ## Measure what metrics, traces and log lines cost
	$(BIN)/python -m benchmarks.telemetry_run

bench-pressure: $(VENV)/.dev ## Measure hostile bodies, silent uploads and a slow neighbour, beside an earlier commit
	$(BIN)/python -m benchmarks.pressure

bench-tiles: $(VENV)/.dev ## Measure the memory that a picture of 50 megapixels takes in tiles
	$(BIN)/python -m benchmarks.tiles_memory

bench-protocols: $(VENV)/.dev ## Measure pictures and tensors over /v1, /v2 and gRPC beside each other
	$(BIN)/python -m benchmarks.protocols

bench-peers: $(VENV)/.dev ## Measure the service beside mosec, LitServe and plain FastAPI, each in an environment of its own
	$(BIN)/python -m benchmarks.peers

gpu-check: ## On a machine with a GPU: run what needs one, and write docs/gpu-report.json
	$(PYTHON) -m benchmarks.gpu_check

dashboard-picture: $(VENV)/.dev ## Draw the picture of the dashboard in the documents; needs prometheus
	$(BIN)/python -m benchmarks.dashboard_picture

top-picture: $(VENV)/.dev ## Draw the picture of `roo-vision top` in the documents
	$(BIN)/python -m benchmarks.top_picture

console-pictures: $(VENV)/.dev ## Photograph the console for the documents; needs chromium
	$(BIN)/python -m benchmarks.console_pictures

train: $(VENV)/.train ## Train the bundled model, or DATA=coco.json on your own pictures
	$(BIN)/python -m models.shelf.training $(if $(DATA),train --data $(DATA),all)

lock: $(VENV)/.dev $(BIN)/uv ## Renew the locks from pyproject.toml
	printf 'uv>=0.13\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--no-annotate -o requirements-uv.lock -
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cpu --extra cosmos -o requirements-cpu.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cuda --extra cosmos --extra torch -o requirements-cuda.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cuda --extra cosmos -o requirements-cuda-slim.lock pyproject.toml
	printf 'grpcio-tools>=1.70\nsetuptools>=77\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--no-annotate -o requirements-build.lock -
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cpu --extra cosmos --extra bench --extra dev -o requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cpu --extra cosmos --extra openvino -o requirements-openvino.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra cpu --extra cosmos --extra bench --extra dev --extra openvino --extra torch --extra train --extra parity \
		-o requirements-engines.lock pyproject.toml
	printf 'mlflow==3.17.2\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --python-version 3.11 -o requirements-mlflow.lock -
	for wanted in tests/clients/*.in; do \
		$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
			--python-version 3.11 --no-annotate -o $${wanted%.in}.lock $$wanted || exit; \
	done

notice: $(VENV)/.dev ## Write NOTICE anew from the locks: packages and their licences
	$(BIN)/python .docker/notice.py > NOTICE.new && mv NOTICE.new NOTICE

clean: ## Remove the virtual environment and what was built
	rm -rf $(VENV) $(ENGINES) $(CLIENTS) $(MLFLOW) .venv-peers build dist out *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A lock is installed as it is, checked by its hashes; the project itself is only linked, and its proto compiled. What
# only developers need is large, and installed by uv, which is faster; by pip where uv, which does not read pip's settings,
# does not reach an index (UV_DEFAULT_INDEX).
define install
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(1) -r $(2) || \
		$(1) -m pip install --quiet --require-hashes -r $(2)
endef
PROJECT := pyproject.toml setup.py app/rpc/inference.proto

$(BIN)/uv: $(VENV)/bin/python requirements-uv.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-uv.lock
	touch $@

$(VENV)/.cpu: $(VENV)/bin/python requirements-cpu.lock $(PROJECT)
	test -e $(VENV)/.dev || $(BIN)/pip install --quiet --require-hashes -r requirements-cpu.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

$(VENV)/.dev: $(BIN)/uv requirements-dev.lock $(PROJECT)
	$(call install,$(BIN)/python,requirements-dev.lock)
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@ $(VENV)/.cpu

# YOLOX wants old versions of everything and PyTorch to be built, Ultralytics another OpenCV: they come last, by themselves.
$(ENGINES)/.engines: $(BIN)/uv requirements-engines.lock requirements-parity-alone.lock $(PROJECT)
	$(PYTHON) -m venv $(ENGINES)
	$(call install,$(ENGINES)/bin/python,requirements-engines.lock)
	$(ENGINES)/bin/pip install --quiet --no-deps --no-build-isolation --require-hashes -r requirements-parity-alone.lock
	$(ENGINES)/bin/pip install --quiet --no-deps -e .
	touch $@

# The server that the tests of training tell of their runs; training itself has the client alone.
$(MLFLOW)/.mlflow: $(BIN)/uv requirements-mlflow.lock
	$(PYTHON) -m venv --clear $(MLFLOW)
	$(call install,$(MLFLOW)/bin/python,requirements-mlflow.lock)
	touch $@

$(CLIENTS)/%/.installed: tests/clients/%.lock $(BIN)/uv
	$(PYTHON) -m venv --clear $(CLIENTS)/$*
	$(call install,$(CLIENTS)/$*/bin/python,$<)
	touch $@

$(VENV)/.train: $(VENV)/.dev
	$(BIN)/pip install --quiet -e '.[cpu,train]'
	touch $@
