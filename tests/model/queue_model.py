# SPDX-License-Identifier: MIT
"""The queue as a model: two bridges, one delivery, one database, one clock.

What the steps stand for in the code:
    register, heartbeat, reap, sweep     services/membership.c, store/fleet.c
    claim, settle, reconcile             services/dispatch*.c, store/queue.c
    start                                fence_may_send() in core/fence.h
A statement is sent, commits at some later time, and is answered at some later time; a connection
that breaks meanwhile leaves it astray: it may still commit, unanswered.  Before a bridge sends
anything on its next connection it ends what is astray of the one before (io/pg.c); what a killed
bridge leaves astray nobody ends.  A killed bridge forgets everything and starts anew; a paused one
(SIGSTOP, a stalled machine) goes on where it was.

Time passes in ticks of half a lease.  From a heartbeat the database counts LEASE ticks, and GRACE
more until others may reap; the bridge itself counts FENCE, from the moment it sent it.  Without a
fault every bridge keeps up: no tick passes while something of it is under way.

MUTATIONS are ways to build it wrongly; each must have a counterexample.
"""
import collections

from explore import Broken

LEASE, GRACE, FENCE, SEND_TICKS, ATTEMPTS = 2, 2, 1, 1, 2
READY, LEASED, DELIVERED, DEAD = "ready", "leased", "delivered", "dead"
FINAL = (DELIVERED, DEAD)
DOWN, UP, PAUSED = range(3)
NONE, WAITING, SENDING, SUCCEEDED, FAILED = range(5)  # what a bridge knows of the delivery

# lease: the epoch that has it, 0 when nobody has; tries: attempts that were settled
Delivery = collections.namedtuple("Delivery", "state lease tries")
Row = collections.namedtuple("Row", "epoch owner left")  # of the table `bridge`; left: ticks
Bridge = collections.namedtuple("Bridge", "life epoch fence holds left control work")
# done: None until it has committed, then what it answers; age: ticks since it was sent.
# A stray's sender is None once that process is dead.
Statement = collections.namedtuple("Statement", "kind owner epoch what done age")
Stray = collections.namedtuple("Stray", "kind owner epoch what sender")
State = collections.namedtuple("State", "delivery rows bridges strays faults")

CONTROL = ("register", "heartbeat", "reap", "sweep")
WORK = ("claim", "settle", "reconcile")
NOBODY = Bridge(DOWN, 0, 0, NONE, 0, None, None)

MUTATIONS = {
    "no_fence": "a send starts whatever the fence says",
    "fence_from_answer": "the fence is counted from a heartbeat's answer, not from its sending",
    "settle_any_epoch": "an outcome is recorded whoever has the delivery now",
    "reap_the_living": "others are reaped while their lease still runs",
    "reap_any_namesake": "a late reap of a dead process ends its successor as well",
    "keep_when_fenced": "deliveries are kept over the end of their epoch",
    "no_sweep": "nobody looks for what belongs to an epoch that is over",
    "no_reconcile": "what was claimed in doubt is never asked about",
    "strays_go_on": "a new connection does not end what is astray of the one before",
    "final_moves": "an outcome is recorded over one that was final",
}


