/*
 * access.c
 *	  Who may do what to a file: owner and group are roles, and the mode says the rest.
 *
 * As in POSIX the first of owner, group and others that fits decides, also when a later
 * one would allow more.  A member of the owning role is the owner, as everywhere in PostgreSQL; a
 * superuser or a member of dbos_admin is what root is.  The policies of row-level security on the
 * tables ask the same functions (file_visible.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"

#include "file.h"

bool
dbos_file_superuser(void)
{
	return dbos_is_admin(GetUserId());
}

bool
dbos_file_owned(const DbosInode *inode)
{
	Oid			user = GetUserId();

	return user == inode->owner || has_privs_of_role(user, inode->owner) || dbos_file_superuser();
}

/* want: MAY_READ and so on, all of them. */
bool
dbos_file_allows(const DbosInode *inode, int want)
{
	Oid			user = GetUserId();
	int			mode = inode->mode;

	/* The mode of a file narrows what its large object allows. */
	if (dbos_is_large_object(inode) && !dbos_large_object_allows(inode, want))
		return false;
	if ((mode & want) == want && ((mode >> 3) & want) == want && ((mode >> 6) & want) == want)
		return true;			/* to whoever it is */
	if (user == inode->owner || has_privs_of_role(user, inode->owner))
		mode >>= 6;
	else if (user == inode->group || has_privs_of_role(user, inode->group))
		mode >>= 3;
	if ((mode & want) == want)
		return true;
	if (!dbos_file_superuser())
		return false;
	/* Root executes what somebody may execute. */
	return (want & MAY_EXECUTE) == 0 || S_ISDIR(inode->mode) || (inode->mode & 0111) != 0;
}

void
dbos_file_demand(const DbosInode *inode, int want, text *path)
{
	if (!dbos_file_allows(inode, want))
		dbos_file_denied(path);
}

/* To make, remove or rename a name; child: the inode that it is of, or NULL. */
bool
dbos_directory_allows_change(const DbosInode *directory, const DbosInode *child)
{
	return dbos_file_allows(directory, MAY_WRITE | MAY_EXECUTE) &&
		(child == NULL || (directory->mode & S_ISVTX) == 0 || dbos_file_owned(child) || dbos_file_owned(directory));
}

void
dbos_directory_demand_change(const DbosInode *directory, const DbosInode *child, text *path)
{
	if (!dbos_directory_allows_change(directory, child))
		dbos_file_denied(path);
}
