/* SPDX-License-Identifier: MIT */
/*
 * requests_desk - request.status and request.cancel: services about their own requests
 */
#ifndef TOCSIN_SERVICES_REQUESTS_DESK_H
#define TOCSIN_SERVICES_REQUESTS_DESK_H
#include "core/fence.h"
#include "services/asks.h"

struct requests_desk;

struct requests_desk *requests_desk_new(struct asks *asks, struct store *store,
                                        const struct fence *fence);
void requests_desk_free(struct requests_desk *desk);

#endif
