/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include <stdlib.h>
#include <string.h>

/* Calls `look` for every key file; false as soon as it says so. */
static bool each_key_file(const struct options *opt, bool (*look)(void *, const char *), void *ctx)
{
    for (size_t i = 0; i < opt->issuer_count; i++) {
        const struct issuer *iss = &opt->issuers[i];
        if ((iss->secret_file && !look(ctx, iss->secret_file)) ||
            (iss->jwks_file && !look(ctx, iss->jwks_file)))
            return false;
        for (size_t k = 0; k < iss->pem_files.count; k++) {
            const char *spec = iss->pem_files.items[k];
            const char *equals = *spec == '/' ? NULL : strchr(spec, '=');
            if (!look(ctx, equals ? equals + 1 : spec))
                return false;
        }
    }
    return true;
}

struct watch {
    struct file_stamp *stamps;
    size_t at;
    bool has_changed;
};

static bool look_at(void *ctx, const char *path)
{
    struct watch *watch = ctx;

    if (file_has_changed(path, &watch->stamps[watch->at++]))
        watch->has_changed = true;
    return true;
}

static bool count_one(void *ctx, const char *path)
{
    (void)path;
    ++*(size_t *)ctx;
    return true;
}

/* The revocation file's stamp is the last one. */
static bool keys_have_changed(struct plugin *pl)
{
    struct watch watch = {.stamps = pl->stamps};
    (void)each_key_file(pl->options, look_at, &watch);
    return watch.has_changed;
}

static bool revocations_have_changed(struct plugin *pl)
{
    return pl->options->revocation_file &&
           file_has_changed(pl->options->revocation_file, &pl->stamps[pl->stamp_count - 1]);
}

static void take_keys(struct plugin *pl, struct keys *fresh)
{
    keys_free(pl->keys);
    pl->keys = fresh;
    cache_clear(&pl->cache);
    pl->sweep_is_due = true;
    if (*keys_notes(fresh))
        mosquitto_log_printf(MOSQ_LOG_WARNING, "tocsin: keys: %s", keys_notes(fresh));
}

/* 0, or -1 with a sentence in err when an issuer keeps its old keys. */
static int reload_keys(struct plugin *pl, char *err)
{
    bool failed = false;
    struct keys *fresh = keys_reload(pl->options, pl->keys, &failed, err);

    if (fresh)
        take_keys(pl, fresh);
    return fresh && !failed ? 0 : -1;
}

static int load_revocations(struct plugin *pl, char *err)
{
    struct revocations fresh;

    if (revocations_init(&fresh) != 0 ||
        revocations_read(&fresh, pl->options->revocation_file, err) != 0 ||
        revocations_merge(&fresh, &pl->unstored) != 0) {
        revocations_fini(&fresh);
        return -1;
    }
    revocations_fini(&pl->revocations);
    pl->revocations = fresh;
    pl->sweep_is_due = true;
    return 0;
}

/* A bad line keeps what was revoked before in force, and the good lines beside it count. */
static int reload_revocations(struct plugin *pl, char *err)
{
    if (load_revocations(pl, err) == 0)
        return 0;
    pl->sweep_is_due = revocations_read(&pl->revocations, pl->options->revocation_file, err) != 0 ||
                       pl->sweep_is_due;
    return -1;
}

int reload_start(struct plugin *pl, char err[FILE_ERROR_SIZE])
{
    pl->stamp_count = 1;
    (void)each_key_file(pl->options, count_one, &pl->stamp_count);
    pl->stamps = calloc(pl->stamp_count, sizeof(*pl->stamps));
    if (!pl->stamps || revocations_init(&pl->revocations) != 0 ||
        revocations_init(&pl->unstored) != 0)
        return -1;
    /* Stamped before they are read: what changes in between is read once more. */
    (void)keys_have_changed(pl);
    (void)revocations_have_changed(pl);
    struct keys *keys = keys_load(pl->options, err);
    if (!keys)
        return -1;
    take_keys(pl, keys);
    return pl->options->revocation_file ? load_revocations(pl, err) : 0;
}

static void tell(struct plugin *pl, int rc, const char *what, const char *err)
{
    pl->counters.now[rc == 0 ? COUNTER_RELOADS : COUNTER_RELOADS_FAILED]++;
    if (rc == 0)
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tocsin: %s reloaded", what);
    else
        mosquitto_log_printf(MOSQ_LOG_ERR, "tocsin: %s not reloaded, the old ones stay: %s", what,
                             err);
}

void reload_changed(struct plugin *pl, bool is_forced)
{
    char err[FILE_ERROR_SIZE] = "out of memory";

    if (keys_have_changed(pl) || is_forced)
        tell(pl, reload_keys(pl, err), "keys", err);
    if (pl->options->revocation_file && (revocations_have_changed(pl) || is_forced))
        tell(pl, reload_revocations(pl, err), "revocations", err);
}

void reload_stop(struct plugin *pl)
{
    keys_free(pl->keys);
    revocations_fini(&pl->revocations);
    revocations_fini(&pl->unstored);
    free(pl->stamps);
}
