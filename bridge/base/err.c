/* SPDX-License-Identifier: MIT */
#include "base/err.h"

const char *err_name(int err)
{
    switch ((enum err)err) {
    case ERR_OK:
        return "ok";
    case ERR_INVALID:
        return "invalid";
    case ERR_TOO_LARGE:
        return "too_large";
    case ERR_FULL:
        return "full";
    case ERR_CLOSED:
        return "closed";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_REFUSED:
        return "refused";
    case ERR_IO:
        return "io";
    case ERR_DATA:
        return "data";
    case ERR_AGAIN:
        return "again";
    case ERR_DOUBT:
        return "doubt";
    case ERR_FENCED:
        return "fenced";
    case ERR_NOT_FOUND:
        return "not_found";
    case ERR_COLLISION:
        return "collision";
    }
    return "unknown";
}
