-- A file can be a large object: lo_* functions and files see and change the same bytes, the object's privileges decide, and who has no right on one gains none by a file.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_lo_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_lo_bob LOGIN IN ROLE dbos_user;
CREATE ROLE regress_lo_eve LOGIN IN ROLE dbos_user;
CREATE ROLE regress_lo_admin LOGIN IN ROLE dbos_admin;
CREATE FUNCTION public.object_of(file text) RETURNS oid LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC
	SELECT i.large_object FROM dbos.inode i WHERE i.inode = (dbos.stat(file)).inode AND i.died = 2147483647;
END;
-- What a statement raises, without the numbers of objects.
CREATE FUNCTION public.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', sqlstate || ': ' || regexp_replace(sqlerrm, 'object [1-9][0-9]*', 'object N') || '.', nullif(detail, ''), nullif(hint, ''));
END
$$;

-- ---- a directory whose files are large objects ----
\c - regress_lo_ann
SELECT dbos.mkdir('/lo', storage => 'large_object');
SELECT dbos.mkdir('/lo/a/b', true), dbos.mkdir('/lo/chunk', storage => 'chunk');
SELECT kind, storage FROM dbos.stat('/lo/a/b');
SELECT kind, storage FROM dbos.stat('/lo/chunk');
SELECT dbos.mkdir('/lo/x', storage => 'tape');
SELECT dbos.mkdir('/lo', true, 'large_object'), dbos.mkdir('/lo/y', NULL), dbos.mkdir(NULL, false);
SELECT dbos.mkdir('/lo', true, 'chunk');
SELECT dbos.ls('/lo/y');
SELECT dbos.write_text('/lo/f', 'abc'), dbos.write_text('/lo/a/b/f', ''), dbos.write_text('/lo/chunk/f', 'abc'), dbos.symlink('f', '/lo/link');
SELECT path, s.size, s.storage, s.checksum FROM unnest('{/lo/f,/lo/a/b/f,/lo/chunk/f,/lo/link}'::text[]) path, dbos.stat(path) s;
-- It is its creator's, and read and written from both sides.
SELECT public.object_of('/lo/f') AS f \gset
SELECT lomowner::regrole, lomacl FROM pg_largeobject_metadata WHERE oid = :f;
SELECT convert_from(lo_get(:f), 'UTF8');
SELECT lo_put(:f, 2, 'changed');
SELECT dbos.read_text('/lo/f'), size FROM dbos.stat('/lo/f');
SELECT name, size FROM dbos.ls('/lo') WHERE kind = 'file';
SELECT dbos.write_text('/lo/f', '+', append => true);
SELECT convert_from(lo_get(:f), 'UTF8');
SELECT dbos.write_at('/lo/f', 1, 'XY');
SELECT convert_from(lo_get(:f), 'UTF8');
SELECT dbos.write_text('/lo/f', 'new');
SELECT convert_from(lo_get(:f), 'UTF8'), public.object_of('/lo/f') = :f AS same;
SELECT dbos.write_at('/lo/f', 1, ''), dbos.write_at('/lo/f', 10, '');
SELECT lo_get(:f);
SELECT dbos.truncate_file('/lo/f', 2);
SELECT lo_get(:f);
SELECT dbos.truncate_file('/lo/f', 5);
SELECT lo_get(:f);
-- A statement that writes sees what it has written.
SELECT dbos.write_text('/lo/f', n::text, true) FROM generate_series(1, 3) n;
SELECT lo_get(:f);
SELECT dbos.read_file('/lo/f', 3, 4), dbos.read_file('/lo/f', 7), dbos.read_file('/lo/f', 100, 1);

