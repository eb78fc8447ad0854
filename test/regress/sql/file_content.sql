-- What is written to a file is what is read from it: small and large, in parts, with holes, cut, copied, and whatever sizes are asked for.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_content_ann LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_content AUTHORIZATION regress_content_ann;
\c - regress_content_ann
SET search_path = regress_content;
SELECT dbos.mkdir('/content');
-- So many bytes, which tell where they are.
CREATE FUNCTION bytes(length int, first int DEFAULT 0) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT substr((SELECT coalesce(string_agg(decode(md5(n::text), 'hex'), '' ORDER BY n), '') FROM generate_series(first / 16, (first + length) / 16) n), first % 16 + 1, length) $$;
CREATE FUNCTION state(path text, OUT size bigint, OUT storage text, OUT read boolean, OUT checksum_right boolean) LANGUAGE plpgsql AS $$
BEGIN
	SELECT s.size, s.storage, s.checksum IS NULL OR s.checksum = (SELECT c.checksum FROM dbos.stat(path || '.whole') c) INTO size, storage, checksum_right FROM dbos.stat(path) s;
	read := dbos.read_file(path) = dbos.read_file(path || '.whole');
END $$;

-- A statement that reads sees what there was when it began, so that writing and reading are two.
CREATE FUNCTION wrote(path text, content bytea, OUT written boolean, OUT read boolean, OUT storage text) LANGUAGE plpgsql AS $$
BEGIN
	written := dbos.write_file(path, content) = length(content);
	SELECT dbos.read_file(path) = content, s.storage INTO read, storage FROM dbos.stat(path) s;
END $$;

-- ---- whole files, of every size at a border ----
SELECT n AS size, w.* FROM unnest(ARRAY[0, 1, 4095, 4096, 4097, 8095, 8096, 8097, 8191, 8192, 8193, 16383, 16384, 16385, 65536, 1000000]) n, wrote('/content/f', bytes(n)) w;
-- A file that was large is small again, and the other way round.
SELECT n AS size, w.* FROM unnest(ARRAY[10, 100000, 10, 4096, 4097, 0, 8192]) n, wrote('/content/f', bytes(n)) w;
SELECT dbos.write_text('/content/f', 'new') AS written, dbos.read_file('/content/f') = bytes(8192) AS before;
-- What can be compressed, and what cannot.
SELECT dbos.write_text('/content/f', repeat('x', 1000000));
SELECT md5(dbos.read_file('/content/f')) = md5(repeat('x', 1000000)) AS read;
SELECT dbos.write_file('/content/f', convert_to(repeat('abc', 20000), 'UTF8') || bytes(100000) || convert_to(repeat('def', 20000), 'UTF8'));
SELECT dbos.read_file('/content/f') = convert_to(repeat('abc', 20000), 'UTF8') || bytes(100000) || convert_to(repeat('def', 20000), 'UTF8') AS read;
-- Text is text in the server's encoding.
SELECT dbos.write_text('/content/t', 'zwölf €');
SELECT dbos.read_text('/content/t'), size FROM dbos.stat('/content/t');
SELECT dbos.write_text('/content/t', E'\nnext', append => true);
SELECT dbos.read_text('/content/t');
SELECT dbos.write_file('/content/t', '\xff00');
SELECT dbos.read_file('/content/t');
SELECT dbos.read_text('/content/t');
SELECT dbos.write_file('/content/t', '\x610062');
SELECT dbos.read_text('/content/t');

-- ---- parts ----
SELECT dbos.write_file('/content/f', bytes(30000));
SELECT count(*) AS wrong FROM unnest(ARRAY[0, 1, 8095, 8096, 8191, 8192, 16384, 29999, 30000, 30001, 1099511627776, 9223372036854775807]) s, unnest(ARRAY[0, 1, 96, 8192, 8193, 40000, 9223372036854775807]) l
WHERE dbos.read_file('/content/f', s, l) IS DISTINCT FROM CASE WHEN s >= 30000 THEN '' ELSE bytes(least(l, 30000 - s)::int, s::int) END;
SELECT length(dbos.read_file('/content/f', 29990)), length(dbos.read_file('/content/f', length => 5)), length(dbos.read_file('/content/f', NULL, 7));
SELECT dbos.read_file('/content/f', -1);
SELECT dbos.read_file('/content/f', 0, -1);
SELECT dbos.read_file('/content/f', 0, NULL) = bytes(30000) AS whole, dbos.read_file(NULL) IS NULL AS none;
-- Appended piece by piece: bytes, checksum and size are those of the whole.
SELECT dbos.write_file('/content/a', '') AS made;
SELECT max(dbos.write_file('/content/a', bytes(777, n * 777), append => true)) FROM generate_series(0, 99) n;
SELECT dbos.write_file('/content/a.whole', bytes(77700));
SELECT * FROM state('/content/a');
SELECT checksum IS NOT NULL AS checksum FROM dbos.stat('/content/a');
SELECT dbos.write_file('/content/a', '', append => true);
SELECT * FROM state('/content/a');
-- In one statement many times: each sees what the one before has done.
SELECT dbos.write_text('/content/n', n::text || ' ', append => true) FROM generate_series(1, 5) n;
SELECT dbos.read_text('/content/n');

