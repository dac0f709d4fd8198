#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Plays the notification providers on this machine, strictly. See README.md beside this file.

    server.py --dir STATE_DIR

picks free ports, writes STATE_DIR/providers.json when everything listens, and runs until SIGTERM.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys

from apns import Apns
from callbacks import Callbacks
from certs import Authority
from control import Control
from engine import Engine
from fcm import Fcm
from http1 import Http1
from listener import Door, Front, Listener
from mailgun import Mailgun
from messagebird import Bird, MessageBird
from postmark import Postmark
from sendgrid import SendGrid
from ses import Ses
from slack import Slack
from smtp import Smtp
from teams import Teams
from twilio import Twilio
from vonage import Vonage
from webhook import Webhook
from webpush import WebPush
from whatsapp import WhatsApp

PROVIDERS = (Twilio, Bird, MessageBird, Vonage, Fcm, Apns, WebPush, SendGrid, Mailgun, Ses,
             Postmark, Smtp, Slack, Teams, WhatsApp, Webhook)


def build(engine, control, directory, authority):
    """Make every provider with its doors; returns what goes into providers.json."""
    info = {"ca_file": authority.file}
    for kind in PROVIDERS:
        provider = kind(engine, directory)
        engine.add(provider)
        listener = engine.listeners[provider.name] = Listener(engine, provider, authority)
        if hasattr(provider, "add_doors"):
            provider.add_doors(listener)
        else:
            plain = listener.add("plain", lambda p=provider: Front(engine, p, False))
            tls = listener.add("tls", lambda p=provider: Front(engine, p, True), True)
            provider.base_url = f"http://127.0.0.1:{plain}"
            provider.tls_base_url = f"https://127.0.0.1:{tls}"
        provider.prepare()
        info[provider.name] = {**provider.describe(), "ca_file": authority.file}
    return info


def publish(path, info):
    """Write the file in one step: who sees it sees all of it."""
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(info, file, indent=1)
        file.write("\n")
    os.replace(temporary, path)


async def serve(directory):
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, "providers.json")
    if os.path.exists(path):
        os.unlink(path)
    secrets_dir = os.path.join(directory, "providers")
    os.makedirs(secrets_dir, mode=0o700, exist_ok=True)
    loop = asyncio.get_running_loop()
    engine = Engine()
    engine.loop = loop
    engine.callbacks = Callbacks(engine)
    control = engine.control = Control(engine, engine.callbacks)
    info = build(engine, control, secrets_dir, Authority(secrets_dir))
    door = Door(lambda: Http1(control, control, False), None)
    await door.open("normal")
    info = {"control": f"http://127.0.0.1:{door.port}/_control", "pid": os.getpid(), **info}
    control.info = info
    for listener in engine.listeners.values():
        await listener.normal()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    publish(path, info)
    await stop.wait()
    os.unlink(path)
    for links in engine.links.values():
        for link in list(links):
            link.shut()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", required=True, help="state directory for keys and providers.json")
    arguments = parser.parse_args()
    gc.set_threshold(50_000, 20, 20)  # many small live objects: the default scans them too often
    asyncio.run(serve(os.path.abspath(arguments.dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
