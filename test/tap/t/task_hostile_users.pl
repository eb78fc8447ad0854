# Who has few rights neither finds the tables open by a default of the server, nor stops the scheduler of all by its own locks.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;

# Default privileges of who installs, as many a site has them.
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE ROLE eve LOGIN;
CREATE ROLE app NOLOGIN;
GRANT app TO eve;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO app, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app, PUBLIC;
CREATE EXTENSION dbos;
GRANT dbos_user TO eve;
CREATE ROLE ann LOGIN IN ROLE dbos_user;
});
is($node->safe_psql('postgres', q{
SELECT count(*) FROM pg_class c, aclexplode(c.relacl) g WHERE c.relnamespace = 'dbos'::regnamespace
	AND g.grantee <> c.relowner AND (g.grantee = 0 OR pg_get_userbyid(g.grantee) NOT IN ('dbos_user', 'dbos_monitor', 'dbos_admin') OR c.relkind <> 'v' OR g.privilege_type <> 'SELECT')}),
	'0', 'no table or view is open to others by default privileges');
is($node->safe_psql('postgres', q{
SELECT count(*) FROM pg_proc p, aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) g WHERE p.pronamespace = 'dbos'::regnamespace
	AND g.grantee <> p.proowner AND (g.grantee = 0 OR pg_get_userbyid(g.grantee) NOT IN ('dbos_user', 'dbos_monitor', 'dbos_admin'))
	AND NOT (g.grantee = 0 AND p.proname IN ('message_id', 'message_segment'))}),
	'0', 'nor a function, but what an INSERT into a mailbox calls');
is($node->safe_psql('postgres', q{
SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) g WHERE n.nspname = 'dbos' AND (g.grantee = 0 OR pg_get_userbyid(g.grantee) = 'app')}),
	'0', 'nor the schema');
my ($code, $output, $errors) = $node->psql('postgres', q{
SET SESSION AUTHORIZATION eve;
INSERT INTO dbos.task SELECT 0, 16, 1, 'postgres', 'postgres', 0, 0, false, 0, NULL, now(), 0, 1, 0, '1 s', 2, NULL, NULL, 's', 'ALTER ROLE eve SUPERUSER', '{}', NULL, NULL, NULL, '{}'});
like($errors, qr/permission denied for table task/, 'a task cannot be written by hand');

# A dependent task that its owner cancels and does not commit, while what it waited for ends.
my $eve = $node->background_psql('postgres');
$eve->query_safe('SET SESSION AUTHORIZATION eve');
my $first = $node->safe_psql('postgres', q{SET SESSION AUTHORIZATION eve; SELECT dbos.submit('pg_catalog.pg_sleep', '[0.5]')});
my $dependent = $node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION eve; SELECT dbos.submit('pg_catalog.pi', after => ARRAY[$first])});
$eve->query_safe("BEGIN; SELECT dbos.cancel($dependent)");
$node->safe_psql('postgres', "SELECT dbos.wait($first)");
my $delayed = $node->safe_psql('postgres', q{SET SESSION AUTHORIZATION ann; SELECT dbos.submit('pg_catalog.pi', delay => '10 ms')});
is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION ann; SELECT dbos.wait($delayed, '60 seconds') IS NOT NULL}),
	't', 'a delayed task of another runs meanwhile');
$eve->query_safe('ROLLBACK');
is($node->safe_psql('postgres', qq{SELECT dbos.wait($dependent, '60 seconds') IS NOT NULL}),
	't', 'and the dependent one when it was not cancelled after all');

# A queue that is being dropped, while its lane is still known.
$eve->query_safe("SELECT dbos.create_queue('eve')");
$eve->query_safe("SELECT dbos.pause_queue('eve')");
$eve->query_safe("SELECT count(dbos.cancel(id)) FROM dbos.submit_many('pg_catalog.pi', array_fill('{}'::jsonb, ARRAY[3000]), queue => 'eve') id");
$eve->query_safe("BEGIN; SELECT dbos.drop_queue('eve')");
$delayed = $node->safe_psql('postgres', q{SET SESSION AUTHORIZATION ann; SELECT dbos.submit('pg_catalog.pi', delay => '10 ms')});
is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION ann; SELECT dbos.wait($delayed, '60 seconds') IS NOT NULL}),
	't', 'a delayed task runs while a queue is being dropped');
$eve->query_safe('ROLLBACK');
$eve->quit;
$node->stop;
done_testing();
