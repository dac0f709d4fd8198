/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "channels/sigv4.h"
#include <dirent.h>

/* ---- sigv4: the published suite, where it is ---- */

static const char *const SES_BODY =
    "{\"FromEmailAddress\":\"f@example.com\",\"Destination\":{\"ToAddresses\":[\"t@example.com\"]},"
    "\"Content\":{\"Simple\":{\"Subject\":{\"Data\":\"s\"},\"Body\":{\"Text\":{\"Data\":\"t\"}}}}}";

static struct secret secret_key(void)
{
    struct secret key = {0};

    secret_set(&key, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 40);
    return key;
}

static void ses_vector(void **unused)
{
    struct secret key = secret_key();
    struct sigv4_account account = {"AKIDEXAMPLE", "us-east-1", "ses", &key};
    const struct http_header headers[] = {{"Host", "email.us-east-1.amazonaws.com"},
                                          {"content-type", "application/json"},
                                          {"x-amz-date", "20260101T000000Z"}};
    struct sigv4_request request = {
        "POST", "/v2/email/outbound-emails", "", headers, 3, SES_BODY, strlen(SES_BODY)};
    struct buf out = {0};
    char time[SIGV4_TIME_BYTES];

    (void)unused;
    assert_string_equal(sigv4_time(1767225600, time), "20260101T000000Z");
    sigv4_authorize(&out, &account, &request, time);
    assert_string_equal(
        buf_text(&out),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/ses/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=ae988360010c68d3d6fe450c065c455fa2cda68e1a439768267507a9512fa7ae");
    buf_fini(&out);
    secret_fini(&key);
}

static char *read_text(const char *directory, const char *name, const char *extension)
{
    char path[512];
    char *text = xcalloc(1, 16384);
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s/%s.%s", directory, name, name, extension);
    file = fopen(path, "rb");
    if (!file) {
        free(text);
        return NULL;
    }
    (void)!fread(text, 1, 16383, file);
    fclose(file);
    return text;
}

/* Signs one .sreq (less its Authorization) of the suite and compares with its .authz; false when
 * there is none. */
static bool check_suite_case(const char *directory, const char *name)
{
    char *req = read_text(directory, name, "sreq"), *want = read_text(directory, name, "authz");
    struct secret key = secret_key();
    struct sigv4_account account = {"AKIDEXAMPLE", "us-east-1", "service", &key};
    struct sigv4_request request = {.query = ""};
    struct http_header headers[16];
    struct buf out = {0};
    char *line, *path, *end;

    if (!req || !want) {
        free(req);
        free(want);
        secret_fini(&key);
        return false;
    }
    line = req;
    end = strchr(line, '\n');
    *end = '\0';
    request.method = line;
    path = strchr(line, ' ');
    *path++ = '\0';
    *strrchr(path, ' ') = '\0';
    if (strchr(path, '?')) {
        request.query = strchr(path, '?') + 1;
        *strchr(path, '?') = '\0';
    }
    request.path = path;
    for (line = end + 1; *line && *line != '\n'; line = end) {
        end = line + strcspn(line, "\n");
        while (end[0] == '\n' && (end[1] == ' ' || end[1] == '\t'))
            end += 1 + strcspn(end + 1, "\n"); /* a folded header */
        if (*end)
            *end++ = '\0';
        if (strncmp(line, "Authorization:", 14) == 0)
            continue;
        assert_true(request.header_count < 16);
        headers[request.header_count].name = line;
        headers[request.header_count++].value = strchr(line, ':') + 1;
        *strchr(line, ':') = '\0';
    }
    request.headers = headers;
    request.body = *line == '\n' ? line + 1 : "";
    request.body_bytes = strlen(request.body);
    sigv4_authorize(&out, &account, &request, "20150830T123600Z");
    want[strcspn(want, "\r\n")] = '\0';
    if (strcmp(buf_text(&out), want) != 0)
        fail_msg("%s: got %s\nwant %s", name, buf_text(&out), want);
    buf_fini(&out);
    secret_fini(&key);
    free(req);
    free(want);
    return true;
}

static void the_published_suite(void **unused)
{
    const char *spec = getenv("TOCSIN_SPEC_DIR");
    char directory[512];
    struct dirent *entry;
    unsigned checked = 0;
    DIR *dir;

    (void)unused;
    (void)snprintf(directory, sizeof directory, "%s/aws-sigv4",
                   spec ? spec : TOCSIN_SOURCE_DIR "/../shared/spec");
    dir = opendir(directory);
    if (!dir) {
        print_message("skipped: no SigV4 suite (set TOCSIN_SPEC_DIR)\n");
        skip();
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            checked += check_suite_case(directory, entry->d_name);
    }
    closedir(dir);
    print_message("%u cases of the suite\n", checked);
    assert_true(checked >= 24);
}

/* ---- the adapters ---- */

static void *open_ses(void)
{
    const char *pairs[] = {"region",
                           "us-east-1",
                           "access_key_id",
                           "AKIDEXAMPLE",
                           "secret_access_key_file",
                           fake_file("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                           "from",
                           "T\xc3\xb6 <f@example.com>",
                           "configuration_set",
                           "tocsin",
                           NULL};
    void *state;

    if (fake_open(&adapter_ses, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static const char *const RICH =
    "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"html\":\"<p>\",\"reply_to\":"
    "\"r@b.example\",\"list_unsubscribe\":\"https://x.example/u\",\"attachments\":[{\"name\":"
    "\"a.txt\",\"type\":\"text/plain\",\"content\":\"aGk=\"},{\"name\":\"i.png\",\"type\":"
    "\"image/png\",\"content\":\"AAAA\",\"content_id\":\"logo\"}]}}}";

static void ses_sends_the_whole_mail(void **unused)
{
    void *state = open_ses();
    struct job job = fake_job("a@b.example", RICH);

    (void)unused;
    assert_int_equal(fake_send(&adapter_ses, state, &job), 0);
    assert_string_equal(fake_last()->url,
                        "https://email.us-east-1.amazonaws.com/v2/email/outbound-emails");
    assert_string_equal(fake_header(fake_last(), "x-amz-date"), "20231114T221320Z");
    assert_non_null(strstr(fake_header(fake_last(), "authorization"),
                           "SignedHeaders=content-type;host;x-amz-date, Signature="));
    assert_string_equal(
        fake_last()->body,
        "{\"FromEmailAddress\":\"=?UTF-8?B?VMO2?= <f@example.com>\",\"Destination\":{"
        "\"ToAddresses\":[\"a@b.example\"]},\"ReplyToAddresses\":[\"r@b.example\"],\"Content\":{"
        "\"Simple\":{\"Subject\":{\"Data\":\"S\",\"Charset\":\"UTF-8\"},\"Body\":{\"Text\":{"
        "\"Data\":\"t\",\"Charset\":\"UTF-8\"},\"Html\":{\"Data\":\"<p>\",\"Charset\":\"UTF-8\"}},"
        "\"Headers\":[{\"Name\":\"List-Unsubscribe\",\"Value\":\"<https://x.example/u>\"},{"
        "\"Name\":\"List-Unsubscribe-Post\",\"Value\":\"List-Unsubscribe=One-Click\"}],"
        "\"Attachments\":[{\"FileName\":\"a.txt\",\"ContentType\":\"text/plain\","
        "\"ContentDisposition\":\"ATTACHMENT\",\"ContentTransferEncoding\":\"BASE64\","
        "\"RawContent\":\"aGk=\"},{\"FileName\":\"i.png\",\"ContentType\":\"image/png\","
        "\"ContentDisposition\":\"INLINE\",\"ContentTransferEncoding\":\"BASE64\",\"ContentId\":"
        "\"logo\",\"RawContent\":\"AAAA\"}]}},\"EmailTags\":[{\"Name\":\"tocsin_delivery\","
        "\"Value\":\"0123456789abcdef\"}],\"ConfigurationSetName\":\"tocsin\"}");
    fake_answer(200, "{\"MessageId\":\"m-1\"}", -1);
    assert_string_equal(fake_outcome.provider_id, "m-1");
    adapter_ses.close(state);
}

static void every_answer_of_ses_ends_in_its_class(void **unused)
{
#define SES(name, message) "{\"__type\":\"com.amazonaws#" name "\",\"message\":\"" message "\"}"
    static const struct fake_case cases[] = {
        {429, SES("TooManyRequestsException", "m"), -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {400, SES("ThrottlingException", "m"), -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {400, SES("Throttling", "Maximum sending rate exceeded."), -1, OUTCOME_THROTTLE,
         REASON_RATE_LIMITED},
        {400, SES("Throttling", "Daily message quota exceeded."), -1, OUTCOME_RETRY_AFTER,
         REASON_RATE_LIMITED},
        {400, SES("LimitExceededException", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {400, SES("AccountSuspendedException", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {400, SES("SendingPausedException", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {400, SES("MailFromDomainNotVerifiedException", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {403, SES("SignatureDoesNotMatch", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {404, SES("NotFoundException", "m"), -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {400, SES("MessageRejected", "Email address is not verified. X"), -1, OUTCOME_PERMANENT,
         REASON_PROVIDER_REJECTED},
        {400, SES("MessageRejected", "m"), -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {400, SES("BadRequestException", "m"), -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {413, "", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {502, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {504, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {509, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    const struct http_header headers[] = {
        {"x-amzn-ErrorType", "MessageRejected:http://internal.amazon.com/x"}, {NULL, NULL}};
    void *state = open_ses();
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");

    (void)unused;
    fake_check_cases(&adapter_ses, state, &job, cases, sizeof cases / sizeof cases[0]);
    assert_int_equal(fake_send(&adapter_ses, state, &job), 0);
    fake_answer_headers = headers;
    fake_answer(400, "{\"message\":\"m\"}", -1);
    fake_answer_headers = NULL;
    assert_string_equal(fake_outcome.code, "MessageRejected");
    fake_check_failures(&adapter_ses, state, &job);
    adapter_ses.close(state);
}

static void *open_mailgun(void)
{
    const char *pairs[] = {"domain",
                           "mg.example.org",
                           "api_key_file",
                           fake_file("key-x"),
                           "from",
                           "Tocsin <f@example.com>",
                           NULL};
    void *state;

    if (fake_open(&adapter_mailgun, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void mailgun_gets_a_form(void **unused)
{
    void *state = open_mailgun();
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t&u\"}");
    char part[128];
    const char *boundary;

    (void)unused;
    assert_int_equal(fake_send(&adapter_mailgun, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://api.mailgun.net/v3/mg.example.org/messages");
    assert_string_equal(fake_last()->user, "api");
    assert_string_equal(fake_last()->password, "key-x");
    assert_string_equal(fake_last()->body,
                        "from=%22Tocsin%22%20%3Cf%40example.com%3E&to=a%40b.example&subject=S&text="
                        "t%26u&h%3AMessage-Id=%3C0123456789abcdef.tocsin%40example.com%3E&"
                        "v%3Atocsin_delivery=0123456789abcdef");
    fake_answer(200, "{\"id\":\"<x@y>\",\"message\":\"Queued. Thank you.\"}", -1);
    assert_string_equal(fake_outcome.provider_id, "<x@y>");
    job = fake_job("a@b.example", RICH);
    assert_int_equal(fake_send(&adapter_mailgun, state, &job), 0);
    boundary = strstr(fake_header(fake_last(), "content-type"), "boundary=");
    assert_non_null(boundary);
    (void)snprintf(part, sizeof part,
                   "--%s\r\nContent-Disposition: form-data; name=\"attachment\"; "
                   "filename=\"a.txt\"\r\n",
                   boundary + 9);
    assert_non_null(strstr(fake_last()->body, part));
    assert_non_null(strstr(fake_last()->body, "name=\"inline\"; filename=\"logo\"\r\nContent-Type: "
                                              "image/png\r\n\r\n"));
    assert_non_null(strstr(fake_last()->body, "name=\"h:List-Unsubscribe-Post\"\r\n\r\n"
                                              "List-Unsubscribe=One-Click\r\n"));
    fake_answer(200, "{}", -1);
    adapter_mailgun.close(state);
}

static void every_answer_of_mailgun_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {400, "{\"message\":\"'to' parameter is not a valid address. please check\"}", -1,
         OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID},
        {400, "{\"message\":\"to parameter is not a valid address\"}", -1, OUTCOME_DEAD_TARGET,
         REASON_TARGET_INVALID},
        {400, "{\"message\":\"Domain mg.example.org is not allowed to send: x\"}", -1,
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {400, "{\"message\":\"from parameter is missing\"}", -1, OUTCOME_PERMANENT,
         REASON_CONTENT_INVALID},
        {401, "Forbidden", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {402, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {404, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {413, "", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {429, "{\"message\":\"x\"}", -1, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_mailgun();
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");

    (void)unused;
    fake_check_cases(&adapter_mailgun, state, &job, cases, sizeof cases / sizeof cases[0]);
    assert_int_equal(fake_send(&adapter_mailgun, state, &job), 0);
    fake_answer(
        429,
        "{\"message\":\"Recipient limit exceeded, try again after Tue, 14 Nov 2023 22:15:20 "
        "UTC\"}",
        -1);
    assert_int_equal(fake_outcome.retry_after_ms, 120000);
    fake_check_failures(&adapter_mailgun, state, &job);
    adapter_mailgun.close(state);
}

static void *open_postmark(void)
{
    const char *pairs[] = {"server_token_file", fake_file("tok"), "from", "f@example.com", NULL};
    void *state;

    if (fake_open(&adapter_postmark, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void postmark_gets_its_members(void **unused)
{
    void *state = open_postmark();
    struct job job = fake_job("a@b.example", RICH);

    (void)unused;
    assert_int_equal(fake_send(&adapter_postmark, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://api.postmarkapp.com/email");
    assert_string_equal(fake_header(fake_last(), "x-postmark-server-token"), "tok");
    assert_string_equal(
        fake_last()->body,
        "{\"Metadata\":{\"tocsin_delivery\":\"0123456789abcdef\"},\"From\":\"f@example.com\","
        "\"To\":"
        "\"a@b.example\",\"ReplyTo\":\"r@b.example\",\"Subject\":\"S\",\"TextBody\":\"t\","
        "\"HtmlBody\":\"<p>\",\"MessageStream\":\"outbound\",\"Headers\":[{\"Name\":"
        "\"List-Unsubscribe\",\"Value\":\"<https://x.example/u>\"},{\"Name\":"
        "\"List-Unsubscribe-Post\",\"Value\":\"List-Unsubscribe=One-Click\"}],\"Attachments\":[{"
        "\"Content\":\"aGk=\",\"Name\":\"a.txt\",\"ContentType\":\"text/plain\"},{\"Content\":"
        "\"AAAA\",\"Name\":\"i.png\",\"ContentType\":\"image/png\",\"ContentID\":\"cid:logo\"}]}");
    fake_answer(200, "{\"ErrorCode\":0,\"MessageID\":\"u\"}", -1);
    assert_string_equal(fake_outcome.provider_id, "u");
    adapter_postmark.close(state);
}

static void every_answer_of_postmark_ends_in_its_class(void **unused)
{
    static const struct {
        int status;
        const char *codes;
        enum outcome_kind kind;
        enum reason reason;
    } groups[] = {
        {401, "10 0", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {422, "300 402 403 409 410 411 1101 9999", OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {422, "400 401 405 413 1235 1236", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {422, "412", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {422, "406", OUTCOME_DEAD_TARGET, REASON_BOUNCED},
        {404, "0", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {413, "0", OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {415, "0", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {429, "0", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {500, "0 100", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "100 0", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {200, "406", OUTCOME_DEAD_TARGET, REASON_BOUNCED},
        {200, "777", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
    };
    void *state = open_postmark();
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");

    (void)unused;
    for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        const char *word = groups[i].codes;

        while (*word) {
            char body[128];
            struct fake_case one = {groups[i].status, body, -1, groups[i].kind, groups[i].reason};

            (void)snprintf(body, sizeof body, "{\"ErrorCode\":%.*s,\"Message\":\"m\"}",
                           (int)strcspn(word, " "), word);
            fake_check_cases(&adapter_postmark, state, &job, &one, 1);
            word += strcspn(word, " ");
            word += strspn(word, " ");
        }
    }
    fake_check_failures(&adapter_postmark, state, &job);
    adapter_postmark.close(state);
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
        cmocka_unit_test(ses_vector),
        cmocka_unit_test(the_published_suite),
        cmocka_unit_test_teardown(ses_sends_the_whole_mail, forget),
        cmocka_unit_test_teardown(every_answer_of_ses_ends_in_its_class, forget),
        cmocka_unit_test_teardown(mailgun_gets_a_form, forget),
        cmocka_unit_test_teardown(every_answer_of_mailgun_ends_in_its_class, forget),
        cmocka_unit_test_teardown(postmark_gets_its_members, forget),
        cmocka_unit_test_teardown(every_answer_of_postmark_ends_in_its_class, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
