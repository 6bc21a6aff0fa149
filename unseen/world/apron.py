"""What happens on a site during one log: aircraft being served, traffic, people, the light, the ego drive."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unseen.geometry import pose
from unseen.geometry.camera import Camera
from unseen.world import props
from unseen.world.buildings import buildings
from unseen.world.markings import markings
from unseen.world.moving import Drive, Mover, draw_drive, keeps_clear, traffic, walker
from unseen.world.paint import Paint
from unseen.world.site import Site, generator
from unseen.world.solids import Solid, Solids, place
from unseen.world.turnaround import turnaround

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
        parked, walking = turnaround(site, stand, rng)
        standing += parked
        movers += walking
    drive = draw_drive(site, route, focus, rng)
    movers += traffic(site, drive, rng)
    roadside, strollers = _roadside(site, drive, rng)
    movers = [*movers, *strollers]
    movers = [m for m in movers if not m.is_person or keeps_clear(m, drive, behind_m=1.6, ahead_m=1.6, beside_m=1.6)]
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
                    props.safety_cone(float(rng.choice([0.6, 0.75, 0.9])), site.style.cone_bands),
                    x + 1.6 * k * np.cos(heading),
                    y + 1.6 * k * np.sin(heading),
                )
        else:
            speed = float(rng.uniform(0.9, 1.5)) if rng.random() < 0.6 else 0.0
            people.append(
                walker(
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
