/*
 * cron.c
 *	  The language of schedules, and the next time that one fires.
 *
 * Five fields (minute, hour, day of month, month, day of week), or six with the
 * seconds first.  If the day of month and the day of week are both restricted,
 * either is enough, as cron has it.
 *
 * Wall clocks jump.  A schedule whose hour field starts with an asterisk fires at
 * every instant whose wall-clock time matches: none in a skipped hour, twice in a
 * doubled one.  Any other is one of fixed times, and each of its times on the wall
 * clock comes true once: at the first instant at which the clock has reached it.
 * So a time in a skipped hour fires at the first instant after the gap (once, however
 * many of its times were skipped), and a time in a doubled hour the first time.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "cron.h"

#define MAX_FIELDS		6
#define DAY_SECONDS				INT64CONST(86400)
/* The 29th of February is at most eight years off (around 2100). */
#define HORIZON			(INT64CONST(9) * 366 * DAY_SECONDS)
/* No zone has ever jumped farther than a day: what lies before cannot matter. */
#define LONGEST_JUMP	(2 * DAY_SECONDS)
#define LONGEST_EVERY	(INT64CONST(366) * DAY_SECONDS)
#define UNIX_TO_POSTGRES	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * DAY_SECONDS)
#define HAS(set, value)	(((set) >> (value)) & 1)

typedef struct Field
{
	const char *name;
	int			low;
	int			high;
	const char *const *names;	/* of the values from `low` on; NULL: none */
	const char *hint;
} Field;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug",
	"sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const Field fields[MAX_FIELDS] = {
	{"second", 0, 59, NULL, "Seconds are 0 to 59, as in 0, 0,30, 10-20 or */15."},
	{"minute", 0, 59, NULL, "Minutes are 0 to 59, as in 0, 0,30, 10-20 or */15."},
	{"hour", 0, 23, NULL, "Hours are 0 to 23, as in 4, 9-17 or */2."},
	{"day of month", 1, 31, NULL, "Days are 1 to 31, or L for the last one of the month."},
	{"month", 1, 12, month_names, "Months are 1 to 12 or jan to dec."},
	{"day of week", 0, 7, weekday_names, "Days of the week are 0 to 7 or sun to sat; 0 and 7 are Sunday."},
};

static const struct
{
	const char *name;
	const char *text;
}			nicknames[] = {
	{"@hourly", "0 * * * *"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* ---- reading ---- */

static void
refuse_field(const Field *field, const char *text)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("%s of a schedule is not valid: \"%s\"", field->name, text),
			errhint("%s", field->hint));
}

/* Reads a number or a name at *at and moves behind it. */
static int
read_value(const Field *field, const char *text, const char **at)
{
	int			value = 0;

	if (field->names != NULL && isalpha((unsigned char) **at))
	{
		for (int i = 0; field->names[i] != NULL; i++)
			if (pg_strncasecmp(*at, field->names[i], 3) == 0)
			{
				*at += 3;
				return field->low + i;
			}
		refuse_field(field, text);
	}
	if (!isdigit((unsigned char) **at))
		refuse_field(field, text);
	for (; isdigit((unsigned char) **at); (*at)++)
	{
		value = value * 10 + (**at - '0');
		if (value > field->high)
			refuse_field(field, text);
	}
	if (value < field->low)
		refuse_field(field, text);
	return value;
}

/* Reads the step behind a slash: 1 to the field's highest value. */
static int
read_step(const Field *field, const char *text, const char **at)
{
	Field		step = *field;

	step.low = 1;
	step.names = NULL;
	return read_value(&step, text, at);
}

/* Reads one member of a list at *at: an asterisk, a value or a range, with a step or without. */
static uint64
read_member(const Field *field, const char *text, const char **at)
{
	int			first = field->low;
	int			last = field->high;
	int			step = 1;
	uint64		set = 0;

	if (**at == '*')
		(*at)++;
	else
	{
		first = last = read_value(field, text, at);
		if (**at == '-')
		{
			(*at)++;
			last = read_value(field, text, at);
			if (last < first)
				refuse_field(field, text);
		}
		else if (**at == '/')
			last = field->high;
	}
	if (**at == '/')
	{
		(*at)++;
		step = read_step(field, text, at);
	}
	for (int value = first; value <= last; value += step)
		set |= UINT64CONST(1) << value;
	return set;
}

/* Reads a field; *last_day where that is a value of it, and otherwise NULL. */
static uint64
read_field(const Field *field, const char *text, bool *last_day)
{
	const char *at = text;
	uint64		set = 0;

	for (;;)
	{
		/* The dollar is how others write it. */
		if (last_day != NULL && (*at == 'L' || *at == 'l' || *at == '$'))
		{
			*last_day = true;
			at++;
		}
		else
			set |= read_member(field, text, &at);
		if (*at == '\0')
			return set;
		if (*at++ != ',')
			refuse_field(field, text);
	}
}

