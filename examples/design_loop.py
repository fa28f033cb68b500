"""Edit a chip until assertions pass: each round reads what binds and changes that, and only that."""

from mlsysim import Hardware, ServingModel
from mlsysim.search import Constraints

GOALS = Constraints(["ttft <= 500 ms", "itl <= 6 ms", "memory_utilization <= 0.9"])
ROUNDS = 12


def main() -> dict[str, float]:
    chip = Hardware.A100
    for round_ in range(1, ROUNDS + 1):
        answer = ServingModel().solve("Llama3_8B", chip, seq_len=4096, batch_size=4)
        numbers = {name: getattr(answer.si, name) for name in GOALS.fields}
        missed = [goal.text for goal in GOALS.conditions if not goal.of(numbers)]
        print(
            f"round {round_}: TTFT {answer.ttft.to('ms'):.0f~P}, ITL {answer.itl.to('ms'):.2f~P}, "
            f"memory {answer.memory_utilization:.0%}; missed: {', '.join(missed) or 'nothing'}"
        )
        if not missed:
            return {"rounds": round_, "bandwidth": chip.si.memory_bandwidth, "peak": chip.si.peaks["fp16"]}
        changes = {}
        if "memory_utilization <= 0.9" in missed:
            changes["memory_capacity"] = chip.memory_capacity * 1.25
        if "itl <= 6 ms" in missed and answer.decode_bottleneck == "Memory":
            changes["memory_bandwidth"] = chip.memory_bandwidth * 1.25
        if "ttft <= 500 ms" in missed and answer.prefill_bottleneck == "Compute":
            changes["peak_fp16"] = chip.compute.peak_flops * 1.25
        chip = chip.replace(**changes)
    raise SystemExit("the goals are out of reach of these edits")


if __name__ == "__main__":
    main()
