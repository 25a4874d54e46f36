# Slicer's own file makes the package; here installing is enough.
