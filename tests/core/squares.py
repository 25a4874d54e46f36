"""Images with a known number of objects, for the tests of batches."""

import numpy as np


def squares(count: int) -> np.ndarray:
    """An odd image with `count` squares of 4 x 4 pixels."""
    pixels = np.full((37, 53), 100, np.uint16)
    for number in range(count):
        row, column = divmod(number, 6)
        pixels[3 + 8 * row : 7 + 8 * row, 3 + 8 * column : 7 + 8 * column] = 3000
    return pixels
