import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "lib"))

import certs  # noqa: E402
import umbra  # noqa: E402


def pytest_collection_modifyitems(items):
    if not os.access(umbra.UMBRAD, os.X_OK):
        pytest.exit(f"{umbra.UMBRAD} is missing: make MODE=asan programs", 1)


@pytest.fixture(scope="session")
def pair():
    """A self-signed certificate and its key for the relay."""
    folder = tempfile.mkdtemp(prefix="umbra-tls-", dir="/tmp")
    yield certs.self_signed(folder)
    shutil.rmtree(folder)
