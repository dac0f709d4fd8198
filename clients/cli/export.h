/* SPDX-License-Identifier: MIT */
/*
 * export - all dead letters that a filter chooses, as CSV or JSON lines on stdout
 *
 * Page by page, so that neither side needs memory for more than one.  Cut short, it says where to
 * go on.
 */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H
#include "cli.h"
#include "desk.h"

extern const struct opt export_options[];
extern const struct desk_call export_call;

enum cli_exit cmd_export(struct cli *cli);
#endif
