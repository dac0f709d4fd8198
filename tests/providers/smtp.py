# SPDX-License-Identifier: MIT
"""A submission server: STARTTLS, implicit TLS and a plain relay port, AUTH, SIZE, strict DATA.

One record for each message (op "send", the message as body) and for each refused recipient,
login or sender, so that a test can see every decision. A step of a rule for "send" is taken at
RCPT and acts at its stage: rcpt, data (after DATA) or end (after the final dot).
"""

import asyncio
import base64
import binascii
import email
import email.policy
import hmac
import re
import time
from email.utils import getaddresses

from behaviour import delay_seconds
from http1 import reset
from provider import Provider
from wire import EMAIL, Request

LINE_LIMIT = 12_288  # RFC 4954 allows this much for AUTH
SIZE_LIMIT = 10 * 1024 * 1024

# name: (code, text, stage)
ERRORS = {
    "user_unknown": (550, "5.1.1 no such user here", "rcpt"),
    "bad_domain": (550, "5.1.2 no such domain", "rcpt"),
    "bad_syntax": (553, "5.1.3 bad recipient address syntax", "rcpt"),
    "moved": (551, "5.1.6 user has moved", "rcpt"),
    "null_mx": (550, "5.1.10 recipient address has null MX", "rcpt"),
    "disabled": (550, "5.2.1 mailbox disabled", "rcpt"),
    "mailbox_full": (552, "5.2.2 mailbox full", "rcpt"),
    "over_limit": (552, "5.2.3 message exceeds the mailbox's limit", "rcpt"),
    "relay_denied": (550, "5.7.1 relaying denied", "rcpt"),
    "greylist": (451, "4.7.1 greylisted, try again in five minutes", "rcpt"),
    "busy": (450, "4.2.1 mailbox busy", "rcpt"),
    "insufficient": (452, "4.3.1 insufficient system storage", "rcpt"),
    "rate": (450, "4.7.28 sending rate exceeded", "rcpt"),
    "throttling": (454, "4.7.0 Throttling failure: maximum sending rate exceeded", "rcpt"),
    "closing": (421, "4.3.2 service shutting down", "rcpt"),
    "temporary": (451, "4.3.0 try again later", "end"),
    "too_large": (552, "5.3.4 message too big", "end"),
    "content": (554, "5.6.0 message content refused", "end"),
    "policy": (554, "5.7.1 message refused by policy", "end"),
    "auth_failed": (535, "5.7.8 authentication credentials invalid", "auth"),
    "auth_temporary": (454, "4.7.0 temporary authentication failure", "auth"),
    "auth_weak": (534, "5.7.9 authentication mechanism is too weak", "auth"),
    "auth_required": (530, "5.7.0 authentication required", "mail"),
    "encryption_required": (538, "5.7.11 encryption required", "auth"),
    "unavailable": (421, "4.3.2 service not available", "connect"),
}
# What the local part of a recipient does by itself.
LOCAL_PARTS = {"dead": "user_unknown", "grey": "greylist", "full": "mailbox_full"}


