"""Vendor scripts read by a real Tcl interpreter: unknown commands are failures, known ones are recorded."""

from dataclasses import dataclass, field

import pytest

#: Tcl itself: a part of Python that some systems leave out.
tkinter = pytest.importorskip(
    "tkinter", reason="SKIPPED ALOUD: wanted tkinter to read Tcl; Debian: apt install python3-tk"
)

#: Commands of Vivado (UG835) and of its IP packager (UG1118) that our scripts may use.
_VIVADO = """
    create_project set_property get_property current_project add_files update_compile_order get_board_parts
    get_ipdefs create_bd_design create_bd_cell apply_bd_automation connect_bd_net connect_bd_intf_net
    get_bd_cells get_bd_pins get_bd_intf_pins get_bd_addr_spaces get_bd_addr_segs assign_bd_address
    validate_bd_design save_bd_design make_wrapper get_files current_fileset get_runs launch_runs wait_on_run
    open_run report_utilization report_timing_summary get_timing_paths write_hw_platform close_project
    package_xo get_clocks get_pins get_ports set_clock_uncertainty create_clock set_false_path
    ipx::package_project ipx::unload_core ipx::edit_ip_in_project ipx::current_core
    ipx::associate_bus_interfaces ipx::get_memory_maps ipx::get_address_blocks ipx::add_register
    ipx::add_register_parameter ipx::create_xgui_files ipx::update_checksums ipx::check_integrity
    ipx::save_core
"""
VIVADO = frozenset(_VIVADO.split())


@dataclass
class Script:
    """A script that has been run: each vendor command with its words, in order."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    def of(self, command: str) -> list[tuple[str, ...]]:
        """Words after the command, for each call."""
        return [call[1:] for call in self.calls if call[0] == command]


def run(text: str, answers: dict[str, str] | None = None, commands: frozenset[str] = VIVADO) -> Script:
    """Run a script; vendor commands answer with their own text in brackets, or as `answers` says
    for the command, or for it and its first word.

    AssertionError: the script is no Tcl, or uses a command that is neither Tcl's nor in `commands`.
    """
    tcl = tkinter.Tcl()
    script = Script()
    answers = answers or {}

    def record(*words: str) -> str:
        script.calls.append(words)
        text = " ".join(words).replace("{", "").replace("}", "")  # a list of one or more
        return answers.get(" ".join(words[:2]), answers.get(words[0], f"<{text}>"))

    tcl.createcommand("trine_record", record)
    # What the script could do to this machine is taken away.
    tcl.eval("foreach c {exec open socket load glob source} {rename $c {}}; set printed {}")
    tcl.eval("proc puts {args} {global printed; lappend printed $args}")
    tcl.eval("rename file tcl_file; proc file {what args} {"
             " if {$what eq {copy} || $what eq {mkdir}} {return [trine_record file-$what {*}$args]};"
             " return [tcl_file $what {*}$args]}")  # fmt: skip
    tcl.eval("namespace eval ipx {}")
    for command in commands:
        tcl.eval(f"proc {command} {{args}} {{return [trine_record {command} {{*}}$args]}}")
    try:
        tcl.eval(text)
    except tkinter.TclError as error:
        where = tcl.eval("set ::errorInfo")
        raise AssertionError(f"the script fails: {error}\n{where}") from error
    return script
