/* SPDX-License-Identifier: MIT */
/*
 * Any content of a request, any target and any answer of a provider, through every adapter: one
 * outcome, once; nothing that breaks out of a header, a URL or a mail's line.
 *
 * Input: adapter, status, flags (a byte each), content up to a NUL, then the answer; where a flag
 * says so the answer ends with a NUL as well, and the target follows.
 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "channels/adapters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* ---- the engine: keeps the one request under way ---- */

static http_response_fn *on_response;
static void *on_response_ctx;
static void (*on_due)(void *ctx);
static void *on_due_ctx;
static unsigned outcomes;

static void check_line(const char *text)
{
    ASSERT(text[strcspn(text, "\r\n")] == '\0');
}

int http_send(struct http_client *client, const struct http_request *request,
              http_response_fn *on_done, void *ctx)
{
    (void)client;
    for (unsigned i = 0; i < request->header_count; i++)
        if (strpbrk(request->headers[i].value, "\r\n"))
            return ERR_INVALID; /* as the real one */
    if (strncmp(request->url, "http", 4) != 0 || strpbrk(request->url, "\r\n"))
        return ERR_INVALID;
    ASSERT(!on_response);
    on_response = on_done;
    on_response_ctx = ctx;
    return 0;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x7F)
        text++;
    return !*text;
}

/* RFC 5322 as we promise it: ASCII unless an address is beyond it, CRLF, no long lines. */
int http_send_mail(struct http_client *client, const struct http_mail *mail,
                   http_response_fn *on_done, void *ctx)
{
    const char *message = mail->message;
    size_t column = 0;
    bool is_plain = is_ascii(mail->from) && is_ascii(mail->recipients[0]);

    (void)client;
    check_line(mail->recipients[0]);
    for (size_t i = 0; i < mail->message_bytes; i++) {
        ASSERT(!is_plain || (unsigned char)message[i] < 0x7F);
        ASSERT((message[i] == '\n') == (i > 0 && message[i - 1] == '\r'));
        column = message[i] == '\n' ? 0 : column + 1;
        ASSERT(column < 1100);
    }
    on_response = on_done;
    on_response_ctx = ctx;
    return 0;
}

const char *http_response_header(const struct http_response *response, const char *name)
{
    (void)name;
    return response->body_bytes % 3 == 1 ? response->body : NULL;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms,
                      void (*run)(void *ctx), void *ctx)
{
    (void)loop, (void)timer, (void)after_ms;
    on_due = run;
    on_due_ctx = ctx;
}

void loop_timer_stop(struct loop_timer *timer)
{
    (void)timer;
}

static int64_t wall_ms(void)
{
    return 1700000000000;
}

static void on_outcome(void *ctx, const struct outcome *outcome)
{
    (void)ctx;
    ASSERT(outcome->kind < OUTCOME_COUNT);
    ASSERT(memchr(outcome->code, '\0', sizeof outcome->code));
    ASSERT(memchr(outcome->provider_id, '\0', sizeof outcome->provider_id));
    ASSERT(memchr(outcome->detail, '\0', sizeof outcome->detail));
    check_line(outcome->detail);
    check_line(outcome->code);
    outcomes++;
}

/* ---- the destinations, opened once ---- */

static const char *rsa_file, *ec_file, *word_file, *secret_file, *account_file;
static struct {
    const struct adapter *adapter;
    void *state;
    const char *target;
} opened[32];
static unsigned opened_count;

static const char *write_private(const char *text, size_t length)
{
    char *path = xstrdup("/tmp/tocsin-fuzz-XXXXXX");
    int fd = mkstemp(path);

    ASSERT(fd >= 0 && fchmod(fd, 0600) == 0);
    ASSERT(write(fd, text, length) == (ssize_t)length);
    close(fd);
    return path;
}

static char *pem_of(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *copy;
    long length;

    PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
    length = BIO_get_mem_data(bio, &pem);
    copy = xstrndup(pem, (size_t)length);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return copy;
}

/* A value of the right kind for any key of any adapter. */
static const char *get_setting(void *ctx, const char *key)
{
    const struct adapter *adapter = ctx;

    if (strcmp(key, "service_account_file") == 0)
        return account_file;
    if (strcmp(key, "key_file") == 0 || strcmp(key, "vapid_private_key_file") == 0)
        return ec_file;
    if (strcmp(key, "private_key_file") == 0)
        return rsa_file;
    if (strcmp(key, "secret_file") == 0)
        return secret_file;
    if (strcmp(key, "from") == 0)
        return adapter->channel == CHANNEL_EMAIL ? "Tocsin <a@example.org>" : "Tocsin";
    if (strcmp(key, "vapid_subject") == 0)
        return "mailto:a@example.org";
    if (strcmp(key, "base_url") == 0)
        return "https://provider.example";
    for (const struct adapter_key *row = adapter->keys; row->name; row++)
        if (strcmp(row->name, key) == 0 && row->is_required)
            return row->kind == ADAPTER_FILE ? word_file : "word";
    return strcmp(key, "application_id") == 0 ? "app" : NULL;
}

