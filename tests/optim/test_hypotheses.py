import numpy as np
import pytest

from optim.hypotheses import measure_local_width


def test_local_width_is_that_of_the_largest_disc_inside_that_covers_the_pixel():
    mask = np.zeros((80, 160), dtype=bool)
    mask[20:60, 10:50] = True
    mask[36:44, 50:140] = True
    widths = measure_local_width(mask)
    assert widths[40, 30] == pytest.approx(40, rel=0.18)
    assert widths[40, 110] == pytest.approx(8, rel=0.18)
    assert (widths[~mask] == 0).all()
    assert (widths[mask] > 0).all()
    assert not measure_local_width(np.zeros((4, 4), dtype=bool)).any()
