"""What a run did to the scene, and how to take it back."""

from __future__ import annotations

import slicer
import vtk

from SlicerDeepBioLib import results

__all__ = ["Change"]

_PREFIX = "DeepBio."


class Change:
    """Nodes that were added and contents that were replaced.

    Parameters
    ----------
    scene : vtkMRMLScene
        Where.

    Attributes
    ----------
    added : list of vtkMRMLNode
        In the order in which they came.
    replaced : list of vtkMRMLNode
        Nodes whose old contents are kept here.
    """

    def __init__(self, scene):
        self.scene = scene
        self.added = []
        self.replaced = []
        self._restores = []

    def add(self, node):
        """Add a node to the scene; returns it as it is there."""
        node = self.scene.AddNode(node)
        self.added.append(node)
        return node

    def note(self, nodes):
        """Remember nodes that others have added."""
        self.added.extend(node for node in nodes if node is not None)

    def on_undo(self, restore):
        """Call ``restore()`` when the change is taken back, before nodes are removed."""
        self._restores.append(restore)

    def keep(self, node):
        """Remember contents, place and attributes of a node that is about to be overwritten; it is empty then."""
        self.replaced.append(node)
        restore = (
            _segmentation_restorer(node) if node.IsA("vtkMRMLSegmentationNode") else _volume_restorer(node)
        )
        transform = node.GetTransformNodeID()
        attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}

        def put_back():
            restore()
            node.SetAndObserveTransformNodeID(transform)
            for name in [name for name in node.GetAttributeNames() if name.startswith(_PREFIX)]:
                node.RemoveAttribute(name)
            for name, value in attributes.items():
                node.SetAttribute(name, value)

        self.on_undo(lambda: self.scene.IsNodePresent(node) and put_back())

    def take_back(self):
        """Put back what was replaced and remove what was added; what the user removed stays removed."""
        while self._restores:
            self._restores.pop()()
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        for node in reversed(self.added):
            if not self.scene.IsNodePresent(node):
                continue
            item = tree.GetItemByDataNode(node) if tree is not None else 0
            if item:
                tree.RemoveItem(item, False, False)
            self.scene.RemoveNode(node)
        self.added = []
        self.replaced = []


def _segmentation_restorer(node):
    kept = results.exchange_segments(node, slicer.vtkSegmentation())
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    reference = node.GetNodeReferenceID(role)

    def restore():
        results.exchange_segments(node, kept)
        node.SetNodeReferenceID(role, reference)

    return restore


def _volume_restorer(node):
    image = node.GetImageData()
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    display = node.GetDisplayNode()
    colors = display.GetColorNodeID() if display else None

    def restore():
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(matrix)
        if display is not None:
            display.SetAndObserveColorNodeID(colors)

    return restore
