-- SPDX-License-Identifier: PostgreSQL
-- Schedules: when one fires.

CREATE FUNCTION dbos.schedule_preview(cron text, timezone text DEFAULT 'UTC', starts_after timestamptz DEFAULT pg_catalog.now(), count integer DEFAULT 10)
	RETURNS SETOF timestamptz LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10
	AS 'MODULE_PATHNAME', 'dbos_schedule_preview';
COMMENT ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) IS
	'the next times after starts_after at which a schedule of that cron text in that time zone fires, soonest first. Example: SELECT dbos.schedule_preview(''0 9 * * mon-fri'', ''Europe/Berlin'');';

REVOKE ALL ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) TO dbos_user, dbos_monitor, dbos_admin;
