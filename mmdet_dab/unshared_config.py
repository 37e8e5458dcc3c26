"""A config for a detector that is used from Python."""

from __future__ import annotations

import copy

from mmengine.config import Config


class UnsharedConfig(Config):
    """A config whose copies share nothing with it.

    mmdet's ``inference_detector`` makes a copy of the config read arrays. Copies of MMEngine share
    all that is nested: files could not be read after an array any more.
    """

    def copy(self) -> Config:
        """All of it."""
        return copy.deepcopy(self)


def unshared(config: Config) -> UnsharedConfig:
    """The same config, of this kind."""
    made = UnsharedConfig()
    made.__dict__.update(config.__dict__)
    return made
