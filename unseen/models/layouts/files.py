"""Reading foreign weight files: safetensors, or pickles that may hold tensors and nothing that runs."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unseen.errors import UnseenError

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
CONTAINERS = ("model", "state_dict", "module")  # what published files wrap their tensors in
BRANCHES = ("encoder", "target_encoder", "predictor")  # of JEPA files: networks side by side


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pt or .bin file, or of a folder that holds model.safetensors.

    Pickles are read with `weights_only`; of all classes only argparse.Namespace is let in, which the official MAE files
    hold beside their weights. Of a JEPA file the names begin with that of their network: `encoder.`, `target_encoder.`,
    `predictor.`; what training left beside them is not read.
    """
    path = _file(Path(path))
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UnseenError(f"{path} is damaged: {error}", "weights are read whole or not at all") from error
    if path.suffix not in PICKLES:
        raise UnseenError(f"{path} is no file of weights", f"known: .safetensors, {', '.join(PICKLES)}")
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler raises a dozen kinds; all mean the same to the reader
            raise UnseenError(f"{path} cannot be read safely: {error}", "only tensors are unpickled") from error
    content = _branches(content)
    for name in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UnseenError(f"{path} holds no dict of tensors", f"neither itself nor under {CONTAINERS}")
    return content


def read_config(path: Path | str, name: str = "config.json") -> dict[str, Any] | None:
    """The JSON file beside the weights that describes them, where there is one."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / name
    return json.loads(file.read_text()) if file.is_file() else None


def _branches(content: Any) -> Any:
    """One dict of tensors from the networks of a JEPA file, without the wrapper's `module.`; others as they are."""
    if not isinstance(content, dict) or not any(isinstance(content.get(name), dict) for name in BRANCHES):
        return content
    networks = {name: content[name] for name in BRANCHES if isinstance(content.get(name), dict)}
    return {
        f"{n}.{key.removeprefix('module.')}": value for n, state in networks.items() for key, value in state.items()
    }


def _file(path: Path) -> Path:
    if not path.is_dir():
        if path.is_file():
            return path
        raise UnseenError(f"no file {path}", "weights are read from a file or a folder")
    for name in ("encoder.safetensors", "model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return path / name
    raise UnseenError(f"{path} holds no weights", "encoder.safetensors, model.safetensors or pytorch_model.bin")
