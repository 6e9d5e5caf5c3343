# Every target does its own set-up: `make demo` or `make test` in a fresh clone is all there is to do.
# Needs python3 (3.10 or newer, with venv), a C compiler and OpenSSL's headers (3.0 or newer); says so if one is missing.
#
#   make PYTHON=python3.13 test                choose the Python
#   make test PYTEST_ARGS="unit -k alpn"       choose the tests; paths are relative to tests/
#   OPENSSL_DIR=/opt/openssl-3.5 make test     build against another OpenSSL; after `make clean`

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
END_TO_END_ARGS ?=
SOAK_REQUESTS ?= 200000
REACTORS ?= asyncio iocp
# --check compares, --update stores, nothing at all shows them.
INSTRUCTIONS ?= --check
RELEASE ?= bookworm
# About ten milliseconds each, with the sanitizers on.
FUZZ_RUNS ?= 20000
FUZZ_SEED ?= $(shell date +%s)

VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(VENV)/$(SCRIPTS)/python
PIP_QUIETLY := -m pip --disable-pip-version-check --quiet
DIST := $(VENV)/dist

# Folders too, so that a file that went away is noticed.
SOURCES := setup.py pyproject.toml MANIFEST.in $(wildcard README.md) \
	$(shell find txmembio twisted -name __pycache__ -prune -o \( -type d -o -name '*.py' -o -name '*.pyi' -o -name '*.[ch]' \) -print)

.PHONY: help test test-quick test-applications test-reactors test-wine demo develop bench bench-quick instructions soak lint lint-workflows format c-check fuzz wheel sdist test-chroot clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo         serve a site over TLS without pyOpenSSL, and fetch it"
	@echo "make test         build a wheel, install it, and run all tests on it"
	@echo "make test-quick   the same without the tests that build packages"
	@echo "make test-applications  Scrapy, Buildbot, Synapse and others without pyOpenSSL (minutes; the package index)"
	@echo "make test-reactors  the tests of the Twisted adapter on asyncio and on emulated completion ports;"
	@echo "                  REACTORS=\"select poll asyncio uvloop iocp\" for other reactors"
	@echo "make test-wine    Windows' CPython and Twisted's IOCP reactor under wine (minutes; a gigabyte in ~/.cache)"
	@echo "make develop      build in place, and run the quick tests on the checkout"
	@echo "make lint         ruff and mypy --strict"
	@echo "make format       let ruff mend what it can"
	@echo "make c-check      our C alone, with every warning an error, by each compiler there is"
	@echo "make fuzz         the C pump against hostile wire, under the sanitizers"
	@echo "make instructions  compare instruction counts with those stored (valgrind); INSTRUCTIONS=--update stores them"
	@echo "make bench        the benchmarks, in memory and end to end (half an hour; bench-quick: a smoke test of them)"
	@echo "make soak         two hundred thousand requests on Tornado, and what is left of them (minutes)"
	@echo "make wheel sdist  into dist/"
	@echo "make test-chroot  make test and make demo in a minimal Debian 12 (root, debootstrap; minutes);"
	@echo "                  RELEASE=trixie or sid for newer ones"
	@echo "make clean        remove all that these make"

# --- the environment ---------------------------------------------------------------------------------------------

$(VENV)/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is not on PATH. txmembio needs Python 3.10 or newer; install it with:" \
	  "apt-get install python3 python3-venv python3-dev (Debian, Ubuntu), dnf install python3-devel (Fedora)," \
	  "apk add python3-dev (Alpine), brew install python (macOS), winget install Python.Python.3.13 (Windows)." >&2; exit 1; }
	@"$(PYTHON)" tools/prerequisites.py
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

# What a build needs, so that one can be made without asking the package index again.
$(VENV)/.build-tools: $(VENV)/.created
	$(PY) $(PIP_QUIETLY) install "pip>=22.3" build "setuptools>=77" "cffi>=1.17"
	@touch $@

# The wheel is built from the sdist, in a temporary folder: nothing that lies about in the checkout gets into it.
$(VENV)/.wheel: $(VENV)/.build-tools $(SOURCES)
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@echo "building the wheel (log: $(VENV)/build.log)"
	@$(PY) -m build --no-isolation --outdir $(DIST) . >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log >&2; exit 1; }
	@touch $@

# The same version may have other contents by now, so pip is made to forget what it has.
$(VENV)/.installed: $(VENV)/.wheel
	@$(PY) $(PIP_QUIETLY) uninstall --yes txmembio 2>/dev/null
	$(PY) $(PIP_QUIETLY) install "$$(ls $(DIST)/*.whl)[dev]"
	@touch $@

