/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"

#define ROOM "https://hooks.example/services/T/B/x"

static void *open_with(const struct adapter *adapter, const char *key, const char *value)
{
    const char *pairs[] = {key, value, NULL};
    void *state;

    if (fake_open(adapter, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void slack_gets_text_and_blocks(void **unused)
{
    void *state = open_with(&adapter_slack, NULL, NULL);
    struct job job = fake_job(ROOM, "{\"title\":\"A & B\",\"body\":\"<x>\",\"content\":{\"chat\":{"
                                    "\"blocks\":[{\"type\":\"divider\"}]}}}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_slack, state, &job), 0);
    assert_string_equal(fake_last()->url, ROOM);
    assert_true(fake_last()->shape.is_public_only);
    assert_string_equal(fake_last()->body, "{\"text\":\"*A &amp; B*\\n&lt;x&gt;\",\"blocks\":[{"
                                           "\"type\":\"divider\"}]}");
    fake_answer(200, "ok", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_DELIVERED);
    adapter_slack.close(state);
}

static void a_room_without_a_url_is_the_destinations_own(void **unused)
{
    void *state = open_with(&adapter_slack, "webhook_url_file", fake_file(ROOM "\n"));
    struct job job = fake_job("#general", "{\"body\":\"B\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_slack, state, &job), 0);
    assert_string_equal(fake_last()->url, ROOM);
    fake_answer(200, "ok", -1);
    adapter_slack.close(state);
    state = open_with(&adapter_slack, NULL, NULL);
    fake_check_refused(&adapter_slack, state, &job, OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID);
    job = fake_job(ROOM, "{}");
    fake_check_refused(&adapter_slack, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    adapter_slack.close(state);
}

static void every_answer_of_slack_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {400, "invalid_payload", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {400, "no_text", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {400, "too_many_attachments", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {400, "user_not_found", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {404, "channel_not_found", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {404, "no_service", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {404, "no_service_id", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {404, "no_team", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {410, "channel_is_archived", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {403, "invalid_token", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {403, "team_disabled", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {403, "action_prohibited", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {403, "posting_to_general_channel_denied", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {403, "no_active_hooks", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {429, "rate_limited", 3000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", -1, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {500, "rollup_error", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {400, "something_new", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
    };
    void *state = open_with(&adapter_slack, NULL, NULL);
    struct job job = fake_job(ROOM, "{\"body\":\"B\"}");

    (void)unused;
    fake_check_cases(&adapter_slack, state, &job, cases, sizeof cases / sizeof cases[0]);
    fake_check_failures(&adapter_slack, state, &job);
    adapter_slack.close(state);
}

static void teams_gets_an_adaptive_card(void **unused)
{
    void *state = open_with(&adapter_teams, NULL, NULL);
    struct job job = fake_job("https://x.example/invoke?api-version=1&sp=%2Ft&sig=a-b",
                              "{\"title\":\"T\",\"body\":\"B\"}");
    char big[30000];

    (void)unused;
    assert_int_equal(fake_send(&adapter_teams, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://x.example/invoke?api-version=1&sp=%2Ft&sig=a-b");
    assert_string_equal(
        fake_last()->body,
        "{\"type\":\"message\",\"attachments\":[{\"contentType\":"
        "\"application/vnd.microsoft.card.adaptive\",\"contentUrl\":null,\"content\":{\"$schema\":"
        "\"http://adaptivecards.io/schemas/adaptive-card.json\",\"type\":\"AdaptiveCard\","
        "\"version\":\"1.4\",\"body\":[{\"type\":\"TextBlock\",\"text\":\"T\",\"weight\":"
        "\"Bolder\","
        "\"size\":\"Medium\",\"wrap\":true},{\"type\":\"TextBlock\",\"text\":\"B\",\"wrap\":true}]}"
        "}"
        "]}");
    fake_answer(202, "", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    memset(big, 'x', sizeof big);
    memcpy(big, "{\"body\":\"", 9);
    memcpy(big + sizeof big - 3, "\"}", 3);
    job = fake_job(ROOM, big);
    fake_check_refused(&adapter_teams, state, &job, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE);
    adapter_teams.close(state);
}

static void every_answer_of_teams_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {200, "1", -1, OUTCOME_ACCEPTED, REASON_NONE},
        {202, "", -1, OUTCOME_ACCEPTED, REASON_NONE},
        {200,
         "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP "
         "error 429 with ContextId x",
         -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {200, "... returned HTTP error 413 with ...", -1, OUTCOME_PERMANENT,
         REASON_PAYLOAD_TOO_LARGE},
        {400, "{\"error\":{\"message\":\"The trigger is not enabled\"}}", -1, OUTCOME_PERMANENT,
         REASON_TARGET_DEAD},
        {400, "{\"error\":{\"code\":\"WorkflowTriggerIsNotEnabled\"}}", -1, OUTCOME_PERMANENT,
         REASON_TARGET_DEAD},
        {400, "{}", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {401, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {404, "", -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {410, "", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {413, "", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {429, "", 9000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {502, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_with(&adapter_teams, NULL, NULL);
    struct job job = fake_job(ROOM, "{\"body\":\"B\"}");

    (void)unused;
    fake_check_cases(&adapter_teams, state, &job, cases, sizeof cases / sizeof cases[0]);
    assert_int_equal(fake_send(&adapter_teams, state, &job), 0);
    fake_answer(401, "", -1);
    assert_true(fake_outcome.is_target_only); /* one room's signature, not ours */
    fake_check_failures(&adapter_teams, state, &job);
    adapter_teams.close(state);
}

static void *open_whatsapp(void)
{
    const char *pairs[] = {"phone_number_id", "123", "access_token_file", fake_file("EAA1"), NULL};
    void *state;

    if (fake_open(&adapter_whatsapp, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void whatsapp_gets_texts_and_templates(void **unused)
{
    void *state = open_whatsapp();
    struct job job = fake_job("+4915112345678", "{\"title\":\"T\",\"body\":\"B\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_whatsapp, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://graph.facebook.com/v23.0/123/messages");
    assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer EAA1");
    assert_string_equal(fake_last()->body,
                        "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\","
                        "\"to\":\"4915112345678\",\"type\":\"text\",\"text\":{\"body\":\"*T*\\nB\","
                        "\"preview_url\":false},\"biz_opaque_callback_data\":"
                        "\"0123456789abcdef\"}");
    fake_answer(200, "{\"messages\":[{\"id\":\"wamid.1\",\"message_status\":\"accepted\"}]}", -1);
    assert_string_equal(fake_outcome.provider_id, "wamid.1");
    job = fake_job("+4915112345678",
                   "{\"content\":{\"chat\":{\"template\":{\"name\":\"order_ready\",\"language\":"
                   "\"de\",\"components\":[{\"type\":\"body\"}]}}}}");
    assert_int_equal(fake_send(&adapter_whatsapp, state, &job), 0);
    assert_non_null(strstr(fake_last()->body,
                           "\"type\":\"template\",\"template\":{\"name\":\"order_ready\","
                           "\"language\":{\"policy\":\"deterministic\",\"code\":\"de\"},"
                           "\"components\":[{\"type\":\"body\"}]}"));
    fake_answer(200, "{}", -1);
    job = fake_job("+4915112345678", "{\"content\":{\"chat\":{\"template\":{}}}}");
    fake_check_refused(&adapter_whatsapp, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    job = fake_job("nobody", "{\"body\":\"B\"}");
    fake_check_refused(&adapter_whatsapp, state, &job, OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID);
    adapter_whatsapp.close(state);
}

static void every_code_of_whatsapp_ends_in_its_class(void **unused)
{
    static const struct {
        const char *codes;
        enum outcome_kind kind;
        enum reason reason;
    } groups[] = {
        {"130429 80007 4 133016 131056", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {"131048 368 131031", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {"1 2 131000 131016", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {"0 3 10 190 200 299 131005 131042 131045 133010 33", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {"131026", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {"131050", OUTCOME_DEAD_TARGET, REASON_OPTED_OUT},
        {"131049 130472 131030", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {"131047 131008 131009 131051 131052 131053 100", OUTCOME_PERMANENT,
         REASON_CONTENT_INVALID},
        {"132000 132005 132007 132012", OUTCOME_PERMANENT, REASON_TEMPLATE_ERROR},
        {"132001 132015 132016 132068 132069", OUTCOME_PERMANENT, REASON_TEMPLATE_ERROR},
        {"999999", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
    };
    static const struct fake_case others[] = {
        {400, "{\"error\":{\"code\":999999,\"is_transient\":true}}", -1, OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "<html>", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_whatsapp();
    struct job job = fake_job("+4915112345678", "{\"body\":\"B\"}");

    (void)unused;
    for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        const char *word = groups[i].codes;

        while (*word) {
            char body[128];
            struct fake_case one = {400, body, -1, groups[i].kind, groups[i].reason};

            (void)snprintf(body, sizeof body, "{\"error\":{\"code\":%.*s,\"message\":\"m\"}}",
                           (int)strcspn(word, " "), word);
            fake_check_cases(&adapter_whatsapp, state, &job, &one, 1);
            word += strcspn(word, " ");
            word += strspn(word, " ");
        }
    }
    fake_check_cases(&adapter_whatsapp, state, &job, others, sizeof others / sizeof others[0]);
    fake_check_failures(&adapter_whatsapp, state, &job);
    adapter_whatsapp.close(state);
}

static int forget(void **unused)
{
    (void)unused;
    fake_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(slack_gets_text_and_blocks, forget),
        cmocka_unit_test_teardown(a_room_without_a_url_is_the_destinations_own, forget),
        cmocka_unit_test_teardown(every_answer_of_slack_ends_in_its_class, forget),
        cmocka_unit_test_teardown(teams_gets_an_adaptive_card, forget),
        cmocka_unit_test_teardown(every_answer_of_teams_ends_in_its_class, forget),
        cmocka_unit_test_teardown(whatsapp_gets_texts_and_templates, forget),
        cmocka_unit_test_teardown(every_code_of_whatsapp_ends_in_its_class, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
