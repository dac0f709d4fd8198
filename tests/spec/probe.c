/* SPDX-License-Identifier: MIT */
/*
 * probe - one adapter by itself: opened from words, driven at a provider, its outcome as JSON
 *
 *   probe ADAPTER [KEY=VALUE ...] [@OPTION=VALUE ...]
 *       opens the destination, sends one job and prints its outcome as one line of JSON.
 *       Options are of the job: @target @content @delivery (hex) @attempt @priority
 *       @collapse_key @expires_in (seconds) @type; and of the run: @count sends so many,
 *       @concurrency at once (deliveries count up from @delivery), @print=summary prints one
 *       line about all of them; @public_only is the adapter's own business.
 *   probe --keys ADAPTER    its configuration keys as rows of Markdown
 *   probe --errors ADAPTER  its error table as rows of Markdown
 *   probe --list            the names of all adapters
 *   probe --segments        for each line of standard input: its SMS encoding and parts
 *
 * Exits 0 when every job had its outcome, 2 when the destination cannot be opened.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "channels/adapters.h"
#include "core/id.h"
#include "core/sms.h"
#include "io/http_client.h"
#include "io/loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct probe {
    char **words; /* KEY=VALUE and @OPTION=VALUE */
    int word_count;
    struct loop *loop;
    const struct adapter *adapter;
    void *state;
    struct job job;
    uint64_t first_delivery;
    long count, started, ended, concurrency;
    bool is_summary, is_running;
    long kinds[OUTCOME_COUNT];
    struct loop_timer again; /* after ERR_FULL */
};

/* One job under way, with the ids that make it differ from the others. */
struct shot {
    struct probe *probe;
    struct job job;
};

static const char *word_of(const struct probe *probe, const char *prefix, const char *key)
{
    size_t start = strlen(prefix), length = strlen(key);

    for (int i = 0; i < probe->word_count; i++) {
        const char *word = probe->words[i];

        if (strncmp(word, prefix, start) == 0 && strncmp(word + start, key, length) == 0 &&
            word[start + length] == '=')
            return word + start + length + 1;
    }
    return NULL;
}

static const char *get_setting(void *ctx, const char *key)
{
    return word_of(ctx, "", key);
}

static const char *option(const struct probe *probe, const char *key, const char *otherwise)
{
    const char *value = word_of(probe, "@", key);

    return value ? value : otherwise;
}

static void add_text(struct buf *out, const char *name, const char *value)
{
    if (!value[0])
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, value);
}

static void print_outcome(const struct shot *shot, const struct outcome *outcome)
{
    struct buf out = {0};
    char id[ID_TEXT_BYTES];

    buf_printf(&out, "{\"delivery\":\"%s\",\"outcome\":\"%s\",\"status\":%d",
               id_format(shot->job.delivery, id), outcome_name(outcome->kind), outcome->status);
    add_text(&out, "reason", reason_name(outcome->reason));
    add_text(&out, "code", outcome->code);
    add_text(&out, "provider_id", outcome->provider_id);
    add_text(&out, "detail", outcome->detail);
    if (outcome->retry_after_ms >= 0)
        buf_printf(&out, ",\"retry_after_ms\":%lld", (long long)outcome->retry_after_ms);
    if (outcome->segments)
        buf_printf(&out, ",\"segments\":%d", outcome->segments);
    if (outcome->is_connection)
        buf_add_text(&out, ",\"is_connection\":true");
    if (outcome->is_target_only)
        buf_add_text(&out, ",\"is_target_only\":true");
    buf_add_char(&out, '}');
    puts(buf_text(&out));
    buf_fini(&out);
}

static void send_more(struct probe *probe);

static void on_outcome(void *ctx, const struct outcome *outcome)
{
    struct shot *shot = ctx;
    struct probe *probe = shot->probe;

    probe->kinds[outcome->kind]++;
    probe->ended++;
    if (!probe->is_summary)
        print_outcome(shot, outcome);
    free(shot);
    if (probe->ended == probe->count)
        loop_stop(probe->loop);
    else if (!probe->is_running)
        send_more(probe);
}

