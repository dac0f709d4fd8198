/* SPDX-License-Identifier: MIT */
/*
 * http_session - the talk with a mail server, one mail after the other
 *
 * libcurl opens a session (name, TCP, TLS, EHLO, AUTH) and hands it over (CONNECT_ONLY); MAIL,
 * RCPT, DATA and the text are ours.  Left to libcurl, the reply to a mail's last line would be
 * waited for inside one call of it, and all else in the loop with it; so would that to QUIT.
 *
 * A session rests for a minute between mails.  The server may have closed it meanwhile: then
 * nothing of the next mail has left, and another session takes it.
 */
#include "io/http_client_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define REST_MS    60000
#define LINE_BYTES 1024        /* of a reply; RFC 5321 has 512 */
#define REPLY_MAX  (16 * 1024) /* with all its lines */
#define READ_BYTES 4096

enum step {
    STEP_OPEN,
    STEP_FREE,
    STEP_GIVEN,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_TEXT,
    STEP_RSET
};

struct mail_session {
    struct list_node node; /* in client->sessions */
    struct http_client *client;
    struct http_call *carrier; /* owned: its handle holds the connection */
    struct http_call *call;    /* the mail; NULL while there is none */
    char *route;
    int fd;
    enum step step;
    bool is_kept;                       /* has carried a mail before this one */
    bool is_dead;                       /* closed; freed by the function that works on it */
    bool is_at_work;                    /* such a function is on the stack */
    const struct curl_slist *recipient; /* the next; the call's */
    struct buf out;                     /* a command */
    size_t out_at;
    struct buf in;      /* the beginning of a line */
    size_t reply_bytes; /* of the reply so far */
    struct loop_timer timer;
};

static void on_event(void *ctx, int events);

/* ---- life ---- */

static struct mail_session *session_of(struct list_node *node)
{
    return CONTAINER_OF(node, struct mail_session, node);
}

struct mail_session *mail_session_find(struct http_client *client, const char *route, size_t *count)
{
    struct mail_session *found = NULL;

    *count = 0;
    for (struct list_node *node = list_first(&client->sessions); node;
         node = list_next(&client->sessions, node)) {
        struct mail_session *session = session_of(node);

        if (strcmp(session->route, route) != 0)
            continue;
        ++*count;
        if (!found && session->step == STEP_FREE)
            found = session;
    }
    return found;
}

void mail_session_open(struct http_call *call)
{
    struct http_client *client = call->client;
    struct mail_session *session = xcalloc(1, sizeof *session);

    session->client = client;
    session->route = xstrdup(call->server->route);
    session->call = call;
    session->fd = -1;
    session->carrier = http_call_take(client);
    session->carrier->session = session;
    http_mail_prepare_carrier(session->carrier, call->server);
    call->session = session;
    list_push_front(&client->sessions, &session->node);
    http_call_add(session->carrier, &client->many);
}

static void session_free(struct mail_session *session)
{
    buf_fini(&session->out);
    buf_fini(&session->in);
    free(session->route);
    free(session);
}

/* A farewell if it goes out at once; nobody waits for its reply. */
static void say_quit(struct mail_session *session)
{
    size_t sent;

    if (session->step == STEP_FREE)
        (void)curl_easy_send(session->carrier->easy, "QUIT\r\n", 6, &sent);
}

void mail_session_close(struct mail_session *session)
{
    struct http_client *client = session->client;

    if (session->is_dead)
        return;
    say_quit(session);
    list_remove(&client->sessions, &session->node);
    loop_timer_stop(&session->timer);
    /* Removed from libcurl's hands, the connection is closed without another word. */
    http_call_remove(session->carrier);
    http_call_rest(session->carrier);
    session->is_dead = true;
    if (!session->is_at_work)
        session_free(session);
}

void http_mail_close_all(struct http_client *client)
{
    struct list_node *node;

    while ((node = list_first(&client->sessions)))
        mail_session_close(session_of(node));
}

