/*
 * batch.c
 *	  How many tasks share a transaction, and what is done when one of them fails.
 *
 * Members of a batch are of one session role and one role, and their functions bear
 * company (function_habit.c, company.c).  A batch takes in members until BATCH_US
 * have passed, so no task waits much longer for its neighbours; how many are taken from
 * the run queue for it follows from the mean time of the last members, at most
 * twice as many as last time.
 *
 * An error rolls all of it back.  Those before the one that failed run again together,
 * it runs alone, and the rest follows: so only a task that fails by itself is
 * charged, and that is written down in the transaction of those who come after it.
 * When a commit fails, nobody knows whose fault it was: the batch is halved until
 * one is left.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "company.h"
#include "function_habit.h"
#include "gang.h"
#include "session.h"
#include "speculation.h"

/* A batch takes no further member after this time. */
#define BATCH_US 5000
/* How much the mean of a member's time follows the last batch. */
#define MEAN_WEIGHT 0.25

/* Whose error it is. */
typedef enum BatchStage
{
	STAGE_OURS = 0,				/* claims and bookkeeping; next: theirs, commit */
	STAGE_THEIRS,				/* a member's; next: ours */
	STAGE_COMMIT
} BatchStage;

/* The batch that is open. */
typedef struct Batch
{
	int			at;				/* the turn that it is at */
	int			ran;			/* members whose functions have run, or begun to */
	bool		company;		/* some had run when this turn came */
	BatchStage	stage;
	Oid			role;
	Oid			function;		/* that was last seen to run */
	TimestampTz started_at;
	TimestampTz commits_at;
} Batch;

static MemoryContext member_context = NULL;
static DbosMember member;
static double mean_us = BATCH_US;	/* of a member, without the commit */
static int	last_size = 1;

/* A hand of this size takes about BATCH_US. */
int
dbos_batch_size(void)
{
	double		fits = BATCH_US / Max(mean_us, 1.0);

	return (int) Max(Min(Min(fits, 2.0 * last_size), DBOS_MAX_HAND), 1);
}

/*
 * The commit does not count: whoever runs alone waits for one as well, and where it is slow the
 * batches would shrink, which makes more of them.
 */
static void
learn_size(const Batch *batch, int members)
{
	double		us = (double) (batch->commits_at - batch->started_at) / Max(members, 1);

	mean_us += (us - mean_us) * MEAN_WEIGHT;
	last_size = Max(members, 1);
}

/* Whether the member may join those that have run in this transaction. */
static bool
bears_company(void)
{
	return member.kind == 'f' &&
		dbos_habit_bears_company(member.call->function, member.function);
}

/*
 * Runs the claimed task of the turn.  False when it does not belong into this
 * transaction: it is then the first of the next one.
 */
static bool
run_member(DbosHand *hand, Batch *batch, const DbosSample *sample)
{
	static const DbosSample none = {0};
	DbosTurn   *turn = &hand->turns[batch->at];
	bool		company = false;
	bool		others_wait;
	const char *state;
	Jsonb	   *obstacle = dbos_member_obstacle(&member, batch->ran == 0, &state);

	/* That is for the other run of it to say. */
	if (obstacle != NULL && turn->copy)
	{
		turn->state = DBOS_TURN_GONE;
		return true;
	}
	if (obstacle != NULL)
	{
		dbos_member_end(&member, state, NULL, obstacle);
		return true;
	}
	if (batch->ran > 0 && (member.role != batch->role || member.kind != 'f'))
		return false;
	/* Its commit would also be that of what was written down before it. */
	if (batch->at > hand->next && dbos_member_commits_itself(&member))
		return false;
	if (batch->ran == 0)
	{
		dbos_session_assume_role(member.role, !dbos_member_commits_itself(&member));
		batch->role = member.role;
	}
	if (member.kind == 'f')
	{
		dbos_member_resolve(&member);
		company = bears_company() && !turn->copy && !member.gang;
		if (!turn->copy && !member.gang && dbos_habit_idempotent(member.call->function))
			dbos_copies_allow();
	}
	turn->alone |= !company;
	/* Nor does what was written down before it wait for it. */
	if (turn->alone && batch->at > hand->next)
		return false;
	if (member.kind == 'f' && batch->function != member.function_oid)
	{
		batch->function = member.function_oid;
		pgstat_report_activity(STATE_RUNNING, member.call->display);
	}
	batch->ran++;
	turn->began = true;
	if (!company || turn->slow)
		dbos_turn_runs_alone(batch->at);
	others_wait = batch->ran > 1 || batch->at + 1 < hand->count;
	dbos_context_begin_task(member.id, member.container);
	dbos_member_run(&member, others_wait, batch->at == 0 ? sample : &none);
	dbos_context_end_task();
	turn->profile = dbos_profile_of(&member);
	turn->started_at = member.attempt.started_at;
	turn->finished_at = member.attempt.finished_at;
	if (OidIsValid(member.function_oid))
	{
		dbos_habit_ran(member.function_oid, member.attempt.finished_at - member.attempt.started_at);
		dbos_forecast_observe(dbos_function_hash(member.function, strlen(member.function)),
							  member.attempt.finished_at - member.attempt.started_at);
		if (dbos_company_unfit())
			dbos_habit_unfit(member.function_oid);
	}
	return true;
}

