// Segments all TIFF images of a folder in a loop, one after the other, and writes all objects to one table.
// For each image its labels, outlines and table are saved as well. The model is loaded once.
//
// To change: the model, and what is done with each image before and after (the marked lines).
// Argument (optional): the folder with images and that for the results, with a semicolon between.
// Returns the number of images.

folders = split(getArgument(), ";");
if (folders.length == 2) {
    input = folders[0] + File.separator;
    output = folders[1] + File.separator;
} else {
    input = getDirectory("Folder with images");
    output = getDirectory("Folder for the results");
}
File.makeDirectory(output);

setBatchMode(true);
run("Clear Results");
files = getFileList(input);
done = 0;
for (i = 0; i < files.length; i++) {
    if (endsWith(files[i], ".tif")) {
        open(input + files[i]);
        // Before: for example run("Subtract Background...", "rolling=50");
        run("DeepBio Segment", "model=nuclei output=labels,table output_dir=[" + output + "]");
        // After: the labels are the current image here.
        close("*");
        done++;
    }
}
saveAs("Results", output + "all_objects.csv");
return "" + done;
