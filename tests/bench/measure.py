# SPDX-License-Identifier: MIT
"""What processes cost: CPU seconds and memory from /proc, and what the machine is.

CPU of a server is that of its whole tree, the children it has already reaped
included, so that Postgres backends that come and go are not forgotten.
"""
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def children():
    """{parent: [child, ...]} of every process."""
    found = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields:
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def tree(pid):
    below, queue, found = children(), [pid], []
    while queue:
        here = queue.pop()
        found.append(here)
        queue += below.get(here, [])
    return found


def cpu_seconds(pid):
    """User and system time of a process, all below it, and all it has outlived."""
    total = 0
    for member in tree(pid):
        fields = _stat(member)
        if fields:
            total += sum(int(n) for n in fields[11:15])
    return total / TICKS


def written_bytes(pid):
    """What a process and all below it have sent to storage; 0 where that may not be read."""
    total = 0
    for member in tree(pid):
        try:
            with open("/proc/%d/io" % member) as file:
                total += int(re.search(r"^write_bytes: (\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            continue
    return total


def machine_busy_seconds():
    """CPU time that anyone used since boot, idle and I/O wait left out."""
    with open("/proc/stat") as file:
        fields = [int(n) for n in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def rss_mb(pid):
    """Resident megabytes of one process, and the most it ever had."""
    with open("/proc/%d/status" % pid) as file:
        text = file.read()
    return tuple(int(re.search(key + r":\s+(\d+)", text).group(1)) / 1024
                 for key in ("VmRSS", "VmHWM"))


def pss_mb(pid):
    """Memory of a tree with shared pages counted once."""
    total = 0
    for member in tree(pid):
        try:
            with open("/proc/%d/smaps_rollup" % member) as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            continue
    return total / 1024


def own_mb(pid):
    """What one process has of its own: no files, and no memory that it shares; 0 if it is gone.

    (What is called private includes those shared pages that only one process has touched.)
    """
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            return int(re.search(r"^Anonymous:\s+(\d+)", file.read(), re.M).group(1)) / 1024
    except OSError:
        return 0


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def forget_peak(pid):
    """Lets VmHWM start again from what is resident now."""
    try:
        with open("/proc/%d/clear_refs" % pid, "w") as file:
            file.write("5")
    except OSError:
        pass


def go_first():
    """Puts us, and all that we start, before everything else on a busy machine; needs root.

    Real-time round robin, which the kernel bounds to 95 % of each second.  A nice value would
    not do: sessions share the processors evenly, whatever the value within each.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Meter:
    """CPU seconds of several named servers between start() and stop()."""

    def __init__(self, pids):
        self.pids = dict(pids)
        self.before = self.busy = self.began = None

    def read(self):
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def start(self):
        self.before, self.busy, self.began = self.read(), machine_busy_seconds(), time.monotonic()

    def stop(self):
        """{name: seconds}, with `others` for the rest of the machine, and the time it took."""
        took = time.monotonic() - self.began
        used = {name: now - self.before[name] for name, now in self.read().items()}
        used["others"] = max(0.0, machine_busy_seconds() - self.busy - sum(used.values()))
        return used, took


class Curve(threading.Thread):
    """Samples read() every `interval` seconds until stop(); points are (seconds, value)."""

    def __init__(self, read, interval=0.25):
        super().__init__(daemon=True)
        self.read, self.interval = read, interval
        self.points, self.done = [], threading.Event()
        self.began = time.monotonic()
        self.start()

    def run(self):
        while not self.done.wait(self.interval):
            try:
                self.points.append((time.monotonic() - self.began, self.read()))
            except OSError:
                return

    def stop(self):
        self.done.set()
        self.join()
        return self.points


# The machine

def _first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        return next((line for line in done.stdout.splitlines() if line.strip()), "").strip()
    except OSError:
        return ""


def sync_ms(directory, rounds=200):
    """The median time of writing 8 KB and fdatasync, as a commit does."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(rounds):
            file.seek(0)
            file.write(os.urandom(8192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def describe(directory, postgres_bin):
    """The machine and the versions on which figures were taken."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1)) / 1048576
    broker = _first_line(shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-h")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "kernel": platform.release(),
        "mosquitto": re.sub(r"^mosquitto version ", "", broker),
        "postgres": _first_line(os.path.join(postgres_bin, "postgres"), "--version"),
        "fdatasync_ms": round(sync_ms(directory), 3),
        "commit": _first_line("git", "-C", os.path.dirname(os.path.abspath(__file__)),
                              "describe", "--always", "--dirty", "--exclude=*"),
    }
