/* SPDX-License-Identifier: MIT */
#include "io/http_client.h"
#include "io/http_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "server_fixture.h"

/*
 * The peers: a process that forks for each connection and misbehaves as the path says.  What it
 * saw is in memory shared with the tests.
 */
struct seen {
    unsigned connections, requests, mails;
    char request[4096], mail[8192];
    unsigned long long sent;
};

static struct {
    struct fixture fixture;
    struct seen *seen;
    pid_t http, smtp, tls;
    int http_port, smtp_port, tls_port;
    char ca_file[160];
    bool has_tls;
} server;

/* ---- the HTTP peer ---- */

static bool write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t wrote = send(fd, text, length, MSG_NOSIGNAL);

        if (wrote <= 0)
            return false;
        __atomic_fetch_add(&server.seen->sent, (unsigned long long)wrote, __ATOMIC_SEQ_CST);
        text += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

static bool say(int fd, const char *text)
{
    return write_all(fd, text, strlen(text));
}

/* Reads a request with its body into text; false at the end of the connection. */
static bool read_request(int fd, char *text, size_t bytes)
{
    size_t length = 0, want = 0;

    for (;;) {
        const char *end, *announced;
        ssize_t got = recv(fd, text + length, bytes - 1 - length, 0);

        if (got <= 0)
            return false;
        length += (size_t)got;
        text[length] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (!end)
            continue;
        announced = strstr(text, "Content-Length: ");
        want = (size_t)(end + 4 - text) + (announced ? strtoul(announced + 16, NULL, 10) : 0);
        if (length >= want)
            return true;
    }
}

static void reset(int fd)
{
    struct linger linger = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
    _exit(0);
}

static void flood(int fd, const char *head)
{
    static char block[65536];

    memset(block, 'x', sizeof block);
    if (say(fd, head))
        for (int i = 0; i < 1600 && write_all(fd, block, sizeof block); i++)
            ;
    _exit(0);
}

static void drip(int fd, const char *head)
{
    say(fd, head);
    while (say(fd, "x"))
        fixture_pause();
    _exit(0);
}

