"""What an exported file says of itself: all that is needed to use it, as JSON in its metadata."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_dab.errors import UserError

#: The key of the JSON text in the metadata of ONNX, OpenVINO and torch's files.
KEY = 'mmdet_dab'
#: Raised when a reader of the old form would misread the new one.
VERSION = 1
#: Of images, in pixels; a larger one would fill the memory.
LONGEST_EDGE = 16384


class Trial(NamedTuple):
    """What was measured when a file became int8.

    Attributes:
        int8_parts: of the detector; none for the float file.
        rest: precision of all other parts.
        metric: on the validation images.
    """

    int8_parts: tuple[str, ...]
    rest: str
    metric: float


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
        precision: of the weights and products; ``'int8+bfloat16'``: of the int8 parts and the
            others.
        float_parts: with int8, the parts that stay in floating point, besides those that always
            do.
        config: name of the config that it was exported from.
        weights_sha256: of the checkpoint file, or of the weights where there was none.
        project: version of mmdet_dab.
        version: of this form.
        int8_metric: by which the parts were chosen, such as ``coco/bbox_mAP``.
        int8_trials: what was measured, the float file first, the chosen one last.
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
    int8_metric: str = ''
    int8_trials: tuple[Trial, ...] = ()

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
            known = [field.name for field in fields(cls) if field.name in values or field.default is MISSING]
            stored = {name: _frozen(values[name]) for name in known}
            stored['int8_trials'] = tuple(Trial(*trial) for trial in stored.get('int8_trials', ()))
            found = cls(**stored)
            found.refuse_nonsense()
            return found
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f'{source}: damaged metadata ({error}). Export the detector anew.') from error

    def refuse_nonsense(self) -> None:
        """Refuse values that no export writes, so that what uses them need not doubt them.

        Raises:
            ValueError: names one.
        """
        levels = [level for colour in self.palette for level in colour]
        right = {
            'classes': isinstance(self.classes, tuple)
            and len(self.classes) > 0
            and all(isinstance(name, str) for name in self.classes),
            'palette': len(self.palette) == len(self.classes)
            and len(levels) == 3 * len(self.palette)
            and all(isinstance(level, int) and 0 <= level <= 255 for level in levels),
            'resize': self.resize in ('keep ratio', 'stretch', 'none'),
            'scale': len(self.scale) == 2
            and all(isinstance(edge, int) and edge >= (self.resize != 'none') for edge in self.scale)
            and max(self.scale) <= LONGEST_EDGE,
            'mean': len(self.mean) == 3 and all(map(math.isfinite, self.mean)),
            'std': len(self.std) == 3 and all(0 < value < math.inf for value in self.std),
            'channels': self.channels in ('rgb', 'bgr'),
            'pad_divisor': isinstance(self.pad_divisor, int) and 1 <= self.pad_divisor <= LONGEST_EDGE,
            'input': self.input in ('float32', 'uint8'),
            'threshold': math.isfinite(self.threshold),
        }
        for name, is_right in right.items():
            if not is_right:
                raise ValueError(f'{name}: {str(getattr(self, name))[:80]}')


def _frozen(value: Any) -> Any:
    """Lists of JSON as tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Change the metadata of an ``.onnx`` or ``.xml`` file in place."""
    if path.suffix == '.onnx':
        import onnx

        onnx_model = onnx.load(path)
        for entry in onnx_model.metadata_props:
            if entry.key == KEY:
                entry.value = metadata.to_json()
        onnx.save(onnx_model, path)
        return
    import openvino

    model = openvino.Core().read_model(path)
    model.set_rt_info(metadata.to_json(), [KEY])
    draft = path.with_name(f'draft-{path.name}')
    openvino.save_model(model, draft, compress_to_fp16=False)
    del model  # the weights are read from the file that is replaced
    for part in (draft, draft.with_suffix('.bin')):
        part.replace(path.with_suffix(part.suffix))
