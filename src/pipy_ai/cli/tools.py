"""`--tool module:function`: code that the user named, and asking before the model runs it."""

from __future__ import annotations

import hashlib
import os
import select
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO, cast

from .show import call_line
from .terminal import complain, put, safe

if TYPE_CHECKING:
    from types import ModuleType

    from ..types import ToolCall

LONG = 1000  # characters of a call that may not fit on the screen
TERMINAL = "/dev/tty"  # also there when stdin is a pipe


def load(spec: str) -> Any:
    """The function, or anything else, that `module:name` or `path/to/file.py:name` means.

    Raises:
        ValueError: there is no such module, file or name, or it fails when it is loaded.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ValueError(f"{spec!r} is not module:name or path/to/file.py:name")
    found: Any = _file(place) if place.endswith(".py") else _module(place)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"{place} has no {name}{_others(found, part)}") from None
    return found


def function(spec: str) -> Any:
    """What `--tool` names: a function, or a tool made of one.

    Raises:
        ValueError: as `load`; or it is neither.
    """
    found = load(spec)
    if not callable(found) or isinstance(found, type):
        raise ValueError(f"{spec} is no function")
    return found


def _others(module: Any, name: str) -> str:
    import difflib

    own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    near = difflib.get_close_matches(name, own, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"{name} cannot be loaded: {error}") from None
        hint = f"; for a file: {name.replace('.', os.sep)}.py:NAME"
        raise ValueError(f"there is no module {name!r}{hint}") from None
    except (Exception, SystemExit) as error:
        raise ValueError(_failed(name, error)) from None


def _file(path: str) -> ModuleType:
    """A file's module. Nothing else of its directory can be imported by that."""
    from importlib.util import module_from_spec, spec_from_file_location

    full = os.path.realpath(os.path.expanduser(path))
    name = f"pipy_tool_{hashlib.sha256(full.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    if not os.path.isfile(full):
        raise ValueError(f"there is no file {path}")
    spec = spec_from_file_location(name, full)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # where types of it are looked up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(_failed(path, error)) from None
    return module


def _failed(what: str, error: BaseException) -> str:
    return f"{what} cannot be loaded: {type(error).__name__}: {error}"


class Approval:
    """Asks the user about each call of the model's, as `run_tools(approve=…)` wants it.

    With `yes` nobody is asked. Where there is no terminal to ask on, no call is allowed.
    """

    def __init__(self, yes: bool = False) -> None:
        self.yes = yes
        self._always: set[str] = set()
        self._said = False

    @property
    def asks(self) -> bool:
        """Whether the user is shown each call and asked about it."""
        if self.yes:
            return False
        try:
            with _terminal():
                return True
        except OSError:
            return False

    def __call__(self, call: ToolCall) -> bool | str:
        """Whether a call may be carried out; a string says why not."""
        if self.yes or call.name in self._always:
            return True
        try:
            with _terminal() as keyboard, _terminal("w") as screen:
                try:
                    return self._ask(call, keyboard, screen)
                except KeyboardInterrupt:
                    put("\n", screen)  # what follows is no part of the question
                    raise
        except OSError:
            if not self._said:
                complain("there is no terminal to ask on, so no tool is run; --yes runs them all")
            self._said = True
            return "The user could not be asked, so the call was not carried out."

    def _ask(self, call: ToolCall, keyboard: TextIO, screen: TextIO) -> bool:
        line = call_line(call)
        put(f"{line}\n", screen)
        if len(line) > LONG:  # what it begins with may be out of sight
            put(f"This call has {len(line):,} characters: look at all of them.\n", screen)
        question = f"Run {safe(call.name)}? [y]es, [n]o, [a]lways: "
        while True:
            put(question, screen)
            screen.flush()
            said = _line(keyboard)
            answer = said.strip().lower()
            if answer in ("a", "always"):
                self._always.add(call.name)
                return True
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                if not said:
                    put("\n", screen)
                return False


def _line(keyboard: TextIO) -> str:
    """What is typed. Ctrl-C is heard even when it strikes just before the wait begins."""
    if os.name != "nt":
        while not select.select([keyboard], [], [], 0.2)[0]:
            pass
    return keyboard.readline()


def _terminal(mode: str = "r") -> TextIO:
    """The terminal itself.

    Raises:
        OSError: there is none.
    """
    name = ("CONOUT$" if mode == "w" else "CONIN$") if os.name == "nt" else TERMINAL
    return cast("TextIO", open(name, mode, encoding="utf-8", errors="replace"))
