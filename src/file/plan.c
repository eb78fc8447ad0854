/*
 * plan.c
 *	  Plans for queries over files: by size, and by path.
 *
 * dbos.files computes a path from a name and its directory, and a size is compared with numeric constants.
 * PostgreSQL has no index for either, and were there one, row-level security would keep
 * it from most: what is not leak-proof (numeric comparison, LIKE) comes after the policies.  So when the
 * planner has made its paths for dbos.inode or dbos.directory_entry, we add those that it cannot see:
 *
 * - A size that is at least 1 MB implies a class of sizes, by which the large files are in an index
 *   (inode.c).  Small files cost this index nothing.
 * - "path = X" implies the directory and the name; X may be a constant, or be computed, or come from
 *   another table of a join; "path = ANY (array)" implies directories and names.
 * - What is literal at the beginning of LIKE, ^@ or a regular expression implies the directories
 *   below it, which are few when it is worth to look for them.
 *
 * What is implied is by operators that are leak-proof, on columns that tell nothing that the policies would not; and
 * it is only added: every condition of the query and every policy is still evaluated for each row.
 *
 * The hook is there as soon as the library is.  That needs no preloading: the functions of the view and of the policies name
 * dbos.file_planner() as their support function, which the planner calls before it makes paths.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "plan.h"

PG_FUNCTION_INFO_V1(dbos_file_planner);

/* With more directories than that below a prefix to read all names is as good. */
#define DIRECTORIES_MAX 300
#define BOUND_MAX ((double) (INT64CONST(1) << 62))

static set_rel_pathlist_hook_type previous_hook = NULL;

/* dbos.file_planner(internal): that it is called is all. */
Datum
dbos_file_planner(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}

/* ---- index paths ---- */

static IndexOptInfo *
find_index(RelOptInfo *rel, const char *name)
{
	ListCell   *cell;

	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);
		char	   *index_name = get_rel_name(index->indexoid);

		if (index_name != NULL && strcmp(index_name, name) == 0)
			return index;
	}
	return NULL;
}

/* column: of the index, from 0. */
static Expr *
column_compared(IndexOptInfo *index, int column, StrategyNumber strategy, Expr *value)
{
	Oid			type = index->opcintype[column];
	Oid			operator = get_opfamily_member(index->opfamily[column], type, type, strategy);
	Var		   *variable = makeVar(index->rel->relid, index->indexkeys[column], type, -1, InvalidOid, 0);

	return make_opclause(operator, BOOLOID, false, (Expr *) variable, value, InvalidOid, InvalidOid);
}

static Expr *
column_among(IndexOptInfo *index, int column, Expr *array)
{
	Oid			type = index->opcintype[column];
	ScalarArrayOpExpr *clause = makeNode(ScalarArrayOpExpr);

	clause->opno = get_opfamily_member(index->opfamily[column], type, type, BTEqualStrategyNumber);
	clause->opfuncid = get_opcode(clause->opno);
	clause->useOr = true;
	clause->args = list_make2(makeVar(index->rel->relid, index->indexkeys[column], type, -1, InvalidOid, 0), array);
	clause->location = -1;
	return (Expr *) clause;
}

/*
 * The clauses, for the first columns of the index in their order, are implied by others of the query.  They are
 * conditions of the index alone, so what implies them is still checked.
 */
static IndexPath *
make_path(PlannerInfo *root, RelOptInfo *rel, IndexOptInfo *index, List *clauses, Relids outer)
{
	List	   *index_clauses = NIL;
	int			column = 0;
	ListCell   *cell;

	foreach(cell, clauses)
	{
		IndexClause *index_clause = makeNode(IndexClause);

		index_clause->rinfo = make_simple_restrictinfo(root, lfirst(cell));
		index_clause->indexquals = list_make1(index_clause->rinfo);
		index_clause->indexcol = column++;
		index_clauses = lappend(index_clauses, index_clause);
	}
	return create_index_path(root, index, index_clauses, NIL, NIL, NIL, ForwardScanDirection, false, outer, 1.0, false);
}

