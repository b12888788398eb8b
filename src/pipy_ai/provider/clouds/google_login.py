"""Google's Application Default Credentials, through the package google-auth.

Where they are, and which project they belong to, is found without that package. It is imported when
a token is needed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ErrorKind, ProviderError, error_info
from ...registry.google_login import FILE_VARIABLE, user_login_path
from ...utils.extras import has_extra, install_command
from ...utils.secrets import mask_tokens
from ..token_source import TokenSource

LOGIN_COMMAND = "gcloud auth application-default login"
EXTRA = "vertex"
METADATA_SERVER = "metadata_server"

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_TITLES = {
    "authorized_user": "gcloud user login",
    "external_account": "workload identity federation",
    "external_account_authorized_user": "workforce identity login",
    "impersonated_service_account": "impersonated service account",
    "service_account": "service account key",
    METADATA_SERVER: "service account of this machine",
}
# Set on Google's own machines, or by users to point at a metadata server.
_METADATA_VARIABLES = (
    "GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT", "CLOUD_RUN_JOB", "GAE_ENV",
    "K_SERVICE", "KUBERNETES_SERVICE_HOST",
)  # fmt: skip
_MACHINE_FILE = Path("/sys/class/dmi/id/product_name")
_MAX_REASON_CHARS = 300


class Login(NamedTuple):
    """Where credentials come from: the type of a file, or `metadata_server`.

    `project` and `quota_project` are those in the file; empty: it has none.
    """

    kind: str
    path: str = ""
    version: int = 0  # changes with the file
    project: str = ""
    quota_project: str = ""

    @property
    def title(self) -> str:
        """The kind of login as text."""
        title = _TITLES.get(self.kind, self.kind)
        return f"{title} in {self.path}" if self.path else title


def find_login() -> Login | None:
    """Return the login of this machine; None: there is none.

    Raises:
        ProviderError: GOOGLE_APPLICATION_CREDENTIALS or a file is invalid (kind `auth`).
    """
    if path := os.environ.get(FILE_VARIABLE, "").strip():
        if path.startswith("{") or (path.startswith(("ey", "ew")) and "." not in path):
            text = f"{FILE_VARIABLE} contains a credentials file: set it to the path of the file."
            raise login_error(text)
        if not os.path.isfile(path):
            raise login_error(f"{FILE_VARIABLE} is {path!r}, which is not a file.")
        return _read_login(path, os.stat(path).st_mtime_ns)
    path = user_login_path()
    if os.path.isfile(path):
        return _read_login(path, os.stat(path).st_mtime_ns)
    return Login(METADATA_SERVER) if _may_have_metadata_server() else None


def _may_have_metadata_server() -> bool:
    """Return whether this is a machine of Google. Elsewhere, asking would take seconds."""
    if os.environ.get("NO_GCE_CHECK") == "true":
        return False
    if any(os.environ.get(name) for name in _METADATA_VARIABLES):
        return True
    try:
        return _MACHINE_FILE.read_text().startswith("Google")
    except OSError:
        return False


@lru_cache(maxsize=8)
def _read_login(path: str, version: int) -> Login:
    info = _read_file(path)
    kind = info.get("type")
    if not isinstance(kind, str) or kind not in _TITLES:
        text = f"{path} is not a Google credentials file: its type is {str(kind)[:40]!r}."
        raise login_error(f"{text} Run {LOGIN_COMMAND}, or set {FILE_VARIABLE} to another file.")
    return Login(kind, path, version, _text(info, "project_id"), _text(info, "quota_project_id"))


def _read_file(path: str) -> dict[str, Any]:
    try:
        info = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise login_error(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise login_error(f"{path} is not a Google credentials file in JSON.")
    return info


def _text(info: Mapping[str, Any], name: str) -> str:
    value = info.get(name)
    return value.strip() if isinstance(value, str) else ""


class GoogleTokens(TokenSource):
    """The access tokens of a login. `project` is known after the first one, if at all."""

    def __init__(self, login: Login) -> None:
        super().__init__(self._fetch_token)
        self.login = login
        self.project = login.project or login.quota_project

    def _fetch_token(self) -> tuple[str, Any]:
        """Return a new token and its expiry. Blocks while it waits for Google."""
        if not has_extra(EXTRA):
            text = (
                f"Vertex AI needs google-auth for the {self.login.title}: {install_command(EXTRA)}."
            )
            raise ProviderError(error_info(ErrorKind.MISSING_KEY, text))
        from datetime import UTC

        import google.auth.exceptions as failures

        try:
            credentials = self._load()
            credentials.refresh(_http_transport())
        except failures.TransportError as error:
            raise self._unreachable(error) from None
        except (failures.GoogleAuthError, KeyError, TypeError, ValueError) as error:
            raise self._refused(error) from None
        expiry = credentials.expiry
        return credentials.token, expiry and expiry.replace(tzinfo=UTC)

    def _load(self) -> Any:
        """Return google-auth's credentials. The file is read again, as it may have changed."""
        if self.login.kind == "authorized_user":
            from google.oauth2.credentials import Credentials

            # google.auth.default() would start gcloud, which takes a second, to find the project.
            read_user: Callable[[Any], Any] = Credentials.from_authorized_user_info
            return read_user(_read_file(self.login.path))
        if self.login.kind == "service_account":
            from google.oauth2 import service_account

            read_key: Callable[..., Any] = service_account.Credentials.from_service_account_info
            return read_key(_read_file(self.login.path), scopes=_SCOPES)
        import google.auth

        credentials, project = google.auth.default(scopes=_SCOPES, request=_http_transport())
        self.project = self.project or project or ""
        return credentials

    def _unreachable(self, error: Exception) -> ProviderError:
        """Return the error for one of urllib3, whose text ends with what the system reports."""
        text = str(error)
        host = match[1] if (match := re.search(r"host='([^']+)'", text)) else "Google"
        match = re.search(r"\[Errno -?\d+\] ([^()'\"]+)", text)
        reason = match[1] if match else _reason(text)
        text = f"Cannot reach {host} for the {self.login.title}: {reason}. Try again."
        return ProviderError(error_info(ErrorKind.CONNECTION, text))

    def _refused(self, error: Exception) -> ProviderError:
        retryable = bool(getattr(error, "retryable", False))
        if retryable:  # google-auth has retried already
            text = f"Google did not return a token for the {self.login.title}: {_reason(error)}."
            return ProviderError(error_info(ErrorKind.SERVER, text))
        if type(error).__name__ == "DefaultCredentialsError" and not self.login.path:
            text = "Vertex AI found no login: no Google metadata server responds. Run"
            text = f"{text} {LOGIN_COMMAND}, or set {FILE_VARIABLE} to a credentials file."
            return ProviderError(error_info(ErrorKind.MISSING_KEY, text))
        advice = f"Run {LOGIN_COMMAND}"
        if self.login.kind != "authorized_user":
            advice = f"{advice}, or set {FILE_VARIABLE} to another file"
        text = f"Google rejected the {self.login.title}: {_reason(error)}. {advice}."
        return login_error(text)


