/* SPDX-License-Identifier: MIT */
/*
 * requests_desk - request.status: services about their own requests
 *
 * Not here: request.cancel and request.retract (inbox_removal).
 */
#ifndef TOCSIN_SERVICES_REQUESTS_DESK_H
#define TOCSIN_SERVICES_REQUESTS_DESK_H
#include "services/asks.h"

struct requests_desk;

struct requests_desk *requests_desk_new(struct asks *asks, struct store *store);
void requests_desk_free(struct requests_desk *desk);

#endif
