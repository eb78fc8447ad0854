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

-- Each commit under a quota changes its row: in its page, as long as there is room.
CREATE TABLE dbos.file_quota
(
	directory bigint NOT NULL,
	role regrole NOT NULL,
	max_bytes bigint CHECK (max_bytes OPERATOR(pg_catalog.>=) 0),
	max_files bigint CHECK (max_files OPERATOR(pg_catalog.>=) 0),
	bytes bigint NOT NULL,
	files bigint NOT NULL,
	PRIMARY KEY (directory, role)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE dbos.file_quota IS 'how much directories, with what is below them, and roles may have, and have; the other of the two is 0; read dbos.file_quotas';
SELECT pg_catalog.pg_extension_config_dump('dbos.file_quota', '');

CREATE FUNCTION dbos.set_quota(path text, bytes bigint, files bigint DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_set_quota';
COMMENT ON FUNCTION dbos.set_quota(text, bigint, bigint) IS
	'says how many bytes, and how many files and directories, may be in a directory and below it; NULL: any number. A file with two names there counts twice. Example: SELECT dbos.set_quota(''/data'', bytes => 1000000000);';
CREATE FUNCTION dbos.set_role_quota(role regrole, bytes bigint, files bigint DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_set_role_quota';
COMMENT ON FUNCTION dbos.set_role_quota(regrole, bigint, bigint) IS
	'says how many bytes, and how many files and directories, a role may own, in all containers; NULL: any number. Example: SELECT dbos.set_role_quota(''dbos_user'', bytes => 1000000000, files => 100000);';

CREATE FUNCTION dbos.file_quota_use(OUT path text, OUT role regrole, OUT container_id integer, OUT bytes bigint, OUT max_bytes bigint,
	OUT files bigint, OUT max_files bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_file_quota_use';
COMMENT ON FUNCTION dbos.file_quota_use() IS 'the rows of dbos.file_quotas';
CREATE VIEW dbos.file_quotas AS
	SELECT path, role, dbos.container_path(container_id) AS container, bytes, max_bytes, files, max_files FROM dbos.file_quota_use();
COMMENT ON VIEW dbos.file_quotas IS
	'what directories and roles with a quota have and may have; directories that you may reach, and your own roles. Example: SELECT path, role, bytes, max_bytes FROM dbos.file_quotas;';

REVOKE ALL ON FUNCTION dbos.fold_usage(), dbos.set_quota(text, bigint, bigint), dbos.set_role_quota(regrole, bigint, bigint),
	dbos.file_quota_use() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.fold_usage(), dbos.set_quota(text, bigint, bigint), dbos.set_role_quota(regrole, bigint, bigint) TO dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.file_quota_use() TO dbos_user, dbos_monitor, dbos_admin;
GRANT SELECT ON dbos.file_quotas TO dbos_user, dbos_monitor, dbos_admin;
