/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "algorithm.h"
#include "words.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum row_type { ROW_TEXT, ROW_LIST, ROW_SECONDS, ROW_NUMBER, ROW_BYTES };

struct row {
    const char *key;
    enum row_type type;
    size_t offset;
    int64_t def, min, max; /* numbers only */
};

enum { DAY = 86400, MILLION = 1000000 };

#define ISSUER(field) offsetof(struct issuer, field)

static const struct row issuer_rows[] = {
    {"admin_when", ROW_LIST, ISSUER(admin_when), 0, 0, 0},
    {"algorithms", ROW_LIST, ISSUER(algorithm_names), 0, 0, 0},
    {"audience", ROW_LIST, ISSUER(audiences), 0, 0, 0},
    {"audience_claim", ROW_TEXT, ISSUER(audience_claim), 0, 0, 0},
    {"clock_skew", ROW_SECONDS, ISSUER(clock_skew_s), 5, 0, 300},
    {"default_kind", ROW_TEXT, ISSUER(default_kind), 0, 0, 0},
    {"id_claim", ROW_TEXT, ISSUER(id_claim), 0, 0, 0},
    {"id_prefix", ROW_TEXT, ISSUER(id_prefix), 0, 0, 0},
    {"issuer", ROW_TEXT, ISSUER(issuer), 0, 0, 0},
    {"jwks_file", ROW_TEXT, ISSUER(jwks_file), 0, 0, 0},
    {"key_id", ROW_TEXT, ISSUER(key_id), 0, 0, 0},
    {"kind_claim", ROW_TEXT, ISSUER(kind_claim), 0, 0, 0},
    {"kinds", ROW_LIST, ISSUER(kind_names), 0, 0, 0},
    {"leeway", ROW_SECONDS, ISSUER(leeway_s), 0, 0, 300},
    {"max_lifetime", ROW_SECONDS, ISSUER(max_lifetime_s), 0, 0, 3650LL * DAY},
    {"pem_file", ROW_LIST, ISSUER(pem_files), 0, 0, 0},
    {"roles_claim", ROW_TEXT, ISSUER(roles_claim), 0, 0, 0},
    {"roles_prefix", ROW_TEXT, ISSUER(roles_prefix), 0, 0, 0},
    {"secret_file", ROW_TEXT, ISSUER(secret_file), 0, 0, 0},
    {"service_id_claim", ROW_TEXT, ISSUER(service_id_claim), 0, 0, 0},
    {"service_when", ROW_LIST, ISSUER(service_when), 0, 0, 0},
    {"typ", ROW_LIST, ISSUER(typs), 0, 0, 0},
    {"user_when", ROW_LIST, ISSUER(user_when), 0, 0, 0},
};

#define OPTION(field) offsetof(struct options, field)
#define LIMIT(field)  offsetof(struct options, limits.field)

