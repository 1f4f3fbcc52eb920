"""Puts measured times beside simulated ones, and all results into a table.

    compare_times([(21.6, 25.0), …])  ->  {"spearman": 0.93, "ratio_median": 1.16, …}
"""

import math
import statistics


def pick_target(index, device):
    """The simulated device that this GPU is, and what must be said about that."""
    name = device["name"].upper().replace("-", " ").split()
    # "A100-SXM4-80GB" and "A100 80GB PCIe" have the same words; "GH200" is another word than "H200".
    fitting = [entry for entry in index["devices"] if all(word in name for word in entry["words"])]
    if len(fitting) != 1:
        known = ", ".join(entry["target"] for entry in index["devices"])
        return None, "no times are simulated for %s; there are: %s" % (device["name"], known)
    entry = fitting[0]
    if entry["sm_count"] != device["sm_count"]:
        note = "this %s has %d SMs, and the simulated %s has %d"
        return entry["target"], note % (device["name"], device["sm_count"], entry["target"], entry["sm_count"])
    return entry["target"], ""


def ranks(values):
    """Ranks from 1; ties have their average rank."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    found, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for at in order[start : end + 1]:
            found[at] = (start + end) / 2 + 1
        start = end + 1
    return found


def spearman(one, other):
    """Spearman's rho: Pearson's of the ranks. None for fewer than two, or where one side is all ties."""
    one, other = ranks(one), ranks(other)
    if len(one) < 2:
        return None
    mean_one, mean_other = statistics.mean(one), statistics.mean(other)
    both = sum((x - mean_one) * (y - mean_other) for x, y in zip(one, other))
    scale = math.sqrt(sum((x - mean_one) ** 2 for x in one) * sum((y - mean_other) ** 2 for y in other))
    return both / scale if scale else None


def compare_times(pairs):
    """Of (simulated, measured) microseconds: how well the order agrees, and by how much times do not."""
    if not pairs:
        return None
    ratios = sorted(measured / simulated for simulated, measured in pairs)
    rho = spearman([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    fastest = min(measured for _, measured in pairs)
    chosen = min(pairs)[1]
    return {
        "schedules": len(pairs),
        "spearman": None if rho is None else round(rho, 4),
        "measured_over_simulated": {
            "least": round(ratios[0], 4),
            "median": round(statistics.median(ratios), 4),
            "most": round(ratios[-1], 4),
            "geometric_mean": round(math.exp(statistics.mean(map(math.log, ratios))), 4),
        },
        # 1 where the schedule that the simulator calls fastest is the fastest.
        "fastest_over_chosen": round(fastest / chosen, 4),
    }


def summarize(result):
    """Adds what follows from the single results."""
    statuses = {}
    for case in result["correctness"]["cases"]:
        statuses[case["status"]] = statuses.get(case["status"], 0) + 1
    result["correctness"]["count"] = statuses
    right = [case for case in result["correctness"]["cases"] if case["status"] == "right"]
    result["correctness"]["forms_right"] = len({case["form"] for case in right})
    everything = []
    for operator in result["times"]["operators"]:
        timed = [row for row in operator["schedules"] if row["status"] == "right" and row["simulated_us"] is not None]
        pairs = [(row["simulated_us"], row["cold_us"]) for row in timed]
        operator["comparison"] = compare_times(pairs)
        everything += pairs
        measured = [row["cold_us"] for row in operator["schedules"] if row["status"] == "right"]
        cublas = operator["cublas"]
        if measured and cublas.get("cold_us"):
            operator["cublas_over_fastest"] = round(cublas["cold_us"] / min(measured), 4)
    result["times"]["comparison"] = compare_times(everything)


def cell(value, digits=2):
    return "-" if value is None else "%.*f" % (digits, value)


def table(result):
    """The result as text."""
    device, lines = result["device"], []
    lines.append("%s, driver %s, %s SMs; pack %s" % (device["name"], device["driver"], device["sm_count"], result["pack"][:16]))
    lines.append("")
    lines.append("outputs against the emulator's: %s" % describe_counts(result["correctness"]["count"]))
    for case in result["correctness"]["cases"]:
        if case["status"] != "right":
            lines.append("  %s: %s: %s" % (case["name"], case["status"], case["message"]))
    shares = [case["share"] for case in result["correctness"]["cases"] if case.get("bounded") and case["status"] == "right"]
    if shares:
        lines.append("  sums of fractions: at most %.3f of what is allowed" % max(shares))
    against = result["times"]["compared_with"]
    lines.append("")
    lines.append("times: measured, L2 emptied before each launch (cold) or not (warm), medians; simulated: %s" % (against or "none"))
    if result["times"]["note"]:
        lines.append("  " + result["times"]["note"])
    for operator in result["times"]["operators"]:
        lines.append("")
        lines.append(operator["name"])
        lines.append("  %-58s %12s %12s %12s %9s" % ("schedule", "simulated us", "cold us", "warm us", "cold/sim"))
        for row in operator["schedules"]:
            if "cold_us" not in row:
                lines.append("  %-58s %s: %s" % (row["schedule"], row["status"], row["message"]))
                continue
            simulated = row["simulated_us"]
            ratio = row["cold_us"] / simulated if simulated else None
            cells = (row["schedule"], cell(simulated), cell(row["cold_us"]), cell(row["warm_us"]), cell(ratio))
            wrong = "" if row["status"] == "right" else "  WRONG: " + row["message"]
            lines.append("  %-58s %12s %12s %12s %9s%s" % (cells + (wrong,)))
        cublas = operator["cublas"]
        if "cold_us" in cublas:
            name = "cuBLAS (PyTorch %s, result %s)" % (cublas["version"], cublas["result_type"])
            lines.append("  %-58s %12s %12s %12s" % (name, "-", cell(cublas["cold_us"]), cell(cublas["warm_us"])))
        else:
            lines.append("  cuBLAS: %s: %s" % (cublas["status"], cublas["message"]))
        lines.append("  " + describe_comparison(operator["comparison"]))
    lines.append("")
    lines.append("all schedules: " + describe_comparison(result["times"]["comparison"]))
    lines.append("%.0f s%s" % (result["elapsed_s"], "" if result["complete"] else "; NOT COMPLETE"))
    return "\n".join(lines) + "\n"


def describe_counts(counts):
    return ", ".join("%d %s" % (number, status) for status, number in sorted(counts.items())) or "none"


def describe_comparison(found):
    if found is None:
        return "nothing to compare"
    ratios = found["measured_over_simulated"]
    return "%d schedules: Spearman %s, measured/simulated %.2f (%.2f to %.2f), fastest/chosen %.3f" % (
        found["schedules"],
        cell(found["spearman"], 3),
        ratios["geometric_mean"],
        ratios["least"],
        ratios["most"],
        found["fastest_over_chosen"],
    )
