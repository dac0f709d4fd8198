/* SPDX-License-Identifier: MIT */
#include "pg_peer.h"

#include <poll.h>

static void a_killed_backend_means_doubt_then_reconnect(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &pid, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(send_int(&scene, &nap, 5000, on_result, &scene), 0);
    assert_int_equal(send_int(&scene, &number, 1, on_result, &scene), 0);
    assert_int_equal(kill((pid_t)scene.last.value, SIGTERM), 0);
    run_until(&scene, has_gone_down, 5000);
    assert_int_equal(scene.calls, 3);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(send_int(&scene, &number, 1, on_result, &scene), ERR_CLOSED);
    run_until(&scene, is_up, 5000);
    assert_int_equal(scene.ups, 2);
    scene_close(&scene);
}

static void a_stopped_server_means_doubt_at_the_deadline(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;
    int64_t sent_ms;
    pid_t backend;

    (void)state;
    config.deadline_ms = 300;
    config.connect_ms = 200;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    assert_int_equal(send_int(&scene, &pid, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    backend = (pid_t)scene.last.value;
    assert_int_equal(kill(server.postgres, SIGSTOP), 0);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    sent_ms = loop_now_ms(scene.loop); /* which may lag behind the clock */
    assert_int_equal(send_int(&scene, &put, 100, on_result, &scene), 0);
    run_until(&scene, has_gone_down, 5000);
    assert_true(clock_boot_ms() - sent_ms >= 300);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_non_null(strstr(scene.why, "deadline"));
    /* The postmaster does not answer either: attempts time out and go on. */
    scene.until_ms = clock_boot_ms() + 700;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    kill(server.postgres, SIGCONT);
    kill(backend, SIGCONT);
    run_until(&scene, is_up, 10000);
    assert_int_equal(scene.ups, 2);
    scene_close(&scene);
}

/* One backend alone stands still: what it was sent must not run behind what came after it. */
static void what_was_given_up_on_does_not_run_later(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;
    int64_t before;
    pid_t backend;

    (void)state;
    config.deadline_ms = 300;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    assert_int_equal(send_int(&scene, &pid, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    backend = (pid_t)scene.last.value;
    assert_int_equal(send_int(&scene, &tally, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    before = (int64_t)scene.last.value;
    assert_int_equal(kill(backend, SIGSTOP), 0);
    assert_int_equal(send_int(&scene, &put, 4711, on_result, &scene), 0);
    run_until(&scene, has_gone_down, 5000);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    run_until(&scene, is_up, 10000);
    kill(backend, SIGCONT);
    for (int i = 0; i < 500 && kill(backend, 0) == 0; i++)
        poll(NULL, 0, 10);
    assert_int_equal(kill(backend, 0), -1); /* gone, and not because it was done */
    assert_int_equal(send_int(&scene, &tally, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(scene.last.value, before);
    scene_close(&scene);
}

static void reset_starts_over(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &nap, 2000, on_result, &scene), 0);
    pg_reset(scene.pg, "on purpose");
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(scene.downs, 1);
    assert_string_equal(scene.why, "on purpose");
    run_until(&scene, is_up, 5000);
    scene_close(&scene);
}

/* The socket by which this process talks with the server. */
static int find_socket(void)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_un address = {0};
        socklen_t length = sizeof(address);

        if (getpeername(fd, (struct sockaddr *)&address, &length) == 0 &&
            address.sun_family == AF_UNIX && strstr(address.sun_path, ".s.PGSQL"))
            return fd;
    }
    fail_msg("no connection to the server was found");
    return -1;
}

static void send_and_lose(void *ctx)
{
    struct scene *scene = ctx;
    struct pg_params params;
    char *text = calloc(1, 8000001);

    memset(text, 'x', 8000000);
    pg_params_init(&params);
    pg_add_text(&params, text);
    assert_int_equal(pg_send(scene->pg, &warn_softly, &params, on_result, scene), 0);
    pg_params_fini(&params); /* more than the socket takes: the watch for writing is queued */
    free(text);
    shutdown(find_socket(), SHUT_RDWR);
    assert_int_equal(send_int(scene, &number, 1, on_result, scene), ERR_CLOSED);
}

/*
 * What is sent at the end of a turn can show that the connection is lost, and libpq closes its
 * socket then.  The connection ends in the next turn: the wait between must not watch the socket.
 */
static void a_loss_that_sending_shows_leaves_no_watch_on_the_closed_socket(void **state)
{
    struct loop_deferred at_the_end = {.run = send_and_lose};
    struct scene scene;

    (void)state;
    scene_open(&scene);
    at_the_end.ctx = &scene;
    loop_defer(scene.loop, &at_the_end);
    run_until(&scene, has_gone_down, 5000);
    assert_null(strstr(scene.why, "watched"));
    assert_int_equal(scene.last.err, ERR_DOUBT);
    run_until(&scene, is_up, 10000);
    scene_close(&scene);
}

static void names_are_resolved_and_dead_hosts_passed_over(void **state)
{
    struct pg_config config;
    struct scene scene;
    char conninfo[400];
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    (void)state;
    /* A host that accepts and never answers, a port where nobody is, then the server. */
    assert_int_equal(bind(silent, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&address, &length), 0);
    snprintf(conninfo, sizeof conninfo,
             "host=no-such-host.invalid,localhost,127.0.0.1,localhost port=1,%d,%d,%d user=unit "
             "dbname=postgres target_session_attrs=read-write",
             ntohs(address.sin_port), fixture_free_port(), server.port);
    config = config_for(conninfo);
    config.connect_ms = 300;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 20000);
    scene_close(&scene);
    close(silent);
}

static void standbys_are_not_taken_for_primaries(void **state)
{
    struct pg_config config;
    struct scene scene;
    char conninfo[300];

    (void)state;
    snprintf(conninfo, sizeof conninfo, "%s target_session_attrs=standby", server.conninfo);
    config = config_for(conninfo);
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 500;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
}

static void closing_while_connecting_is_quiet(void **state)
{
    struct pg_config config = config_for(server.tcp_conninfo);
    struct scene scene;

    (void)state;
    for (int i = 0; i < 5; i++) {
        scene_open_config(&scene, &config);
        scene.until_ms = clock_boot_ms() + i;
        scene.is_done = is_up;
        loop_run(scene.loop, turn, &scene);
        scene_close(&scene);
        assert_int_equal(scene.downs, 0);
    }
}

static void a_bad_string_or_password_file_keeps_it_down(void **state)
{
    struct pg_config config = config_for("postgresql://[broken");
    struct scene scene;

    (void)state;
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 100;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
    config = config_for(server.conninfo);
    config.password_file = "/does/not/exist";
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 100;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
}

static volatile sig_atomic_t has_gone_mad;

static void go_mad(int signo)
{
    (void)signo;
    has_gone_mad = 1;
}

static bool pump(int from, int to)
{
    char bytes[4096];
    ssize_t got = read(from, bytes, sizeof bytes);

    return got > 0 && write(to, bytes, (size_t)got) == got;
}

/* Between one client and the server; upon SIGUSR1 it speaks nonsense to the client instead. */
static pid_t start_proxy(int *port, const char *nonsense, size_t length)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un behind = {.sun_family = AF_UNIX};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pid_t child;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    *port = ntohs(address.sin_port);
    snprintf(behind.sun_path, sizeof behind.sun_path, "%.80s/.s.PGSQL.%d", server.fixture.dir,
             server.port);
    child = fork();
    if (child != 0) {
        close(listener);
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGUSR1, go_mad);
    for (;;) {
        struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
        bool is_open = true;

        fds[0].fd = accept(listener, NULL, NULL);
        fds[1].fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fds[0].fd < 0 || connect(fds[1].fd, (struct sockaddr *)&behind, sizeof behind) != 0)
            _exit(1);
        while (is_open) {
            poll(fds, 2, 20);
            if (has_gone_mad)
                is_open = write(fds[0].fd, nonsense, length) > 0 && (has_gone_mad = 0, pause(), 0);
            else if (fds[0].revents)
                is_open = pump(fds[0].fd, fds[1].fd);
            else if (fds[1].revents)
                is_open = pump(fds[1].fd, fds[0].fd);
        }
        close(fds[0].fd);
        close(fds[1].fd);
    }
}

/* The connection stays open, but what comes is not the protocol. */
static void nonsense_from_the_server_ends_the_connection(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"\xff\xff\xff\xff\xff nonsense", 14},
        {"D\x00\x00\x00\x00", 5},                     /* a length below the least */
        {"T\x00\x00\x00\x06\xff\xff", 7},             /* columns that are not there */
        {"Z\x00\x00\x00\x05?Z\x00\x00\x00\x05?", 12}, /* ready, and ready, for nothing */
        {"X\x00\x00\x00\x04", 5},                     /* nothing a server says */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pg_config config;
        struct scene scene;
        char conninfo[200];
        int port;
        pid_t proxy = start_proxy(&port, cases[i].bytes, cases[i].length);

        snprintf(conninfo, sizeof conninfo,
                 "host=127.0.0.1 port=%d user=unit dbname=postgres sslmode=disable", port);
        config = config_for(conninfo);
        config.deadline_ms = 1000;
        scene_open_config(&scene, &config);
        run_until(&scene, is_up, 10000);
        assert_int_equal(send_int(&scene, &nap, 30000, on_result, &scene), 0);
        scene.until_ms = clock_boot_ms() + 50;
        scene.is_done = has_gone_down;
        loop_run(scene.loop, turn, &scene);
        alarm(20); /* should it spin */
        kill(proxy, SIGUSR1);
        run_until(&scene, has_gone_down, 5000);
        alarm(0);
        assert_int_equal(scene.last.err, ERR_DOUBT);
        scene_close(&scene);
        fixture_end(proxy, SIGKILL);
    }
}

