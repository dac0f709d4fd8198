/* SPDX-License-Identifier: MIT */
/*
 * rpc - one question to the bridge, and its answer
 *
 * {rpc, params} on up/rpc/{method}, {rpc, result} or {rpc, error} on
 * down/reply. After a reconnect an unanswered call is made again under the
 * same rpc id: every method can be repeated without harm.
 *
 * Ownership: the caller's to rpc_close().
 */
#ifndef CLI_RPC_H
#define CLI_RPC_H
#include "cli.h"

struct rpc;

/* Starts connecting. New, or NULL after saying why. */
struct rpc *rpc_open(struct cli *cli, int64_t timeout_ms) NODISCARD;
/*
 * Waits for the answer. CLI_OK with a new *result; else an exit status after
 * saying why (CLI_REJECTED for an error of the bridge's). `params` is borrowed.
 */
enum cli_exit rpc_call(struct rpc *rpc, const char *method, json_t *params,
                       json_t **result) NODISCARD;
/* Waits so long, answering the broker; CLI_OK, or a signal's status. */
enum cli_exit rpc_pause(struct rpc *rpc, int64_t ms) NODISCARD;
void rpc_close(struct rpc *rpc);
#endif
