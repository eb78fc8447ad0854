-- What a mount calls: files by the numbers of inodes, by names in directories and by handles, with the same rights as by paths.
-- SPDX-License-Identifier: PostgreSQL
-- Numbers of inodes are in messages, so only codes are shown.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
CREATE ROLE regress_fi_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fi_bob LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fi_group;
GRANT regress_fi_group TO regress_fi_ann;
CREATE SCHEMA regress_fi;
GRANT USAGE ON SCHEMA regress_fi TO PUBLIC;
SET search_path = regress_fi, pg_catalog;
\set place 'path text DEFAULT NULL, handle bigint DEFAULT 0, number bigint DEFAULT 0, name bytea DEFAULT \'\''
CREATE FUNCTION find(:place, follow boolean DEFAULT true, OUT inode bigint, OUT kind text, OUT mode text, OUT links integer, OUT size bigint)
	LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_find';
CREATE FUNCTION allows(:place, want integer DEFAULT 0) RETURNS boolean LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_allows';
CREATE FUNCTION read_link(:place) RETURNS bytea LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_read_link';
CREATE FUNCTION scan(:place, after bytea DEFAULT '', most integer DEFAULT 1000, OUT entry bytea, OUT inode bigint, OUT kind text) RETURNS SETOF record
	LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_scan';
CREATE FUNCTION make(:place, mode integer DEFAULT 0) RETURNS bigint LANGUAGE c AS '$libdir/dbos', 'dbos_test_make';
CREATE FUNCTION symlink(:place, target bytea DEFAULT '') RETURNS bigint LANGUAGE c AS '$libdir/dbos', 'dbos_test_symlink';
CREATE FUNCTION link(:place, new_number bigint DEFAULT 0, new_name bytea DEFAULT '') RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_link';
CREATE FUNCTION unlink(:place) RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_unlink';
CREATE FUNCTION rmdir(:place) RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_rmdir';
CREATE FUNCTION rename(:place, new_number bigint DEFAULT 0, new_name bytea DEFAULT '', flags integer DEFAULT 0) RETURNS void
	LANGUAGE c AS '$libdir/dbos', 'dbos_test_rename';
CREATE FUNCTION open(:place, flags integer DEFAULT 1, mode integer DEFAULT 0) RETURNS bigint LANGUAGE c AS '$libdir/dbos', 'dbos_test_open';
CREATE FUNCTION truncate(:place, new_size bigint DEFAULT 0) RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_truncate';
CREATE FUNCTION part(:place, "from" bigint DEFAULT 0, OUT start bigint, OUT length bigint, OUT hole boolean) LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_part';
CREATE FUNCTION punch_hole(:place, start bigint DEFAULT 0, length bigint DEFAULT 0) RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_punch_hole';
CREATE FUNCTION file_system_use(OUT files bigint, OUT directories bigint, OUT bytes bigint, OUT max_files bigint, OUT max_bytes bigint, OUT available_bytes bigint)
	LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_file_system_use';
CREATE FUNCTION chmod(:place, mode integer DEFAULT 0) RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_chmod';
CREATE FUNCTION chown(:place, owner regrole DEFAULT 0::oid::regrole, "group" regrole DEFAULT 0::oid::regrole) RETURNS void
	LANGUAGE c AS '$libdir/dbos', 'dbos_test_chown';
CREATE FUNCTION set_times(:place, accessed bigint DEFAULT NULL, modified bigint DEFAULT NULL) RETURNS void
	LANGUAGE c AS '$libdir/dbos', 'dbos_test_set_times';
CREATE FUNCTION set_xattr(:place, attribute text DEFAULT '', value bytea DEFAULT '', flags integer DEFAULT 0) RETURNS void
	LANGUAGE c AS '$libdir/dbos', 'dbos_test_set_xattr';
CREATE FUNCTION get_xattr(:place, attribute text DEFAULT '') RETURNS bytea LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_get_xattr';
CREATE FUNCTION remove_xattr(:place, attribute text DEFAULT '') RETURNS void LANGUAGE c AS '$libdir/dbos', 'dbos_test_remove_xattr';
CREATE FUNCTION list_xattrs(:place, OUT attribute bytea, OUT size integer) RETURNS SETOF record
	LANGUAGE c STABLE AS '$libdir/dbos', 'dbos_test_list_xattrs';
-- Modes as C has them.
\set directory 16384
\set file 32768

