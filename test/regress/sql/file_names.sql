-- Names are bytes, of one to 255; paths lead to what they say, however they are written, and what cannot be done says why.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_names_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_names_nobody LOGIN;
CREATE SCHEMA regress_names AUTHORIZATION regress_names_ann;
\c - regress_names_ann
SET search_path = regress_names;
SELECT dbos.mkdir('/names'), dbos.mkdir('/names/a'), dbos.mkdir('/names/a/b'), dbos.write_text('/names/a/f', 'f'), dbos.symlink('f', '/names/a/l'), dbos.symlink('/names/a', '/names/d');

-- ---- one directory, many paths ----
SELECT path, kind, (SELECT inode FROM dbos.stat('/names/a')) = inode AS is_a, (SELECT inode FROM dbos.stat('/')) = inode AS is_root
FROM unnest(ARRAY['/', '//', '/.', '/..', '/../..', '/./', '/names/..', '//names///a/', '/names/a/.', '/names/a/./', '/names/a/b/..', '/names/a/b/../', '/names/../names/a', '/../names/a', '/names/d', '/names/d/', '/names/d/.',
	'/names/d/b/..', '/names/d/../a', '/names/d//b', '/names/a/l']) path, dbos.stat(path);
-- Each of these is an error, to each function alike.
CREATE FUNCTION tried(statement text, VARIADIC paths text[]) RETURNS TABLE (path text, code text, message text) LANGUAGE plpgsql AS $$
BEGIN
	FOREACH path IN ARRAY paths LOOP
		BEGIN
			EXECUTE statement USING path;
			code := 'fine'; message := '';
		EXCEPTION WHEN OTHERS THEN
			code := SQLSTATE; message := SQLERRM;
		END;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM tried('SELECT dbos.stat($1)', '', 'names', './names', ' /names', '/missing', '/names/missing', '/names/missing/', '/names/missing/..', '/names/a/f/', '/names/a/f/.', '/names/a/f/..', '/names/a/f/x', '/names/a/l/', '/names/a/l/x');
SELECT * FROM tried('SELECT dbos.ls($1)', 'names', '/missing', '/names/a/f', '/names/a/l', '/names/d', '/names/d/f');
SELECT * FROM tried('SELECT dbos.mkdir($1)', '', '/', '//', '/.', '/names', '/names/', '/names/.', '/names/..', '/names/a/f', '/names/a/f/', '/names/a/l', '/names/d', '/names/d/', '/names/missing/x', '/names/a/f/x', '/names/a/missing/.', '/names/made/', '/names/d/made');
SELECT * FROM tried('SELECT dbos.mkdir($1, true)', '/', '/names', '/names/.', '/names/a/f', '/names/a/f/x', '/names/a/l/x', '/names/d', '/names/p/q//r/', '/names/p/./q/../s', '/names/d/t/u');
SELECT * FROM tried('SELECT dbos.rmdir($1)', '/', '/.', '/names/..', '/names/a', '/names/a/.', '/names/a/f', '/names/a/l', '/names/d', '/names/missing', '/names/made/', '/names/d/made', '/names/p/q/r/', '/names/d/t/u', '/names/d/t');
SELECT * FROM tried('SELECT dbos.unlink($1)', '/', '/names', '/names/a/.', '/names/d/', '/names/a/f/', '/names/missing', '/names/a/f/x');
SELECT * FROM tried('SELECT dbos.read_link($1)', '/', '/names/a', '/names/a/f', '/names/d/', '/names/missing', '/names/d', '/names/a/l');
SELECT * FROM tried('SELECT dbos.symlink(''x'', $1)', '/', '/names', '/names/a/f', '/names/a/l', '/names/d', '/names/new/', '/names/missing/x');
SELECT length(path), code, message FROM tried('SELECT dbos.symlink($1, ''/names/new'')', '', repeat('x', 4096));
SELECT * FROM tried('SELECT dbos.link($1, ''/names/new'')', '/names', '/', '/names/missing', '/names/a/f/', '/names/d/');
SELECT * FROM tried('SELECT dbos.link(''/names/a/f'', $1)', '/', '/names', '/names/', '/names/a/f', '/names/a/l', '/names/d', '/names/new/', '/names/missing/x', '/names/a/.');
SELECT * FROM tried('SELECT dbos.rename($1, ''/names/new'')', '/', '/.', '/names/.', '/names/a/..', '/names/missing', '/names/a/f/', '/names');
SELECT * FROM tried('SELECT dbos.rename(''/names/a'', $1)', '/', '/names/..', '/names/a/b', '/names/a/new', '/names/a/b/new', '/names/d/new', '/names/a/f', '/names/missing/new', '/names', '/names/d/b/../new', '/names/a/.');
SELECT * FROM tried('SELECT dbos.rename(''/names/a/f'', $1)', '/', '/names', '/names/a', '/names/a/b', '/names/a/b/', '/names/a/new/', '/names/missing/new', '/names/a/l/');
-- Nothing of that has changed anything.
SELECT name, kind FROM dbos.ls('/names');
SELECT name, kind FROM dbos.ls('/names/a');
-- NULL is no path.
SELECT dbos.mkdir(NULL) IS NULL AND dbos.rmdir(NULL) IS NULL AND dbos.unlink(NULL) IS NULL AND dbos.rename('/names/a', NULL) IS NULL AND dbos.rename(NULL, '/x') IS NULL AND dbos.link('/names/a/f', NULL) IS NULL
	AND dbos.symlink(NULL, '/x') IS NULL AND dbos.read_link(NULL) IS NULL AND dbos.mkdir('/names/null', NULL) IS NULL AND (dbos.stat(NULL)).inode IS NULL AS nothing, (SELECT count(*) FROM dbos.ls(NULL)) AS names;
