# SPDX-License-Identifier: MIT
"""The protocol itself, explored in full: nothing is lost, nobody acts on what is another's, what is
final stays so, and every fair run ends.  And each wrong way to build it is found out."""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import explore  # noqa: E402
import ingest_model  # noqa: E402
import queue_model  # noqa: E402
import servers  # noqa: E402

MODELLED = {queue_model.READY, queue_model.LEASED, queue_model.DELIVERED, queue_model.DEAD}
# Moves of others than the bridges: an admin or a user who is back, a late acknowledgement, and a
# provider that takes a failure back.
NOT_HERE = {("dead", "ready"), ("dead", "leased"), ("ready", "delivered"), ("dead", "delivered")}


def legal_moves():
    """The table of docs/lifecycle.md, which test_delivery.c holds against the code's."""
    with open(os.path.join(servers.ROOT, "docs", "lifecycle.md")) as file:
        section = file.read().split("## Legal moves")[1].split("\n## ")[0]
    return set(re.findall(r"^\| (\w+) \| (\w+) \| ", section, re.M)) - {("from", "to")}


def explored(model):
    graph = explore.Graph(model)
    graph.check_runs_end()
    return graph


def wrong(model):
    """What a wrong model is caught with: (rule, trace)."""
    with pytest.raises(explore.Found) as found:
        explored(model)
    print(found.value)
    return found.value.rule, found.value.trace


@pytest.mark.parametrize("after_crash", [False, True])
def test_the_queue_keeps_its_promises_and_ends(after_crash):
    moves = legal_moves()
    model = queue_model.Queue(moves, after_crash=after_crash)
    graph = explored(model)
    assert len(graph.states) > 10000
    # It makes every move that the code allows between the states it knows, and no other.
    assert model.used == {(a, b) for a, b in moves if {a, b} <= MODELLED} - NOT_HERE


@pytest.mark.parametrize("mutation", queue_model.MUTATIONS)
def test_a_queue_built_wrongly_is_found_out(mutation):
    moves = legal_moves()
    if mutation == "final_moves":  # the table alone forbids it already
        moves |= {(a, b) for a in queue_model.FINAL for b in MODELLED}
    rule, trace = wrong(queue_model.Queue(
        moves, mutation=mutation, after_crash=mutation == "reap_any_namesake"))
    assert len(trace) < 40
    expected = {"no_sweep": "never ends", "no_reconcile": "never ends", "final_moves": "was final"}
    assert expected.get(mutation, "not its own") in rule


def test_a_move_that_the_table_lacks_is_found_out():
    rule, _ = wrong(queue_model.Queue(legal_moves() - {("leased", "ready")}))
    assert "leased -> ready is no legal move" in rule


def test_ingest_loses_nothing_and_doubles_nothing():
    assert len(explored(ingest_model.Ingest()).states) > 1000


@pytest.mark.parametrize("mutation,rule", [
    ("ack_first", "acknowledged is not stored"), ("tell_first", "accepted is not stored"),
    ("no_key", "two deliveries"), ("forget_batch", "never ends"), ("send_once", "never ends")])
def test_ingest_built_wrongly_is_found_out(mutation, rule):
    assert set(ingest_model.MUTATIONS) == {"ack_first", "tell_first", "no_key", "forget_batch",
                                           "send_once"}
    assert rule in wrong(ingest_model.Ingest(mutation=mutation))[0]


class Toy:
    """0 -> 1 -> 0 ... with a way out to 2 that is always possible, or only now and then."""

    def __init__(self, exits):
        self.exits = exits

    def start(self):
        return 0

    @staticmethod
    def is_over(state):
        return state == 2

    def steps(self, state):
        if state < 2:
            yield "turn", False, 1 - state
        if state in self.exits:
            yield "leave", False, 2


def test_only_unfair_runs_are_let_off():
    explored(Toy({0, 1}))  # leaving is always possible: who never leaves is unfair
    assert "never ends" in wrong(Toy({0}))[0]  # not always: it may be missed for ever
    assert "never ends" in wrong(Toy(set()))[0]
