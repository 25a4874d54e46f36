"""3D Slicer's Python without the application: modules ``qt`` and ``ctk`` on PySide6, and the parts of ``slicer``
that slicer-core lacks.

What is real: MRML, segmentations, ``slicer.util`` (slicer-core) and every Qt widget (PySide6, drawn offscreen). What
is a stand-in, because the application alone has it: PythonQt's way of writing Qt (`pythonqt`), the ctk and qMRML
widgets (`ctk_widgets`, `mrml_widgets`), ``slicer.app`` (`application`), ``ScriptedLoadableModule`` (`scripted`) and
``parameterNodeWrapper`` (`parameters`). They offer what the module uses, and raise AttributeError for the rest, so
that code which only PySide6 understands does not pass.
"""
