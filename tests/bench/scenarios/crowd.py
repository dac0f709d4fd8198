# SPDX-License-Identifier: MIT
"""Ten thousand users connected at once, over TCP and over WebSocket, each of them told now and
then: saturation, and 500 per second, against the same with a thousand."""
import resource

import measure
from rig import Lost, Rig, number

from .common import RATE_CALM, USERS, at_rate, saturate

NAME = "crowd"
GOAL = "ten times the users cost memory in the broker and nothing else"
ORDER = 50
CROWD = 10000


def allow_descriptors(count):
    """Connections are descriptors, of the broker and of the load; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise Lost("%d descriptors are needed, %d are allowed" % (count, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def run(args, build):
    phases, broker_mb = {}, {}
    allow_descriptors(CROWD + 1000)
    for users, how in ((USERS, "TCP"), (CROWD, "TCP"), (USERS, "WebSocket"),
                       (CROWD, "WebSocket")):
        with Rig(build, args.settings) as rig:
            name = "%s users over %s" % (number(users), how)
            more = {"users": users}
            if how == "WebSocket":
                more["user_url"] = rig.stack.broker.ws_url
            phases[name + ", saturation"] = saturate(rig, args.seconds, **more)
            phases[name + ", %d per s" % RATE_CALM] = at_rate(rig, RATE_CALM, args.seconds, **more)
            broker_mb[name] = measure.rss_mb(rig.stack.broker.pid)[1]
    return {"phases": phases, "broker_mb": broker_mb}


def facts(result):
    yield "The broker's memory at its highest: " + ", ".join(
        "%s MB with %s" % (number(mb), name) for name, mb in result["broker_mb"].items()) + "."
