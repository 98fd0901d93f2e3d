import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]

import node  # noqa: E402


def pytest_collection_modifyitems():
    if not os.access(node.BINARY, os.X_OK):
        pytest.exit(f"{node.BINARY} is missing: make programs", 1)


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    """The library that makes a process fail on purpose, built."""
    return node.build_faults(str(tmp_path_factory.mktemp("faults")))
