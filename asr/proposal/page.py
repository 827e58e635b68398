"""The proposed recipe as TOML, with reasons as comments.

In: a `Proposal`. Out: text that `asr.load_recipe` reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from asr.proposal.settings import Proposal
from asr.settings import to_toml


def page(proposal: Proposal, head: Sequence[str]) -> str:
    """The recipe.

    Args:
        proposal: the settings.
        head: lines above them, without "#".
    """
    lines = [f"# {line}".rstrip() for line in head]
    lines += [f"# Warning: {warning}" for warning in proposal.warnings]
    lines += ["", "seed = 1"]
    for section, values in proposal.table.items():
        lines += ["", f"[{section}]"]
        for name, value in values.items():
            reason = proposal.reasons.get(f"{section}.{name}", "")
            lines.append(f"{name} = {to_toml(value)}{f'  # {reason}' if reason else ''}")
    return "\n".join(lines) + "\n"
