"""Faults that somebody could make, and for each the test that must find it.

A mutant is one search and one replacement in one file; the text must stand there exactly once.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """One planted fault. test: the pytest id that must turn red."""

    fault: str
    file: str
    search: str
    replace: str
    test: str


_CONTRACT: Final = "tests/contract/test_stores.py::TestSqliteStore::"
_MERGE: Final = "tests/projections/test_merge.py::"
_SIGNATURES: Final = "tests/daemon/cvat/test_signatures.py::"
_WEBHOOK: Final = "tests/daemon/http/test_webhook.py::"
_ATTRIBUTION: Final = "tests/projections/test_attribution.py::"

MUTANTS: Final = (
    # The log
    Mutant(
        "an event of a group is dropped",
        "daemon/store/writer.py",
        "rows.insert(self._conn, placing.rows, streams",
        "rows.insert(self._conn, placing.rows[:-1] or placing.rows, streams",
        _CONTRACT + "test_ranges_and_streams_give_just_what_was_asked",
    ),
    Mutant(
        "the disk is not waited for",
        "daemon/store/driver.py",
        '"synchronous = FULL"',
        '"synchronous = OFF"',
        "tests/daemon/store/test_driver.py::test_a_commit_waits_for_the_disk",
    ),
    Mutant(
        "success is told before the commit",
        "daemon/store/writer.py",
        'self._conn.execute("COMMIT")',
        "pass",
        _CONTRACT + "test_ranges_and_streams_give_just_what_was_asked",
    ),
    Mutant(
        "what only looks like a stored value is taken for one",
        "events/registry.py",
        "if schema != entry.schema or canonical.may_be_literal(payload):",
        "if schema != entry.schema:",
        "tests/events/test_registry.py::test_an_outline_leaves_spelled_what_reads_back_as_the_fact",
    ),
    Mutant(
        "an edit of one facet takes the others' away",
        "projections/observed.py",
        "earlier = tuple([edit for edit in row.edits if edit[1] != facet])",
        "earlier = ()",
        "tests/projections/test_facets.py::"
        "test_edits_lead_to_the_last_state_and_name_who_touched_each_facet",
    ),
    Mutant(
        "an annotation is looked for among those of another kind",
        "projections/observed.py",
        "        if change.kind != kind:",
        "        if kind is None:",
        "tests/projections/test_jobs.py::test_annotations_of_several_kinds_go_by_the_same_id",
    ),
    Mutant(
        "a request that says a thing twice goes the short way",
        "daemon/http/front/quick.py",
        "if len(named) < len(fields) or ",
        "if ",
        "tests/daemon/http/test_quick.py::test_what_leaves_a_doubt_is_not_taken",
    ),
    Mutant(
        "expected versions are not looked at",
        "daemon/store/placing.py",
        "(actual := self._version(stream)) != expected",
        "(actual := self._version(stream)) < expected",
        _CONTRACT + "test_a_decision_on_a_stream_that_moved_is_refused",
    ),
    Mutant(
        "an append that is sent again is written again",
        "daemon/store/placing.py",
        "> self._id_last:\n            return None\n        found",
        "> b'':\n            return None\n        found",
        _CONTRACT + "test_the_same_ids_again_give_the_same_positions",
    ),
    Mutant(
        "a checkpoint is taken without its signature",
        "daemon/store/checkpoints.py",
        "public_key.verify(signed[4:], checkpoint.text().encode())",
        "pass",
        "tests/daemon/store/test_checkpoints.py::test_no_changed_character_passes",
    ),
    Mutant(
        "NaN becomes null",
        "events/canonical.py",
        'if spelled.find(b"null") >= 0 or is_marked(spelled)',
        "if is_marked(spelled)",
        _CONTRACT + "test_nan_is_not_null",
    ),
    # Deliveries
    Mutant(
        "a bad signature is accepted",
        "daemon/cvat/signatures.py",
        "if not any(fits):",
        "if not fits:",
        _SIGNATURES + "test_a_body_with_one_bit_changed_is_refused",
    ),
    Mutant(
        "a delivery is known by its bytes",
        "daemon/cvat/deliveries.py",
        "orjson.dumps(document, option=orjson.OPT_SORT_KEYS)",
        "orjson.dumps(document)",
        "tests/daemon/cvat/test_deliveries.py"
        "::test_a_redelivery_with_its_keys_in_another_order_has_the_same_digest",
    ),
    Mutant(
        "a delivery is answered before it is on disk",
        "daemon/http/receiver.py",
        "        began_s = self._clock.monotonic_s()\n",
        "        self._recorded(group)\n        began_s = self._clock.monotonic_s()\n",
        _WEBHOOK + "test_what_cannot_be_recorded_is_answered_503_and_taken_when_it_comes_again",
    ),
    # Who
    Mutant(
        "an author is named though deliveries are missing",
        "projections/attribution.py",
        "    if not inside or not _accounts_for_all(inside, since_us, until_us):\n"
        "        return UNKNOWN\n"
        "    senders =",
        "    if not inside:\n        return UNKNOWN\n    senders =",
        _ATTRIBUTION + "test_a_delivery_that_was_lost_leaves_the_author_unknown",
    ),
    Mutant(
        "a person who works under our credentials is left out",
        "projections/attribution.py",
        "if saved}",
        "if saved and sender != 1}",
        _ATTRIBUTION + "test_a_person_who_works_under_our_credentials_is_named_like_any_other",
    ),
    # What was observed
    Mutant(
        "a deletion is lost in the difference",
        "projections/observation.py",
        "removed = sorted(left.values(), key=lambda annotation: annotation.frame)",
        "removed = sorted([], key=lambda annotation: annotation.frame)",
        "tests/projections/test_observation.py"
        "::test_added_changed_and_removed_are_told_apart_facet_by_facet",
    ),
    Mutant(
        "a job that cannot be found is deleted without asking who we are",
        "daemon/handlers/observe.py",
        'await self.cvat.self_user()\n        return await self._note(job, "deleted"',
        'return await self._note(job, "deleted"',
        "tests/daemon/handlers/test_gone.py"
        "::test_a_job_is_not_deleted_where_the_server_does_not_know_us_either",
    ),
    Mutant(
        "a write without an answer is sent again",
        "daemon/cvat/wire.py",
        "again = call.repeatable and isinstance(exc, ServerTrouble)",
        "again = isinstance(exc, ServerTrouble)",
        "tests/daemon/cvat/test_wire.py"
        "::test_a_write_without_an_answer_is_unknown_and_not_repeated",
    ),
    # What was merged
    Mutant(
        "half a save is merged",
        "projections/merge.py",
        "if merge is None or not is_settled(merge.job):",
        "if merge is None:",
        _MERGE + "test_nothing_unsettled_is_merged",
    ),
    Mutant(
        "a restriction is ignored",
        "projections/edited.py",
        'return "" if value or target.allow_deletions else "allow_deletions"',
        'return ""',
        _MERGE + "test_what_a_restriction_forbids_is_recorded_as_rejected",
    ),
    Mutant(
        "what was seen is forgotten, and raised again",
        "projections/run_labels.py",
        "seen=row.seen | facets, gone=gone",
        "gone=gone",
        _MERGE + "test_a_conflict_is_raised_once_and_closed_when_cvat_takes_its_edit_back",
    ),
    Mutant(
        "a conflict is taken for agreed",
        "projections/run_labels.py",
        "_seen(tables, at, row, edit.facets)",
        "_agree(tables, at, edit, {})",
        _MERGE + "test_a_conflict_is_raised_once_and_closed_when_cvat_takes_its_edit_back",
    ),
    Mutant(
        "CVAT overwrites what the dataset changed",
        "projections/edited.py",
        "clashing = _clashing(label, edit, document)",
        "clashing = set[str]()",
        _MERGE + "test_what_both_sides_changed_is_a_conflict_and_the_datasets_value_stays",
    ),
    Mutant(
        "what clashes holds back what does not",
        "projections/edited.py",
        "if clashing and free:",
        "if False:",
        _MERGE + "test_of_one_edit_only_the_facet_that_clashes_waits",
    ),
    Mutant(
        "a copied label_id takes the label from its own shape",
        "projections/rivals.py",
        "key=lambda item: (item[1], item[0])",
        "key=lambda item: (item[1], item[0]), reverse=True",
        "tests/projections/test_identity.py"
        "::test_of_original_and_copy_that_both_got_new_ids_each_is_known_by_its_looks",
    ),
    Mutant(
        "who renewed an id is taken for who brought the label back",
        "projections/job_merge.py",
        'if facet == "exists" and _is_gone(label, was):',
        'if facet == "exists" and label.gone:',
        "tests/projections/test_origins.py"
        "::test_what_came_back_and_was_renumbered_was_brought_back_by_who_did_that",
    ),
    Mutant(
        "of two that look alike one is said to be the one",
        "projections/rivals.py",
        "result.doubts |= self._doubts(mine, its)",
        "self._doubts(mine, its)",
        "tests/projections/test_origins.py"
        "::test_of_two_tags_alike_that_got_new_ids_nobody_knows_who_gave_which",
    ),
    Mutant(
        "what is drawn where something was deleted long ago takes its place",
        "projections/assignment.py",
        "likeness[np.abs(apart_us) > SAVE_US_MAX] = 0",
        "likeness[apart_us < 0] *= 1",
        "tests/projections/test_identity.py"
        "::test_what_is_drawn_long_after_something_was_deleted_there_is_new",
    ),
    Mutant(
        "a scan empties the dataset without being asked",
        "daemon/handlers/scan.py",
        "if gone > before * self.settings.removed_share_max and",
        "if gone > before and",
        "tests/daemon/handlers/test_scan.py::test_a_mass_removal_waits_for_a_person",
    ),
)
