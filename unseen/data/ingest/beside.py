"""What lies beside the frames of a log: labels, poses, a calibration; found and read before anything is written."""

from collections.abc import Sequence
from pathlib import Path

from unseen.data.ingest.calibration import Calibrated, read_calibration, warnings_of
from unseen.data.ingest.labels import resolve
from unseen.data.ingest.plan import LogPlan
from unseen.data.ingest.poses import AHEAD, read_poses
from unseen.errors import UnseenError


def companions(src: Path, sidecar: str | Path | None, beside: Sequence[str | None], store: Path) -> list[Path]:
    """Files below the source that have another purpose than to be frames."""
    found = [store]
    if sidecar is not None:
        found.append(Path(sidecar))
    base = src if src.is_dir() else src.parent
    for path in filter(None, beside):
        if "{log_id}" in path:
            anywhere = Path(path.replace("{log_id}", "*"))
            found += (base / anywhere.anchor).glob(str(anywhere.relative_to(anywhere.anchor)))
        else:
            found += [base / path, Path(path)]
    return found


def labels_of(plan: LogPlan, labels: str | None, src: Path) -> Path | None:
    return _beside(plan, labels, src, "labels", "labels are a folder, a zip or an npz")


def poses_of(plans: list[LogPlan], poses: str | None, src: Path) -> list[str]:
    """Give each log its trajectory; returns warnings. UnseenError for one file of several logs, or none of any."""
    if poses is None or not plans:
        return []
    if len(plans) > 1 and "{log_id}" not in poses:
        raise UnseenError(
            f"poses {poses} for {len(plans)} logs, such as {plans[0].log_id!r} and {plans[1].log_id!r}",
            "a trajectory is of one log",
            "one file a log, named with {log_id}, as --poses 'poses/{log_id}.csv'",
        )
    for plan in plans:
        path = _beside(plan, poses, src, "poses", "poses are a csv, jsonl, parquet or TUM file")
        plan.poses = read_poses(path) if path is not None else None
    without = [plan.log_id for plan in plans if plan.poses is None]
    if len(without) == len(plans):
        raise UnseenError(f"no log has poses at {poses}", f"logs are called like {without[0]!r}", "check the path")
    warnings = [f"{len(without)} logs have no poses at {poses}, such as {without[0]!r}"] if without else []
    shares = [(plan.log_id, plan.poses.ahead) for plan in plans if plan.poses is not None]
    if odd := [f"{log!r} ({share:.0%})" for log, share in shares if share is not None and share < AHEAD]:
        warnings.append(
            f"{len(odd)} logs hardly move along x of the vehicle, such as {odd[0]}: poses are of the vehicle in the "
            "world, x forward, y left, z up; not of a camera, nor the other way round"
        )
    return warnings


def cameras_of(plans: list[LogPlan], calibration: str | None, src: Path) -> list[str]:
    """Give each log its cameras; returns warnings. UnseenError where no camera has frames."""
    if calibration is None or not plans:
        return []
    read: dict[Path, dict[str, Calibrated]] = {}
    for plan in plans:
        path = _beside(plan, calibration, src, "calibration", "a calibration is a JSON file")
        if path is not None:
            plan.cameras = read[path] = read.get(path) or read_calibration(path)
    sensors = {item.sensor for plan in plans for item in plan.items}
    named = {name for cameras in read.values() for name in cameras}
    if not sensors & named:
        raise UnseenError(
            f"calibration {calibration} is of {', '.join(sorted(named)) or 'no log'}; no frame is",
            f"sensors with frames are {', '.join(sorted(sensors))}",
            "call them alike; (?P<sensor>...) in the pattern names several cameras",
        )
    warnings = [warning for cameras in read.values() for warning in warnings_of(cameras)]
    if lost := sorted(named - sensors):
        warnings.append(f"{len(lost)} calibrated sensors have no frames: {', '.join(lost)}")
    bare = sorted({item.sensor for plan in plans for item in plan.items if item.sensor not in plan.cameras})
    if bare:
        warnings.append(f"{len(bare)} sensors have frames and no calibration: {', '.join(bare)}")
    return warnings


def _beside(plan: LogPlan, given: str | None, src: Path, what: str, rule: str) -> Path | None:
    """A file that goes with a log; None where `{log_id}` stands in its path and this log has none."""
    if given is None:
        return None
    path = resolve(given, plan.log_id, src)
    if path.exists():
        return path
    if "{log_id}" in given:
        return None
    raise UnseenError(f"{what} {given} are neither in {src} nor here", rule)
