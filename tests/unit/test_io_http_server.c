/* SPDX-License-Identifier: MIT */
#include "io/http_client.h"
#include "io/http_server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server_fixture.h"

#define PLACES 20
#define ROOM   100000 /* for what exceeds the small part of bodies */

struct scene {
    struct loop *loop;
    struct http_server *server;
    struct http_client *client;
    struct loop_timer later;
    struct http_exchange *parked[64];
    size_t parked_count, asked, answered, largest_parked, heads;
    int statuses[64];
    char last_body[256], last_type[64];
    size_t last_bytes;
    int64_t until_ms;
    size_t want;
};

static void answer_parked(void *ctx)
{
    struct scene *scene = ctx;

    while (scene->parked_count)
        http_answer(scene->parked[--scene->parked_count], 202, "text/plain", "late", 4);
}

static void on_request(void *ctx, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    struct scene *scene = ctx;
    const char *said = http_request_header(exchange, "x-said");
    char text[200];
    int length;

    scene->asked++;
    if (strcmp(request->path, "/late") == 0) {
        scene->parked[scene->parked_count++] = exchange;
        if (scene->parked_count > scene->largest_parked)
            scene->largest_parked = scene->parked_count;
        loop_timer_start(scene->loop, &scene->later, 30, answer_parked, scene);
        return;
    }
    if (strcmp(request->path, "/never") == 0) {
        scene->parked[0] = exchange;
        return;
    }
    length = snprintf(text, sizeof text, "%s %s ?%s said=%s bytes=%zu", request->method,
                      request->path, request->query, said ? said : "nothing", request->body_bytes);
    http_answer(exchange, 200, "text/x-echo", text, (size_t)length);
}

static void on_response(void *ctx, const struct http_response *response)
{
    struct scene *scene = ctx;
    const char *type = http_response_header(response, "content-TYPE");

    scene->statuses[scene->answered++ % 64] =
        response->fail ? -(int)response->fail : response->status;
    snprintf(scene->last_body, sizeof scene->last_body, "%s", response->body);
    snprintf(scene->last_type, sizeof scene->last_type, "%s", type ? type : "");
}

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->answered >= scene->want || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 50;
}

static void run_until_answered(struct scene *scene, size_t want)
{
    scene->want = want;
    scene->until_ms = clock_boot_ms() + 10000;
    loop_run(scene->loop, turn, scene);
    assert_int_equal(scene->answered, want);
}

static void run_for(struct scene *scene, int64_t ms)
{
    scene->want = SIZE_MAX;
    scene->until_ms = clock_boot_ms() + ms;
    loop_run(scene->loop, turn, scene);
}

/* "/small" may have 100 bytes, "/large" 200,000, "/nothing" is not there. */
static int on_head(void *ctx, const struct http_server_request *head,
                   struct http_server_verdict *verdict)
{
    struct scene *scene = ctx;

    assert_int_equal(head->body_bytes, 0);
    scene->heads++;
    if (strcmp(head->path, "/small") == 0)
        verdict->body_max = 100;
    if (strcmp(head->path, "/large") == 0)
        verdict->body_max = 200000;
    verdict->text = "not here";
    verdict->allow = "GET";
    return strcmp(head->path, "/nothing") == 0 ? 404 : strcmp(head->method, "PUT") == 0 ? 405 : 0;
}

static void scene_open(struct scene *scene, unsigned timeout_s)
{
    struct http_server_config config = {.listen = "127.0.0.1:0",
                                        .body_max = 10000,
                                        .bodies_max = PLACES * HTTP_SERVER_BODY_SMALL + ROOM,
                                        .connections_max = PLACES,
                                        .head_s = timeout_s > 1 ? timeout_s - 1 : 1,
                                        .timeout_s = timeout_s,
                                        .on_head = on_head};
    struct http_client_config client = {.max_inflight = 64, .max_connections = 10};
    char why[200] = "";

    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    assert_int_equal(
        http_server_open(scene->loop, &config, on_request, scene, &scene->server, why, sizeof why),
        0);
    scene->client = http_client_open(scene->loop, &client);
}

