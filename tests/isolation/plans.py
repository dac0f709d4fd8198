# SPDX-License-Identifier: MIT
"""Reads the plans of all statements: a row that is changed or locked by what a joined table says.

Under READ COMMITTED a row that another transaction has changed meanwhile is looked at again by
itself: the joined side counts as it was, and that of an anti join as empty.  Every UPDATE, DELETE
or FOR UPDATE above such a join has a line in plans.txt that says why this does no harm:

    statement: table < joined tables: reason
"""
import os

from driver import HERE

CHANGES = ("Update", "Delete")


def read_reasons():
    """(statement, table, joined) -> reason."""
    reasons = {}
    with open(os.path.join(HERE, "plans.txt"), encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, what, reason = (part.strip() for part in line.split(":", 2))
            table, joined = (part.strip() for part in what.split("<", 1))
            reasons[(name, table, joined)] = reason
    return reasons


def below(node):
    """All nodes under this one that are part of the same query level."""
    for child in node.get("Plans", ()):
        if child.get("Parent Relationship") in ("InitPlan", "SubPlan"):
            continue
        yield child
        yield from below(child)


def everywhere(node):
    yield node
    for child in node.get("Plans", ()):
        yield from everywhere(child)


def family(name):
    """A partition by the name of its table."""
    parts = name.rsplit("_", 1)
    return parts[0] if len(parts) == 2 and (parts[1].isdigit() or parts[1] == "default") else name


def sources(node):
    """What a subtree reads: tables, CTEs, functions."""
    found = []
    for one in [node] + list(below(node)):
        if "Relation Name" in one:
            found.append(family(one["Relation Name"]))
        elif "CTE Name" in one:
            found.append("cte " + one["CTE Name"])
    return found


def sub_plans(node):
    """Tables in SubPlans of this level: looked at anew for the new row, with the old snapshot."""
    for one in [node] + list(below(node)):
        for child in one.get("Plans", ()):
            if child.get("Parent Relationship") == "SubPlan":
                yield from (family(x["Relation Name"]) for x in everywhere(child)
                            if "Relation Name" in x)


def is_join(node):
    return "Join Type" in node


def shapes(plan):
    """(table, joined) of everything that is changed or locked above a join or a SubPlan."""
    for node in everywhere(plan):
        is_change = node["Node Type"] == "ModifyTable" and node["Operation"] in CHANGES
        if not is_change and node["Node Type"] != "LockRows":
            continue
        child = [x for x in node.get("Plans", ())
                 if x.get("Parent Relationship") not in ("InitPlan", "SubPlan")]
        joined = set()
        for one in child:
            if any(is_join(x) for x in [one] + list(below(one))):
                joined |= set(sources(one))
            joined |= {"(%s)" % name for name in sub_plans(one)}
        target = family(node.get("Relation Name", ""))
        if is_change:
            joined.discard(target)
        if joined:
            yield target or "lock", " ".join(sorted(joined))


def plan_of(world, statement):
    arguments = ", ".join(["NULL"] * statement["params"])
    world.cursor.execute(statement["settings"])
    world.cursor.execute("SET plan_cache_mode = force_generic_plan")
    world.cursor.execute('PREPARE "%s" AS %s' % (statement["name"], statement["sql"]))
    world.cursor.execute('EXPLAIN (FORMAT JSON) EXECUTE "%s"%s' % (
        statement["name"], "(%s)" % arguments if arguments else ""))
    plan = world.cursor.fetchone()[0][0]["Plan"]
    world.cursor.execute("DEALLOCATE ALL; RESET ALL")
    return plan


def changed(world, statement):
    """The tables that a statement changes, or whose rows it locks."""
    tables = set()
    for node in everywhere(plan_of(world, statement)):
        if node["Node Type"] == "ModifyTable":
            tables.add(family(node["Relation Name"]))
        elif node["Node Type"] == "LockRows":
            tables |= {one for one in sources(node) if not one.startswith("cte ")}
    return tables


def found(world, statements):
    return {(name, table, joined) for name, one in statements.items()
            for table, joined in shapes(plan_of(world, one))}


def check(world, statements):
    """What has no reason, and reasons for what is not there; with empty and with filled tables."""
    reasons = read_reasons()
    seen = found(world, statements)
    fill(world)
    seen |= found(world, statements)
    for key in sorted(seen - set(reasons)):
        yield ("plan of %s" % key[0], "%s is changed or locked above a join with %s: say in plans.txt"
               " why a row that another has changed meanwhile is treated rightly" % key[1:])
    for key in sorted(set(reasons) - seen):
        yield ("plans.txt", "no plan any more: %s: %s < %s" % key)


def fill(world):
    """Tables as a day's work leaves them, so that the planner chooses by size."""
    world.cursor.execute("""
        SELECT iso_wipe(); SELECT iso_bridge(2); SELECT iso_bridge(3);
        SELECT iso_accept(1000 * n, 40, n % 2, CASE n % 2 WHEN 1 THEN 2 END) FROM generate_series(1, 50) n;
        SELECT iso_accept(1000 * n, 40, 0, NULL, 0) FROM generate_series(51, 80) n;
        SELECT iso_kill(1000 * n + i) FROM generate_series(1, 10) n, generate_series(1, 40) i;
        SELECT iso_schedule(1000 * n + i, now() + interval '1 hour') FROM generate_series(11, 20) n,
            generate_series(1, 40) i;
        ANALYZE""")
