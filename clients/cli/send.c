/* SPDX-License-Identifier: MIT */
#include "send.h"

#include "exact.h"
#include "ids.h"
#include "receipt.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_MS  10000 /* `accepted` is overdue: publish again, doubling the wait ... */
#define AGAIN_CAP 30    /* ... up to so many times the first */
#define ABSORB_MS 50    /* of one turn may go into writing the spool */
#define NAMED_MAX 20    /* unanswered requests named at the end; the others are counted */

const struct opt send_options[] = {
    {"file", OPT_STRING, "FILE", "requests from a file, - for stdin", NULL},
    {"wait", OPT_STRING, "WHAT", "accepted (default): it is stored; final: it has ended",
     "accepted|final"},
    {"timeout", OPT_DURATION, "TIME", "give up when nothing gets on for so long (30s; final 5m)",
     NULL},
    {"spool", OPT_STRING, "DIR", "keep requests on disk until they are accepted", NULL},
    {"resend-after", OPT_DURATION, "TIME", "publish again if not accepted by then (10s)", NULL},
    {"window", OPT_INT, "N", "requests under way at once (256)", NULL},
    {"batch", OPT_INT, "N", "requests in one message, at most 500 (1)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

/* ---- taking requests in ---- */

static void bad_item(struct send *s, const struct source_item *item, const char *error)
{
    char place[64] = "request";

    if (item->line && item->index)
        snprintf(place, sizeof(place), "line %lu, item %zu", item->line, item->index);
    else if (item->line)
        snprintf(place, sizeof(place), "line %lu", item->line);
    else if (item->index)
        snprintf(place, sizeof(place), "item %zu", item->index);
    s->bad_lines++;
    s->worst = exit_worse(s->worst, CLI_BAD_INPUT);
    say_error("%s: %s", place, error);
    if (s->cli->is_json) {
        json_t *line = json_pack("{s:s, s:I, s:s}", "status", "invalid", "line",
                                 (json_int_t)item->line, "detail", error);
        say_json(line);
        json_decref(line);
    }
}

/* Into the outbox, or aside while another with this id is under way. */
static bool enter(struct send *s, struct request *req, const struct place *place)
{
    if (outbox_find(s->outbox, req->id)) {
        if (req != &s->parked) {
            s->parked = *req;
            s->parked_place = *place;
        }
        return false;
    }
    struct entry *entry = outbox_add(s->outbox, req);
    entry->spooled = place->batch;
    entry->spool_index = place->index;
    entry->line = place->line;
    if (outbox_live(s->outbox) == 1)
        s->progress_ms = now_ms(); /* nobody waited for us while there was nothing to do */
    return true;
}

/* The next request of the source. False when there is none now. */
static bool read_source(struct send *s, struct request *req, unsigned long *line)
{
    struct source_item item;
    char *error;

    s->wants_input = false;
    while (s->source) {
        switch (source_next(s->source, &item)) {
        case SOURCE_ITEM:
            *line = item.line;
            int rc = request_init(req, item.object, &error);
            json_decref(item.object);
            if (rc == 0)
                return true;
            bad_item(s, &item, error);
            free(error);
            break;
        case SOURCE_BAD:
            bad_item(s, &item, item.error);
            free(item.error);
            break;
        case SOURCE_AGAIN:
            s->wants_input = true;
            return false;
        case SOURCE_END:
            source_close(s->source);
            s->source = NULL;
            break;
        }
    }
    return false;
}

/* From the source to the disk, for a bounded time. True when there is more at once. */
static bool absorb(struct send *s)
{
    int64_t until = now_ms() + ABSORB_MS;
    bool is_more = true;
    struct request req;
    unsigned long line;

    while (is_more && now_ms() < until) {
        is_more = read_source(s, &req, &line);
        if (!is_more)
            break;
        int rc = spool_put(s->spool, req.json, req.len);
        request_fini(&req);
        if (rc) {
            loop_stop(&s->loop, CLI_ERROR);
            return false;
        }
    }
    if (spool_sync(s->spool))
        loop_stop(&s->loop, CLI_ERROR);
    return is_more;
}

/* What the spool holds into *req; false, and it is put aside, when that is no request. */
static bool parse_spooled(struct send *s, const struct spool_item *item, struct request *req)
{
    char *error = NULL;
    json_t *object = exact_load(item->text, item->len, JSON_REJECT_DUPLICATES, NULL);
    bool is_good = json_is_object(object) && request_init(req, object, &error) == 0;

    if (!is_good) {
        say_error("spool: something that is no request was moved to rejected/");
        s->worst = exit_worse(s->worst, CLI_BAD_INPUT);
        s->bad_lines++;
        spool_reject(s->spool, item->batch, item->index, item->text, item->len);
    }
    free(error);
    json_decref(object);
    return is_good;
}

static void feed_from_spool(struct send *s)
{
    struct spool_item item;
    struct request req;

    while (outbox_has_room(s->outbox) && spool_next(s->spool, &item)) {
        struct place place = {0, item.batch, item.index};

        if (parse_spooled(s, &item, &req) && !enter(s, &req, &place))
            return;
    }
}

static void feed_from_source(struct send *s)
{
    struct request req;
    struct place place = {0};

    while (outbox_has_room(s->outbox) && read_source(s, &req, &place.line))
        if (!enter(s, &req, &place))
            return;
}

/* True when it wants to go on at once. */
static bool feed(struct send *s)
{
    bool is_more = false;

    if (s->spool)
        is_more = absorb(s);
    if (s->parked.id && outbox_has_room(s->outbox))
        enter(s, &s->parked, &s->parked_place);
    if (!s->parked.id && s->spool)
        feed_from_spool(s);
    else if (!s->parked.id)
        feed_from_source(s);
    return is_more;
}

static bool is_drained(const struct send *s)
{
    return !s->source && !s->parked.id && (!s->spool || !spool_has_more(s->spool)) &&
           outbox_live(s->outbox) == 0;
}

/* ---- publishing ---- */

/* One message of up to `batch` queued requests. False when none could be published. */
static bool publish_one(struct send *s, int64_t now)
{
    struct buf payload = {0};
    uint64_t tag = s->next_tag++;
    struct entry *entry = outbox_first(s->outbox, ENTRY_QUEUED);
    size_t count = 0;
    bool is_sent;

    if (s->batch > 1)
        buf_add(&payload, "[", 1);
    for (; entry && count < s->batch; entry = outbox_next(s->outbox, entry)) {
        if (count && payload.len + entry->req.len + 2 > REQUEST_BYTES_MAX)
            break;
        if (count)
            buf_add(&payload, ",", 1);
        buf_add(&payload, entry->req.json, entry->req.len);
        count++;
    }
    if (s->batch > 1)
        buf_add(&payload, "]", 1);
    /* A lone request goes without the brackets: it may be as long as a message may be. */
    bool is_bare = s->batch > 1 && count == 1;
    is_sent = link_publish(s->link, s->request_topic, payload.data + is_bare,
                           payload.len - 2 * is_bare, tag) == 0;
    buf_fini(&payload);
    for (; is_sent && count > 0; count--) {
        entry = outbox_first(s->outbox, ENTRY_QUEUED);
        entry->tag = tag;
        entry->due_ms = now + backoff_ms(entry->tries++, s->again_ms, AGAIN_CAP * s->again_ms);
        outbox_move(s->outbox, entry, ENTRY_PUBLISHED);
    }
    return is_sent;
}

int64_t send_again(struct send *s, int64_t now)
{
    int64_t soonest = -1;

    if (!link_is_up(s->link))
        return -1;
    for (struct entry *entry = outbox_first(s->outbox, ENTRY_PUBLISHED), *next; entry;
         entry = next) {
        next = outbox_next(s->outbox, entry);
        if (entry->due_ms <= now)
            outbox_move(s->outbox, entry, ENTRY_QUEUED);
        else if (soonest < 0 || entry->due_ms - now < soonest)
            soonest = entry->due_ms - now;
    }
    return soonest;
}

/*
 * The broker does not take this message.  One by one, so that a request that is too large ends by
 * itself, and stands before no other, neither now nor in the spool.
 */
static void on_too_large(struct send *s, uint64_t tag)
{
    struct entry *entry = outbox_first(s->outbox, ENTRY_PUBLISHED), *next, *last = NULL;
    size_t count = 0;

    for (; entry; entry = outbox_next(s->outbox, entry))
        if (entry->tag == tag) {
            last = entry;
            count++;
        }
    if (count == 1) {
        settle_too_large(s, last);
        return;
    }
    s->batch = 1;
    for (entry = outbox_first(s->outbox, ENTRY_PUBLISHED); entry; entry = next) {
        next = outbox_next(s->outbox, entry);
        if (entry->tag == tag)
            outbox_move(s->outbox, entry, ENTRY_QUEUED);
    }
}

static void on_published(void *ctx, uint64_t tag, int code)
{
    struct send *s = ctx;

    if (tag == 0 || code <= 0)
        return; /* a status call, success, or a lost connection */
    if (code == 0x97) {
        if (!s->warned_quota)
            say_error("the broker is over its quota; trying again");
        s->warned_quota = true;
    } else if (code == 0x95) { /* packet too large */
        on_too_large(s, tag);
    } else if (code >= 0x80) {
        say_error("the broker refused the request: %s", link_reason(code));
        loop_stop(&s->loop, CLI_REFUSED);
    }
}

/* ---- deciding when it is over ---- */

static void name_unanswered(struct send *s)
{
    static const char *const words[] = {[ENTRY_QUEUED] = "unanswered",
                                        [ENTRY_PUBLISHED] = "unanswered",
                                        [ENTRY_ACCEPTED] = "unfinished"};
    size_t named = 0;

    for (int state = ENTRY_STATES - 1; state >= 0; state--) {
        struct entry *entry = outbox_first(s->outbox, (enum entry_state)state);

        for (; entry; entry = outbox_next(s->outbox, entry)) {
            if (s->cli->is_json) {
                json_t *line = json_pack("{s:s, s:s}", "status", words[state], "id", entry->req.id);
                say_json(line);
                json_decref(line);
            } else if (named++ < NAMED_MAX) {
                char *id = clean_text(entry->req.id);
                say("%-10s %s\n", words[state], id);
                free(id);
            }
        }
    }
    if (named > NAMED_MAX)
        say("... and %zu more\n", named - NAMED_MAX);
}

static void summarise(struct send *s)
{
    size_t kept = 0;

    if (s->spool)
        kept = spool_count(s->spool) + (s->parked.id ? 1 : 0) +
               outbox_count(s->outbox, ENTRY_QUEUED) + outbox_count(s->outbox, ENTRY_PUBLISHED);
    if (outbox_live(s->outbox))
        name_unanswered(s);
    if (kept)
        say_error("%zu kept in the spool; run again to send", kept);
    size_t all = s->accepted + s->rejected + s->bad_lines + outbox_live(s->outbox);
    if (s->cli->is_quiet || s->cli->is_json || all <= 1)
        return;
    say_error("%zu accepted, %zu rejected, %zu unreadable, %zu unanswered", s->accepted,
              s->rejected, s->bad_lines,
              outbox_count(s->outbox, ENTRY_QUEUED) + outbox_count(s->outbox, ENTRY_PUBLISHED));
    if (s->is_final)
        say_error("%zu of the accepted ended badly, %zu have not ended", s->ended_badly,
                  outbox_count(s->outbox, ENTRY_ACCEPTED));
}

static int64_t check_timeout(struct send *s, int64_t now)
{
    /* With a spool, what is still to be read must reach the disk, however long that takes. */
    bool is_patient = s->spool && s->source;

    link_be_patient(s->link, is_patient);
    if (is_patient)
        s->progress_ms = now;
    if (is_patient || !s->was_up || s->timeout_ms == 0 || outbox_live(s->outbox) == 0)
        return -1; /* the link has its own limit for the first connection */
    int64_t left = s->progress_ms + s->timeout_ms - now;
    if (left > 0)
        return left;
    say_error("no answer in %.1f s: %s", (double)s->timeout_ms / 1000,
              link_is_up(s->link) ? "is the bridge running?" : "not connected");
    loop_stop(&s->loop, CLI_TIMEOUT);
    return -1;
}

static int64_t on_tick(void *ctx)
{
    struct send *s = ctx;
    bool is_more = feed(s);
    int64_t now = now_ms();
    int64_t again = send_again(s, now);

    while (link_is_up(s->link) && outbox_first(s->outbox, ENTRY_QUEUED) && publish_one(s, now))
        again = again < 0 || again > s->again_ms / 2 ? s->again_ms / 2 : again;
    if (is_drained(s)) {
        loop_stop(&s->loop, CLI_OK);
        return -1;
    }
    int64_t due[] = {again, s->is_final ? settle_ask(s, now) : -1, check_timeout(s, now)};
    int64_t soonest = is_more ? 0 : -1;
    for (size_t i = 0; i < 3; i++)
        if (due[i] >= 0 && (soonest < 0 || due[i] < soonest))
            soonest = due[i];
    return soonest;
}

/* ---- wiring ---- */

static int input_fd(void *ctx)
{
    struct send *s = ctx;
    bool has_room = s->spool || (outbox_has_room(s->outbox) && !s->parked.id);

    return s->source && s->wants_input && has_room ? source_fd(s->source) : -1;
}

static void on_input(void *ctx)
{
    struct send *s = ctx;

    source_fill(s->source);
}

static void on_up(void *ctx, bool again)
{
    struct send *s = ctx;

    if (again)
        settle_reconnected(s);
    else
        s->progress_ms = now_ms();
    s->was_up = true;
}

static void on_down(void *ctx)
{
    struct send *s = ctx;

    outbox_requeue(s->outbox);
}

static void on_message(void *ctx, const struct link_message *msg)
{
    settle_message(ctx, msg);
}

static void on_failed(void *ctx, int status)
{
    struct send *s = ctx;

    loop_stop(&s->loop, (enum cli_exit)status);
}

static int open_source(struct send *s)
{
    const json_t *args = s->cli->args;
    const char *file = arg_str(args, "file");
    const char *word = json_string_value(json_array_get(s->cli->words, 0));
    bool is_described = request_is_in_options(args);

    if ((file != NULL) + (word != NULL) + is_described > 1) {
        say_error("give the request by options or in a file, not both");
        return -1;
    }
    if (is_described) {
        json_t *request = request_from_options(args);
        s->source = request ? source_of(request) : NULL;
        return request ? 0 : -1;
    }
    if (!file && !word && isatty(STDIN_FILENO)) {
        /* With a spool alone: send what it holds. */
        if (s->spool)
            return 0;
        say_error("what to send? options, a FILE, or JSON lines on stdin (see tocsin send --help)");
        return -1;
    }
    s->source = source_open(file ? file : word ? word : "-");
    return s->source ? 0 : -1;
}

static enum cli_exit prepare(struct send *s)
{
    const json_t *args = s->cli->args;
    const char *wait = arg_str(args, "wait");
    int64_t window = arg_int(args, "window", 256), batch = arg_int(args, "batch", 1);

    s->is_final = wait && strcmp(wait, "final") == 0;
    s->timeout_ms = arg_int(args, "timeout", s->is_final ? 300000 : 30000);
    s->again_ms = arg_int(args, "resend-after", AGAIN_MS);
    if (s->again_ms < 100 || s->again_ms > 3600000) {
        say_error("--resend-after is 100ms to 1h");
        return CLI_USAGE;
    }
    if (window < 1 || window > 10000 || batch < 1 || batch > REQUEST_BATCH_MAX) {
        say_error("--window is 1 to 10000, --batch 1 to %d", REQUEST_BATCH_MAX);
        return CLI_USAGE;
    }
    s->batch = (size_t)batch;
    s->outbox = outbox_new((size_t)window);
    s->next_tag = 1;
    s->progress_ms = now_ms();
    if (arg_str(args, "spool")) {
        s->spool = spool_open(arg_str(args, "spool"), &s->cli->conf.principal);
        if (!s->spool)
            return CLI_ERROR;
    }
    if (open_source(s))
        return CLI_USAGE;
    s->request_topic = principal_topic(&s->cli->conf.principal, "up/request");
    s->receipt_topic = principal_topic(&s->cli->conf.principal, "down/receipt");
    s->status_topic = principal_topic(&s->cli->conf.principal, "up/rpc/request.status");
    s->reply_topic = principal_topic(&s->cli->conf.principal, "down/reply");
    return CLI_OK;
}

static enum cli_exit open_link(struct send *s)
{
    struct link_handlers handlers = {s, on_up, on_down, on_message, on_published, on_failed};

    s->link = link_open(&s->cli->conf, NULL, &handlers);
    if (!s->link)
        return CLI_ERROR;
    link_subscribe(s->link, s->receipt_topic, false);
    if (s->is_final)
        link_subscribe(s->link, s->reply_topic, false);
    return CLI_OK;
}

enum cli_exit cmd_send(struct cli *cli)
{
    struct send s = {.cli = cli};
    enum cli_exit status = prepare(&s);

    if (status == CLI_OK)
        status = open_link(&s);
    if (status == CLI_OK) {
        s.loop =
            (struct loop){.cli = cli, .link = s.link, .hooks = {&s, on_tick, input_fd, on_input}};
        status = loop_run(&s.loop);
        status = exit_worse(status, s.worst);
        summarise(&s);
        status = exit_worse(status, say_flush());
    }
    link_close(s.link);
    source_close(s.source);
    spool_close(s.spool);
    outbox_free(s.outbox);
    request_fini(&s.parked);
    free(s.request_topic);
    free(s.receipt_topic);
    free(s.status_topic);
    free(s.reply_topic);
    return status;
}
