"""What an ingest did, in numbers and in warnings."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from unseen.data.calibration import POSE_GAP_S
from unseen.data.ingest.listing import Skip
from unseen.data.ingest.plan import LogPlan
from unseen.data.ingest.poses import Coverage
from unseen.data.ingest.record import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What an ingest did."""

    written: list[str]  # logs
    present: list[str]  # logs that were there already, identical
    frames: int  # written now
    labels: int
    skipped: list[Skip]
    warnings: list[str]
    skipped_by_reason: dict[str, int] = field(default_factory=dict)


def warnings_of(plans: list[LogPlan], outcomes: list[Outcome], labels: str | None) -> list[str]:
    warnings = []
    if unknown := [plan.log_id for plan in plans if plan.groups == "unknown"]:
        warnings.append(
            f"groups are unknown in {', '.join(unknown[:3])}: a split by log cannot part what belongs together; say it "
            "with a pattern, with columns={'log_id': ...}, or with independent=N if nothing does"
        )
    if nothing := [o.log_id for o in outcomes if not o.written and not o.frames and o.skipped]:
        warnings.append(f"{len(nothing)} logs have no usable frame, such as {nothing[0]!r}")
    if labels and sum(outcome.labels for outcome in outcomes) == 0 and any(outcome.written for outcome in outcomes):
        warnings.append(f"no label in {labels} has the stem of a frame")
    return warnings + _unposed([outcome.posed for outcome in outcomes if outcome.posed is not None])


def _unposed(found: list[Coverage]) -> list[str]:
    """Frames of logs with poses that have none, as far as a view would interpolate."""
    if not found:
        return []
    frames, gaps_s = sum(one.frames for one in found), np.concatenate([one.gaps_ns for one in found]) * 1e-9
    warnings = []
    if beyond := sum(one.beyond for one in found):
        warnings.append(f"{beyond} of {frames} frames lie before the first or after the last pose: they have none")
    if wide := int((gaps_s > POSE_GAP_S).sum()):
        warnings.append(
            f"{wide} of {frames} frames lie between poses more than {POSE_GAP_S} s apart (up to {gaps_s.max():.3g} s): "
            "they have none, unless a recipe says otherwise: --set view.pose_gap_s=..."
        )
    return warnings


def result_of(outcomes: list[Outcome], loose: list[Skip], warnings: list[str]) -> IngestResult:
    skipped = loose + [skip for outcome in outcomes for skip in outcome.skipped]
    return IngestResult(
        written=sorted(outcome.log_id for outcome in outcomes if outcome.written),
        present=sorted(outcome.log_id for outcome in outcomes if not outcome.written and not outcome.skipped),
        frames=sum(outcome.frames for outcome in outcomes),
        labels=sum(outcome.labels for outcome in outcomes),
        skipped=skipped,
        warnings=warnings,
        skipped_by_reason=dict(sorted(Counter(skip.reason for skip in skipped).items())),
    )


def counted(skips: list[Skip]) -> str:
    return (
        ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(s.reason for s in skips).items())) or "none"
    )
