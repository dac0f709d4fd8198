# SPDX-License-Identifier: MIT
"""Twilio Programmable Messaging: POST /2010-04-01/Accounts/{sid}/Messages.json."""

import base64
import hashlib
import hmac
import re
import secrets
import time
from email.utils import formatdate
from urllib.parse import urlencode, urlsplit

import segments
from provider import Provider
from wire import E164, BodyError, json_answer, path_parts

# code: (HTTP status, message). Messages are the vendor's meaning in our words.
CODES = {
    20001: (400, "Invalid parameter"), 20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"), 20005: (401, "Account not active"),
    20006: (403, "Access denied"), 20008: (403, "Resource not accessible with Test Account"),
    20404: (404, "The requested resource was not found"), 20409: (409, "Conflict"),
    20422: (422, "Invalid parameter"), 20429: (429, "Too Many Requests"),
    20500: (500, "Internal server error"), 20503: (503, "Service unavailable"),
    21211: (400, "The 'To' number is not a valid phone number."),
    21212: (400, "The 'From' number is not a valid phone number, shortcode or sender."),
    21214: (400, "'To' phone number cannot be reached"),
    21219: (400, "'To' phone number not verified"),
    21265: (400, "'To' number cannot be a Short Code"),
    21266: (400, "'To' and 'From' number cannot be the same"),
    21408: (400, "Permission to send an SMS has not been enabled for the region"),
    21421: (400, "Phone number is invalid"),
    21602: (400, "Message body is required."), 21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The 'From' number is not a valid, SMS-capable number of the account."),
    21607: (400, "The 'From' number is not SMS-capable."),
    21608: (400, "The 'To' number is unverified; trial accounts need verified numbers."),
    21609: (400, "The 'StatusCallback' URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' and 'From'"),
    21614: (400, "'To' number is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21618: (400, "The message body cannot be sent"), 21619: (400, "A text body is required"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21624: (400, "Invalid validity period value"), 21635: (400, "'To' number is a landline"),
    21654: (400, "ContentSid Required"), 21655: (400, "The ContentSid is Invalid"),
    21656: (400, "The ContentVariables Parameter is invalid"),
    21659: (400, "'From' is not a Twilio phone number or Short Code country mismatch"),
    21660: (400, "Mismatch between the 'From' number and the account"),
    21661: (400, "'From' number is not valid"),
    21701: (404, "The Messaging Service does not exist"),
    21703: (400, "The Messaging Service does not have a phone number available"),
    21704: (400, "The Messaging Service contains no phone numbers"),
    21705: (400, "The Messaging Service is invalid"),
    30001: (400, "Queue overflow"), 30002: (400, "Account suspended"),
    30022: (429, "US A2P 10DLC - Rate Limits Exceeded"),
    30018: (400, "Destination carrier requires sender ID pre-registration"),
    30024: (400, "Numeric Sender ID Not Provisioned on Carrier"),
    60005: (500, "Carrier error"), 63018: (429, "Rate limit exceeded for Channel"),
    63038: (429, "Account exceeded the daily messages limit"),
}

# Codes that mostly come by callback; a message may be refused with them at once, too.
CODES.update({code: (400, "Message delivery error") for code in (
    30003, 30004, 30005, 30006, 30007, 30008, *range(30010, 30018), 30019, 30020, 30021, 30023,
    30025, 30026, 30027, 30032, 30033, 30034, 30035, 30111, 30410, 30450, 63003, 63005, 63016,
    63021, 63024)})

# The numbers that Twilio itself reserves for its test credentials.
MAGIC_TO = {"+15005550001": 21211, "+15005550002": 21612, "+15005550003": 21408,
            "+15005550004": 21610, "+15005550009": 21614}
MAGIC_FROM = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}

FIELDS = frozenset((
    "To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables",
    "StatusCallback", "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt",
    "ValidityPeriod", "ForceDelivery", "ContentRetention", "AddressRetention", "SmartEncoded",
    "PersistentAction", "TrafficType", "ShortenUrls", "ScheduleType", "SendAt", "SendAsMms",
    "RiskCheck", "FallbackFrom"))
