"""What every kind of data does for the loop and for a user: logs become samples, raw content becomes a clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from unseen.contract import Clip, Source
from unseen.data.store import Store


@runtime_checkable
class LogSource(Source, Protocol):
    """Samples of some logs of a store, as probes and reports read them."""

    log_ids: list[str]
    log_of: np.ndarray  # [n] index into log_ids; samples of a log stand in time order
    sample_id: np.ndarray  # [n] int64
    frame_id: list[str]
    sensor_of: list[str]  # the name of the sensor
    left_out: dict[str, str]  # the logs that give no sample, and why
    thinned: dict[str, str]  # the logs of whose samples some are left out, how many, and why

    def raw(self, clip: Clip) -> Any:
        """The content of a clip as a user would hand it to a loaded encoder."""
        ...

    def labelled(self, kind: str = "seg") -> np.ndarray:
        """[n] bool: the samples that have a label of this kind."""
        ...

    def class_label(self, index: int) -> int | None:
        """The class id of a sample; None where it has none."""
        ...


@runtime_checkable
class View(Protocol):
    """How logs become samples: a frozen dataclass, one for each kind of content."""

    def open(self, store: Store, log_ids: Sequence[str], *, seed: int, log_power: float, cache_mb: int) -> LogSource:
        """The samples of some logs of a store. UnseenError where they hold nothing of this kind."""
        ...

    def present(self, raw: Any) -> Clip:
        """What a user hands to a loaded encoder, as a clip, nothing random. UnseenError for what cannot be read."""
        ...


@runtime_checkable
class Imagined(View, Protocol):
    """A view whose samples have one size, so that one can be thought of without any recording."""

    def blank(self) -> Any:
        """One training sample with nothing in it, as `present` takes it."""
        ...


@runtime_checkable
class ForMasks(View, Protocol):
    """A view that leaves out samples because masks could not hide them."""

    def unmasked(self) -> View:
        """The same view for an encoder at work, without that."""
        ...


@runtime_checkable
class WithFile(View, Protocol):
    """A view that reads a file of its own (a tokenizer), which has to go where its encoder goes."""

    def found(self, folder: Path) -> "WithFile":
        """The same view, its file looked up in a folder first."""
        ...

    def carry(self, folder: Path, store: Store) -> "WithFile":
        """Copy the file into a folder; the view as it is to be `found` there."""
        ...

    def publish(self, folder: Path) -> None:
        """Write the file into a folder as other libraries read it, so that they give the encoder what it knows."""
        ...

    def sizes(self, store: Store) -> dict[str, int]:
        """What the file decides of a recipe, by the name of its fields: {"vocabulary": tokens}."""
        ...

    def origins(self, store: Store) -> list[dict[str, Any]]:
        """Of each file its name ("file") and "lineage": the logs it was fitted to ("pretrained_on"), or "unknown"."""
        ...
