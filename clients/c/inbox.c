/* SPDX-License-Identifier: MIT */
/*
 * inbox - the smallest correct client of a user, in C
 *
 *   cc -o inbox inbox.c -lpaho-mqtt3cs -ljansson
 *   ./inbox mqtt://127.0.0.1:1883 alice /path/to/alice.token
 *
 * What makes it correct, in any language:
 *
 * - The client id is user/{id}/{device}, the password is the token, and {id}
 *   is encoded, so that it is one topic level whatever characters it has.
 * - It subscribes on every connect, and needs no stored session: what nobody
 *   acknowledged the bridge sends again when the user is back.
 * - It acknowledges with `ack` once the notification is really shown. The
 *   broker's own acknowledgement does not count.
 * - A notification may come twice. The second time it is acknowledged again
 *   (the first `ack` may be lost) but not shown again.
 * - It waits before it connects again, longer each time, and by chance, so
 *   that a thousand clients do not all come back in the same second.
 *
 * paho's MQTTClient is used without callbacks: one thread, one loop.
 */
#include <MQTTClient.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ID_MAX      128 /* bytes of an encoded id */
#define SEEN_MAX    256 /* ids remembered to recognise repeats */
#define SEEN_ID_MAX 64
#define TOKEN_MAX   65536 /* what an MQTT password can hold, and its end */
#define WAIT_MAX_MS 30000
#define RECEIVE_MS  1000
#define KEEPALIVE_S 30

struct inbox {
    MQTTClient client;
    char id[ID_MAX + 1]; /* encoded */
    char token[TOKEN_MAX];
    char seen[SEEN_MAX][SEEN_ID_MAX];
    unsigned seen_at;
};

/* Every byte outside [A-Za-z0-9._~@|-] becomes %XX. -1 when empty or too long. */
static int encode(const char *id, char out[ID_MAX + 1])
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789._~@|-";
    size_t n = 0;

    for (; *id; id++) {
        size_t need = strchr(plain, *id) ? 1 : 3;

        if (n + need > ID_MAX)
            return -1;
        snprintf(out + n, need + 1, need == 1 ? "%c" : "%%%02X", (unsigned char)*id);
        n += need;
    }
    return n ? 0 : -1;
}

/* Before each connect, so that a renewed token is used. -1 when it cannot be read. */
static int read_token(struct inbox *in, const char *path)
{
    FILE *f = fopen(path, "re");
    int rc = f && fgets(in->token, sizeof(in->token), f) ? 0 : -1;

    if (f)
        fclose(f);
    in->token[strcspn(in->token, "\r\n")] = '\0';
    return rc;
}

static int is_repeat(struct inbox *in, const char *id)
{
    for (unsigned i = 0; i < SEEN_MAX; i++)
        if (strcmp(in->seen[i], id) == 0)
            return 1;
    snprintf(in->seen[in->seen_at++ % SEEN_MAX], SEEN_ID_MAX, "%s", id);
    return 0;
}

static void acknowledge(struct inbox *in, const char *id)
{
    char topic[ID_MAX + 64];
    json_t *ack = json_pack("{s:[s]}", "ids", id);
    char *text = json_dumps(ack, JSON_COMPACT);

    snprintf(topic, sizeof(topic), "notify/v1/users/%s/up/ack", in->id);
    MQTTResponse response =
        MQTTClient_publish5(in->client, topic, (int)strlen(text), text, 1, 0, NULL, NULL);
    MQTTResponse_free(response); /* lost with the connection: the notification comes again */
    free(text);
    json_decref(ack);
}

static void on_notification(struct inbox *in, const void *payload, size_t len)
{
    json_t *n = json_loadb(payload, len, 0, NULL);
    const char *id = json_string_value(json_object_get(n, "id"));
    const char *key = json_string_value(json_object_get(n, "key")); /* urgent: may change its id */
    const char *title = json_string_value(json_object_get(n, "title"));
    const char *body = json_string_value(json_object_get(n, "body"));

    if (id && strlen(id) < SEEN_ID_MAX) {
        if (!is_repeat(in, key && strlen(key) < SEEN_ID_MAX ? key : id)) {
            printf("%s: %s\n", title ? title : "", body ? body : "");
            fflush(stdout);
        }
        acknowledge(in, id);
    }
    json_decref(n);
}

