/* SPDX-License-Identifier: MIT */
/* Any bytes as a request on $CONTROL, and as a line of the revocation list. */
#include "control.h"
#include "revocation.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request req;
    struct revocations rev;
    char err[FILE_ERROR_SIZE];
    char *line = strndup((const char *)data, size);

    control_parse(data, size, &req);
    if ((req.method == CONTROL_BAD) != (req.problem != NULL) ||
        (req.method == CONTROL_REFRESH && !req.token) ||
        (req.method == CONTROL_REVOKE && !req.jti && !*req.subject && req.until_s < 0))
        abort();
    control_fini(&req);
    if (line && revocations_init(&rev) == 0) {
        (void)revocations_add(&rev, line, err);
        (void)revocations_match(&rev, "user/alice", "jti", 1);
        revocations_fini(&rev);
    }
    free(line);
    return 0;
}
