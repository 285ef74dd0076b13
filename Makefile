# Commands of the project. Owns how things are called; what they check is configured in pyproject.toml.
# Nothing here may depend on the folder's name: it may hold spaces, so paths stay relative.

#: Interpreter that .venv is made with (3.11 or newer).
PYTHON ?= python3
#: Processes that run the tests.
JOBS ?= 2
#: More arguments for pytest, for instance ARGS='-k leases -x'.
ARGS ?=
# Hundreds of tests start a Python process: none should compile everything anew, whatever the shell's environment says.
export PYTHONDONTWRITEBYTECODE :=
#: Extras that .venv holds.
EXTRAS := tf-cpu,parquet,hdf5,url,dashboard,bench

#: What is compiled when Penstock is installed.
COMPILED := worker/imaging/_jpeg_regions.c $(wildcard worker/imaging/compiled/*.[ch])

STAMP := .venv/.set-up-in
PIP := .venv/bin/python -m pip --disable-pip-version-check

.PHONY: help setup demo wheels test bench-kernels check lint types layout wheel docs audit sbom format constraints clean

help:
	@echo 'make demo [DATA=folder]  train a small network on JPEG files (yours, one folder a class, or generated ones)'
	@echo 'make test [ARGS=...]     run the tests'
	@echo 'make test-TIER           a tier that needs more: slow, long, hosts (root), browser (Chromium), compose (Docker), torch, composer, formats, engines, kubernetes'
	@echo 'make bench-kernels       compare the kernels with torchvision and Albumentations on one core'
	@echo 'make check               format, lint, types, layout, the built wheel in a fresh environment, the documentation'
	@echo 'make docs                 build the documentation site in build/site, and check every link in it'
	@echo 'make wheels              build an sdist and a wheel with libjpeg-turbo in build/dist, and try the wheel'
	@echo 'make audit               look the pinned packages up for known weaknesses (asks pypi.org and api.osv.dev)'
	@echo 'make sbom                list all packages in build/sbom.json (CycloneDX)'
	@echo 'make format              let ruff format the code and repair what it can'
	@echo 'make constraints         resolve constraints.txt anew, with the newest versions allowed'
	@echo 'make clean               remove .venv and build'

# A venv holds its own path and the source's: one that was moved or copied runs the tests of another folder, or nothing.
ifneq ($(shell test ! -e $(STAMP) || test "$$(cat $(STAMP))" = "$$(pwd -P)" || echo moved),)
.PHONY: $(STAMP)
endif

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py $(COMPILED) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Penstock needs Python 3.11 or newer, and this is %s: try make PYTHON=python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@if test -e $(STAMP) && test "$$(cat $(STAMP))" != "$$(pwd -P)"; then rm -rf .venv; fi
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt --upgrade pip
	$(PIP) install -c constraints.txt --build-constraint constraints.txt -e '.[$(EXTRAS)]' --group dev --group audit --group docs
	@pwd -P > $(STAMP)

# The demo needs TensorFlow and no more: without .venv, it gets a smaller environment of its own.
DEMO := $(if $(wildcard $(STAMP)),.venv,build/demo-venv)

demo: $(DEMO)/.set-up-in
	@$(DEMO)/bin/penstock demo $${DATA:+--data "$$DATA"}

build/demo-venv/.set-up-in: pyproject.toml setup.py $(COMPILED) constraints.txt
	@echo 'Installing Penstock and TensorFlow in build/demo-venv, once: 1.7 GB, which takes minutes ...'
	@$(PYTHON) -m venv --clear build/demo-venv
	@build/demo-venv/bin/python -m pip install -qq -c constraints.txt --upgrade pip
	@build/demo-venv/bin/python -m pip install -qq -c constraints.txt --build-constraint constraints.txt -e '.[tf-cpu,dashboard]'
	@pwd -P > $@

# What is published: an sdist and a wheel with libjpeg-turbo, each tried in a fresh environment.
wheels:
	$(PYTHON) .ci/build_wheels.py

# Not `python -m pytest`: that puts the repository on sys.path, where a bare `import worker` works.
test: $(STAMP)
	.venv/bin/pytest -n $(JOBS) --dist worksteal $(ARGS)

# Tiers that `make test` leaves out; pyproject.toml says what each needs.
test-%: $(STAMP)
	.venv/bin/pytest -m $* $(ARGS)

test-browser: $(STAMP)
	.venv/bin/pytest -m browser -n $(JOBS) --dist worksteal $(ARGS)

test-slow: $(STAMP)
	.venv/bin/pytest -m 'slow and not compose and not hosts and not browser and not torch and not composer and not formats and not engines and not kubernetes and not long' \
	  -n $(JOBS) --dist worksteal $(ARGS)

# Packages of hundreds of MB have an environment of their own: `make demo` and `make test` stay light.
TORCH := build/torch
TORCH_PIP := $(TORCH)/bin/python -m pip --disable-pip-version-check

ifneq ($(shell test ! -e $(TORCH)/.set-up-in || test "$$(cat $(TORCH)/.set-up-in)" = "$$(pwd -P)" || echo moved),)
.PHONY: $(TORCH)/.set-up-in
endif

# Lightning's warnings need classes that xdist's own process cannot import, so the page about trainers is tested without it.
TRAINERS_PAGE := tests/pytorch/test_trainers_page.py

test-torch: $(TORCH)/.set-up-in
	$(TORCH)/bin/pytest -m 'torch and not long' $(TRAINERS_PAGE) $(ARGS)
	$(TORCH)/bin/pytest -m 'torch and not long' -n $(JOBS) --dist worksteal --ignore $(TRAINERS_PAGE) tests/pytorch $(ARGS)

$(TORCH)/.set-up-in: pyproject.toml setup.py constraints.txt tests/pytorch/requirements.txt tests/pytorch/constraints.txt
	rm -rf $(TORCH)
	$(PYTHON) -m venv $(TORCH)
	$(TORCH_PIP) install -c constraints.txt --upgrade pip
	$(TORCH_PIP) install -c constraints.txt -c tests/pytorch/constraints.txt --build-constraint constraints.txt \
	  -r tests/pytorch/requirements.txt -e . --group torch
	@pwd -P > $@

# MosaicML's Composer takes older versions of PyTorch and others, so it is installed first. Penstock then replaces its Pillow.
COMPOSER := build/composer
COMPOSER_PIP := $(COMPOSER)/bin/python -m pip --disable-pip-version-check

ifneq ($(shell test ! -e $(COMPOSER)/.set-up-in || test "$$(cat $(COMPOSER)/.set-up-in)" = "$$(pwd -P)" || echo moved),)
.PHONY: $(COMPOSER)/.set-up-in
endif

# Composer leaves the folders of its checkpoint savers to the collector, which may find them after the tests.
test-composer: $(COMPOSER)/.set-up-in
	$(COMPOSER)/bin/pytest -m composer -W 'ignore:Implicitly cleaning up:ResourceWarning' tests/composer $(ARGS)

$(COMPOSER)/.set-up-in: pyproject.toml setup.py constraints.txt tests/composer/requirements.txt tests/composer/constraints.txt
	rm -rf $(COMPOSER)
	$(PYTHON) -m venv $(COMPOSER)
	$(COMPOSER_PIP) install -c constraints.txt --upgrade pip
	grep -viE '^(numpy|packaging|prompt_toolkit|rich)==' constraints.txt > $(COMPOSER)/constraints.txt
	grep -vi '^pillow==' $(COMPOSER)/constraints.txt > $(COMPOSER)/first.txt
	$(COMPOSER_PIP) install -c $(COMPOSER)/first.txt -c tests/composer/constraints.txt -r tests/composer/requirements.txt
	$(COMPOSER_PIP) install -c $(COMPOSER)/constraints.txt -c tests/composer/constraints.txt \
	  --build-constraint constraints.txt -e . --group torch
	@pwd -P > $@

# What benchmarks/kernels.py compares the kernels with: torchvision and Albumentations.
KERNELS := build/kernels
KERNELS_PIP := $(KERNELS)/bin/python -m pip --disable-pip-version-check

ifneq ($(shell test ! -e $(KERNELS)/.set-up-in || test "$$(cat $(KERNELS)/.set-up-in)" = "$$(pwd -P)" || echo moved),)
.PHONY: $(KERNELS)/.set-up-in
endif

bench-kernels: $(KERNELS)/.set-up-in
	$(KERNELS)/bin/python benchmarks/kernels.py $(ARGS)

$(KERNELS)/.set-up-in: pyproject.toml setup.py $(COMPILED) constraints.txt benchmarks/requirements.txt tests/pytorch/constraints.txt
	rm -rf $(KERNELS)
	$(PYTHON) -m venv $(KERNELS)
	$(KERNELS_PIP) install -c constraints.txt --upgrade pip
	$(KERNELS_PIP) install -c constraints.txt -c tests/pytorch/constraints.txt --build-constraint constraints.txt \
	  -r benchmarks/requirements.txt -e .
	@pwd -P > $@

# The tools whose files are read, in an environment that sees .venv's packages (TensorFlow is one of them): it takes a minute.
FORMATS := build/formats
SEES := import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))

ifneq ($(shell test ! -e $(FORMATS)/.set-up-in || test "$$(cat $(FORMATS)/.set-up-in)" = "$$(pwd -P)" || echo moved),)
.PHONY: $(FORMATS)/.set-up-in
endif

# Not the `pytest` of .venv, whose Python lacks the tools; -P keeps the repository off sys.path, as in `make test`.
test-formats: $(FORMATS)/.set-up-in
	$(FORMATS)/bin/python -P -m pytest -m formats tests/formats $(ARGS)

$(FORMATS)/.set-up-in: $(STAMP) tests/formats/requirements.txt
	rm -rf $(FORMATS)
	.venv/bin/python -m venv --without-pip $(FORMATS)
	.venv/bin/python -c '$(SEES)' > $$(echo $(FORMATS)/lib/python*/site-packages)/venv.pth
	grep -v '^python-dateutil==' constraints.txt > $(FORMATS)/constraints.txt # botocore wants an older one
	$(FORMATS)/bin/python -m pip --disable-pip-version-check install -c $(FORMATS)/constraints.txt -r tests/formats/requirements.txt
	@pwd -P > $@

