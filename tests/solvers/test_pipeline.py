"""Resolvers in a row: what fits is wired, what does not is told before anything runs."""

import pytest

import mlsysim
from mlsysim import solvers
from mlsysim.errors import CompositionError, InvalidInputError
from mlsysim.solvers.pipeline import Pipeline, ResolverFactory, expected_unit

INPUTS = {"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, "fleet": "Research_256", "duration_days": 30}


def test_a_pipeline_runs_each_stage_with_what_it_takes():
    line = mlsysim.Pipeline(["ServingModel", "EconomicsModel"])
    answers = line.run(**INPUTS)
    assert list(answers) == ["ServingModel", "EconomicsModel"]
    alone = solvers.ServingModel().solve("Llama3_8B", "H100", 2048)
    assert answers["ServingModel"].si.itl == alone.si.itl
    assert len(line) == 2
    assert repr(line) == "Pipeline(ServingModel → EconomicsModel)"
    assert repr(Pipeline(["ServingModel"], name="chat")) == "chat(ServingModel)"


def test_two_instances_of_one_class_keep_their_names_and_their_answers():
    line = Pipeline([solvers.ReliabilityModel(), solvers.ReliabilityModel, ("last", "ReliabilityModel")])
    answers = line.run(fleet="Frontier_8K", job_duration_hours=720)
    assert list(answers) == ["ReliabilityModel", "ReliabilityModel_2", "last"]


def test_what_one_stage_finds_the_next_one_takes_with_its_unit():
    line = Pipeline(
        ["CheckpointModel", "ReliabilityModel"],
        wiring={"ReliabilityModel.checkpoint_time_s": "CheckpointModel.write_time"},
    )
    given = {"model": "Llama3_70B", "hardware": "H100", "fleet": "Frontier_8K", "job_duration_hours": 720}
    answers = line.run(**given)
    assert answers["ReliabilityModel"].si.checkpoint_time == pytest.approx(answers["CheckpointModel"].si.write_time)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"resolvers": []}, "at least one"),
        ({"resolvers": ["ServngModel"]}, "did you mean ServingModel"),
        ({"resolvers": [3]}, "expected a resolver"),
        ({"resolvers": [("a", "ServingModel"), ("a", "ServingModel")]}, "two stages are called a"),
        ({"resolvers": ["EconomicsModel"], "inputs": ["fleet"]}, "EconomicsModel needs duration_days"),
        ({"resolvers": ["ReliabilityModel"], "inputs": {"fleet": None, "job_duration_hours": "byte"}}, "is a second"),
        (
            {"resolvers": ["ReliabilityModel"], "wiring": {"ReliabilityModel.job_hours": "hours"}},
            "did you mean job_duration_hours",
        ),
        (
            {"resolvers": ["ReliabilityModel"], "wiring": {"Reliability.fleet": "fleet"}},
            "no stage named 'Reliability'; did you mean ReliabilityModel",
        ),
        (
            {
                "resolvers": ["ReliabilityModel", "CheckpointModel"],
                "wiring": {"ReliabilityModel.checkpoint_time_s": "CheckpointModel.write_time"},
            },
            "comes no earlier",
        ),
        (
            {
                "resolvers": ["ReliabilityModel", "CheckpointModel"],
                "wiring": {
                    "ReliabilityModel.checkpoint_time_s": "CheckpointModel.write_time",
                    "CheckpointModel.checkpoint_interval_hours": "ReliabilityModel.optimal_checkpoint_interval",
                },
            },
            "a cycle",
        ),
        (
            {
                "resolvers": ["CheckpointModel", "ReliabilityModel"],
                "wiring": {"ReliabilityModel.checkpoint_time_s": "CheckpointModel.checkpoint_size"},
            },
            "is a second, CheckpointModel.checkpoint_size a byte",
        ),
        (
            {
                "resolvers": ["CheckpointModel", "ReliabilityModel"],
                "wiring": {"ReliabilityModel.checkpoint_time_s": "CheckpointModel.write_tme"},
            },
            "did you mean write_time",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(arguments, said):
    with pytest.raises(CompositionError) as error:
        Pipeline(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


class Given(solvers.ReliabilityModel):
    """A resolver whose one argument others find."""

    def solve(self, fleet, job_duration_hours, fleet_mtbf=None):
        return super().solve(fleet, job_duration_hours)


def test_two_makers_of_one_argument_have_to_be_told_apart():
    with pytest.raises(CompositionError, match="found by ReliabilityModel and ReliabilityModel_2"):
        Pipeline(["ReliabilityModel", "ReliabilityModel", Given()])
    with pytest.raises(CompositionError, match="is an input and is found by"):
        Pipeline(["ReliabilityModel", Given()], inputs=["fleet", "job_duration_hours", "fleet_mtbf"])
    assert len(Pipeline(["ReliabilityModel", "ReliabilityModel", Given()],
                        wiring={"Given.fleet_mtbf": "ReliabilityModel_2.fleet_mtbf"})) == 3  # fmt: skip


def test_a_missing_and_a_superfluous_input_are_told_together_with_who_could_give_them():
    line = Pipeline(["ServingModel", "EconomicsModel"])
    with pytest.raises(CompositionError) as error:
        line.run(model="Llama3_8B", hardware="H100", seq_len=1024, flet="Research_256")
    assert "EconomicsModel needs fleet" in str(error.value)
    assert "no stage takes flet; did you mean fleet" in str(error.value)


def test_callbacks_hear_of_every_stage_in_order():
    heard = []

    class Both:
        def on_stage_start(self, stage_name):
            heard.append(("start", stage_name))

        def on_stage_end(self, stage_name, result):
            heard.append(("end", stage_name, type(result).__name__))

    class End:
        def on_stage_end(self, stage_name, result):
            heard.append(("too", stage_name))

    line = Pipeline(["ReliabilityModel", "SustainabilityModel"])
    line.register_callback(Both())
    line.register_callback(End())
    line.run(fleet="Research_256", job_duration_hours=24, duration_days=1)
    assert heard[:3] == [
        ("start", "ReliabilityModel"),
        ("end", "ReliabilityModel", "ReliabilityResult"),
        ("too", "ReliabilityModel"),
    ]
    assert len(heard) == 6
    with pytest.raises(InvalidInputError, match="on_stage_start or on_stage_end"):
        line.register_callback(object())


def test_explain_names_stages_walls_inputs_and_domains():
    text = Pipeline(["ServingModel", "EconomicsModel"]).explain()
    for part in ("4 Serving", "17 Capital", "takes fleet from the inputs", "domains covered: node, operations"):
        assert part in text


def test_units_are_read_from_names():
    assert expected_unit("sla_latency_ms") == "second"
    assert expected_unit("arrival_rate_qps") == "1/second"
    assert expected_unit("model") is None


def test_another_package_adds_a_resolver_by_an_entry_point(monkeypatch):
    class Point:
        name = "MyResolver"

        @staticmethod
        def load():
            return Given

    monkeypatch.setattr(solvers, "entry_points", lambda group: [Point] if group == "mlsysim.solvers" else [])
    solvers._plugins.cache_clear()
    try:
        assert "MyResolver" in ResolverFactory.list_available()
        assert ResolverFactory.get("MyResolver") is Given
        assert repr(Pipeline(["MyResolver"])) == "Pipeline(Given)"
    finally:
        monkeypatch.undo()
        solvers._plugins.cache_clear()
