// Segments the open image: a window with labels, outlines in the ROI Manager, rows in the Results table.
// Works on images, stacks and time-lapses, of any size.
//
// To change: the model and its options below. run("DeepBio Models", "") lists the models that are installed.
// Argument (optional): the name of a model. Returns the number of objects.

model = getArgument();
if (model == "") model = "nuclei";
if (nImages == 0) exit("Open an image first.");

run("DeepBio Segment", "model=[" + model + "] output=labels,rois,table");

// The labels are the current image now; the DeepBio functions tell more of the last command.
run("DeepBio Macro Extensions", "");
Ext.last("count", count);
Ext.last("seconds", seconds);
print(getTitle() + ": " + count + " objects in " + seconds + " s");
return count;
