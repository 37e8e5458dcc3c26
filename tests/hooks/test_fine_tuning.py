"""Fine-tuning on other classes: rows are matched by name, and differences are logged."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from mmdet.evaluation import get_classes
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmdet_dab.checkpoints import CheckpointError, read_checkpoint
from mmdet_dab.checkpoints.class_rows import class_tensors, fit_classes, select_rows
from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mmdet_models import replace_everywhere
from tests.helpers.tiny_task import make_task
from tests.helpers.training import build, config_of

COCO = tuple(get_classes('coco'))
CLASSES = ('square', 'person', 'bar')
ROWS = ('bbox_head.class_branch.weight', 'bbox_head.class_branch.bias')


def save(path: Path, state: dict, classes: tuple[str, ...] | None) -> Path:
    meta = {} if classes is None else {'dataset_meta': {'classes': classes}}
    torch.save({'state_dict': state, 'meta': meta}, path)
    return path


def load(tmp_path: Path, checkpoint: Path, classes: tuple[str, ...] = CLASSES, **model) -> tuple[Runner, dict, list]:
    """Load into the tiny model for ``classes`` as the Runner does; the runner, its start, and the log."""
    config = load_config(str(cli_config(tmp_path)), {})
    config.model = tiny.tiny_config(bbox_head=dict(num_classes=len(classes)), **model)
    config.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(config)
    runner.visualizer.dataset_meta = {'classes': classes}
    start = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        runner.load_checkpoint(str(checkpoint))
    finally:
        logger.removeHandler(handler)
    return runner, start, records


def cli_config(tmp_path: Path) -> Path:
    return make_task(tmp_path).config


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """The tiny model as trained on COCO's 80 classes."""
    torch.manual_seed(3)
    model = MODELS.build(tiny.tiny_config(bbox_head=dict(num_classes=80)))
    tiny.shake(model)
    return save(tmp_path / 'coco.pth', model.state_dict(), COCO)


def warnings_of(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def test_80_to_3_classes_with_one_name_shared(tmp_path, pretrained):
    runner, start, records = load(tmp_path, pretrained)
    theirs, ours = read_checkpoint(pretrained)['state_dict'], runner.model.state_dict()
    assert tuple(class_tensors(runner.model)) == ROWS
    for name, tensor in ours.items():
        if name in ROWS:
            assert torch.equal(tensor[1], theirs[name][COCO.index('person')])
            assert torch.equal(tensor[[0, 2]], start[name][[0, 2]])
        else:
            assert torch.equal(tensor, theirs[name]), name
    (line,) = [record.getMessage() for record in records if record.getMessage().startswith('classes: ')]
    assert '1 of 3' in line
    assert line.index('(person)') < line.index('(square, bar)')
    assert not warnings_of(records)


def test_classes_in_another_order_are_matched_by_name(tmp_path, pretrained):
    classes = (*COCO[40:], *COCO[:40])
    runner, _, _ = load(tmp_path, pretrained, classes)
    theirs, ours = read_checkpoint(pretrained)['state_dict'], runner.model.state_dict()
    for name in ROWS:
        assert torch.equal(ours[name], theirs[name].roll(40, 0))


def test_the_same_classes_are_loaded_without_a_message(tmp_path, pretrained):
    runner, _, records = load(tmp_path, pretrained, COCO)
    theirs = read_checkpoint(pretrained)['state_dict']
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in runner.model.state_dict().items())
    assert not [record for record in records if record.getMessage().startswith('classes: ')]
    assert not warnings_of(records)


def test_a_checkpoint_that_does_not_name_its_classes(tmp_path, pretrained):
    state = read_checkpoint(pretrained)['state_dict']
    unnamed = save(tmp_path / 'unnamed.pth', state, None)
    runner, start, _ = load(tmp_path, unnamed)
    assert all(torch.equal(runner.model.state_dict()[name], start[name]) for name in ROWS)
    runner, _, records = load(tmp_path / 'again', unnamed, COCO)
    assert all(torch.equal(runner.model.state_dict()[name], state[name]) for name in ROWS)
    assert any(record.getMessage().startswith('classes: ') for record in records)


