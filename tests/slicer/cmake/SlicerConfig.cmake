# Stands in for 3D Slicer, so that plain CMake configures, builds and installs our CMakeLists.txt: the macros take
# the same arguments, refuse files that do not exist, and put files where Slicer's put them. What they are given is
# noted in listed.txt, a line "kind|module|file" for each file. Nothing here is taken from Slicer's own macros.
set(Slicer_FOUND TRUE)
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Package.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.10/qt-scripted-modules)
set(Slicer_CLIMODULES_BIN_DIR lib/Slicer-5.10/cli-modules)
