"""What the commands that fit show of a finished run."""

from __future__ import annotations

from eval3dpw.report.run_report import write_report
from eval3dpw.report.table import print_summary, report_console
from eval3dpw.results.layout import FITS_FOLDER, SUMMARY_FILE
from eval3dpw.run.fit import FinishedRun


def present_fits(run: FinishedRun, report: bool) -> None:
    """Print the tables and where the results lie, and write the page where it is wanted.

    Raises:
        InputError: some sequences could not be used; everything else is written.
    """
    console = report_console()
    print_summary(run.summary, console)
    console.print(f"Results: {run.out / SUMMARY_FILE}, {run.out / FITS_FOLDER}", highlight=False)
    if report:
        console.print(f"Report: {write_report(run.out)}", highlight=False)
    run.log.raise_if_some_failed(run.out)