$(VENV)/.inplace: $(VENV)/.installed
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

# --- what to do with it ------------------------------------------------------------------------------------------

# From a folder other than the checkout's own, so that Python cannot find the checkout instead of what is installed.
test: $(VENV)/.installed
	cd tests && TXMEMBIO_TEST_INSTALLED=1 "$(CURDIR)/$(PY)" -m pytest -m "not applications and not wine" $(PYTEST_ARGS)

test-quick: $(VENV)/.installed
	cd tests && TXMEMBIO_TEST_INSTALLED=1 "$(CURDIR)/$(PY)" -m pytest -m "not packaging and not applications and not wine" $(PYTEST_ARGS)

test-applications: $(VENV)/.installed
	cd tests && TXMEMBIO_TEST_INSTALLED=1 "$(CURDIR)/$(PY)" -m pytest applications $(PYTEST_ARGS)

# `make test` has run them on epoll. A test that has nothing to do with Twisted is left out.
test-reactors: $(VENV)/.installed
	cd tests && for reactor in $(REACTORS); do TXMEMBIO_TEST_INSTALLED=1 "$(CURDIR)/$(PY)" -m pytest \
	  -m "reactor and not packaging and not applications and not wine" --twisted-reactor=$$reactor $(PYTEST_ARGS) || exit 1; done

# The bed is kept in the user's cache: XDG_CACHE_HOME, or TXMEMBIO_WINE_BED, names another place.
test-wine: $(VENV)/.installed
	tools/apt_packages.sh tests/wine/apt-packages.txt
	cd tests && TXMEMBIO_TEST_INSTALLED=1 "$(CURDIR)/$(PY)" -m pytest -m wine wine $(PYTEST_ARGS)

demo: $(VENV)/.installed
	@cd $(VENV) && $(SCRIPTS)/python -m txmembio demo

develop: $(VENV)/.inplace
	cd tests && PYTHONPATH="$(CURDIR)" "$(CURDIR)/$(PY)" -m pytest -m "not packaging and not applications and not wine" $(PYTEST_ARGS)

# Benchmarks are not installed; they run from the checkout, so it is built too.
bench: $(VENV)/.inplace
	$(PY) -m benchmarks.in_memory $(BENCH_ARGS)
	$(PY) -m benchmarks.end_to_end $(END_TO_END_ARGS)

bench-quick: $(VENV)/.inplace
	$(PY) -m benchmarks.in_memory --quick $(BENCH_ARGS)
	$(PY) -m benchmarks.end_to_end --quick $(END_TO_END_ARGS)

instructions: $(VENV)/.inplace
	$(PY) -m benchmarks.instructions $(INSTRUCTIONS)

# What `make test` does with a tenth as many.
soak: $(VENV)/.installed
	cd tests && TXMEMBIO_TEST_INSTALLED=1 TXMEMBIO_SOAK_REQUESTS=$(SOAK_REQUESTS) "$(CURDIR)/$(PY)" -m pytest -s stress/test_tornado_soak.py

lint: $(VENV)/.installed lint-workflows
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

lint-workflows:
	@if command -v actionlint >/dev/null; then actionlint; else echo "lint-workflows: skipped, actionlint is not installed"; fi

format: $(VENV)/.installed
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

c-check: $(VENV)/.created
	$(PY) tools/c_check.py

# What a short run of belongs to `make test`; a failure is repeated with FUZZ_SEED and FUZZ_RUNS.
fuzz: $(VENV)/.created
	@mkdir -p build
	$(CC) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -DTXM_FUZZ_STANDALONE -Itxmembio/_openssl \
	  tests/fuzz/pump_fuzzer.c $(filter-out %/_lib.c,$(wildcard txmembio/_openssl/*.c)) -o build/pump_fuzzer -lssl -lcrypto -ldl
	build/pump_fuzzer $(FUZZ_SEED) $(FUZZ_RUNS)

wheel: $(VENV)/.build-tools
	$(PY) -m build --outdir dist --wheel .

sdist: $(VENV)/.build-tools
	$(PY) -m build --outdir dist --sdist .

test-chroot:
	tools/chroot.sh $(RELEASE)

clean:
	rm -rf $(VENV) .peer-venv .bench-venv build dist *.egg-info .tox
	rm -rf .hypothesis tests/.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find txmembio twisted tests benchmarks examples tools \( -name '*.so' -o -name '*.pyd' -o -name dropin.cache \) -exec rm -f {} +
	find txmembio twisted tests benchmarks examples tools -name __pycache__ -prune -exec rm -rf {} +
