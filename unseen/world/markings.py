"""What is painted on the ground of a site: roads, lead-in lines, stands, wear."""

import numpy as np

from unseen.world.paint import Patch, Style, arc, line, polyline, stand_number
from unseen.world.site import HEAD_ROAD_M, NOSE_Y_M, Site, Stand


def markings(site: Site, rng: np.random.Generator) -> list[Patch]:
    """Everything painted on the ground, areas and wear first."""
    style, half, edge = site.style, site.half_length_m + 120.0, site.taxilane_y_m + 30.0
    white = (0.75, 0.75, 0.73)
    patches = [
        Patch((0, edge + 240), (900, 240), 0.0, style.grass, "vegetation"),
        Patch((0, edge + 62), (900, 14), 0.0, style.road, "apron"),
    ]
    for low, high in (HEAD_ROAD_M, site.tail_road_m):
        patches += [
            Patch((0, (low + high) / 2), (half, (high - low) / 2), 0.0, style.road, "apron", opacity=0.8),
            line((-half, low), (half, low), 0.15, white),
            line((-half, high), (half, high), 0.15, white),
            line((-half, (low + high) / 2), (half, (low + high) / 2), 0.12, white, style=Style.DASHED, period_m=6.0),
        ]
    patches += _wear(site, rng)
    y = site.taxilane_y_m
    patches += _yellow(site, [(-half, y), (half, y)])
    for stand in site.stands:
        patches += _stand_markings(site, stand)
    return patches


def _wear(site: Site, rng: np.random.Generator) -> list[Patch]:
    patches = []
    for stand in site.stands:
        for _ in range(7):
            at = (stand.x_m + rng.normal(0, 6), rng.uniform(NOSE_Y_M, site.tail_road_m[0]))
            size = (rng.uniform(0.6, 3.0), rng.uniform(0.4, 1.6))
            patches.append(
                Patch(
                    at, size, rng.uniform(0, 3), (0.04, 0.04, 0.04), "apron", Style.STAIN, opacity=rng.uniform(0.3, 0.7)
                )
            )
        for x in (-3.7, 0.0, 3.7):
            patches.append(
                Patch(
                    (stand.x_m + x, 55.0),
                    (38.0, 0.7),
                    np.pi / 2,
                    (0.05, 0.05, 0.05),
                    "apron",
                    Style.STAIN,
                    opacity=0.35,
                )
            )
    return patches


def _yellow(site: Site, points: list[tuple[float, float]]) -> list[Patch]:
    style = site.style
    under = polyline(points, 2.2 * style.lead_in_m, (0.05, 0.05, 0.05)) if style.black_edged else []
    return under + polyline(points, style.lead_in_m, style.lead_in)


def _stand_markings(site: Site, stand: Stand) -> list[Patch]:
    style, x, lane = site.style, stand.x_m, site.taxilane_y_m
    stop_y = NOSE_Y_M + 5.2
    turn = 16.0
    red, white = (0.6, 0.04, 0.03), (0.75, 0.75, 0.73)
    half, tail = stand.width_m / 2 - 2.0, site.tail_road_m[0] - 1.5
    front = HEAD_ROAD_M[1] + 1.2
    envelope = [(x - half, tail), (x - half, front), (x + half, front), (x + half, tail), (x - half, tail)]
    patches = polyline(envelope, 2.6 * style.restraint_m, white) if style.white_flanked else []
    patches += polyline(envelope, style.restraint_m, red)
    patches += _yellow(site, [(x, lane - turn), (x, stop_y)])
    patches += arc((x - turn, lane - turn), turn, 0.0, np.pi / 2, style.lead_in_m, style.lead_in)
    patches += [line((x - 3.0, stop_y + dy), (x + 3.0, stop_y + dy), 0.3, style.lead_in) for dy in (0.0, 4.0)]
    patches += stand_number(stand.number, (x + 4.5, tail - 6.0), 3.0, style.lead_in, (0.03, 0.03, 0.03))
    for side in (-1, 1):
        corner = x + side * (half - 5.5)
        box_points = [
            (corner - 4, front + 1.5),
            (corner + 4, front + 1.5),
            (corner + 4, front + 10),
            (corner - 4, front + 10),
            (corner - 4, front + 1.5),
        ]
        patches += polyline(box_points, 0.14, white)
        if style.hatched and side > 0:
            patches.append(
                Patch((x - half - 2.0, 40.0), (14.0, 1.6), np.pi / 2, red, style=Style.HATCHED, period_m=1.6)
            )
        patches.append(Patch((x + side * 9.0, 38.0), (0.45, 0.45), 0.0, (0.7, 0.08, 0.05), style=Style.DISC))
    zebra = x + half - 1.0
    return [
        *patches,
        line(
            (zebra, HEAD_ROAD_M[0] + 0.3), (zebra, HEAD_ROAD_M[1] - 0.3), 2.6, white, style=Style.DASHED, period_m=1.0
        ),
    ]