static const struct row option_rows[] = {
    {"admin_byte_burst", ROW_BYTES, LIMIT(byte_burst[PRINCIPAL_ADMIN]), 64 * MILLION, 1, 1LL << 40},
    {"admin_byte_rate", ROW_BYTES, LIMIT(byte_rate[PRINCIPAL_ADMIN]), 0, 0, 1LL << 40},
    {"admin_publish_burst", ROW_NUMBER, LIMIT(publish_burst[PRINCIPAL_ADMIN]), 5000, 1, MILLION},
    {"admin_publish_rate", ROW_NUMBER, LIMIT(publish_rate[PRINCIPAL_ADMIN]), 1000, 0, MILLION},
    {"cache_entries", ROW_NUMBER, OPTION(cache_entries), 4096, 0, MILLION},
    {"connect_burst", ROW_NUMBER, LIMIT(connect_burst), 200, 1, MILLION},
    {"connect_rate", ROW_NUMBER, LIMIT(connect_rate), 0, 0, MILLION},
    {"connections_per_address", ROW_NUMBER, LIMIT(connections_per_address), 0, 0, MILLION},
    {"connections_per_principal", ROW_NUMBER, LIMIT(connections_per_principal), 100, 0, MILLION},
    {"control_burst", ROW_NUMBER, LIMIT(control_burst), 10, 1, MILLION},
    {"control_rate", ROW_NUMBER, LIMIT(control_rate), 2, 0, MILLION},
    {"counters_interval", ROW_SECONDS, OPTION(counters_interval_s), 10, 1, 3600},
    {"failure_burst", ROW_NUMBER, LIMIT(failure_burst), 200, 1, MILLION},
    {"failure_rate", ROW_NUMBER, LIMIT(failure_rate), 0, 0, MILLION},
    {"max_token", ROW_BYTES, OPTION(max_token_bytes), 32768, 256, 65535},
    {"payload_max", ROW_BYTES, LIMIT(payload_max), 1 << 20, 0, 256 * MILLION},
    {"presence_linger", ROW_SECONDS, OPTION(presence_linger_s), 60, 0, DAY},
    {"revocation_file", ROW_TEXT, OPTION(revocation_file), 0, 0, 0},
    {"seal_file", ROW_TEXT, OPTION(seal_file), 0, 0, 0},
    {"service_byte_burst", ROW_BYTES, LIMIT(byte_burst[PRINCIPAL_SERVICE]), 64 * MILLION, 1,
     1LL << 40},
    {"service_byte_rate", ROW_BYTES, LIMIT(byte_rate[PRINCIPAL_SERVICE]), 0, 0, 1LL << 40},
    {"service_publish_burst", ROW_NUMBER, LIMIT(publish_burst[PRINCIPAL_SERVICE]), 5000, 1,
     MILLION},
    {"service_publish_rate", ROW_NUMBER, LIMIT(publish_rate[PRINCIPAL_SERVICE]), 0, 0, MILLION},
    {"sessions_per_principal", ROW_NUMBER, LIMIT(sessions_per_principal), 32, 0, 10000},
    {"subscribe_burst", ROW_NUMBER, LIMIT(subscribe_burst), 1000, 1, MILLION},
    {"subscribe_rate", ROW_NUMBER, LIMIT(subscribe_rate), 100, 0, MILLION},
    {"subscriptions_per_client", ROW_NUMBER, LIMIT(subscriptions_per_client), 100, 0, MILLION},
    {"user_byte_burst", ROW_BYTES, LIMIT(byte_burst[PRINCIPAL_USER]), 16 * MILLION, 1, 1LL << 40},
    {"user_byte_rate", ROW_BYTES, LIMIT(byte_rate[PRINCIPAL_USER]), MILLION, 0, 1LL << 40},
    {"user_publish_burst", ROW_NUMBER, LIMIT(publish_burst[PRINCIPAL_USER]), 5000, 1, MILLION},
    {"user_publish_rate", ROW_NUMBER, LIMIT(publish_rate[PRINCIPAL_USER]), 1000, 0, MILLION},
    {"user_subscriptions", ROW_NUMBER, LIMIT(user_subscriptions), 16, 0, MILLION},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void set_number_defaults(void *base, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].type != ROW_TEXT && rows[i].type != ROW_LIST)
            *(int64_t *)(void *)((char *)base + rows[i].offset) = rows[i].def;
}

struct options *options_new(void)
{
    struct options *opt = calloc(1, sizeof(*opt));
    if (opt)
        set_number_defaults(opt, option_rows, COUNT(option_rows));
    return opt;
}

static void free_rows(void *base, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *field = (char *)base + rows[i].offset;
        if (rows[i].type == ROW_TEXT) {
            free(*(char **)field);
        } else if (rows[i].type == ROW_LIST) {
            struct option_list *list = field;
            for (size_t k = 0; k < list->count; k++)
                free(list->items[k]);
        }
    }
}

