"""A caller of a running service, for commands that act: JSON over one kept connection, problem details as errors. It knows no command."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from fraudloop.errors import (
    FraudloopError,
    InputError,
    LimitedError,
    NotFoundError,
    PublishConflict,
    RefusedError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)

#: Where a service listens unless it was told otherwise.
URL: Final = "http://127.0.0.1:8000"

#: Seconds for one answer. A command is logged within milliseconds; a list of a million entries takes some seconds to come.
TIMEOUT_S: Final = 30.0

#: Status -> error; what is not here is InputError below 500 and TransportError from there on.
_ERRORS: Final[Mapping[int, type[FraudloopError]]] = {
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: PublishConflict,
    422: RefusedError,
    429: LimitedError,
    503: UnavailableError,
}


class Remote:
    """A service at a URL. key: sent as `Authorization: Bearer`, None where the service asks for none."""

    def __init__(self, url: str = URL, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise InputError(f"--url {url!r} is no address of a service, like {URL}")
        self.url = url
        self._path = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._connection: http.client.HTTPConnection
        try:
            if parts.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    parts.hostname, parts.port, timeout=timeout_s, context=ssl.create_default_context()
                )
            else:
                self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        except ValueError as error:
            raise InputError(f"--url {url!r} has no port that is one") from error

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer as data; the error that the problem details of the service name. TransportError where there is no answer."""
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, self._path + path, data, self._headers)
            response = self._connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise TransportError(f"{self.url}: no answer ({why}); is `fraudloop serve` running there?", url=self.url) from error
        try:
            answer = json.loads(content) if content else {}
        except ValueError:
            answer = None
        if status < 300 and isinstance(answer, dict):
            return answer
        problem = answer if isinstance(answer, dict) else {}
        detail = str(problem.get("detail") or problem.get("title") or f"it answers {status} without saying why")
        kind = _ERRORS.get(status, InputError if 400 <= status < 500 else TransportError)
        fields = {"status": status, "url": self.url, **({"errors": problem["errors"]} if problem.get("errors") else {})}
        raise kind(detail if kind is not TransportError else f"{self.url}: {detail}", **fields)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
