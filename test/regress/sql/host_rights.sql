-- What of the machine belongs to other users is for dbos_monitor, and a container shows the session's own process.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE host_nobody;
CREATE ROLE host_user IN ROLE dbos_user;
CREATE ROLE host_monitor IN ROLE dbos_monitor;

SET ROLE host_nobody;
SELECT count(*) FROM dbos.host_processes;
SELECT dbos.host_list_processes();
SELECT dbos.host_process_cmdline(1, 0);
RESET ROLE;

SET ROLE host_user;
SELECT count(*) > 1 AS others, count(resident_size) > 1 AS sizes, count(path) AS paths, count(cmdline) AS cmdlines, count(cwd) AS cwds, count(root) AS roots,
	count(disk_bytes_read) AS read, count(disk_bytes_written) AS written FROM dbos.host_processes;
SELECT count(*) FILTER (WHERE pid IS DISTINCT FROM pg_backend_pid()) AS others_sockets, count(*) > 0 AS own FROM dbos.host_sockets;
SELECT count(*) > 1 AS threads FROM dbos.host_threads;
SELECT count(*) > 0 AS mounts FROM dbos.host_mounts;
RESET ROLE;

SET ROLE host_monitor;
SELECT count(*) > 1 AS others, count(path) > 1 AS paths, count(cmdline) > 1 AS cmdlines, count(cwd) > 1 AS cwds, count(root) > 1 AS roots,
	count(disk_bytes_read) > 1 AS read FROM dbos.host_processes;
SELECT count(DISTINCT pid) > 1 AS others_sockets FROM dbos.host_sockets;
RESET ROLE;

-- Inside a container.
SELECT parent AS pid, (SELECT start FROM dbos.host_processes WHERE pid = p.parent) FROM dbos.host_processes p WHERE pid = pg_backend_pid() \gset postmaster_
SELECT dbos.host_process_link(:postmaster_pid, :postmaster_start, 'cwd') IS NOT NULL AS link, dbos.host_process_id(:postmaster_pid, :postmaster_start, true, 0) IS NOT NULL AS id;
SELECT dbos.create_container('host_box');
\c -
SELECT dbos.enter_container('host_box');
SELECT count(*) FILTER (WHERE pid <> pg_backend_pid()) AS leaked, count(*) AS own FROM dbos.host_processes;
SELECT count(*) FILTER (WHERE pid <> pg_backend_pid()) AS leaked, count(*) > 0 AS own FROM dbos.host_threads;
SELECT count(*) FILTER (WHERE pid IS DISTINCT FROM pg_backend_pid()) AS leaked, count(*) > 0 AS own FROM dbos.host_sockets;
SELECT (SELECT count(*) FROM dbos.host_mounts) AS mounts, (SELECT count(*) FROM dbos.host_interfaces) AS interfaces;
SELECT (SELECT count(*) > 0 FROM dbos.host_cpus) AS cpus, (SELECT count(*) FROM dbos.host_memory) AS memory;
-- Nor by the functions below the views.
SELECT dbos.host_process_link(:postmaster_pid, :postmaster_start, 'cwd') AS link, dbos.host_process_cmdline(:postmaster_pid, :postmaster_start) AS cmdline,
	dbos.host_process_id(:postmaster_pid, :postmaster_start, true, 0) AS id, dbos.host_process_io(:postmaster_pid, :postmaster_start, true) AS io;
\c -
SELECT dbos.drop_container('host_box');
DROP ROLE host_nobody, host_user, host_monitor;
