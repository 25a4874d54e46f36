"""How much overlap tiles need: Dice and tiles at several overlaps, on real images with known labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import used

if TYPE_CHECKING:
    import deepbio
    from deepbio.cases import Case

OVERLAPS = (0.0, 0.125, 0.25, 0.5)
SAME = 5e-4  # of Dice: less than what a benchmark of segmentation tells apart


def compare_overlaps(model: str, data: Path, split: str, tile: int) -> dict[str, Any]:
    """Run a model of classes with tiles that are small beside the images, at each overlap.

    Returns
    -------
    dict
        ``rows``: for each overlap the mean Dice, tiles, CPU seconds, and the part of the labels that
        differ from those at 0.5; ``recommended``: the smallest whose Dice is no lower than 0.5's.
    """
    import deepbio
    from deepbio.cases import read_cases
    from deepbio.evaluation import choose_split

    cases = choose_split(read_cases(data), split)
    loaded = deepbio.load_model(model, device="cpu")
    names = dict(loaded.card.classes) or {
        int(label): f"class {label}"
        for label in np.unique(deepbio.io.read_labels(cases[0].labels).numpy())
        if label
    }
    classes = sorted(names)
    found: dict[float, dict[str, Any]] = {
        overlap: {"dice": [], "tiles": 0, "cpu_s": 0.0, "differ": []} for overlap in OVERLAPS
    }
    for case in cases:
        add_case(found, case, loaded, classes, tile)
    rows = [
        {
            "overlap": overlap,
            "dice": float(np.nanmean(row["dice"])),
            "dice_of_classes": np.nanmean(row["dice"], axis=0).tolist(),
            "tiles": row["tiles"],
            "cpu_s": row["cpu_s"],
            "labels_that_differ": float(np.mean(row["differ"])),
        }
        for overlap, row in found.items()
    ]
    enough = rows[-1]["dice"] - SAME
    return {
        "model": loaded.card.name,
        "data": data.name,
        "split": split,
        "images": len(cases),
        "tile": tile,
        "classes": [names[label] for label in classes],
        "rows": rows,
        "recommended": next(row["overlap"] for row in rows if row["dice"] >= enough),
    }


def add_case(
    found: dict[float, dict[str, Any]], case: Case, model: deepbio.Model, classes: list[int], tile: int
) -> None:
    """Run a case at each overlap, and add what came out to the rows."""
    import deepbio
    from deepbio.metrics import dice

    image, truth = deepbio.read(case.image), deepbio.io.read_labels(case.labels).numpy()
    labels = {}
    for overlap, row in found.items():
        options = deepbio.RunOptions(tile=tile, overlap=overlap, output=("labels",))
        start = used()
        result = model.run(image, options)
        row["cpu_s"] += used()[0] - start[0]
        row["tiles"] += result.record["tiles"]
        labels[overlap] = result.labels.numpy()
        row["dice"].append([dice(truth, labels[overlap], classes)[label] for label in classes])
    for overlap, row in found.items():
        inside = (labels[overlap] > 0) | (labels[OVERLAPS[-1]] > 0)
        row["differ"].append(
            float((labels[overlap] != labels[OVERLAPS[-1]])[inside].mean()) if inside.any() else 0.0
        )


def table_of_overlaps(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    names = " | ".join(f"Dice {name}" for name in results["classes"])
    lines = [
        f"Model `{results['model']}`, {results['images']} images of {results['data']}, tiles of {results['tile']}",
        "",
        f"| overlap | tiles | CPU s | mean Dice | {names} | foreground labels that differ from 0.5's |",
        "|---|---|---|---|" + "---|" * (len(results["classes"]) + 1),
    ]
    for row in results["rows"]:
        each = " | ".join(f"{value:.4f}" for value in row["dice_of_classes"])
        lines.append(
            f"| {row['overlap']} | {row['tiles']} | {row['cpu_s']:.1f} | {row['dice']:.4f} | {each} "
            f"| {row['labels_that_differ']:.2%} |"
        )
    lines += [
        "",
        f"Smallest overlap whose Dice is at least that of 0.5 less {SAME}: {results['recommended']}",
    ]
    return "\n".join(lines)
