"""`gradlab watch`: train and record a model of the user's own."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from gradlab.base.errors import ConfigError
from gradlab.cli.flags import ConfigFile, Sets, Trust, collect_flags, warn, with_keys
from gradlab.cli.options import AsJson, Opened, Quiet
from gradlab.cli.output import console, emit, tell
from gradlab.cli.pages import open_page
from gradlab.cli.reading import reading_shown
from gradlab.cli.reporting import Reported, drawn
from gradlab.cli.try_option import show_tried, try_on
from gradlab.config import KEYS
from gradlab.lab.watch.keys import OF_GRADLABS_NETS, means_something

ELSEWHERE = {
    **{key.option: OF_GRADLABS_NETS for key in KEYS.values() if not means_something(key)},
    "--fix": "for a model of your own it is --try",
    "--profile": OF_GRADLABS_NETS,
}
"""Flags that `run` has and that mean nothing here, with what is said of them."""


def watch(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODULE:ATTR", help="An nn.Module, its class, or a function that makes one."),
    ],
    batches: Annotated[
        str,
        typer.Option(
            "--batches", metavar="MODULE:ATTR", help="A function that gives (inputs, targets) pairs."
        ),
    ] = "",
    config: ConfigFile = None,
    trust: Trust = False,
    set_: Sets = None,
    report: Reported = False,
    open_: Opened = False,
    try_: Annotated[
        bool,
        typer.Option(
            "--try",
            help="If it has a fault, try cures that leave your code as it is, on the same seeds.",
        ),
    ] = False,
    json: AsJson = False,
    quiet: Quiet = False,
    **flags: str | None,
) -> int:
    """Train a model of your own with several seeds and record its gradients, layer by layer.

    gradlab watch mypackage.models:make_net --data digits
    gradlab watch mypackage.models:make_net --data train.csv --target y --open
    gradlab watch mypackage.models:Net --batches mypackage.data:batches --optimizer adam --try
    """
    request, problems = collect_flags(
        context, flags, config, set_, trust=trust, lists=False, elsewhere=ELSEWHERE
    )
    if problems:
        raise ConfigError(problems)
    warn(request, quiet)
    from gradlab.lab.watch.execute import watch as execute
    from gradlab.report.progress import Progress

    screen = Progress(quiet=quiet)
    # on a terminal it stands above the picture
    say = (lambda _: None) if quiet else screen.message if screen.console.is_terminal else tell
    try:
        with reading_shown(quiet):
            planned, outcome = execute(model, request, batches, say, screen)
    finally:
        screen.end()
    files = [*outcome.files]
    if report or open_:
        files = [*dict.fromkeys([*files, *drawn(outcome.out, outcome.cached, quiet)])]
    document = {"out": outcome.out, "files": files, "summary": outcome.summary.to_dict("records")[0]}
    if not json:
        from gradlab.report.terminal import print_run

        print_run(outcome, console())
    if open_:
        open_page(files)
    if try_:
        show_tried(try_on(planned, outcome, screen, quiet=quiet), document if json else None, outcome.out)
    elif json:
        emit(document)
    return 0


with_keys(watch)
_signature: inspect.Signature = watch.__signature__  # type: ignore[attr-defined]
_hidden = {key.flag for key in KEYS.values() if key.option in ELSEWHERE}
watch.__signature__ = _signature.replace(  # type: ignore[attr-defined]
    parameters=[parameter for name, parameter in _signature.parameters.items() if name not in _hidden]
)
