"""Parameters of the report."""

from typing import Annotated

from darkroom.foundations.params import ONE_LINE, Section


class ReportSettings(Section):
    """What stands on the report's first page."""

    title: Annotated[str, ONE_LINE] = ""
    """Stands above the report and on the first slide; when empty, the name of the data set is used."""
    author: Annotated[str, ONE_LINE] = ""
    """Printed under the title when it is not empty."""