SELECT dbos.stat('/names/null');

-- ---- renaming ----
SELECT dbos.write_text('/names/x', 'x'), dbos.write_text('/names/y', 'yy'), dbos.mkdir('/names/e'), dbos.mkdir('/names/full'), dbos.write_text('/names/full/f', 'f');
SELECT dbos.rename('/names/x', '/names/y');
SELECT dbos.read_text('/names/y');
-- To itself, also by another way, and to another name of the same file.
SELECT dbos.rename('/names/y', '/names/y'), dbos.rename('/names/y', '/names/d/../y'), dbos.rename('/names/full', '/names/full'), dbos.rename('/names/full/', '/names/a/../full/'), dbos.link('/names/y', '/names/z'), dbos.rename('/names/y', '/names/z');
SELECT name, link_count FROM dbos.ls('/names'), dbos.stat('/names/' || name) WHERE name IN ('y', 'z', 'full');
SELECT dbos.rename('/names/full', '/names/e');
SELECT name FROM dbos.ls('/names/e');
SELECT dbos.mkdir('/names/full'), dbos.rename('/names/full/', '/names/full2/'), dbos.rename('/names/full2', '/names/a/b');
SELECT dbos.rename('/names/e', '/names/a/b');
SELECT dbos.rename('/names/a/b', '/names/e');
-- A link is renamed and replaced itself, not what it leads to; with a slash behind it what it leads to.
SELECT dbos.symlink('e', '/names/le'), dbos.rename('/names/le', '/names/le2'), dbos.rename('/names/y', '/names/le2');
SELECT kind FROM dbos.stat('/names/le2');
SELECT dbos.symlink('/', '/names/a/root'), dbos.symlink('..', '/names/a/up');
SELECT * FROM tried('SELECT dbos.rename($1, ''/names/a/new'')', '/names/a/root/', '/names/a/up/');
SELECT * FROM tried('SELECT dbos.rmdir($1)', '/names/a/root/', '/names/a/root', '/names/a/up/');
SELECT dbos.mkdir('/names/a/b'), dbos.symlink('b', '/names/a/lb'), dbos.rename('/names/a/lb/', '/names/a/c');
SELECT name, kind FROM dbos.ls('/names/a');

-- ---- links ----
SELECT dbos.symlink('l2', '/names/l1'), dbos.symlink('l1', '/names/l2'), dbos.symlink('self/x', '/names/self');
SELECT * FROM tried('SELECT dbos.read_file($1)', '/names/l1', '/names/l1/x', '/names/self', '/names/self/y');
SELECT dbos.symlink('../names/./a/../z', '/names/relative'), dbos.symlink('///names//z', '/names/absolute'), dbos.symlink('relative', '/names/twice');
SELECT dbos.read_text('/names/relative'), dbos.read_text('/names/absolute'), dbos.read_text('/names/twice'), dbos.read_link('/names/relative');
SELECT size, mode, kind, link_count FROM dbos.stat('/names/relative');
-- Forty on the way are followed, and no more.
SELECT count(dbos.symlink(CASE n WHEN 1 THEN 'z' ELSE 'chain' || n - 1 END, '/names/chain' || n)) FROM generate_series(1, 41) n;
SELECT dbos.read_text('/names/chain40');
SELECT dbos.read_text('/names/chain41');
-- A link has names as a file has.
SELECT dbos.link('/names/relative', '/names/relative2'), dbos.unlink('/names/relative');
SELECT dbos.read_link('/names/relative2'), link_count FROM dbos.stat('/names/relative2');
-- Of a target the bytes are kept, whatever they say.
SELECT dbos.symlink(E'a\nb \\377 \\134377', '/names/odd'), dbos.symlink(repeat('/x', 2047), '/names/long');
SELECT dbos.read_link('/names/odd') = E'a\nb \\377 \\134377' AS kept, length(dbos.read_link('/names/long'));
SELECT dbos.read_file('/names/long');
SELECT dbos.remove('/names', recursive => true), dbos.mkdir('/names');

