r"""Texts between ImageJ's macros and Python, in ASCII only.

ImageJ reads macros as Latin-1, and writes and reads texts in the character set of the system, which differs from
one computer to the next. So a macro tells other letters as ``\u00fc``, and is told them as ``fromCharCode(252)``.
"""

from __future__ import annotations

import json
import re

__all__ = ["ASCII", "ERROR", "INPUT", "RESULT", "WORDS", "decoded", "quoted"]

# Files in the folder that is handed over: what the macro writes, and the macros that Python answers with.
WORDS, INPUT, RESULT, ERROR = "command.txt", "input.tif", "result.ijm", "error.ijm"

# The function of a macro that spells a text in ASCII; the inverse is `decoded`.
ASCII = r"""
function ascii(text) {
    spelt = "";
    for (i = 0; i < lengthOf(text); i++) {
        code = charCodeAt(text, i);
        hex = toHex(code);
        if (code > 31 && code < 127 && code != 92) spelt = spelt + substring(text, i, i + 1);
        else spelt = spelt + "\\u" + substring("0000", lengthOf(hex)) + hex;
    }
    return spelt;
}
"""
_CODED = re.compile(r"\\u([0-9a-f]{4})")
_OTHERS = re.compile(r"([^\x20-\x7e\n\t]+)")


def quoted(text: object) -> str:
    r"""A text as the macro language spells it.

    Examples
    --------
    >>> print(quoted('C:\\a "b"'))
    "C:\\a \"b\""
    >>> print(quoted("für 5 µm"))
    "f" + fromCharCode(252) + "r 5 " + fromCharCode(181) + "m"
    """
    parts = []
    for number, part in enumerate(_OTHERS.split(str(text))):
        if number % 2:  # as Java counts letters: in units of UTF-16
            units = part.encode("utf-16-be", "surrogatepass")
            codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
            parts.append(f"fromCharCode({', '.join(map(str, codes))})")
        elif part:
            parts.append(json.dumps(part))
    if not parts or not parts[0].startswith('"'):
        parts.insert(0, '""')  # by which ImageJ knows that a text begins
    return " + ".join(parts)


def decoded(text: str) -> str:
    r"""What the macro's ``ascii`` has spelt.

    Examples
    --------
    >>> decoded("C:\\u005cf\\u00fcr")
    'C:\\für'
    """
    plain = _CODED.sub(lambda match: chr(int(match[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
