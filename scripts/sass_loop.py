#!/usr/bin/env python3
"""Measures the main loop of one kernel in `cuobjdump -sass` output and holds it to bounds.

The main loop is the innermost loop, closed by a backward branch, that holds HMMA instructions:

    /*0a40*/  HMMA.16816.F32 R4, R68, R80, R4 ;      <- target
    ...
    /*13f0*/  @P0 BRA 0xa40 ;                        <- a branch to an address before it

Exit: 0 the bounds hold, 1 one is broken, 2 the input is not what this script reads.
"""

import argparse
import re
import sys
from collections import Counter

# `/*0a40*/  @!P0 HMMA.16816.F32 R4, … ;`; the encoding's second word stands alone on the next line and has no `;`.
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)\b([^;]*);")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
BRANCH_TARGET = re.compile(r"0x([0-9a-f]+)\s*$")
REGISTERS = re.compile(r"Used (\d+) registers")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def fail(message):
    print(f"sass_loop: {message}", file=sys.stderr)
    sys.exit(2)


def instructions(text, path):
    """(address, opcode, operands) of the only kernel in the listing."""
    functions = [match[1] for line in text.splitlines() if (match := FUNCTION.match(line))]
    if len(functions) != 1:
        fail(f"{path} holds {len(functions)} functions, expected one: {functions}")
    found = [
        (int(match[1], 16), match[2], match[3].strip())
        for line in text.splitlines()
        if (match := INSTRUCTION.match(line))
    ]
    if not found:
        fail(f"{path} holds no instructions")
    # Every instruction takes 16 bytes: a gap is a line that the pattern missed, and would be missing in the count.
    for (before, *_), (after, *_) in zip(found, found[1:]):
        if after != before + 16:
            fail(f"{path}: no instruction read between {before:#x} and {after:#x}")
    return found


def main_loop(code, path):
    """The instructions of the innermost loop with HMMA; of several, the one with most."""
    loops = []
    for address, opcode, operands in code:
        target = BRANCH_TARGET.search(operands)
        if opcode.split(".")[0] == "BRA" and target and (start := int(target[1], 16)) < address:
            body = [item for item in code if start <= item[0] <= address]
            if any(item[1].startswith("HMMA") for item in body):
                loops.append((start, address, body))
    innermost = [
        outer
        for outer in loops
        if not any(inner is not outer and outer[0] <= inner[0] and inner[1] <= outer[1] for inner in loops)
    ]
    if not innermost:
        fail(f"{path} has no loop with HMMA instructions")
    return max(innermost, key=lambda loop: count(loop[2])["HMMA"])[2]


def count(code):
    return Counter(opcode.split(".")[0] for _, opcode, _ in code)


def assembler_report(text, path):
    """Registers, stack, spill stores and spill loads, from `ptxas -v`."""
    registers, spills = REGISTERS.findall(text), SPILLS.findall(text)
    if len(registers) != 1 or len(spills) != 1:
        fail(f"{path} is not the report of `ptxas -v` on one kernel")
    return int(registers[0]), *map(int, spills[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="how the kernel is called in the output")
    parser.add_argument("sass", help="output of cuobjdump -sass")
    parser.add_argument("report", help="standard error of ptxas -v")
    parser.add_argument("--max-loop", type=int, required=True, help="instructions in the main loop")
    parser.add_argument("--max-registers", type=int, required=True, help="registers a thread")
    parser.add_argument("--hmma", type=int, required=True, help="HMMA in the main loop, exactly")
    options = parser.parse_args()

    with open(options.sass, encoding="utf-8") as file:
        code = instructions(file.read(), options.sass)
    with open(options.report, encoding="utf-8") as file:
        registers, stack, spill_stores, spill_loads = assembler_report(file.read(), options.report)
    loop = main_loop(code, options.sass)
    in_loop, in_kernel = count(loop), count(code)
    local = in_kernel["LDL"] + in_kernel["STL"]

    # Without the exact HMMA count, an unrolled or split loop would be compared with the wrong bound.
    checks = [
        ("main loop instructions", len(loop), f"<= {options.max_loop}", len(loop) <= options.max_loop),
        ("main loop HMMA", in_loop["HMMA"], f"== {options.hmma}", in_loop["HMMA"] == options.hmma),
        ("registers", registers, f"<= {options.max_registers}", registers <= options.max_registers),
        ("stack bytes", stack, "== 0", stack == 0),
        ("spill bytes", spill_stores + spill_loads, "== 0", spill_stores + spill_loads == 0),
        ("LDL and STL", local, "== 0", local == 0),
    ]
    for what, value, bound, holds in checks:
        print(f"{options.name}  {what:<24}{value:>6}  {bound:<8}{'ok' if holds else 'BROKEN'}")
    mix = ", ".join(f"{opcode} {number}" for opcode, number in in_loop.most_common())
    print(f"{options.name}  main loop mix: {mix}")
    sys.exit(0 if all(holds for *_, holds in checks) else 1)


if __name__ == "__main__":
    main()