void options_free(struct options *opt)
{
    if (!opt)
        return;
    for (size_t i = 0; i < opt->issuer_count; i++) {
        free_rows(&opt->issuers[i], issuer_rows, COUNT(issuer_rows));
        free(opt->issuers[i].label);
    }
    free_rows(opt, option_rows, COUNT(option_rows));
    free(opt);
}

/* "15", "30s", "5m", "2h", "7d" or, for bytes, "64k", "1m". */
static int parse_number(const char *text, const struct row *row, int64_t *out)
{
    static const struct {
        enum row_type type;
        char unit;
        int64_t factor;
    } units[] = {
        {ROW_SECONDS, 's', 1},   {ROW_SECONDS, 'm', 60}, {ROW_SECONDS, 'h', 3600},
        {ROW_SECONDS, 'd', DAY}, {ROW_BYTES, 'k', 1024}, {ROW_BYTES, 'm', 1 << 20},
    };
    char *end;
    int64_t factor = 1;

    if (!isdigit((unsigned char)*text) || strlen(text) > 15)
        return -1;
    int64_t number = strtoll(text, &end, 10);
    for (size_t i = 0; i < COUNT(units); i++)
        if (*end && units[i].type == row->type && units[i].unit == *end) {
            factor = units[i].factor;
            end++;
            break;
        }
    if (*end || number > row->max / factor || number * factor < row->min)
        return -1;
    *out = number * factor;
    return 0;
}

static int add_words(struct option_list *list, const char *key, const char *value, char *err)
{
    const char *problem;
    char *word;

    while ((word = words_next(&value, &problem))) {
        if (list->count == OPTIONS_LIST_MAX || *word == '\0') {
            snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s has %s (at most %d, none of them empty)",
                     key, *word ? "more words than there may be" : "an empty word",
                     OPTIONS_LIST_MAX);
            free(word);
            return -1;
        }
        list->items[list->count++] = word;
    }
    if (problem)
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s %s", key, problem);
    return problem ? -1 : 0;
}

/* The value as it stands; or, where it begins with a quote, the one quoted word that it is. */
static int set_text(char **text, const char *key, const char *value, char *err)
{
    const char *problem = NULL, *at = value;

    if (*text) {
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s is given twice; leave one", key);
        return -1;
    }
    *text = *value == '"' ? words_next(&at, &problem) : strdup(value);
    if (*text && **text == '\0')
        problem = "is empty";
    if (*text && *value == '"' && at[strspn(at, " \t")] != '\0')
        problem = "goes on after its closing quote";
    if (!*text || problem)
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s %s", key,
                 problem ? problem : "is too much for memory");
    return *text && !problem ? 0 : -1;
}

static int set_scalar(void *field, const struct row *row, const char *key, const char *value,
                      char *err)
{
    if (row->type == ROW_TEXT)
        return set_text(field, key, value, err);
    if (parse_number(value, row, field) == 0)
        return 0;
    snprintf(err, FILE_ERROR_SIZE,
             "plugin_opt_%s is \"%s\"; it must be a number from %lld to %lld%s", key, value,
             (long long)row->min, (long long)row->max,
             row->type == ROW_SECONDS ? " seconds (units: s m h d)"
             : row->type == ROW_BYTES ? " bytes (units: k m)"
                                      : "");
    return -1;
}

/* Nobody sees blanks at the end of a line: they are no part of the value. */
static int set_row(void *base, const struct row *row, const char *key, const char *value, char *err)
{
    void *field = (char *)base + row->offset;
    size_t len = strlen(value);

    if (row->type == ROW_LIST)
        return add_words(field, key, value, err);
    while (len > 0 && strchr(" \t", value[len - 1]))
        len--;
    char *cut = strndup(value, len);
    if (!cut) {
        snprintf(err, FILE_ERROR_SIZE, "out of memory");
        return -1;
    }
    int rc = set_scalar(field, row, key, cut, err);
    free(cut);
    return rc;
}

