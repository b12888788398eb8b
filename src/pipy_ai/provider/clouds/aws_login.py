"""Find AWS credentials and the region: environment, shared files, and botocore for the rest."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ...errors import ErrorKind, ProviderError, error_info
from ...utils import event_loop as loops
from ...utils.extras import install_command, is_installed
from ...utils.secrets import mask_tokens
from .sigv4 import AWSCredentials

BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_PROFILE_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
# Each of these leads botocore to credentials of the machine or the container.
_ROLE_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
)
CLOCK_TOLERANCE = timedelta(minutes=5)
_SHORT_TERM_PREFIX = "bedrock-api-key-"  # of API keys that expire
MACHINE_VENDOR = Path("/sys/class/dmi/id/sys_vendor")
LOGIN_ADVICE = (
    f"Set {BEARER_VARIABLE}, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
)


class Login(NamedTuple):
    """Credentials, and where they were found."""

    source: str
    bearer: str = ""
    credentials: AWSCredentials | None = None

    def __repr__(self) -> str:
        """Return the source alone."""
        return f"Login(source={self.source!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown."""
        keys = self.credentials
        parts = (keys.access_key, keys.secret_key, keys.session_token) if keys else ()
        return tuple(filter(None, (self.bearer, *parts)))


def login_error(text: str, kind: ErrorKind = ErrorKind.AUTH) -> ProviderError:
    """Return the error of a login that is missing, contradictory or expired."""
    return ProviderError(error_info(kind, text, retryable=False))


def given_login(extra: Mapping[str, Any], bearer: str | None) -> Login | None:
    """Return the login that the caller passed, as an API key or as fields of `extra`.

    Raises:
        ProviderError: Both, or one of them next to an API key in the environment, or half a key.
    """
    access, secret = (
        str(extra.get(name) or "").strip()
        for name in ("aws_access_key_id", "aws_secret_access_key")
    )
    token = str(extra.get("aws_session_token") or "").strip()
    if bearer and (access or secret):
        raise login_error(
            "Two kinds of AWS credentials were given: api_key= and extra.aws_access_key_id. "
            "Pass one of them."
        )
    if bearer:
        return Login("api_key=", _checked_bearer(bearer, "api_key="))
    if not access and not secret:
        return None
    if not access or not secret:
        missing = "aws_secret_access_key" if access else "aws_access_key_id"
        raise login_error(f"extra.{missing} is missing: an AWS access key has two parts.")
    if _variable(BEARER_VARIABLE):
        raise login_error(
            "Two kinds of AWS credentials were given: extra.aws_access_key_id and the variable "
            f"{BEARER_VARIABLE}. Unset the variable, or pass no access key."
        )
    return Login("extra", credentials=AWSCredentials(access, secret, token))


def environment_login() -> Login | None:
    """Return the login of the environment variables. An API key precedes an access key.

    Raises:
        ProviderError: The API key has expired, or the access key is half set.
    """
    if bearer := _variable(BEARER_VARIABLE):
        return Login(BEARER_VARIABLE, _checked_bearer(bearer, BEARER_VARIABLE))
    access, secret = map(_variable, _KEY_VARIABLES)
    if access and secret:
        token = _variable("AWS_SESSION_TOKEN") or _variable("AWS_SECURITY_TOKEN")
        return Login("AWS_ACCESS_KEY_ID", credentials=AWSCredentials(access, secret, token))
    if access or secret:
        is_set, missing = _KEY_VARIABLES if access else reversed(_KEY_VARIABLES)
        text = f"{is_set} is set, but not {missing}: an AWS access key has two parts."
        raise login_error(text, ErrorKind.MISSING_KEY)
    return None


