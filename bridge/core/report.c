/* SPDX-License-Identifier: MIT */
#include "core/report.h"

#include <stddef.h>

static const struct row {
    enum report report;
    const char *name, *status;
    enum delivery_state state;
} rows[] = {
    {REPORT_SENT, "sent", "sent", DELIVERY_SENT},
    {REPORT_FAILED, "failed", "dead", DELIVERY_DEAD},
    {REPORT_DELIVERED, "delivered", "delivered", DELIVERY_DELIVERED},
    {REPORT_READ, "read", "read", DELIVERY_DELIVERED},
    {REPORT_CLICKED, "clicked", "clicked", DELIVERY_DELIVERED},
    {REPORT_BOUNCED, "bounced", "suppressed", DELIVERY_SUPPRESSED},
    {REPORT_OPTED_OUT, "opted_out", "suppressed", DELIVERY_SUPPRESSED},
    {REPORT_COMPLAINED, "complained", "suppressed", DELIVERY_SUPPRESSED},
};

static const struct row *find(int number)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((int)rows[i].report == number)
            return &rows[i];
    return NULL;
}

bool report_is_known(int number)
{
    return find(number) != NULL;
}

const char *report_name(enum report report)
{
    const struct row *row = find((int)report);

    return row ? row->name : "unknown";
}

enum delivery_state report_delivery_state(enum report report)
{
    const struct row *row = find((int)report);

    return row ? row->state : DELIVERY_SENT;
}

const char *report_receipt_status(enum report report)
{
    const struct row *row = find((int)report);

    return row ? row->status : NULL;
}

bool report_moves(enum report from, enum report to)
{
    return to > from;
}
