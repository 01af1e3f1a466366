"""Who did it: named only where every step is accounted for, and never wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.attribution import UNKNOWN, Author, Step, author_of, date_us, joined

OWN, BOB, CAROL = 1, 2, 3


def step(at_us: int, before_us: int | None, sender: int | None, *, saved: bool = True) -> Step:
    return Step(updated_us=at_us, before_us=before_us, sender=sender, saved=saved)


def who(*steps: Step, since_us: int = 0, until_us: int = 5) -> Author:
    return author_of(steps, server="main", since_us=since_us, until_us=until_us)


def test_a_chain_of_saves_by_one_person_names_that_person() -> None:
    """The plain case of every day."""
    author = who(step(2, 0, BOB), step(5, 2, BOB))

    assert author == Author("main/2", "webhook")


def test_five_saves_by_two_people_between_two_looks_name_both() -> None:
    """What each of them did cannot be told apart by then; neither is blamed alone."""
    chain = [step(n, n - 1, (BOB, CAROL, BOB, BOB, CAROL)[n - 1]) for n in range(1, 6)]

    assert who(*chain) == Author("main/2,main/3", "several")


@pytest.mark.parametrize("seen_us", [1, 2, 3, 4, 5])
def test_a_look_after_each_of_five_saves_names_the_one_who_saved(seen_us: int) -> None:
    """Five deliveries within a second, each change with its own author."""
    senders = (BOB, CAROL, BOB, BOB, CAROL)
    chain = [step(n, n - 1, senders[n - 1]) for n in range(1, 6)]

    author = who(*chain, since_us=seen_us - 1, until_us=seen_us)

    assert author == Author(f"main/{senders[seen_us - 1]}", "webhook")


def test_a_delivery_that_was_lost_leaves_the_author_unknown() -> None:
    """Carol's save may hide in the gap; Bob must not be named for it."""
    assert who(step(2, 0, BOB), step(5, 4, BOB)) == UNKNOWN
    assert who(step(5, 3, BOB)) == UNKNOWN


def test_no_delivery_at_all_names_nobody() -> None:
    """Servers without a webhook are recorded too."""
    assert who() == UNKNOWN


def test_a_delivery_from_another_time_is_no_evidence() -> None:
    """A save from before the last look was recorded then; a later one is not in this look."""
    assert who(step(5, 0, BOB), since_us=5, until_us=9) == UNKNOWN
    assert who(step(2, 0, BOB), step(9, 2, CAROL), since_us=0, until_us=2).actor == "main/2"


def test_a_person_who_works_under_our_credentials_is_named_like_any_other() -> None:
    """Or what she did would be credited to whoever saved beside her."""
    assert who(step(5, 0, OWN)) == Author("main/1", "webhook")
    assert who(step(2, 0, OWN), step(5, 2, BOB)) == Author("main/1,main/2", "several")


def test_whoever_only_changed_the_stage_did_not_change_a_label() -> None:
    """A delivery about stage or assignee accounts for its date, and names nobody."""
    assert who(step(2, 0, CAROL, saved=False), step(5, 2, BOB)) == Author("main/2", "webhook")
    assert who(step(5, 0, CAROL, saved=False)) == UNKNOWN


def test_a_save_without_a_sender_makes_the_author_unknown() -> None:
    """Somebody was there and nobody knows who."""
    assert who(step(2, 0, None), step(5, 2, BOB)) == UNKNOWN


def test_a_delivery_that_comes_twice_counts_once() -> None:
    """A webhook of the project and one of the organization tell the same."""
    assert who(step(5, 0, BOB), step(5, 0, BOB)) == Author("main/2", "webhook")


def test_dates_that_lead_in_a_circle_end() -> None:
    """A hostile delivery may claim any date before; the search is bounded."""
    assert who(step(5, 4, BOB), step(4, 5, BOB)) == UNKNOWN
    assert who(step(5, 5, BOB)) == UNKNOWN


def test_where_the_server_tells_no_dates_before_the_last_delivery_must_be_there() -> None:
    """CVAT from 2.76 on; it repeats a delivery until it is taken, so that one is late at most."""
    assert who(step(5, None, BOB)) == Author("main/2", "webhook")
    assert who(step(3, None, CAROL), step(5, None, BOB)).evidence == "several"
    assert who(step(3, None, CAROL)) == UNKNOWN


@given(
    senders=st.lists(st.sampled_from((BOB, CAROL)), min_size=1, max_size=8),
    lost=st.sets(st.integers(0, 7)),
)
def test_with_any_deliveries_lost_nobody_is_named_alone_for_the_work_of_two(
    senders: list[int], lost: set[int]
) -> None:
    """Never a wrong author, whatever the network does."""
    chain = [step(n + 1, n, sender) for n, sender in enumerate(senders)]
    kept = [one for n, one in enumerate(chain) if n not in lost]

    author = who(*kept, until_us=len(senders))

    expected = ",".join(f"main/{sender}" for sender in sorted(set(senders)))
    assert author.actor in (None, expected)


def test_authors_of_several_facets_are_named_together_or_not_at_all() -> None:
    """An unknown hand among them makes all of it unknown."""
    bob, carol = Author("main/2", "webhook"), Author("main/3", "webhook")

    assert joined([bob, bob]) == bob
    assert joined([carol, bob]) == Author("main/2,main/3", "several")
    assert joined([bob, Author("main/2", "several")]) == Author("main/2", "webhook")
    assert joined([bob, UNKNOWN]) == UNKNOWN
    assert joined([bob, Author("main/1", "own write")]) == UNKNOWN


def test_dates_without_a_fraction_or_a_zone_are_read_alike() -> None:
    """CVAT leaves the fraction out where it is zero, so its texts do not sort as times."""
    whole = date_us("2026-01-01T00:00:00Z")

    assert date_us("2026-01-01T00:00:00.000001Z") == whole + 1
    assert date_us("2026-01-01T00:00:00") == whole
    assert date_us("2026-01-01T02:00:00+02:00") == whole
    assert date_us("") == 0
