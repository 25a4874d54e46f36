"""A tiny classifier that is trained while the tests run: is there a disc in the image, or only noise?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

EDGE = 32
NAMES = ("nothing", "disc")


def shape_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint16 (n, y, x), classes, and masks of the discs."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:EDGE, :EDGE]
    images = rng.normal(1000, 120, (count, EDGE, EDGE))
    classes = np.arange(count) % 2
    masks = np.zeros(images.shape, bool)
    for n in np.flatnonzero(classes):
        y, x = rng.uniform(7, EDGE - 7, 2)
        masks[n] = (yy - y) ** 2 + (xx - x) ** 2 <= 4.5**2
        images[n][masks[n]] += 500
    return images.round().astype(np.uint16), classes, masks


def write_shape_model(folder: Path) -> Path:
    """Train for some seconds and write the package, without an ONNX twin."""
    import torch

    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package
    from deepbio.networks import build
    from deepbio.training.weights import weight_files

    arguments = {
        "dims": 2, "in_channels": 1, "out_channels": 2, "features": [8, 12], "blocks": [1, 1], "dropout": 0.2
    }  # fmt: skip
    images, classes, _ = shape_images(256, seed=0)
    pixels = torch.from_numpy(images[:, None] * np.float32(0.002) - 2)
    wanted = torch.from_numpy(classes)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build("classifier", arguments).train()
        for step in range(48):  # plain descent: the import of torch.optim takes longer than the training
            chosen = torch.arange(32) + 32 * (step % 8)
            loss = torch.nn.functional.cross_entropy(network(pixels[chosen]), wanted[chosen])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter -= 0.2 * gradient
    steps = [Step("scale_linear", {"gain": 0.002, "offset": -2.0})]
    with weight_files(
        "classifier", arguments, network.eval().state_dict(), (1, EDGE, EDGE), onnx=False
    ) as files:
        with torch.no_grad():
            expected = files.network(pixels[:1]).softmax(1).numpy()
        content = PackageContent(
            title="Discs or nothing",
            description="Is there a disc?",
            task="classify",
            license="CC0-1.0",
            authors=[{"name": "The DeepBio developers"}],
            inputs=[
                TensorContent(images[:1, None], ("intensity",), minimum=(8, 8), step=(4, 4), steps=steps)
            ],
            outputs=[TensorContent(expected, NAMES, steps=[Step("softmax", {"axis": "channel"})])],
            network="classifier",
            arguments=arguments,
            safetensors=files.safetensors,
            config={"classes": {1: NAMES[0], 2: NAMES[1]}, "tile": {"size": [EDGE, EDGE]}, "mirror": [0, 1]},
        )
        write_package(folder / "discs", content)
    return folder / "discs"


def write_unet_model(folder: Path, dims: int, *, name: str = "tiny", classes: int = 3) -> Path:
    """A segmentation network with random weights, divisor 4 along each axis."""
    import torch

    from deepbio.library import Step
    from deepbio.library.package import PackageContent, TensorContent, write_package
    from deepbio.networks import build
    from deepbio.training.weights import weight_files

    arguments = {
        "dims": dims,
        "in_channels": 1,
        "out_channels": classes,
        "features": [4, 6, 8],
        "norm": "none",
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        state = build("unet", arguments).state_dict()
    shape = (8, 16, 16)[3 - dims :]
    with weight_files("unet", arguments, state, (1, *shape), onnx=False) as files:
        pixels = np.random.default_rng(1).integers(0, 2000, (1, 1, *shape)).astype(np.uint16)
        with torch.no_grad():
            expected = files.network(torch.from_numpy(pixels * np.float32(0.001) - 1)).numpy()
        content = PackageContent(
            title="Tiny network",
            description="Random weights.",
            task="segment",
            license="CC0-1.0",
            authors=[{"name": "The DeepBio developers"}],
            inputs=[
                TensorContent(
                    pixels,
                    ("intensity",),
                    minimum=(4,) * dims,
                    step=(4,) * dims,
                    steps=[Step("scale_linear", {"gain": 0.001, "offset": -1.0})],
                )
            ],
            outputs=[TensorContent(expected, tuple(f"class {k}" for k in range(classes)))],
            network="unet",
            arguments=arguments,
            safetensors=files.safetensors,
            config={
                "classes": {k: f"part {k}" for k in range(1, classes)},
                "decode": {"method": "classes"},
                "tile": {"size": [32] * dims, "overlap": 0.25},
            },
        )
        write_package(folder / name, content)
    return folder / name