SELECT dbos.mkdir('/regress_fi'), dbos.chmod('/regress_fi', '0777');
\c - regress_fi_ann
SET search_path = regress_fi, pg_catalog;
\set VERBOSITY sqlstate
-- ---- looking: by path, name and number ----
SELECT (find('/regress_fi')).inode AS top \gset
SELECT find('/') = find(), find() = find(number => (find('/')).inode);
SELECT dbos.write_text('/regress_fi/note', 'content'), dbos.mkdir('/regress_fi/d'), dbos.write_text('/regress_fi/d/in', '1'),
	dbos.symlink('note', '/regress_fi/to_note'), dbos.symlink('nowhere', '/regress_fi/to_nowhere');
SELECT (find('/regress_fi/note')).inode = (dbos.stat('/regress_fi/note')).inode AS same, find('/regress_fi/note') = find(number => :top, name => 'note') AS by_name,
	find('/regress_fi/note') = find(number => (find('/regress_fi/note')).inode) AS by_number;
SELECT kind, mode, links, size FROM find(number => :top, name => 'note');
SELECT kind, mode, links, size FROM find(number => :top, name => 'd');
-- A symbolic link at the end of a path is followed or not; a name never is.
SELECT kind, size FROM find('/regress_fi/to_note');
SELECT kind, size FROM find('/regress_fi/to_note', follow => false);
SELECT kind, size FROM find(number => :top, name => 'to_note');
SELECT read_link('/regress_fi/to_note'), read_link(number => :top, name => 'to_nowhere'), read_link(number => (find('/regress_fi/to_note', follow => false)).inode);
SELECT read_link(number => :top, name => 'note');
-- What is not there is told, wherever on the way it ends.
SELECT find('/regress_fi/none') IS NULL, find('/regress_fi/none/at/all') IS NULL, find('/regress_fi/to_nowhere') IS NULL, find('/regress_fi/to_nowhere/x') IS NULL,
	find(number => :top, name => 'none') IS NULL, find(number => 9223372036854775807) IS NULL, find(number => -1) IS NULL,
	find(number => 9223372036854775807, name => 'x') IS NULL;
SELECT find('/regress_fi/note/x');
SELECT find(number => (find('/regress_fi/note')).inode, name => 'x');
-- Dots.
SELECT (find(number => :top, name => '.')).inode = :top, (find(number => (find('/regress_fi/d')).inode, name => '..')).inode = :top,
	(find(name => '..')).inode = (find('/')).inode, (find(number => :top, name => '...')).inode IS NULL, (find(number => :top, name => '.d')).inode IS NULL;
-- What is no name.
SELECT find(number => :top, name => 'd/in');
SELECT find(number => :top, name => '\x6400');
SELECT find(number => :top, name => convert_to(repeat('x', 256), 'UTF8'));
SELECT find(number => :top, name => convert_to(repeat('x', 255), 'UTF8')) IS NULL;
SELECT allows('/regress_fi/note', want => 4), allows('/regress_fi/note', want => 6), allows('/regress_fi/note', want => 1), allows('/regress_fi/note', want => 5);

-- ---- directories, in parts ----
SELECT make(number => (find('/regress_fi/d')).inode, name => n::bytea, mode => :file + 420) > 0 FROM unnest(ARRAY['a', 'b', 'bb', '\x62ff', 'c']) n;
SELECT encode(entry, 'escape'), kind FROM scan('/regress_fi/d');
SELECT encode(entry, 'escape') FROM scan('/regress_fi/d', most => 2);
SELECT encode(entry, 'escape') FROM scan('/regress_fi/d', after => 'b', most => 2);
SELECT encode(entry, 'escape') FROM scan('/regress_fi/d', after => '\x62ff');
SELECT encode(entry, 'escape') FROM scan('/regress_fi/d', after => 'ba');
SELECT count(*) FROM scan('/regress_fi/d', after => 'in');
SELECT encode(entry, 'escape'), kind, inode = (find(number => :top, name => entry, follow => false)).inode AS same FROM scan(number => :top);
-- The one that has been read last may be gone.
SELECT unlink(number => (find('/regress_fi/d')).inode, name => 'bb');
SELECT encode(entry, 'escape') FROM scan('/regress_fi/d', after => 'bb');
SELECT * FROM scan('/regress_fi/note');
SELECT * FROM scan('/regress_fi/none');
SELECT * FROM scan(number => 9223372036854775807);

