/* SPDX-License-Identifier: MIT */
#include "io/http_client.h"
#include "io/http_client_private.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http_peer.h"
#include "log_capture.h"

static void requests_arrive_as_asked(void **state)
{
    static const struct http_header headers[] = {
        {"Content-Type", "application/json"}, {"X-Empty", ""}, {"X-Reply", "X-None: here"}};
    struct secret password = {0};
    struct scene scene;
    char url[128];

    (void)state;
    scene_open(&scene);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/status/201?a=b", server.http_port);
    secret_set(&password, "pw", 2);
    struct http_request request = request_for(url);
    request.method = "PATCH";
    request.headers = headers;
    request.header_count = 3;
    request.body = "{\"a\":1}";
    request.body_bytes = 7;
    request.basic_user = "user";
    request.basic_password = &password;
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    memset(url, 'x', sizeof url - 1); /* all was copied */
    secret_fini(&password);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.last.fail, HTTP_FAIL_NONE);
    assert_int_equal(scene.last.status, 201);
    assert_int_equal(scene.last.version, 1);
    assert_true(scene.last.is_sent && scene.last.is_fully_sent);
    assert_string_equal(scene.body, "ok");
    assert_string_equal(scene.header, "here");
    assert_true(scene.last.total_us > 0 && scene.last.connect_us > 0);
    assert_int_equal(scene.last.retry_after_ms, -1);
    assert_non_null(strstr(server.seen->request, "PATCH /status/201?a=b HTTP/1.1\r\n"));
    assert_non_null(strstr(server.seen->request, "Authorization: Basic dXNlcjpwdw==\r\n"));
    assert_non_null(strstr(server.seen->request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(server.seen->request, "\r\nX-Empty:\r\n"));
    assert_non_null(strstr(server.seen->request, "User-Agent: tocsin/"));
    assert_non_null(strstr(server.seen->request, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(server.seen->request, "Expect"));
    scene_close(&scene);
}

static void bad_requests_are_refused_at_once(void **state)
{
    static const struct http_header bad[] = {
        {"X-A", "b\r\nX-Evil: yes"}, {"X A", "b"}, {"", "b"}, {"X-A:", "b"}};
    static const char *const urls[] = {
        "ftp://host/",      "file:///etc/passwd", "nonsense",         "http://", "http://a b/", "",
        "http://u:p@host/", "gopher://host/",     "http://h/\r\nX: y"};
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (send_url(&scene, urls[i]) != ERR_INVALID)
            fail_msg("accepted %s", urls[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_request request = request_for("http://127.0.0.1/");

        request.headers = &bad[i];
        request.header_count = 1;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), ERR_INVALID);
    }
    struct http_request request = request_for("http://127.0.0.1/");
    request.method = "GET /x HTTP/1.1\r\n";
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), ERR_INVALID);
    assert_int_equal(http_client_inflight(scene.client), 0);
    scene_close(&scene);
}

/* Fault matrix 36, 37: each in bounded time and memory, and the next request is served. */
static void bad_answers_have_names(void **state)
{
    static const struct {
        const char *path;
        enum http_fail want;
        bool want_fully_sent;
    } cases[] = {
        {"/flood", HTTP_FAIL_TOO_LARGE, true},       {"/announced", HTTP_FAIL_TOO_LARGE, true},
        {"/long-header", HTTP_FAIL_TOO_LARGE, true}, {"/many-headers", HTTP_FAIL_TOO_LARGE, true},
        {"/garbage", HTTP_FAIL_GARBAGE, true},       {"/reset", HTTP_FAIL_RESET, true},
        {"/folded", HTTP_FAIL_RESET, true},          {"/status-000", HTTP_FAIL_GARBAGE, true},
        {"/close", HTTP_FAIL_RESET, true},           {"/half", HTTP_FAIL_RESET, true},
        {"/hang", HTTP_FAIL_TIMEOUT, true},          {"/drip-body", HTTP_FAIL_TIMEOUT, true},
        {"/drip-head", HTTP_FAIL_TIMEOUT, true},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_request request = request_for(scene.url);
        int64_t start_ms = clock_boot_ms();

        snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d%s", server.http_port,
                 cases[i].path);
        request.timeout_ms = 500;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
        run_until_answered(&scene, i * 2 + 1);
        if (scene.last.fail != cases[i].want ||
            scene.last.is_fully_sent != cases[i].want_fully_sent || !scene.last.is_sent)
            fail_msg("%s: fail %d, sent %d %d", cases[i].path, (int)scene.last.fail,
                     scene.last.is_sent, scene.last.is_fully_sent);
        assert_true(clock_boot_ms() - start_ms < 3000);
        get(&scene, "/status/204");
        assert_int_equal(scene.last.status, 204);
    }
    scene_close(&scene);
}

