"""Every failure this program raises on purpose, as a tree; whose fault it is stands in the name.

    WeighbridgeError
    ├── ConfigError            the operator's files are wrong: what, where (file, line, column), what to write instead
    ├── ClientError            the caller's request cannot be served; carries the HTTP status it deserves
    ├── UpstreamError          the provider did not answer as HTTP asks, or not at all (502/504)
    │   ├── UpstreamUnreachable    no connection: DNS, refused, TLS
    │   ├── UpstreamTimeout        connected, but silent for too long
    │   └── UpstreamBroken         closed or malformed in the middle of an answer
    ├── StoreError             a store of ours is away or refuses
    │   ├── QuotaStoreError
    │   ├── LedgerError
    │   │   └── RefusedRecord      the ledger is well, one record of the batch is not
    │   └── SpoolError
    └── PricingError           figures that cannot be priced (contradictory counts)

Refusals (a limit reached, a model not allowed) are values, not exceptions.
"""


class WeighbridgeError(Exception):
    """Root of all failures raised on purpose."""


class ConfigError(WeighbridgeError):
    """The configuration cannot be used; the message is written for the operator."""


class ClientError(WeighbridgeError):
    """The caller's request cannot be served as sent."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class UpstreamError(WeighbridgeError):
    """The provider did not answer, or not as HTTP asks."""

    status = 502


class UpstreamUnreachable(UpstreamError):
    """No connection could be made: name, route, refusal or TLS."""


class UpstreamTimeout(UpstreamError):
    """The provider was silent for longer than its time-out."""

    status = 504


class UpstreamBroken(UpstreamError):
    """The provider closed or garbled its answer part-way."""


class StoreError(WeighbridgeError):
    """A store of ours is away or refuses."""


class QuotaStoreError(StoreError):
    """The counters cannot be reached or refuse."""


class LedgerError(StoreError):
    """The ledger cannot be reached or refuses."""


class RefusedRecord(LedgerError):
    """A record of the batch can never be stored (a date that is none, a count beyond all bounds); the ledger itself is well."""


class SpoolError(StoreError):
    """A record could not be put on disk."""


class PricingError(WeighbridgeError):
    """Counts contradict each other, so no price can be given (cached > input)."""
