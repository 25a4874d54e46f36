import ij.CompositeImage;
import ij.IJ;
import ij.ImagePlus;
import ij.ImageStack;
import ij.gui.Roi;
import ij.io.FileSaver;
import ij.io.RoiDecoder;
import ij.measure.Calibration;
import ij.process.ByteProcessor;
import ij.process.ColorProcessor;
import ij.process.ImageProcessor;
import ij.process.LUT;
import ij.process.ShortProcessor;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.util.Locale;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** Says in JSON lines what the real ImageJ makes of image files and ROIs, or writes some with it. */
public class Probe {
    public static void main(String[] arguments) throws IOException {
        Locale.setDefault(Locale.ROOT);
        if (arguments[0].equals("read")) {
            for (int i = 1; i < arguments.length; i++) read(arguments[i]);
        } else if (arguments[0].equals("rois")) {
            int[] sizes = new int[4];
            for (int i = 0; i < 4; i++) sizes[i] = Integer.parseInt(arguments[i + 2]);
            rois(arguments[1], sizes);
        } else {
            write(arguments[1]);
        }
        System.exit(0);
    }

    static void read(String path) {
        ImagePlus image = IJ.openImage(path);
        StringBuilder out = new StringBuilder("{\"name\":\"" + new File(path).getName() + "\"");
        if (image == null) {
            System.out.println(out.append(",\"opened\":false}"));
            return;
        }
        Calibration cal = image.getCalibration();
        out.append(String.format(",\"opened\":true,\"type\":%d,\"dimensions\":%s", image.getType(),
                java.util.Arrays.toString(image.getDimensions())));
        out.append(String.format(",\"hyperstack\":%b,\"composite\":%b", image.isHyperStack(), image.isComposite()));
        out.append(",\"spacing\":[" + cal.pixelDepth + "," + cal.pixelHeight + "," + cal.pixelWidth + "]");
        out.append(",\"origin\":[" + cal.xOrigin + "," + cal.yOrigin + "," + cal.zOrigin + "]");
        out.append(",\"unit\":\"" + cal.getUnit() + "\",\"interval\":" + cal.frameInterval);
        out.append(",\"time_unit\":\"" + cal.getTimeUnit() + "\"");
        out.append(",\"range\":[" + image.getDisplayRangeMin() + "," + image.getDisplayRangeMax() + "]");
        ImageStack stack = image.getStack();
        LUT lut = stack.getProcessor(1).getLut();
        if (lut == null) lut = image.getProcessor().getLut();
        if (lut != null && !image.isComposite()) {
            out.append(",\"lut\":[");
            for (int i = 0; i < 256; i++)
                out.append((i > 0 ? "," : "") + "[" + lut.getRed(i) + "," + lut.getGreen(i) + "," + lut.getBlue(i) + "]");
            out.append("]");
        }
        out.append(",\"labels\":[");
        for (int i = 1; i <= stack.getSize(); i++)
            out.append((i > 1 ? "," : "") + quoted(stack.getSliceLabel(i)));
        out.append("],\"pixels\":[");
        for (int i = 1; i <= stack.getSize(); i++) {
            ImageProcessor plane = stack.getProcessor(i);
            for (int k = 0; k < plane.getPixelCount(); k++) {
                double value = image.getType() == ImagePlus.COLOR_RGB ? plane.get(k) & 0xffffff : cal.getCValue(plane.getf(k));
                out.append((i > 1 || k > 0 ? "," : "") + value);
            }
        }
        System.out.println(out.append("]}"));
    }

