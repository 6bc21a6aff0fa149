"""A stand during one log: a parked aircraft with its service and its people, or equipment that waits for one."""

import numpy as np

from unseen.world import fleet, props
from unseen.world.aircraft import AIRCRAFT, AircraftType, aircraft, nose_ahead_m
from unseen.world.moving import Mover, walker
from unseen.world.site import HEAD_ROAD_M, NOSE_Y_M, Site, Stand
from unseen.world.solids import STEEL, YELLOW, Solid, place

NOSE_IN = -np.pi / 2


def turnaround(site: Site, stand: Stand, rng: np.random.Generator) -> tuple[list[Solid], list[Mover]]:
    """An aircraft with its service, or an empty stand with equipment waiting."""
    style = site.style
    waiting = _waiting_equipment(site, stand, rng)
    if rng.random() < 0.12:
        return waiting + _cone_row(site, stand, rng), _people(site, stand, AIRCRAFT["A320"], 2, rng)
    name = str(rng.choice(["A359", "B77W"])) if stand.wide_body else str(rng.choice(style.fleet))
    kind, livery = AIRCRAFT[name], style.liveries[int(rng.integers(len(style.liveries)))]
    body = [*aircraft(kind, livery), *_service(site, kind, rng), *_cones(site, kind, rng), *_chocks(kind)]
    y = NOSE_Y_M + nose_ahead_m(kind)
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
    half, tail = kind.span / 2, nose_ahead_m(kind) - kind.length
    tip_x = -kind.wheelbase - (0.0 if kind.propeller else 0.42) * half
    spots = [
        (nose_ahead_m(kind) + 1.5, 0.6),
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
            props.safety_cone(height, site.style.cone_bands),
            x + rng.normal(0, 0.25),
            y + rng.normal(0, 0.25),
            rng.uniform(0, 1.5),
        )
    ]


def _chocks(kind: AircraftType) -> list[Solid]:
    spots = [(0.0, 0.0), (-kind.wheelbase, kind.track / 2), (-kind.wheelbase, -kind.track / 2)]
    return [solid for x, y in spots for solid in place(props.chocks(YELLOW, 0.15 * kind.fuselage), x, y)]


def _waiting_equipment(site: Site, stand: Stand, rng: np.random.Generator) -> list[Solid]:
    """Equipment parked in the white boxes at the head of the stand."""
    service, solids = site.style.service, []
    for side in (-1, 1):
        paint = service[int(rng.integers(len(service)))]
        choice = [
            fleet.baggage_train(paint, [None, service[0]]),
            fleet.power_unit(paint),
            fleet.belt_loader(paint, 1.6),
            fleet.cart(STEEL, service[1]) + place(fleet.cart(STEEL, None), 0.0, 2.2),
            fleet.container(0.0) + place(fleet.container(0.0), 2.6, 0.2),
            fleet.stairs((0.75, 0.76, 0.78), 3.0),
        ]
        x, y = stand.x_m + side * (stand.width_m / 2 - 7.5), HEAD_ROAD_M[1] + 7.0
        if rng.random() < 0.85:
            solids += place(
                choice[int(rng.integers(len(choice)))], x + rng.normal(0, 0.6), y, np.pi / 2 + rng.normal(0, 0.1)
            )
        for k in range(int(rng.integers(0, 4))):
            solids += place(props.safety_cone(0.75, site.style.cone_bands), x - 3.0 + 0.7 * k, y - 4.2)
    return solids


def _cone_row(site: Site, stand: Stand, rng: np.random.Generator) -> list[Solid]:
    return [
        solid
        for k in range(8)
        for solid in place(
            props.safety_cone(0.75, site.style.cone_bands), stand.x_m - 8 + 2.3 * k, 30 + rng.normal(0, 0.2)
        )
    ]


def _people(site: Site, stand: Stand, kind: AircraftType, n: int, rng: np.random.Generator) -> list[Mover]:
    """Workers around an aircraft; about half of them walk."""
    people = []
    for _ in range(n):
        side = rng.choice([-1.0, 1.0]) * rng.uniform(kind.fuselage / 2 + 2.0, kind.fuselage / 2 + 9.0)
        at = (stand.x_m + float(side), NOSE_Y_M + float(rng.uniform(-3.5, 0.8 * kind.length)))
        speed = float(rng.uniform(0.8, 1.5)) if rng.random() < 0.5 else 0.0
        people.append(walker(site, at, float(rng.uniform(-np.pi, np.pi)), speed, rng))
    return people