-- ---- bytes ----
-- Every byte is a name, but for zero, the slash and the dot; a byte that is no character is written by its digits.
SELECT count(dbos.write_text('/names/' || CASE WHEN b >= 128 THEN '\' || lpad(to_char(b / 64 * 100 + b / 8 % 8 * 10 + b % 8, 'FM000'), 3, '0') ELSE chr(b) END, b::text)) FROM generate_series(1, 255) b WHERE b NOT IN (46, 47);
SELECT count(*), count(DISTINCT name), bool_and(dbos.read_text('/names/' || name) = CASE WHEN length(name) = 4 THEN (substr(name, 2, 1)::int * 64 + substr(name, 3, 1)::int * 8 + substr(name, 4)::int)::text ELSE ascii(name)::text END) AS read FROM dbos.ls('/names');
-- They are listed in the order of their bytes.
SELECT bool_and(content > before) AS in_order FROM (SELECT dbos.read_text('/names/' || name)::int AS content, lag(dbos.read_text('/names/' || name)::int) OVER () AS before FROM dbos.ls('/names')) l;
SELECT count(dbos.unlink('/names/' || name)) FROM dbos.ls('/names');
-- What looks like the digits of a byte and is none stays what it is; a name that would is written so that it does not.
SELECT dbos.write_text('/names/' || n, n) FROM unnest(ARRAY['\134200', '\134134', '\200', '\177', '\400', '\\200', '\20', '\377\376', 'ä\344', '\303\244x', '\134']) n;
SELECT name, dbos.read_text('/names/' || name) AS made_as, octet_length(name) FROM dbos.ls('/names') ORDER BY name COLLATE "C";
SELECT dbos.write_text('/names/\303\244x', 'the same as äx');
SELECT name FROM dbos.ls('/names') WHERE name LIKE '%x';
SELECT dbos.remove('/names', recursive => true), dbos.mkdir('/names');
-- Unicode is not normalized, and case counts.
SELECT dbos.write_text('/names/' || n, n) FROM unnest(ARRAY[U&'\00e4', U&'a\0308', 'A', 'a', 'Ä', '日本語', '😀', ' ', ' a', 'a ', '.a', '...', '-', '*', E'\n', E'\t', '%', '_', '"', '''', '$$', '~']) n;
SELECT count(*), bool_and(dbos.read_text('/names/' || name) = name) AS read FROM dbos.ls('/names');
SELECT dbos.remove('/names', recursive => true), dbos.mkdir('/names');

-- ---- lengths ----
SELECT dbos.write_text('/names/' || repeat('n', 255), 'x'), dbos.mkdir('/names/' || repeat('d', 255)), dbos.write_text('/names/' || repeat('d', 255) || '/' || repeat('ä', 127) || 'x', 'x'), dbos.write_text('/names/' || repeat('\377', 255), 'x');
SELECT count(*), max(length(name)) FROM dbos.ls('/names');
SELECT path || '...' AS path, code, left(message, 60) AS message FROM (SELECT left(path, 10) AS path, code, message FROM tried('SELECT dbos.write_text($1, '''')', '/names/' || repeat('n', 256), '/names/' || repeat('ä', 128), '/names/' || repeat('\377', 256),
	'/names/' || repeat('n', 256) || '/x', '/names/' || repeat('n', 1000000))) t;
SELECT code FROM tried('SELECT dbos.rename(''/names/' || repeat('n', 255) || ''', $1)', '/names/' || repeat('m', 256));
SELECT code FROM tried('SELECT dbos.mkdir($1)', '/names/' || repeat('m', 256));
SELECT code FROM tried('SELECT dbos.mkdir($1, true)', '/names/' || repeat('m', 256) || '/x');
SELECT code FROM tried('SELECT dbos.symlink(''x'', $1)', '/names/' || repeat('m', 256));
SELECT code FROM tried('SELECT dbos.link(''/names/' || repeat('n', 255) || ''', $1)', '/names/' || repeat('m', 256));
SELECT code FROM tried('SELECT dbos.stat($1)', '/names/' || repeat('m', 256), '/' || repeat('/', 1000000), '/' || repeat('./', 100000), '/names' || repeat('/../names', 10000));

-- ---- depth: a thousand levels ----
SELECT dbos.mkdir('/names' || repeat('/level', 1000), parents => true), dbos.write_text('/names' || repeat('/level', 1000) || '/f', 'deep');
SELECT dbos.read_text('/names' || repeat('/level', 1000) || '/f'), link_count FROM dbos.stat('/names' || repeat('/level', 999));
SELECT dbos.read_text('/names' || repeat('/level', 1000) || '/../f');
SELECT dbos.read_text('/names' || repeat('/level', 1000) || '/../level/f');
SELECT inode = (SELECT inode FROM dbos.stat('/names')) AS up FROM dbos.stat('/names' || repeat('/level', 1000) || repeat('/..', 1000));
SELECT dbos.rename('/names/level', '/names' || repeat('/level', 500) || '/inside');
SELECT dbos.rename('/names' || repeat('/level', 500), '/names/half'), dbos.rename('/names/half', '/names' || repeat('/level', 499) || '/half');
SELECT dbos.read_text('/names' || repeat('/level', 499) || '/half' || repeat('/level', 500) || '/f');
SELECT count(*) FROM dbos.files WHERE path LIKE '/names/level/%';
SELECT dbos.remove('/names/level', recursive => true);

-- ---- breadth: a directory of 10,000 ----
SELECT dbos.mkdir('/names/wide');
SELECT count(dbos.write_text('/names/wide/' || n, n::text)) FROM generate_series(1, 10000) n;
SELECT count(*), count(DISTINCT inode), sum(size), min(name), max(name) FROM dbos.ls('/names/wide');
SELECT dbos.read_text('/names/wide/9999'), link_count FROM dbos.stat('/names/wide');
SELECT dbos.rename('/names/wide', '/names/wider'), dbos.mkdir('/names/wider/last');
SELECT count(dbos.rename('/names/wider/' || n, '/names/wider/' || -n)), count(dbos.unlink('/names/wider/' || -n)) FROM generate_series(1, 10000, 3) n;
SELECT count(*), (SELECT link_count FROM dbos.stat('/names/wider')) FROM dbos.ls('/names/wider');
SELECT dbos.rmdir('/names/wider');
SELECT dbos.remove('/names/wider', recursive => true);

-- ---- link counts ----
SELECT dbos.mkdir('/names/c'), dbos.write_text('/names/c/f', 'f'), dbos.mkdir('/names/c/d1'), dbos.mkdir('/names/c/d2');
SELECT count(dbos.link('/names/c/f', '/names/c/l' || n)) FROM generate_series(1, 100) n;
SELECT link_count FROM dbos.stat('/names/c/l50') UNION ALL SELECT link_count FROM dbos.stat('/names/c');
BEGIN;
SELECT dbos.unlink('/names/c/f'), dbos.rmdir('/names/c/d1'), dbos.rename('/names/c/d2', '/names/d2');
SELECT link_count FROM dbos.stat('/names/c/l50') UNION ALL SELECT link_count FROM dbos.stat('/names/c');
SAVEPOINT a;
SELECT count(dbos.unlink('/names/c/' || name)) FROM dbos.ls('/names/c');
SELECT link_count FROM dbos.stat('/names/c');
SELECT dbos.rmdir('/names/c');
ROLLBACK TO a;
SELECT link_count FROM dbos.stat('/names/c/l50') UNION ALL SELECT link_count FROM dbos.stat('/names/c');
ROLLBACK;
SELECT link_count FROM dbos.stat('/names/c/l50') UNION ALL SELECT link_count FROM dbos.stat('/names/c');

-- ---- without rights ----
BEGIN READ ONLY;
SELECT code, message FROM tried('SELECT dbos.mkdir($1)', '/names/ro') UNION ALL SELECT code, message FROM tried('SELECT dbos.rmdir($1)', '/names/c/d1') UNION ALL SELECT code, message FROM tried('SELECT dbos.unlink($1)', '/names/c/f')
UNION ALL SELECT code, message FROM tried('SELECT dbos.rename($1, ''/names/x'')', '/names/c/f') UNION ALL SELECT code, message FROM tried('SELECT dbos.link($1, ''/names/x'')', '/names/c/f') UNION ALL SELECT code, message FROM tried('SELECT dbos.symlink($1, ''/names/x'')', '/names/c/f')
UNION ALL SELECT code, message FROM tried('SELECT dbos.remove($1)', '/names/c/f');
COMMIT;
\c - regress_names_nobody
SELECT dbos.ls('/');
SELECT dbos.write_text('/nobody', 'x');
SELECT * FROM dbos.inode;
\c - postgres
SET client_min_messages = warning;
SELECT dbos.remove('/names', recursive => true);
DROP SCHEMA regress_names CASCADE;
DROP OWNED BY regress_names_ann;
DROP ROLE regress_names_ann, regress_names_nobody;
