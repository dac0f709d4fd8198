# SPDX-License-Identifier: MIT
"""Whatever a request may be addressed to also ends: recipients at their limits, that do not compress."""
import random
import string

LETTERS = string.ascii_letters + string.digits
RANDOM = random.Random(7)


def letters(count):
    return "".join(RANDOM.choice(LETTERS) for _ in range(count))


LONGEST = {
    "push": {"push_token": letters(4096)},
    "webhook": {"url": "https://127.0.0.1:1/" + letters(2028)},
    "email": {"email": letters(64) + "@" + ".".join(letters(n) for n in (61, 63, 63))},
}


def ask(service, name, channel, **more):
    service.publish("up/request", {"id": name, "type": "t", "title": "x", "body": "b",
                                   "to": LONGEST[channel], "channels": [channel],
                                   "retry": {"attempts": 1}, **more})


def test_deliveries_to_the_longest_recipients_end_with_a_receipt(contract, clients):
    """Sent, dead, replaced by a newer one, cancelled: no row of theirs is too large for the database."""
    service = clients["service"]
    for channel in LONGEST:
        ask(service, "longest-" + channel, channel)
    for channel in LONGEST:
        key, later = letters(124) + "\U0001f514" * 4, {"at": "2099-01-01T00:00:00Z"}
        for name in ("longest-old-", "longest-new-"):
            ask(service, name + channel, channel, collapse_key=key, **later)
            service.receipt(name + channel, "accepted", 20)
        replaced = service.receipt("longest-old-" + channel, "suppressed", 20)
        assert replaced["reason"] == "collapsed"
        assert not any(address in replaced["target"] for address in LONGEST[channel].values())
        answer = service.rpc("request.cancel", {"id": "longest-new-" + channel})
        assert answer["result"] == {"cancelled": 1}
        service.receipt("longest-new-" + channel, "cancelled", 20)
    for channel, status in (("push", "dead"), ("webhook", "dead"), ("email", "sent")):
        service.receipt("longest-" + channel, status, 20)
    assert contract.postgres.value("select sum(missing) from conservation") == "0"
