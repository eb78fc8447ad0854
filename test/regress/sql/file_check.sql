-- Whatever is damaged in the tables of files, dbos.check_files() says what, and of whole files nothing.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE regress_check_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_check_admin LOGIN IN ROLE dbos_admin;
CREATE ROLE regress_check_monitor LOGIN IN ROLE dbos_monitor;
\set SHOW_CONTEXT never
-- What other tests have left is whole.
SELECT * FROM dbos.check_files();

SELECT dbos.mkdir('/check/a/b', parents => true), dbos.chmod('/check', '0777');
SET ROLE regress_check_ann;
SELECT dbos.write_text('/check/small', 'small');
SELECT dbos.link('/check/small', '/check/same');
SELECT dbos.symlink('small', '/check/link');
RESET ROLE;
-- Two extents: a hole lies between them; random bytes, so that nothing is compressed.
SELECT setseed(0.5);
CREATE FUNCTION pg_temp.noise(length int) RETURNS bytea LANGUAGE sql AS $$
	SELECT string_agg(decode(lpad(to_hex((random() * 255)::int), 2, '0'), 'hex'), '') FROM generate_series(1, length) $$;
SELECT dbos.write_file('/check/a/large', pg_temp.noise(30000)), dbos.write_at('/check/a/large', 100000, pg_temp.noise(20000));
SELECT dbos.write_file('/check/a/whole', pg_temp.noise(50000)), dbos.copy('/check/a/whole', '/check/a/b/copy');
SELECT dbos.set_xattr('/check/small', 'user.note', 'x');
SELECT dbos.snapshot('/check', 'check') > 0 AS taken;
SELECT dbos.write_at('/check/a/whole', 8192, pg_temp.noise(10)), dbos.rename('/check/a/b/copy', '/check/a/b/moved'), dbos.write_text('/check/small', 'smaller');
SELECT dbos.set_quota('/check', 1000000, 100), dbos.set_role_quota('regress_check_ann', 1000000);
SELECT * FROM dbos.check_files();
SELECT * FROM dbos.check_files(content => false);

-- ---- damage, one after the other, each undone ----
CREATE FUNCTION pg_temp.inode_of(path text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT inode FROM dbos.stat(path) $$;
-- Numbers differ from run to run; all else is compared.
CREATE FUNCTION pg_temp.checked(content boolean DEFAULT true) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(object || ': ' || problem, '(inode|chunk|chunks|epoch|to|class) \d+', '\1 N', 'g'), '[0-9a-f]{8}', 'XXXXXXXX', 'g')
	FROM dbos.check_files(checked.content) ORDER BY 1 $$;
-- about: what is compared, where it depends on the plan, or on what else is in the database, which complaints follow.
CREATE FUNCTION pg_temp.try(damage text, content boolean DEFAULT true, about text DEFAULT '') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	result text[];
	changed bigint;
BEGIN
	BEGIN
		EXECUTE damage;
		GET DIAGNOSTICS changed = ROW_COUNT;
		SELECT array_agg(c) INTO result FROM pg_temp.checked(try.content) c WHERE c ~ about;
		RAISE SQLSTATE 'XX999';
	EXCEPTION WHEN SQLSTATE 'XX999' THEN
		NULL;
	END;
	IF changed = 0 THEN RAISE 'nothing was damaged'; END IF;
	RETURN QUERY SELECT unnest(result);
END $$;

