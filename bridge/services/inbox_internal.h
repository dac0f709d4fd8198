/* SPDX-License-Identifier: MIT */
/*
 * inbox_internal - what the files of the inbox share; nobody else includes it
 */
#ifndef TOCSIN_SERVICES_INBOX_INTERNAL_H
#define TOCSIN_SERVICES_INBOX_INTERNAL_H
#include "base/list.h"
#include "services/inbox.h"

#define INBOX_ASKING 16

struct inbox {
    struct store *store;
    struct inbox_ops ops;
    struct batch *batch; /* being gathered; NULL when there is nothing */
    struct list waiting; /* questions that the database has not been asked yet */
    size_t asking;
    struct metric *marked;
};

void inbox_add_methods(struct inbox *inbox, struct asks *asks);

#endif
