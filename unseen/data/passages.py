"""Passages of text as rows of tokens: what a report says, cut by a tokenizer."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from unseen.codec import PATH_IN_STORE
from unseen.contract import Clip
from unseen.data.order import VERSION, Shuffle, Weighted
from unseen.data.schema import identity, sample_id
from unseen.data.source import LogSource
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.randomness import keys, uniform

MODALITY = "text"
FEWEST = 8  # tokens: less room than this at the end of a row stays empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """Rows of `length` tokens, each passage between separators: [CLS] one [SEP] another [SEP].

    A training row begins with its own passage, of a long one a window that starts at a word; `pack` fills the rest of
    the row with further passages of the same log. Probes and users read a passage alone and to its end, in as many rows
    as that takes; monitors read the first of them.
    """

    tokenizer: str = field(
        default="tokenizer.json", metadata=PATH_IN_STORE
    )  # its file: in the store, or a path from here
    length: int = 128  # tokens of a row, separators included
    pack: bool = True
    sensors: tuple[str, ...] = ()  # names of text sensors; () = every one
    start: str = "[CLS]"
    separator: str = "[SEP]"
    digest: str = ""  # of the tokenizer's file: any other is refused; where a run keeps its own, it is known

    def __post_init__(self) -> None:
        if self.length < FEWEST:
            raise UnseenError(f"rows of {self.length} tokens", f"a row has {FEWEST} or more")

    def open(
        self, store: Store, log_ids: Sequence[str], *, seed: int = 0, log_power: float = 0.0, cache_mb: int = 2048
    ) -> LogSource:
        """The passages of some logs. UnseenError where they hold no text, or the tokenizer is not there."""
        return PassageSource(store, log_ids, self.found(store.path), seed=seed, log_power=log_power)

    def present(self, raw: Any) -> Clip:
        """Passages (a list of str), each alone in a row; where one takes several, `part_of` says whose each row is.

        UnseenError for anything else, an empty list included.
        """
        if not isinstance(raw, list | tuple) or not raw or not all(isinstance(text, str) for text in raw):
            raise UnseenError("text is given as a list of str", "one for each passage", "encoder(['one passage'])")
        reader = self.reader()
        passages = [parts(reader.tokens(text), self.length - 2) for text in raw]
        clip = pad([reader.row([part], 0.0) for passage in passages for part in passage], self.length)
        counts = torch.tensor([len(passage) for passage in passages])
        if counts.max() > 1:
            clip["part_of"] = torch.arange(len(raw)).repeat_interleave(counts)
        return clip

    def found(self, folder: Path) -> "Passages":
        """The same view, with its tokenizer in a folder (a store, a run), if it lies there."""
        beside = folder / self.tokenizer
        return replace(self, tokenizer=str(beside)) if beside.is_file() else self

    def carry(self, folder: Path, store: Store) -> "Passages":
        """Put the tokenizer, as it is for this store, into a folder; the view as it is to be read from there."""
        from unseen.data.tokenizer import lineage_path, load_tokenizer, read_lineage

        path, beside = Path(self.found(store.path).tokenizer), folder / "tokenizer.json"
        digest = load_tokenizer(path).digest
        write_whole(beside, path.read_bytes())
        if read_lineage(path, digest) is not None:  # who takes it from here learns of which logs it was made
            write_whole(lineage_path(beside), lineage_path(path).read_bytes())
        return replace(self, tokenizer="tokenizer.json", digest=digest)

    def publish(self, folder: Path) -> None:
        """Write the tokenizer for transformers' AutoTokenizer: with separators, cut at the end of a row."""
        from unseen.data.tokenizer import load_tokenizer

        load_tokenizer(Path(self.tokenizer)).publish(folder, self.start, self.separator, self.length)

    def sizes(self, store: Store) -> dict[str, int]:
        """How many tokens there are."""
        from unseen.data.tokenizer import load_tokenizer

        return {"vocabulary": load_tokenizer(Path(self.found(store.path).tokenizer)).size}

    def origins(self, store: Store) -> list[dict[str, Any]]:
        """Of which logs the tokenizer was made."""
        from unseen.data.tokenizer import load_tokenizer, read_lineage

        path = Path(self.found(store.path).tokenizer)
        return [{"file": path.name, "lineage": read_lineage(path, load_tokenizer(path).digest) or "unknown"}]

    def reader(self) -> "Reader":
        """The tokenizer, read."""
        return Reader(self)


