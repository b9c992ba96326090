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
DEPS_RUN   := udev dbus polkitd systemd cracklib-runtime wamerican pinentry-curses
DEPS_TEST  := libcmocka-dev python3 python3-pytest libpam-systemd util-linux e2fsprogs exfat-fuse exfatprogs ntfs-3g \
	dosfstools btrfs-progs nbdkit libnbd-bin fuse3 keyutils testdisk strace attr acl pkexec policykit-1 libcap2-bin procps
DEPS_LINT  := clang clang-format clang-tidy cppcheck libclang-rt-14-dev libxml2-utils man-db

WARNINGS  := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wvla -Wformat=2 -Wundef -Wwrite-strings -Werror
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -fno-strict-overflow \
	-ftrivial-auto-var-init=zero
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
-include $(shell find $(O) -name '*.d' 2>/dev/null)

clean:  ## remove what was built
	rm -rf $(O)
