# SPDX-License-Identifier: MIT
"""docs/cli.md, replayed: every `$` line in its console blocks, with the output it shows.

Ids and times are compared by their form.  `watch` and `receipts` run beside the rest, as in
another terminal, and are looked at in the end.

    python3 tests/integration/test_cli_docs.py     writes what it sees into the page instead
"""
import os
import re
import subprocess
import sys
import tempfile

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


def page():
    with open(PAGE, encoding="utf-8") as file:
        return file.read()


def steps():
    """(command, output) of each `$` line, in order."""
    for block in re.findall(r"```console\n(.*?)```", page(), re.S):
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
        """Without the badge, which comes once a second at most: whenever that is."""
        with open(self.path, encoding="utf-8") as file:
            return re.sub(r"^badge: .*\n", "", file.read(), flags=re.M)

    def end(self, output):
        try:
            wait_until(lambda: form(self.text()).count("\n") >= form(output).count("\n"), 10)
        except TimeoutError:
            pass  # the comparison will show what is missing
        self.process.terminate()
        assert self.process.wait(10) == 143
        return self.text()


def replay(stack, place):
    """(command, output shown, output seen) of each step."""
    for kind, subject in (("service", "orders"), ("user", "alice"), ("admin", "root")):
        servers.write_file(os.path.join(place, "%s.token" % subject), stack.token(kind, subject))
    env = {**os.environ, "TOCSIN_STACK": stack.dir, "TOCSIN_TOKEN_FILE": "orders.token",
           "PATH": "%s/clients/cli:%s" % (servers.build_dir(), os.environ["PATH"])}
    every = list(steps())
    servers.write_file(os.path.join(place, "requests.jsonl"), dict(every)["cat requests.jsonl"])
    seen = []
    for command, output in every:
        if command.startswith(BESIDE):
            seen.append((command, output, Beside(command, place, env)))
            continue
        done = subprocess.run(command, shell=True, cwd=place, env=env, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        seen.append((command, output, done.stdout))
    return [(command, output, found.end(output) if isinstance(found, Beside) else found)
            for command, output, found in seen]


def test_every_command_does_what_the_page_shows(stack, tmp_path):
    found = replay(stack, str(tmp_path))
    assert len(found) > 15
    for command, shown, seen in found:
        assert form(seen) == form(shown), command


def rewrite():
    with tempfile.TemporaryDirectory() as place:
        os.mkdir(os.path.join(place, "work"))
        with servers.Stack(os.path.join(place, "stack")) as stack:
            found = replay(stack, os.path.join(place, "work"))
    outputs = iter(found)

    def block(match):
        count = len(re.findall(r"^\$ ", match.group(1), re.M))
        return "```console\n%s```" % "".join(
            "$ %s\n%s" % (command, seen) for command, _, seen in
            (next(outputs) for _ in range(count)))
    text = re.sub(r"```console\n(.*?)```", block, page(), flags=re.S)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    rewrite()
