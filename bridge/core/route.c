/* SPDX-License-Identifier: MIT */
#include "core/route.h"

#include "core/topic.h"

#define BIT(channel) (1u << (channel))

/* Which channels can reach a kind of recipient; the first named is the default. */
static const struct {
    enum channel first;
    unsigned all;
    const char *why;
} reach[] = {
    [RECIPIENT_USER] = {CHANNEL_IN_APP, BIT(CHANNEL_COUNT) - 1, ""},
    [RECIPIENT_ROLE] = {CHANNEL_IN_APP, BIT(CHANNEL_IN_APP), "a role is reached by in_app alone"},
    [RECIPIENT_BROADCAST] = {CHANNEL_IN_APP, BIT(CHANNEL_IN_APP),
                             "a broadcast is reached by in_app alone"},
    [RECIPIENT_TOPIC] = {CHANNEL_IN_APP, 0, ""},
    [RECIPIENT_EMAIL] = {CHANNEL_EMAIL, BIT(CHANNEL_EMAIL),
                         "an email address is reached by email alone"},
    [RECIPIENT_PHONE] = {CHANNEL_SMS, BIT(CHANNEL_SMS) | BIT(CHANNEL_CHAT),
                         "a phone is reached by sms or chat"},
    [RECIPIENT_PUSH_TOKEN] = {CHANNEL_PUSH, BIT(CHANNEL_PUSH),
                              "a push token is reached by push alone"},
    [RECIPIENT_URL] = {CHANNEL_WEBHOOK, BIT(CHANNEL_WEBHOOK) | BIT(CHANNEL_CHAT),
                       "a url is reached by webhook or chat"},
};

static bool refuse(struct rejection *rejection, enum reject reason, const char *pointer,
                   const char *detail)
{
    *rejection = (struct rejection){reason, pointer, detail};
    return false;
}

/* Well-formed, but of a part of the contract that this version does not serve. */
static bool is_served(const struct request *request, struct rejection *rejection)
{
    if (request->template_name)
        return refuse(rejection, REJECT_UNKNOWN_TEMPLATE, "/template",
                      "there is no template of this name");
    if (request->has_schedule)
        return refuse(rejection, REJECT_NOT_ALLOWED, "/schedule",
                      "recurring schedules are not served by this version; use at");
    if (request->has_group)
        return refuse(rejection, REJECT_NOT_ALLOWED, "/group",
                      "digests are not served by this version");
    if (request->to == RECIPIENT_TOPIC)
        return refuse(rejection, REJECT_NOT_ALLOWED, "/to/topic",
                      "named lists are not served by this version; use users");
    return true;
}

static bool choose_channels(const struct request *request, const struct route_type *type,
                            unsigned available, struct route *route, struct rejection *rejection)
{
    unsigned all = reach[request->to].all;
    unsigned channels = request->channels;

    if (channels & ~all)
        return refuse(rejection, REJECT_BAD_VALUE, "/channels", reach[request->to].why);
    if (!channels)
        channels = type ? type->channels & all : 0;
    if (!channels)
        channels = BIT(reach[request->to].first);
    if (channels & ~available)
        return refuse(rejection, REJECT_NOT_ALLOWED, "/channels",
                      "no destination is configured for one of these channels");
    route->channels = channels;
    return true;
}

static unsigned bits(unsigned set)
{
    unsigned count = 0;

    for (; set; set &= set - 1)
        count++;
    return count;
}

static void put_in_order(struct route *route, const enum channel *order, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (route->channels & BIT(order[i]))
            route->order[route->order_count++] = order[i];
}

/* In the order in which they were listed where that matters, else in that of their numbers. */
static void choose_order(const struct request *request, const struct route_type *type,
                         struct route *route)
{
    const struct route_type *own = !request->has_route && type && type->is_first ? type : NULL;

    route->order_count = 0;
    route->is_first = request->is_route_first || own;
    route->escalate_after_ms = own ? own->escalate_after_ms : request->escalate_after_ms;
    if (route->is_first && request->channels)
        put_in_order(route, request->channel_order, request->channel_count);
    else if (route->is_first && type)
        put_in_order(route, type->order, type->order_count);
    if (route->order_count == 0)
        for (int channel = 0; channel < CHANNEL_COUNT; channel++)
            if (route->channels & BIT(channel))
                route->order[route->order_count++] = (enum channel)channel;
    if (route->order_count == 1)
        route->is_first = false;
}

bool route_request(const struct request *request, const struct route_type *type, unsigned available,
                   struct arena *arena, struct route *route, struct rejection *rejection)
{
    static const char *nobody[] = {""};
    size_t count = request->recipient_count;
    bool is_encoded = request->to == RECIPIENT_USER || request->to == RECIPIENT_ROLE;

    if (!is_served(request, rejection) ||
        !choose_channels(request, type, available, route, rejection))
        return false;
    choose_order(request, type, route);
    route->kind = request->to;
    route->recipients = request->recipients;
    route->recipient_count = count;
    if (request->to == RECIPIENT_BROADCAST) {
        route->recipients = nobody;
        route->recipient_count = 1;
    }
    if (is_encoded) {
        route->recipients = arena_alloc(arena, count * sizeof(*route->recipients));
        for (size_t i = 0; i < count; i++) {
            char id[TOPIC_ID_MAX + 1];

            if (topic_encode_id(request->recipients[i], id))
                return refuse(rejection, REJECT_BAD_VALUE, "/to",
                              "an id is longer than 128 bytes when percent-encoded");
            route->recipients[i] = arena_strdup(arena, id);
        }
    }
    route->deliveries = route->recipient_count * bits(route->channels);
    return true;
}