-- ---- written over ----
SELECT dbos.write_file('/content/o', bytes(30000)), dbos.write_at('/content/o', 5, 'five'), dbos.write_at('/content/o', 8190, 'over'), dbos.write_at('/content/o', 8094, 'the last'), dbos.write_at('/content/o', 29998, 'beyond');
SELECT dbos.read_file('/content/o') = overlay(overlay(overlay(overlay(bytes(30000) PLACING 'five' FROM 6) PLACING 'over' FROM 8191) PLACING 'the last' FROM 8095) || '    ' PLACING 'beyond' FROM 29999) AS read;
SELECT size, checksum FROM dbos.stat('/content/o');
-- Nothing, written anywhere, changes nothing.
SELECT dbos.write_at('/content/o', 0, ''), dbos.write_at('/content/o', 30004, ''), dbos.write_at('/content/o', 99999, '');
SELECT dbos.write_at('/content/missing', 0, 'x');
SELECT dbos.write_at('/content/o', -1, 'x');
SELECT dbos.write_at('/content/o', 9223372036854775807, 'x');
SELECT dbos.write_at('/content/o', 1152921504606846976, 'x');
SELECT dbos.write_at('/content/o', 1152921504606846977, '');
SELECT dbos.write_at('/content/o', NULL, 'x') IS NULL AS none, dbos.write_file('/content/o', NULL) IS NULL, dbos.write_text('/content/o', NULL) IS NULL, dbos.truncate_file('/content/o', NULL) IS NULL;
-- A small file is written into.
SELECT dbos.write_text('/content/s', 'small'), dbos.write_at('/content/s', 3, 'rt');
SELECT dbos.read_text('/content/s');
SELECT dbos.write_at('/content/s', 4090, 'the end');
SELECT storage, encode(dbos.read_file('/content/s', 0, 8), 'escape') AS first, encode(dbos.read_file('/content/s', 4085), 'escape') AS last FROM dbos.stat('/content/s');
-- All over, in chunks of any size.
SELECT dbos.write_file('/content/r', bytes(100000));
SELECT count(dbos.write_at('/content/r', n * 997, bytes(997, n * 997 + 16 * 1000))) FROM generate_series(0, 99) n;
SELECT dbos.read_file('/content/r') = bytes(99700, 16000) || bytes(300, 99700) AS read;

-- ---- holes ----
SELECT dbos.write_file('/content/h', 'a'), dbos.write_at('/content/h', 1099511627776, 'b');
SELECT size, storage FROM dbos.stat('/content/h');
SELECT dbos.read_file('/content/h', 0, 3), dbos.read_file('/content/h', 1099511627774), dbos.read_file('/content/h', 500000000000, 4);
SELECT dbos.read_file('/content/h');
SELECT dbos.write_at('/content/h', 500000000000, bytes(20000));
SELECT dbos.read_file('/content/h', 499999999990, 20020) = decode(repeat('00', 10), 'hex') || bytes(20000) || decode(repeat('00', 10), 'hex') AS read;
-- A hole in a chunk, and a chunk before a chunk.
SELECT dbos.write_file('/content/h', ''), dbos.write_at('/content/h', 16384, bytes(8192)), dbos.write_at('/content/h', 100, 'x'), dbos.write_at('/content/h', 8192, 'y');
SELECT dbos.read_file('/content/h') = decode(repeat('00', 100), 'hex') || 'x' || decode(repeat('00', 8091), 'hex') || 'y' || decode(repeat('00', 8191), 'hex') || bytes(8192) AS read;
-- The largest there can be.
SELECT dbos.write_at('/content/h', 1152921504606846975, 'z');
SELECT dbos.read_file('/content/h', 1152921504606846974);
SELECT dbos.write_file('/content/h', 'zz', append => true);
SELECT dbos.truncate_file('/content/h', 0);

