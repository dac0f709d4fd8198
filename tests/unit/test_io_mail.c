/* SPDX-License-Identifier: MIT */
#include "http_peer.h"

static struct http_mail mail_to(const char *const *recipients, const char *message)
{
    return (struct http_mail){.host = "127.0.0.1",
                              .port = (uint16_t)server.smtp_port,
                              .tls = HTTP_MAIL_PLAIN,
                              .from = "noreply@example.org",
                              .recipients = recipients,
                              .message = message,
                              .message_bytes = strlen(message),
                              .connect_ms = 1000,
                              .timeout_ms = 2000};
}

static void send_mail(struct scene *scene, const struct http_mail *mail)
{
    assert_int_equal(http_send_mail(scene->client, mail, on_response, scene), 0);
    run_until_answered(scene, scene->answered + 1);
}

static void mail_is_delivered(void **state)
{
    static const char *const recipients[] = {"anna@example.org", "bob@example.org", NULL};
    struct http_mail mail = mail_to(
        recipients, "Subject: hello\r\n\r\nFirst line.\r\n.hidden\r\n..two\r\nLast line.\r\n");
    struct secret password = {0};
    struct scene scene;

    (void)state;
    secret_set(&password, "pw", 2);
    mail.username = "user";
    mail.password = &password;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.fail, HTTP_FAIL_NONE);
    assert_int_equal(scene.last.status, 250);
    assert_string_equal(scene.body, "250 2.0.0 queued as 42");
    assert_true(scene.last.is_fully_sent);
    assert_non_null(strstr(server.seen->request, "MAIL FROM:<noreply@example.org>"));
    assert_non_null(strstr(server.seen->request, "RCPT TO:<anna@example.org>"));
    assert_non_null(strstr(server.seen->request, "RCPT TO:<bob@example.org>"));
    assert_non_null(strstr(server.seen->request, "AUTH "));
    assert_non_null(strstr(server.seen->mail, "\r\n..hidden\r\n...two\r\nLast line.\r\n"));
    send_mail(&scene, &mail);
    assert_int_equal(server.seen->mails, 2);
    assert_int_equal(server.seen->connections, 1); /* the connection is kept */
    secret_fini(&password);
    scene_close(&scene);
}

static void smtp_refusals_keep_their_code(void **state)
{
    static const struct {
        const char *recipient, *subject;
        int want_status;
        enum http_fail want_fail;
        bool want_fully_sent;
    } cases[] = {
        {"unknown@example.org", "hello", 550, HTTP_FAIL_NONE, false},
        {"later@example.org", "hello", 451, HTTP_FAIL_NONE, false},
        {"anna@example.org", "spam", 554, HTTP_FAIL_NONE, true},
        {"anna@example.org", "drop", 0, HTTP_FAIL_RESET, true},
        {"silent@example.org", "hello", 0, HTTP_FAIL_TIMEOUT, false},
        {"closing@example.org", "hello", 421, HTTP_FAIL_NONE, false},
        {"garbage@example.org", "hello", 0, HTTP_FAIL_GARBAGE, false},
        {"odd@example.org", "hello", 0, HTTP_FAIL_GARBAGE, false},
        {"early@example.org", "hello", 0, HTTP_FAIL_GARBAGE, false}, /* and nothing was sent */
        {"hasty@example.org", "hello", 554, HTTP_FAIL_NONE, false},
        {"endless@example.org", "hello", 0, HTTP_FAIL_TOO_LARGE, false},
        {"long@example.org", "hello", 0, HTTP_FAIL_TOO_LARGE, false},
        {"anna@example.org", "hello", 250, HTTP_FAIL_NONE, true},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *recipients[] = {cases[i].recipient, NULL};
        char message[100];
        struct http_mail mail;

        snprintf(message, sizeof message, "Subject: %s\r\n\r\nBody.\r\n", cases[i].subject);
        mail = mail_to(recipients, message);
        mail.timeout_ms = 700;
        send_mail(&scene, &mail);
        if (scene.last.fail != cases[i].want_fail || scene.last.status != cases[i].want_status ||
            scene.last.is_fully_sent != cases[i].want_fully_sent)
            fail_msg("%s %s: fail %d status %d sent %d: %s", cases[i].recipient, cases[i].subject,
                     (int)scene.last.fail, scene.last.status, scene.last.is_fully_sent, scene.body);
    }
    scene_close(&scene);
}

static void a_reply_is_kept_with_all_its_lines_and_its_stage(void **state)
{
    static const char *const two[] = {"two@example.org", NULL};
    static const char *const good[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(two, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 550);
    assert_int_equal(scene.last.stage, HTTP_STAGE_RCPT);
    assert_string_equal(scene.body, "550-5.7.1 blocked for policy\n550 see https://x.example");
    mail = mail_to(good, "Subject: spam\r\n\r\nBody.\r\n");
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.stage, HTTP_STAGE_TEXT);
    scene_close(&scene);
}

static void a_size_is_named_only_where_it_was_offered(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 250);
    assert_non_null(strstr(server.seen->request, "MAIL FROM:<noreply@example.org>\r\n"));
    scene_close(&scene);
    scene_open(&scene);
    server.seen->offers_utf8 = true; /* and SIZE */
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 250);
    assert_non_null(strstr(server.seen->request, "MAIL FROM:<noreply@example.org> SIZE="));
    scene_close(&scene);
}

