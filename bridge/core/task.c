/* SPDX-License-Identifier: MIT */
#include "core/task.h"

#include "base/alloc.h"
#include "base/panic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *put(char **at, const char *text, size_t length)
{
    char *start = *at;

    memcpy(start, text, length);
    start[length] = '\0';
    *at = start + length + 1;
    return start;
}

struct note *note_new(const struct note *source)
{
    size_t service = strlen(source->service), request = strlen(source->request),
           type = strlen(source->type),
           collapse = source->collapse_key ? strlen(source->collapse_key) : 0;
    size_t bytes =
        sizeof(*source) + service + request + type + collapse + source->content_bytes + 5;
    struct note *note = xmalloc(bytes);
    char *at = (char *)(note + 1);

    *note = *source;
    note->tasks = 0;
    note->bytes = bytes;
    note->service = put(&at, source->service, service);
    note->request = put(&at, source->request, request);
    note->type = put(&at, source->type, type);
    note->collapse_key = source->collapse_key ? put(&at, source->collapse_key, collapse) : NULL;
    note->content = put(&at, source->content, source->content_bytes);
    return note;
}

void note_drop_unused(struct note *note)
{
    if (note->tasks == 0)
        free(note);
}

struct task *task_new(struct note *note, uint64_t id, const char *recipient, const char *user)
{
    size_t length = strlen(recipient) + 1, more = user && *user ? strlen(user) + 1 : 0;
    struct task *task = xcalloc(1, sizeof(*task) + length + more);

    memcpy(task->recipient, recipient, length);
    if (more)
        task->user = memcpy(task->recipient + length, user, more);
    task->note = note;
    task->id = id;
    task->state = DELIVERY_LEASED;
    note->tasks++;
    return task;
}

void task_free(struct task *task)
{
    ASSERT(!list_is_linked(&task->entry.node));
    ASSERT(task->note->tasks > 0);
    task->note->tasks--;
    note_drop_unused(task->note);
    free(task);
}

size_t task_bytes(const struct task *task)
{
    return sizeof(*task) + strlen(task->recipient) + 1 + (task->user ? strlen(task->user) + 1 : 0);
}

bool retry_override_is_set(const struct retry_override *retry)
{
    return retry->attempts >= 0 || retry->base_ms >= 0 || retry->max_ms >= 0 ||
           retry->factor >= 0 || retry->jitter >= 0;
}

char *retry_override_write(const struct retry_override *retry, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%d %lld %lld %.6g %d", retry->attempts, (long long)retry->base_ms,
             (long long)retry->max_ms, retry->factor, retry->jitter);
    return out;
}

void retry_override_read(struct retry_override *retry, const char *text)
{
    long long base, max;

    *retry = (struct retry_override){-1, -1, -1, -1, -1};
    if (!text)
        return;
    if (sscanf(text, "%d %lld %lld %lf %d", &retry->attempts, &base, &max, &retry->factor,
               &retry->jitter) != 5)
        *retry = (struct retry_override){-1, -1, -1, -1, -1};
    else {
        retry->base_ms = base;
        retry->max_ms = max;
    }
}

struct retry_policy retry_policy_with(const struct retry_policy *policy,
                                      const struct retry_override *retry)
{
    struct retry_policy result = *policy;

    if (retry->attempts > 0)
        result.attempts = retry->attempts;
    if (retry->base_ms >= 0)
        result.base_ms = retry->base_ms;
    if (retry->max_ms >= 0)
        result.max_ms = retry->max_ms;
    if (retry->factor >= 0)
        result.factor = retry->factor;
    if (retry->jitter >= 0)
        result.is_jittered = retry->jitter != 0;
    return result;
}