-- ---- names are made, changed and removed ----
SELECT make(number => :top, name => 'made', mode => :directory + 448) AS made \gset
SELECT kind, mode, links FROM find(number => :made);
SELECT make(number => :made, name => 'f', mode => :file + 438) AS f \gset
SELECT kind, mode, links, size FROM find('/regress_fi/made/f');
SELECT make(number => :made, name => 'f', mode => :file);
SELECT make(number => :made, name => '.', mode => :directory);
SELECT make(number => :made, mode => :directory);
SELECT make(number => :made, name => 'pipe', mode => 4096);
SELECT make(number => :made, name => 'odd', mode => :file + 65536);
SELECT make(number => :f, name => 'x', mode => :file);
SELECT make(number => 9223372036854775807, name => 'x', mode => :file);
SELECT make('/regress_fi/made/by_path', mode => :file + 384) AS by_path, symlink(number => :made, name => 's', target => 'f') AS s \gset
SELECT :by_path = (find(number => :made, name => 'by_path')).inode AS by_path, :s = (find('/regress_fi/made/s', follow => false)).inode AS s;
SELECT symlink(number => :made, name => 's', target => 'f');
SELECT symlink(number => :made, name => 't');
SELECT link(number => :f, new_number => :top, new_name => 'f2'), link(number => :made, name => 's', new_number => :made, new_name => 's2');
SELECT kind, links, inode = :f FROM find('/regress_fi/f2');
SELECT link(number => :f, new_number => :top, new_name => 'f2');
SELECT link(number => :made, new_number => :top, new_name => 'made2');
SELECT rename(number => :made, name => 'f', new_number => :top, new_name => 'note', flags => 1);
SELECT rename(number => :made, name => 's', new_number => :made, new_name => 's2', flags => 1);
SELECT rename(number => :made, name => 'f', new_number => :top, new_name => 'f2', flags => 1);
SELECT rename(number => :made, name => 'f', new_number => :top, new_name => 'f3', flags => 1);
SELECT rename(number => :top, name => 'f3', new_number => :made, new_name => 's2');
SELECT rename(number => :top, name => 'made', new_number => :made, new_name => 'itself');
SELECT rename(number => :f, new_number => :made, new_name => 'x');
SELECT rename(number => :made, name => '..', new_number => :made, new_name => 'x');
SELECT unlink(number => :made, name => 's'), unlink(number => :made, name => 'by_path');
SELECT unlink(number => :f);
SELECT unlink(number => :made, name => 'none');
SELECT unlink(number => :top, name => 'made');
SELECT rmdir(number => :top, name => 'made');
SELECT rmdir(number => :top, name => 'note');
SELECT rmdir(number => :made);
SELECT unlink(number => :made, name => 's2'), unlink(number => :top, name => 'f2');
SELECT rmdir(number => :top, name => 'made');
SELECT find(number => :f) IS NULL, find(number => :made) IS NULL, make(number => :top, name => 'later', mode => :file) > 0;
SELECT make(number => :made, name => 'x', mode => :file);
SELECT encode(entry, 'escape'), kind FROM scan(number => :top);

-- ---- open files by number, and what they are like by handle ----
SELECT inode AS note FROM find('/regress_fi/note') \gset
SELECT open(number => :note) AS r, open(number => :note, flags => 3) AS rw \gset
SELECT encode(dbos.read_open_file(:r), 'escape'), dbos.write_open_file(:rw, 7, '!'), dbos.read_open_file(:rw, 7);
SELECT open(number => :top, name => 'new', flags => 2 + 8 + 16, mode => 384) AS new \gset
SELECT kind, mode FROM find(handle => :new);
SELECT open(number => :top, name => 'new', flags => 2 + 8 + 16);
SELECT open(number => :top, name => 'none');
SELECT open(number => :top);
SELECT open(number => :top, name => 'to_note');
SELECT open(number => 9223372036854775807, flags => 9);
SELECT open(number => :top, name => 'odd', flags => 9, mode => 65536);
SELECT find(handle => :rw) = find(number => :note) AS same;
SELECT find(handle => 9223372036854775807);
SELECT chmod(handle => :r, mode => 384), set_times(handle => :r, modified => 1000000001), set_times(handle => :r, accessed => 5);
SELECT mode FROM find(number => :note);
SELECT accessed, modified FROM dbos.file_times('/regress_fi/note');
SELECT chown(handle => :r, "group" => 'regress_fi_group');
SELECT owner, "group" FROM dbos.stat('/regress_fi/note');
SELECT chown(handle => :r, owner => 'regress_fi_bob');
SELECT chmod(handle => :r, mode => -1);
SELECT set_times(handle => :r);
SELECT modified > 1000000001 AND accessed > 5 AS now FROM dbos.file_times('/regress_fi/note');
SELECT set_xattr(handle => :r, attribute => 'user.a', value => 'one', flags => 1), set_xattr(number => :note, attribute => 'user.b', value => 'three');
SELECT set_xattr(number => :note, attribute => 'user.a', value => 'two', flags => 1);
SELECT set_xattr(number => :note, attribute => 'user.c', value => 'two', flags => 2);
SELECT encode(attribute, 'escape'), size FROM list_xattrs(number => :note);
SELECT encode(get_xattr(number => :note, attribute => 'user.a'), 'escape'), encode(get_xattr(handle => :r, attribute => 'user.b'), 'escape'),
	get_xattr(handle => :r, attribute => 'user.c') IS NULL;