static void scene_close(struct scene *scene)
{
    http_client_close(scene->client);
    http_server_close(scene->server);
    loop_timer_stop(&scene->later);
    loop_free(scene->loop);
}

static void send_to(struct scene *scene, const char *method, const char *target, size_t body_bytes)
{
    struct http_header header = {"X-Said", "hello"};
    char *body = xcalloc(1, body_bytes + 1);
    char url[128];
    struct http_request request = {.method = method,
                                   .url = url,
                                   .headers = &header,
                                   .header_count = 1,
                                   .body = body,
                                   .body_bytes = body_bytes,
                                   .connect_ms = 2000,
                                   .timeout_ms = 5000};

    memset(body, 'b', body_bytes);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", http_server_port(scene->server), target);
    assert_int_equal(http_send(scene->client, &request, on_response, scene), 0);
    free(body);
}

static void requests_are_shown_as_they_were_sent(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "GET", "/a%20b/c?x=1%262&y", 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.statuses[0], 200);
    assert_string_equal(scene.last_body, "GET /a%20b/c ?x=1%262&y said=hello bytes=0");
    assert_string_equal(scene.last_type, "text/x-echo");
    send_to(&scene, "POST", "/in", 9999);
    run_until_answered(&scene, 2);
    assert_string_equal(scene.last_body, "POST /in ? said=hello bytes=9999");
    send_to(&scene, "DELETE", "/gone", 0);
    run_until_answered(&scene, 3);
    assert_string_equal(scene.last_body, "DELETE /gone ? said=hello bytes=0");
    scene_close(&scene);
}

static void late_answers_arrive(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    for (int i = 0; i < 30; i++)
        send_to(&scene, "POST", "/late", 10);
    run_until_answered(&scene, 30);
    for (int i = 0; i < 30; i++)
        assert_int_equal(scene.statuses[i], 202);
    assert_in_range(scene.largest_parked, 2, 10); /* as many as the client has connections */
    scene_close(&scene);
}

static void bodies_are_bounded(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "POST", "/in", 10001);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.statuses[0], 413);
    assert_int_equal(scene.asked, 0);
    send_to(&scene, "POST", "/in", 10000);
    run_until_answered(&scene, 2);
    assert_int_equal(scene.statuses[1], 200);
    scene_close(&scene);
}