static void answer(int fd, const char *request)
{
    const char *path = strchr(request, ' ') + 1;
    char text[512];
    int status;

    if (sscanf(path, "/status/%d", &status) == 1) {
        const char *extra = strstr(request, "X-Reply: ");

        snprintf(text, sizeof text, "HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\n%.*s\r\n\r\nok",
                 status, extra ? (int)strcspn(extra + 9, "\r\n") : 11,
                 extra ? extra + 9 : "X-None: yes");
        say(fd, text);
    } else if (strncmp(path, "/flood", 6) == 0) {
        flood(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n");
    } else if (strncmp(path, "/announced", 10) == 0) {
        flood(fd, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
    } else if (strncmp(path, "/long-header", 12) == 0) {
        flood(fd, "HTTP/1.1 200 OK\r\nX-Long: ");
    } else if (strncmp(path, "/many-headers", 13) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\n");
        while (say(fd, "X-Header: 0123456789012345678901234567890123456789\r\n"))
            ;
        _exit(0);
    } else if (strncmp(path, "/drip-body", 10) == 0) {
        drip(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
    } else if (strncmp(path, "/drip-head", 10) == 0) {
        drip(fd, "HTTP/1.1 200 OK\r\nX-Slow: ");
    } else if (strncmp(path, "/hang", 5) == 0) {
        pause();
    } else if (strncmp(path, "/garbage", 8) == 0) {
        say(fd, "\x01\x02 this is not HTTP\r\n\r\n");
        _exit(0);
    } else if (strncmp(path, "/half", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        _exit(0);
    } else if (strncmp(path, "/reset", 6) == 0) {
        reset(fd);
    } else if (strncmp(path, "/close", 6) == 0) {
        _exit(0);
    } else if (strncmp(path, "/redirect", 9) == 0) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /status/200\r\nContent-Length: 0\r\n\r\n");
    } else {
        say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
}

static void serve_http(int fd)
{
    char request[4096];

    while (read_request(fd, request, sizeof request)) {
        memcpy(server.seen->request, request, sizeof request);
        __atomic_fetch_add(&server.seen->requests, 1, __ATOMIC_SEQ_CST);
        answer(fd, request);
    }
    _exit(0);
}

/* ---- the SMTP peer ---- */

static bool read_line(int fd, char *line, size_t bytes)
{
    size_t length = 0;

    while (length + 1 < bytes && recv(fd, line + length, 1, 0) == 1)
        if (line[length++] == '\n') {
            line[length] = '\0';
            return true;
        }
    return false;
}

static void read_mail(int fd)
{
    char line[1024];

    server.seen->mail[0] = '\0';
    while (read_line(fd, line, sizeof line) && strcmp(line, ".\r\n") != 0)
        strncat(server.seen->mail, line, sizeof server.seen->mail - strlen(server.seen->mail) - 1);
}

static void serve_smtp(int fd)
{
    char line[1024];

    say(fd, "220 peer ready\r\n");
    while (read_line(fd, line, sizeof line)) {
        strncat(server.seen->request, line,
                sizeof server.seen->request - strlen(server.seen->request) - 1);
        if (strncmp(line, "EHLO", 4) == 0)
            say(fd, "250-peer\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 8BITMIME\r\n");
        else if (strncmp(line, "AUTH", 4) == 0 && strstr(line, "XOAUTH2 d3Jvbmc"))
            say(fd, "535 5.7.8 no\r\n");
        else if (strncmp(line, "AUTH PLAIN", 10) == 0 && !line[12])
            say(fd, "334 \r\n");
        else if (strncmp(line, "AUTH", 4) == 0)
            say(fd, strlen(line) < 16 ? "334 \r\n" : "235 2.7.0 welcome\r\n");
        else if (strncmp(line, "RCPT TO:<unknown", 16) == 0)
            say(fd, "550 5.1.1 no such user\r\n");
        else if (strncmp(line, "RCPT TO:<later", 14) == 0)
            say(fd, "451 4.3.0 try later\r\n");
        else if (strncmp(line, "RCPT TO:<silent", 15) == 0)
            pause();
        else if (strncmp(line, "DATA", 4) == 0) {
            say(fd, "354 go ahead\r\n");
            read_mail(fd);
            __atomic_fetch_add(&server.seen->mails, 1, __ATOMIC_SEQ_CST);
            if (strstr(server.seen->mail, "Subject: drop"))
                _exit(0);
            say(fd, strstr(server.seen->mail, "Subject: spam") ? "554 5.7.1 spam\r\n"
                                                               : "250 2.0.0 queued as 42\r\n");
        } else if (strncmp(line, "QUIT", 4) == 0) {
            say(fd, "221 bye\r\n");
            _exit(0);
        } else if (strncmp(line, "MAIL", 4) != 0 && strncmp(line, "RCPT", 4) != 0 &&
                   strncmp(line, "RSET", 4) != 0) {
            say(fd, "235 2.7.0 welcome\r\n"); /* the answer to 334 */
        } else {
            say(fd, "250 2.1.0 fine\r\n");
        }
    }
    _exit(0);
}

static pid_t start_peer(void (*serve)(int fd), int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pid_t pid;

    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        return -1;
    *port = ntohs(address.sin_port);
    pid = fork();
    if (pid != 0) {
        close(listener);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        __atomic_fetch_add(&server.seen->connections, 1, __ATOMIC_SEQ_CST);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve(fd);
        }
        close(fd);
    }
}

/* ---- the client's side ---- */

struct scene {
    struct loop *loop;
    struct http_client *client;
    size_t answered, want;
    int64_t until_ms;
    struct http_response last;
    char body[256], header[128], wanted_header[32];
    bool sends_more, closes;
    char url[128];
};

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
    scene->until_ms = clock_boot_ms() + 15000;
    loop_run(scene->loop, turn, scene);
    assert_int_equal(scene->answered, want);
}

static int send_url(struct scene *scene, const char *url);

static void on_response(void *ctx, const struct http_response *response)
{
    struct scene *scene = ctx;
    const char *header = http_response_header(response, scene->wanted_header);

    scene->answered++;
    scene->last = *response;
    snprintf(scene->body, sizeof scene->body, "%s", response->body);
    snprintf(scene->header, sizeof scene->header, "%s", header ? header : "(absent)");
    if (scene->sends_more && scene->answered < 20)
        assert_int_equal(send_url(scene, scene->url), 0);
    if (scene->closes) {
        struct http_client *client = scene->client;

        scene->closes = false;
        scene->client = NULL;
        http_client_close(client);
    }
}

static void scene_open_with(struct scene *scene, size_t max_inflight, size_t max_connections)
{
    struct http_client_config config = {.max_inflight = max_inflight,
                                        .max_connections = max_connections};

    memset(scene, 0, sizeof *scene);
    strcpy(scene->wanted_header, "X-None");
    scene->loop = loop_new();
    scene->client = http_client_open(scene->loop, &config);
    memset(server.seen, 0, sizeof *server.seen);
}

static void scene_open(struct scene *scene)
{
    scene_open_with(scene, 64, 8);
}

static void scene_close(struct scene *scene)
{
    http_client_close(scene->client);
    loop_free(scene->loop);
}

static struct http_request request_for(const char *url)
{
    return (struct http_request){
        .method = "GET", .url = url, .connect_ms = 1000, .timeout_ms = 3000};
}

static int send_url(struct scene *scene, const char *url)
{
    struct http_request request = request_for(url);

    return http_send(scene->client, &request, on_response, scene);
}

static void get(struct scene *scene, const char *path)
{
    snprintf(scene->url, sizeof scene->url, "http://127.0.0.1:%d%s", server.http_port, path);
    assert_int_equal(send_url(scene, scene->url), 0);
    run_until_answered(scene, scene->answered + 1);
}

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
    scene_open_with(&scene, 6, 2); /* four wait for a connection that never comes free in time */
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/hang", server.http_port);
    start_ms = clock_boot_ms();
    for (int i = 0; i < 6; i++) {
        struct http_request request = request_for(scene.url);

        request.timeout_ms = 400;
        assert_int_equal(http_send(scene.client, &request, on_response, &scene), 0);
    }
    assert_int_equal(send_url(&scene, scene.url), ERR_FULL);
    assert_int_equal(http_client_inflight(scene.client), 6);
    run_until_answered(&scene, 6);
    assert_in_range(clock_boot_ms() - start_ms, 350, 1500);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TIMEOUT);
    assert_true(server.seen->requests <= 4);
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

/* ---- mail ---- */

static struct http_mail mail_to(const char *const *recipients, const char *message)
{
    return (struct http_mail){.host = "127.0.0.1",
                              .port = (uint16_t)server.smtp_port,
                              .tls = HTTP_MAIL_PLAIN,
                              .from = "noreply@example.org",
                              .recipients = recipients,
                              .message = message,
                              .message_bytes = strlen(message),
                              .connect_ms = 1000,
                              .timeout_ms = 2000};
}

static void send_mail(struct scene *scene, const struct http_mail *mail)
{
    assert_int_equal(http_send_mail(scene->client, mail, on_response, scene), 0);
    run_until_answered(scene, scene->answered + 1);
}

static void mail_is_delivered(void **state)
{
    static const char *const recipients[] = {"anna@example.org", "bob@example.org", NULL};
    struct http_mail mail = mail_to(
        recipients, "Subject: hello\r\n\r\nFirst line.\r\n.hidden\r\n..two\r\nLast line.\r\n");
    struct secret password = {0};
    struct scene scene;

    (void)state;
    secret_set(&password, "pw", 2);
    mail.username = "user";
    mail.password = &password;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.fail, HTTP_FAIL_NONE);
    assert_int_equal(scene.last.status, 250);
    assert_string_equal(scene.body, "250 2.0.0 queued as 42");
    assert_true(scene.last.is_fully_sent);
    assert_non_null(strstr(server.seen->request, "MAIL FROM:<noreply@example.org>"));
    assert_non_null(strstr(server.seen->request, "RCPT TO:<anna@example.org>"));
    assert_non_null(strstr(server.seen->request, "RCPT TO:<bob@example.org>"));
    assert_non_null(strstr(server.seen->request, "AUTH "));
    assert_non_null(strstr(server.seen->mail, "\r\n..hidden\r\n...two\r\nLast line.\r\n"));
    send_mail(&scene, &mail);
    assert_int_equal(server.seen->mails, 2);
    assert_int_equal(server.seen->connections, 1); /* the connection is kept */
    secret_fini(&password);
    scene_close(&scene);
}

