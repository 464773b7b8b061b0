"""What is kept for a moment is not kept for longer, and not without bounds."""

import threading

from keyservice.recent import Recent


def test_a_record_is_good_until_its_second() -> None:
    """From then on it is as if it had never been there."""
    recent: Recent[str] = Recent(3)
    recent.put("a", "one", 10.0)

    assert ["one", None, None] == [recent.get("a", now) for now in (9.9, 10.0, 99.0)]
    assert recent.get("b", 0.0) is None


def test_the_last_word_counts() -> None:
    """Also if it lives for less, and also if it is that nothing is kept."""
    recent: Recent[str] = Recent(3)
    recent.put("a", "one", 10.0)
    recent.put("a", "two", 5.0)
    assert ["two", None] == [recent.get("a", now) for now in (4.0, 6.0)]
    recent.forget("a")
    recent.forget("b")

    assert recent.get("a", 0.0) is None


def test_the_oldest_go_first() -> None:
    """Whoever asks about everybody uses up no more than that."""
    recent: Recent[int] = Recent(3)
    for number in range(5):
        recent.put(number, number, 10.0)

    assert [None, None, 2, 3, 4] == [recent.get(number, 0.0) for number in range(5)]


def test_threads_share_it() -> None:
    """Each finds what it put there, or nothing."""
    recent: Recent[int] = Recent(50)
    found: set[tuple[int, int | None]] = set()

    def work(start: int) -> None:
        for number in range(start, start + 2_000):
            recent.put(number % 100, number % 100, 10.0)
            found.add((number % 100, recent.get(number % 100, 0.0)))

    threads = [threading.Thread(target=work, args=(at,)) for at in (0, 33, 66)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(value in (key, None) for key, value in found)
