"""A file of poses beside the frames: where the vehicle was, in metres, at rising times or for numbered frames."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from unseen.data.ingest.tables import TABLES
from unseen.data.writer import LogWriter
from unseen.errors import UnseenError

CLOCKS = {"t_ns": 1, "t_us": 10**3, "t_s": 10**9}  # nanoseconds in one
NUMBERS = ("x", "y", "z", "qx", "qy", "qz", "qw")
COLUMNS = f"one of {', '.join(CLOCKS)}, seq; and {', '.join(NUMBERS)}"
UNIT = 1e-3  # by which the length of a quaternion may differ from 1
MOVED_M, AHEAD = 5.0, 0.5  # a drive of this length goes along its own x by this share, squared, or its axes are wrong


class Trajectory(NamedTuple):
    """The poses of one log as its file has them; quaternions are made exactly unit."""

    path: Path
    by_number: bool  # `at` counts frames, not nanoseconds
    at: Int64[np.ndarray, "n"]  # rising
    numbers: Float64[np.ndarray, "n 7"]  # x y z qx qy qz qw

    @property
    def columns(self) -> list[dict[str, float]]:
        """Each pose under the names of the table `pose`, w >= 0."""
        rows = self.numbers * np.where(self.numbers[:, 6:] < 0, [1, 1, 1, -1, -1, -1, -1], 1)
        return [dict(zip(("tx", "ty", "tz", "qx", "qy", "qz", "qw"), row, strict=True)) for row in rows.tolist()]

    @property
    def ahead(self) -> float | None:
        """The share of its motion, squared, that goes along x of the vehicle; None where it hardly moves."""
        from scipy.spatial.transform import Rotation

        step = np.diff(self.numbers[:, :3], axis=0)
        if np.ptp(self.numbers[:, :3], axis=0).max() < MOVED_M:
            return None
        in_vehicle = Rotation.from_quat(self.numbers[:-1, 3:]).inv().apply(step)
        return float((in_vehicle[:, 0] ** 2).sum() / (step**2).sum())


def read_poses(path: Path) -> Trajectory:
    """Read world_from_vehicle: a table (csv, jsonl, parquet) with the columns of COLUMNS, or a TUM trajectory (txt).

    The vehicle's frame has x forward, y left, z up, its origin on the ground. UnseenError with the row for what is
    missing, no number, no unit quaternion, or not later than the row before.
    """
    rows = _tum(path) if path.suffix.lower() in (".txt", ".tum") else _table(path)
    if not rows:
        raise UnseenError(f"{path} has no rows", "one pose a row", COLUMNS)
    header = rows[0][1]
    clocks = [name for name in (*CLOCKS, "seq") if name in header]
    if len(clocks) != 1 or (missing := [name for name in NUMBERS if name not in header]):
        what = f"has the times {', '.join(clocks) or 'nowhere'}" if len(clocks) != 1 else f"lacks {', '.join(missing)}"
        raise UnseenError(f"{path} {what}", f"poses have the columns {COLUMNS}", "rename columns, or add them")
    at, numbers = [], []
    for where, row in rows:
        at.append(_cell(where, clocks[0], row, _whole if clocks[0] == "seq" else lambda t: to_ns(t, clocks[0])))
        numbers.append([_cell(where, name, row, _finite) for name in NUMBERS])
        if len(at) > 1 and at[-1] <= at[-2]:
            raise UnseenError(f"{where}: {clocks[0]} does not rise", "one pose a time, sorted", "sort the file")
    return Trajectory(path, clocks[0] == "seq", np.array(at), _unit(np.array(numbers), [where for where, _ in rows]))


def to_ns(text: str, clock: str) -> int:
    """A time in nanoseconds, exact for any number of digits. ValueError where it is no number."""
    try:
        t_ns = int((Decimal(text) * CLOCKS[clock]).to_integral_value())
    except (ArithmeticError, ValueError) as error:
        raise ValueError(text) from error
    if abs(t_ns) >= 2**63:
        raise ValueError(text)
    return t_ns


def write_poses(writer: LogWriter, trajectory: Trajectory, frame_ns: dict[int, int | None]) -> list[int]:
    """Write the poses as they are; those of numbered frames at the frames' times. Returns the times.

    UnseenError where frames have no times, or where no frame lies within the poses: then their clocks differ.
    """
    frames = [t_ns for t_ns in frame_ns.values() if t_ns is not None]
    if len(frames) < len(frame_ns):
        raise UnseenError(
            f"log {writer.log_id!r} has poses and {len(frame_ns) - len(frames)} frames without a time",
            f"poses ({trajectory.path}) belong to times",
            "--fps, or a pattern with (?P<t_ns>...)",
        )
    times = [frame_ns.get(n) for n in trajectory.at.tolist()] if trajectory.by_number else trajectory.at.tolist()
    written = []
    for t_ns, columns in zip(times, trajectory.columns, strict=True):
        if t_ns is not None:  # the number of a frame that was left out
            writer.pose(t_ns, **columns)
            written.append(t_ns)
    if not written or min(written) > max(frames) or max(written) < min(frames):
        kind, at, has = ("numbers", trajectory.at, frame_ns) if trajectory.by_number else ("times", written, frames)
        raise UnseenError(
            f"no frame of log {writer.log_id!r} lies within the poses of {trajectory.path}: {kind} {min(has)} to "
            f"{max(has)} against {min(at)} to {max(at)}",
            "frames and poses have one clock (ns)" if kind == "times" else "poses count frames as the log does",
            "with --fps times begin at frame 0: give poses by seq, or times to frames by a pattern with (?P<t_ns>..)",
        )
    return written


class Coverage(NamedTuple):
    """Which frames of a log have a pose, as far as poses of its file may stand for times between them."""

    frames: int
    beyond: int  # frames before the first pose or after the last
    gaps_ns: Int64[np.ndarray, "n"]  # of each other frame the distance of the poses around it; 0: one at its very time


def coverage(pose_ns: list[int], frame_ns: list[int]) -> Coverage:
    """How the poses of a log lie around its frames."""
    known, wanted = np.unique(pose_ns), np.array(frame_ns)
    wanted = wanted[(wanted >= known[0]) & (wanted <= known[-1])]
    before, after = np.searchsorted(known, wanted, "right") - 1, np.searchsorted(known, wanted)
    return Coverage(len(frame_ns), len(frame_ns) - len(wanted), known[after] - known[before])


def _table(path: Path) -> list[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() not in TABLES:
        raise UnseenError(f"poses {path}", f"a table ({', '.join(TABLES)}) or a TUM trajectory (.txt, .tum)", COLUMNS)
    try:
        rows = TABLES[path.suffix.lower()](path)
    except UnseenError:
        raise
    except Exception as error:  # readers raise whatever they like on damaged files
        raise UnseenError(f"cannot read {path}: {error}", "a table in UTF-8 with named columns") from error
    return [(f"row {number} of {path}", row) for number, row in enumerate(rows, 1)]


def _tum(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Lines of `time x y z qx qy qz qw` with seconds, blanks between, # for remarks (the trajectories of TUM RGB-D)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnseenError(f"cannot read {path}: {error}", "a TUM trajectory is text") from error
    rows = []
    for number, line in enumerate(lines, 1):
        cells = line.split("#")[0].split()
        if cells and len(cells) != 1 + len(NUMBERS):
            raise UnseenError(
                f"line {number} of {path} has {len(cells)} numbers",
                "a TUM trajectory has eight: seconds, x y z, qx qy qz qw",
                "tables with named columns end in .csv; matrices of 12 numbers (KITTI) are to be converted",
            )
        if cells:
            rows.append((f"line {number} of {path}", dict(zip(("t_s", *NUMBERS), cells, strict=True))))
    return rows


def _cell(where: str, name: str, row: dict[str, Any], read: Callable[[str], Any]) -> Any:
    try:
        return read(str(row.get(name, "")).strip())
    except ValueError as error:
        raise UnseenError(
            f"{where}: {name} is {row.get(name)!r}", "a finite number", "leave out unknown poses"
        ) from error


def _whole(text: str) -> int:
    number = Decimal(_finite(text))
    if number != int(number) or number < 0:
        raise ValueError(text)
    return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(text)
    return number


def _unit(numbers: np.ndarray, where: list[str]) -> Float64[np.ndarray, "n 7"]:
    length = np.linalg.norm(numbers[:, 3:], axis=1)
    off = np.flatnonzero(np.abs(length - 1) > UNIT)
    if len(off):
        raise UnseenError(
            f"{where[off[0]]}: the quaternion has length {length[off[0]]:.4g}",
            f"a rotation is a unit quaternion, within {UNIT:g} ({len(off)} of {len(length)} rows are not)",
            "columns are qx, qy, qz, qw; check their order and their digits",
        )
    return np.concatenate([numbers[:, :3], numbers[:, 3:] / length[:, None]], axis=1)
