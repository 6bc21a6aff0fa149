"""Poses and calibration by command: what a user writes into two files is what masks of the world are made of."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unseen.cli import main
from unseen.data.calibration import Calibration
from unseen.data.images import encode
from unseen.data.ingest.folder import ingest_folder
from unseen.data.ingest.poses import to_ns
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.data.windows import Windows
from unseen.errors import UnseenError
from unseen.evaluate.leaks import audit_places
from unseen.geometry.camera import OPTICAL_AXES
from unseen.geometry.pose import inverse, pose, quaternion, transform
from unseen.masks import EgoTube, Tube
from unseen.randomness import keys
from unseen.recipes.run import tell_left_out
from unseen.units import Tubes

HEADER = "t_ns,x,y,z,qx,qy,qz,qw"
TURNED = "0,0,0.6,0.8"  # about z
MOUNT = pose(OPTICAL_AXES, np.array([1.6, 0.1, 1.4]))
LENS = {"width": 64, "height": 48, "fx": 50.0, "fy": 52.0, "cx": 31.0, "cy": 20.0, "ego_from_camera": MOUNT.tolist()}


def frames(folder: Path, n: int = 6, size: tuple[int, int] = (48, 64), sensors: tuple[str, ...] = ("",)) -> Path:
    image = encode(np.full((*size, 3), 90, dtype=np.uint8))
    for sensor in sensors:
        (folder / "log" / sensor).mkdir(parents=True, exist_ok=True)
        for seq in range(n):
            (folder / "log" / sensor / f"{seq}.png").write_bytes(image)
    return folder


def table(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def straight(path: Path, times_s, speed_mps: float = 5.0) -> Path:
    return table(path, [f"{round(t * 1e9)},{speed_mps * t},0,0,0,0,0,1" for t in times_s])


def rig(path: Path, **cameras) -> Path:
    path.write_text(json.dumps(cameras))
    return path


def ingested(tmp_path: Path, name: str = "store", **options):
    return ingest_folder(frames(tmp_path / "src"), tmp_path / name, fps=5, **options)


def test_three_ways_to_write_the_same_poses(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(seq * 0.2, 10.0 + seq / 2, 2.0, 0.5) for seq in range(6)]
    table(tmp_path / "a.csv", [f"{round(t * 1e9)},{x},{y},{z},{TURNED}" for t, x, y, z in rows])
    blanks = [f"{t:.18e} {x} {y} {z} {TURNED.replace(',', ' ')}" for t, x, y, z in rows]
    (tmp_path / "b.txt").write_text("\n".join(["# a remark", *blanks, ""]))
    names = ("seq", "x", "y", "z", "qx", "qy", "qz", "qw")
    minus = [(seq, *row[1:], 0.0, 0.0, -0.6, -0.8) for seq, row in enumerate(rows)]  # the same rotation
    columns = dict(zip(names, map(list, zip(*minus, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    found = []
    for name in ("a.csv", "b.txt", "c.parquet"):
        done = ingested(tmp_path, name + "-store", poses=tmp_path / name)
        assert done.skipped == done.warnings == []
        rows_of = Store.open(tmp_path / (name + "-store")).table("pose").to_pylist()
        found.append([{key: row[key] for key in ("t_ns", "tx", "ty", "tz", "qx", "qy", "qz", "qw")} for row in rows_of])
    assert found[0] == found[1] == found[2] and len(found[0]) == 6
    expected = {"t_ns": 10**9, "tx": 12.5, "ty": 2, "tz": 0.5, "qx": 0, "qy": 0, "qz": 0.6, "qw": 0.8}
    assert found[0][5] == pytest.approx(expected)


def test_times_keep_every_digit():
    assert to_ns("1403636579.763555584", "t_s") == to_ns("1403636579763555.584", "t_us") == 1403636579763555584
    assert to_ns("1.403636579763555584e9", "t_s") == 1403636579763555584
    for text in ("nan", "", "1e40", "soon"):
        with pytest.raises(ValueError, match=f"^{text}$"):
            to_ns(text, "t_s")


@pytest.mark.parametrize(
    ("header", "rows", "match"),
    [
        (HEADER, [], "no rows"),
        (HEADER, ["0,0,0,0,0,0,0,1", "1,0,0,0,0,0,0.5,1"], "row 2 .*quaternion has length 1.118.*1 of 2 rows"),
        (HEADER, ["5,0,0,0,0,0,0,1", "5,0,0,0,0,0,0,1"], "row 2 .*t_ns does not rise; one pose a time"),
        (HEADER, ["0,0,0,0,0,0,0,1", "1,nan,0,0,0,0,0,1"], "row 2 .*x is 'nan'; a finite number"),
        (HEADER, ["0,0,0,0,0,0,0,1", "1,0,0,0,0,0,0"], "row 2 .*qw is None"),
        ("t_ns,x,y,z,yaw", ["0,0,0,0,0"], "lacks qx, qy, qz, qw; poses have the columns"),
        ("x,y,z,qx,qy,qz,qw", ["0,0,0,0,0,0,1"], "has the times nowhere"),
        ("t_ns,seq,x,y,z,qx,qy,qz,qw", ["0,0,0,0,0,0,0,0,1"], "has the times t_ns, seq"),
        ("seq,x,y,z,qx,qy,qz,qw", ["0.5,0,0,0,0,0,0,1"], "row 1 .*seq is '0.5'"),
        (HEADER, ["1700000000000000000,0,0,0,0,0,0,1"], "no frame of log 'log' lies within.*0 to 1000000000 against"),
        ("seq,x,y,z,qx,qy,qz,qw", ["100,0,0,0,0,0,0,1"], "lies within.*numbers 0 to 5 against 100 to 100"),
    ],
)
def test_poses_that_cannot_be_are_named_and_nothing_is_written(tmp_path, header, rows, match):
    with pytest.raises(UnseenError, match=match):
        ingested(tmp_path, poses=table(tmp_path / "poses.csv", rows, header))
    assert not (tmp_path / "store").exists()


def test_a_trajectory_needs_its_log_and_frames_their_times(tmp_path):
    kitti = tmp_path / "kitti.txt"
    kitti.write_text(" ".join(["1"] * 12))
    with pytest.raises(UnseenError, match=r"line 1 of .*has 12 numbers.*eight.*KITTI"):
        ingested(tmp_path, poses=kitti)
    poses = straight(tmp_path / "log.csv", np.arange(6) / 5)
    with pytest.raises(UnseenError, match=r"6 frames without a time.*--fps"):
        ingest_folder(tmp_path / "src", tmp_path / "store", poses=poses)
    for name in ("gone.csv", "{log_id}-gone.csv"):
        with pytest.raises(UnseenError, match="poses"):
            ingested(tmp_path, poses=name)
    (tmp_path / "src" / "log").rename(tmp_path / "src" / "other")
    frames(tmp_path / "src")
    with pytest.raises(UnseenError, match=r"poses .* for 2 logs.*\{log_id\}"):
        ingested(tmp_path, poses=poses)
    done = ingested(tmp_path, poses=tmp_path / "{log_id}.csv")
    assert Store.open(tmp_path / "store").table("pose")["log_id"].to_pylist() == ["log"] * 6
    assert any("1 logs have no poses" in warning and "'other'" in warning for warning in done.warnings)


def test_frames_without_a_pose_are_counted(tmp_path):
    done = ingested(tmp_path, "a", poses=straight(tmp_path / "a.csv", [0.2, 0.4, 0.95]))
    assert [w.split(":")[0] for w in done.warnings] == [
        "2 of 6 frames lie before the first or after the last pose",
        "2 of 6 frames lie between poses more than 0.5 s apart (up to 0.55 s)",
    ]
    sideways = table(tmp_path / "b.csv", [f"{2 * seq}00000000,0,0,{2 * seq},0,0,0,1" for seq in range(6)])
    assert (
        "hardly move along x of the vehicle, such as 'log' (0%)" in ingested(tmp_path, "b", poses=sideways).warnings[0]
    )


def test_other_poses_are_another_log(tmp_path):
    poses, cameras = straight(tmp_path / "src.csv", [0.0, 1.0]), rig(tmp_path / "rig.json", camera=LENS)
    ingested(tmp_path, poses=poses, calibration=cameras)
    assert ingested(tmp_path, poses=poses, calibration=cameras).present == ["log"]
    with pytest.raises(UnseenError, match="what was asked for"):
        ingested(tmp_path, poses=straight(poses, [0.0, 1.0], 6.0), calibration=cameras)
    straight(poses, [0.0, 1.0])
    with pytest.raises(UnseenError, match="what was asked for"):
        ingested(tmp_path, poses=poses, calibration=rig(cameras, camera=LENS | {"cx": 30.0}))


def test_files_among_the_frames_are_no_foreign_files(tmp_path):
    poses, cameras = straight(frames(tmp_path / "src") / "p.csv", [0, 1]), rig(tmp_path / "src/rig.json", camera=LENS)
    done = ingested(tmp_path, poses=str(poses), calibration="rig.json")
    assert done.skipped == [] and cameras.exists()


@pytest.mark.parametrize("size", [None, (24, 16)])
def test_a_calibration_is_scaled_with_the_image(tmp_path, size):
    double = LENS | {"width": 128, "height": 95, "model": "pinhole", "distortion": [0, 0]}  # 47.5 rounds to 48
    ingested(tmp_path, calibration=rig(tmp_path / "rig.json", camera=double), size=size)
    store = Store.open(tmp_path / "store")
    row, obs = store.table("calibration").to_pylist()[0], store.table("obs").to_pylist()
    high, wide = (48, 64) if size is None else size
    along_x, along_y = wide / 128, high / 95
    expected = [50 * along_x, 52 * along_y, 31.5 * along_x - 0.5, 20.5 * along_y - 0.5]
    assert row["K"] == pytest.approx(expected) and {one["calib_id"] for one in obs} == {row["calib_id"]}
    lens = Calibration(store, ["log"]).lens("log", "camera", 0)
    np.testing.assert_allclose(lens.ego_from_camera, MOUNT, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ego_from_camera": (2 * MOUNT).tolist()}, "ego_from_camera is no pose"),
        ({"ego_from_camera": (MOUNT @ np.diag([2.0, 1, 1, 1])).tolist()}, "does not rotate.*off by 3"),
        ({"ego_from_camera": (MOUNT @ np.diag([-1.0, 1, 1, 1])).tolist()}, "determinant -1.*mirrored"),
        ({"ego_from_camera": [[1, 0], [0]]}, "no matrix"),
        ({"fx": None}, "fx is None; a finite number"),
        ({"fx": 0}, "above 0"),
        ({"cx": float("nan")}, "cx is nan"),
        ({"focal": 3}, "has focal; keys are width"),
        ({"distortion": 0.1}, "distortion 0.1"),
        ({"width": 80}, "images of sensor 'camera' have 64 x 48 px, its calibration 80 x 48"),
        ({"height": 47}, "a crop is another camera"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(tmp_path, change, match):
    with pytest.raises(UnseenError, match=match):
        ingested(tmp_path, calibration=rig(tmp_path / "rig.json", camera=LENS | change))
    assert not (tmp_path / "store").exists()


def test_a_rig_is_named_as_its_frames_are(tmp_path):
    src, path = frames(tmp_path / "src", sensors=("left", "right")), tmp_path / "rig.json"
    pattern = r"(?P<log_id>[^/]+)/(?P<sensor>[^/]+)/(?P<seq>\d+)\."
    with pytest.raises(UnseenError, match="is of camera; no frame is; sensors with frames are left, right"):
        ingest_folder(src, tmp_path / "s", pattern=pattern, calibration=rig(path, camera=LENS))
    for text in ("[]", "{", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(UnseenError, match=r"rig\.json"):
            ingest_folder(src, tmp_path / "s", pattern=pattern, calibration=path)
    low = LENS | {"distortion": [0.1], "ego_from_camera": inverse(MOUNT).tolist()}
    done = ingest_folder(src, tmp_path / "s", pattern=pattern, calibration=rig(path, left=low, rear=LENS))
    said = ("left: images with distortion", "left: not above", "have no frames: rear", "no calibration: right")
    assert all(any(words in warning for warning in done.warnings) for words in said)
    assert Calibration(Store.open(tmp_path / "s"), ["log"]).lens("log", "left", 0) is None


def test_one_calibration_is_of_one_size(tmp_path):
    frames(tmp_path / "src", 3)
    (tmp_path / "src" / "log" / "2.png").write_bytes(encode(np.zeros((24, 32, 3), dtype=np.uint8)))
    with pytest.raises(UnseenError, match=r"2\.png has 32 x 24 px, frames before it 64 x 48"):
        ingest_folder(tmp_path / "src", tmp_path / "store", calibration=rig(tmp_path / "rig.json", camera=LENS))


def test_windows_that_want_poses_take_none_without_and_count_those(tmp_path, capsys):
    view = Windows(frames=2, step_s=0.2, picture=Frames(frame_px=(48, 64), crop_px=(48, 64)))
    poses = straight(tmp_path / "p.csv", [0.2, 0.4, 1.0])
    ingested(tmp_path, poses=poses, calibration=rig(tmp_path / "rig.json", camera=LENS))
    store = Store.open(tmp_path / "store")

    def starts(**settings) -> list[int]:
        wanted = Windows(frames=2, step_s=0.2, picture=view.picture, **settings)
        source = wanted.open(store, ["log"])
        assert not settings.get("posed") or bool(
            source.frames(range(len(source)))["world_from_camera"].isfinite().all()
        )
        told.append(source.thinned)
        return source.window[:, 0].tolist()

    told: list[dict[str, str]] = []
    assert starts() == [0, 1, 2, 3, 4] and starts(posed=True) == [1]
    assert starts(posed=True, pose_gap_s=0.6) == [1, 2, 3, 4]
    missing = "windows have a frame without a calibrated camera or a pose"
    assert told == [{}, {"log": f"4 of its 5 {missing}"}, {"log": f"1 of its 5 {missing}"}]
    tell_left_out(Windows(frames=2, step_s=0.2, picture=view.picture, posed=True).open(store, ["log"]))
    assert f"log log gives fewer samples: 4 of its 5 {missing}" in capsys.readouterr().err
    assert Windows(posed=True).unmasked() == Windows()
    ingested(tmp_path, "bare", poses=poses)
    with pytest.raises(UnseenError, match="--poses FILE --calibration FILE"):
        Windows(frames=2, step_s=0.2, posed=True).open(Store.open(tmp_path / "bare"), ["log"])


# --- a real drive


def write_kitti(shared: Path, out: Path) -> None:
    """The two files of a drive whose sweeps have poses and whose camera has KITTI's matrices: all that a user does."""
    sweeps = np.load(shared / "lidar" / "kitti_a_78f.npz", allow_pickle=False)
    with zipfile.ZipFile(shared / "multicam" / "kitti_a_cam2.zip") as files:
        told = json.loads(files.read("calib.json"))
    ego_from_lidar = pose(np.eye(3), np.array([0.0, 0.0, 1.73]))  # the sensor is level, so high above the road
    rows = []
    for seq, local_from_lidar in zip(sweeps["frame_index"], sweeps["pose"], strict=True):
        world_from_ego = ego_from_lidar @ local_from_lidar @ inverse(ego_from_lidar)
        w, x, y, z = quaternion(world_from_ego)
        rows.append(",".join(map(str, [seq, *world_from_ego[:3, 3], x, y, z, w])))
    table(out / "poses.csv", rows, "seq,x,y,z,qx,qy,qz,qw")
    (width, height), p = told["original_size"], told["P_rect_00"]
    camera_from_lidar = np.array(told["R_rect_00"]) @ np.array(told["RT"])
    lens = {"width": width, "height": height, "fx": p[0][0], "fy": p[1][1], "cx": p[0][2], "cy": p[1][2]}
    rig(out / "rig.json", camera=lens | {"ego_from_camera": (ego_from_lidar @ inverse(camera_from_lidar)).tolist()})


