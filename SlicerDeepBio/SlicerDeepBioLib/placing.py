"""A worker's answer made into nodes: prepared apart from the scene, frame by frame, then added at once."""

from __future__ import annotations

import numpy as np
import slicer

from SlicerDeepBioLib import heat, results, sequences
from SlicerDeepBioLib.answers import CHANNEL, PART, is_map
from SlicerDeepBioLib.changes import Change
from SlicerDeepBioLib.scene import RGB, SceneError, place_grid, place_pixels, place_plane
from SlicerDeepBioLib.terminology import class_labels, object_labels, object_name

__all__ = ["AS", "Placing"]

AS = ("auto", "segments", "labels")
_PIECE = 2**20  # pixels looked at between two turns of the event loop
MOST_SEGMENTS = 200  # with more, Slicer's list of segments is of no use and its displays are slow


class Placing:
    """The result of one run on its way into the scene.

    Parameters
    ----------
    entry : Input or NoInput
        What the model was given.
    card : dict
        The model's.
    outputs : dict
        The worker's answer; its arrays are numpy's.
    shown_as : {"auto", "segments", "labels"}
        How objects are shown.
    surface : bool
        Whether the closed surface is made.

    Attributes
    ----------
    notices : list of (str, str)
        Level and text of what the user should know.
    """

    def __init__(self, entry, card, outputs, shown_as="auto", surface=False):
        self.entry = entry
        self.card = card
        self.outputs = outputs
        self.title = f"{entry.name} {card['name']}".strip()
        self.frames = entry.frames or _made_frames(outputs)
        self.matrix = self._own_matrix()
        self.notices = []
        self._as = shown_as
        self._surface = surface
        self._names = []  # of each frame
        self._holders = []  # a segmentation, or a label map volume, for each frame
        self._sequence = None
        self._curves = {}

    def prepare(self, output=None):
        """Make the contents, a frame at a time (a generator, to be run to its end).

        Parameters
        ----------
        output : vtkMRMLNode, optional
            The node that will be filled; its kind decides how the labels are shown.
        """
        labels = self.outputs.get("labels")
        if labels is None:
            return
        parts = _parts(labels["array"], labels["axes"])
        self._check_size(parts[0])
        for part in parts:
            present = yield from _present(part)
            self._names.append(self._names_of(present))
        as_labels = self._shown_as_labels(output)
        if self.frames is not None:
            self._sequence = sequences.make_sequence(self.frames, self.title)
        for at, part in enumerate(parts):
            node = self._content(part, self._names[at], as_labels)
            if self._sequence is not None:
                node.SetName(self.title)
                self._sequence.SetDataNodeAtValue(node, self.frames.values[at])
            self._holders = [node] if at == 0 else self._holders
            self._measure(part, self._names[at])
            yield

    def commit(self, scene, output=None):
        """Add everything to the scene; if that fails, nothing is left.

        Returns
        -------
        dict
            ``change``, ``segmentation``, ``label_map``, ``volumes``, ``tables``, ``sequence``, ``plot``.
        """
        change = Change(scene)
        placed = {"change": change, "segmentation": None, "label_map": None}
        placed.update({"volumes": [], "tables": [], "sequence": None, "plot": None})
        try:
            self._commit_labels(change, output, placed)
            self._commit_images(change, placed)
            self._commit_tables(change, placed)
            self._describe(change, placed)
        except BaseException:
            change.take_back()
            raise
        return placed

    def _own_matrix(self):
        """IJK to RAS of the input's voxels, or where there is none, of the images that were made."""
        if self.entry.volume is not None:
            return sequences.identity_of(self.entry.volume)
        made = self.outputs.get("image") or self.outputs.get("labels")
        return place_pixels(made) if made is not None else None

    # what the labels are

    def _check_size(self, part):
        if self.entry.volume is None:
            return
        expected = tuple(reversed(self.entry.volume.GetImageData().GetDimensions()))
        found = part.shape if part.ndim == 3 else (1, *part.shape)
        if found != expected:
            raise SceneError(
                f"'{self.entry.name}' was changed during the run: it had {_by(found)} voxels and has "
                f"{_by(expected)} now.",
                "Run the model again.",
            )

    def _names_of(self, present):
        """Names for the labels of a frame: of classes all that the card has, of objects those that are there."""
        if self.outputs.get("instances"):
            return object_labels(present, object_name(self.card))
        classes = {int(value): entry for value, entry in (self.outputs.get("classes") or {}).items()}
        unnamed = {value: f"class {value}" for value in present if value not in classes}
        return class_labels({**unnamed, **classes})

    def _shown_as_labels(self, output):
        """Whether the labels become a label map volume, and not segments."""
        if output is not None and output.IsA("vtkMRMLLabelMapVolumeNode"):
            return True
        if self._as != "auto":
            return self._as == "labels"
        most = max(len(names) for names in self._names)
        if most > MOST_SEGMENTS:
            noun = object_name(self.card)
            told = f"{most} objects ('{noun} 1' and so on) are shown as a label map, not as segments."
            self.notices.append(("info", told))
        return most > MOST_SEGMENTS

    # contents

    def _content(self, part, names, as_labels):
        if as_labels:
            return results.fill_label_map(slicer.vtkMRMLLabelMapVolumeNode(), part, self.matrix)
        return results.make_segmentation(part, self.matrix, names, self._surface)

    def _measure(self, part, names):
        """Size of each class, or number of objects, in this frame of the input's sequence."""
        if self._sequence is None or self.entry.frames is None:
            return
        if self.outputs.get("instances"):
            self._curves.setdefault("objects", []).append(len(names))
            return
        counts = np.bincount(part.reshape(-1))
        size = float(np.prod(self.entry.source.spacing)) / (1000 if part.ndim == 3 else 1)
        for label in names:
            count = int(counts[label.value]) if label.value < len(counts) else 0
            self._curves.setdefault(label.name, []).append(count * size)

    # into the scene

    def _commit_labels(self, change, output, placed):
        if not self._holders:
            return
        made = self._holders[0]
        segments = made.IsA("vtkMRMLSegmentationNode")
        if output is not None and output.IsA(made.GetClassName()):
            node = output
            change.keep(node)
            if segments:
                results.exchange_segments(node, made.GetSegmentation())
            else:
                node.SetAndObserveImageData(made.GetImageData())
                node.SetIJKToRASMatrix(self.matrix)
        else:
            made.SetName(change.scene.GetUniqueNameByString(self.title))
            node = change.add(made)
        if self._sequence is not None:
            self._play(change, self._sequence, node)
            placed["sequence"] = self._sequence
        if segments:
            if node.GetDisplayNode() is None:
                node.CreateDefaultDisplayNodes()
                change.note([node.GetDisplayNode()])
        else:
            self._colour(change, node)
        placed["segmentation" if segments else "label_map"] = node

    def _play(self, change, sequence, proxy):
        """Add a result's sequence to the browser of the input's, or of all that was made."""
        frames = self.frames
        change.add(sequence)
        if frames.browser is None and self.entry.frames is None:
            self._play_made(change, sequence, proxy)
            return
        if frames.browser is None:
            frames.browser, _shown = sequences.add_browser(change, frames.sequence)
        browser = frames.browser
        _detach_earlier(change, browser, proxy)
        sequences.attach(browser, sequence, proxy)
        change.on_undo(lambda: browser.RemoveSynchronizedSequenceNode(sequence.GetID()))

    def _play_made(self, change, sequence, proxy):
        """A browser of its own for the first sequence of what was made; both go together."""
        browser, shown = sequences.add_browser(change, sequence)
        self.frames.browser = browser
        sequences.attach(browser, sequence, proxy)
        if shown is not None and shown is not proxy:
            change.scene.RemoveNode(shown)

    def _colour(self, change, node):
        """A colour table of its own for a label map."""
        every = {label.value: label for names in self._names for label in names}
        colors = change.add(results.make_colors(list(every.values()), f"{node.GetName()} colors"))
        display = node.GetDisplayNode()
        if display is None:
            display = change.add(slicer.vtkMRMLLabelMapVolumeDisplayNode())
            node.SetAndObserveDisplayNodeID(display.GetID())
        display.SetAndObserveColorNodeID(colors.GetID())

    def _commit_images(self, change, placed):
        for kind in ("image", "scores", "explanation", "uncertainty"):
            image = self.outputs.get(kind)
            if image is None:
                continue
            for channel, parts in _channels(image):
                words = "" if kind == "image" else kind
                title = " ".join(word for word in (self.title, words, channel) if word)
                node = self._commit_image(change, image, parts, title)
                node.SetAttribute(PART, kind)
                node.SetAttribute(CHANNEL, channel)
                if is_map(self.card, kind):
                    heat.colour(change, node, image["array"], 1.0 if kind == "image" else None)
                placed["volumes"].append(node)

    def _commit_image(self, change, image, parts, title):
        matrix, colour = self._matrix_of(image, parts[0]), _is_colour(image)
        node, display = results.add_volume(
            change.scene, parts[0], matrix, change.scene.GetUniqueNameByString(title), colour
        )
        change.note([node, display])
        if self.frames is not None and len(parts) > 1:
            sequence = sequences.make_sequence(self.frames, title)
            for value, part in zip(self.frames.values, parts):
                volume = results.make_volume(part, matrix, colour)
                volume.SetName(title)
                sequence.SetDataNodeAtValue(volume, value)
            self._play(change, sequence, node)
        return node

    def _matrix_of(self, image, part):
        """The input's voxels where the result has them too, else those that the result tells."""
        if self.entry.volume is None:
            return self.matrix
        shape = part.shape[-3:] if "Z" in image["axes"] else (1, *part.shape[-2:])
        if shape == tuple(reversed(self.entry.volume.GetImageData().GetDimensions())):
            return self.matrix
        if "Z" not in image["axes"]:
            return place_plane(self.entry.volume, self.entry.source, image)
        return place_grid(self.entry.volume, image)

    def _commit_tables(self, change, placed):
        for kind in ("table", "features"):
            table = self.outputs.get(kind)
            if table is None:
                continue
            title = change.scene.GetUniqueNameByString(f"{self.title} {kind}")
            node = results.add_table(change.scene, table["columns"], table["units"], title)
            change.note([node])
            node.SetAttribute(PART, kind)
            placed["tables"].append(node)
        if self._curves:
            flat = "Z" not in self.entry.source.axes
            units = {name: "" if name == "objects" else "mm^2" if flat else "mL" for name in self._curves}
            word = "count" if self.outputs.get("instances") else "area" if flat else "volume"
            title = change.scene.GetUniqueNameByString(f"{self.title} {word} over time")
            node, placed["plot"] = sequences.add_curves(change, self.entry.frames, self._curves, units, title)
            placed["tables"].append(node)

    def _describe(self, change, placed):
        """Place in the world and in the subject hierarchy, and how each node came about."""
        spatial = [placed["segmentation"], placed["label_map"], *placed["volumes"]]
        nodes = [*spatial, *placed["tables"], placed["sequence"], placed["plot"]]
        volume = self.entry.volume
        for node in spatial:
            if node is None:
                continue
            node.SetAndObserveTransformNodeID(self.entry.transform_id())
            if (
                node.IsA("vtkMRMLSegmentationNode")
                and volume is not None
                and change.scene.IsNodePresent(volume)
            ):
                node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for node in nodes:
            if node is not None:
                results.set_provenance(node, self.outputs["record"], self.entry.name)
                if self.entry.anchor is not None:
                    results.put_beside(node, self.entry.anchor)
        for node in filter(None, spatial):
            _tell_frames(node)


