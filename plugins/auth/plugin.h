/* SPDX-License-Identifier: MIT */
/*
 * plugin - the plugin's own state, as its files share it
 *
 * Everything hangs off this one struct, which the broker carries around as
 * callback user data.  One thread, the broker's; nothing here blocks.
 */
#ifndef TOCSIN_AUTH_PLUGIN_H
#define TOCSIN_AUTH_PLUGIN_H

#include "cache.h"
#include "counters.h"
#include "filters.h"
#include "live.h"
#include "revocation.h"
#include "seal.h"
#include "sessions.h"

#include <mosquitto.h>
#if LIBMOSQUITTO_VERSION_NUMBER < 2001000 /* from 2.1 on mosquitto.h has it all */
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#endif

/* What the broker's configuration file says; see guard.c. */
struct broker_facts {
    bool is_known;         /* all of it was read */
    bool has_database;     /* sessions may have been restored */
    int64_t expiration_ms; /* persistent_client_expiration; 0: never */
};

struct plugin {
    mosquitto_plugin_id_t *id; /* the broker's */
    struct broker_facts facts;
    struct options *options;
    struct keys *keys;
    struct revocations revocations;
    struct revocations unstored; /* those among them that could not be appended to the file */
    struct cache cache;
    struct live live;
    struct sessions sessions;
    struct filters filters; /* of every session that is not a bridge's */
    struct counters counters;
    struct bucket log_buckets[REFUSAL_COUNT];
    uint64_t log_suppressed[REFUSAL_COUNT];
    struct file_stamp *stamps; /* of watched files, see reload.c */
    size_t stamp_count;
    int64_t now_ms;      /* monotonic, of the last TICK or event */
    int64_t second_ms;   /* when the chores ran last */
    int64_t reaped_ms;   /* when the reaper ran last */
    int64_t counters_ms; /* when counters were published last */
    bool has_ticked;     /* TICK works: before that nobody gets in */
    bool sweep_is_due;   /* keys or revocations changed: look at every connection */
    bool is_rechecking;  /* from RELOAD to TICK the broker asks again for sessions it has */
    bool refuses_mark;   /* this broker takes no byte 0x01 in names */
    bool has_asked;      /* the broker has been asked for the sessions that it restored */
    unsigned char seal_key[SEAL_KEY_SIZE];
    const void *connecting; /* the client just let in, while the broker looks at its queue */
    bool is_kicking;        /* inside a kick, where the broker asks SUBSCRIBE for what exists */
    unsigned registered;    /* callbacks, in the order of plugin.c's table */
};

/* CLOCK_MONOTONIC in milliseconds, kept in pl->now_ms. */
int64_t plugin_now_ms(struct plugin *pl);

/* admission.c: BASIC_AUTH.  Logs and counts what it refuses. */
int admission_check(struct plugin *pl, struct mosquitto_evt_basic_auth *ev);
/* Verifies a token against keys, time and revocations. */
NODISCARD enum refusal admission_verify(struct plugin *pl, const char *token, struct token *tok,
                                        struct principal *p);

/* Counts and logs roles that did not fit: the login goes on without them. */
void admission_note_roles(struct plugin *pl, const struct token *tok, const struct principal *p);

/* Has the broker keep the principal as the client's user name; 0 or -1. */
NODISCARD int admission_set_name(struct plugin *pl, struct mosquitto *client, const char *name);

/* The principal of a name that this plugin stored; false for every other name. */
bool plugin_principal(const struct plugin *pl, const struct mosquitto *client,
                      struct principal *out);

/* access.c: ACL_CHECK, with the limits on publishing and subscribing. */
int access_check(struct plugin *pl, const struct mosquitto_evt_acl_check *ev);
/* access.c: MESSAGE, after WRITE was granted: charges the message's properties. */
int access_message(struct plugin *pl, const struct mosquitto_evt_message *ev);

/* command.c: CONTROL. */
void command_run(struct plugin *pl, const struct mosquitto_evt_control *ev);

/* reaper.c: kicks whoever may no longer be connected.  At most a batch per call. */
void reaper_run(struct plugin *pl, int64_t now_s);
/* presence.c: retained notify/v1/presence/{user}. */
void presence_flush(struct plugin *pl);
/* An idle user is forgotten: its retained message goes away. */
void presence_forget(void *ctx, struct subject *subj);
/* Is this retained presence message left over from before a restart?  Then it is taken back. */
bool presence_is_stale(struct plugin *pl, const struct mosquitto_evt_acl_check *ev);

/* reload.c: key and revocation files.  Looks at them twice a second, and on SIGHUP. */
NODISCARD int reload_start(struct plugin *pl, char err[FILE_ERROR_SIZE]);
void reload_changed(struct plugin *pl, bool is_forced);
void reload_stop(struct plugin *pl);

/* guard.c: 0, or -1 with a sentence when this broker's configuration cannot be protected. */
NODISCARD int guard_check(struct broker_facts *facts, char err[FILE_ERROR_SIZE]);

/* left.c: sessions left behind.  May the principal connect with this client id, too? */
NODISCARD enum refusal left_check(struct plugin *pl, const struct principal *p,
                                  const char *client_id);
void left_connected(struct plugin *pl, const char *client_id);
/* After live_remove(); `subject` is "user/alice". */
void left_disconnected(struct plugin *pl, const char *subject, const char *client_id);
/* The broker has it from disk. */
void left_restored(struct plugin *pl, const struct principal *p, const char *client_id);
/* From TICK. */
void left_run(struct plugin *pl);

#endif