@pytest.fixture(scope="module")
def kitti(shared_data, tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("kitti")
    write_kitti(shared_data, out)
    drive = str(shared_data / "multicam" / "kitti_a_cam2.zip")
    words = ["--fps", "10", "--poses", str(out / "poses.csv"), "--calibration", str(out / "rig.json")]
    assert main(["ingest", "folder", drive, str(out / "store"), *words]) == 0
    return Store.open(out / "store")


def test_tubes_of_a_real_drive_follow_the_world(kitti):
    """Poses lie 0.6 s apart, the last frames beyond them; while the car moves, static tubes leak."""
    view = Windows(frames=8, step_s=0.1, picture=Frames(frame_px=(96, 160)), posed=True, pose_gap_s=0.6)
    source = view.open(kitti, kitti.log_ids())
    assert len(source) == 66
    clip, key = source.frames([0, 12]), keys(0, torch.arange(2), 0, "mask")
    with pytest.raises(UnseenError, match=r"2 of 2 clips have no place.*unit\.ground=true"):
        EgoTube()(Tubes(size=(2, 8, 8), places=5).cut(clip)[1], key, {})
    units = Tubes(size=(2, 8, 8), places=5, ground=True).cut(clip)[1]
    follows = audit_places(EgoTube(visible=0.1, target=0.7), units, clip, key, samples=5)
    static = audit_places(Tube(ratio=0.9), units, clip, key, samples=5)
    assert follows.stay < 0.5 and follows.unknown == 0
    assert static.leak > 0.02 and follows.leak < min(0.005, static.leak / 8)


def test_points_of_a_sweep_look_alike_in_two_frames(kitti, shared_data):
    """Sweeps know the depth: by calibration and poses of the store, what stands has the same grey 0.6 s later."""
    sweeps = np.load(shared_data / "lidar" / "kitti_a_78f.npz", allow_pickle=False)
    view = Windows(frames=2, step_s=0.6, picture=Frames(frame_px=(184, 616)), posed=True, pose_gap_s=0.6)
    source = view.open(kitti, kitti.log_ids())
    alike = []
    for sweep in range(4):
        clip = source.frames([6 * sweep])
        grey, k = clip["video"][0].double().mean(dim=1).numpy(), clip["intrinsics"][0, 0].double().numpy()
        first, second = clip["world_from_camera"][0].double().numpy()
        a, b = sweeps["ptr"][sweep : sweep + 2]
        point = np.cumsum(sweeps["dxyz"][:, a:b], axis=1, dtype=np.int16).T * float(sweeps["scale"])
        world = transform(inverse(sweeps["pose"][sweep + 1]) @ sweeps["pose"][sweep], point) + [0, 0, 1.73]
        world = world[world[:, 2] > 0.3]
        twice = second.copy()
        twice[:3, 3] += second[:3, 3] - first[:3, 3]
        pixels = [seen(world, one, k) for one in (first, second, first, twice)]
        there = np.all([inside for _, inside in pixels], axis=0)
        values = [image[v, u] for image, ((u, v), _) in zip(grey[[0, 1, 1, 1]], pixels, strict=True)]
        alike.append([np.corrcoef(values[0][there], value[there])[0, 1] for value in values[1:]])
    true, still, double = np.mean(alike, axis=0)
    assert true > still + 0.03 and true > double + 0.1


def seen(point: np.ndarray, world_from_camera: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest pixels (u, v) [2, n] of points, and which are in view."""
    u, v, depth = (transform(inverse(world_from_camera), point) @ k.T).T
    safe = np.where(depth > 1, depth, 1)
    pixel = np.round(np.stack([u, v]) / safe).astype(int)
    inside = (depth > 1) & (pixel >= 0).all(axis=0) & (pixel[0] < 616) & (pixel[1] < 184)
    return np.where(inside, pixel, 0), inside
