"""Levenberg-Marquardt for superquadrics, with analytic Jacobians, one start after another over all cores (numba).

Parameters of a start, and the order of its Jacobian's columns: centre (3, metres, world), rotation (3, radians, a right
perturbation R exp([w]x)), log radii (3), and two numbers whose logistic function gives the exponents e1, e2 in [0.1, 1].
"""

import numpy as np
from numba import njit, prange

N_PARAMETERS = 11
LOWEST_EXPONENT = 0.1


@njit(cache=True)
def exponent(free):
    """Exponent in [0.1, 1] of a free number."""
    return LOWEST_EXPONENT + (1 - LOWEST_EXPONENT) / (1 + np.exp(-free))


@njit(cache=True)
def _unit_factor(a, b, c, e1, e2, derivatives):
    """g = F^(-e1/2) at |x/r| = (a, b, c) (Solina and Bajcsy 1990, eq. 4), and into `derivatives` dg by log a, log b, log c, e1, e2."""
    log_a, log_b, log_c = np.log(a), np.log(b), np.log(c)
    A, B, C = np.exp(2 / e2 * log_a), np.exp(2 / e2 * log_b), np.exp(2 / e1 * log_c)
    G = A + B
    log_G = np.log(G)
    H = np.exp(e2 / e1 * log_G)
    F = H + C
    log_F = np.log(F)
    g = np.exp(-e1 / 2 * log_F)
    slope = -e1 / 2 * g / F
    derivatives[0] = slope * (2 / e1) * H / G * A
    derivatives[1] = slope * (2 / e1) * H / G * B
    derivatives[2] = slope * (2 / e1) * C
    derivatives[3] = slope * (-H * log_G * e2 - 2 * C * log_c) / (e1 * e1) - 0.5 * log_F * g
    derivatives[4] = slope * H / e1 * (log_G - (2 / e2) * (A * log_a + B * log_b) / G)
    return g


@njit(cache=True)
def _add_residual(residual, weight, row, gradient, hessian):
    """Robustly (pseudo-Huber, unit scale) adds one residual times sqrt(weight) to the normal equations; returns its cost."""
    root = np.sqrt(1 + residual * residual)
    w = weight / root
    for i in range(N_PARAMETERS):
        if row[i] == 0.0:
            continue
        gradient[i] += w * residual * row[i]
        for j in range(i + 1):
            hessian[i, j] += w * row[i] * row[j]
    return weight * (root - 1)


@njit(cache=True)
def _sample_image(image, u, v):
    """Bilinear value and its derivatives by u and v; beyond the border the nearest pixel's value, with no slope."""
    height, width = image.shape
    inside = 0 <= u < width - 1 and 0 <= v < height - 1
    u, v = min(max(u, 0.0), width - 1.001), min(max(v, 0.0), height - 1.001)
    column, row = int(u), int(v)
    s, t = u - column, v - row
    p, q, r, w = image[row, column], image[row, column + 1], image[row + 1, column], image[row + 1, column + 1]
    value = (1 - t) * ((1 - s) * p + s * q) + t * ((1 - s) * r + s * w)
    if not inside:
        return value, 0.0, 0.0
    return value, (1 - t) * (q - p) + t * (w - r), (1 - s) * (r - p) + s * (w - q)


@njit(cache=True, inline="always")
def _local(R, state, point, k):
    """Coordinate k of a world point in the superquadric's frame."""
    return R[0, k] * (point[0] - state[0]) + R[1, k] * (point[1] - state[1]) + R[2, k] * (point[2] - state[2])


