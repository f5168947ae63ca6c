# SPDX-License-Identifier: Apache-2.0
# The verbs. `make` builds into build/, the programs are build/bin/*.
# HACKING.md explains each; `make help` lists them.

BUILD ?= build
PYTHON ?= /usr/bin/python3
WEFT_BIN ?= $(abspath $(BUILD))/bin
export WEFT_BIN

.PHONY: all help packages build build-asan build-clang demo demo-down check test test-full bench fuzz fmt install clean

all: build

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

packages: ## install the Debian packages that are missing (root)
	@deploy/install-packages

$(BUILD)/build.ninja: | packages
	meson setup $(BUILD) -Dwerror=true

build: packages $(BUILD)/build.ninja ## build everything into build/
	@ninja -C $(BUILD) $(NINJA_ARGS)

build-asan: packages ## the same with AddressSanitizer and UBSan, into build-asan/
	@test -e build-asan/build.ninja || meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C build-asan $(NINJA_ARGS)

build-clang: packages ## the same with clang, into build-clang/
	@test -e build-clang/build.ninja || CC=clang meson setup build-clang -Dwerror=true
	@ninja -C build-clang $(NINJA_ARGS)

demo: build ## bring up a cluster, show what talks to what, leave it up (root)
	@deploy/demo/demo.sh up

demo-down: ## remove every trace of the demo (root)
	@deploy/demo/demo.sh down

check: build ## unit and property tests, corpora: under 3 minutes
	@$(PYTHON) tests/run.py check

test: build ## everything that CI runs (root)
	@$(PYTHON) tests/run.py test

test-full: build ## the same at full sizes (root)
	@$(PYTHON) tests/run.py full

test-kubernetes: build ## a real Kubernetes and podman with Weft as their network; builds it once a machine (root)
	@$(PYTHON) -m pytest -q -p no:cacheprovider --durations=5 tests/kubernetes

bench: build ## figures beside the peers, interleaved (root)
	@$(PYTHON) tests/bench/run.py
	@$(PYTHON) tests/bench/wg.py
	@chrt -f 10 $(BUILD)/tests/bpf/program_bench
	@chrt -f 10 taskset -c 0 $(BUILD)/tests/bpf/balancer_bench
	@$(BUILD)/tests/bpf/sock_bench
	@$(BUILD)/tests/policy/policy_bench
	@$(BUILD)/tests/bpf/policy_bench
	@$(BUILD)/tests/bpf/policy_cold
	@$(PYTHON) tests/bench/policy_live.py
	@$(PYTHON) tests/bench/policy_first.py
	@$(BUILD)/tests/service_bench
	@$(PYTHON) tests/bench/services.py

TARGET ?=
SECONDS ?= 60
fuzz: packages ## fuzz with clang: each target, or TARGET="a b", for SECONDS=60; into build-fuzz/
	@test -e build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dwerror=true -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C build-fuzz fuzz-targets $(NINJA_ARGS)
	@$(PYTHON) tests/fuzz/run.py --seconds $(SECONDS) build-fuzz $(TARGET)

fmt: ## format the C sources
	@git ls-files '*.c' '*.h' | xargs clang-format -i

prefix ?=
install: build ## install programs, units, manual pages (DESTDIR=, prefix=/usr/local)
	@test -z '$(prefix)' || meson configure $(BUILD) -Dprefix='$(prefix)'
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD) --quiet

clean: ## remove the build directories
	rm -rf $(BUILD) build-asan build-clang build-fuzz
