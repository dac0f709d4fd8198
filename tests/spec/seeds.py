#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the corpus of requests as the first inputs of fuzz_request.

Usage: seeds.py DIRECTORY; a file is named by its content, so that what is there stays.
"""
import hashlib
import os
import sys

import corpus

LARGEST = 2048  # bytes; the large ones slow the fuzzer down and teach it nothing


def main(argv):
    if len(argv) != 2:
        sys.exit(__doc__)
    for case in corpus.CASES:
        if len(case.payload) <= LARGEST:
            name = hashlib.sha1(case.payload).hexdigest()[:16]
            with open(os.path.join(argv[1], name), "wb") as file:
                file.write(case.payload)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
