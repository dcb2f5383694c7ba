"""Builds the package; what is only a statement stands in `pyproject.toml`.

Owns the native extensions. There are none yet: the C++ extractor is the first to be listed.
"""

from __future__ import annotations

from setuptools import Extension, setup

EXTENSIONS: list[Extension] = []

setup(ext_modules=EXTENSIONS)