-- ---- holes, and the largest ----
SELECT dbos.write_at('/lo/f', 1000000, 'end');
SELECT dbos.read_file('/lo/f', 999998), dbos.read_file('/lo/f', 5000, 3);
\c - postgres
SELECT count(*) AS pages FROM pg_largeobject WHERE loid = :f;
\c - regress_lo_ann
SELECT sum(get_byte(c, n)) FROM (SELECT dbos.read_file('/lo/f', 8, 1000) AS c) c, generate_series(0, 999) n;
SELECT dbos.truncate_file('/lo/f', 4398046509056);
SELECT size FROM dbos.stat('/lo/f');
SELECT dbos.read_file('/lo/f', 4398046509050), dbos.read_file('/lo/f', 1000000, 5);
SELECT dbos.truncate_file('/lo/f', 4398046509057);
SELECT dbos.write_at('/lo/f', 4398046509055, 'x');
SELECT dbos.read_file('/lo/f', 4398046509054);
SELECT dbos.write_at('/lo/f', 4398046509055, 'xy');
SELECT dbos.write_text('/lo/f', 'x', true);
SELECT dbos.truncate_file('/lo/f', 3);
SELECT dbos.read_file('/lo/f'), lo_get(:f);
-- Longer than a piece, at every place of a page.
CREATE TEMPORARY TABLE long AS SELECT string_agg(sha256(n::text::bytea), '' ORDER BY n) AS c FROM generate_series(1, 80000) n;
SELECT dbos.write_file('/lo/long', c) FROM long;
SELECT dbos.read_file('/lo/long') = c AS same, lo_get(public.object_of('/lo/long')) = c AS by_lo FROM long;
SELECT dbos.read_file('/lo/long', 2047, 1100000) = substr(c, 2048, 1100000) AS same FROM long;
SELECT dbos.write_at('/lo/long', 1234567, c) FROM long;
SELECT dbos.read_file('/lo/long') = substr(c, 1, 1234567) || c AS same FROM long;

-- ---- copies: bytes, in the class of where they go ----
SELECT dbos.copy('/lo/long', '/lo/copy'), dbos.copy('/lo/long', '/lo/chunk/copy'), dbos.copy('/lo/chunk/copy', '/lo/again'), dbos.copy('/lo/chunk/f', '/lo/small'), dbos.copy('/lo/small', '/lo/chunk/small');
SELECT path, s.size, s.storage, dbos.read_file(path) = dbos.read_file('/lo/long') AS same, s.checksum IS NOT NULL AS checksum
FROM unnest('{/lo/copy,/lo/chunk/copy,/lo/again}'::text[]) path, dbos.stat(path) s;
SELECT path, storage, dbos.read_text(path) FROM unnest('{/lo/small,/lo/chunk/small}'::text[]) path, dbos.stat(path) s;
SELECT public.object_of('/lo/copy') <> public.object_of('/lo/long') AS other, public.object_of('/lo/copy') AS copy \gset
SELECT dbos.write_at('/lo/copy', 0, 'X');
SELECT dbos.read_file('/lo/copy', 0, 1) = 'X' AS changed, dbos.read_file('/lo/long', 0, 1) = 'X' AS too;
SELECT dbos.copy('/lo/chunk/f', '/lo/copy'), dbos.copy('/lo/long', '/lo/chunk/small');
SELECT public.object_of('/lo/copy') = :copy AS same_object, dbos.read_text('/lo/copy'), dbos.read_file('/lo/chunk/small') = dbos.read_file('/lo/long') AS same;
-- A copy of what is mostly a hole is one.
SELECT dbos.truncate_file('/lo/f', 3), dbos.write_at('/lo/f', 20000000, '!'), dbos.copy('/lo/f', '/lo/sparse'), dbos.copy('/lo/f', '/lo/chunk/sparse');
SELECT dbos.truncate_file('/lo/f', 30000000), dbos.copy('/lo/f', '/lo/sparse');
SELECT dbos.read_file('/lo/sparse', 19999999, 3), dbos.read_file('/lo/chunk/sparse', 19999999);
SELECT size FROM dbos.stat('/lo/sparse');
\c - postgres
SELECT count(*) AS pages FROM pg_largeobject WHERE loid = public.object_of('/lo/sparse');
\c - regress_lo_ann

