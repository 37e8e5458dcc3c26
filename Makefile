# What a checkout needs. `make demo` first: it creates .venv, which needs no compiler.
#   PYTHON   the Python to create .venv with, 3.10 to 3.12
#   TORCH    what to hand to `pip install` for PyTorch, e.g. another version or an --index-url
#   ARGS     more arguments for `make demo` and `make test`, e.g. ARGS='-k registry'
PYTHON ?= python3
TORCH ?= torch==2.13.0
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Written at the end of the installation: one that was interrupted goes on where it stopped.
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile

.PHONY: help install demo test lint types docs clean

help:
	@echo 'make demo    train and evaluate a small detector on drawn pictures'
	@echo 'make test    run the tests           make lint    check style and format'
	@echo 'make docs    build the documentation into site/'
	@echo 'make types   check type hints        make clean   remove .venv, caches and builds'

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python tools/demo.py $(ARGS)

# The tests start some fifty processes. Where the environment forbids to keep bytecode, as on many build servers, each
# would compile all of PyTorch and MMDetection again: kept here, they need a third of the time.
test: export PYTHONDONTWRITEBYTECODE =
test: export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/bytecode
test: export OMP_NUM_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	@$(BIN)/python -c 'import material, mkdocstrings_handlers.python' 2>/dev/null || \
	  $(PIP) --no-build-isolation --editable '.[lite,dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "error: '$(PYTHON)' is not a Python 3.10, 3.11 or 3.12: name one, e.g. make PYTHON=python3.11" >&2; exit 2; }
	@echo 'Installing into $(VENV), once: 1/4 virtual environment'
	@$(PYTHON) -m venv $(VENV)
	@echo '2/4 PyTorch ($(TORCH)), the largest download'
	@$(PIP) $(TORCH)
	@echo '3/4 MMDetection with mmcv-lite, and the tools of the tests'
	@# setuptools first: without build isolation nothing else is downloaded to install this package.
	@$(PIP) 'setuptools<81' wheel
	@$(PIP) --no-build-isolation --editable '.[lite,dev]'
	@echo '4/4 checks'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))') && \
	  echo "    OpenCV finds no libGL on this machine: opencv-python-headless $$version takes its place" && \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(PIP) "opencv-python-headless==$$version"; }
	@$(BIN)/python -W ignore -c 'import mmdet_dab, mmdet.apis'
	@touch $@
