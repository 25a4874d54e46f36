"""Units of length and time as files spell them, and ours."""

from __future__ import annotations

__all__ = ["parse_length", "parse_time"]

_MICROMETERS = {  # spelling in lower case -> micrometers
    "pm": 1e-6,
    "picometer": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "dm": 1e5,
    "decimeter": 1e5,
    "m": 1e6,
    "meter": 1e6,
    "km": 1e9,
    "kilometer": 1e9,
    "in": 25400.0,
    "inch": 25400.0,
    "inche": 25400.0,
    "ft": 304800.0,
    "foot": 304800.0,
    "feet": 304800.0,
}
_SECONDS = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_PIXELS = ("", "pixel", "px", "voxel", "reference frame")


def parse_length(text: str) -> tuple[str, float] | None:
    """Read a unit of length.

    Returns
    -------
    (str, float) or None
        The unit that deepbio uses for it and how many of those one of it is. Up to the micrometer
        that is the micrometer, above it the millimeter. None for a unit that is not known.

    Examples
    --------
    >>> parse_length("micron"), parse_length("nm"), parse_length("inch"), parse_length("pixels")
    (('micrometer', 1.0), ('micrometer', 0.001), ('millimeter', 25.4), ('pixel', 1.0))
    >>> parse_length("furlong") is None
    True
    """
    name = _plain(text)
    if name in _PIXELS or name.rstrip("s") in _PIXELS:
        return "pixel", 1.0
    factor = _MICROMETERS.get(name, _MICROMETERS.get(name.rstrip("s")))
    if factor is None:
        return None
    return ("micrometer", factor) if factor <= 1 else ("millimeter", factor / 1e3)


def parse_time(text: str) -> float | None:
    """Seconds in a unit of time; None for a unit that is not known.

    Examples
    --------
    >>> parse_time("sec"), parse_time("msec"), parse_time("hours")
    (1.0, 0.001, 3600.0)
    """
    name = _plain(text)
    return _SECONDS.get(name, _SECONDS.get(name.rstrip("s")))


def _plain(text: str) -> str:
    """One spelling: the two Unicode micro signs, ImageJ's escape of it, and British endings are one."""
    name = text.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("Â", "").lower()
    name = name.replace("\u03bc", "µ").replace("metre", "meter")
    return "pixel" if name == "pixels" else name
