/* SPDX-License-Identifier: MIT */
#include "channels/email.h"
#include "channels/encode.h"
#include "channels/mime_header.h"
#include "channels/tracker.h"
#include "core/id.h"
#include <string.h>
#include <strings.h>

#define SUBJECT_MAX      998
#define SUBJECT_CUT      120
#define HEADER_VALUE_MAX 998
#define HEADERS_MAX      30

void email_rules_init(struct email_rules *rules, struct settings *settings)
{
    const char *from = settings_text(settings, "from");
    const char *reply_to = settings_text(settings, "reply_to");

    if (from && mailbox_parse(from, &rules->from) != 0)
        settings_fail(settings, "from must be an address or Name <address>");
    else if (from && !rules->takes_utf8 && mailbox_needs_utf8(rules->from.address))
        settings_fail(settings, "from: this provider takes addresses of ASCII letters only");
    if (reply_to && mailbox_parse(reply_to, &rules->reply_to) != 0)
        settings_fail(settings, "reply_to must be an address or Name <address>");
    rules->has_reply_to = reply_to != NULL;
    rules->may_choose_from = settings_bool(settings, "allow_from");
}

static int refuse(struct call *call, const char *detail)
{
    call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID, detail);
    return ERR_INVALID;
}

/* Headers that we write ourselves, or that would change who gets the mail or how it reads. */
static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"from",
                                           "to",
                                           "cc",
                                           "bcc",
                                           "subject",
                                           "date",
                                           "reply-to",
                                           "sender",
                                           "message-id",
                                           "received",
                                           "return-path",
                                           "mime-version",
                                           "list-unsubscribe",
                                           "list-unsubscribe-post",
                                           "dkim-signature"};

    if (strncasecmp(name, "content-", 8) == 0 || strncasecmp(name, "x-sg-", 5) == 0 ||
        strncasecmp(name, "arc-", 4) == 0 || strncasecmp(name, "resent-", 7) == 0)
        return true;
    for (unsigned i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcasecmp(name, reserved[i]) == 0)
            return true;
    }
    return false;
}

static bool is_header_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789-_");

    return length > 0 && length <= 76 && name[length] == '\0';
}

/* "https://a/u, mailto:b" to "<https://a/u>, <mailto:b>"; NULL when a part is neither. */
static const char *unsubscribe_list(struct arena *arena, const char *text, bool *is_one_click)
{
    struct buf out = {0};
    const char *copy = NULL;

    *is_one_click = false;
    while (*text) {
        size_t length = strcspn(text, ",");
        const char *part = text;

        text += length + (text[length] == ',');
        while (length && (*part == ' ' || *part == '<'))
            part++, length--;
        while (length && (part[length - 1] == ' ' || part[length - 1] == '>'))
            length--;
        if (strncmp(part, "https://", 8) == 0)
            *is_one_click = true;
        else if (strncmp(part, "mailto:", 7) != 0)
            goto out;
        if (memchr(part, ' ', length) || memchr(part, '<', length) || memchr(part, '>', length))
            goto out;
        buf_printf(&out, "%s<%.*s>", out.length ? ", " : "", (int)length, part);
    }
    if (out.length && out.length <= HEADER_VALUE_MAX)
        copy = arena_copy(arena, out.data, out.length);
out:
    buf_fini(&out);
    return copy;
}

/* What the request names; else a link of our own, where the type wants one. */
static int add_unsubscribe(struct call *call, struct content_pair *headers, size_t *count)
{
    const char *asked = call->content.list_unsubscribe, *list = NULL, *url;
    bool is_one_click = false;

    if (asked) {
        if (text_is_clean(asked))
            list = unsubscribe_list(call->arena, asked, &is_one_click);
        if (!list)
            return refuse(call, "list_unsubscribe must be https: or mailto: URLs");
    } else {
        url = tracker_unsubscribe_url(call->endpoint->env.tracker, call->arena, call->job);
        list = url ? arena_printf(call->arena, "<%s>", url) : NULL;
        is_one_click = list != NULL;
    }
    if (list && !mime_header_fits("List-Unsubscribe", list))
        return refuse(call, "list_unsubscribe has a URL that fits no line of a mail (998 octets)");
    if (list)
        headers[(*count)++] = (struct content_pair){"List-Unsubscribe", list};
    if (is_one_click)
        headers[(*count)++] =
            (struct content_pair){"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"};
    return 0;
}