/*
 * The claimed task starts with the others of its gang; false when it does not start now: the
 * turn is left for a transaction that it comes first in, or goes back.
 */
static bool
start_with_gang(DbosHand *hand, Batch *batch)
{
	DbosTurn   *turn = &hand->turns[batch->at];
	bool		starts = false;

	if (batch->at == hand->next)
	{
		turn->alone = true;
		/* The others of the hand are perhaps those that it will wait for. */
		dbos_turn_runs_alone(batch->at);
		starts = member.cancelled || dbos_gang_start(member.id);
		if (!starts)
		{
			turn->state = DBOS_TURN_GONE;
			turn->wanted = true;
		}
	}
	if (!starts)
		dbos_task_row_close(&member.row);
	else
		dbos_member_starts_now(&member);
	return starts;
}

/* Brings the turn into the transaction; false when the transaction ends before it. */
static bool
take_turn(DbosHand *hand, Batch *batch, const DbosSample *sample)
{
	DbosTurn   *turn = &hand->turns[batch->at];
	bool		joined;

	batch->company = batch->ran > 0;
	if (turn->state == DBOS_TURN_FAILED)
		dbos_member_write_failure(turn->ticket.key.id, turn->failure);
	if (turn->state != DBOS_TURN_WAITS)
		return true;
	dbos_member_start(&member, turn->ticket.key.id, batch->ran > 0);
	/* By the time that is recorded as its start: what is left of the hand must be counted anew. */
	if (hand->start_before != 0 && member.attempt.started_at > hand->start_before)
	{
		hand->late = true;
		return false;
	}
	if (!turn->copy)
		dbos_turn_begins(hand, batch->at);
	if (!(turn->copy ? dbos_member_copy(&member) : dbos_member_claim(&member)))
	{
		turn->state = member.busy ? DBOS_TURN_BUSY : DBOS_TURN_GONE;
		return true;
	}
	if (member.kind == DBOS_KIND_GANG && !start_with_gang(hand, batch))
		return turn->state != DBOS_TURN_WAITS;
	batch->stage = STAGE_THEIRS;
	dbos_stop_point("task claimed");
	joined = run_member(hand, batch, sample);
	batch->stage = STAGE_OURS;
	if (joined && turn->state == DBOS_TURN_WAITS)
		turn->state = DBOS_TURN_DONE;
	else if (!joined)
		dbos_task_row_close(&member.row);
	return joined;
}

/* Takes turns until the batch is full, and commits it. */
static void
run_batch(DbosHand *hand, Batch *batch, const DbosSample *sample)
{
	int			limit = hand->suspects > 0 ? (hand->suspects + 1) / 2 : hand->count;

	dbos_session_begin();
	while (batch->at < hand->count && batch->at - hand->next < limit)
	{
		DbosTurn   *turn = &hand->turns[batch->at];

		if (turn->alone && turn->state == DBOS_TURN_WAITS && batch->at > hand->next)
			break;
		MemoryContextReset(member_context);
		MemoryContextSwitchTo(member_context);
		if (!take_turn(hand, batch, sample))
			break;
		batch->at++;
		if (turn->state == DBOS_TURN_DONE && (turn->alone || dbos_company_over()))
			break;
		if (turn->state == DBOS_TURN_FAILED && turn->urgent)
			break;
		if (turn->state == DBOS_TURN_DONE &&
			member.attempt.finished_at - batch->started_at >= BATCH_US)
			break;
		if (batch->ran > 0 && batch->at < hand->count)
			dbos_task_rows_keep_open();
	}
	batch->stage = STAGE_COMMIT;
	batch->commits_at = GetCurrentTimestamp();
	dbos_task_rows_close();
	if (batch->ran > 0)
		dbos_stop_point("task before commit");
	dbos_session_commit();
	if (batch->ran > 0)
		dbos_stop_point("task after commit");
}

/* The turns of the rolled back transaction wait again. */
static void
return_turns(DbosHand *hand, const Batch *batch)
{
	for (int i = hand->next; i < batch->at; i++)
		if (hand->turns[i].state == DBOS_TURN_DONE)
			hand->turns[i].state = DBOS_TURN_WAITS;
	hand->replays = true;
}

