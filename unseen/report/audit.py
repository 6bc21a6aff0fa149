"""The page of `unseen masks`: verdicts, pictures of masks, and where a policy hides how often."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from unseen.report.render import picture_uri, write_page
from unseen.report.svg import Series, line_chart, number

LONGEST = 320  # px of a picture's longer side
SLOTS = 8  # of a clip's slots, as many are shown side by side
COLOURS = np.array([[255, 255, 255], [214, 220, 228], [32, 60, 110], [226, 146, 54]], dtype=np.uint8)
GREY, ORANGE = 127, np.array([226, 146, 54])
LOW, HIGH = np.array([238, 241, 245]), np.array([24, 62, 130])  # of a frequency of 0 and of 1
Image = UInt8[np.ndarray, "H W 3"]


def mask_page(result: Mapping[str, Any], pictures: Mapping[str, np.ndarray], out: Path) -> Path:
    """Write what `unseen.recipes.audit.audit_recipe` found as one self-contained HTML page; returns `out`."""
    measures = result["measures"]
    return write_page(
        Path(out),
        "audit.html",
        recipe=result["recipe"],
        policy=plain(result["policy"]),
        unit=plain(result["unit"]),
        data=result["data"] or "imagined units of the recipe's own grid",
        passed=result["passed"],
        facts=_facts(result),
        checks=[_check(check) for check in result["checks"]],
        masks=_masks(pictures),
        strips="mask" in pictures and pictures["mask"].shape[1] > 1,
        maps=_maps(result),
        charts=_charts(measures["coverage"]),
        steps=[(one["steps"], percent(one["share"])) for one in measures["distance"]["steps"]],
        classes=[_class(one) for one in measures.get("classes") or []],
        time=_time(measures),
    )


def plain(node: Any) -> str:
    """A component of a recipe as one line: MultiBlock(ratio=0.5, ...)."""
    if isinstance(node, Mapping) and "class" in node:
        inside = ", ".join(f"{name}={plain(value)}" for name, value in node["fields"].items())
        return f"{node['class'].split(':')[-1]}({inside})"
    return str(node)


def percent(value: float | None) -> str:
    return "unknown" if value is None or value != value else f"{100 * value:.1f} %"


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    found, far = result["measures"]["counts"], result["measures"]["distance"]
    grid = result["grid"]
    shape = "" if grid is None else f" on a grid of {' x '.join(str(side) for side in grid)}"
    facts = [
        ("samples", str(result["samples"])),
        ("units", f"{result['units']}{shape}"),
        ("hidden", f"{percent(found['hidden_share'])} (from {percent(found['hidden_least'])} to "
                   f"{percent(found['hidden_most'])})"),
        ("visible", percent(found["visible_share"])),
        ("neither", percent(found["idle_share"])),
        ("hidden to nearest visible", "unknown" if far["mean"] is None else f"{number(far['mean'])} units"),
    ]  # fmt: skip
    if "inpainting" in result["measures"]:
        explained = percent(result["measures"]["inpainting"]["explained"])
        what = "recordings" if result["data"] else "imagined waves"
        facts.append(("interpolation explains", f"{explained} of hidden {what}"))
    return facts


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    verdict = {True: "pass", False: "fail", None: "not judged"}[check["ok"]]
    value = "unknown" if check["value"] is None else number(check["value"])
    return {"name": check["name"], "says": check["says"], "value": value, "limit": number(check["limit"]),
            "verdict": verdict, "tag": {"pass": "good", "fail": "bad"}.get(verdict, "")}  # fmt: skip


def _masks(pictures: Mapping[str, np.ndarray]) -> list[str]:
    """Each mask as a picture, over its recording where there is one; the slots of a clip side by side."""
    frames = pictures.get("frame")
    shown = []
    for sample, mask in enumerate(pictures.get("mask", ())):
        slots = np.linspace(0, len(mask) - 1, min(SLOTS, len(mask))).round().astype(int)
        if frames is None:
            tiles = [enlarged(COLOURS[mask[slot]]) for slot in slots]
        else:
            tiles = [_over(frames[sample, min(slot, frames.shape[1] - 1)], mask[slot]) for slot in slots]
        gap = np.full((tiles[0].shape[0], 4, 3), 255, dtype=np.uint8)
        strip = [part for tile in tiles for part in (gap, tile)][1:]
        shown.append(picture_uri(np.concatenate(strip, axis=1)))
    return shown


def _over(frame: Image, mask: UInt8[np.ndarray, "r c"]) -> Image:
    """Targets in grey, guard in orange, what is visible as it is."""
    rows, columns = (-(-side // count) for side, count in zip(frame.shape[:2], mask.shape, strict=True))
    code = np.kron(mask, np.ones((rows, columns), dtype=np.uint8))[: frame.shape[0], : frame.shape[1], None]
    guard = (frame * 0.3 + ORANGE * 0.7).astype(np.uint8)
    return np.where(code == 2, np.uint8(GREY), np.where(code == 3, guard, frame))


def _maps(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """How often each unit is hidden and visible, as pictures; one for the mean over slots."""
    grid = result["grid"]
    if grid is None or len(grid) not in (2, 3):
        return []
    maps = []
    for name in ("hidden", "visible"):
        found = result["measures"]["coverage"][name]
        often = np.array([np.nan if one is None else one for one in found["map"]]).reshape(-1, *grid[-2:])
        note = f"from {percent(found['low'])} to {percent(found['high'])} of the samples"
        maps.append({"uri": picture_uri(enlarged(_heat(often.mean(axis=0))), quality=92), "name": name, "note": note})
    return maps


def _heat(often: Float[np.ndarray, "r c"]) -> Image:
    share = np.nan_to_num(often)[..., None]
    return (LOW + share * (HIGH - LOW)).round().astype(np.uint8)


def enlarged(image: Image) -> Image:
    """Every pixel as a square, so that the picture stays sharp."""
    times = max(1, LONGEST // max(image.shape[:2]))
    return np.repeat(np.repeat(image, times, axis=0), times, axis=1)


def _charts(coverage: Mapping[str, Any]) -> list[dict[str, Any]]:
    charts = []
    for axis, hidden in coverage["hidden"]["by"].items():
        if len(hidden) < 2:
            continue
        lines = [
            Series(name=name, x=range(len(hidden)), y=coverage[name]["by"][axis], colour=colour, dots=len(hidden) < 20)
            for colour, name in enumerate(("hidden", "visible"), 1)
        ]
        svg = line_chart(f"by {axis}", lines, x_label=axis, y_label="share of samples", y_range=(0, 1))
        charts.append({"title": f"By {axis}", "svg": svg, "note": ""})
    return charts


def _class(one: Mapping[str, Any]) -> list[str]:
    return [
        str(one.get("name", one["class"])),
        *(percent(one[k]) for k in ("share", "of_hidden", "of_visible", "hidden")),
    ]


def _time(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "time" not in measures:
        return []
    facts = [("targets whose place in the image is visible in another slot", percent(measures["time"]["image_leak"]))]
    found = measures.get("places")
    if found is None:
        return [*facts, ("the same in the world", "unknown: no recordings with calibration and poses")]
    return [
        *facts,
        (f"target area that another slot shows, in the world, by {found['by']}", percent(found["leak"])),
        ("target area in view in another slot that is target there too", percent(found["again"])),
        ("units of the first frame whose place keeps to them in all frames", percent(found["stay"])),
        ("known places that another frame has in view", percent(found["in_view"])),
        ("units none of whose places is known to the mask", percent(found["unknown"])),
        ("overlap of the targets with those under errors of poses", percent(found["steady"])),
    ]
