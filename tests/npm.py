# SPDX-License-Identifier: MIT
"""The npm packages of tests/package.json, installed once into tests/.node with no scripts run.

    place = npm.modules()      the node_modules folder, or Unavailable with the reason

They are implementations by others, there to check ours; nothing of Tocsin needs them to run.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
PLACE = os.path.join(HERE, ".node")
FILES = ("package.json", "package-lock.json")
SECONDS = 300


class Unavailable(Exception):
    """There are no packages, and this is why."""


def wanted():
    digest = hashlib.sha256()
    for name in FILES:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def modules():
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("node and npm are not installed")
    os.makedirs(PLACE, exist_ok=True)
    place, stamp = os.path.join(PLACE, "node_modules"), os.path.join(PLACE, "installed")
    with open(os.path.join(PLACE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(stamp) as file:
                if file.read() == wanted():
                    return place
        except FileNotFoundError:
            pass
        for name in FILES:
            shutil.copy(os.path.join(HERE, name), PLACE)
        install(npm)
        with open(stamp, "w") as file:
            file.write(wanted())
    return place


def install(npm):
    try:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=PLACE, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
            check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable("npm ci took more than %d s" % SECONDS) from None
    if done.returncode:
        raise Unavailable("npm ci failed: %s" % done.stderr.strip()[-500:])
