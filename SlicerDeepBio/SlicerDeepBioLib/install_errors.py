"""What goes wrong in an installation, as people should hear it. Standard library only."""

from __future__ import annotations

import json
import re

__all__ = ["InstallError", "doctor_says", "explain"]


class InstallError(RuntimeError):
    """Something about installing failed.

    Parameters
    ----------
    message : str
        What was found and what was expected.
    hint : str
        What to do.
    """

    def __init__(self, message, hint=""):
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


def doctor_says(out, err, code):
    """Read what `deepbio doctor` found: None, or the error."""
    try:
        told = json.loads(next(line for line in reversed(out) if line.startswith("{")))
    except (StopIteration, ValueError):
        last = " ".join(line.strip() for line in err[-3:])
        return InstallError(
            f"deepbio was installed but does not start (exit code {code}): {last}",
            "Please report this; nothing was changed.",
        )
    bad = [f for f in told.get("findings", []) if f.get("status") == "error"]
    if not bad and told.get("ok"):
        return None
    return InstallError(
        "deepbio was installed but does not work: " + "; ".join(f"{f['name']}: {f['value']}" for f in bad),
        bad[0].get("hint", "") if bad else "",
    )


_CAUSES = (  # what uv and pip say, and what to do about it
    (
        r"No space left|os error 28|os error 112|not enough space",
        "The disk is full.",
        "Free some space, then try again.",
    ),
    (
        r"UnknownIssuer|invalid peer certificate|CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "The package index shows a certificate that is not trusted here, as behind a proxy that inspects traffic.",
        "Set SSL_CERT_FILE to the certificates of your institution, then start Slicer again.",
    ),
    (
        r"407 |Proxy Authentication",
        "The proxy asks for a name and password.",
        "Set the proxy as http://name:password@host:port.",
    ),
    (
        (
            "no wheels? with a matching|no solution found|not found in the (package registry|provided)"
            "|No matching distribution|needs? to be downloaded from a registry"
        ),
        "A package was not found.",
        "With a folder of wheels: it must hold every package that is needed, for this system and Python.",
    ),
    (
        r"No interpreter found|No download found|python downloads are",
        "There is no Python 3.11, 3.12 or 3.13 to make the environment from.",
        "Install one (python.org), or name it in the settings.",
    ),
    (
        r"unexpected argument|invalid value .* for '--torch-backend",
        "The uv that was found is too old.",
        "Update it (uv self update), or take it off the PATH: then a new one is fetched.",
    ),
    (
        (
            "error sending request|Failed to (fetch|download)|dns error|Connection refused|connect error|tunnel"
            "|timed out|NewConnectionError|Network is unreachable|Temporary failure"
        ),
        "The package index cannot be reached.",
        (
            "Check the network; behind a proxy set it as http://host:port. Downloads are kept: another try goes "
            "on from there. Without any network, install from a folder of wheels."
        ),
    ),
)


_FRAME = " \u00d7\u2502\u2570\u2500\u25b6\u251c"  # of the boxes that uv draws around its errors


def explain(step, code, err):
    """Turn the end of a command that failed into an error with a way out."""
    said = "\n".join(err)
    lines = [line.strip(_FRAME) for line in err if line.strip()]
    first = next(
        (n for n, line in enumerate(lines) if line.lower().startswith("error")), max(0, len(lines) - 5)
    )
    tail = " ".join(lines[first:])[:400]
    for pattern, message, hint in _CAUSES:
        if re.search(pattern, said, re.IGNORECASE):
            return InstallError(f"{step.text} failed. {message} ({tail})", hint)
    return InstallError(f"{step.text} failed (exit code {code}): {tail or 'nothing was said'}.", "")
