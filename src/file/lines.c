/*
 * lines.c
 *	  dbos.lines(): the lines of a file as rows.
 *
 * The file is read in pieces, so that its size does not matter: in FROM the rows go to a store that goes to disk when
 * it is large; elsewhere each call returns the next row. A line ends in a line feed, or in a
 * carriage return and one, and what follows the last of them is a line too unless it is empty.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "file.h"

PG_FUNCTION_INFO_V1(dbos_lines);

#define PIECE (256 * 1024)
/* The most that a value can have. */
#define LINE_MAX_BYTES (MaxAllocSize - VARHDRSZ - 1)

typedef struct Reader
{
	DbosInode	inode;
	char	   *path;
	int			encoding;
	int64		size;
	int64		position;		/* of the byte of the file that is read next */
	char	   *piece;			/* some bytes of it */
	int			length;
	int			at;				/* so many of those are done with */
	int64		number;			/* of the line that was read last */
	StringInfoData begun;		/* of a line that goes over the end of a piece */
} Reader;

static Reader *
open_reader(text *given)
{
	Reader	   *reader = palloc0(sizeof(Reader));
	DbosPath	path;

	dbos_path_require(given, FOLLOW_LAST, GetActiveSnapshot(), &path);
	if (S_ISDIR(path.inode.mode))
		dbos_is_a_directory(given);
	if (!S_ISREG(path.inode.mode))
		dbos_not_a_file(given);
	dbos_file_demand(&path.inode, MAY_READ, given);
	dbos_file_accessed(&path.inode);
	reader->inode = path.inode;
	reader->path = text_to_cstring(given);
	reader->encoding = GetDatabaseEncoding();
	reader->size = dbos_inode_size(&path.inode, GetActiveSnapshot());
	reader->piece = palloc(PIECE);
	initStringInfo(&reader->begun);
	return reader;
}

/* False at the end of the file. */
static bool
read_piece(Reader *reader)
{
	CHECK_FOR_INTERRUPTS();
	reader->length = (int) Min(PIECE, reader->size - reader->position);
	reader->at = 0;
	if (reader->length <= 0)
		return false;
	dbos_content_read(&reader->inode, reader->position, reader->piece, reader->length, GetActiveSnapshot(), FOREVER);
	reader->position += reader->length;
	return true;
}

static void
check_line(const Reader *reader, const char *bytes, int length)
{
	int			good = pg_encoding_verifymbstr(reader->encoding, bytes, length);

	/* A zero byte ends it in any encoding. */
	if (good == length)
		return;
	if (bytes[good] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				errmsg("line " INT64_FORMAT " of file \"%s\" has a zero byte", reader->number, reader->path),
				errdetail("Text cannot have one."),
				errhint("dbos.read_file() reads any bytes."));
	ereport(ERROR,
			errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			errmsg("line " INT64_FORMAT " of file \"%s\" is not valid in encoding \"%s\"", reader->number, reader->path, pg_encoding_to_char(reader->encoding)),
			errdetail("Byte %d of the line is 0x%02x.", good + 1, (unsigned char) bytes[good]),
			errhint("dbos.read_file() reads any bytes, which convert_from() converts from an encoding."));
}

static void
keep_beginning(Reader *reader, const char *bytes, int length)
{
	if ((Size) reader->begun.len + length > LINE_MAX_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("line " INT64_FORMAT " of file \"%s\" is longer than %zu bytes", reader->number + 1, reader->path, (Size) LINE_MAX_BYTES),
				errhint("dbos.read_file() reads a file in parts."));
	appendBinaryStringInfo(&reader->begun, bytes, length);
}

/* The bytes without their end; they live until the next. */
static bool
next_line(Reader *reader, const char **bytes, int *length)
{
	resetStringInfo(&reader->begun);
	for (;;)
	{
		const char *at;
		const char *end;
		int			rest = reader->length - reader->at;

		if (rest == 0 && !read_piece(reader))
		{
			if (reader->begun.len == 0)
				return false;
			*bytes = reader->begun.data;
			*length = reader->begun.len;
			break;
		}
		at = reader->piece + reader->at;
		rest = reader->length - reader->at;
		end = memchr(at, '\n', rest);
		if (end == NULL)
		{
			keep_beginning(reader, at, rest);
			reader->at = reader->length;
			continue;
		}
		reader->at += end - at + 1;
		*bytes = at;
		*length = end - at;
		if (reader->begun.len > 0)
		{
			keep_beginning(reader, at, end - at);
			*bytes = reader->begun.data;
			*length = reader->begun.len;
		}
		if (*length > 0 && (*bytes)[*length - 1] == '\r')
			(*length)--;
		break;
	}
	reader->number++;
	check_line(reader, *bytes, *length);
	return true;
}

static void
store_lines(Reader *reader, ReturnSetInfo *result)
{
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "dbos lines", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(round);
	const char *bytes;
	int			length;

	while (next_line(reader, &bytes, &length))
	{
		Datum		values[2] = {Int64GetDatum(reader->number), PointerGetDatum(cstring_to_text_with_len(bytes, length))};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(round);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(round);
}

static Datum
return_line(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	Reader	   *reader = context->user_fctx;
	bool		nulls[2] = {false, false};
	Datum		values[2];
	const char *bytes;
	int			length;

	if (!next_line(reader, &bytes, &length))
		SRF_RETURN_DONE(context);
	values[0] = Int64GetDatum(reader->number);
	values[1] = PointerGetDatum(cstring_to_text_with_len(bytes, length));
	SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
}

/* dbos.lines(path text) → its lines */
Datum
dbos_lines(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	if (result != NULL && IsA(result, ReturnSetInfo) && (result->allowedModes & SFRM_Materialize_Preferred) != 0)
	{
		InitMaterializedSRF(fcinfo, 0);
		store_lines(open_reader(PG_GETARG_TEXT_PP(0)), result);
		return (Datum) 0;
	}
	if (SRF_IS_FIRSTCALL())
	{
		FuncCallContext *context = SRF_FIRSTCALL_INIT();
		MemoryContext outer = MemoryContextSwitchTo(context->multi_call_memory_ctx);

		if (get_call_result_type(fcinfo, NULL, &context->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		context->tuple_desc = BlessTupleDesc(context->tuple_desc);
		context->user_fctx = open_reader(PG_GETARG_TEXT_PP(0));
		MemoryContextSwitchTo(outer);
	}
	return return_line(fcinfo, SRF_PERCALL_SETUP());
}
