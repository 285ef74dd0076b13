"""Every error that Penstock raises. Errors of Penstock itself, of the user and of a peer have different types."""


class PenstockError(Exception):
    """Base of all errors that Penstock raises on purpose."""


class SpecError(PenstockError):
    """The spec, or a setting, is wrong: the message names the file, the field, the value and what is allowed."""


class SourceError(PenstockError):
    """A source cannot be listed: the message names the folder or file and what to do."""


class ItemError(PenstockError):
    """One item cannot be made into samples; it is quarantined with this message as its reason."""


class TransformError(PenstockError):
    """A custom transform returned what the spec does not say: the message says both. No item is to blame."""


class ProtocolError(PenstockError):
    """A message broke the protocol."""


class LocalProtocolError(ProtocolError):
    """This program is about to break the protocol: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """A peer broke the protocol; `reason` is a short word for counters. The message is dropped, never the service."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the short `reason` (a counter label) next to the full text."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class OutputError(PenstockError):
    """An output file cannot be written, or must not be: the message names the file and what to do."""


class RefusedError(PenstockError):
    """The sink refused a subscription and says why (another fingerprint, an unknown stream, a bad position)."""


class FailureBudgetError(PenstockError):
    """More items failed than the stream's failure budget allows; the message names the most frequent reasons."""


class AbandonedError(PenstockError):
    """A newer iteration of the same feed has begun, or the feed was moved, before this iteration was over."""


class DeadlineError(PenstockError, TimeoutError):
    """A wait reached its deadline; the message says what was waited for and what to check."""


class StackError(PenstockError):
    """A supervised local service could not start or died too often; the message quotes the end of its log."""


class ArgumentError(PenstockError, ValueError):
    """An argument of `ImageDataGenerator` is wrong; a ValueError too, since scripts written for Keras catch that."""


class ArgumentTypeError(PenstockError, TypeError):
    """An argument of `ImageDataGenerator` has the wrong type; a TypeError too, as Keras raises."""


class MissingFolderError(SourceError, FileNotFoundError):
    """A folder of images is not there; a FileNotFoundError too, as Keras raises."""