-- ---- cut ----
SELECT dbos.write_file('/content/c', bytes(30000));
CREATE FUNCTION cut(path text, size bigint, OUT size_is bigint, OUT content bytea) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.truncate_file(path, size);
	SELECT s.size, dbos.read_file(path) INTO size_is, content FROM dbos.stat(path) s;
END $$;
SELECT n, c.size_is, c.content = bytes(least(n, 8000)::int) || decode(repeat('00', greatest(n - 8000, 0)::int), 'hex') AS read FROM unnest(ARRAY[8000, 8192, 30000, 16384, 8001, 8000]) n, cut('/content/c', n) c;
SELECT dbos.truncate_file('/content/c', 1099511627776);
SELECT size, dbos.read_file('/content/c', 7999, 3) = bytes(1, 7999) || '\x0000' AS read FROM dbos.stat('/content/c');
SELECT * FROM cut('/content/c', 0);
SELECT size, checksum FROM dbos.stat('/content/c');
SELECT dbos.truncate_file('/content/c', -1);
SELECT dbos.truncate_file('/content/c', 1152921504606846977);
SELECT dbos.truncate_file('/content/missing', 0);
-- Small, and out of its row.
SELECT dbos.write_text('/content/c', 'abcdef');
SELECT * FROM cut('/content/c', 3);
SELECT size_is, content = 'abc' || decode(repeat('00', 4997), 'hex') AS read FROM cut('/content/c', 5000);
SELECT * FROM cut('/content/c', 2);
SELECT dbos.write_file('/content/c', 'x', append => true);
SELECT dbos.read_text('/content/c');

-- ---- copied ----
SELECT dbos.write_file('/content/c', bytes(30000)), dbos.copy('/content/c', '/content/d');
SELECT dbos.read_file('/content/d') = bytes(30000) AS read;
SELECT dbos.write_at('/content/c', 0, 'new'), dbos.write_at('/content/d', 29997, 'end');
SELECT dbos.read_file('/content/c') = overlay(bytes(30000) PLACING 'new' FROM 1) AS one, dbos.read_file('/content/d') = overlay(bytes(30000) PLACING 'end' FROM 29998) AS other;
SELECT dbos.copy('/content/d', '/content/e'), dbos.copy('/content/e', '/content/c'), dbos.unlink('/content/d'), dbos.truncate_file('/content/e', 8193), dbos.write_file('/content/e', 'more', append => true);
SELECT dbos.read_file('/content/c') = overlay(bytes(30000) PLACING 'end' FROM 29998) AS one, dbos.read_file('/content/e') = bytes(8193) || 'more' AS other;
SELECT dbos.copy('/content/s', '/content/c'), dbos.write_text('/content/s', ''), dbos.copy('/content/s', '/content/e');
SELECT encode(dbos.read_file('/content/c', 0, 5), 'escape') AS one, dbos.read_file('/content/e') AS empty;
SELECT dbos.copy('/content/c', '/content/c');
SELECT dbos.link('/content/c', '/content/l'), dbos.symlink('c', '/content/y');
SELECT dbos.copy('/content/c', '/content/l');
SELECT dbos.copy('/content/y', '/content/./c');
SELECT dbos.copy('/content', '/content/d');
SELECT dbos.copy('/content/c', '/content');
SELECT dbos.copy('/content/missing', '/content/d');
SELECT dbos.copy('/content/c', '/content/missing/d');
SELECT dbos.copy(NULL, '/content/d') IS NULL AS none;

-- ---- what is no file ----
SELECT dbos.write_text('/content', 'x');
SELECT dbos.write_text('/content/', 'x');
SELECT dbos.write_text('/', 'x');
SELECT dbos.write_text('/content/f/', 'x');
SELECT dbos.write_text('/content/new/', 'x');
SELECT dbos.write_text('/content/f/x', 'x');
SELECT dbos.write_text('/content/missing/x', 'x');
SELECT dbos.write_text('x', 'x');
SELECT dbos.write_text('', 'x');
SELECT dbos.read_file('/content');
SELECT dbos.read_text('/content/missing');
SELECT dbos.truncate_file('/content', 0);
-- Through links.
SELECT dbos.symlink('/content/target', '/content/through'), dbos.write_text('/content/through', 'made through a link');
SELECT dbos.read_text('/content/target'), dbos.read_text('/content/through');
SELECT dbos.symlink('missing/target', '/content/nowhere');
SELECT dbos.write_text('/content/nowhere', 'x');

