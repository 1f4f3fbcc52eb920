"""Seeded mutants of the corpus: synchronisation that is dropped, weakened or moved, one place at a time.

A mutant is *wrong* if its output is, under some arrival and with hazard reporting off. Each wrong one must be reported
by the hazard checks; a harmless edit (another barrier, a stricter wait) must neither be reported nor be wrong. Mutants
that are neither are listed with the reason, which is checked here where a check exists: an instruction that the kernel
never reaches, a group without copies, a wait or a barrier next to one that says the same.
"""

import collections
import re

import case
from execute import execute

ARRIVALS = (("earliest", 0), ("latest", 0), ("random", 1), ("random", 2), ("random", 3))
KINDS = ("no wait", "wait for one group less", "no barrier", "no commit", "commit after wait", "ring a slot short",
         "another barrier", "stricter wait")
HARMLESS = KINDS[-2:]
WAIT = re.compile(r"(?:@!?%\w+\s+)?cp\.async\.wait_(?:group\s+(\d+)|all)")


def edits(lines):
    """Edits of the PTX: kind, line number and the new lines."""
    def edit(at, *new):
        return lines[:at] + list(new) + lines[at + 1:]

    for at, line in enumerate(lines):
        word = line.strip()
        if found := WAIT.match(word):
            count = int(found[1] or 0)
            yield "no wait", at, edit(at)
            yield "wait for one group less", at, edit(at, f"cp.async.wait_group {count + 1};")
            if count:
                yield "stricter wait", at, edit(at, f"cp.async.wait_group {count - 1};")
        if re.match(r"(?:bar|barrier)(?:\.cta)?\.sync", word):
            yield "no barrier", at, edit(at)
            yield "another barrier", at, edit(at, line, line)
        if word.startswith("cp.async.commit_group"):
            yield "no commit", at, edit(at)
            following = next((to for to in range(at + 1, len(lines)) if WAIT.match(lines[to].strip())), None)
            if following is not None and not any("bra" in between for between in lines[at:following]):
                yield "commit after wait", at, lines[:at] + lines[at + 1:following + 1] + [line] + lines[following + 1:]
    # Triton's rings are counters: next = counter + 1; next > last ? 0 : next.
    wraps = [at for at, line in enumerate(lines[1:], 1)
             if re.match(r"\s*setp\.gt\.s32\s+%p\d+, (%r\d+), [1-7];", line)
             and re.match(r"\s*add\.s32\s+%r\d+, %r\d+, 1;", lines[at - 1])]
    if wraps:
        new = list(lines)
        for at in wraps:
            new[at] = re.sub(r", (\d+);", lambda found: f", {int(found[1]) - 1};", new[at])
        yield "ring a slot short", wraps[0], new


def reason(kind, at, lines):
    """Why a mutant that is neither wrong nor reported is right, as far as the text shows; else `None`."""
    def neighbour(step, pattern):
        """Whether a line like that comes before (or behind) this one, with no access to shared memory in between."""
        to = at + step
        while 0 <= to < len(lines):
            word = re.sub(r"^@!?%\w+\s+", "", lines[to].strip())
            if re.match(pattern, word):
                return True
            if re.match(r"(ld|st|atom|red)\.shared|ldmatrix|stmatrix|cp\.async\.c[ag]|bra|ret|\$L", word):
                return False
            to += step
        return False

    barrier, wait, commit = r"bar(rier)?(\.cta)?\.sync", r"cp\.async\.wait", r"cp\.async\.commit"
    if kind == "no barrier":
        if neighbour(1, barrier) or neighbour(-1, barrier):
            return "another barrier stands beside it"
        if not any(re.search(r"\.shared|ldmatrix", line) for line in lines[at:]):
            return "nothing behind it touches shared memory"
        start = next(to for to, line in enumerate(lines) if ".reg" in line)
        if not any(re.search(r"\.shared[.:\s]|ldmatrix", line) for line in lines[start:at]):
            return "nothing before it touches shared memory"
    if kind in ("no wait", "wait for one group less"):
        if neighbour(1, wait) or neighbour(-1, wait):
            return "another wait stands beside it"
    if kind in ("no commit", "commit after wait") and neighbour(-1, commit):
        return "its group is empty"
    return None


# What the runs say where the text alone does not: copies that land as late as their waits allow still land in time, and
# no two threads meet at a byte without an order.
BY_THE_RUNS = {
    "no wait": "the groups are waited for elsewhere before their copies are read",
    "wait for one group less": "the last group that it covers is waited for elsewhere before its copies are read",
    "no commit": "the copies join the next group, which is waited for before they are read",
    "commit after wait": "the copies join a later group, which is waited for before they are read",
    "no barrier": "other barriers order all accesses across it",
    "ring a slot short": "no slot is reused",
}