/* The attempt counts, once that is written down. */
static void
charge(DbosTurn *turn, ErrorData *error)
{
	if (OidIsValid(member.function_oid))
		dbos_habit_failed(member.function_oid);
	turn->failure = dbos_member_failure(&member, error);
	turn->profile = dbos_profile_of(&member);
	turn->started_at = turn->failure->attempt.started_at;
	turn->finished_at = turn->failure->attempt.finished_at;
	turn->urgent = !dbos_habit_known_to_bear_company(member.function_oid);
	turn->state = DBOS_TURN_FAILED;
}

/* A member failed, or was stopped, in its transaction. */
static void
member_failed(DbosHand *hand, const Batch *batch, ErrorData *error)
{
	DbosTurn   *turn = &hand->turns[batch->at];

	if (OidIsValid(member.function_oid) && dbos_company_unfit())
		dbos_habit_unfit(member.function_oid);
	if (!batch->company && !dbos_company_stopped())
	{
		charge(turn, error);
		return;
	}
	/* Those before it again, without it, and then it alone. */
	turn->alone = true;
	turn->slow = dbos_company_stopped();
	if (OidIsValid(member.function_oid) && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		dbos_habit_ended_company(member.function_oid);
}

/* The commit failed: half of its members next. */
static void
commit_failed(DbosHand *hand, const Batch *batch, ErrorData *error)
{
	DbosTurn   *turn = &hand->turns[hand->next];

	hand->suspects = batch->at - hand->next;
	if (hand->suspects > 1)
		return;
	hand->suspects = 0;
	/* Nothing of a user was in it. */
	if (turn->state != DBOS_TURN_WAITS)
		ReThrowError(error);
	charge(turn, error);
}

/*
 * The run of a task that two run is given up, and nobody is charged: a copy that failed
 * or was not first, whose entry goes back because the original may have given way
 * for it; or an original that was told to.
 */
static bool
given_up(DbosHand *hand)
{
	bool		found = false;

	for (int i = hand->next; i < hand->count; i++)
	{
		DbosTurn   *turn = &hand->turns[i];

		if (!turn->copy && !dbos_copy_told_to_give_way(turn->ticket.key.id))
			continue;
		turn->state = DBOS_TURN_GONE;
		turn->wanted = turn->copy;
		found = true;
	}
	return found;
}

/* The transaction is rolled back: what is to be done with its members. */
static void
batch_failed(DbosHand *hand, const Batch *batch, ErrorData *error)
{
	return_turns(hand, batch);
	if (given_up(hand))
		return;
	if (batch->stage == STAGE_THEIRS)
		member_failed(hand, batch, error);
	else if (batch->stage == STAGE_COMMIT)
		commit_failed(hand, batch, error);
	/* A cancel that was meant for a task that had just ended harms nobody. */
	else if (error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
}

/* What is committed has run, or failed. */
static void
count_attempts(DbosHand *hand, const Batch *batch)
{
	for (int i = hand->next; i < batch->at; i++)
	{
		const DbosTurn *turn = &hand->turns[i];

		if (turn->profile != NULL && (turn->state == DBOS_TURN_DONE || turn->state == DBOS_TURN_FAILED))
			dbos_profile_count(turn->profile, turn->started_at, turn->finished_at, turn->state == DBOS_TURN_FAILED);
	}
}

bool
dbos_batch_run(DbosHand *hand, MemoryContext context, const DbosSample *sample)
{
	ErrorData  *volatile error = NULL;
	volatile Batch open = {.at = hand->next,.started_at = GetCurrentTimestamp()};
	Batch	   *batch = (Batch *) &open;

	if (member_context == NULL)
		member_context = AllocSetContextCreate(TopMemoryContext, "dbos member", ALLOCSET_DEFAULT_SIZES);
	memset(&member, 0, sizeof(member));
	PG_TRY();
	{
		run_batch(hand, batch, sample);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		/* An error in what follows ends the process: no handling of errors in handling errors. */
		error = CopyErrorData();
		FlushErrorState();
		dbos_member_disarm();
		dbos_company_abandon();
		dbos_task_rows_forget();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	dbos_member_disarm();
	dbos_context_end_task();

	/* A stop that came too late for its task must not hit the bookkeeping. */
	HOLD_CANCEL_INTERRUPTS();
	QueryCancelPending = false;
	if (error == NULL)
	{
		/* What a failure has cut short says nothing. */
		if (!hand->replays)
			learn_size(batch, batch->at - hand->next);
		count_attempts(hand, batch);
		hand->suspects = Max(hand->suspects - (batch->at - hand->next), 0);
		hand->next = batch->at;
	}
	else
		batch_failed(hand, batch, error);
	if (batch->ran > 0)
		dbos_session_clean();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	return hand->replays && !hand->late;
}
