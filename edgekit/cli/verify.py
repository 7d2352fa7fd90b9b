"""``edgekit verify``: an artifact against its network."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import console
from edgekit.cli.options import embedded_option, weights_option
from edgekit.errors import GateError


@click.command("verify")
@click.argument("artifact", metavar="ARTIFACT")
@click.option("--against", required=True, metavar="MODEL", help="The network it was made from.")
@click.option("--data", metavar="SRC", help="Images: digits, synthetic or a folder.")
@weights_option
@embedded_option
@console.common_options
def command(
    artifact: str, against: str, data: str | None, weights: Path | None, embedded: bool
) -> None:
    """Run ARTIFACT and MODEL on the same images and compare their outputs.

    Where they disagree (exit code 4), names the first layer that diverges.
    """
    with console.status("verifying"):
        from edgekit.core import to_json
        from edgekit.verification.agreement import failures
        from edgekit.verification.artifact import verify

        result = verify(artifact, against, data=data, weights=weights, embedded=embedded)
    agreement = result.agreement
    console.table(
        ["measure", ("value", "right"), ("at least", "right")],
        [
            ("signal to noise", f"{agreement.sqnr_db:.1f} dB", _least(agreement, "sqnr_db")),
            ("same top-1", f"{agreement.top1_match:.2%}", _least(agreement, "top1_match")),
            ("cosine", f"{agreement.cosine:.7f}", ""),
            ("largest difference", f"{agreement.max_abs:.3g}", ""),
            ("  over the spread", f"{agreement.max_rel:.3g}", ""),
        ],
        title=f"{artifact} against {against}, {agreement.n} images ({result.data})",
    )
    if console.wants_json():
        data_out = {
            "artifact": artifact,
            "against": against,
            "agreement": to_json(agreement),
            "divergence": to_json(result.divergence),
            "data": result.data,
        }
        console.emit_json("edgekit.verify/1", data_out)
    if not agreement.passed:
        where = f"; {result.divergence.describe()}" if result.divergence else ""
        raise GateError(f"{artifact} does not agree with {against}: {failures(agreement)}{where}")
    console.say("passed")


def _least(agreement: object, name: str) -> str:
    tolerance = getattr(agreement, "tolerance", {})
    if name not in tolerance:
        return ""
    bound = tolerance[name]
    return f"{bound:g} dB" if name == "sqnr_db" else f"{bound:.0%}"
