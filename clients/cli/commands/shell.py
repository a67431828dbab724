"""What shells need to complete words, live names of containers and images included."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from typing_extensions import override

from clients.cli.app import HELP


class WholeWordsInBash(BashComplete):
    """Bash cuts words at ':' and '=', so click's own script asks about `latest` for `busybox:latest`.

    The whole line goes to the program instead, its last word (COMP_CWORD -1) being the one to complete, and what bash
    took for an earlier word is cut from the answers.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" completion type value kept=""
    local word="${line##*[[:space:]]}"
    [[ $word ]] || line+="''"
    [[ $word == -*=* ]] && word="${word#*=}"
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && kept="${word%%"${word##*:}"}"
    for completion in $(env COMP_WORDS="$line" COMP_CWORD=-1 %(complete_var)s=bash_complete "$1"); do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$kept"}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @override
    def source(self) -> str:
        return self.source_template % self.source_vars()  # which bash this is, its own `complete` tells


_SHELLS: dict[str, type[ShellComplete]] = {"bash": WholeWordsInBash, "fish": FishComplete, "zsh": ZshComplete}


@click.command(short_help="Print what makes a shell complete words", context_settings=HELP)
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, flags and live names.

    \b
    source <(shiplog completion bash)
    shiplog completion zsh > "${fpath[1]}/_shiplog"
    shiplog completion fish > ~/.config/fish/completions/shiplog.fish
    """
    click.echo(_SHELLS[shell](context.find_root().command, {}, "shiplog", "_SHIPLOG_COMPLETE").source())
