# SPDX-License-Identifier: MIT
"""Ten thousand users connected at once, over TCP, over WebSocket, and over WebSocket through
tocsin-wsd, each of them told now and then: saturation, and 500 per second, against the same with
a thousand."""
import resource

import measure
import servers
from rig import Lost, Rig, number

from .common import RATE_CALM, USERS, at_rate, saturate

NAME = "crowd"
GOAL = "ten times the users cost memory in the broker and nothing else"
ORDER = 50
CROWD = 10000
EDGE = "WebSocket, through tocsin-wsd"


def allow_descriptors(count):
    """Connections are descriptors, of the broker and of the load; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise Lost("%d descriptors are needed, %d are allowed" % (count, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def most_through_edge():
    """tocsin-wsd holds two descriptors for each: as many of the crowd as it may have here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CROWD if hard == resource.RLIM_INFINITY else min(CROWD, (hard - 100) // 200 * 100)


def measure_both(rig, name, seconds, found, **more):
    """Saturation and the calm rate; the memory that broker and tocsin-wsd had for it."""
    found["phases"][name + ", saturation"] = saturate(rig, seconds, **more)
    found["phases"][name + ", %d per s" % RATE_CALM] = at_rate(rig, RATE_CALM, seconds, **more)
    found["broker_mb"][name] = measure.rss_mb(rig.stack.broker.pid)[1]
    if rig.beside:
        found["edge_mb"][name] = measure.rss_mb(rig.beside["edge"])[1]


def run(args, build):
    found = {"phases": {}, "broker_mb": {}, "edge_mb": {}}
    allow_descriptors(CROWD + 1000)
    for how, crowd in (("TCP", CROWD), ("WebSocket", CROWD), (EDGE, most_through_edge())):
        for users in (USERS, crowd):
            with Rig(build, args.settings) as rig:
                name, broker = "%s users over %s" % (number(users), how), rig.stack.broker
                if how != EDGE:
                    url = broker.url if how == "TCP" else broker.ws_url
                    measure_both(rig, name, args.seconds, found, users=users, user_url=url)
                    continue
                with servers.Edge(rig.dir, broker.socket, build=build) as edge:
                    rig.beside["edge"] = edge.pid
                    measure_both(rig, name, args.seconds, found, users=users,
                                 user_url=edge.ws_url)
    return found


def facts(result):
    for who, key in (("The broker", "broker_mb"), ("tocsin-wsd", "edge_mb")):
        if result.get(key):
            yield who + "'s memory at its highest: " + ", ".join(
                "%s MB with %s" % (number(mb), name) for name, mb in result[key].items()) + "."