static void on_again(void *ctx)
{
    send_more(ctx);
}

static void send_more(struct probe *probe)
{
    probe->is_running = true;
    while (probe->started < probe->count && probe->started - probe->ended < probe->concurrency) {
        struct shot *shot = xcalloc(1, sizeof *shot);
        int err;

        shot->probe = probe;
        shot->job = probe->job;
        shot->job.delivery = probe->first_delivery + (uint64_t)probe->started;
        err = probe->adapter->send(probe->state, &shot->job, on_outcome, shot);
        if (err) {
            free(shot);
            loop_timer_start(probe->loop, &probe->again, 5, on_again, probe);
            break;
        }
        probe->started++;
    }
    probe->is_running = false;
}

static int64_t turn(void *ctx)
{
    (void)ctx;
    return -1;
}

static void read_job(struct probe *probe)
{
    struct job *job = &probe->job;
    int64_t now_ms = clock_wall_ms();
    long expires_s = atol(option(probe, "expires_in", "0"));

    if (priority_parse(option(probe, "priority", "normal"), &job->priority) != 0)
        fatal("probe.failed", "no such priority");
    if (id_parse(option(probe, "delivery", "0123456789abcdef"), &probe->first_delivery) != 0)
        fatal("probe.failed", "@delivery must be 16 hex digits");
    job->notification = 0x0123456789abcd00U;
    job->attempt = atoi(option(probe, "attempt", "1"));
    job->service = "probe";
    job->request = "probe-1";
    job->type = option(probe, "type", "probe.sent");
    job->target = option(probe, "target", "");
    job->content = option(probe, "content", "{\"title\":\"Probe\",\"body\":\"Hello\"}");
    job->content_bytes = strlen(job->content);
    job->collapse_key = option(probe, "collapse_key", NULL);
    job->created_ms = now_ms;
    job->expires_ms = expires_s ? now_ms + expires_s * 1000 : 0;
    probe->count = atol(option(probe, "count", "1"));
    probe->concurrency = atol(option(probe, "concurrency", "1"));
    probe->is_summary = strcmp(option(probe, "print", "all"), "summary") == 0;
}

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_summary(const struct probe *probe, double seconds, double cpu)
{
    const char *separator = "";

    printf("{\"count\":%ld,\"seconds\":%.3f,\"per_second\":%.0f,\"cpu_us_each\":%.1f,"
           "\"outcomes\":{",
           probe->ended, seconds, (double)probe->ended / seconds, cpu * 1e6 / (double)probe->ended);
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        if (!probe->kinds[i])
            continue;
        printf("%s\"%s\":%ld", separator, outcome_name((enum outcome_kind)i), probe->kinds[i]);
        separator = ",";
    }
    puts("}}");
}

static int drive(struct probe *probe)
{
    struct http_client_config config = {.max_inflight = 10000, .max_connections = 2000};
    struct adapter_settings settings = {"probe", get_setting, probe};
    struct adapter_env env = {.wall_ms = clock_wall_ms};
    int64_t started_us = clock_boot_us();
    double cpu = cpu_seconds();
    char why[512] = "";

    config.max_connections = (size_t)atol(option(probe, "connections", "2000"));
    http_library_init();
    probe->loop = env.loop = loop_new();
    env.http = http_client_open(env.loop, &config);
    if (probe->adapter->open(&env, &settings, &probe->state, why, sizeof why) != 0) {
        printf("{\"error\":\"open\",\"why\":\"%s\"}\n", why);
    } else {
        send_more(probe);
        loop_run(env.loop, turn, NULL);
        loop_timer_stop(&probe->again);
        probe->adapter->close(probe->state);
    }
    http_client_close(env.http);
    loop_free(env.loop);
    http_library_fini();
    if (why[0])
        return 2;
    if (probe->is_summary)
        print_summary(probe, (double)(clock_boot_us() - started_us) / 1e6, cpu_seconds() - cpu);
    return probe->ended == probe->count ? 0 : 1;
}