static void watch(struct mail_session *session)
{
    bool has_more = session->out_at < session->out.length ||
                    (session->step == STEP_TEXT && session->call &&
                     session->call->sent_at < session->call->sent.length);

    if (!session->is_dead)
        http_socket_lend(session->client, session->fd, LOOP_READ | (has_more ? LOOP_WRITE : 0),
                         on_event, session);
}

static void on_rested(void *ctx)
{
    mail_session_close(ctx);
}

/* Free for the next mail, which may be waiting. */
static void rest(struct mail_session *session)
{
    session->step = STEP_FREE;
    session->is_kept = true;
    loop_timer_start(session->client->loop, &session->timer, REST_MS, on_rested, session);
}

/* ---- the end of a mail ---- */

/* Takes the mail off, so that the session can be given another by whom we call. */
static struct http_call *take_off(struct mail_session *session)
{
    struct http_call *call = session->call;

    session->call = NULL;
    call->session = NULL;
    return call;
}

static enum http_stage stage_of(enum step step)
{
    switch (step) {
    case STEP_GIVEN:
    case STEP_MAIL:
        return HTTP_STAGE_MAIL;
    case STEP_RCPT:
        return HTTP_STAGE_RCPT;
    case STEP_DATA:
        return HTTP_STAGE_DATA;
    case STEP_TEXT:
        return HTTP_STAGE_TEXT;
    case STEP_OPEN:
    case STEP_FREE:
    case STEP_RSET:
        break;
    }
    return HTTP_STAGE_OPEN;
}

/* The reply (call->received) to this command has decided. */
static void decide(struct http_call *call, enum http_stage stage, int status)
{
    call->mail_stage = stage;
    call->mail_status = status;
    http_call_end(call, CURLE_OK);
}

/* The connection is of no use any more. */
static void lose(struct mail_session *session, CURLcode code)
{
    struct http_client *client = session->client;
    bool is_stale = session->is_kept && session->step == STEP_MAIL && session->reply_bytes == 0;
    struct http_call *call = session->call ? take_off(session) : NULL;

    mail_session_close(session);
    if (call && is_stale)
        http_mail_assign(call);
    else if (call)
        http_call_end(call, code);
    http_mail_serve(client);
}

void mail_session_abandon(struct mail_session *session)
{
    session->call = NULL;
    if (session->step == STEP_GIVEN)
        rest(session);
    else if (session->step != STEP_OPEN)
        mail_session_close(session);
}

/* ---- writing ---- */

static CURLcode write_from(struct mail_session *session, const struct buf *from, size_t *at)
{
    while (*at < from->length) {
        size_t sent = 0;
        CURLcode code =
            curl_easy_send(session->carrier->easy, from->data + *at, from->length - *at, &sent);

        if (code == CURLE_AGAIN)
            return CURLE_OK;
        if (code != CURLE_OK)
            return code;
        *at += sent;
    }
    return CURLE_OK;
}

static CURLcode flush(struct mail_session *session)
{
    CURLcode code = write_from(session, &session->out, &session->out_at);

    if (code == CURLE_OK && session->step == STEP_TEXT && session->call)
        code = write_from(session, &session->call->sent, &session->call->sent_at);
    return code;
}

/* One command at a time: the buffer is empty by the time of the reply. */
static struct buf *command(struct mail_session *session, enum step step)
{
    session->step = step;
    session->reply_bytes = 0;
    session->out_at = 0;
    buf_clear(&session->out);
    return &session->out;
}

static void say_recipient(struct mail_session *session)
{
    buf_printf(command(session, STEP_RCPT), "RCPT TO:<%s>\r\n", session->recipient->data);
    session->recipient = session->recipient->next;
}

