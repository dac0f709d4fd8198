/* SPDX-License-Identifier: MIT */
#include "channels/http_outcome.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A word of a code, not NUL-terminated. */
struct word {
    const char *text;
    size_t length;
};

static bool is_number(const char *text, size_t length, long *number)
{
    *number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 9)
            return false;
        *number = *number * 10 + (text[i] - '0');
    }
    return length > 0;
}

/* One alternative of a codes column: a word, a beginning "5.7.*", or numbers "30010-30016". */
static bool alternative_fits(struct word want, struct word code)
{
    const char *dash = memchr(want.text, '-', want.length);
    long first, last, number;

    if (code.length == want.length && strncasecmp(want.text, code.text, want.length) == 0)
        return true;
    if (want.text[want.length - 1] == '*')
        return code.length >= want.length &&
               strncasecmp(want.text, code.text, want.length - 1) == 0;
    return dash && is_number(want.text, (size_t)(dash - want.text), &first) &&
           is_number(dash + 1, (size_t)(want.text + want.length - dash - 1), &last) &&
           is_number(code.text, code.length, &number) && number >= first && number <= last;
}

static bool codes_fit(const char *codes, const char *code)
{
    if (!code)
        return false;
    for (; *code; code += strspn(code, " ")) {
        struct word have = {code, strcspn(code, " ")};

        for (const char *at = codes; *at; at += *at == ',') {
            struct word want = {at, strcspn(at, ",")};

            if (alternative_fits(want, have))
                return true;
            at += want.length;
        }
        code += have.length;
    }
    return false;
}

static bool status_fits(int wanted, int status)
{
    return wanted < 10 ? status / 100 == wanted : status == wanted;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Where a word begins: "corporate" does not say "rate". */
static bool says(const char *text, const char *words)
{
    for (const char *at = text; (at = strcasestr(at, words)); at++)
        if (at == text || !is_alnum(at[-1]) || !is_alnum(words[0]))
            return true;
    return false;
}

const struct error_row *error_find(const struct error_table *table, enum http_stage stage,
                                   int status, const char *code, const char *text)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct error_row *row = &table->rows[i];

        if (row->status && !status_fits(row->status, status))
            continue;
        if (row->stage && row->stage != stage)
            continue;
        if (row->codes && !codes_fit(row->codes, code))
            continue;
        if (row->says && !(text && says(text, row->says)))
            continue;
        return row;
    }
    return NULL;
}

void outcome_set_code(struct outcome *outcome, const char *code)
{
    size_t length = 0;

    for (; code && *code && *code != ' ' && length + 1 < sizeof outcome->code; code++) {
        bool is_word = (*code >= '0' && *code <= '9') || (*code >= 'A' && *code <= 'Z') ||
                       (*code >= 'a' && *code <= 'z') || strchr("_.:-", *code);

        outcome->code[length++] = is_word ? *code : '?';
    }
    outcome->code[length] = '\0';
}

void http_outcome_good(struct outcome *outcome, enum outcome_kind kind, const char *provider_id)
{
    outcome_set(outcome, kind, REASON_NONE, "");
    if (provider_id)
        (void)snprintf(outcome->provider_id, sizeof outcome->provider_id, "%s", provider_id);
}

void http_outcome_named(const struct http_response *response, const char *provider_id,
                        struct outcome *outcome)
{
    if (provider_id && provider_id[0])
        http_outcome_good(outcome, OUTCOME_ACCEPTED, provider_id);
    else
        http_outcome_unrecognised(response, outcome);
}

static void set_connection(struct outcome *outcome, enum reason reason, const char *detail)
{
    outcome_set(outcome, OUTCOME_RETRY, reason, detail);
    outcome->is_connection = true;
}

/* Lost on the way: what may have happened depends on how much had left. */
static void set_lost(const struct http_response *response, enum reason reason, const char *what,
                     struct outcome *outcome)
{
    char detail[128];

    if (response->is_fully_sent) {
        (void)snprintf(detail, sizeof detail, "%s after the request was sent", what);
        outcome_set(outcome, OUTCOME_UNKNOWN, reason, detail);
    } else if (response->is_sent) {
        (void)snprintf(detail, sizeof detail, "%s while the request was being sent", what);
        outcome_set(outcome, OUTCOME_RETRY, reason, detail);
    } else {
        (void)snprintf(detail, sizeof detail, "%s before anything was sent", what);
        set_connection(outcome, reason, detail);
    }
}

/* One sentence for both, so that a service's receipts do not list the names of an inner network. */
#define UNREACHABLE_NAME "the host name does not resolve to an address that is allowed"

bool http_outcome_of_failure(const struct http_response *response, struct outcome *outcome)
{
    /* The status line is the provider's word, even when its body was cut off. */
    if (response->fail == HTTP_FAIL_NONE || response->status >= 200)
        return false;
    switch (response->fail) {
    case HTTP_FAIL_RESOLVE:
        set_connection(outcome, REASON_PROVIDER_UNAVAILABLE, UNREACHABLE_NAME);
        return true;
    case HTTP_FAIL_CONNECT:
        set_connection(outcome, REASON_PROVIDER_UNAVAILABLE, "no connection");
        return true;
    case HTTP_FAIL_TLS:
        set_connection(outcome, REASON_PROVIDER_UNAVAILABLE, "the TLS handshake failed");
        return true;
    case HTTP_FAIL_FORBIDDEN:
        outcome_set(outcome, OUTCOME_PERMANENT, REASON_TARGET_INVALID, UNREACHABLE_NAME);
        return true;
    case HTTP_FAIL_TIMEOUT:
        set_lost(response, REASON_NETWORK_TIMEOUT, "timeout", outcome);
        return true;
    case HTTP_FAIL_GARBAGE:
        set_lost(response, REASON_CONNECTION_LOST, "an answer that is not HTTP", outcome);
        return true;
    case HTTP_FAIL_TOO_LARGE:
        set_lost(response, REASON_PROVIDER_UNAVAILABLE, "an answer over the limit", outcome);
        return true;
    case HTTP_FAIL_CLOSED:
        set_lost(response, REASON_CONNECTION_LOST, "shutdown", outcome);
        return true;
    case HTTP_FAIL_RESET:
    case HTTP_FAIL_NONE:
        break;
    }
    set_lost(response, REASON_CONNECTION_LOST, "connection lost", outcome);
    return true;
}

