# SPDX-License-Identifier: Apache-2.0
"""The verbs' arguments and output lines (interop/README.md)."""
import json
import sys
import threading
import time
import zlib

VERB = sys.argv[1]
A = dict(x.split("=", 1) for x in sys.argv[2:])
_lock = threading.Lock()


def num(k, d):
    return int(A.get(k, d))


def yes(k):
    return A.get(k) == "1"


def out(**kw):
    with _lock:
        sys.stdout.write(json.dumps(kw) + "\n")
        sys.stdout.flush()


def payload(i, size):
    head = f"{i}|".encode()
    return (head + bytes(97 + k % 26 for k in range(len(head), size)))[:size]


def record(p, o, key, value, headers):
    h = "".join(f"{k}={v.decode()};" for k, v in headers or [])
    out(p=p, o=o, i=int(value[: value.index(b"|")]), len=len(value), crc=zlib.crc32(value),
        key=(key or b"").decode(), h=h)


def step(name, ok):
    """A change is there at once on the broker that answered, and soon on the
    others: what can be asked is asked again."""
    until = time.time() + 20
    while callable(ok):
        if ok():
            ok = True
        elif time.time() > until:
            ok = False
        else:
            time.sleep(0.05)
    out(step=name, ok=bool(ok))
    if not ok:
        sys.exit(3)


def stop_event():
    """Set when standard input closes: the member leaves."""
    e = threading.Event()

    def wait():
        sys.stdin.read()
        e.set()

    threading.Thread(target=wait, daemon=True).start()
    return e
