"""Counts, retreats and shadows' replies, on both databases."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select, text

from serve.store import Database, retreats, sessions, shadows
from serve.store import database as database_module
from serve.store.retreats import FRESH_S, Retreat
from serve.store.shadows import ShadowReply
from serve.store.tables import shadow_replies


def retreat(version: int = 4, replica: str = "a") -> Retreat:
    """Of a version, seen by a replica."""
    return Retreat("chat", version, "it fails", replica, 100.0 + version)


def test_a_version_is_called_back_once_by_whoever_is_first_and_stays_so_until_cleared(database: Database) -> None:
    assert database.work(lambda rows: retreats.begin(rows, retreat()))
    assert not database.work(lambda rows: retreats.begin(rows, retreat(replica="b")))
    assert database.work(lambda rows: retreats.begin(rows, retreat(3)))
    assert database.work(lambda rows: retreats.listed(rows, "chat")) == [retreat(3), retreat()]
    assert database.work(lambda rows: retreats.listed(rows, "other")) == []
    assert database.work(lambda rows: retreats.clear(rows, "chat", 4))
    assert not database.work(lambda rows: retreats.clear(rows, "chat", 4))
    assert database.work(lambda rows: retreats.listed(rows, "chat")) == [retreat(3)]


def test_counts_of_all_replicas_are_read_as_long_as_they_are_fresh_and_gone_when_judged_anew(
    database: Database,
) -> None:
    for replica, at in (("a", 0.0), ("a", 1.0), ("b", 2.0)):
        counts = {"4": [[1, 0.0, 0.0]] * 3, "said": at}
        database.work(lambda rows, r=replica, c=counts, t=at: retreats.write_counts(rows, r, "chat", c, t))

    def said(now: float, model: str = "chat") -> list[float]:
        found = database.work(lambda rows: retreats.counts_of_all(rows, model, now))
        return sorted(counts["said"] for counts in found)

    assert said(10.0) == [1.0, 2.0]
    assert said(10.0, "other") == []
    assert said(1.5 + FRESH_S) == [2.0]
    database.work(lambda rows: retreats.clear(rows, "chat", 4))
    assert said(10.0) == []


def test_a_shadows_reply_goes_with_its_session_and_is_not_written_after_it(database: Database) -> None:
    def shadow(id: str, session: str | None) -> ShadowReply:
        return ShadowReply(id, "reply", session, "chat", "models:/chat/4", "Hi.", False, 2, 0.1, 0.2, 1.0, 50.0)

    database.work(lambda rows: sessions.create(rows, "s", "", 1.0, 90.0, []))
    for one in (shadow("a", None), shadow("b", "s"), shadow("b", "s"), shadow("c", "gone")):
        database.work(lambda rows, one=one: shadows.add(rows, one))
    assert [one.id for one in database.work(lambda rows: shadows.beside(rows, "reply"))] == ["a", "b"]
    database.work(lambda rows: sessions.remove(rows, "s", ""))
    assert database.work(lambda rows: shadows.beside(rows, "reply")) == [shadow("a", None)]
    database.work(lambda rows: sessions.create(rows, "later", "", 60.0, 90.0, []))
    assert database.work(lambda rows: rows.execute(select(func.count()).select_from(shadow_replies)).scalar()) == 0


def test_a_database_of_the_first_tables_keeps_what_it_has(new_url: str) -> None:
    def first_tables(rows: Connection) -> None:
        settings = Config(attributes={"connection": rows})
        settings.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
        settings.set_main_option("path_separator", "os")
        command.upgrade(settings, "0001")

    with Database(new_url) as made:
        made.work(first_tables)
        insert = "INSERT INTO sessions VALUES ('s', '', '[]', 0, 1.0, 1.0, 9e9)"
        made.work(lambda rows: rows.execute(text(insert)))
        made.migrate()
        assert made.work(sessions.count) == 1
        assert made.work(lambda rows: retreats.begin(rows, retreat()))