/* The seconds in a unit of time; 0: there is no such unit. */
static int64
unit_seconds(const char *unit, int length)
{
	static const struct
	{
		const char *name;
		int64		seconds;
	}			units[] = {
		{"s", 1}, {"sec", 1}, {"secs", 1}, {"second", 1}, {"seconds", 1},
		{"m", 60}, {"min", 60}, {"mins", 60}, {"minute", 60}, {"minutes", 60},
		{"h", 3600}, {"hour", 3600}, {"hours", 3600},
		{"d", 86400}, {"day", 86400}, {"days", 86400},
		{"w", 604800}, {"week", 604800}, {"weeks", 604800},
	};

	for (int i = 0; i < (int) lengthof(units); i++)
		if ((int) strlen(units[i].name) == length &&
			pg_strncasecmp(unit, units[i].name, length) == 0)
			return units[i].seconds;
	return 0;
}

static void
refuse_every(const char *text)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("interval of a schedule is not valid: \"%s\"", text),
			errhint("Write whole numbers with s, m, h, d or w, as in @every 90s or @every 1 hour 30 minutes; 1 second to 366 days."));
}

/* Reads numbers with units, one after the other; their sum in seconds. */
static int64
read_every(const char *text)
{
	const char *at = text;
	int64		sum = 0;

	while (isspace((unsigned char) *at))
		at++;
	while (*at != '\0')
	{
		int64		number = 0;
		const char *unit;
		int64		seconds;

		if (!isdigit((unsigned char) *at))
			refuse_every(text);
		for (; isdigit((unsigned char) *at); at++)
			if ((number = number * 10 + (*at - '0')) > LONGEST_EVERY)
				refuse_every(text);
		while (isspace((unsigned char) *at))
			at++;
		for (unit = at; isalpha((unsigned char) *at);)
			at++;
		seconds = unit_seconds(unit, (int) (at - unit));
		sum += number * seconds;
		if (seconds == 0 || sum > LONGEST_EVERY)
			refuse_every(text);
		while (isspace((unsigned char) *at))
			at++;
	}
	if (sum == 0)
		refuse_every(text);
	return sum;
}

/* Splits at white space, in place; the number of words, of which the first MAX_FIELDS + 1 are kept. */
static int
split_words(char *text, char **words)
{
	int			count = 0;

	for (;;)
	{
		while (isspace((unsigned char) *text))
			*text++ = '\0';
		if (*text == '\0')
			return count;
		if (count > MAX_FIELDS)
			return count;
		words[count++] = text;
		while (*text != '\0' && !isspace((unsigned char) *text))
			text++;
	}
}

/* Raises when no month of the schedule has one of its days. */
static void
check_day_exists(const DbosCron *cron, const char *text)
{
	static const int longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (cron->last_day || !cron->any_weekday)
		return;
	for (int month = 1; month <= 12; month++)
		for (int day = 1; HAS(cron->months, month) && day <= longest[month - 1]; day++)
			if (HAS(cron->days, day))
				return;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("schedule never fires: \"%s\"", text),
			errhint("None of its months has one of its days of the month."));
}

static void
parse_fields(const char *text, DbosCron *cron)
{
	char	   *words[MAX_FIELDS + 1];
	int			count = split_words(pstrdup(text), words);
	char	  **word = words;

	/* "30 seconds": what pg_cron takes. */
	if (count == 2 && isalpha((unsigned char) words[1][0]))
	{
		cron->every = read_every(text);
		return;
	}
	if (count != 5 && count != 6)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("schedule must have five or six fields: \"%s\"", text),
				errhint("The fields are minute, hour, day of month, month and day of week, with the second before them if there are six; or write @every 90s, @hourly, @daily, @weekly, @monthly or @yearly."));
	cron->seconds = count == 6 ? read_field(&fields[0], *word++, NULL) : 1;
	cron->minutes = read_field(&fields[1], *word++, NULL);
	cron->fixed_times = **word != '*';
	cron->hours = read_field(&fields[2], *word++, NULL);
	cron->any_day = **word == '*';
	cron->days = read_field(&fields[3], *word++, &cron->last_day);
	cron->months = read_field(&fields[4], *word++, NULL);
	cron->any_weekday = **word == '*';
	cron->weekdays = read_field(&fields[5], *word++, NULL);
	if (HAS(cron->weekdays, 7))
		cron->weekdays |= 1;
	check_day_exists(cron, text);
}

/* Reads a schedule; raises 22023, with a hint for the field, what it cannot read. */
void
dbos_cron_parse(const char *text, DbosCron *cron)
{
	memset(cron, 0, sizeof(*cron));
	while (isspace((unsigned char) *text))
		text++;
	if (pg_strncasecmp(text, "@every", 6) == 0 && isspace((unsigned char) text[6]))
	{
		cron->every = read_every(text + 6 + strspn(text + 6, " \t"));
		return;
	}
	for (int i = 0; i < (int) lengthof(nicknames); i++)
		if (pg_strcasecmp(text, nicknames[i].name) == 0)
			text = nicknames[i].text;
	parse_fields(text, cron);
}

