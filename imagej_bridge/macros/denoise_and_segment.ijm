// Takes the noise out of a fluorescence image, then finds the nuclei in what is left; the original stays as it is.
// Measure intensities in the original: the labels lie on its pixels.
//
// To change: the models, and what is wanted of the segmentation.
// Argument (optional): the channel, by number or name.

channel = getArgument();
if (channel == "") channel = "auto";
if (nImages == 0) exit("Open a fluorescence image first.");
original = getTitle();

run("DeepBio Restore", "model=denoise channel=[" + channel + "]");
clean = getTitle();
run("DeepBio Segment", "model=nuclei output=labels,table");
print(original + ": " + nResults + " nuclei in " + clean);