async def shared_login(profile: str) -> Login:
    """Return the login of a profile, SSO session, role, container or machine, from botocore.

    Raises:
        ProviderError: There is none, it has expired, or botocore is not installed.
    """
    name = profile or profile_name()
    has_files = any(path.is_file() for path in _shared_files())
    if not (profile or profile_is_chosen() or has_files or _has_role()):
        raise login_error(f"No AWS credentials were found. {LOGIN_ADVICE}.", ErrorKind.MISSING_KEY)
    if not is_installed("botocore"):
        text = (
            f"AWS profiles, SSO and roles need botocore: {install_command('aws')}. "
            f"Or set {BEARER_VARIABLE}, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
        raise login_error(text, ErrorKind.MISSING_KEY)
    return await loops.run_in_thread("pipy-ai-aws-login", lambda: _botocore_login(name))


def find_region(extra: Mapping[str, Any]) -> str:
    """Return the region of `extra`, the environment or the profile; "": none is set."""
    given = str(extra.get("aws_region_name") or "").strip()
    profile = str(extra.get("aws_profile_name") or "")
    return (
        given
        or next(filter(None, map(_variable, REGION_VARIABLES)), "")
        or (_profile_setting(profile or profile_name(), "region"))
    )


def profile_name() -> str:
    """Return the profile of the environment, or `default`."""
    return next(filter(None, map(_variable, _PROFILE_VARIABLES)), "default")


def profile_is_chosen() -> bool:
    """Return whether the environment names a profile."""
    return any(map(_variable, _PROFILE_VARIABLES))


def hints() -> bool:
    """Return whether the environment refers to AWS credentials, without reading them."""
    names = (BEARER_VARIABLE, *_KEY_VARIABLES, *_PROFILE_VARIABLES, *_ROLE_VARIABLES)
    return any(map(_variable, names)) or any(path.is_file() for path in _shared_files())


def bearer_expiry(token: str) -> datetime | None:
    """Return when an API key expires; None: it does not say.

    A short-term key holds a presigned URL in base64, with its time and how long it is valid.
    """
    if not token.startswith(_SHORT_TERM_PREFIX):
        return None
    try:
        url = base64.b64decode(token.removeprefix(_SHORT_TERM_PREFIX)).decode()
        query = parse_qs(urlsplit(f"https://{url}").query)
        [signed_at], [seconds] = query["X-Amz-Date"], query["X-Amz-Expires"]
        start = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return start + timedelta(seconds=int(seconds))
    except (ValueError, KeyError, OverflowError):
        return None


def _checked_bearer(token: str, source: str) -> str:
    expires_at, now = bearer_expiry(token), datetime.now(UTC)
    if expires_at is not None and expires_at < now - CLOCK_TOLERANCE:
        raise login_error(
            f"The Bedrock API key from {source} expired on {expires_at:%d %B %Y at %H:%M} UTC; it "
            f"is now {now:%d %B %Y, %H:%M} UTC by this computer's clock. Create a new one in the "
            "Amazon Bedrock console, or use one that does not expire."
        )
    return token


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _shared_files() -> list[Path]:
    """Return the paths of AWS's files: `config` and `credentials`."""
    paths = (
        ("AWS_CONFIG_FILE", "~/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    )
    return [Path(_variable(name) or default).expanduser() for name, default in paths]


def _profile_setting(profile: str, name: str) -> str:
    import configparser  # mostly the environment names the region

    for path in _shared_files():
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in (f"profile {profile}", profile):
            if value := parser.get(section, name, fallback="").strip():
                return value
    return ""


def _has_role() -> bool:
    """Return whether a container or the machine may have a role."""
    if any(map(_variable, _ROLE_VARIABLES)):
        return True
    try:  # asking the machine takes seconds where there is no answer
        return "amazon" in MACHINE_VENDOR.read_text("utf-8", "replace").lower()
    except OSError:
        return False


# === botocore ===============================================================================


@dataclass
class _Session:
    """Credentials of botocore, and the access key that they returned last."""

    credentials: Any
    issued: AWSCredentials | None = None


_sessions: dict[tuple[Any, ...], _Session] = {}
_MAX_SESSIONS = 16
_lock = threading.Lock()


def _botocore_login(profile: str) -> Login:
    """Return the current credentials of a profile. May wait for a server."""
    from botocore import exceptions

    is_default = profile == "default" and not profile_is_chosen()
    subject = "AWS credentials" if is_default else f"AWS credentials of the profile {profile!r}"
    option = "" if is_default else f" --profile {profile}"
    try:
        session = _botocore_session(None if is_default else profile)
        if session.credentials is None:
            raise login_error(
                f"No {subject} were found. {LOGIN_ADVICE}{option}.", ErrorKind.MISSING_KEY
            )
        frozen = session.credentials.get_frozen_credentials()
    except exceptions.ProfileNotFound:
        text = (
            f"The AWS profile {profile!r} does not exist. Check AWS_PROFILE, or run "
            f"`aws configure{option}`."
        )
        raise login_error(text, ErrorKind.MISSING_KEY) from None
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        reason = mask_tokens(str(error)).rstrip(".")
        is_sso = "sso" in type(error).__name__.lower() or "token" in reason.lower()
        command = f"aws sso login{option}" if is_sso else f"aws configure{option}"
        raise login_error(f"The {subject} cannot be used: {reason}. Run `{command}`.") from None
    keys = AWSCredentials(frozen.access_key, frozen.secret_key, frozen.token or "")
    session.issued = keys
    source = "the machine's role" if is_default and _has_role() else f"the profile {profile!r}"
    return Login(source, credentials=keys)


def _botocore_session(profile: str | None) -> _Session:
    """Return botocore's credentials, which renew themselves.

    They are kept until the files or the variables change. Requests that start at once share them.
    """
    from botocore.session import Session

    files = tuple((path, path.stat().st_mtime_ns) for path in _shared_files() if path.is_file())
    key = (profile, files, tuple(map(_variable, (*_PROFILE_VARIABLES, *_ROLE_VARIABLES))))
    with _lock:
        if (kept := _sessions.get(key)) is None:
            session = Session(profile=profile)
            if not _has_role():
                session.get_component("credential_provider").remove("iam-role")
            while len(_sessions) >= _MAX_SESSIONS:
                del _sessions[next(iter(_sessions))]
            kept = _sessions[key] = _Session(session.get_credentials())
        return kept


def forget_sessions(rejected: AWSCredentials | None = None) -> None:
    """Discard credentials from botocore, so that the next attempt reads them again.

    With `rejected`, keep those that have replaced it already.
    """
    for key, session in list(_sessions.items()):
        if rejected is None or session.issued == rejected:
            _sessions.pop(key, None)


def _after_fork() -> None:
    """Drop the parent's sessions and their locks, which one of its threads may hold."""
    global _lock
    _lock = threading.Lock()
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
