# SPDX-License-Identifier: MIT
"""What the reader of a mail does with it: opens, clicks, and the way out (RFC 8058)."""
import base64
import email
import email.policy
import http.client
import itertools
import os
import re
import signal
import urllib.parse

import pytest

import servers
from client import Client
from process import wait_until

PUBLIC = "https://news.example"
NUMBER = itertools.count(1)
HTML = ("<html><body><a href=\"https://shop.example/?a=1&amp;b=2\">Shop</a> "
        "<a href='mailto:us@shop.example'>Mail</a> <a href=#top>Up</a> "
        "<a href=\"tocsin:unsubscribe\">No more</a></body></html>")
# The mail adapters, one stack each would be slow: by the destination's types.
ADAPTERS = ("smtp", "sendgrid", "mailgun", "ses", "postmark")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    home = tmp_path_factory.mktemp("tracking")
    key = home / "tracking.key"
    key.write_text("a secret of the tracking tests\n")
    key.chmod(0o600)
    stack = servers.Stack(home, settings={"http.public_url": PUBLIC,
                                          "tracking.key_file": str(key)})
    for server in (stack.postgres, stack.broker, stack.providers):
        server.start()
    info, every = stack.providers.info, servers.destinations(stack.providers.info)
    import channel_probe as probe
    chosen = {}
    for name in ADAPTERS:
        chosen[name] = {"adapter": name, **probe.settings(info, name), "types": "news.%s" % name}
        if name == "ses":
            chosen[name]["base_url"] = info[name]["base_url"]
    chosen["plain"] = {**chosen["sendgrid"], "types": "plain"}
    assert every
    stack.settings += [("destinations", chosen),
                       ("types", {"news.%s" % name: {"tracking": "opens clicks unsubscribe"}
                                  for name in ADAPTERS})]
    stack.add_bridge()
    stack.key = key
    yield stack
    stack.stop()
    stack.remove()


@pytest.fixture
def shop(stack):
    stack.providers.control("POST", "/reset", {})
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client
    wait_until(lambda: stack.postgres.sql("select missing from conservation") == [["0"]], 10,
               "conservation")


def fetch(stack, url, method="GET", body=None, headers=()):
    """What a reader's browser does with one of our links: (status, headers, body)."""
    assert url.startswith(PUBLIC + "/"), url
    to = urllib.parse.urlsplit(stack.bridge.url)
    connection = http.client.HTTPConnection(to.hostname, to.port, timeout=120)
    connection.request(method, url[len(PUBLIC):], body, dict(headers))
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def send(shop, kind="news.sendgrid", **more):
    number = next(NUMBER)
    name, address = "m-%d" % number, "Reader%d@Example.org" % number
    shop.publish("up/request", {"id": name, "type": kind, "title": "News", "body": "News",
                                "to": {"email": address}, "receipts": "all",
                                "content": {"email": {"html": HTML}}, **more})
    return name, address


def mail(stack, provider, address):
    """(html, headers by lower-case name) as the provider got them."""
    def look():
        return [r for r in stack.providers.control("GET", "/requests?provider=%s&fields=target,body,raw" % provider)[
            "requests"] if str(r["target"]).lower() == address.lower()]
    (request,) = wait_until(look, 10, "the mail")
    return parts(provider, request)


def parts(provider, request):
    body = request["body"]
    if provider == "sendgrid":
        return body["content"][-1]["value"], {k.lower(): v for k, v in body["headers"].items()}
    if provider == "postmark":
        return body["HtmlBody"], {h["Name"].lower(): h["Value"] for h in body["Headers"]}
    if provider == "mailgun":
        form = {k: v[0] if isinstance(v, list) else v for k, v in dict(body).items()}
        return form["html"], {k[2:].lower(): v for k, v in form.items() if k.startswith("h:")}
    if provider == "ses" and "Simple" in body["Content"]:
        simple = body["Content"]["Simple"]
        return simple["Body"]["Html"]["Data"], {h["Name"].lower(): h["Value"]
                                                for h in simple["Headers"]}
    raw = base64.b64decode(body["Content"]["Raw"]["Data"] if provider == "ses"
                           else request["raw"])
    message = email.message_from_bytes(raw, policy=email.policy.default)
    return (message.get_body(("html",)).get_content(),
            {k.lower(): str(v) for k, v in message.items()})


def link(html, kind):
    return re.search(r'"(%s/t/%s/[^"]+)"' % (re.escape(PUBLIC), kind), html).group(1)


