# SPDX-License-Identifier: MIT
"""One mailbox in all spellings is one key, and keeps its case on the way; against python3-idna and
unicodedata."""
import random
import unicodedata

import idna

import odd

LABELS = ["example", "b\u00fccher", "m\u00fcnchen", "stra\u00dfe", "caf\u00e9", "\u0159eka",
          "\u03c0\u03b1\u03c1\u03ac\u03b4\u03b5\u03b9\u03b3\u03bc\u03b1", "\u043f\u0440\u0438\u043c\u0435\u0440",
          "\u0645\u062b\u0627\u0644", "\u05d3\u05d5\u05d2\u05de\u05d4", "\u4f8b\u3048", "\u5b9e\u4f8b",
          "\uc2e4\ub840", "\u0e15\u0e31\u0e27\u0e2d\u0e22\u0e48\u0e32\u0e07", "d\u00e9j\u00e0-vu",
          "\u00f8l", "\u00e5ngstr\u00f6m", "\u010desko", "\u0142\u00f3d\u017a", "vi\u1ec7t", "x--y", "a1-b2"]
LOCALS = ["bob", "some.one", "a+tag", "j\u00f6rg", "\u043f\u043e\u0447\u0442\u0430", "o'neil", "\u00e9l\u00e8ve",
          "\u7528\u6237", "x_y-z", "\u03c9\u03bc\u03ad\u03b3\u03b1"]


def canonical(address):
    local, _, domain = address.rpartition("@")
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    return local + "@" + idna.encode(domain, uts46=True, std3_rules=True,
                                     transitional=False).decode()


def spellings(local, domain):
    """The same mailbox, written otherwise."""
    ascii_form = idna.encode(domain, uts46=True).decode()
    domains = [domain, ascii_form, ascii_form.upper(), unicodedata.normalize("NFD", domain)]
    if "\u00df" not in domain:  # its capital form is SS, which is another name
        domains += [domain.upper(), unicodedata.normalize("NFD", domain.upper()), domain.title()]
    for one in domains:
        for name in (local, local.upper(), unicodedata.normalize("NFD", local), local.title()):
            yield name + "@" + one


def test_one_mailbox_is_one_key():
    rng = random.Random(26)
    mailboxes = [(local, "%s.%s" % (label, rng.choice(LABELS))) for local in LOCALS
                 for label in LABELS]
    inputs, keys = [], []
    for local, domain in mailboxes:
        key = canonical(local + "@" + domain)
        for one in spellings(local, domain):
            inputs.append(one)
            keys.append(key)
    answers = odd.ask([{"op": "address", "text": one} for one in inputs])
    assert len(inputs) > 4000
    odd.compare("address", [(one, answer["strict"], key)
                            for one, answer, key in zip(inputs, answers, keys)])


def test_two_mailboxes_are_two_keys():
    others = ["strasse@example.org", "stra\u00dfe@example.org", "a@strasse.example",
              "a@stra\u00dfe.example", "a.b@example.org", "ab@example.org", "a+b@example.org",
              "a@example.com", "a@sub.example.org", "\u0430@example.org", "a@example.org"]
    answers = odd.ask([{"op": "address", "text": one} for one in others])
    assert len({answer["key"] for answer in answers}) == len(others)


def test_a_key_is_its_own_key():
    first = odd.ask([{"op": "address", "text": one} for label in LABELS
                     for one in spellings("J\u00f6rg", label + ".example")])
    again = odd.ask([{"op": "address", "text": answer["key"]} for answer in first])
    assert [answer["key"] for answer in first] == [answer["key"] for answer in again]


def ascii_lower(text):
    return "".join(c.lower() if c.isascii() else c for c in text)


def any_case(rng, text):
    return "".join(rng.choice((c.upper(), c)) for c in text)


def test_a_local_part_keeps_its_case_and_only_that():
    """RFC 5321 2.4: what is sent differs from the key in the case of plain ASCII letters at most."""
    rng = random.Random(5321)
    given = [unicodedata.normalize(rng.choice(("NFC", "NFD")), any_case(rng, local))
             for local in LOCALS + ["t\u0308om", "i\u0307x", "\u212alaus", "s\u0323\u0307a", "\u03bf\u03b4\u03cc\u03c2.x",
                                    "\u03c3\u03c2", "a\u03c3", "\u0561\u0562"] for _ in range(200)]
    domains = [rng.choice(LABELS) + ".Example" for _ in given]
    answers = odd.ask([{"op": "address", "text": "%s@%s" % one} for one in zip(given, domains)])
    again = odd.ask([{"op": "address", "text": answer["wire"]} for answer in answers])
    for local, domain, answer, second in zip(given, domains, answers, again):
        wire, _, host = answer["wire"].rpartition("@")
        assert answer["strict_wire"] == answer["wire"] == second["wire"]
        assert ascii_lower(answer["wire"]) == answer["key"] == second["key"]
        assert answer["key"] == canonical(local + "@" + domain), (local, answer)
        assert host == host.lower()
        if local.isascii():
            assert wire == local


def test_a_request_is_stored_as_it_is_sent():
    text = '{"id":"1","type":"t","title":"x","to":{"email":"Bob.J\u00d6B@B\u00dcCHER.example"}}'
    (answer,) = odd.ask([{"op": "decode", "text": text}])
    assert answer["to"] == "Bob.J\u00f6B@xn--bcher-kva.example"


def reference(domain):
    try:
        return idna.encode(domain, uts46=True, std3_rules=True, transitional=False).decode()
    except (idna.IDNAError, UnicodeError):
        return None


def is_telling(c):
    """Decomposes to ASCII, or is every tenth of the others."""
    return ord(c) % 10 == 0 or any(part.isascii() for part in unicodedata.normalize("NFKD", c))


def test_a_domain_is_converted_whole_or_refused():
    """Characters of the common planes within a label: never another domain than python3-idna's."""
    planes = [(0xa1, 0xd800), (0xf900, 0x10000), (0x1d400, 0x1d800), (0x1f100, 0x1f200)]
    marks = [c for first, end in planes for c in map(chr, range(first, end)) if is_telling(c)]
    domains = ["ex%sample.com" % c for c in marks] + ["%s.example" % c for c in marks]
    answers = odd.ask([{"op": "address", "text": "ann@" + one} for one in domains])
    kept = 0
    for domain, answer in zip(domains, answers):
        if answer["strict"] is None:
            continue
        wanted = reference(domain)
        kept += 1
        assert wanted is None or answer["strict"] == "ann@" + wanted, (domain, answer)
        assert answer["strict"] not in ("ann@example.com", "ann@.example") or wanted, (domain, answer)
    assert kept > 2000
