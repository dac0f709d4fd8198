/* SPDX-License-Identifier: MIT */
#include "core/report.h"

#include "base/panic.h"

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

static const struct row *must_find(enum report report)
{
    const struct row *row = find((int)report);

    ASSERT(row);
    return row;
}

bool report_is_known(int number)
{
    return find(number) != NULL;
}

const char *report_name(enum report report)
{
    return must_find(report)->name;
}

enum delivery_state report_delivery_state(enum report report)
{
    return must_find(report)->state;
}

const char *report_receipt_status(enum report report)
{
    return must_find(report)->status;
}

bool report_moves(enum report from, enum report to)
{
    return must_find(to)->report > must_find(from)->report;
}