static const struct row *find_row(const struct row *rows, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

static struct issuer *get_issuer(struct options *opt, const char *label, size_t len)
{
    for (size_t i = 0; i < opt->issuer_count; i++) {
        const char *have = opt->issuers[i].label;
        if (strlen(have) == len && memcmp(have, label, len) == 0)
            return &opt->issuers[i];
    }
    if (opt->issuer_count == OPTIONS_ISSUERS_MAX)
        return NULL;
    struct issuer *iss = &opt->issuers[opt->issuer_count];
    iss->label = strndup(label, len);
    if (!iss->label)
        return NULL;
    opt->issuer_count++;
    set_number_defaults(iss, issuer_rows, COUNT(issuer_rows));
    return iss;
}

int options_set(struct options *opt, const char *key, const char *value, char err[FILE_ERROR_SIZE])
{
    const char *dot = strchr(key, '.');
    const char *field = dot ? dot + 1 : key;
    const struct row *row = dot ? NULL : find_row(option_rows, COUNT(option_rows), key);

    if (!value || value[strspn(value, " \t")] == '\0') {
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s has no value", key);
        return -1;
    }
    if (row)
        return set_row(opt, row, key, value, err);
    row = find_row(issuer_rows, COUNT(issuer_rows), field);
    if (!row || dot == key) {
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s is unknown; docs/security.md lists them all",
                 key);
        return -1;
    }
    struct issuer *iss = get_issuer(opt, key, dot ? (size_t)(dot - key) : 0);
    if (!iss) {
        snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s: more than %d issuers", key,
                 OPTIONS_ISSUERS_MAX);
        return -1;
    }
    return set_row(iss, row, key, value, err);
}

static int set_default(char **field, const char *value)
{
    if (!*field)
        *field = strdup(value);
    return *field ? 0 : -1;
}

static int resolve_names(struct issuer *iss, char *err)
{
    for (size_t i = 0; i < iss->algorithm_names.count; i++) {
        const struct algorithm *alg = algorithm_find(iss->algorithm_names.items[i]);
        if (!alg) {
            snprintf(err, FILE_ERROR_SIZE,
                     "algorithms: \"%s\" is unknown; known are HS256/384/512, RS256/384/512, "
                     "PS256/384/512, ES256, ES384, EdDSA",
                     iss->algorithm_names.items[i]);
            return -1;
        }
        iss->algorithms |=
            alg->type == KEY_ED25519 ? algorithm_set(KEY_ED25519, 0) : algorithm_bit(alg);
    }
    for (size_t i = 0; i < iss->kind_names.count; i++) {
        enum principal_kind kind;
        if (!principal_kind_parse(iss->kind_names.items[i], &kind)) {
            snprintf(err, FILE_ERROR_SIZE, "kinds: \"%s\" is none of user service admin bridge",
                     iss->kind_names.items[i]);
            return -1;
        }
        iss->kinds |= 1u << kind;
    }
    /* Only the issuer that is ours may vouch for a bridge unless told otherwise. */
    if (!iss->kinds)
        iss->kinds = (1u << PRINCIPAL_USER) | (1u << PRINCIPAL_SERVICE) | (1u << PRINCIPAL_ADMIN) |
                     (*iss->label ? 0u : 1u << PRINCIPAL_BRIDGE);
    return 0;
}

/* "claim=value"; a rule whose kind the issuer may not vouch for would never count. */
static int check_rules(const struct issuer *iss, const struct option_list *rules,
                       enum principal_kind kind, const char *what, char *err)
{
    for (size_t i = 0; i < rules->count; i++) {
        const char *equals = strchr(rules->items[i], '=');
        if (!equals || equals == rules->items[i] || equals[1] == '\0' ||
            equals - rules->items[i] > OPTIONS_CLAIM_MAX) {
            snprintf(err, FILE_ERROR_SIZE,
                     "%s: \"%.100s\" must read claim=value, the claim of at most %d bytes; quote "
                     "a value that has blanks: claim=\"two words\"",
                     what, rules->items[i], OPTIONS_CLAIM_MAX);
            return -1;
        }
    }
    if (rules->count == 0 || (iss->kinds & (1u << kind)))
        return 0;
    snprintf(err, FILE_ERROR_SIZE, "%s can never count: kinds does not name %s", what,
             principal_kind_name(kind));
    return -1;
}

