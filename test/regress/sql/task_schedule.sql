-- A schedule fires when its text says, in its time zone: every form of the text, each error, and a year beside an oracle that walks its minutes.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA schedule_test;

-- Forms: the next three times after the start of 2026, a Thursday.
SELECT text, (SELECT pg_catalog.string_agg(pg_catalog.to_char(t, 'YYYY-MM-DD HH24:MI:SS'), ', ' ORDER BY t)
		FROM dbos.schedule_preview(text, 'UTC', '2026-01-01 00:00:00', 3) t) AS fires
	FROM pg_catalog.unnest(ARRAY['* * * * *', '*/20 * * * *', '5-7 4 * * *', '5/30 4 * * *', '0,30 9-17/8 * * MON-fri',
		'*/15 * * * * *', '0 0 L * *', '0 0 $ feb *', '0 0 1,L * *', '0 0 29 2 *', '0 0 13 * 5', '0 0 * * 7', '0 0 * * sun',
		'0 0 */10 * mon', '@every 90s', '@every 1 hour 30 minutes', '30 seconds', '@hourly', '@daily', '@weekly', '@monthly', '@YEARLY',
		E'  0\t12 * *  * ']) WITH ORDINALITY f(text, place) ORDER BY place;

-- A skipped hour and a doubled one, in Berlin (by an hour) and on Lord Howe (by half of one).
SELECT zone, text, (SELECT pg_catalog.string_agg(t::text, ', ' ORDER BY t)
		FROM dbos.schedule_preview(text, zone, starts_after, 3) t) AS fires
	FROM (VALUES ('Europe/Berlin', '30 2 * * *', '2026-03-28 00:00:00'::timestamptz),
		('Europe/Berlin', '0,30 2 * * *', '2026-03-28 12:00:00'),
		('Europe/Berlin', '30 * * * *', '2026-03-29 00:00:00'),
		('Europe/Berlin', '30 2 * * *', '2026-10-24 12:00:00'),
		('Europe/Berlin', '30 2 * * *', '2026-10-25 00:45:00'),
		('Europe/Berlin', '30 * * * *', '2026-10-25 00:00:00'),
		('Australia/Lord_Howe', '15 2 * * *', '2026-10-02 18:00:00'),
		('Australia/Lord_Howe', '45 1 * * *', '2026-04-03 18:00:00')) c(zone, text, starts_after);

-- Errors name the field.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT dbos.schedule_preview('');
SELECT dbos.schedule_preview('* * * *');
SELECT dbos.schedule_preview('* * * * * * *');
SELECT dbos.schedule_preview('60 * * * * *');
SELECT dbos.schedule_preview('60 * * * *');
SELECT dbos.schedule_preview('* 24 * * *');
SELECT dbos.schedule_preview('* * 0 * *');
SELECT dbos.schedule_preview('* * * 13 *');
SELECT dbos.schedule_preview('* * * foo *');
SELECT dbos.schedule_preview('* * * * 8');
SELECT dbos.schedule_preview('* * * * fri-mon');
SELECT dbos.schedule_preview('*/0 * * * *');
SELECT dbos.schedule_preview('1, * * * *');
SELECT dbos.schedule_preview('1x * * * *');
SELECT dbos.schedule_preview('99999999999999999999 * * * *');
SELECT dbos.schedule_preview('0 0 31 2,4 *');
SELECT dbos.schedule_preview('@every 0s');
SELECT dbos.schedule_preview('@every 5 fortnights');
SELECT dbos.schedule_preview('@every 99999999999999999999s');
SELECT dbos.schedule_preview('@never');
SELECT dbos.schedule_preview('* * * * *', 'Nowhere/Land');
SELECT dbos.schedule_preview('* * * * *', count => -1);
\set VERBOSITY terse

-- NULL and infinities give no rows; a year far off gives its own.
SELECT count(*) FROM dbos.schedule_preview(NULL);
SELECT count(*) FROM dbos.schedule_preview('@daily', 'UTC', 'infinity');
SELECT count(*) FROM dbos.schedule_preview('@daily', 'UTC', '-infinity');
SELECT count(*) FROM dbos.schedule_preview('@daily', 'UTC', '290000-01-01');

-- Who may call it.
CREATE ROLE schedule_stranger;
SET ROLE schedule_stranger;
SELECT dbos.schedule_preview('@daily');
RESET ROLE;
DROP ROLE schedule_stranger;

-- The oracle: walks the minutes of a year.  A schedule of fixed times fires when the wall clock first reaches one of
-- them; one with an asterisk for its hour at each minute that matches.  The condition says of a wall-clock time w whether it does.
CREATE FUNCTION schedule_test.oracle(condition text, fixed_times boolean, zone text) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE pg_catalog.format($q$
		WITH minutes AS (SELECT t, t AT TIME ZONE %L AS wall
			FROM pg_catalog.generate_series('2025-12-30'::timestamptz, '2026-12-31 00:00', '1 minute') t),
		walked AS (SELECT t, wall, pg_catalog.max(wall) OVER (ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
			FROM minutes)
		SELECT t FROM walked m WHERE t > '2025-12-31' AND
			CASE WHEN %L THEN EXISTS (SELECT FROM pg_catalog.generate_series(reached + '1 minute', wall, '1 minute') w WHERE %s)
			ELSE EXISTS (SELECT FROM (SELECT wall AS w) x WHERE %s) END$q$, zone, fixed_times, condition, condition);
END $$;
SELECT zone, text, count(o.t) AS firings, count(*) FILTER (WHERE o.t IS NULL OR p.t IS NULL) AS different
	FROM pg_catalog.unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata']) zone,
		(VALUES ('*/15 * * * *', false, 'extract(minute FROM w) IN (0, 15, 30, 45)'),
			('10,40 1-3 * * *', true, 'extract(minute FROM w) IN (10, 40) AND extract(hour FROM w) BETWEEN 1 AND 3'),
			('45 1,2 13 * sun', true, 'extract(minute FROM w) = 45 AND extract(hour FROM w) IN (1, 2) AND (extract(day FROM w) = 13 OR extract(dow FROM w) = 0)')
		) s(text, fixed_times, condition),
		LATERAL (SELECT * FROM schedule_test.oracle(condition, fixed_times, zone) t) o
		FULL JOIN LATERAL (SELECT * FROM dbos.schedule_preview(text, zone, '2025-12-31', 40000) t WHERE t <= '2026-12-31') p ON o.t = p.t
	GROUP BY zone, text ORDER BY zone, text;
DROP SCHEMA schedule_test CASCADE;
