"""Training loops that know their place: a run that goes on continues as if it had never stopped.

They do what MMEngine's loops of similar names do, and besides: go on in the middle of an epoch
without loading what was trained on; make up for a validation that was cut off; seed every step, so
that its random numbers (denoising, dropout, augmentation) depend on the step alone; save and end
when asked to by a signal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dist import all_gather_object, broadcast, get_world_size, is_main_process
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdet_dab.engine.files import STOPPED, note_last, save_whole
from mmdet_dab.engine.randomness import STEP, VALIDATION, SeededSamples, seed_generators
from mmdet_dab.engine.samplers import ResumableBatches
from mmdet_dab.engine.signals import CalmWorker, Stopped, StopSignals
from mmdet_dab.errors import ConfigError
from mmdet_dab.registry import LOOPS


def resumable_dataloader(runner: Runner, config: Any, *, endless: bool = False) -> DataLoader:
    """Build a loader whose batches know their place and whose samples are seeded by it.

    Args:
        runner: gives the seed.
        config: ``train_dataloader``; its ``batch_sampler`` and ``drop_last`` keep their meaning.
        endless: see :class:`ResumableBatches`.

    Raises:
        ConfigError: the loader is built already.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(
            f'train_dataloader is a {type(config).__name__}: the loops of mmdet_dab build it themselves from a config'
        )
    config = dict(config)
    config['batch_sampler'] = dict(
        type=ResumableBatches,
        batches=config.get('batch_sampler'),
        drop_last=config.pop('drop_last', False),
        endless=endless,
    )
    different = runner._randomness_cfg.get('diff_rank_seed', False)
    loader = runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=different)
    loader.dataset.__getitems__ = SeededSamples(loader.dataset)
    loader.worker_init_fn = CalmWorker(loader.worker_init_fn)
    return loader


