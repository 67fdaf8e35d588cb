"""Compiled loops of `renderers.composition`: surface points into images, blended at silhouettes, and the gradient back to the points."""

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def scatter(start, stop, pixels, owners, radiance, depth, normals, colour, depths, ids, normal_image, coverage, slots):
    """Write surface points start..stop into the images (whose pixels are one axis), and which point each of their pixels shows."""
    for n in range(start, stop):
        pixel, owner = pixels[n], owners[n]
        for c in range(3):
            colour[pixel, c] = radiance[n, c]
            normal_image[pixel, c] = normals[n, c]
        depths[pixel], ids[pixel], slots[pixel] = depth[n], owner, n
        coverage[owner, pixel] = 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def blend(crossings, ids, colour, differences, coverage):
    """Blend colour and coverage across silhouettes. `differences` (crossings, 3) is written: source colour less target colour."""
    for index in range(len(crossings)):
        target, source = crossings[index].target, crossings[index].source
        for c in range(3):
            differences[index, c] = colour[source, c] - colour[target, c]
    for index in range(len(crossings)):
        record = crossings[index]
        target, source, share = record.target, record.source, record.blend
        for c in range(3):
            colour[target, c] += share * differences[index, c]
        if ids[source] != ids[target]:
            if ids[source] >= 0:
                coverage[ids[source], target] += share
            if ids[target] >= 0:
                coverage[ids[target], target] -= share


@njit(nogil=True, cache=True, error_model="numpy")
def scatter_rows(start, stop, pixels, values, image):
    """Write rows start..stop of values into an image (pixels, channels)."""
    for n in range(start, stop):
        for c in range(values.shape[1]):
            image[pixels[n], c] = values[n, c]


@njit(nogil=True, cache=True, error_model="numpy")
def gather(start, stop, pixels, image, values):
    """Read an image (pixels, channels) at the pixels of surface points start..stop."""
    for n in range(start, stop):
        for c in range(values.shape[1]):
            values[n, c] = image[pixels[n], c]


@njit(nogil=True, cache=True, error_model="numpy")
def blend_gradient(crossings, ids, slots, differences, colour, coverage, radiance, behind, clip):
    """Add what blends send to the radiance of points, to the colour `behind` them (no rows where there is none), and to clip coordinates.

    `colour` and `coverage` are the gradients of the images.
    """
    for index in range(len(crossings)):
        record = crossings[index]
        target, source, share = record.target, record.source, record.blend
        slope = 0.0
        for c in range(3):
            g = colour[target, c]
            slope += g * differences[index, c]
            if ids[source] >= 0:
                radiance[slots[source], c] += share * g
            elif len(behind):
                behind[source, c] += share * g
            if ids[target] >= 0:
                radiance[slots[target], c] -= share * g
            elif len(behind):
                behind[target, c] -= share * g
        if ids[source] != ids[target]:
            if ids[source] >= 0:
                slope += coverage[ids[source], target]
            if ids[target] >= 0:
                slope -= coverage[ids[target], target]
        for a in range(3):
            column = a if a < 2 else 3
            clip[record.vertex_a, column] += slope * record.gradient_a[a]
            clip[record.vertex_b, column] += slope * record.gradient_b[a]
