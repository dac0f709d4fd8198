/* SPDX-License-Identifier: MIT */
/*
 * sms - how many parts a text takes, as carriers count (3GPP TS 23.038 and 23.040)
 *
 * A text of the GSM 7-bit alphabet alone takes septets, 160 in a single message and 153 in each
 * of several; the characters of its extension table take two, which are never split over two
 * parts.  Any other character makes the whole text UCS-2: 70 UTF-16 units, 67 in each of
 * several, and a surrogate pair is never split.  Some providers also keep what is seen as one
 * character (an emoji of several code points) in one part; their count can be one higher.
 */
#ifndef TOCSIN_CORE_SMS_H
#define TOCSIN_CORE_SMS_H
#include <stdbool.h>
#include <stddef.h>

struct sms_size {
    bool is_ucs2;
    int segments; /* at least 1 */
    int units;    /* septets, or UTF-16 units */
};

/* text is well-formed UTF-8 (what is not counts as one UCS-2 character a byte). */
struct sms_size sms_measure(const char *text, size_t length);
/* The first character that is not in the GSM alphabet; NULL when the text is GSM. */
const char *sms_first_beyond_gsm(const char *text, size_t length);

#endif
