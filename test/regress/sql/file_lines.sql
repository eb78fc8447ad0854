-- Lines of a file are rows, whatever its size and wherever its pieces end.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE regress_lines_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_lines_bob LOGIN IN ROLE dbos_user;
\set SHOW_CONTEXT never
SELECT dbos.mkdir('/lines'), dbos.chmod('/lines', '0777');

-- ---- where a line ends ----
CREATE FUNCTION pg_temp.lines_of(content text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT dbos.write_text('/lines/a', content);
	SELECT format('%s: %s', number, to_json(line)) FROM dbos.lines('/lines/a') $$;
SELECT pg_temp.lines_of('');
SELECT pg_temp.lines_of('one');
SELECT pg_temp.lines_of(E'one\n');
SELECT pg_temp.lines_of(E'one\ntwo');
SELECT pg_temp.lines_of(E'one\r\ntwo\r\n');
SELECT pg_temp.lines_of(E'\n\n');
SELECT pg_temp.lines_of(E'\r\n\n\r\n');
-- A carriage return elsewhere is a character like others.
SELECT pg_temp.lines_of(E'a\rb\r\r\nc\r');
SELECT pg_temp.lines_of(E'grüße\n日本\n');

-- ---- a file of many pieces ----
SELECT dbos.write_text('/lines/many', string_agg(n || ' ' || repeat('x', n % 300) || CASE WHEN n % 3 = 0 THEN E'\r\n' ELSE E'\n' END, '' ORDER BY n)) > 5000000 AS large
	FROM generate_series(1, 40000) n;
SELECT count(*), min(number), max(number), bool_and(line = number || ' ' || repeat('x', (number % 300)::int)) FROM dbos.lines('/lines/many');
-- The same one by one.
SELECT count(*), bool_and((l).line = (l).number || ' ' || repeat('x', ((l).number % 300)::int)) FROM (SELECT dbos.lines('/lines/many') AS l OFFSET 0) t;
SELECT (dbos.lines('/lines/many')).number LIMIT 3;
-- Lines that are longer than a piece, and that end where one does.
SELECT dbos.write_text('/lines/long', repeat('a', 262143) || E'\n' || repeat('b', 262143) || E'\r\n' || repeat('c', 1000000) || E'\n' || repeat('d', 262144));
SELECT number, length(line), left(line, 1), line = repeat(left(line, 1), length(line)) AS same FROM dbos.lines('/lines/long');
-- A character that lies on both sides of the end of a piece.
SELECT dbos.write_text('/lines/wide', repeat('a', 262143) || 'ü' || E'\nend');
SELECT number, length(line), right(line, 1) FROM dbos.lines('/lines/wide');
-- Holes are zero bytes, and so no text.
SELECT dbos.write_text('/lines/hole', E'one\n'), dbos.truncate_file('/lines/hole', 100000);
SELECT * FROM dbos.lines('/lines/hole');

-- ---- what is no text ----
SELECT dbos.write_file('/lines/bad', convert_to(E'one\ntwo\nth', 'UTF8') || '\xff'::bytea || convert_to(E'ree\n', 'UTF8'));
SELECT * FROM dbos.lines('/lines/bad');
SELECT (dbos.lines('/lines/bad')).line LIMIT 2;
SELECT dbos.write_file('/lines/bad', convert_to(E'one\ntw', 'UTF8') || '\x00'::bytea || convert_to(E'o\n', 'UTF8'));
SELECT * FROM dbos.lines('/lines/bad');
SELECT dbos.write_file('/lines/bad', convert_to(E'one\n', 'UTF8') || '\xc3'::bytea);
SELECT * FROM dbos.lines('/lines/bad');

-- ---- many files ----
SELECT dbos.write_text('/lines/f' || n, E'the quick\nbrown fox\n') FROM generate_series(1, 3) n;
SELECT word, count(*) FROM dbos.ls('/lines') f, dbos.lines('/lines/' || f.name) l, regexp_split_to_table(l.line, ' ') word
	WHERE f.name LIKE 'f_' GROUP BY word ORDER BY word;

-- ---- what it does not read ----
SELECT * FROM dbos.lines(NULL);
SELECT * FROM dbos.lines('/lines');
SELECT * FROM dbos.lines('/lines/missing');
SELECT * FROM dbos.lines('lines');
SELECT dbos.symlink('f1', '/lines/link');
SELECT * FROM dbos.lines('/lines/link');

-- ---- who may ----
SET ROLE regress_lines_ann;
SELECT dbos.write_text('/lines/secret', 'x'), dbos.chmod('/lines/secret', '0600');
SELECT * FROM dbos.lines('/lines/secret');
SET ROLE regress_lines_bob;
SELECT * FROM dbos.lines('/lines/secret');
SELECT dbos.lines('/lines/secret');
RESET ROLE;
SELECT has_function_privilege('public', 'dbos.lines(text)', 'EXECUTE');

SELECT dbos.remove('/lines', recursive => true);
DROP ROLE regress_lines_ann, regress_lines_bob;
