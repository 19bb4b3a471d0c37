# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""An answer that is an error: ``{"error", "detail"}`` with a status."""

from collections.abc import Mapping

from flask import Response, jsonify


class HttpError(Exception):
    """Raised anywhere in a request to end it; ``code`` is a literal of this stage and a counter label."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the answer as Flask sends it."""
        response = jsonify({"error": self.code, "detail": self.detail})
        response.status_code = self.status
        response.headers.update(dict(self.headers))
        return response