-- ---- the object goes with its file, and not without it ----
SELECT public.raised(format('SELECT lo_unlink(%s)', :f));
SELECT public.raised('DROP OWNED BY regress_lo_ann') LIKE '2BP01: cannot drop large object N because it is the content of a file.%' AS refused;
SELECT dbos.link('/lo/f', '/lo/g'), dbos.unlink('/lo/f');
SELECT dbos.read_file('/lo/g', 0, 3), count(*) FROM pg_largeobject_metadata WHERE oid = :f;
SELECT dbos.rename('/lo/small', '/lo/g');
SELECT count(*) FROM pg_largeobject_metadata WHERE oid = :f;
SELECT dbos.read_text('/lo/g');
-- All of that rolls back.
SELECT public.object_of('/lo/g') AS g \gset
BEGIN;
SELECT dbos.write_text('/lo/g', 'lost');
SAVEPOINT s;
SELECT dbos.unlink('/lo/g');
SELECT public.raised(format('SELECT lo_get(%s)', :g));
ROLLBACK TO s;
SELECT lo_get(:g);
SELECT lo_put(:g, 0, 'LOST'), dbos.write_text('/lo/rolled_back', 'x');
SELECT dbos.read_text('/lo/g');
ROLLBACK;
SELECT dbos.read_text('/lo/g');
SELECT dbos.read_text('/lo/rolled_back');
BEGIN;
SELECT dbos.write_text('/lo/g', 'prepared'), dbos.adopt_large_object(lo_from_bytea(0, 'prepared'), '/lo/p');
PREPARE TRANSACTION 'regress_lo';
SELECT dbos.read_text('/lo/g');
COMMIT PREPARED 'regress_lo';
SELECT dbos.read_text('/lo/g'), dbos.read_text('/lo/p');
SELECT public.object_of('/lo/p') AS p \gset
SELECT dbos.unlink('/lo/p'), lo_unlink(:p);
-- What was read last in a transaction that fails leaves nothing open.
BEGIN;
SELECT dbos.read_text('/lo/g');
SELECT 1 / 0;
ROLLBACK;
BEGIN;
DO $$ BEGIN PERFORM dbos.read_text('/lo/g'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
COMMIT;
BEGIN;
SELECT lo_get(:g), dbos.read_text('/lo/g');
SELECT dbos.write_text('/lo/g', 'both');
SELECT lo_get(:g), dbos.read_text('/lo/g');
SELECT loread(lo_open(:g, 262144), 2), dbos.read_text('/lo/g');
COMMIT;
SELECT dbos.read_text('/lo/g');

-- ---- adopting ----
SELECT lo_from_bytea(0, 'of ann') AS o \gset
SELECT lo_from_bytea(0, '') AS empty \gset
SELECT dbos.adopt_large_object(:o, '/lo/adopted'), dbos.adopt_large_object(:empty, '/lo/chunk/empty');
SELECT kind, mode, owner, size, storage, checksum FROM dbos.stat('/lo/adopted');
SELECT size, storage FROM dbos.stat('/lo/chunk/empty');
SELECT dbos.read_text('/lo/adopted');
SELECT lo_put(:o, 6, ', changed');
SELECT dbos.read_text('/lo/adopted'), size FROM dbos.stat('/lo/adopted');
SELECT dbos.write_text('/lo/adopted', '!', true);
SELECT convert_from(lo_get(:o), 'UTF8');
SELECT dbos.write_text('/lo/adopted', 'replaced');
SELECT convert_from(lo_get(:o), 'UTF8'), public.object_of('/lo/adopted') = :o AS same;
SELECT dbos.copy('/lo/adopted', '/lo/of_its_own');
SELECT dbos.read_text('/lo/of_its_own'), public.object_of('/lo/of_its_own') = :o AS same;
-- One file an object, and one object a file.
SELECT public.raised(format('SELECT dbos.adopt_large_object(%s, ''/lo/twice'')', :o));
SELECT public.raised(format('SELECT dbos.adopt_large_object(%s, ''/lo/twice'')', :g));
SELECT dbos.adopt_large_object(lo_from_bytea(0, ''), '/lo/adopted');
SELECT dbos.adopt_large_object(0, '/lo/twice');
SELECT dbos.adopt_large_object(lo_from_bytea(0, ''), '/nowhere/x');
SELECT dbos.adopt_large_object(lo_from_bytea(0, ''), '/lo/x/');
SELECT public.raised(format('SELECT lo_unlink(%s)', :o));
-- Unlinked, it is what it was before; so also when another takes its name.
SELECT dbos.link('/lo/adopted', '/lo/second'), dbos.unlink('/lo/second');
SELECT public.raised(format('SELECT lo_unlink(%s)', :o));
SELECT dbos.unlink('/lo/adopted');
SELECT convert_from(lo_get(:o), 'UTF8');
SELECT dbos.adopt_large_object(:o, '/lo/adopted');
SELECT dbos.rename('/lo/of_its_own', '/lo/adopted');
SELECT dbos.unlink('/lo/adopted'), dbos.adopt_large_object(:o, '/lo/adopted');
SELECT dbos.unlink('/lo/adopted'), lo_unlink(:o);
SELECT public.raised(format('SELECT lo_get(%s)', :o));

-- ---- who may: of an adopted object its ACL, which the mode narrows ----
SELECT lo_from_bytea(0, 'secret') AS o \gset
SELECT lo_from_bytea(0, 'public') AS p \gset
\c - regress_lo_eve
-- To have one adopted one must own it.
SELECT public.raised(format('SELECT dbos.adopt_large_object(%s, ''/eve'')', :o));
SELECT public.raised(format('SELECT dbos.adopt_large_object(%s, ''/eve'')', :g));
\c - postgres
GRANT SELECT, UPDATE ON LARGE OBJECT :o TO regress_lo_eve;
\c - regress_lo_eve
SELECT public.raised(format('SELECT dbos.adopt_large_object(%s, ''/eve'')', :o));
\c - postgres
REVOKE ALL ON LARGE OBJECT :o FROM regress_lo_eve;
\c - regress_lo_ann
SELECT dbos.adopt_large_object(:o, '/lo/o');
GRANT SELECT ON LARGE OBJECT :o TO regress_lo_bob;
GRANT SELECT, UPDATE ON LARGE OBJECT :p TO PUBLIC;
SELECT dbos.adopt_large_object(:p, '/lo/p');
\c - regress_lo_bob
SELECT dbos.read_text('/lo/o');
SELECT dbos.write_text('/lo/o', 'x', true);
-- The mode is 0644: what PUBLIC may do to the object, others may not do to the file.
SELECT dbos.read_text('/lo/p');
SELECT dbos.write_text('/lo/p', 'x', true);
SELECT lo_put(:p, 6, ' by bob');
SELECT dbos.read_text('/lo/p'), size FROM dbos.stat('/lo/p');
\c - regress_lo_eve
SELECT dbos.read_text('/lo/o');
SELECT dbos.write_text('/lo/o', 'x', true);
SELECT dbos.truncate_file('/lo/o', 0);
SELECT dbos.copy('/lo/o', '/eve');
SELECT dbos.read_text('/lo/p');
SELECT dbos.unlink('/lo/o');
SELECT public.raised(format('SELECT lo_unlink(%s)', :o));
\c - regress_lo_admin
-- The administrator of dbos is the root of files, and nobody to large objects.
SELECT dbos.read_text('/lo/o');
SELECT dbos.read_text('/lo/g');
\c - postgres
SELECT dbos.read_text('/lo/o');
-- What is granted and taken, and who is made owner, is so at once.
\c - regress_lo_ann
REVOKE SELECT ON LARGE OBJECT :o FROM regress_lo_bob;
REVOKE UPDATE ON LARGE OBJECT :o FROM regress_lo_ann;
SELECT dbos.write_text('/lo/o', 'x', true);
SELECT dbos.read_text('/lo/o');
\c - regress_lo_bob
SELECT dbos.read_text('/lo/o');
\c - postgres
ALTER LARGE OBJECT :o OWNER TO regress_lo_bob;
\c - regress_lo_ann
SELECT dbos.read_text('/lo/o');
SELECT size FROM dbos.stat('/lo/o');
SELECT dbos.unlink('/lo/o');
\c - regress_lo_bob
SELECT convert_from(lo_get(:o), 'UTF8'), lo_unlink(:o);
-- With this setting nobody is asked for rights on large objects.
\c - postgres
SELECT lo_from_bytea(0, 'compatible') AS o \gset
SET lo_compat_privileges = on;
SET SESSION AUTHORIZATION regress_lo_eve;
SELECT convert_from(lo_get(:o), 'UTF8');
SELECT dbos.adopt_large_object(:o, '/eve');
SELECT dbos.read_text('/eve');
\c - regress_lo_eve
SELECT dbos.read_text('/eve');
SELECT dbos.unlink('/eve');

-- ---- who may: of a file's own object, what the mode says, on the rights of the file's owner ----
\c - regress_lo_bob
SELECT dbos.read_text('/lo/g');
SELECT public.raised(format('SELECT lo_get(%s)', :g));
SELECT dbos.write_text('/lo/g', 'x', true);
\c - postgres
ALTER LARGE OBJECT :g OWNER TO regress_lo_eve;
SELECT dbos.read_text('/lo/g');
\c - regress_lo_ann
SELECT dbos.read_text('/lo/g');
\c - regress_lo_bob
SELECT dbos.read_text('/lo/g');
\c - regress_lo_eve
GRANT SELECT ON LARGE OBJECT :g TO regress_lo_ann;
\c - regress_lo_bob
SELECT dbos.read_text('/lo/g');
SELECT public.raised(format('SELECT lo_get(%s)', :g));
-- What has become somebody else's is not removed with the file.
\c - regress_lo_ann
SELECT dbos.unlink('/lo/g');
\c - regress_lo_eve
SELECT convert_from(lo_get(:g), 'UTF8'), lo_unlink(:g);
-- In somebody else's directory an object is its creator's, too.
\c - regress_lo_ann
SELECT dbos.mkdir('/lo_shared', storage => 'large_object');
SELECT dbos.chmod('/lo_shared', '0777');
\c - regress_lo_bob
SELECT dbos.write_text('/lo_shared/b', 'of bob');
SELECT lomowner::regrole FROM pg_largeobject_metadata WHERE oid = public.object_of('/lo_shared/b');
SELECT public.object_of('/lo_shared/b') AS b \gset
-- Who removes the name of bob's file removes his object.
\c - regress_lo_ann
SELECT public.raised(format('SELECT lo_unlink(%s)', :b));
SELECT dbos.unlink('/lo_shared/b');
SELECT public.raised(format('SELECT lo_get(%s)', :b));

-- Who gives a file away gives its own object with it, and of an adopted one just the file.
\c - regress_lo_ann
SELECT dbos.write_text('/lo_shared/given', 'of ann'), dbos.adopt_large_object(lo_from_bytea(0, 'of ann'), '/lo_shared/adopted');
SELECT public.object_of('/lo_shared/given') AS given, public.object_of('/lo_shared/adopted') AS adopted \gset
SELECT dbos.chown('/lo_shared/given', 'regress_lo_bob');
\c - regress_lo_admin
SELECT dbos.chown('/lo_shared/given', 'regress_lo_bob'), dbos.chown('/lo_shared/adopted', 'regress_lo_bob');
SELECT CASE oid WHEN :given THEN 'given' ELSE 'adopted' END AS object, lomowner::regrole FROM pg_largeobject_metadata WHERE oid IN (:given, :adopted) ORDER BY object DESC;
\c - regress_lo_bob
SELECT dbos.write_text('/lo_shared/given', ', given to bob', true), convert_from(lo_get(:given), 'UTF8');
SELECT dbos.chmod('/lo_shared/given', '0600');
SELECT dbos.read_text('/lo_shared/adopted');
\c - regress_lo_ann
SELECT dbos.read_text('/lo_shared/given');
SELECT public.raised(format('SELECT lo_get(%s)', :given));
SELECT dbos.read_text('/lo_shared/adopted');
-- The size that dbos.files shows is the object's, and no other's.
SELECT lo_put(public.object_of('/lo/sparse'), 30000000, repeat('x', 1000)::bytea);
SELECT path, size, storage FROM dbos.files WHERE path IN ('/lo/sparse', '/lo/chunk', '/lo/chunk/f', '/lo/chunk/empty', '/lo_shared/given') ORDER BY path;
SELECT path, size FROM dbos.files WHERE path LIKE '/lo/%' AND size > 3e7;
SELECT inode AS sparse FROM dbos.stat('/lo/sparse') \gset
SELECT inode AS chunk FROM dbos.stat('/lo/chunk/f') \gset
SELECT dbos.large_object_size(:sparse), dbos.large_object_size(:chunk), dbos.large_object_size(-1);
SELECT dbos.chmod('/lo/', '0700');
\c - regress_lo_eve
SELECT dbos.large_object_size(:sparse);
SELECT count(*) FROM dbos.files WHERE path LIKE '/lo/%' AND size > 3e7;
\c - regress_lo_ann
SELECT lo_put(public.object_of('/lo/sparse'), 40000000, 'x');
SELECT dbos.truncate_file('/lo/sparse', 1000);
\c - postgres
SELECT dbos.large_object_size(:sparse);
-- ---- snapshots have no bytes of large objects, and say so ----
\c - regress_lo_ann
SELECT dbos.mkdir('/lo_snapshot', storage => 'large_object'), dbos.write_text('/lo_snapshot/own', 'before'), dbos.write_text('/lo_snapshot/empty', ''),
	dbos.adopt_large_object(lo_from_bytea(0, 'before'), '/lo_snapshot/adopted');
SELECT public.object_of('/lo_snapshot/own') AS own, public.object_of('/lo_snapshot/adopted') AS adopted \gset
SELECT dbos.snapshot('/lo_snapshot', 'regress_lo') > 0 AS taken;
SELECT public.raised($$SELECT dbos.read_snapshot('regress_lo', '/lo_snapshot/own')$$) LIKE '0A000: cannot read inode % in a snapshot: its content is large object N.%' AS raised;
SELECT dbos.write_text('/lo_snapshot/own', 'written later'), dbos.write_text('/lo_snapshot/adopted', 'written later'), lo_put(:adopted, 0, 'changed by lo_put');
SELECT name, size FROM dbos.snapshot_ls('regress_lo', '/lo_snapshot') ORDER BY name;
SELECT size, storage FROM dbos.snapshot_stat('regress_lo', '/lo_snapshot/own');
SELECT public.raised(format('SELECT dbos.read_snapshot(''regress_lo'', %L)', '/lo_snapshot/' || f)) LIKE '0A000: %' AS read,
	public.raised(format('SELECT dbos.restore_file(''regress_lo'', %L, %L)', '/lo_snapshot/' || f, d)) LIKE '0A000: %' AS restored
FROM unnest('{own,empty,adopted}'::text[]) f, unnest('{/lo/chunk/restored,/lo/restored,/lo_snapshot/own}'::text[]) d;
SELECT dbos.read_text('/lo_snapshot/own'), dbos.read_text('/lo_snapshot/adopted');
-- Unlinked, adopted again, and in a second snapshot.
SELECT dbos.unlink('/lo_snapshot/adopted'), dbos.adopt_large_object(:adopted, '/lo_snapshot/again'), dbos.unlink('/lo_snapshot/own');
SELECT dbos.snapshot('/lo_snapshot', 'regress_lo_second') > 0 AS taken;
SELECT dbos.unlink('/lo_snapshot/again'), dbos.adopt_large_object(:adopted, '/lo_snapshot/adopted');
SELECT name, size FROM dbos.snapshot_ls('regress_lo', '/lo_snapshot') ORDER BY name;
SELECT name, size FROM dbos.snapshot_ls('regress_lo_second', '/lo_snapshot') ORDER BY name;
SELECT public.raised(format('SELECT lo_get(%s)', :own));
SELECT public.raised($$SELECT dbos.read_snapshot('regress_lo', '/lo_snapshot/own')$$) LIKE '0A000: %' AS raised;
SELECT dbos.read_text('/lo_snapshot/adopted');
SELECT dbos.unlink('/lo_snapshot/adopted'), lo_unlink(:adopted);
SELECT dbos.drop_snapshot('regress_lo'), dbos.drop_snapshot('regress_lo_second');

-- Usage counts what dbos has written: the sums and the rows agree, whatever lo_* clients do.
\c - postgres
SELECT sum(c.file_bytes) = (SELECT sum(i.size) FROM dbos.inode i WHERE i.owner = 'regress_lo_ann'::regrole AND i.died = 2147483647 AND i.mode & 61440 <> 16384) AS counted
FROM (SELECT owner, file_bytes FROM dbos.directory_change UNION ALL SELECT owner, file_bytes FROM dbos.directory_usage) c WHERE c.owner = 'regress_lo_ann'::regrole;
-- No file's own object is left without it, none is missing.
SELECT count(*) FROM pg_largeobject_metadata m WHERE lomowner = 'regress_lo_ann'::regrole AND NOT EXISTS (SELECT FROM dbos.inode i WHERE i.large_object = m.oid);
SELECT count(*) FROM dbos.inode i WHERE i.large_object IS NOT NULL AND i.died = 2147483647 AND NOT EXISTS (SELECT FROM pg_largeobject_metadata m WHERE i.large_object = m.oid);
DROP FUNCTION public.object_of(text), public.raised(text);