/* The time zone of that name; raises 22023 when the server knows none. */
pg_tz *
dbos_cron_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time zone \"%s\" not recognized", name),
				errhint("The names are in pg_catalog.pg_timezone_names."));
	return zone;
}

/* ---- the next time; wall-clock times are seconds since 1970 as if in UTC ---- */

static bool
day_matches(const DbosCron *cron, int julian)
{
	int			year;
	int			month;
	int			day;
	bool		by_day;
	bool		by_weekday = HAS(cron->weekdays, j2day(julian));

	j2date(julian, &year, &month, &day);
	if (!HAS(cron->months, month))
		return false;
	by_day = HAS(cron->days, day) ||
		(cron->last_day && day == day_tab[isleap(year)][month - 1]);
	/* An asterisk with a step restricts by what it holds, and is no alternative to the other field. */
	if (cron->any_day || cron->any_weekday)
		return by_day && by_weekday;
	return by_day || by_weekday;
}

/* The first time of a day, in seconds, from `from` on; -1: none. */
static int
time_of_day(const DbosCron *cron, int from)
{
	for (int hour = from / 3600; hour < 24; hour++)
	{
		if (!HAS(cron->hours, hour))
			continue;
		for (int minute = hour == from / 3600 ? from / 60 % 60 : 0; minute < 60; minute++)
		{
			if (!HAS(cron->minutes, minute))
				continue;
			for (int second = 0; second < 60; second++)
				if (HAS(cron->seconds, second) && hour * 3600 + minute * 60 + second >= from)
					return hour * 3600 + minute * 60 + second;
		}
	}
	return -1;
}

/* The first matching wall-clock time in [from, to); false: there is none. */
static bool
wall_next(const DbosCron *cron, int64 from, int64 to, int64 *found)
{
	int64		day = from / DAY_SECONDS - (from % DAY_SECONDS < 0 ? 1 : 0);

	for (int64 start = from - day * DAY_SECONDS; day * DAY_SECONDS < to; day++, start = 0)
	{
		int			time;

		if (!day_matches(cron, (int) (day + UNIX_EPOCH_JDATE)))
			continue;
		time = time_of_day(cron, (int) start);
		if (time < 0)
			continue;
		*found = day * DAY_SECONDS + time;
		return *found < to;
	}
	return false;
}

/*
 * The first firing at `from` or later; all in seconds since 1970.  Goes along the
 * stretches between two changes of the zone's offset; `reached` is the latest time
 * that the wall clock has shown before the stretch.
 */
static bool
fields_next(const DbosCron *cron, pg_tz *zone, int64 from, int64 *next)
{
	pg_time_t	at = from - LONGEST_JUMP;
	int64		reached = PG_INT64_MIN;

	for (;;)
	{
		long		offset;
		long		offset_after;
		int			dst;
		int			dst_after;
		pg_time_t	boundary;
		int			found = pg_next_dst_boundary(&at, &offset, &dst, &boundary,
												 &offset_after, &dst_after, zone);
		int64		end = found > 0 ? Min(boundary, from + HORIZON) : from + HORIZON;
		int64		start = Max(at, from) + offset;
		int64		wall;

		if (found < 0)
			return false;
		if (cron->fixed_times)
			start = Max(start, reached);
		if (wall_next(cron, start, end + offset, &wall))
		{
			*next = wall - offset;
			return true;
		}
		if (end == from + HORIZON)
			return false;
		reached = Max(reached, boundary + offset);
		at = boundary;
		if (cron->fixed_times && boundary >= from &&
			wall_next(cron, reached, boundary + offset_after, &wall))
		{
			*next = boundary;
			return true;
		}
	}
}

/* The first firing after `after`; false when there is none in the years that a timestamp has. */
bool
dbos_cron_next(const DbosCron *cron, pg_tz *zone, TimestampTz after, TimestampTz *next)
{
	int64		second;

	if (TIMESTAMP_NOT_FINITE(after) || after < -POSTGRES_EPOCH_JDATE * USECS_PER_DAY / 2 ||
		after > END_TIMESTAMP - (HORIZON + DAY_SECONDS) * USECS_PER_SEC)
		return false;
	if (cron->every > 0)
	{
		*next = after + cron->every * USECS_PER_SEC;
		return true;
	}
	second = after / USECS_PER_SEC - (after % USECS_PER_SEC < 0 ? 1 : 0) + UNIX_TO_POSTGRES;
	if (!fields_next(cron, zone, second + 1, &second))
		return false;
	*next = (second - UNIX_TO_POSTGRES) * USECS_PER_SEC;
	return true;
}
