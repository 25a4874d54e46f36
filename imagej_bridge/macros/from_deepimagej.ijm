// A macro made for DeepImageJ 3, unchanged but for one word: the command is called "DeepBio DeepImageJ Run".
// (Where DeepImageJ is not installed, its own name works too: run("DeepImageJ Run", ...).)
// It shows what the network gives, as DeepImageJ does. When the line returns, the output is there:
// nothing has to wait for it. For objects, outlines and tables, use DeepBio Segment instead.
//
// To change: the model (its folder, or a name), and null for what you do not want.
// Argument (optional): model, input and output folder, with semicolons between; null for none.

parts = split(getArgument(), ";");
if (parts.length != 3) parts = newArray("nuclei", "null", "null");

run("DeepBio DeepImageJ Run", "model_path=[" + parts[0] + "] input_path=[" + parts[1] + "] output_folder=[" + parts[2] + "] display_output=all");