class _Unstarted:
    """Stands for a loader that must not be iterated yet."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class CutOff(Exception):  # noqa: N818 (it ends a validation, and is caught)
    """A signal has come during a validation."""


class Place:
    """The part that both loops share: where the training run is, beside its epoch and iteration.

    Attributes:
        images: that were taken from the order of the data: in this epoch, or, where iterations are
            counted, since the start.
        validated: the validation after the last step is done, or none was due.
        gradients: by process and parameter, where a checkpoint falls between the steps that gather
            gradients for one update; else None.
    """

    runner: Runner
    dataloader: DataLoader
    stop_training: bool
    _epoch: int
    _iter: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.images = 0
        self.validated = True
        self.gradients: list[dict[str, Tensor]] | None = None
        self._signals = StopSignals()

    @property
    def batches(self) -> ResumableBatches:
        """The batch sampler of the training data."""
        return self.dataloader.batch_sampler  # type: ignore[return-value]

    def progress(self) -> dict[str, Any]:
        """The place as plain data, for a checkpoint."""
        return {
            'images': self.images,
            'validated': self.validated,
            'stop_training': self.stop_training,
            'order_seed': getattr(self.batches.sampler, 'seed', None),
            'batch_size': self.batches.batch_size,
            'processes': get_world_size(),
            'max_epochs': self.runner.max_epochs,
            'max_iters': self.runner.max_iters,
        }

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Take the place of a checkpoint, whose epoch and iteration the Runner sets."""
        self.images = progress['images']
        self.validated = progress['validated']
        self.stop_training = progress['stop_training']
        if progress['order_seed'] is not None:
            self.batches.sampler.seed = progress['order_seed']

    def prepare_save(self) -> None:
        """Gather what only the processes know; all of them call it before the first one saves."""
        should_update = getattr(self.runner.optim_wrapper, 'should_update', None)
        if should_update is None or should_update():
            self.gradients = None
        else:
            self.gradients = all_gather_object(
                {name: weight.grad.cpu() for name, weight in self._weights() if weight.grad is not None}
            )

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        model = self.runner.model
        return (model.module if is_model_wrapper(model) else model).named_parameters()

    def _begin(self) -> bool:
        """Start, and put back what a checkpoint has brought; whether it awaits a validation."""
        hub = self.runner.message_hub
        numbers = {key: hub.get_info(key) for key in ('epoch', 'iter')}
        self.runner.call_hook('before_train')
        if self.gradients is not None:
            own = self.gradients[self.runner.rank]
            for name, weight in self._weights():
                weight.grad = own[name].to(weight) if name in own else None
        if self._iter == 0 or self.validated:
            return False
        # They count the step that was made last, until another one begins.
        hub.update_info_dict(numbers)
        return True

    def _seed_step(self, number: int) -> None:
        """Prepare the random numbers of a step, and note what it takes from the data.

        Args:
            number: of the batch in the epoch, or in all.
        """
        seed_generators(STEP, self.runner.seed, self._iter, self.runner.rank)
        self.images = (number + 1) * self.batches.global_batch
        self.validated = False

    def _validate(self) -> None:
        """Validate; the same numbers come out however often it is cut off and started again."""
        loop = self.runner.val_loop
        if loop is None:
            return
        seed_generators(VALIDATION, self.runner.seed, self._iter, self.runner.rank)
        share_buffers(self.runner.model)
        try:
            loop.run()
            self.validated = True
        except CutOff:
            # MMEngine validates with the averaged weights in the model, and those of the training
            # in the average.
            for hook in self.runner.hooks:
                if isinstance(hook, EMAHook):
                    hook._swap_ema_parameters()
        self._stop_if_asked()

    def cut_off_validation(self) -> None:
        """End a validation for a signal; several processes end it together, and wait for its end.

        Raises:
            CutOff: to this loop.
        """
        if self._signals.received and get_world_size() == 1:
            raise CutOff

    def _stop_if_asked(self) -> None:
        """Save and end if any process has received a signal.

        Raises:
            Stopped: with the exit code for the signal.
        """
        number = self._signals.on_any_process()
        if not number:
            return
        name = STOPPED.format(self._iter)
        folder = self.runner.work_dir
        save_whole(self.runner, folder, name, by_epoch=False, meta={'epoch': self._epoch, 'iter': self._iter})
        if is_main_process():
            note_last(folder, f'{folder}/{name}')
            print(
                f'stopped by a signal after iteration {self._iter}, and saved to {folder}/{name}. '
                'The same command with --resume goes on from there',
                file=sys.stderr,
            )
        raise Stopped(number)


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first one, which are those that checkpoints hold.

    Statistics of batch norm differ between the processes; the results of a validation would differ
    after a restart, with those of the first process everywhere.
    """
    if get_world_size() > 1:
        inner: Any = model.module if is_model_wrapper(model) else model
        for buffer in inner.buffers():
            broadcast(buffer)


@LOOPS.register_module()
class ResumableEpochLoop(Place, EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop`` that goes on exactly, in the middle of an epoch too.

    Args:
        runner: the Runner.
        dataloader: config of the loader.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval`` and ``dynamic_intervals`` as
            there.
    """

    def __init__(self, runner: Runner, dataloader: Any, **kwargs: Any) -> None:
        super().__init__(runner, resumable_dataloader(runner, dataloader), **kwargs)

    def run(self) -> nn.Module:
        """Train."""
        with self._signals:
            if self._begin() and self.images == 0:
                self._end_epoch()
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._end_epoch()
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for the rest of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = min(self.images // self.batches.global_batch, len(self.dataloader))
        self.batches.begin(self.runner.seed, self._epoch, first)
        for index, data_batch in enumerate(self.dataloader, first):
            self.run_iter(index, data_batch)
            self._stop_if_asked()
        # What is saved from here on belongs to the next epoch.
        self.images = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on a batch."""
        self._seed_step(idx)
        super().run_iter(idx, data_batch)

    def _end_epoch(self) -> None:
        self._decide_current_val_interval()
        if self._epoch >= self.val_begin and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs):
            self._validate()


@LOOPS.register_module()
class ResumableIterLoop(Place, IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop`` that goes on exactly, without loading what was trained on.

    Args:
        runner: the Runner.
        dataloader: config of the loader; with a sampler that ends, its epochs follow one another.
        **kwargs: ``max_iters``, ``val_begin``, ``val_interval`` and ``dynamic_intervals`` as there.
    """

    def __init__(self, runner: Runner, dataloader: Any, **kwargs: Any) -> None:
        loader = resumable_dataloader(runner, dataloader, endless=True)
        # MMEngine's loop would start the workers here, before it is known where to begin.
        super().__init__(runner, _Unstarted(loader.dataset), **kwargs)
        self.dataloader = loader

    def run(self) -> nn.Module:
        """Train."""
        with self._signals:
            awaits_validation = self._begin()
            self.runner.call_hook('before_train_epoch')
            if awaits_validation:
                self._end_step()
            first = self.images // self.batches.global_batch
            self.batches.begin(self.runner.seed, 0, first)
            if self._iter < self._max_iters and not self.stop_training:
                for number, data_batch in enumerate(self.dataloader, first):
                    self.runner.model.train()
                    self._seed_step(number)
                    self.run_iter(data_batch)
                    self._stop_if_asked()
                    self._end_step()
                    if self._iter >= self._max_iters or self.stop_training:
                        break
            self.runner.call_hook('after_train_epoch')
            self.runner.call_hook('after_train')
        return self.runner.model

    def _end_step(self) -> None:
        self._decide_current_val_interval()
        if self._iter >= self.val_begin and (self._iter % self.val_interval == 0 or self._iter == self._max_iters):
            self._validate()
