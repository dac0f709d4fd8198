# SPDX-License-Identifier: MIT
"""Decides from a recording (recording.py) alone whether the promises were kept.

Shares no code with the bridge and asks nobody: services' receipts, what providers and devices
got, the faults as they happened, and the rows of the end.  A repeat that docs/reliability.md
allows is counted under the allowance's name; everything else is a Finding.

    report = check(recording.read(path));  report.findings == [] when every promise was kept
"""
import collections
import dataclasses
import sys

from evidence import FINAL_NAMES, IDEMPOTENT, PASSING_REASONS, Evidence

# Seconds.  Clocks are one machine's; the rest is how long things may take under load.
RECORDED_SLACK = 1.0     # between a commit's own moment and when it can be seen
RECEIPTS_APART = 1.0     # two bridges' receipts about one request
EXPIRY_SLACK = 4.0       # from the last look at the clock to the provider or the device
EARLY_SLACK = 0.2
EFFECT_OF_FAULT = 15.0   # takeover takes two leases, a provider's deadline three seconds
RSS_BASE_KB, RSS_GROWTH = 65536, 2.0
DATABASE = ("postgres", "net-bridge", "bridge")  # whose faults keep a bridge from it
FDS_MOST = 160           # idle, without connections to providers: about 60, and libcurl's own


@dataclasses.dataclass
class Finding:
    promise: str
    text: str
    count: int = 1
    examples: tuple = ()

    def __str__(self):
        shown = "".join("\n      %s" % (example,) for example in self.examples)
        return "%-12s %s (%d)%s" % (self.promise, self.text, self.count, shown)


class Report:
    def __init__(self):
        self.findings = []
        self.allowed = collections.Counter()
        self.counts = collections.Counter()

    def broken(self, promise, text, examples):
        """Files one finding for all of its examples; none of them, no finding."""
        examples = list(examples)
        if examples:
            self.findings.append(Finding(promise, text, len(examples), tuple(examples[:4])))

    def __str__(self):
        lines = ["%-34s %d" % pair for pair in sorted(self.counts.items())]
        lines += ["allowed: %-48s %d" % pair for pair in sorted(self.allowed.items())]
        lines += ["BROKEN   %s" % finding for finding in self.findings]
        return "\n".join(lines or ["nothing was recorded"])


def check(events):
    report = Report()
    seen = Evidence(events)
    for part in (check_answers, check_lost, check_conservation, check_effects, check_devices,
                 check_receipts, check_told, check_times, check_leaks, check_processes,
                 check_costs):
        part(seen, report)
    report.counts.update(seen.counts())
    return report


# Accepted means committed, and ends

def check_answers(seen, report):
    """Every request is answered, the invalid are rejected and leave nothing behind."""
    report.broken("answer", "published again and again and never answered",
                  [key for key in seen.published if key not in seen.accepted
                   and key not in seen.rejected])
    report.broken("answer", "invalid, and accepted",
                  [key for key, expect in seen.expect.items()
                   if expect.get("reject") and (key in seen.accepted or key in seen.stored)])
    report.broken("answer", "valid, and rejected", [
        (key, seen.rejected[key][0]) for key, expect in seen.expect.items()
        if not expect.get("reject") and any(
            not (r.get("reason") == "id_reused" and key in seen.spoilt)
            for r in seen.rejected.get(key, ()))])
    report.broken("answer", "stored, and never published",
                  [key for key in seen.stored if key not in seen.published])


def check_lost(seen, report):
    report.broken("lost", "accepted and not stored",
                  [key for key in seen.accepted if key not in seen.stored])
    report.broken("lost", "accepted, and a delivery never ended", [
        (key, "%d of %d ended" % (seen.ended_count(number), deliveries))
        for key, (number, deliveries) in seen.first_stored()
        if seen.ended_count(number) < deliveries])
    report.broken("once", "one request, stored twice",
                  [(key, rows) for key, rows in seen.stored.items() if len(rows) > 1])
    report.broken("once", "one request, two notifications told",
                  [(key, sorted(names)) for key, names in seen.accepted.items()
                   if len(names) > 1])
    report.broken("lost", "not as many deliveries as were asked for", [
        (key, deliveries, seen.expect[key]["deliveries"])
        for key, (_, deliveries) in seen.first_stored()
        if key in seen.expect and deliveries != seen.expect[key]["deliveries"]])
    report.broken("once", "a delivery ended twice", [
        (delivery, states) for delivery, states in seen.ends.items()
        if not seen.is_legal_end(delivery, states)])