/* Connects and subscribes: an MQTT reason code, 0 for success, or an error of paho's below 0. */
static int connect_once(struct inbox *in)
{
    MQTTClient_connectOptions opts = MQTTClient_connectOptions_initializer5;
    MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
    char filter[ID_MAX + 64];

    tls.verify = 1; /* used with mqtts:// and wss:// only */
    opts.ssl = &tls;
    opts.keepAliveInterval = KEEPALIVE_S;
    opts.cleanstart = 1;
    opts.password = in->token;
    MQTTResponse response = MQTTClient_connect5(in->client, &opts, NULL, NULL);
    int rc = (int)response.reasonCode;
    MQTTResponse_free(response);
    if (rc != 0)
        return rc;
    snprintf(filter, sizeof(filter), "notify/v1/users/%s/down/#", in->id);
    response = MQTTClient_subscribe5(in->client, filter, 1, NULL, NULL);
    rc = (int)response.reasonCode;
    MQTTResponse_free(response);
    return rc == 1 ? 0 : rc; /* granted QoS 1 is what we asked for */
}

/* Until the connection is lost. */
static void receive(struct inbox *in)
{
    char own[ID_MAX + 64], *topic;
    MQTTClient_message *msg;
    int len;

    snprintf(own, sizeof(own), "notify/v1/users/%s/down/inbox", in->id);
    for (;;) {
        int rc = MQTTClient_receive(in->client, &topic, &len, &msg, RECEIVE_MS);

        if (msg && strcmp(topic, own) == 0)
            on_notification(in, msg->payload, (size_t)msg->payloadlen);
        if (msg) {
            MQTTClient_freeMessage(&msg);
            MQTTClient_free(topic);
        }
        if (rc != MQTTCLIENT_SUCCESS && rc != MQTTCLIENT_TOPICNAME_TRUNCATED &&
            !MQTTClient_isConnected(in->client))
            return;
    }
}

static void wait_before_retry(int wait_ms)
{
    struct timespec ts;
    unsigned chance = 0;

    if (getentropy(&chance, sizeof(chance)))
        perror("getentropy");
    wait_ms = wait_ms / 2 + (int)(chance % (unsigned)(wait_ms / 2 + 1));
    ts.tv_sec = wait_ms / 1000;
    ts.tv_nsec = wait_ms % 1000 * 1000000L;
    nanosleep(&ts, NULL);
}

int main(int argc, char **argv)
{
    MQTTClient_createOptions opts = MQTTClient_createOptions_initializer;
    struct inbox in = {0};
    char client_id[ID_MAX + 32];

    if (argc != 4 || encode(argv[2], in.id)) {
        fputs("usage: inbox URL USER TOKEN-FILE\n", stderr);
        return 2;
    }
    snprintf(client_id, sizeof(client_id), "user/%s/c-%d", in.id, (int)getpid());
    opts.MQTTVersion = MQTTVERSION_5;
    if (MQTTClient_createWithOptions(&in.client, argv[1], client_id, MQTTCLIENT_PERSISTENCE_NONE,
                                     NULL, &opts)) {
        fputs("the URL must be mqtt://, mqtts://, ws:// or wss://host:port\n", stderr);
        return 2;
    }
    for (int wait_ms = 500;; wait_ms = wait_ms * 2 < WAIT_MAX_MS ? wait_ms * 2 : WAIT_MAX_MS) {
        int rc = read_token(&in, argv[3]) ? -1 : connect_once(&in);

        if (rc == 0) {
            fputs("connected\n", stderr);
            wait_ms = 500;
            receive(&in);
            fputs("connection lost\n", stderr);
        } else if (rc >= 0x80) {
            fprintf(stderr, "refused: %s\n", MQTTReasonCode_toString((enum MQTTReasonCodes)rc));
            MQTTClient_destroy(&in.client);
            return 1; /* a wrong token does not get better by repeating */
        }
        wait_before_retry(wait_ms);
    }
}
