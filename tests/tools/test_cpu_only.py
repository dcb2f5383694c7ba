"""GPUs are hidden before torch looks, whatever the launcher says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOK = """
import sys, {tool}
import torch
print(torch.cuda.device_count(), __import__("os").environ["CUDA_VISIBLE_DEVICES"] == "")
"""


@pytest.mark.parametrize("tool", ["tools.hf_to_megatron", "tools.megatron_to_hf"])
def test_conversions_see_none(tool: str):
    found = subprocess.run(
        [sys.executable, "-c", LOOK.format(tool=tool)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "0,1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["0", "True"]
