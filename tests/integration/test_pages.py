# SPDX-License-Identifier: MIT
"""Answers with many entries: pages that say where the next one begins, and fit into a message."""
import pytest

from client import Client
from process import wait_until
from test_large_requests import all_made, ask, count, request, soon, users


@pytest.fixture
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


def status_pages(shop, name, **params):
    """All answers of request.status, one after the other."""
    pages, after = [], {}
    while True:
        pages.append(shop.rpc("request.status", {"id": name, **params, **after}, timeout=30)["result"])
        if "next" not in pages[-1]:
            return pages
        after = {"after": pages[-1]["next"]}
        assert len(pages) < 1000


def listed(pages):
    return [delivery["delivery"] for page in pages for delivery in page["deliveries"]]


def test_a_status_says_how_many_there_are_and_where_it_goes_on(stack, shop):
    ask(shop, request("pages-1", {"users": users(700)}, at=soon(600)))
    shop.receipt("pages-1", "accepted", 30)
    all_made(stack)
    pages = status_pages(shop, "pages-1")
    assert [len(page["deliveries"]) for page in pages] == [500, 200]
    assert [page["total"] for page in pages] == [700, 700]
    everything = listed(pages)
    assert everything == sorted(set(everything)) and len(everything) == 700
    small = status_pages(shop, "pages-1", limit=100)
    assert [len(page["deliveries"]) for page in small] == [100] * 7 and listed(small) == everything
    assert len(status_pages(shop, "pages-1", limit=500)) == 2
    assert shop.rpc("request.status", {"id": "pages-1", "limit": 501})["error"]["field"]
    assert shop.rpc("request.status", {"id": "pages-1", "after": "x"})["error"]["field"]
    shop.rpc("request.cancel", {"id": "pages-1"}, timeout=30)
    ended = status_pages(shop, "pages-1")
    assert listed(ended) == everything
    assert {delivery["state"] for page in ended for delivery in page["deliveries"]} == {"cancelled"}


def test_answers_fit_into_what_the_broker_takes(new_stack):
    """Whole entries only, and every one of them, however small the messages."""
    stack = new_stack(broker={"max_packet_size": 12000}, settings={"channels.in_app.attempts": 1})
    with Client(stack, "service", "shop") as shop, Client(stack, "admin", "root") as root:
        shop.subscribe("down/#")
        root.subscribe("down/#")
        ask(shop, request("fit-1", {"users": users(300)}, body="x" * 2000))
        shop.receipt("fit-1", "accepted", 30)
        wait_until(lambda: count(stack, "dead_letter") == 300, 60, "every dead letter", 0.1)
        pages = status_pages(shop, "fit-1")
        assert len(pages) > 3 and len(listed(pages)) == 300 == len(set(listed(pages)))
        for method, limit in (("dlq.list", 500), ("dlq.export", 100)):
            found, after, turns = [], {}, 0
            while after is not None:
                answer = root.rpc(method, {"limit": limit, **after}, timeout=30)["result"]
                found += [entry["delivery"] for entry in answer["entries"]]
                after = {"after": answer["next"]} if "next" in answer else None
                turns += 1
            assert len(found) == 300 == len(set(found)) and turns > 3, method


def test_an_entry_that_no_message_holds_is_exported_without_its_content(new_stack):
    stack = new_stack(settings={"channels.in_app.attempts": 1})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        for name, size in (("a", 10), ("b", 9000), ("c", 10)):
            ask(shop, request(name, {"user": "nobody"}, body="x" * size))
            shop.receipt(name, "accepted", 30)
        wait_until(lambda: count(stack, "dead_letter") == 3, 60, "every dead letter", 0.1)
    stack.broker.settings["max_packet_size"] = 6000  # smaller than what was accepted before
    stack.broker.restart()
    stack.bridge.wait_ready()
    with Client(stack, "admin", "root") as root:
        root.subscribe("down/#")
        entries = root.rpc("dlq.export", {"limit": 100}, timeout=30)["result"]["entries"]
        found = {entry["request"]: entry for entry in entries}
        assert sorted(found) == ["a", "b", "c"]
        assert found["b"]["content_is_cut"] and "content" not in found["b"]
        assert found["a"]["content"]["body"] and "content_is_cut" not in found["c"]