class Queue:
    """`moves` are the legal ones, [(from, to)]; `faults` is how many of them a run may have.

    It begins with an empty fleet, or just after A's process was killed with the delivery leased.
    """

    def __init__(self, moves, faults=1, after_crash=False, mutation=None):
        assert mutation is None or mutation in MUTATIONS, mutation
        self.moves, self.faults, self.mutation = set(moves), faults, mutation
        self.after_crash = after_crash
        self.used = set()  # the moves that were made

    def start(self):
        up = NOBODY._replace(life=UP)
        if self.after_crash:
            return State(Delivery(LEASED, 1, 0), (Row(1, 0, LEASE + GRACE),), (up, up), (),
                         self.faults)
        return State(Delivery(READY, 0, 0), (), (up, up), (), self.faults)

    @staticmethod
    def is_over(state):
        return state.delivery.state in FINAL

    def steps(self, state):
        for who, bridge in enumerate(state.bridges):
            name = "AB"[who]
            if bridge.life == UP:
                yield from self.control(state, who, name, bridge)
                yield from self.work(state, who, name, bridge)
                yield from self.send(state, who, name, bridge)
            yield from self.commit(state, who, name, bridge)
            if state.faults:
                yield from self.faults_of(state._replace(faults=state.faults - 1), who, name, bridge)
            if bridge.life == PAUSED:
                yield name + " resumes", False, put(state, who, life=UP)
            elif bridge.life == DOWN:
                yield name + " starts", False, put(state, who, life=UP)
        for at, stray in enumerate(state.strays):
            rest = state._replace(strays=state.strays[:at] + state.strays[at + 1:])
            after, _ = self.apply(rest, stray)
            yield "a stray %s commits" % stray.kind, False, canonical(after)
        if self.may_tick(state):
            yield "tick", False, self.tick(state)

    # What a bridge does by itself

    def control(self, state, who, name, bridge):
        """Its statements on the control connection, and their answers.

        One that nothing happens to is one step: what others do meanwhile they could have done
        before it was sent.  Only faults find one under way.
        """
        if bridge.control:
            if bridge.control.done is not None:
                yield "%s hears of its %s" % (name, bridge.control.kind), False, canonical(
                    self.answer_control(state, who, bridge.control))
            return
        for statement in self.wishes(state, who, bridge):
            after, answer = self.apply(self.reconnected(state, who, CONTROL), statement)
            yield "%s: %s" % (name, statement.kind), False, canonical(
                self.answer_control(after, who, statement._replace(done=answer)))

    def wishes(self, state, who, bridge):
        """What it could send on the control connection now."""
        def ask(kind, epoch):
            return Statement(kind, who, epoch, None, None, 0)
        if bridge.control:
            return
        if not bridge.epoch:
            yield ask("register", fresh_epoch(state))
            return
        if bridge.fence < FENCE:
            yield ask("heartbeat", bridge.epoch)
        if any(self.may_reap(row, who, bridge.epoch) for row in state.rows):
            yield ask("reap", bridge.epoch)
        if self.mutation != "no_sweep" and self.is_orphan(state):
            yield ask("sweep", bridge.epoch)

    def reconnected(self, state, who, kinds):
        """What is left astray once a new connection of ours for these statements is there."""
        if self.mutation == "strays_go_on":
            return state
        return state._replace(strays=tuple(
            s for s in state.strays if s.sender != who or s.kind not in kinds))

    def answer_control(self, state, who, statement):
        bridge = state.bridges[who]
        age = 0 if self.mutation == "fence_from_answer" else statement.age
        fence = max(0, FENCE - age)
        if statement.kind == "register":
            return put(state, who, control=None, epoch=statement.epoch, fence=fence)
        if statement.kind == "heartbeat" and not statement.done:
            holds = bridge.holds if self.mutation == "keep_when_fenced" else NONE
            return put(state, who, control=None, epoch=0, fence=0, holds=holds,
                       left=bridge.left if holds else 0)
        if statement.kind == "heartbeat":
            return put(state, who, control=None, fence=fence)
        return put(state, who, control=None)

    def work(self, state, who, name, bridge):
        """Its statements about deliveries, and their answers."""
        if bridge.work:
            if bridge.work.done is not None:
                yield "%s hears of its %s" % (name, bridge.work.kind), False, canonical(
                    self.answer_work(state, who, bridge))
            return
        if not bridge.epoch:
            return
        delivery = state.delivery

        def ask(kind, what=None):
            return "%s sends %s" % (name, kind), False, canonical(put(
                self.reconnected(state, who, WORK), who,
                work=Statement(kind, who, bridge.epoch, what, None, 0)))
        if bridge.holds == NONE and delivery.state == READY:
            yield ask("claim")
        if bridge.holds in (SUCCEEDED, FAILED):
            yield ask("settle", bridge.holds)
        if (bridge.holds == NONE and delivery.lease == bridge.epoch
                and self.mutation != "no_reconcile"):
            yield ask("reconcile")

    @staticmethod
    def answer_work(state, who, bridge):
        statement = bridge.work
        if statement.epoch != bridge.epoch:
            return put(state, who, work=None)  # of an epoch that is over: forgotten
        if statement.kind == "claim" and statement.done:
            return put(state, who, work=None, holds=WAITING)
        if statement.kind == "settle":
            return put(state, who, work=None, holds=NONE)
        return put(state, who, work=None)

    def send(self, state, who, name, bridge):
        if bridge.holds == WAITING and (bridge.fence > 0 or self.mutation == "no_fence"):
            self.check_owner(state, who, bridge)
            yield name + " starts to send", False, put(state, who, holds=SENDING, left=SEND_TICKS)
        if bridge.holds == SENDING:
            yield name + "'s send succeeds", False, put(state, who, holds=SUCCEEDED, left=0)
            yield name + "'s send fails", False, put(state, who, holds=FAILED, left=0)

    @staticmethod
    def check_owner(state, who, bridge):
        if state.delivery.state != LEASED or state.delivery.lease != bridge.epoch:
            raise Broken("%s starts to send what is not its own" % "AB"[who])
        other = state.bridges[1 - who]
        if other.holds == SENDING and other.life == UP and other.left >= 0:
            raise Broken("both bridges are sending")

    # What the database does

    def commit(self, state, who, name, bridge):
        """A bridge that is up is told at once: whatever comes between is a fault's doing."""
        for slot in ("control", "work"):
            statement = getattr(bridge, slot)
            if statement and statement.done is None:
                after, answer = self.apply(state, statement)
                statement = statement._replace(done=answer)
                after = put(after, who, **{slot: statement})
                if bridge.life == UP and slot == "work":
                    after = self.answer_work(after, who, after.bridges[who])
                elif bridge.life == UP:
                    after = self.answer_control(after, who, statement)
                yield "%s's %s commits" % (name, statement.kind), False, canonical(after)

    def apply(self, state, statement):
        """(the state after a statement's commit, its answer)."""
        return getattr(self, "do_" + statement.kind)(state, statement)

    @staticmethod
    def do_register(state, statement):
        row = Row(statement.epoch, statement.owner, LEASE + GRACE)
        return state._replace(rows=tuple(sorted(state.rows + (row,)))), True

    @staticmethod
    def do_heartbeat(state, statement):
        if not any(row.epoch == statement.epoch for row in state.rows):
            return state, False
        return state._replace(rows=tuple(
            row._replace(left=LEASE + GRACE) if row.epoch == statement.epoch else row
            for row in state.rows)), True

    def may_reap(self, row, who, epoch):
        """A predecessor of the same name is dead, since we could not listen where it did."""
        is_namesake = row.owner == who and (
            row.epoch < epoch or self.mutation == "reap_any_namesake")
        return row.epoch != epoch and (row.left == 0 or is_namesake
                                       or self.mutation == "reap_the_living")

    def do_reap(self, state, statement):
        return state._replace(rows=tuple(
            row for row in state.rows
            if not self.may_reap(row, statement.owner, statement.epoch))), True

    @staticmethod
    def is_orphan(state):
        return (state.delivery.state == LEASED
                and all(row.epoch != state.delivery.lease for row in state.rows))

    def do_sweep(self, state, _):
        return (self.move(state, READY) if self.is_orphan(state) else state), True

    def do_claim(self, state, statement):
        is_live = any(row.epoch == statement.epoch and row.left > GRACE for row in state.rows)
        if state.delivery.state != READY or not is_live:
            return state, False
        return self.move(state, LEASED, statement.epoch), True

    def do_reconcile(self, state, statement):
        if state.delivery.state != LEASED or state.delivery.lease != statement.epoch:
            return state, False
        return self.move(state, READY), True

    def do_settle(self, state, statement):
        delivery = state.delivery
        is_ours = delivery.state == LEASED and delivery.lease == statement.epoch
        if self.mutation == "settle_any_epoch":
            is_ours = delivery.state == LEASED
        elif self.mutation == "final_moves":
            is_ours = is_ours or delivery.state in FINAL
        if not is_ours:
            return state, False
        if statement.what == SUCCEEDED:
            return self.move(state, DELIVERED, tries=delivery.tries + 1), True
        last = delivery.tries + 1 >= ATTEMPTS
        return self.move(state, DEAD if last else READY, tries=delivery.tries + 1), True

    def move(self, state, to, lease=0, tries=None):
        delivery = state.delivery
        if (delivery.state, to) not in self.moves:
            raise Broken("%s -> %s is no legal move" % (delivery.state, to))
        if delivery.state in FINAL:
            raise Broken("%s was final and became %s" % (delivery.state, to))
        self.used.add((delivery.state, to))
        return state._replace(delivery=Delivery(
            to, lease, delivery.tries if tries is None else tries))

    # What happens to them

    def faults_of(self, state, who, name, bridge):
        """state has paid for it already.  It strikes at rest, or with a statement under way."""
        if bridge.life == DOWN:
            return
        moments = [(bridge, "")]
        if bridge.life == UP:
            moments += [(bridge._replace(control=s), " amid " + s.kind)
                        for s in self.wishes(state, who, bridge)]
        for moment, told in moments:
            yield from self.fault(state, who, name + "%s" + told, moment)

    def fault(self, state, who, label, bridge):
        for strays, after in self.astray(state, who, bridge):
            told = " (astray: %s)" % ", ".join(s.kind for s in strays) if strays else ""
            left = add_strays(after, strays)
            dead = left._replace(strays=tuple(
                s._replace(sender=None) if s.sender == who else s for s in left.strays))
            yield label % " is killed" + told, True, canonical(replace(dead, who, NOBODY))
            if bridge.control or bridge.work:
                yield label % "'s connections break" + told, True, canonical(
                    replace(left, who, bridge._replace(control=None, work=None)))
        if bridge.life == UP:  # what is being sent then may take for ever: no lease can help it
            yield label % " is paused", True, canonical(replace(state, who, bridge._replace(
                life=PAUSED, left=-1 if bridge.holds == SENDING else 0)))

    def astray(self, state, who, bridge):
        """[(strays, state)]: each statement under way is lost, astray, or done and not told."""
        found = [((), state)]
        for s in (bridge.control, bridge.work):
            if s and s.done is None:
                stray = Stray(s.kind, s.owner, s.epoch, s.what, who)
                found += ([(strays + (stray,), after) for strays, after in found]
                          + [(strays, self.apply(after, s)[0]) for strays, after in found])
        return found

    def may_tick(self, state):
        """Who is up keeps up: it has its lease, and has done what it could."""
        return all(self.keeps_up(state, who, bridge) for who, bridge in enumerate(state.bridges)
                   if bridge.life == UP)

    def keeps_up(self, state, who, bridge):
        return (bridge.epoch and bridge.fence and not bridge.control and not bridge.work
                and bridge.holds != WAITING and (bridge.holds != SENDING or bridge.left > 0)
                and not any(self.wishes(state, who, bridge)))

    @staticmethod
    def tick(state):
        def older(statement):
            return statement and statement._replace(age=min(statement.age + 1, FENCE))
        return state._replace(
            rows=tuple(row._replace(left=max(0, row.left - 1)) for row in state.rows),
            bridges=tuple(b._replace(fence=max(0, b.fence - 1), left=b.left - 1 if b.left > 0 else b.left,
                                     control=older(b.control), work=older(b.work))
                          for b in state.bridges))


