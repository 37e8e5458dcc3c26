"""Explorer pages of small detectors, and a browser to look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from torch import nn

from mmdet_dab.explain.explorer import Detector, explore
from mmdet_dab.explain.ground_truth import Objects
from tests.helpers import assemblies

CLASSES = ('square', 'bar', 'disc')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


def detector(name: str, classes: tuple[str, ...] = CLASSES, **overrides: Any) -> Detector:
    """A small detector that reads files."""
    model: Any = assemblies.build(name, **overrides)
    return Detector(with_pipeline(model, classes), name)


def with_pipeline(model: Any, classes: tuple[str, ...] = CLASSES) -> nn.Module:
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    model.dataset_meta = dict(classes=classes)
    return model


def draw_image(file: Path, seed: int = 0) -> Path:
    image = np.random.default_rng(seed).integers(0, 255, (12, 18, 3), np.uint8)
    assert cv2.imwrite(str(file), cv2.resize(image, (180, 120), interpolation=cv2.INTER_CUBIC))
    return file


def objects(*names: str) -> Objects:
    """One object a name, side by side."""
    boxes = [(10 + 50 * number, 20, 50 + 50 * number, 80) for number in range(len(names))]
    return Objects(np.array(boxes, float).reshape(-1, 4), names)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright, of the extra dev')
    if CHROMIUM is None:
        pytest.skip('needs Chromium: apt install chromium')
    with playwright.sync_playwright() as tools:
        # Containers often forbid the sandbox; the pages are our own.
        started = tools.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        yield started
        started.close()


class Opened:
    """A page in the browser, with what it said on the console and what it asked a network for."""

    def __init__(self, started: Any, file: Path) -> None:
        context = started.new_context(viewport=dict(width=1200, height=900), offline=True)
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on('console', lambda message: self.said.append(message.text))
        self.page.on('pageerror', lambda error: self.said.append(str(error)))
        self.page.on('request', lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector('html[data-ready=true]', state='attached', timeout=20_000)

    def ask(self, code: str, argument: Any = None) -> Any:
        """What JavaScript gives; arrays as lists, and no number as None."""
        flat = '(key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value'
        whole = f'(argument) => JSON.parse(JSON.stringify(({code})(argument) ?? null, {flat}))'
        return self.page.evaluate(whole, argument)


def write(file: Path, *detectors: Detector, images: list[Path], **arguments: Any) -> Path:
    file.write_text(explore(detectors, images, **arguments).text, encoding='utf-8')
    return file
