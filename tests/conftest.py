"""Fixtures that every room uses."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Every annotation of these rooms is checked at every call, in tests only (UNSEEN_TYPECHECK=0 turns it off). The others
# are left out: models are traced with symbolic sizes, and the rest takes numpy's numbers for `int` and `float`.
CHECKED = ("contract", "packing", "randomness", "masks", "units", "targets", "systems")
if os.environ.get("UNSEEN_TYPECHECK", "1") != "0":
    install_import_hook([f"unseen.{room}" for room in CHECKED], "beartype.beartype")

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("deep", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that ask for it skip where it is absent."""
    path = Path(os.environ.get("UNSEEN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("real data is not on this machine (set UNSEEN_DATA)")
    return path
