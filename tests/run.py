# SPDX-License-Identifier: MIT
"""The commands of `./run`.  Standard library only: it runs before anything is installed."""
import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time

import postgres
import servers
import tokens
from building import Failure, build, install_packages, prepare, say

ROOT = servers.ROOT
DEFAULT_DIR = os.path.join(ROOT, ".tocsin")


# Stacks

def stack_dir(args):
    return os.path.abspath(args.dir or DEFAULT_DIR)


def read_stack(directory):
    try:
        with open(os.path.join(directory, "stack.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        raise Failure("no stack in %s: start one with ./run up" % directory) from None


def is_alive(info, name):
    """Whether the process of that name still runs: same pid, same start time, no zombie."""
    found = servers.proc_stat(info["pids"][name])
    return bool(found) and found[1] == info["started"].get(name) and found[2] != "Z"


def cmd_up(args):
    directory = stack_dir(args)
    try:
        old = read_stack(directory)
    except Failure:
        old = None
    if old and any(is_alive(old, name) for name in old["pids"]):
        raise Failure("a stack is running in %s: ./run status, ./run down" % directory)
    prepare("release")
    stack = servers.Stack(directory, bridges=args.bridges, port_base=args.port_base, detach=True,
                          settings=[servers.parse_set(text) for text in args.set])
    servers.raise_on_signals()
    stack.start()
    info = stack.describe()
    say("up in %s" % directory)
    for key in ("mqtt", "ws", "http", "postgres"):
        say("  %-10s%s" % (key, re.sub(r":[^:@/]*@", "@", info[key])))  # without the password
    say("  %-10s%s" % ("providers", info["providers"].get("control", "")))
    say("all of it: %s" % os.path.join(directory, "stack.json"))


def cmd_down(args):
    directory = stack_dir(args)
    was_stack = os.path.exists(os.path.join(directory, "postgres.password"))
    try:
        unclean = stop_stack(directory)
    except Failure:
        if not (args.purge and was_stack):
            raise
        unclean = []
    if args.purge:
        shutil.rmtree(postgres.place_of(directory, postgres.unprivileged()), ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
    if unclean:
        raise Failure("had to be killed: %s" % ", ".join(unclean))
    say("down" if not args.purge else "down, and %s removed" % directory)


def stop_stack(directory):
    """Stops what stack.json names, bridges first; returns what only SIGKILL stopped."""
    info = read_stack(directory)
    order = sorted(info["pids"], key=lambda name: (
        not name.startswith("bridge"), name != "providers", name == "postgres"))
    unclean = [name for name in order if is_alive(info, name) and not end(info, name)]
    os.unlink(os.path.join(directory, "stack.json"))
    return unclean


def end(info, name):
    """Stops one process of a stack; False when only SIGKILL helped."""
    pid = info["pids"][name]
    number = signal.SIGINT if name == "postgres" else signal.SIGTERM
    servers.signal_quietly(pid, number)
    try:
        servers.wait_until(lambda: not is_alive(info, name), 40, "%s to stop" % name)
        return True
    except TimeoutError:
        for below in [pid] + servers.descendants(pid):
            servers.signal_quietly(below, signal.SIGKILL)
        return False


def cmd_status(args):
    info = read_stack(stack_dir(args))
    healthy = True
    for name, pid in info["pids"].items():
        alive = is_alive(info, name)
        healthy = healthy and alive
        say("%-10s %-8s %s" % (name, pid if alive else "-", "running" if alive else "dead"))
    for bridge in info["bridges"]:
        try:
            status, _ = servers.http("GET", bridge["http"] + "/readyz", timeout=3)
        except OSError:
            status = "no answer"
        healthy = healthy and status == 200
        say("%-10s %-8s %s" % ("readyz", status, bridge["http"]))
    return 0 if healthy else 1


def cmd_token(args):
    info = read_stack(stack_dir(args))
    secret = tokens.read_secret(info["jwt"]["secret_file"])
    claims = dict(servers.parse_set(text) for text in args.claim)
    say(tokens.mint(secret, args.kind, args.id, args.role, tokens.seconds(args.ttl), **claims))


# The demonstration

def cmd_demo(args):
    prepare("release")
    import demo  # needs packages that are there only now
    directory = tempfile.mkdtemp(prefix="tocsin-")
    servers.raise_on_signals()
    stack = servers.Stack(directory)
    try:
        with stack:
            failed = demo.run(stack)
            if failed or args.once:
                return 1 if failed else 0
            demo.how_to_connect(stack)
            try:
                while all(server.running for server in stack.servers()):
                    time.sleep(0.5)
                raise Failure("a server ended by itself")
            except KeyboardInterrupt:
                say("\nstopping")
    finally:
        stack.remove()
    return 0


# Tests and measurements

def cmd_build(args):
    install_packages()
    build(*(args.preset or ["release"]))


def cmd_format(_args):
    import suite
    suite.format_in_place()


def cmd_test(args):
    install_packages()
    import suite
    return suite.run_all(args.all, args.only)


def script(*path, preset="release"):
    """A command that lives in a file of its own and parses its own arguments."""
    def command(args):
        if preset:
            prepare(preset)
        else:
            install_packages()
        target = os.path.join(ROOT, *path)
        if not os.path.exists(target):
            raise Failure("%s is not there yet" % target)
        os.execv(servers.PYTHON, [servers.PYTHON, target] + args.rest)
    return command


def arguments():
    top = argparse.ArgumentParser(prog="./run", description="Build, run and test Tocsin. Without "
                                  "a command: the demonstration, then the stack until Ctrl-C.")
    top.add_argument("--once", action="store_true",
                     help="only the demonstration; exit 0 when it succeeded")
    top.set_defaults(call=cmd_demo)
    commands = top.add_subparsers(metavar="COMMAND")

    def command(name, call, text):
        parser = commands.add_parser(name, help=text, description=text)
        parser.set_defaults(call=call)
        return parser

    def with_dir(parser):
        parser.add_argument("--dir", help="the stack's directory (default: .tocsin)")
        return parser

    up = with_dir(command("up", cmd_up, "start a stack in the background"))
    up.add_argument("--port-base", type=int, metavar="N", help="ports from N on, not free ones")
    up.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                    help="a key of the bridge's configuration, as queue.active_limit=100")
    up.add_argument("--bridges", type=int, default=1, metavar="N", help="how many bridges")
    down = with_dir(command("down", cmd_down, "stop it"))
    down.add_argument("--purge", action="store_true", help="delete its data as well")
    with_dir(command("status", cmd_status, "say what runs; exit 0 when all of it is ready"))
    token = with_dir(command("token", cmd_token, "print a JWT for the stack"))
    token.add_argument("--kind", required=True, choices=tokens.KINDS)
    token.add_argument("--id", required=True)
    token.add_argument("--role", action="append", default=[])
    token.add_argument("--ttl", default="1h")
    token.add_argument("--claim", action="append", default=[], metavar="NAME=JSON")
    make = command("build", cmd_build, "build a CMake preset (default: release)")
    make.add_argument("preset", nargs="*")
    command("format", cmd_format, "bring every C file into the house format")
    test = command("test", cmd_test, "build, check and test everything")
    test.add_argument("--all", action="store_true", help="the long tests and valgrind as well")
    test.add_argument("only", nargs="*", metavar="STEP", help="only these steps")
    for name, path, preset, text in (
            ("bench", ("tests", "bench", "bench.py"), "release",
             "measure: ./run bench [SCENARIO]"),
            ("fuzz", ("tests", "fuzz", "fuzz.py"), "fuzz",
             "feed every parser: ./run fuzz [TARGET] [--minutes N]"),
            ("chaos", ("tests", "chaos", "chaos.py"), "release",
             "faults at random, and a checker"),
            ("breaks", ("tests", "breaks", "breaks.py"), None,
             "take each fix out and require that its tests fail: ./run breaks [NAME..]")):
        parser = commands.add_parser(name, help=text, add_help=False)
        parser.set_defaults(call=script(*path, preset=preset))
    return top


def main():
    args, rest = arguments().parse_known_args()
    if rest and args.call in (cmd_demo, cmd_up, cmd_down, cmd_status, cmd_token, cmd_build,
                              cmd_format, cmd_test):
        arguments().error("unknown arguments: %s" % " ".join(rest))
    args.rest = rest
    try:
        return args.call(args) or 0
    except KeyboardInterrupt:
        return 130
    except (Failure, servers.ServerError, TimeoutError) as error:
        print("run: %s" % error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
