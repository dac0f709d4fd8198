/* SPDX-License-Identifier: MIT */
#include "export.h"

#include "rpc.h"
#include "say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct opt export_options[] = {
    {"format", OPT_STRING, "FORMAT", "csv, or json for JSON lines (json)", "csv|json"},
    {"after", OPT_STRING, "CURSOR", "go on where an earlier export was cut short", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for each answer (10s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

static const char *const paging[] = {"after", NULL};

const struct desk_call export_call = {
    .method = "dlq.export", .filter = FILTER_FLAT, .params = paging, .list = "entries"};

/* `is_free`: written by strangers; a spreadsheet must not take it for a formula. */
static const struct column {
    const char *name;
    bool is_free, is_content; /* is_content: a member of the content */
} columns[] = {
    {"delivery", false, false},   {"notification", false, false}, {"service", false, false},
    {"request", true, false},     {"type", false, false},         {"priority", false, false},
    {"channel", false, false},    {"destination", false, false},  {"user", false, false},
    {"target", false, false},     {"reason", false, false},       {"code", true, false},
    {"detail", true, false},      {"attempts", false, false},     {"retries", false, false},
    {"status", false, false},     {"died_at", false, false},      {"changed_at", false, false},
    {"changed_by", false, false}, {"resolved_by", false, false},  {"note", true, false},
    {"created_at", false, false}, {"expires_at", false, false},   {"title", true, true},
    {"body", true, true},         {"content", false, false},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* RFC 4180. */
static void put_cell(const char *text, bool is_free, bool is_last)
{
    bool is_formula = is_free && *text && strchr("=+-@\t\r", *text);

    if (is_formula || text[strcspn(text, "\",\r\n")] != '\0') {
        putchar('"');
        if (is_formula)
            putchar('\'');
        for (; *text; text++) {
            if (*text == '"')
                putchar('"');
            putchar(*text);
        }
        putchar('"');
    } else {
        fputs(text, stdout);
    }
    fputs(is_last ? "\r\n" : ",", stdout);
}

static void put_row(const json_t *entry)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        const json_t *from = columns[i].is_content ? json_object_get(entry, "content") : entry;
        const json_t *value = json_object_get(from, columns[i].name);
        char *text = NULL;

        if (value && !json_is_string(value))
            text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        put_cell(text    ? text
                 : value ? json_string_value(value)
                         : "",
                 columns[i].is_free, i == COLUMNS - 1);
        free(text);
    }
}

static void put_page(const json_t *entries, bool is_csv)
{
    json_t *entry;
    size_t i;

    json_array_foreach(entries, i, entry)
    {
        if (is_csv)
            put_row(entry);
        else
            say_json(entry);
    }
}

static enum cli_exit export_all(struct cli *cli, struct rpc *rpc, json_t *params)
{
    const char *format = arg_str(cli->args, "format");
    bool is_csv = format && strcmp(format, "csv") == 0;
    enum cli_exit status = CLI_OK;
    bool is_more = true;
    size_t count = 0;

    for (size_t i = 0; is_csv && i < COLUMNS; i++)
        put_cell(columns[i].name, false, i == COLUMNS - 1);
    json_object_set_new(params, "limit", json_integer(100));
    while (is_more && status == CLI_OK) {
        json_t *result = NULL;

        status = rpc_call(rpc, export_call.method, params, &result);
        if (status == CLI_OK) {
            json_t *next = json_object_get(result, "next");

            put_page(json_object_get(result, "entries"), is_csv);
            count += json_array_size(json_object_get(result, "entries"));
            is_more = json_is_string(next);
            if (is_more)
                json_object_set(params, "after", next);
            if (!say_flush())
                status = CLI_PIPE;
        }
        json_decref(result);
    }
    if (status != CLI_OK && status != CLI_PIPE && arg_str(params, "after"))
        say_error("cut short after %zu: go on with --after '%s'", count, arg_str(params, "after"));
    else if (!cli->is_quiet)
        say_error("%zu dead letters", count);
    return status;
}

enum cli_exit cmd_export(struct cli *cli)
{
    json_t *params = json_object();
    enum cli_exit status = CLI_USAGE;
    struct rpc *rpc = NULL;

    if (desk_params(cli, &export_call, params) == 0) {
        rpc = rpc_open(cli, arg_int(cli->args, "timeout", 10000));
        status = rpc ? export_all(cli, rpc, params) : CLI_ERROR;
    }
    rpc_close(rpc);
    json_decref(params);
    return status;
}