# Engines that run on this machine: Ray, in an environment of its own, and Slurm, which root gets from Debian.
ENGINES := build/engines
ENGINES_PIP := $(ENGINES)/bin/python -m pip --disable-pip-version-check

ifneq ($(shell test ! -e $(ENGINES)/.set-up-in || test "$$(cat $(ENGINES)/.set-up-in)" = "$$(pwd -P)" || echo moved),)
.PHONY: $(ENGINES)/.set-up-in
endif

test-engines: $(ENGINES)/.set-up-in
	@if ! test -x /usr/sbin/slurmctld && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
	    slurmctld slurmd slurm-client munge || echo 'Slurm cannot be installed: its tests are skipped' >&2; fi
	$(ENGINES)/bin/pytest -m engines tests/engines $(ARGS)

$(ENGINES)/.set-up-in: pyproject.toml setup.py constraints.txt tests/engines/requirements.txt
	rm -rf $(ENGINES)
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES_PIP) install -c constraints.txt --upgrade pip
	$(ENGINES_PIP) install -c constraints.txt --build-constraint constraints.txt -r tests/engines/requirements.txt -e . --group torch
	@pwd -P > $@

# A real Kubernetes cluster of two nodes: its programs are built once, from Debian's sources, and kept in a cache folder.
test-kubernetes: $(STAMP)
	@if test "$$(id -u)" = 0 && command -v apt-get >/dev/null && ! { command -v dnsmasq && command -v rsync; } >/dev/null; then \
	  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
	    dnsmasq-base dpkg-dev gcc libc6-dev rsync || echo 'packages cannot be installed: the tests are skipped' >&2; fi
	@tests/kubernetes/build.sh || echo 'Kubernetes cannot be built here: its tests are skipped' >&2
	.venv/bin/pytest -m kubernetes tests/kubernetes $(ARGS)

