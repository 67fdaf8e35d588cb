"""Compiled loops of `renderers.fused_shading` for Phong surfaces: the equations of `renderers.shading.shade_phong`, and their derivatives.

Material rows are (red, green, blue, ambient, diffuse, specular, shininess); light rows, parts and scene rows as in
`fused_shading_kernels`. Derivatives are reverse mode, written out by hand: `g_x` is the derivative of the loss with respect to x.
"""

import numpy as np
from numba import njit

BLOCK = 64
_COSINE = (np.pi, 2 * np.pi / 3, np.pi / 4)
_Y = (0.282095, 0.488603, 1.092548, 0.315392, 0.546274)
_LEAST_ALIGNMENT = 1e-6


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _view(positions, point, camera):
    """Unit vector from a point to the camera, and the inverse distance."""
    x, y, z = camera[0] - positions[point, 0], camera[1] - positions[point, 1], camera[2] - positions[point, 2]
    near = 1.0 / np.sqrt(max(x * x + y * y + z * z, 1e-24))
    return x * near, y * near, z * near, near


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _towards(positions, point, light):
    """Unit vector from a point to a light, and the inverse distance (1 for directional lights)."""
    local = light[3]
    x, y, z = light[0] - local * positions[point, 0], light[1] - local * positions[point, 1], light[2] - local * positions[point, 2]
    inverse = 1.0 / np.sqrt(max(x * x + y * y + z * z, 1e-12))
    return x * inverse, y * inverse, z * inverse, inverse


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _irradiance_basis(x, y, z, basis):
    """See `renderers.shading.irradiance_basis`."""
    basis[0] = _COSINE[0] * _Y[0]
    basis[1], basis[2], basis[3] = _COSINE[1] * _Y[1] * y, _COSINE[1] * _Y[1] * z, _COSINE[1] * _Y[1] * x
    basis[4], basis[5], basis[7] = _COSINE[2] * _Y[2] * x * y, _COSINE[2] * _Y[2] * y * z, _COSINE[2] * _Y[2] * x * z
    basis[6], basis[8] = _COSINE[2] * _Y[3] * (3.0 * z * z - 1.0), _COSINE[2] * _Y[4] * (x * x - y * y)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _basis_gradient(g, x, y, z):
    """Gradient with respect to the normal, given that of the basis."""
    first, second = _COSINE[1] * _Y[1], _COSINE[2] * _Y[2]
    square, difference = 6.0 * _COSINE[2] * _Y[3], 2.0 * _COSINE[2] * _Y[4]
    g_x = first * g[3] + second * (g[4] * y + g[7] * z) + difference * g[8] * x
    g_y = first * g[1] + second * (g[4] * x + g[5] * z) - difference * g[8] * y
    g_z = first * g[2] + second * (g[5] * y + g[7] * x) + square * g[6] * z
    return g_x, g_y, g_z


@njit(nogil=True, cache=True, error_model="numpy")
def shade(start, stop, positions, normals, tints, owners, materials, camera, lights, sh, visibility, out):
    """Radiance of the points of blocks start..stop."""
    basis = np.empty(9)
    for point in range(start * BLOCK, min(stop * BLOCK, len(positions))):
        nx, ny, nz = normals[point, 0], normals[point, 1], normals[point, 2]
        vx, vy, vz, _ = _view(positions, point, camera)
        row = materials[owners[point]]
        out[point] = 0.0
        for k in range(len(lights)):
            light = lights[k]
            lx, ly, lz, inverse = _towards(positions, point, light)
            seen = visibility[k, point] if len(visibility) else 1.0
            cosine = nx * lx + ny * ly + nz * lz
            highlight = 0.0
            if cosine > 0.0:
                alignment = 2.0 * cosine * (nx * vx + ny * vy + nz * vz) - (lx * vx + ly * vy + lz * vz)
                highlight = row[5] * max(alignment, _LEAST_ALIGNMENT) ** row[6]
            falloff = inverse * inverse
            for c in range(3):
                base = row[c] * tints[point, c]
                lit = base * row[4] * max(cosine, 0.0) + highlight
                out[point, c] += light[4 + c] * falloff * (base * row[3] + seen * lit)
        if len(sh):
            _irradiance_basis(nx, ny, nz, basis)
            for c in range(3):
                irradiance = 0.0
                for j in range(9):
                    irradiance += basis[j] * sh[j, c]
                out[point, c] += row[c] * tints[point, c] * row[3] * irradiance


