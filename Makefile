# Each target sets itself up; `make help` lists them. ROS=kilted: with ROS 2 Kilted in .venv-kilted,
# where there is no PyTorch: `test` then runs what touches ROS, and lint is left to the default.

PYTHON ?= python3
ROS ?=
export ROS
OTHER_ROS := $(filter-out jazzy,$(ROS))
VENV := .venv$(addprefix -,$(OTHER_ROS))/bin
PYTEST_ARGS ?=
STARTED := $(shell date +%s)
TESTS := $(if $(OTHER_ROS),test/ros test/tools test/launch test/evaluation/bags test/evaluation/runs test/evaluation/truth test/test_*.py)

.PHONY: help setup test lint demo test-versions test-machines test-jetson clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup:  ## make .venv: ROS 2, message interfaces, this package (see .ci/setup)
	@$(PYTHON) .ci/setup

test: $(if $(OTHER_ROS),setup,lint)  ## lint, then all tests on all cores; PYTEST_ARGS='-k nms' chooses some
	@$(VENV)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS) $(TESTS); code=$$?; \
	echo "make test: $$(($$(date +%s) - $(STARTED))) s"; exit $$code

lint: setup  ## ruff and mypy
	$(VENV)/ruff check
	$(VENV)/mypy

demo: setup  ## the whole path: camera topic, detector, annotated images in demo_out/; MODEL=, IMAGES=
	$(VENV)/python -m mbv2ssd_ros.tools.demo $(addprefix --model ,$(MODEL)) $(addprefix --images ,$(IMAGES))

test-versions: setup  ## old and new Pythons and libraries; CELLS=3.10 chooses (see .ci/versions)
	@$(PYTHON) .ci/versions $(CELLS)

test-jetson:  ## tests that need TensorRT and a GPU, with PYTHON as it is (see docs/jetson.md)
	$(PYTHON) -m pytest -m hardware $(PYTEST_ARGS) test/hardware

test-machines: setup  ## the shipped models on processors that QEMU imitates (docs/machines.md)
	$(VENV)/python -m pytest -n auto -m machines $(PYTEST_ARGS) test/machines

clean:  ## remove .venv, .venv-kilted and everything built or written by these targets
	rm -rf .venv .venv-* build install log demo_out *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
