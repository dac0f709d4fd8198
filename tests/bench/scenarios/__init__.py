# SPDX-License-Identifier: MIT
"""What `./run bench` can measure: one file here for each scenario, found by its presence.

A scenario is a module with
    a docstring      what is measured and how: it goes into docs/benchmarks.md as it is
    NAME, GOAL       its name on the command line, and what it should show
    run(args, build) -> a tree of figures.  `--repeat N` runs it N times and takes the median of
                     every leaf, so numbers stay numbers.  Under "phases", {name: what Rig.notify
                     returned} becomes the tables of throughput, latency and cost
and, where it has more to say,
    ORDER            its place in the page (100)
    DEFAULT          False: only run when it is named
    WITH             names of those that run along when it is named
    tables(result)   yields (title, [header, row, ...]) for tables of its own
    facts(result)    yields sentences
    plots(result)    yields svg.Plot
    failures(result) yields sentences about what is not as it must be: the run fails
A load that loses a notification, or whose connections fail, raises rig.Lost.
"""
import importlib
import pkgutil


def load():
    """{name: module} of all scenarios, in the order in which they are documented."""
    found = [importlib.import_module("%s.%s" % (__name__, info.name))
             for info in pkgutil.iter_modules(__path__)]
    found = [module for module in found if hasattr(module, "NAME")]
    found.sort(key=lambda module: (getattr(module, "ORDER", 100), module.NAME))
    return {module.NAME: module for module in found}


ALL = load()
DEFAULT = [name for name, module in ALL.items() if getattr(module, "DEFAULT", True)]
