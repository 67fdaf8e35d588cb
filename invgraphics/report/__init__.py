"""Pages that show what was computed, each one self-contained file: a reconstruction's report, a dataset's gallery."""

from invgraphics.report.fit import Fit, Pictures, measure_fit
from invgraphics.report.page import GraspReport, write_report

__all__ = ["Fit", "GraspReport", "Pictures", "measure_fit", "write_report"]
