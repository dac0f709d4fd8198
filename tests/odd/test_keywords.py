# SPDX-License-Identifier: MIT
"""Words in SMS: what stands around STOP, by Unicode category, against Python's own tables."""
import itertools
import random
import unicodedata

import odd

STOP = ["STOP", "STOPALL", "STOP ALL", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT", "OPT OUT",
        "UNSUBSCRIBE", "UN SUBSCRIBE", "ARRET", "ARR\u00caT", "STOPP", "BAJA"]
START = ["START", "UNSTOP", "YES", "OPTIN", "OPT IN", "SUBSCRIBE"]
POLITE = ["PLEASE", "PLS", "PLZ", "THANKS", "THANK YOU", "THANKYOU", "THX", "NOW", "KINDLY"]


def is_unseen(char):
    code = ord(char)
    return unicodedata.category(char) == "Cf" or 0xFE00 <= code <= 0xFE0F or code == 0x20E3 \
        or code in (0x034F, 0x115F, 0x1160, 0x3164, 0xFFA0) \
        or 0xE0100 <= code <= 0xE01EF or 0x1F3FB <= code <= 0x1F3FF


def words(text):
    """The words of a text, in capitals."""
    text = "".join(char for char in text if not is_unseen(char))
    text = unicodedata.normalize("NFKC", text.upper())
    text = "".join(char for char in text if not is_unseen(char))
    return "".join(char if unicodedata.category(char)[0] in "LNM" else " "
                   for char in text).split()


def is_made_of(found, parts):
    """Whether the words are one or more of the parts, each a list of words."""
    if not found:
        return True
    return any(found[:len(part)] == part and is_made_of(found[len(part):], parts)
               for part in parts)


def joined_letters(is_letter, run):
    """Three or more words of one letter are one word where they spell a keyword."""
    spelled = "".join(run)
    return [spelled] if is_letter and len(run) > 2 and spelled in STOP + START else run


def expected(text):
    found = words(text)
    found = [word for is_letter, run in itertools.groupby(found, lambda word: len(word) == 1)
             for word in joined_letters(is_letter, list(run))]
    joined = " ".join(found)
    if joined in START:
        return "START"
    stops = [word.split() for word in STOP]
    polite = [word.split() for word in POLITE]
    if found and is_made_of(found, stops + polite) and not is_made_of(found, polite):
        return "STOP"
    return ""


def table():
    rng = random.Random(33)
    by_category = {}
    for code in itertools.chain(range(1, 0x3400), range(0xFE00, 0x10000), range(0x1D400, 0x1D500),
                                range(0x1F000, 0x1FA00)):
        by_category.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    by_category.pop("Cs", None)
    for category, chars in sorted(by_category.items()):
        for char in rng.sample(chars, min(14, len(chars))):
            word = rng.choice(STOP)
            yield from (char + word, word + char, char + " " + word.lower() + char)
    for word in STOP + START:
        yield from (word, word.lower(), word.title(), " %s. " % word, "\u201c%s\u201d" % word,
                    "%s\u00a0" % word, "\ufeff" + word, word + "\U0001f621", word + "\u200b",
                    "".join(chr(ord(c) + 0xFEE0) if "A" <= c <= "Z" else c for c in word),
                    word.replace(" ", "-"), word.replace(" ", "\u2013"),
                    unicodedata.normalize("NFD", word), " ".join(word), "don't " + word,
                    word + " the bill", word + " please", "Please, " + word + ". Thank you!",
                    word + " " + word, word + "S", word + "1", "re" + word)
    yield from ("", " ", "thank you", "please", "Stop. Thank you", "stop it", "STOP\u0301",
                "\u0421\u0422\u041e\u041f", "st op", "s t o p", "STOP" * 120, "STOP" + "!" * 390)


def test_what_stands_around_a_keyword():
    texts = sorted(set(table()))
    assert len(texts) > 900
    answers = odd.ask([{"op": "keyword", "text64": odd.b64(text)} for text in texts])
    odd.compare("keyword", [(text, answer["keyword"], expected(text))
                            for text, answer in zip(texts, answers)])


def test_bytes_that_are_no_text_are_blanks():
    texts = [b"STOP\xa0", b"\x93STOP\x94", b"STOP\xe2\x80", b"\xff\xfeSTOP", b"ST\xffOP"]
    answers = odd.ask([{"op": "keyword", "text64": odd.b64(text)} for text in texts])
    assert [answer["keyword"] for answer in answers] == ["STOP"] * 4 + [""]
