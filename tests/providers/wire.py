# SPDX-License-Identifier: MIT
"""What travels between the wire (http1, http2, smtp) and the providers: requests and answers.

Nothing here knows a provider or a socket. Parsing of bodies is lazy, because a recorded request
is parsed a second time only when a test asks for it.
"""

import base64
import json
import re
from urllib.parse import parse_qsl, unquote, urlsplit

E164 = re.compile(r"^\+[1-9][0-9]{6,14}$")
EMAIL = re.compile(r"^[^\s@<>\"(),:;\[\]\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$")

REASONS = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
    302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request",
    401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict",
    410: "Gone", 413: "Payload Too Large", 415: "Unsupported Media Type",
    422: "Unprocessable Entity", 429: "Too Many Requests", 451: "Unavailable For Legal Reasons",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}


class Answer:
    """One HTTP answer: status, extra headers as pairs, body bytes."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status, body=b"", headers=()):
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = list(headers)


def json_answer(status, value, headers=()):
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(status, body, [("content-type", "application/json; charset=utf-8"), *headers])


def text_answer(status, text, headers=()):
    return Answer(status, text.encode(), [("content-type", "text/plain; charset=utf-8"), *headers])


class Refusal(Exception):
    """Raised by a provider's check: the real one would refuse this request with `answer`."""

    def __init__(self, answer):
        super().__init__(answer.status)
        self.answer = answer


class BodyError(ValueError):
    """The body is not what its content type says."""


class Request:
    """One request as it arrived, and afterwards its record: what we thought of it."""

    __slots__ = ("seq", "provider", "op", "method", "path", "headers", "body", "proto", "tls",
                 "at_ns", "connection", "stream", "target", "dedupe", "warnings", "extra",
                 "verdict", "status", "why", "size", "link", "_map", "_json")

    def __init__(self, provider, method, path, headers, body, proto, tls, at_ns, link, stream=0):
        self.seq = 0
        self.provider = provider
        self.op = "send"
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.proto = proto
        self.tls = tls
        self.at_ns = at_ns
        self.link = link
        self.connection = link.number if link is not None else 0
        self.stream = stream
        self.target = None
        self.dedupe = None
        self.warnings = None
        self.extra = None
        self.verdict = None
        self.status = 0
        self.why = None
        self.size = len(body)
        self._map = None
        self._json = None

    @property
    def bare_path(self):
        return self.path.partition("?")[0]

    @property
    def query(self):
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def header(self, name, default=None):
        """The value of the last header of that (lower case) name."""
        if self._map is None:
            self._map = dict(self.headers)
        return self._map.get(name, default)

    def media_type(self):
        return self.header("content-type", "").partition(";")[0].strip().lower()

    def warn(self, text):
        """Note what a real provider would swallow silently but a good client would not send."""
        if self.warnings is None:
            self.warnings = []
        self.warnings.append(text)

    def note(self, **values):
        if self.extra is None:
            self.extra = {}
        self.extra.update(values)

    def json(self):
        if self._json is None:
            self._json = strict_json(self.body)
        return self._json

    def form(self):
        """The urlencoded body as a list of pairs, in order."""
        try:
            text = self.body.decode("ascii")
            return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict",
                             strict_parsing=bool(text))
        except (UnicodeDecodeError, ValueError) as error:
            raise BodyError(str(error)) from error

    def basic_auth(self):
        """(user, password) of HTTP Basic, or None."""
        scheme, _, value = self.header("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (ValueError, UnicodeDecodeError):
            return None
        return (user, password) if colon else None

    def bearer(self):
        scheme, _, value = self.header("authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else None


def strict_json(data):
    """JSON as strict services read it: UTF-8 and no repeated keys."""
    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            raise BodyError("a key appears twice")
        return result
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BodyError(str(error)) from error


def misfit(value, shape, where=""):
    """Where a JSON value departs from a shape, or None. A shape is a type, [shape] or
    {name: shape}; names that it does not list are left to the caller."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return where or "."
        return next(filter(None, (misfit(item, shape[0], f"{where}[{n}]")
                                  for n, item in enumerate(value))), None)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return where or "."
        return next(filter(None, (misfit(item, shape[name], f"{where}.{name}".lstrip("."))
                                  for name, item in value.items() if name in shape)), None)
    is_right = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    return None if is_right else where or "."


def parse_multipart(content_type, body):
    """[(name, filename|None, content type, bytes)] of multipart/form-data."""
    match = re.search(r'boundary="?([^";]+)"?', content_type or "")
    if not match:
        raise BodyError("no boundary")
    mark = b"--" + match.group(1).encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BodyError("the closing boundary is missing")
    parts = []
    for piece in pieces[1:-1]:
        head, gap, data = piece.partition(b"\r\n\r\n")
        if not gap:
            raise BodyError("a part without headers")
        fields = {}
        for line in head.decode("utf-8").split("\r\n"):
            key, colon, value = line.partition(":")
            if colon:
                fields[key.strip().lower()] = value.strip()
        disposition = fields.get("content-disposition", "")
        name = re.search(r'[; ]name="((?:[^"\\]|\\.)*)"', disposition)
        if not disposition.startswith("form-data") or not name:
            raise BodyError("a part without a name")
        filename = re.search(r'filename="((?:[^"\\]|\\.)*)"', disposition)
        parts.append((name.group(1), filename.group(1) if filename else None,
                      fields.get("content-type", "text/plain"), data))
    return parts


def readable_body(request):
    """The parsed body for a test to look at, and what kind it is."""
    media = request.media_type()
    try:
        if media == "application/x-www-form-urlencoded":
            fields = {}
            for name, value in request.form():
                fields.setdefault(name, []).append(value)
            return "form", {k: v[0] if len(v) == 1 else v for k, v in fields.items()}
        if media.endswith("json"):
            return "json", strict_json(request.body)
        if media == "multipart/form-data":
            return "multipart", [
                {"name": name, "filename": filename, "content_type": kind, "size": len(data),
                 "text": data.decode("utf-8", "replace") if filename is None else None,
                 "base64": base64.b64encode(data).decode() if filename is not None else None}
                for name, filename, kind, data in parse_multipart(
                    request.header("content-type"), request.body)]
    except BodyError:
        pass
    try:
        return "text", request.body.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(request.body).decode()


def path_parts(request):
    return [unquote(part) for part in request.bare_path.strip("/").split("/")]


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64url(text):
    """Strict base64url without padding; raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*={0,2}", text):
        raise ValueError("not base64url")
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