@pytest.mark.parametrize("provider", ADAPTERS)
def test_every_mail_adapter_sends_them(stack, shop, provider):
    name, address = send(shop, "news.%s" % provider)
    shop.receipt(name, "sent")
    html, headers = mail(stack, provider, address)
    out = headers["list-unsubscribe"]
    assert out.startswith("<%s/t/u/" % PUBLIC) and out.endswith(">")
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert '"%s"' % out[1:-1] in html  # the visible one
    assert "'mailto:us@shop.example'" in html and "href=#top" in html
    assert "shop.example/?" not in html and address not in html
    status, answer, _ = fetch(stack, link(html, "c"))
    assert (status, answer["Location"]) == (302, "https://shop.example/?a=1&b=2")
    assert html.index("/t/o/") < html.index("</body>")


def test_an_open_and_a_click_are_told_once(stack, shop):
    name, address = send(shop)
    shop.receipt(name, "sent")
    html, _ = mail(stack, "sendgrid", address)
    for _ in range(3):
        status, headers, body = fetch(stack, link(html, "o"))
        assert (status, headers["Content-Type"], body[:6]) == (200, "image/gif", b"GIF89a")
        assert headers["Cache-Control"] == "no-store"
    shop.receipt(name, "read")
    for _ in range(3):
        fetch(stack, link(html, "c"))
    shop.receipt(name, "clicked")
    fetch(stack, link(html, "o"))  # later, and lower
    (delivery,) = shop.rpc("request.status", {"id": name})["result"]["deliveries"]
    assert (delivery["state"], delivery["report"]) == ("delivered", "clicked")
    last, address = send(shop)
    shop.receipt(last, "sent")
    fetch(stack, link(mail(stack, "sendgrid", address)[0], "o"))
    shop.receipt(last, "read")
    assert [r["status"] for r in shop.receipts(name)] == ["accepted", "sent", "read", "clicked"]
    assert stack.postgres.sql(
        "select name, convert_from(raw, 'UTF8') from callback_event where destination = 0 and "
        "name = 'clicked' order by id desc limit 1") == [["clicked", "https://shop.example/?a=1&b=2"]]


def test_an_open_may_come_before_the_mail_is_recorded(stack, shop):
    stack.providers.control("POST", "/behaviour", {"provider": "sendgrid", "answers": [
        {"status": 202, "delay_ms": 1500}]})
    name, address = send(shop)
    html, _ = mail(stack, "sendgrid", address)
    assert fetch(stack, link(html, "o"))[0] == 200
    assert "sent" not in [r["status"] for r in shop.receipts(name)]
    shop.receipt(name, "read", timeout=15)


def test_a_reader_does_not_wait_for_a_database_that_is_away(stack, shop):
    name, address = send(shop)
    shop.receipt(name, "sent")
    html, _ = mail(stack, "sendgrid", address)
    stack.postgres.pause()
    try:
        status, headers, _ = fetch(stack, link(html, "c"))
        assert (status, headers["Location"]) == (302, "https://shop.example/?a=1&b=2")
    finally:
        stack.postgres.resume()
    shop.receipt(name, "clicked", 20)
    stack.bridge.wait_ready()


REFUSE = """
create function refuse_poison() returns trigger language plpgsql as
  $$ begin raise exception 'on purpose' using errcode = '22000'; end $$;
create trigger refuse_poison before insert on callback_event for each row
  when (convert_from(new.raw, 'UTF8') like '%poison%') execute function refuse_poison();
"""


def test_a_click_that_can_never_be_stored_takes_no_other_with_it(stack, shop):
    """All of them wait for the database, and are one statement: the one that it refuses is lost."""
    readers = [send(shop) for _ in range(4)]
    poisoned, address = send(shop, content={"email": {
        "html": HTML.replace("https://shop.example/", "https://shop.example/poison")}})
    for name in [name for name, _ in readers] + [poisoned]:
        shop.receipt(name, "sent")
    pages = [mail(stack, "sendgrid", reader)[0] for _, reader in readers]
    pages.insert(2, mail(stack, "sendgrid", address)[0])
    stack.postgres.sql(REFUSE)
    try:
        stack.postgres.pause()
        try:
            for html in pages:
                assert fetch(stack, link(html, "c"))[0] == 302
        finally:
            stack.postgres.resume()
        for name, _ in readers:
            shop.receipt(name, "clicked", 20)
    finally:
        stack.postgres.sql("drop function refuse_poison cascade")
    assert stack.bridge.metrics()['tocsin_tracking_total{what="lost"}'] == 1
    assert [r["status"] for r in shop.receipts(poisoned)] == ["accepted", "sent"]
    stack.bridge.wait_ready()


def test_a_service_that_wants_the_end_alone_hears_nothing_of_it(stack, shop):
    name, address = send(shop, receipts="final")
    shop.receipt(name, "sent")
    fetch(stack, link(mail(stack, "sendgrid", address)[0], "o"))
    other, address = send(shop)
    shop.receipt(other, "sent")
    fetch(stack, link(mail(stack, "sendgrid", address)[0], "o"))
    shop.receipt(other, "read")
    assert "read" not in [r["status"] for r in shop.receipts(name)]