class Reader:
    """Makes rows of passages by a view's tokenizer."""

    def __init__(self, view: Passages):
        from unseen.data.tokenizer import load_tokenizer

        if view.digest and not Path(view.tokenizer).is_file():
            raise UnseenError(
                f"{view.tokenizer} is not there", "an encoder of text is kept with its tokenizer", "put that file back"
            )
        self.view, self.tokenizer = view, load_tokenizer(Path(view.tokenizer))
        if view.digest not in ("", self.tokenizer.digest):
            raise UnseenError(
                f"{view.tokenizer} is not the tokenizer that this encoder was trained with",
                f"its digest is {self.tokenizer.digest}, the encoder's {view.digest}",
                "put that file back",
            )
        self.start, self.separator = self.tokenizer.id_of(view.start), self.tokenizer.id_of(view.separator)

    def tokens(self, text: str) -> Int64[np.ndarray, "2 n"]:
        """Ids, and the word of each."""
        return np.array(self.tokenizer.encode(text), dtype=np.int64).reshape(2, -1)

    def row(self, passages: Sequence[np.ndarray], draw: float) -> Int64[np.ndarray, "2 n"]:
        """Ids and words of a row; `draw` in [0, 1) says where the window of a long first passage begins."""
        ids, words, room, word = [np.array([self.start])], [np.array([-1])], self.view.length - 1, 0
        for number, passage in enumerate(passages):
            part = window(passage, room - 1, draw if number == 0 else 0.0)
            ids += [part[0], np.array([self.separator])]
            words += [part[1] - part[1, :1] + word, np.array([-1])]
            word, room = int(words[-2].max(initial=word - 1)) + 1, room - part.shape[1] - 1
        return np.stack([np.concatenate(ids), np.concatenate(words)])


