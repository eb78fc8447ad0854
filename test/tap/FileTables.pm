# What must hold between the tables of files, whatever was done, killed or rolled back; without a function of the extension.
# SPDX-License-Identifier: PostgreSQL
package FileTables;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(make_file_problems);

# Makes a view public.file_problems, with a row for each thing that is wrong: what dbos.check_files() finds, and what is asked of the
# tables here in another way.
sub make_file_problems
{
	my ($node, $database) = @_;
	$node->safe_psql($database, q{
CREATE VIEW public.file_problems AS
WITH RECURSIVE i AS (SELECT * FROM dbos.inode WHERE died = 2147483647), e AS (SELECT * FROM dbos.directory_entry WHERE died = 2147483647),
x AS (SELECT * FROM dbos.extent WHERE died = 2147483647),
root AS (SELECT 1::bigint AS inode UNION SELECT root FROM dbos.file_system),
reach AS (SELECT inode FROM root UNION SELECT e.child FROM reach r JOIN e ON e.parent = r.inode),
named AS (SELECT DISTINCT c.chunk + n AS chunk FROM dbos.extent c, generate_series(0, c.count - 1) n),
-- Versions that have ended and that no snapshot shows may name chunks that are gone.
needed AS (SELECT DISTINCT c.chunk + n AS chunk FROM dbos.extent c, generate_series(0, c.count - 1) n
	WHERE c.died = 2147483647 OR EXISTS (SELECT FROM dbos.snapshot s WHERE s.epoch >= c.born AND s.epoch < c.died)),
freed AS (SELECT DISTINCT c.chunk + n AS chunk FROM dbos.freed_extent c, generate_series(0, c.count - 1) n),
usage AS (SELECT directory, owner, sum(names) AS names, sum(directories) AS directories, sum(bytes) AS bytes FROM (TABLE dbos.directory_usage UNION ALL TABLE dbos.directory_change) u GROUP BY 1, 2),
truth AS (SELECT e.parent AS directory, i.owner, count(*) FILTER (WHERE (i.mode >> 12 & 15) <> 4) AS names, count(*) FILTER (WHERE (i.mode >> 12 & 15) = 4) AS directories,
	coalesce(sum(i.size) FILTER (WHERE (i.mode >> 12 & 15) <> 4), 0) AS bytes FROM e JOIN i ON i.inode = e.child GROUP BY 1, 2),
owners AS (SELECT owner, sum(files) AS files, sum(file_bytes) AS bytes FROM (TABLE dbos.directory_usage UNION ALL TABLE dbos.directory_change) u GROUP BY 1),
owner_truth AS (SELECT owner, count(*) AS files, sum(size) AS bytes FROM i WHERE (i.mode >> 12 & 15) <> 4 GROUP BY 1)
SELECT 'name ' || e.parent || ' ' || encode(e.name, 'escape') AS object, 'has no inode' AS problem FROM e LEFT JOIN i ON i.inode = e.child WHERE i.inode IS NULL
UNION ALL SELECT 'name ' || e.parent || ' ' || encode(e.name, 'escape'), 'is in no directory' FROM e LEFT JOIN i ON i.inode = e.parent AND (i.mode >> 12 & 15) = 4 WHERE i.inode IS NULL
UNION ALL SELECT 'name ' || e.parent || ' ' || encode(e.name, 'escape'), 'has kind ' || e.kind FROM e JOIN i ON i.inode = e.child WHERE (i.mode >> 12 & 15) <> e.kind
UNION ALL SELECT 'inode ' || inode, 'cannot be reached' FROM (SELECT inode FROM i EXCEPT SELECT inode FROM reach EXCEPT SELECT inode FROM dbos.unlinked_file) i
UNION ALL SELECT 'inode ' || inode, 'has link count ' || link_count || ' and ' || n || ' names' FROM (SELECT i.inode, i.mode, i.link_count, count(e.child) AS n FROM i LEFT JOIN e ON e.child = i.inode GROUP BY 1, 2, 3) i WHERE (mode >> 12 & 15) <> 4 AND link_count <> n
UNION ALL SELECT 'inode ' || inode, 'is a directory with several names' FROM (SELECT i.inode, count(*) AS n FROM i JOIN e ON e.child = i.inode WHERE (i.mode >> 12 & 15) = 4 GROUP BY 1) i WHERE n > 1
UNION ALL SELECT 'inode ' || inode, 'has content of another size' FROM i WHERE storage = 'i' AND coalesce(length(content), 0) <> size
UNION ALL SELECT 'extent of ' || x.inode || ' at ' || x.start, 'is of no file' FROM x LEFT JOIN i ON i.inode = x.inode AND i.storage = 'c' WHERE i.inode IS NULL
UNION ALL SELECT 'extent of ' || x.inode || ' at ' || x.start, 'lies beyond the size' FROM x JOIN i ON i.inode = x.inode WHERE x.start + x.count > (i.size - 1) / 8192 + 1
UNION ALL SELECT 'extent of ' || x.inode || ' at ' || x.start, 'overlaps another' FROM x JOIN x y ON y.inode = x.inode AND y.start > x.start AND y.start < x.start + x.count
UNION ALL SELECT 'chunk ' || n.chunk, 'is missing' FROM (SELECT chunk FROM needed EXCEPT SELECT chunk FROM dbos.chunk) n
UNION ALL SELECT 'chunk ' || c.chunk, 'is of nobody' FROM (SELECT chunk FROM dbos.chunk EXCEPT SELECT chunk FROM named EXCEPT SELECT chunk FROM freed) c
UNION ALL SELECT 'chunk tail ' || t.chunk, 'has no chunk' FROM (SELECT chunk FROM dbos.chunk_tail EXCEPT SELECT chunk FROM dbos.chunk) t
UNION ALL SELECT 'chunk ' || c.chunk, 'is private and of several' FROM (SELECT c.chunk + n AS chunk, count(*), bool_or(NOT c.shared) AS private FROM x c, generate_series(0, c.count - 1) n GROUP BY 1) c WHERE c.count > 1 AND c.private
UNION ALL SELECT 'directory ' || coalesce(t.directory, u.directory) || ' of ' || coalesce(t.owner, u.owner), format('has names %s (%s), directories %s (%s), bytes %s (%s)', t.names, u.names, t.directories, u.directories, t.bytes, u.bytes)
	FROM truth t FULL JOIN usage u USING (directory, owner) WHERE (coalesce(t.names, 0), coalesce(t.directories, 0), coalesce(t.bytes, 0)) <> (coalesce(u.names, 0), coalesce(u.directories, 0), coalesce(u.bytes, 0))
UNION ALL SELECT 'owner ' || owner, format('has files %s (%s), bytes %s (%s)', t.files, u.files, t.bytes, u.bytes)
	FROM owner_truth t FULL JOIN owners u USING (owner) WHERE (coalesce(t.files, 0), coalesce(t.bytes, 0)) <> (coalesce(u.files, 0), coalesce(u.bytes, 0))
UNION ALL SELECT 'dbos.check_files(): ' || object, problem FROM dbos.check_files();
});
}

1;
