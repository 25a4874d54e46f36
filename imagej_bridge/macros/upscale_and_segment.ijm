// Gives a fluorescence image twice as many pixels along each axis, then finds the nuclei in that: for images whose pixels
// are large for their nuclei. Lengths and areas stay what they are, since the pixel size is halved.
// Measure intensities in the original: what is between its pixels is a guess.
//
// To change: the models, and what is wanted of the segmentation.
// Argument (optional): the channel, by number or name.

channel = getArgument();
if (channel == "") channel = "auto";
if (nImages == 0) exit("Open a fluorescence image first.");
original = getTitle();

run("DeepBio Restore", "model=upscale-x2 channel=[" + channel + "]");
fine = getTitle();
run("DeepBio Segment", "model=nuclei output=labels,table");
print(original + ": " + nResults + " nuclei in " + fine);
