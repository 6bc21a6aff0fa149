"""How often was this test split looked at? An append-only list; every evaluation adds its line before it scores."""

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from unseen.errors import UnseenError

FILE = "evaluations.jsonl"


def split_id(labels: str, logs: Iterable[str]) -> str:
    """32 hex digits that stand for what is tested: the kind of labels and the logs, whatever the probe or encoder."""
    text = json.dumps([labels, sorted(logs)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def look(folder: Path, *, test: str, probe: str, spec_hash: str, model: str, metric: str) -> int:
    """Write down one look at a test split and return how many there have been, this one included."""
    path = folder / FILE
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "test": test, "probe": probe}
    entry |= {"spec_hash": spec_hash, "model": model, "metric": metric}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return looks(folder, test)


def looks(folder: Path, test: str) -> int:
    """How often this test split was looked at so far. UnseenError names the line of a damaged list."""
    path = folder / FILE
    if not path.exists():
        return 0
    count = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            count += json.loads(line)["test"] == test
        except (ValueError, KeyError, TypeError):
            raise UnseenError(
                f"{path}, line {number} is not an entry of the ledger", "looks are only ever added", "restore the file"
            ) from None
    return count
