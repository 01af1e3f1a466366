"""What a run asks for and sends: its samples, its tasks, and the labels of a job."""

from __future__ import annotations

from typing import Any

import pytest

from events.annotations import AttributeSpec
from events.run import LabelsUploaded, RunRequested
from projections.run_keys import RunExists
from projections.upload import (
    AnnotateRequest,
    FieldRequest,
    NothingToAnnotate,
    Selection,
    UnknownField,
    by_label_id,
    labels_for,
    labels_uploaded,
    lacking,
    own_reading,
    request_run,
)
from tests.projections.story import BOB, JOB, Story, box, date, drawn, moved, oid, sample

HEAT = {"name": "heat", "embedded_doc_type": "fiftyone.core.labels.Heatmap"}


def asked(story: Story, **members: Any) -> RunRequested:
    fields = members.pop("fields", (FieldRequest(name="gt"),))
    request = AnnotateRequest(dataset="d", key="k", server="main", fields=fields, **members)
    fact = request_run(story.tables, request).drafts[0].fact
    assert isinstance(fact, RunRequested)
    return fact


@pytest.fixture
def story() -> Story:
    """Five samples; the odd ones are tagged."""
    told = Story()
    samples = [sample(n, box(10 + n), tags=["odd"] if n % 2 else []) for n in range(4)]
    told.open(*samples, sample(4, box(14), tags=None), fields=[HEAT])
    return told


def samples_of(request: RunRequested) -> list[list[str]]:
    return [list(task.samples) for task in request.tasks]


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (Selection(), [0, 1, 2, 3, 4]),
        (Selection(ids=(oid(3), oid(0))), [0, 3]),
        (Selection(tags=("odd", "even")), [1, 3]),
        (Selection(limit=2), [0, 1]),
        (Selection(tags=("odd",), limit=1), [1]),
        (Selection(ids=(oid(1), oid(2)), tags=("odd",)), [1]),
    ],
)
def test_samples_are_selected_in_the_datasets_order(
    story: Story, selection: Selection, numbers: list[int]
) -> None:
    """By ids, tags and a limit."""
    request = asked(story, selection=selection)

    assert samples_of(request) == [[oid(number) for number in numbers]]


@pytest.mark.parametrize(
    "selection", [Selection(ids=("nobody",)), Selection(tags=("none",)), Selection(limit=0)]
)
def test_an_empty_selection_is_refused(story: Story, selection: Selection) -> None:
    """A run over nothing is a mistake."""
    with pytest.raises(NothingToAnnotate):
        asked(story, selection=selection)


def test_tasks_are_cut_and_named_as_fiftyone_names_them(story: Story) -> None:
    """A number only where there are several."""
    request = asked(story, task_size=2)

    assert [task.name for task in request.tasks] == [f"FiftyOne_d_{n}" for n in (1, 2, 3)]
    assert [len(task.samples) for task in request.tasks] == [2, 2, 1]
    assert [task.name for task in asked(story).tasks] == ["FiftyOne_d"]


def test_a_key_is_used_once(story: Story) -> None:
    """The second run would write into the first one's stream."""
    story.annotate()

    with pytest.raises(RunExists):
        asked(story)


@pytest.mark.parametrize(
    "field",
    [
        FieldRequest(name="new"),
        FieldRequest(name="heat"),
        FieldRequest(name="gt", type="classification"),
    ],
)
def test_a_field_that_cannot_be_annotated_is_refused(story: Story, field: FieldRequest) -> None:
    """Unknown without a type, of a type that is not supported, or of another one."""
    with pytest.raises(UnknownField):
        asked(story, fields=(field,))


def test_a_new_field_is_what_it_is_asked_to_be(story: Story) -> None:
    """Its values are texts, and bools where a checkbox was asked for."""
    attributes = (AttributeSpec(name="ok", input_type="checkbox"), AttributeSpec(name="note"))
    field = FieldRequest(name="new", type="classifications", classes=("a",), attributes=attributes)

    [schema] = asked(story, fields=(field,)).fields

    assert not schema.existing
    assert schema.value_types == {"ok": "bool", "note": "str"}


