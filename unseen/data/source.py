"""What every kind of data does for the loop and for a user: logs become samples, raw content becomes a clip."""

from collections.abc import Sequence
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
