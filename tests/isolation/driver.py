# SPDX-License-Identifier: MIT
"""Sessions whose steps are merged in every order, as in PostgreSQL's own src/test/isolation.

A spec is a setup, sessions of steps and what must never be found afterwards.  A step that waits
for another session's lock counts as blocked, and the others go on; a merge that would let a
blocked session take its next step is none.  Statements are the bridge's own text, prepared under
the settings of its own connection.
"""
import itertools
import json
import os
import random
import select
import subprocess

import psycopg2
import psycopg2.extensions

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT_S = 5.0
BEGIN, COMMIT, ROLLBACK = "begin", "commit", "rollback"
# SQLSTATEs that are faults of their own wherever they come up.
LOCKED = {"40P01": "deadlock", "55P03": "waited for a lock for too long"}


class Fault(Exception):
    """A spec that cannot be run as it is written."""


def read_statements(build=None):
    """name -> {name, connection, settings, params, sql}, from the program."""
    path = os.path.join(build or servers.build_dir(), "tests", "isolation", "dump_statements")
    dumped = json.loads(subprocess.run([path], capture_output=True, check=True).stdout)
    return {one["name"]: one for one in dumped}


class Call:
    """One statement of the store with its arguments, as SQL literals."""

    def __init__(self, name, *arguments):
        self.name = name
        self.arguments = [literal(one) for one in arguments]

    def count(self, world):
        """How many arguments there are too many."""
        statement = world.statements.get(self.name)
        return len(self.arguments) - statement["params"] if statement else 0

    def __str__(self):
        return self.name


class Sql:
    """A step of a test's own, such as a lock that holds a session up."""

    def __init__(self, name, text):
        self.name = name
        self.text = text

    def __str__(self):
        return self.name


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return quote("{" + ",".join(element(one) for one in value) + "}")
    return quote(str(value))