/* What the issuer gives to tokens that say nothing about their kind. */
static int check_default_kind(const struct issuer *iss, char *err)
{
    enum principal_kind kind;

    if (!iss->default_kind)
        return 0;
    if (!principal_kind_parse(iss->default_kind, &kind) || kind == PRINCIPAL_BRIDGE ||
        kind == PRINCIPAL_ADMIN)
        snprintf(err, FILE_ERROR_SIZE, "default_kind must be user or service");
    else if (!(iss->kinds & (1u << kind)))
        snprintf(err, FILE_ERROR_SIZE, "default_kind is %s, which kinds does not name",
                 iss->default_kind);
    else
        return 0;
    return -1;
}

/* A claim is named by its key or, with a leading '/', by a JSON Pointer. */
static int check_claim(const char *claim, const char *what, char *err)
{
    bool is_bad = strlen(claim) > OPTIONS_CLAIM_MAX;

    for (const char *at = *claim == '/' ? claim : ""; *at; at++)
        is_bad = is_bad || (*at == '~' && at[1] != '0' && at[1] != '1');
    if (!is_bad)
        return 0;
    snprintf(err, FILE_ERROR_SIZE,
             "%s: \"%.100s\" is no claim: a key or a JSON Pointer of at most %d bytes, where ~ is "
             "written ~0 and / inside a name ~1",
             what, claim, OPTIONS_CLAIM_MAX);
    return -1;
}

/* Settings that are well formed and could match nothing. */
static int check_reach(const struct issuer *iss, char *err)
{
    char level[PRINCIPAL_ID_MAX];

    if (strchr(iss->issuer, ' ') && strchr(iss->issuer, ':'))
        snprintf(err, FILE_ERROR_SIZE,
                 "issuer has a blank, which no URI has: give each issuer a section of its own");
    else if (*iss->id_prefix && principal_encode(iss->id_prefix, level, sizeof(level)) == 0)
        snprintf(err, FILE_ERROR_SIZE,
                 "id_prefix leaves no room for an id: both together have "
                 "at most 128 bytes, as they stand in a topic");
    else if (iss->key_id && !iss->secret_file && iss->pem_files.count == 0)
        snprintf(err, FILE_ERROR_SIZE,
                 "key_id names the key in secret_file or pem_file, and there is neither");
    else if (iss->key_id && (*iss->key_id == '\0' || strlen(iss->key_id) > OPTIONS_CLAIM_MAX))
        snprintf(err, FILE_ERROR_SIZE, "key_id must have 1 to %d bytes", OPTIONS_CLAIM_MAX);
    else
        return 0;
    return -1;
}

static int set_defaults(struct issuer *iss)
{
    const char *problem, *typ = "JWT";

    if (iss->typs.count == 0 && (iss->typs.items[0] = words_next(&typ, &problem)))
        iss->typs.count = 1;
    return iss->typs.count == 0 || set_default(&iss->audience_claim, "aud") ||
           set_default(&iss->id_claim, "sub") ||
           set_default(&iss->service_id_claim, iss->id_claim) || set_default(&iss->id_prefix, "") ||
           set_default(&iss->roles_claim, "roles") || set_default(&iss->roles_prefix, "") ||
           (*iss->label == '\0' && set_default(&iss->kind_claim, "kind"));
}

