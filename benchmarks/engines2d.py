"""The engines of segment2d.py: each function runs one, in a process of its own, and measures it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_rss, used

TILE, OVERLAP, HALO = 512, 0.125, 32


def make_image(size: int) -> np.ndarray:
    """A field of bright discs on a dim, uneven, noisy background: uint16, about 40 pixels apart."""
    random = np.random.default_rng(2024)
    image = np.zeros((size, size), np.float32)
    rows = np.arange(-14, 15)
    for y, x in random.uniform(0, size, (size * size // 1600, 2)):
        radius = random.uniform(6, 13)
        ys, xs = rows + int(y), rows + int(x)
        ys, xs = ys[(ys >= 0) & (ys < size)], xs[(xs >= 0) & (xs < size)]
        distance = np.hypot(ys[:, None] - y, (xs[None] - x) * random.uniform(0.8, 1.2))
        spot = random.uniform(0.4, 1) / (1 + np.exp((distance - radius) / 0.8))
        image[np.ix_(ys, xs)] = np.maximum(image[np.ix_(ys, xs)], spot)
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    image = 900 + 400 * ramp[:, None] + 9000 * image
    return random.poisson(image / 8).astype(np.uint16) * 8


def prepare(folder: Path, model: str, size: int) -> None:
    """Write the image, and as the peers take them: the normalised image and the traced network."""
    import tifffile

    from deepbio.engine.slabs import ArraySource  # noqa: F401 - fail early where deepbio is not installed
    from deepbio.image import Image
    from deepbio.library import find_model
    from deepbio.options import RunOptions
    from deepbio.tasks.frames import FrameSource, split_frames

    image = make_image(size)
    tifffile.imwrite(folder / "image.tif", image, compression="zlib")
    card = find_model(model)
    (frame,) = split_frames(Image(image), card, RunOptions())
    source = FrameSource(frame.view, card)
    pixels = source.read((0, 0), (size, size))
    np.save(folder / "pixels.npy", np.ascontiguousarray(pixels, np.float32))


def torch_module(model: str, threads: int) -> Any:
    """The network with its weights, as any user of torch has it."""
    import torch

    from deepbio.engine.runtimes.with_torch import load_module
    from deepbio.library import find_model

    torch.set_num_threads(threads)
    weights = find_model(model).weights_of("safetensors")
    assert weights is not None, "the benchmark needs weights that torch reads"
    return load_module(weights)


def deepbio_scores(runtime: str, folder: Path, model: str, *, same_tiles: bool = True) -> dict[str, Any]:
    from deepbio.engine import ArraySource, choose_device, first_rung, open_runtime, plan_for, predict_slabs
    from deepbio.library import find_model

    card = find_model(model)
    device = choose_device("cpu")
    rung = first_rung(card, device, tile=TILE if same_tiles else None)
    opened = open_runtime(card, device=device, runtime=runtime, tile=rung.tile)
    source = ArraySource(np.load(folder / "pixels.npy", mmap_mode="r"))
    plan = plan_for(card, source.shape[1:], rung, overlap=OVERLAP if same_tiles else None)
    forwards = 0.0

    def timed(batch: np.ndarray) -> np.ndarray:
        nonlocal forwards
        start, _ = used()
        scores = opened(batch)
        forwards += used()[0] - start
        return scores

    timed.device = opened.device  # type: ignore[attr-defined]
    start = used()
    with (folder / "scores.npy").open("wb") as file:
        for low, _, scores in predict_slabs(source, timed, plan):  # type: ignore[arg-type]
            write_band(file, low, scores, plan.shape)
    stop = used()
    return {
        "cpu_s": stop[0] - start[0],
        "wall_s": stop[1] - start[1],
        "forwards_cpu_s": forwards,
        "tile": plan.tile,
        "tiles": plan.count,
        "runtime": opened.name,
    }


def write_band(file: Any, low: int, scores: np.ndarray, shape: tuple[int, ...]) -> None:
    """Put a band into a .npy file of shape (K, *shape); a memory map would count as resident."""
    if low == 0:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(scores), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        write_band.begin = file.tell()  # type: ignore[attr-defined]
    for channel, part in enumerate(scores):
        file.seek(write_band.begin + 4 * (channel * shape[0] + low) * shape[1])  # type: ignore[attr-defined]
        file.write(part.data)


def deepbio_run(folder: Path, model: str, threads: int) -> dict[str, Any]:
    import deepbio

    image = deepbio.read(folder / "image.tif")
    loaded = deepbio.load_model(model, device="cpu")
    start = used()
    result = loaded.run(image, deepbio.RunOptions())
    stop = used()
    deepbio.write(folder / "labels.tif", result.labels)
    seconds = result.record["seconds"]
    after = sum(v for k, v in seconds.items() if k in ("instances", "measure"))
    return {
        "cpu_s": stop[0] - start[0],
        "wall_s": stop[1] - start[1],
        "seconds": seconds,
        "runtime": result.record["runtime"],
        "tile": result.record["tile"],
        "tiles": result.record["tiles"],
        "objects": result.labels.count,
        "instances_share": seconds.get("instances", 0.0) / result.record["seconds_total"],
        "instances_and_table_share": after / result.record["seconds_total"],
    }


def monai(folder: Path, model: str, threads: int) -> dict[str, Any]:
    import torch
    from monai.inferers import sliding_window_inference

    module = torch_module(model, threads)
    pixels = torch.from_numpy(np.load(folder / "pixels.npy"))[None]
    start = used()
    with torch.inference_mode():  # one window at a time: the least CPU time and memory on a CPU
        scores = sliding_window_inference(pixels, (TILE, TILE), 1, module, overlap=OVERLAP, mode="gaussian")
    stop = used()
    np.save(folder / "scores.npy", scores[0].numpy())
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1]}


def bioimageio(format: str, folder: Path, model: str, threads: int) -> dict[str, Any]:
    from bioimageio.core import Sample, Tensor, create_prediction_pipeline
    from bioimageio.spec import load_model_description

    package = bioimageio_package(folder, model, format, threads)
    pipeline = create_prediction_pipeline(
        load_model_description(package, format_version="latest", perform_io_checks=False),
        weights_format="torchscript" if format == "torch" else "onnx",
    )
    (member,) = pipeline.input_ids
    (answer,) = pipeline.output_ids
    pixels = np.load(folder / "pixels.npy")[None]
    sample = Sample(members={member: Tensor(pixels, ("batch", "channel", "y", "x"))}, stat={}, id=None)
    block = {member: {"batch": 1, "channel": pixels.shape[1], "y": TILE, "x": TILE}}
    start = used()
    predicted = pipeline.predict_sample_with_fixed_blocking(
        sample, block, skip_preprocessing=True, skip_postprocessing=True
    )
    stop = used()
    np.save(folder / "scores.npy", predicted.members[answer].data.to_numpy()[0].astype(np.float32))
    return {"cpu_s": stop[0] - start[0], "wall_s": stop[1] - start[1], "halo": HALO}


def bioimageio_package(folder: Path, model: str, format: str, threads: int) -> Path:
    """The model's card with, for torch, the traced network in place of the ONNX file."""
    import torch
    import yaml

    from deepbio.library import find_model

    root = find_model(model).root
    copy = folder / "package"
    shutil.copytree(root, copy, dirs_exist_ok=True)
    card = yaml.safe_load((root / "bioimageio.yaml").read_text())
    torch.set_num_threads(threads)
    if format == "torch":
        module = torch_module(model, threads)
        with torch.no_grad():
            torch.jit.trace(module, torch.zeros(1, 3, TILE, TILE)).save(str(copy / "weights.pt"))
        version = torch.__version__.partition("+")[0]
        card["weights"] = {"torchscript": {"source": "weights.pt", "pytorch_version": version}}
    for axis in card["outputs"][0]["axes"]:
        if axis["type"] == "space":
            axis["halo"] = HALO
    (copy / "bioimageio.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    return copy / "bioimageio.yaml"


def work(engine: str, folder: Path, model: str, threads: int) -> dict[str, Any]:
    """Run one engine in this process."""
    family, _, variant = engine.partition("-")
    if engine == "deepbio-run":
        outcome = deepbio_run(folder, model, threads)
    elif family == "deepbio":
        own = variant == "own"
        outcome = deepbio_scores("auto" if own else variant, folder, model, same_tiles=not own)
    elif family == "monai":
        outcome = monai(folder, model, threads)
    else:
        outcome = bioimageio(variant, folder, model, threads)
    return {**outcome, "process_cpu_s": used()[0], "peak_rss_gb": peak_rss() / 1e9}
