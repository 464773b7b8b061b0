"""What sightings amount to: level, agreement, and since when nobody contradicts."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.evidence import (
    SIGHTING_LASTS,
    Background,
    Candidate,
    Registered,
    Sighting,
    best_of,
    candidates,
    seen_since,
)
from keyservice.levels import Level, Source

NOW = 1_800_000_000
DAY = 86_400
TRUST, WEAK = Level.PROVIDER_TRUST, Level.WEAK_CHAIN
WKD_WEIGHT = (TRUST, Source.WKD.rank)

sightings_of_anything = st.lists(
    st.builds(
        Sighting,
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(Source),
        st.sampled_from(Level),
        st.integers(NOW - 12 * DAY, NOW + DAY),
    ),
    max_size=12,
)


def seen(
    fingerprint: str, days_ago: float, source: Source = Source.WKD, level: Level = TRUST
) -> Sighting:
    """Return a sighting of some days ago."""
    return Sighting(fingerprint, source, level, NOW - int(days_ago * DAY))


def only(*sightings: Sighting, background: Background | None = None) -> Candidate:
    """Return the one candidate that these sightings make."""
    (found,) = candidates(sightings, {"one": background or Background()}, None, NOW)
    return found


def test_the_best_sighting_gives_the_level() -> None:
    """And its source the rank: a weak sighting of a high-ranking source does not lend its own."""
    found = only(seen("one", 0, Source.VKS), seen("one", 0, Source.AUTOCRYPT, WEAK))

    assert (TRUST, Source.VKS) == (found.level, found.source)


def test_agreement_is_noted_and_raises_nothing() -> None:
    """However many sources of one level agree, and how often each repeats itself."""
    found = only(
        seen("one", 0),
        seen("one", 1),
        seen("one", 0, Source.OPENPGPKEY),
        seen("one", 0, Source.VKS),
        seen("one", 0, Source.HKP, WEAK),
    )

    assert (TRUST, 3) == (found.level, found.corroborated)


def test_a_word_lasts_three_days_unless_it_is_the_owners() -> None:
    """What is no longer published is no longer evidence; what was enrolled stays enrolled."""
    lasts = SIGHTING_LASTS / DAY

    assert () == candidates([seen("one", lasts + 1)], {}, None, NOW)
    assert TRUST is only(seen("one", lasts)).level
    assert TRUST is only(seen("one", 400, Source.OWNER)).level


def test_the_owners_last_word_stands_alone() -> None:
    """Whoever submits another one, or confirms the old one, takes the former back."""
    found = candidates([seen("one", 2, Source.OWNER), seen("two", 1, Source.OWNER)], {}, None, NOW)

    assert ["two"] == [candidate.fingerprint for candidate in found]


def test_a_mail_program_does_not_unsay_what_its_owner_said() -> None:
    """It takes back its own word only, as the owner and the operator do, and theirs its."""
    program, operator = Source.SUBMISSION, Source.OPERATOR

    def standing(*sightings: Sighting) -> list[str]:
        return [c.fingerprint for c in candidates(sightings, {}, None, NOW)]

    assert ["two"] == standing(seen("one", 2, program), seen("two", 1, program))
    assert ["two"] == standing(seen("one", 2, program), seen("two", 1, operator))
    assert ["one", "two"] == standing(seen("one", 2, operator), seen("two", 1, program))
    assert ["one"] == standing(seen("one", 400, program))


def test_a_mail_program_does_not_contradict_its_owner() -> None:
    """Its own former word it does: then the time begins anew."""
    old = Registered("old", TRUST, Source.SUBMISSION)
    repeated = [seen("old", days, Source.SUBMISSION) for days in (9, 5, 1)]

    def since(source: Source) -> int | None:
        told = [*repeated, seen("one", 6, source)]
        found = {c.fingerprint: c.seen_since for c in candidates(told, {}, old, NOW)}
        return found.get("one")

    assert NOW - 6 * DAY == since(Source.OPERATOR)
    assert since(Source.SUBMISSION) is None


def test_the_future_is_no_evidence() -> None:
    """A clock that jumped must not make certificates of tomorrow."""
    assert () == candidates([seen("one", -1)], {}, None, NOW)


def test_seen_all_the_while() -> None:
    """From the first of an unbroken row of sightings on."""
    row = [seen("one", days) for days in (8, 6, 4, 2, 0)]

    assert NOW - 8 * DAY == seen_since("one", row, WKD_WEIGHT, NOW)
    assert NOW - 2 * DAY == seen_since("one", [seen("one", 8), seen("one", 2)], WKD_WEIGHT, NOW)
    assert seen_since("one", [seen("one", 8)], WKD_WEIGHT, NOW) is None


def test_an_owners_word_needs_no_repetition() -> None:
    """It was said once, and stands."""
    assert NOW - 8 * DAY == seen_since("one", [seen("one", 8, Source.OWNER)], WKD_WEIGHT, NOW)


def test_another_certificate_breaks_the_row() -> None:
    """Whichever it is, even in the same second; from a weaker source it does not."""
    row = [seen("one", days) for days in (4, 2, 0)]

    assert NOW == seen_since("one", [*row, seen("two", 1)], WKD_WEIGHT, NOW)
    assert seen_since("one", [*row, seen("two", 0)], WKD_WEIGHT, NOW) is None
    assert NOW - 4 * DAY == seen_since(
        "one", [*row, seen("two", 0, Source.VKS), seen("two", 0, Source.HKP, WEAK)], WKD_WEIGHT, NOW
    )


def test_weaker_sources_do_not_start_the_clock() -> None:
    """Same level, lower rank: not what the registered one rests on."""
    registered = Registered("old", TRUST, Source.WKD)
    (found,) = candidates([seen("one", 1, Source.VKS)], {}, registered, NOW)

    assert found.seen_since is None


def test_the_retired_come_back_by_the_owners_word_only() -> None:
    """And only by one that he gave afterwards."""
    background = Background(retired_at=NOW - 2 * DAY)

    assert only(seen("one", 0), background=background).is_retired
    assert only(seen("one", 3, Source.OPERATOR), background=background).is_retired
    assert not only(seen("one", 1, Source.OPERATOR), background=background).is_retired
    assert only(seen("one", 1, Source.SUBMISSION), background=background).is_retired
    assert not only(seen("one", 0)).is_retired


@pytest.mark.parametrize("deliberate", [Source.OWNER, Source.OPERATOR])
@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_of_one_level_what_was_said_deliberately_stands(
    deliberate: Source, places: tuple[int, int]
) -> None:
    """Not what a mail program sends by itself, whichever was read first."""
    both = [seen("one", 0, Source.SUBMISSION, TRUST), seen("one", 0, deliberate, TRUST)]

    assert best_of(both[place] for place in places).source is deliberate


@given(sightings_of_anything, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(sightings: list[Sighting], random: Random) -> None:
    """Evidence is a set."""
    shuffled = [*sightings, *sightings[:3]]
    random.shuffle(shuffled)

    assert candidates(sightings, {}, None, NOW) == candidates(shuffled, {}, None, NOW)


@given(sightings_of_anything)
def test_no_more_is_made_of_it_than_somebody_said(sightings: list[Sighting]) -> None:
    """Each candidate's level, source and time are those of sightings."""
    for candidate in candidates(sightings, {}, None, NOW):
        own = [s for s in sightings if s.fingerprint == candidate.fingerprint]

        assert (candidate.level, candidate.source) in {(s.level, s.source) for s in own}
        assert candidate.seen_since in {None, *(s.seen_at for s in own)}
        assert 1 <= candidate.corroborated <= len({s.source for s in own})
