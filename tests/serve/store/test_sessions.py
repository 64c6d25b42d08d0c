"""Sessions, their queue and their turns; replies, keys, counts and feedback: what the tables promise."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Connection, text

from serve.store import Database, StoreUnavailable, feedback, keys, sessions, snapshots, tables, tickets, turns, usage
from serve.store.feedback import Feedback
from serve.store.keys import Key
from serve.store.turns import KeptReply, SessionMovedOn
from serve.store.usage import QuotaExceeded

NOON = 1_000 * 86_400 + 43_200.0


def make_session(database: Database, id: str = "s", owner: str = "me", now: float = NOON) -> None:
    """A session that lasts 100 seconds."""
    database.work(lambda rows: sessions.create(rows, id, owner, now, 100, []))


def reply(number: int, session: str | None = "s") -> KeptReply:
    """A reply of no importance."""
    return KeptReply(f"r{number}", "me", "chat", "models:/chat/3", f"reply {number}", 5, 2, "stop", session)


def say(database: Database, number: int, holder: str, now: float = NOON) -> None:
    """One turn and its reply."""
    said = [("user", f"turn {number}")]
    database.work(lambda rows: turns.finish(rows, reply(number), said, None, holder, now, 100))


def queue(database: Database, holder: str, now: float = NOON, lease_s: float = 10) -> bool:
    """Whether it is the holder's turn."""
    return database.work(lambda rows: tickets.take(rows, "s", "me", holder, now, lease_s))


def test_turns_come_back_in_their_order(database: Database) -> None:
    make_session(database)
    for number in range(5):
        assert queue(database, f"h{number}")
        say(database, number, f"h{number}")
    newest = database.work(lambda rows: sessions.turns_before(rows, "s", 10, 3))
    assert [(turn.position, turn.text) for turn in newest] == [(7, "reply 3"), (8, "turn 4"), (9, "reply 4")]
    before = database.work(lambda rows: sessions.turns_before(rows, "s", 4, 2))
    assert [turn.text for turn in before] == ["turn 1", "reply 1"]
    assert [turn.text for turn in database.work(lambda rows: sessions.turns_from(rows, "s", 8, 9))] == [
        "turn 4",
        "reply 4",
    ]


def test_a_session_belongs_to_whoever_made_it_and_is_nobody_elses(database: Database) -> None:
    make_session(database)
    assert database.work(lambda rows: sessions.find(rows, "s", "me", NOON)) is not None
    assert database.work(lambda rows: sessions.find(rows, "s", "you", NOON)) is None
    assert database.work(lambda rows: sessions.listed(rows, "you", NOON, 9, None)) == []
    assert not database.work(lambda rows: sessions.remove(rows, "s", "you"))
    with pytest.raises(LookupError):
        database.work(lambda rows: tickets.take(rows, "s", "you", "h", NOON))


