# SPDX-License-Identifier: MIT
"""Every word of the contract occurs in a test that can fail, and every misspelt setting is refused.

Words are read from the code's own tables and the published schema: methods, receipt statuses, reasons,
states, channels, alerts, settings. A word that no test speaks of is one that nobody has tried.
"""
import glob
import json
import os
import re
import subprocess

import pytest

import methods
import servers

ROOT = methods.ROOT
# Words that no test speaks of, and why that is so.
UNTRIED = {
    "reason template_error": "templates are not served by this version",
    "reason quiet_hours_expired": "quiet hours are not served by this version",
    "reason frequency_cap": "frequency caps are not served by this version",
    "reason preference_off": "preferences are not served by this version",
    "reason user_forgotten": "forgetting a user is not served by this version",
}


def all_tests():
    """The text of all tests, of which this file is none: it only lists."""
    found = []
    for pattern in ("tests/**/*.py", "tests/**/*.c"):
        for path in glob.glob(os.path.join(ROOT, pattern), recursive=True):
            if not path.endswith("test_coverage.py") and "/.node/" not in path:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found.append(file.read())
    return "\n".join(found)


TESTS = all_tests()


def has_word(text, word):
    at = text.find(word)
    while at >= 0:  # many times faster than a pattern that begins with a look behind
        end = at + len(word)
        if not re.match(r"[\w.]", text[at - 1:at]) and not re.match(r"\w", text[end:end + 1]):
            return True
        at = text.find(word, at + 1)
    return False


def receipt_statuses():
    return json.loads(methods.read("schemas", "json", "receipt.schema.json"))


def enums(schema, name):
    """The values of each enumeration of a member of that name."""
    if isinstance(schema, dict):
        if name in schema and isinstance(schema[name], dict) and "enum" in schema[name]:
            yield from schema[name]["enum"]
        for value in schema.values():
            yield from enums(value, name)
    elif isinstance(schema, list):
        for value in schema:
            yield from enums(value, name)


def words():
    for method in sorted(methods.of_code()):
        yield "call " + method, method
    for status in enums(receipt_statuses(), "status"):
        yield "status " + status, status
    for path in ("bridge/core/outcome.c", "bridge/core/request.c"):
        text = methods.read(*path.split("/"))
        for name in re.findall(r'\[(?:REASON|REJECT)_\w+\] = "([a-z_]+)"', text):
            yield "reason " + name, name
    for name in re.findall(r'\[DELIVERY_\w+\] = "([a-z_]+)"', methods.read("bridge", "core", "delivery.c")):
        yield "state " + name, name


WORDS = dict(words())


def test_the_words_are_read_from_the_code():
    """So that a table that moves does not leave an empty list behind."""
    kinds = [word.split()[0] for word in WORDS]
    assert kinds.count("call") > 25 and kinds.count("status") >= 11 and kinds.count("reason") > 20
    assert kinds.count("state") >= 8
    assert set(UNTRIED) <= set(WORDS)


@pytest.mark.parametrize("word", sorted(set(WORDS) - set(UNTRIED)))
def test_each_word_of_the_contract_occurs_in_a_test(word):
    name = WORDS[word].upper()
    found = [one for one in (WORDS[word], "REASON_" + name, "REJECT_" + name, "DELIVERY_" + name)
             if has_word(TESTS, one)]
    assert found, "no test has " + word


def tocsind():
    return os.path.join(os.environ.get("TOCSIN_BUILD") or os.path.join(ROOT, "build", "release"),
                        "bridge", "tocsind")


KNOWN_KEY = re.compile(r"\| `([a-z_]+(?:\.[a-z_]+)*)` \|")


def tables():
    """{place: its settings} of each table of docs/config.md, which the program itself prints."""
    found, place = {}, None
    for line in methods.read("docs", "config.md").split("\n"):
        adapter = re.match(r"### adapter `([a-z_]+)`", line)
        if line.startswith("## Each "):
            place = line.split()[2].strip(":")
        elif adapter:
            place = adapter.group(1)
        elif KNOWN_KEY.match(line):
            name = KNOWN_KEY.match(line).group(1)
            found.setdefault(place or name.rsplit(".", 1)[0], []).append(name.rsplit(".", 1)[-1])
    return found


