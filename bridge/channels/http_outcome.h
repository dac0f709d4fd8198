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
#include "core/outcome.h"
#include "io/http_client.h"
#include <stdbool.h>
#include <stddef.h>

struct error_row {
    int status;        /* HTTP status or SMTP reply; 0: any */
    const char *codes; /* the provider's: "A", or alternatives "1,7-9,5.6.*"; NULL: any */
    const char *says;  /* the answer contains this text (any case); NULL: any */
    enum outcome_kind kind;
    enum reason reason;
    const char *note;    /* for people: what it means */
    int64_t wait_ms;     /* when the provider names no time itself; 0: none */
    bool is_target_only; /* says nothing about the destination */
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
const struct error_row *error_find(const struct error_table *table, int status, const char *code,
                                   const char *text);

/*
 * True when the request failed below HTTP and the outcome is set: never sent is RETRY and costs
 * no attempt, fully sent is UNKNOWN.  False when there is a status to judge.
 */
bool http_outcome_of_failure(const struct http_response *response, struct outcome *outcome);
/* By the table, then by the bare status.  code and text (searched for `says`) may be NULL. */
void http_outcome_of_status(const struct http_response *response, const struct error_table *table,
                            const char *code, const char *text, struct outcome *outcome);
/* ACCEPTED (or DELIVERED) with the provider's id, which may be NULL. */
void http_outcome_good(struct outcome *outcome, enum outcome_kind kind, const char *provider_id);
/* Copies a code's first word into outcome->code: letters, digits and "_.:-" only. */
void outcome_set_code(struct outcome *outcome, const char *code);
static inline bool http_status_is_good(int status)
{
    return status >= 200 && status < 300;
}

#endif
