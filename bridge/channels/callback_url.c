/* SPDX-License-Identifier: MIT */
#include "channels/callback_url.h"
#include "base/buf.h"
#include <string.h>

/* Characters that are tried apart from each other; one more kind is all that is not ASCII. */
static const char KINDS[] = "'@:/?!()*,;$~[]|^`{}\"<>\\ -._";
enum { KIND_COUNT = sizeof KINDS - 1, KIND_FOREIGN = KIND_COUNT, KIND_LETTER, KINDS_ALL };

#define FOREIGN '\x01' /* stands for all that is not ASCII, among ENCODERS */

#define CHOSEN_MAX 6 /* kinds that vary by themselves; past it they vary together */

enum form { AS_IT_CAME, WRITTEN_OUT, ENCODED, FORMS };

struct spelling {
    enum form forms[KINDS_ALL];
    bool is_plus;  /* a blank as + where it is encoded */
    bool is_lower; /* hex digits */
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next character of a query and how it is written; returns its length in the text. */
static size_t take(const char *at, unsigned char *c, bool *is_encoded)
{
    int high = *at == '%' ? hex_digit(at[1]) : -1, low = high >= 0 ? hex_digit(at[2]) : -1;

    *is_encoded = low >= 0 || *at == '+';
    *c = low >= 0 ? (unsigned char)(high * 16 + low) : *at == '+' ? ' ' : (unsigned char)*at;
    return low >= 0 ? 3 : 1;
}

/* -1 for what has one form only. */
static int kind_of(unsigned char c)
{
    const char *at = c ? strchr(KINDS, c) : NULL;

    if (at)
        return (int)(at - KINDS);
    if (c >= 0x80)
        return KIND_FOREIGN;
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? KIND_LETTER
                                                                                      : -1;
}

static void add_encoded(struct buf *out, unsigned char c, const struct spelling *spelling)
{
    const char *digits = spelling->is_lower ? "0123456789abcdef" : "0123456789ABCDEF";

    if (c == ' ' && spelling->is_plus) {
        buf_add_char(out, '+');
        return;
    }
    buf_add_char(out, '%');
    buf_add_char(out, digits[c >> 4]);
    buf_add_char(out, digits[c & 15]);
}

static void spell(struct buf *out, const char *url, const struct spelling *spelling)
{
    size_t head = strcspn(url, "?");

    buf_clear(out);
    buf_add(out, url, head + (url[head] == '?'));
    for (const char *at = url + head + (url[head] == '?'); *at;) {
        unsigned char c;
        bool is_encoded;
        size_t length = take(at, &c, &is_encoded);
        int kind = kind_of(c);
        enum form form = kind < 0 ? AS_IT_CAME : spelling->forms[kind];

        if (form == WRITTEN_OUT)
            buf_add_char(out, (char)c);
        else if (form == ENCODED)
            add_encoded(out, c, spelling);
        else if (length == 3)
            add_encoded(out, c, &(struct spelling){.is_lower = spelling->is_lower});
        else
            buf_add(out, at, length);
        at += length;
    }
}

/* The kinds that occur and may have another form; letters only where they are encoded. */
static size_t find_kinds(const char *url, int kinds[KINDS_ALL])
{
    bool has[KINDS_ALL] = {false};
    const char *mark = strchr(url, '?');
    size_t count = 0;

    for (const char *at = mark ? mark + 1 : ""; *at;) {
        unsigned char c;
        bool is_encoded;

        at += take(at, &c, &is_encoded);
        /* Nobody encodes letters or - . _ ~ but who encodes everything. */
        if (kind_of(c) >= 0 && (is_encoded || !strchr("-._~", c)) &&
            (is_encoded || kind_of(c) != KIND_LETTER))
            has[kind_of(c)] = true;
    }
    for (int kind = 0; kind < KINDS_ALL; kind++)
        if (has[kind])
            kinds[count++] = kind;
    return count;
}

struct trial {
    const char *url;
    size_t left; /* how many more may be tried */
    bool (*fits)(void *ctx, const char *url);
    void *ctx;
    struct buf text;
};

/* One choice of forms, with blanks and hex digits in both ways where that is a difference. */
static bool try_spelling(struct trial *trial, struct spelling *spelling, bool has_blank,
                         bool has_hex)
{
    for (unsigned i = 0; i < 4 && trial->left; i++) {
        spelling->is_plus = i & 1;
        spelling->is_lower = i & 2;
        if ((spelling->is_plus && !has_blank) || (spelling->is_lower && !has_hex))
            continue;
        trial->left--;
        spell(&trial->text, trial->url, spelling);
        if (trial->fits(trial->ctx, buf_text(&trial->text)))
            return true;
    }
    return false;
}

/* What the encoders of the usual languages leave as it is, besides letters, digits, - . and _ */
static const struct {
    const char *raw;
    bool is_plus;
} ENCODERS[] = {
    {"'@:/?!()*,;$~[]|^`{}\"<>\\ \x01", false}, /* nobody: as it was typed */
    {"'@:/?!()*,;$~[]|^`{}\"<>\\ ", false},
    {"@:/?!()*,;$~[]|^`{}\\", false},  /* WHATWG URL, of an https URL */
    {"'@:/?!()*,;$~[]|^`{}\\", false}, /* the same, of others */
    {"!'()*~", false},                 /* encodeURIComponent */
    {"!'()*~;/?:@$,", false},          /* encodeURI */
    {"~", false},                      /* RFC 3986: Python, Go, PHP's rawurlencode */
    {"", false},
    {"*", true}, /* forms: Java, browsers */
    {"~", true}, /* Python's quote_plus, Go's QueryEscape */
    {"", true},  /* PHP's urlencode */
    {"/~", false},
};

static bool try_encoders(struct trial *trial)
{
    struct spelling spelling = {0};

    for (size_t n = 0; n < sizeof ENCODERS / sizeof ENCODERS[0]; n++) {
        const char *raw = ENCODERS[n].raw;

        for (int kind = 0; kind < KIND_COUNT; kind++)
            spelling.forms[kind] =
                strchr(raw, KINDS[kind]) || strchr("-._", KINDS[kind]) ? WRITTEN_OUT : ENCODED;
        spelling.forms[KIND_FOREIGN] = strchr(raw, FOREIGN) ? WRITTEN_OUT : ENCODED;
        spelling.forms[KIND_LETTER] = WRITTEN_OUT;
        spelling.is_plus = ENCODERS[n].is_plus;
        for (int lower = 0; lower < 2 && trial->left; lower++) {
            spelling.is_lower = lower;
            trial->left--;
            spell(&trial->text, trial->url, &spelling);
            if (trial->fits(trial->ctx, buf_text(&trial->text)))
                return true;
        }
    }
    return false;
}

static bool try_all(struct trial *trial, const int kinds[], size_t count)
{
    size_t chosen = count < CHOSEN_MAX ? count : CHOSEN_MAX, combinations = 1;
    bool has_blank = strchr(trial->url, '+') || strstr(trial->url, "%20");
    bool has_hex = strpbrk(trial->url, "%") != NULL;
    struct spelling spelling;

    for (enum form form = AS_IT_CAME; form < FORMS; form++) { /* all alike: the usual cases */
        for (size_t i = 0; i < KINDS_ALL; i++)
            spelling.forms[i] = AS_IT_CAME;
        for (size_t i = 0; i < count; i++)
            spelling.forms[kinds[i]] = form;
        if (try_spelling(trial, &spelling, has_blank, has_hex))
            return true;
    }
    for (size_t i = 0; i < chosen; i++)
        combinations *= FORMS;
    for (size_t n = 1; n < combinations && trial->left; n++) {
        size_t rest = n;

        for (size_t i = 0; i < count; i++) {
            spelling.forms[kinds[i]] = (enum form)(rest % FORMS);
            rest = i + 1 < chosen ? rest / FORMS : rest;
        }
        if (try_spelling(trial, &spelling, has_blank, false))
            return true;
    }
    return false;
}

/* How many spellings may be tried besides the URL as it came. */
static size_t spellings_left(const char *url, size_t beside)
{
    size_t length = strlen(url), most;

    if (length > CALLBACK_SPELLED_URL_MAX || beside >= CALLBACK_SPELLED_BYTES_MAX)
        return 0;
    most = CALLBACK_SPELLED_BYTES_MAX / (length + beside + 1);
    return (most < CALLBACK_SPELLINGS_MAX ? most : CALLBACK_SPELLINGS_MAX) - (most > 0);
}

bool callback_url_fits(const char *url, size_t beside, bool (*fits)(void *ctx, const char *url),
                       void *ctx)
{
    struct trial trial = {url, 0, fits, ctx, {0}};
    int kinds[KINDS_ALL] = {0};
    bool is_good;

    if (fits(ctx, url))
        return true;
    trial.left = spellings_left(url, beside);
    if (trial.left == 0)
        return false;
    is_good = try_encoders(&trial) || try_all(&trial, kinds, find_kinds(url, kinds));
    buf_fini(&trial.text);
    return is_good;
}