def element(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return str(value)
    return '"%s"' % str(value).replace("\\", "\\\\").replace('"', '\\"')


def quote(text):
    return "'" + text.replace("'", "''") + "'"


class Session:
    """One bridge's connection, with at most one step under way."""

    def __init__(self, url, name, statements):
        self.name = name
        self.statements = statements
        self.conn = psycopg2.connect(url, async_=1)
        self.wait()
        self.cursor = self.conn.cursor()
        self.run("SET search_path = iso, pg_catalog, public; SELECT pg_backend_pid()")
        self.pid = self.cursor.fetchone()[0]
        self.prepared = set()
        self.settings = None
        self.step = None  # under way
        self.error = None
        self.rows = None

    def wait(self):
        while True:
            state = self.conn.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            if state == psycopg2.extensions.POLL_READ:
                select.select([self.conn.fileno()], [], [], WAIT_S)
            else:
                select.select([], [self.conn.fileno()], [], WAIT_S)

    def run(self, sql):
        self.cursor.execute(sql)
        self.wait()

    def prepare(self, name):
        """Outside the order of steps, so that no step is about planning or parsing alone."""
        if name in self.prepared:
            return
        self.run('PREPARE "%s" AS %s' % (name, self.statements[name]["sql"]))
        self.prepared.add(name)

    def start(self, step):
        self.step, self.error, self.rows = step, None, None
        if isinstance(step, Call):
            statement = self.statements[step.name]
            text = "EXECUTE \"%s\"%s" % (step.name, "(%s)" % ", ".join(step.arguments)
                                         if step.arguments else "")
            if self.settings != statement["settings"]:
                text = statement["settings"] + ";" + text
                self.settings = statement["settings"]
        elif isinstance(step, Sql):
            text = step.text
        else:
            text = step
            self.settings = None  # a transaction's end may take settings back
        self.cursor.execute(text)

    def is_done(self, timeout=0.0):
        """Whether the step under way has ended; takes its answer."""
        if not self.step:
            return True
        ready, _, _ = select.select([self.conn.fileno()], [], [], timeout)
        if not ready:
            return False
        try:
            if self.conn.poll() != psycopg2.extensions.POLL_OK:
                return False
            if self.cursor.description:
                self.rows = self.cursor.fetchall()
        except psycopg2.Error as error:
            self.error = error
        return True

    def reset(self):
        """Back to idle, whatever is under way."""
        if self.step and not self.is_done():
            canceller = getattr(self.conn, "cancel", None)
            if canceller:
                canceller()
            while not self.is_done(WAIT_S):
                pass
        self.step = None
        self.run("ROLLBACK; RESET iso.waits; SELECT pg_advisory_unlock_all()")
        self.settings = None

    def close(self):
        self.conn.close()


class Spec:
    """What is run: sessions {name: [step, ...]} in the order of their first mention."""

    def __init__(self, name, setup, sessions, never=(), most=60, orders=(), allows=(),
                 is_bad=False, answers=True, after=()):
        self.name = name
        self.setup = [setup] if isinstance(setup, str) else list(setup)
        self.sessions = sessions
        self.never = list(never)      # (what, SQL that finds nothing)
        self.most = most              # merges of a short run; 0: all
        self.orders = list(orders)    # always among them
        self.allows = set(allows)     # SQLSTATEs that a session may end with
        self.is_bad = is_bad          # shows an anomaly: some merge must be found wrong
        self.answers = answers        # whether leases are held against what claims have answered
        self.after = list(after)      # steps of a session of its own when all have ended

    def statements(self):
        return {step.name for steps in self.sessions.values() for step in steps
                if isinstance(step, Call)}

    def merges(self):
        """Every order of the steps that keeps each session's own, as lists of session names."""
        names = [name for name, steps in self.sessions.items() for _ in steps]
        return sorted(set(itertools.permutations(names))) if len(names) <= 6 else list(
            interleave({name: len(steps) for name, steps in self.sessions.items()}))

    def label(self, order):
        taken = {name: 0 for name in self.sessions}
        parts = []
        for name in order:
            parts.append("%s.%s" % (name, self.sessions[name][taken[name]]))
            taken[name] += 1
        return " ".join(parts)

    def chosen(self, everything, seed=1):
        merges = self.merges()
        if everything or not self.most or len(merges) <= self.most:
            return merges
        by_label = {self.label(order): order for order in merges}
        fixed = [by_label[label] for label in self.orders]
        rest = [order for order in merges if order not in fixed]
        return fixed + random.Random(seed).sample(rest, self.most - len(fixed))


def interleave(left):
    """All merges of sessions with so many steps left."""
    if not any(left.values()):
        yield []
        return
    for name, count in left.items():
        if not count:
            continue
        for rest in interleave({**left, name: count - 1}):
            yield [name] + rest


class Bad(Exception):
    """What a merge has shown to be wrong."""


class Runner:
    """Runs merges in one database; `world` makes it empty again and judges it."""

    def __init__(self, world):
        self.world = world
        self.sessions = {}

    def session(self, number, name):
        while len(self.sessions) <= number:
            self.sessions[len(self.sessions)] = Session(
                self.world.url, "", self.world.statements)
        self.sessions[number].name = name
        return self.sessions[number]

    def close(self):
        for session in self.sessions.values():
            session.close()

    def is_blocked(self, session, others):
        return self.world.value("SELECT pg_isolation_test_session_is_blocked(%d, '{%s}')" % (
            session.pid, ",".join(str(other.pid) for other in others)))

    def settle(self, session, sessions):
        """True: the step has ended.  False: it waits for one of ours."""
        others = [other for other in sessions if other is not session]
        timeout = 0.002
        for _ in range(2000):
            if session.is_done(timeout):
                return True
            if self.is_blocked(session, others):
                return False
            timeout = 0.005
        raise Bad("%s.%s waits for nobody and does not end" % (session.name, session.step))

    def take(self, spec, session):
        """The answer of a step that has ended."""
        step, session.step = session.step, None
        if session.error:
            code = session.error.pgcode
            if code in spec.allows:
                return
            raise Bad("%s.%s: %s" % (session.name, step, LOCKED.get(code) or "%s %s" % (
                code, str(session.error).strip())))
        if step == ROLLBACK:
            self.world.take_back(session.name)
        elif step == BEGIN:
            self.world.began(session.name)
        else:
            self.world.answered(session.name, step, session.rows or [])

    def advance(self, spec, sessions):
        """Takes the answers of those that a step has let go; they may let go others in turn."""
        is_moving = True
        while is_moving:
            is_moving = False
            for session in sessions:
                if session.step and self.settle(session, sessions):
                    self.take(spec, session)
                    is_moving = True

    def merge(self, spec, order):
        """None when the order is no merge, else what was found to be wrong."""
        sessions = {name: self.session(i, name) for i, name in enumerate(spec.sessions)}
        for name, steps in spec.sessions.items():
            for step in steps:
                if isinstance(step, Call):
                    sessions[name].prepare(step.name)
        self.world.begin(spec)
        steps = {name: iter(steps) for name, steps in spec.sessions.items()}
        try:
            for name in order:
                session = sessions[name]
                if session.step:
                    return None
                session.start(next(steps[name]))
                self.advance(spec, list(sessions.values()))
            if any(session.step for session in sessions.values()):
                raise Bad("ends with a session that waits")
            self.finish(spec)
            return self.world.judge(spec)
        except Bad as bad:
            return [str(bad)]
        finally:
            for session in sessions.values():
                session.reset()

    def finish(self, spec):
        if not spec.after:
            return
        last = self.session(len(spec.sessions), "after")
        for step in spec.after:
            if isinstance(step, Call):
                last.prepare(step.name)
            last.start(step)
            self.advance(spec, [last])

    def run(self, spec, orders):
        """(merges that ran, [(label, what), ...])."""
        ran, bad = 0, []
        for order in orders:
            found = self.merge(spec, order)
            if found is None:
                continue
            ran += 1
            if found:
                bad.append((spec.label(order), found))
        return ran, bad
