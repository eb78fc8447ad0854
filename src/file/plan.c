#include "postgres.h"
#include "fmgr.h"
PG_FUNCTION_INFO_V1(dbos_file_planner);
Datum
dbos_file_planner(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}
