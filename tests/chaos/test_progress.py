# SPDX-License-Identifier: MIT
"""The progress checker must be able to say no, and to stay silent where all is well."""
import pytest

from progress import Progress, queues_of


def feed(progress, seconds, queues, ready=True, start=0.0):
    """Two samples a second; queues(t) gives {name: (depth, taken)}."""
    for n in range(int(seconds * 2)):
        at = start + n / 2
        progress.sample(at, "tocsind", ready, queues(at))
    return progress.findings


def test_a_queue_that_stands_while_another_goes_on_is_found_once():
    found = feed(Progress(), 20, lambda t: {"outbox": (3, 7), "users_lane": (1, t)})
    assert len(found) == 1 and "queue outbox stands with 3 in it" in found[0]


@pytest.mark.parametrize("queues", [
    lambda t: {"outbox": (3, t), "users_lane": (1, t)},     # both go on
    lambda t: {"outbox": (0, 7), "users_lane": (1, t)},     # one is empty
    lambda t: {"outbox": (3, 7), "users_lane": (0, 9)},     # nothing goes on: that is not its fault
    lambda t: {"outbox": (3, t // 4), "users_lane": (1, t)},  # slow, yet it goes on
    lambda t: {"settle": (1, 7), "users_lane": (1, t)} if t < 14 else {"settle": (0, 8)},
], ids=["both", "empty", "idle", "slow", "by design"])
def test_what_is_well_is_not_found(queues):
    assert feed(Progress(), 30, queues) == []


def test_a_fault_covers_it_and_the_time_after_it():
    progress = Progress()
    for n in range(60):
        if n < 40:
            progress.fault(n / 2)
        progress.sample(n / 2, "tocsind", False, {"outbox": (3, 7), "users_lane": (1, n)})
    assert progress.findings == []
    found = feed(progress, 40, lambda t: {"outbox": (3, 7), "users_lane": (1, t)}, start=40)
    assert len(found) == 1


def test_a_bridge_that_is_not_ready_for_long_is_found():
    assert feed(Progress(), 29, lambda t: {}, ready=False) == []
    found = feed(Progress(), 40, lambda t: {}, ready=False)
    assert len(found) == 1 and "not ready" in found[0]


def test_a_head_older_than_its_bound_is_found():
    found = feed(Progress(oldest={"outbox": 10}), 5, lambda t: {"outbox": (1, t, 11.0)})
    assert len(found) == 1 and "11.0 s old" in found[0]
    assert feed(Progress(oldest={"outbox": 10}), 5, lambda t: {"outbox": (1, t, 9.0)}) == []


def test_a_bridge_that_became_slow_is_found():
    progress = Progress()
    progress.rates(0, "webhooks", 1500, 800)
    assert progress.findings == []
    progress.rates(1, "webhooks", 1500, 5)
    assert len(progress.findings) == 1 and "1500.0 a second before, 5.0 after" in progress.findings[0]


def test_the_queues_are_those_of_the_metrics():
    assert queues_of({'tocsin_queue_depth{queue="rpc"}': 2.0, "other": 1.0,
                      'tocsin_queue_taken_total{queue="rpc"}': 9.0}) == {"rpc": (2.0, 9.0)}
    assert queues_of({'tocsin_queue_depth{queue="outbox"}': 2.0,
                      'tocsin_queue_oldest_seconds{queue="outbox"}': 7.5}) == {"outbox": (2.0, 0.0, 7.5)}
