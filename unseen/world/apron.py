"""What happens on a site during one log: parked aircraft being served, traffic, people, the light, the ego drive."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unseen.geometry import pose
from unseen.geometry.camera import Camera
from unseen.world import fleet
from unseen.world.fleet import AIRCRAFT, AircraftType
from unseen.world.paint import Paint
from unseen.world.site import HEAD_ROAD_M, NOSE_Y_M, Site, Stand, buildings, generator, markings
from unseen.world.solids import Solid, Solids, Vector, place

NOSE_IN = -np.pi / 2
ROUTES = ("head-east", "tail-west", "approach", "tail-east", "head-west", "gap")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """Sun, sky, air and exposure of one log; colours are linear radiance."""

    light: str  # day, dusk
    weather: str  # clear, fog, rain
    toward_sun: Float[np.ndarray, "3"]
    sun: Float[np.ndarray, "3"]
    zenith: Float[np.ndarray, "3"]
    horizon: Float[np.ndarray, "3"]
    cloud: float  # share of the sky, 0 to 1
    visibility_m: float
    exposure: float
    noise: float  # standard deviation of the read noise, in full scale


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
            solids = fleet.person(height, vest, trousers, float(np.sin(2 * np.pi * (0.9 * time_s + phase))))
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Apron:
    """One log's world: ask it for the solids and the ego pose at any time."""

    site: Site
    route_id: str
    rig_id: str
    vehicle_id: str
    standing: Solids
    movers: tuple[Mover, ...]
    paint: Paint
    light: Light
    drive: Drive
    camera: Camera

    def moving(self, time_s: float) -> Solids:
        """The moving bodies, in the site frame."""
        return Solids.of([solid for mover in self.movers for solid in mover.at(time_s)])

    def solids(self, time_s: float) -> Solids:
        """Everything, in the site frame: what stands, then what moves."""
        return Solids.join([self.standing, self.moving(time_s)])


def make_apron(site: Site, seed: int, log: int, *, size_px: tuple[int, int]) -> Apron:
    """Draw the events of one log: a pure function of its arguments."""
    rng = generator(seed, site.site_id, "log", log)
    backdrop = buildings(site, generator(seed, site.site_id, "buildings"))
    route, focus = ROUTES[log % len(ROUTES)], int(rng.integers(len(site.stands) - 1))
    rig = int(rng.integers(2))
    standing, movers = list(backdrop), []
    for stand in site.stands:
        parked, walking = _turnaround(site, stand, rng)
        standing += parked
        movers += walking
    drive = _drive(site, route, focus, rng)
    movers += _traffic(site, drive, rng)
    roadside, strollers = _roadside(site, drive, rng)
    movers = [*movers, *strollers]
    movers = [m for m in movers if not m.is_person or _keeps_clear(m, drive, behind_m=1.6, ahead_m=1.6, beside_m=1.6)]
    turn_deg = (
        {"head-east": 26.0, "head-west": -26.0, "tail-east": -28.0, "tail-west": 28.0}.get(route, 0.0) + 6.0 * rig - 3.0
    )
    camera = Camera.facing(
        size_px,
        (62.0, 70.0)[rig],
        (1.9, 2.3)[rig] * rng.uniform(0.97, 1.03),
        yaw_deg=turn_deg,
        pitch_deg=rng.uniform(1.0, 4.0),
    )
    return Apron(
        site=site,
        route_id=f"{site.site_id}/{route}-{site.stands[focus].number}",
        rig_id=f"rig-{rig}-{route.split('-')[0]}",
        vehicle_id=f"{site.site_id}-car-{rig}",
        standing=Solids.of(standing + roadside),
        movers=tuple(movers),
        paint=Paint.of(markings(site, generator(seed, site.site_id, "wear"))),
        light=_light(rng, log),
        drive=drive,
        camera=camera,
    )


def _turnaround(site: Site, stand: Stand, rng: np.random.Generator) -> tuple[list[Solid], list[Mover]]:
    """An aircraft with its service, or an empty stand with equipment waiting."""
    style = site.style
    waiting = _waiting_equipment(site, stand, rng)
    if rng.random() < 0.12:
        return waiting + _cone_row(site, stand, rng), _people(site, stand, AIRCRAFT["A320"], 2, rng)
    name = str(rng.choice(["A359", "B77W"])) if stand.wide_body else str(rng.choice(style.fleet))
    kind, livery = AIRCRAFT[name], style.liveries[int(rng.integers(len(style.liveries)))]
    body = [*fleet.aircraft(kind, livery), *_service(site, kind, rng), *_cones(site, kind, rng), *_chocks(kind)]
    y = NOSE_Y_M + fleet.nose_ahead_m(kind)
    lead = place(body, stand.x_m, y, NOSE_IN)
    return lead + waiting, _people(site, stand, kind, int(rng.integers(4, 7)), rng)


