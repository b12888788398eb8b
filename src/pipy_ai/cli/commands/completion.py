"""`pipy completion`: print a script that completes the command line in a shell.

The script contains commands, options and choices, so it rarely runs `pipy`. Only names are looked
up, by `--names`: of models and providers in the catalogue's index, of templates, and the ids of
conversations.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable

from ..parser_tree import (
    COMPLETABLE_KINDS,
    Command,
    choices_of,
    completion_kind,
    help_line,
    may_take_value,
    takes_value,
    value_name,
    walk_commands,
)

DESCRIPTION = "Print a script that completes commands, options, models and files in your shell."
EXAMPLES = """\
eval "$(pipy completion bash)"  # in ~/.bashrc
eval "$(pipy completion zsh)"   # in ~/.zshrc, after compinit
pipy completion fish > ~/.config/fish/completions/pipy.fish
"""
GUIDE = "ask.md"
NAME_KINDS = tuple(kind for kind in COMPLETABLE_KINDS if kind != "FILE")
SHELLS = ("bash", "zsh", "fish")
_SHELL_SAFE = re.compile(r"[\w./:@+~-]+", re.ASCII)  # no shell gives these a special meaning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="bash, zsh or fish")
    parser.add_argument("--names", choices=NAME_KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default="", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print the script, or the names with a prefix."""
    if arguments.names:
        sys.stdout.write("".join(f"{name}\n" for name in _matching_names(arguments)))
        return 0
    if arguments.shell is None:
        raise ValueError("name the shell: pipy completion bash, zsh or fish")
    from ..parser import build_parser

    tree = list(walk_commands(build_parser(), aliases=True))
    sys.stdout.write(
        {"bash": _bash_script, "zsh": _zsh_script, "fish": _fish_script}[arguments.shell](tree)
    )
    return 0


def _matching_names(arguments: argparse.Namespace) -> list[str]:
    prefix = arguments.prefix
    names: Iterable[str]
    if arguments.names == "MODEL":
        return _matching_models(prefix)
    if arguments.names == "TEMPLATE":
        from ..args.templates import template_paths

        names = template_paths()
    elif arguments.names == "ID":
        from ..conversations.files import list_conversation_ids

        names = list_conversation_ids()
    else:
        from ...registry.catalogue import ModelRegistry

        names = ModelRegistry().providers()
    return [name for name in names if name.startswith(prefix) and _SHELL_SAFE.fullmatch(name)]


def _matching_models(prefix: str) -> list[str]:
    """Return the names that begin with `prefix`, or else the full names that contain it.

    The ids of first-party models are names too: they work without a provider.
    """
    from ...registry.catalogue import ModelRegistry
    from ...registry.names import first_party_names, names_with_prefix

    listed = ModelRegistry().names()  # unlike `get_registry()`, it starts no sync
    local = _local_models()
    matches = names_with_prefix(listed, prefix)
    matches += [name for name in local if name.startswith(prefix)]
    if prefix and "/" not in prefix:
        ids = [name.partition("/")[2] for name in first_party_names(listed)]
        matches += [model_id for model_id in ids if model_id.startswith(prefix)]
    matches = [name for name in matches if _SHELL_SAFE.fullmatch(name)]
    is_part = prefix and not any("/" in name for name in matches)
    return _with_names_containing(matches, listed, local, prefix) if is_part else matches


def _with_names_containing(
    ids: list[str], listed: list[str], local: list[str], part: str
) -> list[str]:
    """Add the full names with a word that begins with `part`, unless `ids` has their id.

    `part` may include a provider: `openrouter/sonnet`. Otherwise first-party models are preferred.
    """
    from ...registry.names import first_party_names, names_with_prefix

    provider, _, word = part.partition("/") if "/" in part else ("", "", part)
    pattern = re.compile(r"(?<![a-z])" + re.escape(word), re.IGNORECASE)
    word = word.lower()

    def find(names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if word in name.lower()  # far faster than the pattern, and false for nearly all
            and pattern.search(name.partition("/")[2])
            and _SHELL_SAFE.fullmatch(name)
        ]

    if provider:
        matches = find(names_with_prefix(sorted(listed + local), f"{provider}/"))
    else:
        matches = find(first_party_names(listed)) or find(listed + local)
    return ids + [name for name in matches if name.partition("/")[2] not in ids]


