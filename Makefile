# SPDX-License-Identifier: LGPL-2.1-or-later
# usbcrypt. `make help` lists what there is to make.

VERSION   := 0.1.0
O         ?= build
PREFIX    ?= /usr
SYSCONFDIR ?= /etc
DESTDIR   ?=
CC        ?= cc
V         ?= 0
SANITIZE  ?=

LIBEXECDIR := $(PREFIX)/libexec/usbcrypt
PACKAGES   := libsystemd libudev libsodium libcjson libseccomp pwquality libutf8proc
UNIT_PACKAGES := cmocka

# Debian packages, by what needs them; `make deps` installs those that are missing.
DEPS_BUILD := build-essential pkg-config libsystemd-dev libudev-dev libsodium-dev libkeyutils-dev libcjson-dev \
	libseccomp-dev libpwquality-dev libutf8proc-dev
DEPS_RUN   := systemd udev dbus polkitd libpam-systemd dbus-user-session cracklib-runtime wamerican pinentry-curses
DEPS_TEST  := libcmocka-dev python3 python3-pytest python3-dbus util-linux e2fsprogs \
	exfat-fuse exfatprogs ntfs-3g btrfs-progs dosfstools nbdkit libnbd-bin fuse3 keyutils testdisk strace attr acl procps
DEPS_VM    := qemu-system-x86 mmdebstrap squashfs-tools busybox-static cpio kmod python3 python3-pytest python3-pytest-xdist \
	dosfstools exfatprogs ntfs-3g e2fsprogs util-linux nbdkit
DEPS_LINT  := clang clang-format clang-tidy cppcheck libclang-rt-14-dev libxml2-utils man-db valgrind shellcheck

WARNINGS  := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wvla -Wformat=2 -Wundef -Wwrite-strings -Werror
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -fno-strict-overflow \
	-ftrivial-auto-var-init=zero
# clang 14 wants to be asked twice for it; later ones accept that.
ifneq ($(findstring clang,$(shell $(CC) --version 2>/dev/null)),)
HARDENING += -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang -Wno-unused-command-line-argument
endif
ifneq ($(SANITIZE),)
OPTIMIZE  := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
else
OPTIMIZE  := -O2 -g -D_FORTIFY_SOURCE=3
endif
ALL_CFLAGS  := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DUSBCRYPT_VERSION='"$(VERSION)"' \
	-DUSBCRYPT_LIBEXECDIR='"$(LIBEXECDIR)"' -DUSBCRYPT_SYSCONFDIR='"$(SYSCONFDIR)"' -Idaemon \
	$(OPTIMIZE) $(WARNINGS) $(HARDENING) $(CFLAGS)
ALL_CFLAGS  += $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
ALL_LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(OPTIMIZE) $(LDFLAGS)
LIBS        := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lkeyutils -pthread

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2);
endif