@njit(cache=True)
def measure_lengths(points, state, R, lengths):
    """g / |dg/dx| at each point: what makes `(1 - g) * length` its distance from the surface, to first order (Taubin 1991).

    The radial distance `|x| (1 - g)` is longer than that wherever the radius does not meet the surface at right angles: it makes flat boxes
    thick.
    """
    e1, e2 = exponent(state[9]), exponent(state[10])
    dg = np.zeros(5)
    for i in range(len(points)):
        x, y, z = _local(R, state, points[i], 0), _local(R, state, points[i], 1), _local(R, state, points[i], 2)
        a, b, c = abs(x) / np.exp(state[6]) + 1e-6, abs(y) / np.exp(state[7]) + 1e-6, abs(z) / np.exp(state[8]) + 1e-6
        g = _unit_factor(a, b, c, e1, e2, dg)
        gx, gy, gz = dg[0] / (a * np.exp(state[6])), dg[1] / (b * np.exp(state[7])), dg[2] / (c * np.exp(state[8]))
        lengths[i] = g / np.sqrt(gx * gx + gy * gy + gz * gz)


@njit(cache=True)
def _add_point_terms(points, lengths, state, R, e1, e2, slope1, slope2, scale, strength, gradient, hessian):
    """Distances `(1 - g) length` of the measured points, the lengths held."""
    cost = 0.0
    row = np.zeros(N_PARAMETERS)
    dg = np.zeros(5)
    dx = np.zeros(3)
    r0, r1, r2 = np.exp(state[6]), np.exp(state[7]), np.exp(state[8])
    radii = (r0, r1, r2)
    weight = strength / len(points)
    for i in range(len(points)):
        x = (_local(R, state, points[i], 0), _local(R, state, points[i], 1), _local(R, state, points[i], 2))
        ratios = (abs(x[0]) / r0 + 1e-6, abs(x[1]) / r1 + 1e-6, abs(x[2]) / r2 + 1e-6)
        g = _unit_factor(ratios[0], ratios[1], ratios[2], e1, e2, dg)
        length = lengths[i] / scale
        for k in range(3):
            sign = 1.0 if x[k] > 0 else -1.0
            dx[k] = -length * dg[k] * sign / (radii[k] * ratios[k])
            row[6 + k] = length * dg[k]
        for k in range(3):
            row[k] = -(R[k, 0] * dx[0] + R[k, 1] * dx[1] + R[k, 2] * dx[2])
        row[3] = dx[1] * x[2] - dx[2] * x[1]
        row[4] = dx[2] * x[0] - dx[0] * x[2]
        row[5] = dx[0] * x[1] - dx[1] * x[0]
        row[9] = -length * dg[3] * slope1
        row[10] = -length * dg[4] * slope2
        cost += _add_residual(length * (1 - g), weight, row, gradient, hessian)
    return cost


@njit(cache=True)
def _add_surface_terms(
    directions, state, R, e1, e2, slope1, slope2, R_camera, t_camera, K, outside_px, scales, strengths, gradient, hessian
):
    """Surface samples must not project where the background was seen, nor lie below the plane; the lowest one should touch it."""
    cost = 0.0
    row = np.zeros(N_PARAMETERS)
    dg = np.zeros(5)
    motion = np.zeros((3, N_PARAMETERS))
    lowest_motion = np.zeros(N_PARAMETERS)
    lowest = 1e30
    n = len(directions)
    for i in range(n):
        D = directions[i]
        g = _unit_factor(abs(D[0]) + 1e-6, abs(D[1]) + 1e-6, abs(D[2]) + 1e-6, e1, e2, dg)
        s = (D[0] * np.exp(state[6]) * g, D[1] * np.exp(state[7]) * g, D[2] * np.exp(state[8]) * g)
        X = np.zeros(3)
        for k in range(3):
            X[k] = state[k] + R[k, 0] * s[0] + R[k, 1] * s[1] + R[k, 2] * s[2]
            for j in range(3):
                motion[k, j] = 1.0 if k == j else 0.0
                motion[k, 6 + j] = R[k, j] * s[j]
            motion[k, 3] = R[k, 2] * s[1] - R[k, 1] * s[2]
            motion[k, 4] = R[k, 0] * s[2] - R[k, 2] * s[0]
            motion[k, 5] = R[k, 1] * s[0] - R[k, 0] * s[1]
            along = (R[k, 0] * s[0] + R[k, 1] * s[1] + R[k, 2] * s[2]) / g
            motion[k, 9] = along * dg[3] * slope1
            motion[k, 10] = along * dg[4] * slope2
        if strengths[2] > 0.0:
            if X[2] < lowest:
                lowest = X[2]
                lowest_motion[:] = motion[2]
            if X[2] < 0.0:
                for j in range(N_PARAMETERS):
                    row[j] = motion[2, j] / scales[2]
                cost += _add_residual(X[2] / scales[2], strengths[1] / n, row, gradient, hessian)
        cost += _add_outside_term(X, motion, R_camera, t_camera, K, outside_px, scales[1], strengths[0] / n, row, gradient, hessian)
    if strengths[2] > 0.0:
        for j in range(N_PARAMETERS):
            row[j] = lowest_motion[j] / scales[3]
        cost += _add_residual(lowest / scales[3], strengths[2], row, gradient, hessian)
    return cost


