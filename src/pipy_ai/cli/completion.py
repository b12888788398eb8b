"""`pipy completion`: a script that lets a shell complete the command line.

Commands, options and choices stand in the script, so most of it asks nobody. Only the names of
models and providers are looked up, in the index of the catalogue, by `--names`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable

from .tree import Command, choices_of, commands, completed_by, line_of, takes_value, value_name

DESCRIPTION = (
    'Print a script for your shell. bash: eval "$(pipy completion bash)" in ~/.bashrc. '
    'zsh: eval "$(pipy completion zsh)" in ~/.zshrc, after compinit. '
    "fish: pipy completion fish > ~/.config/fish/completions/pipy.fish"
)
SHELLS = ("bash", "zsh", "fish")
_PLAIN = re.compile(r"[\w./:@+~-]+", re.ASCII)  # what no shell takes for anything but text


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("shell", nargs="?", choices=SHELLS, help="bash, zsh or fish")
    command.add_argument("--names", choices=("MODEL", "PROVIDER"), help=argparse.SUPPRESS)
    command.add_argument("--prefix", default="", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print the script, or names that begin so."""
    if arguments.names:
        sys.stdout.write("".join(f"{name}\n" for name in _names(arguments)))
        return 0
    if arguments.shell is None:
        raise ValueError("which shell? pipy completion bash, zsh or fish")
    from .main import parser

    tree = list(commands(parser()))
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](tree))
    return 0


def _names(arguments: argparse.Namespace) -> list[str]:
    from ..registry.registry import ModelRegistry
    from ..registry.store import STATUS

    registry = ModelRegistry()  # as it is: pressing Tab begins no sync
    prefix = arguments.prefix
    if arguments.names == "PROVIDER":
        names: Iterable[str] = registry.hosts()
    else:
        names = [name for name, row in registry.rows().items() if row[STATUS] != "removed"]
        names += _local()
        if prefix and "/" not in prefix:
            names += _makers_own(names)
    return [name for name in names if name.startswith(prefix) and _PLAIN.fullmatch(name)]


def _local() -> list[str]:
    """The embedded model and the files beside it."""
    import os

    from ..utils.paths import data_path

    place = os.path.join(data_path(), "models")
    try:
        files = sorted(os.listdir(place))
    except OSError:
        files = []
    paths = [os.path.join(place, name) for name in files if name.endswith(".gguf")]
    return ["local/smollm2", *(f"local/{path}" for path in paths)]


def _makers_own(names: Iterable[str]) -> list[str]:
    """Bare names mean their makers' models."""
    from ..registry.names import FIRST_PARTIES

    pairs = [name.partition("/") for name in names]
    return [identity for provider, _, identity in pairs if provider in FIRST_PARTIES]


Tree = list[tuple[str, Command]]


# --- bash -----------------------------------------------------------------------------------

_BASH = """\
# Completion of pipy for bash.
_pipy() {
    local IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} path= last= list= kind= cut= word words
    # Not COMP_WORDS: bash breaks names of models at their colons.
    local cur=${line##*[$' \\t\\n']}
    read -rd '' -a words <<<"${line%"$cur"}"
    for word in "${words[@]:1}"; do
        last=$word
        case "$path $word" in
            @PATHS@) path="${path:+$path }$word" ;;
            ' -'*) path=ask ;;  # pipy -m MODEL PROMPT
        esac
    done
    case $cur in -*=*) last=${cur%%=*} cur=${cur#*=} ;; esac
    case "$path $last" in
@VALUES@
        *) case "$path|${cur:0:1}" in
@WORDS@
        esac ;;
    esac
    case $kind in
        FILE)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return ;;
        MODEL | PROVIDER) list=$("$1" completion --names "$kind" --prefix "$cur" 2>/dev/null) ;;
    esac
    COMPREPLY=()
    # bash replaces what comes after the last character that breaks words for it.
    [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]] && cut=${cur%"${cur##*:}"}
    for word in $list; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("${word#"$cut"}")
    done
}
complete -F _pipy pipy
"""


def _bash(tree: Tree) -> str:
    values: dict[str, list[str]] = {}  # what completes a value → after which words
    words, paths = [], []
    for path, command in tree:
        paths += [f"'{path} {name}'" for name in command.children]
        for action in command.options:
            if takes_value(action):
                after = values.setdefault(_bash_value(action), [])
                after += [f"'{path} {flag}'" for flag in action.option_strings]
        flags = [flag for action in command.options for flag in action.option_strings]
        if not path:
            flags += [f for p, c in tree if p == "ask" for a in c.options for f in a.option_strings]
        words.append(f"            '{path}|-') list='{' '.join(dict.fromkeys(flags))}' ;;")
        if command.children:
            words.append(f"            '{path}|'*) list='{' '.join(command.children)}' ;;")
        first = [_bash_value(action) for action in command.positionals[:1]]
        words += [f"            '{path}|'*) {value} ;;" for value in first]
    cases = [f"        {'|'.join(after)}) {value} ;;" for value, after in values.items()]
    script = _BASH.replace("@PATHS@", "|".join(paths))
    return script.replace("@VALUES@", "\n".join(cases)).replace("@WORDS@", "\n".join(words))


