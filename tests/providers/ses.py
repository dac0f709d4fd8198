# SPDX-License-Identifier: MIT
"""Amazon SES v2 SendEmail with SigV4, and its events through SNS."""

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from certs import certificate, rsa_key
from provider import Provider
from wire import EMAIL, Answer, BodyError, json_answer

# name: (HTTP status, message)
ERRORS = {
    "TooManyRequestsException": (429, "Too many requests"),
    "Throttling": (429, "Maximum sending rate exceeded."),
    "DailyQuota": (429, "Daily message quota exceeded."),
    "LimitExceededException": (400, "Limit exceeded"),
    "AccountSuspendedException": (400, "Account is suspended"),
    "SendingPausedException": (400, "Sending is paused for this account"),
    "MessageRejected": (400, "Message content is not acceptable"),
    "NotVerified": (400, "Email address is not verified. The following identities failed the "
                    "check in region US-EAST-1: {from}"),
    "MailFromDomainNotVerifiedException": (400, "MAIL FROM domain is not verified"),
    "NotFoundException": (404, "Configuration set does not exist"),
    "BadRequestException": (400, "Bad request"),
    "SerializationException": (400, "Malformed JSON"),
    "InvalidSignatureException": (403, "The request signature we calculated does not match the "
                                  "signature you provided."),
    "IncompleteSignatureException": (400, "Authorization header is incomplete"),
    "MissingAuthenticationTokenException": (403, "Missing Authentication Token"),
    "UnrecognizedClientException": (403, "The security token included in the request is "
                                    "invalid."),
    "AccessDeniedException": (403, "User is not authorized to perform ses:SendEmail"),
    "UnknownOperationException": (404, "Unknown operation"),
    "RequestEntityTooLarge": (413, "Request too large"),
    "InternalServiceError": (500, "Internal failure"),
    "ServiceUnavailable": (503, "Service is unavailable"),
}
WIRE_NAMES = {"Throttling": "TooManyRequestsException", "DailyQuota": "LimitExceededException",
              "NotVerified": "MessageRejected"}
BY_STATUS = {400: "BadRequestException", 403: "InvalidSignatureException",
             404: "NotFoundException", 413: "RequestEntityTooLarge",
             429: "TooManyRequestsException", 500: "InternalServiceError",
             503: "ServiceUnavailable"}

TEXT, HEADERS, ATTACHMENTS = str, [{"Name": str, "Value": str}], [{
    "RawContent": str, "ContentDisposition": str, "FileName": str, "ContentDescription": str,
    "ContentId": str, "ContentTransferEncoding": str, "ContentType": str}]
PART = {"Data": TEXT, "Charset": TEXT}
REQUEST = {
    "FromEmailAddress": TEXT, "FromEmailAddressIdentityArn": TEXT, "ReplyToAddresses": [TEXT],
    "Destination": {"ToAddresses": [TEXT], "CcAddresses": [TEXT], "BccAddresses": [TEXT]},
    "FeedbackForwardingEmailAddress": TEXT, "FeedbackForwardingEmailAddressIdentityArn": TEXT,
    "Content": {
        "Simple": {"Subject": PART, "Body": {"Text": PART, "Html": PART}, "Headers": HEADERS,
                   "Attachments": ATTACHMENTS},
        "Raw": {"Data": TEXT},
        "Template": {"TemplateName": TEXT, "TemplateArn": TEXT, "TemplateData": TEXT,
                     "TemplateContent": {"Subject": TEXT, "Text": TEXT, "Html": TEXT},
                     "Headers": HEADERS, "Attachments": ATTACHMENTS}},
    "EmailTags": HEADERS, "ConfigurationSetName": TEXT, "EndpointId": TEXT, "TenantName": TEXT,
    "ListManagementOptions": {"ContactListName": TEXT, "TopicName": TEXT},
}
REQUIRED = {
    "": ("Content",), "EmailTags": ("Name", "Value"), "ListManagementOptions": ("ContactListName",),
    "Content.Simple": ("Subject", "Body"), "Content.Raw": ("Data",),
    "Content.Simple.Subject": ("Data",), "Content.Simple.Body.Text": ("Data",),
    "Content.Simple.Body.Html": ("Data",),
    **{f"Content.{kind}.{name}": keys for kind in ("Simple", "Template") for name, keys in (
        ("Headers", ("Name", "Value")), ("Attachments", ("RawContent", "FileName")))}}