def _service(site: Site, kind: AircraftType, rng: np.random.Generator) -> list[Solid]:
    """Vehicles at the aircraft, in its frame: each comes with some probability."""
    white, paints, bridges = (0.78, 0.79, 0.8), site.style.service, site.style.jet_bridges
    paint, side, length, across = paints[int(rng.integers(3))], kind.fuselage / 2, kind.length, np.pi / 2
    loads = [paints[1], None, (0.25, 0.3, 0.4)][: int(rng.integers(1, 4))]
    loader = fleet.container_loader(paint) if length > 50 else fleet.belt_loader(paint, 2.3)
    solids = []
    menu = [  # probability, body, x, y, yaw
        (0.75, fleet.belt_loader(paint, 2.5), -0.5 * length, -(side + 4.3), across),
        (0.6, fleet.baggage_train(paint, loads), 3.0 - 0.5 * length, -(side + 9.5), 0.0),
        (0.8, fleet.power_unit(paints[0]), 1.0, -(side + 3.5), 0.4),
        (0.55, fleet.pushback_tug(paint), 6.9, 0.0, np.pi),
        (0.5, fleet.lorry(white, white, 11.0, 3.3, tank=True), 6.0 - kind.wheelbase, -0.31 * kind.span, 0.0),
        (0.5, fleet.lorry(paints[2], white, 9.0, 4.0), -0.1 * length, -(side + 5.2), across),
        (0.2 if bridges else 0.9, fleet.stairs(white), 0.02 * length, side + 4.9, -across),
        (0.4, loader, -0.16 * length, -(side + 5.5), across),
        (0.3, fleet.bus(white), -1.0, side + 13.0, across * rng.choice([0.9, 1.1])),
    ]
    for probability, body, x, y, yaw in menu:
        if rng.random() < probability:
            solids += place(body, x + rng.normal(0, 0.3), y + rng.normal(0, 0.3), yaw + rng.normal(0, 0.04))
    return solids


def _cones(site: Site, kind: AircraftType, rng: np.random.Generator) -> list[Solid]:
    half, tail = kind.span / 2, fleet.nose_ahead_m(kind) - kind.length
    tip_x = -kind.wheelbase - (0.0 if kind.propeller else 0.42) * half
    spots = [
        (fleet.nose_ahead_m(kind) + 1.5, 0.6),
        (tail - 1.2, 0.0),
        (tip_x - 1.0, half + 0.9),
        (tip_x - 1.0, -half - 0.9),
    ]
    spots += [(-kind.wheelbase + 6.5, s * y * kind.span) for s in (1, -1) for y in (0.13, 0.2)]
    height = float(rng.choice([0.6, 0.75, 0.9]))
    return [
        solid
        for x, y in spots
        if rng.random() < 0.9
        for solid in place(
            fleet.safety_cone(height, site.style.cone_bands),
            x + rng.normal(0, 0.25),
            y + rng.normal(0, 0.25),
            rng.uniform(0, 1.5),
        )
    ]


def _chocks(kind: AircraftType) -> list[Solid]:
    spots = [(0.0, 0.0), (-kind.wheelbase, kind.track / 2), (-kind.wheelbase, -kind.track / 2)]
    return [solid for x, y in spots for solid in place(fleet.chocks(fleet.YELLOW, 0.15 * kind.fuselage), x, y)]


def _waiting_equipment(site: Site, stand: Stand, rng: np.random.Generator) -> list[Solid]:
    """Equipment parked in the white boxes at the head of the stand."""
    service, solids = site.style.service, []
    for side in (-1, 1):
        paint = service[int(rng.integers(len(service)))]
        choice = [
            fleet.baggage_train(paint, [None, service[0]]),
            fleet.power_unit(paint),
            fleet.belt_loader(paint, 1.6),
            fleet.cart(fleet.STEEL, service[1]) + place(fleet.cart(fleet.STEEL, None), 0.0, 2.2),
            fleet.container(0.0) + place(fleet.container(0.0), 2.6, 0.2),
            fleet.stairs((0.75, 0.76, 0.78), 3.0),
        ]
        x, y = stand.x_m + side * (stand.width_m / 2 - 7.5), HEAD_ROAD_M[1] + 7.0
        if rng.random() < 0.85:
            solids += place(
                choice[int(rng.integers(len(choice)))], x + rng.normal(0, 0.6), y, np.pi / 2 + rng.normal(0, 0.1)
            )
        for k in range(int(rng.integers(0, 4))):
            solids += place(fleet.safety_cone(0.75, site.style.cone_bands), x - 3.0 + 0.7 * k, y - 4.2)
    return solids


def _cone_row(site: Site, stand: Stand, rng: np.random.Generator) -> list[Solid]:
    return [
        solid
        for k in range(8)
        for solid in place(
            fleet.safety_cone(0.75, site.style.cone_bands), stand.x_m - 8 + 2.3 * k, 30 + rng.normal(0, 0.2)
        )
    ]


def _walker(site: Site, at: tuple[float, float], heading: float, speed: float, rng: np.random.Generator) -> Mover:
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
    stance = fleet.person(height, vest, trousers, 0.35, pose=pose_name)
    return Mover(solids=tuple(stance), at_m=at, heading_rad=heading, speed_mps=0.0)


