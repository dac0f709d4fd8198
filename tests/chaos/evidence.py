# SPDX-License-Identifier: MIT
"""A recording, put in order: the questions that checker.py asks of it.  No judgement here."""
import collections

SENT, DELIVERED, DEAD, SUPPRESSED, EXPIRED, CANCELLED = 3, 4, 5, 6, 7, 8
STATES = {SENT: "sent", DELIVERED: "delivered", DEAD: "dead", SUPPRESSED: "suppressed",
          EXPIRED: "expired", CANCELLED: "cancelled"}
FINALS = frozenset(STATES)
FINAL_NAMES = frozenset(STATES.values())
CHANNELS = ("in_app", "push", "sms", "email", "chat", "webhook")
IDEMPOTENT = ("webhook",)  # whose receivers drop the second of one id
PASSING_REASONS = ("user_offline", "ack_timeout")  # an in-app death that a connect undoes
PROVIDER_DEADLINE = 4.0
BROKER_MEMORY = 12.0  # autosave_interval, and a moment
# Components whose faults come between a provider's answer and our record of it.
OURS = ("bridge", "postgres", "net-bridge")


class Evidence:
    def __init__(self, events):
        self.events = events
        self.tables = collections.defaultdict(list)
        self.published, self.expect, self.spoilt = {}, {}, set()
        self.by_tag = {}
        self.accepted = collections.defaultdict(set)
        self.rejected = collections.defaultdict(list)
        self.receipts = collections.defaultdict(list)
        self.told = collections.defaultdict(list)  # (service, id, channel, whom) -> receipts
        self.shown = collections.defaultdict(list)
        self.effects = collections.defaultdict(list)
        self.books, self.exits, self.samples, self.calls = [], [], [], []
        self.costs, self.canaries = [], []
        self.spans = []  # (begin, end, component, name)
        self.is_sanitized = False
        self.started = events[0]["at"] if events else 0
        self.sort(events)
        self.index_rows()

    def sort(self, events):
        takers = {"publish": self.take_publish, "receipt": self.take_receipt,
                  "shown": self.take_shown, "call": self.take_call, "fault": self.take_fault,
                  "books": self.books.append, "exit": self.exits.append,
                  "sample": self.samples.append, "cost": self.costs.append,
                  "canary": self.canaries.append,
                  "rows": lambda e: self.tables[e["table"]].extend(e["rows"]),
                  "run": lambda e: setattr(self, "is_sanitized", e.get("sanitized", False))}
        for event in events:
            if event["what"] in takers:
                takers[event["what"]](event)
        for calls in self.effects.values():
            calls.sort(key=lambda call: call["arrived"])

    def take_publish(self, event):
        key = (event["service"], event["id"])
        self.published.setdefault(key, event)
        if event.get("spoilt"):
            self.spoilt.add(key)
        else:
            self.expect.setdefault(key, event["expect"])
            self.by_tag[event["expect"]["tag"]] = key

    def take_receipt(self, event):
        receipt = event["receipt"]
        key = (event["service"], receipt.get("id"))
        self.receipts[key].append(event)
        if receipt["status"] == "accepted":
            self.accepted[key].add(receipt["notification"])
        elif receipt["status"] == "rejected":
            self.rejected[key].append(receipt)
        else:
            whom = receipt.get("user") or receipt.get("target")
            self.told[key + (receipt.get("channel"), whom)].append(event)

    def take_shown(self, event):
        self.shown[event["user"], event["tag"]].append(event)

    def take_call(self, event):
        self.calls.append(event)
        if event["verdict"] == "accepted":
            self.effects[event["tag"], event["channel"]].append(event)

    def take_fault(self, event):
        if event["phase"] == "begin":
            self.spans.append([event["at"], float("inf"), event["component"], event["name"]])
        elif event["phase"] == "end":
            for span in reversed(self.spans):
                if span[2:] == [event["component"], event["name"]]:
                    span[1] = event["at"]
                    break

    def index_rows(self):
        self.stored = collections.defaultdict(list)
        self.expires = {}
        for row in self.rows("notification"):
            key = (row["service"], row["request"])
            self.stored[key].append((row["id"], row["deliveries"]))
            if row["expires"]:
                self.expires[key] = float(row["expires"])
        self.ends = collections.defaultdict(list)  # delivery -> states in order
        self.end_at = {}
        self.of_notification = collections.defaultdict(set)
        self.about = {}  # delivery -> (notification, channel, recipient)
        for row in sorted(self.rows("attempt"), key=lambda row: float(row["at"])):
            self.about[row["delivery"]] = (row["notification"], row["channel"], row["recipient"])
            if row["state"] is not None:
                self.ends[row["delivery"]].append(row["state"])
                self.end_at[row["delivery"]] = float(row["at"])
                self.of_notification[row["notification"]].add(row["delivery"])

    def rows(self, table):
        return self.tables.get(table, [])

    # Deliveries
    def first_stored(self):
        return [(key, rows[0]) for key, rows in self.stored.items()]

    def ended_count(self, notification):
        return len(self.of_notification[notification])

    def ends_of(self, notification):
        return {d: self.end_at[d] for d in self.of_notification[notification]}

    def states_of_all(self, notification):
        return {str(d): [STATES[s] for s in self.ends[d]]
                for d in self.of_notification[notification]}

    def is_legal_end(self, delivery, states):
        """One end; or dead, brought back, and one more; or sent, and reported on."""
        return all(before in (DEAD, SENT) for before in states[:-1]) and (
            len(states) < 2 or self.about[delivery][1] == 0 or states[0] == SENT)

    def success_at(self, tag, channel, recipient=None):
        """When the success of that delivery was recorded; None while it was not."""
        key = self.by_tag.get(tag)
        for number, _ in self.stored.get(key, ()):
            for delivery in self.of_notification[number]:
                _, its_channel, its_recipient = self.about[delivery]
                if CHANNELS[its_channel] == channel and recipient in (None, its_recipient) \
                        and self.ends[delivery][-1] in (SENT, DELIVERED):
                    return self.end_at[delivery]
        return None

    def asked_at(self, tag):
        """When a request was first published; it may be shown long after that."""
        found = self.published.get(self.by_tag.get(tag))
        return found["at"] if found else 0

    def groups_of(self, key):
        if not hasattr(self, "_groups"):
            self._groups = collections.defaultdict(list)
            for group in self.told:
                self._groups[group[:2]].append(group)
        return self._groups[key]

    def states_of(self, group):
        """The states that the database has for a request on a channel."""
        found = []
        for number, _ in self.stored.get(group[:2], ()):
            for delivery in self.of_notification[number]:
                _, channel, recipient = self.about[delivery]
                if CHANNELS[channel] == group[2] and (
                        channel != 0 or group[3] in (None, recipient)):
                    found += [STATES[state] for state in self.ends[delivery]]
        return found

    def agrees(self, group, finals):
        known = self.states_of(group)
        return all(event["receipt"]["status"] in known for event in finals)

    def happenings(self):
        """(tag, channel, when, what) of everything that left for a provider or was shown."""
        for call in self.calls:
            yield call["tag"], call["channel"], call["arrived"], self.moment(call)
        for (user, tag), shown in self.shown.items():
            yield tag, "in_app", shown[0]["at"], user

    def expired_early(self):
        """(key, notification, when) of what ended as expired before its time had come."""
        by_number = {row["id"]: row for row in self.rows("notification")}
        for delivery, states in self.ends.items():
            row = by_number.get(self.about[delivery][0])
            if row and row["expires"] and EXPIRED in states:
                policy = 4.0  # ends at once when the next attempt would come too late
                if self.end_at[delivery] < float(row["expires"]) - policy - 0.5:
                    yield (row["service"], row["request"]), row, self.end_at[delivery]

    # Faults
    def faults_between(self, begin, end, components=()):
        return [span for span in self.spans if span[0] <= end and span[1] >= begin - 1.0 and (
            not components or span[2].startswith(tuple(components)))]

    def why_repeated(self, before, call):
        """The allowance under which a provider may have been asked again; None: there is none."""
        if (before["why"] or "").startswith("fault:"):
            return "its answer was lost on the way"
        provider = ("provider-" + before["provider"], "net-" + before["provider"])
        if self.faults_between(before["arrived"] - PROVIDER_DEADLINE,
                               before["arrived"] + PROVIDER_DEADLINE, provider):
            return "its answer came too late or not at all"
        if self.faults_between(before["arrived"] - PROVIDER_DEADLINE, call["arrived"], OURS):
            return "a crash or an absence between its answer and our record"
        return None

    def was_held(self, call):
        """Whether the network may have kept this request back and delivered it late."""
        return bool(self.faults_between(call["arrived"] - 16, call["arrived"],
                                        ("net-" + call["provider"],)))

    def broker_lost(self, at):
        """Whether the broker was killed soon after that moment, with what it had not saved."""
        return any(span[3].startswith("broker.kill") and span[0] - BROKER_MEMORY <= at
                   <= span[1] + BROKER_MEMORY for span in self.spans)

    # For people
    def clock(self, at):
        return "%.2f s" % (at - self.started)

    def moment(self, call):
        return "%s #%d at %s%s" % (call["provider"], call["seq"], self.clock(call["arrived"]),
                                   " (%s)" % call["why"] if call["why"] else "")

    def counts(self):
        finals = collections.Counter(STATES[states[-1]] for states in self.ends.values())
        return {"requests published": len(self.published), "accepted": len(self.accepted),
                "rejected": len(self.rejected), "deliveries ended": len(self.ends),
                **{"  of them " + name: count for name, count in finals.items()},
                "requests at providers": len(self.calls),
                "shown on devices": sum(map(len, self.shown.values())),
                "faults": len(self.spans), "looks at the books": len(self.books)}


