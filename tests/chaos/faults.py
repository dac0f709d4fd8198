# SPDX-License-Identifier: MIT
"""Every fault: how it is drawn from the seed, how it begins and how it ends.

A fault has a component; two faults of one component never overlap.  begin() and end() get the
rig (rig.py) and the drawn parameters; whatever end() finds it puts right.  `Missing` raised by
begin() says that this machine cannot do it.
"""
import os
import resource
import signal

import hostile



class Missing(Exception):
    """This machine cannot do it; the text says why."""


class Fault:
    """`draw(rng)` gives the parameters, `for` among them: how long it lasts, in seconds."""

    def __init__(self, component, draw, begin, end=None, rest=2.0):
        self.component, self.draw = component, draw
        self.begin, self.end = begin, end
        self.rest = rest  # seconds until the same component may be hit again


def lasting(low, high, **more):
    """A draw: `for` between low and high; each other value is a constant, a tuple or a range."""
    def draw(rng):
        params = {"for": round(rng.uniform(low, high), 2)}
        for key, value in more.items():
            if isinstance(value, tuple):
                value = rng.choice(value)
            elif isinstance(value, range):
                value = rng.choice(value)
            params[key] = value
        return params
    return draw


ONE = (0, 1)  # which bridge


# The bridge

def bridge_kill(rig, bridge):
    rig.kill_bridge(bridge)


def bridge_back(rig, bridge, **_):
    rig.start_bridge(bridge)


def bridge_term(rig, bridge):
    rig.stop_bridge(bridge)


def bridge_stop(rig, bridge):
    rig.bridges[bridge].pause()


def bridge_cont(rig, bridge):
    rig.bridges[bridge].resume()


def bridge_reload(rig, bridge):
    server = rig.bridges[bridge]
    server.prepare()
    server.signal(signal.SIGHUP)


def bridge_clock(rig, bridge, jump_s):
    if not rig.bridges[bridge].clock:
        raise Missing("no clock shim beside this build")
    rig.bridges[bridge].set_clock(jump_s)


def bridge_clock_back(rig, bridge, jump_s):
    rig.bridges[bridge].set_clock(0)


def bridge_files(rig, bridge, spare):
    """No descriptor but a few, and its connections to Postgres and broker are lost as well."""
    pid = rig.bridges[bridge].pid
    used = {int(name) for name in os.listdir("/proc/%d/fd" % pid)}
    lowest = min(set(range(len(used) + 1)) - used)  # a limit is on numbers, not on how many
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest + spare, hard))
    for link in ("postgres", "broker"):
        rig.net_reset("bridge%d-%s" % (bridge, link))


def bridge_files_back(rig, bridge, spare):
    if rig.bridges[bridge].running:
        pid = rig.bridges[bridge].pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def bridge_memory(rig, bridge, spare_kb):
    """No memory beyond what it has and a little: it may end, and must lose nothing by it."""
    if rig.is_sanitized:
        raise Missing("the sanitizer's shadow memory has no limit that means anything")
    server = rig.bridges[bridge]
    rig.may_exit(bridge)
    with open("/proc/%d/statm" % server.pid) as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = size + spare_kb * 1024
    resource.prlimit(server.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def bridge_memory_back(rig, bridge, spare_kb):
    server = rig.bridges[bridge]
    if server.running:
        resource.prlimit(server.pid, resource.RLIMIT_AS,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    rig.start_bridge(bridge)


# The broker

def broker_kill(rig):
    rig.broker.kill()


def broker_restart(rig):
    rig.broker.stop()


def broker_back(rig):
    rig.broker.start()


def broker_stop(rig):
    rig.broker.pause()


def broker_cont(rig):
    rig.broker.resume()


# Postgres

def postgres_kill(rig):
    rig.postgres.primary.kill()


def postgres_restart(rig):
    rig.postgres.primary.stop()


def postgres_back(rig):
    if not rig.postgres.primary.running:
        rig.postgres.primary.start()


def postgres_stop(rig):
    rig.postgres.primary.pause()


def postgres_cont(rig):
    rig.postgres.primary.resume()


def postgres_terminate(rig, share):
    rig.postgres.sql(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where backend_type ="
        " 'client backend' and application_name like 'tocsin%%' and random() < %s" % share)


def postgres_lock(rig, table):
    """What an operator's careless statement does: an exclusive lock, held on."""
    rig.hold("lock", "begin; lock table %s in access exclusive mode" % table)


def postgres_rows(rig, rows):
    """Row locks on what is queued: claims skip them, settling waits."""
    rig.hold("lock", "begin; select id from delivery order by random() limit %d for update" % rows)


def postgres_old(rig):
    """A transaction that pins the horizon, so that nothing dead can be removed."""
    rig.hold("old", "begin isolation level repeatable read; select count(*) from delivery")


def postgres_unhold(rig, **_):
    rig.release("lock")


def postgres_unpin(rig):
    rig.release("old")


def postgres_connections(rig):
    """All connections taken, then the bridges' own are lost: none is left for them."""
    rig.take_connections("tocsin")


def postgres_connections_back(rig):
    rig.give_connections()


def postgres_full(rig, spare_kb):
    if not rig.postgres.small_disks:
        raise Missing("no mounts permitted: the disk is everybody's")
    filler, free = rig.postgres.disk(rig.postgres.primary)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, free - spare_kb * 1024))


