"""torch.compile: the network compiled to machine code for one size of tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deepbio.engine.runtimes import Opening
from deepbio.engine.runtimes.with_torch import TorchRuntime, load_module
from deepbio.errors import OptionError

__all__ = ["CompiledRuntime", "open_network"]


class CompiledRuntime(TorchRuntime):
    """Runs a torch module that is compiled for each size of tile that comes."""

    name = "compile"

    def compile(self) -> None:
        """Have the next forward compile the network."""
        # Freezing folds the weights into the code; on the CPU that is the larger part of the gain.
        options: dict[str, Any] | None = {"freezing": True} if self._on_cpu else None
        self._module = torch.compile(self._module, dynamic=False, options=options)


def open_network(opening: Opening) -> CompiledRuntime:
    """Load the network and compile it for the tile that is expected.

    Raises
    ------
    OptionError
        If the network cannot be compiled here (torch.compile needs a C++ compiler on the CPU).
    """
    module = load_module(opening.weights)
    runtime = CompiledRuntime(module, opening.device, opening.precision, opening.threads)
    runtime.compile()
    try:
        runtime(np.zeros(opening.shape, np.float32))
    except RuntimeError as error:  # what torch raises when a compiler is missing or fails
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OptionError(
            f"The runtime 'compile' cannot compile this network here: {reason}",
            "Choose the runtime 'auto' or 'torch'.",
        ) from error
    return runtime
