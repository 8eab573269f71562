"""`deepseek-tui --print-completion SHELL`: what the shell sources to complete commands, options and preset names."""

from __future__ import annotations

from tui.commands import output, parser

_PREAMBLE = {
    "bash": """\
_deepseek_tui_presets() {
  compgen -W "$(deepseek-tui presets list --names 2>/dev/null)" -- "$1"
}
_deepseek_tui_presets_and_files() {
  _deepseek_tui_presets "$1"
  compgen -f -- "$1"
}
_deepseek_tui_recipes() {
  compgen -W "$(deepseek-tui quantize --recipes --names 2>/dev/null)" -- "$1"
  compgen -f -X '!*.toml' -- "$1"
}
""",
    "zsh": """\
_deepseek_tui_presets() {
  local -a names
  names=("${(@f)$(deepseek-tui presets list --names 2>/dev/null)}")
  compadd -a names
}
_deepseek_tui_recipes() {
  local -a names
  names=("${(@f)$(deepseek-tui quantize --recipes --names 2>/dev/null)}")
  compadd -a names
  _files -g "*.toml"
}
""",
    "tcsh": "",
}


def run(shell: str) -> int:
    """Print the completion script."""
    import shtab

    print(shtab.complete(parser.build(), shell, preamble=_PREAMBLE[shell]))
    return output.DONE
