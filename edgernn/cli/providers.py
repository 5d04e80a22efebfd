"""`edgernn providers`: what this machine offers, and what is wrong with the rest."""

from dataclasses import asdict

from edgernn.cli.console import new_table, print_json, print_table
from edgernn.cli.options import Json


def providers(json: Json = False) -> None:
    """List execution providers, and what they need."""
    from edgernn_runtime.providers import report

    found = report()
    if json:
        print_json([asdict(each) for each in found])
        return
    table = new_table("provider", "available", "devices", "to do")
    for column in table.columns:
        column.justify = "left"
    for each in found:
        table.add_row(each.name, "yes" if each.available else "no", ", ".join(each.devices), each.fix or "")
    print_table(table)