/* ---- by size ---- */

/*
 * CASE WHEN large_object IS NULL THEN size ELSE ... END is the size, as dbos.files has it: a file that is a
 * large object is of the highest class, whatever its size.
 */
static Node *
size_if_known(CaseExpr *expression, RelOptInfo *rel)
{
	CaseWhen   *when = linitial_node(CaseWhen, expression->args);
	NullTest   *test = (NullTest *) when->expr;

	if (expression->arg == NULL && list_length(expression->args) == 1 && IsA(test, NullTest) && test->nulltesttype == IS_NULL &&
		IsA(test->arg, Var) && ((Var *) test->arg)->varno == rel->relid && ((Var *) test->arg)->varattno == INODE_LARGE_OBJECT + 1)
		return (Node *) when->result;
	return (Node *) expression;
}

static bool
is_size(Node *node, RelOptInfo *rel)
{
	if (IsA(node, FuncExpr))
	{
		Oid			cast = ((FuncExpr *) node)->funcid;

		if (cast == F_NUMERIC_INT8 || cast == F_FLOAT8_INT8)
			node = linitial(((FuncExpr *) node)->args);
	}
	if (IsA(node, CaseExpr))
		node = size_if_known((CaseExpr *) node, rel);
	return IsA(node, Var) && ((Var *) node)->varno == rel->relid && ((Var *) node)->varlevelsup == 0 &&
		((Var *) node)->varattno == INODE_SIZE + 1;
}

/* Not more than the constant; NaN for what is no number here. */
static double
constant_floor(Const *constant)
{
	double		value;

	switch (constant->consttype)
	{
		case INT8OID:
			value = (double) DatumGetInt64(constant->constvalue);
			break;
		case INT4OID:
			value = DatumGetInt32(constant->constvalue);
			break;
		case INT2OID:
			value = DatumGetInt16(constant->constvalue);
			break;
		case FLOAT8OID:
			value = DatumGetFloat8(constant->constvalue);
			break;
		case NUMERICOID:
			value = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, constant->constvalue));
			break;
		default:
			return get_float8_nan();
	}
	/* By more than what a double leaves out. */
	return floor(value - fabs(value) * 1e-12);
}

static bool
at_least(Oid operator)
{
	return dbos_operator_means(operator, BTGreaterStrategyNumber) || dbos_operator_means(operator, BTGreaterEqualStrategyNumber) ||
		dbos_operator_means(operator, BTEqualStrategyNumber);
}

/* What the size is at least, by that clause; false: it says nothing of that. */
static bool
size_bound(Expr *clause, RelOptInfo *rel, double *bound)
{
	OpExpr	   *comparison = (OpExpr *) clause;
	Node	   *left;
	Node	   *right;
	Oid			operator;

	if (!IsA(clause, OpExpr) || list_length(comparison->args) != 2)
		return false;
	left = linitial(comparison->args);
	right = lsecond(comparison->args);
	operator = comparison->opno;
	if (IsA(left, Const))
	{
		Node	   *constant = left;

		left = right;
		right = constant;
		operator = get_commutator(operator);
	}
	if (!IsA(right, Const) || ((Const *) right)->constisnull || !OidIsValid(operator) || !is_size(left, rel) || !at_least(operator))
		return false;
	*bound = constant_floor((Const *) right);
	return !isnan(*bound);
}

