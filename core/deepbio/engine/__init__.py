"""The engine: device, memory, tiles and runtimes; everything between an image and its scores."""

from deepbio.engine.device import Device, choose_device, list_devices
from deepbio.engine.ladder import Ladder, Rung, make_rungs, with_ladder
from deepbio.engine.planning import first_rung, ladder_for, plan_for
from deepbio.engine.runtime import Runtime, describe_runtime, open_runtime
from deepbio.engine.slabs import ArraySource, Source, predict_scores, predict_slabs
from deepbio.engine.tiling import TilePlan, plan_tiles

__all__ = [
    "ArraySource",
    "Device",
    "Ladder",
    "Rung",
    "Runtime",
    "Source",
    "TilePlan",
    "choose_device",
    "describe_runtime",
    "first_rung",
    "ladder_for",
    "list_devices",
    "make_rungs",
    "open_runtime",
    "plan_for",
    "plan_tiles",
    "predict_scores",
    "predict_slabs",
    "with_ladder",
]
