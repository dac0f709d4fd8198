# SPDX-License-Identifier: MIT
"""Whether a curve grows: the judgement of an endurance run.

The slope is the median of those between all pairs of points (Theil and Sen), so that neither a
spike nor a vacuum that comes late decides; it is taken to the length of the judged stretch.
"""
import itertools
import statistics

POINTS_MIN = 5


class Bound:
    """What a curve may rise over the judged stretch: a share of its median, or so much at least."""

    def __init__(self, share, least, unit=""):
        self.share, self.least, self.unit = share, least, unit

    def allows(self, points):
        return growth(points) <= max(self.share * median(points), self.least)


def median(points):
    return statistics.median(y for _, y in points)


def growth(points):
    """By how much y rises from the first x to the last, going by the median slope."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2)
              if b[0] != a[0]]
    return statistics.median(slopes) * (points[-1][0] - points[0][0]) if slopes else 0.0


class Verdict:
    """One curve, judged over its last two thirds, or from where it is full if that is later."""

    def __init__(self, name, points, bound, full_from=0):
        self.name, self.bound = name, bound
        points = [(x, y) for x, y in points if y is not None]
        begin = max(full_from, points[len(points) // 3][0]) if points else 0
        self.points = [(x, y) for x, y in points if x >= begin]
        self.is_judged = len(self.points) >= POINTS_MIN
        self.is_flat = not self.is_judged or bound.allows(self.points)

    def row(self):
        if not self.is_judged:
            return [self.name, "-", "-", "-", "-", "not judged"]
        return [self.name, "%g - %g" % (self.points[0][0], self.points[-1][0]),
                "%s %s" % (figure(median(self.points)), self.bound.unit),
                "%+.1f %%" % (100 * growth(self.points) / (median(self.points) or 1)),
                "%d %%, or %s" % (100 * self.bound.share, figure(self.bound.least)),
                "flat" if self.is_flat else "GROWS"]


def figure(value):
    return "{:,.0f}".format(value) if abs(value) >= 100 else "%.3g" % value


HEAD = ["curve", "hours judged", "median", "growth", "allowed", "verdict"]
