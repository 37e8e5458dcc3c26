"""What to export, and what is refused before work starts. Imports nothing heavy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mmdet_dab.deploy.backends import need
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.errors import UserError
from mmdet_dab.regular_files import check_output

if TYPE_CHECKING:
    from mmengine.config import Config

#: Endings of files -> precisions that their runtime has on a CPU. ONNX Runtime and OpenVINO keep
#: weights in float16 and compute in float32; all others are what products are computed in.
PRECISIONS = MappingProxyType(
    {
        '.onnx': ('float32', 'float16'),
        '.xml': ('float32', 'float16', 'bfloat16'),
        '.pt2': ('float32', 'float16', 'bfloat16'),
    }
)
#: Endings of files -> modules that writing them takes, and the extra that has all of them.
NEEDED = MappingProxyType(
    {
        '.onnx': (('onnx', 'onnxscript', 'onnxruntime'), 'export,runtime'),
        '.xml': (('onnx', 'onnxscript', 'openvino'), 'export,openvino'),
        '.pt2': ((), ''),
    }
)


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        config: of the detector.
        checkpoint: its weights; None exports random ones, to try the way.
        out: file to write; its ending chooses the format.
        input: ``'float32'``: normalised images; ``'uint8'``: the file normalises.
        precision: see :data:`PRECISIONS`.
        threshold: score from which on a prediction is shown.
    """

    config: Config
    checkpoint: Path | None
    out: Path
    input: str = 'float32'
    precision: str = 'float32'
    threshold: float = 0.3


def files_of(out: Path) -> tuple[Path, ...]:
    """The files that an export writes: OpenVINO has the weights in one of their own."""
    return (out, out.with_suffix('.bin')) if out.suffix == '.xml' else (out,)


def check_target(out: Path, precision: str = 'float32', threshold: float = 0.3) -> None:
    """Refuse what cannot be written.

    Raises:
        UserError: unknown format or precision, a missing package, no folder to write to, or a
            threshold that is no score.
    """
    precisions = PRECISIONS.get(out.suffix)
    if precisions is None:
        raise UserError(f'--out {out}: the ending must be one of {", ".join(PRECISIONS)}.')
    if precision not in precisions:
        raise UserError(f'--precision {precision}: for {out.suffix} it is {" or ".join(precisions)}.')
    for file in files_of(out):
        check_output(file, '--out')
    if not 0 <= threshold <= 1:
        raise UserError(f'--threshold {threshold}: a score is in 0 to 1.')
    modules, extra = NEEDED[out.suffix]
    for module in modules:
        need(module, extra)
    if (out.suffix, precision) == ('.xml', 'bfloat16'):
        need_bfloat16()


def need_bfloat16() -> None:
    """Refuse bfloat16 where this processor lacks it: OpenVINO would compute in float32 in silence,
    and the file would be compared with nothing.

    Raises:
        UserError: it is lacking.
    """
    with without_reports():
        import openvino

    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise UserError('--precision bfloat16: OpenVINO finds no bfloat16 in this processor. Take float32 or float16.')


def unfinished(file: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for a file that is not proved yet: on its disk, so that it gets its place at once.

    Where a killed process leaves the folder, its name says what it was.
    """
    return tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=f'.{file.stem[:100]}-unfinished-')