def check_conservation(seen, report):
    report.broken("books", "conservation: something was missing", [
        event for event in seen.books if event["missing"]][:50])
    for row in seen.rows("conservation"):
        report.broken("books", "something is in flight at the end",
                      [row] if row["in_flight"] or row["missing"] else [])
    accepted = sum(row["deliveries"] for row in seen.rows("notification"))
    ended = len([1 for states in seen.ends.values() if states])
    report.broken("books", "our own sum: deliveries accepted, ended",
                  [(accepted, ended)] if accepted != ended + len(seen.rows("delivery"))
                  + len(seen.rows("scheduled")) else [])


# Once is once

def check_effects(seen, report):
    """What providers did more than once, and whether a document allows it."""
    for (tag, channel), calls in seen.effects.items():
        if len(calls) > 1:
            check_repeats(seen, report, tag, channel, calls)
    report.broken("once", "a provider was asked for what no service published", [
        (call["provider"], call["tag"], call["target"]) for calls in seen.effects.values()
        for call in calls if call["tag"] not in seen.by_tag])


def check_repeats(seen, report, tag, channel, calls):
    if channel in IDEMPOTENT:
        ids = {call["dedupe"] for call in calls}
        report.broken("once", "one request, two ids at a receiver that drops repeats",
                      [(tag, channel, sorted(map(str, ids)))] if len(ids) > 1 else [])
    expect = seen.expect[seen.by_tag[tag]] if tag in seen.by_tag else {}
    for before, call in zip(calls, calls[1:]):
        recorded = seen.success_at(tag, channel)
        if expect.get("once"):
            report.broken("once", "at_most_once, and the provider did it twice",
                          [(tag, seen.moment(before), seen.moment(call))])
        elif recorded and call["arrived"] > recorded + RECORDED_SLACK \
                and not seen.was_held(call):
            report.broken("once", "sent again after its success was recorded", [
                (tag, channel, "recorded %+.2f s before" % (call["arrived"] - recorded),
                 seen.moment(call))])
        else:
            why = seen.why_repeated(before, call)
            if why:
                report.allowed["a provider did it again: %s" % why] += 1
            else:
                report.broken("once", "a provider did it again, and no fault explains it", [
                    (tag, channel, seen.moment(before), seen.moment(call))])


def check_devices(seen, report):
    """A device may be shown the same id again; two ids for one thing only where a key tells."""
    two, late = [], []
    for (user, tag), shown in seen.shown.items():
        ids = {event["id"] for event in shown}
        keys = {event.get("key") for event in shown}
        if len(ids) > 1 and len(keys) == 1 and None not in keys \
                and seen.faults_between(seen.asked_at(tag), shown[-1]["at"], DATABASE):
            report.allowed["shown while Postgres was away, stored under another id, one key"] += 1
        elif len(ids) > 1:
            two.append((user, tag, sorted(ids)))
        ended = seen.success_at(tag, "in_app", user)
        for event in shown[1:]:
            if ended and event["at"] > ended + EFFECT_OF_FAULT \
                    and not seen.faults_between(ended - 1, event["at"]):
                late.append((user, tag, "%.1f s after it was delivered" % (event["at"] - ended)))
            else:
                report.allowed["a device was shown the same id again"] += 1
    report.broken("once", "one request, shown under two ids", two)
    report.broken("once", "shown again long after it was delivered, without a fault", late)
    report.broken("once", "shown, and nobody had asked for it", [
        key for key in seen.shown if key[1] not in seen.by_tag])


# What services are told

def is_told_by_two(seen, key, receipts):
    """One bridge accepted, and another delivered at once: their connections know no common order."""
    accepted = [event for event in receipts if event["receipt"]["status"] == "accepted"]
    nodes = {row["epoch"]: row["node"] for row in seen.rows("bridge")}
    ours = {number for number, _ in seen.stored.get(key, ())}
    enders = {nodes.get(row["epoch"]) for row in seen.rows("attempt") if row["notification"] in ours}
    return bool(accepted) and accepted[0]["at"] - receipts[0]["at"] < RECEIPTS_APART and \
        None not in enders and not enders & {number >> 12 & 1023 for number in ours}


