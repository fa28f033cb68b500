"""Recipes of published runs: what rows take from them, and that nothing else of a row decides."""

import dataclasses

import numpy as np
import pytest

from mlsysim.validation.serving import combined
from mlsysim.validation.serving_data import NO_WORKERS, TOTALS, cases, table_of
from mlsysim.validation.serving_recipes import Asked, layout_of, recipes, settings_of
from mlsysim.validation.statistics import Z90


def test_a_recipe_of_the_inferencex_list_is_read_as_printed():
    # nvidia-master.yaml of SemiAnalysis InferenceX: 1214 requests, one prefill worker DEP4, two decode workers DEP8, MTP 2
    row = Asked("DeepSeek_V3", "b200_sxm", "trtllm", "fp4", "0.8.1.post1", "1024/1024", 1214.0, (4.0, 8.0), 4.0)
    (found,) = settings_of(row)
    assert (found.workers, found.drafted) == ((1.0, 2.0), 2.0)
    assert (found.layout.data, found.layout.expert_parallel) == (8.0, 8.0)
    assert settings_of(dataclasses.replace(row, system="h200_sxm")) == ()


def test_rows_whose_workers_are_told_keep_them():
    table = table_of()
    told = [case for case in cases() if case.mode == "disagg" and not case.trouble]
    for case in told:
        assert case.workers == tuple(float(table[f"{side}_num_workers"][case.row]) for side in ("prefill", "decode"))
    # and the lists agree with what those rows tell, wherever they have an entry of the same concurrency
    exact = 0
    for case in told:
        lengths = f"{case.nominal[0]:g}/{case.nominal[1]:g}"
        mine = [
            one for one in recipes()
            if (one.system, one.stack, one.precision, one.lengths) == (case.system, case.stack, case.precision, lengths)
            and case.concurrency in one.concurrency and one.chips == (case.prefill_layout.chips, case.layout.chips)
            and not one.setting.drafted
        ]  # fmt: skip
        if mine:
            exact += 1
            assert case.workers in {one.setting.workers for one in mine}
    assert exact > 0.8 * len(told)


def test_every_row_without_workers_has_a_recipe_and_totals_add_up():
    table = table_of()
    for case in cases():
        if case.trouble in (NO_WORKERS, TOTALS):
            assert case.listed
            assert case.settings
        if case.trouble == TOTALS:
            used = case.prefill_layout.chips * case.workers[0] + case.layout.chips * case.workers[1]
            assert used == float(table["tp_size"][case.row])


def test_measured_times_decide_nothing(tmp_path):
    table = table_of()
    rows = [n for n in range(0, len(table), 7)]
    names = [name for name in table.columns if not name.endswith("_ms")]
    path = tmp_path / "blind.csv"
    lines = [",".join([*names, "ttft_ms", "tpot_ms"])]
    lines += [",".join([*(f'"{table[name][n]}"' for name in names), "1", "1"]) for n in rows]
    path.write_text("\n".join(lines) + "\n")
    blind, seen = cases(path), [cases()[n] for n in rows]
    same = [a.layout == b.layout and a.workers == b.workers for a, b in zip(blind, seen, strict=True)]
    assert np.mean(same) > 0.99  # a plain twin may be among the rows left out


@pytest.mark.parametrize("word", ["", "2xQP8", "xDEP8", "2DEP8"])
def test_a_word_that_is_no_layout_is_refused(word):
    with pytest.raises(ValueError, match="expected workers"):
        layout_of(word)


def test_an_interval_reaches_to_the_answers_of_all_settings():
    answer, above, below, _ = combined([(1.0, 0.1, 1.0), (2.0, 0.1, 1.0), (9.0, 0.1, 1.0)], True)
    assert answer == pytest.approx(3.0)
    assert answer * np.exp(Z90 * above) > 9.0
    assert answer / np.exp(Z90 * below) < 1.0
