/* SPDX-License-Identifier: MIT */
/*
 * domain - a domain name in the form in which DNS and SMTP know it
 *
 * B\u00fcCHER.example becomes xn--bcher-kva.example: mapped by UTS 46 (non-transitional), checked
 * by IDNA 2008, in lower case.
 *
 * Guarantee: a name is converted whole or refused; besides what UTS 46 ignores (a soft hyphen), no
 *            character is left out or replaced by one that a label may not have.  libidn2 (2.3)
 * leaves out characters that decompose to forbidden ASCII (U+2260, U+2474) when it is asked for
 * STD3 rules, and keeps their ASCII when it is not: so both answers must agree, be made of letters,
 * digits and hyphens (RFC 1123 2.1, RFC 5890 2.3.1), and lead back to themselves. Purity:    no
 * I/O.
 */
#ifndef TOCSIN_CORE_DOMAIN_H
#define TOCSIN_CORE_DOMAIN_H
#include <stdbool.h>

#define DOMAIN_MAX 253 /* RFC 1035 2.3.4, as text */

/* domain: UTF-8.  False, and out is not set, for what is no domain name. */
bool domain_to_ascii(const char *domain, char out[DOMAIN_MAX + 1]);

#endif
