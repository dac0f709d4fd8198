# SPDX-License-Identifier: MIT
"""How many SMS parts a text takes (3GPP 23.038): the providers report it in their answers."""

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")
EXTENDED = frozenset("\f^{}\\[~]|€")


def count(text):
    """(encoding, parts, units): units are septets or UTF-16 code units."""
    if all(c in BASIC or c in EXTENDED for c in text):
        return "GSM-7", *pack([2 if c in EXTENDED else 1 for c in text], 160, 153)
    return "UCS-2", *pack([2 if ord(c) > 0xFFFF else 1 for c in text], 70, 67)


def pack(widths, single, part):
    """Parts for characters of these widths; no character is split over two."""
    units = sum(widths)
    if units <= single:
        return 1, units
    parts, room = 1, part
    for width in widths:
        if width > room:
            parts, room = parts + 1, part
        room -= width
    return parts, units
