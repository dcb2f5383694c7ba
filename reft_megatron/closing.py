"""What is closed where its block ends.

Owns the one way in which objects that hold threads, processes or files are context managers.
"""

from __future__ import annotations

import abc
from typing import Self

__all__ = ["Closing"]


class Closing(abc.ABC):
    """A context manager that is its own value, and whose end is `close`, however it ends."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
