"""The line that benchmarks begin with."""

from __future__ import annotations

import platform

import torch

from tools.machine import describe_machine


def test_the_line_names_machine_and_versions():
    line = describe_machine("torch")
    assert f"Python {platform.python_version()}, torch {torch.__version__}." in line
    assert " CPUs, load " in line