@njit(cache=True)
def _add_outside_term(X, motion, R_camera, t_camera, K, outside_px, scale, weight, row, gradient, hessian):
    x = R_camera[0, 0] * X[0] + R_camera[0, 1] * X[1] + R_camera[0, 2] * X[2] + t_camera[0]
    y = R_camera[1, 0] * X[0] + R_camera[1, 1] * X[1] + R_camera[1, 2] * X[2] + t_camera[1]
    z = R_camera[2, 0] * X[0] + R_camera[2, 1] * X[1] + R_camera[2, 2] * X[2] + t_camera[2]
    if z < 0.02:
        return 0.0
    distance, by_u, by_v = _sample_image(outside_px, K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2])
    if distance <= 0.0:
        return 0.0
    metres = z / K[0, 0] / scale
    for j in range(N_PARAMETERS):
        cx = R_camera[0, 0] * motion[0, j] + R_camera[0, 1] * motion[1, j] + R_camera[0, 2] * motion[2, j]
        cy = R_camera[1, 0] * motion[0, j] + R_camera[1, 1] * motion[1, j] + R_camera[1, 2] * motion[2, j]
        cz = R_camera[2, 0] * motion[0, j] + R_camera[2, 1] * motion[1, j] + R_camera[2, 2] * motion[2, j]
        du = K[0, 0] * (cx - x / z * cz) / z
        dv = K[1, 1] * (cy - y / z * cz) / z
        row[j] = (by_u * du + by_v * dv) * metres + distance * cz / K[0, 0] / scale
    return _add_residual(distance * metres, weight, row, gradient, hessian)


@njit(cache=True)
def build_normal_equations(
    points, lengths, directions, state, R, R_camera, t_camera, K, outside_px, scales, strengths, log_radius, gradient, hessian
):
    """Cost, gradient and Gauss-Newton Hessian (lower triangle filled, then mirrored) of one start.

    Args:
        points: (n, 3) measured surface, world. lengths: (n,) their `measure_lengths` at this state or one near it, metres.
        directions: (m, 3) unit vectors at which the superquadric is sampled, as fractions of its radii.
        state: (11,) parameters; entries 3:6 are not used, the rotation is `R` (3, 3), object to world.
        R_camera, t_camera: world to camera. K: intrinsics. outside_px: (h, w) pixels to where the object may project.
        scales: metres at which a residual counts as one: (points, silhouette, below the plane, contact).
        strengths: weights of (silhouette, below the plane, contact, points); contact 0 switches the plane off.
        log_radius: centre of the prior on the log radii.
    """
    gradient[:] = 0.0
    hessian[:] = 0.0
    e1, e2 = exponent(state[9]), exponent(state[10])
    span = 1 - LOWEST_EXPONENT
    slope1 = (e1 - LOWEST_EXPONENT) * (1 - e1) / span
    slope2 = (e2 - LOWEST_EXPONENT) * (1 - e2) / span
    cost = _add_point_terms(points, lengths, state, R, e1, e2, slope1, slope2, scales[0], strengths[3], gradient, hessian)
    cost += _add_surface_terms(
        directions, state, R, e1, e2, slope1, slope2, R_camera, t_camera, K, outside_px, scales, strengths, gradient, hessian
    )
    for k in range(5):
        target, precision = (log_radius, 1.0) if k < 3 else (0.0, 0.1)
        residual = (state[6 + k] - target) * precision
        cost += 0.5 * residual * residual
        gradient[6 + k] += residual * precision
        hessian[6 + k, 6 + k] += precision * precision
    for i in range(N_PARAMETERS):
        for j in range(i):
            hessian[j, i] = hessian[i, j]
    return cost


