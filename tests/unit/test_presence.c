/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/presence.h"

#define ALICE "notify/v1/presence/alice"

static void what_the_plugin_tells_is_read(void **state)
{
    static const struct {
        const char *topic, *payload;
        int err, connections;
        int64_t at_ms;
    } cases[] = {
        {ALICE, "{\"connections\":2,\"at\":\"1970-01-01T00:00:01Z\"}", 0, 2, 1000},
        {ALICE, "{\"connections\":0}", 0, 0, 0},
        {ALICE, "", 0, 0, 0}, /* the retained message went */
        {ALICE, "{\"connections\":1,\"later\":[]}", 0, 1, 0},
        {ALICE, "{\"connections\":1,\"roles\":[\"a\",\"b%20c\"]}", 0, 1, 0},
        {ALICE, "{\"connections\":1,\"roles\":\"a\"}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1,\"roles\":[\"a,b\"]}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1,\"roles\":[7]}", ERR_INVALID, 0, 0},
        {"notify/v1/presence/a%20b", "{\"connections\":1}", 0, 1, 0},
        {ALICE, "{}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":-1}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1.5}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":\"1\"}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1000001}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1,\"connections\":2}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1,\"at\":\"soon\"}", ERR_INVALID, 0, 0},
        {ALICE, "{\"connections\":1,\"at\":7}", ERR_INVALID, 0, 0},
        {ALICE, "[1]", ERR_INVALID, 0, 0},
        {ALICE, "{", ERR_INVALID, 0, 0},
        {"notify/v1/presence/", "{\"connections\":1}", ERR_INVALID, 0, 0},
        {"notify/v1/presence/a/b", "{\"connections\":1}", ERR_INVALID, 0, 0},
        {"notify/v1/presence/a b", "{\"connections\":1}", ERR_INVALID, 0, 0},
        {"notify/v1/users/alice", "{\"connections\":1}", ERR_INVALID, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *arena = arena_new(0);
        struct presence_told told;
        int err =
            presence_read(cases[i].topic, cases[i].payload, strlen(cases[i].payload), arena, &told);

        if (err != cases[i].err)
            fail_msg("case %zu: %s", i, cases[i].payload);
        if (!err) {
            assert_string_equal(told.user, strrchr(cases[i].topic, '/') + 1);
            assert_int_equal(told.connections, cases[i].connections);
            assert_int_equal(told.at_ms, cases[i].at_ms);
            assert_string_equal(told.roles, strstr(cases[i].payload, "roles") ? "a,b%20c" : "");
        }
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_the_plugin_tells_is_read)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
