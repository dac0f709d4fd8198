# SPDX-License-Identifier: MIT
"""When which fault comes, for how long and with what: a pure function of the seed.

    for item in schedule(seed=7, seconds=300): ...

No clock, no machine, no state: the same arguments give the same list everywhere.  A fault that
is not available on a machine keeps its place in the list and is reported as missing.
"""
import collections
import random

Item = collections.namedtuple("Item", "at until name component params")

FIRST_AT = 5.0      # some quiet traffic first
GAP_S = (0.8, 5.0)  # between the beginnings of two faults; they overlap when they may
CALM_AT_END = 4.0


def schedule(seed, seconds, faults, only=None):
    """The list of Items.  `faults` is {name: Fault}; `only` a list of names or of prefixes."""
    names = sorted(name for name in faults if not only or any(
        name == want or name.startswith(want + ".") for want in only))
    if not names:
        raise ValueError("no such fault; there are %s" % ", ".join(sorted(faults)))
    rng = random.Random("%s/%s" % (seed, ",".join(only or ())))
    busy, bag, items = collections.defaultdict(float), [], []
    at = FIRST_AT
    while True:
        at += rng.uniform(*GAP_S)
        if at > seconds - CALM_AT_END:
            return items
        if not bag:
            bag = rng.sample(names, len(names))
        name = bag.pop()
        fault = faults[name]
        params = fault.draw(rng)
        lasts = params.pop("for", 0.0)
        component = fault.component.format(**params)
        at = max(at, busy[component])
        if at > seconds - CALM_AT_END:
            return items
        until = min(at + lasts, seconds - 1.0)
        busy[component] = until + fault.rest
        items.append(Item(round(at, 3), round(until, 3), name, component, params))


def describe(items):
    return "\n".join("%7.1f s  %-22s %-20s %5.1f s  %s" % (
        item.at, item.name, item.component, item.until - item.at,
        " ".join("%s=%s" % pair for pair in sorted(item.params.items()))) for item in items)
