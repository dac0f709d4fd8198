# SPDX-License-Identifier: MIT
"""What each judge says of a payload: the bridge's decoder, python3-jsonschema, ajv.

A schema's verdict on an item is the list of (pointer, is_exact) of what it finds wrong; an exact
pointer names the very field, another one a value that holds it.  NOT_JSON where its parser gave up.
"""
import json
import os
import re
import subprocess
import sys

import jsonschema

NOT_JSON = "not JSON"
sys.setrecursionlimit(20000)  # a validator takes some ten frames for each level of nesting


# The decoder

def decoded(decoder, payloads, *options):
    """The decoder's verdicts: for each payload a list with one object for each item."""
    frames = b"".join(b"%d\n%s" % (len(payload), payload) for payload in payloads)
    done = subprocess.run([decoder, *options], input=frames, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit("the decoder ended with %d:\n%s"
                         % (done.returncode, done.stderr.decode(errors="replace")[-4000:]))
    lines = done.stdout.decode().split("\n")[:-1]
    assert len(lines) == len(payloads), "%d verdicts of %d payloads" % (len(lines), len(payloads))
    return [json.loads(line) for line in lines]


# python3-jsonschema

def escape(step):
    return str(step).replace("~", "~0").replace("/", "~1")


def pointer(path):
    return "".join("/" + escape(step) for step in path)


def ecma_pattern(_validator, pattern, instance, _schema):
    """Patterns are ECMA 262's, where $ is the end; Python's $ lets a line feed follow."""
    if isinstance(instance, str):
        ours = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
        if not re.search(ours, instance):
            yield jsonschema.ValidationError("does not match %s" % pattern)


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": ecma_pattern})


def of_error(error):
    """The fields that an error of python3-jsonschema is about."""
    at = pointer(error.absolute_path)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return [(at + "/" + escape(name), True) for name in missing]
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = error.schema.get("properties", {})
        return [(at + "/" + escape(name), True) for name in error.instance if name not in known]
    return [(at, error.validator != "uniqueItems")]


def refuse_constant(name):
    raise ValueError(name)


def parsed(payload):
    try:
        return json.loads(payload.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return NOT_JSON


def python_verdicts(schema, payload):
    """One verdict for each item, or NOT_JSON."""
    whole = parsed(payload)
    if whole is NOT_JSON:
        return NOT_JSON
    if isinstance(whole, list) and not 1 <= len(whole) <= 500:
        return [[field for error in Validator(schema).iter_errors(whole) if not error.path
                 for field in of_error(error)]]
    item = Validator({"$ref": "#/$defs/request", "$defs": schema["$defs"]})
    items = whole if isinstance(whole, list) else [whole]
    return [[field for error in item.iter_errors(one) for field in of_error(error)]
            for one in items]


def python_verdict(schema, payload):
    """The one verdict of a schema that knows no batches, in a list; or NOT_JSON."""
    whole = parsed(payload)
    if whole is NOT_JSON:
        return NOT_JSON
    return [[field for error in Validator(schema).iter_errors(whole) for field in of_error(error)]]


# ajv

AJV = r"""
const Ajv = require(process.argv[1] + '/ajv/dist/2020').default;
const schema = JSON.parse(require('fs').readFileSync(process.argv[2], 'utf8'));
const ajv = new Ajv({ allErrors: true, strict: false });
const whole = ajv.compile(schema);
const item = new Ajv({ allErrors: true, strict: false })
  .compile({ $ref: '#/$defs/request', $defs: schema.$defs });
const step = (name) => '/' + String(name).replace(/~/g, '~0').replace(/\//g, '~1');
function fields(validate, value) {
  if (validate(value)) return [];
  return validate.errors.filter((e) => e.keyword !== 'if').map((e) => {
    if (e.keyword === 'required') return [e.instancePath + step(e.params.missingProperty), true];
    if (e.keyword === 'additionalProperties')
      return [e.instancePath + step(e.params.additionalProperty), true];
    return [e.instancePath, e.keyword !== 'uniqueItems'];
  });
}
let text = '';
process.stdin.setEncoding('latin1');
process.stdin.on('data', (part) => { text += part; });
process.stdin.on('end', () => {
  for (const line of text.split('\n').slice(0, -1)) {
    let value, verdict;
    try {
      const bytes = Buffer.from(line, 'base64');
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    } catch (error) {
      console.log('"not JSON"');
      continue;
    }
    if (Array.isArray(value) && (value.length < 1 || value.length > 500))
      verdict = [fields(whole, value).filter((field) => field[0] === '')];
    else verdict = (Array.isArray(value) ? value : [value]).map((one) => fields(item, one));
    console.log(JSON.stringify(verdict));
  }
});
"""


def ajv_verdicts(modules, schema_path, payloads):
    """As python_verdicts, for all payloads at once."""
    import base64
    lines = b"".join(base64.b64encode(payload) + b"\n" for payload in payloads)
    done = subprocess.run(["node", "-e", AJV, modules, schema_path], input=lines,
                          capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit("ajv ended with %d:\n%s" % (done.returncode, done.stderr.decode()[-4000:]))
    verdicts = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(verdicts) == len(payloads)
    return verdicts


def has_ajv(modules):
    return os.path.isdir(os.path.join(modules, "ajv"))
