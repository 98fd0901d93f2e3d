# Umbra. make | run | test | lint | fuzz | crash | sim | bench | install | fmt
#   MODE=release (default) | asan (address + undefined) | tsan    CC=gcc | clang
MODE ?= release
CC = gcc
B := build/$(MODE)
PKGS := libuv openssl lmdb libcares yaml-0.1 jansson libidn2

WARN := -Wall -Wextra -Wshadow -Wvla -Wwrite-strings -Wmissing-prototypes \
	-Wstrict-prototypes -Wpointer-arith -Wcast-qual -Wformat=2 \
	-Wimplicit-fallthrough -Wundef -Werror
BASE := -std=gnu11 -D_GNU_SOURCE -g -I. -pthread -fno-omit-frame-pointer \
	-fno-common
FLAGS_release := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
FLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan := -O1 -fsanitize=thread
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
CFLAGS := $(BASE) $(WARN) $(FLAGS_$(MODE)) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDFLAGS := -pthread $(LINK_$(MODE))
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null || \
	echo -luv -lssl -lcrypto -llmdb -lcares -lyaml -ljansson -lidn2)

ROOMS := mta/base mta/smtp mta/conf queue dns tls mta/net mta/receive \
	mta/policy mta/route mta/deliver mta/report mta/ctl
SRC := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c)) $(wildcard mta/flow.c)
LIB := $(B)/libumbra.a
OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))

all: build/umbrad build/umbra

build/umbrad: $(B)/mta/umbrad
	@cp -f $< $@
build/umbra: $(B)/mta/umbra
	@cp -f $< $@

$(B)/mta/umbrad: $(B)/mta/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/mta/umbra: $(patsubst %.c,$(B)/%.o,$(wildcard mta/cli/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(LIB): $(OBJ)
	@rm -f $@
	@ar rcs $@ $^
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(LIB) $(LDFLAGS) -lcmocka $(LIBS)

unit: $(UNIT)
	@tests/run-unit $(UNIT)

fmt:
	clang-format -i $(shell git ls-files '*.c' '*.h')

-include $(OBJ:.o=.d)
.PHONY: all unit fmt
.DELETE_ON_ERROR:
