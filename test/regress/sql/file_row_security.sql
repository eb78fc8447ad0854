-- A query over files shows to each role what a listing from the root would come upon, and neither rows nor bytes beside that.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE file_rs_group;
CREATE ROLE file_rs_owner LOGIN IN ROLE dbos_user;
CREATE ROLE file_rs_member LOGIN IN ROLE dbos_user, file_rs_group;
CREATE ROLE file_rs_other LOGIN IN ROLE dbos_user;
CREATE ROLE file_rs_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE file_rs_admin LOGIN IN ROLE dbos_admin;
CREATE ROLE file_rs_nobody LOGIN;
CREATE SCHEMA file_rs;
GRANT USAGE, CREATE ON SCHEMA file_rs TO PUBLIC;

-- Directories of all kinds of modes, each with a file, and a directory that anybody may read, with another file.
SELECT dbos.mkdir('/rs'), dbos.chmod('/rs', 1023);
SET ROLE file_rs_owner;
SELECT count(dbos.mkdir('/rs/' || m || '/in', true)) + count(dbos.write_text('/rs/' || m || '/f', 'abc')) + count(dbos.write_text('/rs/' || m || '/in/g', 'abc')) AS made
FROM unnest(ARRAY['000', '100', '400', '500', '700', '710', '711', '740', '744', '750', '755', '705', '507']) m;
RESET ROLE;
SELECT count(dbos.chown('/rs/' || m, 'file_rs_owner', 'file_rs_group')) + count(dbos.chmod('/rs/' || m, m)) AS changed
FROM unnest(ARRAY['000', '100', '400', '500', '700', '710', '711', '740', '744', '750', '755', '705', '507']) m;

