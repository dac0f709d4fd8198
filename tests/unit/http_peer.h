/* SPDX-License-Identifier: MIT */
/*
 * http_peer - HTTP, SMTP and TLS servers that misbehave as they are told, and a client's scene
 *
 * Shared by the tests of io/http_client.h.  The peers are processes that fork for each
 * connection; what they saw is in memory shared with the tests.
 */
#ifndef TOCSIN_TESTS_HTTP_PEER_H
#define TOCSIN_TESTS_HTTP_PEER_H
#include "io/http_client.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "server_fixture.h"

struct seen {
    unsigned connections, requests, mails;
    bool offers_utf8;
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

static inline bool write_all(int fd, const char *text, size_t length)
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

static inline bool say(int fd, const char *text)
{
    return write_all(fd, text, strlen(text));
}

/* Reads a request with its body into text; false at the end of the connection. */
static inline bool read_request(int fd, char *text, size_t bytes)
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

static inline void reset(int fd)
{
    struct linger linger = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
    _exit(0);
}

static inline void flood(int fd, const char *head)
{
    static char block[65536];

    memset(block, 'x', sizeof block);
    if (say(fd, head))
        for (int i = 0; i < 1600 && write_all(fd, block, sizeof block); i++)
            ;
    _exit(0);
}

static inline void drip(int fd, const char *head)
{
    say(fd, head);
    while (say(fd, "x"))
        fixture_pause();
    _exit(0);
}

static inline void answer(int fd, const char *request)
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
    } else if (strncmp(path, "/folded", 7) == 0) { /* continues a header that is not there */
        say(fd, "HTTP/1.1 200 OK\r\n X-A: b\r\n X-B: c\r\n\r\n");
        _exit(0);
    } else if (strncmp(path, "/status-", 8) == 0) {
        say(fd, "HTTP/1.1 ");
        write_all(fd, path + 8, strcspn(path + 8, " "));
        say(fd, " What\r\nContent-Length: 0\r\n\r\n");
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

static inline void serve_http(int fd)
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

static inline bool read_line(int fd, char *line, size_t bytes)
{
    size_t length = 0;

    while (length + 1 < bytes && recv(fd, line + length, 1, 0) == 1)
        if (line[length++] == '\n') {
            line[length] = '\0';
            return true;
        }
    return false;
}

/* False when the connection ended before the mail did. */
static inline bool read_mail(int fd)
{
    char line[1024];

    server.seen->mail[0] = '\0';
    while (read_line(fd, line, sizeof line)) {
        if (strcmp(line, ".\r\n") == 0)
            return true;
        strncat(server.seen->mail, line, sizeof server.seen->mail - strlen(server.seen->mail) - 1);
    }
    return false;
}

static inline void serve_smtp(int fd)
{
    char line[1024];
    const char *early = NULL; /* what is said to DATA, and before its text */

    say(fd, "220 peer ready\r\n");
    while (read_line(fd, line, sizeof line)) {
        strncat(server.seen->request, line,
                sizeof server.seen->request - strlen(server.seen->request) - 1);
        if (strncmp(line, "EHLO", 4) == 0)
            say(fd, server.seen->offers_utf8
                        ? "250-peer\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250-SIZE 1000000\r\n250 "
                          "SMTPUTF8\r\n"
                        : "250-peer\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 8BITMIME\r\n");
        else if (strncmp(line, "AUTH", 4) == 0 && strstr(line, "XOAUTH2 d3Jvbmc"))
            say(fd, "535 5.7.8 no\r\n");
        else if (strncmp(line, "AUTH PLAIN", 10) == 0 && !line[12])
            say(fd, "334 \r\n");
        else if (strncmp(line, "AUTH", 4) == 0)
            say(fd, strlen(line) < 16 ? "334 \r\n" : "235 2.7.0 welcome\r\n");
        else if (strncmp(line, "RCPT TO:<unknown", 16) == 0)
            say(fd, "550 5.1.1 no such user\r\n");
        else if (strncmp(line, "RCPT TO:<two", 12) == 0)
            say(fd, "550-5.7.1 blocked for policy\r\n550 see https://x.example\r\n");
        else if (strncmp(line, "RCPT TO:<later", 14) == 0)
            say(fd, "451 4.3.0 try later\r\n");
        else if (strncmp(line, "RCPT TO:<endless", 16) == 0)
            while (say(fd, "250-and so on\r\n"))
                ;
        else if (strncmp(line, "RCPT TO:<long", 13) == 0)
            flood(fd, "250 ");
        else if (strncmp(line, "RCPT TO:<garbage", 16) == 0)
            say(fd, "\x01\x02 what\r\n");
        else if (strncmp(line, "RCPT TO:<odd", 12) == 0)
            say(fd, "354 go ahead\r\n");
        else if (strncmp(line, "RCPT TO:<closing", 16) == 0) {
            say(fd, "421 4.3.2 closing\r\n");
            _exit(0);
        } else if (strncmp(line, "RCPT TO:<silent", 15) == 0)
            pause();
        else if (strncmp(line, "RCPT TO:<early", 14) == 0) {
            early = "354 go ahead\r\n250 2.0.0 queued unseen\r\n";
            say(fd, "250 2.1.5 Ok\r\n");
        } else if (strncmp(line, "RCPT TO:<hasty", 14) == 0) {
            early = "354 go ahead\r\n554 5.7.1 no\r\n";
            say(fd, "250 2.1.5 Ok\r\n");
        } else if (early && strncmp(line, "DATA", 4) == 0) {
            say(fd, early);
        } else if (strncmp(line, "DATA", 4) == 0) {
            say(fd, "354 go ahead\r\n");
            if (!read_mail(fd))
                break;
            __atomic_fetch_add(&server.seen->mails, 1, __ATOMIC_SEQ_CST);
            if (strstr(server.seen->mail, "Subject: drop"))
                _exit(0);
            if (strstr(server.seen->mail, "Subject: slow"))
                for (int i = 0; i < 200; i++)
                    fixture_pause();
            say(fd, strstr(server.seen->mail, "Subject: spam") ? "554 5.7.1 spam\r\n"
                                                               : "250 2.0.0 queued as 42\r\n");
            if (strstr(server.seen->mail, "Subject: last"))
                _exit(0);
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

static inline pid_t start_peer(void (*serve)(int fd), int *port)
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

static inline void run_until_answered(struct scene *scene, size_t want)
{
    scene->want = want;
    scene->until_ms = clock_boot_ms() + (int64_t)15000 * FIXTURE_PATIENCE;
    loop_run(scene->loop, turn, scene);
    assert_int_equal(scene->answered, want);
}

static int send_url(struct scene *scene, const char *url);

static inline void on_response(void *ctx, const struct http_response *response)
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

static inline void scene_open_with(struct scene *scene, size_t max_inflight, size_t max_connections)
{
    struct http_client_config config = {.max_inflight = max_inflight,
                                        .max_connections = max_connections};

    memset(scene, 0, sizeof *scene);
    strcpy(scene->wanted_header, "X-None");
    scene->loop = loop_new();
    scene->client = http_client_open(scene->loop, &config);
    memset(server.seen, 0, sizeof *server.seen);
}

static inline void scene_open(struct scene *scene)
{
    scene_open_with(scene, 64, 8);
}

static inline void scene_close(struct scene *scene)
{
    http_client_close(scene->client);
    loop_free(scene->loop);
}

static inline struct http_request request_for(const char *url)
{
    return (struct http_request){
        .method = "GET", .url = url, .connect_ms = 5000, .timeout_ms = 8000};
}

static inline int send_url(struct scene *scene, const char *url)
{
    struct http_request request = request_for(url);

    return http_send(scene->client, &request, on_response, scene);
}

static inline void get(struct scene *scene, const char *path)
{
    snprintf(scene->url, sizeof scene->url, "http://127.0.0.1:%d%s", server.http_port, path);
    assert_int_equal(send_url(scene, scene->url), 0);
    run_until_answered(scene, scene->answered + 1);
}

/* ---- set-up ---- */

static inline void start_tls(void)
{
    char port[16];

    if (!fixture_make_certificate(&server.fixture))
        return;
    server.tls_port = fixture_free_port();
    snprintf(port, sizeof port, "%d", server.tls_port);
    snprintf(server.ca_file, sizeof server.ca_file, "%s/cert.pem", server.fixture.dir);
    server.tls = fixture_spawn(
        &server.fixture, (const char *[]){"/usr/bin/openssl", "s_server", "-accept", port, "-cert",
                                          "cert.pem", "-key", "key.pem", "-www", "-quiet", NULL});
    server.has_tls = fixture_wait_port(server.tls_port, 10000);
}

static inline int start_servers(void **state)
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

static inline int stop_servers(void **state)
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

#endif
