/* SPDX-License-Identifier: MIT */
/*
 * http_outcome - from what an HTTP request came back with to the outcome of an attempt
 *
 * What is the same for every provider is here: failures below HTTP, and what a bare status
 * means.  What a provider's own codes mean is data: an array of rows beside its adapter, tried
 * in order, the first that fits wins; when none fits, the bare status decides.  The rows are
 * also what docs/providers/ shows, so that the page cannot differ from the code.
 *
 * Provider messages are never copied into an outcome: they quote numbers and addresses.  The
 * detail is the row's own note, and the provider's code, cut to harmless characters.
 *
 * Purity: no I/O, no clock, no log.
 */
#ifndef TOCSIN_CHANNELS_HTTP_OUTCOME_H
#define TOCSIN_CHANNELS_HTTP_OUTCOME_H
#include "core/facts.h"
#include "core/outcome.h"
#include "io/http_client.h"
#include <stdbool.h>
#include <stddef.h>

/* What an answer makes certain: see core/facts.h.  A row with a proof has the proof's reason. */
struct error_row {
    int status;            /* HTTP status or SMTP reply; 4 or 5: all that begin so; 0: any */
    enum http_stage stage; /* SMTP: the command that was answered; HTTP_STAGE_NONE: any */
    const char *codes;     /* the provider's: "A", or alternatives "1,7-9,5.6.*"; NULL: any */
    const char *says;      /* the answer has this text where a word begins (any case); NULL: any */
    enum dead_proof dead;
    enum fact is_refused;
    enum trouble trouble;
    enum fact processed;
    enum reason reason;
    const char *note;    /* for people: what it means */
    int64_t wait_ms;     /* when the provider names no time itself; 0: none */
    bool is_target_only; /* says nothing about the destination */
    bool is_unsure;      /* may say nothing about it: the answer is the same for a target's limit */
};

struct error_table {
    const char *adapter;
    const struct error_row *rows;
    size_t count;
};

#define ERROR_TABLE(variable, name, array) \
    const struct error_table variable = {(name), (array), sizeof(array) / sizeof((array)[0])}

/*
 * The first row that fits, or NULL.  code may be several words with blanks between (a provider's
 * code, its name, its type), the most exact first; code and text may be NULL.
 */
const struct error_row *error_find(const struct error_table *table, enum http_stage stage,
                                   int status, const char *code, const char *text);
/* The facts of a row, without a wait named by the answer. */
struct facts error_row_facts(const struct error_row *row);

/*
 * True when the request failed below HTTP and the outcome is set: never sent is RETRY and costs
 * no attempt, fully sent is UNKNOWN.  False when there is a status to judge.
 */
bool http_outcome_of_failure(const struct http_response *response, struct outcome *outcome);
/*
 * What an answer says, by the table, then by the bare status.  code and text (searched for `says`)
 * may be NULL; table too.  Returns the note for people, a constant.
 */
const char *http_facts_of_status(const struct http_response *response,
                                 const struct error_table *table, const char *code,
                                 const char *text, struct facts *facts);
/* The outcome of these facts, with the answer's status and the provider's code. */
void http_outcome_of_facts(const struct http_response *response, const struct facts *facts,
                           const char *note, const char *code, struct outcome *outcome);
/* Both in one. */
void http_outcome_of_status(const struct http_response *response, const struct error_table *table,
                            const char *code, const char *text, struct outcome *outcome);
/* A rate limit that names its time is waited for; it does not halve the window as well. */
void http_outcome_prefer_wait(const struct http_response *response, struct outcome *outcome);
/*
 * A 2xx that is not what this provider's success looks like: a proxy's page, an error in the body,
 * an answer that was cut off.  Whether the message was processed is unknown.
 */
void http_outcome_unrecognised(const struct http_response *response, struct outcome *outcome);
/* ACCEPTED (or DELIVERED) with the provider's id, which may be NULL. */
void http_outcome_good(struct outcome *outcome, enum outcome_kind kind, const char *provider_id);
/* The success of a provider that names the message; without a name it is not recognised. */
void http_outcome_named(const struct http_response *response, const char *provider_id,
                        struct outcome *outcome);
/* Copies a code's first word into outcome->code: letters, digits and "_.:-" only. */
void outcome_set_code(struct outcome *outcome, const char *code);
static inline bool http_status_is_good(int status)
{
    return status >= 200 && status < 300;
}
/* A whole answer with a good status; only its shape can say that it is a success. */
static inline bool http_response_is_good(const struct http_response *response)
{
    return response->fail == HTTP_FAIL_NONE && http_status_is_good(response->status);
}

#endif