def postgres_full_back(rig, spare_kb):
    filler, _ = rig.postgres.disk(rig.postgres.primary)
    if os.path.exists(filler):
        os.unlink(filler)
    node = rig.postgres.primary
    if node.running and not rig.answers(node):
        node.kill()  # recovery that found no room has given up half way
    postgres_back(rig)
    rig.postgres.wait_in_step()


def standby_stop(rig):
    rig.postgres.standby.pause()


def standby_cont(rig):
    rig.postgres.standby.resume()
    rig.postgres.wait_in_step()


def failover(rig):
    rig.postgres.promote()


def failover_back(rig):
    rig.postgres.attach_standby()


def split_brain(rig):
    rig.postgres.split()


# Providers

def provider(rig, provider, **rule):
    rig.script(provider, **{k: v for k, v in rule.items() if v is not None})


def provider_back(rig, provider, **_):
    rig.unscript(provider)


def scripted(low, high, **rule):
    return Fault("provider-{provider}", lasting(low, high, provider=PROVIDERS, **rule), provider,
                 provider_back, rest=4.0)


PROVIDERS = ("twilio", "fcm", "sendgrid", "webhook", "slack")


# The network

LINKS = ("bridge0-postgres", "bridge1-postgres", "bridge0-broker", "bridge1-broker",
         "services-broker") + PROVIDERS


def net(rig, link, **weather):
    rig.net(link, **weather)


def net_back(rig, link, **_):
    rig.net(link)


def net_reset(rig, link):
    rig.net_reset(link)


def network(low, high, **weather):
    return Fault("net-{link}", lasting(low, high, link=LINKS, **weather), net, net_back, rest=3.0)