def _local_models() -> list[str]:
    """Return the embedded model and the files in the models directory."""
    import os

    from ...utils.paths import data_path

    models_dir = os.path.join(data_path(), "models")
    try:
        files = sorted(os.listdir(models_dir))
    except OSError:
        files = []
    paths = [os.path.join(models_dir, name) for name in files if name.endswith(".gguf")]
    return ["local/smollm2", *(f"local/{path}" for path in paths)]


CommandTree = list[tuple[str, Command]]


# --- bash -----------------------------------------------------------------------------------

_BASH = """\
# Completion of pipy for bash.
_pipy() {
    local IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} path= last= list= kind= cut= word words
    local start differs=
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
        ?*) list=$("$1" completion --names "$kind" --prefix "$cur" 2>/dev/null) ;;
    esac
    COMPREPLY=()
    # bash replaces what comes after the last character that breaks words for it.
    [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]] && cut=${cur%"${cur##*:}"}
    # A model's name may contain what was typed, instead of beginning with it.
    [[ $kind == MODEL ]] && start=$cut || start=$cur
    for word in $list; do
        [[ $word == "$start"* ]] || continue
        [[ $word == "$cur"* ]] || differs=1
        COMPREPLY+=("${word#"$cut"}")
    done
    # Without this, bash would replace what was typed by the start that all names share.
    [[ $differs && ${#COMPREPLY[@]} -gt 1 ]] && COMPREPLY+=(' ')
}
complete -F _pipy pipy
"""


def _bash_script(tree: CommandTree) -> str:
    contexts_by_value: dict[str, list[str]] = {}  # how to complete a value → after which flags
    word_cases, path_patterns = [], []
    for path, command in tree:
        path_patterns += [f"'{path} {name}'" for name in command.children]
        for action in command.options:
            if takes_value(action):
                contexts = contexts_by_value.setdefault(_bash_value(action), [])
                contexts += [f"'{path} {flag}'" for flag in action.option_strings]
        flags = [flag for action in command.options for flag in action.option_strings]
        for action in filter(may_take_value, command.options):
            value = f"[[ $cur == -* ]] && list='{' '.join(flags)}' || {_bash_value(action)}"
            contexts_by_value[value] = [f"'{path} {flag}'" for flag in action.option_strings]
        if not path:
            flags += [f for p, c in tree if p == "ask" for a in c.options for f in a.option_strings]
        word_cases.append(f"            '{path}|-') list='{' '.join(dict.fromkeys(flags))}' ;;")
        if command.children:
            word_cases.append(f"            '{path}|'*) list='{' '.join(command.children)}' ;;")
        first_values = [_bash_value(action) for action in command.positionals[:1]]
        word_cases += [f"            '{path}|'*) {value} ;;" for value in first_values]
    cases = [
        f"        {'|'.join(contexts)}) {value} ;;" for value, contexts in contexts_by_value.items()
    ]
    script = _BASH.replace("@PATHS@", "|".join(path_patterns))
    return script.replace("@VALUES@", "\n".join(cases)).replace("@WORDS@", "\n".join(word_cases))


def _bash_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f"list='{' '.join(choices)}'"
    return f"kind={completion_kind(action)}"


# --- zsh ------------------------------------------------------------------------------------

_ZSH = """\
#compdef pipy
# Completion of pipy for zsh.
_pipy_names() {
    local -a names=(${(f)"$($pipy completion --names ${@[-1]} --prefix "$PREFIX" 2>/dev/null)"})
    if (( ! ${#names:#${(b)PREFIX}*} )); then
        compadd "${@[1,-2]}" -a names
        return
    fi
    # A model's name may contain what was typed, instead of beginning with it. If there are
    # several, the first Tab lists them, the next one inserts them in turn.
    compadd "${@[1,-2]}" -U -a names
    (( $#names > 1 )) && compstate[insert]=${compstate[old_list]:+menu}
}
%s
_pipy_top() {
    local pipy=$words[1]
    [[ $words[2] == -* ]] && _pipy_ask  # pipy -m MODEL PROMPT
    [[ $words[2] == -* && $CURRENT -gt 2 ]] || _pipy
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _pipy_top
else
    compdef _pipy_top pipy
fi
"""


