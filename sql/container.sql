-- container.sql: the tree of containers, and the functions that move in it.
-- SPDX-License-Identifier: PostgreSQL

CREATE SEQUENCE dbos.container_id AS integer;
COMMENT ON SEQUENCE dbos.container_id IS 'ids of containers, never used twice';
SELECT pg_catalog.pg_extension_config_dump('dbos.container_id', '');

-- The root is 0 and has no row.  Id and parent of a row never change: caches rely on it.
CREATE TABLE dbos.container
(
	container_id integer NOT NULL DEFAULT pg_catalog.nextval('dbos.container_id') PRIMARY KEY CHECK (container_id OPERATOR(pg_catalog.>) 0),
	parent_id integer NOT NULL,
	name text NOT NULL CHECK (name OPERATOR(pg_catalog.<>) ''),
	owner regrole NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	UNIQUE (parent_id, name)
);
COMMENT ON TABLE dbos.container IS 'containers and what they are inside of; read dbos.containers';
SELECT pg_catalog.pg_extension_config_dump('dbos.container', '');

CREATE FUNCTION dbos.create_container(name text, parent text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_container';
COMMENT ON FUNCTION dbos.create_container(text, text) IS
	'makes a container inside the current one, or inside parent; members of the current role may enter it. Example: SELECT dbos.create_container(''shop'');';

CREATE FUNCTION dbos.enter_container(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_enter_container';
COMMENT ON FUNCTION dbos.enter_container(text) IS
	'moves the session into a container inside the current one, for good; a rollback undoes it. Example: SELECT dbos.enter_container(''shop'');';

CREATE FUNCTION dbos.drop_container(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_container';
COMMENT ON FUNCTION dbos.drop_container(text) IS
	'drops an empty container. Example: SELECT dbos.drop_container(''shop'');';

CREATE FUNCTION dbos.current_container() RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_current_container';
COMMENT ON FUNCTION dbos.current_container() IS
	'path of the container that the session is in; / is the root. Example: SELECT dbos.current_container();';

CREATE FUNCTION dbos.container_path(container_id integer) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_container_path';
COMMENT ON FUNCTION dbos.container_path(integer) IS
	'path of a container that the session sees, else NULL. Example: SELECT dbos.container_path(0);';

CREATE FUNCTION dbos.in_container(container_id integer) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_in_container';
COMMENT ON FUNCTION dbos.in_container(integer) IS
	'whether that container is the session''s current one or inside it. Example: SELECT dbos.in_container(0);';

CREATE FUNCTION dbos.container_contains(outer_id integer, inner_id integer) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_container_contains_sql';
COMMENT ON FUNCTION dbos.container_contains(integer, integer) IS
	'whether the first container is the second or around it. Example: SELECT dbos.container_contains(0, 0);';

CREATE VIEW dbos.containers WITH (security_barrier) AS
	SELECT c.container_id AS id, c.name, dbos.container_path(c.container_id) AS path, c.parent_id, c.owner, c.created_at
	FROM dbos.container c
	WHERE dbos.in_container(c.container_id)
		AND (pg_catalog.pg_has_role(c.owner, 'MEMBER') OR pg_catalog.pg_has_role('dbos_monitor', 'MEMBER'));
COMMENT ON VIEW dbos.containers IS
	'the current container and those inside it, as far as the current role may enter them. Example: SELECT path, owner FROM dbos.containers;';

REVOKE ALL ON FUNCTION dbos.create_container(text, text), dbos.enter_container(text), dbos.drop_container(text),
	dbos.current_container(), dbos.container_path(integer), dbos.in_container(integer), dbos.container_contains(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_container(text, text), dbos.enter_container(text), dbos.drop_container(text)
	TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.current_container(), dbos.container_path(integer), dbos.in_container(integer), dbos.container_contains(integer, integer)
	TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.containers FROM PUBLIC;
GRANT SELECT ON dbos.containers TO dbos_user, dbos_monitor, dbos_admin;
