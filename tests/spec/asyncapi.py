# SPDX-License-Identifier: MIT
"""Checks schemas/asyncapi.yaml: its references, its topics, and by AsyncAPI's own schema."""
import json
import os
import re
import shutil
import subprocess

import yaml

# Every topic of the contract (topics.md), the parts that vary as "*".
TOPICS = """
notify/v1/services/*/up/request notify/v1/services/*/up/rpc/*
notify/v1/services/*/down/receipt notify/v1/services/*/down/reply
notify/v1/users/*/down/inbox notify/v1/users/*/down/badge notify/v1/users/*/down/changed
notify/v1/users/*/down/reply notify/v1/users/*/up/ack notify/v1/users/*/up/read
notify/v1/users/*/up/unread notify/v1/users/*/up/archive notify/v1/users/*/up/delete
notify/v1/users/*/up/click notify/v1/users/*/up/seen notify/v1/users/*/up/rpc/*
notify/v1/broadcast/inbox notify/v1/roles/*/inbox
notify/v1/broadcast/changed notify/v1/roles/*/changed
notify/v1/admins/*/up/rpc/* notify/v1/admins/*/down/reply
notify/v1/dlq/*/* notify/v1/stats/queue notify/v1/alerts/* notify/v1/presence/*
$CONTROL/tocsin/v1
""".split()

AJV = r"""
const Ajv = require(process.argv[1] + '/ajv').default;
const specs = require(process.argv[1] + '/@asyncapi/specs');
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
const schema = specs.schemas['2.6.0'];
for (const id of Object.keys(schema.definitions || {}))
  if (id.includes('json-schema.org')) delete schema.definitions[id];
const validate = ajv.compile(schema);
let text = '';
process.stdin.on('data', (part) => { text += part; });
process.stdin.on('end', () => {
  if (validate(JSON.parse(text))) return;
  for (const e of validate.errors) console.log(e.instancePath + ' ' + e.message);
});
"""


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolves(whole, directory, reference):
    path, _, inside = reference.partition("#")
    if path:
        return os.path.exists(os.path.join(directory, path)) and not inside
    node = whole
    for step in inside.split("/")[1:]:
        if step not in node:
            return False
        node = node[step]
    return True


def check_by_schema(faults, whole):
    import npm
    try:
        modules = npm.modules()
    except npm.Unavailable as why:
        print("AsyncAPI's own schema is not tried: %s" % why)
        return
    done = subprocess.run([shutil.which("node"), "-e", AJV, modules], input=json.dumps(whole),
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        faults.add("asyncapi", done.stderr[-2000:])
    for line in done.stdout.splitlines():
        faults.add("asyncapi", line)


def check(faults, path):
    with open(path, encoding="utf-8") as file:
        whole = yaml.safe_load(file)
    for reference in references(whole):
        if not resolves(whole, os.path.dirname(path), reference):
            faults.add("asyncapi", "%s leads nowhere" % reference)
    described = {re.sub(r"\{[^}]*\}", "*", name) for name in whole["channels"]}
    for topic in sorted(described.symmetric_difference(TOPICS)):
        faults.add("asyncapi", "%s is %s" % (topic, "missing" if topic in TOPICS else "unknown"))
    for name, channel in whole["channels"].items():
        if set(re.findall(r"\{([^}]*)\}", name)) != set(channel.get("parameters", {})):
            faults.add(name, "its parameters are not described")
    used = {os.path.basename(reference) for reference in references(whole) if "json/" in reference}
    there = set(os.listdir(os.path.join(os.path.dirname(path), "json")))
    for name in sorted(used ^ there):
        faults.add("asyncapi", "%s is %s" % (name, "not used" if name in there else "missing"))
    check_by_schema(faults, whole)