static void
add_size_paths(PlannerInfo *root, RelOptInfo *rel)
{
	double		bound = 0;
	IndexOptInfo *index;
	Expr	   *clause;
	IndexPath  *path;
	double		rows;
	ListCell   *cell;

	foreach(cell, rel->baserestrictinfo)
	{
		double		other;

		if (size_bound(lfirst_node(RestrictInfo, cell)->clause, rel, &other))
			bound = Max(bound, other);
	}
	if (bound < INT64CONST(1) << SIZE_CLASS_BITS || (index = find_index(rel, "inode_size_class_idx")) == NULL ||
		index->opcintype[0] != INT2OID)
		return;
	bound = Min(bound, BOUND_MAX);
	clause = column_compared(index, 0, BTGreaterEqualStrategyNumber,
							 (Expr *) makeConst(INT2OID, -1, InvalidOid, sizeof(int16), Int16GetDatum(dbos_size_class((int64) bound)), false, true));
	if (!predicate_implied_by(index->indpred, lappend(list_copy(rel->baserestrictinfo), make_simple_restrictinfo(root, clause)), false))
		return;
	path = make_path(root, rel, index, list_make1(clause), rel->lateral_relids);
	/* Of comparisons with numeric the planner knows no better than that a third of the rows fit. */
	rows = clamp_row_est(Min(path->indexselectivity * rel->tuples, index->tuples));
	rel->rows = Min(rel->rows, rows);
	path->path.rows = Min(path->path.rows, rows);
	add_path(rel, (Path *) path);
	add_path(rel, (Path *) create_bitmap_heap_path(root, rel, (Path *) path, rel->lateral_relids, 1.0, 0));
}

/* ---- by path ---- */

/* A call of a function of ours by that name with columns of this relation. */
static bool
is_call(Node *node, const char *name, RelOptInfo *rel, const AttrNumber *columns, int ncolumns)
{
	FuncExpr   *call = (FuncExpr *) node;
	char	   *function;
	int			i = 0;
	ListCell   *cell;

	if (!IsA(node, FuncExpr) || list_length(call->args) != ncolumns)
		return false;
	foreach(cell, call->args)
	{
		Var		   *variable = lfirst(cell);

		if (!IsA(variable, Var) || variable->varno != rel->relid || variable->varlevelsup != 0 || variable->varattno != columns[i++])
			return false;
	}
	function = get_func_name(call->funcid);
	return function != NULL && strcmp(function, name) == 0 && get_func_namespace(call->funcid) == dbos_schema_oid(true);
}

/* What a condition is about. */
typedef enum Subject
{
	NOTHING,
	PATH,						/* entry_path(parent, name) */
	DIRECTORY					/* directory_path(parent) */
} Subject;

static Subject
subject_of(Node *node, RelOptInfo *rel)
{
	static const AttrNumber path_columns[] = {ENTRY_PARENT + 1, ENTRY_NAME + 1};
	static const AttrNumber directory_columns[] = {ENTRY_PARENT + 1};

	if (is_call(node, "entry_path", rel, path_columns, 2))
		return PATH;
	if (is_call(node, "directory_path", rel, directory_columns, 1))
		return DIRECTORY;
	return NOTHING;
}

