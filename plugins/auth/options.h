/* SPDX-License-Identifier: MIT */
/*
 * options - the plugin_opt_ lines of mosquitto.conf
 *
 * Options about tokens belong to an issuer.  Bare ones (`issuer`,
 * `secret_file`, ...) describe the unnamed issuer; with a name and a dot
 * (`keycloak.jwks_file`) they describe that one.  All other options are the
 * plugin's own.  Blanks at the end of a value are cut unless they are quoted.  An unknown, doubled
 * or impossible option is an error, and so is one that could match nothing: a missing guard must
 * not look like a working one.  Values with blanks are quoted as words.h says.
 *
 * Ownership: struct options owns every string in it.
 * Errors:    a sentence for the operator in err[FILE_ERROR_SIZE].
 */
#ifndef TOCSIN_AUTH_OPTIONS_H
#define TOCSIN_AUTH_OPTIONS_H

#include "file.h"
#include "bucket.h"
#include "principal.h"

#include <stddef.h>
#include <stdint.h>

enum {
    OPTIONS_ISSUERS_MAX = 32,
    OPTIONS_LIST_MAX = 32,
    OPTIONS_CLAIM_MAX = 255,
    OPTIONS_NOTES_SIZE = 1024
};

struct option_list {
    char *items[OPTIONS_LIST_MAX];
    size_t count;
};

struct issuer {
    char *label;                  /* "" for the unnamed one */
    char *issuer;                 /* iss, exactly */
    struct option_list audiences; /* any one of them */
    char *audience_claim;
    char *secret_file, *jwks_file, *key_id;
    struct option_list pem_files;
    struct option_list algorithm_names;
    unsigned algorithms;     /* set; 0: each key type's default */
    struct option_list typs; /* of the header, without regard to case; never empty */
    char *id_claim, *service_id_claim, *id_prefix;
    char *roles_claim, *roles_prefix;
    char *kind_claim; /* NULL: none is read */
    char *default_kind;
    struct option_list admin_when, service_when, user_when; /* "claim=value" */
    struct option_list kind_names;
    unsigned kinds; /* set of 1 << enum principal_kind */
    int64_t leeway_s, clock_skew_s, max_lifetime_s;
};

struct options {
    struct issuer issuers[OPTIONS_ISSUERS_MAX];
    size_t issuer_count;
    char *revocation_file;
    char *seal_file;
    int64_t max_token_bytes;
    int64_t cache_entries;
    int64_t presence_linger_s;
    int64_t counters_interval_s;
    struct limits_config limits;
    char notes[OPTIONS_NOTES_SIZE]; /* what may be a mistake, for the log; joined by "; " */
};

/* NULL when out of memory. */
struct options *options_new(void);
void options_free(struct options *opt);
/* Takes one line.  0, or -1 with a sentence in err. */
NODISCARD int options_set(struct options *opt, const char *key, const char *value,
                          char err[FILE_ERROR_SIZE]);
/* After the last line: fills in defaults and refuses what could not protect.  0 or -1. */
NODISCARD int options_finish(struct options *opt, char err[FILE_ERROR_SIZE]);

#endif
