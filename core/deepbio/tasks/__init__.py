"""Tasks: from an image through a network to what the user asked for."""

from deepbio.tasks.result import Result

__all__ = ["Result"]