static int connect_to(const struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(http_server_port(scene->server))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Whether the server has closed it; what it sent first goes into text. */
static bool is_closed(int fd, char *text, size_t bytes)
{
    size_t length = 0;
    ssize_t got = -1;

    while (length + 1 < bytes &&
           (got = recv(fd, text + length, bytes - 1 - length, MSG_DONTWAIT)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    return length + 1 < bytes && got == 0;
}

/* Sends the bytes and reads until the server closes, or is silent for a while. */
static int converse(struct scene *scene, const char *bytes, size_t length, char *text,
                    size_t text_bytes, bool *has_closed)
{
    int fd = connect_to(scene);
    size_t got = 0;

    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
    *has_closed = false;
    for (int i = 0; i < 40 && !*has_closed; i++) {
        run_for(scene, 5);
        *has_closed = is_closed(fd, text + got, text_bytes - got);
        got += strlen(text + got);
        if (got && i < 35 && !*has_closed)
            i = 35;
    }
    close(fd);
    return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
}

/* libmicrohttpd 0.9.75 writes the head of its own refusals of a length twice. */
static bool is_written_by_library(const char *text)
{
    return strstr(text, "<title>Request ") != NULL;
}

static unsigned statuses_in(const char *text)
{
    unsigned count = 0;

    for (; (text = strstr(text, "HTTP/1.")); text++)
        count++;
    return count;
}

#define SECOND "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"

/* Each carries a second request, where a proxy could see the body of the first. */
static void ambiguous_requests_are_refused_and_their_connection_ends(void **state)
{
    static const struct {
        const char *name, *head;
        int status; /* -1: 400 or 413, or no answer, as the library has it */
    } cases[] = {
        {"both", "Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400},
        {"both, other order", "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
         400},
        {"both, any case", "Host: x\r\ncontent-length: 4\r\ntransfer-encoding: Chunked\r\n", 400},
        {"two lengths", "Host: x\r\nContent-Length: 0\r\nContent-Length: 38\r\n", 400},
        {"two equal lengths", "Host: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n", 400},
        {"list of lengths", "Host: x\r\nContent-Length: 0, 0\r\n", 400},
        {"signed length", "Host: x\r\nContent-Length: +0\r\n", 400},
        {"hexadecimal length", "Host: x\r\nContent-Length: 0x0\r\n", 400},
        {"length with a blank", "Host: x\r\nContent-Length: 3 8\r\n", 400},
        {"empty length", "Host: x\r\nContent-Length:\r\n", 400},
        {"huge length", "Host: x\r\nContent-Length: 18446744073709551616\r\n", -1},
        {"huge length in 64 bits", "Host: x\r\nContent-Length: 18446744073709551615\r\n", -1},
        {"list of encodings", "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", 400},
        {"two encodings", "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
         400},
        {"unknown encoding", "Host: x\r\nTransfer-Encoding: xchunked\r\n", 400},
        {"identity", "Host: x\r\nTransfer-Encoding: identity\r\n", 400},
        {"encoding with a tab inside", "Host: x\r\nTransfer-Encoding: chunked\t;q\r\n", 400},
        {"quoted encoding", "Host: x\r\nTransfer-Encoding: \"chunked\"\r\n", 400},
        {"two hosts", "Host: x\r\nHost: y\r\n", 400},
        {"no host", "X: y\r\n", 400},
        {"folded encoding", "Host: x\r\nTransfer-Encoding: chun\r\n ked\r\n", 400},
        {"folded length", "Host: x\r\nContent-Length: 3\r\n 8\r\n", 400},
        {"folded header", "Host: x\r\nX: y\r\n\tz\r\n", 400},
        {"folded first header", "X: y\r\n z\r\nHost: x\r\n", 400},
        {"blank before colon", "Host: x\r\nContent-Length : 38\r\n", 400},
        {"tab before colon", "Host: x\r\nTransfer-Encoding\t: chunked\r\n", 400},
        {"name with a control character", "Host: x\r\nContent\x0bLength: 38\r\n", 400},
        {"bare lf", "Host: x\nX: y\r\n", 400},
        {"bare lf at the end", "Host: x\r\nX: y\n", 400},
        {"bare lf before an encoding", "Host: x\r\nX: y\nTransfer-Encoding: chunked\r\n", 400},
        {"cr in a value", "Host: x\r\nX: y\rTransfer-Encoding: chunked\r\n", 400},
        {"bare lf behind an empty value", "Host: x\r\nX:\nY: z\r\n", 400},
        {"nul in a value", "Host: x\r\nX: y\x01z\r\n", 400},
        {"nul before a value", "Host: x\r\nX: \x01z\r\nY: z\r\n", 400},
        {"nul behind the last value", "Host: x\r\nX: y\x01\r\n", 400},
        {"nul in the host", "Host: x\x01y\r\nX: y\r\n", 400},
        {"nul in a name", "Host: x\r\nX\x01Y: z\r\n", -1},
        {"no name", "Host: x\r\n: z\r\n", 400},
        {"no name, first", ": z\r\nHost: x\r\n", 400},
        {"blank in the host", "Host: a b/c\r\n", 400},
        {"path in the host", "Host: a/c\r\n", 400},
        {"user in the host", "Host: u@a\r\n", 400},
        {"port of letters", "Host: a:http\r\n", 400},
        {"two ports", "Host: a:1:2\r\n", 400},
        {"open bracket", "Host: [::1\r\n", 400},
        {"half an escape", "Host: a%2\r\n", 400},
        {"line without a colon", "Host: x\r\nnonsense\r\n", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        char bytes[600], text[4000] = "";
        bool has_closed;
        int length = snprintf(bytes, sizeof bytes, "POST /in HTTP/1.1\r\n%s\r\n0\r\n\r\n" SECOND,
                              cases[i].head);
        int status;

        for (char *nul; (nul = strchr(bytes, '\x01'));) /* stands for NUL in the table */
            *nul = '\0';
        scene_open(&scene, 5);
        status = converse(&scene, bytes, (size_t)length, text, sizeof text, &has_closed);
        if (!has_closed || strstr(text, "/second") ||
            (statuses_in(text) > 1 && !is_written_by_library(text)) ||
            (cases[i].status < 0 ? status && status != 400 && status != 413
                                 : status != cases[i].status))
            fail_msg("%s: %d, %s: %s", cases[i].name, status, has_closed ? "closed" : "open", text);
        assert_int_equal(scene.asked, 0);
        scene_close(&scene);
    }
}

/*
 * libmicrohttpd takes chunk lines that end with LF alone, and trailers.  What it takes for the end
 * of the body may be another than a proxy's, so nothing behind a chunked body is a request.
 */
static void nothing_behind_a_chunked_body_is_a_request(void **state)
{
    static const char *const bodies[] = {"0\r\n\r\n",       "0\n\n",
                                         "3\nabc\n0\n\n",   "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
                                         "0\r\nX: y\n\r\n", "3;\nabc\r\n0\r\n\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct scene scene;
        char bytes[600], text[4000] = "";
        bool has_closed;
        int length =
            snprintf(bytes, sizeof bytes,
                     "POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s" SECOND,
                     bodies[i]);

        scene_open(&scene, 5);
        converse(&scene, bytes, (size_t)length, text, sizeof text, &has_closed);
        if (!has_closed || strstr(text, "/second") || statuses_in(text) > 1)
            fail_msg("%s: %s: %s", bodies[i], has_closed ? "closed" : "open", text);
        assert_in_range(scene.asked, 0, 1);
        scene_close(&scene);
    }
}

static void unambiguous_requests_are_answered(void **state)
{
    static const char *const requests[] = {
        "POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost:x\r\ncontent-length:3\r\n\r\nabc",
        "POST /in HTTP/1.0\r\nContent-Length:   3\r\n\r\nabc",
        "\r\nPOST /in HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nContent-Length: 3\r\n\r\nabc",
        ("POST /in HTTP/1.1\r\nHost:   [::1]:8080  \r\nX: \t \r\nY:\t z \r\nContent-Length: 3\r\n"
         "\r\nabc"),
        "POST /in HTTP/1.1\r\nHost: a%20b.example:80\r\nContent-Length: 3\r\nX-Empty: \r\n\r\nabc",
        "POST /in HTTP/1.1\r\nHost:\r\nCookie: a=b; c=\"d\"\r\nContent-Length: 3\r\n\r\nabc",
    };

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct scene scene;
        char text[4000] = "";
        bool has_closed;
        int status;

        scene_open(&scene, 5);
        status = converse(&scene, requests[i], strlen(requests[i]), text, sizeof text, &has_closed);
        if (status != 200 || !strstr(text, "bytes=3"))
            fail_msg("%s: %d: %s", requests[i], status, text);
        scene_close(&scene);
    }
}

static void what_is_not_there_is_refused_at_its_headers(void **state)
{
    static const struct {
        const char *head, *says;
        int status;
    } cases[] = {
        {"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", "not here", 404},
        {"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "not here",
         404},
        {"PUT /in HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", "Allow: GET", 405},
        {"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", "", 413},
        {"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\n", "", 413},
        {"POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
         "not here", 404},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4000] = "";
        bool has_closed;

        assert_int_equal(
            converse(&scene, cases[i].head, strlen(cases[i].head), text, sizeof text, &has_closed),
            cases[i].status);
        assert_non_null(strstr(text, cases[i].says));
        assert_true(has_closed);
    }
    assert_int_equal(scene.asked, 0);
    scene_close(&scene);
}

/* What the server holds is bounded, whoever sends; a small body has room all the same. */
static void bodies_that_are_being_read_have_one_bound(void **state)
{
    static const char head[] =
        "POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                      end[] = "0\r\n\r\n";
    static char chunk[0x8000 + 8];
    struct scene scene;
    char text[4000];
    int fds[8], refused = 0, taken = 0;

    (void)state;
    scene_open(&scene, 20);
    memset(chunk, 'c', sizeof chunk);
    memcpy(chunk, "8000\r\n", 6);
    memcpy(chunk + 6 + 0x8000, "\r\n", 2);
    for (size_t i = 0; i < 8; i++) {
        fds[i] = connect_to(&scene);
        assert_true(send(fds[i], head, sizeof head - 1, MSG_NOSIGNAL) > 0);
        for (int n = 0; n < 2; n++) { /* 64 KiB, of which 48 KiB count */
            assert_int_equal(send(fds[i], chunk, sizeof chunk, MSG_NOSIGNAL), sizeof chunk);
            run_for(&scene, 20);
        }
    }
    send_to(&scene, "POST", "/large", 60000); /* announced: refused before it comes */
    send_to(&scene, "POST", "/in", 9000);
    run_until_answered(&scene, 2);
    assert_true((scene.statuses[0] == 503 && scene.statuses[1] == 200) ||
                (scene.statuses[1] == 503 && scene.statuses[0] == 200));
    for (size_t i = 0; i < 8; i++) {
        size_t got = 0;

        assert_true(send(fds[i], end, sizeof end - 1, MSG_NOSIGNAL) > 0);
        text[0] = '\0';
        for (int n = 0; n < 100 && !got; n++) {
            run_for(&scene, 10);
            (void)is_closed(fds[i], text, sizeof text);
            got = strlen(text);
        }
        refused += strncmp(text, "HTTP/1.1 503", 12) == 0;
        taken += strncmp(text, "HTTP/1.1 200", 12) == 0;
        close(fds[i]);
    }
    assert_int_equal(taken, ROOM / (0x10000 - HTTP_SERVER_BODY_SMALL));
    assert_int_equal(refused, 8 - taken);
    send_to(&scene, "POST", "/large", 60000); /* there is room again */
    run_until_answered(&scene, 3);
    assert_int_equal(scene.statuses[2], 200);
    scene_close(&scene);
}

static void open_silent(struct scene *scene, int *fds, size_t count, const char *bytes)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = connect_to(scene);
        if (bytes[0])
            assert_true(send(fds[i], bytes, strlen(bytes), MSG_NOSIGNAL) > 0);
        run_for(scene, 1);
    }
}

static size_t count_closed(const int *fds, size_t count)
{
    size_t closed = 0;
    char text[1000];

    for (size_t i = 0; i < count; i++)
        closed += is_closed(fds[i], text, sizeof text);
    return closed;
}

/* A full server closes the connection that has waited longest for its client. */
static void silent_connections_give_way(void **state)
{
    static const char *const starts[] = {
        "", "GET /half HTTP/1.1\r\n",
        "POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        "GET /in HTTP/1.1\r\nHost: x\r\n\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct scene scene;
        int fds[PLACES * 3];

        scene_open(&scene, 30);
        open_silent(&scene, fds, PLACES * 3, starts[i]);
        send_to(&scene, "GET", "/new", 0);
        run_until_answered(&scene, 1);
        if (scene.statuses[0] != 200)
            fail_msg("%s: %d", starts[i], scene.statuses[0]);
        run_for(&scene, 50);
        assert_in_range(count_closed(fds, PLACES * 3), PLACES * 2, PLACES * 2 + 1);
        for (size_t j = 0; j < PLACES * 3; j++)
            close(fds[j]);
        scene_close(&scene);
    }
}

/* A request that waits for us is not the one that gives way. */
static void a_request_that_waits_for_its_answer_keeps_its_place(void **state)
{
    struct scene scene;
    int fds[PLACES * 2];

    (void)state;
    scene_open(&scene, 30);
    send_to(&scene, "GET", "/never", 0);
    run_for(&scene, 100);
    assert_non_null(scene.parked[0]);
    open_silent(&scene, fds, PLACES * 2, "");
    http_answer(scene.parked[0], 202, "text/plain", "late", 4);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.statuses[0], 202);
    for (size_t i = 0; i < PLACES * 2; i++)
        close(fds[i]);
    scene_close(&scene);
}