SELECT remove_xattr(handle => :r, attribute => 'user.a');
SELECT encode(attribute, 'escape'), size FROM list_xattrs('/regress_fi/note');
-- Of a symbolic link its own, by its number.
SELECT set_times(number => :top, name => 'to_note', modified => 77);
SELECT modified FROM dbos.file_times('/regress_fi/to_note');
-- Without a name it is there until it is closed, by number too, and gets no new one.
SELECT unlink(number => :top, name => 'note');
SELECT links, mode FROM find(handle => :rw);
SELECT open(number => :note) AS again, links FROM find(number => :note) \gset
SELECT link(number => :note, new_number => :top, new_name => 'back');
SELECT dbos.close_file(:r), dbos.close_file(:rw);
SELECT encode(dbos.read_open_file(:again), 'escape');
SELECT dbos.close_file(:again), dbos.close_file(:new);
SELECT find(number => :note) IS NULL;
SELECT open(number => :note);
SELECT chmod(handle => :r, mode => 0);

-- ---- size and holes, by number and by handle ----
SELECT dbos.write_file('/regress_fi/sparse', convert_to(repeat('x', 30000), 'UTF8'));
SELECT inode AS sparse FROM find('/regress_fi/sparse') \gset
SELECT open(number => :sparse, flags => 1) AS r, open(number => :sparse, flags => 2) AS w \gset
SELECT truncate(number => :sparse, new_size => 100000), truncate(handle => :w, new_size => 200000);
SELECT size FROM find(handle => :r);
SELECT truncate(handle => :r, new_size => 1);
SELECT truncate(number => :top, new_size => 1);
SELECT punch_hole(handle => :w, start => 8192, length => 8192), punch_hole(number => :sparse, start => 24000, length => 1);
SELECT punch_hole(handle => :r, start => 8192, length => 8192);
SELECT punch_hole(number => :top, start => 8192, length => 8192);
SELECT f AS "from", p.* FROM unnest(ARRAY[0, 8191, 8192, 10000, 16384, 30000, 40000, 199999, 200000, 9223372036854775807]) f, part(handle => :w, "from" => f) p;
SELECT f AS "from", p.* FROM unnest(ARRAY[0, 8192]) f, part(number => :sparse, "from" => f) p;
SELECT part(number => :sparse, "from" => -1);
SELECT part(number => :top);
SELECT dbos.close_file(:r), dbos.close_file(:w);

-- ---- rights ----
SELECT dbos.write_text('/regress_fi/mine', 'mine'), chmod('/regress_fi/mine', mode => 384), dbos.mkdir('/regress_fi/closed'), dbos.write_text('/regress_fi/closed/in', 'x'),
	chmod('/regress_fi/closed', mode => 448), dbos.mkdir('/regress_fi/listed'), dbos.write_text('/regress_fi/listed/in', 'x'), chmod('/regress_fi/listed', mode => 484),
	dbos.mkdir('/regress_fi/passed'), dbos.write_text('/regress_fi/passed/in', 'x'), chmod('/regress_fi/passed', mode => 457),
	dbos.mkdir('/regress_fi/sticky'), dbos.write_text('/regress_fi/sticky/in', 'x'), chmod('/regress_fi/sticky', mode => 1023);
SELECT open('/regress_fi/mine', flags => 3) AS handle \gset
SELECT (find('/regress_fi/closed')).inode AS closed, (find('/regress_fi/listed')).inode AS listed, (find('/regress_fi/passed')).inode AS passed,
	(find('/regress_fi/sticky')).inode AS sticky, (find('/regress_fi/mine')).inode AS mine \gset
