/* SPDX-License-Identifier: MIT */
/*
 * dump - prints every statement of store/ as JSON, so that the isolation tests run the bridge's own
 * text under the settings of its own connections
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "store/store_internal.h"

static void add(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, text);
}

static void add_kind(struct buf *out, const struct store_kind *kind)
{
    for (const struct pg_statement *const *one = kind->statements; *one; one++) {
        buf_add_text(out, buf_text(out)[1] ? ",\n{" : "{");
        buf_printf(out, "\"params\":%d", (*one)->params);
        add(out, "name", (*one)->name);
        add(out, "connection", kind->name);
        add(out, "settings", kind->settings);
        add(out, "sql", (*one)->sql);
        buf_add_char(out, '}');
    }
}

int main(void)
{
    struct buf out = {0};

    buf_add_char(&out, '[');
    for (unsigned i = 0; i < STORE_CONNECTIONS; i++)
        add_kind(&out, &store_kinds[i]);
    buf_add_char(&out, ']');
    puts(buf_text(&out));
    buf_fini(&out);
    return EXIT_SUCCESS;
}
