"""Iterators as Keras's PyDataset: its own workers, pickling and forks."""

import multiprocessing
import os
import pickle
import warnings
from typing import Any

import pytest
from support.keras.flows import flow

from penstock.protocol.errors import ArgumentError


def test_keras_s_own_workers_are_not_used() -> None:
    """Scripts may set them, as on any PyDataset: a warning says what to give instead, and Keras sees none."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")
    iterator = flow()
    assert isinstance(iterator, keras.utils.PyDataset)
    with pytest.warns(UserWarning, match="workers = 4 is ignored: give workers = N to the generator"):
        iterator.workers = 4
    with pytest.warns(UserWarning, match="use_multiprocessing = True is ignored"):
        iterator.use_multiprocessing = True
    assert (1, False) == (iterator.workers, iterator.use_multiprocessing)


def test_an_iterator_stays_in_its_process() -> None:
    """Keras's `use_multiprocessing` would pickle or fork it: refused in words that name what to give instead."""
    iterator = flow()
    with pytest.raises(TypeError, match="leave `use_multiprocessing` out, and give workers = N"):
        pickle.dumps(iterator)
    child = multiprocessing.get_context("fork").Process(target=ask, args=(iterator,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks in a process with threads
        child.start()
    child.join(60)
    assert 7 == child.exitcode


def ask(iterator: Any) -> None:
    """Exit with 7 if the iterator refuses to work here."""
    try:
        iterator[0]
    except ArgumentError as error:
        os._exit(7 if "was made in process" in str(error) else 1)