static void a_connection_that_says_nothing_is_closed(void **state)
{
    struct scene scene;
    char text[100];
    int fd;

    (void)state;
    scene_open(&scene, 2); /* one second for the head */
    fd = connect_to(&scene);
    for (int i = 0; i < 100 && !is_closed(fd, text, sizeof text); i++)
        run_for(&scene, 100);
    assert_true(is_closed(fd, text, sizeof text));
    close(fd);
    scene_close(&scene);
}

static void slow_clients_are_cut_off(void **state)
{
    struct scene scene;
    char text[100];
    int64_t start_ms;
    int fd;

    (void)state;
    scene_open(&scene, 1);
    fd = connect_to(&scene);
    start_ms = clock_boot_ms();
    /* A byte now and then keeps an idle time-out from ever coming. */
    while (!is_closed(fd, text, sizeof text) && clock_boot_ms() - start_ms < 5000) {
        (void)!send(fd, "G", 1, MSG_NOSIGNAL);
        run_for(&scene, 100);
    }
    assert_in_range(clock_boot_ms() - start_ms, 500, 3000);
    close(fd);
    scene_close(&scene);
}

static void chunked_floods_are_cut_off(void **state)
{
    static const char head[] = "POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct scene scene;
    char chunk[4200] = "1000\r\n", text[400];
    int fd;

    (void)state;
    scene_open(&scene, 5);
    memset(chunk + 6, 'c', 4096);
    fd = connect_to(&scene);
    assert_true(send(fd, head, sizeof head - 1, 0) > 0);
    for (int i = 0; i < 20 && !is_closed(fd, text, sizeof text); i++) {
        (void)!send(fd, chunk, 6 + 4096, MSG_NOSIGNAL);
        (void)!send(fd, "\r\n", 2, MSG_NOSIGNAL);
        run_for(&scene, 10);
    }
    assert_int_equal(scene.asked, 0);
    close(fd);
    scene_close(&scene);
}