def add_strays(state, strays):
    return state._replace(strays=tuple(sorted(state.strays + strays, key=repr)))


def replace(state, who, bridge):
    bridges = list(state.bridges)
    bridges[who] = bridge
    return state._replace(bridges=tuple(bridges))


def put(state, who, **changes):
    return replace(state, who, state.bridges[who]._replace(**changes))


def epochs(state):
    """All epochs that anybody still knows."""
    yield state.delivery.lease
    for bridge in state.bridges:
        yield bridge.epoch
        for statement in (bridge.control, bridge.work):
            if statement:
                yield statement.epoch
    for row in state.rows:
        yield row.epoch
    for stray in state.strays:
        yield stray.epoch


def fresh_epoch(state):
    return max(epochs(state)) + 1


def canonical(state):
    """The same state with its epochs numbered anew in their order, so that there are finitely many."""
    names = {epoch: rank for rank, epoch in enumerate(sorted({0, *epochs(state)}))}
    if all(old == new for old, new in names.items()):
        return state

    def renamed(statement):
        return statement and statement._replace(epoch=names[statement.epoch])
    return state._replace(
        delivery=state.delivery._replace(lease=names[state.delivery.lease]),
        rows=tuple(sorted(row._replace(epoch=names[row.epoch]) for row in state.rows)),
        bridges=tuple(b._replace(epoch=names[b.epoch], control=renamed(b.control),
                                 work=renamed(b.work)) for b in state.bridges),
        strays=tuple(sorted((renamed(s) for s in state.strays), key=repr)))
