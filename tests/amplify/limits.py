# SPDX-License-Identifier: MIT
"""What a process may have, as its shipped unit says, and what it had at most."""
import contextlib
import os
import re
import resource

import servers

UNITS = {"bridge": "bridge/tocsind.service", "edge": "bridge/websocket/tocsin-wsd.service"}
FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# AddressSanitizer's red zones, shadow and quarantine; the plain build is held to the number itself.
SANITIZED = 4


def memory_max(unit):
    """MemoryMax= of the shipped unit, in bytes."""
    with open(os.path.join(servers.ROOT, UNITS[unit])) as file:
        number, factor = re.search(r"^MemoryMax=(\d+)([KMG])$", file.read(), re.M).groups()
    return int(number) * FACTORS[factor]


def factor(server):
    return SANITIZED if servers.instrumented(server.binary()) else 1


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


@contextlib.contextmanager
def confined(server, unit="bridge"):
    """Holds a running server to its unit's MemoryMax: by a cgroup, or else by its data segment."""
    most = memory_max(unit) * factor(server)
    name = "tocsin-test-%d" % server.pid
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                        ("/sys/fs/cgroup", "memory.max")):
        place = os.path.join(root, name)
        try:
            os.mkdir(place)
        except OSError:
            continue
        try:
            write(os.path.join(place, limit), str(most))
            write(os.path.join(place, "cgroup.procs"), str(server.pid))
        except OSError:
            os.rmdir(place)
            continue
        try:
            yield most
        finally:
            with contextlib.suppress(OSError):
                write(os.path.join(root, "cgroup.procs"), str(server.pid))
            with contextlib.suppress(OSError):
                os.rmdir(place)
        return
    resource.prlimit(server.pid, resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
    try:
        yield most
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_DATA,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def forget_peak(pid):
    write("/proc/%d/clear_refs" % pid, "5")


def peak(pid):
    """The most that was resident since forget_peak(), in bytes."""
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) << 10