static void smtp_refusals_keep_their_code(void **state)
{
    static const struct {
        const char *recipient, *subject;
        int want_status;
        enum http_fail want_fail;
        bool want_fully_sent;
    } cases[] = {
        {"unknown@example.org", "hello", 550, HTTP_FAIL_NONE, false},
        {"later@example.org", "hello", 451, HTTP_FAIL_NONE, false},
        {"anna@example.org", "spam", 554, HTTP_FAIL_NONE, true},
        {"anna@example.org", "drop", 0, HTTP_FAIL_RESET, true},
        {"silent@example.org", "hello", 0, HTTP_FAIL_TIMEOUT, false},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *recipients[] = {cases[i].recipient, NULL};
        char message[100];
        struct http_mail mail;

        snprintf(message, sizeof message, "Subject: %s\r\n\r\nBody.\r\n", cases[i].subject);
        mail = mail_to(recipients, message);
        mail.timeout_ms = 700;
        send_mail(&scene, &mail);
        if (scene.last.fail != cases[i].want_fail || scene.last.status != cases[i].want_status ||
            scene.last.is_fully_sent != cases[i].want_fully_sent)
            fail_msg("%s %s: fail %d status %d sent %d: %s", cases[i].recipient, cases[i].subject,
                     (int)scene.last.fail, scene.last.status, scene.last.is_fully_sent, scene.body);
    }
    scene_close(&scene);
}