def test_attributes_are_inferred_given_or_left_out(story: Story) -> None:
    """FiftyOne's `attributes=True`, a list, or False."""
    story.change(10, score=0.5)
    by = {
        name: asked(story, fields=(FieldRequest(name="gt", attributes=value),)).fields[0]
        for name, value in {
            "inferred": True,
            "given": (AttributeSpec(name="score", input_type="number"),),
            "none": False,
        }.items()
    }

    assert [spec.name for spec in by["inferred"].attributes] == ["score"]
    assert by["given"].value_types == {"score": "float"}
    assert by["none"].attributes == ()


def test_a_label_that_cannot_be_sent_is_listed_and_holds_up_no_other(story: Story) -> None:
    """One bad value refuses a whole batch on the server."""
    story.change(10, bounding_box=[0, 0, {"$numberDouble": "NaN"}, 1])

    uploaded = story.annotate()

    assert [(one.label, one.reason) for one in uploaded.unsent] == [
        (oid(10), "the bounding box is not four finite numbers")
    ]
    assert len(uploaded.labels) == 4


def test_a_job_gets_the_labels_of_its_own_frames(story: Story) -> None:
    """And of the fields that were there before."""
    new = FieldRequest(name="w", type="classification", classes=("a",))
    story.annotate(FieldRequest(name="gt"), new)

    batch = labels_for(story.tables, "main", JOB, story.labels)

    assert [one.annotation.frame for one in batch.uploaded] == [0, 1, 2, 3, 4]


def test_an_upload_that_broke_off_sends_what_is_lacking(story: Story) -> None:
    """CVAT would double what is created twice."""
    story.annotate()
    batch = labels_for(story.tables, "main", JOB, story.labels)
    found = by_label_id([story.shape(1), story.shape(3), drawn(9)])

    left = lacking(batch, found)
    uploaded = labels_uploaded(JOB, batch, found)

    assert [one.label for one in left] == [oid(11), oid(13), oid(14)]
    assert [one.annotation.id for one in uploaded.labels] == [1, 3]
    assert {one.reason for one in uploaded.unsent} == {
        "the server does not show it after the upload"
    }


def told_own(story: Story, uploaded: LabelsUploaded) -> Any:
    return own_reading(
        story.tables, "main", JOB, story.reading(), uploaded, before=date(story.second - 1)
    )


def test_our_own_write_is_recorded_at_its_date_where_nobody_else_wrote(story: Story) -> None:
    """The next look begins there."""
    uploaded = story.annotate()

    reading = told_own(story, uploaded)

    assert reading.updated_date == date(story.second)
    assert reading.annotations == list(story.shown.values())


def test_where_somebody_else_wrote_too_our_write_is_recorded_at_the_date_before(
    story: Story,
) -> None:
    """Else that change would lie before our date, and the next author be named for it."""
    uploaded = story.annotate()
    fresh = Story()
    fresh.shown, fresh.labels, fresh.second = dict(story.shown), story.labels, story.second
    fresh.put(moved(story.shape(1)), by=BOB)

    reading = told_own(fresh, uploaded)

    assert reading.updated_date == date(fresh.second - 1)
    assert reading.annotations[0] == story.shape(1)


def test_what_was_observed_meanwhile_is_not_taken_back_by_our_own_record(story: Story) -> None:
    """The observer may have looked first: its date and its annotations stand."""
    uploaded = story.annotate()
    story.put(moved(story.shape(1)), drawn(9))
    story.observed()

    reading = told_own(story, uploaded)

    assert reading.updated_date == date(story.second)
    assert set(map(id_of, reading.annotations)) == set(map(id_of, story.shown.values()))


def id_of(annotation: Any) -> int:
    return int(annotation.id)