@njit(cache=True)
def _rotate(R, w):
    """R exp([w]x) by Rodrigues' formula."""
    angle = np.sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
    cross = np.array([[0.0, -w[2], w[1]], [w[2], 0.0, -w[0]], [-w[1], w[0], 0.0]])
    first = 1 - angle * angle / 6 if angle < 1e-4 else np.sin(angle) / angle
    second = 0.5 - angle * angle / 24 if angle < 1e-4 else (1 - np.cos(angle)) / (angle * angle)
    return R @ (np.eye(3) + first * cross + second * (cross @ cross))


@njit(cache=True)
def _fit_start(points, directions, state, R, R_camera, t_camera, K, outside_px, scales, strengths, log_radius, iterations):
    gradient, hessian = np.zeros(N_PARAMETERS), np.zeros((N_PARAMETERS, N_PARAMETERS))
    trial_gradient, trial_hessian = gradient.copy(), hessian.copy()
    lengths = np.empty(len(points))
    measure_lengths(points, state, R, lengths)
    cost = build_normal_equations(
        points, lengths, directions, state, R, R_camera, t_camera, K, outside_px, scales, strengths, log_radius, gradient, hessian
    )
    damping = 1e-2
    for _ in range(iterations):
        damped = hessian.copy()
        for k in range(N_PARAMETERS):
            damped[k, k] += damping * (hessian[k, k] + 1e-3)
        step = -np.linalg.solve(damped, gradient)
        step[3:6] = np.minimum(np.maximum(step[3:6], -0.5), 0.5)
        step[6:] = np.minimum(np.maximum(step[6:], -1.0), 1.0)
        trial = state + step
        trial[9:] = np.minimum(np.maximum(trial[9:], -6.0), 6.0)
        trial_R = _rotate(R, step[3:6])
        trial_cost = build_normal_equations(
            points,
            lengths,
            directions,
            trial,
            trial_R,
            R_camera,
            t_camera,
            K,
            outside_px,
            scales,
            strengths,
            log_radius,
            trial_gradient,
            trial_hessian,
        )
        if trial_cost < cost:
            converged = cost - trial_cost < 1e-4 * cost
            state, R = trial, trial_R
            measure_lengths(points, state, R, lengths)
            cost = build_normal_equations(
                points, lengths, directions, state, R, R_camera, t_camera, K, outside_px, scales, strengths, log_radius, gradient, hessian
            )
            damping = max(damping / 4, 1e-6)
            if converged:
                break
        else:
            damping *= 5
            if damping > 1e6:
                break
    return state, R, cost


@njit(cache=True, parallel=True)
def fit_starts(points, directions, states, rotations, R_camera, t_camera, K, outside_px, scales, strengths, log_radius, iterations):
    """Fits every start; `states` (s, 11) and `rotations` (s, 3, 3) are overwritten with the optima, whose costs (s,) are returned."""
    costs = np.empty(len(states))
    for s in prange(len(states)):
        state, R, cost = _fit_start(
            points,
            directions,
            states[s].copy(),
            rotations[s].copy(),
            R_camera,
            t_camera,
            K,
            outside_px,
            scales,
            strengths,
            log_radius,
            iterations,
        )
        states[s] = state
        rotations[s] = R
        costs[s] = cost
    return costs
