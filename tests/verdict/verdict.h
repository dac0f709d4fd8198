/* SPDX-License-Identifier: MIT */
/*
 * verdict - the adapters as the generated answers see them
 *
 * One opened instance of each adapter, and answers that are described by their parts, so that the
 * test can say what an answer proves without reading any adapter's table.
 */
#ifndef TESTS_VERDICT_VERDICT_H
#define TESTS_VERDICT_VERDICT_H
#include "channels/adapter.h"
#include "core/outcome.h"
#include "io/http_client.h"
#include <stdbool.h>
#include <stddef.h>

#define TEXTS_MAX 512

struct provider {
    const char *name;
    const char *target;
    const char *good; /* the body of a success */
    int good_status;
    const char *good_header, *good_header_value; /* NULL: none */
    bool is_any_good;                            /* every 2xx is a success */
    const char *codes; /* separated by blanks; what the provider's documents name */
};

/* What an answer is made of. */
enum made_shape { MADE_PLAIN, MADE_DOUBLED, MADE_MORE, MADE_TYPED, MADE_CUT, MADE_SHAPES };

struct made {
    const struct provider *provider;
    enum http_stage stage;
    int status;
    const char *code; /* "": none */
    const char *parameter;
    const char *text;
    int lines;             /* SMTP */
    const char *next_code; /* of the lines after the first; NULL: the same */
    enum made_shape shape;
};

extern const struct provider PROVIDERS[];
extern const size_t PROVIDER_COUNT;
extern const char *const TEXTS[];
extern const size_t TEXT_COUNT;

/* providers.c: opens all; gives one answer to a fresh attempt. */
void providers_open(void);
void providers_close(void);
struct outcome provider_answer(const struct provider *provider,
                               const struct http_response *response);
const struct provider *provider_find(const char *name);

/* answers.c: the body of an answer, in a static buffer; and whether it proves the address dead. */
const char *write_answer(const struct made *made);
bool proves(const struct made *made);

#endif
