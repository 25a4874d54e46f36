// Says what the cell in the image is, with the probability of every class in the Results table.
// On a stack or a time-lapse there is a row for each slice and frame.
//
// To change: the model (its name, or the folder of one that you trained with deepbio train).
// Argument (optional): the model.

model = getArgument();
if (model == "") model = "blood-cells";
if (nImages == 0) exit("Open an image of a cell first.");

run("DeepBio Classify", "model=[" + model + "]");
row = nResults - 1;
print(getTitle() + ": " + getResultString("class", row) + " (" + d2s(100 * getResult("probability", row), 1) + " %)");
return getResultString("class", row);
