"""DeepBio in Fiji and ImageJ: macros call models, and get labels, ROIs and tables.

>>> import imagej_bridge
>>> imagej_bridge.__all__
['Session', 'start']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagej_bridge.session import Session, start

__all__ = ["Session", "start"]


def __getattr__(name: str) -> Any:
    """Load on first use: what a plain Fiji calls answers at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imagej_bridge import session

    return getattr(session, name)
