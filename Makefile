# dbos: see README.md.  SPDX-License-Identifier: PostgreSQL
EXTENSION = dbos
DBOS_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" dbos.control)
MODULE_big = dbos
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c bgworkers/*.c)))
DATA_built = dbos--$(DBOS_VERSION).sql
DATA = $(wildcard sql/frozen/*.sql)
PG_CPPFLAGS = -I$(srcdir)/include -DDBOS_VERSION='"$(DBOS_VERSION)"' $(DBOS_CPPFLAGS)
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

SQL_PARTS = $(addprefix sql/,$(shell cat sql/order))
dbos--$(DBOS_VERSION).sql: sql/order $(SQL_PARTS)
	cat $(SQL_PARTS) >$@
$(OBJS): $(wildcard include/dbos/*.h include/dbos/compat/*.h src/*/*.h)
