"""Options that several commands share and that need no configuration."""

from typing import Annotated

import typer

RARE = "Output and more"
"""The panel of what a first run does not need."""

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout and nothing else.", rich_help_panel=RARE),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", rich_help_panel=RARE)
]
Opened = Annotated[
    bool, typer.Option("--open", help="Show the page in a browser, drawn where it is not there yet.")
]
