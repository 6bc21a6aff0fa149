"""What moves on a site during one log: the ego drive, the traffic on the service roads, and who keeps clear of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unseen.geometry import pose
from unseen.world import fleet, props
from unseen.world.site import HEAD_ROAD_M, NOSE_Y_M, Site
from unseen.world.solids import YELLOW, Solid, Vector, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A body that goes straight ahead at constant speed; a person is rebuilt at each instant to swing the legs."""

    solids: tuple[Solid, ...]
    at_m: tuple[float, float]
    heading_rad: float
    speed_mps: float
    walker: tuple[float, Vector, Vector, float] | None = None  # height, vest, trousers, phase of the stride

    @property
    def is_person(self) -> bool:
        """Whether it is somebody on foot."""
        return self.walker is not None or self.speed_mps == 0

    def position_m(self, time_s: float) -> tuple[float, float]:
        """Where the body is on the ground after some time."""
        (x, y), step = self.at_m, self.speed_mps * time_s
        return float(x + step * np.cos(self.heading_rad)), float(y + step * np.sin(self.heading_rad))

    def at(self, time_s: float) -> list[Solid]:
        """The body in the site frame after some time."""
        x, y = self.position_m(time_s)
        solids = list(self.solids)
        if self.walker:
            height, vest, trousers, phase = self.walker
            solids = props.person(height, vest, trousers, float(np.sin(2 * np.pi * (0.9 * time_s + phase))))
        return place(solids, x, y, self.heading_rad)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drive:
    """The ego drive: a cubic Bezier curve on the ground, driven at constant speed along its length."""

    control_m: Float[np.ndarray, "4 2"]
    speed_mps: float

    def at(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """site_from_ego after some time; past the curve's end the drive goes straight on."""
        t = np.linspace(0, 1, 200)[:, None]
        p0, p1, p2, p3 = self.control_m
        points = (1 - t) ** 3 * p0 + 3 * t * (1 - t) ** 2 * p1 + 3 * t**2 * (1 - t) * p2 + t**3 * p3
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        gone = self.speed_mps * time_s
        index = int(np.clip(np.searchsorted(length, gone), 1, len(t) - 1))
        ahead = points[index] - points[index - 1]
        ahead = ahead / np.linalg.norm(ahead)
        x, y = points[index - 1] + ahead * (gone - length[index - 1])
        heading = np.interp(
            gone, (length[1:] + length[:-1]) / 2, np.unwrap(np.arctan2(*np.diff(points, axis=0).T[::-1]))
        )
        return pose.planar(float(x), float(y), float(heading))


def draw_drive(site: Site, route: str, focus: int, rng: np.random.Generator) -> Drive:
    """The curve of a route: along a service road, from the taxilane to a stand, or out through a gap between stands."""
    half, stand, after = site.half_length_m, site.stands[focus], site.stands[focus + 1]
    gap_x = stand.x_m + stand.width_m / 2
    speed = float(rng.uniform(3.5, 6.5))
    way, _, direction = route.partition("-")
    if direction:
        low, high = HEAD_ROAD_M if way == "head" else site.tail_road_m
        sign, y = (1, low + 0.25 * (high - low)) if direction == "east" else (-1, low + 0.75 * (high - low))
        start = np.array([sign * (stand.x_m * 0.5 - 0.45 * half) + rng.normal(0, 5), y])
        return Drive(control_m=start + np.array([[0, 0], [15, 0], [30, 0], [45, 0]]) * sign, speed_mps=speed)
    if route == "approach":
        end = np.array([gap_x + rng.normal(0, 0.6), 0.5 * (NOSE_Y_M + site.tail_road_m[0])])
        start = np.array([gap_x + rng.uniform(-16, 16), site.tail_road_m[1] + 9.0])
        return Drive(
            control_m=np.stack([start, start - np.array([0, 10]), end + np.array([0, 12]), end]), speed_mps=speed
        )
    start = np.array([after.x_m + rng.uniform(-6, 4), HEAD_ROAD_M[0] + 0.75 * (HEAD_ROAD_M[1] - HEAD_ROAD_M[0])])
    end = np.array([gap_x, 38.0])
    return Drive(
        control_m=np.stack([start, np.array([gap_x + 3, start[1]]), np.array([gap_x, 12.0]), end]), speed_mps=speed
    )


def traffic(site: Site, drive: Drive, rng: np.random.Generator) -> list[Mover]:
    """Vehicles that drive on the two service roads, keeping right; in the ego's lane well ahead of it."""
    paint, movers = site.style.service, []
    bodies = [
        fleet.baggage_train(paint[0], [paint[1], paint[1], None]),
        fleet.follow_me(YELLOW),
        fleet.bus((0.75, 0.76, 0.78)),
        fleet.tractor(paint[2]),
        fleet.lorry(paint[1], (0.8, 0.8, 0.8), 8.5, 3.6),
    ]
    for low, high in (HEAD_ROAD_M, site.tail_road_m):
        for east in (True, False):
            x = float(rng.uniform(-0.6, 0.6)) * site.half_length_m
            y = low + (0.25 if east else 0.75) * (high - low)
            if abs(y - drive.control_m[0, 1]) < 2.5:
                x = drive.control_m[0, 0] + (1 if east else -1) * float(rng.uniform(32, 48))
            body = bodies[int(rng.integers(len(bodies)))]
            heading, speed = 0.0 if east else np.pi, float(rng.uniform(4, 8))
            movers.append(Mover(solids=tuple(body), at_m=(x, y), heading_rad=heading, speed_mps=speed))
    return [mover for mover in movers if keeps_clear(mover, drive, behind_m=21.0, ahead_m=9.0, beside_m=3.2)]


def keeps_clear(mover: Mover, drive: Drive, *, behind_m: float, ahead_m: float, beside_m: float) -> bool:
    """Whether the ego camera stays out of a rectangle around the mover for the first ten seconds."""
    for time_s in np.arange(0.0, 10.0, 0.2):
        mover_from_site = pose.inverse(pose.planar(*mover.position_m(float(time_s)), mover.heading_rad))
        x, y, _ = pose.transform(mover_from_site @ drive.at(float(time_s)), np.array([1.6, 0.0, 0.0]))
        if -behind_m < x < ahead_m and abs(y) < beside_m:
            return False
    return True


def walker(site: Site, at: tuple[float, float], heading: float, speed: float, rng: np.random.Generator) -> Mover:
    vest = site.style.vests[int(rng.integers(len(site.style.vests)))]
    trousers = (0.03, 0.04, 0.09) if rng.random() < 0.6 else (0.18, 0.16, 0.13)
    height, pose_name = float(rng.uniform(1.6, 1.92)), str(rng.choice(["walk", "walk", "bend", "signal"]))
    if speed > 0:
        return Mover(
            solids=(),
            at_m=at,
            heading_rad=heading,
            speed_mps=speed,
            walker=(height, vest, trousers, float(rng.random())),
        )
    stance = props.person(height, vest, trousers, 0.35, pose=pose_name)
    return Mover(solids=tuple(stance), at_m=at, heading_rad=heading, speed_mps=0.0)
