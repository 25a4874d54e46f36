"""``python -m imagej_bridge``: what the menu of a Fiji without Python calls."""

from __future__ import annotations

import sys
from pathlib import Path

_USAGE = "usage: python -m imagej_bridge command FOLDER | serve | stop\n"


def main(arguments: list[str]) -> int:
    """Carry out one command; a macro reads ``result PATH`` or ``error LINE`` on stdout.

    The line also stands in a macro in the folder, since ImageJ may read stdout in another character set.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    match arguments:
        case ["command", folder]:
            from imagej_bridge.resident import ask_or_run
            from imagej_bridge.spelling import ERROR, quoted

            answer = ask_or_run(Path(folder))
            if "result" not in answer and Path(folder).is_dir():
                (Path(folder) / ERROR).write_text(f"return {quoted(answer['error'])};\n", encoding="ascii")
            kind = "result" if "result" in answer else "error"
            sys.stdout.write(f"{kind} {answer[kind]}\n")
            return int(kind == "error")
        case ["serve"]:
            from imagej_bridge.resident import Server

            Server().serve()
            return 0
        case ["stop"]:
            from imagej_bridge.resident import stop

            sys.stdout.write("stopped\n" if stop() else "there was none\n")
            return 0
        case _:
            sys.stderr.write(_USAGE)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
