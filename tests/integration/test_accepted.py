# SPDX-License-Identifier: MIT
"""Accepted means committed: servers are killed at random moments under traffic that never pauses.

The seeds are fixed, the moments are not quite: processes are scheduled as they are.  A failure
prints what does not add up; `./run chaos --seed N` goes on for longer.
"""
import collections
import random

import pytest

from traffic import Ledger, Storm, Traffic

SETTINGS = {"bridge.lease": "5s", "channels.in_app.ack_timeout": "2s"}


def weather(stack, traffic, victims, rounds, seed, receipts):
    """Rounds of kills under traffic, then the audit; returns the storm."""
    ledger = Ledger(stack)
    ledger.start()
    storm = Storm(stack, random.Random(seed), victims, say=print)
    storm.rounds(rounds, lambda: traffic.wait_accepted(1, 60))
    traffic.finish()
    ledger.close()
    assert ledger.looks > rounds / 2
    traffic.audit(receipts)
    print(storm.killed, traffic, traffic.books(), "%d repeats at devices" % traffic.repeats())
    return storm


def some_or_many(some, many):
    """Rounds: some each time, many with --all."""
    return pytest.mark.parametrize("rounds", [some, pytest.param(many, marks=pytest.mark.long)])


@some_or_many(6, 30)
def test_nothing_accepted_is_lost_whoever_is_killed(new_stack, rounds):
    stack = new_stack(settings=SETTINGS)
    with Traffic(stack, rate=200) as traffic:
        storm = weather(stack, traffic, ("bridge", "postgres", "broker"), rounds, 1, receipts=False)
        assert min(storm.killed.values()) == rounds / 3
        assert len(traffic.accepted) == len(traffic.requests) > 30 * rounds


@some_or_many(4, 8)
def test_every_final_receipt_arrives_while_the_broker_lives(new_stack, rounds):
    stack = new_stack(settings=SETTINGS)
    with Traffic(stack, rate=200, batch=5) as traffic:
        weather(stack, traffic, ("bridge", "postgres"), rounds, 2, receipts=True)
        assert set(traffic.finals) == set(traffic.accepted)


@some_or_many(4, 8)
def test_a_webhook_repeats_only_under_its_own_id(new_stack, rounds):
    """Between a provider's answer and our commit a crash repeats the call, under the same id."""
    stack = new_stack(settings=SETTINGS)
    hook = stack.providers.info["webhook"]["url"]
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 30})

    def make(number, name):
        return {"type": "hook.test", "to": {"url": "%s/%d" % (hook, number)}, "title": name,
                "body": "b", "channels": ["webhook"]}
    with Traffic(stack, rate=150, users=0, make=make) as traffic:
        weather(stack, traffic, ("bridge", "postgres"), rounds, 3, receipts=True)
        finals = collections.Counter(status for counts in traffic.finals.values()
                                     for status in counts)
        assert set(finals) == {"delivered"}
        calls = collections.defaultdict(list)
        seen = stack.providers.control("GET", "/requests?provider=webhook&limit=50000"
                                              "&fields=path,headers,status")["requests"]
        for call in seen:
            headers = {key.lower(): value for key, value in call["headers"].items()}
            calls[call["path"]].append(headers["webhook-id"])
        assert len(calls) == len(traffic.accepted)
        assert [path for path, ids in calls.items() if len(set(ids)) > 1] == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_long_storms_over_two_bridges(new_stack, seed):
    stack = new_stack(bridges=2, settings=SETTINGS)
    with Traffic(stack, rate=300, batch=seed + 1) as traffic:
        weather(stack, traffic, ("bridge", "postgres", "broker"), 60, seed, receipts=False)
