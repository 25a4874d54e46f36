"""Do made images help where real ones are few? The same network, with and without them.

    python benchmarks/few_real.py cells pbc_blood_cells cells-synth --real 10 --made 100 --out few_cells.json
    python benchmarks/few_real.py nuclei dsb2018_nuclei nuclei-synth --real 5 --made 40 --out few_nuclei.json

The generators have seen all real images of the train part, so this is the gain of somebody who has few
cases of their own and takes the shipped generator, not of a generator that was trained on these few.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np

import deepbio
from deepbio.cases.classify import read_class_cases
from deepbio.cases.segment import read_cases
from deepbio.evaluation import evaluate
from deepbio.making import make_files
from deepbio.training import propose_plan, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("cells", "nuclei"))
    parser.add_argument("data", type=Path)
    parser.add_argument("generator")
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--made", type=int, default=100)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("few_real.json"))
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(asked.seeds):
            for made in (0, asked.made):
                run = _cells if asked.kind == "cells" else _nuclei
                value = run(asked, made, seed, Path(folder) / f"{seed}_{made}")
                rows.append({"seed": seed, "real": asked.real, "made": made, **value})
                print(rows[-1], flush=True)
                told = {"generator": asked.generator, "steps": asked.steps, "rows": rows}
                asked.out.write_text(json.dumps(told, indent=1) + "\n")


def _cells(asked: argparse.Namespace, made: int, seed: int, folder: Path) -> dict[str, float]:
    """Balanced accuracy of a small classifier of `real` images a class, and `made` ones."""
    from deepbio.training.classify import Wishes

    cases = read_class_cases(asked.data)
    random = np.random.default_rng(seed)
    names = sorted({case.class_name for case in cases})
    known = {"ig": "immature granulocyte"}
    rows = []
    for name in names:
        real = [case for case in cases if case.class_name == name and case.split == "train"]
        chosen = random.permutation(len(real))[: asked.real]
        rows += [(real[i].image.resolve(), known.get(name, name), "train") for i in sorted(chosen.tolist())]
    rows += [
        (one.image.resolve(), known.get(one.class_name, one.class_name), "val")
        for one in cases
        if one.split == "val"
    ]
    if made:
        options = deepbio.RunOptions(count=made * len(names), seed=1 + seed * 100_000)
        paths = make_files(deepbio.load_model(asked.generator), folder / "made", options, save=("dataset",))
        found = read_class_cases(paths["dataset"])
        rows += [(one.image.resolve(), one.class_name, "train") for one in found]
    table = _write(folder, ("image", "class", "split"), rows)
    wishes = Wishes(size=64, width=0.5, steps=asked.steps, batch=32, seed=seed)
    plan = propose_plan(table, wishes, task="classify")
    model = deepbio.load_model(train(table, folder / "model", task="classify", plan=plan))
    scores = {row["metric"]: row["value"] for row in reversed(model.card.scores)}
    return {"balanced_accuracy": scores["balanced accuracy"], "accuracy": scores["accuracy"]}


def _nuclei(asked: argparse.Namespace, made: int, seed: int, folder: Path) -> dict[str, float]:
    """AP50 on the held-out fluorescence images of a segmenter of `real` images, and `made` ones."""
    from deepbio.training import Wishes

    cases = [case for case in read_cases(asked.data) if case.group == "fluo"]
    train_cases = [case for case in cases if case.split == "train"]
    held = [case for case in cases if case.split == "val"]
    chosen = np.random.default_rng(seed).permutation(len(train_cases))[: asked.real]
    rows = [(train_cases[i].image.resolve(), train_cases[i].labels.resolve(), "train") for i in chosen]
    rows += [(case.image.resolve(), case.labels.resolve(), "val") for case in held[:8]]
    if made:
        options = deepbio.RunOptions(count=made, seed=1 + seed * 100_000)
        paths = make_files(deepbio.load_model(asked.generator), folder / "made", options, save=("dataset",))
        found = read_cases(paths["dataset"])
        rows += [(one.image.resolve(), one.labels.resolve(), "train") for one in found]
    table = _write(folder, ("image", "label", "split"), rows)
    plan = propose_plan(table, Wishes(steps=asked.steps, seed=seed, memory=0.4), task="segment")
    model = deepbio.load_model(train(table, folder / "model", task="segment", plan=plan))
    scores = evaluate(model, held)
    return {"ap50": round(float(np.mean([one.ap50 for one in scores])), 4)}


def _write(folder: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


if __name__ == "__main__":
    main()
