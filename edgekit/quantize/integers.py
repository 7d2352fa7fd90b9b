"""What precisions of integers need besides their name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core import PROCESSORS, Quantizing, Scheme, Target
from edgekit.core.forms import chosen_forms, depends_on_isa
from edgekit.data.finite import check_finite
from edgekit.devices.device import HOST, Device
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.lowering.choices import checked_forms
from edgekit.models.copying import own_copy
from edgekit.quantize.calibration import IMAGES, Calibration, calibration_images, calibration_rows
from edgekit.verification.samples import fed, reference_scores

EPOCHS = 3

if TYPE_CHECKING:
    from edgekit.core import Array
    from edgekit.models.model import Model


@dataclass(frozen=True, slots=True)
class Integers:
    """How files of integers are to be made.

    Attributes:
        data: SRC of the images that ranges come from; that of the training if ``None``.
        images: how many of them.
        ranges: how a range becomes of them; the first way of each target if ``None``.
        interface: of the files, see `edgekit.core.Scheme`.
        float_layers: modules to keep in float.
        forms: instead of what the table says; see `edgekit.core.forms`.
        processor: that the table is asked for, of `edgekit.core.PROCESSORS`; that of the device if
            ``None``.
        max_drop: points of the task's figure that may be lost on held-out samples; ``None`` for no
            bound.
        tune: whether to measure which forms are fastest.
        epochs: of quantization-aware training, the ladder's last rung; 0 leaves it out.
        device: that files are written for, and measured and judged on.
    """

    data: str | None = None
    images: int = IMAGES
    ranges: str | None = None
    interface: str = "float"
    float_layers: tuple[str, ...] = ()
    forms: Mapping[str, str] | None = None
    max_drop: float | None = None
    tune: bool = False
    epochs: int = EPOCHS
    processor: str | None = None
    device: Device = HOST

    def check(self, target: Target, precision: str) -> None:
        """Refuses what a target does not have, before anything is computed.

        Raises:
            UsageError: a way to find ranges, an interface or a form that it does not have.
        """
        scheme = target.schemes[precision]
        if self.processor is not None:
            self._check_processor(self.processor)
        if self.max_drop is not None and not (0 < self.max_drop <= 100):
            raise UsageError(f"--max-drop {self.max_drop:g}: expected points above 0, such as 0.5")
        if scheme.calibration is None and self.interface != "float":
            raise UsageError(
                f"--io {self.interface} goes with static integer precisions: {precision} of "
                f"target {target.name} takes float"
            )
        if not isinstance(target, Quantizing):
            return
        if self.ranges is not None and self.ranges not in target.ranges:
            raise UsageError(
                f"target {target.name} has no ranges '{self.ranges}': expected "
                f"{' or '.join(target.ranges)}"
            )
        if self.forms is not None:
            checked_forms(target.forms, self.forms)

    def _check_processor(self, name: str) -> None:
        if name not in PROCESSORS:
            raise UsageError(f"--isa {name}: expected {', '.join(PROCESSORS)}")
        if self.tune and name != (own := self.device.isa()):
            raise UsageError(
                f"--tune measures on {self.device.transport.where}, whose processor is {own}, not "
                f"{name}: give --isa or --tune"
            )

    def check_used(self, schemes: Sequence[Scheme]) -> None:
        """Refuses options that none of the files would have a use for.

        Raises:
            UsageError: one of them.
        """
        names = ", ".join(dict.fromkeys(scheme.precision for scheme in schemes))
        integers = [scheme for scheme in schemes if scheme.weights == "int8"]
        if self.max_drop is not None and not integers:
            raise UsageError(
                f"--max-drop goes with precisions of integers: expected one of int8, int8-mixed, "
                f"int8-dynamic or w8a16 among --precision, which is {names}"
            )
        if self.float_layers and not integers:
            raise UsageError(
                f"--float-layers goes with precisions of integers: all layers of {names} are in "
                f"float"
            )
        if self.processor is not None and not integers:
            raise UsageError(f"--isa goes with precisions of integers: {names} has none")
        if self.ranges is not None and all(scheme.calibration is None for scheme in schemes):
            raise UsageError(
                f"--ranges goes with static integer precisions: {names} takes no ranges from images"
            )

    def check_layers(self, model: Model) -> None:
        """Refuses layers that a network does not have.

        Raises:
            ModelError: one of them; the message names the nearest ones.
        """
        known = [path for path, _ in model.module.named_modules() if path]
        for layer in self.float_layers:
            if layer not in known:
                near = difflib.get_close_matches(layer, known, 3) or known[:3]
                raise ModelError(
                    f"'{model.source}' has no layer '{layer}' that could stay in float: expected "
                    f"names such as {', '.join(near)} ('edgekit describe' lists them)"
                )

    def calibration(self, model: Model, skip_corrupt: bool = False) -> Calibration:
        """Draws the images for a network, which must give numbers for them.

        Raises:
            DataError: there are none, or they cannot be used.
            ModelError: what the network gives for one of them is not finite.
        """
        data = self.data or model.data
        if data is None:
            raise DataError(
                f"'{model.source}' has no images that the ranges of integers could come from: give "
                f"some like those that it will see, with --calibration SRC (a folder of class "
                f"folders, digits, or synthetic for timing)"
            )
        if model.signature is not None:
            calibration = calibration_rows(data, model, self.images, skip_corrupt=skip_corrupt)
        else:
            assert model.preprocessing is not None
            calibration = calibration_images(
                data, model.preprocessing, self.images, skip_corrupt=skip_corrupt
            )
        module = own_copy(model.on_rows)
        scores = reference_scores(module, calibration.images, channels_last=model.of_zoo)
        check_finite(scores, f"'{model.source}'", lambda i: calibration.names[i], model.told)
        return calibration

    def scheme(self, target: Target, precision: str, calibration: Calibration | None) -> Scheme:
        """The scheme of a target with all of this in it."""
        scheme = target.schemes[precision]
        if not isinstance(target, Quantizing):
            return scheme
        chosen, isa = self.forms, None
        if chosen is None:
            if depends_on_isa(target.choices, precision):
                isa = self.processor or self.device.isa()
            chosen = chosen_forms(target.choices, precision, isa or "")
        scheme = dataclasses.replace(scheme, isa=isa)
        forms = {name: value for name, value in chosen.items() if name in target.forms}
        if scheme.weights != "int8":
            return dataclasses.replace(scheme, forms=forms)
        forms = {name: values[0] for name, values in target.forms.items()} | forms
        scheme = dataclasses.replace(scheme, forms=forms)
        scheme = dataclasses.replace(scheme, float_layers=self.float_layers)
        if calibration is None or scheme.calibration is None:
            return scheme
        return dataclasses.replace(
            scheme,
            calibration=self.ranges or target.ranges[0],
            interface=self.interface,
        )


def ranged_inputs(
    calibration: Calibration | None, model: Model, target: Target
) -> Sequence[Sequence[Array]] | None:
    """The images as inputs of a target, one inference after the other."""
    if calibration is None:
        return None
    images = calibration.images
    return [fed(model, images[i : i + 1], target.layout) for i in range(len(images))]
