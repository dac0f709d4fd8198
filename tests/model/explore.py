# SPDX-License-Identifier: MIT
"""Exhaustive exploration of a small model: every state it can reach, and what must hold there.

A model has
    start()             its first state, hashable
    steps(state)        yields (label, is_fault, next state); raises Broken when a step breaks a rule
    is_over(state)      whether nothing more is expected of it
Two kinds of property are checked.  Safety: no reachable step raises Broken.  Liveness, under weak
fairness and with no further faults: every run ends.  A run is fair when no label stays possible for
ever without being taken, so a run without an end exists exactly when some strongly connected set of
unfinished states is fair: each label that is possible in all of its states is taken inside it.
"""


class Broken(Exception):
    """A rule of the model does not hold; the message says which."""


class Found(Exception):
    """A counterexample: the rule, and the steps that lead to it."""

    def __init__(self, rule, trace):
        super().__init__("%s\n%s" % (rule, "\n".join(trace)))
        self.rule, self.trace = rule, trace


class Graph:
    """All reachable states by number, and their steps."""

    def __init__(self, model, most=2000000):
        self.model = model
        self.states, self.number = [], {}
        self.parents, self.edges = [], []
        self.add(model.start(), None, "start")
        at = 0
        while at < len(self.states):
            self.expand(at)
            at += 1
            if at > most:
                raise RuntimeError("more than %d states: the model is too large" % most)

    def add(self, state, parent, label):
        known = self.number.get(state)
        if known is None:
            known = self.number[state] = len(self.states)
            self.states.append(state)
            self.parents.append((parent, label))
        return known

    def expand(self, at):
        found = []
        try:
            for label, is_fault, state in self.model.steps(self.states[at]):
                found.append((label, is_fault, self.add(state, at, label)))
        except Broken as broken:
            raise Found(str(broken), self.trace(at)) from None
        self.edges.append(found)

    def trace(self, at):
        """The labels that lead to a state, shortest way."""
        labels = []
        while at is not None:
            at, label = self.parents[at]
            labels.append(label)
        return labels[::-1]

    def check_runs_end(self):
        """Raises Found when some fair run without further faults never ends."""
        open_ones = {at for at, state in enumerate(self.states) if not self.model.is_over(state)}
        fair = [[(label, to) for label, is_fault, to in edges if not is_fault]
                for edges in self.edges]
        for group in components(open_ones, fair):
            self.check_group(group, fair)
        return len(open_ones)

    def check_group(self, group, fair):
        members = set(group)
        inside = {label for at in group for label, to in fair[at] if to in members}
        if len(group) == 1 and not inside and fair[group[0]]:
            return  # it moves on
        always = set.intersection(*({label for label, _ in fair[at]} for at in group))
        if always <= inside:
            raise Found("a fair run never ends: %d states, of which it can keep to" % len(group),
                        self.trace(min(group)) + ["then for ever: " + ", ".join(sorted(inside))])


def components(nodes, edges):
    """Strongly connected components (Tarjan's, without recursion)."""
    index, low, on_stack, stack = {}, {}, set(), []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            at, rest = work[-1]
            for _, to in rest:
                if to not in nodes:
                    continue
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    on_stack.add(to)
                    work.append((to, iter(edges[to])))
                    break
                if to in on_stack:
                    low[at] = min(low[at], index[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[at])
                if low[at] == index[at]:
                    group = []
                    while not group or group[-1] != at:
                        group.append(stack.pop())
                        on_stack.discard(group[-1])
                    yield group