def _tell_frames(node):
    """Have what is said of a node said by all its frames: with each, Slicer puts its attributes in their place."""
    played = sequences.sequence_of(node)
    if played is None:
        return
    names = [name for name in node.GetAttributeNames() if name.startswith("DeepBio.")]
    for at in range(played[1].GetNumberOfDataNodes()):
        for name in names:
            played[1].GetNthDataNode(at).SetAttribute(name, node.GetAttribute(name))


def _detach_earlier(change, browser, proxy):
    """A node that showed an earlier result's sequence shows this one now; that sequence stays in the scene."""
    earlier = browser.GetSequenceNode(proxy) if browser.IsProxyNodeID(proxy.GetID()) else None
    if earlier is None:
        return
    browser.RemoveSynchronizedSequenceNode(earlier.GetID())
    change.on_undo(lambda: change.scene.IsNodePresent(earlier) and sequences.attach(browser, earlier, proxy))


def _made_frames(outputs):
    """Frames for several images made from one mask, or from nothing; None where there are none."""
    made = outputs.get("image") or outputs.get("labels") or {"axes": ""}
    count = made["array"].shape[0] if "T" in made["axes"] else 1
    return sequences.Made(count) if count > 1 else None


def _parts(array, axes):
    return list(array) if "T" in axes else [array]


def _present(part):
    """Find the labels that are in a frame, a piece at a time."""
    seen = np.zeros(int(part.max()) + 1, bool)
    flat = part.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        seen[flat[start : start + _PIECE]] = True
        yield
    return [int(value) for value in np.flatnonzero(seen) if value]


def _channels(image):
    """What a result's image becomes: (name of the channel, arrays of its frames), one for each volume."""
    parts = _parts(image["array"], image["axes"])
    if "C" not in image["axes"] or _is_colour(image):
        return [("", parts)]
    names = list(image.get("channels") or ()) or [str(at + 1) for at in range(parts[0].shape[0])]
    return [(name, [part[at] for part in parts]) for at, name in enumerate(names)]


def _is_colour(image):
    return image["array"].dtype == np.uint8 and tuple(image.get("channels") or ()) == RGB


def _by(shape):
    return " x ".join(str(n) for n in shape)
