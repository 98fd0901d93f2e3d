# Umbra
#
#   make            build/umbrad and build/umbra, hardened, assertions on
#   make run        install what is missing, build, start a relay to try
#   make pair       the same with two relays that hold copies for each other
#   make test       install what is missing, then every test
#   make lint fuzz crash crash-pair sim model bench install fmt clean
#   make install-sendmail      also as sendmail, mailq and newaliases
#
#   MODE=release | asan (address and undefined) | tsan      CC=gcc | clang
#   V=1 shows the commands.
MODE ?= release
CC = gcc
B := build/$(MODE)$(if $(filter clang%,$(CC)),-clang)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

PKGS := libuv openssl lmdb libcares yaml-0.1 jansson libidn2
WARN := -Wall -Wextra -Wshadow -Wvla -Wwrite-strings -Wmissing-prototypes \
	-Wstrict-prototypes -Wpointer-arith -Wcast-qual -Wformat=2 \
	-Wimplicit-fallthrough -Wundef -Werror
BASE := -std=gnu11 -D_GNU_SOURCE -g -I. -isystem /usr/share/include/llhttp \
	-pthread -fno-omit-frame-pointer \
	-fno-common
FLAGS_release := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
	-fstack-clash-protection -fPIE
FLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan := -O1 -fsanitize=thread \
	$(if $(filter clang%,$(CC)),,-Wno-maybe-uninitialized)
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
CFLAGS = $(BASE) $(WARN) $(FLAGS_$(MODE)) $(EXTRA)
LDFLAGS = -pthread $(LINK_$(MODE))
# llhttp is C sources of a Debian package, compiled as they are.
LLHTTP := $(patsubst %,$(B)/llhttp/%.o,api http llhttp)
LIBS := -luv -lssl -lcrypto -llmdb -lcares -lyaml -ljansson -lidn2

ROOMS := mta/base mta/smtp mta/conf queue dns tls mta/net mta/receive \
	mta/policy mta/route mta/deliver mta/shadow mta/pressure mta/report \
	mta/pickup mta/ctl