/* A call of our function of that name, which the installed version may lack. */
static Expr *
make_call(const char *name, Oid argument_type, Oid result_type, Expr *argument)
{
	Oid			function = LookupFuncName(list_make2(makeString("dbos"), makeString(pstrdup(name))), 1, &argument_type, true);

	if (!OidIsValid(function))
		return NULL;
	return (Expr *) makeFuncExpr(function, result_type, list_make1(argument), InvalidOid, DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/* Offers a path by directory and, unless that is NULL, by name. */
static void
add_entry_path(PlannerInfo *root, RelOptInfo *rel, Expr *parent, Expr *name, bool among, Relids outer, double rows)
{
	IndexOptInfo *index = find_index(rel, "directory_entry_pkey");
	List	   *clauses = NIL;
	IndexPath  *path;

	if (index == NULL || index->nkeycolumns < 2 || index->opcintype[0] != INT8OID || index->opcintype[1] != BYTEAOID)
		return;
	clauses = list_make1(among ? column_among(index, 0, parent) : column_compared(index, 0, BTEqualStrategyNumber, parent));
	if (name != NULL)
		clauses = lappend(clauses, among ? column_among(index, 1, name) : column_compared(index, 1, BTEqualStrategyNumber, name));
	if (outer == NULL)
		rel->rows = Min(rel->rows, clamp_row_est(rows));
	path = make_path(root, rel, index, clauses, outer);
	path->path.rows = Min(path->path.rows, clamp_row_est(rows));
	if (path->path.param_info != NULL)
		path->path.param_info->ppi_rows = path->path.rows;
	add_path(rel, (Path *) path);
}

/* Other relations that the expression needs; false: it needs this one, or may change from row to row. */
static bool
outer_of(PlannerInfo *root, RelOptInfo *rel, Node *expression, Relids *outer)
{
	Relids		needed = pull_varnos(root, expression);

	if (bms_overlap(needed, rel->relids) || contain_volatile_functions(expression) || contain_subplans(expression))
		return false;
	needed = bms_union(needed, rel->lateral_relids);
	*outer = bms_is_empty(needed) ? NULL : needed;
	return true;
}

static bool
is_bytewise(Oid collation)
{
	return !OidIsValid(collation) || get_collation_isdeterministic(collation);
}

static void
add_equal(PlannerInfo *root, RelOptInfo *rel, OpExpr *comparison)
{
	for (int side = 0; side < 2; side++)
	{
		Subject		subject = subject_of(list_nth(comparison->args, side), rel);
		Expr	   *value = list_nth(comparison->args, 1 - side);
		Relids		outer;
		Expr	   *parent;
		Expr	   *name;

		if (subject == NOTHING || !outer_of(root, rel, (Node *) value, &outer))
			continue;
		parent = make_call(subject == PATH ? "path_directory" : "path_inode", TEXTOID, INT8OID, value);
		name = make_call("path_name", TEXTOID, BYTEAOID, value);
		if (parent != NULL && name != NULL)
			add_entry_path(root, rel, parent, subject == PATH ? name : NULL, false, outer, subject == PATH ? 1 : rel->rows);
	}
}

/* How many paths an array has; where that is not known, what PostgreSQL takes it for. */
static double
paths_in(Expr *array)
{
	ArrayType  *value;

	if (!IsA(array, Const) || ((Const *) array)->constisnull)
		return 10;
	value = DatumGetArrayTypeP(((Const *) array)->constvalue);
	return ArrayGetNItems(ARR_NDIM(value), ARR_DIMS(value));
}

static void
add_equal_any(PlannerInfo *root, RelOptInfo *rel, ScalarArrayOpExpr *comparison)
{
	Expr	   *array = lsecond(comparison->args);
	Relids		outer;
	Expr	   *parents;
	Expr	   *names;

	if (subject_of(linitial(comparison->args), rel) != PATH || exprType((Node *) array) != TEXTARRAYOID || !outer_of(root, rel, (Node *) array, &outer))
		return;
	parents = make_call("path_directory", TEXTARRAYOID, INT8ARRAYOID, array);
	names = make_call("path_name", TEXTARRAYOID, BYTEAARRAYOID, array);
	if (parents != NULL && names != NULL)
		add_entry_path(root, rel, parents, names, true, outer, paths_in(array));
}

/* Up to the first wildcard. */
static text *
like_prefix(text *pattern)
{
	const char *at = VARDATA_ANY(pattern);
	const char *end = at + VARSIZE_ANY_EXHDR(pattern);
	StringInfoData prefix;

	initStringInfo(&prefix);
	for (; at < end && *at != '%' && *at != '_'; at++)
	{
		if (*at == '\\' && ++at == end)
			break;
		appendStringInfoChar(&prefix, *at);
	}
	return cstring_to_text_with_len(prefix.data, prefix.len);
}

/* What all that fits begins with; NULL: no such thing is known. */
static text *
prefix_of(Oid function, Const *pattern, Oid collation)
{
	text	   *given;
	char	   *prefix;
	bool		exact;

	if (!IsA(pattern, Const) || pattern->constisnull || pattern->consttype != TEXTOID || !is_bytewise(collation))
		return NULL;
	given = DatumGetTextPP(pattern->constvalue);
	switch (function)
	{
		case F_TEXTLIKE:
			return like_prefix(given);
		case F_STARTS_WITH:
			return given;
		case F_TEXTREGEXEQ:
			prefix = regexp_fixed_prefix(given, false, collation, &exact);
			return prefix == NULL ? NULL : cstring_to_text(prefix);
		default:
			return NULL;
	}
}

static void
add_prefix(PlannerInfo *root, RelOptInfo *rel, Oid function, List *arguments, Oid collation)
{
	text	   *prefix;
	Expr	   *parents;
	double		rows;

	if (list_length(arguments) != 2 || subject_of(linitial(arguments), rel) == NOTHING || !ActiveSnapshotSet() ||
		(prefix = prefix_of(function, lsecond(arguments), collation)) == NULL ||
		/* Every path begins with nothing. */
		VARSIZE_ANY_EXHDR(prefix) == 0 ||
		!dbos_path_estimate(prefix, GetActiveSnapshot(), DIRECTORIES_MAX, &rows))
		return;
	parents = make_call("path_directories", TEXTOID, INT8ARRAYOID,
						(Expr *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, PointerGetDatum(prefix), false, false));
	if (parents != NULL)
		add_entry_path(root, rel, parents, NULL, true, bms_is_empty(rel->lateral_relids) ? NULL : rel->lateral_relids, rows);
}

static void
add_for_clause(PlannerInfo *root, RelOptInfo *rel, Expr *clause)
{
	if (IsA(clause, OpExpr))
	{
		OpExpr	   *operation = (OpExpr *) clause;

		if (operation->opno == TextEqualOperator && is_bytewise(operation->inputcollid))
			add_equal(root, rel, operation);
		else
			add_prefix(root, rel, get_opcode(operation->opno), operation->args, operation->inputcollid);
	}
	else if (IsA(clause, FuncExpr))
		add_prefix(root, rel, ((FuncExpr *) clause)->funcid, ((FuncExpr *) clause)->args, ((FuncExpr *) clause)->inputcollid);
	else if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *comparison = (ScalarArrayOpExpr *) clause;

		if (comparison->useOr && comparison->opno == TextEqualOperator && is_bytewise(comparison->inputcollid))
			add_equal_any(root, rel, comparison);
	}
}

static bool
is_path_member(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *class, EquivalenceMember *member, void *arg)
{
	return subject_of((Node *) member->em_expr, rel) != NOTHING;
}

static void
add_path_paths(PlannerInfo *root, RelOptInfo *rel)
{
	ListCell   *cell;

	foreach(cell, rel->baserestrictinfo)
		add_for_clause(root, rel, lfirst_node(RestrictInfo, cell)->clause);
	foreach(cell, rel->joininfo)
		if (join_clause_is_movable_to(lfirst(cell), rel))
			add_for_clause(root, rel, lfirst_node(RestrictInfo, cell)->clause);
	if (rel->has_eclass_joins)
		foreach(cell, generate_implied_equalities_for_column(root, rel, is_path_member, NULL, rel->lateral_referencers))
			add_for_clause(root, rel, lfirst_node(RestrictInfo, cell)->clause);
}

/* ---- the hook ---- */

static void
add_paths(PlannerInfo *root, RelOptInfo *rel, Index index, RangeTblEntry *entry)
{
	char	   *name;

	if (previous_hook != NULL)
		previous_hook(root, rel, index, entry);
	if (entry->rtekind != RTE_RELATION || rel->indexlist == NIL || entry->relid < FirstNormalObjectId ||
		get_rel_namespace(entry->relid) != dbos_schema_oid(true) || !dbos_extension_present())
		return;
	name = get_rel_name(entry->relid);
	if (name == NULL)
		return;
	if (strcmp(name, "inode") == 0)
		add_size_paths(root, rel);
	else if (strcmp(name, "directory_entry") == 0)
		add_path_paths(root, rel);
}

void
dbos_plan_install(void)
{
	previous_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_paths;
}
