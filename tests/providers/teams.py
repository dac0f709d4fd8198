# SPDX-License-Identifier: MIT
"""Microsoft Teams: the Workflows webhook, and the legacy connector webhook."""

import secrets
import uuid

from provider import Provider
from wire import Answer, BodyError, json_answer, text_answer

# name: (HTTP status, code, message)
ERRORS = {
    "bad_request": (400, "InvalidRequestContent", "The request content is not valid JSON."),
    "trigger_disabled": (400, "WorkflowTriggerIsNotEnabled", "Could not execute workflow trigger "
                         "'manual' because the trigger is not enabled."),
    "unauthorized": (401, "DirectApiAuthorizationRequired", "The request must be authenticated."),
    "forbidden": (403, "DirectApiInvalidAuthorizationScheme", "Not allowed for this tenant."),
    "not_found": (404, "WorkflowNotFound", "The workflow could not be found."),
    "gone": (410, "WorkflowDeleted", "The workflow was deleted."),
    "too_large": (413, "RequestEntityTooLarge", "The request is too large."),
    "rate_limit": (429, "WorkflowTriggerRequestsThrottled", "Too many requests."),
    "internal": (500, "InternalServerError", "Internal error."),
    "bad_gateway": (502, "BadGateway", "Bad gateway."),
    "unavailable": (503, "ServiceUnavailable", "Unavailable."),
    # the legacy connector says these inside 200
    "legacy_throttled": (200, None, "Webhook message delivery failed with error: Microsoft Teams "
                         "endpoint returned HTTP error 429 with ContextId tcid=0"),
    "legacy_too_large": (200, None, "Webhook message delivery failed with error: Microsoft Teams "
                         "endpoint returned HTTP error 413 with ContextId tcid=0"),
}
BY_STATUS = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
             410: "gone", 413: "too_large", 429: "rate_limit", 500: "internal",
             502: "bad_gateway", 503: "unavailable"}
CARD = "application/vnd.microsoft.card.adaptive"
POSTED_LIMIT = 28 * 1024


class Teams(Provider):
    name = "teams"
    errors = ERRORS

    def prepare(self):
        self.flow = secrets.token_hex(16)
        self.path = ("/powerautomate/automations/direct/workflows/" + self.flow
                     + "/triggers/manual/paths/invoke")
        # The query must come back byte for byte, %2F and all.
        self.query = ("api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig="
                      + secrets.token_urlsafe(32))
        self.legacy = (f"/webhookb2/{uuid.uuid4()}@{uuid.uuid4()}/IncomingWebhook/"
                       f"{secrets.token_hex(16)}/{uuid.uuid4()}")

    def describe(self):
        path = f"{self.path}?{self.query}"
        _, file = self.secret("teams.url", self.base_url + path)
        return {**super().describe(), "webhook_url": self.base_url + path,
                "webhook_url_file": file, "tls_webhook_url": self.tls_base_url + path,
                "legacy_webhook_url": self.base_url + self.legacy,
                "dead_webhook_url": self.base_url + path.replace(self.flow, "0" * 32)}

    def error(self, name, request, step):
        status, code, message = ERRORS[name]
        message = step.get("text", message)
        if code is None:
            return text_answer(200, message)
        return json_answer(status, {"error": {"code": code, "message": message}})

    def status(self, status, request, step):
        if status in BY_STATUS:
            return self.error(BY_STATUS[status], request, step)
        return super().status(status, request, step)

    def check(self, request):
        path, _, query = request.path.partition("?")
        request.target = path
        if path not in (self.path, self.legacy):
            self.refuse(request, "not_found")
        if path == self.path and query != self.query:
            self.refuse(request, "unauthorized")
        if request.method != "POST":
            self.refuse(request, "bad_request", text="POST only")
        try:
            if request.media_type() != "application/json":
                raise BodyError("content-type must be application/json")
            body = request.json()
            if not isinstance(body, dict):
                raise BodyError("no object")
        except BodyError as error:
            self.refuse(request, "bad_request", text=str(error))
        if path == self.path:
            self.check_card(request, body)
        elif not body.get("text") and not body.get("summary"):
            self.refuse(request, "bad_request", text="Summary or Text is required.")

    def check_card(self, request, body):
        """The trigger takes any JSON; the flow behind it then posts nothing, invisibly. That is
        noted as a warning and as extra.posted = false."""
        fault = None
        attachments = body.get("attachments")
        if body.get("type") != "message" or not isinstance(attachments, list) or not attachments:
            fault = "no message with attachments"
        else:
            for attachment in attachments:
                content = attachment.get("content") if isinstance(attachment, dict) else None
                if not isinstance(content, dict) or attachment.get("contentType") != CARD:
                    fault = "an attachment that is no adaptive card"
                elif content.get("type") != "AdaptiveCard" or "version" not in content \
                        or not isinstance(content.get("body"), list):
                    fault = "an incomplete adaptive card"
        if fault is None and len(request.body) > POSTED_LIMIT:
            fault = "larger than 28 KB"
        request.note(posted=fault is None)
        if fault is not None:
            request.warn(f"the flow will not post this: {fault}")

    def accept(self, request):
        if request.target == self.legacy:
            return text_answer(200, "1")
        number = secrets.token_hex(16)
        request.note(id=number)
        return Answer(202, b"", [("x-ms-workflow-run-id", number)])