static void large_bodies_do_not_grow_us(void **state)
{
    struct rusage before, after;
    struct scene scene;

    (void)state;
    scene_open(&scene);
    get(&scene, "/flood");
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < 20; i++) {
        get(&scene, i % 2 ? "/flood" : "/announced"); /* 100 MB each */
        assert_int_equal(scene.last.fail, HTTP_FAIL_TOO_LARGE);
        assert_true(scene.last.body_bytes <= 64 * 1024);
    }
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 8 * 1024); /* KiB */
    scene_close(&scene);
}

static void nothing_listens_nothing_resolves(void **state)
{
    struct scene scene;
    char url[64];

    (void)state;
    scene_open(&scene);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", fixture_free_port());
    assert_int_equal(send_url(&scene, url), 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.last.fail, HTTP_FAIL_CONNECT);
    assert_false(scene.last.is_sent || scene.last.is_fully_sent);
    assert_int_equal(scene.last.status, 0);
    assert_string_equal(scene.body, "");
    assert_int_equal(send_url(&scene, "http://no-such-host.invalid/"), 0);
    run_until_answered(&scene, 2);
    assert_int_equal(scene.last.fail, HTTP_FAIL_RESOLVE);
    assert_false(scene.last.is_sent);
    scene_close(&scene);
}

static void never(void *ctx, int events)
{
    (void)ctx, (void)events;
}

/* Takes every number that is free: a watch that was left on one of them is found, and logged. */
static void watch_all_free_numbers(struct scene *scene)
{
    enum { COUNT = 64 };
    struct loop_watch watches[COUNT] = {0};
    int fds[COUNT];

    for (int i = 0; i < COUNT; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
        loop_watch_start(scene->loop, &watches[i], fds[i], LOOP_READ, never, NULL);
    }
    for (int i = 0; i < COUNT; i++) {
        loop_watch_stop(&watches[i]);
        close(fds[i]);
    }
}

/* A name is resolved by a thread that wakes libcurl through a pair, which libcurl closes itself. */
static void what_resolved_a_name_is_watched_no_more(void **state)
{
    struct log_capture capture;
    struct scene scene;

    (void)state;
    scene_open(&scene);
    log_capture_start(&capture);
    assert_int_equal(send_url(&scene, "http://name.invalid/"), 0);
    run_until_answered(&scene, 1);
    assert_true(scene.last.fail != HTTP_FAIL_NONE);
    watch_all_free_numbers(&scene);
    assert_null(strstr(log_capture_end(&capture), "watch."));
    scene_close(&scene);
}

/* A loopback port at which further connections are neither made nor refused. */
static int open_full_listener(int *port, int *held, int held_max)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd ready = {.events = POLLOUT};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    for (int i = 0; i < held_max; i++) {
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(held[i], (struct sockaddr *)&address, sizeof(address));
        ready.fd = held[i];
        (void)!poll(&ready, 1, 100);
    }
    assert_int_equal(poll(&ready, 1, 0), 0); /* the last one waits */
    return listener;
}

/*
 * The first one as after SIGSTOP: the turn in which the connection is begun is also the one in
 * which the call's time is over; the others later.  libcurl closes a socket that is being connected
 * without its closesocket callback.
 */
static void a_connection_that_was_never_made_is_watched_no_more(void **state)
{
    struct log_capture capture;
    struct scene scene;
    char url[64];
    int held[4], port, listener;

    (void)state;
    listener = open_full_listener(&port, held, 4);
    scene_open(&scene);
    log_capture_start(&capture);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
    for (size_t calls = 1; calls <= 3; calls++) {
        struct http_request request = request_for(url);

        request.timeout_ms = 100;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
        if (calls == 1)
            usleep(400000);
        run_until_answered(&scene, calls);
        assert_int_equal(scene.last.fail, HTTP_FAIL_CONNECT);
        watch_all_free_numbers(&scene);
    }
    assert_null(strstr(log_capture_end(&capture), "watch."));
    scene_close(&scene);
    for (int i = 0; i < 4; i++)
        close(held[i]);
    close(listener);
}

