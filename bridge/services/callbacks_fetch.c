/* SPDX-License-Identifier: MIT */
/*
 * callbacks_fetch - the certificates with which SNS signs, and the confirmation of subscriptions
 *
 * One certificate is fetched at a time; requests that come meanwhile wait for it.  Which URL may
 * be fetched was judged before (callback_ses.c).
 */
#include "base/alloc.h"
#include "base/log.h"
#include "services/callbacks_internal.h"

#include <stdlib.h>
#include <string.h>

#define FETCH_MS 5000
/* Requests of one destination that wait for one: fewer than all that may wait (POSTS_MAX). */
#define WAITING_MAX 64

static struct http_request get(const struct endpoint *endpoint, const char *url)
{
    return (struct http_request){
        .method = "GET",
        .url = url,
        .ca_file = endpoint->account.ca_file,
        .is_public_only = !endpoint->account.sns_url,
        .connect_ms = FETCH_MS,
        .timeout_ms = FETCH_MS,
    };
}

static void on_certificate(void *ctx, const struct http_response *response)
{
    struct endpoint *endpoint = ctx;
    struct list_node *node;
    struct list all;
    bool is_good = !response->fail && response->status == 200 &&
                   strstr(response->body, "-----BEGIN CERTIFICATE-----");

    list_init(&all);
    while ((node = list_pop_front(&endpoint->waiting)))
        list_push_back(&all, node);
    if (is_good) {
        free(endpoint->certificate);
        free(endpoint->certificate_url);
        endpoint->certificate = xstrdup(response->body);
        endpoint->certificate_url = endpoint->fetching_url;
    } else {
        log_warn("callback.certificate", LOG_STR("destination", endpoint->name),
                 LOG_INT("status", response->status), LOG_INT("fail", response->fail));
        free(endpoint->fetching_url);
    }
    endpoint->fetching_url = NULL;
    while ((node = list_pop_front(&all))) {
        struct post *post = CONTAINER_OF(node, struct post, node);

        if (is_good)
            post_read(post); /* may ask for another certificate */
        else
            post_end(post, 503, "");
    }
}

void callbacks_fetch(struct post *post)
{
    struct endpoint *endpoint = post->endpoint;
    struct http_request request = get(endpoint, post->result.fetch);

    if (endpoint->waiting.count >= WAITING_MAX) {
        post_end(post, 503, "");
        return;
    }
    list_push_back(&endpoint->waiting, &post->node);
    if (endpoint->fetching_url)
        return;
    endpoint->fetching_url = xstrdup(post->result.fetch);
    if (http_send(endpoint->callbacks->http, &request, on_certificate, endpoint) == 0)
        return;
    free(endpoint->fetching_url);
    endpoint->fetching_url = NULL;
    list_remove(&endpoint->waiting, &post->node);
    post_end(post, 503, "");
}

static void on_confirmed(void *ctx, const struct http_response *response)
{
    struct endpoint *endpoint = ctx;

    log_info("callback.confirmed", LOG_STR("destination", endpoint->name),
             LOG_INT("status", response->status), LOG_INT("fail", response->fail));
}

void callbacks_confirm(struct endpoint *endpoint, const char *url)
{
    struct http_request request = get(endpoint, url);

    if (http_send(endpoint->callbacks->http, &request, on_confirmed, endpoint))
        log_warn("callback.unconfirmed", LOG_STR("destination", endpoint->name));
}
