# SPDX-License-Identifier: MIT
"""Debian packages and CMake presets: what must be there before anything can run."""
import os
import re
import shutil
import subprocess
import time

import servers

ROOT = servers.ROOT
PACKAGES = os.path.join(ROOT, "tests", "packages.txt")
JOBS = str(os.cpu_count() or 2)
PROGRESS = re.compile(r"\[\d+/\d+\] ")  # ninja's line for a step that went well


class Failure(Exception):
    """Ends the program with a message and exit code 1."""


def say(text=""):
    print(text, flush=True)


# Packages

def wanted_packages():
    with open(PACKAGES) as file:
        return [line.split("#")[0].strip() for line in file if line.split("#")[0].strip()]


def missing_packages():
    """The packages of tests/packages.txt that are not installed; [] where there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return []
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"],
                          stdout=subprocess.PIPE, text=True, check=False)
    installed = {line.split()[0] for line in done.stdout.splitlines()
                 if line.endswith((" installed", " triggers-pending", " triggers-awaited"))}
    return [name for name in wanted_packages() if name not in installed]


def root_prefix():
    """How to become root without being asked anything, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and not subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False).returncode:
        return ["sudo", "-n"]
    return None


def install_packages():
    missing = missing_packages()
    if not missing:
        return
    prefix = root_prefix()
    command = "apt-get install --no-install-recommends -y " + " ".join(missing)
    if prefix is None:
        raise Failure("packages are missing and we cannot become root; please run\n  sudo "
                      + command)
    say("installing %d missing packages: %s" % (len(missing), " ".join(missing)))
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    as_root = prefix + env
    apt(as_root + ["apt-get", "update", "-q"], "apt-get update")
    apt(as_root + command.replace("install", "install -q", 1).split(), "apt-get install")
    left = missing_packages()
    if left:
        raise Failure("still missing: " + " ".join(left))


def apt(command, what, patience=600.0):
    """quietly(), but waits for another apt or dpkg to let go of its lock."""
    end = time.monotonic() + patience
    while True:
        try:
            quietly(command, what)
            return
        except Failure as failure:
            if "lock" not in str(failure).lower() or time.monotonic() > end:
                raise
            say("%s waits for another apt or dpkg" % what)
            time.sleep(5)


def quietly(command, what, **more):
    """Runs a command and shows its output only when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **more)
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").split("\n")
        told = "\n".join(line for line in lines if not PROGRESS.match(line))
        raise Failure("%s\n%s failed (%d)" % (told[-12000:], what, done.returncode))
    return done.stdout.decode("utf-8", "replace")


# Building

def build(*presets):
    for preset in presets:
        place = os.path.join(ROOT, "build", preset)
        started = time.monotonic()
        if not os.path.exists(os.path.join(place, "build.ninja")):
            quietly(["cmake", "--preset", preset], "cmake --preset " + preset, cwd=ROOT)
        quietly(["cmake", "--build", place, "-j", JOBS], "the %s build" % preset, cwd=ROOT)
        took = time.monotonic() - started
        if took > 2:
            say("built %s in %.0f s" % (preset, took))


def prepare(*presets):
    """Packages and builds; with $TOCSIN_BUILD set, what is there is used as it is."""
    install_packages()
    if not os.environ.get("TOCSIN_BUILD"):
        build(*presets)
