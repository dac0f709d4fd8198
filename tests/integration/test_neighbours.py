# SPDX-License-Identifier: MIT
"""One service floods a destination: the others do not wait behind what it keeps waiting."""
from client import Client

FLOOD = 3000


def sms(name, n):
    return {"id": "%s%d" % (name, n), "type": "t", "title": "t", "body": "%s %d" % (name, n),
            "to": {"phone": "+1555%07d" % n}, "channels": ["sms"]}


def test_a_flood_to_one_destination_delays_only_itself(new_stack):
    stack = new_stack(settings={"destinations.twilio.concurrency": 4})
    stack.providers.control("POST", "/behaviour", {
        "provider": "twilio", "delay_ms": 20, "answers": ["ok"], "repeat": True})
    with Client(stack, "service", "flood") as flood, Client(stack, "service", "quiet") as quiet:
        flood.subscribe("down/receipt")
        quiet.subscribe("down/receipt")
        for start in range(0, FLOOD, 100):
            flood.publish("up/request", [sms("flood", start + n) for n in range(100)])
        flood._wait(lambda: len([r for r in flood.receipts() if r["status"] == "accepted"]) >= FLOOD,
                    60, "the flood to be accepted")
        for n in range(5):
            quiet.publish("up/request", [sms("quiet", n)])
        for n in range(5):
            quiet.receipt("quiet%d" % n, "sent", 60)
        waiting = int(stack.postgres.value(
            "select count(*) from delivery where state in (0, 1)"))
        # They came last, and most of what came before them still waits.
        assert waiting > FLOOD / 2
        assert stack.postgres.sql("select missing from conservation") == [["0"]]
