// Runs two models on the open image and compares what they found, in the Results table:
// objects, foreground in pixels, and the Dice coefficient of both foregrounds (1: the same pixels, 0: none in common).
//
// To change: the names of the models, or a folder with a model in the BioImage.IO format.
// Argument (optional): the two models, with a semicolon between. Returns the Dice coefficient.

models = split(getArgument(), ";");
if (models.length != 2) models = newArray("nuclei", "nuclei");
if (nImages == 0) exit("Open an image first.");
image = getImageID();
run("DeepBio Macro Extensions", "");

labels = newArray(2);
counts = newArray(2);
for (i = 0; i < 2; i++) {
    selectImage(image);
    counts[i] = Ext.segment(models[i], "output=labels title=[labels of model " + (i + 1) + "]");
    labels[i] = getTitle();
}
first = foreground(labels[0]);
second = foreground(labels[1]);

// A pixel is foreground in both where the lower of the two labels is not 0.
imageCalculator("Min create stack", labels[0], labels[1]);
rename("in both");
both = foreground("in both");
close("in both");
dice = 2 * both / (first + second);

row = nResults;
setResult("model", row, models[0]);
setResult("objects", row, counts[0]);
setResult("foreground", row, first);
setResult("dice", row, dice);
setResult("model", row + 1, models[1]);
setResult("objects", row + 1, counts[1]);
setResult("foreground", row + 1, second);
setResult("dice", row + 1, dice);
updateResults();
return "" + dice;

function foreground(title) {
    // Pixels that are not 0, over all slices.
    selectImage(title);
    sum = 0;
    for (slice = 1; slice <= nSlices; slice++) {
        setSlice(slice);
        getRawStatistics(pixels, mean, min, max, deviation, histogram);
        sum += pixels - histogram[0];
    }
    return sum;
}
