/* SPDX-License-Identifier: MIT */
#include "store/requests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOUR_MS 3600000LL
#define DAY_MS  (24 * HOUR_MS)
#define NOW_MS  1795132800000LL /* 2026-11-20 */

static void make_id(int64_t ms, char id[37])
{
    snprintf(id, 37, "%08llx-%04llx-7abc-8def-0123456789ab", (unsigned long long)(ms >> 16),
             (unsigned long long)(ms & 0xffff));
}

static bool is_same(int32_t day, const unsigned char *key, int32_t other_day,
                    const unsigned char *other_key)
{
    return day == other_day && memcmp(key, other_key, 16) == 0;
}

/* Whatever an id was stored under, it is found there for seven days. */
static void an_id_is_found_for_seven_days_whatever_its_date(void **state)
{
    (void)state;
    for (int64_t ahead_ms = -23 * DAY_MS; ahead_ms <= 17 * DAY_MS; ahead_ms += 6 * HOUR_MS + 1)
        for (int64_t later_ms = 0; later_ms <= 7 * DAY_MS; later_ms += 3 * HOUR_MS) {
            struct request_key first, again;
            char id[37];

            make_id(NOW_MS + ahead_ms, id);
            request_key_make("shop", id, NOW_MS, &first);
            request_key_make("shop", id, NOW_MS + later_ms, &again);
            assert_true(is_same(first.day, first.key, again.day, again.key) ||
                        (again.has_other &&
                         is_same(first.day, first.key, again.other_day, again.other_key)));
        }
}

/* Partitions are kept for fifteen days and made for nine. */
static void a_date_has_its_partition(void **state)
{
    (void)state;
    for (int64_t ahead_ms = -23 * DAY_MS; ahead_ms <= 17 * DAY_MS; ahead_ms += HOUR_MS) {
        int32_t today = (int32_t)(NOW_MS / DAY_MS);
        struct request_key key;
        char id[37];

        make_id(NOW_MS + ahead_ms, id);
        request_key_make("shop", id, NOW_MS, &key);
        assert_true(key.day == 0 || (key.day >= today - 14 && key.day <= today + 9));
        assert_true(!key.has_other || key.other_day == 0 || key.other_day >= today - 14);
    }
}

/* A sender whose clock is right, or a day ahead, costs one look. */
static void an_ordinary_id_has_one_key(void **state)
{
    static const char *const others[] = {"order-17", "0190a1b2-c3d4-4abc-8def-0123456789ab"};
    struct request_key key;
    char id[37];

    (void)state;
    for (int64_t ahead_ms = -7 * DAY_MS; ahead_ms <= DAY_MS; ahead_ms += HOUR_MS) {
        make_id(NOW_MS + ahead_ms, id);
        request_key_make("shop", id, NOW_MS, &key);
        assert_true(key.day != 0 && !key.has_other);
    }
    for (size_t i = 0; i < 2; i++) {
        request_key_make("shop", others[i], NOW_MS, &key);
        assert_true(key.day == 0 && !key.has_other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_found_for_seven_days_whatever_its_date),
        cmocka_unit_test(a_date_has_its_partition),
        cmocka_unit_test(an_ordinary_id_has_one_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