static void redirects_are_answers(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    get(&scene, "/redirect");
    assert_int_equal(scene.last.status, 302);
    assert_int_equal(server.seen->requests, 1);
    scene_close(&scene);
}

static void connections_are_reused(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    scene.sends_more = true;
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/status/200", server.http_port);
    assert_int_equal(send_url(&scene, scene.url), 0);
    run_until_answered(&scene, 20);
    assert_int_equal(server.seen->requests, 20);
    assert_int_equal(server.seen->connections, 1);
    scene_close(&scene);
}

/* The peer took it and hung up on a connection that had served before: perhaps it has acted. */
static void a_request_is_never_sent_twice(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    get(&scene, "/status/200");
    get(&scene, "/close");
    assert_int_equal(scene.last.fail, HTTP_FAIL_RESET);
    assert_true(scene.last.is_fully_sent);
    assert_int_equal(server.seen->requests, 2);
    scene_close(&scene);
}

static void retry_after_is_understood_or_absent(void **state)
{
    static const struct {
        const char *value;
        int64_t low, high;
    } cases[] = {
        {"0", 0, 0},
        {"120", 120000, 120000},
        {"1000000000", 1000000000000, 1000000000000},
        {"99999999999999999999999999", 9999999999000, 9999999999000},
        {"Fri, 31 Dec 1999 23:59:59 GMT", 0, 0},
        {"Fri, 31 Dec 2100 23:59:59 GMT", 1000000000, INT64_MAX},
        {"soon", -1, -1},
        {"-5", -1, -1},
        {"3.5", -1, -1},
        {"12 monkeys", -1, -1},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[100], url[100];
        struct http_header header = {"X-Reply", value};
        struct http_request request = request_for(url);

        snprintf(value, sizeof value, "Retry-After: %s", cases[i].value);
        snprintf(url, sizeof url, "http://127.0.0.1:%d/status/429", server.http_port);
        request.headers = &header;
        request.header_count = 1;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
        run_until_answered(&scene, i + 1);
        assert_int_equal(scene.last.status, 429);
        if (scene.last.retry_after_ms < cases[i].low || scene.last.retry_after_ms > cases[i].high)
            fail_msg("%s: %lld", cases[i].value, (long long)scene.last.retry_after_ms);
    }
    scene_close(&scene);
}

static void private_addresses_are_refused(void **state)
{
    static const char *const hosts[] = {"127.0.0.1",  "localhost",  "[::1]", "[::ffff:127.0.0.1]",
                                        "0x7f000001", "2130706433", "127.1", "0"};
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char url[100];
        struct http_request request = request_for(url);

        snprintf(url, sizeof url, "http://%s:%d/status/200", hosts[i], server.http_port);
        request.is_public_only = true;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
        run_until_answered(&scene, i + 1);
        if (scene.last.fail != HTTP_FAIL_FORBIDDEN)
            fail_msg("%s: %d", hosts[i], (int)scene.last.fail);
        assert_false(scene.last.is_sent);
    }
    assert_int_equal(server.seen->connections, 0);
    scene_close(&scene);
}

/* A connection opened by a request that was allowed must not serve one that is not. */
static void pooled_connections_do_not_leak_past_the_guard(void **state)
{
    struct http_request request;
    struct scene scene;

    (void)state;
    scene_open(&scene);
    get(&scene, "/status/200");
    request = request_for(scene.url);
    request.is_public_only = true;
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    run_until_answered(&scene, 2);
    assert_int_equal(scene.last.fail, HTTP_FAIL_FORBIDDEN);
    assert_int_equal(server.seen->requests, 1);
    scene_close(&scene);
}