    /** Decodes a zip of ROIs and fills each with its number where it says that it is; sizes are X, Y, Z and T. */
    static void rois(String path, int[] sizes) throws IOException {
        ImagePlus image = IJ.createImage("filled", "16-bit black", sizes[0], sizes[1], sizes[2] * sizes[3]);
        image.setDimensions(1, sizes[2], sizes[3]);
        image.setOpenAsHyperStack(true);
        StringBuilder out = new StringBuilder("{\"rois\":[");
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(path))) {
            String separator = "";
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                Roi roi = new RoiDecoder(zip.readAllBytes(), entry.getName()).getRoi();
                boolean placed = roi.hasHyperStackPosition();
                int plane = placed ? image.getStackIndex(1, roi.getZPosition(), roi.getTPosition()) : roi.getPosition();
                ImageProcessor pixels = image.getStack().getProcessor(Math.max(1, plane));
                pixels.setValue(Integer.parseInt(roi.getName().split("[- ]")[0]));
                pixels.fill(roi);
                ImagePlus single = new ImagePlus("plane", pixels);
                single.setRoi(roi);
                out.append(String.format("%s{\"name\":%s,\"entry\":%s,\"kind\":\"%s\",\"count\":%d", separator,
                        quoted(roi.getName()), quoted(entry.getName()), roi.getTypeAsString(),
                        single.getStatistics().pixelCount));
                out.append(String.format(",\"position\":[%d,%d,%d,%d],\"hyperstack\":%b,\"colour\":\"%08x\"}",
                        roi.getPosition(), roi.getCPosition(), roi.getZPosition(), roi.getTPosition(), placed,
                        roi.getStrokeColor().getRGB()));
                separator = ",";
            }
        }
        out.append("],\"pixels\":[");
        for (int i = 1; i <= image.getStackSize(); i++)
            for (int k = 0; k < sizes[0] * sizes[1]; k++)
                out.append((i > 1 || k > 0 ? "," : "") + image.getStack().getProcessor(i).get(k));
        System.out.println(out.append("]}"));
    }

    static String quoted(String text) {
        return text == null ? "null" : "\"" + text.replaceAll("[\\p{Cntrl}\"\\\\]", " ") + "\"";
    }

    static void write(String folder) {
        ImageStack stack = new ImageStack(11, 7);
        for (int i = 0; i < 30; i++) {
            ShortProcessor plane = new ShortProcessor(11, 7);
            for (int k = 0; k < 77; k++) plane.set(k, i * 77 + k);
            stack.addSlice(i % 2 == 0 ? "DAPI" : "GFP", plane);
        }
        ImagePlus hyper = new ImagePlus("hyper", stack);
        hyper.setDimensions(2, 5, 3);
        calibrate(hyper.getCalibration());
        new FileSaver(new CompositeImage(hyper, CompositeImage.COMPOSITE)).saveAsTiff(folder + "/hyper.tif");

        ByteProcessor grey = new ByteProcessor(11, 7);
        for (int k = 0; k < 77; k++) grey.set(k, 3 * k);
        save(new ImagePlus("grey", grey), folder + "/grey.tif");
        save(new ImagePlus("float", grey.convertToFloatProcessor()), folder + "/float.tif");

        ImageStack colours = new ImageStack(11, 7);
        for (int i = 0; i < 5; i++) {
            ColorProcessor plane = new ColorProcessor(11, 7);
            for (int k = 0; k < 77; k++) plane.set(k, ((i * 10) << 16) | (k << 8) | 200);
            colours.addSlice(plane);
        }
        save(new ImagePlus("colour", colours), folder + "/colour.tif");
    }

    static void save(ImagePlus image, String path) {
        calibrate(image.getCalibration());
        if (image.getStackSize() > 1) new FileSaver(image).saveAsTiffStack(path);
        else new FileSaver(image).saveAsTiff(path);
    }

    static void calibrate(Calibration cal) {
        cal.pixelWidth = 0.5;
        cal.pixelHeight = 0.8;
        cal.pixelDepth = 1.2;
        cal.setUnit("micron");
        cal.xOrigin = 6;
        cal.yOrigin = -10;
        cal.frameInterval = 1.5;
        cal.setTimeUnit("min");
    }
}