CREATE TABLE file_rs.names AS SELECT d.name AS mode, t.name, t.inode FROM dbos.ls('/rs') d, dbos.tree('/rs/' || d.name) t WHERE t.depth > 0;
GRANT SELECT ON file_rs.names TO PUBLIC;
-- What is in a directory, as each way to ask has it; of listings also what is refused.
CREATE FUNCTION file_rs.listed(path text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN (SELECT string_agg(name || CASE WHEN size IS NULL THEN '?' ELSE '' END, ' ' ORDER BY name) FROM dbos.ls(path));
EXCEPTION WHEN insufficient_privilege THEN
	RETURN 'refused';
END $$;
CREATE FUNCTION file_rs.seen() RETURNS TABLE (mode text, entries text, inodes text, files text, tree text, glob text, glob_known text, ls text) LANGUAGE sql STABLE AS $$
	SELECT d.name,
		(SELECT string_agg(dbos.entry_name(e.name), ' ' ORDER BY e.name) FROM dbos.directory_entry e WHERE e.parent = d.inode),
		(SELECT string_agg(n.name, ' ' ORDER BY n.name) FROM file_rs.names n JOIN dbos.inode i ON i.inode = n.inode WHERE n.mode = d.name),
		(SELECT string_agg(substr(f.path, 9), ' ' ORDER BY f.path) FROM dbos.files f WHERE f.path LIKE '/rs/' || d.name || '/%'),
		(SELECT string_agg(substr(t.path, 9), ' ' ORDER BY t.path) FROM dbos.tree('/rs/' || d.name) t WHERE t.depth > 0),
		(SELECT string_agg(substr(g.path, 9), ' ' ORDER BY g.path) FROM dbos.glob('/rs/' || d.name || '/**') g),
		(SELECT string_agg(substr(g.path, 9), ' ' ORDER BY g.path) FROM dbos.glob('/rs/' || d.name || '/in/*') g),
		file_rs.listed('/rs/' || d.name)
	FROM dbos.ls('/rs') d ORDER BY d.name $$;

\pset null '-'
SET ROLE file_rs_owner;
SELECT * FROM file_rs.seen();
SET ROLE file_rs_member;
SELECT * FROM file_rs.seen();
SET ROLE file_rs_other;
SELECT * FROM file_rs.seen();
SET ROLE file_rs_monitor;
SELECT * FROM file_rs.seen();
SET ROLE file_rs_admin;
SELECT * FROM file_rs.seen();
RESET ROLE;
SELECT * FROM file_rs.seen();
\pset null ''

-- Who has no role of dbos has nothing.
SET ROLE file_rs_nobody;
SELECT count(*) FROM dbos.files;
SELECT count(*) FROM dbos.inode;
SELECT count(*) FROM dbos.directory_entry;
SELECT count(*) FROM dbos.tree('/rs');
SELECT count(*) FROM dbos.directories;
SELECT count(*) FROM dbos.file_owners;
RESET ROLE;

-- Content is in no query, and nothing is written by one.
SET ROLE file_rs_owner;
SELECT content FROM dbos.inode;
SELECT * FROM dbos.inode;
SELECT i FROM dbos.inode i;
SELECT count(*) FROM dbos.extent;
SELECT count(*) FROM dbos.chunk;
SELECT count(*) FROM dbos.chunk_tail;
SELECT count(*) FROM dbos.directory_usage;
SELECT count(*) FROM dbos.directory_change;
SELECT inode FROM dbos.inode FOR UPDATE;
UPDATE dbos.inode SET mode = 511;
DELETE FROM dbos.directory_entry;
INSERT INTO dbos.directory_entry VALUES (1, 1, 2147483647, 1, 8, 'x');
INSERT INTO dbos.files (path) VALUES ('/x');
SET ROLE file_rs_admin;
SELECT content FROM dbos.inode;
DELETE FROM dbos.directory_entry;
RESET ROLE;

-- What a hostile function is called with has passed the policies.
SET ROLE file_rs_other;
CREATE FUNCTION file_rs.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN INSERT INTO file_rs.spied VALUES ($1); RETURN true; END $$;
CREATE TABLE file_rs.spied (value text);
SELECT count(*) > 0 AS some FROM dbos.files WHERE file_rs.spy(path) AND file_rs.spy(name) AND file_rs.spy(inode::text) AND size + 1 > 0;
SELECT count(*) > 0 AS some FROM dbos.inode WHERE file_rs.spy(inode::text);
SELECT count(*) > 0 AS some FROM dbos.directory_entry WHERE file_rs.spy(encode(name, 'escape')) AND file_rs.spy(child::text);
SELECT count(*) > 0 AS some FROM dbos.files WHERE size > 0.5 AND file_rs.spy(path) AND path LIKE '/rs/%';
SELECT count(*) AS spied FROM file_rs.spied s JOIN file_rs.names n ON s.value = n.inode::text
WHERE n.mode = ANY (ARRAY['000', '100', '400', '500', '700', '710', '711', '740', '750']);
SELECT DISTINCT value FROM file_rs.spied WHERE value ~ '^/rs/(000|100|400|500|700|710|711|740|750)/';
-- Nor do the functions behind the views tell more than these.
SELECT bool_and(dbos.entry_path(i.inode, 'x') IS NULL) AS none FROM file_rs.names n, LATERAL (SELECT n.inode) i WHERE n.name = 'in' AND n.mode <> '755' AND n.mode <> '705' AND n.mode <> '507';
SELECT bool_and(dbos.directory_modified(n.inode) IS NULL AND dbos.directory_links(n.inode) IS NULL) AS none FROM file_rs.names n WHERE n.name = 'in' AND n.mode = '711';
SELECT dbos.path_directory('/rs/711/in/g'), dbos.path_inode('/rs/711/in'), cardinality(dbos.path_directories('/rs/711/in/')), cardinality(dbos.path_directories('/rs/700/'));
RESET ROLE;

-- A definer's function shows what the definer may see, a view with the rights of the invoker what that one may.
SET ROLE file_rs_owner;
CREATE FUNCTION file_rs.of_owner() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/700/%' $$;
CREATE VIEW file_rs.of_owner_view AS SELECT path FROM dbos.files WHERE path LIKE '/rs/700/%';
GRANT SELECT ON file_rs.of_owner_view TO PUBLIC;
SELECT file_rs.of_owner(), (SELECT count(*) FROM file_rs.of_owner_view) AS in_view;
SET ROLE file_rs_other;
SELECT file_rs.of_owner(), (SELECT count(*) FROM file_rs.of_owner_view) AS in_view, (SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/700/%') AS own;
RESET ROLE;

-- A change of rights counts at once, in the same transaction, and is gone with a savepoint.
SET ROLE file_rs_other;
BEGIN;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/700/%';
SAVEPOINT a;
SET LOCAL ROLE file_rs_owner;
SELECT dbos.chmod('/rs/700', '755');
SET LOCAL ROLE file_rs_other;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/700/%';
ROLLBACK TO a;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/700/%';
COMMIT;
RESET ROLE;
BEGIN;
SET LOCAL ROLE file_rs_other;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/750/%';
RESET ROLE;
GRANT file_rs_group TO file_rs_other;
SET LOCAL ROLE file_rs_other;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/750/%';
ROLLBACK;

-- One's own directory where one may not list is found, and nobody else's there.
SET ROLE file_rs_owner;
SELECT dbos.mkdir('/rs/homes'), dbos.mkdir('/rs/homes/owner'), dbos.write_text('/rs/homes/owner/f', 'x'), dbos.chmod('/rs/homes', 1023);
SET ROLE file_rs_other;
SELECT dbos.mkdir('/rs/homes/other'), dbos.write_text('/rs/homes/other/f', 'x'), dbos.mkdir('/rs/homes/owner2');
SET ROLE file_rs_owner;
SELECT dbos.chmod('/rs/homes', '711');
SET ROLE file_rs_other;
SELECT path FROM dbos.files WHERE path LIKE '/rs/homes%' ORDER BY path;
SELECT path FROM dbos.tree('/rs/homes/owner') ORDER BY path;
SET ROLE file_rs_owner;
SELECT path FROM dbos.files WHERE path LIKE '/rs/homes%' ORDER BY path;
RESET ROLE;

-- With many rows asked for at once, and one by one, the same are shown.
SET ROLE file_rs_owner;
SELECT dbos.mkdir('/rs/many/a', true), dbos.mkdir('/rs/many/b', true), dbos.chmod('/rs/many/b', '700');
SELECT count(dbos.write_text('/rs/many/' || CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END || '/' || n, '')) FROM generate_series(1, 3000) n;
RESET ROLE;
ANALYZE dbos.directory_entry;
SET ROLE file_rs_other;
SELECT count(*) = (SELECT count(*) FROM dbos.inode) AS same, (SELECT count(*) FROM dbos.inode) >= 1500 AS many FROM dbos.inode i WHERE dbos.inode_visible(i.inode);
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/many/%';
SELECT count(DISTINCT inode) FROM dbos.inode i WHERE EXISTS (SELECT FROM dbos.directory_entry e WHERE e.child = i.inode AND e.parent = (SELECT inode FROM dbos.stat('/rs/many/a')));
RESET ROLE;
SELECT count(*) FROM dbos.files WHERE path LIKE '/rs/many/%';

-- What only snapshots show is for administrators.
SELECT dbos.write_text('/rs/755/old', 'old'), dbos.snapshot('/rs/755', 'file_rs') > 0 AS taken;
SELECT dbos.write_text('/rs/755/old', 'new'), dbos.unlink('/rs/755/f');
SELECT count(*) > 0 AS some FROM dbos.inode WHERE died <> 2147483647;
SET ROLE file_rs_owner;
SELECT count(*) FROM dbos.inode WHERE died <> 2147483647;
SELECT count(*) FROM dbos.directory_entry WHERE died <> 2147483647;
SET ROLE file_rs_monitor;
SELECT count(*) FROM dbos.inode WHERE died <> 2147483647;
SET ROLE file_rs_admin;
SELECT count(*) > 0 AS some FROM dbos.inode WHERE died <> 2147483647;
SELECT count(*) > 0 AS some FROM dbos.directory_entry WHERE died <> 2147483647;
SELECT path, size FROM dbos.files WHERE path LIKE '/rs/755/%' ORDER BY path;
RESET ROLE;
SELECT path, size FROM dbos.files WHERE path LIKE '/rs/755/%' ORDER BY path;
SELECT dbos.drop_snapshot('file_rs');

-- In a container are its files, for whoever; outside of it is another root.
SELECT dbos.create_container('file_rs');
BEGIN;
SELECT dbos.enter_container('file_rs');
SELECT dbos.mkdir('/inside'), dbos.write_text('/inside/f', 'x');
SELECT path FROM dbos.files ORDER BY path;
SET LOCAL ROLE file_rs_admin;
SELECT path FROM dbos.files ORDER BY path;
SELECT count(*) FROM dbos.inode;
SELECT count(*) FROM dbos.directory_entry;
SET LOCAL ROLE file_rs_other;
SELECT path FROM dbos.files ORDER BY path;
SELECT count(*) FROM dbos.inode;
SELECT count(*) FROM dbos.directory_entry;
SELECT path FROM dbos.tree('/');
SELECT path, files, total_files FROM dbos.directories;
ROLLBACK;

SELECT dbos.remove('/rs', recursive => true);
SELECT dbos.drop_container('file_rs');
DROP SCHEMA file_rs CASCADE;
DROP ROLE file_rs_group, file_rs_owner, file_rs_member, file_rs_other, file_rs_monitor, file_rs_admin, file_rs_nobody;
