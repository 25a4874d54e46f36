// Segments a time-lapse and makes a table with a row for each frame: how many objects, and their mean area.
// The Results table is replaced by it; that of the single objects is saved if there is a folder.
//
// To change: the model and its options.
// Argument (optional): a folder, in which objects.csv and frames.csv are saved.

output = getArgument();
if (nImages == 0) exit("Open a time-lapse first.");
getDimensions(width, height, channels, slices, frames);
if (frames < 2) exit("The image has one frame. Image > Properties... makes slices frames.");

run("Clear Results");
run("DeepBio Segment", "model=nuclei output=labels,table");
if (output != "") saveAs("Results", output + File.separator + "objects.csv");

count = newArray(frames);
area = newArray(frames);
for (row = 0; row < nResults; row++) {
    frame = getResult("frame", row) - 1;
    count[frame]++;
    area[frame] += getResult("area", row);
}

run("Clear Results");
for (frame = 0; frame < frames; frame++) {
    setResult("frame", frame, frame + 1);
    setResult("count", frame, count[frame]);
    mean = NaN;
    if (count[frame] > 0) mean = area[frame] / count[frame];
    setResult("mean_area", frame, mean);
}
updateResults();
if (output != "") saveAs("Results", output + File.separator + "frames.csv");