static void garbage_and_silence_leave_nothing_behind(void **state)
{
    static const char *const lines[] = {"\x16\x03\x01 hello\r\n\r\n",
                                        "GET\r\n\r\n",
                                        "GET /half HTTP/1.1\r\nHost: x\r\n",
                                        "POST / HTTP/9.9\r\n\r\n",
                                        "GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                                        ""};
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int fd = connect_to(&scene);

        (void)!send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL);
        run_for(&scene, 20);
        close(fd);
        run_for(&scene, 20);
    }
    scene_close(&scene); /* the sanitizer counts */
}

static void closing_ends_what_was_never_answered(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "GET", "/never", 0);
    run_for(&scene, 100);
    assert_non_null(scene.parked[0]);
    scene_close(&scene);
    assert_int_equal(scene.answered, 1); /* by http_client_close() */
}

static void addresses_are_checked(void **state)
{
    static const char *const bad[] = {
        "", "8080", "127.0.0.1:", "no-such-host.invalid:80", "192.0.2.1:80", "127.0.0.1:http-what"};
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_server_config config = {
            .listen = bad[i], .body_max = 10, .connections_max = 10, .timeout_s = 5};
        struct http_server *server = NULL;
        char why[200] = "";

        assert_int_equal(
            http_server_open(loop, &config, on_request, NULL, &server, why, sizeof why), ERR_IO);
        assert_true(strlen(why) > 10);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_shown_as_they_were_sent),
        cmocka_unit_test(late_answers_arrive),
        cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(ambiguous_requests_are_refused_and_their_connection_ends),
        cmocka_unit_test(nothing_behind_a_chunked_body_is_a_request),
        cmocka_unit_test(unambiguous_requests_are_answered),
        cmocka_unit_test(what_is_not_there_is_refused_at_its_headers),
        cmocka_unit_test(bodies_that_are_being_read_have_one_bound),
        cmocka_unit_test(silent_connections_give_way),
        cmocka_unit_test(a_request_that_waits_for_its_answer_keeps_its_place),
        cmocka_unit_test(a_connection_that_says_nothing_is_closed),
        cmocka_unit_test(slow_clients_are_cut_off),
        cmocka_unit_test(chunked_floods_are_cut_off),
        cmocka_unit_test(garbage_and_silence_leave_nothing_behind),
        cmocka_unit_test(closing_ends_what_was_never_answered),
        cmocka_unit_test(addresses_are_checked),
    };
    int failed;

    http_library_init();
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_library_fini();
    return failed;
}
