-- host.sql: the machine below the server, live, with osquery's names.
-- SPDX-License-Identifier: PostgreSQL

-- One process: what a query that does not ask for it should not pay for. STABLE, or the planner
-- would have to call them for every row of the view all the same.
CREATE FUNCTION dbos.host_process_link(pid integer, start bigint, link text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_link';
COMMENT ON FUNCTION dbos.host_process_link(integer, bigint, text) IS 'where exe, cwd or root of a process points to, for dbos_monitor; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_cmdline(pid integer, start bigint) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_cmdline';
COMMENT ON FUNCTION dbos.host_process_cmdline(integer, bigint) IS 'arguments of a process, for dbos_monitor; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_id(pid integer, start bigint, is_user boolean, which integer) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_id';
COMMENT ON FUNCTION dbos.host_process_id(integer, bigint, boolean, integer) IS 'user or group of a process: 0 real, 1 effective, 2 saved; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_io(pid integer, start bigint, written boolean) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_io';
COMMENT ON FUNCTION dbos.host_process_io(integer, bigint, boolean) IS 'bytes that a process read from disk or wrote to it, for dbos_monitor; read dbos.host_processes';

CREATE FUNCTION dbos.host_list_processes(OUT pid integer,
		OUT name text,
		OUT state text,
		OUT resident_size bigint,
		OUT total_size bigint,
		OUT user_time bigint,
		OUT system_time bigint,
		OUT start_time bigint,
		OUT start bigint,
		OUT parent integer,
		OUT pgroup integer,
		OUT threads integer,
		OUT nice integer)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1300 ROWS 130 AS 'MODULE_PATHNAME', 'dbos_host_list_processes';
COMMENT ON FUNCTION dbos.host_list_processes() IS 'read dbos.host_processes';
CREATE VIEW dbos.host_processes AS
	SELECT p.pid, p.name, dbos.host_process_link(p.pid, p.start, 'exe') AS path, dbos.host_process_cmdline(p.pid, p.start) AS cmdline, p.state, dbos.host_process_link(p.pid, p.start, 'cwd') AS cwd, dbos.host_process_link(p.pid, p.start, 'root') AS root, dbos.host_process_id(p.pid, p.start, true, 0) AS uid, dbos.host_process_id(p.pid, p.start, false, 0) AS gid, dbos.host_process_id(p.pid, p.start, true, 1) AS euid, dbos.host_process_id(p.pid, p.start, false, 1) AS egid, dbos.host_process_id(p.pid, p.start, true, 2) AS suid, dbos.host_process_id(p.pid, p.start, false, 2) AS sgid, p.resident_size, p.total_size, p.user_time, p.system_time, dbos.host_process_io(p.pid, p.start, false) AS disk_bytes_read, dbos.host_process_io(p.pid, p.start, true) AS disk_bytes_written, p.start_time, p.start, p.parent, p.pgroup, p.threads, p.nice
	FROM dbos.host_list_processes() p;
COMMENT ON VIEW dbos.host_processes IS 'a row of each process that the machine runs; in a container, of the session''s own. Example: SELECT pid, name, resident_size FROM dbos.host_processes ORDER BY resident_size DESC LIMIT 5;';
COMMENT ON COLUMN dbos.host_processes.pid IS 'process id';
COMMENT ON COLUMN dbos.host_processes.name IS 'name of the program, as the process gives it; bytes that are no text are shown as \xHH';
COMMENT ON COLUMN dbos.host_processes.path IS 'the program''s file; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.cmdline IS 'arguments, the first 4 kB; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.state IS 'R running, S sleeping, D waiting for a device, T stopped, Z ended and not waited for, I idle';
COMMENT ON COLUMN dbos.host_processes.cwd IS 'working directory; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.root IS 'root directory; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.uid IS 'user';
COMMENT ON COLUMN dbos.host_processes.gid IS 'group';
COMMENT ON COLUMN dbos.host_processes.euid IS 'effective user';
COMMENT ON COLUMN dbos.host_processes.egid IS 'effective group';
COMMENT ON COLUMN dbos.host_processes.suid IS 'saved user';
COMMENT ON COLUMN dbos.host_processes.sgid IS 'saved group';
COMMENT ON COLUMN dbos.host_processes.resident_size IS 'bytes of memory in use, shared ones too';
COMMENT ON COLUMN dbos.host_processes.total_size IS 'bytes of address space';
COMMENT ON COLUMN dbos.host_processes.user_time IS 'CPU time in the program, in milliseconds';
COMMENT ON COLUMN dbos.host_processes.system_time IS 'CPU time in the kernel, in milliseconds';
COMMENT ON COLUMN dbos.host_processes.disk_bytes_read IS 'bytes that came from a disk; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.disk_bytes_written IS 'bytes that went to a disk; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.start_time IS 'when it started, in seconds since 1970';
COMMENT ON COLUMN dbos.host_processes.start IS 'when it started, in clock ticks since boot: with pid it names a process for good';
COMMENT ON COLUMN dbos.host_processes.parent IS 'process id of the parent';
COMMENT ON COLUMN dbos.host_processes.pgroup IS 'process group';
COMMENT ON COLUMN dbos.host_processes.threads IS 'number of threads';
COMMENT ON COLUMN dbos.host_processes.nice IS 'nice value';

CREATE FUNCTION dbos.host_list_threads(OUT pid integer,
		OUT tid integer,
		OUT name text,
		OUT state text,
		OUT user_time bigint,
		OUT system_time bigint,
		OUT start_time bigint,
		OUT nice integer,
		OUT processor integer)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 3000 ROWS 300 AS 'MODULE_PATHNAME', 'dbos_host_list_threads';
COMMENT ON FUNCTION dbos.host_list_threads() IS 'read dbos.host_threads';
CREATE VIEW dbos.host_threads AS
	SELECT p.pid, p.tid, p.name, p.state, p.user_time, p.system_time, p.start_time, p.nice, p.processor
	FROM dbos.host_list_threads() p;
COMMENT ON VIEW dbos.host_threads IS 'a row of each thread of each process; in a container, of the session''s own process. Example: SELECT pid, count(*) AS threads FROM dbos.host_threads GROUP BY pid ORDER BY threads DESC LIMIT 5;';
COMMENT ON COLUMN dbos.host_threads.pid IS 'process id';
COMMENT ON COLUMN dbos.host_threads.tid IS 'thread id';
COMMENT ON COLUMN dbos.host_threads.name IS 'name of the thread';
COMMENT ON COLUMN dbos.host_threads.state IS 'as in dbos.host_processes';
COMMENT ON COLUMN dbos.host_threads.user_time IS 'CPU time in the program, in milliseconds';
COMMENT ON COLUMN dbos.host_threads.system_time IS 'CPU time in the kernel, in milliseconds';
COMMENT ON COLUMN dbos.host_threads.start_time IS 'when it started, in seconds since 1970';
COMMENT ON COLUMN dbos.host_threads.nice IS 'nice value';
COMMENT ON COLUMN dbos.host_threads.processor IS 'CPU that it ran on last';

CREATE FUNCTION dbos.host_list_sockets(OUT pid integer,
		OUT fd integer,
		OUT socket bigint,
		OUT family integer,
		OUT protocol integer,
		OUT local_address text,
		OUT remote_address text,
		OUT local_port integer,
		OUT remote_port integer,
		OUT path text,
		OUT state text)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 100 AS 'MODULE_PATHNAME', 'dbos_host_list_sockets';
COMMENT ON FUNCTION dbos.host_list_sockets() IS 'read dbos.host_sockets';
CREATE VIEW dbos.host_sockets AS
	SELECT p.pid, p.fd, p.socket, p.family, p.protocol, p.local_address, p.remote_address, p.local_port, p.remote_port, p.path, p.state
	FROM dbos.host_list_sockets() p;
COMMENT ON VIEW dbos.host_sockets IS 'a row of each open socket and who has it; of the session''s own process for who is not in dbos_monitor, and in a container. Example: SELECT pid, local_address, local_port FROM dbos.host_sockets WHERE state = ''LISTEN'';';
COMMENT ON COLUMN dbos.host_sockets.pid IS 'process id; NULL where the server may not look';
COMMENT ON COLUMN dbos.host_sockets.fd IS 'file descriptor there';
COMMENT ON COLUMN dbos.host_sockets.socket IS 'inode';
COMMENT ON COLUMN dbos.host_sockets.family IS '1 UNIX, 2 IPv4, 10 IPv6';
COMMENT ON COLUMN dbos.host_sockets.protocol IS '6 TCP, 17 UDP, 0 UNIX';
COMMENT ON COLUMN dbos.host_sockets.local_address IS 'own address';
COMMENT ON COLUMN dbos.host_sockets.remote_address IS 'address of the other end';
COMMENT ON COLUMN dbos.host_sockets.local_port IS 'own port';
COMMENT ON COLUMN dbos.host_sockets.remote_port IS 'port of the other end';
COMMENT ON COLUMN dbos.host_sockets.path IS 'file of a UNIX socket';
COMMENT ON COLUMN dbos.host_sockets.state IS 'of TCP: LISTEN, ESTABLISHED and so on';

CREATE FUNCTION dbos.host_list_mounts(OUT device text,
		OUT path text,
		OUT type text,
		OUT flags text,
		OUT blocks_size bigint,
		OUT blocks bigint,
		OUT blocks_free bigint,
		OUT blocks_available bigint,
		OUT inodes bigint,
		OUT inodes_free bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 200 ROWS 20 AS 'MODULE_PATHNAME', 'dbos_host_list_mounts';
COMMENT ON FUNCTION dbos.host_list_mounts() IS 'read dbos.host_mounts';
CREATE VIEW dbos.host_mounts AS
	SELECT p.device, p.path, p.type, p.flags, p.blocks_size, p.blocks, p.blocks_free, p.blocks_available, p.inodes, p.inodes_free
	FROM dbos.host_list_mounts() p;
COMMENT ON VIEW dbos.host_mounts IS 'a row of each mounted file system; none in a container. Example: SELECT path, blocks_available * blocks_size AS bytes_left FROM dbos.host_mounts ORDER BY 2;';
COMMENT ON COLUMN dbos.host_mounts.device IS 'what is mounted';
COMMENT ON COLUMN dbos.host_mounts.path IS 'where';
COMMENT ON COLUMN dbos.host_mounts.type IS 'kind of file system';
COMMENT ON COLUMN dbos.host_mounts.flags IS 'options';
COMMENT ON COLUMN dbos.host_mounts.blocks_size IS 'bytes of a block; NULL, as the sizes below, where another machine or program would have to be asked, or a later mount hides this one';
COMMENT ON COLUMN dbos.host_mounts.blocks IS 'blocks in all';
COMMENT ON COLUMN dbos.host_mounts.blocks_free IS 'blocks that are free';
COMMENT ON COLUMN dbos.host_mounts.blocks_available IS 'blocks that an ordinary user can have';
COMMENT ON COLUMN dbos.host_mounts.inodes IS 'inodes in all';
COMMENT ON COLUMN dbos.host_mounts.inodes_free IS 'inodes that are free';

CREATE FUNCTION dbos.host_list_cpus(OUT core integer,
		OUT model text,
		OUT mhz real,
		OUT "user" bigint,
		OUT nice bigint,
		OUT system bigint,
		OUT idle bigint,
		OUT iowait bigint,
		OUT irq bigint,
		OUT softirq bigint,
		OUT steal bigint,
		OUT guest bigint,
		OUT guest_nice bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 80 ROWS 8 AS 'MODULE_PATHNAME', 'dbos_host_list_cpus';
COMMENT ON FUNCTION dbos.host_list_cpus() IS 'read dbos.host_cpus';
CREATE VIEW dbos.host_cpus AS
	SELECT p.core, p.model, p.mhz, p."user", p.nice, p.system, p.idle, p.iowait, p.irq, p.softirq, p.steal, p.guest, p.guest_nice
	FROM dbos.host_list_cpus() p;
COMMENT ON VIEW dbos.host_cpus IS 'a row of each logical CPU, with its time since boot in milliseconds. Example: SELECT core, idle FROM dbos.host_cpus;';
COMMENT ON COLUMN dbos.host_cpus.core IS 'number of the CPU';
COMMENT ON COLUMN dbos.host_cpus.model IS 'what it is';
COMMENT ON COLUMN dbos.host_cpus.mhz IS 'clock rate now';
COMMENT ON COLUMN dbos.host_cpus."user" IS 'in programs';
COMMENT ON COLUMN dbos.host_cpus.nice IS 'in programs of low priority';
COMMENT ON COLUMN dbos.host_cpus.system IS 'in the kernel';
COMMENT ON COLUMN dbos.host_cpus.idle IS 'without work';
COMMENT ON COLUMN dbos.host_cpus.iowait IS 'without work while a disk was waited for';
COMMENT ON COLUMN dbos.host_cpus.irq IS 'in interrupts';
COMMENT ON COLUMN dbos.host_cpus.softirq IS 'in deferred interrupts';
COMMENT ON COLUMN dbos.host_cpus.steal IS 'taken by other virtual machines';
COMMENT ON COLUMN dbos.host_cpus.guest IS 'in virtual machines';
COMMENT ON COLUMN dbos.host_cpus.guest_nice IS 'in virtual machines of low priority';

CREATE FUNCTION dbos.host_list_memory(OUT memory_total bigint,
		OUT memory_free bigint,
		OUT memory_available bigint,
		OUT buffers bigint,
		OUT cached bigint,
		OUT swap_cached bigint,
		OUT active bigint,
		OUT inactive bigint,
		OUT swap_total bigint,
		OUT swap_free bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10 ROWS 1 AS 'MODULE_PATHNAME', 'dbos_host_list_memory';
COMMENT ON FUNCTION dbos.host_list_memory() IS 'read dbos.host_memory';
CREATE VIEW dbos.host_memory AS
	SELECT p.memory_total, p.memory_free, p.memory_available, p.buffers, p.cached, p.swap_cached, p.active, p.inactive, p.swap_total, p.swap_free
	FROM dbos.host_list_memory() p;
COMMENT ON VIEW dbos.host_memory IS 'a row of the machine''s memory: one row, in bytes. Example: SELECT memory_available FROM dbos.host_memory;';
COMMENT ON COLUMN dbos.host_memory.memory_total IS 'all of it';
COMMENT ON COLUMN dbos.host_memory.memory_free IS 'used for nothing';
COMMENT ON COLUMN dbos.host_memory.memory_available IS 'that programs can have without swapping';
COMMENT ON COLUMN dbos.host_memory.buffers IS 'of file system structures';
COMMENT ON COLUMN dbos.host_memory.cached IS 'of files';
COMMENT ON COLUMN dbos.host_memory.swap_cached IS 'swapped out and still here';
COMMENT ON COLUMN dbos.host_memory.active IS 'used lately';
COMMENT ON COLUMN dbos.host_memory.inactive IS 'not used lately';
COMMENT ON COLUMN dbos.host_memory.swap_total IS 'swap space';
COMMENT ON COLUMN dbos.host_memory.swap_free IS 'swap space left';

CREATE FUNCTION dbos.host_list_disks(OUT name text,
		OUT model text,
		OUT size bigint,
		OUT block_size bigint,
		OUT reads bigint,
		OUT bytes_read bigint,
		OUT read_time bigint,
		OUT writes bigint,
		OUT bytes_written bigint,
		OUT write_time bigint,
		OUT in_flight bigint,
		OUT busy_time bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 80 ROWS 8 AS 'MODULE_PATHNAME', 'dbos_host_list_disks';
COMMENT ON FUNCTION dbos.host_list_disks() IS 'read dbos.host_disks';
CREATE VIEW dbos.host_disks AS
	SELECT p.name, p.model, p.size, p.block_size, p.reads, p.bytes_read, p.read_time, p.writes, p.bytes_written, p.write_time, p.in_flight, p.busy_time
	FROM dbos.host_list_disks() p;
COMMENT ON VIEW dbos.host_disks IS 'a row of each block device and partition, with what went through it since boot. Example: SELECT name, bytes_written FROM dbos.host_disks ORDER BY bytes_written DESC;';
COMMENT ON COLUMN dbos.host_disks.name IS 'name of the device';
COMMENT ON COLUMN dbos.host_disks.model IS 'what it is';
COMMENT ON COLUMN dbos.host_disks.size IS 'bytes (in osquery: blocks of 512)';
COMMENT ON COLUMN dbos.host_disks.block_size IS 'bytes of a block; of whole devices';
COMMENT ON COLUMN dbos.host_disks.reads IS 'reads completed';
COMMENT ON COLUMN dbos.host_disks.bytes_read IS 'bytes read';
COMMENT ON COLUMN dbos.host_disks.read_time IS 'milliseconds of reading';
COMMENT ON COLUMN dbos.host_disks.writes IS 'writes completed';
COMMENT ON COLUMN dbos.host_disks.bytes_written IS 'bytes written';
COMMENT ON COLUMN dbos.host_disks.write_time IS 'milliseconds of writing';
COMMENT ON COLUMN dbos.host_disks.in_flight IS 'requests under way';
COMMENT ON COLUMN dbos.host_disks.busy_time IS 'milliseconds with requests under way';

CREATE FUNCTION dbos.host_list_interfaces(OUT interface text,
		OUT mac text,
		OUT type integer,
		OUT mtu integer,
		OUT flags integer,
		OUT link_speed integer,
		OUT addresses text[],
		OUT ipackets bigint,
		OUT opackets bigint,
		OUT ibytes bigint,
		OUT obytes bigint,
		OUT ierrors bigint,
		OUT oerrors bigint,
		OUT idrops bigint,
		OUT odrops bigint,
		OUT collisions bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 40 ROWS 4 AS 'MODULE_PATHNAME', 'dbos_host_list_interfaces';
COMMENT ON FUNCTION dbos.host_list_interfaces() IS 'read dbos.host_interfaces';
CREATE VIEW dbos.host_interfaces AS
	SELECT p.interface, p.mac, p.type, p.mtu, p.flags, p.link_speed, p.addresses, p.ipackets, p.opackets, p.ibytes, p.obytes, p.ierrors, p.oerrors, p.idrops, p.odrops, p.collisions
	FROM dbos.host_list_interfaces() p;
COMMENT ON VIEW dbos.host_interfaces IS 'a row of each network interface, with its counters; none in a container. Example: SELECT interface, addresses, ibytes, obytes FROM dbos.host_interfaces;';
COMMENT ON COLUMN dbos.host_interfaces.interface IS 'name';
COMMENT ON COLUMN dbos.host_interfaces.mac IS 'hardware address';
COMMENT ON COLUMN dbos.host_interfaces.type IS 'kind, as in the kernel''s if_arp.h';
COMMENT ON COLUMN dbos.host_interfaces.mtu IS 'largest packet';
COMMENT ON COLUMN dbos.host_interfaces.flags IS 'as in the kernel''s if.h';
COMMENT ON COLUMN dbos.host_interfaces.link_speed IS 'Mbit/s; NULL or -1 where there is none';
COMMENT ON COLUMN dbos.host_interfaces.addresses IS 'IP addresses';
COMMENT ON COLUMN dbos.host_interfaces.ipackets IS 'packets in';
COMMENT ON COLUMN dbos.host_interfaces.opackets IS 'packets out';
COMMENT ON COLUMN dbos.host_interfaces.ibytes IS 'bytes in';
COMMENT ON COLUMN dbos.host_interfaces.obytes IS 'bytes out';
COMMENT ON COLUMN dbos.host_interfaces.ierrors IS 'errors in';
COMMENT ON COLUMN dbos.host_interfaces.oerrors IS 'errors out';
COMMENT ON COLUMN dbos.host_interfaces.idrops IS 'dropped on the way in';
COMMENT ON COLUMN dbos.host_interfaces.odrops IS 'dropped on the way out';
COMMENT ON COLUMN dbos.host_interfaces.collisions IS 'collisions';

REVOKE ALL ON FUNCTION dbos.host_process_link(integer, bigint, text),
	dbos.host_process_cmdline(integer, bigint),
	dbos.host_process_id(integer, bigint, boolean, integer),
	dbos.host_process_io(integer, bigint, boolean),
	dbos.host_list_processes(),
	dbos.host_list_threads(),
	dbos.host_list_sockets(),
	dbos.host_list_mounts(),
	dbos.host_list_cpus(),
	dbos.host_list_memory(),
	dbos.host_list_disks(),
	dbos.host_list_interfaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.host_process_link(integer, bigint, text),
	dbos.host_process_cmdline(integer, bigint),
	dbos.host_process_id(integer, bigint, boolean, integer),
	dbos.host_process_io(integer, bigint, boolean),
	dbos.host_list_processes(),
	dbos.host_list_threads(),
	dbos.host_list_sockets(),
	dbos.host_list_mounts(),
	dbos.host_list_cpus(),
	dbos.host_list_memory(),
	dbos.host_list_disks(),
	dbos.host_list_interfaces()
	TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.host_processes, dbos.host_threads, dbos.host_sockets, dbos.host_mounts, dbos.host_cpus, dbos.host_memory, dbos.host_disks, dbos.host_interfaces FROM PUBLIC;
GRANT SELECT ON dbos.host_processes, dbos.host_threads, dbos.host_sockets, dbos.host_mounts, dbos.host_cpus, dbos.host_memory, dbos.host_disks, dbos.host_interfaces
	TO dbos_user, dbos_monitor, dbos_admin;
