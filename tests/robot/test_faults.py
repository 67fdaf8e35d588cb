"""Whatever goes wrong with the arm, it stops for the right reason, and is commanded no more."""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.benchmarks.arm_faults import ARM_FAULTS, ArmFault, ArmOutcome, TooBusyError, run_fault

pytestmark = [pytest.mark.realtime, pytest.mark.skipif(sys.platform != "linux", reason="ur-rtde and loopback addresses besides 127.0.0.1")]

AT_ONCE = 3
"""Faults that are tried side by side: most of the time a driver waits."""
ONLY_IN_THE_MAIN_THREAD = "Ctrl-C"
IN_FLIGHT = 60
"""Setpoints, half a second of them, that a busy machine may send before a fault shows in the state; `docs/faults.md` has real numbers."""
SLOW_TO_SHOW = {"the arm is held fast", "the main program hangs", "Ctrl-C", "a joint creeps out of its range"}
"""Faults that take time to be seen in the state at all, or upon which the arm brakes on its path."""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[ArmOutcome]]]:
    """What comes of the faults that are to be tested, by their names."""
    pytest.importorskip("rtde_control")
    wanted = [item.callspec.params["fault"] for item in request.session.items if getattr(item, "module", None) is request.module]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {fault.name: threads.submit(_run_unless_too_busy, fault) for fault in wanted if fault.name != ONLY_IN_THE_MAIN_THREAD}


@pytest.mark.parametrize("fault", ARM_FAULTS, ids=lambda fault: fault.name)
def test_fault_stops_the_arm_for_good(fault: ArmFault, outcomes: Mapping[str, Future[ArmOutcome]]) -> None:
    try:
        outcome = outcomes[fault.name].result() if fault.name in outcomes else _run_unless_too_busy(fault)
    except TooBusyError as error:
        pytest.skip(str(error))
    if not fault.reasons:
        assert outcome.reason is None, outcome.message
        return
    assert outcome.reason in fault.reasons, outcome.message
    assert outcome.commands_after_stop == 0
    if outcome.noticed is None:
        assert outcome.commands_after_injection == 0
    elif fault.name not in SLOW_TO_SHOW:
        assert outcome.commands_after_injection <= IN_FLIGHT


def _run_unless_too_busy(fault: ArmFault) -> ArmOutcome:
    """Where the machine is so busy that the driver stops before the fault, that is tried again; `TooBusyError` in the end."""
    for _ in range(2):
        try:
            return run_fault(fault)
        except TooBusyError:
            continue
    return run_fault(fault)
