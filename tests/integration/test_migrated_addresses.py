# SPDX-License-Identifier: MIT
"""What was stored before addresses had one form is brought into it by the migration."""
import glob
import os

import servers
from postgres import Postgres

FORM = "0029"  # the migration that brings address_key()
LOWER = "ab" * 32
UPPER = LOWER.upper()


def migrations():
    return sorted(glob.glob(os.path.join(servers.ROOT, "schemas", "sql", "*.sql")))


def apply(postgres, paths):
    for path in paths:
        with open(path) as file:
            postgres.sql(file.read())


def test_device_tokens_of_before_are_in_lower_case(tmp_path):
    postgres = Postgres(tmp_path / "postgres")
    try:
        postgres.start()
        at = [os.path.basename(path)[:4] for path in migrations()].index(FORM)
        apply(postgres, migrations()[:at])
        for user, token, seen in (("both", UPPER, 2), ("both", LOWER, 1), ("one", UPPER, 1),
                                  ("fcm", UPPER + ":X", 1)):
            postgres.sql("insert into target (user_id, channel, kind, token, address, last_seen)"
                         " values ('%s', 1, 0, '%s', '%s', to_timestamp(%d))"
                         % (user, token, token, seen))
        for token in (UPPER, UPPER + ":X"):
            postgres.sql("insert into suppression (channel, address, reason, source)"
                         " values (1, '%s', 1, 'test')" % token)
        apply(postgres, migrations()[at:])
        assert postgres.sql("select user_id, token, address from target order by user_id") == [
            ["both", LOWER, LOWER], ["fcm", UPPER + ":X", UPPER + ":X"], ["one", LOWER, LOWER]]
        assert {row[0] for row in postgres.sql("select address from suppression")} == {
            LOWER, UPPER + ":X"}
    finally:
        postgres.kill()
