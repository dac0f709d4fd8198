# SPDX-License-Identifier: MIT
"""docs/cli.md, replayed: every `$` line in its console blocks, with the output it shows.

Ids and times are compared by their form.  `watch` and `receipts` run beside the rest, as in
another terminal, and are looked at in the end.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import servers  # noqa: E402
from servers import wait_until  # noqa: E402

PAGE = os.path.join(servers.ROOT, "docs", "cli.md")
BESIDE = ("tocsin watch", "tocsin receipts")
FORMS = [(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
         (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"), (r"\b[0-9a-f]{16}\b", "ID"), (r" +", " ")]


def form(text):
    for pattern, name in FORMS:
        text = re.sub(pattern, name, text)
    return text.strip()


def steps():
    """(command, output) of each `$` line, in order."""
    with open(PAGE, encoding="utf-8") as file:
        blocks = re.findall(r"```console\n(.*?)```", file.read(), re.S)
    for block in blocks:
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = step.partition("\n")
            yield command, output


class Beside:
    """A command in another terminal."""

    def __init__(self, command, place, env):
        self.command, self.path = command, os.path.join(place, "beside-%d" % len(os.listdir(place)))
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen("exec " + command, shell=True, cwd=place, env=env,
                                            stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        wait_until(self.text, 10, command)

    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def end(self, output):
        try:
            wait_until(lambda: form(self.text()).startswith(form(output)), 10, self.command)
        except TimeoutError:
            assert form(self.text()) == form(output), self.command
        finally:
            self.process.terminate()
            assert self.process.wait(10) == 143


def test_every_command_does_what_the_page_shows(stack, tmp_path):
    for kind, subject in (("service", "orders"), ("user", "alice"), ("admin", "root")):
        servers.write_file(str(tmp_path / ("%s.token" % subject)), stack.token(kind, subject))
    env = {**os.environ, "TOCSIN_STACK": stack.dir, "TOCSIN_TOKEN_FILE": "orders.token",
           "PATH": "%s/clients/cli:%s" % (servers.build_dir(), os.environ["PATH"])}
    every = list(steps())
    assert len(every) > 15
    listing = dict(every)["cat requests.jsonl"]
    (tmp_path / "requests.jsonl").write_text(listing)
    beside = []
    for command, output in every:
        if command.startswith(BESIDE):
            beside.append((Beside(command, str(tmp_path), env), output))
            continue
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert form(done.stdout) == form(output), command
    for example, output in beside:
        example.end(output)
