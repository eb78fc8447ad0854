# What is known of functions: counts beside those of the history, quantiles beside exact ones, stragglers, whoever ran them.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('profiles');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.max_workers = 4");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE plain LOGIN IN ROLE dbos_user;
CREATE ROLE watcher LOGIN IN ROLE dbos_monitor;
CREATE FUNCTION takes(ms float8, fails boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_catalog.pg_sleep(ms / 1000);
	IF fails THEN
		RAISE EXCEPTION 'asked for';
	END IF;
END
$$;
CREATE FUNCTION noop(n int) RETURNS int LANGUAGE sql AS $$ SELECT n $$;
});
my $submit = q{
SELECT count(dbos.submit('takes', jsonb_build_array(1 + 19 * random(), n % 10 = 0))) FROM generate_series(1, 400) n;
SELECT count(*) FROM dbos.submit_many('noop', (SELECT array_agg(jsonb_build_array(n)) FROM generate_series(1, 3000) n));
SELECT dbos.submit_sql('SELECT 1'), dbos.submit_sql('SELECT 2');
};
$node->safe_psql('postgres', $submit);
$node->safe_psql('postgres', $submit, extra_params => [ '-U', 'plain' ]);

sub both_told
{
	my ($takes, $noop, $sql) = @_;
	return qq{SELECT coalesce(string_agg(function || ' ' || count, ', ' ORDER BY function COLLATE "C"), '') = 'SQL $sql, public.noop(integer) $noop, public.takes(double precision,boolean) $takes' FROM dbos.function_stats};
}
ok($node->poll_query_until('postgres', both_told(800, 6000, 4)), 'every attempt is counted, once')
  or diag($node->safe_psql('postgres', 'TABLE dbos.function_stats'));
is($node->safe_psql('postgres', q{SELECT error_rate::numeric(5, 3) FROM dbos.function_stats WHERE function LIKE 'public.takes%'}), '0.100', 'and every failure');
is($node->safe_psql('postgres', q{
WITH exact AS (SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY finished_at - started_at) AS q
	FROM dbos.tasks WHERE function LIKE 'public.takes%')
SELECT count(*) FROM exact, dbos.function_stats s, unnest(q, ARRAY[s.p50, s.p95, s.p99]) p(exact, told)
WHERE s.function LIKE 'public.takes%' AND abs(extract(epoch FROM told) / extract(epoch FROM exact) - 1) > 0.0101}), '0', 'quantiles are right to one per cent');

# Who sees what.
is($node->safe_psql('postgres', both_told(400, 3000, 2), extra_params => [ '-U', 'plain' ]), 't', 'a role sees its own');
is($node->safe_psql('postgres', both_told(800, 6000, 4), extra_params => [ '-U', 'watcher' ]), 't', 'dbos_monitor sees all');

# One that takes far longer than others with arguments of that size.
my $slow = $node->safe_psql('postgres', q{SELECT dbos.submit('takes', '[60000]')});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM dbos.stragglers WHERE task = $slow AND ratio > 2 AND p50 < p99"), 'a straggler is told');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.stragglers', extra_params => [ '-U', 'plain' ]), '0', 'not to others');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.stragglers', extra_params => [ '-U', 'watcher' ]), '1', 'but to dbos_monitor');
$node->safe_psql('postgres', "SELECT dbos.cancel($slow)");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'it ends');

# Over a restart; what was counted just before it is written by who leaves.
$node->safe_psql('postgres', q{SELECT count(*) FROM dbos.submit_many('noop', (SELECT array_agg(jsonb_build_array(n)) FROM generate_series(1, 1000) n))});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'more run');
ok($node->poll_query_until('postgres', q{SELECT count = 7000 FROM dbos.function_stats WHERE function = 'public.noop(integer)'}), 'and are counted');
$node->restart;
is($node->safe_psql('postgres', q{SELECT count FROM dbos.function_stats WHERE function = 'public.noop(integer)'}), '7000', 'also after a restart');
$node->stop;
done_testing();
