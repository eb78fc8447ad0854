-- file_check.sql: whether the tables of files fit together.
-- SPDX-License-Identifier: PostgreSQL

-- What the check below needs and nobody else calls.
CREATE FUNCTION dbos.check_begin() RETURNS void
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_check_begin';
COMMENT ON FUNCTION dbos.check_begin() IS 'raises when files cannot be checked in this transaction, or from this container';
CREATE FUNCTION dbos.check_name(inode bigint) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_check_name';
COMMENT ON FUNCTION dbos.check_name(bigint) IS 'how an inode is called in the result of dbos.check_files(): its number, and its path where it has one';
CREATE FUNCTION dbos.check_content(read_chunks boolean, OUT object text, OUT problem text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'dbos_check_content';
COMMENT ON FUNCTION dbos.check_content(boolean) IS 'what is wrong with the content that files have now';
CREATE FUNCTION dbos.check_chunks(chunk bigint, count integer) RETURNS SETOF text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1 COST 1000 AS 'MODULE_PATHNAME', 'dbos_check_chunks';
COMMENT ON FUNCTION dbos.check_chunks(bigint, integer) IS 'what is wrong with chunks, from that one on';

-- Each part is one statement over whole tables, which sorts and joins on disk when they are large.  All of them see the
-- snapshot of the calling statement, since the function is STABLE.  2147483647 stands for what has not ended.
CREATE FUNCTION dbos.check_files(content boolean DEFAULT true, OUT object text, OUT problem text) RETURNS SETOF record
	LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 10 AS $$
#variable_conflict use_column
BEGIN
	PERFORM dbos.check_begin();

	-- ---- inodes ----
	RETURN QUERY
		SELECT format('inode %s', i.inode), format('has %s rows that have not ended, or ended in the same epoch', count(*))
		FROM dbos.inode i GROUP BY i.inode, i.died HAVING count(*) > 1;
	RETURN QUERY
		SELECT dbos.check_name(i.inode), format('has a mode that is of no file, directory or symbolic link: %s', to_hex(i.mode))
		FROM dbos.inode i WHERE i.mode & 61440 NOT IN (16384, 32768, 40960);
	RETURN QUERY
		SELECT dbos.check_name(i.inode), format('has an unknown storage class "%s"', i.storage)
		FROM dbos.inode i WHERE i.storage NOT IN ('i', 'c', 'l', 'a') OR i.mode & 61440 = 40960 AND i.storage <> 'i';
	RETURN QUERY
		SELECT dbos.check_name(i.inode), format('has size %s', i.size) FROM dbos.inode i WHERE i.size < 0;
	RETURN QUERY
		SELECT dbos.check_name(i.inode), format('is in class %s of sizes, and has size %s', i.size_class, i.size)
		FROM dbos.inode i
		WHERE i.size_class <> CASE WHEN i.mode & 61440 = 32768 AND i.storage IN ('l', 'a') THEN 127 WHEN i.size < 1048576 THEN 0
				ELSE length(ltrim(i.size::bit(64)::text, '0')) END;

	RETURN QUERY
		SELECT format('role %s', r.role::oid), format('does not exist, and is the owner of %s files and the group of %s', sum(r.owned), sum(r.grouped))
		FROM (SELECT i.owner AS role, count(*) AS owned, 0 AS grouped FROM dbos.inode i WHERE i.died = 2147483647 GROUP BY i.owner
			UNION ALL SELECT i.group_role, 0, count(*) FROM dbos.inode i WHERE i.died = 2147483647 GROUP BY i.group_role) r
		WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.oid = r.role)
		GROUP BY r.role;

	-- ---- versions: from one epoch to another ----
	-- What has ended counts as far as a snapshot shows it: the rest waits for the background to delete it, in any order,
	-- and may name what is gone.
	RETURN QUERY
		SELECT format('%s of inode %s', v.what, v.inode),
			CASE WHEN v.born >= v.died THEN format('was born in epoch %s and ended in epoch %s', v.born, v.died)
				ELSE format('was born in epoch %s, which has not come yet', v.born) END
		FROM (SELECT 'version' AS what, i.inode, i.born, i.died FROM dbos.inode i
			UNION ALL SELECT format('name %s', dbos.entry_name(e.name)), e.child, e.born, e.died FROM dbos.directory_entry e
			UNION ALL SELECT format('extent at chunk %s', x.start), x.inode, x.born, x.died FROM dbos.extent x
			UNION ALL SELECT format('extended attribute %s', dbos.entry_name(a.name)), a.inode, a.born, a.died FROM dbos.xattr a) v
		WHERE v.born >= v.died OR v.born > (SELECT s.last_value FROM dbos.file_epoch s);
	RETURN QUERY
		SELECT dbos.check_name(i.inode), format('has two versions in epoch %s', s.epoch)
		FROM dbos.inode i JOIN dbos.snapshot s ON s.epoch >= i.born AND s.epoch < i.died
		WHERE i.died <> 2147483647 AND EXISTS (SELECT FROM dbos.inode n WHERE n.inode = i.inode AND n.died > i.died AND n.born <= s.epoch);
	RETURN QUERY
		SELECT dbos.check_name(e.parent), format('has name %s twice in epoch %s', dbos.entry_name(e.name), s.epoch)
		FROM dbos.directory_entry e JOIN dbos.snapshot s ON s.epoch >= e.born AND s.epoch < e.died
		WHERE e.died <> 2147483647 AND EXISTS (SELECT FROM dbos.directory_entry n WHERE n.parent = e.parent AND n.name = e.name AND n.died > e.died AND n.born <= s.epoch);
	RETURN QUERY
		SELECT dbos.check_name(a.inode), format('has extended attribute %s twice in epoch %s', dbos.entry_name(a.name), s.epoch)
		FROM dbos.xattr a JOIN dbos.snapshot s ON s.epoch >= a.born AND s.epoch < a.died
		WHERE a.died <> 2147483647 AND EXISTS (SELECT FROM dbos.xattr n WHERE n.inode = a.inode AND n.name = a.name AND n.died > a.died AND n.born <= s.epoch);

	-- ---- names ----
	RETURN QUERY
		SELECT dbos.check_name(e.parent), format('has name %s %s times', dbos.entry_name(e.name), count(*))
		FROM dbos.directory_entry e GROUP BY e.parent, e.name, e.died HAVING count(*) > 1;
	RETURN QUERY
		SELECT dbos.check_name(e.parent), format('has a name that cannot be: %s', e.name)
		FROM dbos.directory_entry e
		WHERE length(e.name) NOT BETWEEN 1 AND 255 OR e.name IN ('.', '..') OR position('\x2f'::bytea IN e.name) > 0 OR position('\x00'::bytea IN e.name) > 0;
	RETURN QUERY
		SELECT format('name %s in inode %s', dbos.entry_name(e.name), e.parent),
			CASE WHEN c.inode IS NULL THEN format('is of inode %s, which is missing', e.child)
				WHEN e.kind <> c.mode >> 12 & 15 THEN format('is said to be of kind %s, and inode %s is of kind %s', e.kind, e.child, c.mode >> 12 & 15)
				WHEN p.inode IS NULL THEN 'is in a directory that is missing'
				WHEN p.mode & 61440 <> 16384 THEN 'is in what is no directory'
				ELSE format('is in file system %s, and inode %s in %s', p.file_system, e.child, c.file_system) END
		FROM dbos.directory_entry e
			LEFT JOIN dbos.inode c ON c.inode = e.child AND c.died = 2147483647
			LEFT JOIN dbos.inode p ON p.inode = e.parent AND p.died = 2147483647
		WHERE e.died = 2147483647
			AND (c.inode IS NULL OR p.inode IS NULL OR e.kind <> c.mode >> 12 & 15 OR p.mode & 61440 <> 16384 OR p.file_system <> c.file_system);
	RETURN QUERY
		SELECT format('name %s in inode %s, in epoch %s', dbos.entry_name(e.name), e.parent, s.epoch),
			format('is of inode %s, which has no version of then', e.child)
		FROM dbos.directory_entry e JOIN dbos.snapshot s ON s.epoch >= e.born AND s.epoch < e.died
		WHERE e.died <> 2147483647 AND NOT EXISTS (SELECT FROM dbos.inode c WHERE c.inode = e.child AND c.born <= s.epoch AND c.died > s.epoch);

	-- ---- links ----
	RETURN QUERY
		SELECT dbos.check_name(i.inode),
			CASE WHEN i.mode & 61440 = 16384 THEN format('is a directory, names: %s', count(e.child))
				WHEN i.link_count = 0 AND count(e.child) = 0 THEN 'has no name, and is not noted as a file that was open when it lost it'
				WHEN count(e.child) = 0 THEN format('has no name, link_count is %s', i.link_count)
				ELSE format('link_count is %s, names: %s', i.link_count, count(e.child)) END
		FROM dbos.inode i LEFT JOIN dbos.directory_entry e ON e.child = i.inode AND e.died = 2147483647
		WHERE i.died = 2147483647
		GROUP BY i.inode, i.mode, i.link_count
		HAVING CASE WHEN i.mode & 61440 = 16384
				THEN count(e.child) <> CASE WHEN EXISTS (SELECT FROM dbos.file_system f WHERE f.root = i.inode) OR i.inode = 1 THEN 0 ELSE 1 END
				ELSE count(e.child) <> i.link_count
					OR i.link_count = 0 AND NOT EXISTS (SELECT FROM dbos.unlinked_file u WHERE u.inode = i.inode) END;
	RETURN QUERY
		SELECT format('inode %s', u.inode),
			CASE WHEN i.inode IS NULL THEN 'is noted as a file without a name that was open, and is missing'
				ELSE format('is noted as a file without a name that was open, and has link_count %s', i.link_count) END
		FROM dbos.unlinked_file u LEFT JOIN dbos.inode i ON i.inode = u.inode AND i.died = 2147483647
		WHERE i.inode IS NULL OR i.link_count <> 0;
	RETURN QUERY
		SELECT format('root of container %s', f.container_id), format('is inode %s, which is no directory of file system %s', f.root, f.container_id)
		FROM (SELECT s.container_id, s.root FROM dbos.file_system s UNION ALL SELECT 0, 1) f
		WHERE NOT EXISTS (SELECT FROM dbos.inode i
						  WHERE i.inode = f.root AND i.died = 2147483647 AND i.mode & 61440 = 16384 AND i.file_system = f.container_id);
	-- From the roots, and from directories with no name or several, which were told above, downwards by names of
	-- directories that have just that one: no directory is met twice.
	RETURN QUERY
		WITH RECURSIVE reached AS
		(
			SELECT i.inode
			FROM dbos.inode i
			WHERE i.died = 2147483647 AND i.mode & 61440 = 16384
				AND (i.inode = 1 OR EXISTS (SELECT FROM dbos.file_system f WHERE f.root = i.inode)
					OR (SELECT count(*) FROM dbos.directory_entry e WHERE e.child = i.inode AND e.died = 2147483647) <> 1)
			UNION ALL
			SELECT e.child
			FROM reached r CROSS JOIN LATERAL
				(SELECT n.child
				 FROM dbos.directory_entry n
				 WHERE n.parent = r.inode AND n.kind = 4 AND n.died = 2147483647 AND n.child <> 1
					AND NOT EXISTS (SELECT FROM dbos.file_system f WHERE f.root = n.child)
					AND (SELECT count(*) FROM dbos.directory_entry o WHERE o.child = n.child AND o.died = 2147483647) = 1
				 OFFSET 0) e
		)
		SELECT format('inode %s', i.inode), 'is a directory that cannot be reached from a root'
		FROM dbos.inode i
		WHERE i.died = 2147483647 AND i.mode & 61440 = 16384 AND NOT EXISTS (SELECT FROM reached r WHERE r.inode = i.inode);

	-- ---- extents and chunks ----
	RETURN QUERY
		SELECT CASE WHEN i.inode IS NULL THEN format('inode %s', x.inode) ELSE dbos.check_name(x.inode) END,
			format('extent at chunk %s ', x.start) || CASE WHEN i.inode IS NULL THEN 'is of an inode that is missing'
				WHEN x.count NOT BETWEEN 1 AND 1024 OR x.start < 0 THEN format('has %s chunks', x.count)
				WHEN i.storage <> 'c' OR i.mode & 61440 <> 32768 THEN 'is of an inode whose content is elsewhere'
				ELSE format('ends with chunk %s, beyond size %s', x.start + x.count - 1, i.size) END
		FROM dbos.extent x LEFT JOIN dbos.inode i ON i.inode = x.inode AND i.died = 2147483647
		WHERE x.died = 2147483647
			AND (i.inode IS NULL OR x.count NOT BETWEEN 1 AND 1024 OR x.start < 0 OR i.storage <> 'c' OR i.mode & 61440 <> 32768
				OR x.start + x.count > (i.size + 8191) / 8192);
	RETURN QUERY
		SELECT format('inode %s', x.inode), format('extent at chunk %s, in epoch %s, is of an inode that has no version of then', x.start, s.epoch)
		FROM dbos.extent x JOIN dbos.snapshot s ON s.epoch >= x.born AND s.epoch < x.died
		WHERE x.died <> 2147483647 AND NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = x.inode AND i.born <= s.epoch AND i.died > s.epoch);
	RETURN QUERY
		SELECT dbos.check_name(x.inode), format('extent at chunk %s overlaps one that ends with chunk %s', x.start, x.before - 1)
		FROM (SELECT y.inode, y.start, max(y.start + y.count) OVER (PARTITION BY y.inode ORDER BY y.start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
			  FROM dbos.extent y WHERE y.died = 2147483647) x
		WHERE x.before > x.start;
	-- Those of several epochs: by groups of 1,024 chunks, of which an extent touches two.
	RETURN QUERY
		SELECT dbos.check_name(x.inode), format('extents at chunks %s and %s overlap in epoch %s', x.start, n.start, s.epoch)
		FROM dbos.extent x JOIN dbos.snapshot s ON s.epoch >= x.born AND s.epoch < x.died
			CROSS JOIN (VALUES (-1), (0), (1)) g (step) JOIN dbos.extent n ON n.inode = x.inode AND n.start / 1024 = x.start / 1024 + g.step
		WHERE x.died <> 2147483647 AND (n.died > x.died OR n.died = x.died AND n.start > x.start) AND n.born <= s.epoch
			AND n.start < x.start + x.count AND x.start < n.start + n.count;
	RETURN QUERY
		SELECT CASE WHEN min(c.chunk) = max(c.chunk) THEN format('chunk %s', min(c.chunk)) ELSE format('chunks %s to %s', min(c.chunk), max(c.chunk)) END,
			'no file has it, and it is not noted as freed'
		FROM (SELECT u.chunk, u.chunk - row_number() OVER (ORDER BY u.chunk) AS run
			  FROM (SELECT a.chunk, a.ending, max(a.ending) OVER (ORDER BY a.chunk, a.ending NULLS LAST ROWS UNBOUNDED PRECEDING) AS covered
					FROM (SELECT x.chunk, x.chunk + x.count AS ending FROM dbos.extent x
						UNION ALL SELECT d.chunk, d.chunk + d.count FROM dbos.freed_extent d
						UNION ALL SELECT k.chunk, NULL FROM dbos.chunk k) a) u
			  WHERE u.ending IS NULL AND (u.covered IS NULL OR u.covered <= u.chunk)) c
		GROUP BY c.run;
	RETURN QUERY
		SELECT format('chunk %s', t.chunk), 'has a row in dbos.chunk_tail and none in dbos.chunk'
		FROM dbos.chunk_tail t WHERE NOT EXISTS (SELECT FROM dbos.chunk k WHERE k.chunk = t.chunk);

	-- ---- content ----
	RETURN QUERY
		SELECT p.object, p.problem FROM dbos.check_content(check_files.content) p;
	IF content THEN
		RETURN QUERY
			SELECT dbos.check_name(x.inode), format('in epoch %s, %s', x.epoch, p.problem)
			FROM (SELECT y.inode, y.chunk, y.count, (SELECT min(s.epoch) FROM dbos.snapshot s WHERE s.epoch >= y.born AND s.epoch < y.died) AS epoch
				  FROM dbos.extent y WHERE y.died <> 2147483647) x
				CROSS JOIN LATERAL dbos.check_chunks(x.chunk, x.count) p (problem)
			WHERE x.epoch IS NOT NULL;
	ELSE
		RETURN QUERY
			SELECT dbos.check_name(x.inode), format('extent at chunk %s has %s chunks, and %s of them are there', x.start, x.count, x.there)
			FROM (SELECT y.inode, y.start, y.count,
					(SELECT count(*) FROM dbos.chunk k WHERE k.chunk >= y.chunk AND k.chunk < y.chunk + y.count) AS there
				  FROM dbos.extent y
				  WHERE y.died = 2147483647 OR EXISTS (SELECT FROM dbos.snapshot s WHERE s.epoch >= y.born AND s.epoch < y.died)) x
			WHERE x.there <> x.count;
	END IF;

	-- ---- extended attributes ----
	RETURN QUERY
		SELECT format('extended attribute %s of inode %s', dbos.entry_name(a.name), a.inode),
			CASE WHEN i.inode IS NULL THEN 'is of an inode that is missing' ELSE 'is not to be found: the mode of the inode says that it has none' END
		FROM dbos.xattr a LEFT JOIN dbos.inode i ON i.inode = a.inode AND i.died = 2147483647
		WHERE a.died = 2147483647 AND (i.inode IS NULL OR i.mode & 65536 = 0);

	-- ---- snapshots ----
	RETURN QUERY
		SELECT format('snapshot "%s"', s.name), format('is of inode %s, which has no version of epoch %s', s.root, s.epoch)
		FROM dbos.snapshot s
		WHERE NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = s.root AND i.born <= s.epoch AND i.died > s.epoch);

	-- ---- sums ----
	RETURN QUERY
		SELECT dbos.check_name(s.directory), format('of role %s is said to have %s names, %s directories and %s bytes, and has %s, %s and %s',
			pg_get_userbyid(s.owner), s.names, s.directories, s.bytes, s.counted_names, s.counted_directories, s.counted_bytes)
		FROM (SELECT a.directory, a.owner, sum(a.names) AS names, sum(a.directories) AS directories, sum(a.bytes) AS bytes,
				sum(a.counted_names) AS counted_names, sum(a.counted_directories) AS counted_directories, sum(a.counted_bytes) AS counted_bytes
			  FROM (SELECT u.directory, u.owner::oid, u.names, u.directories, u.bytes, 0 AS counted_names, 0 AS counted_directories, 0 AS counted_bytes
					FROM dbos.directory_usage u
					UNION ALL SELECT d.directory, d.owner::oid, d.names, d.directories, d.bytes, 0, 0, 0 FROM dbos.directory_change d
					UNION ALL SELECT e.parent, i.owner::oid, 0, 0, 0, count(*) FILTER (WHERE e.kind <> 4), count(*) FILTER (WHERE e.kind = 4),
						coalesce(sum(i.size) FILTER (WHERE e.kind <> 4), 0)
					FROM dbos.directory_entry e JOIN dbos.inode i ON i.inode = e.child AND i.died = 2147483647
					WHERE e.died = 2147483647 GROUP BY e.parent, i.owner) a
			  GROUP BY a.directory, a.owner) s
		WHERE (s.names, s.directories, s.bytes) IS DISTINCT FROM (s.counted_names, s.counted_directories, s.counted_bytes);
	RETURN QUERY
		SELECT format('role %s', pg_get_userbyid(s.owner)), format('is said to have %s files of %s bytes, and has %s of %s', s.files, s.bytes, s.counted_files, s.counted_bytes)
		FROM (SELECT a.owner, sum(a.files) AS files, sum(a.bytes) AS bytes, sum(a.counted_files) AS counted_files, sum(a.counted_bytes) AS counted_bytes
			  FROM (SELECT u.owner::oid, u.files, u.file_bytes AS bytes, 0 AS counted_files, 0 AS counted_bytes FROM dbos.directory_usage u
					UNION ALL SELECT d.owner::oid, d.files, d.file_bytes, 0, 0 FROM dbos.directory_change d
					UNION ALL SELECT i.owner::oid, 0, 0, count(*), sum(i.size) FROM dbos.inode i
					WHERE i.died = 2147483647 AND i.mode & 61440 <> 16384 GROUP BY i.owner) a
			  GROUP BY a.owner) s
		WHERE (s.files, s.bytes) IS DISTINCT FROM (s.counted_files, s.counted_bytes);
	RETURN QUERY
		SELECT format('quota of role %s', pg_get_userbyid(q.role)), format('is said to be used by %s files of %s bytes, and is by %s of %s', q.files, q.bytes, s.files, s.bytes)
		FROM dbos.file_quota q CROSS JOIN LATERAL
			(SELECT coalesce(sum(a.files + a.directories), 0) AS files, coalesce(sum(a.file_bytes), 0) AS bytes
			 FROM (SELECT u.owner, u.files, u.directories, u.file_bytes FROM dbos.directory_usage u
				   UNION ALL SELECT d.owner, d.files, d.directories, d.file_bytes FROM dbos.directory_change d) a
			 WHERE a.owner = q.role) s
		WHERE q.directory = 0 AND (q.files, q.bytes) IS DISTINCT FROM (s.files, s.bytes);
	-- Downwards as above.
	RETURN QUERY
		WITH RECURSIVE below AS
		(
			SELECT q.directory AS top, q.directory FROM dbos.file_quota q WHERE q.directory <> 0
			UNION ALL
			SELECT b.top, e.child
			FROM below b CROSS JOIN LATERAL
				(SELECT n.child
				 FROM dbos.directory_entry n
				 WHERE n.parent = b.directory AND n.kind = 4 AND n.died = 2147483647 AND n.child <> b.top
					AND (SELECT count(*) FROM dbos.directory_entry o WHERE o.child = n.child AND o.died = 2147483647) = 1
				 OFFSET 0) e
		)
		SELECT dbos.check_name(q.directory), format('quota is said to be used by %s files of %s bytes, and is by %s of %s', q.files, q.bytes, s.files, s.bytes)
		FROM dbos.file_quota q
			JOIN (SELECT b.top, coalesce(sum(a.names + a.directories), 0) AS files, coalesce(sum(a.bytes), 0) AS bytes
				  FROM below b LEFT JOIN (SELECT u.directory, u.names, u.directories, u.bytes FROM dbos.directory_usage u
										  UNION ALL SELECT d.directory, d.names, d.directories, d.bytes FROM dbos.directory_change d) a ON a.directory = b.directory
				  GROUP BY b.top) s ON s.top = q.directory
		WHERE (q.files, q.bytes) IS DISTINCT FROM (s.files, s.bytes);
END
$$;
COMMENT ON FUNCTION dbos.check_files(boolean) IS
	'checks that all files of the database are whole: names, link counts, sums, versions, and, unless content is false, every byte against its checksum; returns what is wrong, nothing when all is well. Example: SELECT * FROM dbos.check_files();';

REVOKE ALL ON FUNCTION dbos.check_begin(), dbos.check_name(bigint), dbos.check_content(boolean), dbos.check_chunks(bigint, integer),
	dbos.check_files(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.check_files(boolean) TO dbos_monitor, dbos_admin;
