"""The page of ``deepbio view``: 3D Slicer's views and the Segment button in a browser."""
