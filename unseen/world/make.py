"""Writes the embedded apron as a store: logs at several sites, frames, classes, calibration, poses; depth if asked."""

import datetime
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.geometry import pose
from unseen.world.apron import Apron, make_apron
from unseen.world.render import Frame, Renderer
from unseen.world.site import generator, make_site
from unseen.world.solids import CLASSES, SMALL_CLASSES

CAMERA = "front"
RATE_HZ = 5
QUALITY = 92  # of the JPEG frames
DEPTH_STEP_M = 1 / 256  # of depth labels, as KITTI stores them: 16 bit PNG, 0 where depth is not known
_FIRST_DAY = datetime.date(2024, 3, 4)


def make_world(
    store_path: str | Path,
    *,
    sites: int = 2,
    logs: int = 12,
    frames: int = 20,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    workers: int | None = None,
    depth: bool = False,
) -> Store:
    """Render `logs` drives of `frames` frames (H, W) = `size` and write them into a new store, or finish a started one.

    With `depth` each frame has a label of kind "depth", true to half of DEPTH_STEP_M; see `depth_png`.
    Logs take turns between the sites. Every log is a pure function of (seed, its number, sites, frames, size): the
    number of worker processes (None: one per core) changes nothing, and a log that is already in the store stays.
    More logs may follow; UnseenError where any other argument differs from those of the logs that are there.
    """
    if min(sites, logs, frames, *size) < 1 or max(size) > 4096:
        raise UnseenError(
            f"a world of {sites} sites, {logs} logs, {frames} frames of {size} px",
            "counts are positive, sides 1 to 4096 px",
        )
    path = Path(store_path)
    if (path / "store.json").exists():
        _refuse_another_world(Store.open(path), logs, _settings(sites, frames, size, seed, depth))
    store = Store.open(path) if (path / "store.json").exists() else Store.create(path)
    store.set_classes("seg", CLASSES, small=SMALL_CLASSES)
    missing = [log for log in range(logs) if log_name(log, sites) not in store]
    workers = min(workers or os.cpu_count() or 1, len(missing))
    settings = (repeat(path), missing, repeat(sites), repeat(frames), repeat(size), repeat(seed), repeat(depth))
    if workers <= 1:
        list(map(write_log, *settings))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                list(pool.map(write_log, *settings))
            except BrokenProcessPool as error:
                raise UnseenError(
                    "a process that renders a log died",
                    "a script that starts processes is guarded: if __name__ == '__main__'",
                    "guard it, or pass workers=1",
                ) from error
    return Store.open(path)


def log_name(log: int, sites: int) -> str:
    """The id of a log: its site and its number."""
    return f"site-{log % sites:02d}-log-{log:03d}"


def _settings(sites: int, frames: int, size: tuple[int, int], seed: int, depth: bool) -> dict[str, Any]:
    """What a log depends on beside its number; kept in its manifest. `depth` stands there only where it is true."""
    settings = {"sites": sites, "frames": frames, "size": list(size), "seed": seed}
    return settings | ({"depth": True} if depth else {})


def _refuse_another_world(store: Store, logs: int, settings: dict[str, Any]) -> None:
    """UnseenError where the store holds logs of a world that was made with other arguments."""
    wanted = {log_name(log, settings["sites"]) for log in range(logs)}
    for manifest in map(store.manifest, store.log_ids()):
        if not manifest["source_uri"].startswith("world://"):
            continue
        pairs = {name: (manifest["ingest"].get(name), settings.get(name)) for name in (*settings, "depth")}
        differ = [f"{name} {there}, not {asked}" for name, (there, asked) in pairs.items() if there != asked]
        if not differ and manifest["log_id"] not in wanted:
            differ = [f"more than {logs} logs"]
        if differ:
            raise UnseenError(
                f"{store.path} holds another world (log {manifest['log_id']!r}): {', '.join(differ)}",
                "a log is never overwritten, and one store holds one world",
                "name a new folder, or the arguments that it was made with",
            )


