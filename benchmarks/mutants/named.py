"""Mistakes that were once made, or that the fast tests once let pass, each with the test that must fail for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """A mistake: `old`, which stands in `file` once, becomes `new`; a test whose name begins with `test` must fail."""

    mistake: str
    file: str
    old: str
    new: str
    test: str


_DRAWN = "tests/report/test_drawn_numbers.py"
_FIGURES = "gradlab/report/figures"

NAMED = (
    # -- pictures and tables -------------------------------------------------------------------------------------
    Named(
        "the map of dead and saturated units is upside down",
        f"{_FIGURES}/units.py",
        "axes.draw_map(ax, steps, layers, values, (0.0, 1.0))",
        "axes.draw_map(ax, steps, layers, values[::-1], (0.0, 1.0))",
        f"{_DRAWN}::test_shares_are_drawn_under_their_titles",
    ),
    Named(
        "the titles of dead units and saturated outputs are exchanged",
        f"{_FIGURES}/units.py",
        "zip(panels, shown, strict=True)",
        "zip(panels[::-1], shown, strict=True)",
        f"{_DRAWN}::test_shares_are_drawn_under_their_titles",
    ),
    Named(
        "the names of the training and the validation accuracy are exchanged",
        f"{_FIGURES}/learning.py",
        "for column, label in SCORES.items():",
        "for column, label in zip(SCORES, [*SCORES.values()][::-1]):",
        f"{_DRAWN}::test_accuracies_are_drawn_under_their_names",
    ),
    Named(
        "the figure has predicted over measured",
        f"{_FIGURES}/prediction.py",
        'first["delta_rms"] / first["delta_rms_predicted"].where(lambda v: v > 0)',
        'first["delta_rms_predicted"] / first["delta_rms"].where(lambda v: v > 0)',
        f"{_DRAWN}::test_prediction_is_measured_over_predicted",
    ),
    Named(
        "the terminal's meas./pred. is predicted over measured",
        "gradlab/report/layer_table.py",
        "np.divide(\n                delta[0].median, predicted,",
        "np.divide(\n                predicted, delta[0].median,",
        "tests/report/test_drawn_numbers.py::test_the_terminal_divides_measured_by_predicted",
    ),
    Named(
        "the axes of measured and predicted decay are exchanged",
        f"{_FIGURES}/decay.py",
        'group["decay_per_layer_predicted"],\n            group["decay_per_layer_mean"],',
        'group["decay_per_layer_mean"],\n            group["decay_per_layer_predicted"],',
        f"{_DRAWN}::test_decay_has_the_prediction_across",
    ),
    Named(
        "the ranking's names stand in the opposite order",
        f"{_FIGURES}/ranking.py",
        "left.set_yticks(places, shown)",
        "left.set_yticks(places, shown[::-1])",
        f"{_DRAWN}::test_ranking_puts_each_cells_numbers_beside_its_name",
    ),
    Named(
        "the page's dead % shows the saturation",
        "gradlab/report/summary_columns.py",
        'column="dead_fraction_max", page="dead %"',
        'column="saturated_fraction_max", page="dead %"',
        f"{_DRAWN}::test_each_column_of_the_page_is_the_summarys",
    ),
    Named(
        "the paper table's theory shows the measured decay",
        "gradlab/report/summary_columns.py",
        'column="decay_per_layer_predicted", page="predicted"',
        'column="decay_per_layer_mean", page="predicted"',
        f"{_DRAWN}::test_each_column_of_the_paper_table_is_the_summarys",
    ),
    Named(
        "a picture is written through a planted link",
        "gradlab/base/atomic.py",
        "        beside.replace(path)\n",
        "        path.write_bytes(beside.read_bytes())\n        beside.unlink()\n",
        "tests/store/test_reader.py::test_figures_follow_no_planted_link",
    ),
    # -- configuration -------------------------------------------------------------------------------------------
    Named(
        "config.toml has no dtype",
        "gradlab/config/write.py",
        'f"{section}.{name}" not in left_out}',
        'f"{section}.{name}" not in left_out and name != "dtype"}',
        "tests/config/test_files.py::test_what_is_written_repeats_the_run_in_every_key",
    ),
    Named(
        "the file goes before the environment",
        "gradlab/config/resolve.py",
        "        _layer(_environment(environment or {}), problems),\n"
        "        {setting.key.path: setting for setting in from_file},\n",
        "        {setting.key.path: setting for setting in from_file},\n"
        "        _layer(_environment(environment or {}), problems),\n",
        "tests/config/test_resolve.py::test_the_highest_layer_that_speaks_wins",
    ),
    # -- sweep and store -----------------------------------------------------------------------------------------
    Named(
        "a grid of A and C is taken into a folder of A and B",
        "gradlab/store/folder.py",
        'same and all(cell in own["cells"] for cell in found["cells"])',
        'same and any(cell in own["cells"] for cell in found["cells"])',
        "tests/store/test_folder.py::test_a_grid_that_shares_some_cells_is_another",
    ),
    Named(
        "best-over takes the last of a tie",
        "gradlab/lab/summary_builder.py",
        "worth(cell) > worth(best[key])",
        "worth(cell) >= worth(best[key])",
        "tests/sweep/test_best_over.py::test_ties_and_what_is_no_number",
    ),
    Named(
        "best-over takes a cell without an accuracy",
        "gradlab/lab/summary_builder.py",
        "return -np.inf if np.isnan(value) else value",
        "return np.inf if np.isnan(value) else value",
        "tests/sweep/test_best_over.py::test_ties_and_what_is_no_number",
    ),
    Named(
        "three deaths of a worker are four",
        "gradlab/lab/workers.py",
        "ATTEMPTS = 3 ",
        "ATTEMPTS = 4 ",
        "tests/sweep/test_workers.py::test_a_stack_that_kills_every_worker",
    ),
    Named(
        "the timings of a cell's parts are those of its last",
        "gradlab/lab/division.py",
        "timings[name] = timings.get(name, 0.0) + number",
        "timings[name] = number",
        "tests/sweep/test_division.py::test_the_seconds_of_parts_and_of_stacks_add_up",
    ),
    Named(
        "the timings of a sweep are those of its last stack",
        "gradlab/lab/summary_builder.py",
        "self.timings[name] = self.timings.get(name, 0.0) + seconds",
        "self.timings[name] = seconds",
        "tests/sweep/test_division.py::test_the_seconds_of_parts_and_of_stacks_add_up",
    ),
    Named(
        "the timings of joined stacks are those of the last",
        "gradlab/store/journal.py",
        "timings[name] = timings.get(name, 0.0) + value",
        "timings[name] = value",
        "tests/store/test_journal.py::test_joined_stacks_took_the_seconds_of_both",
    ),
    Named(
        "a file is moved into place before it is on the disk",
        "gradlab/base/atomic.py",
        "                os.fsync(handle.fileno())\n",
        "                pass\n",
        "tests/store/test_atomic_and_lock.py::test_the_file_is_on_the_disk_before_it_moves_and_the_folder_after",
    ),
    Named(
        "the move of a file is not flushed",
        "gradlab/base/atomic.py",
        "        _flush_folder(path.parent)\n",
        "        pass\n",
        "tests/store/test_atomic_and_lock.py::test_the_file_is_on_the_disk_before_it_moves_and_the_folder_after",
    ),
    Named(
        "the old manifest stays while a larger grid is trained",
        "gradlab/store/folder.py",
        "            (self._building / MANIFEST).unlink(missing_ok=True)\n",
        "",
        "tests/store/test_folder.py::test_a_folder_that_is_written_to_is_not_finished",
    ),
    # -- training ------------------------------------------------------------------------------------------------
    Named(
        "a checkpoint forgets torch's random state",
        "gradlab/train/loop.py",
        '        torch.set_rng_state(state.tensors["random"])\n',
        "",
        "tests/train/test_checkpoint.py::test_random_numbers_go_on_where_they_stopped",
    ),
    Named(
        "a checkpoint of another torch is taken",
        "gradlab/train/checkpoint.py",
        "[RECIPE, torch.__version__, blas.name()]",
        "[RECIPE, blas.name()]",
        "tests/train/test_checkpoint.py::test_a_checkpoint_that_cannot_be_used_is_named",
    ),
    Named(
        "a checkpoint of another recipe is taken",
        "gradlab/train/checkpoint.py",
        "[RECIPE, torch.__version__, blas.name()]",
        "[torch.__version__, blas.name()]",
        "tests/train/test_checkpoint.py::test_a_checkpoint_that_cannot_be_used_is_named",
    ),
    Named(
        "Python's own generator is left as a user's part has it",
        "gradlab/base/generators.py",
        "            random.setstate(of_python)\n",
        "",
        "tests/network/test_inits_and_draws.py::test_draws_inside_leave_no_trace",
    ),
    Named(
        "NumPy's generator is left as a user's part has it",
        "gradlab/base/generators.py",
        "            np.random.set_state(of_numpy)\n",
        "",
        "tests/network/test_inits_and_draws.py::test_draws_inside_leave_no_trace",
    ),
    Named(
        "Adam's usual rate is ten times its authors'",
        "gradlab/parts/optimizers.py",
        "_: (optim.Adam, {}),\n            state=2,\n            scale_free=True,\n            usual_rate=0.001,",
        "_: (optim.Adam, {}),\n            state=2,\n            scale_free=True,\n            usual_rate=0.01,",
        "tests/parts/test_registries.py::test_adams_usual_rate_is_its_authors",
    ),
    Named(
        "LSUV goes on inside its tolerance",
        "gradlab/nn/lsuv.py",
        ".abs() > tolerance)",
        ".abs() > 0.1 * tolerance)",
        "tests/network/test_derived_inits.py::test_lsuv_scales_exactly_what_lies_outside_its_tolerance",
    ),
    Named(
        "LSUV stops outside its tolerance",
        "gradlab/nn/lsuv.py",
        ".abs() > tolerance)",
        ".abs() > 2 * tolerance)",
        "tests/network/test_derived_inits.py::test_lsuv_scales_exactly_what_lies_outside_its_tolerance",
    ),
    # -- data ----------------------------------------------------------------------------------------------------
    Named(
        "whole numbers count as labels with nine rows for each",
        "gradlab/data/columns.py",
        "ROWS_PER_LABEL = 10\n",
        "ROWS_PER_LABEL = 9\n",
        "tests/data_sets/test_labels.py::test_more_than_twenty_whole_numbers_are_classes",
    ),
    Named(
        "whole numbers count as a target with ten rows for each",
        "gradlab/data/columns.py",
        "rows < ROWS_PER_LABEL * distinct",
        "rows <= ROWS_PER_LABEL * distinct",
        "tests/data_sets/test_labels.py::test_more_than_twenty_whole_numbers_are_classes",
    ),
    # -- what is measured ----------------------------------------------------------------------------------------
    Named(
        "a unit that is active on one row of a hundred counts as hardly active",
        "gradlab/sensors/metrics.py",
        "samples - inactive < LOW_ACTIVITY_BELOW * samples",
        "samples - inactive <= LOW_ACTIVITY_BELOW * samples",
        "tests/measure/test_metrics.py::test_a_unit_is_rarely_active_below_one_in_a_hundred_samples",
    ),
    Named(
        "float32 keeps a mean square that has underflowed",
        "gradlab/nn/statistics.py",
        "SMALLEST_MEAN_SQUARE = 1e-36",
        "SMALLEST_MEAN_SQUARE = 1e-43",
        "tests/measure/test_statistics.py::test_squares_near_float32s_end_keep_its_precision",
    ),
    Named(
        "PReLU beyond a slope of 20: the slope 1 above zero is not saturated",
        "gradlab/sensors/metrics.py",
        "inside * (slope.abs() < edge) + rest * (edge > abs(second))",
        "inside * (slope.abs() < edge)",
        "tests/measure/test_metrics.py::test_two_slopes_counted_are_the_slopes_themselves",
    ),
    Named(
        "a condition number over an even sample lies between two of them",
        "gradlab/sensors/extra/jacobian.py",
        'interpolation="higher"',
        'interpolation="linear"',
        "tests/measure/test_jacobian.py::test_a_condition_number_of_an_even_sample_is_one_of_them",
    ),
    Named(
        "the percentiles of a gradient keep GradScaler's scale",
        "gradlab/sensors/metrics.py",
        "{column: unscaled(numbers, scale) for column, numbers in found.items()}",
        '{c: n if "_p" in c else unscaled(n, scale) for c, n in found.items()}',
        "tests/measure/test_metrics.py::test_of_a_scaled_loss_every_number_is_that_of_the_loss",
    ),
    Named(
        "log_to is told the first replica's numbers",
        "gradlab/recorder/ledger.py",
        "rows.values[-1, row, place].mean()",
        "rows.values[-1, row, place][0]",
        "tests/recorder/test_recorder_integrations.py::test_of_several_replicas_their_mean_is_logged",
    ),
    # -- theory --------------------------------------------------------------------------------------------------
    Named(
        "the prediction takes a layer's own sigma_b for the next",
        "gradlab/theory/prediction.py",
        "phi_sq[:, layer] + biases[layer + 1] ** 2",
        "phi_sq[:, layer] + biases[layer] ** 2",
        "tests/theory/test_theory_prediction.py::test_each_layers_variance_is_made",
    ),
    Named(
        "the prediction takes a layer's own sigma_w for the next",
        "gradlab/theory/prediction.py",
        "variance = weights[layer + 1] ** 2",
        "variance = weights[layer] ** 2",
        "tests/theory/test_theory_prediction.py::test_each_layers_variance_is_made",
    ),
    Named(
        "an unstable crossing is called stable",
        "gradlab/theory/fixed_points.py",
        "q in crossing and abs(slope) < 1",
        "q in crossing",
        "tests/theory/test_theory_fixed_points.py::test_a_crossing_is_stable",
    ),
    Named(
        "batch norm: the unequal inputs of a batch count as equal ones",
        "gradlab/theory/normed.py",
        "Stage(np.full_like(variance, h_sq), share / variance)",
        "Stage(np.full_like(variance, h_sq), share / np.full_like(variance, variance.mean()))",
        "tests/theory/test_theory_norms_and_residuals.py::test_an_input_of_another_size",
    ),
    # -- analysis ------------------------------------------------------------------------------------------------
    Named(
        "the end of a training is its last record alone",
        "gradlab/analyse/thresholds.py",
        "RECENT = 3\n",
        "RECENT = 1\n",
        "tests/analyse/test_verdicts.py::test_a_training_ends_at_the_mean_of_its_last_three_accuracies",
    ),
)
