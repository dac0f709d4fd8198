/* SPDX-License-Identifier: MIT */
#include "export.h"

#include "exact.h"
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

/*
 * `is_ours`: made by the bridge itself, of digits, letters, dashes and colons; it never begins like
 * a formula. All else comes from services, users, admins and providers: addresses, ids, and what is
 * new in a later bridge.
 */
static const struct column {
    const char *name;
    bool is_ours, is_content; /* is_content: a member of the content */
} columns[] = {
    {"delivery", true, false},    {"notification", true, false}, {"service", false, false},
    {"request", false, false},    {"type", false, false},        {"priority", true, false},
    {"channel", true, false},     {"destination", false, false}, {"user", false, false},
    {"target", false, false},     {"reason", true, false},       {"code", false, false},
    {"detail", false, false},     {"attempts", true, false},     {"retries", true, false},
    {"status", true, false},      {"died_at", true, false},      {"changed_at", true, false},
    {"changed_by", false, false}, {"resolved_by", true, false},  {"note", false, false},
    {"created_at", true, false},  {"expires_at", true, false},   {"title", false, true},
    {"body", false, true},        {"content", false, false},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* What a spreadsheet takes for a formula: also behind blanks, and in full width. */
static bool is_formula(const char *text)
{
    static const char *const wide[] = {"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d",
                                       "\xef\xbc\xa0"}; /* = + - @ */

    if (strchr("\t\r\n", *text) && *text)
        return true;
    text += strspn(text, " \xc2\xa0");
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
        if (strncmp(text, wide[i], strlen(wide[i])) == 0)
            return true;
    return *text && strchr("=+-@", *text);
}

/* Without what a terminal would obey, but with the ends of lines; quotes doubled. */
static void put_text(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\t\r\n");
        char *part = xasprintf("%.*s", (int)len, text), *clean = clean_text(part);

        for (const char *c = clean; *c; c++) {
            if (*c == '"')
                putchar('"');
            putchar(*c);
        }
        free(clean);
        free(part);
        text += len;
        if (*text)
            putchar(*text++);
    }
}

/* RFC 4180; quoted also where a program that splits at ; or a tab would see two cells. */
static void put_cell(const char *text, bool is_ours, bool is_last)
{
    bool is_marked = !is_ours && is_formula(text);
    bool is_quoted = is_marked || text[strcspn(text, "\",;\t\r\n")] != '\0';

    if (is_quoted)
        putchar('"');
    if (is_marked)
        putchar('\'');
    put_text(text);
    if (is_quoted)
        putchar('"');
    fputs(is_last ? "\r\n" : ",", stdout);
}

static void put_row(const json_t *entry)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        const json_t *from = columns[i].is_content ? json_object_get(entry, "content") : entry;
        const json_t *value = json_object_get(from, columns[i].name);
        char *text = NULL;

        if (value && !json_is_string(value))
            text = exact_dump(value, JSON_COMPACT | JSON_ENCODE_ANY);
        put_cell(text    ? text
                 : value ? json_string_value(value)
                         : "",
                 columns[i].is_ours, i == COLUMNS - 1);
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
        put_cell(columns[i].name, true, i == COLUMNS - 1);
    json_object_set_new(params, "limit", json_integer(100));
    while (is_more && status == CLI_OK) {
        json_t *result = NULL;

        status = rpc_call(rpc, export_call.method, params, &result);
        if (status == CLI_OK) {
            json_t *next = json_object_get(result, "next");
            size_t shown = json_array_size(json_object_get(result, "entries"));

            put_page(json_object_get(result, "entries"), is_csv);
            is_more = json_is_string(next);
            status = say_flush();
            if (status == CLI_OK) /* else this page is asked for again */
                count += shown;
            if (status == CLI_OK && is_more)
                json_object_set(params, "after", next);
        }
        json_decref(result);
    }
    if (status == CLI_PIPE)
        return status;
    if (status != CLI_OK && arg_str(params, "after"))
        say_error("cut short after %zu: go on with --after '%s'", count, arg_str(params, "after"));
    else if (status == CLI_OK && !cli->is_quiet)
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