def _http_transport() -> Any:
    try:
        import requests
        from google.auth.transport.requests import Request
    except ImportError:
        text = f"Vertex AI needs google-auth with requests: {install_command(EXTRA)}."
        raise ProviderError(error_info(ErrorKind.MISSING_KEY, text)) from None
    session = requests.Session()
    session.max_redirects = 0  # a redirected request would hold the secrets again
    if authorities := os.environ.get("SSL_CERT_FILE"):  # as for all other requests
        session.verify = authorities
    return Request(session)


def _reason(error: Exception | str) -> str:
    """Return the reason of a failure, without anything that may be a key or a token."""
    text = error if isinstance(error, str) else str(next(iter(error.args), type(error).__name__))
    return mask_tokens(text)[:_MAX_REASON_CHARS].rstrip(".")


def login_error(text: str) -> ProviderError:
    """Return the error of credentials that are contradictory, damaged, expired or refused."""
    return ProviderError(error_info(ErrorKind.AUTH, text))


_tokens: dict[Login, GoogleTokens] = {}
_MAX_LOGINS = 8


def tokens_of(login: Login) -> GoogleTokens:
    """Return the tokens of a login, the same object each time, so that they are kept."""
    tokens = _tokens.get(login)
    if tokens is None:
        while len(_tokens) >= _MAX_LOGINS:
            del _tokens[next(iter(_tokens))]
        tokens = _tokens[login] = GoogleTokens(login)
    return tokens
