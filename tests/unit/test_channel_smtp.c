/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "channels/mime.h"

static void *open_smtp(const char *key, const char *value)
{
    const char *pairs[] = {"host",
                           "mail.example",
                           "username",
                           "u",
                           "password_file",
                           fake_file("pw"),
                           "from",
                           "T\xc3\xb6 <noreply@example.org>",
                           key,
                           value,
                           NULL};
    void *state;

    if (fake_open(&adapter_smtp, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static const char *const PLAIN = "{\"title\":\"Hello\",\"body\":\"line\\n.dot \xc3\xa9 = \\n\"}";

static void the_mail_is_complete_and_ascii(void **unused)
{
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
    assert_true(fake_last()->is_mail);
    assert_string_equal(fake_last()->host, "mail.example");
    assert_int_equal(fake_last()->mail.port, 587);
    assert_int_equal(fake_last()->mail.tls, HTTP_MAIL_STARTTLS);
    assert_string_equal(fake_last()->user, "u");
    assert_string_equal(fake_last()->password, "pw");
    assert_string_equal(fake_last()->from, "noreply@example.org");
    assert_string_equal(fake_last()->recipient, "a@b.example");
    assert_string_equal(fake_last()->body, "From: =?UTF-8?B?VMO2?=\r\n <noreply@example.org>\r\n"
                                           "To: a@b.example\r\n"
                                           "Subject: Hello\r\n"
                                           "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
                                           "Message-ID: <0123456789abcdef.tocsin@example.org>\r\n"
                                           "MIME-Version: 1.0\r\n"
                                           "Content-Type: text/plain; charset=utf-8\r\n"
                                           "Content-Transfer-Encoding: quoted-printable\r\n"
                                           "\r\n"
                                           "line\r\n"
                                           ".dot =C3=A9 =3D=20\r\n");
    fake_answer_stage = HTTP_STAGE_TEXT;
    fake_answer(250, "250 2.0.0 Ok: queued as ABC123", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    assert_string_equal(fake_outcome.provider_id, "ABC123");
    adapter_smtp.close(state);
}

static void parts_nest_as_readers_expect(void **unused)
{
    void *state = open_smtp("tls", "tls");
    struct job job = fake_job(
        "a@b.example",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"html\":\"<p>t</p>\","
        "\"list_unsubscribe\":\"https://x.example/u\",\"attachments\":[{\"name\":\"\xc3\xa9.txt\","
        "\"type\":\"text/plain\",\"content\":\"aGk=\"}]}}}");
    const char *body,
        *want[] = {
            "List-Unsubscribe: <https://x.example/u>\r\n",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "Content-Type: multipart/mixed;\r\n boundary=\"=_m0123456789abcdef\"\r\n\r\n",
            "--=_m0123456789abcdef\r\nContent-Type: multipart/alternative;\r\n "
            "boundary=\"=_a0123456789abcdef\"\r\n\r\n--=_a0123456789abcdef\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "--=_a0123456789abcdef\r\nContent-Type: text/html; charset=utf-8\r\n",
            "--=_a0123456789abcdef--\r\n--=_m0123456789abcdef\r\nContent-Type: text/plain;\r\n "
            "name*=UTF-8''%C3%A9.txt\r\nContent-Transfer-Encoding: base64\r\n"
            "Content-Disposition: attachment;\r\n filename*=UTF-8''%C3%A9.txt\r\n\r\naGk=\r\n"
            "--=_m0123456789abcdef--\r\n",
        };

    (void)unused;
    assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
    assert_int_equal(fake_last()->mail.port, 465);
    body = fake_last()->body;
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
        const char *found = strstr(body, want[i]);

        if (!found)
            fail_msg("part %u is missing in:\n%s", i, fake_last()->body);
        body = found;
    }
    fake_answer_stage = HTTP_STAGE_TEXT;
    fake_answer(250, "250 ok", -1);
    adapter_smtp.close(state);
}

static void what_the_html_shows_is_related_to_it(void **unused)
{
    void *state = open_smtp("tls", "tls");
    struct job job = fake_job(
        "a@b.example",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"html\":\"<img "
        "src=\\\"cid:logo\\\">\","
        "\"attachments\":[{\"name\":\"l.png\",\"type\":\"image/png\",\"content_id\":\"logo\","
        "\"content\":\"aGk=\"},{\"name\":\"m.png\",\"type\":\"image/png\",\"content_id\":\"log\","
        "\"content\":\"aGk=\"},{\"name\":\"m.eml\",\"type\":\"message/rfc822\",\"content\":"
        "\"U3ViamVjdDogeAoKaGkK\"}]}}}");
    const char *body,
        *want[] = {
            "Content-Type: multipart/mixed;",
            "Content-Type: multipart/alternative;",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "--=_a0123456789abcdef\r\nContent-Type: multipart/related; type=\"text/html\";\r\n "
            "boundary=\"=_r0123456789abcdef\"\r\n\r\n--=_r0123456789abcdef\r\nContent-Type: "
            "text/html; charset=utf-8\r\n",
            "--=_r0123456789abcdef\r\nContent-Type: image/png;\r\n name=\"l.png\"",
            "Content-Disposition: inline;",
            "Content-ID: <logo>\r\n\r\naGk=\r\n--=_r0123456789abcdef--\r\n"
            "--=_a0123456789abcdef--\r\n--=_m0123456789abcdef\r\n",
            "Content-Disposition: attachment;\r\n filename=\"m.png\"\r\nContent-ID: <log>\r\n",
            "Content-Type: message/rfc822;\r\n name=\"m.eml\"\r\nContent-Transfer-Encoding: "
            "7bit\r\n",
            "\r\n\r\nSubject: x\r\n\r\nhi\r\n\r\n--=_m0123456789abcdef--\r\n",
        };

    (void)unused;
    assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
    body = fake_last()->body;
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
        const char *found = strstr(body, want[i]);

        if (!found)
            fail_msg("part %u is missing in:\n%s", i, fake_last()->body);
        body = found;
    }
    fake_answer_stage = HTTP_STAGE_TEXT;
    fake_answer(250, "250 ok", -1);
    adapter_smtp.close(state);
}

/* The longest line without its CRLF. */
static size_t longest_line(const struct buf *out)
{
    size_t longest = 0, column = 0;

    for (size_t i = 0; i < out->length; i++) {
        column = out->data[i] == '\n' ? 0 : column + (out->data[i] != '\r');
        longest = column > longest ? column : longest;
    }
    return longest;
}

static void no_line_of_a_header_is_over_998_octets(void **unused)
{
    static const char name[] =
        "X-Long-Name-Of-Header-That-Is-As-Long-As-A-Name-May-Be-Which-Is-76-abcdefghi";
    static const char *const names[] = {"Subject", name, "X", "References", "List-Unsubscribe"};
    char value[999];
    struct buf out = {0};

    (void)unused;
    for (size_t length = 1; length <= 998; length++) {
        memset(value, 'a', length);
        value[length] = '\0';
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            buf_clear(&out);
            if (!mime_header_fits(names[i], value)) {
                assert_true(i >= 3 && length == 998);
                continue;
            }
            mime_header(&out, names[i], value);
            assert_true(longest_line(&out) <= 998);
            if (strstr(out.data, "=?"))
                assert_true(longest_line(&out) <= (i == 1 ? 78 : 76));
        }
    }
    buf_fini(&out);
}

static void every_line_is_short_and_every_byte_ascii(void **unused)
{
    char text[2000], subject[400];
    struct buf out = {0};
    size_t column = 0;

    (void)unused;
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, i % 7 ? "\xc3\xa9" : "a ", 2);
    text[sizeof text - 2] = '\0';
    for (size_t i = 0; i + 4 < sizeof subject; i += 4)
        memcpy(subject + i, "\xf0\x9f\x94\x94", 4);
    subject[sizeof subject - 4] = '\0';
    mime_header(&out, "Subject", subject);
    mime_header(&out, "X-Long",
                "word word word word word word word word word word word word word word word word "
                "word word word word word word word");
    mime_quoted_printable(&out, text);
    for (size_t i = 0; i < out.length; i++) {
        column = out.data[i] == '\n' ? 0 : column + 1;
        assert_true((unsigned char)out.data[i] < 0x7F);
        assert_true(column <= 77); /* 76 and the CR */
        if (out.data[i] == '\n')
            assert_true(out.data[i - 1] == '\r');
    }
    buf_fini(&out);
}