def _people(site: Site, stand: Stand, kind: AircraftType, n: int, rng: np.random.Generator) -> list[Mover]:
    """Workers around an aircraft; about half of them walk."""
    people = []
    for _ in range(n):
        side = rng.choice([-1.0, 1.0]) * rng.uniform(kind.fuselage / 2 + 2.0, kind.fuselage / 2 + 9.0)
        at = (stand.x_m + float(side), NOSE_Y_M + float(rng.uniform(-3.5, 0.8 * kind.length)))
        speed = float(rng.uniform(0.8, 1.5)) if rng.random() < 0.5 else 0.0
        people.append(_walker(site, at, float(rng.uniform(-np.pi, np.pi)), speed, rng))
    return people


def _traffic(site: Site, drive: Drive, rng: np.random.Generator) -> list[Mover]:
    """Vehicles that drive on the two service roads, keeping right; in the ego's lane well ahead of it."""
    paint, movers = site.style.service, []
    bodies = [
        fleet.baggage_train(paint[0], [paint[1], paint[1], None]),
        fleet.follow_me(fleet.YELLOW),
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
    return [mover for mover in movers if _keeps_clear(mover, drive, behind_m=21.0, ahead_m=9.0, beside_m=3.2)]


def _keeps_clear(mover: Mover, drive: Drive, *, behind_m: float, ahead_m: float, beside_m: float) -> bool:
    """Whether the ego camera stays out of a rectangle around the mover for the first ten seconds."""
    for time_s in np.arange(0.0, 10.0, 0.2):
        mover_from_site = pose.inverse(pose.planar(*mover.position_m(float(time_s)), mover.heading_rad))
        x, y, _ = pose.transform(mover_from_site @ drive.at(float(time_s)), np.array([1.6, 0.0, 0.0]))
        if -behind_m < x < ahead_m and abs(y) < beside_m:
            return False
    return True


def _drive(site: Site, route: str, focus: int, rng: np.random.Generator) -> Drive:
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


def _roadside(site: Site, drive: Drive, rng: np.random.Generator) -> tuple[list[Solid], list[Mover]]:
    """Cones and people beside the ego's way: what an apron driver meets at close range."""
    solids, people = [], []
    for ahead in np.cumsum(rng.uniform(7.0, 15.0, size=6)):
        site_from_ego = drive.at(float(ahead) / drive.speed_mps + 0.5)
        side = float(rng.choice([-1, 1]) * rng.uniform(3.0, 6.5))
        x, y, _ = pose.transform(site_from_ego, np.array([0.0, side, 0.0]))
        heading = float(np.arctan2(site_from_ego[1, 0], site_from_ego[0, 0]))
        if rng.random() < 0.55:
            for k in range(int(rng.integers(1, 4))):
                solids += place(
                    fleet.safety_cone(float(rng.choice([0.6, 0.75, 0.9])), site.style.cone_bands),
                    x + 1.6 * k * np.cos(heading),
                    y + 1.6 * k * np.sin(heading),
                )
        else:
            speed = float(rng.uniform(0.9, 1.5)) if rng.random() < 0.6 else 0.0
            people.append(
                _walker(
                    site,
                    (float(x), float(y)),
                    heading + (np.pi if rng.random() < 0.5 else 0.0) + float(rng.normal(0, 0.15)),
                    speed,
                    rng,
                )
            )
    return solids, people


def _light(rng: np.random.Generator, log: int) -> Light:
    """Day, dusk, fog or rain."""
    kind = ("day", "overcast", "dusk", "day", "fog", "day", "rain", "day")[(log * 3 + int(rng.integers(3))) % 8]
    elevation = np.radians(rng.uniform(7, 12) if kind == "dusk" else rng.uniform(22, 58))
    azimuth = rng.uniform(0.15, np.pi - 0.15) if kind != "dusk" else rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    blue, grey = np.array([0.20, 0.38, 0.75]), np.array([0.62, 0.65, 0.70])
    look = {
        "day": (np.array([2.3, 2.15, 1.9]), blue, np.array([0.72, 0.80, 0.90]), 0.3, 2500.0),
        "overcast": (np.array([0.35, 0.35, 0.35]), grey, grey * 1.15, 0.9, 1200.0),
        "dusk": (np.array([1.5, 0.75, 0.35]), np.array([0.13, 0.17, 0.33]), np.array([0.85, 0.5, 0.32]), 0.4, 1500.0),
        "fog": (np.array([0.15, 0.15, 0.15]), grey, np.array([0.66, 0.68, 0.70]), 1.0, rng.uniform(90, 170)),
        "rain": (np.array([0.1, 0.1, 0.1]), grey * 0.7, grey * 0.8, 1.0, rng.uniform(300, 600)),
    }[kind]
    return Light(
        light="dusk" if kind == "dusk" else "day",
        weather=kind if kind in ("fog", "rain") else "clear",
        toward_sun=sun,
        sun=look[0] * rng.uniform(0.85, 1.15),
        zenith=look[1] * rng.uniform(0.85, 1.15),
        horizon=look[2],
        cloud=look[3],
        visibility_m=float(look[4]),
        exposure=float(rng.uniform(0.85, 1.15)),
        noise=0.016 if kind == "dusk" else float(rng.uniform(0.006, 0.012)),
    )
