#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a source file includes what its layer may not know.

The table below is the architecture; docs/ and bridge/README.md only retell it.
Usage: check_layers.py [ROOT]; prints one line per offence and exits 1 if there are any.
"""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
ADAPTER = re.compile(r"^const struct adapter \w+\s*=", re.M)

# What each layer of bridge/ may include of ours, besides its own layer.
BELOW = {
    "base": set(),
    "io": {"base"},
    "core": {"base"},
    "channels": {"base", "core", "io"},
    "store": {"base", "core", "io"},
    "services": {"base", "core", "io", "channels", "store"},
    "websocket": {"base", "io"},  # a program of its own
}
# Of a lower layer, only these headers: the one client library, time, and hashing.
ONLY = {("channels", "io"): {"io/http_client.h", "io/loop.h", "io/digest.h"},
        ("store", "io"): {"io/pg.h", "io/loop.h", "io/digest.h"},
        ("websocket", "io"): {"io/loop.h", "io/digest.h", "io/http_server.h",
                              "io/service_manager.h"}}
MORE = {"channels/in_app": {"io/mqtt.h"}}
# core is pure: no log, no clock, no metrics.
NEVER = {"core": {"base/log.h", "base/clock.h", "base/metrics.h"}}
# Who may see a library: the layer, or the file names (without extension) that start so.
LIBRARIES = {
    "uv.h": {"io", "main"},
    "libpq-fe.h": {"io/pg"},
    "curl/": {"io/http_client"},
    "mosquitto.h": {"io/mqtt"},
    "microhttpd.h": {"io/http_server"},
    "cyaml/": {"config"},
}
# The services that others are made of: they know none of them.
FRAMES = {"asks", "reply"}
SINGLE = {"main", "bridge", "config"}  # the files at the top of bridge/


def strip_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


class Tree:
    def __init__(self, root):
        self.root = root
        self.faults = []
        self.adapters = set()

    def sources(self, top):
        for place, dirs, files in os.walk(os.path.join(self.root, top)):
            dirs.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(place, name), self.root)

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return strip_comments(file.read())

    def fault(self, path, text):
        self.faults.append("%s: %s" % (path, text))

    def resolve(self, path, target):
        """The repository path of an include in quotes, or None."""
        top = path.split("/")[0]
        places = [os.path.dirname(path), top]
        if top == "plugins":
            places.append("/".join(path.split("/")[:2]))
        for place in places:
            found = os.path.normpath(os.path.join(place, target))
            if os.path.exists(os.path.join(self.root, found)):
                return found
        return None

    def check_bridge(self, path):
        inside = path[len("bridge/"):]
        stem = os.path.splitext(inside)[0]
        layer = inside.split("/")[0] if "/" in inside else "top"
        for kind, target in INCLUDE.findall(self.read(path)):
            if kind == "<":
                self.check_library(path, stem, layer, target)
                continue
            found = self.resolve(path, target)
            if found is None:
                self.fault(path, 'includes "%s", which does not exist' % target)
            elif not found.startswith("bridge/"):
                self.fault(path, 'includes "%s" from outside bridge/' % target)
            else:
                self.check_ours(path, stem, layer, found[len("bridge/"):])

    def check_library(self, path, stem, layer, target):
        for library, users in LIBRARIES.items():
            if target == library or (library.endswith("/") and target.startswith(library)):
                if not any(stem.startswith(u) or layer == u for u in users):
                    self.fault(path, "includes <%s>; only %s may" % (
                        target, ", ".join(sorted(users))))
        if target == "jansson.h" and layer in ("core", "base"):
            if not os.path.basename(stem).startswith("schema"):
                self.fault(path, "includes <jansson.h>; in core only schema may")
        if layer == "core" and target in ("time.h", "sys/time.h", "stdio.h", "unistd.h"):
            text = self.read(path)
            if re.search(r"\b(clock_gettime|gettimeofday|time\s*\(\s*NULL|f?open|printf|write)\s*\(",
                         text):
                self.fault(path, "core does no I/O and reads no clock")

    def check_ours(self, path, stem, layer, target):
        if layer == "top":
            self.check_top(path, stem, target)
            return
        below = target.split("/")[0] if "/" in target else "top"
        own = os.path.splitext(target)[0]
        if layer == "services" and os.path.basename(stem).startswith("admin"):
            return  # the one licensed exception: it sees everything
        if target in NEVER.get(layer, ()):
            self.fault(path, "%s must not include %s" % (layer, target))
        elif below == layer:
            self.check_sibling(path, stem, layer, own)
        elif below not in BELOW[layer]:
            self.fault(path, "%s must not include %s (upward)" % (layer, target))
        elif (layer, below) in ONLY and target not in ONLY[layer, below]:
            if target not in MORE.get(stem, ()):
                self.fault(path, "%s may include only %s of %s, not %s" % (
                    layer, ", ".join(sorted(ONLY[layer, below])), below, target))

    def check_sibling(self, path, stem, layer, own):
        name, other = os.path.basename(stem), os.path.basename(own)
        if name.split("_")[0] == other.split("_")[0]:
            return
        if layer == "services" and other not in FRAMES:
            self.fault(path, "services do not know each other: %s" % other)
        if layer == "channels" and own in self.adapters:
            self.fault(path, "an adapter does not know another: %s" % other)

    def check_top(self, path, stem, target):
        if stem.startswith("config") and target == "bridge.h":
            self.fault(path, "config does not know bridge.h")

    def check_guest(self, path):
        """Plugins and clients include nothing from bridge/."""
        top = "/".join(path.split("/")[:2])
        for kind, target in INCLUDE.findall(self.read(path)):
            found = self.resolve(path, target) if kind == '"' else None
            if "bridge/" in target or (found and not found.startswith(top)):
                self.fault(path, 'includes "%s": %s stands alone' % (target, top))

    def run(self):
        for path in self.sources("bridge/channels"):
            if path.endswith(".c") and ADAPTER.search(self.read(path)):
                self.adapters.add(os.path.splitext(path[len("bridge/"):])[0])
        count = 0
        for path in self.sources("bridge"):
            self.check_bridge(path)
            count += 1
        for top in ("plugins", "clients"):
            for path in self.sources(top):
                self.check_guest(path)
                count += 1
        return count


def main():
    default = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    tree = Tree(sys.argv[1] if len(sys.argv) > 1 else default)
    count = tree.run()
    for fault in tree.faults:
        print(fault)
    print("layers: %d files, %d offences" % (count, len(tree.faults)))
    return 1 if tree.faults else 0


if __name__ == "__main__":
    sys.exit(main())
