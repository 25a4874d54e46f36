// Segments all images of a folder: for each a table (CSV), its outlines (a zip for the ROI Manager) and its labels.
// No window opens. Files that are done are skipped when it runs again; summary.csv says what became of each.
// The macro folder_loop.ijm does the same in a loop of its own, for those who want to do more with each image.
//
// To change: the model, the pattern (*.tif: only names that end so; without it all images) and what to save.
// Argument (optional): the folder with images and that for the results, with a semicolon between.

folders = split(getArgument(), ";");
if (folders.length == 2) {
    input = folders[0];
    output = folders[1];
} else {
    input = getDirectory("Folder with images");
    output = getDirectory("Folder for the results");
}

run("DeepBio Batch", "model=nuclei input=[" + input + "] output_dir=[" + output + "] pattern=*.tif save=labels,rois,csv");