@njit(nogil=True, cache=True, error_model="numpy")
def _light_gradient(point, positions, n, tint, row, v, light, seen, g, of_point, of_view, of_row, of_light):
    """Add one light's part of the gradients of one point; returns that of the visibility.

    `of_point` is (position, normal, tint), `of_light` (vector, intensity).
    """
    lx, ly, lz, inverse = _towards(positions, point, light)
    falloff = inverse * inverse
    cosine, n_v = n[0] * lx + n[1] * ly + n[2] * lz, n[0] * v[0] + n[1] * v[1] + n[2] * v[2]
    raw = 2.0 * cosine * n_v - (lx * v[0] + ly * v[1] + lz * v[2])
    alignment = max(raw, _LEAST_ALIGNMENT)
    power = alignment ** row[6] if cosine > 0.0 else 0.0
    facing, highlight = max(cosine, 0.0), row[5] * power
    g_seen, g_highlight, g_lit_base, g_falloff = 0.0, 0.0, 0.0, 0.0
    for c in range(3):
        base, arriving = row[c] * tint[c], light[4 + c] * falloff
        lit = base * row[4] * facing + highlight
        response = base * row[3] + seen * lit
        of_light[3 + c] += g[c] * response * falloff
        g_falloff += g[c] * response * light[4 + c]
        g_seen += g[c] * arriving * lit
        g_highlight += g[c] * arriving * seen
        g_lit_base += g[c] * arriving * seen * base
        of_row[3] += g[c] * arriving * base
        g_base = g[c] * arriving * (row[3] + seen * row[4] * facing)
        of_row[c] += g_base * tint[c]
        of_point[6 + c] += g_base * row[c]
    of_row[4] += g_lit_base * facing
    g_cosine, g_alignment = 0.0, 0.0
    if cosine > 0.0:
        g_cosine = g_lit_base * row[4]
        of_row[5] += g_highlight * power
        of_row[6] += g_highlight * highlight * np.log(alignment)
        g_alignment = g_highlight * highlight * row[6] / alignment if raw >= _LEAST_ALIGNMENT else 0.0
    g_cosine += 2.0 * n_v * g_alignment
    direction = (lx, ly, lz)
    along = 0.0
    for axis in range(3):
        of_point[3 + axis] += g_cosine * direction[axis] + 2.0 * cosine * g_alignment * v[axis]
        of_view[axis] += g_alignment * (2.0 * cosine * n[axis] - direction[axis])
        along += direction[axis] * (g_cosine * n[axis] - g_alignment * v[axis])
    along += 2.0 * g_falloff * falloff
    for axis in range(3):
        g_vector = (g_cosine * n[axis] - g_alignment * v[axis] - along * direction[axis]) * inverse
        of_light[axis] += g_vector
        of_point[axis] -= light[3] * g_vector
    return g_seen


@njit(nogil=True, cache=True, error_model="numpy")
def _environment_gradient(n, tint, row, sh, g, basis, of_basis, of_point, of_row, of_sh):
    """Add the environment's part of the gradients of one point."""
    _irradiance_basis(n[0], n[1], n[2], basis)
    of_basis[:] = 0.0
    for c in range(3):
        base, irradiance = row[c] * tint[c], 0.0
        for j in range(9):
            irradiance += basis[j] * sh[j, c]
            of_basis[j] += g[c] * base * row[3] * sh[j, c]
            of_sh[3 * j + c] += g[c] * base * row[3] * basis[j]
        of_row[c] += g[c] * irradiance * row[3] * tint[c]
        of_point[6 + c] += g[c] * irradiance * row[3] * row[c]
        of_row[3] += g[c] * irradiance * base
    g_x, g_y, g_z = _basis_gradient(of_basis, n[0], n[1], n[2])
    of_point[3] += g_x
    of_point[4] += g_y
    of_point[5] += g_z


@njit(nogil=True, cache=True, error_model="numpy")
def shade_gradient(
    start,
    stop,
    blocks_a_part,
    positions,
    normals,
    tints,
    owners,
    materials,
    camera,
    lights,
    sh,
    visibility,
    gradient,
    points_gradient,
    visibility_gradient,
    materials_parts,
    scene_parts,
):
    """Gradients of parts start..stop; what goes where is told at `fused_shading_kernels.shade_gradient`."""
    count = len(positions)
    basis, of_basis, of_view, of_point = np.empty(9), np.empty(9), np.empty(3), np.empty(9)
    for part in range(start, stop):
        sums = scene_parts[part]
        for point in range(part * blocks_a_part * BLOCK, min((part + 1) * blocks_a_part * BLOCK, count)):
            n, tint, g = normals[point], tints[point], gradient[point]
            row, of_row = materials[owners[point]], materials_parts[part, owners[point]]
            vx, vy, vz, near = _view(positions, point, camera)
            v = (vx, vy, vz)
            of_point[:] = 0.0
            of_view[:] = 0.0
            for k in range(len(lights)):
                seen = visibility[k, point] if len(visibility) else 1.0
                of_light = sums[3 + 6 * k : 9 + 6 * k]
                g_seen = _light_gradient(point, positions, n, tint, row, v, lights[k], seen, g, of_point, of_view, of_row, of_light)
                if len(visibility):
                    visibility_gradient[k, point] = g_seen
            if len(sh):
                _environment_gradient(n, tint, row, sh, g, basis, of_basis, of_point, of_row, sums[3 + 6 * len(lights) :])
            along = of_view[0] * vx + of_view[1] * vy + of_view[2] * vz
            for axis in range(3):
                g_camera = (of_view[axis] - along * v[axis]) * near
                sums[axis] += g_camera
                of_point[axis] -= g_camera
            for entry in range(9):
                points_gradient[point, entry] = of_point[entry]