SRC := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c)) $(wildcard mta/flow*.c)
CLI := $(wildcard mta/cli/*.c)
LIB := $(B)/libumbra.a
OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
SECONDS ?= 30
PYTEST := /usr/bin/python3 -m pytest -q -p no:cacheprovider

all: build/umbrad build/umbra

build/umbrad build/umbra: build/%: $(B)/mta/%
	$(Q)cp -f $< $@.new && mv -f $@.new $@

$(B)/mta/umbrad: $(B)/mta/main.o $(B)/mta/upgrade.o \
		$(B)/mta/upgrade_binary.o $(B)/mta/upgrade_next.o $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/mta/umbra: $(CLI:%.c=$(B)/%.o) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(LIB): $(OBJ) $(LLHTTP)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/llhttp/%.o: /usr/share/llhttp/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE) $(FLAGS_$(MODE)) -c -o $@ $<
$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(LIB) $(LDFLAGS) -lcmocka $(LIBS)

# --- tests ------------------------------------------------------------------

programs: $(B)/mta/umbrad $(B)/mta/umbra
unit-programs: $(UNIT)

setup-build:
	@tests/setup build
setup-test:
	@tests/setup test

# Everything that CI runs: counts at the end, the first failure stops nothing.
test: setup-test
	@tests/run-all

unit: $(UNIT)
	@tests/run-unit $(UNIT)

# Those that have threads, under the thread sanitizer. Addresses are fixed where
# that is allowed: at random its memory leaves no room for LMDB's map sometimes.
THREADED := $(patsubst %.c,$(B)/%,$(wildcard $(addprefix tests/unit/test_, \
	log.c loop.c store*.c ctl*.c dns_live.c stream.c)))
tsan:
	$(Q)$(MAKE) -s -j2 MODE=tsan run-tsan
run-tsan: $(THREADED)
	@$$(setarch -R true 2>/dev/null && echo setarch -R) \
		tests/run-unit $(THREADED)

system: programs
	$(Q)UMBRA_BIN=$(B)/mta $(PYTEST) tests/system

crash: programs
	$(Q)UMBRA_BIN=$(B)/mta $(PYTEST) tests/crash

# All 240 runs of the matrix for two nodes; RUNS=body/slow/ only some.
crash-pair: programs
	$(Q)UMBRA_BIN=$(B)/mta RUNS=$(or $(RUNS),all) $(PYTEST) -rs -s \
		tests/crash/test_pair_matrix.py

SIM_SRC := $(filter-out %/main.c,$(wildcard tests/sim/*.c))
SIM_LIB := $(filter-out %/loop_uv.o %/stream_uv.o %/stream_out.o \
	%/listener.o %/sockets.o $(B)/queue/store%.o $(B)/queue/care%.o \
	%/lmdb_care.o %/bodyfile.o %/writer.o \
	%/dns_cares.o %/lookup.o %/flow_peer.o %/probe_os.o %/dropdir.o \
	$(B)/mta/ctl/%,$(OBJ))
$(B)/tests/sim/sim: tests/sim/main.c $(SIM_SRC:%.c=$(B)/%.o) $(SIM_LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)
sim: $(B)/tests/sim/sim
	$(Q)$< $(SIM)

# Faults that the simulator must find, each in a simulator of its own.
seeded-bugs: $(B)/tests/sim/sim $(B)/tests/sim/main.o
	$(Q)CC='$(CC)' CFLAGS='$(CFLAGS)' LDFLAGS='$(LDFLAGS) $(LIBS)' \
		tests/sim/seeded-bugs $< $(B)/tests/sim/main.o \
		$(SIM_SRC:%.c=$(B)/%.o) $(SIM_LIB)

# The shadow protocol through Spin; MODEL=full takes long, or name some.
model:
	@tests/model/run $(MODEL)

build/fuzz/%: tests/fuzz/%.c $(SRC)
	@mkdir -p $(@D)
	$(Q)$(MAKE) -s MODE=fuzz CC=clang build/fuzz-clang/libumbra.a
	$(call say,FUZZ,$<)
	$(Q)clang $(BASE) $(WARN) -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< \
		build/fuzz-clang/libumbra.a $(LIBS)
FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=undefined
fuzz-programs: $(FUZZ)
fuzz: fuzz-programs
	@tests/run-fuzz $(SECONDS) $(FUZZ)

$(B)/tests/bench/%: tests/bench/%.c $(LIB)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(LIB) $(LDFLAGS) $(LIBS)

bench: all
	@tests/bench/run $(BENCH)

# --- keeping house ----------------------------------------------------------

lint: setup-test
	@/usr/bin/python3 tests/lint.py
	@clang-format --dry-run -Werror $$(git ls-files -co --exclude-standard '*.c' '*.h')
	$(Q)$(MAKE) -s -j2 CC=clang programs
	@build/release-clang/mta/umbra config manual | diff -u docs/configuration.md - || \
		{ echo "docs/configuration.md: make docs writes it anew"; exit 1; }

docs: all
	build/umbra config manual > docs/configuration.md
	/usr/bin/python3 tests/lint.py --write-docs

tidy: setup-test
	clang-tidy --quiet $(SRC) mta/main.c -- $(BASE) 2>&1

fmt:
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

run: setup-build
	@$(MAKE) -s -j2 all
	@etc/try
pair: setup-build
	@$(MAKE) -s -j2 all
	@etc/try-pair

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin \
		$(DESTDIR)$(SYSCONFDIR)/umbra $(DESTDIR)/lib/systemd/system
	install -m 755 build/umbrad $(DESTDIR)$(PREFIX)/sbin/umbrad
	install -m 755 build/umbra $(DESTDIR)$(PREFIX)/bin/umbra
	test -e $(DESTDIR)$(SYSCONFDIR)/umbra/umbra.yaml || \
		install -m 644 etc/umbra.yaml $(DESTDIR)$(SYSCONFDIR)/umbra/umbra.yaml
	sed 's|@PREFIX@|$(PREFIX)|' etc/umbra.service \
		> $(DESTDIR)/lib/systemd/system/umbra.service

# The names that other programs know. Whatever has them now is not overwritten.
install-sendmail: install
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	ln -s ../bin/umbra $(DESTDIR)$(PREFIX)/sbin/sendmail
	ln -s umbra $(DESTDIR)$(PREFIX)/bin/mailq
	ln -s umbra $(DESTDIR)$(PREFIX)/bin/newaliases

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all programs unit-programs setup-build setup-test test unit tsan \
	run-tsan system crash crash-pair sim seeded-bugs model fuzz fuzz-programs bench \
	lint docs tidy fmt run pair install install-sendmail clean
.DELETE_ON_ERROR:
.SECONDARY:
