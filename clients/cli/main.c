/* SPDX-License-Identifier: MIT */
/*
 * tocsin - the command line for services, admins and scripts
 *
 * main reads the command's name and options by the table below, loads the
 * connection, and runs the command. Nothing else happens here.
 */
#include "cli.h"
#include "desk.h"
#include "export.h"
#include "nearest.h"
#include "request.h"
#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#define ANYBODY (KIND_USER | KIND_SERVICE | KIND_ADMIN)

static const struct opt output_options[] = {
    {"json", OPT_FLAG, NULL, "print one JSON object per line", NULL},
    {"quiet", OPT_FLAG, NULL, "no progress, only results and errors", NULL},
    {"help", OPT_FLAG, NULL, "show this", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

static const struct command commands[] = {
    {"send", KIND_SERVICE, "[FILE]", 0, 1, "publish requests and wait for their receipts",
     send_options, request_options, cmd_send, NULL},
    {"watch", KIND_USER, NULL, 0, 0, "show a user's inbox as it fills, and acknowledge",
     watch_options, NULL, cmd_watch, NULL},
    {"receipts", KIND_SERVICE, NULL, 0, 0, "follow what becomes of a service's requests",
     receipts_options, NULL, cmd_receipts, NULL},
    {"status", KIND_SERVICE, "ID", 1, 1, "what became of one request", desk_list_options, NULL,
     desk_run, &desk_status},
    {"cancel", KIND_SERVICE, "ID", 1, 1, "stop what has not gone out of one request", desk_options,
     NULL, desk_run, &desk_cancel},
    {"dlq list", KIND_ADMIN, NULL, 0, 0, "list dead letters", desk_list_options,
     desk_filter_options, desk_run, &desk_dlq_list},
    {"dlq count", KIND_ADMIN, NULL, 0, 0, "how many there are", desk_options, desk_filter_options,
     desk_run, &desk_dlq_count},
    {"dlq stats", KIND_ADMIN, NULL, 0, 0, "how many by status, reason and day", desk_options,
     desk_filter_options, desk_run, &desk_dlq_stats},
    {"dlq show", KIND_ADMIN, "ID", 1, 1, "one dead letter, with its content and history",
     desk_options, NULL, desk_run, &desk_dlq_show},
    {"dlq retry", KIND_ADMIN, "[ID...]", 0, 500, "send dead letters again", desk_retry_options,
     desk_filter_options, desk_run, &desk_dlq_retry},
    {"dlq resolve", KIND_ADMIN, "[ID...]", 0, 500, "say that dead letters are dealt with",
     desk_verdict_options, desk_filter_options, desk_run, &desk_dlq_resolve},
    {"dlq ignore", KIND_ADMIN, "[ID...]", 0, 500, "say that dead letters do not matter",
     desk_verdict_options, desk_filter_options, desk_run, &desk_dlq_ignore},
    {"dlq export", KIND_ADMIN, NULL, 0, 0, "all of them, as CSV or JSON lines", export_options,
     desk_filter_options, cmd_export, NULL},
    {"audit", KIND_ADMIN, NULL, 0, 0, "what admins did, the latest first", desk_list_options,
     desk_audit_options, desk_run, &desk_audit},
    {"stats", KIND_ADMIN, NULL, 0, 0, "the queue as it is, refreshing", stats_options, NULL,
     cmd_stats, NULL},
    {"provider list", KIND_ADMIN, NULL, 0, 0, "list providers, and what is paused", desk_options,
     NULL, desk_run, &desk_providers},
    {"provider pause", KIND_ADMIN, "PROVIDER", 1, 1, "let nothing more leave by a provider",
     stop_options, NULL, cmd_stop, NULL},
    {"provider resume", KIND_ADMIN, "PROVIDER", 1, 1, "let it leave again", desk_options, NULL,
     cmd_stop, NULL},
    {"channel pause", KIND_ADMIN, "CHANNEL", 1, 1, "let nothing more leave by a channel",
     stop_options, NULL, cmd_stop, NULL},
    {"channel resume", KIND_ADMIN, "CHANNEL", 1, 1, "let it leave again", desk_options, NULL,
     cmd_stop, NULL},
    {"rpc", ANYBODY, "METHOD [PARAMS]", 1, 2, "any call of the bridge, and its answer",
     desk_options, NULL, desk_run, &desk_any},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help_all(void)
{
    say("usage: tocsin COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        say("  %-15s %s\n", commands[i].name, commands[i].summary);
    say("\ntocsin COMMAND --help shows a command's options; the manual is tocsin(1).\n");
}

static void help_one(const struct command *c)
{
    const struct opt *const own[] = {c->options, c->more_options, NULL};
    const struct opt *const common[] = {config_options, output_options, NULL};

    say("usage: tocsin %s [OPTIONS]%s%s\n\n%s\n\n", c->name, c->words ? " " : "",
        c->words ? c->words : "", c->summary);
    options_help(own);
    say("\n");
    options_help(common);
}

/* Whether the command is of this group: "dlq list" is of "dlq". */
static bool is_of_group(const struct command *c, const char *group)
{
    size_t len = strlen(group);

    return strncmp(c->name, group, len) == 0 && c->name[len] == ' ';
}

/* False when there is no such group. */
static bool help_group(const char *group)
{
    bool is_there = false;

    for (size_t i = 0; i < COMMANDS; i++) {
        if (!is_of_group(&commands[i], group))
            continue;
        if (!is_there)
            say("usage: tocsin %s COMMAND [OPTIONS]\n\n", group);
        is_there = true;
        say("  %-15s %s\n", commands[i].name, commands[i].summary);
    }
    if (is_there)
        say("\ntocsin %s COMMAND --help shows a command's options.\n", group);
    return is_there;
}

static void no_command(const char *group, const char *word)
{
    char *clean = clean_text(word);
    struct nearest near;

    nearest_begin(&near, word);
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *name = commands[i].name, *blank = strchr(name, ' ');

        if (group && is_of_group(&commands[i], group))
            nearest_try(&near, blank + 1);
        else if (!group && !blank)
            nearest_try(&near, name);
    }
    if (!group) {
        static const char *const groups[] = {"dlq", "provider", "channel", "help", "version"};

        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
            nearest_try(&near, groups[i]);
    }
    if (near.word)
        say_error("no command '%s%s%s'; is '%s%s%s' meant? (see tocsin --help)", group ? group : "",
                  group ? " " : "", clean, group ? group : "", group ? " " : "", near.word);
    else
        say_error("no command '%s%s%s' (see tocsin --help)", group ? group : "", group ? " " : "",
                  clean);
    free(clean);
}

/* The command of these words, and how many of them are its name; NULL when there is none. */
static const struct command *match_command(int argc, char **argv, int *words)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *name = commands[i].name;
        size_t len = strlen(argv[1]);

        *words = strchr(name, ' ') ? 2 : 1;
        if (strcmp(name, argv[1]) == 0 || (is_of_group(&commands[i], argv[1]) && argc > 2 &&
                                           strcmp(name + len + 1, argv[2]) == 0))
            return &commands[i];
    }
    return NULL;
}

/* What is asked of the program itself. CLI_OK or CLI_USAGE, and -1 when it is a command. */
static int ask_program(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : "--help";
    const struct command *command;
    int words;

    if (strcmp(first, "--version") == 0 || strcmp(first, "version") == 0) {
        say("tocsin %s\n", TOCSIN_VERSION);
        return CLI_OK;
    }
    if (argc > 2 && strcmp(first, "help") == 0) {
        command = match_command(argc - 1, argv + 1, &words);
        if (command)
            help_one(command);
        else if (!help_group(argv[2]))
            no_command(NULL, argv[2]);
        else
            return CLI_OK;
        return command ? CLI_OK : CLI_USAGE;
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "help") == 0) {
        help_all();
        return argc < 2 ? CLI_USAGE : CLI_OK;
    }
    command = match_command(argc, argv, &words);
    if (command)
        return -1;
    if (argc == 2 && help_group(first))
        return CLI_USAGE;
    if (argc > 2 && strcmp(argv[2], "--help") == 0 && help_group(first))
        return CLI_OK;
    for (size_t i = 0; i < COMMANDS && argc > 2; i++) {
        if (is_of_group(&commands[i], first)) {
            no_command(first, argv[2]);
            return CLI_USAGE;
        }
    }
    no_command(NULL, first);
    return CLI_USAGE;
}

static enum cli_exit run(struct cli *cli)
{
    size_t words = json_array_size(cli->words);

    if (words < cli->command->min_words || words > cli->command->max_words) {
        say_error("usage: tocsin %s [OPTIONS]%s%s", cli->command->name,
                  cli->command->words ? " " : "", cli->command->words ? cli->command->words : "");
        return CLI_USAGE;
    }
    cli->is_json = arg_flag(cli->args, "json");
    cli->is_quiet = arg_flag(cli->args, "quiet");
    if (config_load(&cli->conf, cli->args, cli->command->kinds))
        return CLI_USAGE;
    if (signals_open(&cli->signals)) {
        say_error("signals: %s", strerror(errno));
        return CLI_ERROR;
    }
    return cli->command->run(cli);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    enum cli_exit status = CLI_USAGE;
    int words, asked = ask_program(argc, argv);

    if (asked >= 0)
        return (int)say_end((enum cli_exit)asked);
    cli.command = match_command(argc, argv, &words);
    if (!cli.command)
        return (int)CLI_USAGE;
    const struct opt *const own[] = {cli.command->options ? cli.command->options : output_options,
                                     output_options, config_options, cli.command->more_options,
                                     NULL};
    cli.args = options_parse(own, argc - words, argv + words, &cli.words);
    if (cli.args && arg_flag(cli.args, "help")) {
        help_one(cli.command);
        status = CLI_OK;
    } else if (cli.args) {
        status = run(&cli);
    }
    config_fini(&cli.conf);
    json_decref(cli.args);
    json_decref(cli.words);
    signals_close(&cli.signals);
    return (int)say_end(status);
}