def _bash_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f"list='{' '.join(choices)}'"
    return f"kind={completed_by(action)}"


# --- zsh ------------------------------------------------------------------------------------

_ZSH = """\
#compdef pipy
# Completion of pipy for zsh.
_pipy_names() {
    local -a names=(${(f)"$($pipy completion --names ${@[-1]} --prefix "$PREFIX" 2>/dev/null)"})
    compadd "${@[1,-2]}" -a names
}
%s
_pipy_top() {
    local pipy=$words[1]
    _pipy
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _pipy_top
else
    compdef _pipy_top pipy
fi
"""


def _zsh(tree: Tree) -> str:
    return _ZSH % "\n".join(_zsh_function(path, command) for path, command in tree)


def _zsh_function(path: str, command: Command) -> str:
    name = "_".join(["_pipy", *path.split()])
    specs = [_zsh_option(action) for action in command.options]
    if not command.children:
        specs += [_zsh_positional(action) for action in command.positionals]
        listed = "".join(f" \\\n        {spec}" for spec in specs)
        return f"{name}() {{\n    _arguments -s{listed}\n}}"
    listed = "".join(f" \\\n        {spec}" for spec in [*specs, "'1: :->one'", "'*:: :->rest'"])
    lines = [
        f"{name}() {{",
        "    local state line curcontext=$curcontext",
        f"    _arguments -C{listed}",
        "    case $state in",
        "        one)",
        "            local -a commands=(",
        *(
            f"                {_quoted(f'{child}:{line}')}"
            for child, (line, _) in command.children.items()
        ),
        "            )",
        "            _describe command commands ;;",
        f"        rest) (( $+functions[{name}_$words[1]] )) && {name}_$words[1] ;;",
        "    esac",
        "}",
    ]
    return "\n".join(lines)


def _zsh_option(action: argparse.Action) -> str:
    flags = action.option_strings
    said = re.sub(r"([\[\]:\\])", r"\\\1", line_of(action))
    value = f":{value_name(action)}:{_zsh_value(action)}" if takes_value(action) else ""
    spec = _quoted(f"[{said}]{value}")
    if len(flags) == 1:
        return f"'*{flags[0]}'{spec}"
    return f"'*'{{{','.join(flags)}}}{spec}"


def _zsh_positional(action: argparse.Action) -> str:
    if not (choices_of(action) or completed_by(action)):
        # Free text. With a message for it, zsh would list options but not complete them.
        return "'*: :()'"
    many = "*" if action.nargs in ("*", "+", argparse.REMAINDER) else ""
    return _quoted(f"{many}:{value_name(action)}:{_zsh_value(action)}")


def _zsh_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f"({' '.join(choices)})"
    kind = completed_by(action)
    return {"": " ", "FILE": "_files"}.get(kind, f"_pipy_names {kind}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -----------------------------------------------------------------------------------

_FISH = """\
# Completion of pipy for fish.
function __pipy_at
    set -l words (commandline -opc)[2..]
    test (count $words) -ge (count $argv); and string match -q -- "$argv *" "$words "
end
function __pipy_first
    __pipy_at $argv; and test (count (commandline -opc)) -eq (math (count $argv) + 1)
end
function __pipy_names
    set -l words (commandline -opc)
    $words[1] completion --names $argv[1] 2>/dev/null
end
complete -c pipy -f
"""


def _fish(tree: Tree) -> str:
    lines = []
    for path, command in tree:
        at = f"complete -c pipy -n {_quoted(f'__pipy_at {path}')}"
        first = f"complete -c pipy -n {_quoted(f'__pipy_first {path}')}"
        at = at if path else first
        for name, (line, _) in command.children.items():
            lines.append(f"{first} -a {name} -d {_quoted(line)}")
        for action in command.options:
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in action.option_strings
            )
            exclusive = "-r" if completed_by(action) == "FILE" else "-x"
            value = f" {exclusive}{_fish_value(action)}" if takes_value(action) else ""
            lines.append(f"{at} {flags}{value} -d {_quoted(line_of(action))}")
        values = [_fish_value(action) for action in command.positionals[:1]]
        lines += [f"{at}{value}" for value in values if value]
    return _FISH + "\n".join(lines) + "\n"


def _fish_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f" -a {_quoted(' '.join(choices))}"
    kind = completed_by(action)
    return {"": "", "FILE": " -F"}.get(kind, f" -a {_quoted(f'(__pipy_names {kind})')}")
