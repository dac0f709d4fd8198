# SPDX-License-Identifier: MIT
"""Every row of every error table, with every code in it: the server answers it in the provider's own
form, and the attempt ends in the class that the table says, by that row and no other."""
import collections
import re
import subprocess

import pytest

import channel_probe as probe

Row = collections.namedtuple("Row", "status stage codes says kind note")
Case = collections.namedtuple("Case", "row code step")
ANY = 400  # the status of an answer where the row takes any
# SMTP: where the server is made to answer; a send's own answer is the one to RCPT.
STAGES = {"before MAIL": "auth", "to MAIL": "mail", "to RCPT": "send", "": "send"}
PROVEN = "every_line:"  # before the codes of a reply that has them in every line


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with probe.ProviderServer(tmp_path_factory.mktemp("rows")) as running:
        yield running


def rows(adapter):
    text = subprocess.check_output([probe.binary(), "--errors", adapter], text=True)
    for line in text.splitlines():
        status, what, kind, _, note = [part.strip() for part in line.strip("| ").split(" | ")]
        said = re.search(r'"(.*)"$', what)
        codes = what[:said.start()].replace(" and ", "") if said else what
        number, _, stage = status.partition(" ")
        number = 0 if number == "any" else int(number.replace("xx", "00"))
        yield Row(number, stage, codes, said.group(1) if said else "", kind.split(",")[0],
                  re.sub(r" \((this target only|permanent where .*)\)", "", note))


def each_code(codes):
    """Each alternative; of a range its ends, of a beginning something that begins so."""
    if codes.startswith(PROVEN):
        codes = codes[len(PROVEN):].replace("/", ",")
    for code in codes.split(","):
        ends = re.fullmatch(r"(\d+)-(\d+)", code)
        yield from ends.groups() if ends else [code.replace(":*", ":9").replace(
            "*", "9.9" if code[:1] == "5" else "X")]


def fcm(code, says, status):
    return {"error": {"code": status, "message": says or "m", "status": "X", "details": [
        {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]}}


def messagebird(code, says, _status):
    parameter, _, number = code.rpartition(":")
    return {"errors": [{"code": int(number or 0), "description": says,
                        "parameter": parameter or None}]}


def whatsapp(code, says, _status):
    if code == "transient":
        return {"error": {"code": 999999, "message": says, "is_transient": True}}
    return {"error": {"code": int(code or 999999), "message": says}}


# What each provider writes: (code, text, status) -> the body of its answer.
BODIES = {
    "apns": lambda code, says, status: {"reason": code},
    "bird": lambda code, says, status: {"error": {"type": "x", "message": says, **(
        {"code": code} if re.match(r"E\d", code) else {"code": "E99", "name": code})}},
    "fcm": fcm,
    "mailgun": lambda code, says, status: {"message": says},
    "messagebird": messagebird,
    "postmark": lambda code, says, status: {
        "ErrorCode": int(code or (99999 if status == 200 else 0)), "Message": says},
    "sendgrid": lambda code, says, status: {"errors": [{"message": says, "field": None}]},
    "ses": lambda code, says, status: {"message": says},
    "slack": lambda code, says, status: says or code or "x",
    "teams": lambda code, says, status: says or "x",
    "twilio": lambda code, says, status: {"code": int(code or 0), "message": says},
    "vonage": lambda code, says, status: {
        "type": "https://developer.vonage.com/api-errors/messages#" + code, "title": says},
    "webhook": lambda code, says, status: says or "x",
    "webpush": lambda code, says, status: {"errno": 999, "error": code, "message": says},
    "whatsapp": whatsapp,
}
# Asked once more, after a new token: answered the same again.
TWICE = {"apns": lambda case: case.code == "ExpiredProviderToken",
         "fcm": lambda case: case.row.status == 401}


def case_of(adapter, row, code):
    status = row.status or ANY
    if adapter == "smtp":
        status = row.status or int(code[0]) * 100 + 50
        words = [code] if code else []
        return Case(row, code, {"status": status, "text": " ".join(words + [row.says or "so"])})
    step = {"status": status, "body": BODIES[adapter](code, row.says, status)}
    if adapter == "ses" and code == "our_sender":
        step["body"]["message"] += ": noreply@mg.example.org"
        code = "MessageRejected"
    if adapter == "ses":
        step["headers"] = {"x-amzn-errortype": code}
    return Case(row, code, step)


def cases(adapter):
    """All but what an earlier row takes at this stage (test_channel_smtp.c has the others)."""
    found = [case_of(adapter, row, code) for row in rows(adapter)
             for code in each_code(row.codes)]
    return [case for case in found if adapter != "smtp" or case.row.kind == "dead_target"
            or case.code not in ("5.1.1", "5.1.10")]


def answers(adapter, wanted):
    twice = TWICE.get(adapter, lambda case: False)
    return [step for case in wanted for step in [case.step] * (2 if twice(case) else 1)]


def is_by(outcome, row):
    """Of one that Apple gives a time for, the detail says more than the row's note."""
    return outcome.get("detail", "").startswith(row.note)


@pytest.mark.parametrize("adapter", probe.ADAPTERS)
def test_every_code_of_every_row_ends_as_the_row_says(server, adapter):
    every = cases(adapter)
    assert len(every) >= 4
    for op in sorted({STAGES[case.row.stage] for case in every}):
        wanted = [case for case in every if STAGES[case.row.stage] == op]
        server.reset()
        server.script(adapter, op=op, answers=answers(adapter, wanted))
        got = probe.run(server.info, adapter, tls=adapter == "apns", count=len(wanted))
        wrong = [(case, outcome) for case, outcome in zip(wanted, got)
                 if outcome["outcome"] != case.row.kind or not is_by(outcome, case.row)]
        assert len(got) == len(wanted) and not wrong, wrong
