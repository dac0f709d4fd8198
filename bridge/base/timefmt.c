/* SPDX-License-Identifier: MIT */
#include "base/timefmt.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS 86400000
/* Longer is surely a mistake, and leaves room to add it to a time. */
#define DURATION_MAX_MS (INT64_C(100) * 366 * DAY_MS)

/* Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March inside. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    int64_t era, year_of_era, day_of_year;

    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    year_of_era = year - era * 400;
    day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t era, day_of_era, year_of_era, day_of_year, shifted;

    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    day_of_era = days - era * 146097;
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    shifted = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

static char *put_digits(char *at, int64_t value, int digits, char after)
{
    for (int i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[digits] = after;
    return at + digits + 1;
}

char *timefmt_wall(int64_t wall_ms, char out[TIMEFMT_BYTES])
{
    char *at = out;
    int64_t days = wall_ms / DAY_MS - (wall_ms % DAY_MS < 0);
    int64_t ms = wall_ms - days * DAY_MS;
    int64_t year;
    int month, day;

    civil_from_days(days, &year, &month, &day);
    if (year < 0 || year > 9999) { /* no RFC 3339 form; only a broken clock gets here */
        memcpy(out, year < 0 ? "0000-01-01T00:00:00.000Z" : "9999-12-31T23:59:59.999Z",
               sizeof "0000-01-01T00:00:00.000Z");
        return out;
    }
    at = put_digits(at, year, 4, '-');
    at = put_digits(at, month, 2, '-');
    at = put_digits(at, day, 2, 'T');
    at = put_digits(at, ms / 3600000, 2, ':');
    at = put_digits(at, ms / 60000 % 60, 2, ':');
    at = put_digits(at, ms / 1000 % 60, 2, '.');
    at = put_digits(at, ms % 1000, 3, 'Z');
    *at = '\0';
    return out;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Exactly count digits; moves on. */
static bool take_number(const char **at, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(**at))
            return false;
        *value = *value * 10 + (*(*at)++ - '0');
    }
    return true;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* After the point: any number of digits, of which three count. */
static bool take_fraction(const char **at, int *ms)
{
    int scale = 100;

    *ms = 0;
    if (!is_digit(**at))
        return false;
    for (; is_digit(**at); (*at)++, scale /= 10)
        *ms += (**at - '0') * scale;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && is_leap);
}

static bool take_date(const char **at, int64_t *days)
{
    int year, month, day;

    if (!take_number(at, 4, &year) || !take_char(at, '-') || !take_number(at, 2, &month) ||
        !take_char(at, '-') || !take_number(at, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* A second of 60 is a leap second: the same instant as the next minute, as POSIX counts. */
static bool take_time(const char **at, int64_t *ms)
{
    int hour, minute, second, fraction = 0;

    if (!take_number(at, 2, &hour) || !take_char(at, ':') || !take_number(at, 2, &minute) ||
        !take_char(at, ':') || !take_number(at, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    if (take_char(at, '.') && !take_fraction(at, &fraction))
        return false;
    *ms = ((hour * 60 + minute) * 60 + second) * INT64_C(1000) + fraction;
    return true;
}

static bool take_offset(const char **at, int64_t *ms)
{
    int hour, minute, sign = **at == '-' ? -1 : 1;

    *ms = 0;
    if (take_char(at, 'Z') || take_char(at, 'z'))
        return true;
    if (!take_char(at, '+') && !take_char(at, '-'))
        return false;
    if (!take_number(at, 2, &hour) || !take_char(at, ':') || !take_number(at, 2, &minute) ||
        hour > 23 || minute > 59)
        return false;
    *ms = sign * (hour * 60 + minute) * INT64_C(60000);
    return true;
}

int timefmt_parse_wall(const char *text, int64_t *wall_ms)
{
    int64_t days, time_ms, offset_ms;

    if (!take_date(&text, &days))
        return ERR_INVALID;
    if (!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' '))
        return ERR_INVALID;
    if (!take_time(&text, &time_ms) || !take_offset(&text, &offset_ms) || *text != '\0')
        return ERR_INVALID;
    *wall_ms = days * DAY_MS + time_ms - offset_ms;
    return 0;
}

static bool take_amount(const char **at, int64_t *value)
{
    if (!is_digit(**at))
        return false;
    for (*value = 0; is_digit(**at); (*at)++) {
        *value = *value * 10 + (**at - '0');
        if (*value > DURATION_MAX_MS)
            return false;
    }
    return true;
}

static bool add_scaled(int64_t *total, int64_t value, int64_t unit_ms)
{
    if (value > DURATION_MAX_MS / unit_ms || *total + value * unit_ms > DURATION_MAX_MS)
        return false;
    *total += value * unit_ms;
    return true;
}

struct unit {
    const char *name;
    int64_t ms;
};

/*
 * ISO 8601 after the P: each designator at most once and in this order; a fraction in seconds
 * only.  Weeks stand alone.
 */
static int parse_iso(const char *at, int64_t *ms)
{
    static const struct unit units[] = {{"W", 7 * DAY_MS}, {"D", DAY_MS}, {"T", 0},
                                        {"H", 3600000},    {"M", 60000},  {"S", 1000}};
    size_t next = 0, count = sizeof units / sizeof *units;
    bool is_any = false;

    *ms = 0;
    while (*at) {
        int64_t value;
        int fraction = 0;
        bool has_fraction = false;

        if (next <= 2 && take_char(&at, 'T')) {
            next = 3;
            is_any = false; /* "PT" and "P1DT" name nothing */
            continue;
        }
        if (!take_amount(&at, &value))
            return ERR_INVALID;
        if (take_char(&at, '.') || take_char(&at, ',')) {
            has_fraction = true;
            if (!take_fraction(&at, &fraction))
                return ERR_INVALID;
        }
        while (next < count && (next == 2 || *at != units[next].name[0])) {
            if (next == 2)
                return ERR_INVALID; /* H, M, S need the T; here M would be a month */
            next++;
        }
        if (next == count || (has_fraction && units[next].ms != 1000) ||
            !add_scaled(ms, value, units[next].ms))
            return ERR_INVALID;
        *ms += fraction;
        is_any = true;
        next = next == 0 ? count : next + 1;
        at++;
    }
    return is_any ? 0 : ERR_INVALID;
}

int timefmt_parse_duration(const char *text, int64_t *ms)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", DAY_MS}};
    int64_t value, total = 0;

    if (take_char(&text, 'P')) {
        int err = parse_iso(text, &total);

        if (!err)
            *ms = total;
        return err;
    }
    if (!take_amount(&text, &value))
        return ERR_INVALID;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        if (!add_scaled(&total, value, units[i].ms))
            return ERR_INVALID;
        *ms = total;
        return 0;
    }
    return ERR_INVALID;
}

char *timefmt_duration(int64_t ms, char out[TIMEFMT_BYTES])
{
    static const struct unit units[] = {
        {"d", DAY_MS}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = ms == 0 ? 3 : 0;

    while (ms % units[i].ms != 0)
        i++;
    snprintf(out, TIMEFMT_BYTES, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
    return out;
}
