-- The machine below the server: every view answers, and what it says is so.
-- SPDX-License-Identifier: PostgreSQL

-- This session's own process, which may run at any niceness: the kernel says at which.
SELECT name, state, resident_size > 1000000 AS resident, total_size > resident_size AS total, user_time >= 0 AS used,
	to_timestamp(start_time) BETWEEN now() - interval '1 hour' AND now() + interval '1 second' AS started,
	pgroup, threads, nice, uid = euid AND euid = suid AS user_ids, gid = egid AND egid = sgid AS group_ids,
	path LIKE '%/postgres' AS path, cmdline LIKE 'postgres: %' AS cmdline, cwd = current_setting('data_directory') AS cwd, root,
	disk_bytes_read >= 0 AS read, disk_bytes_written >= 0 AS written
FROM dbos.host_processes WHERE pid = pg_backend_pid() \gset own_
SELECT :'own_name' AS name, :'own_state' AS state, :'own_resident' AS resident, :'own_total' AS total, :'own_used' AS used, :'own_started' AS started,
	:'own_pgroup'::int > 0 AS pgroup, :'own_threads' AS threads, :'own_nice' = split_part(split_part(pg_read_file('/proc/self/stat'), ') ', 2), ' ', 17) AS nice, :'own_user_ids' AS user_ids, :'own_group_ids' AS group_ids,
	:'own_path' AS path, :'own_cmdline' AS cmdline, :'own_cwd' AS cwd, :'own_root' AS root, :'own_read' AS read, :'own_written' AS written;
-- Its parent is the postmaster, which the lock file names.
SELECT p.name, p.pid = split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int AS is_the_postmaster
FROM dbos.host_processes p JOIN dbos.host_processes c ON c.parent = p.pid WHERE c.pid = pg_backend_pid();

-- A task and the process that runs it.
CREATE FUNCTION hold() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.progress(0.5);
	PERFORM pg_advisory_xact_lock(4711);
END $$;
SELECT pg_advisory_lock(4711);
SELECT dbos.submit('hold') AS task \gset
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT t.id = :task AS task, t.function, p.resident_size > 1000000 AS resident, p.name
FROM dbos.tasks t JOIN dbos.host_processes p ON p.pid = t.worker_pid WHERE t.state = 'running';
SELECT pg_advisory_unlock(4711);
SELECT dbos.wait(:task);
DROP FUNCTION hold();

-- A later process of the same pid is another one.
SELECT dbos.host_process_link(pid, start, 'exe') IS NOT NULL AS this, dbos.host_process_link(pid, start + 1, 'exe') AS another,
	dbos.host_process_cmdline(pid, start - 1) AS cmdline, dbos.host_process_io(pid, 0, true) AS io,
	dbos.host_process_id(pid, start + 1, true, 0) AS id
FROM dbos.host_processes WHERE pid = pg_backend_pid();
SELECT dbos.host_process_link(-1, 0, 'exe'), dbos.host_process_cmdline(0, 0), dbos.host_process_id(2147483647, 0, true, 0), dbos.host_process_io(-2147483648, 0, false);
SELECT dbos.host_process_link(1, 0, '../../etc/passwd');
SELECT dbos.host_process_id(pg_backend_pid(), 0, true, 2147483647);

-- Threads of one process are as many as it says.
SELECT count(*) = max(p.threads) AS all_threads, bool_or(t.tid = t.pid) AS main_thread
FROM dbos.host_threads t JOIN dbos.host_processes p USING (pid) WHERE t.pid = pg_backend_pid();
-- The socket that this server listens on.
SELECT count(*) > 0 AS listens FROM dbos.host_sockets
WHERE family = 1 AND path LIKE '%.s.PGSQL.' || current_setting('port') AND pid = split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int;
SELECT count(*) > 0 AS rows, bool_and((pid IS NULL) = (fd IS NULL)) AS pids, bool_and(family IN (1, 2, 10)) AS families,
	bool_and((local_port IS NULL) = (family = 1)) AS ports FROM dbos.host_sockets;
-- File systems, and one that is no disk.
SELECT count(*) > 0 AS mounts, bool_and(blocks >= blocks_free AND blocks_free >= blocks_available AND blocks_size > 0) IS NOT FALSE AS sizes FROM dbos.host_mounts;
SELECT path, type, blocks FROM dbos.host_mounts WHERE path = '/proc';
SELECT count(*) > 0 AS rows, count(DISTINCT core) = count(*) AS each_once, bool_and("user" >= 0 AND idle >= 0 AND system >= 0) AS times FROM dbos.host_cpus;
SELECT count(*) AS rows, bool_and(memory_total > memory_available AND memory_available > 0 AND memory_free > 0) AS sizes FROM dbos.host_memory;
SELECT bool_and(name IS NOT NULL AND reads >= 0 AND bytes_written >= 0) IS NOT FALSE AS disks FROM dbos.host_disks;
SELECT interface, '127.0.0.1' = ANY (addresses) AS address, coalesce(mtu, 65536) > 1000 AS mtu, ibytes = obytes AS bytes FROM dbos.host_interfaces WHERE interface = 'lo';

-- A query pays for the columns that it names.
EXPLAIN (COSTS OFF, VERBOSE) SELECT pid, resident_size FROM dbos.host_processes;
-- Every column says what it means.
SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'dbos'::regnamespace AND c.relname LIKE 'host\_%' AND c.relkind = 'v' AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NULL;
