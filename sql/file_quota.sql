-- file_quota.sql: sums of what is in directories, and quotas on them.
-- SPDX-License-Identifier: PostgreSQL

-- Rows live for a second or two, and thousands a second may come.
ALTER TABLE dbos.directory_change SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000,
	autovacuum_vacuum_cost_delay = 0, vacuum_truncate = true);
-- A row changes in its page, as long as there is room.
ALTER TABLE dbos.directory_usage SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION dbos.fold_usage() RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_fold_usage';
COMMENT ON FUNCTION dbos.fold_usage() IS
	'adds up what transactions have changed in directories, as the background does every few seconds; returns how many changes there were, and alters no sum. Example: SELECT dbos.fold_usage();';

REVOKE ALL ON FUNCTION dbos.fold_usage() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.fold_usage() TO dbos_admin;
