/* SPDX-License-Identifier: MIT */
/*
 * syntax - which text is a phone number, an address, a URL, a language tag
 *
 * Only the shape: whether anybody answers there is the provider's to say.  Each function is one
 * regular expression, named above it; schemas/json/ has the same ones, and tests/spec/ holds the
 * two against each other.
 */
#ifndef TOCSIN_CORE_SYNTAX_H
#define TOCSIN_CORE_SYNTAX_H
#include <stdbool.h>

/* [a-z0-9_]+(\.[a-z0-9_]+)* : a notification's type, "order.ready" */
bool syntax_is_type(const char *text);
/* [A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)* : a template's name */
bool syntax_is_template(const char *text);
/* \+[1-9][0-9]{6,14} : E.164 */
bool syntax_is_phone(const char *text);
/*
 * [A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@LABEL(\.LABEL)*, at most 254 bytes, where LABEL is
 * [A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])? : as browsers have it; and letters beyond ASCII
 * wherever letters may be (RFC 6531)
 */
bool syntax_is_email(const char *text);
/* https?://[A-Za-z0-9\[][!#-;=?-\[\]_a-z~]* , at most 2,048 bytes */
bool syntax_is_url(const char *text);
/* [!-~]+ , at most 4,096 bytes : a device token, a Web Push subscription */
bool syntax_is_push_token(const char *text);
/* [A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})* , at most 64 bytes : BCP 47 */
bool syntax_is_locale(const char *text);
/* [A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)* , at most 64 bytes : an IANA time zone */
bool syntax_is_timezone(const char *text);
/* FIELD( FIELD){4} , at most 128 bytes, where FIELD is [0-9A-Za-z*\/,?#-]+ */
bool syntax_is_cron(const char *text);
/* [0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]) */
bool syntax_is_date(const char *text);

#endif