static void begin(struct mail_session *session)
{
    struct http_call *call = session->call;
    struct buf *out;

    loop_timer_stop(&session->timer);
    if (call->needs_utf8 && !session->carrier->has_utf8) {
        /* What a server would say to it (RFC 6531 3.5). */
        buf_clear(&call->received);
        buf_add_text(&call->received, "553 5.6.7 the server does not offer SMTPUTF8");
        take_off(session);
        rest(session);
        decide(call, HTTP_STAGE_MAIL, 553);
        return;
    }
    session->recipient = call->recipients;
    out = command(session, STEP_MAIL);
    buf_printf(out, "MAIL FROM:<%s>", call->from);
    if (session->carrier->has_size)
        buf_printf(out, " SIZE=%zu", call->message_bytes);
    buf_add_text(out, call->needs_utf8 ? " BODY=8BITMIME SMTPUTF8\r\n" : "\r\n");
}

/* ---- replies ---- */

static void refused(struct mail_session *session, int status)
{
    enum http_stage stage = stage_of(session->step);
    struct http_call *call;

    if (status == 421) {
        bool is_stale = session->is_kept && session->step == STEP_MAIL;

        call = take_off(session);
        mail_session_close(session);
        if (is_stale)
            http_mail_assign(call);
        else
            decide(call, stage, status);
        return;
    }
    call = take_off(session);
    buf_add_text(command(session, STEP_RSET), "RSET\r\n");
    decide(call, stage, status);
}

static bool is_text_sent(const struct http_call *call)
{
    return call->sent_at == call->sent.length;
}

/*
 * The reply to the text: the mail's end, whatever it is.  A refusal may come before its last line
 * has left; what we said next would be text.
 */
static void decided(struct mail_session *session, int status)
{
    struct http_call *call = take_off(session);

    if (status == 421 || !is_text_sent(call))
        mail_session_close(session);
    else
        rest(session);
    decide(call, HTTP_STAGE_TEXT, status);
}

static void on_reply(struct mail_session *session, int status)
{
    bool is_good = status >= 200 && status < 300;

    if (session->step == STEP_RSET && is_good) {
        rest(session);
    } else if (session->step == STEP_TEXT && session->call &&
               (is_good ? is_text_sent(session->call) : status >= 400)) {
        decided(session, status);
    } else if ((session->step == STEP_MAIL || session->step == STEP_RCPT) && is_good) {
        if (session->recipient)
            say_recipient(session);
        else
            buf_add_text(command(session, STEP_DATA), "DATA\r\n");
    } else if (session->step == STEP_DATA && status == 354) {
        command(session, STEP_TEXT);
    } else if (session->call && status >= 400) {
        refused(session, status);
    } else {
        lose(session, CURLE_WEIRD_SERVER_REPLY); /* an answer to nothing that was asked */
    }
}

/* A line of a reply.  Its code when it is the last one, 0 when more follow, -1 for what is none. */
static int code_of(const char *line, size_t length)
{
    int code = 0;

    if (length < 3 || (length > 3 && line[3] != ' ' && line[3] != '-'))
        return -1;
    for (int i = 0; i < 3; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -1;
        code = code * 10 + (line[i] - '0');
    }
    if (code < 200 || code > 599)
        return -1;
    return length > 3 && line[3] == '-' ? 0 : code;
}

static void on_line(struct mail_session *session, const char *line, size_t length)
{
    int code = code_of(line, length);
    bool is_first = session->reply_bytes == 0;

    session->reply_bytes += length + 1;
    if (code < 0) {
        lose(session, CURLE_WEIRD_SERVER_REPLY);
        return;
    }
    if (session->call) {
        if (is_first)
            buf_clear(&session->call->received);
        else
            buf_add_char(&session->call->received, '\n');
        buf_add(&session->call->received, line, length);
    }
    if (code > 0)
        on_reply(session, code);
}