class Tally:
    def __init__(self):
        self.made = self.wrong = self.reported = self.missed = self.silent = 0


def judge(emulate, folder):
    """Whether a mutant in place is reported, and whether it is wrong."""
    found, wrong = False, False
    for arrival, seed in ARRIVALS:
        run = execute(emulate, folder, arrival, seed)
        found |= run.code != 0 or bool(run.hazards)
        run = execute(emulate, folder, arrival, seed, hazards=False)
        wrong |= run.code != 0 or not case.verify(folder)[0]
    return found, wrong


def check(emulate, folders, table):
    """Makes and judges all mutants of the folders, writes the table, and returns 1 if one is judged wrongly."""
    tallies, kept, failed, kernels = collections.defaultdict(Tally), [], 0, collections.Counter()
    for folder in folders:
        compiler = folder.parent.name
        original = (folder / "k.ptx").read_text()
        mutants = list(edits(original.splitlines()))
        if (folder / "ring.ptx").exists():
            mutants.append(("ring a slot short", 0, (folder / "ring.ptx").read_text().splitlines()))
        if not mutants:
            continue
        kernels[compiler] += 1
        before = failed
        try:
            if any(judge(emulate, folder)):
                failed += 1
                print(f"FAIL {compiler}/{folder.name}: the original is reported or wrong", flush=True)
                continue
            for kind, at, lines in mutants:
                (folder / "k.ptx").write_text("\n".join(lines) + "\n")
                found, wrong = judge(emulate, folder)
                tally = tallies[compiler, kind]
                tally.made += 1
                tally.wrong += wrong
                tally.reported += found
                tally.missed += wrong and not found
                if (found or wrong) if kind in HARMLESS else (wrong and not found):
                    failed += 1
                    print(f"FAIL {compiler}/{folder.name}, line {at + 1}, {kind}: {'reported' if found else 'silent'}, "
                          f"{'wrong' if wrong else 'right'}", flush=True)
                elif kind not in HARMLESS and not found:
                    tally.silent += 1
                    kept.append((compiler, folder.name, kind, at + 1, reason(kind, at, original.splitlines())))
        finally:
            (folder / "k.ptx").write_text(original)
        print(f"{'FAIL' if failed > before else 'ok  '} {compiler}/{folder.name}: {len(mutants)} mutants", flush=True)
    write(table, tallies, kept, kernels)
    print(f"{sum(kernels.values())} kernels, {sum(tally.made for tally in tallies.values())} mutants, {failed} failed")
    return 1 if failed else 0


def write(table, tallies, kept, kernels):
    lines = ["Mutants of other compilers' kernels, and what the emulator's hazard checks report.",
             "Made by `make check-mutants`; the definitions are in scripts/corpus/mutants.py.", "",
             "Kernels: " + ", ".join(f"{compiler} {count}" for compiler, count in sorted(kernels.items())) + ".", "",
             f"{'compiler':<10} {'kind':<26} {'made':>5} {'wrong':>6} {'reported':>9} {'wrong, silent':>14} "
             f"{'right, silent':>14}"]
    for compiler in sorted(kernels):
        for kind in KINDS:
            if tally := tallies.get((compiler, kind)):
                silent = tally.made - tally.reported if kind in HARMLESS else tally.silent
                lines.append(f"{compiler:<10} {kind:<26} {tally.made:>5} {tally.wrong:>6} {tally.reported:>9} "
                             f"{tally.missed:>14} {silent:>14}")
    lines += ["", "Mutants that are right and not reported, with the reason (harmless edits left out; *: by the text and",
              "the runs, the others by the runs alone, under arrival as late as waits allow and three random ones):"]
    counts = collections.Counter((compiler, kind, f"{why} *" if why else BY_THE_RUNS[kind])
                                 for compiler, _, kind, _, why in kept)
    lines += [f"  {compiler} {kind}: {why} ({count})" for (compiler, kind, why), count in sorted(counts.items())]
    lines += ["", "The places of those by the runs alone:"]
    places = collections.defaultdict(list)
    for compiler, name, kind, at, why in kept:
        if why is None:
            places[compiler, name, kind].append(str(at))
    lines += [f"  {compiler}/{name}, {kind}: line {', '.join(at)}" for (compiler, name, kind), at in places.items()]
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(lines) + "\n")