@pytest.mark.parametrize("method,headers", [
    ("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch;prerender"}), ("GET", {"Purpose": "prefetch"}),
    ("GET", {"X-Moz": "prefetch"}), ("GET", {"X-Purpose": "preview"})])
def test_fetching_ahead_is_not_reading(stack, shop, method, headers):
    before = int(stack.postgres.sql("select count(*) from callback_event")[0][0])
    name, address = send(shop)
    shop.receipt(name, "sent")
    html, _ = mail(stack, "sendgrid", address)
    assert fetch(stack, link(html, "o"), method, headers=headers)[0] == 200
    assert fetch(stack, link(html, "c"), method, headers=headers)[0] == 302
    other, address = send(shop)
    shop.receipt(other, "sent")
    fetch(stack, link(mail(stack, "sendgrid", address)[0], "o"))
    shop.receipt(other, "read")
    after = int(stack.postgres.sql("select count(*) from callback_event")[0][0])
    assert after == before + 1


def test_only_a_post_unsubscribes_and_from_this_type_alone(stack, shop):
    name, address = send(shop)
    shop.receipt(name, "sent")
    out = mail(stack, "sendgrid", address)[1]["list-unsubscribe"][1:-1]
    for method in ("GET", "HEAD", "GET"):
        status, headers, page = fetch(stack, out, method)
        assert status == 200 and headers["Content-Type"].startswith("text/html")
        assert method == "HEAD" or b'<form method="post">' in page
        assert address.encode() not in page
    assert fetch(stack, out, "POST", b"Something=Else",
                 {"Content-Type": "application/x-www-form-urlencoded"})[0] == 400
    assert fetch(stack, out, "PUT", b"")[0] == 405
    again, _ = send(shop, to={"email": address})
    shop.receipt(again, "sent")
    for _ in range(2):  # a second time does no harm
        status, headers, page = fetch(stack, out, "POST", b"List-Unsubscribe=One-Click",
                                      {"Content-Type": "application/x-www-form-urlencoded"})
        assert (status, "Location" in headers) == (200, False)
    shop.receipt(name, "suppressed", reason="opted_out")
    refused, _ = send(shop, to={"email": address.upper()})
    shop.receipt(refused, "suppressed", reason="opted_out")
    other, _ = send(shop, "news.postmark", to={"email": address})
    shop.receipt(other, "sent")
    (entry,) = shop.rpc("suppression.list", {"channel": "email", "address": address})["result"][
        "entries"]
    assert (entry["type"], entry["source"]) == ("news.sendgrid", "unsubscribe")


def on_the_way(stack, wire):
    """What came after RCPT TO of the mails to any spelling of `wire` in ASCII."""
    found = stack.providers.control("GET", "/requests?provider=smtp&fields=op,target")["requests"]
    return [r["target"] for r in found
            if r["op"] == "send" and str(r["target"]).lower() == wire.lower()]


def test_a_mailbox_keeps_its_case_on_the_way_and_is_suppressed_in_any(stack, shop):
    """RFC 5321 2.4, for a request's recipient and for a user's target; never for what is compared."""
    number = next(NUMBER)
    given = "Bob.Smith%d@B\u00dcCHER.example" % number
    wire, other = "Bob.Smith%d@xn--bcher-kva.example" % number, "bob.smith%d@b\u00fccher.example" % number
    name, _ = send(shop, "news.smtp", to={"email": given})
    shop.receipt(name, "sent")
    assert on_the_way(stack, wire) == [wire]
    out = mail(stack, "smtp", wire)[1]["list-unsubscribe"][1:-1]
    user = "bob-%d" % number
    assert "error" not in shop.rpc("user.upsert", {"user": user, "emails": [given, other]})
    for emails, sent in (([given, other], wire), ([other, given], wire.lower())):
        assert "error" not in shop.rpc("user.upsert", {"user": user, "emails": emails})
        (target,) = shop.rpc("user.get", {"user": user})["result"]["targets"]
        assert target["active"]
        name, _ = send(shop, "news.smtp", to={"user": user}, channels=["email"])
        shop.receipt(name, "sent")
        assert on_the_way(stack, wire)[-1] == sent
    address = {"channel": "email", "address": other}
    assert shop.rpc("suppression.add", address)["result"] == {"added": 1}
    refused, _ = send(shop, "news.smtp", to={"email": given})
    shop.receipt(refused, "suppressed", reason="opted_out")
    assert shop.rpc("suppression.remove", {**address, "address": given})["result"] == {"removed": 1}
    assert fetch(stack, out, "POST", b"List-Unsubscribe=One-Click",
                 {"Content-Type": "application/x-www-form-urlencoded"})[0] == 200
    wait_until(lambda: shop.rpc("suppression.list", address)["result"]["entries"], 10, "the entry")
    for spelling in (given, other, wire.upper()):
        refused, _ = send(shop, "news.smtp", to={"email": spelling})
        shop.receipt(refused, "suppressed", reason="opted_out")
    assert len(on_the_way(stack, wire)) == 3


