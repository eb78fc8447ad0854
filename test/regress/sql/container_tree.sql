-- A session goes inwards only, into containers of roles it is a member of, and nothing lets it out.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE container_ann LOGIN IN ROLE dbos_user;
CREATE ROLE container_bob LOGIN IN ROLE dbos_user;
CREATE ROLE container_eve LOGIN;

SET ROLE container_ann;
SELECT dbos.current_container();
SELECT dbos.create_container('shop');
SELECT dbos.create_container('north', parent => 'shop');
SELECT dbos.create_container('south', parent => '/shop');
SELECT dbos.create_container('shop');
SELECT dbos.create_container('a/b');
SELECT dbos.create_container('');
SELECT dbos.create_container(NULL);
SELECT dbos.create_container('x', parent => 'nowhere');
SELECT path, owner FROM dbos.containers ORDER BY path;

-- Another role neither sees, enters, fills nor drops it; a role outside gets nothing.
SET ROLE container_bob;
SELECT path FROM dbos.containers;
SELECT dbos.enter_container('shop');
SELECT dbos.create_container('mine', parent => 'shop');
SELECT dbos.drop_container('shop/north');
SELECT * FROM dbos.container;
SET ROLE container_eve;
SELECT dbos.current_container();
RESET ROLE;

-- A rollback leaves what the transaction entered, at every level.
SET ROLE container_ann;
BEGIN;
SELECT dbos.enter_container('shop');
SAVEPOINT inner_one;
SELECT dbos.enter_container('north');
SELECT dbos.current_container();
ROLLBACK TO inner_one;
SELECT dbos.current_container();
ROLLBACK;
SELECT dbos.current_container();

-- A plan that was made before sees from inside what the session sees now.
PREPARE paths AS SELECT path FROM dbos.containers ORDER BY path;
EXECUTE paths;
SELECT dbos.enter_container('shop/north');
EXECUTE paths;

-- Nothing lets out.
SELECT dbos.enter_container('/');
SELECT dbos.enter_container('..');
SELECT dbos.enter_container('/shop');
SELECT dbos.enter_container('/shop/south');
SELECT dbos.drop_container('/shop/south');
SELECT dbos.create_container('x', parent => '/shop');
RESET ROLE;
SELECT dbos.current_container();
RESET ALL;
DISCARD ALL;
SELECT dbos.current_container();
SET SESSION AUTHORIZATION container_bob;
SELECT dbos.current_container();
RESET SESSION AUTHORIZATION;
SELECT path FROM dbos.containers;
SELECT dbos.in_container(0) AS root, dbos.container_contains(0, 2) AS root_contains, dbos.container_contains(2, 0) AS contains_root, dbos.in_container(NULL) IS NULL AS nothing;

-- A new session is in the root again.
\c -
SELECT dbos.current_container();
SET ROLE container_ann;
SELECT dbos.drop_container('shop');
SELECT dbos.drop_container('shop/north');
SELECT dbos.drop_container('shop/north');
SELECT dbos.drop_container('shop/south');
SELECT dbos.drop_container('shop');
SELECT count(*) FROM dbos.containers;
RESET ROLE;
DROP ROLE container_ann, container_bob, container_eve;