# MosaicML's own writer, which brings PyTorch with CUDA (6 GB): not part of CI, where the files are written by hand.
test-formats-mosaicml: $(FORMATS)/.set-up-in $(FORMATS)-mosaicml/.set-up-in
	FORMATS_MOSAICML_PYTHON=$(FORMATS)-mosaicml/bin/python $(FORMATS)/bin/python -P -m pytest -m formats tests/formats $(ARGS)

# It holds nothing of Penstock, so only its own requirements make it anew. They contradict those of the others.
$(FORMATS)-mosaicml/.set-up-in: tests/formats/mosaicml_requirements.txt
	rm -rf $(FORMATS)-mosaicml
	$(PYTHON) -m venv $(FORMATS)-mosaicml
	$(FORMATS)-mosaicml/bin/python -m pip --disable-pip-version-check install -r tests/formats/mosaicml_requirements.txt
	@pwd -P > $@

# Of the long tier, schedules are simulated on all cores; what uses real processes and clocks runs alone.
test-long: $(STAMP) $(TORCH)/.set-up-in
	.venv/bin/pytest -m 'long and simulation' -n $(JOBS) $(ARGS)
	.venv/bin/pytest -m 'long and not simulation and not torch' $(ARGS)
	$(TORCH)/bin/pytest -m 'torch and long' tests/pytorch $(ARGS)

check: lint types layout wheel docs

lint: $(STAMP)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: $(STAMP)
	.venv/bin/python .ci/check_types.py

layout: $(STAMP)
	.venv/bin/python .ci/check_layout.py

wheel: $(STAMP)
	.venv/bin/python .ci/check_wheel.py

docs: $(STAMP)
	.venv/bin/python .ci/check_site.py

# Not part of `check`: it asks services beyond the package index, and what they say changes while the code does not.
audit: $(STAMP)
	.venv/bin/python .ci/supply_chain.py audit

sbom: $(STAMP)
	.venv/bin/python .ci/supply_chain.py sbom

format: $(STAMP)
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

constraints: $(STAMP)
	rm -rf build/constraints-venv
	$(PYTHON) -m venv build/constraints-venv
	build/constraints-venv/bin/python -m pip install --upgrade pip
	build/constraints-venv/bin/python -m pip install -e '.[$(EXTRAS)]' --group dev --group audit --group docs
	build/constraints-venv/bin/python -m pip freeze --all --exclude penstock | LC_ALL=C sort -f > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf .venv build *.egg-info worker/imaging/*.so worker/imaging/compiled/*.so
