# SPDX-License-Identifier: MIT
"""docs/providers/ says what the code does: keys and error tables are generated from it.

    python3 tests/integration/test_channel_docs.py      writes them anew
"""
import os
import re
import subprocess
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import channel_probe as probe  # noqa: E402

HEADS = {
    "keys": "| key | kind | default | meaning |\n| --- | --- | --- | --- |\n",
    "errors": "| status | code or text | class | reason | meaning |\n"
              "| --- | --- | --- | --- | --- |\n",
}
DOCS = os.path.join(probe.ROOT, "docs", "providers")


def ask(*words):
    done = subprocess.run([probe.binary(), *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def fill(text, mark, rows):
    pattern = re.compile(r"(<!-- %s -->\n).*?(<!-- end -->)" % mark, re.S)
    assert pattern.search(text), "no <!-- %s --> section" % mark
    return pattern.sub(lambda match: match.group(1) + "\n" + HEADS[mark] + rows + "\n" + match.group(2), text)


def pages():
    """(path, what is there, what should be there)"""
    for name in ask("--list").split():
        if name.startswith("log_"):
            continue
        path = os.path.join(DOCS, name + ".md")
        with open(path) as file:
            text = file.read()
        yield path, text, fill(fill(text, "keys", ask("--keys", name)), "errors",
                               ask("--errors", name))


def test_every_adapter_has_a_page_that_is_true():
    for path, text, wanted in pages():
        assert text == wanted, "%s is out of date: run %s" % (path, __file__)


def test_every_page_is_listed():
    with open(os.path.join(DOCS, "README.md")) as file:
        index = file.read()
    for name in os.listdir(DOCS):
        if name != "README.md":
            assert "(%s)" % name in index


if __name__ == "__main__":
    for page, _, good in list(pages()):
        with open(page, "w") as out:
            out.write(good)
