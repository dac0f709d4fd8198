/* SPDX-License-Identifier: MIT */
/*
 * html - the links of a mail's HTML, replaced in place; nothing else of it is touched
 *
 * A tokenizer after the HTML standard's, as far as it takes to know where a link is: tags and
 * their attributes in any quotes, comments, doctypes, and elements whose content is no markup
 * (script, style, title, ...).  It builds no tree and mends nothing.  What it does not
 * understand beyond doubt - an unusual entity in an address, a tag that never ends - it leaves
 * exactly as it was: a link that is not followed up is better than one that is broken.
 *
 * Purity: text to text.
 */
#ifndef TOCSIN_CORE_HTML_H
#define TOCSIN_CORE_HTML_H
#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

/*
 * A link (the href of <a> or <area>) with its entities decoded and no blanks around it.  The
 * answer stands in its place, and is borrowed until the next call; NULL leaves it.
 */
typedef const char *html_link_fn(void *ctx, const char *url);

/*
 * Appends the HTML to out.  on_link may be NULL.  tail, when not NULL, is put before the first
 * </body>, or at the end where there is none; nowhere in a text that breaks off inside a tag.
 */
void html_rewrite(struct buf *out, const char *html, size_t length, html_link_fn *on_link,
                  void *ctx, const char *tail);

/*
 * Decodes the entities of an attribute's value; false when one is not known beyond doubt.
 * Appends to out.
 */
bool html_decode(struct buf *out, const char *text, size_t length);
/* Escapes what a value in double quotes, or text between tags, may not hold as it is. */
void html_escape(struct buf *out, const char *text);

#endif
