"""Parameters of the report."""

from typing import Annotated

from darkroom.foundations.params import ONE_LINE, Section


class ReportSettings(Section):
    """Title and author of the report."""

    title: Annotated[str, ONE_LINE] = ""
    """Title of the report and the slides; if empty, it is derived from the name of the data set."""
    author: Annotated[str, ONE_LINE] = ""
    """Author, printed below the title; empty to omit."""
