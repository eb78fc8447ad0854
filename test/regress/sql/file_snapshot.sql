-- A snapshot shows names, modes and bytes of its moment whatever is done afterwards, to who could read them then; what no snapshot and no file needs is deleted.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_sn_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_sn_bob LOGIN IN ROLE dbos_user;
CREATE ROLE regress_sn_member LOGIN IN ROLE dbos_user, regress_sn_ann;
CREATE ROLE regress_sn_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE regress_sn_admin LOGIN IN ROLE dbos_admin;
CREATE ROLE regress_sn_nobody LOGIN;
-- A tree as it is now, and as a snapshot shows it.
CREATE FUNCTION public.tree_now(root text, OUT path text, OUT kind text, OUT mode integer, OUT owner regrole, OUT link_count integer, OUT size bigint, OUT content text)
RETURNS SETOF record LANGUAGE sql STABLE AS $$
	WITH RECURSIVE tree AS (
		SELECT root AS path, s.kind, s.mode, s.owner, s.link_count, s.size FROM dbos.stat(root) s
		UNION ALL
		SELECT t.path || '/' || l.name, s.kind, s.mode, s.owner, s.link_count, s.size
		FROM tree t, LATERAL dbos.ls(CASE t.kind WHEN 'directory' THEN t.path END) l, LATERAL dbos.stat(t.path || '/' || l.name) s)
	SELECT *, CASE t.kind WHEN 'file' THEN md5(dbos.read_file(t.path)) WHEN 'symlink' THEN dbos.read_link(t.path) END FROM tree t
$$;
CREATE FUNCTION public.tree_then(name text, root text, OUT path text, OUT kind text, OUT mode integer, OUT owner regrole, OUT link_count integer, OUT size bigint, OUT content text)
RETURNS SETOF record LANGUAGE sql STABLE AS $$
	WITH RECURSIVE tree AS (
		SELECT root AS path, s.kind, s.mode, s.owner, s.link_count, s.size FROM dbos.snapshot_stat(name, root) s
		UNION ALL
		SELECT t.path || '/' || l.name, s.kind, s.mode, s.owner, s.link_count, s.size
		FROM tree t, LATERAL dbos.snapshot_ls(CASE t.kind WHEN 'directory' THEN tree_then.name END, t.path) l,
			LATERAL dbos.snapshot_stat(tree_then.name, t.path || '/' || l.name) s)
	SELECT *, CASE t.kind WHEN 'file' THEN md5(dbos.read_snapshot(name, t.path)) WHEN 'symlink' THEN dbos.snapshot_read_link(name, t.path) END FROM tree t
$$;
CREATE TABLE public.kept (name text, path text, kind text, mode integer, owner regrole, link_count integer, size bigint, content text);
CREATE PROCEDURE public.take(name text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.snapshot('/regress_sn/tree', name);
	INSERT INTO public.kept SELECT take.name, t.* FROM public.tree_now('/regress_sn/tree') t;
END
$$;
-- What differs, of all snapshots.
CREATE FUNCTION public.differences() RETURNS TABLE (snapshot text, difference text) LANGUAGE sql STABLE AS $$
	SELECT s.name, 'lost: ' || k.path FROM dbos.snapshots s JOIN public.kept k USING (name)
	WHERE NOT EXISTS (SELECT FROM public.tree_then(s.name, '/regress_sn/tree') t
		WHERE (t.path, t.kind, t.mode, t.owner, t.link_count, t.size, t.content) IS NOT DISTINCT FROM (k.path, k.kind, k.mode, k.owner, k.link_count, k.size, k.content))
	UNION ALL
	SELECT s.name, 'gained: ' || t.path FROM dbos.snapshots s, LATERAL public.tree_then(s.name, '/regress_sn/tree') t
	WHERE NOT EXISTS (SELECT FROM public.kept k WHERE k.name = s.name
		AND (t.path, t.kind, t.mode, t.owner, t.link_count, t.size, t.content) IS NOT DISTINCT FROM (k.path, k.kind, k.mode, k.owner, k.link_count, k.size, k.content))
$$;
CREATE FUNCTION public.left_over(OUT versions bigint, OUT noted bigint, OUT unnamed_chunks bigint, OUT missing_chunks bigint) LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM dbos.inode WHERE died <> 2147483647) + (SELECT count(*) FROM dbos.directory_entry WHERE died <> 2147483647)
			+ (SELECT count(*) FROM dbos.extent WHERE died <> 2147483647) + (SELECT count(*) FROM dbos.xattr WHERE died <> 2147483647),
		(SELECT count(*) FROM dbos.freed_extent),
		(SELECT count(*) FROM dbos.chunk c WHERE NOT EXISTS (SELECT FROM dbos.extent e WHERE c.chunk >= e.chunk AND c.chunk < e.chunk + e.count)),
		(SELECT count(*) FROM dbos.extent e, LATERAL generate_series(e.chunk, e.chunk + e.count - 1) n WHERE NOT EXISTS (SELECT FROM dbos.chunk c WHERE c.chunk = n))