static void quoted_printable_cases(void **unused)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"a", "a\r\n"},
        {"a\n", "a\r\n"},
        {"a\r\nb", "a\r\nb\r\n"},
        {"a \nb\t\n", "a=20\r\nb=09\r\n"},
        {"a\rb", "a=0Db\r\n"},
        {"=", "=3D\r\n"},
        {".\n..\n", ".\r\n..\r\n"},
        {"\n\n", "\r\n\r\n"},
    };
    struct buf out = {0};

    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_clear(&out);
        mime_quoted_printable(&out, cases[i].text);
        assert_string_equal(buf_text(&out), cases[i].want);
    }
    buf_fini(&out);
}

/* One answer, one judgement: what a reply says of the mailbox depends on all its lines. */
static void a_mailbox_is_dead_only_by_a_code_in_every_line_at_rcpt(void **unused)
{
    static const struct {
        enum http_stage stage;
        int status;
        const char *reply;
        enum outcome_kind kind;
        enum reason reason;
    } cases[] = {
        {HTTP_STAGE_RCPT, 550, "550-5.1.1 no such user\n550 5.1.1 see https://x.example",
         OUTCOME_DEAD_TARGET, REASON_BOUNCED},
        {HTTP_STAGE_RCPT, 550, "550-5.7.1 blocked for policy\n550 see https://postmaster.example/x",
         OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_RCPT, 550, "550-5.1.1 no such user\n550 see https://x.example",
         OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {HTTP_STAGE_RCPT, 550, "550-5.1.1 no such user\n550 5.7.1 blocked", OUTCOME_PERMANENT,
         REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_RCPT, 550, "550-Verification failed\n550 Sender verify failed",
         OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_RCPT, 550, "550 JunkMail rejected - in an RBL", OUTCOME_PERMANENT,
         REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_RCPT, 553, "553 5.6.7 no SMTPUTF8", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {HTTP_STAGE_TEXT, 550, "550 SPF check failed", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_TEXT, 553, "553 sorry, your envelope sender domain is not allowed",
         OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {HTTP_STAGE_TEXT, 550, "550 5.1.1 no such user", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {HTTP_STAGE_DATA, 550, "550 5.1.1 no such user", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {HTTP_STAGE_MAIL, 550, "550 5.1.1 no such user", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {HTTP_STAGE_MAIL, 553, "553 sender refused", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {HTTP_STAGE_OPEN, 554, "554 no service for 192.0.2.7", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {HTTP_STAGE_OPEN, 450, "450 come back later", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {HTTP_STAGE_RCPT, 250, "250 ok", OUTCOME_RETRY, REASON_CONNECTION_LOST},
    };
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_forget();
        assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
        fake_answer_stage = cases[i].stage;
        fake_answer(cases[i].status, cases[i].reply, -1);
        if (fake_outcome.kind != cases[i].kind && cases[i].status >= 400)
            fail_msg("%s: %s", cases[i].reply, outcome_name(fake_outcome.kind));
        if (cases[i].status >= 400)
            assert_int_equal(fake_outcome.reason, cases[i].reason);
        assert_int_not_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    }
    adapter_smtp.close(state);
}

static void a_sender_that_the_request_chose_is_its_own_fault(void **unused)
{
    void *state = open_smtp("allow_from", "true");
    struct job job =
        fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":"
                                "{\"from\":\"x@elsewhere.example\"}}}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
    fake_answer_stage = HTTP_STAGE_MAIL;
    fake_answer(550, "550 5.1.8 bad sender", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_PERMANENT);
    adapter_smtp.close(state);
}

static void every_reply_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {421, "421 4.3.2 closing", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {421, "421 4.7.28 too many", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {421, "421 rate limit exceeded", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {450, "450 4.2.0 busy", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {450, "450 4.7.1 greylisted", -1, OUTCOME_RETRY_AFTER, REASON_PROVIDER_REJECTED},
        {451, "451 4.7.1 greylisted", -1, OUTCOME_RETRY_AFTER, REASON_PROVIDER_REJECTED},
        {451, "451 local error", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {452, "452 4.3.1 no room", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {452, "452 4.2.2 full", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {454, "454 4.7.0 temporary", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {454, "454 Throttling failure", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {499, "499 strange", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {530, "530 5.7.0 STARTTLS first", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {534, "534", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {535, "535 5.7.8 bad", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {538, "538", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {550, "550 5.1.1 no such user", -1, OUTCOME_DEAD_TARGET, REASON_BOUNCED},
        {550, "550 5.1.2 x", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {553, "553 5.1.3 x", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {551, "551 5.1.6 x", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {550, "550 5.1.10 x", -1, OUTCOME_DEAD_TARGET, REASON_BOUNCED},
        {550, "550 5.2.1 x", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {550, "550 no such user", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {550, "550 5.1.8 bad sender", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {550, "550 5.7.1 relaying denied", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {550, "550 5.7.1 policy", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {550, "550 5.7.26 dmarc", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {550, "550 5.4.1 odd", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {552, "552 too big", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {552, "552 5.2.2 full", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {552, "552 5.2.3 big", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {552, "552 Mailbox full", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {552, "552 over quota", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {552, "552 aborted: exceeded storage allocation", -1, OUTCOME_PERMANENT,
         REASON_PROVIDER_REJECTED},
        {552, "552 mailbox limit", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {421, "421 the corporate server is closing", -1, OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {452, "452 mailbox full", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {422, "422 the mailbox is full", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {454, "454 4.7.1 <a@b.example>: Relay access denied", -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {450, "450 4.2.0 <a@b.example>: Greylisted", -1, OUTCOME_RETRY_AFTER,
         REASON_PROVIDER_REJECTED},
        {421, "421 4.2.0 graylisted", -1, OUTCOME_RETRY_AFTER, REASON_PROVIDER_REJECTED},
        {450, "450 4.3.2 please try again in 60 seconds", -1, OUTCOME_RETRY_AFTER,
         REASON_PROVIDER_REJECTED},
        {550, "550 5.7.60 Client does not have permissions to send as this sender", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {530, "530 5.7.57 Client not authenticated to send mail", -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {550, "550 5.7.57 Client not authenticated to send mail", -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {550, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {553, "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user x", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {554, "554 5.6.0 content", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {554, "554 spam", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {599, "599 strange", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
    };
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    fake_answer_stage = HTTP_STAGE_RCPT;
    fake_check_cases(&adapter_smtp, state, &job, cases, sizeof cases / sizeof cases[0]);
    adapter_smtp.close(state);
}

/* RFC 5321 4.5.4.1: what one recipient's server puts off is not tried again within seconds. */
static void a_recipient_put_off_waits_minutes_or_the_time_named(void **unused)
{
    static const struct {
        int status;
        const char *body;
        int64_t wait_ms;
    } cases[] = {
        {450, "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted", 300000},
        {451, "451 Greylisting in action", 300000},
        {451, "451 4.7.1 try later", 300000},
        {450, "450 4.2.0 Greylisted, see https://list.example/3/x for 5 or 6", 300000},
        {450, "450 4.2.0 Greylisted for 600 seconds", 600000},
        {451, "451 4.7.1 greylisted, try again in 10 minutes", 600000},
        {451, "451 try again in 2 hours", 7200000},
        {451, "451 try again in 30sec", 30000},
        {451, "451 try again in 99999 hours", 86400000},
        {451, "451 try again in 999999999999999999999 minutes", 300000},
        {451, "451 try again in five minutes", 300000},
        {450, "450 4.2.1 busy", 120000},
        {451, "451 local error", 120000},
        {452, "452 4.2.2 full", 120000},
        {452, "452 mailbox full", 120000},
    };
    static const enum http_stage stages[] = {HTTP_STAGE_RCPT, HTTP_STAGE_DATA, HTTP_STAGE_TEXT};
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    for (size_t k = 0; k < sizeof stages / sizeof stages[0]; k++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            fake_forget();
            fake_answer_stage = stages[k];
            assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
            fake_answer(cases[i].status, cases[i].body, -1);
            if (fake_outcome.retry_after_ms != cases[i].wait_ms || !fake_outcome.is_target_only)
                fail_msg("%s: %lld ms", cases[i].body, (long long)fake_outcome.retry_after_ms);
        }
    adapter_smtp.close(state);
}

/* Only we can mend it: the others of this destination wait, and this one is no dead letter. */
static void a_refused_sender_is_no_fault_of_the_message(void **unused)
{
    static const struct fake_case cases[] = {
        {553, "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user x", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {550, "550 5.7.1 Client does not have permissions to send as this sender", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {530, "530 5.7.57 Client was not authenticated", -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {550, "550 5.7.0 refused", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {552, "552 5.3.4 too big", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
    };
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    fake_answer_stage = HTTP_STAGE_MAIL;
    fake_check_cases(&adapter_smtp, state, &job, cases, sizeof cases / sizeof cases[0]);
    adapter_smtp.close(state);
}

static void a_lost_connection_is_judged_by_what_was_sent(void **unused)
{
    static const struct {
        enum http_fail fail;
        bool is_sent, is_fully_sent;
        enum outcome_kind kind;
        bool is_connection;
    } cases[] = {
        {HTTP_FAIL_CONNECT, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_TLS, true, false, OUTCOME_AUTH_CONFIG_ERROR, false},
        {HTTP_FAIL_RESET, true, false, OUTCOME_RETRY, false},
        {HTTP_FAIL_RESET, true, true, OUTCOME_UNKNOWN, false},
        {HTTP_FAIL_TIMEOUT, true, true, OUTCOME_UNKNOWN, false},
    };
    void *state = open_smtp(NULL, NULL);
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_forget();
        assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
        fake_failure(cases[i].fail, cases[i].is_sent, cases[i].is_fully_sent);
        assert_int_equal(fake_outcome_count, 1);
        assert_int_equal(fake_outcome.kind, cases[i].kind);
        assert_int_equal(fake_outcome.is_connection, cases[i].is_connection);
    }
    adapter_smtp.close(state);
}

static void bounces_can_go_to_an_address_of_their_own(void **unused)
{
    void *state = open_smtp("envelope_from", "bounce+{id}@example.org");
    struct job job = fake_job("a@b.example", PLAIN);

    (void)unused;
    assert_int_equal(fake_send(&adapter_smtp, state, &job), 0);
    assert_string_equal(fake_last()->from, "bounce+0123456789abcdef@example.org");
    fake_answer_stage = HTTP_STAGE_TEXT;
    fake_answer(250, "250 ok", -1);
    adapter_smtp.close(state);
}

static void a_password_never_crosses_the_net_in_the_clear(void **unused)
{
    const char *pairs[] = {"host",          "mail.example",  "username", "u",
                           "password_file", fake_file("pw"), "from",     "a@b.example",
                           "tls",           "none",          NULL};
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_smtp, pairs, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "in the clear"));
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
        cmocka_unit_test_teardown(the_mail_is_complete_and_ascii, forget),
        cmocka_unit_test_teardown(parts_nest_as_readers_expect, forget),
        cmocka_unit_test(what_the_html_shows_is_related_to_it),
        cmocka_unit_test(no_line_of_a_header_is_over_998_octets),
        cmocka_unit_test(every_line_is_short_and_every_byte_ascii),
        cmocka_unit_test(quoted_printable_cases),
        cmocka_unit_test_teardown(a_mailbox_is_dead_only_by_a_code_in_every_line_at_rcpt, forget),
        cmocka_unit_test_teardown(a_sender_that_the_request_chose_is_its_own_fault, forget),
        cmocka_unit_test_teardown(every_reply_ends_in_its_class, forget),
        cmocka_unit_test_teardown(a_recipient_put_off_waits_minutes_or_the_time_named, forget),
        cmocka_unit_test_teardown(a_refused_sender_is_no_fault_of_the_message, forget),
        cmocka_unit_test_teardown(a_lost_connection_is_judged_by_what_was_sent, forget),
        cmocka_unit_test_teardown(bounces_can_go_to_an_address_of_their_own, forget),
        cmocka_unit_test_teardown(a_password_never_crosses_the_net_in_the_clear, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