class Session(asyncio.Protocol):
    def __init__(self, engine, provider, mode):
        self.engine, self.provider, self.mode = engine, provider, mode
        self.number = 0
        self.transport = None
        self.is_tls = mode == "tls"
        self.is_closing = self.is_busy = False
        self.buffer = bytearray()
        self.is_data = False
        self.user = None
        self.auth_state = None
        self.greeted = False
        self.task = None
        self.clear()

    def clear(self):
        self.sender = None
        self.parameters = {}
        self.recipients = []
        self.step = None

    # asyncio.Protocol

    def connection_made(self, transport):
        self.transport = transport
        self.number = self.engine.link_opened(self)
        step = self.engine.behaviours.step(self.provider.name, "connect", None)
        if step is not None:
            self.follow(step, 220, "tocsin-test ESMTP", self.close_after_error)
        else:
            self.reply(220, "tocsin-test ESMTP")

    def connection_lost(self, exc):
        self.is_closing = True
        if self.task is not None:
            self.task.cancel()
        self.engine.link_closed(self)

    def data_received(self, data):
        self.buffer += data
        self.pump()

    def shut(self):
        self.transport.abort()

    # lines and replies

    def pump(self):
        while not self.is_busy and not self.is_closing:
            if self.is_data:
                if not self.take_message():
                    return
                continue
            end = self.buffer.find(b"\n")
            if end < 0:
                if len(self.buffer) > LINE_LIMIT:
                    self.reply(500, "5.5.2 line too long")
                    self.close()
                return
            line = bytes(self.buffer[:end + 1])
            del self.buffer[:end + 1]
            if not line.endswith(b"\r\n"):
                self.reply(500, "5.5.2 lines end in CRLF")
                continue
            self.line(line[:-2])

    def reply(self, code, text):
        if self.is_closing:
            return
        lines = text.split("\n")
        self.transport.write("".join(
            f"{code}{' ' if n == len(lines) - 1 else '-'}{line}\r\n"
            for n, line in enumerate(lines)).encode())
        if code == 421:
            self.close()

    def close(self):
        self.is_closing = True
        self.transport.close()

    def close_after_error(self, code):
        if code >= 400:
            self.close()

    def record(self, op, target, code, verdict, body=b"", why=None, **extra):
        request = Request(self.provider, "SMTP", op, [], body, "SMTP", self.is_tls,
                          time.time_ns(), self)
        request.op, request.target, request.status = op, target, code
        request.verdict, request.why = verdict, why
        request.extra = {"mail_from": self.sender, "rcpt_to": list(self.recipients),
                         "user": self.user, **extra}
        counters = self.engine.counters[self.provider.name]
        if op == "send":
            counters.started(request.at_ns)
            counters.in_flight -= 1
        counters.statuses[code] += 1
        setattr(counters, verdict, getattr(counters, verdict, 0) + 1)
        self.engine.recorder.add(request)
        return request

    def follow(self, step, code, text, after=None):
        """Reply as a step says: its delay, then its fault, its error, or our own reply."""
        fault = step.get("fault")
        if "error" in step:
            code, text, _ = ERRORS[step["error"]]
        elif "status" in step:
            code = step["status"]
            text = f"{code // 100}.0.0 scripted"
        text = step.get("text", text)
        self.is_busy = True

        def act():
            self.is_busy = False
            if self.is_closing:
                return
            if fault is not None:
                self.misbehave(fault, code, text, step)
                return
            self.reply(code, text)
            if after is not None:
                after(code)
            self.pump()
        delay = delay_seconds(step)
        if delay:
            self.engine.loop.call_later(delay, act)
        else:
            act()
        return code

    def misbehave(self, fault, code, text, step):
        self.engine.counters[self.provider.name].faults += 1
        self.is_busy = True
        if fault == "hang":
            return
        if fault.startswith("reset"):
            reset(self.transport)
        elif fault == "garbage":
            self.transport.write(b"\x00\xff\x16 garbage\r\n")
            self.close()
        elif fault in ("slow_headers", "slow_body", "endless", "huge"):
            self.task = asyncio.ensure_future(self.trickle(f"{code} {text}\r\n", fault, step))
        else:
            self.close()

    async def trickle(self, line, fault, step):
        if fault.startswith("slow"):
            for char in line:
                self.transport.write(char.encode())
                await asyncio.sleep(step.get("byte_ms", 1000) / 1000)
            self.is_busy = False
            return
        left = step.get("bytes", 100_000_000) if fault == "huge" else 1 << 62
        while left > 0 and not self.is_closing:
            self.transport.write(b"250-" + b"x" * 400 + b"\r\n")
            left -= 406
            await asyncio.sleep(0)
            while self.transport.get_write_buffer_size() > 1 << 20 and not self.is_closing:
                await asyncio.sleep(0.01)
        self.close()

    # commands

    def line(self, line):
        if self.auth_state is not None:
            self.auth_answer(line)
            return
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.reply(500, "5.5.2 not UTF-8")
            return
        verb, _, rest = text.partition(" ")
        handler = getattr(self, "do_" + verb.lower(), None)
        if handler is None or not verb.isalpha():
            self.reply(500, "5.5.1 unknown command")
        else:
            handler(rest)

    def do_ehlo(self, rest):
        if not rest.strip():
            self.reply(501, "5.5.4 a name is required")
            return
        self.greeted = True
        self.clear()
        lines = ["tocsin-test", f"SIZE {SIZE_LIMIT}", "8BITMIME", "PIPELINING", "SMTPUTF8",
                 "ENHANCEDSTATUSCODES"]
        if self.mode == "starttls" and not self.is_tls:
            lines.append("STARTTLS")
        else:
            lines.append("AUTH PLAIN LOGIN XOAUTH2")
        self.reply(250, "\n".join(lines))

    def do_helo(self, rest):
        self.greeted = True
        self.reply(250, "tocsin-test")

    def do_noop(self, rest):
        self.reply(250, "2.0.0 ok")

    def do_rset(self, rest):
        self.clear()
        self.reply(250, "2.0.0 ok")

    def do_quit(self, rest):
        self.reply(221, "2.0.0 bye")
        self.close()

    def do_starttls(self, rest):
        if self.mode != "starttls" or self.is_tls:
            self.reply(503, "5.5.1 not available")
            return
        if self.buffer:
            self.reply(554, "5.5.1 commands after STARTTLS")
            self.close()
            return
        self.reply(220, "2.0.0 go ahead")
        self.is_busy = True
        self.transport.pause_reading()
        self.task = asyncio.ensure_future(self.start_tls())

    async def start_tls(self):
        context = self.provider.starttls_context
        try:
            transport = await self.engine.loop.start_tls(self.transport, self, context,
                                                         server_side=True)
        except (OSError, asyncio.CancelledError):
            self.transport.abort()
            return
        self.transport = transport
        self.is_tls, self.is_busy, self.greeted, self.task = True, False, False, None
        self.clear()
        self.pump()

    # login

    def do_auth(self, rest):
        if self.mode == "starttls" and not self.is_tls:
            self.refuse("auth", None, "encryption_required")
            return
        if self.user is not None or self.sender is not None:
            self.reply(503, "5.5.1 not now")
            return
        mechanism, _, initial = rest.partition(" ")
        mechanism = mechanism.upper()
        if mechanism not in ("PLAIN", "LOGIN", "XOAUTH2"):
            self.reply(504, "5.5.4 mechanism not supported")
            return
        self.auth_state = (mechanism, [])
        if initial:
            self.auth_answer(b"" if initial == "=" else initial.encode())
        else:
            self.reply(334, "VXNlcm5hbWU6" if mechanism == "LOGIN" else "")

    def auth_answer(self, line):
        mechanism, answers = self.auth_state
        if line == b"*":
            self.auth_state = None
            self.reply(501, "5.7.0 cancelled")
            return
        if mechanism == "failed":
            self.auth_state = None
            self.refuse("auth", None, "auth_failed")
            return
        try:
            answers.append(base64.b64decode(line, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            self.auth_state = None
            self.reply(501, "5.5.2 not base64")
            return
        if mechanism == "LOGIN" and len(answers) == 1:
            self.reply(334, "UGFzc3dvcmQ6")
            return
        self.auth_state = None
        user, is_right = self.provider.login(mechanism, answers)
        step = self.engine.behaviours.step(self.provider.name, "auth", user)
        if step is not None:
            self.record("auth", user, 0, "scripted", why=step.get("error"))
            self.follow(step, 235, "2.7.0 welcome",
                        lambda code: setattr(self, "user", user if code == 235 else None))
        elif is_right:
            self.user = user
            self.reply(235, "2.7.0 welcome")
        elif mechanism == "XOAUTH2":
            self.auth_state = ("failed", [])
            self.reply(334, base64.b64encode(
                b'{"status":"401","schemes":"bearer","scope":"mail"}').decode())
        else:
            self.refuse("auth", user, "auth_failed")

    def refuse(self, op, target, name, text=None):
        code, default, _ = ERRORS[name]
        self.record(op, target, code, "refused", why=name)
        self.reply(code, text or default)

    # the envelope

    def do_mail(self, rest):
        match = re.fullmatch(r"(?i)FROM:\s?<([^>]*)>((?: \S+)*)", rest)
        if not self.greeted:
            self.reply(503, "5.5.1 EHLO first")
        elif self.mode != "none" and self.user is None:
            self.refuse("mail", None, "auth_required", None if self.is_tls else
                        "5.7.0 must issue a STARTTLS command first")
        elif self.sender is not None:
            self.reply(503, "5.5.1 nested MAIL")
        elif not match or (match.group(1) and not EMAIL.match(match.group(1))):
            self.reply(501, "5.1.7 bad sender address syntax")
        else:
            self.start_mail(match.group(1), match.group(2).split())

    def start_mail(self, sender, words):
        parameters = {}
        for word in words:
            name, _, value = word.partition("=")
            name = name.upper()
            if name not in ("SIZE", "BODY", "SMTPUTF8", "AUTH"):
                self.reply(555, f"5.5.4 parameter {name} not recognized")
                return
            parameters[name] = value
        if int(parameters.get("SIZE") or 0) > SIZE_LIMIT:
            self.refuse("mail", None, "too_large")
            return
        step = self.engine.behaviours.step(self.provider.name, "mail", sender)
        self.parameters = parameters
        if step is not None:
            self.record("mail", sender, 0, "scripted", why=step.get("error"))
            self.follow(step, 250, "2.1.0 ok", lambda code: setattr(
                self, "sender", sender if code == 250 else None))
            return
        self.sender = sender
        self.reply(250, "2.1.0 ok")

    def do_rcpt(self, rest):
        match = re.fullmatch(r"(?i)TO:\s?<([^>]*)>((?: \S+)*)", rest)
        if self.sender is None:
            self.reply(503, "5.5.1 MAIL first")
            return
        if not match or not EMAIL.match(match.group(1)):
            self.refuse("rcpt", match and match.group(1), "bad_syntax")
            return
        target = match.group(1)
        if len(self.recipients) >= 100:
            self.reply(452, "4.5.3 too many recipients")
            return
        step = self.engine.behaviours.step(self.provider.name, "send", target)
        if step is not None:
            self.scripted_rcpt(step, target)
            return
        local = target.partition("@")[0]
        for prefix, name in LOCAL_PARTS.items():
            if local.startswith(prefix):
                self.refuse("rcpt", target, name)
                return
        self.recipients.append(target)
        self.reply(250, "2.1.5 ok")

    def scripted_rcpt(self, step, target):
        if "error" in step:
            stage = ERRORS[step["error"]][2]
        else:
            stage = "rcpt" if "status" in step else "end"
        stage = step.get("stage", stage)
        if stage != "rcpt":
            self.step = (stage, step)
            self.recipients.append(target)
            self.reply(250, "2.1.5 ok")
            return
        code = self.follow(step, 250, "2.1.5 ok")
        if code < 300 and "fault" not in step:
            self.recipients.append(target)
        else:
            self.record("rcpt", target, code, "scripted", why=step.get("error"))

    # the message

    def do_data(self, rest):
        if not self.recipients:
            self.reply(503 if self.sender is None else 554, "5.5.1 no valid recipients")
            return
        if self.step is not None and self.step[0] == "data":
            step, self.step = self.step[1], None
            code = self.follow(step, 354, "end with a dot",
                               lambda code: setattr(self, "is_data", code == 354))
            self.record("data", self.recipients[0], code, "scripted", why=step.get("error"))
            return
        self.is_data = True
        self.reply(354, "end data with <CR><LF>.<CR><LF>")

    def take_message(self):
        """True when a whole message has been taken from the buffer."""
        if self.buffer.startswith(b".\r\n"):
            end, skip = 0, 3
        else:
            end, skip = self.buffer.find(b"\r\n.\r\n"), 5
            if end >= 0:
                end += 2
                skip = 3
        if end < 0:
            if len(self.buffer) > SIZE_LIMIT * 2:
                self.reply(552, "5.3.4 message too big")
                self.close()
            return False
        data = bytes(self.buffer[:end])
        del self.buffer[:end + skip]
        self.is_data = False
        self.end_message(re.sub(rb"(?m)^\.", b"", data) if b"." in data else data)
        return True

    def fault_of(self, data):
        """(error name, text) that a strict server finds in a message, or None."""
        if len(data) > SIZE_LIMIT:
            return "too_large", None
        if re.search(rb"(?<!\r)\n|\r(?!\n)", data):
            return "content", "5.6.0 bare CR or LF in the message"
        if any(len(line) > 998 for line in data.split(b"\r\n")):
            return "content", "5.6.0 line too long"
        if b"\0" in data:
            return "content", "5.6.0 NUL in the message"
        head = data.partition(b"\r\n\r\n")[0]
        if any(byte > 127 for byte in head) and "SMTPUTF8" not in self.parameters:
            return "content", "5.6.7 non-ASCII header without SMTPUTF8"
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")
                 if not line.startswith((b" ", b"\t"))]
        for name in (b"from", b"date", b"message-id", b"subject", b"to", b"mime-version",
                     b"content-type", b"content-transfer-encoding", b"list-unsubscribe"):
            if names.count(name) > 1:
                return "content", f"5.6.0 more than one {name.decode()} header"
        if b"from" not in names or b"date" not in names:
            return "content", "5.6.0 From and Date are required"
        return None

    def end_message(self, data):
        target = self.recipients[0]
        found = self.fault_of(data)
        if found is not None:
            code, text, _ = ERRORS[found[0]]
            self.record("send", target, code, "refused", data, found[1] or found[0])
            self.clear()
            self.reply(code, found[1] or text)
            return
        number = f"{self.engine.recorder.last + 1:08X}"
        step = self.step[1] if self.step is not None else None
        text = f"2.0.0 ok: queued as {number}"
        if step is None:
            self.keep(target, data, 250, "accepted", number)
            self.clear()
            self.reply(250, text)
            return
        is_error = "error" in step or "status" in step
        request = self.keep(target, data, 250, "scripted" if is_error else "accepted", number,
                            step.get("error") or step.get("fault"))
        self.clear()
        request.status = self.follow(step, 250, text)

    def keep(self, target, data, code, verdict, number, why=None):
        request = self.record("send", target, code, verdict, data, why, id=number)
        if any(byte > 127 for byte in data) and self.parameters.get("BODY") != "8BITMIME":
            request.warn("8-bit data without BODY=8BITMIME")
        if b"\nmessage-id:" not in b"\n" + data.lower():
            request.warn("no Message-ID")
        match = re.search(rb"(?im)^message-id:\s*(<[^>\r\n]*>)", data)
        request.dedupe = match.group(1).decode("ascii", "replace") if match else None
        return request


class Smtp(Provider):
    name = "smtp"
    errors = ERRORS
    signature_headers = ()

    def prepare(self):
        self.user = "tocsin"
        self.password, self.password_file = self.secret("smtp.password")
        self.oauth, self.oauth_file = self.secret("smtp.oauth")

    def add_doors(self, listener):
        """Three ports; the STARTTLS one shares the TLS settings of the others."""
        make = lambda mode: lambda: Session(self.engine, self, mode)
        self.port = listener.add("starttls", make("starttls"))
        self.tls_port = listener.add("tls", make("tls"), True, ())
        self.plain_port = listener.add("plain", make("none"))
        self.starttls_context = listener.context(())

    def describe(self):
        return {"host": "127.0.0.1", "port": self.port, "tls": "starttls",
                "tls_port": self.tls_port, "plain_port": self.plain_port, "username": self.user,
                "password_file": self.password_file, "oauth_token_file": self.oauth_file}

    def login(self, mechanism, answers):
        """(user, whether the credentials are right)."""
        if mechanism == "PLAIN":
            parts = answers[0].split("\0")
            if len(parts) != 3:
                return None, False
            user, password, want = parts[1], parts[2], self.password
        elif mechanism == "LOGIN":
            user, password, want = answers[0], answers[1], self.password
        else:
            match = re.fullmatch("user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", answers[0])
            if not match:
                return None, False
            user, password, want = match.group(1), match.group(2), self.oauth
        return user, user == self.user and hmac.compare_digest(password.encode(), want.encode())

    def readable_body(self, request):
        """The message as a mail reader sees it."""
        if not request.body:
            return "text", ""
        message = email.message_from_bytes(request.body, policy=email.policy.default)
        parts = []
        for part in message.walk():
            if part.is_multipart():
                continue
            data = part.get_payload(decode=True) or b""
            entry = {"content_type": part.get_content_type(), "filename": part.get_filename(),
                     "disposition": part.get_content_disposition(),
                     "encoding": part.get("content-transfer-encoding"),
                     "content_id": part.get("content-id"), "size": len(data)}
            if part.get_content_maintype() == "text":
                entry["text"] = data.decode(part.get_content_charset("utf-8"), "replace")
            else:
                entry["base64"] = base64.b64encode(data).decode()
            parts.append(entry)
        return "mail", {
            "headers": {name: str(value) for name, value in message.items()},
            "content_type": message.get_content_type(),
            "from": getaddresses([str(message.get("from", ""))]),
            "to": getaddresses([str(message.get("to", ""))]),
            "subject": str(message.get("subject", "")), "parts": parts}
