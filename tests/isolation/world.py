# SPDX-License-Identifier: MIT
"""The database of a run: the schema with the checks of tests, emptied before each merge."""
import glob
import json
import os

import psycopg2

import servers
from driver import HERE, quote


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class World:
    """One empty database.  judge() says what is wrong after a merge."""

    def __init__(self, url, name, statements):
        self.statements = statements
        self.url = url + " dbname=" + name
        self.conn = psycopg2.connect(self.url)
        self.conn.autocommit = True
        self.cursor = self.conn.cursor()
        for path in sorted(glob.glob(os.path.join(servers.ROOT, "schemas", "sql", "*.sql"))):
            self.cursor.execute("BEGIN;" + read(path) + ";COMMIT")
        self.cursor.execute(read(os.path.join(HERE, "checks.sql")))
        self.cursor.execute(read(os.path.join(HERE, "world.sql")))
        self.base = int(self.value("SELECT base FROM iso_base"))
        self.answers, self.begun = [], {}

    def close(self):
        self.conn.close()

    def value(self, sql):
        self.cursor.execute(sql)
        return self.cursor.fetchone()[0]

    def rows(self, sql):
        self.cursor.execute(sql)
        return self.cursor.fetchall()

    def id(self, number):
        return self.base + number

    def begin(self, spec):
        self.answers, self.begun = [], {}
        self.cursor.execute("SELECT iso_wipe();" + ";".join(spec.setup))

    def answered(self, session, step, rows):
        for row in rows:
            self.answers.append((len(self.answers), session, str(step),
                                 json.dumps(row, default=str)))

    def began(self, session):
        self.begun[session] = len(self.answers)

    def take_back(self, session):
        """Its transaction was rolled back, and with it what it had answered."""
        first = self.begun[session]
        self.answers = [one for i, one in enumerate(self.answers) if i < first or one[1] != session]

    def judge(self, spec):
        found = []
        if self.answers and spec.answers:
            self.cursor.execute("INSERT INTO iso_answer VALUES " + ",".join(
                "(%d,%s,%s,%s)" % (place, quote(session), quote(step), quote(row))
                for place, session, step, row in self.answers))
        for what, detail in self.rows("SELECT * FROM iso_wrong()"):
            found.append("%s: %s" % (what, detail))
        for what, sql in spec.never:
            rows = self.rows(sql)
            if rows:
                found.append("%s: %s" % (what, "; ".join(map(str, rows[:4]))))
        return found