static void address_ranges_are_known(void **state)
{
    static const char *const refused[] = {"0.0.0.0",
                                          "10.1.2.3",
                                          "100.64.0.1",
                                          "100.127.255.255",
                                          "127.255.255.254",
                                          "169.254.169.254",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.0.0.8",
                                          "192.0.2.1",
                                          "192.88.99.1",
                                          "192.168.1.1",
                                          "198.18.0.1",
                                          "198.19.255.255",
                                          "198.51.100.7",
                                          "203.0.113.9",
                                          "224.0.0.1",
                                          "239.255.255.255",
                                          "240.0.0.1",
                                          "255.255.255.255",
                                          "::",
                                          "::1",
                                          "::127.0.0.1",
                                          "::ffff:10.0.0.1",
                                          "::ffff:169.254.169.254",
                                          "64:ff9b::10.0.0.1",
                                          "64:ff9b:1::1",
                                          "100::1",
                                          "2001::1",
                                          "2001:10::1",
                                          "2001:db8::1",
                                          "2002:7f00:1::",
                                          "3fff::1",
                                          "fc00::1",
                                          "fd12::1",
                                          "fe80::1",
                                          "fec0::1",
                                          "ff02::1",
                                          "x",
                                          ""};
    static const char *const allowed[] = {"1.1.1.1",
                                          "8.8.8.8",
                                          "11.0.0.1",
                                          "100.63.255.255",
                                          "100.128.0.1",
                                          "126.1.1.1",
                                          "169.253.1.1",
                                          "172.15.0.1",
                                          "172.32.0.1",
                                          "192.0.1.1",
                                          "192.167.0.1",
                                          "198.17.0.1",
                                          "198.20.0.1",
                                          "223.255.255.254",
                                          "::ffff:8.8.8.8",
                                          "64:ff9b::8.8.8.8",
                                          "2001:4860:4860::8888",
                                          "2606:4700::1111",
                                          "2a00:1450::1",
                                          "2001:200::1"};

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (http_address_text_is_public(refused[i]))
            fail_msg("%s is not public", refused[i]);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (!http_address_text_is_public(allowed[i]))
            fail_msg("%s is public", allowed[i]);
}

static void inflight_is_bounded_and_deadlines_hold_in_the_queue(void **state)
{
    struct scene scene;
    int64_t start_ms;

    (void)state;
    scene_open_with(&scene, 6, 2);
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/hang", server.http_port);
    start_ms = clock_boot_ms();
    for (int i = 0; i < 6; i++) { /* two have the connections for long, four wait in vain */
        struct http_request request = request_for(scene.url);

        request.timeout_ms = i < 2 ? 4000 : 400;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    }
    assert_int_equal(send_url(&scene, scene.url), ERR_FULL);
    assert_int_equal(http_client_inflight(scene.client), 6);
    run_until_answered(&scene, 4);
    assert_in_range(clock_boot_ms() - start_ms, 350, 2000);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TIMEOUT);
    assert_false(scene.last.is_sent);
    assert_int_equal(server.seen->requests, 2);
    scene_close(&scene);
}

static size_t resident_bytes(const unsigned char *at, size_t bytes)
{
    static unsigned char pages[4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;

    assert_true(bytes / page <= sizeof pages);
    assert_int_equal(mincore((void *)(uintptr_t)at, bytes, pages), 0);
    for (size_t i = 0; i < bytes / page; i++)
        count += pages[i] & 1;
    return count * page;
}

static void upload_buffers_cost_what_is_written_to_them(void **state)
{
    enum { MANY = 2100 }; /* more than there are slots */
    static unsigned char *blocks[MANY];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = http_memory_take(HTTP_UPLOAD_BYTES);
        assert_non_null(blocks[i]);
        memset(blocks[i], (int)i & 255, 300);
    }
    assert_true(resident_bytes(blocks[9], HTTP_UPLOAD_BYTES) < HTTP_UPLOAD_BYTES);
    blocks[7] = http_memory_resize(blocks[7], 400);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(blocks[i][0], i & 255);
        assert_int_equal(blocks[i][299], i & 255);
    }
    http_memory_give_back(); /* not while any is in use */
    assert_int_equal(blocks[9][0], 9);
    for (size_t i = 0; i < MANY; i++)
        http_memory_give(blocks[i]);
    http_memory_give_back();
    assert_int_equal(resident_bytes(blocks[9], HTTP_UPLOAD_BYTES), 0);
    http_memory_give(NULL);
}

