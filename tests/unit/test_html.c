/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/html.h"

/* Every link becomes "(url)"; one that says "keep" stays. */
static const char *bracket(void *ctx, const char *url)
{
    struct buf *out = ctx;

    if (strstr(url, "keep"))
        return NULL;
    buf_clear(out);
    buf_printf(out, "(%s)", url);
    return out->data;
}

static void check(const char *html, const char *tail, const char *want)
{
    struct buf out = {0}, link = {0};

    html_rewrite(&out, html, strlen(html), bracket, &link, tail);
    assert_string_equal(buf_text(&out), want);
    buf_fini(&out);
    buf_fini(&link);
}

static void links_are_found_however_they_are_written(void **state)
{
    static const struct {
        const char *html, *want;
    } cases[] = {
        {"<a href=\"x\">t</a>", "<a href=\"(x)\">t</a>"},
        {"<A HREF='x' class=y>t</A>", "<A HREF=\"(x)\" class=y>t</A>"},
        {"<a href=x>", "<a href=\"(x)\">"},
        {"<a href=x/>", "<a href=\"(x/)\">"},
        {"<a\n\thref =\n \"x\"\t>", "<a\n\thref =\n \"(x)\"\t>"},
        {"<a/href=x>", "<a/href=\"(x)\">"},
        {"<a title=\"a > b\" href=\"x\">", "<a title=\"a > b\" href=\"(x)\">"},
        {"<a title='\"' href=\"x\">", "<a title='\"' href=\"(x)\">"},
        {"<a href=\"one\" href=\"two\">", "<a href=\"(one)\" href=\"two\">"},
        {"<a href=\"  x\n\">", "<a href=\"(x)\">"},
        {"<area href=x alt=y>", "<area href=\"(x)\" alt=y>"},
        {"<p><a href=1><b><a href=2>", "<p><a href=\"(1)\"><b><a href=\"(2)\">"},
        {"<a =x href=y>", "<a =x href=\"(y)\">"},
        {"a < b <a href=x>", "a < b <a href=\"(x)\">"},
        {"<!DOCTYPE html><a href=x>", "<!DOCTYPE html><a href=\"(x)\">"},
        {"<!--><a href=x>", "<!--><a href=\"(x)\">"},
        {"<!-- a --!><a href=x>", "<!-- a --!><a href=\"(x)\">"},
        {"<script>if (a</b) \"<a href=x>\"</script ><a href=y>",
         "<script>if (a</b) \"<a href=x>\"</script ><a href=\"(y)\">"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].html, NULL, cases[i].want);
}

static void entities_are_decoded_and_written_again(void **state)
{
    (void)state;
    check("<a href=\"?a=1&amp;b=2\">", NULL, "<a href=\"(?a=1&amp;b=2)\">");
    check("<a href=\"?a=1&b=2\">", NULL, "<a href=\"(?a=1&amp;b=2)\">");
    check("<a href=\"?a&#61;1&#x26;b\">", NULL, "<a href=\"(?a=1&amp;b)\">");
    check("<a href='\"&quot;&lt;'>", NULL, "<a href=\"(&quot;&quot;&lt;)\">");
    check("<a href=\"&#x20ac;\">", NULL, "<a href=\"(\xe2\x82\xac)\">");
    check("<a href=\"a&copy=1&&\">", NULL, "<a href=\"(a&amp;copy=1&amp;&amp;)\">");
    check("<a href=\"a&copy=1& \">", NULL, "<a href=\"(a&amp;copy=1&amp;)\">");
}

static void what_is_in_doubt_stays_as_it_was(void **state)
{
    static const char *const cases[] = {
        "<a href=\"keep\">",
        "<a href=\"\">",
        "<a href>",
        "<a name=\"x\">",
        "<link href=\"x\"><base href=y><img src=z>",
        "<abbr href=\"x\">",
        "</a href=\"x\">",
        "<!-- <a href=\"x\"> -->",
        "<!--[if mso]><a href=\"x\"><![endif]-->",
        "<!-- <a href=\"x\">",
        "<? <a href=x>",
        "<style><a href=x></style>",
        "<title><a href=\"x\"></title>",
        "<textarea><a href=\"x\"></textareas></textarea>",
        "<script><a href=x>",
        "<a href=\"x",
        "<a href=x",
        "<a href='x>",
        "<a title=\"<a href=x>\">",
        "<a href=\"x&eacute;y\">",
        "<a href=\"x&#0;\"><a href=\"x&#10;\"><a href=\"&#xd800;\"><a href=\"&#x110000;\">",
        "<a href=\"&#;\"><a href=\"&#x;\"><a href=\"&#38\"><a href=\"x&amp\">",
        "<",
        "<a",
        "</",
        "<!",
        "a<3",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i], NULL, cases[i]);
}

static void the_tail_comes_before_the_end_of_the_body(void **state)
{
    (void)state;
    check("<body>x</body></html>", "T", "<body>xT</body></html>");
    check("<body>x</BODY \n></body>", "T", "<body>xT</BODY \n></body>");
    check("<!-- </body> -->x", "T", "<!-- </body> -->xT");
    check("<script>\"</body>\"</script>x", "T", "<script>\"</body>\"</script>xT");
    check("x</bodys>", "T", "x</bodys>T");
    check("", "T", "T");
    check("<a href=\"x", "T", "<a href=\"x");
    check("<!-- x", "T", "<!-- x");
    check("<script> x", "T", "<script> x");
    check("<!x", "T", "<!x");
}

static void nothing_is_changed_without_anything_to_do(void **state)
{
    static const char html[] = "<a href=x>\0</a>";
    struct buf out = {0};

    (void)state;
    html_rewrite(&out, html, sizeof html - 1, NULL, NULL, NULL);
    assert_int_equal(out.length, sizeof html - 1);
    assert_memory_equal(out.data, html, sizeof html - 1);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_are_found_however_they_are_written),
        cmocka_unit_test(entities_are_decoded_and_written_again),
        cmocka_unit_test(what_is_in_doubt_stays_as_it_was),
        cmocka_unit_test(the_tail_comes_before_the_end_of_the_body),
        cmocka_unit_test(nothing_is_changed_without_anything_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
