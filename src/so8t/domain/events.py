"""What happens beside the answers: every kind of event of a journal, and who has to know of it.

The pipeline, the boot service and the report speak of the same events; here is where they have
their names. What an engine notices of itself has a name of its own, `ENGINE.what`, and a sentence.
"""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """The name of an event, as the journal keeps it."""

    # A run and its sessions.
    RUN_CREATED = "run_created"
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    INTERRUPTION = "interruption"
    LAST_SEEN = "last_seen"
    GAVE_UP = "gave_up"
    CLOCK_BEHIND = "clock_behind"
    NOT_REGISTERED = "not_registered"
    ORPHANS_ENDED = "orphans_ended"
    KEPT_AWAKE = "kept_awake"
    KEEP_AWAKE_FAILED = "keep_awake_failed"
    PRIORITY_LOWERED = "priority_lowered"
    NOTIFICATION_FAILED = "notification_failed"
    PROGRESS_LOG_FAILED = "progress_log_failed"
    STOP_OVERDUE = "stop_overdue"

    # The journal itself.
    JOURNAL_CHECKED = "journal_checked"
    JOURNAL_RESTORED = "journal_restored"
    WITNESS_MISSING = "witness_missing"
    BACKUP_NOT_MADE = "backup_not_made"

    # What was asked for, and that it changed.
    PLAN_FROZEN = "plan_frozen"
    SUITES_READ = "suites_read"
    SUITE_CHANGED = "suite_changed"
    ITEMS_LEFT_OUT = "items_left_out"
    CONFIG_CHANGED = "config_changed"
    INPUTS_CHANGED = "inputs_changed"
    ARTIFACT_GONE = "artifact_gone"
    SETTINGS_IN_FORCE = "settings_in_force"
    ANSWERS_REDONE = "answers_redone"

    # Training.
    CHECKPOINT_SKIPPED = "checkpoint_skipped"
    TRAINING_RESUMED = "training_resumed"
    TRAINING_SETTING = "training_setting"
    TRAINING_SETTING_ASKED = "training_setting_asked"
    TRAINING_SETTING_OBSERVED = "training_setting_observed"
    SEARCH_TRIAL = "search_trial"
    SEARCH_BEST = "search_best"

    # Loading and asking.
    PROFILE_REDUCED = "profile_reduced"
    ENGINE_CRASHED = "engine_crashed"
    BASELINE_SEARCHED = "baseline_searched"
    BASELINE_REUSED = "baseline_reused"
    BUDGET_SHORT = "budget_short"
    ASKED_AGAIN = "asked_again"
    RETRYING_FAILED = "retrying_failed"
    LONGEST_QUESTION = "longest_question"
    CHOICE_METHODS_COMPARED = "choice_methods_compared"
    HF_RESULTS = "hf_results"
    JUDGEMENT = "judgement"

    # Interim analyses and ends.
    INTERIM_ANALYSIS = "looked"
    STOPPED_EARLY = "stopped_early"
    STOPPED_FUTILE = "stopped_futile"
    DEADLINE_REACHED = "deadline_reached"

    # The machine.
    RESOURCES_ADJUSTED = "resources_adjusted"
    RESOURCES_OBSERVED = "resources_observed"
    RESOURCES_REDUCED = "resources_reduced"
    RESOURCES_SUMMARY = "resources_summary"
    RESOURCES_UNREADABLE = "resources_unreadable"
    RESOURCES_UNWATCHED = "resources_unwatched"


SESSION_EVENTS = frozenset({EventKind.SESSION_STARTED, EventKind.SESSION_ENDED})

BOOK_KEEPING = frozenset(
    {
        EventKind.BASELINE_SEARCHED,
        EventKind.CHOICE_METHODS_COMPARED,
        EventKind.HF_RESULTS,
        EventKind.INTERIM_ANALYSIS,
        EventKind.JOURNAL_CHECKED,
        EventKind.JUDGEMENT,
        EventKind.KEPT_AWAKE,
        EventKind.LAST_SEEN,
        EventKind.LONGEST_QUESTION,
        EventKind.NOTIFICATION_FAILED,
        EventKind.NOT_REGISTERED,
        EventKind.ORPHANS_ENDED,
        EventKind.PLAN_FROZEN,
        EventKind.PROGRESS_LOG_FAILED,
        EventKind.RESOURCES_SUMMARY,
        EventKind.RUN_CREATED,
        EventKind.SESSION_ENDED,
        EventKind.SESSION_STARTED,
        EventKind.SETTINGS_IN_FORCE,
        EventKind.SUITES_READ,
        EventKind.TRAINING_SETTING_ASKED,
    }
)
"""Events that every run has, or that a section of the report shows in its own form."""
