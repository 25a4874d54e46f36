"""``train``: from cases to a model package, resumable at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepbio.cases import Case, load_sample, read_cases, split_cases
from deepbio.engine.device import choose_device
from deepbio.errors import OptionError
from deepbio.evaluation import card_rows, evaluate
from deepbio.events import Listener, Notice, silent
from deepbio.library.package import write_package
from deepbio.networks.unet import UNet
from deepbio.predict import load_model
from deepbio.tasks.decode import Decoder
from deepbio.training.calibrate import Calibration, choose_decoder
from deepbio.training.description import Description
from deepbio.training.fit import fit
from deepbio.training.package import package_content
from deepbio.training.plan import Plan, make_fingerprint, make_plan, read_plan, write_plan
from deepbio.training.sampler import normalise
from deepbio.training.validate import predict_whole

__all__ = ["propose_plan", "train"]


def propose_plan(
    data: Path | str,
    *,
    target: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    save: Path | None = None,
) -> Plan:
    """Measure a data set's training part and plan from it.

    Parameters
    ----------
    data : path
        As in `read_cases`.
    target : {"auto", "instances", "classes"}
        What the labels mean.
    steps : int, optional
        Training steps.
    seed : int
        Of every random draw.
    save : Path, optional
        YAML file to write the plan and the fingerprint to, for reading and editing.

    Returns
    -------
    Plan
    """
    cases, _ = split_cases(read_cases(data))
    seen = make_fingerprint(cases)
    plan = make_plan(seen, target=target, steps=steps, seed=seed)
    if save is not None:
        write_plan(save, plan, seen)
    return plan


def train(
    data: Path | str,
    output: Path | str,
    *,
    plan: Plan | None = None,
    about: Description | None = None,
    device: str = "auto",
    on_progress: Listener = silent,
) -> Path:
    """Train a segmentation model and write it as a package.

    Beside the package, in ``NAME.training/``, stand the plan, checkpoints, and the curve as CSV
    and PNG. A run that was stopped goes on from there when it is started again.

    Parameters
    ----------
    data : path
        Images and labels: see `read_cases`. Without a column ``split``, 15 % are held out.
    output : path
        Folder of the package; its name is the model's.
    plan : Plan, optional
        What to train; by default the one in ``NAME.training/plan.yaml``, else `propose_plan`.
    about : Description, optional
        What the card says of the model.
    device : str
        As in RunOptions.
    on_progress : Listener
        Hears steps and decisions; may raise `Cancelled` (what is done is kept).

    Returns
    -------
    Path
        The package, ready for `load_model`.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be used.
    OptionError
        If another plan was begun in the same folder.
    """
    output = Path(output)
    work = output.with_name(f"{output.name}.training")
    train_cases, val_cases = split_cases(read_cases(data))
    plan = _settle_plan(train_cases, work / "plan.yaml", plan, on_progress)
    chosen = choose_device(device)
    on_progress(
        Notice(
            f"Training on {chosen.label} ({chosen.name}): {len(train_cases)} cases, {len(val_cases)} held out."
        )
    )
    network, state = fit(plan, train_cases, val_cases, work, device=chosen.name, on_progress=on_progress)
    assert isinstance(network, UNet)  # noqa: S101 - for the type checker
    on_progress(Notice(f"Best score on the val part: {state.best:.3f}."))
    decoder, calibration = Decoder("classes"), None
    if plan.target == "instances":
        calibration = _calibrate(network, plan, val_cases)
        decoder = calibration.decoder
        on_progress(Notice(f"Objects by {decoder.method}: {calibration.rows}"))
    sample = load_sample(val_cases[0], plan.channels if plan.channels != 3 else None)
    about = about or Description(title=f"Model {output.name}"[:128])
    extra = {"calibration": calibration.rows} if calibration else {}
    with package_content(network, plan, _with_channels(sample.image, plan), decoder, about) as content:
        content = replace(
            content, files={"training.png": work / "history.png"}, config={**content.config, **extra}
        )
        write_package(output, content, replace=True)
        rows = _held_out(
            output, val_cases, f"deepbio evaluate {output.name} {Path(data).name} --split val", on_progress
        )
        write_package(output, replace(content, scores=rows), replace=True)
    return output


def _settle_plan(cases: Sequence[Case], path: Path, plan: Plan | None, listener: Listener) -> Plan:
    """The plan to follow; written down, so that a resumed run follows the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        begun = read_plan(path)
        if plan is not None and asdict(plan) != asdict(begun) and (path.parent / "checkpoint.pt").exists():
            raise OptionError(
                f"{str(path.parent)!r} holds a run with another plan.",
                "Choose another output, or delete that folder to start again.",
            )
        plan = plan or begun
    else:
        seen = make_fingerprint(cases)
        plan = plan or make_plan(seen)
        write_plan(path, plan, seen)
    listener(Notice(f"Plan ({path}):\n{path.read_text(encoding='utf-8')}"))
    return plan


def _with_channels(image: np.ndarray, plan: Plan) -> np.ndarray:
    return np.repeat(image, plan.channels, axis=0) if image.shape[0] == 1 < plan.channels else image


def _calibrate(network: UNet, plan: Plan, cases: Sequence[Case]) -> Calibration:
    scored = []
    for case in cases:
        sample = load_sample(case, plan.channels)
        scores = predict_whole(network, normalise(sample, plan), torch.device("cpu"))
        scored.append((scores, sample.labels, case.group))
    return choose_decoder(scored)


def _held_out(package: Path, cases: Sequence[Case], command: str, listener: Listener) -> list[dict[str, Any]]:
    """Scores of the finished package, as ``deepbio evaluate`` finds them."""
    return card_rows(evaluate(load_model(package), list(cases), on_progress=listener), "val", command)