REPEATABLE = frozenset(("MediaUrl", "PersistentAction"))
CALLBACK_ERRORS = {"failed": 30008, "undelivered": 30003}


def signature(token, url, pairs):
    """X-Twilio-Signature of a form callback."""
    values = {}
    for name, value in pairs:
        values.setdefault(name, set()).add(value)
    text = url + "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Twilio(Provider):
    name = "twilio"
    errors = {str(code): code for code in CODES}
    signature_headers = ("X-Twilio-Signature",)

    def prepare(self):
        self.sid = "AC" + secrets.token_hex(16)
        self.service = "MG" + secrets.token_hex(16)
        self.senders = {"+15005550006", "+15550100", "+15550001111"}
        self.token, self.token_file = self.secret("twilio.token")

    def describe(self):
        return {**super().describe(), "account_sid": self.sid, "auth_token_file": self.token_file,
                "from": "+15005550006", "senders": sorted(self.senders),
                "messaging_service_sid": self.service}

    def error(self, name, request, step):
        code = int(name)
        status, message = CODES[code]
        headers = [("twilio-request-id", "RQ" + secrets.token_hex(16))]
        if status == 401:
            headers.append(("www-authenticate", 'Basic realm="Twilio API"'))
        if status == 429:
            headers.append(("twilio-concurrent-requests", "101"))
        return json_answer(status, {
            "code": code, "message": step.get("text", message),
            "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}, headers)

    def status(self, status, request, step):
        code = {401: 20003, 403: 20006, 404: 20404, 409: 20409, 429: 20429, 500: 20500,
                503: 20503, 400: 20001}.get(status)
        if code is None:
            return super().status(status, request, step)
        return self.error(code, request, step)

    def check(self, request):
        parts = path_parts(request)
        if len(parts) != 4 or parts[0] != "2010-04-01" or parts[1] != "Accounts" \
                or parts[3] != "Messages.json":
            self.refuse(request, 20404)
        auth = request.basic_auth()
        if auth is None or auth[0] != self.sid or not hmac.compare_digest(auth[1], self.token):
            self.refuse(request, 20003)
        if parts[2] != self.sid:
            self.refuse(request, 20404)
        if request.method != "POST":
            self.refuse(request, 20004)
        fields = self.read_fields(request)
        request.target = fields.get("To")
        self.check_addresses(request, fields)
        self.check_content(request, fields)
        request.note(fields=fields)

    def read_fields(self, request):
        if request.media_type() != "application/x-www-form-urlencoded":
            request.warn("content-type is not application/x-www-form-urlencoded")
            return {}
        try:
            pairs = request.form()
        except BodyError as error:
            self.refuse(request, 20001, text=f"Invalid parameter: {error}")
        fields = {}
        for name, value in pairs:
            if name not in FIELDS:
                request.warn(f"unknown field {name}")
            elif name in fields and name not in REPEATABLE:
                request.warn(f"field {name} appears twice")
            if name in REPEATABLE:
                fields.setdefault(name, []).append(value)
            else:
                fields[name] = value
        return fields

    def check_addresses(self, request, fields):
        to, sender = fields.get("To"), fields.get("From")
        if not to:
            self.refuse(request, 21604)
        if re.fullmatch(r"[0-9]{5,6}", to):
            self.refuse(request, 21265)
        if not E164.match(to.removeprefix("whatsapp:")):
            self.refuse(request, 21211)
        service = fields.get("MessagingServiceSid")
        if service is not None:
            if service != self.service:
                self.refuse(request, 21701 if re.fullmatch("MG[0-9a-fA-F]{32}", service) else 21705)
        elif not sender:
            self.refuse(request, 21603)
        if sender in MAGIC_FROM:
            self.refuse(request, MAGIC_FROM[sender])
        if sender and sender.removeprefix("whatsapp:") not in self.senders \
                and not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}", sender):
            self.refuse(request, 21659 if E164.match(sender) else 21212)
        if to == sender:
            self.refuse(request, 21266)
        if to in MAGIC_TO:
            self.refuse(request, MAGIC_TO[to])

    def check_content(self, request, fields):
        body, media = fields.get("Body", ""), fields.get("MediaUrl", [])
        if not body and not media and not fields.get("ContentSid"):
            self.refuse(request, 21602)
        if len(body.encode("utf-16-le")) // 2 > 1600:
            self.refuse(request, 21617)
        if len(media) > 10:
            self.refuse(request, 21623)
        if any(urlsplit(url).scheme not in ("http", "https") for url in media):
            self.refuse(request, 21620)
        callback = fields.get("StatusCallback")
        if callback:
            parts = urlsplit(callback)
            if parts.scheme not in ("http", "https") or not parts.hostname \
                    or "_" in parts.hostname:
                self.refuse(request, 21609)
        period = fields.get("ValidityPeriod")
        if period is not None and not (period.isdigit() and 1 <= int(period) <= 36000):
            self.refuse(request, 21624)

    def accept(self, request):
        fields = request.extra["fields"]
        sid = ("MM" if "MediaUrl" in fields else "SM") + secrets.token_hex(16)
        request.note(id=sid)
        by_service = "MessagingServiceSid" in fields and "From" not in fields
        _, parts, _ = segments.count(fields.get("Body", ""))
        now = formatdate(time.time(), usegmt=True).replace("GMT", "+0000")
        uri = f"/2010-04-01/Accounts/{self.sid}/Messages/{sid}"
        return json_answer(201, {
            "account_sid": self.sid, "api_version": "2010-04-01", "body": fields.get("Body", ""),
            "date_created": now, "date_sent": None, "date_updated": now,
            "direction": "outbound-api", "error_code": None, "error_message": None,
            "from": fields.get("From"), "messaging_service_sid": fields.get("MessagingServiceSid"),
            "num_media": str(len(fields.get("MediaUrl", []))),
            "num_segments": "0" if by_service else str(parts), "price": None, "price_unit": "USD",
            "sid": sid, "status": "accepted" if "MessagingServiceSid" in fields else "queued",
            "subresource_uris": {"media": uri + "/Media.json"}, "to": fields["To"],
            "uri": uri + ".json"}, [("twilio-concurrent-requests", "1")])

    def callback_base(self, request, answer):
        fields = request.extra["fields"]
        return {"url": fields.get("StatusCallback"), "id": request.extra["id"],
                "to": fields["To"], "from": fields.get("From", "+15005550006")}

    def callbacks(self, spec):
        """Events: a status, or {status, error_code, ...}. `inbound` makes an incoming message."""
        calls = []
        for event in spec.get("events", ["delivered"]):
            event = {"status": event} if isinstance(event, str) else event
            status = event["status"]
            if status == "inbound":
                pairs = [("MessageSid", event.get("id", "SM" + secrets.token_hex(16))),
                         ("AccountSid", self.sid), ("From", spec["from"]),
                         ("To", spec.get("to", "+15005550006")), ("Body", event["text"]),
                         ("NumMedia", "0"), ("NumSegments", "1"), ("ApiVersion", "2010-04-01")]
            else:
                code = event.get("error_code", CALLBACK_ERRORS.get(status))
                pairs = [("SmsSid", spec["id"]), ("SmsStatus", status),
                         ("MessageStatus", status), ("To", spec.get("to", "+15005550010")),
                         ("MessageSid", spec["id"]), ("AccountSid", self.sid),
                         ("From", spec.get("from", "+15005550006")),
                         ("ApiVersion", "2010-04-01")]
                if code:
                    pairs.append(("ErrorCode", str(code)))
                if status in ("delivered", "undelivered", "failed"):
                    pairs.append(("RawDlrDoneDate", time.strftime("%y%m%d%H%M", time.gmtime())))
            signed_url = spec.get("signed_url", spec["url"])
            calls.append(("POST", spec["url"], {
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "User-Agent": "TwilioProxy/1.1",
                "I-Twilio-Idempotency-Token": secrets.token_hex(16),
                "X-Twilio-Signature": signature(self.token, signed_url, pairs),
            }, urlencode(pairs).encode()))
        return calls