static int64_t turn_until_none_rests(void *ctx)
{
    struct scene *scene = ctx;

    if (!scene->client->is_looking || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 20;
}

static void a_burst_leaves_nothing_in_the_pool_for_good(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    scene.client->look_ms = 30;
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/status/200", server.http_port);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send_url(&scene, scene.url), 0);
    run_until_answered(&scene, 20);
    assert_true(scene.client->is_looking);
    scene.until_ms = clock_boot_ms() + 15000;
    loop_run(scene.loop, turn_until_none_rests, &scene);
    assert_int_equal(scene.client->resting.count, 0);
    assert_false(scene.client->is_looking);
    get(&scene, "/status/200"); /* and it works as before */
    assert_true(scene.client->is_looking);
    assert_int_equal(scene.client->resting.count, 1);
    scene_close(&scene);
}

static void closing_answers_everything(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/hang", server.http_port);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_url(&scene, scene.url), 0);
    scene.want = 5;
    scene.until_ms = clock_boot_ms() + 50;
    loop_run(scene.loop, turn, &scene);
    scene_close(&scene);
    assert_int_equal(scene.answered, 5);
    assert_int_equal(scene.last.fail, HTTP_FAIL_CLOSED);
}

static void a_callback_may_close_the_client(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/status/200", server.http_port);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_url(&scene, scene.url), 0);
    scene.closes = true;
    run_until_answered(&scene, 5);
    assert_int_equal(scene.last.fail, HTTP_FAIL_CLOSED);
    loop_free(scene.loop);
}

/* ---- TLS ---- */

static void certificates_are_checked(void **state)
{
    struct http_request request;
    struct scene scene;
    char url[64];

    (void)state;
    if (!server.has_tls)
        skip();
    scene_open(&scene);
    snprintf(url, sizeof url, "https://localhost:%d/", server.tls_port);
    request = request_for(url);
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TLS);
    assert_false(scene.last.is_sent);
    request.ca_file = server.ca_file;
    request.response_max = 1 << 20;
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    run_until_answered(&scene, 2);
    assert_int_equal(scene.last.fail, HTTP_FAIL_NONE);
    assert_int_equal(scene.last.status, 200);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", server.tls_port); /* not in it */
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    run_until_answered(&scene, 3);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TLS);
    scene_close(&scene);
}

static void tls_stalls_end_at_the_deadline(void **state)
{
    struct http_request request;
    struct scene scene;
    char url[64];
    int port, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0); /* the kernel accepts, nobody answers */
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    port = ntohs(address.sin_port);
    scene_open(&scene);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);
    request = request_for(url);
    request.connect_ms = 300;
    assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.last.fail, HTTP_FAIL_CONNECT);
    assert_false(scene.last.is_sent);
    close(listener);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_arrive_as_asked),
        cmocka_unit_test(bad_requests_are_refused_at_once),
        cmocka_unit_test(bad_answers_have_names),
        cmocka_unit_test(large_bodies_do_not_grow_us),
        cmocka_unit_test(nothing_listens_nothing_resolves),
        cmocka_unit_test(what_resolved_a_name_is_watched_no_more),
        cmocka_unit_test(a_connection_that_was_never_made_is_watched_no_more),
        cmocka_unit_test(redirects_are_answers),
        cmocka_unit_test(connections_are_reused),
        cmocka_unit_test(a_request_is_never_sent_twice),
        cmocka_unit_test(retry_after_is_understood_or_absent),
        cmocka_unit_test(private_addresses_are_refused),
        cmocka_unit_test(pooled_connections_do_not_leak_past_the_guard),
        cmocka_unit_test(address_ranges_are_known),
        cmocka_unit_test(inflight_is_bounded_and_deadlines_hold_in_the_queue),
        cmocka_unit_test(upload_buffers_cost_what_is_written_to_them),
        cmocka_unit_test(a_burst_leaves_nothing_in_the_pool_for_good),
        cmocka_unit_test(closing_answers_everything),
        cmocka_unit_test(a_callback_may_close_the_client),
        cmocka_unit_test(certificates_are_checked),
        cmocka_unit_test(tls_stalls_end_at_the_deadline),
    };

    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