def test_what_a_provider_says_of_one_spelling_holds_for_all(stack, shop):
    number = next(NUMBER)
    given, kept = "Eve.%d@Example.org" % number, "eVE.%d@example.org" % number
    for user in ("eve-%d" % number, "ivy-%d" % number):
        assert "error" not in shop.rpc("user.upsert", {"user": user, "emails": [kept]})
    stack.providers.control("POST", "/behaviour", {
        "provider": "postmark", "target": given.replace("Example", "example"),
        "answers": ["postmark:406"]})
    name, _ = send(shop, "news.postmark", to={"email": given})
    shop.receipt(name, "suppressed", reason="bounced")
    for removed in (True, False):
        (target,) = shop.rpc("user.get", {"user": user})["result"]["targets"]
        assert (target["active"], target.get("reason")) == ((False, "bounced") if removed else (True, None))
        if removed:
            refused, _ = send(shop, "news.postmark", to={"user": user}, channels=["email"])
            shop.receipt(refused, "suppressed", reason="bounced")
            with Client(stack, "admin", "root") as admin:
                admin.subscribe("down/#")
                assert admin.rpc("suppression.remove", {"channel": "email", "address": given.upper()})[
                    "result"] == {"removed": 1}


def test_multipart_is_a_form_too(stack, shop):
    name, address = send(shop)
    shop.receipt(name, "sent")
    out = mail(stack, "sendgrid", address)[1]["list-unsubscribe"][1:-1]
    body = (b"--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\n"
            b"One-Click\r\n--x--\r\n")
    assert fetch(stack, out, "POST", body,
                 {"Content-Type": "multipart/form-data; boundary=x"})[0] == 200


def test_a_type_without_tracking_has_nothing_of_it(stack, shop):
    name, address = send(shop, "plain")
    shop.receipt(name, "sent")
    html, headers = mail(stack, "sendgrid", address)
    assert html == HTML and "list-unsubscribe" not in headers


def test_a_request_that_names_its_own_way_out_keeps_it(stack, shop):
    name, address = send(shop, content={"email": {
        "html": HTML, "list_unsubscribe": "https://own.example/u"}})
    shop.receipt(name, "sent")
    assert mail(stack, "sendgrid", address)[1]["list-unsubscribe"] == "<https://own.example/u>"


@pytest.mark.parametrize("path", ["", "c/", "c/AAAA", "o/AAAA", "u/AAAA", "x/AAAA", "c/%00/%ff",
                                  "c/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/aHR0cHM6Ly9ldmlsLmV4YW1wbGU",
                                  "u/" + "A" * 3999, "u/" + "A" * 9000])
def test_a_link_that_is_not_ours_leads_nowhere(stack, path):
    status, headers, _ = fetch(stack, "%s/t/%s" % (PUBLIC, path))
    assert status == 404 and "Location" not in headers


def test_a_new_key_leaves_the_old_links_alive(stack, shop):
    name, address = send(shop)
    shop.receipt(name, "sent")
    html, headers = mail(stack, "sendgrid", address)
    former = stack.key.with_name("former.key")
    former.write_text(stack.key.read_text())
    former.chmod(0o600)
    stack.key.write_text("the next secret of these tests\n")
    stack.bridge.set("tracking.former_key_file", str(former))
    stack.bridge.prepare()
    os.kill(stack.bridge.pid, signal.SIGHUP)
    wait_until(lambda: "reload.done" in open(stack.bridge.log).read(), 10, "reload")
    other, address = send(shop)
    shop.receipt(other, "sent")
    new, _ = mail(stack, "sendgrid", address)
    assert link(new, "c").rsplit("/", 2)[-1] == link(html, "c").rsplit("/", 2)[-1]
    for page in (html, new):
        assert fetch(stack, link(page, "c"))[0] == 302
        assert fetch(stack, link(page, "o"))[0] == 200
    shop.receipt(name, "clicked")
    shop.receipt(other, "clicked")
    assert fetch(stack, headers["list-unsubscribe"][1:-1])[0] == 200


def test_nothing_of_it_is_in_the_log(stack):
    with open(stack.bridge.log) as file:
        log = file.read()
    assert "/t/" not in log and "Reader" not in log
