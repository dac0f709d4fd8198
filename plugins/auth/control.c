/* SPDX-License-Identifier: MIT */
#include "control.h"

#include "file.h"
#include "revocation.h"

#include <stdlib.h>
#include <string.h>

void control_fini(struct control_request *req)
{
    if (req->token)
        file_wipe(req->token, strlen(req->token));
    free(req->client);
    free(req->jti);
    memset(req, 0, sizeof(*req));
}

/* Are all names in the object among those in `known`, a list that ends in NULL? */
static bool knows_all(json_t *object, const char *const *known)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const char *const *at = known;
        while (*at && strcmp(*at, name) != 0)
            at++;
        if (!*at)
            return false;
    }
    return true;
}

/* A copy of a non-empty string member; NULL when it is something else. */
static char *copy_text(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text && *text ? strdup(text) : NULL;
}

/* "kind" and "id" as "user/alice"; false when they are not both there and right. */
static bool read_subject(json_t *params, struct control_request *out)
{
    const char *kind = json_string_value(json_object_get(params, "kind"));
    const char *id = json_string_value(json_object_get(params, "id"));
    enum principal_kind known;
    char encoded[PRINCIPAL_ID_MAX + 1];

    if (!kind || !id || !principal_kind_parse(kind, &known) ||
        principal_encode(id, encoded, sizeof(encoded)) == 0)
        return false;
    size_t kind_len = strlen(kind);
    memcpy(out->subject, kind, kind_len);
    out->subject[kind_len] = '/';
    memcpy(out->subject + kind_len + 1, encoded, strlen(encoded) + 1);
    return true;
}

/* A member of a subject is there, right or not: what cannot be read never widens a command. */
static bool names_subject(json_t *params)
{
    return json_object_get(params, "kind") || json_object_get(params, "id");
}

static const char *read_refresh(json_t *params, struct control_request *out)
{
    static const char *const known[] = {"token", NULL};

    out->token = copy_text(params, "token");
    return out->token && knows_all(params, known) ? NULL : "params must be {token}";
}

static const char *read_disconnect(json_t *params, struct control_request *out)
{
    static const char *const known[] = {"client", "kind", "id", NULL};

    out->client = copy_text(params, "client");
    bool is_right = json_object_get(params, "client") ? out->client && !names_subject(params)
                                                      : read_subject(params, out);
    return is_right && knows_all(params, known) ? NULL : "params must be {client} or {kind, id}";
}

/* What the list can name: no blank, and no '#' in front, where it begins a comment. */
static bool is_list_word(const char *text)
{
    if (*text == '#')
        return false;
    for (; *text; text++)
        if (*text < 0x21 || *text > 0x7e)
            return false;
    return true;
}

static const char *read_revoke(json_t *params, struct control_request *out)
{
    static const char *const known[] = {"jti", "kind", "id", "until", NULL};
    json_t *until = json_object_get(params, "until");
    bool has_jti = json_object_get(params, "jti") != NULL, has_subject = names_subject(params);

    out->jti = copy_text(params, "jti");
    out->until_s = until ? json_integer_value(until) : -1;
    bool is_right = knows_all(params, known) && (has_jti || has_subject || until) &&
                    !(has_jti && (has_subject || until || !out->jti)) &&
                    (!has_subject || read_subject(params, out));
    if (until && (!json_is_integer(until) || out->until_s < 0 || out->until_s > (int64_t)1 << 36))
        is_right = false;
    if (out->jti && (strlen(out->jti) > REVOCATION_ID_MAX || !is_list_word(out->jti)))
        is_right = false;
    return is_right ? NULL : "params must be {jti}, {kind, id, until?} or {until}";
}

static const struct {
    const char *name;
    enum control_method method;
    const char *(*read)(json_t *params, struct control_request *out);
} methods[] = {
    {"refresh", CONTROL_REFRESH, read_refresh},
    {"disconnect", CONTROL_DISCONNECT, read_disconnect},
    {"revoke", CONTROL_REVOKE, read_revoke},
};

static const char *read_request(json_t *root, struct control_request *out)
{
    static const char *const known[] = {"rpc", "method", "params", NULL};
    const char *rpc = json_string_value(json_object_get(root, "rpc"));
    const char *name = json_string_value(json_object_get(root, "method"));

    if (rpc && strlen(rpc) <= CONTROL_RPC_MAX)
        memcpy(out->rpc, rpc, strlen(rpc) + 1);
    if (!rpc || strlen(rpc) > CONTROL_RPC_MAX || !knows_all(root, known))
        return "must be {rpc, method, params}, rpc a string of at most 128 bytes";
    for (size_t i = 0; name && i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(name, methods[i].name) == 0) {
            const char *problem = methods[i].read(json_object_get(root, "params"), out);
            out->method = problem ? CONTROL_BAD : methods[i].method;
            return problem;
        }
    return "method must be refresh, disconnect or revoke";
}

void control_parse(const void *payload, size_t len, struct control_request *out)
{
    const char *text = payload;

    memset(out, 0, sizeof(*out));
    out->until_s = -1;
    if (len > 2 && memcmp(text, "ey", 2) == 0 && !memchr(text, '\0', len)) {
        memcpy(out->rpc, "refresh", sizeof("refresh"));
        out->token = strndup(text, len);
        out->method = out->token ? CONTROL_REFRESH : CONTROL_BAD;
        out->problem = out->token ? NULL : "out of memory";
        return;
    }
    json_t *root = len ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    out->problem = json_is_object(root) ? read_request(root, out) : "must be a JSON object";
    json_decref(root);
}
