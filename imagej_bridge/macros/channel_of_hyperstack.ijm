// Segments one channel of a hyperstack, in all its slices and frames, and measures the objects' intensity in every channel.
// The labels have no channels, and the slices, frames and calibration of the image.
//
// To change: the channel (its number, counted from 1, or its name), and which slices and frames:
// all, current, a number, or some as 2-7.
// Argument (optional): the channel.

channel = getArgument();
if (channel == "") channel = "1";
if (nImages == 0) exit("Open a hyperstack first.");

run("DeepBio Segment", "model=nuclei channel=[" + channel + "] slices=all frames=all output=labels,table,overlay");
