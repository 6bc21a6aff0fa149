"""What must never be installed beside the package."""

from importlib.metadata import distributions

FORBIDDEN = ("torchvision", "torchaudio", "nvidia-", "timm", "xformers")


def unwanted(names: list[str]) -> list[str]:
    return [name for name in names if name.lower().startswith(FORBIDDEN)]


def test_no_torchvision_and_no_cuda_wheels() -> None:
    assert unwanted([item.metadata["Name"] for item in distributions()]) == []


def test_the_check_sees_what_it_forbids() -> None:
    assert unwanted(["numpy", "torchvision", "nvidia-cublas-cu12"]) == ["torchvision", "nvidia-cublas-cu12"]