FAULTS = {
    "bridge.kill": Fault("bridge{bridge}", lasting(0, 4, bridge=ONE), bridge_kill, bridge_back),
    "bridge.kill-long": Fault("bridge{bridge}", lasting(11, 16, bridge=ONE), bridge_kill,
                              bridge_back),
    "bridge.term": Fault("bridge{bridge}", lasting(0, 3, bridge=ONE), bridge_term, bridge_back),
    "bridge.stop": Fault("bridge{bridge}", lasting(0.2, 5, bridge=ONE), bridge_stop, bridge_cont),
    "bridge.stop-long": Fault("bridge{bridge}", lasting(11, 15, bridge=ONE), bridge_stop,
                              bridge_cont),
    "bridge.reload": Fault("bridge{bridge}", lasting(0, 0, bridge=ONE), bridge_reload),
    "bridge.clock": Fault("bridge{bridge}", lasting(3, 12, bridge=ONE,
                                                    jump_s=(-7200, -90, -3, 3, 90, 7200)),
                          bridge_clock, bridge_clock_back),
    "bridge.files": Fault("bridge{bridge}", lasting(3, 9, bridge=ONE, spare=range(0, 4)),
                          bridge_files, bridge_files_back),
    "bridge.memory": Fault("bridge{bridge}", lasting(3, 9, bridge=ONE,
                                                     spare_kb=range(0, 65, 16)),
                           bridge_memory, bridge_memory_back),
    "broker.kill": Fault("broker", lasting(0, 3), broker_kill, broker_back, rest=5.0),
    "broker.restart": Fault("broker", lasting(0, 3), broker_restart, broker_back, rest=5.0),
    "broker.stop": Fault("broker", lasting(0.5, 14), broker_stop, broker_cont, rest=5.0),
    "postgres.kill": Fault("postgres", lasting(0, 3), postgres_kill, postgres_back, rest=4.0),
    "postgres.restart": Fault("postgres", lasting(0, 3), postgres_restart, postgres_back,
                              rest=4.0),
    "postgres.stop": Fault("postgres", lasting(0.5, 12), postgres_stop, postgres_cont, rest=4.0),
    "postgres.terminate": Fault("postgres", lasting(0, 0, share=(0.3, 2)), postgres_terminate),
    "postgres.lock": Fault("postgres", lasting(1, 8, table=(
        "delivery", "notification", "attempt", "request_key", "bridge", "dead_letter", "lane",
        "inbox_user", "destination")), postgres_lock, postgres_unhold),
    "postgres.rows": Fault("postgres", lasting(1, 8, rows=(5, 100, 10000)), postgres_rows,
                           postgres_unhold),
    "postgres.old": Fault("horizon", lasting(10, 30), postgres_old, postgres_unpin),
    "postgres.connections": Fault("postgres", lasting(2, 7), postgres_connections,
                                  postgres_connections_back),
    "postgres.full": Fault("postgres", lasting(2, 6, spare_kb=(0, 256, 4096)), postgres_full,
                           postgres_full_back, rest=4.0),
    "postgres.failover": Fault("postgres", lasting(1, 6), failover, failover_back, rest=6.0),
    "postgres.split": Fault("postgres", lasting(2, 9), split_brain, failover_back, rest=6.0),
    "standby.stop": Fault("postgres", lasting(1, 8), standby_stop, standby_cont, rest=3.0),
    "provider.slow": scripted(3, 12, delay_ms=(300, 1500, 4000, 12000)),
    "provider.failing": scripted(3, 12, status=(500, 502, 503), share=(0.3, 1)),
    "provider.throttling": scripted(3, 10, status=429, retry_after=(None, 1, 3), share=(0.5, 1)),
    "provider.denying": scripted(2, 6, status=401),
    "provider.resetting": scripted(3, 10, fault=("reset", "reset_early", "drop",
                                                 "drop_unprocessed", "drop_early"),
                                   share=(0.3, 1)),
    "provider.garbage": scripted(3, 8, fault=("garbage", "truncate"), share=(0.3, 1)),
    "provider.loris": scripted(4, 12, fault=("slow_headers", "slow_body", "hang", "endless"),
                               byte_ms=500, share=(0.3, 1)),
    "provider.tls": Fault("provider-{provider}", lasting(3, 8, provider=("sendgrid",), tls=(
        "fail", "expired", "wrong_host", "self_signed"), close_connections=True), provider,
        provider_back, rest=4.0),
    "provider.away": scripted(3, 10, listen=("refuse", "close", "reset", "hang"),
                              close_connections=True),
    "net.slow": network(3, 12, delay_ms=(20, 150, 600), jitter_ms=(0, 200)),
    "net.lossy": network(3, 12, loss=(0.05, 0.3)),
    "net.narrow": network(3, 10, rate=(4000, 20000)),
    "net.cut": network(2, 16, hold="both"),
    "net.half": network(2, 12, hold=("up", "down")),
    "net.refused": network(2, 8, refuse=True),
    **{"hostile." + name: Fault("hostile-" + name, lasting(5, 20, character=(name,)), hostile.come,
                                hostile.go) for name in hostile.CHARACTERS},
    "net.reset": Fault("net-{link}", lasting(0, 0, link=LINKS), net_reset, rest=1.0),
}