def test_everything_else_that_differs_is_a_warning_with_counts(tmp_path, pretrained):
    state = read_checkpoint(pretrained)['state_dict']
    total = len(state)
    del state['decoder.norm.weight'], state['decoder.norm.bias']
    state['decoder.norm.scale'] = torch.ones(32)
    state['query_generator.sizes'] = torch.zeros(9, 2)
    _, _, records = load(tmp_path, save(tmp_path / 'other.pth', state, COCO), COCO)
    missing, differing, unexpected = [text for text in warnings_of(records) if text.startswith('ATTENTION')]
    assert missing.startswith(f'ATTENTION: 2 of the {total} tensors of the model are not in the checkpoint')
    assert missing.endswith('decoder.norm.weight, decoder.norm.bias')
    assert differing.startswith(f'ATTENTION: 1 of the {total} ')
    assert differing.endswith('query_generator.sizes')
    assert unexpected.startswith(f'ATTENTION: 1 of the {total - 1} tensors of the checkpoint')
    assert unexpected.endswith('decoder.norm.scale')


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    other = save(tmp_path / 'other.pth', {'conv1.weight': torch.ones(1), 'fc.bias': torch.ones(2)}, None)
    with pytest.raises(CheckpointError, match=r'none of the \d+ tensors .* starts with conv1\.weight, fc\.bias'):
        load(tmp_path, other)


def test_rows_by_hand():
    loaded, start = torch.tensor([[1.0], [2.0]]), torch.tensor([[7.0], [8.0], [9.0]])
    rows = select_rows(loaded, start, ('b', 'c', 'a'), ('a', 'b'))
    assert rows.tolist() == [[2.0], [8.0], [1.0]]
    assert start.tolist() == [[7.0], [8.0], [9.0]]


def test_background_keeps_its_row():
    """The last of a softmax, behind those of the classes; 2 classes and background become 3 and background."""
    state, own = {'rows': torch.tensor([1.0, 2.0, 3.0])}, {'rows': torch.tensor([6.0, 7.0, 8.0, 9.0])}
    assert fit_classes(state, own, ['rows'], ('b', 'c', 'a'), ('a', 'b')) == ['c']
    assert state['rows'].tolist() == [2.0, 7.0, 1.0, 3.0]


def test_a_training_begins_with_the_weights_of_load_from(tmp_path, quiet_runner):
    """With a learning rate of 0, the trained checkpoint holds what was loaded."""
    config = config_of(tmp_path, load_from=str(tmp_path / 'base.pth'))
    config.optim_wrapper.optimizer.lr = 0.0
    model = copy.deepcopy(config.model)
    replace_everywhere(model, num_classes=80)
    save(tmp_path / 'base.pth', MODELS.build(model).state_dict(), ('square', *COCO[:79]))
    build(config).train()
    theirs, ours = (
        read_checkpoint(path)['state_dict'] for path in (tmp_path / 'base.pth', tmp_path / 'work/iter_12.pth')
    )
    assert torch.equal(ours[ROWS[0]][0], theirs[ROWS[0]][0])
    assert torch.equal(ours['neck.convs.0.conv.weight'], theirs['neck.convs.0.conv.weight'])


@pytest.mark.parametrize('evaluate', [True, False])
def test_a_test_alone_wants_all_weights(tmp_path, pretrained, quiet_runner, evaluate):
    """A training begins with some weights at random, and says so; a test would report their AP."""
    state = read_checkpoint(pretrained)['state_dict']
    half = save(tmp_path / 'half.pth', dict(list(state.items())[: len(state) // 2]), COCO)
    config = load_config(str(cli_config(tmp_path)), {'data_root': str(tmp_path / 'drawn')})
    config.model = tiny.tiny_config(bbox_head=dict(num_classes=2))
    config.work_dir, config.load_from = str(tmp_path / 'work'), str(half)
    runner = Runner.from_cfg(config)
    if evaluate:
        with pytest.raises(CheckpointError, match='decoder'):
            runner.test()
    else:
        runner.train()
