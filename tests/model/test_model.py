# SPDX-License-Identifier: MIT
"""The protocol itself, explored in full: nothing is lost, nobody acts on what is another's, what is
final stays so, and every fair run ends.  And each wrong way to build it is found out.

The models are in C (model.c says how one is run by hand), beside the bridge's own table of moves
and its own verdicts, which they ask; statements.c holds the SQL against the same table.
"""
import os
import re
import subprocess

import pytest

import servers

# What a run of each model may have of faults; in life also of calls, visits, reports.
SHORT = {"lease": 1, "life": 2, "ingest": 3, "telling": 2}
WHOLE = {"lease": 2, "life": 4, "ingest": 5, "telling": 3}
MUTANT = {"lease": 1, "life": 4, "ingest": 2, "telling": 2}  # the most that a wrong one may need
# An arrow that nobody follows in the database: a complaint is told, while the books keep `sent`.
UNUSED = {("sent", "suppressed")}


def binary():
    """The optimised one where there is one: nothing here is about memory."""
    for build in (os.path.join(servers.ROOT, "build", "release"), servers.build_dir()):
        path = os.path.join(build, "tests", "model", "model")
        if os.path.exists(path):
            return path
    return pytest.fail("the model is not built")


def run(*words, seconds=300):
    """(exit status, what it printed)."""
    done = subprocess.run([binary(), *map(str, words)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                          check=False)
    return done.returncode, done.stdout.decode()


def listed(kind):
    return [line.split(": ")[0].split()[1:] for line in LIST.splitlines()
            if line.startswith(kind + " ")]


def moves(text, first="move"):
    return {tuple(line.split()[-2:]) for line in text.splitlines() if line.startswith(first + " ")}


def legal_moves():
    """The table of docs/lifecycle.md, which test_delivery.c holds against the code's."""
    with open(os.path.join(servers.ROOT, "docs", "lifecycle.md")) as file:
        section = file.read().split("## Legal moves")[1].split("\n## ")[0]
    return set(re.findall(r"^\| (\w+) \| (\w+) \| ", section, re.M)) - {("from", "to")}


LIST = run()[1]
MODELS = [name for name, in listed("model")]


@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_its_promises_and_ends(name):
    status, text = run(name, "--faults", SHORT[name])
    assert status == 0, text
    assert int(re.search(r" (\d+) states", text).group(1)) > 500


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_its_promises_whatever_happens(name):
    status, text = run(name, "--faults", WHOLE[name], seconds=1500)
    print(text)
    assert status == 0, text


@pytest.mark.parametrize("name,mutation", listed("mutation"))
def test_what_is_built_wrongly_is_found_out(name, mutation):
    """With as few faults as it takes, so that it is found soon."""
    (rule,) = re.findall("^mutation %s %s: .*; (.*)$" % (name, mutation), LIST, re.M)
    for faults in range(MUTANT[name] + 1):
        status, text = run(name, "--mutation", mutation, "--faults", faults)
        if status:
            break
    assert status == 1, text
    assert "\nbroken: %s\n" % rule in text
    assert len(text.split("\nbroken: ")[1].splitlines()) < 60


def test_the_models_make_the_moves_of_the_table_and_the_statements():
    status, text = run("statements")
    assert status == 0, text
    by_statements = moves(text, "statement")
    by_models = set().union(*(moves(run(name, "--faults", SHORT[name])[1]) for name in MODELS))
    assert by_models <= legal_moves()
    assert by_statements == legal_moves() - UNUSED
    assert by_models == by_statements