$$;
-- Bytes that compress and bytes that do not.
CREATE FUNCTION public.bytes(count integer, seed integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT substr(CASE WHEN seed % 2 = 0 THEN convert_to(repeat('bytes ' || seed || ' ', count / 7 + 1), 'UTF8')
		ELSE (SELECT string_agg(sha256(convert_to(seed || ' ' || n, 'UTF8')), '' ORDER BY n) FROM generate_series(0, count / 32) n) END, 1, count)
$$;
SELECT dbos.mkdir('/regress_sn'), dbos.mkdir('/regress_sn/tree'), dbos.chmod('/regress_sn', '1777');

-- ---- what stays as it was ----
SELECT dbos.mkdir('/regress_sn/tree/d/deep/er', true), dbos.mkdir('/regress_sn/tree/empty');
SELECT dbos.write_file('/regress_sn/tree/inline', bytes(100, 1)), dbos.write_file('/regress_sn/tree/chunks', bytes(100000, 2)),
	dbos.write_file('/regress_sn/tree/d/raw', bytes(50000, 3)), dbos.write_file('/regress_sn/tree/d/deep/er/leaf', bytes(5000, 4)),
	dbos.write_file('/regress_sn/tree/nothing', ''), dbos.link('/regress_sn/tree/inline', '/regress_sn/tree/d/hard'),
	dbos.symlink('d/deep', '/regress_sn/tree/link'), dbos.write_file('/regress_sn/tree/replaced', bytes(20000, 5));
SELECT dbos.write_file('/regress_sn/tree/sparse', 'begin'), dbos.write_at('/regress_sn/tree/sparse', 1000000, 'end');
SELECT dbos.copy('/regress_sn/tree/chunks', '/regress_sn/tree/copied_before');
CALL take('s1');
-- overwritten: in the row, in chunks, in part of one; appended
SELECT dbos.write_file('/regress_sn/tree/inline', bytes(100, 11)), dbos.write_at('/regress_sn/tree/chunks', 10000, bytes(10, 12)),
	dbos.write_at('/regress_sn/tree/d/raw', 8192, bytes(8192, 13)), dbos.write_file('/regress_sn/tree/d/deep/er/leaf', bytes(100, 14), true),
	dbos.write_at('/regress_sn/tree/sparse', 500000, 'middle');
CALL take('s2');
CALL take('s2 again');
-- cut, grown out of its row and back
SELECT dbos.truncate_file('/regress_sn/tree/chunks', 30001), dbos.truncate_file('/regress_sn/tree/d/raw', 16384), dbos.truncate_file('/regress_sn/tree/sparse', 8193),
	dbos.write_file('/regress_sn/tree/inline', bytes(6000, 15), true), dbos.write_file('/regress_sn/tree/d/deep/er/leaf', 'short');
CALL take('s3');
SELECT dbos.truncate_file('/regress_sn/tree/chunks', 60000), dbos.write_at('/regress_sn/tree/chunks', 45000, 'x'), dbos.truncate_file('/regress_sn/tree/inline', 0),
	dbos.write_file('/regress_sn/tree/nothing', bytes(9000, 16));
-- names
SELECT dbos.unlink('/regress_sn/tree/d/hard'), dbos.unlink('/regress_sn/tree/replaced');
SELECT dbos.write_file('/regress_sn/tree/replaced', bytes(20000, 17)), dbos.rename('/regress_sn/tree/copied_before', '/regress_sn/tree/d/raw'),
	dbos.rename('/regress_sn/tree/d/deep', '/regress_sn/tree/moved'), dbos.unlink('/regress_sn/tree/link');
CALL take('s4');
SELECT dbos.rename('/regress_sn/tree/moved', '/regress_sn/tree/empty'), dbos.rename('/regress_sn/tree/d', '/regress_sn/tree/moved');
SELECT dbos.mkdir('/regress_sn/tree/d'), dbos.symlink('other', '/regress_sn/tree/link'), dbos.chmod('/regress_sn/tree/moved', '0700'),
	dbos.chown('/regress_sn/tree/replaced', 'regress_sn_ann'), dbos.chmod('/regress_sn/tree/replaced', '0600'), dbos.link('/regress_sn/tree/chunks', '/regress_sn/tree/d/hard');
CALL take('s5');
SELECT dbos.copy('/regress_sn/tree/chunks', '/regress_sn/tree/copied_after'), dbos.write_at('/regress_sn/tree/chunks', 0, bytes(9000, 18)),
	dbos.write_at('/regress_sn/tree/copied_after', 40000, bytes(9000, 19));
SELECT dbos.unlink('/regress_sn/tree/empty/er/leaf'), dbos.rmdir('/regress_sn/tree/empty/er'), dbos.rmdir('/regress_sn/tree/empty');
-- what is rolled back
BEGIN;
SAVEPOINT a;
SELECT dbos.write_at('/regress_sn/tree/chunks', 0, bytes(70000, 20)), dbos.unlink('/regress_sn/tree/nothing'), dbos.rename('/regress_sn/tree/d/hard', '/regress_sn/tree/nothing');
ROLLBACK TO a;
SELECT dbos.write_at('/regress_sn/tree/copied_after', 0, bytes(100, 21));
SAVEPOINT b;
CALL take('rolled back');
SELECT dbos.write_at('/regress_sn/tree/copied_after', 20000, bytes(100, 22));
ROLLBACK TO b;
SELECT dbos.write_at('/regress_sn/tree/copied_after', 30000, bytes(100, 23));
COMMIT;
-- in the middle of a transaction
BEGIN;
SELECT dbos.write_at('/regress_sn/tree/chunks', 100, 'before');
CALL take('s6');
SELECT dbos.write_at('/regress_sn/tree/chunks', 102, 'after'), dbos.unlink('/regress_sn/tree/nothing');
CALL take('s7');
SELECT dbos.write_at('/regress_sn/tree/chunks', 104, 'after that');
SELECT * FROM differences();
COMMIT;
SELECT dbos.write_file('/regress_sn/tree/nothing', 'made'), dbos.write_file('/regress_sn/tree/chunks', 'replaced');
SELECT name, count(*) FROM kept GROUP BY name ORDER BY name;
SELECT * FROM differences();
SELECT name, path, owner, epoch IS NOT NULL AS epoch, created_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS created, container FROM dbos.snapshots ORDER BY name;
-- by the paths of its time
SELECT name, kind, size FROM dbos.snapshot_ls('s4', '/regress_sn/tree/moved');
SELECT octet_length(dbos.read_snapshot('s1', '/regress_sn/tree/link/er/leaf')), octet_length(dbos.read_snapshot('s1', '/regress_sn/tree/d/deep/../../chunks'));
SELECT dbos.read_snapshot('s1', '/regress_sn/tree/sparse', 999998), dbos.read_snapshot('s1', '/regress_sn/tree/sparse', 3, 4), dbos.read_snapshot('s1', '/regress_sn/tree/sparse', 1000003),
	dbos.read_snapshot('s3', '/regress_sn/tree/sparse', 0, 7), dbos.read_snapshot('s3', '/regress_sn/tree/sparse', 8190);
SELECT inode = (dbos.stat('/regress_sn/tree/chunks')).inode AS same, kind, mode, owner, size, link_count, storage, checksum FROM dbos.snapshot_stat('s5', '/regress_sn/tree/chunks');

-- ---- one of several is dropped, and what it alone showed goes ----
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT noted, unnamed_chunks, missing_chunks FROM left_over();
DELETE FROM kept WHERE name = 's4';
SELECT dbos.drop_snapshot('s4');
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM differences();
SELECT noted, unnamed_chunks, missing_chunks FROM left_over();
SELECT dbos.drop_snapshot('s1'), dbos.drop_snapshot('s7'), dbos.drop_snapshot('s2');
SELECT dbos.write_at('/regress_sn/tree/copied_after', 35000, 'private?'), dbos.write_file('/regress_sn/tree/moved/raw', bytes(50000, 24));
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM differences();
SELECT noted, unnamed_chunks, missing_chunks FROM left_over();

-- ---- files come back ----
SELECT dbos.restore_file('s3', '/regress_sn/tree/chunks', '/regress_sn/tree/restored'), dbos.restore_file('s3', '/regress_sn/tree/inline', '/regress_sn/tree/chunks'),
	dbos.restore_file('s5', '/regress_sn/tree/chunks', '/regress_sn/tree/nothing'), dbos.restore_file('s2 again', '/regress_sn/tree/d/raw', '/regress_sn/tree/moved/raw'),
	dbos.restore_file('s2 again', '/regress_sn/tree/d/deep/er/leaf', '/regress_sn/leaf'), dbos.restore_file('s2 again', '/regress_sn/tree/nothing', '/regress_sn/nothing');
SELECT t.path, k.name, t.size FROM (VALUES ('restored', 's3', 'chunks'), ('chunks', 's3', 'inline'), ('nothing', 's5', 'chunks'), ('moved/raw', 's2 again', 'd/raw')) v (path, name, from_path)
	JOIN tree_now('/regress_sn/tree') t ON t.path = '/regress_sn/tree/' || v.path JOIN kept k ON k.name = v.name AND k.path = '/regress_sn/tree/' || v.from_path
WHERE t.content = k.content AND t.size = k.size ORDER BY 1;
SELECT md5(dbos.read_file('/regress_sn/leaf')) = content AS same FROM kept WHERE name = 's2 again' AND path LIKE '%leaf';
-- What is written to one of them is in no other, also when the snapshot is gone.
SELECT dbos.write_at('/regress_sn/tree/restored', 10000, 'mine'), dbos.write_at('/regress_sn/tree/nothing', 10000, 'also mine'), dbos.write_at('/regress_sn/leaf', 4990, 'leaf');
SELECT * FROM differences();
SELECT dbos.drop_snapshot(name) FROM dbos.snapshots WHERE name <> 's5';
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT dbos.read_file('/regress_sn/tree/restored', 9998, 8), dbos.read_file('/regress_sn/tree/nothing', 9998, 12), octet_length(dbos.read_file('/regress_sn/tree/moved/raw'));
SELECT md5(dbos.read_file('/regress_sn/tree/moved/raw')) = content AS same FROM kept WHERE name = 's2 again' AND path LIKE '%raw';
SELECT * FROM differences();
SELECT noted, unnamed_chunks, missing_chunks FROM left_over();
SELECT dbos.drop_snapshot('s5');
-- Versions whose snapshot is gone already are in nobody's way.
SELECT dbos.write_at('/regress_sn/tree/copied_after', 0, bytes(20000, 25)), dbos.unlink('/regress_sn/tree/d/hard'), dbos.rename('/regress_sn/tree/restored', '/regress_sn/tree/d/hard');
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM left_over();

-- ---- a snapshot of a file, of the root, of nothing ----
SELECT dbos.snapshot('/regress_sn/leaf', 'file') > 0, dbos.link('/regress_sn/leaf', '/regress_sn/leaf2');
SELECT dbos.write_file('/regress_sn/leaf', 'new');
SELECT octet_length(dbos.read_snapshot('file', '/regress_sn/leaf')), (dbos.snapshot_stat('file', '/regress_sn/leaf')).link_count;
SELECT dbos.read_snapshot('file', '/regress_sn/nothing');
SELECT dbos.read_snapshot('file', '/regress_sn/leaf2');
SELECT * FROM dbos.snapshot_ls('file');
SELECT dbos.snapshot('//', 'everything') > 0;
SELECT count(*) = 1 FROM dbos.snapshot_ls('everything') WHERE name = 'regress_sn';
SELECT path FROM dbos.snapshots WHERE name IN ('file', 'everything') ORDER BY name;
SELECT dbos.symlink('/regress_sn/tree/d', '/regress_sn/to_d'), dbos.snapshot('/regress_sn/to_d/', 'through a link') > 0;
SELECT path FROM dbos.snapshots WHERE name = 'through a link';
SELECT dbos.read_snapshot('through a link', '/regress_sn/leaf');
SELECT dbos.read_snapshot('through a link', '/regress_sn/tree/d/../../leaf');
SELECT octet_length(dbos.read_snapshot('through a link', '/regress_sn/to_d/hard')), name FROM dbos.snapshot_ls('through a link');
SELECT dbos.snapshot('/regress_sn/tree', 'file');
SELECT dbos.snapshot('/regress_sn/none', 'none');
SELECT dbos.snapshot('/regress_sn/leaf/', 'none');
SELECT dbos.snapshot('regress_sn', 'none');
SELECT dbos.snapshot('/regress_sn', '');
SELECT dbos.snapshot('/regress_sn', repeat('x', 256));
SELECT dbos.snapshot(NULL, 'none'), dbos.snapshot('/regress_sn', NULL), dbos.drop_snapshot(NULL), dbos.read_snapshot(NULL, '/'), dbos.read_snapshot('file', NULL),
	dbos.restore_file('file', NULL, '/x'), dbos.snapshot_stat(NULL, '/');
SELECT count(*) FROM dbos.snapshot_ls(NULL, '/');
\set VERBOSITY default
SELECT dbos.read_snapshot('none', '/regress_sn/leaf');
SELECT dbos.read_snapshot('through a link', '/regress_sn/leaf');
\set VERBOSITY terse
SELECT dbos.drop_snapshot('none');
SELECT dbos.snapshot_stat('none', '/');
SELECT * FROM dbos.snapshot_ls('none');
SELECT dbos.restore_file('none', '/regress_sn/leaf', '/regress_sn/x');
SELECT dbos.snapshot_read_link('everything', '/regress_sn/leaf');
SELECT dbos.snapshot_read_link('everything', '/regress_sn/none');
SELECT dbos.read_snapshot('everything', '/regress_sn/tree');
SELECT dbos.read_snapshot('everything', '/regress_sn/none');
SELECT dbos.read_snapshot('everything', '/regress_sn/leaf', -1);
SELECT dbos.read_snapshot('everything', '/regress_sn/leaf', 0, -1);
SELECT dbos.read_snapshot('everything', '/regress_sn/leaf', 9223372036854775807), dbos.read_snapshot('everything', '/regress_sn/leaf', 0, 0);
SELECT dbos.restore_file('everything', '/regress_sn/tree', '/regress_sn/x');
SELECT dbos.restore_file('everything', '/regress_sn/leaf', '/regress_sn/tree');
SELECT dbos.restore_file('everything', '/regress_sn/leaf', '/regress_sn/none/x');
SELECT * FROM dbos.snapshot_ls('everything', '/regress_sn/leaf');
BEGIN READ ONLY;
SELECT count(*) FROM dbos.snapshot_ls('file', '/regress_sn/leaf') WHERE false;
SELECT octet_length(dbos.read_snapshot('file', '/regress_sn/leaf'));
SELECT dbos.snapshot('/regress_sn', 'none');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT dbos.snapshot('/regress_sn', 'none') > 0;
SELECT dbos.restore_file('none', '/regress_sn/leaf', '/regress_sn/x');
ROLLBACK;
-- attributes, and large objects, which have no other bytes than those of now
SELECT dbos.mkdir('/regress_sn/lo', storage => 'large_object'), dbos.write_file('/regress_sn/lo/f', 'of now'), dbos.set_xattr('/regress_sn/leaf', 'user.a', 'before');
SELECT dbos.snapshot('/regress_sn', 'objects') > 0, dbos.set_xattr('/regress_sn/leaf', 'user.a', 'after');
SELECT name, kind, size FROM dbos.snapshot_ls('objects', '/regress_sn/lo');
DO $$ BEGIN PERFORM dbos.read_snapshot('objects', '/regress_sn/lo/f'); EXCEPTION WHEN feature_not_supported THEN RAISE WARNING 'not supported'; END $$;
SELECT died = 2147483647 AS now, encode(value, 'escape') FROM dbos.xattr WHERE inode = (dbos.stat('/regress_sn/leaf')).inode ORDER BY 1;
SELECT dbos.restore_file('everything', '/regress_sn/leaf', '/regress_sn/lo/restored');
SELECT dbos.read_file('/regress_sn/lo/restored');
SELECT dbos.drop_snapshot(name) FROM dbos.snapshots;
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM left_over();

-- ---- rights: the modes of then, the roles of now ----
SET SESSION AUTHORIZATION regress_sn_ann;
SELECT dbos.mkdir('/regress_sn/ann'), dbos.write_text('/regress_sn/ann/open', 'open'), dbos.write_text('/regress_sn/ann/closed', 'closed'), dbos.mkdir('/regress_sn/ann/private'),
	dbos.write_text('/regress_sn/ann/private/f', 'in private');
SELECT dbos.chmod('/regress_sn/ann/closed', '0600'), dbos.chmod('/regress_sn/ann/private', '0700');
SELECT dbos.snapshot('/regress_sn/ann', 'of ann') > 0, dbos.snapshot('/regress_sn/ann/private', 'private') > 0, dbos.snapshot('/regress_sn/ann/closed', 'closed') > 0;
SELECT dbos.chmod('/regress_sn/ann/closed', '0644'), dbos.chmod('/regress_sn/ann/open', '0600'), dbos.chmod('/regress_sn/ann/private', '0755');
SET SESSION AUTHORIZATION regress_sn_bob;
SELECT name, path FROM dbos.snapshots ORDER BY name;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/open');
SELECT dbos.read_file('/regress_sn/ann/open');
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/closed');
SELECT dbos.read_snapshot('closed', '/regress_sn/ann/closed');
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/private/f');
SELECT dbos.snapshot_stat('of ann', '/regress_sn/ann/private/f');
SELECT * FROM dbos.snapshot_ls('of ann', '/regress_sn/ann/private');
SELECT * FROM dbos.snapshot_ls('private');
SELECT dbos.restore_file('of ann', '/regress_sn/ann/closed', '/regress_sn/stolen');
SELECT dbos.restore_file('of ann', '/regress_sn/ann/open', '/regress_sn/ann/mine');
SELECT dbos.restore_file('of ann', '/regress_sn/ann/open', '/regress_sn/open');
SELECT owner, mode, size FROM dbos.stat('/regress_sn/open');
SELECT dbos.drop_snapshot('of ann');
SELECT dbos.snapshot('/regress_sn/ann', 'of bob') > 0;
SELECT dbos.snapshot('/regress_sn/ann/open', 'open');
SELECT dbos.reclaim_files();
SELECT count(*) FROM dbos.snapshot;
RESET SESSION AUTHORIZATION;
SELECT dbos.chmod('/regress_sn/ann', '0711');
SET SESSION AUTHORIZATION regress_sn_bob;
SELECT dbos.snapshot('/regress_sn/ann', 'of bob again');
SELECT name, size FROM dbos.snapshot_ls('of bob') ORDER BY name;
SET SESSION AUTHORIZATION regress_sn_monitor;
SELECT name, path FROM dbos.snapshots ORDER BY name;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/closed');
SELECT dbos.snapshot('/regress_sn/ann', 'of the monitor');
SELECT dbos.drop_snapshot('of ann');
SET SESSION AUTHORIZATION regress_sn_nobody;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/open');
SELECT * FROM dbos.snapshots;
SET SESSION AUTHORIZATION regress_sn_member;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/private/f');
SELECT dbos.drop_snapshot('private');
SET SESSION AUTHORIZATION regress_sn_admin;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/private/f');
SELECT dbos.drop_snapshot('closed');
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT name FROM dbos.snapshots ORDER BY name;
RESET SESSION AUTHORIZATION;

-- ---- containers have names of their own ----
SELECT dbos.create_container('regress_sn');
\c - postgres
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT dbos.enter_container('regress_sn');
SELECT name FROM dbos.snapshots;
SELECT dbos.read_snapshot('of ann', '/regress_sn/ann/open');
SELECT dbos.drop_snapshot('of ann');
SELECT dbos.snapshot('/', 'of ann') > 0, dbos.write_text('/f', 'inside');
SELECT count(*) FROM dbos.snapshot_ls('of ann');
SELECT dbos.snapshot('/', 'second') > 0, dbos.unlink('/f');
SELECT dbos.read_snapshot('second', '/f');
SELECT name, path, container FROM dbos.snapshots ORDER BY name;
\c - postgres
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT name, path, container FROM dbos.snapshots WHERE container <> '/' ORDER BY name;
SELECT dbos.read_snapshot('second', '/f');
SELECT dbos.drop_container('regress_sn');
SELECT dbos.drop_snapshot(name) FROM dbos.snapshots WHERE container = '/';
SELECT dbos.enter_container('regress_sn');
SELECT dbos.drop_snapshot(name) FROM dbos.snapshots;
\c - postgres
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM left_over();

-- ---- away ----
SELECT dbos.drop_container('regress_sn');
DO $$
DECLARE
	gone record;
BEGIN
	FOR gone IN SELECT path, kind FROM tree_now('/regress_sn') ORDER BY length(path) DESC, path LOOP
		IF gone.kind = 'directory' THEN
			PERFORM dbos.rmdir(gone.path);
		ELSE
			PERFORM dbos.unlink(gone.path);
		END IF;
	END LOOP;
END
$$;
SELECT versions >= 0 AND chunks >= 0 AS done FROM dbos.reclaim_files();
SELECT * FROM left_over();
DROP TABLE kept;
DROP FUNCTION tree_now, tree_then, differences, left_over, bytes;
DROP PROCEDURE take;
DROP ROLE regress_sn_ann, regress_sn_bob, regress_sn_member, regress_sn_monitor, regress_sn_admin, regress_sn_nobody;