/* A program that is newer than its database: it says so and tries again. */
static void statements_that_do_not_fit_keep_it_down(void **state)
{
    static const struct pg_statement bad = {.name = "bad", .sql = "SELECT * FROM nothing"};
    static const struct pg_statement *const list[] = {&number, &bad, NULL};
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;

    (void)state;
    config.statements = list;
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 300;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
    config = config_for(server.conninfo);
    config.settings = "SET no_such_thing = 1";
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 300;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
}

static void settings_are_not_needed(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;

    (void)state;
    config.settings = NULL;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    scene_close(&scene);
}

/* The timer is armed for the oldest; a younger one has its own deadline. */
static void deadlines_are_each_statements_own(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;

    (void)state;
    config.deadline_ms = 600;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    for (int i = 0; i < 4; i++) { /* 1.6 s in all, never longer than 0.6 s each */
        assert_int_equal(send_int(&scene, &nap, 400, on_result, &scene), 0);
        run_until(&scene, is_idle, 2000);
        assert_int_equal(scene.last.err, 0);
    }
    assert_int_equal(scene.downs, 0);
    scene_close(&scene);
}

/* A server that is slow and goes on answering has not stopped. */
static void waiting_behind_others_is_no_silence(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;

    (void)state;
    config.deadline_ms = 1000;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_int(&scene, &nap, 400, on_result, &scene), 0);
    run_until(&scene, is_idle, 10000);
    assert_int_equal(scene.calls, 5);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(scene.downs, 0);
    scene_close(&scene);
}

