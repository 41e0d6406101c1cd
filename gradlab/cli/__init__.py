"""The command line: one Typer command a file. It parses, calls and prints; it decides nothing."""