-- ---- rolled back ----
SELECT dbos.write_file('/content/b', bytes(20000));
BEGIN;
SELECT dbos.write_at('/content/b', 100, 'changed'), dbos.write_file('/content/b', bytes(20000), append => true), dbos.truncate_file('/content/b', 9000), dbos.copy('/content/b', '/content/b2');
SAVEPOINT a;
SELECT dbos.write_file('/content/b', 'replaced'), dbos.unlink('/content/b2');
ROLLBACK TO a;
SELECT length(dbos.read_file('/content/b')), length(dbos.read_file('/content/b2'));
ROLLBACK;
SELECT dbos.read_file('/content/b') = bytes(20000) AS as_before;
SELECT dbos.read_file('/content/b2');
-- What only reads sees what its statement does.
BEGIN;
DECLARE c CURSOR FOR SELECT length(dbos.read_file('/content/b')) FROM generate_series(1, 2);
FETCH c;
SELECT dbos.write_file('/content/b', 'short');
FETCH c;
SELECT length(dbos.read_file('/content/b'));
COMMIT;
-- In a transaction that only reads.
BEGIN READ ONLY;
SELECT length(dbos.read_file('/content/b'));
SAVEPOINT a;
SELECT dbos.write_file('/content/b', 'x');
ROLLBACK TO a;
SELECT dbos.write_at('/content/b', 0, 'x');
ROLLBACK TO a;
SELECT dbos.truncate_file('/content/b', 0);
ROLLBACK TO a;
SELECT dbos.copy('/content/b', '/content/b3');
ROLLBACK;

-- ---- what is wrong in the tables is told, not read ----
\c - postgres
SET client_min_messages = warning;
SET search_path = regress_content;
SELECT dbos.write_file('/content/w', bytes(20000));
BEGIN;
UPDATE dbos.chunk SET checksum = checksum # 1 WHERE chunk = (SELECT chunk FROM dbos.extent e JOIN dbos.stat('/content/w') s USING (inode) WHERE start = 0 AND died = 2147483647);
DO $$ BEGIN PERFORM dbos.read_file('/content/w', 0, 10); EXCEPTION WHEN data_corrupted THEN RAISE WARNING '%', regexp_replace(SQLERRM, '\d+', 'N'); END $$;
SELECT dbos.read_file('/content/w', 8192) = bytes(11808, 8192) AS others_are_read;
ROLLBACK;
BEGIN;
DELETE FROM dbos.chunk WHERE chunk = (SELECT chunk + 1 FROM dbos.extent e JOIN dbos.stat('/content/w') s USING (inode) WHERE start = 0 AND died = 2147483647);
DO $$ BEGIN PERFORM dbos.read_file('/content/w'); EXCEPTION WHEN data_corrupted THEN RAISE WARNING '%', regexp_replace(SQLERRM, '\d+', 'N'); END $$;
DO $$ BEGIN PERFORM dbos.write_at('/content/w', 8200, 'x'); EXCEPTION WHEN data_corrupted THEN RAISE WARNING '%', regexp_replace(SQLERRM, '\d+', 'N'); END $$;
ROLLBACK;
BEGIN;
DELETE FROM dbos.chunk_tail WHERE chunk IN (SELECT chunk FROM dbos.extent e JOIN dbos.stat('/content/w') s USING (inode) WHERE start = 0 AND died = 2147483647);
DO $$ BEGIN PERFORM dbos.read_file('/content/w'); EXCEPTION WHEN data_corrupted THEN RAISE WARNING '%', regexp_replace(SQLERRM, '\d+', 'N'); END $$;
ROLLBACK;
SELECT dbos.read_file('/content/w') = bytes(20000) AS read;
SELECT dbos.remove('/content', recursive => true);
DROP SCHEMA regress_content CASCADE;
DROP OWNED BY regress_content_ann;
DROP ROLE regress_content_ann;
