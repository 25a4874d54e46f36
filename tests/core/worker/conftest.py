"""A task as Appose makes it, that keeps what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deepbio.worker.arrays import Arrays

pytest.importorskip("appose")


class Heard:
    """Stands in for Appose's task, which needs a process of its own: test_process.py has the real one."""

    def __init__(self, cancel: bool = False) -> None:
        self.outputs: dict[str, Any] = {}
        self.cancel_requested = cancel
        self.updates: list[tuple[Any, ...]] = []
        self.end: tuple[str, str | None] | None = None

    def update(self, message: Any = None, current: Any = None, maximum: Any = None, info: Any = None) -> None:
        self.updates.append((message, current, maximum, info))

    def cancel(self) -> None:
        self.end = ("cancelled", None)

    def fail(self, error: str | None = None) -> None:
        self.end = ("failed", error)


@pytest.fixture
def task() -> Heard:
    return Heard()


@pytest.fixture
def arrays() -> Iterator[Arrays]:
    made = Arrays()
    yield made
    made.free()