/* libcurl alone would hold the loop until the server has replied to each mail. */
static void a_server_that_thinks_holds_up_nobody(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: slow\r\n\r\nBody.\r\n");
    struct scene scene;
    char url[64];

    (void)state;
    scene_open(&scene);
    for (int i = 0; i < 6; i++)
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/status/204", server.http_port);
    assert_int_equal(send_url(&scene, url), 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.last.status, 204); /* before any of the mails */
    run_until_answered(&scene, 7);
    assert_int_equal(scene.last.status, 250);
    assert_int_equal(server.seen->mails, 6);
    assert_int_equal(server.seen->connections, 7);
    scene_close(&scene);
}

static void a_session_that_was_closed_meanwhile_costs_no_mail(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail last = mail_to(recipients, "Subject: last\r\n\r\nBody.\r\n");
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (int i = 0; i < 3; i++) {
        send_mail(&scene, &last);
        assert_int_equal(scene.last.status, 250);
        send_mail(&scene, &mail);
        assert_int_equal(scene.last.status, 250);
    }
    assert_int_equal(server.seen->mails, 6);
    assert_int_equal(server.seen->connections, 4);
    scene_close(&scene);
}

static void mails_wait_for_one_of_few_sessions(void **state)
{
    static const char *const good[] = {"anna@example.org", NULL};
    static const char *const bad[] = {"unknown@example.org", NULL};
    struct http_mail mail = mail_to(good, "Subject: hello\r\n\r\nBody.\r\n");
    struct http_mail refused = mail_to(bad, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open_with(&scene, 64, 2);
    for (int i = 0; i < 20; i++)
        assert_int_equal(
            http_send_mail(scene.client, i % 3 == 2 ? &refused : &mail, on_response, &scene), 0);
    run_until_answered(&scene, 20);
    assert_int_equal(server.seen->mails, 14);
    assert_int_equal(server.seen->connections, 2);
    /* Those that wait are told as well when the client closes. */
    for (int i = 0; i < 10; i++)
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), 0);
    http_client_close(scene.client);
    assert_int_equal(scene.answered, 30);
    assert_int_equal(scene.last.fail, HTTP_FAIL_CLOSED);
    loop_free(scene.loop);
}

static void a_mail_may_be_sent_and_the_client_closed_from_a_reply(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (int i = 0; i < 5; i++)
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), 0);
    scene.closes = true;
    run_until_answered(&scene, 5);
    assert_null(scene.client);
    scene_close(&scene);
}

static void an_address_beyond_ascii_needs_a_server_that_takes_it(void **state)
{
    static const char *const recipients[] = {"j\xc3\xbcrgen@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    scene_open(&scene);
    send_mail(&scene, &mail); /* the peer does not offer SMTPUTF8 */
    assert_int_equal(scene.last.status, 553);
    assert_int_equal(server.seen->mails, 0);
    assert_null(strstr(server.seen->request, "MAIL FROM"));
    scene_close(&scene);
    scene_open(&scene);
    server.seen->offers_utf8 = true;
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 250);
    assert_non_null(strstr(server.seen->request, " SMTPUTF8\r\n"));
    assert_non_null(strstr(server.seen->request, "RCPT TO:<j\xc3\xbcrgen@example.org>"));
    scene_close(&scene);
}

static void bearer_tokens_log_in(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct secret token = {0};
    struct scene scene;

    (void)state;
    secret_set(&token, "ya29.token", 10);
    mail.username = "user@example.org";
    mail.password = &token;
    mail.is_bearer = true;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 250);
    assert_non_null(strstr(server.seen->request, "AUTH XOAUTH2"));
    secret_fini(&token);
    scene_close(&scene);
}

static void starttls_is_demanded(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    mail.tls = HTTP_MAIL_STARTTLS; /* the peer does not offer it */
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TLS);
    assert_int_equal(server.seen->mails, 0);
    assert_false(scene.last.is_sent);
    scene_close(&scene);
}

static void mail_addresses_cannot_smuggle(void **state)
{
    static const char *const bad[] = {"a@b>\r\nRCPT TO:<c@d", "a b@c", "", "<a@b>", "a@b\n"};
    static const char *const good[] = {"a@b", NULL};
    static const char *const hosts[] = {"a b", "u@h", "h/x", "h?x", ""};
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *recipients[] = {bad[i], NULL};
        struct http_mail mail = mail_to(recipients, "x");

        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
        mail = mail_to(good, "x");
        mail.from = bad[i];
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct http_mail mail = mail_to(good, "x");

        mail.host = hosts[i];
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
    }
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_is_delivered),
        cmocka_unit_test(smtp_refusals_keep_their_code),
        cmocka_unit_test(a_reply_is_kept_with_all_its_lines_and_its_stage),
        cmocka_unit_test(a_size_is_named_only_where_it_was_offered),
        cmocka_unit_test(a_server_that_thinks_holds_up_nobody),
        cmocka_unit_test(a_session_that_was_closed_meanwhile_costs_no_mail),
        cmocka_unit_test(an_address_beyond_ascii_needs_a_server_that_takes_it),
        cmocka_unit_test(mails_wait_for_one_of_few_sessions),
        cmocka_unit_test(a_mail_may_be_sent_and_the_client_closed_from_a_reply),
        cmocka_unit_test(bearer_tokens_log_in),
        cmocka_unit_test(starttls_is_demanded),
        cmocka_unit_test(mail_addresses_cannot_smuggle),
    };

    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
