/* SPDX-License-Identifier: MIT */
/*
 * revocation - tokens that are no longer good although they are valid
 *
 * One line of the list per revocation; '#' begins a comment where a word could begin, and is part
 * of the word inside one (`sub user/C#dev`):
 *
 *     jti ID                     one token
 *     sub KIND/ID [TIME]         all tokens of a principal issued until TIME
 *     iat TIME                   all tokens issued until TIME
 *
 * TIME is in Unix seconds; without it all tokens of the principal, whenever
 * issued.  A token without iat counts as issued before every TIME.
 *
 * KIND is user, service, admin or bridge; ID is written as in topics.  Bytes
 * that cannot stand there are taken as the token has them: `f:1f2e:jdoe` and
 * `f%3A1f2e%3Ajdoe` are the same, and so is every other way to percent-encode it.
 *
 * Ownership: the set owns its entries.
 * Errors:    a sentence for the operator in err[FILE_ERROR_SIZE].
 */
#ifndef TOCSIN_AUTH_REVOCATION_H
#define TOCSIN_AUTH_REVOCATION_H

#include "file.h"
#include "map.h"

#include <stdbool.h>

enum {
    REVOCATION_MAX = 200000,
    REVOCATION_FILE_MAX = 32 << 20,
    REVOCATION_LINE_MAX = 320,
    REVOCATION_ID_MAX = 255 /* of a token; as long as token.h keeps it */
};

struct revocations {
    struct map entries; /* by "jti ID" and "sub KIND/ID" */
    int64_t until_s;    /* of "iat" */
};

NODISCARD int revocations_init(struct revocations *rev);
void revocations_fini(struct revocations *rev);
/* Takes one line.  0, or -1 with a sentence in err. */
NODISCARD int revocations_add(struct revocations *rev, const char *line, char err[FILE_ERROR_SIZE]);
/* Takes every line of a file that is right; -1 with a sentence about the first that is not. */
NODISCARD int revocations_read(struct revocations *rev, const char *path,
                               char err[FILE_ERROR_SIZE]);
/* Adds all that is in `more`; -1 when there is no room for some. */
NODISCARD int revocations_merge(struct revocations *rev, const struct revocations *more);
/* Appends one line to the file, also where its last line has no end. */
NODISCARD int revocations_append(const char *path, const char *line, char err[FILE_ERROR_SIZE]);
/* `subject` is "user/alice", `jti` may be NULL or "". */
bool revocations_match(const struct revocations *rev, const char *subject, const char *jti,
                       int64_t issued_s);

#endif