static int add_headers(struct call *call, struct email *email)
{
    const struct content *content = &call->content;
    struct content_pair *headers =
        arena_alloc(call->arena, (content->header_count + 2) * sizeof *headers);
    size_t count = 0;

    if (content->header_count > HEADERS_MAX)
        return refuse(call, "too many headers");
    for (size_t i = 0; i < content->header_count; i++) {
        const struct content_pair *pair = &content->headers[i];

        if (!is_header_name(pair->key) || is_reserved(pair->key))
            return refuse(call, "a header of that name may not be set");
        if (!text_is_clean(pair->value) || strlen(pair->value) > HEADER_VALUE_MAX)
            return refuse(call, "a header's value is not usable");
        if (!mime_header_fits(pair->key, pair->value))
            return refuse(call, "a header has a word that fits no line of a mail (998 octets)");
        headers[count++] = *pair;
    }
    if (add_unsubscribe(call, headers, &count))
        return ERR_INVALID;
    email->headers = headers;
    email->header_count = count;
    return 0;
}

/* The sender and where to answer; a request may choose the first only where that is allowed. */
static int choose_senders(struct call *call, const struct email_rules *rules, struct email *email)
{
    const struct content *content = &call->content;

    email->from = &rules->from;
    email->reply_to = rules->has_reply_to ? &rules->reply_to : NULL;
    if (content->from) {
        struct mailbox *from = arena_alloc(call->arena, sizeof *from);

        if (!rules->may_choose_from)
            return refuse(call, "this destination does not let requests choose the sender");
        if (mailbox_parse(content->from, from) != 0)
            return refuse(call, "content.email.from is not a mailbox");
        if (mailbox_needs_utf8(from->address) && !rules->takes_utf8)
            return refuse(call, "content.email.from: this provider takes ASCII letters only");
        email->from = from;
    }
    if (content->reply_to) {
        struct mailbox *reply_to = arena_alloc(call->arena, sizeof *reply_to);

        if (mailbox_parse(content->reply_to, reply_to) != 0)
            return refuse(call, "content.email.reply_to is not a mailbox");
        email->reply_to = reply_to;
    }
    return 0;
}

/* At most SUBJECT_CUT bytes, whole characters, tabs and the like as blanks. */
static const char *first_line(struct arena *arena, const char *text)
{
    size_t length = strcspn(text, "\r\n");
    char *line;

    if (length > SUBJECT_CUT) {
        length = SUBJECT_CUT;
        while (length && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    line = arena_copy(arena, text, length);
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = ' ';
    }
    return line;
}

/* The title; without one, the first line of the text. */
static const char *subject_of(struct call *call)
{
    const struct content *content = &call->content;

    if (content->title && *content->title)
        return content->title;
    return content->body ? first_line(call->arena, content->body) : NULL;
}

/* The target as it is sent.  Which providers take more than ASCII says nothing of the target. */
static int choose_address(struct call *call, const struct email_rules *rules, struct email *email)
{
    char *wire = arena_alloc(call->arena, MAILBOX_ADDRESS_MAX + 1);

    if (!mailbox_address_is_valid(email->to) || mailbox_to_wire(email->to, wire) != 0) {
        call_refuse_target(call, "not an email address");
        return ERR_INVALID;
    }
    if (mailbox_needs_utf8(wire) && !rules->takes_utf8) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_TARGET_INVALID,
                    "this provider takes addresses of ASCII letters only");
        return ERR_INVALID;
    }
    email->to = wire;
    return 0;
}

int email_prepare(struct call *call, const struct email_rules *rules, struct email *email)
{
    const struct content *content = &call->content;
    char id[ID_TEXT_BYTES];
    int err;

    *email = (struct email){
        .to = call->job->target,
        .subject = subject_of(call),
        .text = content->body,
        .html = tracker_html(call->endpoint->env.tracker, call->arena, call->job, content->html),
        .attachments = content->attachments,
        .attachment_count = content->attachment_count,
        .date_ms = call->job->created_ms};
    if (choose_address(call, rules, email))
        return ERR_INVALID;
    if (!email->text && !email->html)
        return refuse(call, "an email needs a body, content.email.text or content.email.html");
    if (!email->subject || !text_is_clean(email->subject) || strlen(email->subject) > SUBJECT_MAX)
        return refuse(call, "an email needs a subject of one line");
    err = choose_senders(call, rules, email);
    if (!err)
        err = add_headers(call, email);
    email->message_id =
        arena_printf(call->arena, "<%s.tocsin@%s>", id_format(call->job->delivery, id),
                     mailbox_domain(email->from->address));
    return err;
}