def check_receipts(seen, report):
    """Receipts in an order that can have happened, and none that contradicts another."""
    early, contradicting, repeated, untrue = [], [], [], []
    for key, receipts in seen.receipts.items():
        first = receipts[0]
        if first["receipt"]["status"] not in ("accepted", "rejected"):
            if seen.faults_between(first["at"] - EFFECT_OF_FAULT, first["at"]):
                report.allowed["told the end before `accepted`, by who took over"] += 1
            elif is_told_by_two(seen, key, receipts):
                report.allowed["told the end just before `accepted`, by another bridge"] += 1
            else:
                early.append((key, first["receipt"]["status"]))
    for key, told in seen.told.items():
        finals = [event for event in told if event["receipt"]["status"] in FINAL_NAMES]
        for before, event in zip(finals, finals[1:]):
            was, now = before["receipt"]["status"], event["receipt"]["status"]
            if was == now:
                if seen.faults_between(before["at"] - EFFECT_OF_FAULT, event["at"]):
                    report.allowed["a receipt came again"] += 1
                elif now == "dead" and seen.states_of(key).count("dead") > 1:
                    report.allowed["brought back for its user, and dead again"] += 1
                else:
                    repeated.append((key, now, seen.clock(before["at"]), seen.clock(event["at"])))
            elif not is_legal_change(before["receipt"], event["receipt"]):
                contradicting.append((key, was, now))
        if finals and not seen.agrees(key, finals):
            untrue.append((key, [event["receipt"]["status"] for event in finals],
                           seen.states_of(key)))
    report.broken("receipts", "told an end before `accepted`", early)
    report.broken("receipts", "told two ends that cannot follow each other", contradicting)
    report.broken("receipts", "told the same end again, and no fault explains it", repeated)
    report.broken("receipts", "told an end that the database does not know", untrue)


def is_legal_change(before, now):
    """docs/lifecycle.md: the dead may come back, and what was sent may be reported on."""
    if before["status"] == "sent":
        return now["status"] in ("delivered", "dead", "suppressed")
    if before["status"] == "dead":
        return before.get("reason") in PASSING_REASONS
    return False


def check_told(seen, report):
    """Every end of what was accepted is told, unless the broker forgot it or nobody asked."""
    missing = []
    for key, (number, deliveries) in seen.first_stored():
        ended = seen.ends_of(number)
        told = sum(1 for group in seen.groups_of(key) if any(
            event["receipt"]["status"] in FINAL_NAMES for event in seen.told[group]))
        if told >= deliveries or len(ended) < deliveries or key not in seen.accepted:
            continue
        if all(seen.broker_lost(at) for at in ended.values()) \
                or any(seen.broker_lost(at) for at in ended.values()):
            report.allowed["an end was not told: the broker died with it"] += deliveries - told
        else:
            missing.append((key, "%d of %d told" % (told, deliveries), seen.states_of_all(number)))
    report.broken("receipts", "ended, and never told", missing)


# Time, and what is left behind

def check_times(seen, report):
    late, early = [], []
    for tag, channel, at, what in seen.happenings():
        key = seen.by_tag.get(tag)
        expect = seen.expect.get(key, {})
        if expect.get("not_before") and at < expect["not_before"] - EARLY_SLACK:
            early.append((tag, channel, "%.2f s early" % (expect["not_before"] - at)))
        expires = seen.expires.get(key)
        if expires and at > expires + EXPIRY_SLACK and not seen.faults_between(expires - 5, at):
            late.append((tag, channel, "%.2f s late" % (at - expires), what))
    report.broken("time", "sent or shown before its time", early)
    report.broken("time", "sent or shown after it had expired, without a fault", late)
    alive = [(key, row["created"], seen.expires[key], at) for key, row, at in seen.expired_early()]
    report.broken("time", "expired before its time", alive)


