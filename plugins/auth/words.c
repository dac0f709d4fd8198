/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

char *words_next(const char **at, const char **problem)
{
    const char *text = *at + strspn(*at, " \t");
    char *word = *text ? malloc(strlen(text) + 1) : NULL;
    bool is_quoted = false;
    size_t len = 0;

    *problem = *text && !word ? "is too much for memory" : NULL;
    if (!word)
        return NULL;
    for (; *text && (is_quoted || (*text != ' ' && *text != '\t')); text++) {
        if (*text == '"') {
            is_quoted = !is_quoted;
            continue;
        }
        if (*text == '\\' && text[1] && strchr(" \t\"\\", text[1]))
            text++;
        word[len++] = *text;
    }
    word[len] = '\0';
    *at = text;
    if (!is_quoted)
        return word;
    *problem = "has a quote (\") that is not closed";
    free(word);
    return NULL;
}
