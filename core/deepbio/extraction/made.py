"""What a layer of a generator gives while it makes images: of classes, or of masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.engine.cells import predict_cells
from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import first_rung, ladder_for
from deepbio.engine.slabs import ArraySource
from deepbio.errors import OptionError
from deepbio.events import Listener, Stage
from deepbio.extraction.job import Wanted, layer_plan, named_vectors, record_of
from deepbio.extraction.layers import choose_layer
from deepbio.extraction.pooling import pool_image
from deepbio.image import Grid, Image, Table
from deepbio.predict import Model
from deepbio.tasks.generate import check_input, conditions_for, latents_for, masks_for

if TYPE_CHECKING:
    from deepbio.engine.runtimes.inside import LayerRuntime
    from deepbio.engine.runtimes.layers import Layer

__all__ = ["MadeJob"]

_OVERLAP = 0.25

Found = list[tuple[np.ndarray, np.ndarray]]
"""Of each layer its maps (F, *cells), and the part of each cell that is inside the image."""


@dataclass
class MadeJob:
    """Images on their way out of a generator.

    Attributes
    ----------
    image : Image or None
        The mask, where the images are made of one.
    model : Model
        Which generator.
    wanted : Wanted
        Which layer, what of it, and in its options what is made: `count`, `classes`, `seed`.
    listener : Listener
        Hears images; may raise `Cancelled`.
    tables : list of Table
        A row for each image, as in the table of a run.
    """

    image: Image | None
    model: Model
    wanted: Wanted
    listener: Listener
    tables: list[Table] = field(default_factory=list)
    _maps: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        card = self.model.card
        check_input(self.image, card, self.wanted.options)
        module = self.model.module(self.wanted.options)
        self.layer: Layer = choose_layer(module, card, self.wanted.layer, maps=self.wanted.maps)
        if self.wanted.maps and not self.layer.stride:
            raise OptionError(f"The layer {self.layer.name!r} has no maps.", "Choose a layer with a stride.")
        device = self.model.device_for(self.wanted.options)
        self.rung = first_rung(card, device, precision="fp32", tile=self.wanted.options.tile, batch=1)
        self._grid = Grid((1, 1))

    def run(self) -> None:
        """Make the images up to the layer."""
        of_classes = self.model.card.deepbio["generator"]["kind"] == "class"
        for origin, found in self._classes() if of_classes else self._masks():
            vectors = [
                {pool: pool_image(maps, cover, pool)[np.newaxis] for pool in self.wanted.pools}
                for maps, cover in found
            ]
            self.tables.append(Table({**origin, **named_vectors(vectors, self.wanted.pools)}))
            if self.wanted.maps:
                self._maps.append(found[0][0])

    def made_maps(self) -> Image:
        """The maps of all images along T, on the grid of their cells."""
        grid, stride = self._grid, self.layer.stride
        first = [(step - 1) / 2 for step in stride]
        spacing = tuple(step * one for step, one in zip(stride, grid.spacing, strict=True))
        cells = self._maps[0].shape[1:]
        grid = Grid(cells, spacing, tuple(grid.to_world(first)), grid.direction, grid.unit)
        names = tuple(f"{self.layer.name} {k}" for k in range(self.layer.features))
        return Image(np.stack(self._maps), "TCYX", grid, names)

    def record(self) -> dict[str, Any]:
        """How the features came about."""
        return record_of(self.model, self.layer, self.wanted.pools, self.rung)

    def _classes(self) -> Iterator[tuple[dict[str, Any], Found]]:
        latents, table = latents_for(self.model.card, self.wanted.options)
        stage = Stage(self.listener, "features", len(latents))
        runtime = self._runtime(self.rung)
        for number, latent in enumerate(latents):
            found = []
            for layer in self.layer.parts or (self.layer,):
                maps = runtime.of(layer)(latent[np.newaxis])[0]
                maps = maps.reshape(len(maps), *(maps.shape[1:] or (1, 1)))
                found.append((maps, np.ones(maps.shape[1:], np.float32)))
            yield {name: values[number : number + 1] for name, values in table.columns.items()}, found
            stage.step()

    def _masks(self) -> Iterator[tuple[dict[str, Any], Found]]:
        card, options = self.model.card, self.wanted.options
        planes, _, _, grid = masks_for(self.image, card, options)
        self._grid = grid if grid.ndim == 2 else Grid(grid.shape[-2:], grid.spacing[-2:], unit=grid.unit)
        ladder = Ladder(ladder_for(card, self.rung), self.listener)
        for number, labels in enumerate(planes):
            conditions, _ = conditions_for(labels, card, options, number)

            def attempt(rung: Rung, conditions: np.ndarray = conditions) -> Found:
                self.rung, runtime = rung, self._runtime(rung)
                found = []
                for layer in self.layer.parts or (self.layer,):
                    plan = layer_plan(card, layer, conditions.shape[1:], rung.tile)
                    source = ArraySource(conditions)
                    maps = predict_cells(source, runtime.of(layer), plan, listener=self.listener)
                    found.append((maps, plan.cover()))
                return found

            origin = {"image": np.array([number + 1]), "seed": np.array([options.seed])}
            yield origin, ladder.climb(attempt)

    def _runtime(self, rung: Rung) -> LayerRuntime:
        from deepbio.engine.runtimes.inside import LayerRuntime

        module = self.model.module(self.wanted.options.replace(device=rung.device.name))
        return LayerRuntime(module, self.layer, rung.device)
