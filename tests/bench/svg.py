# SPDX-License-Identifier: MIT
"""Line charts as SVG, small and without any library: what the benchmarks' page shows."""
import math
import xml.sax.saxutils

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 92, 44, 52
COLOURS = ("#1f6feb", "#d29922", "#cf222e", "#1a7f37", "#8250df", "#57606a", "#bf3989", "#0a7ea4")
STYLE = ("text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-size:15px;fill:#24292f}"
         ".g{stroke:#d0d7de;stroke-width:1}.l{fill:none;stroke-width:2;stroke-linejoin:round}")


def escape(text):
    return xml.sax.saxutils.escape(str(text))


def short(value):
    """An axis label: 0.5, 20, 1,500, 20 k, 3 M."""
    if abs(value) >= 1e6:
        return "%g M" % (value / 1e6)
    if abs(value) >= 10000:
        return "%g k" % (value / 1e3)
    return "{:,g}".format(value) if abs(value) >= 1000 else "%g" % value


class Axis:
    """Values to a span of pixels, linear or logarithmic, with round ticks."""

    def __init__(self, values, log, zero, low_px, high_px):
        self.log, self.low_px, self.high_px = log, low_px, high_px
        low, high = (min(values), max(values)) if values else (0, 1)
        if log:
            low, high = max(low, 1e-9), max(high, 1e-9)
            self.low, self.high = self.outward(low, math.floor), self.outward(high, math.ceil)
            if self.low == self.high:
                self.high *= 10
        else:
            self.step = self.round_step((high - (0 if zero else low)) or abs(high) or 1)
            self.low = 0 if zero else math.floor(low / self.step) * self.step
            self.high = math.ceil(high / self.step + 1e-9) * self.step
            if self.high <= self.low:
                self.high = self.low + self.step

    @staticmethod
    def outward(value, to):
        """The next of 1, 2, 5 times a power of ten, downward or upward."""
        power = 10 ** math.floor(math.log10(value))
        steps = (1, 2, 5, 10)
        if to is math.floor:
            return max(s for s in steps if s <= value / power * 1.0000001) * power
        return min(s for s in steps if s >= value / power * 0.9999999) * power

    @staticmethod
    def round_step(span):
        power = 10 ** math.floor(math.log10(span / 5))
        return next(s for s in (1, 2, 5, 10) if s * power >= span / 5 * 0.9999999) * power

    def ticks(self):
        if not self.log:
            count = round((self.high - self.low) / self.step)
            return [self.low + i * self.step for i in range(count + 1)]
        found, power = [], 10 ** math.floor(math.log10(self.low))
        wide = self.high / self.low > 1e4
        while power <= self.high * 1.0000001:
            found += [s * power for s in ((1,) if wide else (1, 2, 5))]
            power *= 10
        return [t for t in found if self.low * 0.9999999 <= t <= self.high * 1.0000001]

    def at(self, value):
        if self.log:
            value = max(value, self.low)
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(self.low_px + part * (self.high_px - self.low_px), 1)


class Plot:
    """One chart: `series` is [(label, [(x, y), ...]), ...]; `name` is a part of its file's name."""

    def __init__(self, name, title, x_label, y_label, series, log_x=False, log_y=False,
                 zero_y=False):
        self.name, self.title, self.x_label, self.y_label = name, title, x_label, y_label
        self.series = [(label, [(x, y) for x, y in points if x is not None and y is not None])
                       for label, points in series]
        self.series = [(label, points) for label, points in self.series if points]
        self.log_x, self.log_y, self.zero_y = log_x, log_y, zero_y

    def svg(self):
        xs = [x for _, points in self.series for x, _ in points]
        ys = [y for _, points in self.series for _, y in points]
        across = Axis(xs, self.log_x, False, LEFT, WIDTH - RIGHT)
        upward = Axis(ys, self.log_y, self.zero_y, HEIGHT - BOTTOM, TOP)
        parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" '
                 'aria-label="%s">' % (WIDTH, HEIGHT, escape(self.title)),
                 "<style>%s</style>" % STYLE,
                 '<rect width="100%" height="100%" fill="#fff"/>',
                 '<text class="t" x="%d" y="24">%s</text>' % (LEFT, escape(self.title))]
        parts += self.grid(across, upward)
        parts += self.lines(across, upward)
        return "\n".join(parts + ["</svg>", ""])

    def grid(self, across, upward):
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for tick in upward.ticks():
            y = upward.at(tick)
            yield '<path class="g" d="M%d %sH%d"/>' % (LEFT, y, right)
            yield '<text x="%d" y="%s" text-anchor="end">%s</text>' % (LEFT - 8, y + 4, short(tick))
        for tick in across.ticks():
            x = across.at(tick)
            yield '<path class="g" d="M%s %dv6"/>' % (x, bottom)
            yield '<text x="%s" y="%d" text-anchor="middle">%s</text>' % (
                x, bottom + 20, short(tick))
        yield '<text x="%d" y="%d" text-anchor="middle">%s</text>' % (
            (LEFT + right) // 2, HEIGHT - 10, escape(self.x_label))
        yield '<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>' % (
            (TOP + bottom) // 2, escape(self.y_label))

    def lines(self, across, upward):
        """The lines, each named at its right end, names kept apart from each other."""
        ends = []
        for index, (label, points) in enumerate(self.series):
            colour = COLOURS[index % len(COLOURS)]
            places = [(across.at(x), upward.at(y)) for x, y in points]
            yield '<path class="l" stroke="%s" d="M%s"/>' % (
                colour, "L".join("%s %s" % place for place in places))
            if len(points) <= 40:
                for x, y in places:
                    yield '<circle cx="%s" cy="%s" r="3" fill="%s"/>' % (x, y, colour)
            ends.append([places[-1][1], label, colour])
        below = HEIGHT
        for y, label, colour in sorted(ends, reverse=True):
            below = min(y, below - 15)
            yield '<text x="%d" y="%s" style="fill:%s">%s</text>' % (
                WIDTH - RIGHT + 8, round(below + 4, 1), colour, escape(label))
