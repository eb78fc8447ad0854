-- What dbos says of itself, to whom, and what CREATE and DROP EXTENSION leave.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE kernel_user LOGIN IN ROLE dbos_user;
CREATE ROLE kernel_outside LOGIN;
SELECT dbos.version() = (SELECT extversion FROM pg_extension WHERE extname = 'dbos') AS same_version;
SELECT dbos.current_task();
SELECT component, ok, hint FROM dbos.health() WHERE component IN ('version', 'identity');
SELECT capability, available OR (reason IS NOT NULL AND remedy IS NOT NULL) AS explained FROM dbos.capabilities
	WHERE capability IN ('preload', 'shared memory', 'workers', 'host') ORDER BY capability;

-- Everything that help speaks of has an example, and a wrong name leads to the right one.
SELECT count(*) > 5 AS speaks FROM dbos.help();
SELECT name FROM dbos.help_entries WHERE about = '';
SELECT * FROM dbos.help('enter_container');
SELECT * FROM dbos.help('dbos.enter_contaner()');
SELECT left(line, 27) FROM dbos.help(repeat('x', 1000)) AS line;

-- Rights: a user asks, and cannot touch the tables; a role outside gets nothing.
SET ROLE kernel_user;
SELECT count(*) > 0 AS asks FROM dbos.health();
SELECT dbos.extension_created();
SELECT * FROM dbos.identity;
SET ROLE kernel_outside;
SELECT dbos.version();
SELECT * FROM dbos.help();
RESET ROLE;
SELECT dbos.extension_created();

-- A row of another server or database makes this one a copy; none at all does, too.
BEGIN;
INSERT INTO dbos.identity VALUES ('1', 1);
SELECT component, ok, hint FROM dbos.health() WHERE component = 'identity';
DELETE FROM dbos.identity;
SELECT component, ok, hint FROM dbos.health() WHERE component = 'identity';
ROLLBACK;
BEGIN;
INSERT INTO dbos.identity SELECT * FROM dbos.identity;
SELECT component, ok, hint FROM dbos.health() WHERE component = 'identity';
ROLLBACK;

-- Everything belongs to dbos_owner.
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'dbos'::regnamespace AND c.relowner <> 'dbos_owner'::regrole;
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'dbos'::regnamespace AND p.proowner <> 'dbos_owner'::regrole;
DROP ROLE kernel_user, kernel_outside;
