"""Verilog of Amaranth made lighter for synthesis: equal modules once, no empty memory contents.

Yosys maps each module by itself, so a design in which 512 multipliers are 512 modules takes 512 times as long
as one in which they are one; and it reads contents of a memory word by word, zeros too.
"""

import hashlib
import re
from functools import cache

__all__ = ["lighten", "modules", "stub"]

_MODULE = re.compile(r"^module (\S+) ?\((.*?)\);[^\n]*\n(.*?)^endmodule", re.S | re.M)
_INSTANCE = re.compile(r"^  (\\\S+ |[A-Za-z_]\w*)( ?)(\\?\S+) +\($", re.M)
_CONTENTS = re.compile(r"^  initial begin\n((?:    \S+ ?\[\d+\] = \d+'[hd][0-9a-f]+;\n)+)  end\n", re.M)
_VALUE = re.compile(r"'[hd]0*[1-9a-f]")
_NOISE = re.compile(
    r'^ *\(\* src = "[^"]*" \*\)\n|/\*.*?\*/|^  reg \\\$auto\$verilog.*\n|^ *if \(\\\$auto\$verilog.*\n', re.M
)
_PORT = re.compile(r"^  (?:input|output|inout) .*;\n", re.M)
#: A number that Amaranth appends to a name that was taken.
_NUMBERED = re.compile(r"\\(\w+?)\$([\d$]+) ")


def modules(verilog: str) -> dict[str, str]:
    """The text of each module, by name as Verilog writes it (with a backslash where it is escaped)."""
    return {found.group(1): found.group(0) + "\n" for found in _MODULE.finditer(verilog)}


def _without_zeros(text: str) -> str:
    """Contents that are 0 throughout are left out; they are what the memories of an FPGA begin with."""
    return _CONTENTS.sub(lambda found: found.group(0) if _VALUE.search(found.group(1)) else "", text)


def lighten(verilog: str, top: str) -> tuple[str, dict[str, list[tuple[str, str]]]]:
    """The design with one module for all that are equal but for names, and who is in whom.

    Returns the text and for each module that is left the instances in it: (instance name, module name). A
    module keeps the name of the first of its kind. Names that differ only in the numbers that Amaranth
    appends count as equal.
    """
    texts = modules(_without_zeros(verilog))
    first: dict[str, str] = {}
    left: dict[str, str] = {}
    inside: dict[str, list[tuple[str, str]]] = {}

    @cache
    def keep(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The module that stands for this one, and its ports' names by those of this one."""
        text = _NOISE.sub("", texts[name])
        children: list[tuple[str, str]] = []
        pieces, at = [], 0
        for found in _INSTANCE.finditer(text):
            child = found.group(1).strip()
            if child not in texts:
                continue
            kept, ports = keep(child)
            end = text.index("\n  );", found.end())
            renamed = dict(ports)
            body = re.sub(
                r"^    \.(\\\S+ |\w+)( ?)\(",
                lambda port: f"    .{renamed[port.group(1).strip()]} (",  # noqa: B023
                text[found.end() : end],
                flags=re.M,
            )
            pieces += [text[at : found.start()], f"  {kept} {found.group(3)} (", body]
            at = end
            children.append((found.group(3).strip().lstrip("\\"), kept.lstrip("\\")))
        text = "".join([*pieces, text[at:]])
        header = _MODULE.match(text)
        assert header is not None
        names = [port.strip() for port in header.group(2).split(",")]
        # Numbers in the order in which the body meets them.
        numbers: dict[tuple[str, str], str] = {}
        bodies = _NUMBERED.sub(
            lambda n: f"\\{n.group(1)}$n{numbers.setdefault((n.group(1), n.group(2)), str(len(numbers)))} ",
            header.group(3),
        )

        def plain(port: str) -> str:
            found = _NUMBERED.fullmatch(port + " ")
            key = (found.group(1), found.group(2)) if found else None
            return f"\\{key[0]}$n{numbers[key]} " if key in numbers else port + " "

        ports = tuple((port, plain(port)) for port in names)
        body = f"({', '.join(sorted(port for _, port in ports))});\n{bodies}endmodule\n"
        kind = hashlib.sha256(body.encode()).hexdigest()
        if kind not in first:
            first[kind] = name
            left[name] = f"module {name} {body}"
            inside[name.lstrip("\\")] = children
        return first[kind], ports

    keep(top)
    return "".join(left.values()), inside


def stub(text: str) -> str:
    """A module of `lighten` as a black box: its ports alone."""
    header = _MODULE.match(text)
    assert header is not None
    ports = "".join(_PORT.findall(header.group(3)))
    return f"(* blackbox *)\nmodule {header.group(1)} ({header.group(2)});\n{ports}endmodule\n"
