"""`gradlab theory`: predictions without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradlab.base.errors import ConfigError, Problem
from gradlab.cli import completion
from gradlab.cli.options import AsJson
from gradlab.cli.output import console, emit, say, tell

Text = str | None


def theory(
    activation: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            autocompletion=completion.activations,
            help="Activations: gradlab list activations.",
        ),
    ],
    sigma_w: Annotated[
        Text, typer.Option(metavar="X,...", help="Weights have variance X^2 / fan_in.")
    ] = None,
    sigma_b: Annotated[Text, typer.Option(metavar="X,...", help="Standard deviation of biases [0].")] = None,
    init: Annotated[
        Text,
        typer.Option(
            metavar="NAME,...", autocompletion=completion.inits, help="Both from an initialiser [auto]."
        ),
    ] = None,
    depth: Annotated[Text, typer.Option(metavar="N,...", help="Hidden layers [20].")] = None,
    width: Annotated[Text, typer.Option(metavar="N,...", help="Adds the finite-width band.")] = None,
    q0: Annotated[Text, typer.Option(metavar="X,...", help="Mean square of the input [1].")] = None,
    phase_diagram: Annotated[
        bool, typer.Option("--phase-diagram", help="chi_1 over sigma_w x sigma_b, with the critical line.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the CSV there too.")] = None,
    json: AsJson = False,
) -> int:
    """Predict without training: fixed points, depth scales, the critical init and delta of every layer.

    gradlab theory --activation sigmoid --depth 20
    gradlab theory --activation tanh --sigma-w 1.5 --sigma-b 0.2 --depth 50
    gradlab theory --activation tanh --phase-diagram
    """
    from gradlab.lab.theory_sweep import descriptions, diagrams, next_command, read_flags, rows_to_csv, to_csv

    if json and csv:
        raise ConfigError(Problem("--csv", "--json prints JSON alone", "one of them"))
    texts = {
        "activation": activation,
        "sigma_w": sigma_w,
        "sigma_b": sigma_b,
        "init": init,
        "depth": depth,
        "width": width,
        "q0": q0,
    }
    sweep = read_flags(texts, diagram=phase_diagram)
    found = [] if phase_diagram else descriptions(sweep)
    documents: list[dict[str, Any]]
    if phase_diagram:
        documents = diagrams(sweep)
        table = rows_to_csv([{"activation": d["activation"], **row} for d in documents for row in d["grid"]])
    else:
        documents = [each.as_dict() for each in found]
        table = to_csv(documents)
    if out is not None:
        try:
            out.write_text(table, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                Problem("--out", f"cannot write {str(out)!r}: {error.strerror}", "another file")
            ) from None
        tell(f"wrote {out}")
    if json:
        emit(documents[0] if len(documents) == 1 else documents)
    elif csv:
        say(table, end="")
    else:
        from gradlab.report.theory_tables import print_description, print_phase_diagram

        screen = console()
        for document in documents if phase_diagram else ():
            print_phase_diagram(document, screen)
        for each in found:
            print_description(each, screen)
        tell(next_command(documents[0]))
    return 0
