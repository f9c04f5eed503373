"""An encoder on several processes, for work that asks for the vectors of many lists of texts.

A job of shards (`workers.py`) writes files, and mining needs the vectors. So here each list of
texts goes to one process, and its vectors come back. Lists are not divided, because the texts that
share a pass decide the last bit of a vector: a list has the same vectors in one process and in
several.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.bulk.model_request import ModelRequest
from bothways.bulk.workers import ERRORS, TRIES, cores, end_with_parent
from bothways.errors import BothwaysError, InputError
from bothways.similarity_names import Similarity, similarity_name

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

log = logging.getLogger("bothways")

Failure = tuple[str, str]
"""Name of an error's class, and its message."""


class EncoderPool:
    """Encodes lists of texts on several processes, each with the model in memory.

    For example:

        with EncoderPool(ModelRequest("my-encoder"), 2) as encoder:
            mined = mine(rows, corpus, method="dense", encoder=encoder)

    Attributes:
        request: the model.
        at_once: number of processes, and so of lists that are encoded at the same time, if as many
            threads ask for them.
        similarity_fn_name: how the model's vectors are compared, known inside the `with` block.
    """

    similarity_fn_name: Similarity | None = None

    def __init__(self, request: ModelRequest, processes: int) -> None:
        """Keep the model's name. The processes start with the `with` block.

        Raises:
            InputError: if there is not at least one process.
        """
        if processes < 1:
            raise InputError(f"processes: must be at least 1 (got {processes})")
        self.request, self.at_once = request, processes
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> EncoderPool:
        """Start a process and load the model there, so that a wrong name fails at once."""
        try:
            self.similarity_fn_name = self._call("load", None, {})
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        self.close()

    def close(self) -> None:
        """End all processes."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(cancel_futures=True)

    def encode(
        self, texts: list[str], *, prompt: str | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Return the vectors of texts; see `Encoder.encode`."""
        return self._vectors("encode", texts, prompt, batch_tokens)

    def encode_query(
        self, texts: list[str], *, prompt: str | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Return the vectors of queries; see `Encoder.encode_query`."""
        return self._vectors("encode_query", texts, prompt, batch_tokens)

    def encode_document(
        self, texts: list[str], *, prompt: str | None = None, batch_tokens: int | None = None
    ) -> np.ndarray:
        """Return the vectors of documents; see `Encoder.encode_document`."""
        return self._vectors("encode_document", texts, prompt, batch_tokens)

    def _vectors(
        self, method: str, texts: list[str], prompt: str | None, batch_tokens: int | None
    ) -> np.ndarray:
        given = {"prompt": prompt, "batch_tokens": batch_tokens}
        options = {name: value for name, value in given.items() if value is not None}
        found: np.ndarray = self._call(method, texts, options)
        return found

    def _call(self, method: str, texts: list[str] | None, options: dict[str, Any]) -> Any:
        """Call a method of the encoder in some process. If it is lost, call it again in another.

        Raises:
            BothwaysError: as the method does, or if `TRIES` processes were lost.
        """
        for _ in range(TRIES):
            executor = self._started()
            try:
                failure, found = executor.submit(
                    _work, self.request, method, texts, options
                ).result()
            except BrokenProcessPool:
                self._drop(executor)
                continue
            if failure is not None:
                raise ERRORS.get(failure[0], BothwaysError)(failure[1])
            return found
        raise BothwaysError(
            f"{self.request.name}: {TRIES} processes ended while they encoded; if memory is short, use fewer processes or a smaller "
            '--batch-tokens; in a script, call this below `if __name__ == "__main__":`'
        )

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                context = multiprocessing.get_context("spawn")
                numbers = context.SimpleQueue()
                for number in range(self.at_once):
                    numbers.put(number)
                self._executor = ProcessPoolExecutor(
                    self.at_once,
                    mp_context=context,
                    initializer=_begin,
                    initargs=(numbers, max(1, cores() // self.at_once)),
                )
            return self._executor

    def _drop(self, executor: ProcessPoolExecutor) -> None:
        """Leave processes of which one was lost: the others are ended too, by the library."""
        with self._lock:
            if self._executor is executor:
                log.warning("a process that encoded was lost; its texts are encoded by another one")
                self._executor = None
        executor.shutdown(wait=False)


_here: dict[str, Any] = {}
"""The number of this process, and its encoder when it is loaded."""


def _begin(numbers: SimpleQueue[int], threads: int) -> None:
    """Prepare a process: the first thing that it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process tells us
    end_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _here.update(number=numbers.get(), threads=threads)


def _work(
    request: ModelRequest, method: str, texts: list[str] | None, options: dict[str, Any]
) -> tuple[Failure | None, Any]:
    """Call a method of the encoder, which is loaded first. Errors are returned by name."""
    try:
        if "encoder" not in _here:
            import torch

            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(_here["threads"])
            _here["encoder"] = request.open(_here["number"])
        if texts is None:
            return None, similarity_name(_here["encoder"])
        call = getattr(_here["encoder"], method)
        return None, np.asarray(call(texts, show_progress_bar=False, **options))
    except BothwaysError as error:
        return (type(error).__name__, str(error)), None
