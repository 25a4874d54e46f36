"""The worker: deepbio in a process of its own, for programs that must stay alive (3D Slicer, Fiji).

``deepbio worker`` is an Appose worker: requests and answers are lines of JSON on stdin and stdout,
pixels lie in shared memory. Every request is the one script
``from deepbio.worker import serve; serve(task, request)``. docs/worker.md lists the commands.
"""

from deepbio.worker.service import serve

__all__ = ["serve"]
