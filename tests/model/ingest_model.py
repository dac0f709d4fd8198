# SPDX-License-Identifier: MIT
"""Ingest as a model: one service, one request, a broker that keeps the lane's session, two bridges.

What the steps stand for in the code: services/ingest*.c (read, store, acknowledge), store/requests.c
(the key under which a request counts once), services/outbox.c (receipts wait in memory), and the
promise to services: who has not seen `accepted` sends the request again.
"""
import collections

from explore import Broken

DOWN, UP, PAUSED = range(3)
NOTHING, READ, STORED = range(3)  # what a bridge knows of the request
ABSENT, QUEUED, OUT = range(3)    # the request at the broker: gone, waiting, given to the holder

Bridge = collections.namedtuple("Bridge", "life batch is_asking is_owing")  # owing: a receipt waits
State = collections.namedtuple("State", "message holder is_stored made is_told bridges strays "
                                        "is_acked faults")
NOBODY = Bridge(DOWN, NOTHING, False, False)

MUTATIONS = {
    "ack_first": "the broker's message is acknowledged before the commit",
    "tell_first": "`accepted` is sent before the commit",
    "no_key": "a request that comes again is stored again",
    "forget_batch": "a batch in doubt is dropped while the session goes on",
    "send_once": "the service does not send again",
}


class Ingest:
    def __init__(self, faults=2, mutation=None):
        assert mutation is None or mutation in MUTATIONS, mutation
        self.faults, self.mutation = faults, mutation

    def start(self):
        up = NOBODY._replace(life=UP)
        return State(ABSENT, None, False, 0, False, (up, up), 0, False, self.faults)

    @staticmethod
    def is_over(state):
        return state.is_told and state.message == ABSENT

    def steps(self, state):
        may_send = not state.is_acked or self.mutation != "send_once"
        if state.message == ABSENT and not state.is_told and may_send:
            yield "the service sends the request", False, state._replace(message=QUEUED)
        for who, bridge in enumerate(state.bridges):
            name = "AB"[who]
            if bridge.life == UP:
                yield from self.lane(state, who, name, bridge)
                yield from self.store(state, who, name, bridge)
            elif bridge.life == PAUSED:
                yield name + " resumes", False, put(state, who, life=UP)
            else:
                yield name + " starts", False, put(state, who, life=UP)
            if bridge.is_asking and bridge.life == PAUSED:
                yield name + "'s commit passes unheard", False, put(
                    self.commit(state), who, is_asking=False)
            if state.faults and bridge.life != DOWN:
                yield from self.faults_of(state._replace(faults=state.faults - 1), who, name, bridge)
        if state.strays:
            yield "a stray commits", False, self.commit(state._replace(strays=state.strays - 1))

    def lane(self, state, who, name, bridge):
        """The session is one: whoever connects takes it, and what was unacknowledged comes again."""
        holder = state.holder
        if holder is None or (holder != who and state.bridges[holder].life != UP):
            yield name + " takes the session", False, put(state._replace(
                holder=who, message=QUEUED if state.message == OUT else state.message),
                who, batch=NOTHING)
        if holder != who:
            return
        if state.message == QUEUED and bridge.batch == NOTHING:
            yield name + " reads the request", False, put(
                state._replace(message=OUT), who, batch=READ)
        may_ack = bridge.batch == STORED or (self.mutation == "ack_first" and bridge.batch == READ)
        if state.message == OUT and may_ack and not bridge.is_asking:
            if not state.is_stored:
                raise Broken("what was acknowledged is not stored")
            yield name + " acknowledges", False, put(
                state._replace(message=ABSENT, is_acked=True), who, batch=NOTHING)

    def store(self, state, who, name, bridge):
        if state.holder != who and bridge.batch != NOTHING and not bridge.is_asking:
            yield name + " drops what its lost session gave it", False, put(
                state, who, batch=NOTHING)
        if bridge.batch == READ and not bridge.is_asking:
            yield name + " sends ingest", False, put(state, who, is_asking=True)
        if bridge.is_asking:
            yield name + "'s ingest commits", False, put(
                self.commit(state), who, is_asking=False, is_owing=True,
                batch=STORED if bridge.batch == READ else bridge.batch)
        if bridge.is_owing or (self.mutation == "tell_first" and bridge.batch == READ):
            if not state.is_stored:
                raise Broken("what was accepted is not stored")
            yield name + " tells accepted", False, put(
                state._replace(is_told=True), who, is_owing=False)

    def commit(self, state):
        if state.is_stored and self.mutation != "no_key":
            return state
        if state.made:
            raise Broken("one request has two deliveries")
        return state._replace(is_stored=True, made=state.made + 1)

    def faults_of(self, state, who, name, bridge):
        """state has paid for it already."""
        after = [("", state)]
        if bridge.is_asking:
            after += [(" (ingest astray)", state._replace(strays=state.strays + 1)),
                      (" (ingest committed)", self.commit(state))]
        for told, left in after:
            gone = left._replace(
                holder=None if left.holder == who else left.holder,
                message=QUEUED if left.message == OUT and left.holder == who else left.message)
            yield name + " is killed" + told, True, replace(gone, who, NOBODY)
            if bridge.is_asking:
                forgets = self.mutation == "forget_batch"
                yield name + "'s database goes away" + told, True, put(
                    left, who, is_asking=False, batch=NOTHING if forgets else bridge.batch)
        if bridge.life == UP:
            yield name + " is paused", True, put(state, who, life=PAUSED)
        if state.holder == who:
            yield name + "'s broker connection breaks", True, state._replace(
                holder=None, message=QUEUED if state.message == OUT else state.message)


def replace(state, who, bridge):
    bridges = list(state.bridges)
    bridges[who] = bridge
    return state._replace(bridges=tuple(bridges))


def put(state, who, **changes):
    return replace(state, who, state.bridges[who]._replace(**changes))
