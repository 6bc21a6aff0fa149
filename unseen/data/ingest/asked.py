"""What an ingest is asked for: its arguments checked, and said of each log."""

from collections.abc import Sequence
from pathlib import Path

from unseen.data.ingest.listing import Skip
from unseen.data.ingest.plan import LogPlan
from unseen.data.schema import CAMERA_LIKE
from unseen.errors import UnseenError


def check(
    every: int,
    size: tuple[int, int] | None,
    workers: int,
    independent: int | None,
    labels: str | None,
    classes: Sequence,
) -> None:
    if (
        every < 1
        or workers < 1
        or (size is not None and min(size) < 1)
        or (independent is not None and independent < 1)
    ):
        raise UnseenError(
            f"every {every}, workers {workers}, size {size}, independent {independent}", "all are positive"
        )
    if labels and not classes:
        raise UnseenError(
            "labels without the names of their classes", "ids need names", "give classes, in order of ids"
        )


def check_names(modality: str, classes: Sequence[str], ignore: str | None, small: Sequence[str]) -> None:
    if modality not in CAMERA_LIKE:
        raise UnseenError(f"modality {modality!r}", f"frames are of {' or '.join(CAMERA_LIKE)}", "--modality camera")
    if ignore is not None and ignore not in classes:
        raise UnseenError(f"ignored class {ignore!r} is not among the classes ({', '.join(classes) or 'none'})")
    if unknown := sorted(set(small) - set(classes)):
        raise UnseenError(f"small classes {unknown} are not among the classes ({', '.join(classes) or 'none'})")


def attach(plans: list[LogPlan], skips: list[Skip]) -> list[Skip]:
    """Give each skipped file to the log that its neighbours belong to; returns those without one."""
    owner: dict[str, LogPlan] = {}
    for plan in plans:
        for item in plan.items:
            owner.setdefault(str(Path(item.source.uri).parent), plan)
    loose: list[Skip] = []
    for skip in skips:
        found = owner.get(str(Path(skip.file).parent))
        (loose if found is None else found.skips).append(skip)
    return loose


def fps_of(plan: LogPlan, fps: float | str | None) -> float | None:
    if fps is None or isinstance(fps, int | float):
        value = fps
    else:
        text = plan.columns.get("attributes", {}).get(fps) or fps
        try:
            value = float(text)
        except ValueError:
            return None  # this log's is unknown
    if value is not None and not 0 < value < float("inf"):
        raise UnseenError(f"{value} frames a second for log {plan.log_id!r}", "a rate is positive")
    return value