def canonical_request(method, path, query, headers, signed, body):
    """SigV4's canonical request; headers as pairs, signed as names in order."""
    # S3 apart, the path is encoded once more than it is on the wire.
    path = quote(re.sub(r"/{2,}", "/", path) or "/", safe="/-_.~")
    pairs = []
    for piece in query.split("&") if query else []:
        name, _, value = piece.partition("=")
        pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    lines = []
    for name in signed:
        values = [re.sub(" +", " ", value.strip()) for key, value in headers if key == name]
        lines.append(name + ":" + ",".join(values) + "\n")
    return "\n".join((method, path, "&".join(f"{n}={v}" for n, v in sorted(pairs)),
                      "".join(lines), ";".join(signed), hashlib.sha256(body).hexdigest()))


def signature(secret, stamp, region, service, canonical):
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()))
    key = ("AWS4" + secret).encode()
    for part in (stamp[:8], region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


class Ses(Provider):
    name = "ses"
    errors = ERRORS
    body_limit = 42 * 1024 * 1024

    def prepare(self):
        self.region = "us-east-1"
        self.access_key = "AKIA" + secrets.token_hex(8).upper()
        self.secret_key, self.secret_file = self.secret("ses.secret-key", size=40)
        self.temporary_key = "ASIA" + secrets.token_hex(8).upper()
        self.session, self.session_file = self.secret("ses.session-token", size=120)
        self.topic = f"arn:aws:sns:{self.region}:123456789012:tocsin"
        self.sns_key = rsa_key()
        now = datetime.datetime.utcnow()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        day = datetime.timedelta(days=1)
        self.sns_pem = certificate("sns.amazonaws.com", (), self.sns_key, name, self.sns_key,
                                   now - day, now + 30 * day).public_bytes(
                                       serialization.Encoding.PEM)

    def describe(self):
        return {**super().describe(), "region": self.region, "access_key_id": self.access_key,
                "secret_access_key_file": self.secret_file,
                "temporary_access_key_id": self.temporary_key,
                "session_token_file": self.session_file, "configuration_set": "tocsin",
                "sns_topic_arn": self.topic,
                "sns_cert_url": self.tls_base_url + "/SimpleNotificationService-test.pem",
                "sns_cert_url_plain": self.base_url + "/SimpleNotificationService-test.pem"}

    def error(self, name, request, step):
        status, message = ERRORS[name]
        message = step.get("text", message.replace("{from}", str(step.get("from"))))
        return json_answer(status, {"message": message}, [
            ("x-amzn-errortype", WIRE_NAMES.get(name, name) + ":http://internal.amazon.com/"),
            ("x-amzn-requestid", str(uuid.uuid4()))])

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        path = request.bare_path
        if path == "/SimpleNotificationService-test.pem" and request.method == "GET":
            request.op = "certificate"
            return
        if path == "/sns/confirm" and request.method == "GET":
            request.op = "confirm"
            return
        if path != "/v2/email/outbound-emails" or request.method != "POST":
            self.refuse(request, "UnknownOperationException")
        self.check_signature(request)
        try:
            body = request.json()
        except BodyError as error:
            self.refuse(request, "SerializationException", text=str(error))
        if request.media_type() not in ("application/json", "application/x-amz-json-1.1"):
            request.warn("content-type is not application/json")
        self.check_shape(request, body, REQUEST, "")
        self.check_people(request, body)
        self.check_content(request, body["Content"])

    # SigV4

    def check_signature(self, request):
        header = request.header("authorization")
        if header is None:
            self.refuse(request, "MissingAuthenticationTokenException")
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/"
                             r"aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?"
                             r"Signature=([0-9a-f]{64})", header)
        stamp = request.header("x-amz-date", "")
        if not match or not re.fullmatch(r"\d{8}T\d{6}Z", stamp) or stamp[:8] != match.group(2):
            self.refuse(request, "IncompleteSignatureException")
        access, _, region, service, names, given = match.groups()
        token = request.header("x-amz-security-token")
        if (access, token) not in ((self.access_key, None), (self.temporary_key, self.session)):
            self.refuse(request, "UnrecognizedClientException")
        signed = names.split(";")
        must = {n for n, _ in request.headers if n.startswith("x-amz-")} | {"host", "x-amz-date"}
        if signed != sorted(set(signed)) or must - set(signed):
            self.refuse(request, "InvalidSignatureException", text="headers are not signed")
        when = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(
            tzinfo=datetime.timezone.utc).timestamp()
        if abs(when - time.time()) > 300 or (region, service) != (self.region, "ses"):
            self.refuse(request, "InvalidSignatureException", text="Signature expired or for "
                        "another region or service")
        digest = request.header("x-amz-content-sha256")
        if digest not in (None, hashlib.sha256(request.body).hexdigest()):
            self.refuse(request, "InvalidSignatureException", text="wrong x-amz-content-sha256")
        parts = urlsplit(request.path)
        want = signature(self.secret_key, stamp, region, service, canonical_request(
            request.method, parts.path, parts.query, request.headers, signed, request.body))
        if not hmac.compare_digest(want, given):
            self.refuse(request, "InvalidSignatureException")

    # the message

    def check_shape(self, request, value, shape, where):
        """Types are errors, unknown names are swallowed by the real one and noted here."""
        if isinstance(shape, list):
            if not isinstance(value, list):
                self.refuse(request, "SerializationException", text=f"{where} is no list")
            for item in value:
                self.check_shape(request, item, shape[0], where)
        elif isinstance(shape, dict):
            if not isinstance(value, dict):
                self.refuse(request, "SerializationException", text=f"{where} is no structure")
            for name in REQUIRED.get(where, ()):
                if name not in value:
                    self.refuse(request, "BadRequestException", text=f"{where}.{name} is missing")
            for name, item in value.items():
                path = f"{where}.{name}" if where else name
                if name not in shape:
                    request.warn(f"unknown field {path}")
                elif item is not None:
                    self.check_shape(request, item, shape[name], path)
        elif not isinstance(value, shape):
            self.refuse(request, "SerializationException", text=f"{where} is no string")

    def address(self, text):
        match = re.fullmatch(r".*<([^<>]+)>", text)
        return match.group(1) if match else text

    def check_people(self, request, body):
        destination = body.get("Destination") or {}
        everyone = [a for name in ("ToAddresses", "CcAddresses", "BccAddresses")
                    for a in destination.get(name) or []]
        if not everyone and "Raw" not in body["Content"]:
            self.refuse(request, "BadRequestException", text="Missing required destination")
        if len(everyone) > 50:
            self.refuse(request, "BadRequestException", text="Recipient count exceeds 50.")
        for address in everyone + (body.get("ReplyToAddresses") or []):
            if not EMAIL.match(self.address(address)):
                self.refuse(request, "BadRequestException", text="Illegal address")
        request.target = self.address(everyone[0]) if everyone else None
        sender = body.get("FromEmailAddress")
        if not sender and "Raw" not in body["Content"]:
            self.refuse(request, "BadRequestException", text="Missing FromEmailAddress")
        if sender and not EMAIL.match(self.address(sender)):
            self.refuse(request, "BadRequestException", text="Illegal FromEmailAddress")
        if sender and self.address(sender).endswith("@unverified.example"):
            self.refuse(request, "NotVerified", **{"from": self.address(sender)})
        if body.get("ConfigurationSetName", "tocsin") != "tocsin":
            self.refuse(request, "NotFoundException")
        for tag in body.get("EmailTags") or []:
            if not all(re.fullmatch(r"[A-Za-z0-9_.@-]{1,256}", tag.get(k, ""))
                       for k in ("Name", "Value")):
                self.refuse(request, "BadRequestException", text="Invalid tag")

    def check_content(self, request, content):
        kinds = [k for k in ("Simple", "Raw", "Template") if content.get(k)]
        if len(kinds) != 1:
            self.refuse(request, "BadRequestException", text="Exactly one kind of content")
        part = content[kinds[0]]
        if kinds[0] == "Raw":
            self.decode(request, part["Data"])
            return
        if kinds[0] == "Simple" and not (part["Body"].get("Text") or part["Body"].get("Html")):
            self.refuse(request, "BadRequestException", text="Missing body")
        if len(part.get("Headers") or []) > 15:
            self.refuse(request, "BadRequestException", text="More than 15 headers")
        for attachment in part.get("Attachments") or []:
            if not attachment.get("FileName"):
                self.refuse(request, "BadRequestException", text="FileName is missing")
            self.decode(request, attachment.get("RawContent", ""))

    def decode(self, request, text):
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.refuse(request, "SerializationException", text="not base64")

    def accept(self, request):
        if request.op == "certificate":
            return Answer(200, self.sns_pem, [("content-type", "application/x-pem-file")])
        if request.op == "confirm":
            return Answer(200, "<ConfirmSubscriptionResponse/>", [("content-type", "text/xml")])
        number = f"0100{secrets.token_hex(6)}-{uuid.uuid4()}-000000"
        request.note(id=number)
        return json_answer(200, {"MessageId": number}, [("x-amzn-requestid", str(uuid.uuid4()))])

    # events

    def callback_base(self, request, answer):
        tags = {t["Name"]: [t["Value"]] for t in request.json().get("EmailTags") or []}
        return {"id": request.extra["id"], "to": request.target, "tags": tags}

    def event(self, event, spec):
        """One SES event as it stands in an SNS message."""
        event = {"eventType": event} if isinstance(event, str) else dict(event)
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        to = spec.get("to", "to@example.org")
        defaults = {
            "Delivery": {"delivery": {"timestamp": now, "recipients": [to],
                                      "smtpResponse": "250 ok", "processingTimeMillis": 500}},
            "Bounce": {"bounce": {"bounceType": "Permanent", "bounceSubType": "General",
                                  "timestamp": now, "feedbackId": secrets.token_hex(8),
                                  "bouncedRecipients": [{
                                      "emailAddress": to, "action": "failed", "status": "5.1.1",
                                      "diagnosticCode": "smtp; 550 5.1.1 unknown"}]}},
            "Complaint": {"complaint": {"complainedRecipients": [{"emailAddress": to}],
                                        "timestamp": now, "complaintFeedbackType": "abuse"}},
            "Reject": {"reject": {"reason": "Bad content"}},
            "DeliveryDelay": {"deliveryDelay": {"delayType": "TransientCommunicationFailure",
                                                "timestamp": now}},
            "Send": {"send": {}},
        }
        return {"mail": {"timestamp": now, "messageId": spec["id"], "destination": [to],
                         "source": "f@example.org", "tags": spec.get("tags", {})},
                **defaults.get(event["eventType"], {}), **event}

    def sns(self, kind, message, spec):
        """A signed SNS envelope."""
        # The certificate is served over TLS by our CA; tests that cannot trust it use http.
        base = self.base_url if spec.get("plain_cert") else self.tls_base_url
        envelope = {"Type": kind, "MessageId": str(uuid.uuid4()),
                    "TopicArn": spec.get("topic_arn", self.topic), "Message": message,
                    "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
                    "SignatureVersion": str(spec.get("signature_version", "2")),
                    "SigningCertURL": spec.get(
                        "cert_url", base + "/SimpleNotificationService-test.pem")}
        if spec.get("subject"):
            envelope["Subject"] = spec["subject"]
        if kind == "Notification":
            envelope["UnsubscribeURL"] = base + "/sns/unsubscribe"
            names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
        else:
            envelope["Token"] = secrets.token_hex(32)
            envelope["SubscribeURL"] = (f"{self.base_url}/sns/confirm?TopicArn="
                                        f"{quote(envelope['TopicArn'])}&Token={envelope['Token']}")
            names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn",
                     "Type")
        text = "".join(f"{n}\n{envelope[n]}\n" for n in names if n in envelope)
        hashing = hashes.SHA1() if envelope["SignatureVersion"] == "1" else hashes.SHA256()
        made = self.sns_key.sign(text.encode(), padding.PKCS1v15(), hashing)
        if spec.get("bad_signature"):
            made = made[::-1]
        envelope["Signature"] = base64.b64encode(made).decode()
        return envelope

    def callbacks(self, spec):
        """Events: SES event names or objects; SubscriptionConfirmation for the handshake."""
        calls = []
        for event in spec.get("events", ["Delivery"]):
            kind = "Notification"
            if event in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
                kind, message = event, "You have chosen to subscribe to the topic."
            else:
                message = json.dumps(self.event(event, spec))
            envelope = self.sns(kind, message, spec)
            calls.append(("POST", spec["url"], {
                "Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": kind,
                "x-amz-sns-message-id": envelope["MessageId"],
                "x-amz-sns-topic-arn": envelope["TopicArn"],
                "User-Agent": "Amazon Simple Notification Service Agent",
            }, json.dumps(envelope).encode()))
        return calls
