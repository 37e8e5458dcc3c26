# What a checkout needs. `make demo` first: it creates .venv, which needs no compiler.
#   PYTHON   the Python to create .venv with, 3.10 to 3.12
#   TORCH    what to hand to `pip install` for PyTorch, e.g. another version or an --index-url
#   ARGS     more arguments for `make demo` and `make test`, e.g. ARGS='-k registry'
PYTHON ?= python3
TORCH ?= torch==2.13.0
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Written at the end of an installation: one that was interrupted goes on where it stopped.
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
DOCUMENTATION := $(VENV)/.installed-docs
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Without build isolation nothing else is downloaded to install this package.
EDITABLE := $(PIP) --no-build-isolation --editable

.PHONY: help install demo test lint types docs wheel clean

help:
	@echo 'make install  install into .venv         make demo     train and evaluate a small detector'
	@echo 'make test     run the tests              make lint     check style and format'
	@echo 'make types    check type hints           make docs     write the documentation to site/'
	@echo 'make wheel    build dist/*.whl           make clean    remove .venv, caches and builds'

install: $(INSTALLED)
	@echo 'Installed. Activate with: source $(BIN)/activate'

demo: $(INSTALLED)
	$(BIN)/mmdet-dab demo $(ARGS)
	@echo 'For commands of your own, activate with: source $(BIN)/activate'

# The tests start some fifty processes. Where the environment forbids to keep bytecode, as on many build servers, each
# would compile all of PyTorch and MMDetection again: kept here, they need a third of the time.
test: export PYTHONDONTWRITEBYTECODE =
test: export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/bytecode
test: export OMP_NUM_THREADS = 1
# What exports has processes of its own: torch's exporter, ONNX Runtime and OpenVINO in one process with training runs
# made it end in a segmentation fault now and then, in whatever test came later. 5: no test was asked for there.
test: EXPORTS = tests/deploy tests/docs/test_notebook.py tests/docs/test_serve_page.py tests/commands/test_exported.py
test: PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile
test: $(DEVELOPMENT)
	$(PYTEST) $(EXPORTS) $(ARGS) || [ $$? -eq 5 ]
	$(PYTEST) $(EXPORTS:%=--ignore %) $(ARGS) || [ $$? -eq 5 ]

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEVELOPMENT)
	$(BIN)/mypy

docs: $(DOCUMENTATION)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(INSTALLED)
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "error: '$(PYTHON)' is not a Python 3.10, 3.11 or 3.12: name one, e.g. make PYTHON=python3.11" >&2; exit 2; }
	@echo 'Installing into $(VENV), once: 1/4 virtual environment'
	@$(PYTHON) -m venv $(VENV)
	@echo '2/4 PyTorch ($(TORCH)), the largest download'
	@$(PIP) $(TORCH)
	@echo '3/4 MMDetection with mmcv-lite'
	@$(PIP) 'setuptools>=77,<81' wheel
	@$(EDITABLE) '.[lite,convert,imagenet]'
	@echo '4/4 checks'
	@# The headless build has the same files, and needs no libGL; both stay installed, as mmengine asks for the other.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))') && \
	  echo "    OpenCV finds no libGL on this machine: opencv-python-headless $$version is used" && \
	  $(PIP) --force-reinstall --no-deps "opencv-python-headless==$$version"; }
	@$(BIN)/python -W ignore -c 'import mmdet_dab.parts, mmdet.apis'
	@touch $@

$(DEVELOPMENT): $(INSTALLED)
	@echo 'The tools of the tests, once'
	@$(EDITABLE) '.[lite,dev]'
	@touch $@

$(DOCUMENTATION): $(INSTALLED)
	@echo 'The tools of the documentation, once'
	@$(EDITABLE) '.[lite,docs]'
	@touch $@
