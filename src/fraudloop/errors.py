"""What can go wrong, grouped by who can act. Each docstring is the default message and says what to do next."""

from __future__ import annotations


class FraudloopError(Exception):
    """Something went wrong; the message says where and what to do next."""

    exit_code = 1

    def __init__(self, message: str | None = None, **fields: object) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.fields = fields


class InputError(FraudloopError):
    """The caller's input cannot be used; correct it as the message says and try again."""

    exit_code = 2


class DefinitionError(InputError):
    """A feature definition is not understood; correct the name or table it points at."""


class ColumnMapError(InputError):
    """The column map does not fit the file; correct the column it names."""


class DataError(InputError):
    """The data breaks its contract; see the quarantine file for rows, rules and reasons."""


class RuleError(InputError):
    """A rule is not understood; correct it at the character it points at."""


class BundleError(InputError):
    """The model bundle is damaged, tampered with or from a newer version; train it again or restore it from the store."""


class TrackingError(FraudloopError):
    """The tracking store or its artifacts cannot be used; the message says what is saved and how to go on."""

    exit_code = 1


class StoreError(InputError):
    """The bundle store does not hold what was asked for; `fraudloop models list` shows what it holds."""


class StoreConflict(FraudloopError):
    """Somebody else moved the alias first; look at the history and decide again."""


class PublishConflict(StoreConflict):
    """Somebody else published first; look at what is in force now, and publish again if it still should be."""


class SnapshotError(FraudloopError):
    """The snapshot cannot be restored; rebuild the state by folding the log again."""


class RefoldNeeded(FraudloopError):
    """The kept events do not hold what the new plan asks for; fold the log under it beside the live state and swap."""


class LedgerError(FraudloopError):
    """The log cannot be read or written; the message says where, and how to go on."""


class FencedError(LedgerError):
    """Another writer has taken over this log; answer nothing more and open the log anew."""


class CheckFailed(FraudloopError):
    """A check did not pass; the report says which and why."""

    exit_code = 1


class DefectError(FraudloopError):
    """A defect in fraudloop; nothing that was answered is lost. Report the place that it names."""


class ConflictError(InputError):
    """The same transaction_id came before with another body; send another id, or the body that was sent first."""


class UnavailableError(FraudloopError):
    """The service cannot answer now; send the same request again after the time it names: it is decided once."""


class RefusedError(InputError):
    """The body was not taken; correct the fields that it names."""


class NotFoundError(InputError):
    """There is nothing of this name; the message says where to look."""


class UnauthorizedError(InputError):
    """The request brings no API key that is known here; send `Authorization: Bearer KEY` with a key of `fraudloop keys create`."""


class ForbiddenError(InputError):
    """The API key lacks the scope of this route; make one that has it with `fraudloop keys create --scopes`."""


class LimitedError(InputError):
    """Too many requests of this caller; come again after the time it names."""


class GatewayError(FraudloopError):
    """The part of the service that answers this did not, or not in time; try again, and look at the log of the desk."""


class TransportError(FraudloopError):
    """The service could not be reached, or the connection broke; whether it decided is found out by sending the same request again."""
