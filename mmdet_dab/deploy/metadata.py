"""What an exported file says of itself: all that is needed to use it, as JSON in its metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmdet_dab.errors import UserError

#: The key of the JSON text in the metadata of ONNX, OpenVINO and torch's files.
KEY = 'mmdet_dab'
#: Raised when a reader of the old form would misread the new one.
VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """The facts of an exported detector.

    Attributes:
        classes: names, by label.
        palette: (r, g, b) in 0..255 of each class.
        resize: ``'keep ratio'`` fits the image into ``scale``, ``'stretch'`` makes it ``scale``,
            ``'none'`` takes it as it is.
        scale: (width, height) in pixels.
        mean, std: of the three channels of the model's input, in 0..255.
        channels: ``'rgb'`` or ``'bgr'``, the order of the model's input.
        pad_divisor: height and width of a batch are padded to a multiple of it.
        input: ``'float32'``: normalised images; ``'uint8'``: images as they are resized.
        max_detections: predictions of an image.
        threshold: score from which on a prediction is shown.
        precision: of the weights and products.
        float_parts: with int8, the parts that stay in floating point.
        config: name of the config that it was exported from.
        weights_sha256: of the checkpoint file, or of the weights where there was none.
        project: version of mmdet_dab.
        version: of this form.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    resize: str
    scale: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str
    pad_divisor: int
    input: str
    max_detections: int
    threshold: float
    precision: str
    float_parts: tuple[str, ...]
    config: str
    weights_sha256: str
    project: str
    version: int = VERSION

    def to_json(self) -> str:
        """One line of JSON; what is not ASCII is escaped, so that no runtime has to guess an
        encoding."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, source: str) -> Metadata:
        """Read the text of a file's metadata.

        Args:
            text: what stands under :data:`KEY`, or None.
            source: the file, for messages.

        Raises:
            UserError: there is none, it is damaged, or of a later version.
        """
        if not text:
            raise UserError(f'{source}: no metadata of mmdet_dab. Export the detector with `mmdet-dab export`.')
        try:
            values = json.loads(text)
            version = values['version']
            if version > VERSION:
                raise UserError(
                    f'{source}: metadata of version {version}, but this mmdet_dab reads up to {VERSION}. Upgrade it.'
                )
            return cls(**{field.name: _frozen(values[field.name]) for field in fields(cls)})
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise UserError(f'{source}: damaged metadata ({error}). Export the detector anew.') from error


def _frozen(value: Any) -> Any:
    """Lists of JSON as tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
