"""For each key of a config, the test that sees it act. `test_every_key_acts.py` holds it to both.

`file::test`, below `tests/`. A new key needs a test and a line here; a key that goes takes its
line along.
"""

# ruff: noqa: E501 - the names of tests are as long as they are

from __future__ import annotations

HERE = "config/test_every_key_acts.py"
_MADE = (
    "pipeline/test_what_b_is_made_of.py::test_adapter_thinking_packing_and_leaks_go_through_a_run"
)
_HF = "tasks/test_hf_tasks.py"
_LOCAL = "tasks/test_benchmarks.py"
_RUN = f"{HERE}::test_how_a_run_is_shown_shared_and_told_of_follows_the_config"
_DECODED = "engines/test_embedded.py"
_REFUSED = f"{HERE}::test_what_a_judge_cannot_be_is_refused"

_SOURCE = {
    "hf": "config/test_config.py::test_paths_are_relative_to_the_file",
    "gguf": "pipeline/test_whole_runs.py::test_an_existing_gguf_can_be_either_arm",
    "ollama": "cli/test_ollama_run.py::test_two_tags_are_compared",
    "served": "config/test_config.py::test_a_wrong_config_is_explained",
    "revision": "models/test_sources.py::test_a_model_is_fetched_once_at_its_revision",
    "adapter": _MADE,
}
_TRAINED = {
    "method": "models/test_training_lora.py::test_lora_learns_and_merges",
    "data": "models/test_training_data.py::test_both_shapes_are_read",
    "steps": "models/test_finetune.py::test_zero_steps_give_the_base",
    "max_seconds": "models/test_finetune.py::test_the_time_limit_is_said",
    "batch_size": "models/test_training_setting.py::test_a_micro_batch_is_all_that_is_read_at_once",
    "micro_batch": "models/test_training_setting.py::test_a_micro_batch_is_all_that_is_read_at_once",
    "gradient_checkpointing": (
        "models/test_training_setting.py::test_gradient_checkpointing_really_computes_twice"
    ),
    "activation_offloading": (
        "models/test_training_offload.py::test_no_bit_changes_and_the_peak_falls"
    ),
    "precision": (
        "models/test_training_setting.py::test_lower_precision_loads_the_base_again_in_half_the_bytes"
    ),
    "device": "models/test_training_offload.py::test_no_bit_changes_and_the_peak_falls",
    "learning_rate": "pipeline/test_inputs.py::test_what_decides_the_weights_does_it_again",
    "warmup_steps": f"{HERE}::test_the_learning_rate_rises_for_warmup_steps",
    "max_length": "models/test_training_data.py::test_a_long_example_is_refused_with_its_line",
    "targets": "models/test_so8.py::test_an_unknown_target_is_refused_with_the_known_ones",
    "rank": "models/test_training_lora.py::test_a_rank_that_is_no_low_rank_is_refused",
    "alpha": f"{HERE}::test_each_of_these_keys_makes_another_b",
    "dropout": f"{HERE}::test_each_of_these_keys_makes_another_b",
    "pet": "pipeline/test_inputs.py::test_what_decides_the_weights_does_it_again",
    "packing": _MADE,
    "leaks": "pipeline/test_contamination.py::test_a_leak_can_be_kept_or_be_an_error",
    "policy.personal_data": "policy/test_clean.py::test_masked_lines_keep_their_place",
    "policy.confidential": f"{HERE}::test_confidential_lines_are_left_out_kept_or_an_error",
    "safety_data": "pipeline/test_data_policy.py::test_a_safety_corpus_that_helps_is_refused",
    "held_out": f"{HERE}::test_held_out_is_the_share_that_is_not_trained_on",
    "seed": "models/test_training_data.py::test_the_order_is_set_by_the_seed",
    "threads": f"{HERE}::test_threads_are_those_that_were_asked_for",
    "checkpoint_interval": (
        "models/test_training_resume.py::test_a_stop_writes_a_checkpoint_first"
    ),
    "checkpoints_kept": (
        "models/test_training_resume.py::test_the_room_for_checkpoints_is_known_before"
    ),
    "memory_limit_gb": (
        "models/test_training_setting.py::test_out_of_memory_takes_the_next_smaller_setting"
    ),
    "n_trials": (
        "models/test_search.py::test_the_best_held_out_loss_wins_and_the_config_comes_first"
    ),
}

