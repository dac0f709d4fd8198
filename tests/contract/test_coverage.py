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
    in_c = "REASON_%s|REJECT_%s|DELIVERY_%s" % ((WORDS[word].upper(),) * 3)
    found = re.search(r"(?<![\w.])(?:%s|%s)(?!\w)" % (re.escape(WORDS[word]), in_c), TESTS)
    assert found is not None, "no test has " + word


def tocsind():
    return os.path.join(os.environ.get("TOCSIN_BUILD") or os.path.join(ROOT, "build", "release"),
                        "bridge", "tocsind")


def settings():
    """(section, key) of each plain setting, as the program prints them."""
    found = []
    for line in methods.read("docs", "config.md").split("\n"):
        name = re.match(r"\| `([a-z_]+)\.([a-z_]+)` \|", line)
        if name:
            found.append(name.groups())
    return found


def test_each_setting_misspelt_by_one_letter_is_refused(tmp_path):
    """A letter left out, and a letter doubled; none of them starts with the setting's default."""
    known = set(settings())
    assert len(known) > 30
    for section, key in sorted(known):
        for wrong in (key[:-1], key[0] + key):
            if (section, wrong) in known or not wrong:
                continue
            path = tmp_path / "tocsind.yaml"
            path.write_text("%s:\n  %s: 1\n" % (section, wrong))
            done = subprocess.run([tocsind(), "--config", str(path), "--check-config"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            assert done.returncode == 1, (section, wrong)
            assert "%s.%s" % (section, wrong) in done.stdout or wrong in done.stdout, done.stdout


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
