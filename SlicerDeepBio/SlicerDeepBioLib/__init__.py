"""What the 3D Slicer module, the scripted command-line module and the web page share.

Runs in the Python of 3D Slicer (3.9 and later) with the standard library, numpy, vtk and slicer; the
package ``deepbio`` itself lives in the worker's Python, see ``client``.
"""