static int finish_issuer(struct issuer *iss, char *err)
{
    if (set_defaults(iss) != 0) {
        snprintf(err, FILE_ERROR_SIZE, "out of memory");
        return -1;
    }
    if (!iss->issuer)
        snprintf(err, FILE_ERROR_SIZE, "issuer is missing: say whose tokens (iss) are accepted");
    else if (iss->audiences.count == 0)
        snprintf(err, FILE_ERROR_SIZE, "audience is missing: say which aud a token must name");
    else if (!iss->secret_file && !iss->jwks_file && iss->pem_files.count == 0)
        snprintf(err, FILE_ERROR_SIZE,
                 "there is no key: give secret_file (HS256), pem_file or jwks_file");
    else if (resolve_names(iss, err) == 0 && check_default_kind(iss, err) == 0 &&
             check_rules(iss, &iss->admin_when, PRINCIPAL_ADMIN, "admin_when", err) == 0 &&
             check_rules(iss, &iss->service_when, PRINCIPAL_SERVICE, "service_when", err) == 0 &&
             check_rules(iss, &iss->user_when, PRINCIPAL_USER, "user_when", err) == 0 &&
             check_claim(iss->audience_claim, "audience_claim", err) == 0 &&
             check_claim(iss->id_claim, "id_claim", err) == 0 &&
             check_claim(iss->service_id_claim, "service_id_claim", err) == 0 &&
             check_claim(iss->roles_claim, "roles_claim", err) == 0 &&
             (!iss->kind_claim || check_claim(iss->kind_claim, "kind_claim", err) == 0))
        return check_reach(iss, err);
    return -1;
}

static bool shares(const char *one, const char *two)
{
    return one && two && strcmp(one, two) == 0;
}

/* Do two sections hold the same key?  Then they are one provider under two names. */
static bool share_keys(const struct issuer *one, const struct issuer *two)
{
    bool is_shared =
        shares(one->jwks_file, two->jwks_file) || shares(one->secret_file, two->secret_file);

    for (size_t i = 0; i < one->pem_files.count; i++)
        for (size_t k = 0; k < two->pem_files.count; k++)
            is_shared = is_shared || shares(one->pem_files.items[i], two->pem_files.items[k]);
    return is_shared;
}

/* Can an id of one be an id of the other?  Our own issuer may name anybody. */
static bool may_meet(const struct issuer *one, const struct issuer *two)
{
    size_t len_one = strlen(one->id_prefix), len_two = strlen(two->id_prefix);

    return *one->label && *two->label && (one->kinds & two->kinds) && !share_keys(one, two) &&
           strncmp(one->id_prefix, two->id_prefix, len_one < len_two ? len_one : len_two) == 0;
}

static void note_prefixes(struct options *opt)
{
    size_t used = 0;

    for (size_t i = 0; i < opt->issuer_count; i++)
        for (size_t k = i + 1; k < opt->issuer_count; k++) {
            const struct issuer *one = &opt->issuers[i], *two = &opt->issuers[k];
            if (!may_meet(one, two) || used + 2 >= sizeof(opt->notes))
                continue;
            snprintf(
                opt->notes + used, sizeof(opt->notes) - used,
                "%s%.40s.id_prefix \"%.80s\" and %.40s.id_prefix \"%.80s\" overlap: the same id "
                "of both is one principal; give each a prefix with which no other begins",
                used ? "; " : "", one->label, one->id_prefix, two->label, two->id_prefix);
            used = strlen(opt->notes);
        }
}

int options_finish(struct options *opt, char err[FILE_ERROR_SIZE])
{
    if (opt->issuer_count == 0) {
        snprintf(err, FILE_ERROR_SIZE,
                 "no issuer is configured: set plugin_opt_secret_file (or pem_file, jwks_file), "
                 "plugin_opt_issuer and plugin_opt_audience");
        return -1;
    }
    for (size_t i = 0; i < opt->issuer_count; i++) {
        char why[FILE_ERROR_SIZE];
        struct issuer *iss = &opt->issuers[i];
        if (finish_issuer(iss, why) != 0) {
            snprintf(err, FILE_ERROR_SIZE, "plugin_opt_%s%s%.400s", iss->label,
                     *iss->label ? "." : "", why);
            return -1;
        }
    }
    note_prefixes(opt);
    return 0;
}