struct facts error_row_facts(const struct error_row *row)
{
    return (struct facts){.dead = row->dead,
                          .is_refused = row->is_refused,
                          .trouble = row->trouble,
                          .processed = row->processed ? row->processed : FACT_NO,
                          .is_target_only = row->is_target_only,
                          .is_unsure = row->is_unsure,
                          .reason = row->reason,
                          .wait_ms = row->wait_ms ? row->wait_ms : -1};
}

/* What a status means when the provider's own table says nothing. */
static const struct {
    int first, last;
    enum fact is_refused;
    enum trouble trouble;
    enum reason reason;
    const char *note;
} BARE[] = {
    {429, 429, FACT_NO, TROUBLE_RATE, REASON_RATE_LIMITED, "too many requests"},
    {501, 501, FACT_YES, TROUBLE_NONE, REASON_PROVIDER_REJECTED,
     "the provider does not support this request"},
    {505, 505, FACT_YES, TROUBLE_NONE, REASON_PROVIDER_REJECTED,
     "the provider does not support this request"},
    {408, 408, FACT_NO, TROUBLE_UNWELL, REASON_PROVIDER_UNAVAILABLE, "the provider is unwell"},
    {500, 999, FACT_NO, TROUBLE_UNWELL, REASON_PROVIDER_UNAVAILABLE, "the provider is unwell"},
    {401, 401, FACT_NO, TROUBLE_SETUP, REASON_PROVIDER_AUTH,
     "the provider refuses our credentials"},
    {403, 403, FACT_NO, TROUBLE_SETUP, REASON_PROVIDER_AUTH,
     "the provider refuses our credentials"},
    {413, 413, FACT_YES, TROUBLE_NONE, REASON_PAYLOAD_TOO_LARGE, "too large"},
    {400, 499, FACT_YES, TROUBLE_NONE, REASON_PROVIDER_REJECTED, "refused by the provider"},
    {300, 399, FACT_NO, TROUBLE_SETUP, REASON_PROVIDER_AUTH, "a redirect: base_url is wrong"},
};

static const char *judge_bare(int status, struct facts *facts)
{
    for (size_t i = 0; i < sizeof BARE / sizeof BARE[0]; i++) {
        if (status < BARE[i].first || status > BARE[i].last)
            continue;
        facts->is_refused = BARE[i].is_refused;
        facts->trouble = BARE[i].trouble;
        facts->reason = BARE[i].reason;
        facts->processed = FACT_NO;
        return BARE[i].note;
    }
    facts->reason = REASON_OUTCOME_UNKNOWN;
    return "an answer that says neither yes nor no";
}

const char *http_facts_of_status(const struct http_response *response,
                                 const struct error_table *table, const char *code,
                                 const char *text, struct facts *facts)
{
    const struct error_row *row =
        table ? error_find(table, response->stage, response->status, code, text) : NULL;
    bool has_wait = response->retry_after_ms >= 0;
    const char *note;

    *facts = (struct facts){.wait_ms = -1};
    if (row)
        *facts = error_row_facts(row);
    note = row ? row->note : judge_bare(response->status, facts);
    /* The provider's own time wins over the table's. */
    if (has_wait)
        facts->wait_ms = response->retry_after_ms;
    if (has_wait && (facts->trouble == TROUBLE_UNWELL || (!row && facts->trouble == TROUBLE_RATE)))
        facts->trouble = TROUBLE_QUOTA;
    return note;
}

void http_outcome_of_facts(const struct http_response *response, const struct facts *facts,
                           const char *note, const char *code, struct outcome *outcome)
{
    outcome_of_facts(outcome, facts, note);
    outcome->status = response->status;
    outcome_set_code(outcome, code);
}

void http_outcome_of_status(const struct http_response *response, const struct error_table *table,
                            const char *code, const char *text, struct outcome *outcome)
{
    struct facts facts;
    const char *note = http_facts_of_status(response, table, code, text, &facts);

    http_outcome_of_facts(response, &facts, note, code, outcome);
}

void http_outcome_prefer_wait(const struct http_response *response, struct outcome *outcome)
{
    if (outcome->kind == OUTCOME_THROTTLE && response->retry_after_ms >= 0)
        outcome->kind = OUTCOME_RETRY_AFTER;
}

void http_outcome_unrecognised(const struct http_response *response, struct outcome *outcome)
{
    struct facts facts = {
        .processed = FACT_UNKNOWN, .reason = REASON_OUTCOME_UNKNOWN, .wait_ms = -1};

    outcome_of_facts(outcome, &facts, "a good status, but not the answer of a success");
    outcome->status = response->status;
}
