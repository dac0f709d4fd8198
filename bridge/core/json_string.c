/* SPDX-License-Identifier: MIT */
#include "core/json_string.h"

#include <string.h>

#include "core/utf8.h"

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Is one of the eight bytes a quote, a backslash, a control character or not ASCII? */
static bool has_special(uint64_t word)
{
    uint64_t quote = word ^ EVERY('"'), slash = word ^ EVERY('\\');
    uint64_t is_zero = (quote - EVERY(1)) | (slash - EVERY(1)) | (word - EVERY(0x20)) | word;

    return (is_zero & EVERY(0x80)) != 0;
}

/* How many bytes from here on stand for themselves and are ASCII. */
static size_t plain_run(const char *at, size_t left)
{
    size_t run = 0;

    while (left - run >= 8) {
        uint64_t word;

        memcpy(&word, at + run, 8);
        if (has_special(word))
            break;
        run += 8;
    }
    while (run < left && at[run] != '"' && at[run] != '\\' && (unsigned char)at[run] >= 0x20 &&
           (unsigned char)at[run] < 0x80)
        run++;
    return run;
}

static bool read_hex4(const char *at, size_t left, uint32_t *code)
{
    if (left < 4)
        return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A' + 10);
        else
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* After "\u".  Returns the bytes used, 0 when they are no escape. */
static size_t read_unicode(const char *at, size_t left, uint32_t *code, enum json_fault *fault)
{
    uint32_t low;

    if (!read_hex4(at, left, code))
        return 0;
    if (*code == 0) {
        *fault = JSON_FAULT_NUL;
        *code = 0xFFFD;
        return 4;
    }
    if (*code < 0xD800 || *code > 0xDFFF)
        return 4;
    if (*code < 0xDC00 && left >= 10 && at[4] == '\\' && at[5] == 'u' &&
        read_hex4(at + 6, left - 6, &low) && low >= 0xDC00 && low <= 0xDFFF) {
        *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
        return 10;
    }
    *fault = JSON_FAULT_TEXT;
    *code = 0xFFFD;
    return 4;
}

/* After the backslash.  Returns the bytes used, 0 when they are no escape. */
static size_t read_escape(const char *at, size_t left, uint32_t *code, enum json_fault *fault)
{
    size_t used;

    switch (left ? *at : '\0') {
    case '"':
    case '\\':
    case '/':
        *code = (unsigned char)*at;
        return 1;
    case 'b':
        *code = '\b';
        return 1;
    case 'f':
        *code = '\f';
        return 1;
    case 'n':
        *code = '\n';
        return 1;
    case 'r':
        *code = '\r';
        return 1;
    case 't':
        *code = '\t';
        return 1;
    case 'u':
        used = read_unicode(at + 1, left - 1, code, fault);
        return used ? used + 1 : 0;
    default:
        return 0;
    }
}

static int fail(struct json_string *string, size_t at, const char *error)
{
    string->consumed = at;
    string->error = error;
    return ERR_INVALID;
}

int json_string_read(const char *in, size_t bytes, char *out, struct json_string *string)
{
    size_t at = 0, used = 0;

    string->fault = JSON_FAULT_NONE;
    for (;;) {
        size_t run = plain_run(in + at, bytes - at);
        enum json_fault fault = JSON_FAULT_NONE;

        if (used != at && run > 0)
            memcpy(out + used, in + at, run);
        at += run;
        used += run;
        if (at == bytes)
            return fail(string, at, "the text ends inside a string");
        if (in[at] == '"')
            break;
        if ((unsigned char)in[at] < 0x20)
            return fail(string, at, "a control character in a string must be escaped");
        if (in[at] == '\\') {
            uint32_t code = 0;
            size_t size = read_escape(in + at + 1, bytes - at - 1, &code, &fault);

            if (size == 0)
                return fail(string, at, "no such escape in a string");
            at += size + 1;
            used += utf8_encode(code, out + used);
        } else {
            size_t size = utf8_char(in + at, bytes - at), step = size ? size : 1;

            if (size == 0)
                fault = JSON_FAULT_TEXT;
            if (used != at)
                memcpy(out + used, in + at, step);
            at += step;
            used += step;
        }
        if (string->fault == JSON_FAULT_NONE)
            string->fault = fault;
    }
    out[used] = '\0';
    string->length = used;
    string->consumed = at + 1;
    return 0;
}
