"""Find Google's Application Default Credentials, without the package google-auth."""

from __future__ import annotations

import json
import os

FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


def user_login_path() -> str:
    """Return where gcloud stores the user's login, whether there is one or not."""
    directory = os.environ.get("CLOUDSDK_CONFIG", "")
    if not directory and os.name == "nt":
        directory = os.path.join(os.environ.get("APPDATA", ""), "gcloud")
    directory = directory or os.path.join(os.path.expanduser("~"), ".config", "gcloud")
    return os.path.join(directory, "application_default_credentials.json")


def login_path() -> str:
    """Return the file of the credentials; empty: there is none."""
    if path := os.environ.get(FILE_VARIABLE, "").strip():
        return path
    path = user_login_path()
    return path if os.path.isfile(path) else ""


def has_project() -> bool:
    """Return whether the file of the credentials names a project."""
    try:
        with open(login_path(), "rb") as file:
            info = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and bool(info.get("project_id") or info.get("quota_project_id"))