SEEN: dict[str, str] = {
    "name": "autostart/test_resume.py::test_a_runs_directory_is_enough_to_go_on",
    "output": "config/test_config.py::test_paths_are_relative_to_the_file",
    "seed": "tasks/test_hf_tasks.py::test_a_limit_draws_with_the_seed",
    "language": _RUN,
    "keep_awake": _RUN,
    "llama_cpp": "models/test_llama_cpp_checkout.py::test_only_what_is_not_built_in_goes_there",
    "calibration": "config/test_config.py::test_an_importance_matrix_without_effect_is_refused",
    **{f"{arm}.source.{key}": test for arm in "ab" for key, test in _SOURCE.items()},
    **{f"{arm}.label": _RUN for arm in "ab"},
    **{
        f"{arm}.quantization": "pipeline/test_estimate.py::test_quantized_arms_take_less"
        for arm in "ab"
    },
    **{
        f"{arm}.measure_quantization": f"{HERE}::test_what_quantization_costs_is_measured_where_asked"
        for arm in "ab"
    },
    **{
        f"{arm}.imatrix": "models/test_quantize.py::test_an_importance_matrix_weighs_the_errors"
        for arm in "ab"
    },
    **{
        f"{arm}.template": "pipeline/test_model_checks.py::test_a_template_is_a_file_or_the_text"
        for arm in "ab"
    },
    **{
        f"{arm}.template_arguments": "pipeline/test_model_checks.py::test_the_thinking_switch_is_found_by_what_it_does"
        for arm in "ab"
    },
    **{f"b.finetune.{key}": test for key, test in _TRAINED.items()},
    "benchmark.suites": "config/test_config.py::test_paths_are_relative_to_the_file",
    "benchmark.tasks.name": f"{_LOCAL}::test_an_unknown_benchmark_is_answered_with_the_nearest",
    "benchmark.tasks.data": f"{_LOCAL}::test_missing_data_is_named",
    "benchmark.tasks.limit": f"{_LOCAL}::test_a_limit_draws_at_random_and_always_the_same",
    "benchmark.tasks.strict": "tasks/test_left_out.py::test_strict_refuses_with_file_line_and_reason",
    "benchmark.tasks.few_shot": f"{_LOCAL}::test_few_shot_examples_come_from_the_train_file",
    "benchmark.hf.name": f"{_HF}::test_unknown_names_are_refused_with_the_nearest",
    "benchmark.hf.data_dir": f"{_HF}::test_a_task_without_data_dir_says_what_it_needs",
    "benchmark.hf.num_fewshot": f"{_HF}::test_few_shot_examples_need_their_file",
    "benchmark.hf.limit": f"{_HF}::test_a_limit_draws_with_the_seed",
    "benchmark.hf.metric": f"{_HF}::test_item_scores",
    "benchmark.choice_method_sample": f"{HERE}::test_no_choice_is_asked_twice_where_none_is_wanted",
    "benchmark.block": f"{HERE}::test_a_block_is_the_share_that_was_asked_for",
    "benchmark.noise_floor": f"{HERE}::test_the_noise_floor_is_as_large_as_asked",
    "benchmark.repeats": (
        "pipeline/test_repeats.py::test_each_question_is_answered_as_often_as_asked_and_its_mean_counts"
    ),
    "benchmark.reuse_baseline": (
        "pipeline/test_phase4.py::test_a_baseline_that_is_not_the_same_is_asked_again"
    ),
    "engine.kind": "test_plugins.py::test_an_engine_and_a_grader_from_outside_make_a_whole_run",
    "engine.url": "cli/test_ollama_run.py::test_without_a_server_the_hint_is_how_to_start_one",
    **{
        f"engine.places.{key}": (
            "engines/openai/test_servers.py::test_a_llama_server_gives_the_embedded_engines_answers"
        )
        for key in ("name", "url", "urls.a", "urls.b", "slots")
    },
    "engine.places.key_env": "engines/openai/test_servers.py::test_a_key_is_sent_and_shown_nowhere",
    "engine.places.key_file": f"{HERE}::test_a_places_key_can_stand_in_a_file",
    "engine.overwrite": (
        "engines/ollama/test_registration.py::test_changed_input_under_our_own_name_needs_permission"
    ),
    "engine.slots": "pipeline/test_estimate.py::test_slots_and_context_cost_their_kv_cache",
    "engine.threads": "engines/test_calibrate.py::test_the_choice_is_applied_to_a_profile",
    "engine.context": "pipeline/test_estimate.py::test_slots_and_context_cost_their_kv_cache",
    "engine.gpu_layers": f"{HERE}::test_the_profile_to_load_is_that_of_the_config",
    "generation.max_tokens": f"{_DECODED}::test_the_token_budget_truncates",
    "generation.temperature": f"{_DECODED}::test_the_seed_decides_at_a_temperature",
    "generation.top_p": f"{_DECODED}::test_top_k_and_top_p_leave_out_what_is_unlikely",
    "generation.top_k": f"{_DECODED}::test_top_k_and_top_p_leave_out_what_is_unlikely",
    "generation.stop": f"{_DECODED}::test_a_stop_sequence_completes",
    "judge.max_tokens": f"{HERE}::test_a_judgement_has_the_budget_that_was_asked_for",
    "judge.source.gguf": (
        "pipeline/test_llm_judge.py::test_a_fair_judge_decides_and_asking_twice_changes_nothing"
    ),
    "judge.source.ollama": _REFUSED,
    "judge.source.served": _REFUSED,
    "judge.source.hf": _REFUSED,
    "judge.source.revision": _REFUSED,
    "judge.source.adapter": _REFUSED,
    "verdict.alpha": f"{HERE}::test_the_verdict_is_made_as_the_config_says",
    "verdict.margin": "verdict/test_verdict_decide.py::test_equivalent",
    "verdict.scope": "verdict/test_verdict_decide.py::test_benchmark_scope",
    "verdict.stop": f"{HERE}::test_the_verdict_is_made_as_the_config_says",
    "verdict.average": "journal/test_evidence.py::test_a_macro_average_weighs_every_task_alike",
    "verdict.exploratory": "journal/test_evidence.py::test_exploratory_groups_are_listed_by_themselves",
    "verdict.deadline": "pipeline/test_phase4.py::test_the_best_verdict_by_the_deadline",
    "notify.on": _RUN,
    "notify.sound": "notify/test_notifications.py::test_a_config_names_the_channels",
    "notify.desktop": "notify/test_notifications.py::test_a_config_names_the_channels",
    "notify.webhook.url": "notify/test_notifications.py::test_the_webhook_gets_the_facts_as_json",
    "notify.webhook.timeout": f"{HERE}::test_what_takes_longer_than_its_time_is_undelivered",
    "notify.command": _RUN,
    "notify.command_timeout": f"{HERE}::test_what_takes_longer_than_its_time_is_undelivered",
    "recovery.attempts": f"{HERE}::test_recovery_is_as_often_and_as_late_as_asked",
    "recovery.wait": f"{HERE}::test_recovery_is_as_often_and_as_late_as_asked",
    "resources.balance": "resources/test_balancer.py::test_it_only_watches_where_balancing_is_off",
    "resources.interval": _RUN,
    "resources.low_priority": _RUN,
    "resources.give_way": "resources/test_policy.py::test_giving_way_can_be_switched_off",
    "resources.max_level": (
        "resources/test_balancer.py::test_quiet_hours_and_the_highest_level_come_from_the_config"
    ),
    **{
        f"resources.quiet_hours.{key}": (
            "resources/test_balancer.py::test_quiet_hours_and_the_highest_level_come_from_the_config"
        )
        for key in ("start", "end", "do")
    },
    **{
        f"resources.thresholds.{key}": "resources/test_balancer.py::test_the_documented_thresholds"
        for key in ("gpu", "gpu_memory", "cpu", "memory")
    },
}  # fmt: skip

#: Keys that no test sees act yet. Nothing new belongs here: it is to become empty.
OPEN = {"engine.answer_seconds", "engine.patience", "engine.places.ca_file"}
