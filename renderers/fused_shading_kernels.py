"""Compiled loops of `renderers.fused_shading`: the metallic-roughness equations of `renderers.shading`, and their derivatives.

Points are worked through in blocks of `BLOCK`. A block's values lie in one flat scratch array, one row of `BLOCK` numbers a quantity,
at offsets that the compiler knows; it then computes many points with one instruction. Rows are named below. Derivatives are reverse mode,
written out by hand: `g_x` is the derivative of the loss with respect to x.
"""

import numpy as np
from numba import njit

from renderers.shading import _GGX_BAND_POLYNOMIALS, _GGX_REFLECTANCE_FITS, DIELECTRIC_REFLECTANCE, SMALLEST_ROUGHNESS

BLOCK = 64
_B = BLOCK
# Rows: position, normal, base colour, metallic, roughness, view direction, 1 / distance to the camera, visibility, result or its gradient.
_P, _N, _C, _M, _R, _V, _NEAR, _SEEN, _OUT = 0, 3 * _B, 6 * _B, 9 * _B, 10 * _B, 11 * _B, 14 * _B, 15 * _B, 16 * _B
# Gradients: position, normal, base colour, metallic, roughness, view direction; of one light: its vector, intensity, visibility.
_GP, _GN, _GC, _GM, _GR, _GV, _GL, _GI, _GSEEN = 19 * _B, 22 * _B, 25 * _B, 28 * _B, 29 * _B, 30 * _B, 33 * _B, 36 * _B, 39 * _B
# Environment: harmonics of the normal and of the mirrored view, each times its band's factor; irradiance and lobe, or their gradients.
_YN, _YM, _E, _L, _GYN, _GYM, _MIRROR, _GMIRROR = 40 * _B, 49 * _B, 58 * _B, 61 * _B, 64 * _B, 73 * _B, 82 * _B, 85 * _B
SCRATCH = 88 * _B
_COSINE = (np.pi, 2 * np.pi / 3, np.pi / 4)
_FUSED = {"contract"}
"""Products and sums may become one instruction, the same one for every block: results keep their bits from run to run."""
_Y = (0.282095, 0.488603, 1.092548, 0.315392, 0.546274)
_F, _G = _GGX_REFLECTANCE_FITS, _GGX_BAND_POLYNOMIALS


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _load(s, first, stop, positions, normals, tints, owners, materials, camera):
    """Fill the rows of points first..first + BLOCK; past `stop` the last point is repeated."""
    for i in range(_B):
        point = min(first + i, stop - 1)
        for c in range(3):
            s[_P + c * _B + i] = positions[point, c]
            s[_N + c * _B + i] = normals[point, c]
            s[_C + c * _B + i] = tints[point, c] * materials[owners[point], c]
        s[_M + i] = materials[owners[point], 3]
        s[_R + i] = materials[owners[point], 4]
    x, y, z = camera[0], camera[1], camera[2]
    for i in range(_B):
        s[_R + i] = min(max(s[_R + i], SMALLEST_ROUGHNESS), 1.0)
        vx, vy, vz = x - s[_P + i], y - s[_P + _B + i], z - s[_P + 2 * _B + i]
        near = 1.0 / np.sqrt(max(vx * vx + vy * vy + vz * vz, 1e-24))
        s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i], s[_NEAR + i] = vx * near, vy * near, vz * near, near


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _load_visibility(s, first, stop, visibility, light):
    """The share of one light that each point sees; 1 where none is given."""
    for i in range(_B):
        s[_SEEN + i] = visibility[light, min(first + i, stop - 1)] if len(visibility) else 1.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _towards(s, i, x, y, z, local):
    """Unit vector towards a light at (x, y, z), or in direction (x, y, z) if not local, and the inverse distance (1 if not local)."""
    ox, oy, oz = x - local * s[_P + i], y - local * s[_P + _B + i], z - local * s[_P + 2 * _B + i]
    inverse = 1.0 / np.sqrt(max(ox * ox + oy * oy + oz * oz, 1e-12))
    return ox * inverse, oy * inverse, oz * inverse, inverse


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _half_way(s, i, lx, ly, lz):
    """Unit half vector of light and view, and the inverse length of their sum."""
    hx, hy, hz = lx + s[_V + i], ly + s[_V + _B + i], lz + s[_V + 2 * _B + i]
    inverse = 1.0 / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
    return hx * inverse, hy * inverse, hz * inverse, inverse


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _facets(s, i, hx, hy, hz, a2):
    """Trowbridge-Reitz' density, its denominator's root, and 1 - n.h (see `renderers.shading`)."""
    dx, dy, dz = s[_N + i] - hx, s[_N + _B + i] - hy, s[_N + 2 * _B + i] - hz
    gap = 0.5 * (dx * dx + dy * dy + dz * dz)
    root = (1.0 - gap) * (1.0 - gap) * a2 + gap * (2.0 - gap)
    density = a2 / (np.pi * root * root) if gap < 1.0 else 0.0
    return density, root, gap


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _smith(cosine, a2):
    """`cosine + sqrt(a2 + (1 - a2) cosine^2)` and the square root."""
    root = np.sqrt(a2 + (1.0 - a2) * cosine * cosine)
    return cosine + root, root


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _dot(s, row, i, x, y, z):
    return s[row + i] * x + s[row + _B + i] * y + s[row + 2 * _B + i] * z


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _diffuse_and_reflectance(s, i, c):
    base, metallic = s[_C + c * _B + i], s[_M + i]
    return base * (1.0 - metallic), DIELECTRIC_REFLECTANCE * (1.0 - metallic) + base * metallic


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _add_light(s, x, y, z, local, red, green, blue):
    """Add what one light sends to the camera."""
    for i in range(_B):
        lx, ly, lz, inverse = _towards(s, i, x, y, z, local)
        hx, hy, hz, _ = _half_way(s, i, lx, ly, lz)
        a2 = s[_R + i] * s[_R + i]
        a2 = a2 * a2
        density, _, _ = _facets(s, i, hx, hy, hz, a2)
        n_l, n_v = max(_dot(s, _N, i, lx, ly, lz), 0.0), max(_dot(s, _N, i, s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i]), 1e-4)
        to_light, _ = _smith(n_l, a2)
        to_view, _ = _smith(n_v, a2)
        lobe = density / (to_light * to_view)
        v_h = min(max(_dot(s, _V, i, hx, hy, hz), 0.0), 1.0)
        away = 1.0 - v_h
        schlick = away * away * away * away * away
        received = n_l * inverse * inverse * s[_SEEN + i]
        for c in range(3):
            diffuse, reflectance = _diffuse_and_reflectance(s, i, c)
            fresnel = reflectance + (1.0 - reflectance) * schlick
            intensity = red if c == 0 else (green if c == 1 else blue)
            s[_OUT + c * _B + i] += received * intensity * ((1.0 - fresnel) * diffuse * (1.0 / np.pi) + fresnel * lobe)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _response_gradient(s, i, colours, n_l, falloff, seen, schlick, lobe):
    """Add one light's gradients with respect to base colour and metallic; write those of intensity and visibility; return the others'."""
    g_n_l, g_seen, g_falloff, g_lobe, g_schlick, g_m = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for c in range(3):
        diffuse, reflectance = _diffuse_and_reflectance(s, i, c)
        fresnel = reflectance + (1.0 - reflectance) * schlick
        intensity = colours[c]
        g = s[_OUT + c * _B + i]
        response = (1.0 - fresnel) * diffuse * (1.0 / np.pi) + fresnel * lobe
        lit = g * response
        s[_GI + c * _B + i] = lit * n_l * falloff * seen
        g_falloff += lit * n_l * seen * intensity
        g_seen += lit * n_l * falloff * intensity
        g_n_l += lit * falloff * seen * intensity
        g_response = g * n_l * falloff * seen * intensity
        g_fresnel = g_response * (lobe - diffuse * (1.0 / np.pi))
        g_diffuse = g_response * (1.0 - fresnel) * (1.0 / np.pi)
        g_lobe += g_response * fresnel
        g_reflectance = g_fresnel * (1.0 - schlick)
        g_schlick += g_fresnel * (1.0 - reflectance)
        base = s[_C + c * _B + i]
        s[_GC + c * _B + i] += g_diffuse * (1.0 - s[_M + i]) + g_reflectance * s[_M + i]
        g_m += g_reflectance * (base - DIELECTRIC_REFLECTANCE) - g_diffuse * base
    s[_GSEEN + i] = g_seen
    s[_GM + i] += g_m
    return g_n_l, g_falloff, g_lobe, g_schlick


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _light_gradient(s, x, y, z, local, red, green, blue):
    """Add one light's part of the gradients; rows _GL, _GI and _GSEEN are overwritten with those of the light itself."""
    for i in range(_B):
        lx, ly, lz, inverse = _towards(s, i, x, y, z, local)
        hx, hy, hz, per_sum = _half_way(s, i, lx, ly, lz)
        vx, vy, vz = s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i]
        nx, ny, nz = s[_N + i], s[_N + _B + i], s[_N + 2 * _B + i]
        r = s[_R + i]
        a2 = r * r * r * r
        density, root, gap = _facets(s, i, hx, hy, hz, a2)
        n_l_raw, n_v_raw = nx * lx + ny * ly + nz * lz, nx * vx + ny * vy + nz * vz
        n_l, n_v = max(n_l_raw, 0.0), max(n_v_raw, 1e-4)
        to_light, root_l = _smith(n_l, a2)
        to_view, root_v = _smith(n_v, a2)
        masking = 1.0 / (to_light * to_view)
        lobe = density * masking
        v_h_raw = vx * hx + vy * hy + vz * hz
        away = 1.0 - min(max(v_h_raw, 0.0), 1.0)
        fourth = away * away * away * away
        schlick = fourth * away
        falloff, seen = inverse * inverse, s[_SEEN + i]
        colours = (red, green, blue)
        g_n_l, g_falloff, g_lobe, g_schlick = _response_gradient(s, i, colours, n_l, falloff, seen, schlick, lobe)
        g_density, g_masking = g_lobe * masking, g_lobe * density
        g_to_light, g_to_view = -g_masking * masking / to_light, -g_masking * masking / to_view
        g_n_l = g_n_l + g_to_light * (1.0 + (1.0 - a2) * n_l / root_l) if n_l_raw > 0.0 else 0.0
        g_n_v = g_to_view * (1.0 + (1.0 - a2) * n_v / root_v) if n_v_raw > 1e-4 else 0.0
        g_a2 = 0.5 * (g_to_light * (1.0 - n_l * n_l) / root_l + g_to_view * (1.0 - n_v * n_v) / root_v)
        n_h = 1.0 - gap
        g_root = -2.0 * g_density * density / root
        g_a2 += (g_density / (np.pi * root * root) if gap < 1.0 else 0.0) + g_root * n_h * n_h
        g_gap = g_root * 2.0 * n_h * (1.0 - a2)
        s[_GR + i] += 4.0 * r * r * r * g_a2
        g_v_h = -5.0 * g_schlick * fourth if (v_h_raw > 0.0) & (v_h_raw < 1.0) else 0.0
        g_hx, g_hy, g_hz = g_v_h * vx - g_gap * (nx - hx), g_v_h * vy - g_gap * (ny - hy), g_v_h * vz - g_gap * (nz - hz)
        along = g_hx * hx + g_hy * hy + g_hz * hz
        g_hx, g_hy, g_hz = (g_hx - along * hx) * per_sum, (g_hy - along * hy) * per_sum, (g_hz - along * hz) * per_sum
        s[_GN + i] += g_n_l * lx + g_n_v * vx + g_gap * (nx - hx)
        s[_GN + _B + i] += g_n_l * ly + g_n_v * vy + g_gap * (ny - hy)
        s[_GN + 2 * _B + i] += g_n_l * lz + g_n_v * vz + g_gap * (nz - hz)
        s[_GV + i] += g_n_v * nx + g_v_h * hx + g_hx
        s[_GV + _B + i] += g_n_v * ny + g_v_h * hy + g_hy
        s[_GV + 2 * _B + i] += g_n_v * nz + g_v_h * hz + g_hz
        g_lx, g_ly, g_lz = g_n_l * nx + g_hx, g_n_l * ny + g_hy, g_n_l * nz + g_hz
        along = g_lx * lx + g_ly * ly + g_lz * lz + 2.0 * g_falloff * falloff
        g_lx, g_ly, g_lz = (g_lx - along * lx) * inverse, (g_ly - along * ly) * inverse, (g_lz - along * lz) * inverse
        s[_GL + i], s[_GL + _B + i], s[_GL + 2 * _B + i] = g_lx, g_ly, g_lz
        s[_GP + i] -= local * g_lx
        s[_GP + _B + i] -= local * g_ly
        s[_GP + 2 * _B + i] -= local * g_lz


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _polynomial(row, r):
    """Sum of row[k] r^k."""
    return row[0] + r * (row[1] + r * (row[2] + r * (row[3] + r * row[4])))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _slope(row, r):
    """Derivative of `_polynomial`."""
    return row[1] + r * (2.0 * row[2] + r * (3.0 * row[3] + r * 4.0 * row[4]))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _band_factor(row, r):
    """Share of a band that a lobe of roughness r keeps, and its derivative."""
    factor = 1.0 - r * r * (row[0] + r * (row[1] + r * (row[2] + r * row[3])))
    return factor, -r * (2.0 * row[0] + r * (3.0 * row[1] + r * (4.0 * row[2] + r * 5.0 * row[3])))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _decay(x):
    """exp(x) for x in [-8, 0], to 1e-11, by its series at x / 16; a call to the library would keep the loop from being vectorised."""
    y = x * 0.0625
    e = 1.0 + y * (
        1.0 + y / 2 * (1.0 + y / 3 * (1.0 + y / 4 * (1.0 + y / 5 * (1.0 + y / 6 * (1.0 + y / 7 * (1.0 + y / 8 * (1.0 + y / 9)))))))
    )
    e = e * e
    e = e * e
    e = e * e
    return e * e


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _write_harmonics(s, row, i, x, y, z, first, second, third):
    """Spherical harmonics of a unit vector times a factor for each band (order of `AmbientLight.sh`)."""
    s[row + i] = first * _Y[0]
    s[row + _B + i], s[row + 2 * _B + i], s[row + 3 * _B + i] = second * _Y[1] * y, second * _Y[1] * z, second * _Y[1] * x
    s[row + 4 * _B + i], s[row + 5 * _B + i] = third * _Y[2] * x * y, third * _Y[2] * y * z
    s[row + 6 * _B + i], s[row + 7 * _B + i] = third * _Y[3] * (3.0 * z * z - 1.0), third * _Y[2] * x * z
    s[row + 8 * _B + i] = third * _Y[4] * (x * x - y * y)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _harmonics_gradient(s, row, i, x, y, z, second, third):
    """Gradient with respect to the vector, given that of the rows; `second` and `third` are the bands' factors."""
    g1, g2, g3 = s[row + _B + i] * second * _Y[1], s[row + 2 * _B + i] * second * _Y[1], s[row + 3 * _B + i] * second * _Y[1]
    g4, g5, g7 = s[row + 4 * _B + i] * third * _Y[2], s[row + 5 * _B + i] * third * _Y[2], s[row + 7 * _B + i] * third * _Y[2]
    g6, g8 = s[row + 6 * _B + i] * third * _Y[3] * 6.0, s[row + 8 * _B + i] * third * _Y[4] * 2.0
    return g3 + g4 * y + g7 * z + g8 * x, g1 + g4 * x + g5 * z - g8 * y, g2 + g5 * y + g6 * z + g7 * x


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _load_environment(s, sh):
    """Rows of the harmonics, of the mirrored view, and of irradiance and lobe radiance."""
    for i in range(_B):
        nx, ny, nz = s[_N + i], s[_N + _B + i], s[_N + 2 * _B + i]
        vx, vy, vz = s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i]
        twice = 2.0 * (nx * vx + ny * vy + nz * vz)
        mx, my, mz = twice * nx - vx, twice * ny - vy, twice * nz - vz
        s[_MIRROR + i], s[_MIRROR + _B + i], s[_MIRROR + 2 * _B + i] = mx, my, mz
        second, _ = _band_factor(_G[0], s[_R + i])
        third, _ = _band_factor(_G[1], s[_R + i])
        _write_harmonics(s, _YN, i, nx, ny, nz, _COSINE[0], _COSINE[1], _COSINE[2])
        _write_harmonics(s, _YM, i, mx, my, mz, 1.0, second, third)
    for c in range(3):
        for i in range(_B):
            irradiance, lobe = 0.0, 0.0
            for j in range(9):
                irradiance += sh[j, c] * s[_YN + j * _B + i]
                lobe += sh[j, c] * s[_YM + j * _B + i]
            s[_E + c * _B + i], s[_L + c * _B + i] = irradiance, lobe


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED, inline="always")
def _lobe_reflectance(r, n_v):
    """The two terms of `environment_reflectance`, whether the second is free of its bound, and the exponential in it."""
    whole = 1.0 - _polynomial(_F[0], r) - n_v * _polynomial(_F[1], r)
    decay = _decay(-n_v * _polynomial(_F[3], r))
    free = _polynomial(_F[2], r) * decay
    return whole, min(free, whole), free < whole, decay


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _add_environment(s):
    """Add what the environment sends to the camera."""
    for i in range(_B):
        n_v = min(max(_dot(s, _N, i, s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i]), 1e-4), 1.0)
        whole, fresnel, _, _ = _lobe_reflectance(s[_R + i], n_v)
        for c in range(3):
            diffuse, reflectance = _diffuse_and_reflectance(s, i, c)
            share = reflectance * (whole - fresnel) + fresnel
            s[_OUT + c * _B + i] += diffuse * (1.0 - share) * (1.0 / np.pi) * s[_E + c * _B + i] + share * s[_L + c * _B + i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _environment_gradient(s, sh):
    """Add the environment's part of the gradients; rows _E and _L become the gradients of irradiance and lobe radiance."""
    for i in range(_B):
        r = s[_R + i]
        raw = _dot(s, _N, i, s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i])
        n_v = min(max(raw, 1e-4), 1.0)
        whole, fresnel, is_free, decay = _lobe_reflectance(r, n_v)
        g_whole, g_fresnel, g_m = 0.0, 0.0, 0.0
        for c in range(3):
            diffuse, reflectance = _diffuse_and_reflectance(s, i, c)
            share = reflectance * (whole - fresnel) + fresnel
            g, irradiance = s[_OUT + c * _B + i], s[_E + c * _B + i] * (1.0 / np.pi)
            g_share = g * (s[_L + c * _B + i] - diffuse * irradiance)
            g_diffuse, g_reflectance = g * (1.0 - share) * irradiance, g_share * (whole - fresnel)
            s[_E + c * _B + i], s[_L + c * _B + i] = g * diffuse * (1.0 - share) * (1.0 / np.pi), g * share
            g_whole += g_share * reflectance
            g_fresnel += g_share * (1.0 - reflectance)
            base = s[_C + c * _B + i]
            s[_GC + c * _B + i] += g_diffuse * (1.0 - s[_M + i]) + g_reflectance * s[_M + i]
            g_m += g_reflectance * (base - DIELECTRIC_REFLECTANCE) - g_diffuse * base
        s[_GM + i] += g_m
        g_free = g_fresnel if is_free else 0.0
        g_whole = g_whole if is_free else g_whole + g_fresnel
        amplitude, rate = _polynomial(_F[2], r), _polynomial(_F[3], r)
        g_exponent = g_free * amplitude * decay
        g_n_v = -g_exponent * rate - g_whole * _polynomial(_F[1], r)
        g_r = g_free * decay * _slope(_F[2], r) - g_exponent * n_v * _slope(_F[3], r)
        s[_GR + i] += g_r - g_whole * (_slope(_F[0], r) + n_v * _slope(_F[1], r))
        g_n_v = g_n_v if (raw > 1e-4) & (raw < 1.0) else 0.0
        for c in range(3):
            s[_GN + c * _B + i] += g_n_v * s[_V + c * _B + i]
            s[_GV + c * _B + i] += g_n_v * s[_N + c * _B + i]
    for j in range(9):
        red, green, blue = sh[j, 0], sh[j, 1], sh[j, 2]
        for i in range(_B):
            s[_GYN + j * _B + i] = red * s[_E + i] + green * s[_E + _B + i] + blue * s[_E + 2 * _B + i]
            s[_GYM + j * _B + i] = red * s[_L + i] + green * s[_L + _B + i] + blue * s[_L + 2 * _B + i]
    _directions_gradient(s)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _directions_gradient(s):
    """Carry the harmonics' gradients to normal, view direction and roughness."""
    for i in range(_B):
        nx, ny, nz = s[_N + i], s[_N + _B + i], s[_N + 2 * _B + i]
        vx, vy, vz = s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i]
        mx, my, mz = s[_MIRROR + i], s[_MIRROR + _B + i], s[_MIRROR + 2 * _B + i]
        second, second_slope = _band_factor(_G[0], s[_R + i])
        third, third_slope = _band_factor(_G[1], s[_R + i])
        g_second, g_third = 0.0, 0.0
        for j in range(1, 4):
            g_second += s[_GYM + j * _B + i] * s[_YM + j * _B + i]
        for j in range(4, 9):
            g_third += s[_GYM + j * _B + i] * s[_YM + j * _B + i]
        s[_GR + i] += g_second / second * second_slope + g_third / third * third_slope
        gx, gy, gz = _harmonics_gradient(s, _GYN, i, nx, ny, nz, _COSINE[1], _COSINE[2])
        g_mx, g_my, g_mz = _harmonics_gradient(s, _GYM, i, mx, my, mz, second, third)
        twice, g_twice = 2.0 * (nx * vx + ny * vy + nz * vz), 2.0 * (nx * g_mx + ny * g_my + nz * g_mz)
        s[_GN + i] += gx + twice * g_mx + g_twice * vx
        s[_GN + _B + i] += gy + twice * g_my + g_twice * vy
        s[_GN + 2 * _B + i] += gz + twice * g_mz + g_twice * vz
        s[_GV + i] += g_twice * nx - g_mx
        s[_GV + _B + i] += g_twice * ny - g_my
        s[_GV + 2 * _B + i] += g_twice * nz - g_mz


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _add_row(totals, place, s, row):
    """Add a row, point by point, to one of the rows whose sums over all points are wanted: they are added up when all blocks are done."""
    for i in range(_B):
        totals[place * _B + i] += s[row + i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _add_products(totals, place, s):
    """The same for what the environment's coefficients receive: 27 rows, harmonics times gradients of irradiance and lobe radiance."""
    for j in range(9):
        for c in range(3):
            row = (place + 3 * j + c) * _B
            for i in range(_B):
                normal, mirrored = s[_YN + j * _B + i] * s[_E + c * _B + i], s[_YM + j * _B + i] * s[_L + c * _B + i]
                totals[row + i] += normal + mirrored


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def shade(start, stop, positions, normals, tints, owners, materials, camera, lights, sh, visibility, out):
    """Radiance of the points of blocks start..stop.

    `lights` has rows (x, y, z, 1 at a point or 0 in a direction, red, green, blue); `sh` has 9 rows, or none; `visibility` has a row a
    light, or none.
    """
    s = np.empty(SCRATCH)
    count = len(positions)
    for block in range(start, stop):
        first, last = block * _B, min(block * _B + _B, count)
        _load(s, first, last, positions, normals, tints, owners, materials, camera)
        s[_OUT : _OUT + 3 * _B] = 0.0
        for light in range(len(lights)):
            _load_visibility(s, first, last, visibility, light)
            row = lights[light]
            _add_light(s, row[0], row[1], row[2], row[3], row[4], row[5], row[6])
        if len(sh):
            _load_environment(s, sh)
            _add_environment(s)
        for point in range(first, last):
            for c in range(3):
                out[point, c] = s[_OUT + c * _B + point - first]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _load_gradient(s, first, last, gradient):
    """The gradient of the result, 0 past the last point; and cleared rows for those of the inputs."""
    for i in range(_B):
        for c in range(3):
            s[_OUT + c * _B + i] = gradient[first + i, c] if first + i < last else 0.0
    s[_GP : _GV + 3 * _B] = 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _finish(s, first, last, tints, owners, materials, points_gradient, materials_gradient):
    """Write the points' gradients (position, normal, tint: 9 columns) and add those of their materials."""
    for i in range(_B):
        along = _dot(s, _GV, i, s[_V + i], s[_V + _B + i], s[_V + 2 * _B + i])
        for c in range(3):
            g = (s[_GV + c * _B + i] - along * s[_V + c * _B + i]) * s[_NEAR + i]
            s[_GV + c * _B + i] = g
            s[_GP + c * _B + i] -= g
    for point in range(first, last):
        i, owner = point - first, owners[point]
        for c in range(3):
            points_gradient[point, c] = s[_GP + c * _B + i]
            points_gradient[point, 3 + c] = s[_GN + c * _B + i]
            points_gradient[point, 6 + c] = s[_GC + c * _B + i] * materials[owner, c]
            materials_gradient[owner, c] += s[_GC + c * _B + i] * tints[point, c]
        materials_gradient[owner, 3] += s[_GM + i]
        if SMALLEST_ROUGHNESS <= materials[owner, 4] <= 1.0:
            materials_gradient[owner, 4] += s[_GR + i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
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
    """Gradients of parts start..stop, each of `blocks_a_part` blocks whose sums are kept apart: materials (m, 5), and a row for the scene:

    camera (3), then 6 a light (vector, intensity), then 27 of the environment.
    """
    s, totals = np.empty(SCRATCH), np.empty(scene_parts.shape[1] * _B)
    count = len(positions)
    for part in range(start, stop):
        totals[:] = 0.0
        for block in range(part * blocks_a_part, min((part + 1) * blocks_a_part, (count + _B - 1) // _B)):
            first, last = block * _B, min(block * _B + _B, count)
            _load(s, first, last, positions, normals, tints, owners, materials, camera)
            _load_gradient(s, first, last, gradient)
            for light in range(len(lights)):
                _load_visibility(s, first, last, visibility, light)
                row = lights[light]
                _light_gradient(s, row[0], row[1], row[2], row[3], row[4], row[5], row[6])
                for c in range(6):
                    _add_row(totals, 3 + 6 * light + c, s, _GL + c * _B)
                if len(visibility):
                    for point in range(first, last):
                        visibility_gradient[light, point] = s[_GSEEN + point - first]
            if len(sh):
                _load_environment(s, sh)
                _environment_gradient(s, sh)
                _add_products(totals, 3 + 6 * len(lights), s)
            _finish(s, first, last, tints, owners, materials, points_gradient, materials_parts[part])
            for c in range(3):
                _add_row(totals, c, s, _GV + c * _B)
        for place in range(scene_parts.shape[1]):
            for i in range(_B):
                scene_parts[part, place] += totals[place * _B + i]
