-- Which bytes of a file are stored and which are holes is told for every storage class, and a hole that is punched reads as zeros and gives its space back.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_fm_bob LOGIN IN ROLE dbos_user;
CREATE FUNCTION pg_temp.bytes(letter text, count integer) RETURNS bytea LANGUAGE sql AS
	$$SELECT convert_to(repeat(letter, count), 'UTF8')$$;
-- The chunks that a file has.
CREATE FUNCTION pg_temp.chunks(path text) RETURNS bigint LANGUAGE sql AS
	$$SELECT coalesce(sum(e.count), 0)::bigint FROM dbos.extent e WHERE e.died = 2147483647 AND e.inode = (dbos.stat(path)).inode$$;
SELECT dbos.mkdir('/regress_fm');

-- ---- where they are ----
SELECT dbos.write_file('/regress_fm/empty', ''), dbos.write_file('/regress_fm/small', 'abc'), dbos.write_file('/regress_fm/row', pg_temp.bytes('x', 4096));
SELECT * FROM dbos.file_map('/regress_fm/empty');
SELECT * FROM dbos.file_map('/regress_fm/small');
SELECT dbos.truncate_file('/regress_fm/row', 10), dbos.truncate_file('/regress_fm/row', 3000);
SELECT * FROM dbos.file_map('/regress_fm/row');
SELECT dbos.write_file('/regress_fm/chunks', pg_temp.bytes('x', 20000));
SELECT * FROM dbos.file_map('/regress_fm/chunks');
-- Up to the end of the last chunk all is stored, the rest of the file is not.
SELECT dbos.truncate_file('/regress_fm/chunks', 100000);
SELECT * FROM dbos.file_map('/regress_fm/chunks');
SELECT dbos.write_at('/regress_fm/chunks', 50000, 'y'), dbos.write_at('/regress_fm/chunks', 99999, 'z');
SELECT * FROM dbos.file_map('/regress_fm/chunks');
-- Nothing but a hole, and a terabyte of it.
SELECT dbos.write_file('/regress_fm/hole', ''), dbos.truncate_file('/regress_fm/hole', 1099511627776);
SELECT * FROM dbos.file_map('/regress_fm/hole');
SELECT dbos.write_at('/regress_fm/hole', 549755813888, pg_temp.bytes('x', 10));
SELECT * FROM dbos.file_map('/regress_fm/hole');
-- Many extents beside each other are one part.
SELECT dbos.write_file('/regress_fm/long', pg_temp.bytes('x', 20000000));
SELECT * FROM dbos.file_map('/regress_fm/long');
SELECT count(*) > 1 AS many FROM dbos.extent WHERE inode = (dbos.stat('/regress_fm/long')).inode;
-- A copy shares what is stored, and has the same holes.
SELECT dbos.copy('/regress_fm/chunks', '/regress_fm/copy');
SELECT * FROM dbos.file_map('/regress_fm/copy');
SELECT dbos.write_at('/regress_fm/copy', 32768, 'c');
SELECT * FROM dbos.file_map('/regress_fm/copy');
SELECT count(*) FROM dbos.file_map('/regress_fm/chunks');
-- Large objects, by their pages.
SELECT dbos.mkdir('/regress_fm/objects', storage => 'large_object'), dbos.write_file('/regress_fm/objects/f', pg_temp.bytes('x', 3000));
SELECT * FROM dbos.file_map('/regress_fm/objects/f');
SELECT dbos.write_at('/regress_fm/objects/f', 20000, pg_temp.bytes('x', 5000)), dbos.truncate_file('/regress_fm/objects/f', 100000);
SELECT * FROM dbos.file_map('/regress_fm/objects/f');
SELECT dbos.write_file('/regress_fm/objects/empty', '');
SELECT * FROM dbos.file_map('/regress_fm/objects/empty');
SELECT lo_from_bytea(0, 'adopted') AS object \gset
SELECT dbos.adopt_large_object(:object, '/regress_fm/adopted');
SELECT * FROM dbos.file_map('/regress_fm/adopted');
SELECT lo_put(:object, 1000000, 'far');
SELECT * FROM dbos.file_map('/regress_fm/adopted');

-- ---- punched ----
SELECT dbos.write_file('/regress_fm/p', pg_temp.bytes('x', 81920)), pg_temp.chunks('/regress_fm/p');
SELECT dbos.punch_hole('/regress_fm/p', 16384, 16384);
SELECT * FROM dbos.file_map('/regress_fm/p');
SELECT size, checksum IS NULL AS unknown FROM dbos.stat('/regress_fm/p');
SELECT pg_temp.chunks('/regress_fm/p'), dbos.read_file('/regress_fm/p') =
	pg_temp.bytes('x', 16384) || decode(repeat('00', 16384), 'hex') || pg_temp.bytes('x', 49152) AS right;
-- Parts of chunks at both ends are made zeros.
SELECT dbos.punch_hole('/regress_fm/p', 40000, 20000);
SELECT * FROM dbos.file_map('/regress_fm/p');
SELECT dbos.read_file('/regress_fm/p', 32768) = pg_temp.bytes('x', 7232) || decode(repeat('00', 20000), 'hex') || pg_temp.bytes('x', 21920) AS right;
-- Within one chunk, and where a hole is already.
SELECT dbos.punch_hole('/regress_fm/p', 100, 10), dbos.punch_hole('/regress_fm/p', 16484, 100), dbos.punch_hole('/regress_fm/p', 16000, 17000);
SELECT * FROM dbos.file_map('/regress_fm/p');
SELECT dbos.read_file('/regress_fm/p', 0, 32768 + 300) = pg_temp.bytes('x', 100) || decode(repeat('00', 10), 'hex') || pg_temp.bytes('x', 15890) ||
	decode(repeat('00', 17000), 'hex') || pg_temp.bytes('x', 68) AS right;