def check_leaks(seen, report):
    alive = {row["epoch"] for row in seen.rows("bridge") if row["is_alive"]}
    report.broken("leaks", "deliveries left in the queue", [
        row for row in seen.rows("delivery")])
    report.broken("leaks", "leased by a bridge that is gone", [
        row for row in seen.rows("delivery") if row["state"] == 1 and row["epoch"] not in alive])
    report.broken("leaks", "bridges in the books that are not alive", [
        row for row in seen.rows("bridge") if not row["is_alive"]])
    report.broken("leaks", "bridges that died, and nobody has told their last", [
        row for row in seen.rows("untold")])
    report.broken("leaks", "lanes of a bridge that is gone", [
        row for row in seen.rows("lane") if row["epoch"] not in alive])
    known = {row["id"] for row in seen.rows("notification")}
    report.broken("leaks", "attempts without a notification", [
        row for row in seen.rows("attempt") if row["notification"] not in known])
    keys = seen.rows("request_key")
    report.broken("leaks", "request keys and notifications are not as many", [
        (row, len(known)) for row in keys if row["keys"] != len(known)])
    report.broken("leaks", "transactions left open", [
        row for row in seen.rows("sessions") if "transaction" in (row["state"] or "")])
    report.broken("leaks", "prepared transactions", seen.rows("prepared"))
    numbers = collections.Counter((row["user_id"], row["seq"]) for row in seen.rows("inbox"))
    report.broken("leaks", "one inbox number, given twice", [
        key for key, count in numbers.items() if count > 1])


def check_processes(seen, report):
    report.broken("process", "ended by itself", [
        (event["process"], event["code"], event["text"][-600:]) for event in seen.exits
        if not event["expected"]])
    for event in seen.exits:
        if event["expected"]:
            report.allowed["a bridge ended for want of memory"] += 1
    calm = [event for event in seen.samples if event["phase"] == "quiet"]
    last = {event["process"]: event for event in calm}
    first = {}
    for event in seen.samples:
        first.setdefault((event["process"], event["pid"]), event)
    for event in last.values():
        base = first[event["process"], event["pid"]]["rss_kb"]
        most = max(RSS_BASE_KB, base * RSS_GROWTH)
        report.broken("process", "memory has grown", [
            (event["process"], "%d kB, from %d" % (event["rss_kb"], base))]
            if not seen.is_sanitized and event["rss_kb"] > most else [])
        report.broken("process", "descriptors are left open", [
            (event["process"], event["fds"])] if event["fds"] > FDS_MOST else [])


# What a fault may write while a character is there, in bytes: it is not the character's.
LOG_OF_OTHERS = 200000


# What one character may cost a bridge in memory, in kB: as tests/amplify/table.yaml has it.
MEMORY_OF_ONE = 131072
# The longest that a neighbour waits while nothing else is wrong, in seconds.
NEIGHBOUR_S = 10.0
# What may be left of a character when all is quiet again, for each process.
LEFT_KB, LEFT_FDS = 65536, 60


def check_costs(seen, report):
    check_log_costs(seen, report)
    report.broken("cost.memory", "a bridge grew by more than one client may cost", [
        (event["character"], process, "%d kB" % (most - event["before"][process][1]))
        for event in seen.costs if not seen.is_sanitized
        for process, most in event.get("peak", {}).items()
        if most - event["before"][process][1] > MEMORY_OF_ONE])
    report.broken("cost.neighbour", "one who did nothing else waited too long", [
        (event["character"], event["kind"], "%.1f s" % event["took"]) for event in seen.canaries
        if event["took"] > NEIGHBOUR_S and not is_other_fault(seen, event)])
    last = {(event["process"], event["pid"]): event for event in seen.samples
            if event["phase"] == "quiet"}
    report.broken("cost.returns", "what a client had taken was not given back", [
        (event["character"], process, "%+d kB" % (now["rss_kb"] - rss_kb),
         "%+d descriptors" % (now["fds"] - fds))
        for event in seen.costs for process, (pid, rss_kb, fds) in event.get("before", {}).items()
        for now in [last.get((process, pid))] if now
        and ((now["rss_kb"] - rss_kb > LEFT_KB and not seen.is_sanitized)
             or now["fds"] - fds > LEFT_FDS)])


def is_other_fault(seen, event):
    """Whether something else was wrong then, or had just been: it may be why the canary waited."""
    return any(not span[3].startswith("hostile.") for span in seen.faults_between(
        event["at"] - EFFECT_OF_FAULT, event["at"] + event["took"]))


def check_log_costs(seen, report):
    report.broken("cost.log", "a tenth of what was sent is in the log, or more", [
        (event["character"], event["sent"], event["log"]) for event in seen.costs
        if event["log"] > event["sent"] / 10 + LOG_OF_OTHERS])


def main(argv):
    import recording
    if len(argv) != 2:
        sys.exit("usage: checker.py RECORDING")
    report = check(recording.read(argv[1]))
    print(report)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