def _zsh_script(tree: CommandTree) -> str:
    return _ZSH % "\n".join(_zsh_function(path, command) for path, command in tree)


def _zsh_function(path: str, command: Command) -> str:
    name = "_".join(["_pipy", *path.split()])
    specs = [_zsh_option(action) for action in command.options]
    if not command.children:
        specs += [_zsh_positional(action) for action in command.positionals]
        spec_lines = "".join(f" \\\n        {spec}" for spec in specs)
        return f"{name}() {{\n    _arguments -s{spec_lines}\n}}"
    spec_lines = "".join(
        f" \\\n        {spec}" for spec in [*specs, "'1: :->one'", "'*:: :->rest'"]
    )
    lines = [
        f"{name}() {{",
        "    local state line curcontext=$curcontext",
        f"    _arguments -C{spec_lines}",
        "    case $state in",
        "        one)",
        "            local -a commands=(",
        *(
            f"                {_shell_quote(f'{child}:{summary}')}"
            for child, (summary, _) in command.children.items()
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
    description = re.sub(r"([\[\]:\\])", r"\\\1", help_line(action))
    value = f":{value_name(action)}:{_zsh_value(action)}" if takes_value(action) else ""
    if may_take_value(action):
        value = f"::{value_name(action)}:{_zsh_value(action)}"
    spec = _shell_quote(f"[{description}]{value}")
    if len(flags) == 1:
        return f"'*{flags[0]}'{spec}"
    return f"'*'{{{','.join(flags)}}}{spec}"


def _zsh_positional(action: argparse.Action) -> str:
    if not (choices_of(action) or completion_kind(action)):
        # Free text. With a message, zsh would list options but not complete them.
        return "'*: :()'"
    repeat = "*" if action.nargs in ("*", "+", argparse.REMAINDER) else ""
    return _shell_quote(f"{repeat}:{value_name(action)}:{_zsh_value(action)}")


def _zsh_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f"({' '.join(choices)})"
    kind = completion_kind(action)
    return {"": " ", "FILE": "_files"}.get(kind, f"_pipy_names {kind}")


def _shell_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -----------------------------------------------------------------------------------

_FISH = """\
# Completion of pipy for fish.
function __pipy_at
    set -l words (commandline -opc)[2..]
    set -l first $words (commandline -ct)
    test "$argv" = ask; and string match -q -- '-*' $first[1]; and set -p words ask  # pipy -m MODEL
    test (count $words) -ge (count $argv); and string match -q -- "$argv *" "$words "
end
function __pipy_first
    __pipy_at $argv; and test (count (commandline -opc)) -eq (math (count $argv) + 1)
end
function __pipy_names
    set -l words (commandline -opc)
    set -l part (string replace -r -- '^(--[^=]*=|-.)' '' (commandline -ct))
    $words[1] completion --names $argv[1] --prefix "$part" 2>/dev/null
end
complete -c pipy -f
"""


def _fish_script(tree: CommandTree) -> str:
    lines = []
    for path, command in tree:
        condition = f"complete -c pipy -n {_shell_quote(f'__pipy_at {path}')}"
        first_condition = f"complete -c pipy -n {_shell_quote(f'__pipy_first {path}')}"
        condition = condition if path else first_condition
        for name, (summary, _) in command.children.items():
            lines.append(f"{first_condition} -a {name} -d {_shell_quote(summary)}")
        for action in command.options:
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in action.option_strings
            )
            argument_flag = "-r" if completion_kind(action) == "FILE" else "-x"
            value = f" {argument_flag}{_fish_value(action)}" if takes_value(action) else ""
            lines.append(f"{condition} {flags}{value} -d {_shell_quote(help_line(action))}")
        values = [_fish_value(action) for action in command.positionals[:1]]
        lines += [f"{condition}{value}" for value in values if value]
    return _FISH + "\n".join(lines) + "\n"


def _fish_value(action: argparse.Action) -> str:
    if choices := choices_of(action):
        return f" -a {_shell_quote(' '.join(choices))}"
    kind = completion_kind(action)
    return {"": "", "FILE": " -F"}.get(kind, f" -a {_shell_quote(f'(__pipy_names {kind})')}")