static void closing_at_once_leaves_nothing_behind(void **state)
{
    struct pg_config config = config_for(server.tcp_conninfo);
    struct scene scene;

    (void)state;
    scene_open_config(&scene, &config);
    scene_close(&scene); /* the errand for the address is under way */
}

static void scripts_run_and_report(void **state)
{
    struct pg_script *script = NULL;
    char why[256] = "", *value = NULL;

    (void)state;
    assert_int_equal(pg_script_open(server.tcp_conninfo, NULL, &script, why, sizeof why), 0);
    assert_int_equal(pg_script_run(script,
                                   "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (5);"
                                   "SELECT a FROM t",
                                   &value, why, sizeof why),
                     0);
    assert_string_equal(value, "5");
    free(value);
    assert_int_equal(pg_script_run(script, "SELECT 1 WHERE false", &value, why, sizeof why), 0);
    assert_null(value);
    assert_int_equal(pg_script_run(script, "SELECT nothing", &value, why, sizeof why), ERR_REFUSED);
    assert_non_null(strstr(why, "nothing"));
    pg_script_close(script);
    assert_int_not_equal(pg_script_open("host=127.0.0.1 port=1", NULL, &script, why, sizeof why),
                         0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_backend_means_doubt_then_reconnect),
        cmocka_unit_test(a_stopped_server_means_doubt_at_the_deadline),
        cmocka_unit_test(what_was_given_up_on_does_not_run_later),
        cmocka_unit_test(reset_starts_over),
        cmocka_unit_test(a_loss_that_sending_shows_leaves_no_watch_on_the_closed_socket),
        cmocka_unit_test(names_are_resolved_and_dead_hosts_passed_over),
        cmocka_unit_test(standbys_are_not_taken_for_primaries),
        cmocka_unit_test(closing_while_connecting_is_quiet),
        cmocka_unit_test(a_bad_string_or_password_file_keeps_it_down),
        cmocka_unit_test(nonsense_from_the_server_ends_the_connection),
        cmocka_unit_test(statements_that_do_not_fit_keep_it_down),
        cmocka_unit_test(settings_are_not_needed),
        cmocka_unit_test(deadlines_are_each_statements_own),
        cmocka_unit_test(waiting_behind_others_is_no_silence),
        cmocka_unit_test(closing_at_once_leaves_nothing_behind),
        cmocka_unit_test(scripts_run_and_report),
    };

    return find_server() ? cmocka_run_group_tests(tests, start_server, stop_server) : 77;
}
