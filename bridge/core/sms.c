/* SPDX-License-Identifier: MIT */
#include "core/sms.h"

#include <limits.h>
#include <string.h>

#include "core/utf8.h"

#define GSM_SINGLE  160
#define GSM_PART    153
#define UCS2_SINGLE 70
#define UCS2_PART   67

/* Past ASCII, in order; the euro sign is in the extension table. */
static const uint16_t gsm_beyond_ascii[] = {
    0x00A1, 0x00A3, 0x00A4, 0x00A5, 0x00A7, 0x00BF, 0x00C4, 0x00C5, 0x00C6, 0x00C7,
    0x00C9, 0x00D1, 0x00D6, 0x00D8, 0x00DC, 0x00DF, 0x00E0, 0x00E4, 0x00E5, 0x00E6,
    0x00E8, 0x00E9, 0x00EC, 0x00F1, 0x00F2, 0x00F6, 0x00F8, 0x00F9, 0x00FC, 0x0393,
    0x0394, 0x0398, 0x039B, 0x039E, 0x03A0, 0x03A3, 0x03A6, 0x03A8, 0x03A9,
};

/* How many septets: 1, 2 by the extension table, 0 when it is not in the alphabet. */
static int septets_of(uint32_t code)
{
    size_t low = 0, high = sizeof gsm_beyond_ascii / sizeof *gsm_beyond_ascii;

    if (code == 0x20AC)
        return 2;
    if (code < 0x80) {
        if (code == 0 || code == '`' || code == 0x7F)
            return 0;
        if (code < 0x20)
            return code == '\n' || code == '\r' ? 1 : code == '\f' ? 2 : 0;
        return strchr("^{}\\[~]|", (int)code) ? 2 : 1;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (gsm_beyond_ascii[middle] == code)
            return 1;
        if (gsm_beyond_ascii[middle] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

static size_t next_char(const char *text, size_t length, uint32_t *code)
{
    size_t size = utf8_decode(text, length, code);

    if (size > 0)
        return size;
    *code = 0xFFFD;
    return 1;
}

const char *sms_first_beyond_gsm(const char *text, size_t length)
{
    while (length > 0) {
        uint32_t code;
        size_t size = next_char(text, length, &code);

        if (septets_of(code) == 0)
            return text;
        text += size;
        length -= size;
    }
    return NULL;
}

struct sms_size sms_measure(const char *text, size_t length)
{
    struct sms_size size = {.is_ucs2 = sms_first_beyond_gsm(text, length) != NULL, .segments = 1};
    int single = size.is_ucs2 ? UCS2_SINGLE : GSM_SINGLE;
    int part = size.is_ucs2 ? UCS2_PART : GSM_PART;
    int room = part, parts = 1;

    while (length > 0 && size.units < INT_MAX - 2) {
        uint32_t code;
        size_t bytes = next_char(text, length, &code);
        int width = size.is_ucs2 ? 1 + (code > 0xFFFF) : septets_of(code);

        if (width > room) {
            parts++;
            room = part;
        }
        room -= width;
        size.units += width;
        text += bytes;
        length -= bytes;
    }
    if (size.units > single)
        size.segments = parts;
    return size;
}