-- To the end and beyond it; the size stays.
SELECT dbos.write_file('/regress_fm/e', pg_temp.bytes('x', 20000)), dbos.punch_hole('/regress_fm/e', 12000, 9223372036854775807);
SELECT * FROM dbos.file_map('/regress_fm/e');
SELECT dbos.read_file('/regress_fm/e') = pg_temp.bytes('x', 12000) || decode(repeat('00', 8000), 'hex') AS right;
SELECT dbos.punch_hole('/regress_fm/e', 20000, 1), dbos.punch_hole('/regress_fm/e', 9223372036854775807, 9223372036854775807);
SELECT dbos.punch_hole('/regress_fm/e', 17000, 100), dbos.punch_hole('/regress_fm/e', 0, 20000);
SELECT * FROM dbos.file_map('/regress_fm/e');
SELECT pg_temp.chunks('/regress_fm/e'), dbos.read_file('/regress_fm/e') = decode(repeat('00', 20000), 'hex') AS right;
-- It can be written again.
SELECT dbos.write_at('/regress_fm/e', 9000, pg_temp.bytes('y', 10)), dbos.write_file('/regress_fm/e', 'end', append => true);
SELECT * FROM dbos.file_map('/regress_fm/e');
SELECT dbos.read_file('/regress_fm/e') = decode(repeat('00', 9000), 'hex') || pg_temp.bytes('y', 10) || decode(repeat('00', 10990), 'hex') || 'end' AS right;
-- Small files.
SELECT dbos.punch_hole('/regress_fm/small', 1, 1), dbos.punch_hole('/regress_fm/empty', 0, 1);
SELECT dbos.read_file('/regress_fm/small'), dbos.read_file('/regress_fm/empty');
-- A copy keeps what it has, and so does a snapshot.
SELECT dbos.write_file('/regress_fm/s', pg_temp.bytes('x', 81920)), dbos.copy('/regress_fm/s', '/regress_fm/s_copy');
SELECT dbos.snapshot('/regress_fm', 'regress_fm') > 0;
SELECT dbos.punch_hole('/regress_fm/s', 8000, 60000);
SELECT * FROM dbos.file_map('/regress_fm/s');
SELECT * FROM dbos.file_map('/regress_fm/s_copy');
SELECT dbos.read_file('/regress_fm/s') = pg_temp.bytes('x', 8000) || decode(repeat('00', 60000), 'hex') || pg_temp.bytes('x', 13920) AS right,
	dbos.read_file('/regress_fm/s_copy') = pg_temp.bytes('x', 81920) AS copy, dbos.read_snapshot('regress_fm', '/regress_fm/s') = pg_temp.bytes('x', 81920) AS snapshot;
SELECT dbos.write_file('/regress_fm/s_copy', ''), dbos.drop_snapshot('regress_fm');
SELECT dbos.read_file('/regress_fm/s') = pg_temp.bytes('x', 8000) || decode(repeat('00', 60000), 'hex') || pg_temp.bytes('x', 13920) AS right;
-- Rolled back it never was.
BEGIN;
SELECT dbos.punch_hole('/regress_fm/long', 0, 10000000);
SELECT start, length, kind FROM dbos.file_map('/regress_fm/long');
ROLLBACK;
SELECT start, length, kind FROM dbos.file_map('/regress_fm/long');
-- What is not possible.
SELECT dbos.punch_hole('/regress_fm/objects/f', 0, 1);
SELECT dbos.punch_hole('/regress_fm/adopted', 0, 1);
SELECT dbos.punch_hole('/regress_fm/e', -1, 1);
SELECT dbos.punch_hole('/regress_fm/e', 0, 0);
SELECT dbos.punch_hole('/regress_fm', 0, 1);
SELECT dbos.punch_hole('/regress_fm/none', 0, 1);
SELECT dbos.punch_hole(NULL, 0, 1) IS NULL, dbos.punch_hole('/regress_fm/e', NULL, 1) IS NULL;
SELECT * FROM dbos.file_map('/regress_fm');
SELECT * FROM dbos.file_map('/regress_fm/none');
SELECT * FROM dbos.file_map(NULL);

-- ---- rights: of who may read, and who may write ----
SELECT dbos.chmod('/regress_fm/e', '0604');
SET ROLE regress_fm_bob;
SELECT kind FROM dbos.file_map('/regress_fm/e');
SELECT dbos.punch_hole('/regress_fm/e', 0, 1);
RESET ROLE;
SELECT dbos.chmod('/regress_fm/e', '0602');
SET ROLE regress_fm_bob;
SELECT kind FROM dbos.file_map('/regress_fm/e');
SELECT dbos.punch_hole('/regress_fm/e', 0, 1);
RESET ROLE;
-- All of it fits together.
SELECT * FROM dbos.check_files();
SELECT dbos.remove('/regress_fm', recursive => true);
SELECT lo_unlink(:object);
DROP ROLE regress_fm_bob;