static void print_wait(int64_t ms)
{
    if (ms >= 3600000)
        printf(", not before %lld h", (long long)(ms / 3600000));
    else if (ms >= 60000)
        printf(", not before %lld min", (long long)(ms / 60000));
    else if (ms > 0)
        printf(", not before %lld s", (long long)(ms / 1000));
}

static const char *const stages[] = {
    [HTTP_STAGE_OPEN] = " before MAIL", [HTTP_STAGE_MAIL] = " to MAIL",
    [HTTP_STAGE_RCPT] = " to RCPT",     [HTTP_STAGE_DATA] = " to DATA",
    [HTTP_STAGE_TEXT] = " to the text",
};

static void print_status(const struct error_row *row)
{
    if (row->status >= 10)
        printf("| %d", row->status);
    else if (row->status)
        printf("| %dxx", row->status);
    else
        printf("| any");
    printf("%s", row->stage ? stages[row->stage] : "");
}

static void print_errors(const struct error_table *table)
{
    for (size_t i = 0; table && i < table->count; i++) {
        const struct error_row *row = &table->rows[i];
        struct facts facts = error_row_facts(row);
        struct outcome outcome;

        if (facts.trouble == TROUBLE_QUOTA && facts.wait_ms < 0)
            facts.wait_ms = 0;
        outcome_of_facts(&outcome, &facts, "");
        print_status(row);
        printf(" | %s", row->codes ? row->codes : "");
        if (row->says)
            printf("%s\"%s\"", row->codes ? " and " : "", row->says);
        printf(" | %s", outcome_name(outcome.kind));
        print_wait(row->wait_ms);
        printf(" | %s | %s%s%s |\n", reason_name(outcome.reason), row->note,
               row->is_target_only ? " (this target only)" : "",
               row->trouble == TROUBLE_SENDER ? " (permanent where the request chose it)" : "");
    }
}

static void print_keys(const struct adapter *adapter)
{
    static const char *const kinds[] = {
        [ADAPTER_TEXT] = "text",         [ADAPTER_URL] = "URL",       [ADAPTER_FILE] = "file",
        [ADAPTER_DURATION] = "duration", [ADAPTER_NUMBER] = "number", [ADAPTER_BOOL] = "bool",
    };

    for (const struct adapter_key *key = adapter->keys; key->name; key++)
        printf("| `%s` | %s | %s | %s |\n", key->name, kinds[key->kind],
               key->is_required ? "required"
               : key->fallback  ? key->fallback
                                : "",
               key->help);
}

static void print_segments(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    while ((length = getline(&line, &room, stdin)) > 0) {
        struct sms_size size;

        if (line[length - 1] == '\n')
            length--;
        size = sms_measure(line, (size_t)length);
        printf("%s %d\n", size.is_ucs2 ? "UCS-2" : "GSM-7", size.segments);
    }
    free(line);
}

static int usage(void)
{
    fputs("usage: probe ADAPTER [KEY=VALUE ...] [@OPTION=VALUE ...]\n"
          "       probe --keys ADAPTER | --errors ADAPTER | --list | --segments\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct probe probe = {.words = argv + 2, .word_count = argc - 2};

    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned i = 0; adapter_all()[i]; i++)
            puts(adapter_all()[i]->name);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--segments") == 0) {
        print_segments();
        return 0;
    }
    if (argc == 3 && strncmp(argv[1], "--", 2) == 0) {
        probe.adapter = adapter_find(argv[2]);
        if (!probe.adapter)
            return usage();
        if (strcmp(argv[1], "--keys") == 0)
            print_keys(probe.adapter);
        else
            print_errors(adapter_errors(argv[2]));
        return 0;
    }
    probe.adapter = argc >= 2 ? adapter_find(argv[1]) : NULL;
    if (!probe.adapter)
        return usage();
    read_job(&probe);
    return drive(&probe);
}
