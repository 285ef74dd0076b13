"""Asks a service again and again while it is attacked, and notes how long it lets others wait."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import zmq
from support.hostile import Attacker, message
from support.streams import DEADLINE_S

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol import messages


@contextmanager
def asked(stack: LocalStack, part: str, waited: Callable[[float], None]) -> Generator[None]:
    """Ask the service for something that its loop has to answer, again and again; call `waited` with each wait (s)."""
    question: messages.AnyMessage = messages.StatusRequest(version=penstock.__version__)
    address = stack.addresses.ventilator
    if part == "sink":
        address = stack.addresses.trainers
        question = messages.SampleRequest(stream="train", count=1, version=penstock.__version__)
    stop = threading.Event()

    def ask() -> None:
        with Attacker(zmq.DEALER, address) as onlooker:
            while not stop.wait(0.02):
                began = time.monotonic()
                onlooker.send([message(question)])
                assert onlooker.socket.poll(round(DEADLINE_S * 1000)), f"{part} does not answer"
                onlooker.socket.recv_multipart()
                waited(time.monotonic() - began)

    with meanwhile(ask, stop):
        yield


@contextmanager
def meanwhile(work: Callable[[], None], over: threading.Event) -> Generator[None]:
    """Do `work` in a thread while the block lasts; it ends once `over` is set."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
