# Each target sets itself up; `make help` lists them.

PYTHON ?= python3
VENV := .venv/bin
PYTEST_ARGS ?=

.PHONY: help setup test lint demo clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

setup:  ## make .venv: ROS 2, message interfaces, this package (see .ci/setup)
	@$(PYTHON) .ci/setup

test: lint  ## lint, then all tests; PYTEST_ARGS='-k nms' chooses some
	$(VENV)/python -m pytest $(PYTEST_ARGS)

lint: setup  ## ruff and mypy
	$(VENV)/ruff check
	$(VENV)/mypy

demo: setup  ## the whole path: camera topic, detector, annotated images in demo_out/
	$(VENV)/python -m mbv2ssd_ros.tools.demo

clean:  ## remove .venv and everything built or written by these targets
	rm -rf .venv build install log demo_out *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