static void bearer_tokens_log_in(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct secret token = {0};
    struct scene scene;

    (void)state;
    secret_set(&token, "ya29.token", 10);
    mail.username = "user@example.org";
    mail.password = &token;
    mail.is_bearer = true;
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.status, 250);
    assert_non_null(strstr(server.seen->request, "AUTH XOAUTH2"));
    secret_fini(&token);
    scene_close(&scene);
}

static void starttls_is_demanded(void **state)
{
    static const char *const recipients[] = {"anna@example.org", NULL};
    struct http_mail mail = mail_to(recipients, "Subject: hello\r\n\r\nBody.\r\n");
    struct scene scene;

    (void)state;
    mail.tls = HTTP_MAIL_STARTTLS; /* the peer does not offer it */
    scene_open(&scene);
    send_mail(&scene, &mail);
    assert_int_equal(scene.last.fail, HTTP_FAIL_TLS);
    assert_int_equal(server.seen->mails, 0);
    assert_false(scene.last.is_sent);
    scene_close(&scene);
}

static void mail_addresses_cannot_smuggle(void **state)
{
    static const char *const bad[] = {"a@b>\r\nRCPT TO:<c@d", "a b@c", "", "<a@b>", "a@b\n"};
    static const char *const good[] = {"a@b", NULL};
    static const char *const hosts[] = {"a b", "u@h", "h/x", "h?x", ""};
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *recipients[] = {bad[i], NULL};
        struct http_mail mail = mail_to(recipients, "x");

        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
        mail = mail_to(good, "x");
        mail.from = bad[i];
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct http_mail mail = mail_to(good, "x");

        mail.host = hosts[i];
        assert_int_equal(http_send_mail(scene.client, &mail, on_response, &scene), ERR_INVALID);
    }
    scene_close(&scene);
}

