/* SPDX-License-Identifier: MIT */
/*
 * request - what `send` publishes, before it is published
 *
 * Checked here is only what must hold for a receipt to find its way back and
 * for the message to fit; whether the fields make sense is the bridge's to
 * say, in one place, with a receipt that names the field.
 */
#ifndef CLI_REQUEST_H
#define CLI_REQUEST_H
#include "options.h"

#define REQUEST_ID_MAX    128
#define REQUEST_BYTES_MAX 65536 /* of one message, topics.md section 2 */
#define REQUEST_BATCH_MAX 500   /* requests in one message */

enum receipt_mode { RECEIPTS_FINAL, RECEIPTS_ALL, RECEIPTS_NONE };

struct request {
    char *id;
    char *json; /* compact, with the id in it */
    size_t len;
    enum receipt_mode receipts;
    bool is_first;  /* route first: one delivery to each is enough */
    bool is_single; /* surely one delivery, so that its first final receipt is the end */
};

extern const struct opt request_options[];

/* True if any option describes a request. */
bool request_is_in_options(const json_t *args);
/* New: the request that the options describe, or NULL after saying what is wrong. */
json_t *request_from_options(const json_t *args) NODISCARD;
/*
 * Gives `object` an id if it has none and fills *out. 0, or -1 with a new
 * sentence in *error. `object` is borrowed (the id is added to it).
 */
int request_init(struct request *out, json_t *object, char **error) NODISCARD;
void request_fini(struct request *req);
#endif