-- Links and names.
SELECT pg_temp.try('UPDATE dbos.inode SET link_count = 3 WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('UPDATE dbos.inode SET link_count = 0 WHERE inode = pg_temp.inode_of(''/check/link'')');
SELECT pg_temp.try('DELETE FROM dbos.directory_entry WHERE name = ''same'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('DELETE FROM dbos.directory_entry WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.inode SET link_count = 0 WHERE inode = pg_temp.inode_of(''/check/link''); DELETE FROM dbos.directory_entry WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('INSERT INTO dbos.directory_entry SELECT parent, child, died, born, kind, ''again'' FROM dbos.directory_entry WHERE name = ''b'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check/a'')');
SELECT pg_temp.try('INSERT INTO dbos.directory_entry SELECT parent, 999999999, died, born, 8, ''lost'' FROM dbos.directory_entry WHERE name = ''b'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check/a'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET kind = 10 WHERE name = ''large'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check/a'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET parent = 999999999 WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET parent = pg_temp.inode_of(''/check/small'') WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET name = ''..'' WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET name = ''a/b'' WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.inode SET file_system = 5 WHERE inode = pg_temp.inode_of(''/check/link'')');
SELECT pg_temp.try('DELETE FROM dbos.inode WHERE inode = pg_temp.inode_of(''/check/link'') AND died = 2147483647');
SELECT pg_temp.try('INSERT INTO dbos.unlinked_file VALUES (pg_temp.inode_of(''/check/small'')), (999999999)');
-- A loop: /check/a comes to lie in /check/a/b.
SELECT pg_temp.try('UPDATE dbos.directory_entry SET parent = pg_temp.inode_of(''/check/a/b'') WHERE name = ''a'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
-- And one that is in itself and elsewhere: what is below it is reached.
SELECT pg_temp.try('INSERT INTO dbos.directory_entry SELECT pg_temp.inode_of(''/check/a/b''), child, died, born, kind, ''up'' FROM dbos.directory_entry WHERE name = ''a'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('INSERT INTO dbos.directory_entry SELECT pg_temp.inode_of(''/check/a/b''), 1, died, born, kind, ''root'' FROM dbos.directory_entry WHERE name = ''a'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')', about => '^inode N: (is|of)');
-- Names and inodes twice, which an index keeps from happening unless it is damaged.
SET allow_system_table_mods = on;
SELECT pg_temp.try('UPDATE pg_index SET indisunique = false, indisprimary = false WHERE indexrelid = ''dbos.directory_entry_pkey''::regclass; INSERT INTO dbos.directory_entry SELECT e.* FROM dbos.directory_entry e WHERE name = ''link'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check'')', about => 'times');
SELECT pg_temp.try('UPDATE pg_index SET indisunique = false, indisprimary = false WHERE indexrelid = ''dbos.inode_pkey''::regclass; INSERT INTO dbos.inode SELECT i.* FROM dbos.inode i WHERE inode = pg_temp.inode_of(''/check/link'')', about => 'rows');
RESET allow_system_table_mods;

-- Inodes.
SELECT pg_temp.try('UPDATE dbos.inode SET mode = 4096 WHERE inode = pg_temp.inode_of(''/check/link'')');
SELECT pg_temp.try('UPDATE dbos.inode SET storage = ''x'' WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('UPDATE dbos.inode SET size_class = 21 WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('DELETE FROM dbos.inode WHERE inode = 1', about => 'root of|name check');
SELECT pg_temp.try('UPDATE dbos.inode SET file_system = 7 WHERE inode = 1', about => 'root of|name check');

-- Versions.
SELECT pg_temp.try('UPDATE dbos.inode SET born = died WHERE inode = pg_temp.inode_of(''/check/small'') AND died < 2147483647');
SELECT pg_temp.try('UPDATE dbos.inode SET born = 2000000000 WHERE inode = pg_temp.inode_of(''/check/link'')');
SELECT pg_temp.try('UPDATE dbos.inode SET born = 1 WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET name = ''moved'' WHERE name = ''copy'' AND parent = pg_temp.inode_of(''/check/a/b''); UPDATE dbos.directory_entry SET born = 1 WHERE name = ''moved'' AND died = 2147483647 AND parent = pg_temp.inode_of(''/check/a/b'')');
SELECT pg_temp.try('UPDATE dbos.directory_entry SET child = 999999999 WHERE name = ''copy'' AND died < 2147483647');
SELECT pg_temp.try('UPDATE dbos.snapshot SET root = 999999999 WHERE name = ''check''');

-- Extents and chunks.
SELECT pg_temp.try('UPDATE dbos.extent SET inode = 999999999 WHERE inode = pg_temp.inode_of(''/check/a/large'')');
SELECT pg_temp.try('UPDATE dbos.extent SET inode = 999999999 WHERE inode = pg_temp.inode_of(''/check/a/whole'') AND died < 2147483647');
SELECT pg_temp.try('UPDATE dbos.extent SET inode = pg_temp.inode_of(''/check/small'') WHERE inode = pg_temp.inode_of(''/check/a/large'')');
SELECT pg_temp.try('UPDATE dbos.extent SET start = 1000 WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 12');
SELECT pg_temp.try('UPDATE dbos.extent SET start = 2 WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 12');
SELECT pg_temp.try('UPDATE dbos.extent SET born = 1 WHERE inode = pg_temp.inode_of(''/check/a/whole'') AND died = 2147483647 AND start = 1');
SELECT pg_temp.try('UPDATE dbos.extent SET count = 0 WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 12');
SELECT pg_temp.try('DELETE FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 12');
SELECT pg_temp.try('DELETE FROM dbos.chunk WHERE chunk = (SELECT chunk + 1 FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)');
SELECT pg_temp.try('DELETE FROM dbos.chunk WHERE chunk = (SELECT chunk + 1 FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)', false);
SELECT pg_temp.try('DELETE FROM dbos.chunk_tail WHERE chunk = (SELECT chunk + 1 FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)');
SELECT pg_temp.try('INSERT INTO dbos.chunk_tail VALUES (999999999, ''x'')');
SELECT pg_temp.try('INSERT INTO dbos.chunk SELECT 999999990 + n, 1, 0, ''r'', ''x'' FROM generate_series(1, 5) n');
SELECT pg_temp.try('INSERT INTO dbos.chunk VALUES (999999999, 1, 0, ''r'', ''x''); INSERT INTO dbos.freed_extent VALUES (999999998, 2)');
-- One byte of a file's chunk, also where just a snapshot has it, and in a tail.
SELECT pg_temp.try('UPDATE dbos.chunk SET data = set_byte(data, 7, get_byte(data, 7) # 1) WHERE chunk = (SELECT chunk FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)');
SELECT pg_temp.try('UPDATE dbos.chunk SET data = set_byte(data, 7, get_byte(data, 7) # 1) WHERE chunk = (SELECT chunk FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)', false);
SELECT pg_temp.try('UPDATE dbos.chunk_tail SET data = set_byte(data, 7, get_byte(data, 7) # 1) WHERE chunk = (SELECT chunk FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0)');
SELECT dbos.unlink('/check/a/b/moved'), dbos.write_file('/check/a/whole', 'x');
SELECT pg_temp.try('UPDATE dbos.chunk SET checksum = checksum # 1 WHERE chunk = (SELECT chunk + 1 FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/whole'') AND died < 2147483647 AND start = 0)');
-- Chunks that match their checksums, and are not what the file is to have.
SELECT dbos.write_file('/check/a/sum', pg_temp.noise(20000));
SELECT pg_temp.try('UPDATE dbos.extent SET chunk = (SELECT chunk FROM dbos.extent WHERE inode = pg_temp.inode_of(''/check/a/large'') AND start = 0), shared = true WHERE inode = pg_temp.inode_of(''/check/a/sum'')');
SELECT pg_temp.try('UPDATE dbos.inode SET checksum = checksum # 1 WHERE inode = pg_temp.inode_of(''/check/a/sum'')');
-- Content in the row.
SELECT pg_temp.try('UPDATE dbos.inode SET content = ''smalles'' WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('UPDATE dbos.inode SET content = ''smalle'' WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647', false);
SELECT pg_temp.try('UPDATE dbos.inode SET content = NULL WHERE inode = pg_temp.inode_of(''/check/link'')', false);

-- Extended attributes.
SELECT pg_temp.try('UPDATE dbos.xattr SET inode = 999999999 WHERE inode = pg_temp.inode_of(''/check/small'')');
SELECT pg_temp.try('UPDATE dbos.inode SET mode = mode & 65535 WHERE inode = pg_temp.inode_of(''/check/small'') AND died = 2147483647');
SELECT pg_temp.try('INSERT INTO dbos.xattr SELECT inode, epoch + 1, 1, a.name, value FROM dbos.xattr a, dbos.snapshot s WHERE inode = pg_temp.inode_of(''/check/small'') AND s.name = ''check''; UPDATE dbos.xattr SET born = 1 WHERE inode = pg_temp.inode_of(''/check/small'')');

-- Sums.
SELECT count(dbos.fold_usage()) FROM generate_series(1, 3);
SELECT pg_temp.try('INSERT INTO dbos.directory_change VALUES (pg_temp.inode_of(''/check''), ''regress_check_ann'', 1, 0, 0, 0, 0, 0)');
SELECT pg_temp.try('INSERT INTO dbos.directory_change VALUES (pg_temp.inode_of(''/check''), ''regress_check_ann'', 0, 1, 10, 0, 0, 0)');
SELECT pg_temp.try('UPDATE dbos.directory_usage SET files = files + 1, file_bytes = file_bytes - 3 WHERE owner = ''regress_check_ann''::regrole AND directory = pg_temp.inode_of(''/check'')');
SELECT pg_temp.try('UPDATE dbos.file_quota SET bytes = bytes + 1 WHERE directory <> 0');
SELECT pg_temp.try('UPDATE dbos.file_quota SET files = files - 1 WHERE role = ''regress_check_ann''::regrole');

-- ---- when and who ----
SELECT pg_temp.checked();
BEGIN;
SELECT dbos.write_text('/check/small', 'x');
SELECT * FROM dbos.check_files();
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM dbos.check_files();
COMMIT;
SELECT * FROM dbos.check_files(NULL);
SET ROLE regress_check_ann;
SELECT * FROM dbos.check_files();
SELECT dbos.check_name(1);
SET ROLE regress_check_monitor;
SELECT * FROM dbos.check_files();
SELECT * FROM dbos.check_content(true);
SET ROLE regress_check_admin;
SELECT * FROM dbos.check_files();
RESET ROLE;
SELECT dbos.create_container('regress_check');
\c -
SELECT dbos.enter_container('regress_check');
SELECT * FROM dbos.check_files();
\c -
SELECT dbos.drop_container('regress_check');

-- A file that is open and has no name is whole.
SELECT dbos.write_text('/check/open', 'open');
SELECT dbos.open_file('/check/open') AS handle \gset
SELECT dbos.unlink('/check/open');
SELECT * FROM dbos.check_files();
SELECT dbos.close_file(:handle);
SELECT * FROM dbos.check_files();

SELECT dbos.set_quota('/check', NULL, NULL), dbos.set_role_quota('regress_check_ann', NULL);
SELECT dbos.drop_snapshot('check');
SELECT dbos.remove('/check', recursive => true);
SELECT dbos.reclaim_files() IS NOT NULL AS reclaimed;
SELECT * FROM dbos.check_files();

-- A role that is dropped leaves its files.
CREATE ROLE regress_check_leaver IN ROLE dbos_user;
SET ROLE regress_check_leaver;
SELECT dbos.write_text('/left', 'x'), dbos.mkdir('/left_too');
RESET ROLE;
DROP ROLE regress_check_leaver;
SELECT regexp_replace(object, '\d+', 'N') AS object, problem FROM dbos.check_files();
SELECT dbos.chown(path, 'regress_check_ann') FROM dbos.files WHERE path LIKE '/left%';
SELECT regexp_replace(object, '\d+', 'N') AS object, problem FROM dbos.check_files();
SELECT dbos.chown(path, 'regress_check_ann', 'regress_check_ann') FROM dbos.files WHERE owner = 'regress_check_ann'::regrole;
SELECT * FROM dbos.check_files();
SELECT dbos.unlink('/left'), dbos.rmdir('/left_too');
DROP ROLE regress_check_ann, regress_check_admin, regress_check_monitor;
