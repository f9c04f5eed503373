"""What the tests of data share."""

import logging

import pytest


@pytest.fixture
def told(caplog):
    """The log of bothways from its informative lines on."""
    caplog.set_level(logging.INFO, logger="bothways")
    return caplog
