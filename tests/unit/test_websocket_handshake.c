/* SPDX-License-Identifier: MIT */
#include "websocket/handshake.h"
#include "websocket/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const origins[] = {"https://app.example.org"};
static const char *const paths[] = {"/mqtt", "/ws"};
static const struct handshake_rules any_path = {.path_count = 0};
static const struct handshake_rules open_rules = {.paths = paths, .path_count = 2};
static const struct handshake_rules closed_rules = {paths, 2, origins, 1};

#define LINE    "GET /mqtt HTTP/1.1\r\n"
#define HOST    "Host: example.org\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" /* RFC 6455 1.3 */
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define MQTT    "Sec-WebSocket-Protocol: mqtt\r\n"
#define END     "\r\n"

static void each_request_gets_its_status(void **state)
{
    static const struct {
        const char *name, *head;
        int status;
    } cases[] = {
        {"whole", LINE HOST UPGRADE KEY VERSION MQTT END, 101},
        {"query", "GET /mqtt?x=1 HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 101},
        {"absolute", "GET http://example.org/mqtt HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END,
         101},
        {"any case",
         LINE "hOST:x\r\nUPGRADE: WebSocket\r\nconnection: Keep-Alive,\tupgrade\r\n"
              "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\r\n" VERSION MQTT END,
         101},
        {"lists",
         LINE HOST "Upgrade: h2c, websocket\r\nConnection: close\r\n"
                   "Connection: upgrade\r\n" KEY VERSION
                   "Sec-WebSocket-Protocol: soap, mqtt\r\n" END,
         101},
        {"two lines of protocols",
         LINE HOST UPGRADE KEY VERSION
         "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: mqtt\r\n" END,
         101},
        {"empty body", LINE HOST UPGRADE KEY VERSION MQTT "Content-Length: 0\r\n" END, 101},
        {"extension ignored",
         LINE HOST UPGRADE KEY VERSION MQTT "Sec-WebSocket-Extensions: permessage-deflate\r\n" END,
         101},
        {"any origin", LINE HOST UPGRADE KEY VERSION MQTT "Origin: https://a.example\r\n" END, 101},
        {"second path", "GET /ws?x HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 101},
        {"empty lines before it", END END LINE HOST UPGRADE KEY VERSION MQTT END, 101},
        {"later version", "GET /mqtt HTTP/1.2\r\n" HOST UPGRADE KEY VERSION MQTT END, 101},
        {"mqtt 3.1", LINE HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: mqttv3.1\r\n" END, 101},
        {"post", "POST /mqtt HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 405},
        {"http/1.0", "GET /mqtt HTTP/1.0\r\n" HOST UPGRADE KEY VERSION MQTT END, 505},
        {"http/2", "PRI * HTTP/2.0\r\n" END, 505},
        {"other path", "GET / HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 404},
        {"longer path", "GET /mqtt/ HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 404},
        {"absolute without path", "GET http://h HTTP/1.1\r\n" HOST END, 404},
        {"no host", LINE UPGRADE KEY VERSION MQTT END, 400},
        {"two hosts", LINE HOST HOST UPGRADE KEY VERSION MQTT END, 400},
        {"two keys", LINE HOST UPGRADE KEY KEY VERSION MQTT END, 400},
        {"two versions", LINE HOST UPGRADE KEY VERSION VERSION MQTT END, 400},
        {"body", LINE HOST UPGRADE KEY VERSION MQTT "Content-Length: 3\r\n" END, 400},
        {"chunks", LINE HOST UPGRADE KEY VERSION MQTT "Transfer-Encoding: chunked\r\n" END, 400},
        {"plain http", LINE HOST END, 426},
        {"no upgrade", LINE HOST "Connection: Upgrade\r\n" KEY VERSION MQTT END, 426},
        {"no connection", LINE HOST "Upgrade: websocket\r\n" KEY VERSION MQTT END, 426},
        {"half a word",
         LINE HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY VERSION MQTT END, 426},
        {"no version", LINE HOST UPGRADE KEY MQTT END, 426},
        {"old version", LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" MQTT END, 426},
        {"no key", LINE HOST UPGRADE VERSION MQTT END, 400},
        {"short key", LINE HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n" VERSION MQTT END,
         400},
        {"key of 18",
         LINE HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWFh\r\n" VERSION MQTT END, 400},
        {"no protocol", LINE HOST UPGRADE KEY VERSION END, 400},
        {"other protocol",
         LINE HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: mqttv3.1.1, mqttv5\r\n" END, 400},
        {"empty protocol", LINE HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol:\r\n" END, 400},
        {"protocol's case", LINE HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: MQTT\r\n" END,
         400},
        {"folded", LINE HOST " more\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"blank before colon", LINE "Host : x\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"no colon", LINE HOST "Nonsense\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"no name", LINE HOST ": x\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"bare lf", "GET /mqtt HTTP/1.1\n" HOST UPGRADE KEY VERSION MQTT END, 400},
        {"bare lf first", "\n" LINE HOST UPGRADE KEY VERSION MQTT END, 400},
        {"two lengths",
         LINE HOST UPGRADE KEY VERSION MQTT "Content-Length: 0\r\nContent-Length: 3\r\n" END, 400},
        {"list of lengths", LINE HOST UPGRADE KEY VERSION MQTT "Content-Length: 0, 0\r\n" END, 400},
        {"length and chunks",
         LINE HOST UPGRADE KEY VERSION MQTT
         "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n" END,
         400},
        {"unknown encoding", LINE HOST UPGRADE KEY VERSION MQTT "Transfer-Encoding: x\r\n" END,
         400},
        {"tab before colon", LINE "Host\t: x\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"bare lf later", LINE HOST UPGRADE KEY "Sec-WebSocket-Version: 13\n" MQTT END, 400},
        {"bare cr", LINE HOST "X: a\rb\r\n" UPGRADE KEY VERSION MQTT END, 400},
        {"nothing", END END, 400},
        {"no target", "GET HTTP/1.1\r\n" HOST END, 400},
        {"two blanks", "GET  /mqtt HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, 400},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct handshake found;

        handshake_judge(&open_rules, cases[i].head, strlen(cases[i].head), &found);
        if (found.status != cases[i].status)
            fail_msg("%s: %d, not %d", cases[i].name, found.status, cases[i].status);
        assert_true(found.status == 101 || found.why);
    }
}

static void every_path_is_served_unless_some_are_named(void **state)
{
    static const char *const targets[] = {"/", "/ws", "/mqtt/", "/a/b?c=/d", "http://h", "*"};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct buf head = {0};
        struct handshake found;

        buf_printf(&head, "GET %s HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT END, targets[i]);
        handshake_judge(&any_path, head.data, head.length, &found);
        assert_int_equal(found.status, 101);
        buf_fini(&head);
    }
}

static void the_first_of_the_offered_protocols_that_is_served_is_chosen(void **state)
{
    static const struct {
        const char *offered, *chosen;
    } cases[] = {
        {"Sec-WebSocket-Protocol: mqtt\r\n", "mqtt"},
        {"Sec-WebSocket-Protocol: mqttv3.1\r\n", "mqttv3.1"},
        {"Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "mqttv3.1"},
        {"Sec-WebSocket-Protocol: mqtt,mqttv3.1\r\n", "mqtt"},
        {"Sec-WebSocket-Protocol: soap,, mqttv3.1,\r\n", "mqttv3.1"},
        {"Sec-WebSocket-Protocol: soap\r\nsec-websocket-protocol: mqttv3.1\r\n"
         "Sec-WebSocket-Protocol: mqtt\r\n",
         "mqttv3.1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf head = {0}, answer = {0};
        struct handshake found;
        char line[64];

        buf_printf(&head, LINE HOST UPGRADE KEY VERSION "%s" END, cases[i].offered);
        handshake_judge(&open_rules, head.data, head.length, &found);
        assert_int_equal(found.status, 101);
        assert_string_equal(found.subprotocol, cases[i].chosen);
        handshake_answer(&found, &answer);
        snprintf(line, sizeof(line), "Sec-WebSocket-Protocol: %s\r\n\r\n", cases[i].chosen);
        assert_non_null(strstr(answer.data, line));
        buf_fini(&head);
        buf_fini(&answer);
    }
}

static void a_byte_of_nought_in_a_header_is_refused(void **state)
{
    static const char head[] = LINE HOST "X: a\0b\r\n" UPGRADE KEY VERSION MQTT END;
    struct handshake found;

    (void)state;
    handshake_judge(&open_rules, head, sizeof(head) - 1, &found);
    assert_int_equal(found.status, 400);
}

static void origins_are_held_against_the_list(void **state)
{
    static const struct {
        const char *origin;
        int status;
    } cases[] = {
        {"Origin: https://app.example.org\r\n", 101},
        {"Origin: https://APP.example.org\r\n", 101},
        {"", 101}, /* no browser */
        {"Origin: http://app.example.org\r\n", 403},
        {"Origin: https://app.example.org.evil.example\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin:\r\n", 403},
        {"Origin: https://app.example.org\r\nOrigin: https://evil.example\r\n", 400},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf head = {0};
        struct handshake found;

        buf_add_text(&head, LINE HOST UPGRADE KEY VERSION MQTT);
        buf_add_text(&head, cases[i].origin);
        buf_add_text(&head, END);
        handshake_judge(&closed_rules, head.data, head.length, &found);
        assert_int_equal(found.status, cases[i].status);
        buf_fini(&head);
    }
}

static void the_key_of_the_rfc_gets_the_answer_of_the_rfc(void **state)
{
    static const char head[] = LINE HOST UPGRADE KEY VERSION MQTT END;
    struct handshake found;
    struct buf answer = {0};

    (void)state;
    handshake_judge(&open_rules, head, sizeof(head) - 1, &found);
    assert_string_equal(found.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    handshake_answer(&found, &answer);
    assert_string_equal(answer.data, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                     "Connection: Upgrade\r\n"
                                     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                     "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    buf_fini(&answer);
}

static void a_refusal_says_what_would_be_right(void **state)
{
    struct handshake version = handshake_refusal(426, "no"), method = handshake_refusal(405, "no");
    struct buf answer = {0};

    (void)state;
    handshake_answer(&version, &answer);
    assert_non_null(strstr(answer.data, "HTTP/1.1 426 Upgrade Required\r\n"));
    assert_non_null(strstr(answer.data, "Sec-WebSocket-Version: 13\r\n"));
    assert_non_null(strstr(answer.data, "Content-Length: 3\r\n"));
    assert_non_null(strstr(answer.data, "\r\n\r\nno\n"));
    buf_clear(&answer);
    handshake_answer(&method, &answer);
    assert_non_null(strstr(answer.data, "Allow: GET\r\n"));
    buf_fini(&answer);
}

static void the_end_of_a_head_is_found_however_it_comes(void **state)
{
    static const char *const heads[] = {LINE HOST END,   END END LINE HOST END,
                                        LINE "X: y\n\n", LINE "X: y\n\r\n",
                                        "\n\n",          END "\n\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        size_t whole = strlen(heads[i]);
        char head[200];

        snprintf(head, sizeof(head), "%smore\r\n\r\n", heads[i]);
        for (size_t cut = 0; cut < whole; cut++) {
            assert_int_equal(handshake_head(head, cut, 0), 0);
            assert_int_equal(handshake_head(head, strlen(head), cut), whole);
        }
    }
}

/* ---- the command line ---- */

static int read_options(struct options *options, char *why, const char *const words[])
{
    char *argv[24] = {(char *)(uintptr_t) "tocsin-wsd"};
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return options_read(argc, argv, options, why, 512);
}

#define NEEDED "--listen", "127.0.0.1:0", "--broker", "/run/b.sock"

static void a_wrong_command_line_is_told_what_is_right(void **state)
{
    static const struct {
        const char *words[10], *why;
    } cases[] = {
        {{NULL}, "--listen and --broker are needed"},
        {{"--listen", "127.0.0.1:0", NULL}, "--listen and --broker are needed"},
        {{NEEDED, "--drain", "5", NULL}, "with its unit"},
        {{NEEDED, "--drain", "-5s", NULL}, "with its unit"},
        {{NEEDED, "--drain", "2h", NULL}, "from 0ms to 600000ms"},
        {{NEEDED, "--max-connections", "0", NULL}, "from 1 to 1000000"},
        {{NEEDED, "--max-connections", "9x", NULL}, "from 1 to 1000000"},
        {{NEEDED, "--max-connections", "99999999999999999999", NULL}, "from 1 to 1000000"},
        {{NEEDED, "--path", "mqtt", NULL}, "it begins with /"},
        {{NEEDED, "--origin", "app.example.org", NULL}, "as https://app.example.org"},
        {{NEEDED, "--origin", "https://a.example/", NULL}, "without a path"},
        {{NEEDED, "--log-level", "loud", NULL}, "debug, info, warn or error"},
        {{NEEDED, "--log-format", "xml", NULL}, "text or json"},
        {{NEEDED, "--sideways", NULL}, "is not an option"},
        {{NEEDED, "--drain", NULL}, "lacks its value"},
        {{NEEDED, "more", NULL}, "is not an option"},
        {{"--listen", "/a/path", "--broker", "/run/b.sock", NULL}, "clients come over TCP"},
        {{"--listen", "9001", "--broker", "/run/b.sock", NULL}, "not an address with a port"},
        {{"--listen", "127.0.0.1:", "--broker", "/run/b.sock", NULL}, "not an address"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options;
        char why[512] = "";

        assert_int_not_equal(read_options(&options, why, cases[i].words), 0);
        if (!strstr(why, cases[i].why))
            fail_msg("case %zu: %s", i, why);
    }
}

static void options_are_read_with_their_units(void **state)
{
    static const char *const words[] = {NEEDED,
                                        "--drain",
                                        "250ms",
                                        "--origin",
                                        "https://a.example",
                                        "--max-per-address",
                                        "7",
                                        "--dead-after",
                                        "1h",
                                        "--path",
                                        "/",
                                        "--path",
                                        "/ws",
                                        NULL};
    struct options options;
    char why[512] = "";

    (void)state;
    assert_int_equal(read_options(&options, why, words), 0);
    assert_int_equal(options.drain_ms, 250);
    assert_int_equal(options.edge.relay.dead_s, 3600);
    assert_int_equal(options.edge.per_address_max, 7);
    assert_int_equal(options.edge.relay.handshake_ms, 10000);
    assert_int_equal(options.edge.relay.rules.path_count, 2);
    assert_string_equal(options.edge.relay.rules.paths[1], "/ws");
    assert_int_equal(options.edge.relay.rules.origin_count, 1);
    assert_string_equal(options.edge.relay.rules.origins[0], "https://a.example");
    assert_int_equal(options_take_descriptors(&options, why, sizeof(why)), 0);
    assert_true(options.edge.connections_max > 0);
    options.edge.connections_max = SIZE_MAX / 4;
    assert_int_not_equal(options_take_descriptors(&options, why, sizeof(why)), 0);
    assert_non_null(strstr(why, "LimitNOFILE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_gets_its_status),
        cmocka_unit_test(every_path_is_served_unless_some_are_named),
        cmocka_unit_test(the_first_of_the_offered_protocols_that_is_served_is_chosen),
        cmocka_unit_test(a_byte_of_nought_in_a_header_is_refused),
        cmocka_unit_test(origins_are_held_against_the_list),
        cmocka_unit_test(the_key_of_the_rfc_gets_the_answer_of_the_rfc),
        cmocka_unit_test(a_refusal_says_what_would_be_right),
        cmocka_unit_test(the_end_of_a_head_is_found_however_it_comes),
        cmocka_unit_test(a_wrong_command_line_is_told_what_is_right),
        cmocka_unit_test(options_are_read_with_their_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
