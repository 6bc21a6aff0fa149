"""What torch.compile gets must be one graph."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_encoder_and_predictor_compile_as_one_graph_each():
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
