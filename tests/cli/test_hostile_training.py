"""Nonsense training plans on the command line and in Python: one clear line that names the nearest valid ones, no traceback."""

import random

import pytest
from typer.testing import CliRunner

from mlsysim import PostTrainingModel, TrainingRunModel
from mlsysim.cli.app import app
from mlsysim.errors import InvalidInputError, MLSysimError

RUNNER = CliRunner()
HOSTILE = [
    ("Llama3_8B --gpus 8 --tp 3", "nearby: 1, 2 or 4 chips", "heads do not divide; try 1, 2 or 4"),
    ("Llama3_8B --gpus 64 --pp 64", "there are 32 layers", "try 8, 16 or 32 stages"),
    (
        "Llama3_70B --gpus 64 --tp 64 -s 4097 --cp 1 --micro-batch 0",
        "microbatch_size: expected a whole number of at least 1",
        "",
    ),
    ("Llama3_8B -b 7", "nearby: batch 8", ""),
    ("Llama3_8B -b -4", "batch_size: expected a whole number of at least 1", ""),
    ("Llama3_8B --gpus -8", "--gpus: expected a whole number of at least 1", ""),
    ("Llama3_8B --cp 8 -s 1001", "cp_size 8: 1001 tokens do not divide; try", ""),
    (
        "Llama3_8B --gpus 64 --tp 8 --cp 8 --cp-kind ulysses -s 65536",
        "32 heads do not divide over tensor 8 x context 8",
        "try",
    ),
    ("DeepSeek_V3 --gpus 64 --ep 48", "try ep_size 16, 32 or 64", ""),
    ("Llama3_8B --vp 2", "needs a pipeline", ""),
    ("Llama3_70B --gpus 8 --pp 8 --vp 2 -b 4", "are not a multiple of 8 stages; try 8", ""),
    ("Llama3_70B --gpus 8 --pp 8 --schedule dualpipe -b 4", "dualpipe", "try 8 stages and 16 micro-batches"),
    ("Llama3_70B --gpus 8 --pp 8 --schedule dualpip", "did you mean dualpipe", ""),
    ("Llama3_8B --zero 4", "at most 3", ""),
    ("Llama3_8B --padding 2", "at most 0.99", ""),
    ("Llama3_8B --node nosuch", "no system entry named 'nosuch'", ""),
    ("Llama3_8B --hardware H1000", "did you mean H100", ""),
    ("Llama3_8B --tokens 1e400", "--tokens: expected a positive count", ""),
    ("ResNet50 --tp 8", "data parallelism only; try 1", ""),
    ("DLRM --lora-rank 8", "adapters sit on attention projections", ""),
    ("Llama3_8B --offload-param cpu --zero 1", "zero_stage 3", ""),
]


@pytest.mark.parametrize(("line", "said", "near"), HOSTILE, ids=[line for line, _, _ in HOSTILE])
def test_a_hostile_plan_gets_one_line(line, said, near):
    result = RUNNER.invoke(app, ["train", *line.split()])
    assert isinstance(result.exception, MLSysimError)
    message = str(result.exception)
    assert "\n" not in message
    assert said in message
    assert near in message


def test_random_options_never_end_in_a_traceback():
    """Forty lines of options, good and bad: an answer, or an error of the package's own."""
    draw = random.Random(7)
    values = {
        "--tp": ["0", "3", "8"], "--pp": ["-4", "7", "4"], "--ep": ["999", "8"], "--cp": ["3", "2"], "--vp": ["3", "0"],
        "-b": ["7", "64", "1"], "--zero": ["-1", "3"], "--recompute": ["some", "full"], "--offload": ["disk", "cpu"],
        "--schedule": ["gpipe", "zero-bubble", "dualpipe"], "--shard-group": ["3", "8"], "--straggler": ["nan", "1.1"],
        "--lora-rank": ["0", "16"], "--etp": ["0", "2", "5"], "--offload-param": ["cpu", "disk"],
    }  # fmt: skip
    for _ in range(40):
        words = [
            draw.choice(["train", "memory"]),
            draw.choice(["Llama3_8B", "Mixtral_8x7B", "ResNet50", "T5_3B", "Jamba_v0_1"]),
        ]
        for option in draw.sample(sorted(values), 3):
            words += [option, draw.choice(values[option])]
        result = RUNNER.invoke(app, words)
        assert result.exception is None or isinstance(result.exception, (MLSysimError, SystemExit)), words
        assert "nan" not in result.output, words


@pytest.mark.parametrize("solver", [TrainingRunModel, PostTrainingModel])
def test_an_argument_that_is_handed_on_must_exist(solver):
    asked = dict(model="Llama3_8B", fleet="DGX_H100") | (
        {"tokens": 1e10, "batch_size": 64} if solver is TrainingRunModel else {}
    )
    with pytest.raises(
        InvalidInputError, match="tp_sizes: TrainingStepModel takes no such argument; did you mean tp_size"
    ):
        solver().solve(**asked, tp_sizes=2)


def test_a_run_of_a_model_without_tokens_says_so():
    with pytest.raises(InvalidInputError, match="tokens: ResNet50 reads none"):
        TrainingRunModel().solve("ResNet50", "DGX_H100", 1e9, 256)
