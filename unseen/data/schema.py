"""The tables of a store and their columns: one language for every source of driving logs.

Time is int64 nanoseconds, Unix UTC unless `t_source` says otherwise. `A_T_B` maps points of B into A; quaternions are
w, x, y, z with w >= 0. A column that ends in `?` may be null; null means unknown or not measured, never zero or "",
and it never equals anything. Identities are strings derived from the source and the natural key of a row, so that a
second ingest of the same recording gives the same rows.
"""

import hashlib
import json
from functools import cache
from typing import Any

from unseen.errors import UnseenError

_POSE = "tx:f64? ty:f64? tz:f64? qw:f64? qx:f64? qy:f64? qz:f64?"
_EVERY_ROW = "ingest_id:str row_hash:str"

_COLUMNS = {
    "site": "site_id:str name:str? icao:str? origin_lat:f64? origin_lon:f64? origin_h:f64? epsg:i32? tz:str?",
    "log": """log_id:str site_id:str? vehicle_id:str? rig_id:str? source_uri:str source_format:str? source_digest:str?
        t_start_ns:i64? t_end_ns:i64? local_date:date? route_id:str? map_version_id:str? weather:str? road_state:str?
        light:str? truncated:bool? licence:str? attributes:map?""",
    "sensor": """sensor_id:str log_id:str rig_id:str? name:str modality:str model:str? width:i32? height:i32? rows:i32?
        cols:i32? rate_hz:f32? shutter:str?""",
    "calibration": f"""calib_id:str log_id:str sensor_id:str valid_from_ns:i64? valid_to_ns:i64? {_POSE} model:str?
        K:f64[]? D:f64[]? lidar_elev:f32[]? lidar_azoff:f32[]? time_offset_ns:i64? readout_ns:i64? method:str?
        rms_px:f32? source:str?""",
    "frame": """frame_id:str log_id:str seq:i64 t_ns:i64? ego_pose_id:str? prev_frame_id:str? calib_set_id:str?
        sync_spread_ns:i64? map_version_id:str? block_id:i64 split_hint:str? attributes:map?""",
    "obs": """obs_id:str frame_id:str? log_id:str sensor_id:str sensor:str row:i64 calib_id:str? t_ns:i64?
        t_recv_ns:i64? t_source:str? exposure_ns:i64? encoding:str shape:i32[] nbytes:i64 crc32:u32 quality:f32?
        source_file:str?""",
    "pose": f"""pose_id:str log_id:str t_ns:i64 {_POSE} vx:f32? vy:f32? vz:f32? wx:f32? wy:f32? wz:f32? ax:f32? ay:f32?
        az:f32? cov:f32[]? source:str? status:str?""",
    "health": """log_id:str sensor_id:str? t_from_ns:i64? t_to_ns:i64? kind:str severity:u8? value:f64? detector:str?
        detector_version:str?""",
    "label": """label_id:str log_id:str frame_id:str kind:str row:i64? encoding:str? shape:i32[]? nbytes:i64? crc32:u32?
        frame_of_reference:str? class:str? instance_id:str? source:str t_used_from_ns:i64? t_used_to_ns:i64?
        frames_used:i64[]? model_id:str? model_digest:str? model_train_split_id:str? map_version_id:str? annotator:str?
        created_ns:i64? confidence:f32? supersedes:str?""",
    "split": "split_id:str rule:str keys:str[] log_id:str role:str reason:str?",
}
TABLES = tuple(_COLUMNS)
LOG_TABLES = tuple(name for name in TABLES if name != "split")  # the small tables that stand in the folder of each log
CAMERA_LIKE = ("camera", "thermal")  # modalities whose payload is an image
BETWEEN = "\x1f"  # between the values of an attribute of a log that has several

ALIASES = {  # what people call a column of `log` in their own tables
    "site": "site_id",
    "vehicle": "vehicle_id",
    "rig": "rig_id",
    "route": "route_id",
    "date": "local_date",
    "map_version": "map_version_id",
    "license": "licence",
    "road": "road_state",
}


@cache
def columns(table: str) -> dict[str, tuple[str, bool]]:
    """Name -> (type, may be null) of a table."""
    if table not in _COLUMNS:
        raise UnseenError(f"no table {table!r}", f"the tables are {', '.join(TABLES)}")
    spec = (part.rpartition(":") for part in f"{_COLUMNS[table]} {_EVERY_ROW}".split())
    return {name: (kind.removesuffix("?"), kind.endswith("?")) for name, _, kind in spec}


@cache
def schema(table: str):
    """The pyarrow schema of a table."""
    import pyarrow as pa

    return pa.schema([pa.field(name, _arrow(kind), nullable) for name, (kind, nullable) in columns(table).items()])


@cache
def payload_schema():
    """The pyarrow schema of payload: one row is one blob; everything known about it stands in `obs` or `label`."""
    import pyarrow as pa

    return pa.schema([pa.field("id", pa.string(), False), pa.field("blob", pa.binary(), False)])


def row(table: str, ingest_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """A complete row: unknown columns refused, missing ones null where the table allows it, with its hash."""
    spec = columns(table)
    for name in values:
        if name not in spec:
            raise UnseenError(f"table {table!r} has no column {name!r}", f"its columns are {', '.join(spec)}")
    full = {name: values.get(name) for name in spec}
    full["ingest_id"] = ingest_id
    full["row_hash"] = identity(table, json.dumps({**full, "row_hash": None}, sort_keys=True, default=str))
    for name, (_, nullable) in spec.items():
        if full[name] is None and not nullable:
            raise UnseenError(f"table {table!r} needs column {name!r}", "null stands only where the schema allows it")
    return full


def identity(*parts: object) -> str:
    """32 hex digits that stand for the parts (blake2b-128); the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def sample_id(frame_id: str, sensor: str) -> int:
    """The 63-bit number that stands for one observation: the root of all its random keys."""
    digest = hashlib.blake2b((frame_id + sensor).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _arrow(kind: str):
    import pyarrow as pa

    if kind.endswith("[]"):
        return pa.list_(_arrow(kind[:-2]))
    return {
        "str": pa.string(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "map": pa.map_(pa.string(), pa.string()),
        "u8": pa.uint8(),
        "u32": pa.uint32(),
        "i32": pa.int32(),
        "i64": pa.int64(),
        "f32": pa.float32(),
        "f64": pa.float64(),
    }[kind]