TABLES = tables()


def misspelt(key, known):
    """A letter left out, doubled, and two that changed places."""
    middle = len(key) // 2
    for wrong in (key[:-1], key[:middle] + key[middle + 1:], key[0] + key,
                  key[:middle] + key[middle] + key[middle:],
                  key[:middle - 1] + key[middle] + key[middle - 1] + key[middle + 1:]):
        if wrong and wrong not in known:
            yield wrong


def paths(place):
    """Where the settings of a table stand in the file: (section, member or None, what else is needed)."""
    if place == "channel":
        return [("channels", "sms", {})]
    if place == "type":
        return [("types", "order", {})]
    if place == "destination":
        return [("destinations", "d", {"adapter": "log_sms"})]
    if "." in place:
        return [(*place.split("."), {})]
    with_adapter = place in ADAPTERS
    return [("destinations", "d", {"adapter": place})] if with_adapter else [(place, None, {})]


ADAPTERS = {name for name in TABLES if "### adapter `%s`" % name in methods.read("docs", "config.md")}


def faults_of(tmp_path, section, member, needed, keys):
    inner = dict(needed, **{key: "1" for key in keys})
    path = tmp_path / "tocsind.yaml"
    path.write_text(json.dumps({section: {member: inner} if member else inner}))
    done = subprocess.run([tocsind(), "--config", str(path), "--check-config"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1
    return done.stdout


@pytest.mark.parametrize("place", sorted(TABLES, key=str))
def test_each_setting_misspelt_by_one_letter_is_refused_with_the_one_that_is_meant(tmp_path, place):
    known = TABLES[place] + (TABLES["destination"] + ["adapter"] if place in ADAPTERS else [])
    known += TABLES["channel"] if place == "channels.in_app" else []
    for section, member, needed in paths(place):
        wrong = {bad: key for key in TABLES[place] for bad in misspelt(key, known)}
        named = [section] + ([member] if member else [])
        for some in range(0, len(wrong), 8):
            part = list(wrong)[some:some + 8]
            said = faults_of(tmp_path, section, member, needed, part)
            for bad in part:
                (line,) = [line for line in said.split("\n") if ".".join(named + [bad]) + ": " in line]
                meant = re.search(r'there is no such key; is "([a-z_.]+)" meant\?', line)
                assert meant and meant.group(1) in known, line


def test_the_settings_are_read_from_the_code():
    assert len(ADAPTERS) >= 14 and sum(map(len, TABLES.values())) > 150
    assert {"channel", "type", "destination", "channels.in_app", "mqtt"} <= set(TABLES)


def recorded(kind):
    """What tests/contract/unnamed.txt lists of a kind: it may only become shorter."""
    lines = methods.read("tests", "contract", "unnamed.txt").split("\n")
    return {line[len(kind) + 1:] for line in lines if line.startswith(kind + " ")}


def test_each_setting_occurs_in_a_test():
    untried = {"%s %s" % (place, key) for place, keys in TABLES.items() for key in keys
               if not (has_word(TESTS, key) or re.search(r"\.%s\b" % key, TESTS))}
    assert untried <= recorded("setting"), sorted(untried - recorded("setting"))


# What operators see

def sources(*roots):
    for root in roots:
        for path in sorted(glob.glob(os.path.join(ROOT, root, "**", "*.c"), recursive=True)):
            yield methods.read(path)


def pages():
    paths = glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True)
    paths.append(os.path.join(ROOT, "clients", "cli", "tocsin.1"))
    return "\n".join(methods.read(path) for path in paths)


PAGES = pages()


def metrics():
    found = {name for text in sources("bridge") for name in re.findall(r'"(tocsin_[a-z_]+)"', text)}
    return found - {"tocsin_delivery", "tocsin_id"}  # of messages to providers


def log_events():
    called = re.compile(r'\b(?:(?:log_(?:debug|info|warn|error)|fatal)\(|log_write\([^;"]*?)'
                        r'\s*"([a-z0-9_]+\.[a-z0-9_.]+)"')
    return {name for text in sources("bridge") for name in called.findall(text)}


def alerts():
    names = methods.read("bridge", "core", "alert.c").split("void alert_init")[0]
    return set(re.findall(r'return "([a-z_]+)";', names))


def exit_codes():
    table = methods.read("clients", "cli", "exits.h").split("enum cli_exit {")[1].split("}")[0]
    return set(re.findall(r"= (\d+)", table))


def user_events():
    topics = methods.read("schemas", "asyncapi.yaml")
    return set(re.findall(r"notify/v1/users/\{\w+\}/up/([a-z]+):", topics))


SEEN = {"metric": metrics(), "log": log_events()}


def test_what_operators_see_is_read_from_the_code():
    assert len(SEEN["metric"]) > 55 and len(SEEN["log"]) > 140
    assert len(alerts()) >= 7 and len(exit_codes()) >= 11 and len(user_events()) >= 7


@pytest.mark.parametrize("kind", SEEN)
def test_no_metric_and_no_log_event_is_added_without_a_test_or_a_page(kind):
    """Those of before this rule are recorded; a new one is named by a test and by a page."""
    for where, text in (("untested", TESTS), ("undocumented", PAGES)):
        unnamed = {name for name in SEEN[kind] if not has_word(text, name)}
        known = recorded("%s %s" % (where, kind))
        assert unnamed <= known, (where, sorted(unnamed - known))
        assert known <= SEEN[kind], ("recorded, but no more in the code", sorted(known - SEEN[kind]))
        assert known <= unnamed, ("named by now: take the line out", sorted(known - unnamed))


def test_each_metric_that_is_made_is_changed_somewhere():
    """One that stays at zero for ever says that nothing of its kind happens."""
    text = "\n".join(sources("bridge"))
    made = re.findall(r"(\w+)(?:\[[^]]*\])*\s*=\s*metrics_get\w*\([^;]*?\"(tocsin_\w+)\"", text)
    changed = set()
    for call in re.findall(r"metric_(?:add|set|observe)\w*\(([^;]*);", text):
        changed |= {field or local for field, local in
                    re.findall(r"(?:->|\.)(\w+)|^(\w+)(?=[,)])", call)}
    assert len(made) > 40
    assert not {name for field, name in made if field not in changed}


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_each_alert_is_documented_and_tried(alert):
    assert has_word(TESTS, alert) and has_word(PAGES, alert), alert


@pytest.mark.parametrize("code", sorted(exit_codes()))
def test_each_exit_code_of_the_command_line_is_documented_and_tried(code):
    tried = "".join(methods.read("tests", "integration", name)
                    for name in ("test_cli.py", "test_cli_chain.py", "test_cli_examples.py"))
    assert re.search(r"(?:want|returncode|wait)\b[^\n]*(?<![\d.])%s(?![\d.])" % code, tried), code
    assert re.search(r"(?m)^\| `?%s`? \||^\.(?:TP|B|IP)[^\n]*\b%s\b" % (code, code), PAGES), code


@pytest.mark.parametrize("event", sorted(user_events()))
def test_each_event_of_a_user_is_tried(event):
    assert re.search(r"up/%s(?!\w)" % event, TESTS) or has_word(TESTS, event), event


def test_every_topic_that_the_plugin_lets_clients_publish_is_read_by_somebody():
    """No silent sink: the rules of the plugin with a writer, and who reads what they let through."""
    table = re.search(r"rules\[\] = \{(.*?)\n\};", methods.read("plugins", "auth", "acl.c"), re.S)
    written = set()
    for row in re.findall(r"\{([^{}]*)\}", table.group(1)):
        pattern, writers = row.split(",")[0].strip(), row.split(",")[2]
        if re.search(r"\b(?:U|S|A|EVERYONE)\b", writers):
            written.add(pattern.strip('"'))
    assert {"notify/v1/users/@/up/#", "notify/v1/services/@/up/#", "notify/v1/admins/@/up/#"} <= written
    filters = re.findall(r'_filters\[\] = \{"([^"]+)"', methods.read("bridge", "main.c"))
    read = {text.replace("+", "@") for text in filters} | {"ACL_CONTROL_TOPIC"}  # by the plugin
    assert written <= read, "nobody reads %s" % sorted(written - read)


def test_the_program_is_the_one_that_was_built():
    assert os.access(tocsind(), os.X_OK) and servers.ROOT == ROOT
