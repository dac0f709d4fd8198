# SPDX-License-Identifier: MIT
"""Holds recorded requests against what the vendors themselves have published of their APIs.

    faults = openapi.faults(record)      [] when the published document allows the request

The documents lie beside the checkout (../shared/spec) and are read there, never copied; where they
are absent, Unavailable says so. Unknown fields count as faults, although some vendors swallow them.
"""

import copy
import functools
import json
import os

import jsonschema

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = os.environ.get("TOCSIN_SPEC", os.path.join(HERE, "..", "..", "..", "shared", "spec"))
FILES = {"twilio": "twilio_api_v2010.json", "sendgrid": "sendgrid_mail_v3.json",
         "ses": "aws_sesv2_service-2.json"}


class Unavailable(Exception):
    """The vendor's document is not on this machine."""


@functools.lru_cache(None)
def document(provider):
    path = os.path.join(SPEC, "providers", FILES[provider])
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise Unavailable("%s is not beside this checkout" % FILES[provider]) from None


def resolve(root, value):
    """A copy of a schema with every reference in its place, and its objects closed."""
    if isinstance(value, list):
        return [resolve(root, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found = root
        for part in value["$ref"].lstrip("#/").split("/"):
            found = found[part.replace("~1", "/")]
        return resolve(root, found)
    made = {key: resolve(root, item) for key, item in value.items()}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


@functools.lru_cache(None)
def schema(provider):
    root = document(provider)
    if provider == "ses":
        return from_shape(root["shapes"], "SendEmailRequest")
    path = {"twilio": "/2010-04-01/Accounts/{AccountSid}/Messages.json",
            "sendgrid": "/v3/mail/send"}[provider]
    body = resolve(root, root["paths"][path]["post"]["requestBody"])
    made = next(iter(body["content"].values()))["schema"]
    if provider == "sendgrid":
        # A slip of the document: an object in each personalization, a string here; all of the
        # vendor's libraries send an object.
        made["properties"]["custom_args"] = {"type": "object"}
    return made


def from_shape(shapes, name):
    """JSON Schema of a shape in an AWS service model."""
    shape = shapes[name]
    kind = shape["type"]
    if kind == "structure":
        return {"type": "object", "additionalProperties": False,
                "required": shape.get("required", []),
                "properties": {key: from_shape(shapes, member["shape"])
                               for key, member in shape.get("members", {}).items()}}
    if kind == "list":
        return {"type": "array", "items": from_shape(shapes, shape["member"]["shape"])}
    if kind == "map":
        return {"type": "object",
                "additionalProperties": from_shape(shapes, shape["value"]["shape"])}
    if kind in ("boolean", "integer"):
        return {"type": kind}
    made = {"type": "string"}
    for key, ours in (("min", "minLength"), ("max", "maxLength"), ("enum", "enum")):
        if key in shape and kind == "string":
            made[ours] = shape[key]
    return made


def typed(fields, wanted):
    """Form fields, which are all strings, as the types that the schema names."""
    made = {}
    for name, value in fields.items():
        kind = wanted["properties"].get(name, {}).get("type")
        if kind == "array" and not isinstance(value, list):
            value = [value]
        elif kind == "boolean" and value in ("true", "false", "True", "False"):
            value = value.lower() == "true"
        elif kind in ("integer", "number"):
            try:
                value = int(value) if kind == "integer" else float(value)
            except ValueError:
                pass
        made[name] = value
    return made


def faults_of_body(provider, body):
    wanted = schema(provider)
    if provider == "twilio":
        body = typed(body, wanted)
    checker = jsonschema.Draft7Validator(wanted)
    return ["%s: %s" % ("/".join(map(str, error.absolute_path)), error.message[:200])
            for error in checker.iter_errors(copy.deepcopy(body))]


def faults(record):
    """What the vendor's document finds wrong with a recorded request."""
    return faults_of_body(record["provider"], record["body"])
