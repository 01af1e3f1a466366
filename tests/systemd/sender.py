"""Runs inside the machine: sends signed deliveries as CVAT does, until a file tells it to stop.

    python sender.py URL SECRET STOP_FILE

One JSON line when the first was answered, and one in the end: how many had which status. Each has
a connection of its own, as CVAT's have; one that was refused counts as `refused`.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from itertools import count
from pathlib import Path

from daemon.cvat.signatures import SIGNATURE_HEADER, sign

SENDERS = 4
ANSWER_S = 60.0


def main(url: str, secret: str, stop: Path) -> None:
    """Send from several threads."""
    answers: list[str] = []
    ids = count(1)
    first = threading.Event()

    def send() -> None:
        while not stop.exists():
            answers.append(sent(url, secret, next(ids)))
            first.set()

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    first.wait()
    print(json.dumps(Counter(answers)), flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps(Counter(answers)), flush=True)


def sent(url: str, secret: str, number: int) -> str:
    """Send one delivery; return how it was answered."""
    body = json.dumps(
        {
            "event": "update:job",
            "job": {"id": number, "task_id": 7, "project_id": 1,
                    "updated_date": f"2026-11-22T10:18:00.{number:06}Z"},
            "before_update": {"updated_date": "2026-11-22T10:17:00.000000Z"},
            "sender": {"id": 3, "username": "annotator"},
        }
    ).encode()  # fmt: skip
    request = urllib.request.Request(url, body, {SIGNATURE_HEADER: sign(body, secret)})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as exc:
        return str(exc.code)
    except OSError:
        return "refused"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