# A folder is a layer; each becomes a static library. Order: who includes whom, downwards.
LAYERS := bus core worker device keys protocol engine util
lib     = $(O)/lib$(1).a
objects = $(patsubst %.c,$(O)/%.o,$(wildcard $(1)/*.c))

PROGRAMS := $(O)/usbcryptd $(O)/usbcrypt-worker $(O)/usbctl
UNIT_TESTS := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/test-*.c))

.PHONY: all help clean deps deps-build deps-test deps-lint check-unit check-layers test install uninstall demo \
	lint format check-format check-tidy check-cppcheck check-clang check-asan
.DELETE_ON_ERROR:

all: $(PROGRAMS)  ## build usbcryptd, usbcrypt-worker and usbctl

help:  ## list the targets
	@awk -F ':.*##' '/^[a-z][a-z-]*:.*##/ { printf "  %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define library
$(call lib,$(1)): $(call objects,daemon/$(1))
	@mkdir -p $$(@D)
	$(call say,AR,$$@)
	$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach layer,$(LAYERS),$(eval $(call library,$(layer))))

link = $(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

$(O)/usbcryptd: $(O)/daemon/main.o $(foreach l,bus core device keys protocol util,$(call lib,$(l)))
	$(link)
$(O)/usbcrypt-worker: $(foreach l,worker engine protocol util,$(call lib,$(l)))
	$(link) -Wl,--no-as-needed
$(O)/usbctl: $(call objects,client) $(call lib,util)
	$(link)

$(O)/tests/unit/%: $(O)/tests/unit/%.o $(foreach l,$(LAYERS),$(call lib,$(l)))
	$(link) $$(pkg-config --libs $(UNIT_PACKAGES))

.PRECIOUS: $(O)/%.o
-include $(shell find $(O) -path '$(O)/vm' -prune -o -name '*.d' -type f -print 2>/dev/null)

clean:  ## remove what was built
	rm -rf $(O)

# ---- tests and lint
PYTHON := /usr/bin/python3
TIDY_CFLAGS = -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DUSBCRYPT_VERSION=\"\" -DUSBCRYPT_LIBEXECDIR=\"\" \
	-DUSBCRYPT_SYSCONFDIR=\"\" -Idaemon -Iclient $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CLANG_TIDY_JOBS := $(shell nproc)
C_FILES = $(shell git ls-files -co --exclude-standard 'daemon/*.c' 'client/*.c' 'tests/*.c' 'tests/**/*.c')
# clang-tidy's analyzer does not follow cmocka's asserts, which jump.
PRODUCT_FILES = $(filter daemon/% client/%,$(C_FILES))
H_FILES = $(shell git ls-files -co --exclude-standard 'daemon/*.h' 'client/*.h' 'tests/*.h' 'tests/**/*.h')

# Installs of its arguments what is missing; asks the archive for its lists only when that fails.
define install-packages
@missing=$$(for p in $(1); do dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	test -z "$$missing" && exit 0; \
	echo "installing:" $$missing; \
	if [ $$(id -u) != 0 ]; then echo "as root, please: apt-get install" $$missing >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get install -qq -y --no-install-recommends $$missing >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }
endef

deps: deps-build deps-test deps-lint  ## install what building, testing and linting need (Debian 12)
deps-build:  ## install what building needs
	$(call install-packages,$(DEPS_BUILD))
deps-test: deps-build
	$(call install-packages,$(DEPS_RUN) $(DEPS_TEST))
deps-lint: deps-test
	$(call install-packages,$(DEPS_LINT))

unit-tests: $(UNIT_TESTS)

# A second make, because the first has looked for libraries that deps may only just have installed.
test: deps-test  ## everything: unit tests, vectors, client, faults, integration, layers (as root)
	@$(MAKE) --no-print-directory -j$$(nproc) all unit-tests
	@$(PYTHON) tests/run --build $(O)

demo: deps-test  ## show the main job on a stick made on the spot: encrypt, pull the plug, recover, compare (as root)
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@O=$(O) tests/demo

check-unit: all unit-tests  ## the unit tests alone
	@$(PYTHON) tests/run --build $(O) unit
check-integration: all  ## the integration tests alone (as root)
	@$(PYTHON) tests/run --build $(O) integration
check-layers: $(call lib,engine) $(O)/usbcrypt-worker  ## includes run one way only, the engine knows neither bus nor udev
	@tests/check-layers --build $(O)

lint: deps-lint  ## format, clang-tidy, cppcheck, XML, shell, man pages, clang
	@$(MAKE) --no-print-directory check-format check-layers check-xml check-shell check-man check-cppcheck
	@$(MAKE) --no-print-directory -j$$(nproc) check-clang
	@$(MAKE) --no-print-directory check-tidy

format:  ## format the C files
	clang-format -i $(C_FILES) $(H_FILES)

check-format:
	$(call say,FORMAT,'$(words $(C_FILES) $(H_FILES)) files')
	$(Q)clang-format --dry-run -Werror $(C_FILES) $(H_FILES)
check-tidy:
	$(call say,TIDY,'$(words $(PRODUCT_FILES)) files')
	$(Q)printf '%s\0' $(PRODUCT_FILES) | xargs -0 -n 4 -P $(CLANG_TIDY_JOBS) sh -c 'clang-tidy --quiet "$$@" -- \
		$(TIDY_CFLAGS) 2>/dev/null' clang-tidy
check-cppcheck:
	$(call say,CPPCHECK,'$(words $(C_FILES)) files')
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --error-exitcode=1 -j $$(nproc) \
		--inline-suppr --suppressions-list=tests/cppcheck.suppressions -D_GNU_SOURCE -D__GNUC__=12 -Idaemon -Iclient $(C_FILES)
check-clang:
	@$(MAKE) --no-print-directory O=$(O)/clang CC=clang all unit-tests
check-xml:
	$(call say,XML,'dbus/')
	$(Q)xmllint --noout --nonet dbus/*.xml $(wildcard dbus/*.policy dbus/*.conf)
check-shell:
	$(call say,SHELL,'scripts')
	$(Q)shellcheck -x $$(git grep -lE '^#!(/bin/sh|/usr/bin/env bash|/bin/bash)' -- . ':!tests/vectors')
check-man:
	$(call say,MAN,'$(wildcard client/*.[1-8] daemon/*.[1-8] systemd/*.[1-8])')
	$(Q)for page in $(wildcard client/*.[1-8] daemon/*.[1-8] systemd/*.[1-8]); do \
		out=$$(LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z $$page 2>&1 >/dev/null); \
		if [ -n "$$out" ]; then echo "$$page: $$out"; exit 1; fi; done

ASAN_SUITES := unit vectors cli fault integration
check-asan: deps-test  ## unit, vectors, client, faults and integration under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory -j$$(nproc) O=$(O)/asan SANITIZE=address,undefined all unit-tests
	@SANITIZE=address,undefined $(PYTHON) tests/run --build $(O)/asan $(ASAN_SUITES)
check-valgrind: deps-lint  ## the unit tests under valgrind
	@$(MAKE) --no-print-directory -j$$(nproc) all unit-tests
	@$(PYTHON) tests/run --build $(O) --valgrind unit

# ---- vm: real USB, vfat and exFAT in a virtual machine (tests/vm/README.md); needs neither KVM nor, after the first time, a network
VM_JOBS ?= $(shell nproc)
deps-vm: deps-build
	$(call install-packages,$(DEPS_VM))
vm-image: deps-vm  ## the virtual machine's kernel, initrd and root filesystem, of Debian's packages
	$(Q)tests/vm/build-image $(O)/vm
vm-test: vm-image  ## plug, encrypt, pull and cut the power of sticks in a virtual machine; VM_LONG=1 for all of it
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@O=$(O) $(PYTHON) -B -m pytest --rootdir tests/vm --confcutdir tests/vm -p no:cacheprovider -n $(VM_JOBS) \
		-vv --tb=short tests/vm $(VM_TESTS)
vm-shell: vm-image  ## a shell in that machine, with sticks to plug and pull
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@O=$(O) $(PYTHON) -B tests/vm/shell

.PHONY: deps-vm vm-image vm-test vm-shell
.PHONY: unit-tests check-integration check-xml check-shell check-man check-valgrind

# ---- bench: what it costs beside cp, gocryptfs and age (tests/bench/README.md)
DEPS_BENCH := gocryptfs age openssl coreutils e2fsprogs util-linux nbdkit libnbd-bin fuse3 udisks2 linux-perf strace \
	python3 python3-pytest python3-dbus
deps-bench: deps-build
	$(call install-packages,$(DEPS_RUN) $(DEPS_BENCH))
bench: deps-bench  ## speed beside cp, gocryptfs and age, on a medium in memory and on one as slow as a stick (as root)
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) -B tests/bench/bench.py --build $(O)
bench-quick: deps-bench  ## the same with few files and two repetitions, in a minute or two; keeps no table
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) -B tests/bench/bench.py --build $(O) --quick
.PHONY: deps-bench bench bench-quick

# ---- install

BINDIR  := $(PREFIX)/bin
LIBDIR  := $(PREFIX)/lib
DATADIR := $(PREFIX)/share
fill     = sed -e 's|@LIBEXECDIR@|$(LIBEXECDIR)|g' -e 's|@BINDIR@|$(BINDIR)|g'

# What goes where: "mode source destination". Files of other folders are installed when they are there.
INSTALLED := \
	0755:$(O)/usbcryptd:$(LIBEXECDIR)/usbcryptd \
	0700:$(O)/usbcrypt-worker:$(LIBEXECDIR)/usbcrypt-worker \
	0755:$(O)/usbctl:$(BINDIR)/usbctl \
	0644:dbus/org.usbcrypt.UsbCrypt1.conf:$(DATADIR)/dbus-1/system.d/org.usbcrypt.UsbCrypt1.conf \
	0644:dbus/org.usbcrypt.UsbCrypt1.service:$(DATADIR)/dbus-1/system-services/org.usbcrypt.UsbCrypt1.service \
	0644:dbus/org.usbcrypt.UsbCrypt1.xml:$(DATADIR)/dbus-1/interfaces/org.usbcrypt.UsbCrypt1.xml \
	0644:dbus/org.usbcrypt.usbcrypt1.policy:$(DATADIR)/polkit-1/actions/org.usbcrypt.usbcrypt1.policy \
	0644:dbus/50-usbcrypt.rules.example:$(DATADIR)/doc/usbcrypt/50-usbcrypt.rules.example \
	0644:systemd/usbcryptd.service:$(LIBDIR)/systemd/system/usbcryptd.service \
	0644:systemd/usbcrypt-agent.service:$(LIBDIR)/systemd/user/usbcrypt-agent.service \
	0644:systemd/usbcrypt.sysusers.conf:$(LIBDIR)/sysusers.d/usbcrypt.conf \
	0644:systemd/usbcryptd.conf:$(SYSCONFDIR)/usbcrypt/usbcryptd.conf \
	0644:udev/70-usbcrypt.rules:$(LIBDIR)/udev/rules.d/70-usbcrypt.rules \
	$(if $(wildcard client/usbctl.1),0644:client/usbctl.1:$(DATADIR)/man/man1/usbctl.1) \
	$(if $(wildcard client/usbctl.bash-completion),0644:client/usbctl.bash-completion:$(DATADIR)/bash-completion/completions/usbctl)

install: all  ## install below DESTDIR and PREFIX; then: systemd-sysusers, systemctl daemon-reload, udevadm control -R
	@set -e; for item in $(INSTALLED); do \
		mode=$${item%%:*} rest=$${item#*:}; from=$${rest%%:*} to="$(DESTDIR)$${rest#*:}"; \
		case $$from in \
		*.service) install -d "$${to%/*}"; $(fill) "$$from" >"$$to"; chmod $$mode "$$to" ;; \
		systemd/usbcryptd.conf) test -e "$$to" || install -D -m $$mode "$$from" "$$to" ;; \
		*) install -D -m $$mode "$$from" "$$to" ;; \
		esac; done
	@echo "installed below $(DESTDIR)/"

uninstall:  ## remove what install put there, except for the configuration
	@for item in $(INSTALLED); do rest=$${item#*:}; from=$${rest%%:*}; \
		test $$from = systemd/usbcryptd.conf || rm -f "$(DESTDIR)$${rest#*:}"; done
	@rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(LIBEXECDIR)" 2>/dev/null || :

# ---- crash

# The engine as it is, but for its threads; tests/crash/README.md.
CRASH_ENGINE = $(filter-out $(O)/daemon/engine/pool.o,$(call objects,daemon/engine))
$(O)/tests/crash/crash: $(call objects,tests/crash) $(CRASH_ENGINE) $(call lib,util)
	$(link)

crash: $(O)/tests/crash/crash  ## every crash state of small runs on a model disk
	@$< --jobs $$(nproc) $(CRASH_ARGS)
crash-long: $(O)/tests/crash/crash  ## the same, many more of them
	@$< --jobs $$(nproc) --long

mutants: $(O)/tests/crash/crash  ## take one safeguard away at a time: the crash states must notice
	@$(PYTHON) tests/crash/mutants.py $(MUTANT_ARGS) --build $(O) --cc "$(CC) $(filter-out -Werror,$(ALL_CFLAGS))" \
		--link '$(ALL_LDFLAGS) $(call lib,util) $(LIBS)' $(call objects,tests/crash) $(CRASH_ENGINE)

.PHONY: crash crash-long mutants