/* ---- set-up ---- */

static void start_tls(void)
{
    static const char *const make[] = {"/usr/bin/openssl",
                                       "req",
                                       "-x509",
                                       "-newkey",
                                       "ec",
                                       "-pkeyopt",
                                       "ec_paramgen_curve:prime256v1",
                                       "-nodes",
                                       "-keyout",
                                       "key.pem",
                                       "-out",
                                       "cert.pem",
                                       "-days",
                                       "2",
                                       "-subj",
                                       "/CN=localhost",
                                       "-addext",
                                       "subjectAltName=DNS:localhost",
                                       NULL};
    char port[16];

    if (access(make[0], X_OK) != 0 || fixture_run(&server.fixture, make) != 0)
        return;
    server.tls_port = fixture_free_port();
    snprintf(port, sizeof port, "%d", server.tls_port);
    snprintf(server.ca_file, sizeof server.ca_file, "%s/cert.pem", server.fixture.dir);
    server.tls = fixture_spawn(
        &server.fixture, (const char *[]){make[0], "s_server", "-accept", port, "-cert", "cert.pem",
                                          "-key", "key.pem", "-www", "-quiet", NULL});
    server.has_tls = fixture_wait_port(server.tls_port, 10000);
}

static int start_servers(void **state)
{
    (void)state;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    http_library_init();
    server.seen =
        mmap(NULL, sizeof *server.seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (server.seen == MAP_FAILED || !fixture_open(&server.fixture))
        return -1;
    server.http = start_peer(serve_http, &server.http_port);
    server.smtp = start_peer(serve_smtp, &server.smtp_port);
    start_tls();
    return server.http > 0 && server.smtp > 0 ? 0 : -1;
}

static int stop_servers(void **state)
{
    (void)state;
    fixture_end(server.http, SIGKILL);
    fixture_end(server.smtp, SIGKILL);
    fixture_end(server.tls, SIGKILL);
    fixture_remove(&server.fixture);
    munmap(server.seen, sizeof *server.seen);
    http_library_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_arrive_as_asked),
        cmocka_unit_test(bad_requests_are_refused_at_once),
        cmocka_unit_test(bad_answers_have_names),
        cmocka_unit_test(large_bodies_do_not_grow_us),
        cmocka_unit_test(nothing_listens_nothing_resolves),
        cmocka_unit_test(redirects_are_answers),
        cmocka_unit_test(connections_are_reused),
        cmocka_unit_test(a_request_is_never_sent_twice),
        cmocka_unit_test(retry_after_is_understood_or_absent),
        cmocka_unit_test(private_addresses_are_refused),
        cmocka_unit_test(pooled_connections_do_not_leak_past_the_guard),
        cmocka_unit_test(address_ranges_are_known),
        cmocka_unit_test(inflight_is_bounded_and_deadlines_hold_in_the_queue),
        cmocka_unit_test(closing_answers_everything),
        cmocka_unit_test(a_callback_may_close_the_client),
        cmocka_unit_test(certificates_are_checked),
        cmocka_unit_test(tls_stalls_end_at_the_deadline),
        cmocka_unit_test(mail_is_delivered),
        cmocka_unit_test(smtp_refusals_keep_their_code),
        cmocka_unit_test(bearer_tokens_log_in),
        cmocka_unit_test(starttls_is_demanded),
        cmocka_unit_test(mail_addresses_cannot_smuggle),
    };

    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