/* Handles the lines that are there; what a line does may end the session. */
static void take_lines(struct mail_session *session)
{
    size_t at = 0;

    while (!session->is_dead) {
        const char *start = session->in.data + at;
        const char *end =
            at < session->in.length ? memchr(start, '\n', session->in.length - at) : NULL;
        size_t length;

        if (!end)
            break;
        length = (size_t)(end - start);
        at += length + 1;
        while (length && start[length - 1] == '\r')
            length--;
        on_line(session, start, length);
    }
    if (session->is_dead)
        return;
    if (at > 0) {
        memmove(session->in.data, session->in.data + at, session->in.length - at);
        session->in.length -= at;
    }
    if (session->in.length > LINE_BYTES || session->reply_bytes > REPLY_MAX)
        lose(session, CURLE_FILESIZE_EXCEEDED);
}

/* All that is there by now; TLS may hold more than the socket shows. */
static void read_in(struct mail_session *session)
{
    char bytes[READ_BYTES];

    while (!session->is_dead) {
        size_t got = 0;
        CURLcode code = curl_easy_recv(session->carrier->easy, bytes, sizeof bytes, &got);

        if (code == CURLE_AGAIN)
            return;
        if (code != CURLE_OK || got == 0) {
            lose(session, CURLE_RECV_ERROR);
            return;
        }
        buf_add(&session->in, bytes, got);
        take_lines(session);
    }
}

/* Everything that may call back or close goes through here. */
static void work(struct mail_session *session, bool can_read)
{
    struct http_client *client = session->client;
    CURLcode code;

    http_client_enter(client);
    session->is_at_work = true;
    if (can_read)
        read_in(session);
    if (!session->is_dead) {
        code = flush(session);
        if (code != CURLE_OK)
            lose(session, code);
    }
    watch(session);
    session->is_at_work = false;
    if (session->is_dead)
        session_free(session);
    http_mail_serve(client);
    http_client_leave(client);
}

static void on_event(void *ctx, int events)
{
    struct mail_session *session = ctx;
    struct http_client *client = session->client;

    if (!(events & LOOP_BROKEN)) {
        work(session, true);
        return;
    }
    http_client_enter(client);
    lose(session, CURLE_RECV_ERROR);
    http_client_leave(client);
}

/* ---- being given a mail ---- */

static void on_given(void *ctx)
{
    struct mail_session *session = ctx;
    struct http_client *client = session->client;

    http_client_enter(client);
    session->is_at_work = true;
    begin(session);
    work(session, false);
    http_client_leave(client);
}

void mail_session_give(struct mail_session *session, struct http_call *call)
{
    session->call = call;
    call->session = session;
    session->step = STEP_GIVEN;
    loop_timer_start(session->client->loop, &session->timer, 0, on_given, session);
}

/* Why it could not be opened is why the mail could not be sent. */
static void fail(struct mail_session *session, CURLcode code)
{
    struct http_client *client = session->client;
    struct http_call *call = session->call ? take_off(session) : NULL;
    struct http_call *carrier = session->carrier;
    long status = 0;

    if (call) {
        curl_easy_getinfo(carrier->easy, CURLINFO_RESPONSE_CODE, &status);
        call->mail_status = (int)status;
        call->mail_stage = HTTP_STAGE_OPEN;
        call->is_too_large = carrier->is_too_large;
        buf_clear(&call->received);
        buf_add(&call->received, carrier->received.data, carrier->received.length);
    }
    mail_session_close(session);
    if (call)
        http_call_end(call, code);
    http_mail_serve(client);
}

void mail_session_opened(struct mail_session *session, CURLcode code)
{
    curl_socket_t fd = CURL_SOCKET_BAD;

    if (code == CURLE_OK)
        curl_easy_getinfo(session->carrier->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (code == CURLE_OK && fd == CURL_SOCKET_BAD)
        code = CURLE_RECV_ERROR;
    if (code != CURLE_OK) {
        fail(session, code);
        return;
    }
    session->fd = fd;
    session->is_at_work = true;
    if (session->call)
        begin(session);
    else
        rest(session);
    work(session, false);
}
