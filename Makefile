# dbos: see README.md.  SPDX-License-Identifier: PostgreSQL
EXTENSION = dbos
DBOS_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" dbos.control)
MODULE_big = dbos
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c bgworkers/*.c)))
# From each earlier version there is a way to the next, and so to this one.
UPDATES = $(patsubst sql/update/%.order,dbos--%.sql,$(wildcard sql/update/*.order))
DATA_built = dbos--$(DBOS_VERSION).sql $(UPDATES)
# The current version is built; what it was when it was released lies beside the earlier ones.
DATA = $(filter-out sql/frozen/dbos--$(DBOS_VERSION).sql,$(wildcard sql/frozen/*.sql))
EXTRA_CLEAN = build
PG_CPPFLAGS = -I$(srcdir)/include -DDBOS_VERSION='"$(DBOS_VERSION)"' $(DBOS_CPPFLAGS)
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -ffile-prefix-map=$(CURDIR)=.
# Chunks of files are compressed and have checksums; a caller may add to what is linked.
override SHLIB_LINK += -llz4 -lisal
# No bitcode: one compiler is enough.
override with_llvm = no

.DEFAULT_GOAL := library
.PHONY: help deps run stop psql test test-plain test-pg15 test-pg16 test-pg17 test-pg18 torture test-asan bench bench-peers lint reproducible clean-private

help:
	@sed -n 's/^#: //p' Makefile
#: make              compile; CC=clang with the other compiler
#: make run          start the private server and take the tour; FRESH=1 forgets its data
#: make psql, stop   a session on it; its end
#: make test         all suites; WHAT=rules|comments|regress|isolation|tap and TEST=name choose
#: make test-plain   the second half of it: all with shared memory off
#: make test-pg17    all suites with another PostgreSQL in a Debian of its own, as root; so test-pg15, test-pg18
#: make torture      the TAP tests with their full counts
#: make test-asan    the regress suite with sanitizers
#: make bench        the measurements; WHAT=tasks|batches|host|messages|files; make bench-peers installs whom they stand beside
#: make lint         what neither compiler nor tests see; make reproducible is a part of it
#: make install      into the PostgreSQL that PG_CONFIG names
#: make clean        forget what was built, and the private servers

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
# Shared memory holds hints: without it all must be right, only slower.
test-plain: deps
	@DBOS_TEST_SHARED_MEMORY=off scripts/test $(or $(WHAT),all) $(TEST)
# 16 is asked for too, to be told why not.
test-pg15 test-pg16 test-pg17 test-pg18: test-pg%:
	@scripts/test-chroot $* $(or $(WHAT),all) $(TEST)
torture: deps
	@DBOS_TORTURE=1 DBOS_TAP_SECONDS=7200 scripts/test tap $(TEST)
test-asan: deps
	@scripts/test-asan
bench: deps
	@if [ -x test/bench/run ]; then test/bench/run $(WHAT); else echo "there is no test/bench/run"; exit 1; fi
bench-peers: deps
	@test/bench/install-peers
reproducible: deps
	@scripts/check-reproducible
lint: deps
	@scripts/lint

clean: clean-private
clean-private:
	@scripts/clean

PG_CONFIG ?= $(shell bash -c '. scripts/common; find_pg_config')
PGXS := $(if $(PG_CONFIG),$(shell $(PG_CONFIG) --pgxs 2>/dev/null))
-include $(PGXS)

# PostgreSQL's flags are those of the compiler that built it; so is the printf
# attribute in its headers, the one thing in them that clang warns of.
ifneq (,$(findstring clang,$(CC)))
override CFLAGS := $(filter-out -fexcess-precision=% -Wimplicit-fallthrough=% \
	-Wno-format-truncation -Wno-stringop-truncation,$(CFLAGS)) -Wimplicit-fallthrough -Wno-ignored-attributes
endif

.PHONY: library always
library: all

SQL_PARTS = $(addprefix sql/,$(shell sed /SPDX/d sql/order))
dbos--$(DBOS_VERSION).sql: sql/order $(SQL_PARTS)
	cat $(SQL_PARTS) >$@
# What changed, then the areas that are new, which stand in sql/ once for both scripts.
dbos--%.sql: sql/update/%.order $(wildcard sql/*.sql sql/update/*.sql)
	sed /SPDX/d $< | sed 's|^|sql/|' | xargs cat >$@
# Every object is made anew when a header or the flags change: at this size a
# list of who includes what would cost more than it saves.
$(OBJS): $(wildcard include/dbos/*.h include/dbos/compat/*.h src/*/*.h) Makefile build/flags
flags = $(CC) $(CFLAGS) $(CPPFLAGS)
build/flags: always
	@mkdir -p build
	@echo '$(subst ','\'',$(flags))' | cmp -s - $@ || echo '$(subst ','\'',$(flags))' >$@
always:
