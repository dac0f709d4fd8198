# SPDX-License-Identifier: MIT
"""`./run chaos`: hundreds of kills under traffic, then the books.

Every run prints its seed; --seed repeats the order and the moments of the kills.
"""
import argparse
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import servers  # noqa: E402
from traffic import Ledger, Storm, Traffic  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bridges", type=int, default=2)
    parser.add_argument("--rate", type=int, default=300, help="requests per second")
    parser.add_argument("--victims", default="bridge,postgres,broker")
    parser.add_argument("--keep", action="store_true", help="keep the stack's directory")
    return parser.parse_args()


def main():
    args = arguments()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print("chaos: seed %d, %d rounds" % (seed, args.rounds), flush=True)
    servers.raise_on_signals()
    directory = tempfile.mkdtemp(prefix="tocsin-chaos-")
    stack = servers.Stack(directory, bridges=args.bridges, settings={"bridge.lease": "5s"})
    started = time.monotonic()
    with stack, Traffic(stack, rate=args.rate) as traffic:
        ledger = Ledger(stack)
        ledger.start()
        storm = Storm(stack, random.Random(seed), args.victims.split(","),
                      say=lambda text: print("%7.1f  %s  %s" % (
                          time.monotonic() - started, text, traffic), flush=True))
        storm.rounds(args.rounds, lambda: traffic.wait_accepted(1, 60))
        traffic.finish()
        ledger.close()
        traffic.audit(receipts="broker" not in args.victims)
        print("balanced after %s: %s; %d repeats at devices; %s" % (
            dict(storm.killed), traffic, traffic.repeats(), traffic.books()))
    if not args.keep:
        stack.remove()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