static const char *target_of(const struct adapter *adapter)
{
    static const char *const targets[CHANNEL_COUNT] = {
        [CHANNEL_SMS] = "+15005550006",
        [CHANNEL_EMAIL] = "a@b.example",
        [CHANNEL_CHAT] = "https://room.example/x",
        [CHANNEL_WEBHOOK] = "https://hook.example/x",
    };

    if (strcmp(adapter->name, "apns") == 0)
        return "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    if (strcmp(adapter->name, "webpush") == 0)
        return "{\"endpoint\":\"https://push.example/p\",\"keys\":{\"p256dh\":"
               "\"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpk"
               "NtoIAiw4\",\"auth\":\"BTBZMqHH6r4Tts7J_aSIgg\"}}";
    if (strcmp(adapter->name, "whatsapp") == 0)
        return "+15005550006";
    return adapter->channel == CHANNEL_PUSH ? "token" : targets[adapter->channel];
}

static void make_files(void)
{
    char *rsa = pem_of(EVP_RSA_gen(2048)), *ec = pem_of(EVP_EC_gen("P-256"));
    struct buf account = {0};

    rsa_file = write_private(rsa, strlen(rsa));
    ec_file = write_private(ec, strlen(ec));
    word_file = write_private("word", 4);
    secret_file = write_private("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 38);
    buf_add_text(&account, "{\"client_email\":\"a@b\",\"project_id\":\"p\",\"private_key\":");
    buf_add_json(&account, rsa);
    buf_add_char(&account, '}');
    account_file = write_private(account.data, account.length);
    buf_fini(&account);
    free(rsa);
    free(ec);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct adapter_env env = {.wall_ms = wall_ms};
    const char *files[5];
    char why[512];

    (void)argc, (void)argv;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    make_files();
    for (unsigned i = 0; adapter_all()[i]; i++) {
        const struct adapter *adapter = adapter_all()[i];
        struct adapter_settings settings = {adapter->name, get_setting, (void *)(uintptr_t)adapter};

        if (adapter->open(&env, &settings, &opened[i].state, why, sizeof why) != 0)
            fatal("fuzz.failed", why);
        opened[i].adapter = adapter;
        opened[i].target = target_of(adapter);
        opened_count++;
    }
    memcpy(files, (const char *[]){rsa_file, ec_file, word_file, secret_file, account_file},
           sizeof files);
    for (unsigned i = 0; i < 5; i++) {
        unlink(files[i]);
        free((void *)(uintptr_t)files[i]);
    }
    return 0;
}

/* Everything that a job waits for, until it has its outcome. */
static void answer_all(int status, int64_t retry_after_ms, const char *body, size_t length)
{
    static const char token[] = "{\"access_token\":\"t\",\"expires_in\":3600}";

    for (unsigned round = 0; outcomes == 0 && round < 40; round++) {
        struct http_response response = {.is_sent = true,
                                         .is_fully_sent = true,
                                         .status = status,
                                         .body = body,
                                         .body_bytes = length,
                                         .retry_after_ms = retry_after_ms};
        http_response_fn *call = on_response;
        void (*due)(void *ctx) = on_due;

        if (due) {
            on_due = NULL;
            due(on_due_ctx);
            continue;
        }
        ASSERT(call); /* or the job is lost */
        on_response = NULL;
        if (round == 0 && status % 2) { /* lets FCM have its token, too */
            response.status = 200;
            response.body = token;
            response.body_bytes = sizeof token - 1;
        }
        if (status < 100) {
            response.fail = (enum http_fail)(1 + status % 9);
            response.status = 0;
        }
        call(on_response_ctx, &response);
    }
    ASSERT(outcomes == 1 && !on_response && !on_due);
}

/* Cuts what follows the answer's NUL off; NULL when there is none. */
static const char *cut_target(char *body, size_t *length)
{
    char *end = *length > 1 ? memchr(body + 1, 0, *length - 1) : NULL;

    if (!end)
        return NULL;
    *length = (size_t)(end - body);
    return end + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *target = NULL;
    char *content, *body;
    size_t length = 0, body_length;
    unsigned which;

    if (size < 4)
        return 0;
    which = data[0] % opened_count;
    while (3 + length < size && data[3 + length])
        length++;
    content = xstrndup((const char *)data + 3, length);
    body_length = size - 3 - length;
    body = xcalloc(1, body_length + 1);
    memcpy(body, data + 3 + length, body_length);
    if (data[2] & 8)
        target = cut_target(body, &body_length);
    struct job job = {.delivery = 1,
                      .notification = 1,
                      .attempt = 1,
                      .service = "s",
                      .request = "r",
                      .type = "t",
                      .priority = (enum priority)(data[1] % PRIORITY_COUNT),
                      .target = target ? target : opened[which].target,
                      .content = content,
                      .content_bytes = length,
                      .created_ms = wall_ms(),
                      .expires_ms = data[2] & 1 ? wall_ms() + 60000 : 0,
                      .collapse_key = data[2] & 2 ? "key" : NULL};

    outcomes = 0;
    ASSERT(opened[which].adapter->send(opened[which].state, &job, on_outcome, NULL) == 0);
    ASSERT(outcomes == 0);
    answer_all(data[1] * 3, data[2] & 4 ? data[2] * 100 : -1, body + (body_length > 0),
               body_length ? body_length - 1 : 0);
    free(content);
    free(body);
    return 0;
}
