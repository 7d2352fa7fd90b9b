# Each target does all the set-up it needs, on a machine with Python (3.11 or later) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TENSORFLOW := .venv-tensorflow
OLD := .venv-old
ARM64 := .arm64
ADB := .adb
APPS := .apps
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test devices-test apps-test check docs bench native clean

demo: $(VENV)/base.stamp
	$(BIN)/edgekit demo --overwrite

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# What needs more than packages of this Python, as far as it is there; the others tell why not.
devices-test: $(VENV)/dev.stamp
	-test -e $(OLD)/stamp || timeout 300 $(MAKE) $(OLD)/stamp
	-test -e $(ARM64)/stamp || timeout 300 $(MAKE) $(ARM64)/stamp
	-test -e $(ADB)/stamp || timeout 300 $(MAKE) $(ADB)/stamp
	EDGEKIT_OLD_PYTHON=$$(ls $(CURDIR)/$(OLD)/bin/python 2>/dev/null) OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -n auto -m devices tests

# Apps as they are generated, with npm packages and a browser, as far as these can be had.
apps-test: $(VENV)/dev.stamp
	-test -e $(APPS)/stamp || timeout 300 $(MAKE) $(APPS)/stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m apps tests

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site of the documentation, in build/site. Broken links are errors.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f docs/site/mkdocs.yml

# The native runner, for devices without a Python; see docs/devices.md. It needs a C++ compiler; with
# g++-aarch64-linux-gnu it is built for arm64, too, and with ANDROID_NDK=FOLDER for Android.
native:
	$(MAKE) -C edgekit/agent/native OUT=$(CURDIR)/build/native

# Figures for docs/measurements/. Takes about an hour; run it on an idle machine.
bench: $(VENV)/dev.stamp $(TENSORFLOW)/stamp
	$(BIN)/python tests/bench/training.py
	$(BIN)/python tests/bench/export.py
	$(BIN)/python tests/bench/choices.py
	$(BIN)/python tests/bench/throughput.py
	$(BIN)/python tests/bench/latency.py
	$(BIN)/python tests/bench/latency.py equal slower absolute --busy
	$(BIN)/python tests/bench/quantize.py speed stock floats
	$(BIN)/python tests/bench/lowerings.py
	$(BIN)/python tests/bench/microcontrollers.py
	$(BIN)/python tests/bench/tflite.py --tensorflow $(TENSORFLOW)/bin/python

$(VENV)/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	touch $@

# TensorFlow runs edgekit's files for comparison, in an environment of its own.
$(TENSORFLOW)/stamp:
	$(PYTHON) -m venv $(TENSORFLOW)
	$(TENSORFLOW)/bin/python -m pip install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0
	touch $@

# The oldest Python that a device may have, with the runtimes that there are for it.
$(OLD)/stamp:
	for python in python3.8 $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.8.*/bin/python) none; do \
	    "$$python" -m venv $(OLD) 2>/dev/null && break; \
	done
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check numpy
	for runtime in onnxruntime openvino tflite-runtime; do \
	    $(OLD)/bin/python -m pip install --quiet --disable-pip-version-check $$runtime || true; \
	done
	touch $@

# A userland for arm64 with all runtimes, and the emulator that runs it.
$(ARM64)/stamp: $(VENV)/base.stamp
	$(BIN)/python tests/arm64_board.py $(ARM64)
	touch $@

# adb and adbd, unpacked, and for root a compiler for arm64.
$(ADB)/stamp:
	sh tests/devices/get_adb.sh $(ADB)
	touch $@

# What the apps for browsers need of npm, Debian's Chromium, compilers for apps in C++, Kotlin and
# Android's classes for those for Android, and a parser of Swift.
$(APPS)/stamp: | $(VENV)/base.stamp
	sh tests/apps/get_npm.sh $(APPS)
	-sh tests/apps/get_android.sh $(APPS)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(APPS)/python \
	    tree-sitter==0.26.1 tree-sitter-swift==0.7.4
	touch $@

$(VENV)/docs.stamp: $(VENV)/base.stamp
	$(PIP_INSTALL) -e '.[docs]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp
	$(PIP_INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(TENSORFLOW) $(OLD) $(ARM64) $(ADB) $(APPS) build dist edgekit-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
