# dbos: see README.md.  SPDX-License-Identifier: PostgreSQL
EXTENSION = dbos
DBOS_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" dbos.control)
MODULE_big = dbos
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c bgworkers/*.c)))
DATA_built = dbos--$(DBOS_VERSION).sql
DATA = $(wildcard sql/frozen/*.sql)
PG_CPPFLAGS = -I$(srcdir)/include -DDBOS_VERSION='"$(DBOS_VERSION)"' $(DBOS_CPPFLAGS)
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -ffile-prefix-map=$(CURDIR)=.
# A header of the server names a printf attribute that clang does not know.
ifneq (,$(findstring clang,$(CC)))
PG_CFLAGS += -Wno-ignored-attributes -Wno-unknown-warning-option
endif
# No bitcode: one compiler is enough.
with_llvm = no

.DEFAULT_GOAL := library
.PHONY: deps run stop psql test torture test-asan bench bench-peers lint

# What a machine without PostgreSQL can do; the rest needs its build rules.
deps:
	@scripts/install-deps
run: deps
	@scripts/run
stop:
	@scripts/stop
psql:
	@scripts/psql
test: deps
	@scripts/test $(or $(WHAT),all) $(TEST)
torture: deps
	@DBOS_TORTURE=1 DBOS_TAP_SECONDS=7200 scripts/test tap $(TEST)
test-asan: deps
	@scripts/test-asan
bench: deps
	@test/bench/run $(WHAT)
bench-peers: deps
	@test/bench/install-peers
lint: deps
	@scripts/lint

PG_CONFIG ?= $(shell bash -c '. scripts/common; find_pg_config')
PGXS := $(if $(PG_CONFIG),$(shell $(PG_CONFIG) --pgxs 2>/dev/null))
-include $(PGXS)

.PHONY: library
library: all

SQL_PARTS = $(addprefix sql/,$(shell cat sql/order))
dbos--$(DBOS_VERSION).sql: sql/order $(SQL_PARTS)
	cat $(SQL_PARTS) >$@
$(OBJS): $(wildcard include/dbos/*.h include/dbos/compat/*.h src/*/*.h)
