"""Models for the tests that look into networks."""

from pathlib import Path

import pytest

from tests.core.shapes import write_shape_model, write_unet_model


@pytest.fixture(scope="session")
def disc_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shape_model(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def tiny2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unet_model(tmp_path_factory.mktemp("tiny2d"), 2)


@pytest.fixture(scope="session")
def tiny3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unet_model(tmp_path_factory.mktemp("tiny3d"), 3)
