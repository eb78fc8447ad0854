# Over a year by the driven clock, in zones that change their clocks, each time of a schedule fires once, and no other.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('year');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.task_history_days = 3650\ndbos.max_workers = 4");
$node->start;
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'}) ne '1')
{
	$node->stop;
	plan skip_all => 'the clock cannot be driven: the library was not built with -DDBOS_TESTING';
}
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE plan AS SELECT c.cron || ' ' || z.zone AS name, c.cron, z.zone, clock_timestamp() AS made
	FROM unnest(ARRAY['30 2 * * *', '30 1,2 * * sun', '0 * * * *', '0 0 L * *', '@every 36h']) c(cron),
		unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata']) z(zone);
SELECT count(dbos.schedule(name, cron, 'note', timezone => zone, overlap => 'allow', catch_up => true)) FROM plan;
CREATE TABLE begun AS SELECT name, next_at FROM dbos.schedules;
});

# A month at a time: fewer times of each than are made up for at once.
my $seconds = 0;
while ($seconds < 366 * 86400)
{
	$seconds += 30 * 86400 + 1234;
	$node->stop;
	$node->append_conf('postgresql.conf', "dbos.clock_offset = $seconds");
	$node->start;
	$node->poll_query_until('postgres', qq{SELECT bool_and(next_at > now() + interval '$seconds seconds' - interval '1 minute') FROM dbos.schedules})
	  or die "not all have fired after $seconds s";
}
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'all tasks of a year end');
$node->safe_psql('postgres', q{SELECT count(dbos.pause_schedule(name)) FROM plan});
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT outcome, ' ') FROM dbos.schedule_runs}), 'submitted', 'nothing was missed, skipped or failed');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.schedule_runs r JOIN dbos.tasks t ON t.id = r.task_id WHERE t.state <> 'succeeded'}), '0', 'and each ran');
is($node->safe_psql('postgres', q{
WITH last AS (SELECT schedule, max(planned_at) AS at FROM dbos.schedule_runs GROUP BY 1)
SELECT count(*) FROM plan p JOIN begun b USING (name) JOIN last l ON l.schedule = p.name, LATERAL (
	SELECT FROM (SELECT planned_at FROM dbos.schedule_runs WHERE schedule = p.name) r
		FULL JOIN (SELECT t FROM dbos.schedule_preview(p.cron, p.zone, b.next_at - CASE WHEN p.cron LIKE '@%' THEN interval '36 hours' ELSE interval '1 microsecond' END, 20000) t WHERE t <= l.at) e
		ON r.planned_at = e.t WHERE r.planned_at IS NULL OR e.t IS NULL) d}), '0', 'at the times that the text says, and no others');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT schedule, planned_at FROM dbos.schedule_runs GROUP BY 1, 2 HAVING count(*) > 1) d}), '0', 'once each');
note($node->safe_psql('postgres', q{SELECT count(*) || ' firings from ' || min(planned_at) || ' to ' || max(planned_at) FROM dbos.schedule_runs}));
$node->stop;
done_testing();