\c - regress_fi_bob
SET search_path = regress_fi, pg_catalog;
\set VERBOSITY sqlstate
SELECT kind, mode FROM find(number => :mine);
SELECT find(number => :closed, name => 'in');
SELECT find(number => :listed, name => 'in');
SELECT find(number => :listed, name => '..');
SELECT kind FROM find(number => :passed, name => 'in');
SELECT * FROM scan(number => :closed);
SELECT encode(entry, 'escape') FROM scan(number => :listed);
SELECT * FROM scan(number => :passed);
SELECT open(number => :mine);
SELECT open(number => :passed, name => 'in', flags => 2);
SELECT part(number => :mine);
SELECT truncate(number => :mine);
SELECT punch_hole(number => :passed, name => 'in', start => 0, length => 1);
SELECT punch_hole(handle => :handle, start => 0, length => 1);
SELECT allows(number => :mine, want => 4), allows(number => :passed, want => 1), allows(number => :passed, want => 4);
SELECT make(number => :passed, name => 'x', mode => :file);
SELECT make(number => :closed, name => 'x', mode => :directory);
SELECT symlink(number => :passed, name => 'x', target => 'y');
SELECT link(number => :passed, name => 'in', new_number => :passed, new_name => 'x');
SELECT unlink(number => :passed, name => 'in');
SELECT rename(number => :passed, name => 'in', new_number => :sticky, new_name => 'x');
SELECT rmdir(number => :closed, name => 'in');
-- The sticky bit.
SELECT make(number => :sticky, name => 'bobs', mode => :file + 420) > 0;
SELECT unlink(number => :sticky, name => 'in');
SELECT rename(number => :sticky, name => 'bobs', new_number => :sticky, new_name => 'in');
SELECT unlink(number => :sticky, name => 'bobs');
-- Attributes, by number and by the handle of another.
SELECT chmod(number => :mine, mode => 511);
SELECT chown(number => :mine, owner => 'regress_fi_bob');
SELECT set_times(number => :mine, modified => 1);
SELECT set_times(number => :mine);
SELECT set_xattr(number => :mine, attribute => 'user.a', value => 'x');
SELECT get_xattr(number => :mine, attribute => 'user.a');
SELECT find(handle => :handle);
SELECT chmod(handle => :handle, mode => 511);
SELECT set_times(number => :passed, name => 'in', modified => 1);

-- ---- a container: its root is 0, and what is outside is not there ----
SELECT dbos.create_container('regress_fi');
\c - regress_fi_bob
SET search_path = regress_fi, pg_catalog;
\set VERBOSITY sqlstate
SELECT dbos.enter_container('regress_fi');
SELECT inode, kind, links FROM find();
SELECT find(number => :mine) IS NULL, find(number => :top) IS NULL, find(number => :passed, name => 'in') IS NULL, find(number => 1) IS NULL, find(name => 'none') IS NULL;
SELECT * FROM scan();
SELECT * FROM scan(number => :top);
SELECT open(number => :passed, name => 'in');
SELECT make(number => :top, name => 'x', mode => :file);
SELECT make(name => 'first', mode => :directory + 493) AS first \gset
SELECT (find()).inode > 0 AS root, (find(name => 'first')).inode = :first AS there;
SELECT (find(number => :first, name => '..')).inode = (find()).inode, (find(number => (find()).inode, name => '..')).inode = (find()).inode;
SELECT make(number => :first, name => 'f', mode => :file + 420) AS f \gset
SELECT encode(entry, 'escape'), kind FROM scan(number => :first);
SELECT truncate(number => :f, new_size => 5);
SELECT * FROM file_system_use();
SELECT link(number => :f, new_number => :top, new_name => 'x');
SELECT rename(number => :first, name => 'f', new_number => :top, new_name => 'x');
SELECT unlink(number => :first, name => 'f'), rmdir(name => 'first');

\c - postgres
SET client_min_messages = warning;
SELECT dbos.enter_container('regress_fi');
SELECT dbos.set_quota('/', bytes => 1000, files => 10);
SELECT (u).max_files, (u).max_bytes, (u).available_bytes >= 0 AS available, (u).files = d.files AND (u).directories = d.directories AND (u).bytes = d.bytes AS as_df
FROM regress_fi.file_system_use() u, dbos.df() d;
\c
SET client_min_messages = warning;
SELECT dbos.drop_container('regress_fi');
SELECT dbos.remove('/regress_fi', recursive => true);
DROP SCHEMA regress_fi CASCADE;
DROP ROLE regress_fi_ann, regress_fi_bob, regress_fi_group;
