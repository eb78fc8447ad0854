-- Files are rows: each name once with its path, found by index where a condition allows that, and counted as a full count would.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE file_views_ann LOGIN IN ROLE dbos_user;
CREATE ROLE file_views_bob LOGIN IN ROLE dbos_user;
CREATE ROLE file_views_monitor LOGIN IN ROLE dbos_monitor;
SELECT dbos.mkdir('/views'), dbos.chmod('/views', 1023);
SET ROLE file_views_ann;
SELECT dbos.mkdir('/views/a/b/c', true), dbos.mkdir('/views/a/.hidden/x', true), dbos.mkdir('/views/z'), dbos.mkdir('/views/é');
SELECT count(dbos.write_text('/views/' || p, repeat('x', length(p)))) FROM
	unnest(ARRAY['1', '2.csv', 'a/3.csv', 'a/b/4.csv', 'a/b/c/5.csv', 'a/.hidden/6.csv', 'é/ü.csv', 'z/\377q', 'z/\134377', 'z/[x]', 'z/a*b', 'z/new
line', 'z/%_']) p;
SELECT dbos.symlink('/views/a', '/views/link'), dbos.symlink('..', '/views/a/up'), dbos.symlink('loop', '/views/loop'), dbos.symlink('nowhere', '/views/dead');
SELECT dbos.link('/views/1', '/views/a/same');
SELECT dbos.truncate_file('/views/z/big', 3000000000) FROM dbos.write_file('/views/z/big', 'abc');

-- ---- columns ----
SELECT path, kind, mode, owner, size, link_count, checksum, storage, "group", directory, name FROM dbos.files WHERE path LIKE '/views%' ORDER BY path;
SELECT count(*) FROM dbos.files f, dbos.stat(f.path) s WHERE f.path LIKE '/views%' AND (f.inode, f.kind, f.mode, f.owner, f."group", f.size, f.link_count,
	f.created_at, f.modified_at, f.changed_at, f.accessed_at, f.storage, f.checksum) IS NOT DISTINCT FROM (s.inode, s.kind, s.mode, s.owner, s."group", s.size,
	s.link_count, s.created_at, s.modified_at, s.changed_at, s.accessed_at, s.storage, s.checksum);
SELECT count(*) FROM dbos.files WHERE path = '/' OR path LIKE '//%' OR path IS NULL;

-- ---- the same by path as without an index, for all that looks like one ----
CREATE TEMP TABLE wanted (path text);
INSERT INTO wanted SELECT path FROM dbos.files WHERE path LIKE '/views%'
UNION ALL SELECT unnest(ARRAY['', '/', '//', 'views', '/views/', '/views//1', '/views/./1', '/views/a/../1', '/nothing', '/nothing/x', '/views/1/x', '/views/link/b',
	'/views/z/\377', '/views/z/\377q', E'/views/z/\\134377', repeat('/x', 2000), '/' || repeat('y', 300), '/views/é/ü.csv', '/VIEWS/1', NULL]);
SELECT count(*), count(*) FILTER (WHERE (SELECT count(*) FROM dbos.files f WHERE f.path = w.path) <> (SELECT count(*) FROM dbos.files f WHERE f.path || '' = w.path)) AS different FROM wanted w;
SELECT count(*), count(*) FILTER (WHERE w.path IS NOT NULL AND f.path IS DISTINCT FROM w.path) AS without FROM wanted w LEFT JOIN dbos.files f ON f.path = w.path;
SELECT count(*) = (SELECT count(*) FROM dbos.files WHERE path || '' = ANY (ARRAY(SELECT path FROM wanted))) AS same, count(*) FROM dbos.files WHERE path = ANY (ARRAY(SELECT path FROM wanted));
SELECT path FROM dbos.files WHERE path IN ('/views/1', '/views/a/3.csv', '/views/a/1', '/views/3.csv', NULL) ORDER BY path;
SELECT path FROM dbos.files WHERE '/views/1' = path;
SELECT path FROM dbos.files WHERE directory = '/views/z' ORDER BY path;
SELECT count(*) = (SELECT count(*) FROM dbos.ls('/')) AS same FROM dbos.files WHERE directory = '/';
-- Prefixes: each begins so with and without an index.
CREATE TEMP TABLE tried (pattern text, by_index bigint, without bigint);
CREATE FUNCTION pg_temp.try(operator text, pattern text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	a bigint;
	b bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM dbos.files WHERE path %s %L', operator, pattern) INTO a;
	EXECUTE format('SELECT count(*) FROM dbos.files WHERE path || '''' %s %L', operator, pattern) INTO b;
	INSERT INTO tried VALUES (operator || ' ' || pattern, a, b);
END $$;
SELECT count(pg_temp.try(o.operator, replace(p.pattern, '%', CASE o.operator WHEN '~' THEN '.*' WHEN '^@' THEN '' ELSE '%' END)))
FROM (VALUES ('~~'), ('~'), ('^@'), ('~~*')) o(operator),
	unnest(ARRAY['/views/%', '/views%', '/views/a/%', '/views/a%', '/views/a/b/c/5.csv', '/%', '%csv', '/views/z/\\%', '/views/z/\\\\377%', '/views/z/[x]%', '/vi_ws/%',
		'/views/é/%', '/views/\é%', '/nothing/%', '', '/', '//%', '/views/1/%', '/views/link/%', '/views/a/.%', '^/views/a', '^/views/(a|z)', '/views/z/\%%']) p(pattern);
SELECT * FROM tried WHERE by_index <> without;
SELECT count(*) > 80 AS many, sum(by_index) > 100 AS found FROM tried;
SELECT path FROM dbos.files WHERE starts_with(path, '/views/a/b') ORDER BY path;
SELECT path FROM dbos.files WHERE path ~ '^/views/a/.*\.csv$' ORDER BY path;

-- Which index is taken, where there are more files.
SELECT count(dbos.mkdir('/views/many/' || n, true)) FROM generate_series(1, 40) n;
SELECT count(dbos.write_text('/views/many/' || n % 40 + 1 || '/' || n, '')) FROM generate_series(1, 4000) n;
CREATE FUNCTION pg_temp.indexes(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
	RETURN (SELECT string_agg(DISTINCT m[1], ' ') FROM regexp_matches(plan::text, '"Index Name": "([a-z_]+)"', 'g') m);
END $$;
RESET ROLE;
ANALYZE dbos.inode;
ANALYZE dbos.directory_entry;
SET ROLE file_views_ann;
SELECT pg_temp.indexes(q), q FROM unnest(ARRAY[
	$$SELECT path FROM dbos.files WHERE path LIKE '/views/%' AND accessed_at > now() - interval '24 hours' AND size > 1e9$$,
	$$SELECT path FROM dbos.files WHERE size > 2000000000$$,
	$$SELECT path FROM dbos.files WHERE 1e9 < size$$,
	$$SELECT path FROM dbos.files WHERE size BETWEEN 5000000::float8 AND 1e12::float8$$,
	$$SELECT path FROM dbos.files WHERE path = '/views/1'$$,
	$$SELECT path FROM dbos.files WHERE directory = '/views/many/1'$$,
	$$SELECT path FROM dbos.files WHERE path IN ('/views/1', '/views/2.csv')$$,
	$$SELECT f.path FROM (VALUES ('/views/1'), ('/views/2.csv')) w(path) JOIN dbos.files f ON f.path = w.path$$,
	$$SELECT path FROM dbos.files WHERE path LIKE '/views/a/b/%'$$,
	$$SELECT path FROM dbos.files WHERE path ~ '^/views/a/b/.*[0-9]'$$,
	$$SELECT path FROM dbos.files WHERE path ^@ '/views/a/b/'$$]) q;
RESET ROLE;
SELECT dbos.remove('/views/many', recursive => true);
SET ROLE file_views_ann;
SELECT path FROM dbos.files WHERE path LIKE '/views/%' AND accessed_at > now() - interval '24 hours' AND size > 1e9;
SELECT path FROM dbos.files WHERE path LIKE '/views/%' AND accessed_at < now() - interval '24 hours' AND size > 1e9;
RESET ROLE;
SELECT path FROM dbos.files WHERE path LIKE '/views/%' AND accessed_at > now() - interval '24 hours' AND size > 1e9;
-- Bounds of all types, beside the size of each file and beside that of the index.
CREATE TEMP TABLE bounds AS SELECT b FROM unnest(ARRAY['-1', '0', '3', '1048575', '1048576', '1048577', '2999999999', '3000000000', '3000000001', '1e300', 'NaN', 'Infinity', '-Infinity']::float8[]) b;
SELECT dbos.write_file('/views/z/limit', 'x'), dbos.truncate_file('/views/z/limit', 1048576), dbos.write_file('/views/z/below', 'x'), dbos.truncate_file('/views/z/below', 1048575);
CREATE FUNCTION pg_temp.count_sizes(condition text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	result bigint;
BEGIN
	EXECUTE 'SELECT count(*) FROM dbos.files WHERE path LIKE ''/views/%'' AND ' || condition INTO result;
	RETURN result;
END $$;
SELECT count(*), count(*) FILTER (WHERE pg_temp.count_sizes(format('size %s %L::%s', o, b, t)) <> pg_temp.count_sizes(format('size + 0 %s %L::%s', o, b, t))) AS different
FROM bounds, unnest(ARRAY['>', '>=', '=', '<', '<=', '<>']) o, unnest(ARRAY['float8', 'numeric']) t;
SELECT count(*), count(*) FILTER (WHERE pg_temp.count_sizes(format('size %s %s', o, b::numeric::bigint)) <> pg_temp.count_sizes(format('size + 0 %s %s', o, b::numeric::bigint))) AS different
FROM bounds, unnest(ARRAY['>', '>=', '=', '<', '<=', '<>']) o WHERE b BETWEEN -1 AND 1e12;

-- ---- the index of large files through random changes ----
SELECT setseed(0.5);
SELECT dbos.mkdir('/views/sizes');
SELECT count(dbos.write_file('/views/sizes/' || n, 'x')) FROM generate_series(1, 20) n;
SELECT dbos.snapshot('/views/sizes', 'file_views_0') > 0 AS taken;
DO $$
DECLARE
	file text;
BEGIN
	FOR i IN 1 .. 600 LOOP
		file := '/views/sizes/' || (1 + floor(random() * 20));
		BEGIN
			IF random() < 0.05 THEN
				PERFORM dbos.unlink(file);
				PERFORM dbos.write_file(file, 'new');
			ELSIF random() < 0.1 THEN
				PERFORM dbos.write_file(file, 'small again');
			ELSIF random() < 0.5 THEN
				PERFORM dbos.write_file(file, 'longer', append => true);
			ELSE
				PERFORM dbos.truncate_file(file, (2 ^ (random() * 40))::bigint);
			END IF;
			IF random() < 0.2 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
		END;
		IF i = 300 THEN
			PERFORM dbos.snapshot('/views/sizes', 'file_views_1');
		END IF;
	END LOOP;
END $$;
SET enable_seqscan = off;
CREATE TEMP TABLE by_index AS SELECT inode, died, size, size_class FROM dbos.inode WHERE size_class > 0;
CREATE TEMP TABLE directories_by_index AS SELECT parent, child, died FROM dbos.directory_entry WHERE kind = 4 AND parent > 0;
SET enable_seqscan = on;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;
CREATE TEMP TABLE by_scan AS SELECT inode, died, size, size_class FROM dbos.inode WHERE size_class > 0;
CREATE TEMP TABLE directories_by_scan AS SELECT parent, child, died FROM dbos.directory_entry WHERE kind = 4 AND parent > 0;
RESET enable_indexscan;
RESET enable_indexonlyscan;
RESET enable_bitmapscan;
SELECT count(*) > 5 AS some, (SELECT count(*) FROM (TABLE by_scan EXCEPT ALL TABLE by_index) x) AS missing, (SELECT count(*) FROM (TABLE by_index EXCEPT ALL TABLE by_scan) x) AS additional FROM by_index;
SELECT count(*) > 5 AS some, (SELECT count(*) FROM (TABLE directories_by_scan EXCEPT ALL TABLE directories_by_index) x) AS missing,
	(SELECT count(*) FROM (TABLE directories_by_index EXCEPT ALL TABLE directories_by_scan) x) AS additional FROM directories_by_index;
SELECT count(*) FROM dbos.inode WHERE large_object IS NULL AND size_class <> CASE WHEN size < 1048576 THEN 0 ELSE floor(log(2, size::numeric)) + 1 END;
SELECT dbos.drop_snapshot('file_views_0'), dbos.drop_snapshot('file_views_1'), dbos.remove('/views/sizes', recursive => true);

-- ---- tree and glob ----
SET ROLE file_views_ann;
SELECT path, depth, name, kind, size FROM dbos.tree('/views/');
SELECT path, name FROM dbos.tree('/views/link');
SELECT * FROM dbos.tree('/views/1') \gset one_
SELECT :'one_path' AS path, :one_depth AS depth, :one_size AS size;
SELECT path FROM dbos.tree('/views/nothing');
SELECT path FROM dbos.tree('views');
SELECT path FROM dbos.tree(NULL);
SELECT count(*) > 20 AS all_of_it, min(path) FROM dbos.tree();
-- A walk that reaches as far as the view does.
SELECT count(*), count(*) FILTER (WHERE t.path IS NULL OR f.path IS NULL) AS different FROM (SELECT path FROM dbos.tree('/views') WHERE depth > 0) t
	FULL JOIN (SELECT path FROM dbos.files WHERE path LIKE '/views/%') f ON f.path = t.path;
SELECT p AS pattern, (SELECT string_agg(replace(path, E'\n', '\n'), '  ' ORDER BY n) FROM dbos.glob(p) WITH ORDINALITY g(path, name, kind, mode, owner, "group", size, modified_at, inode, n)) AS paths
FROM unnest(ARRAY['/views/*', '/views/**/*.csv', '/views/link/*', '/views/l*/**/*.csv', '/views/?/*', '/views/[a-y]/', '/views/[!a]/*', '/views/[^a]/*', '/views/z/\[x]', '/views/z/a\*b',
	'/views/z/\377*', '/views/z/?q', '/views/z/\134377', '/views/a/up/?', '/views/a/**', '/views/**/a/**/b/**/*', '/views/a/.*/*', '/views/a/*/', '/', '/views', '/views/', '/views/1/', '//views//1', '/./views/./1',
	'/views/nothing/*', '/views/1/x', '/views/[[:alpha:]]', '/views/[[:digit:].]*', '/views/é/?.csv', '/views/[à-ï]/*', '/views/**/**/5*', '/views/*/', '/views/loop/*', '/views/dead/*', '/views/z/[x]', '/views/z/[', '/views/z/*[]x]',
	'/views/z/new*', '/views/z/[a-]*', '/views/**/[.]*', '/views/a/b*/c/*', '/**/5.csv', '/views/a/up/up/x', '/*/a/same']) p;
SELECT * FROM dbos.glob('views/*');
SELECT * FROM dbos.glob('');
SELECT * FROM dbos.glob('/views/*/../x');
SELECT * FROM dbos.glob(NULL);
SELECT count(*) FROM dbos.glob('/' || repeat('*/', 5000));
SELECT count(*) FROM dbos.glob('/views/' || repeat('**/', 1000) || '*.csv');
SELECT count(*) FROM dbos.glob('/views/' || repeat('*a*', 80) || 'b');
-- Each of the paths that a regular expression finds.
SELECT count(*), count(*) FILTER (WHERE g.path IS NULL OR f.path IS NULL) AS different FROM dbos.glob('/views/**/*[0-9].csv') g
	FULL JOIN (SELECT path FROM dbos.files WHERE path ~ '^/views/([^./][^/]*/)*[^./][^/]*[0-9].csv$' OR path ~ '^/views/([^./][^/]*/)*[0-9].csv$') f ON f.path = g.path;

-- ---- counters ----
SELECT path, own_bytes, total_bytes, files, directories, total_files, total_directories FROM dbos.directory_tree('/views');
SELECT count(*), count(*) FILTER (WHERE d.inode IS NULL OR t.inode IS NULL) AS different FROM (SELECT inode, path, own_bytes, total_bytes FROM dbos.directories WHERE path LIKE '/views%') d
	FULL JOIN dbos.directory_tree('/views') t USING (inode, path, own_bytes, total_bytes);
SELECT * FROM dbos.du('/views');
SELECT * FROM dbos.du('/views/a/');
SELECT * FROM dbos.du('/views/1');
SELECT * FROM dbos.du('/views/nothing');
SELECT * FROM dbos.largest_directories('file_views_ann', 3);
SELECT count(*) FROM dbos.largest_directories('file_views_ann', 0);
SELECT count(*) FROM dbos.largest_directories('file_views_ann', -1);
SELECT count(*) FROM dbos.largest_directories('nobody_of_that_name');
SELECT count(*) FROM dbos.largest_directories(NULL);
SELECT * FROM dbos.file_owners;
SET ROLE file_views_bob;
SELECT * FROM dbos.file_owners;
SELECT dbos.write_text('/views/bob', 'of bob');
SELECT * FROM dbos.file_owners;
SELECT available_bytes IS NULL AS not_told, table_bytes > 0 AS has_tables, index_bytes > 0 AS has_indexes, reusable_bytes BETWEEN 0 AND table_bytes AS has_room FROM dbos.df();
SET ROLE file_views_monitor;
SELECT * FROM dbos.file_owners WHERE role::text LIKE 'file_views%' ORDER BY role::text;
SELECT available_bytes > 0 AS told FROM dbos.df();
-- What is left out of a sum is what its reader could not list.
SET ROLE file_views_ann;
SELECT dbos.mkdir('/views/a/b/own'), dbos.write_text('/views/a/b/own/secret', 'secret'), dbos.chmod('/views/a/b/own', '700');
SELECT path, own_bytes, total_bytes, total_files FROM dbos.directory_tree('/views/a/b');
SET ROLE file_views_bob;
\pset null '-'
SELECT path, own_bytes, total_bytes, total_files FROM dbos.directory_tree('/views/a/b');
\pset null ''
SELECT * FROM dbos.du('/views/a/b');
SELECT * FROM dbos.du('/views/a/b/own');
SELECT path FROM dbos.largest_directories('file_views_ann', 100) WHERE path LIKE '%own';
RESET ROLE;

-- In a transaction each step counts, and what is rolled back does not.
CREATE VIEW pg_temp.wrong AS
	SELECT 'directories' AS what, d.path FROM dbos.directory_tree('/views') d
	WHERE ROW(d.own_bytes, d.files, d.directories)::text <>
		(SELECT ROW(COALESCE(sum(i.size) FILTER (WHERE e.kind <> 4), 0), count(*) FILTER (WHERE e.kind <> 4), count(*) FILTER (WHERE e.kind = 4))::text
		 FROM dbos.directory_entry e JOIN dbos.inode i ON i.inode = e.child AND i.died = 2147483647 WHERE e.parent = d.inode AND e.died = 2147483647)
	UNION ALL
	SELECT 'totals', d.path FROM dbos.directory_tree('/views') d
	WHERE ROW(d.total_bytes, d.total_files, d.total_directories)::text <>
		(SELECT ROW(COALESCE(sum(t.size) FILTER (WHERE t.kind <> 'directory'), 0), count(*) FILTER (WHERE t.kind <> 'directory'), count(*) FILTER (WHERE t.kind = 'directory'))::text
		 FROM dbos.tree(d.path) t WHERE t.depth > 0)
	UNION ALL
	SELECT 'owners', COALESCE(o.role, i.owner)::text FROM dbos.file_owners o
		FULL JOIN (SELECT owner, count(*) AS files, sum(size) AS bytes FROM dbos.inode WHERE died = 2147483647 AND mode & 61440 <> 16384 GROUP BY owner) i
			ON i.owner = o.role AND i.files = o.files AND i.bytes = o.bytes
	WHERE o.role IS NULL OR i.owner IS NULL;
SELECT * FROM pg_temp.wrong;
BEGIN;
SELECT dbos.write_text('/views/a/new', '12345'), dbos.mkdir('/views/a/d');
SELECT * FROM dbos.du('/views/a');
SELECT * FROM pg_temp.wrong;
SAVEPOINT one;
SELECT dbos.rename('/views/a/new', '/views/z/new'), dbos.link('/views/z/new', '/views/a/d/link'), dbos.write_text('/views/a/d/link', '678', append => true);
SELECT dbos.chown('/views/z/new', 'file_views_bob');
SELECT * FROM dbos.du('/views/a');
SELECT * FROM pg_temp.wrong;
SAVEPOINT two;
SELECT dbos.unlink('/views/z/new'), dbos.rename('/views/a/d', '/views/z/d');
SELECT * FROM pg_temp.wrong;
SELECT * FROM dbos.du('/views/z/d');
ROLLBACK TO two;
SELECT * FROM dbos.du('/views/a');
SELECT * FROM pg_temp.wrong;
RELEASE one;
SELECT * FROM pg_temp.wrong;
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT * FROM pg_temp.wrong;
SELECT dbos.remove('/views/a/d', recursive => true);
SELECT * FROM pg_temp.wrong;
COMMIT;
SELECT * FROM pg_temp.wrong;
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT * FROM pg_temp.wrong;
SELECT * FROM dbos.du('/views/a');

SELECT dbos.remove('/views', recursive => true);
SELECT * FROM dbos.file_owners WHERE role::text LIKE 'file_views%';
DROP OWNED BY file_views_ann;
DROP ROLE file_views_ann, file_views_bob, file_views_monitor;
