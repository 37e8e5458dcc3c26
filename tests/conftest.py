"""Shared by all tests."""

import pytest
from mmengine.registry import DefaultScope, init_default_scope

import mmdet_dab  # noqa: F401  (makes mmdet importable for the tests' own imports)


def pytest_configure(config: pytest.Config) -> None:
    """Register our markers."""
    config.addinivalue_line('markers', 'slow: takes more than 15 seconds on one core')


@pytest.fixture(scope='session', autouse=True)
def _mmdet_scope():
    """As every config has it: ``default_scope = 'mmdet'``."""
    init_default_scope('mmdet')
    yield
    DefaultScope._instance_dict.clear()