class PassageSource:
    """The passages of some logs of a store, seen through a view: a sample is one passage.

    `batch(positions)` gives training rows, a pure function of (seed, position); position p belongs to epoch
    p // len(self). Tokens of what was read stay in memory. Safe to share between threads.
    """

    def __init__(self, store: Store, log_ids: Sequence[str], view: Passages, *, seed: int, log_power: float):
        if len(set(log_ids)) != len(log_ids):
            raise UnseenError(f"logs named twice: {sorted(log_ids)}", "a log is taken once")
        self.store, self.view, self.seed, self.log_ids = store, view, seed, list(log_ids)
        self.reader = view.reader()
        rows = [(number, *row) for number, log in enumerate(self.log_ids) for row in rows_of(store, log, view.sensors)]
        if not rows:
            raise UnseenError(
                f"no text in {len(self.log_ids)} logs of {store.path}",
                f"view.sensors is {view.sensors}" if view.sensors else "",
                "see: unseen inspect",
            )
        log_of, sensor, self._row, frame = zip(*rows, strict=True)
        self.left_out: dict[str, str] = {}
        self.thinned: dict[str, str] = {}
        self.log_of, self.sensor_of, self.frame_id = np.array(log_of), list(sensor), list(frame)
        self.sample_id = np.array([sample_id(f, s) for f, s in zip(frame, sensor, strict=True)])
        self._index = {int(one): index for index, one in enumerate(self.sample_id)}
        self._first = np.searchsorted(self.log_of, np.arange(len(self.log_ids) + 1))
        settings = {name: value for name, value in asdict(view).items() if name not in ("tokenizer", "digest")}
        self.digest = identity(VERSION, store.digest(log_ids), self.reader.tokenizer.digest, sorted(settings.items()))
        sizes = np.bincount(self.log_of)
        sizes = sizes[sizes > 0]
        self._order = (
            Weighted(sizes.tolist(), sizes ** (1.0 - log_power), seed) if log_power else Shuffle(len(self), seed)
        )
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.frame_id)

    def batch(self, positions: Int64[np.ndarray, "B"]) -> Clip:
        """Training rows: token and token_group [B, view.length]."""
        positions = np.asarray(positions, dtype=np.int64)
        indices = self._order(positions)
        draws = uniform(keys(self.seed, torch.from_numpy(positions), 0, "view"), 2).numpy()
        rows = [self._training_row(int(index), *draw) for index, draw in zip(indices, draws, strict=True)]
        return self._clip(indices, rows)

    def frames(self, indices: Sequence[int] | np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip:
        """Passages, each alone and cut at the end of its row. Text has neither a frame before nor labels of tokens."""
        indices = np.asarray(indices, dtype=np.int64)
        return self._clip(indices, [self.reader.row([self._tokens(int(index))], 0.0) for index in indices])

    def raw(self, clip: Clip) -> list[str]:
        """The passages of a clip as they were recorded, uncut."""
        return [self.text(self._index[one]) for one in clip["sample_id"].tolist()]

    def text(self, index: int) -> str:
        """A passage as it was recorded."""
        log_id = self.log_ids[self.log_of[index]]
        return decoded(self.store.read_blob(log_id, self.sensor_of[index], self._row[index]), log_id)

    def labelled(self, kind: str = "class") -> np.ndarray:
        """[n] bool: the passages that have a label of this kind."""
        known = [self.store.labelled(log_id, kind) for log_id in self.log_ids]
        return np.array([frame in known[log] for log, frame in zip(self.log_of, self.frame_id, strict=True)])

    def class_label(self, index: int) -> int | None:
        """The class id of a passage; None where it has none."""
        name = self.store.read_label(self.log_ids[self.log_of[index]], "class", self.frame_id[index])
        return None if name is None else self.store.classes("class").names.index(name)

    def _training_row(self, index: int, where: float, which: float) -> np.ndarray:
        passages, room = [self._tokens(index)], self.view.length - 2 - self._tokens(index).shape[1]
        first, end = self._first[self.log_of[index]], self._first[self.log_of[index] + 1]
        others = [other for other in range(first, end) if other != index] if self.view.pack and room > FEWEST else []
        turn = int(which * len(others))
        for other in others[turn:] + others[:turn]:
            if room <= FEWEST:
                break
            passages.append(self._tokens(other))
            room -= passages[-1].shape[1] + 1
        return self.reader.row(passages, where)

    def _tokens(self, index: int) -> np.ndarray:
        found = self._kept.get(index)
        if found is None:
            found = self.reader.tokens(self.text(index)).astype(np.int32)
            with self._lock:
                self._kept[index] = found
        return found

    def _clip(self, indices: np.ndarray, rows: list[np.ndarray]) -> Clip:
        clip = pad(rows, self.view.length)
        clip["sample_id"] = torch.from_numpy(self.sample_id[indices])
        clip["log_id"] = [self.log_ids[log] for log in self.log_of[indices]]
        return clip


def window(passage: Int64[np.ndarray, "2 n"], room: int, draw: float) -> Int64[np.ndarray, "2 m"]:
    """At most `room` tokens, from the start of the word at share `draw` of the places where a full window begins."""
    spare = passage.shape[1] - room
    if spare <= 0:
        return passage
    begin = int(draw * (spare + 1))
    while begin > 0 and passage[1, begin] == passage[1, begin - 1]:
        begin -= 1
    return passage[:, begin : begin + room]


def parts(passage: Int64[np.ndarray, "2 n"], room: int) -> list[Int64[np.ndarray, "2 _"]]:
    """All tokens in turn, at most `room` a part, each part from the start of a word that does not fill one alone."""
    cuts = [0]
    while passage.shape[1] - cuts[-1] > room:
        end = begin = cuts[-1] + room
        while begin > cuts[-1] and passage[1, begin] == passage[1, begin - 1]:
            begin -= 1
        cuts.append(begin if begin > cuts[-1] else end)
    return np.split(passage, cuts[1:], axis=1)


def pad(rows: Sequence[np.ndarray], length: int) -> Clip:
    """Rows of ids and words as a clip of [B, length], -1 where a row has ended."""
    full = np.full((2, len(rows), length), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        full[:, number, : row.shape[1]] = row
    token, group = torch.from_numpy(full)
    return Clip(token=token, token_group=group)


def rows_of(store: Store, log_id: str, sensors: Sequence[str] = ()) -> list[tuple[str, int, str]]:
    """(sensor, row, frame id) of every passage of a log, in order."""
    wanted = {
        sensor["sensor_id"]
        for sensor in store.table("sensor", [log_id]).to_pylist()
        if sensor["modality"] == MODALITY and sensor["name"] in (sensors or (sensor["name"],))
    }
    frames = store.table("frame", [log_id]).select(["frame_id", "seq"]).to_pydict()
    seq = dict(zip(frames["frame_id"], frames["seq"], strict=True))
    rows = store.table("obs", [log_id]).select(["frame_id", "sensor_id", "sensor", "row"]).to_pylist()
    rows = [row for row in rows if row["sensor_id"] in wanted and row["frame_id"] is not None]
    rows.sort(key=lambda row: (row["sensor"], seq[row["frame_id"]]))
    return [(row["sensor"], row["row"], row["frame_id"]) for row in rows]


def texts_of(store: Store, log_id: str) -> Iterator[tuple[str, str, str]]:
    """(sensor, frame id, passage) of a log, in order."""
    for sensor, row, frame_id in rows_of(store, log_id):
        yield sensor, frame_id, decoded(store.read_blob(log_id, sensor, row), log_id)


def decoded(blob: bytes, log_id: str) -> str:
    """Payload as text; UnseenError where it is none."""
    try:
        return blob.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnseenError(
            f"a passage of log {log_id!r} is not UTF-8: {error}", "payload is never substituted"
        ) from error
