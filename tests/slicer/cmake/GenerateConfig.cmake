# What the packages of extensions are made from must be set by now.
foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/listed.txt "EXTENSION|${name}|${EXTENSION_${name}}\n")
endforeach()