def test_sessions_are_listed_in_pages_the_newest_first(database: Database) -> None:
    for number in range(5):
        make_session(database, f"s{number}", now=NOON + number // 2)
    first = database.work(lambda rows: sessions.listed(rows, "me", NOON, 3, None))
    rest = database.work(lambda rows: sessions.listed(rows, "me", NOON, 3, first[-1].id))
    assert [session.id for session in [*first, *rest]] == ["s4", "s3", "s2", "s1", "s0"]


def test_a_session_expires_after_its_last_turn_and_goes_with_all_it_holds(database: Database) -> None:
    make_session(database)
    queue(database, "h")
    say(database, 1, "h", now=NOON + 60)
    assert database.work(lambda rows: sessions.find(rows, "s", "me", NOON + 159)) is not None
    assert database.work(lambda rows: sessions.find(rows, "s", "me", NOON + 160)) is None
    make_session(database, "other", now=NOON + 160)
    for table in ("turns", "replies"):
        assert (
            database.work(lambda rows, table=table: rows.execute(text(f"SELECT count(*) FROM {table}")).scalar()) == 0
        )


def test_a_queue_is_served_in_the_order_of_asking(database: Database) -> None:
    make_session(database)
    assert [queue(database, holder) for holder in "abc"] == [True, False, False]
    say(database, 1, "a")
    assert [database.work(lambda rows, h=h: tickets.is_next(rows, "s", h, NOON)) for h in "bc"] == [True, False]
    database.work(lambda rows: tickets.release(rows, "b"))
    assert database.work(lambda rows: tickets.claim(rows, "s", "c", NOON))


def test_a_replica_that_dies_blocks_nobody_for_longer_than_its_lease(database: Database) -> None:
    make_session(database)
    queue(database, "dead")
    assert not queue(database, "next", now=NOON + 9)
    assert not database.work(lambda rows: tickets.is_next(rows, "s", "next", NOON + 9.9))
    assert database.work(lambda rows: tickets.claim(rows, "s", "next", NOON + 10.1))


def test_a_place_that_was_taken_away_is_told_to_whoever_looks(database: Database) -> None:
    make_session(database)
    for holder in ("slow", "next"):
        queue(database, holder)
    assert queue(database, "next", now=NOON + 11)
    for look in (tickets.is_next, tickets.claim):
        with pytest.raises(LookupError):
            database.work(lambda rows, look=look: look(rows, "s", "slow", NOON + 12))
    database.work(lambda rows: sessions.remove(rows, "s", "me"))
    with pytest.raises(LookupError):
        database.work(lambda rows: tickets.is_next(rows, "s", "next", NOON + 12))


def test_a_replica_that_was_only_slow_writes_nothing_after_its_lease(database: Database) -> None:
    make_session(database)
    queue(database, "slow")
    assert queue(database, "next", now=NOON + 11)
    say(database, 2, "next", now=NOON + 12)
    with pytest.raises(SessionMovedOn):
        say(database, 1, "slow", now=NOON + 13)
    assert [turn.text for turn in database.work(lambda rows: sessions.turns_from(rows, "s", 0, 9))] == [
        "turn 2",
        "reply 2",
    ]


def test_a_second_try_takes_the_place_of_the_first_which_then_writes_nothing(database: Database) -> None:
    make_session(database)
    assert [queue(database, holder) for holder in ("dead", "other")] == [True, False]
    database.work(lambda rows: tickets.hand_over(rows, "another session", "dead", "nobody"))
    database.work(lambda rows: tickets.hand_over(rows, "s", "dead", "again"))
    assert [queue(database, holder) for holder in ("again", "other")] == [True, False]
    with pytest.raises(SessionMovedOn):
        say(database, 1, "dead")
    say(database, 2, "again")


def test_a_character_that_postgresql_does_not_take_is_left_out(database: Database) -> None:
    make_session(database)
    queue(database, "h")
    odd = KeptReply("r", "me", "chat", "v", "a\0b \U0001f642", 5, 2, "stop", "s")
    database.work(lambda rows: turns.finish(rows, odd, [("user", "c\0d")], None, "h", NOON, 100))
    said = database.work(lambda rows: sessions.turns_from(rows, "s", 0, 9))
    assert [turn.text for turn in said] == ["cd", "ab \U0001f642"]
    alone = KeptReply("r2", "me", "chat", "v", "x", 5, 2, "stop", None, None, [("user", "e\0f")])
    database.work(lambda rows: turns.finish(rows, alone, [], None, None, NOON, 100))
    found = database.work(lambda rows: turns.find_reply(rows, "r2", "me", NOON))
    assert found is not None
    assert found.messages[0][1].replace("\0", "") == "ef"


def test_keeping_a_reply_again_after_a_lost_connection_changes_nothing(database: Database) -> None:
    make_session(database)
    queue(database, "h")
    say(database, 1, "h")
    say(database, 1, "h")
    assert len(database.work(lambda rows: sessions.turns_from(rows, "s", 0, 9))) == 2


def test_a_reply_in_a_deleted_session_is_not_kept(database: Database) -> None:
    make_session(database)
    queue(database, "h")
    database.work(lambda rows: sessions.remove(rows, "s", "me"))
    with pytest.raises(SessionMovedOn):
        say(database, 1, "h")


def make_key(database: Database, **changes: object) -> str:
    """A key's text."""
    values = {"id": "k", "name": "", "scopes": ("chat",), "requests_per_minute": None, "tokens_per_day": None}
    times = {"created_at": NOON, "expires_at": None, "revoked_at": None}
    return database.work(lambda rows: keys.create(rows, Key(**{**values, **times, **changes})))  # type: ignore[arg-type]


def test_a_key_is_found_by_its_whole_text_only_and_its_secret_is_nowhere(database: Database) -> None:
    secret = make_key(database)
    assert database.work(lambda rows: keys.find(rows, secret)) == database.work(keys.listed)[0]
    for wrong in (secret[:-1], secret + "x", "rj-k-", "rj-k", "", "rj-other-" + secret[5:], secret.upper(), "\ud800"):
        assert database.work(lambda rows, wrong=wrong: keys.find(rows, wrong)) is None
    rows = database.work(lambda rows: [tuple(row) for row in rows.execute(text("SELECT * FROM keys"))])
    assert secret.split("-", 2)[2] not in repr(rows)


def test_a_revoked_or_expired_key_says_so(database: Database) -> None:
    secret = make_key(database, expires_at=NOON + 5)
    key = database.work(lambda rows: keys.find(rows, secret))
    assert key is not None
    assert key.problem(NOON + 4) is None
    assert key.problem(NOON + 5) == "has expired"
    assert database.work(lambda rows: keys.revoke(rows, "k", NOON))
    assert not database.work(lambda rows: keys.revoke(rows, "other", NOON))
    assert database.work(keys.listed)[0].problem(NOON) == "was revoked"


def test_requests_above_the_quota_of_a_minute_are_refused_until_the_next(database: Database) -> None:
    make_key(database)

    def ask(now: float) -> None:
        database.work(lambda rows: usage.count_request(rows, "k", 2, now))

    ask(NOON)
    ask(NOON + 30)
    with pytest.raises(QuotaExceeded, match="2 requests a minute") as refused:
        ask(NOON + 40)
    assert refused.value.retry_after_s == 20
    ask(NOON + 60)


def test_tokens_are_reserved_so_that_no_quota_is_overrun_and_given_back(database: Database) -> None:
    make_key(database)

    def reserve(num_tokens: int) -> int:
        return database.work(lambda rows: usage.reserve_tokens(rows, "k", num_tokens, 100, NOON))

    day = reserve(60)
    with pytest.raises(QuotaExceeded, match="100 tokens a day and 60 are used"):
        reserve(41)
    reserve(40)
    database.work(lambda rows: usage.settle(rows, "k", day, 50))
    used = database.work(lambda rows: usage.used(rows, "k", "day", NOON))
    assert (used.num_requests, used.num_tokens) == (2, 50)


def test_feedback_has_the_conversation_up_to_the_reply_and_outlives_its_session(database: Database) -> None:
    make_session(database)
    for number in range(2):
        queue(database, f"h{number}")
        say(database, number, f"h{number}")

    def give(rows: Connection) -> None:
        found = turns.find_reply(rows, "r1", "me", NOON)
        assert found is not None
        said = feedback.context_of(rows, found)
        given = Feedback("f", "me", "r1", "s", "chat", "v", "up", None, None, False, said, found.text, NOON)
        feedback.add(rows, given)

    database.work(give)
    assert database.work(lambda rows: turns.find_reply(rows, "r1", "you", NOON)) is None
    make_session(database, "later", now=NOON + 200)  # clears what has expired
    (given,) = database.work(lambda rows: list(feedback.everything(rows)))
    assert given.messages == [("user", "turn 0"), ("assistant", "reply 0"), ("user", "turn 1")]
    assert given.reply == "reply 1"


def test_deleting_a_session_deletes_the_feedback_on_it(database: Database) -> None:
    make_session(database)
    given = Feedback("f", "me", "r", "s", "chat", "v", "up", None, None, False, [], "x", NOON)
    database.work(lambda rows: feedback.add(rows, given))
    database.work(lambda rows: sessions.remove(rows, "s", "me"))
    assert database.work(lambda rows: list(feedback.everything(rows))) == []


def test_each_replica_reads_what_the_living_others_wrote(database: Database) -> None:
    for name, at in (("a", NOON), ("b", NOON), ("dead", NOON - 100)):
        database.work(lambda rows, name=name, at=at: snapshots.write(rows, name, f"counts of {name}", at))
    assert database.work(lambda rows: snapshots.of_others(rows, "a", NOON)) == ["counts of b"]


def test_reading_the_end_of_a_long_session_takes_no_longer_than_of_a_short_one(database: Database) -> None:
    for id, num_turns in (("short", 10), ("long", 10_000)):
        make_session(database, id)
        rows_of = [
            {"session_id": id, "position": i, "role": "user", "text": f"turn {i} " * 5, "created_at": NOON}
            for i in range(num_turns)
        ]
        database.work(lambda rows, rows_of=rows_of: rows.execute(tables.turns.insert(), rows_of))

    def seconds(id: str, end: int) -> float:
        begun = time.perf_counter()
        assert len(database.work(lambda rows: sessions.turns_before(rows, id, end, 10), writes=False)) == 10
        return time.perf_counter() - begun

    measured = {id: min(seconds(id, end) for _ in range(50)) for id, end in (("short", 10), ("long", 10_000))}
    assert measured["long"] < 3 * measured["short"] + 0.002  # the whole of it takes ten times as long, and more


def test_a_database_that_is_gone_says_so_in_one_sentence() -> None:
    with Database("sqlite:////nowhere/at/all/serving.db", patience_s=0) as database, pytest.raises(StoreUnavailable):
        database.work(sessions.count)