def write_log(
    path: Path, log: int, sites: int, frames: int, size: tuple[int, int], seed: int, depth: bool = False
) -> str:
    """Render one log and write it."""
    apron = make_apron(make_site(seed, log % sites), seed, log // sites, size_px=size)
    renderer = Renderer(apron, seed, log)
    log_id = log_name(log, sites)
    start_ns = _start_ns(seed, log)
    settings = _settings(sites, frames, size, seed, depth)
    with Store.open(path).writer(
        log_id, source_uri=f"world://{seed}/{sites}/{size[0]}x{size[1]}/{log_id}", ingest=settings
    ) as writer:
        _describe(writer, apron, start_ns)
        calib_id = _calibrate(writer, apron, start_ns)
        for number in range(frames):
            time_ns = number * 10**9 // RATE_HZ
            frame = renderer.frame(time_ns / 1e9)
            frame_id = _write_frame(writer, apron, frame, number, start_ns + time_ns, calib_id)
            if depth:
                _write_label(writer, frame_id, "depth", depth_png(frame.depth_m), size, start_ns + time_ns)
    return log_id


def _start_ns(seed: int, log: int) -> int:
    """Each log on a day of its own, at a whole second."""
    midnight = datetime.datetime.combine(_FIRST_DAY + datetime.timedelta(days=3 * log), datetime.time(), datetime.UTC)
    return (int(midnight.timestamp()) + int(generator(seed, "clock", log).integers(6 * 3600, 18 * 3600))) * 10**9


def _describe(writer, apron: Apron, start_ns: int) -> None:
    site, light = apron.site, apron.light
    writer.site(site.site_id, name=f"procedural apron {site.site_id}", tz="UTC")
    writer.log(
        route_id=apron.route_id,
        vehicle_id=apron.vehicle_id,
        rig_id=apron.rig_id,
        source_format="world",
        local_date=datetime.datetime.fromtimestamp(start_ns // 10**9, datetime.UTC).date(),
        weather=light.weather,
        light=light.light,
        road_state="wet" if light.weather == "rain" else "dry",
        truncated=False,
        licence="Apache-2.0",
    )


def _calibrate(writer, apron: Apron, start_ns: int) -> str:
    camera = apron.camera
    height, width = camera.size_px
    writer.sensor(
        CAMERA,
        rig_id=apron.rig_id,
        model="pinhole",
        width=width,
        height=height,
        rate_hz=float(RATE_HZ),
        shutter="global",
    )
    return writer.calibration(
        CAMERA,
        valid_from_ns=start_ns,
        model="pinhole_brown",
        K=[*camera.focal_px, *camera.centre_px],
        D=[0.0] * 5,
        method="exact",
        source="sim",
        **_columns(camera.ego_from_camera),
    )


def _write_frame(writer, apron: Apron, frame: Frame, number: int, t_ns: int, calib_id: str) -> str:
    import simplejpeg

    pose_id = writer.pose(
        t_ns, source="gt_sim", **_columns(frame.site_from_ego), vx=apron.drive.speed_mps, vy=0.0, vz=0.0
    )
    frame_id = writer.frame(number, t_ns, ego_pose_id=pose_id, sync_spread_ns=0)
    blob = simplejpeg.encode_jpeg(np.ascontiguousarray(frame.image), quality=QUALITY, colorspace="RGB")
    writer.observe(
        frame_id,
        CAMERA,
        blob,
        encoding="jpeg",
        shape=frame.image.shape,
        t_ns=t_ns,
        calib_id=calib_id,
        t_source="sensor",
    )
    _write_label(writer, frame_id, "seg", png(frame.label), frame.label.shape, t_ns)
    return frame_id


def _write_label(writer, frame_id: str, kind: str, blob: bytes, shape: tuple[int, ...], t_ns: int) -> None:
    evidence = {"t_used_from_ns": t_ns, "t_used_to_ns": t_ns}
    writer.label(frame_id, kind, blob, source="sim", encoding="png", shape=list(shape), **evidence)


def _columns(a_from_b: np.ndarray) -> dict[str, float]:
    names = ("tx", "ty", "tz", "qw", "qx", "qy", "qz")
    return dict(zip(names, (*a_from_b[:3, 3].tolist(), *pose.quaternion(a_from_b)), strict=True))


def depth_png(depth_m: np.ndarray) -> bytes:
    """Depths [H, W] in metres as a 16 bit PNG in steps of DEPTH_STEP_M; 65535 where nothing is nearer than 256 m."""
    return png(np.rint(depth_m / DEPTH_STEP_M).clip(1, 65535).astype(np.uint16))


def png(label: np.ndarray) -> bytes:
    """Class ids [H, W] uint8 (or any uint16) as a PNG."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, format="PNG")
    return buffer.getvalue()
